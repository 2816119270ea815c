//! The kernel's ublk driver over volumes: the daemon's devices and what kills of its processes mean to
//! their users, and `ulvm serve --ublk`. This needs a kernel that has the driver.

use std::path::Path;
use std::time::Duration;

use ulvm_test_support::ensure;
use ulvm_test_support::guest::{Guest, Report};
use ulvm_test_support::images::Images;
use ulvm_test_support::loopdev;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};

use crate::harness::disk;
use crate::volumes::{images, same};

const MIB: u64 = 1 << 20;

pub fn cases(suite: &mut Suite) {
    let needs = &[Need::Guest, Need::Program("fio")];
    suite.case("ublk/kills_then_lvm2", needs, kills);
    suite.case("ublk/requests_and_ends", needs, requests);
}

/// `field NAME` is a field of the daemon's status; `fresh PID` waits for a worker that is not PID and
/// says its own.
const FUNCTIONS: &str = r#"
field() { ulvm daemon --status --json | tr -d ' ",' | sed -n "s/^$1://p" | head -n 1; }
fresh() {
  for n in $(seq 600); do
    now=$(field worker_pid)
    case $now in ''|null|"$1") sleep 0.05 ;; *) echo $now; return ;; esac
  done
  echo none
}
"#;

/// A file system on one volume and plain I/O on the other, each checked by fio, while the worker is
/// killed again and again; a kill counts if requests were in flight. In between, the supervisor. Then
/// the same volumes through the guest's LVM2.
const KILLS: &str = r#"
export ULVM_DEVICES=$disk0,$disk1
set -e
ulvm lvchange -ay vg/linear --export ublk
# What is there is taken by itself.
ulvm lvchange -ay vg/striped
(readlink /dev/vg/linear; readlink /dev/vg/striped) >/out/links
ls /sys/block/ublkb0/mq | wc -l >/out/queues
cat /sys/block/ublkb0/queue/fua >/out/fua
cat /sys/block/ublkb0/queue/write_cache >/out/cache
cat /sys/block/ublkb0/size /sys/block/ublkb1/size >/out/sizes
ulvm lvs --noheadings -o lv_name,lv_active,lv_kernel_major vg >/out/lvs
ls /run/ulvm/marks >/out/marks
# Requests of a suspended device wait; memory that others need they have none.
ulvm dmsetup suspend vg-linear
held=
for n in $(seq 40); do
  dd if=/dev/zero of=/dev/vg/linear bs=1M count=1 seek=$((n % 19)) oflag=direct conv=notrunc 2>/dev/null &
  held="$held $!"
done
sleep 1
timeout 100 fio --name=beside --filename=/dev/vg/striped --bs=1m --rw=write --size=16m --direct=1 --iodepth=16 \
  --ioengine=libaio --verify=crc32c --verify_fatal=1 --output=/run/fio && echo fine >/out/beside || echo stuck >/out/beside
for n in $held; do kill -0 $n || echo answered; done >/out/answered
ulvm dmsetup resume vg-linear
wait $held
mkfs.ext4 -q /dev/vg/linear
mkdir -p /run/a
mount -t ext4 /dev/vg/linear /run/a
! ulvm lvchange -an vg/linear 2>/out/refused
set +e
load() {
  until [ -e /run/stop ]; do
    fio --name=$1 $2 --size=8m --rw=randrw --bsrange=4k-64k --direct=1 --iodepth=16 --ioengine=libaio \
      --verify=crc32c --verify_fatal=1 --time_based --runtime=3 --eta=never --output=/run/fio.$1 ||
      { cat /run/fio.$1; echo broken >>/out/broken; return; }
  done
  echo fine >/out/$1
}
: >/out/broken
load a --directory=/run/a &
load b --filename=/dev/vg/striped &
sleep 2
: >/out/kills
tries=0 met=0
while [ $met -lt $wanted ] && [ $tries -lt $((wanted * 3)) ]; do
  sleep 0.$((tries * 3 % 7 + 1))
  tries=$((tries + 1)) pid=$(fresh none) before=$(field resent)
  kill -9 $pid
  next=$(fresh $pid)
  again=$(($(field resent) - before))
  echo "$pid $next $again $(field pause_us)" >>/out/kills
  [ $again = 0 ] || met=$((met + 1))
  if [ $met = 2 ] && [ ! -e /out/successor ]; then
    old=$(field supervisor_pid)
    kill -9 $old
    ulvm lvchange -ay vg/linear
    echo "$old $(field supervisor_pid)" >/out/successor
  fi
