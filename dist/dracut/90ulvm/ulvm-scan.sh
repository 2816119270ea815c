#!/bin/sh
# Run whenever udev has settled, until the root file system can be mounted.
. /lib/ulvm-functions.sh
modprobe -q ublk_drv || modprobe -q loop
modprobe -q fuse
for device in "${root#block:}" "$(getarg resume=)"; do
	[ -z "$device" ] || ulvm_for "$device" complete
done
