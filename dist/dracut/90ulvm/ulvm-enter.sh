#!/bin/sh
# The daemon goes on in the real root.
if [ -S /run/ulvm/daemon.sock ]; then
	: >/run/ulvm/boot
	ulvm daemon --enter "$NEWROOT"
fi