done
ulvm daemon --status --json >/out/status
touch /run/stop
wait
dmesg >/out/dmesg
set -e
sha256sum /run/a/a.0.0 | cut -c1-64 >/out/a.ublk
umount /run/a
e2fsck -fn /dev/vg/linear
sha256sum </dev/vg/linear | cut -c1-64 >/out/linear.ublk
sha256sum </dev/vg/striped | cut -c1-64 >/out/striped.ublk
ulvm vgchange -an vg
ls /dev | grep -c '^ublk[bc]' >/out/left || true
for n in $(seq 100); do ulvm daemon --status >/dev/null 2>&1 || break; sleep 0.1; done
unset ULVM_DEVICES

vgck vg
vgchange -ay vg
sha256sum </dev/mapper/vg-linear | cut -c1-64 >/out/linear.dm
sha256sum </dev/mapper/vg-striped | cut -c1-64 >/out/striped.dm
mount -t ext4 /dev/mapper/vg-linear /run/a
sha256sum /run/a/a.0.0 | cut -c1-64 >/out/a.dm
umount /run/a
vgchange -an vg
"#;

fn guest() -> Result<Guest, String> {
    Ok(Guest::new()?
        .module("ublk_drv")
        .program(Path::new(env!("CARGO_BIN_EXE_ulvm")))
        .tool("fio"))
}

fn is(report: &Report, name: &str, wanted: &str) -> Outcome {
    let text = report.text(name)?;
    ensure!(
        text == wanted,
        "{name} is {text:?} instead of {wanted:?}\n{}",
        report.console
    );
    Ok(())
}

/// Errors of block devices in a kernel's log.
fn block_errors(dmesg: &str) -> Vec<&str> {
    let wrong = |line: &&str| line.contains("error, dev") || line.contains("Buffer I/O error");
    dmesg.lines().filter(wrong).collect()
}

fn kills() -> Outcome {
    let full = std::env::var("ULVM_PROVE").is_ok_and(|value| value == "1");
    let wanted = if full { 20 } else { 5 };
    let images = images()?;
    let report = guest()?
        .disk(&images.path("pv0"))
        .disk(&images.path("pv1"))
        .set("wanted", &wanted.to_string())
        .limit(Duration::from_secs(600))
        .run(&format!("{FUNCTIONS}{KILLS}"))?
        .success()?;
    is(&report, "links", "/dev/ublkb0\n/dev/ublkb1")?;
    is(&report, "queues", "2")?;
    is(&report, "fua", "1")?;
    is(&report, "cache", "write back")?;
    is(&report, "sizes", "40960\n49152")?;
    let lvs = report.text("lvs")?;
    let active = lvs
        .lines()
        .filter(|l| l.contains("active") && l.contains("259"));
    ensure!(active.count() == 2, "lvs: {lvs}");
    is(&report, "marks", "ublkb0\nublkb1")?;
    is(&report, "beside", "fine")?;
    is(&report, "answered", "")?;
    let refused = report.text("refused")?;
    ensure!(refused.contains("vg/linear in use"), "refusal: {refused}");
    for file in ["a", "b"] {
        is(&report, file, "fine")?;
    }
    is(&report, "broken", "")?;
    let kills = report.text("kills")?;
    let numbers = |line: &str| -> Vec<u64> {
        line.split_whitespace()
            .filter_map(|w| w.parse().ok())
            .collect()
    };
    let kills: Vec<Vec<u64>> = kills.lines().map(numbers).collect();
    ensure!(
        kills.iter().all(|k| k.len() == 4 && k[0] != k[1]),
        "a new worker after each kill: {kills:?}\n{}",
        report.console
    );
    let met = kills.iter().filter(|k| k[2] > 0).count();
    ensure!(
        met >= wanted,
        "{met} of {} kills met requests in flight: {kills:?}",
        kills.len()
    );
    let successor = numbers(&report.text("successor")?);
    ensure!(
        successor.len() == 2 && successor[0] != successor[1],
        "supervisors: {successor:?}"
    );
    let status = report.text("status")?;
    ensure!(
        status.contains("\"worker_survived\": true") && status.contains("loop and ublk devices"),
        "status: {status}"
    );
    let dmesg = report.text("dmesg")?;
    let errors = block_errors(&dmesg);
    ensure!(errors.is_empty(), "the kernel's log: {errors:?}");
    is(&report, "left", "0")?;
    for name in ["a", "linear", "striped"] {
        same(&report, name, "ublk")?;
    }
    let most = kills.iter().map(|k| k[3]).max().unwrap_or(0);
    let again: u64 = kills.iter().map(|k| k[2]).sum();
    println!(
        "  {met} kills with requests in flight, {again} given again, longest pause {} ms",
        most / 1000
    );
    Ok(())
}

