#!/bin/bash
# Run by tests/guest/boot in each boot, as --job: what is mounted and active, and what the root file system bears
# while its daemon is killed, replaced and stopped.
# A program that is linked dynamically cannot be started anew without its libraries, which lie on the root file system that
# waits for it: then what is cached is left in memory. (`make` links statically.)
drop() { ! ldd "$(command -v ulvm)" >/dev/null 2>&1 && echo 3 >/proc/sys/vm/drop_caches; true; }
field() { ulvm daemon --status --json | sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p"; }
written() {
  dd if=/dev/urandom of=/var/tmp/block bs=64k count=64 conv=fsync 2>/dev/null && drop && echo "$1: written and read, worker $(field worker_pid)"
}
findmnt -rno SOURCE,TARGET -t ext4
sleep "${1:-25}"
echo "active: $(ulvm lvs --noheadings -o vg_name,lv_name -S 'lv_active=active' 2>/dev/null | awk '{ printf "%s/%s ", $1, $2 }')"
journalctl -b --no-pager -o cat -u 'ulvm-late@*' -u 'ulvm-activate@*' | grep -e 'Logical volume' -e 'not found' | sort -u
ls /dev/disk/by-uuid | wc -l | sed 's/^/links by uuid: /'
if [ -n "$(field supervisor_pid)" ]; then
  written 'before'
  kill -9 "$(field worker_pid)"; written 'worker killed'
  worker=$(field worker_pid); kill -STOP "$worker"; (sleep 1; kill -CONT "$worker") & written 'worker stopped for a second'
  ulvm daemon --replace && written 'program replaced'
  tr '\0' ' ' </proc/"$(field worker_pid)"/cmdline; echo
fi
