#!/bin/sh
# Run when the root file system has been waited for too long.
. /lib/ulvm-functions.sh
warn "ulvm: not all disks of ${root#block:} have come: mirrors go on without those that are missing."
ulvm_for "${root#block:}" degraded || { [ -n "$ulvm_partial" ] && ulvm_for "${root#block:}" partial; } ||
	while read -r line; do warn "ulvm: $line"; done </run/ulvm.said