/// `serve WORDS...` sets `server`; `end NAME` ends it and leaves its code.
const SERVE: &str = r#"
serve() {
  rm -f /run/served
  ulvm serve "$@" --ublk >/run/served 2>/run/complaints &
  server=$!
  for n in $(seq 600); do
    grep -q Serving /run/served && return
    kill -0 $server || { cat /run/served /run/complaints; exit 90; }
    sleep 0.1
  done
}
end() { kill $server; wait $server; echo $? >/out/$1.code; }
try() {
  # Blocks of 4096 bytes of a device, each read past the page cache: "NUMBER ok" or "NUMBER failed".
  dev=$1; shift
  for n; do
    dd if=$dev of=/dev/null bs=4096 skip=$n count=1 iflag=direct 2>/dev/null && echo $n ok || echo $n failed
  done
}
"#;

const REQUESTS: &str = r#"
# An error target in the middle: its range fails, for reading and for writing, and nothing else.
cat >/run/table <<TABLE
0 16384 linear $disk0 0
16384 64 error
16448 16320 linear $disk0 16448
TABLE
serve --table /run/table --name t
try /dev/ublkb0 0 2047 2048 2055 2056 4095 >/out/reads
dd if=/dev/zero of=/dev/ublkb0 bs=4096 seek=2050 count=1 oflag=direct 2>/dev/null && echo ok >/out/write || echo failed >/out/write
fio --name=rest --filename=/dev/ublkb0 --offset=8421376 --size=6m --bsrange=4k-64k --rw=randwrite --direct=1 \
  --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 --output=/run/fio && echo fine >/out/rest
end error

