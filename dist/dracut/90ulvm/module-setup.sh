#!/bin/bash
# ulvm in a dracut initramfs.

check() {
	require_binaries ulvm || return 1
	# Wanted where the root file system lies on a volume, or by name.
	[[ $hostonly ]] || [[ $mount_needs ]] || return 255
	local device
	for device in "${!host_fs_types[@]}"; do
		[[ $device == /dev/ublkb* || $device == /dev/mapper/* ]] && return 0
	done
	return 255
}

depends() {
	echo udev-rules
}

installkernel() {
	instmods ublk_drv fuse loop
}

install() {
	inst_multiple ulvm sed cat mkdir
	inst_rules 68-ulvm.rules
	inst_multiple -o /etc/lvm/lvm.conf /etc/lvm/lvmlocal.conf /etc/lvm/ulvm.conf /etc/lvm/devices/system.devices
	inst_simple "$moddir/ulvm-functions.sh" /lib/ulvm-functions.sh
	inst_hook initqueue/settled 90 "$moddir/ulvm-scan.sh"
	inst_hook initqueue/timeout 90 "$moddir/ulvm-late.sh"
	inst_hook pre-pivot 90 "$moddir/ulvm-enter.sh"
}