# Discarded and zeroed ranges read as zeroes, and no byte beside them does.
cat >/run/table <<TABLE
0 32768 linear $disk1 0
TABLE
serve --table /run/table --name t
tr '\0' x </dev/zero | dd of=/dev/ublkb0 bs=64k count=256 iflag=fullblock oflag=direct 2>/dev/null
/bin/blkdiscard -o 1048576 -l 1048576 /dev/ublkb0; echo $? >/out/discard.code
/bin/blkdiscard -z -o 4198400 -l 8192 /dev/ublkb0; echo $? >/out/zero.code
sync; echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/ublkb0 bs=4k iflag=direct 2>/dev/null | tr -d 'x' | wc -c >/out/zeroes
dd if=/dev/ublkb0 bs=4k skip=256 count=256 iflag=direct 2>/dev/null | tr -d '\0' | wc -c >/out/discarded
dd if=/dev/ublkb0 bs=4k skip=1025 count=2 iflag=direct 2>/dev/null | tr -d '\0' | wc -c >/out/zeroed
# System calls and context switches of the server for as many reads, one at a time and many.
mkdir -p /run/trace && mount -t tracefs tracefs /run/trace
count() {
  echo $server >/run/trace/set_event_pid
  echo 1 >/run/trace/options/event-fork 2>/dev/null
  for t in /proc/$server/task/*; do echo ${t##*/} >>/run/trace/set_event_pid; done
  echo >/run/trace/trace; echo 65536 >/run/trace/buffer_size_kb
  echo 1 >/run/trace/events/raw_syscalls/sys_enter/enable
  before=$(cat /proc/$server/task/*/status | awk '/ctxt/ { n += $2 } END { print n }')
  fio --name=count --filename=/dev/ublkb0 --direct=1 --rw=$2 --bs=4k --ioengine=libaio --iodepth=$3 \
    --number_ios=2000 --output=/run/fio || echo broken >>/out/count.broken
  after=$(cat /proc/$server/task/*/status | awk '/ctxt/ { n += $2 } END { print n }')
  echo 0 >/run/trace/events/raw_syscalls/sys_enter/enable
  echo "$1 calls $(grep -c sys_enter: /run/trace/trace) switches $((after - before)) ios 2000" >>/out/counts
}
count read-1 randread 1
count read-32 randread 32
count write-1 randwrite 1
count write-32 randwrite 32
# The end waits while the device is mounted.
mkfs.ext4 -q /dev/ublkb0 && mkdir -p /run/m && mount -t ext4 /dev/ublkb0 /run/m
kill $server; sleep 1
echo data >/run/m/file && sync && kill -0 $server && echo waits >/out/mounted
umount /run/m
wait $server; echo $? >/out/zero.code

serve --table /run/table --name t --readonly
blockdev --getro /dev/ublkb0 >/out/read_only
dd if=/dev/zero of=/dev/ublkb0 bs=4096 count=1 oflag=direct 2>/dev/null && echo ok >/out/ro_write || echo failed >/out/ro_write
end read_only

# A user who is not root, where somebody gives such users the control device and their nodes.
as_user() { /bin/setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; }
chmod 0666 /dev/ublk-control
chmod 0777 /run
truncate -s 8M /run/image; chown 1000:1000 /run/image
echo '0 16384 linear /run/image 0' >/run/user.table
rm -f /run/served
(for n in $(seq 200); do chown 1000:1000 /dev/ublk[bc]* 2>/dev/null; sleep 0.05; done) &
HOME=/tmp /bin/setpriv --reuid 1000 --regid 1000 --clear-groups ulvm serve --table /run/user.table --name t --ublk >/run/served 2>/run/complaints &
server=$!
for n in $(seq 100); do grep -q Serving /run/served && break; kill -0 $server 2>/dev/null || break; sleep 0.1; done
cat /run/served /run/complaints >/out/user
as_user dd if=/dev/zero of=/dev/ublkb0 bs=64k count=16 oflag=direct 2>/dev/null && echo ok >/out/user_write
end user
chmod 0600 /dev/ublk-control

# A server that is killed: its device ends, and who uses it is told so.
serve --table /run/table --name t
kill -9 $server; wait $server
for n in $(seq 100); do [ -b /dev/ublkb0 ] || break; sleep 0.1; done
ls /dev | grep '^ublkc' >/out/rest.killed
[ -b /dev/ublkb0 ] && echo there >/out/killed || echo gone >/out/killed

# Both processes of the daemon killed: the next start takes away what they left.
export ULVM_DEVICES=$disk2
ulvm lvchange -ay vg/lv || exit 91
# A PV inside a volume is not this host's: who asks for such things sees it, nobody else.
unset ULVM_DEVICES
lvm pvcreate -y /dev/vg/lv >/out/inner 2>&1
ulvm pvs --noheadings -o pv_name >/out/pvs 2>&1
ulvm pvs --noheadings -o pv_name --config devices/scan_lvs=1 >/out/pvs.inner 2>&1
export ULVM_DEVICES=$disk2
supervisor=$(field supervisor_pid) worker=$(field worker_pid)
kill -STOP $supervisor; kill -9 $worker; kill -9 $supervisor
dd if=/dev/vg/lv of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null &
reader=$!
sleep 0.5
kill -0 $reader && echo waits >/out/reader
ulvm lvchange -ay vg/lv || exit 92
wait $reader; echo $? >/out/reader.code
dd if=/dev/vg/lv of=/dev/null bs=4096 count=1 iflag=direct && echo ok >/out/again
readlink /dev/vg/lv >/out/again.link
ulvm lvextend -l +1 vg/lv >/out/extend 2>&1; echo $? >/out/extend.code
ulvm lvchange -pr vg/lv; dd if=/dev/zero of=/dev/vg/lv bs=4096 count=1 oflag=direct 2>/dev/null && echo ok >/out/pr || echo failed >/out/pr
ulvm lvchange -prw vg/lv; dd if=/dev/zero of=/dev/vg/lv bs=4096 count=1 oflag=direct 2>/dev/null && echo ok >/out/prw || echo failed >/out/prw
ulvm vgchange -an vg || exit 93
unset ULVM_DEVICES
serve --table /run/table --name t
end next
ls /dev | grep -c '^ublk[bc]' >/out/left
exit 0
"#;

fn requests() -> Outcome {
    let dir = loopdev::scratch()?;
    let first = disk(&dir, "first", 16 * MIB, &[])?;
    let second = disk(&dir, "second", 16 * MIB, &[])?;
    let mut images = Images::new(Path::new(env!("CARGO_BIN_EXE_ulvm")))?;
    let pv = images.add_empty("pv0", 32 * MIB)?;
    images.ok(&format!("vgcreate vg {}", pv.display()))?;
    images.ok("lvcreate -an -n lv -l 3 vg")?;
    let report = guest()?
        .disk(&first)
        .disk(&second)
        .disk(&images.path("pv0"))
        .tool("blkdiscard")
        .tool("blockdev")
        .tool("setpriv")
        .limit(Duration::from_secs(400))
        .run(&format!("{FUNCTIONS}{SERVE}{REQUESTS}"))?
        .success()?;
    is(
        &report,
        "reads",
        "0 ok\n2047 ok\n2048 failed\n2055 failed\n2056 ok\n4095 ok",
    )?;
    is(&report, "write", "failed")?;
    is(&report, "rest", "fine")?;
    for end in ["error", "zero", "read_only", "user", "next"] {
        is(&report, &format!("{end}.code"), "0")?;
    }
    is(&report, "discard.code", "0")?;
    is(&report, "zero.code", "0")?;
    is(&report, "zeroes", &(MIB + 8192).to_string())?;
    is(&report, "discarded", "0")?;
    is(&report, "zeroed", "0")?;
    is(&report, "mounted", "waits")?;
    is(&report, "read_only", "1")?;
    is(&report, "ro_write", "failed")?;
    let user = report.text("user")?;
    ensure!(user.contains("Serving /dev/ublkb0"), "as a user: {user}");
    is(&report, "user_write", "ok")?;
    is(&report, "killed", "gone")?;
    let pvs = report.text("pvs")?;
    ensure!(
        pvs.contains("/dev/vdc") && !pvs.contains("ublk"),
        "a PV in a volume is listed: {pvs}\n{}",
        report.text("inner")?
    );
    let inner = report.text("pvs.inner")?;
    ensure!(
        inner.contains("ublk") || inner.contains("/dev/vg/lv"),
        "with scan_lvs: {inner}"
    );
    is(&report, "reader", "waits")?;
    is(&report, "reader.code", "1")?;
    is(&report, "again", "ok")?;
    let extend = report.text("extend")?;
    ensure!(
        report.text("extend.code")? == "5" && extend.contains("Linux 6.16"),
        "lvextend: {extend}"
    );
    is(&report, "pr", "failed")?;
    is(&report, "prw", "ok")?;
    // What a killed server leaves is removed by the next.
    is(&report, "rest.killed", "ublkc0")?;
    is(&report, "left", "0")?;
    for line in report.text("counts")?.lines() {
        println!("  {line}");
    }
    Ok(())
}
