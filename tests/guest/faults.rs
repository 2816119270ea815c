//! Faults that only a kernel can make, beneath a table that the kernel's NBD driver works on: an
//! error target swapped in below, a disk pulled out under load. And what a flush is worth, by a log
//! of what reached the disks.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use ulvm_test_support::guest::{Guest, Report};
use ulvm_test_support::images::Images;
use ulvm_test_support::log_writes::{self, Entry};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure};

use crate::nbd::NBD_CLIENT;

const MIB: u64 = 1 << 20;
/// Disks long enough for the table as it was once written.
const LONG: u64 = 4 << 30;

pub fn cases(suite: &mut Suite) {
    suite.case(
        "faults/below_and_flush_across_connections",
        &[Need::Guest, Need::Program("fio")],
        faults,
    );
}

/// `serve WORDS...` starts a server at /run/nbd and sets `server`; `end` ends it and leaves its code.
const FUNCTIONS: &str = r#"
serve() {
  rm -f /run/served
  ulvm serve "$@" --nbd unix:/run/nbd >/run/served 2>/run/complaints &
  server=$!
  for n in $(seq 600); do
    grep -q Serving /run/served && return
    kill -0 $server || { cat /run/served /run/complaints; exit 90; }
    sleep 0.1
  done
}
end() { kill $server; wait $server; echo $? >/out/$1.code; cat /run/complaints >/out/$1.complaints; }
try() {
  # Blocks of 4096 bytes of a device, each read past the page cache: "NUMBER ok" or "NUMBER failed".
  dev=$1; shift
  for n; do
    dd if=$dev of=/dev/null bs=4096 skip=$n count=1 iflag=direct 2>/dev/null && echo $n ok || echo $n failed
  done
}
load() {
  fio --name=$1 --filename=$2 --offset=$3 --size=4m --bsrange=4k-64k --rw=randwrite --ioengine=psync \
    --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=32 --time_based --runtime=6 \
    --output=/out/$1.fio && echo fine >/out/$1 || echo broken >/out/$1
}
"#;

/// A flush on one connection of what was written on another, over both disks; and writes that are
/// durable by themselves.
const FLUSH: &str = r#"
ULVM_DEVICES=$disk0,$disk1 serve vg/striped
nbd-client -unix /run/nbd /dev/nbd0 -N vg/striped
nbd-client -unix /run/nbd /dev/nbd1 -N vg/striped
dd if=/first of=/dev/nbd0 bs=64k oflag=direct
dd if=/dev/null of=/dev/nbd1 conv=fsync,notrunc
dd if=/second of=/dev/nbd0 bs=64k seek=64 oflag=direct
dd-of-the-host if=/third of=/dev/nbd0 bs=64k seek=128 oflag=direct,dsync || exit 92
dd if=/fourth of=/dev/nbd1 bs=64k seek=192 oflag=direct
nbd-client -d /dev/nbd0
nbd-client -d /dev/nbd1
end flush
"#;

/// Where the kernel gives no ring, threads do its work.
const NO_RING: &str = r#"
dd if=/dev/zero of=/run/file bs=1M count=4
ulvm bench /run/file --direct n --runtime 1 --json >/out/with_ring
echo 2 >/proc/sys/kernel/io_uring_disabled
ulvm bench /run/file --direct n --runtime 1 --json >/out/without_ring
ulvm bench /run/file --driver uring --runtime 1 >/out/insisted 2>&1 && echo answered >>/out/insisted
ULVM_DEVICES=$disk0,$disk1 serve vg/striped
nbd-client -unix /run/nbd /dev/nbd0 -N vg/striped
dd if=/dev/nbd0 of=/out/by_threads bs=64k count=32
nbd-client -d /dev/nbd0
end no_ring
echo 0 >/proc/sys/kernel/io_uring_disabled
"#;

/// Tables as they were once written, by the names they were written with.
const HISTORY: &str = r#"
ln -s $disk2 /dev/wd0d; ln -s $disk2 /dev/wd0m; ln -s $disk3 /dev/wd0n
echo "0 1639008 linear /dev/wd0d 5210352" >/run/linear
echo "0 327680 striped 2 32 /dev/wd0m 0 /dev/wd0n 0" >/run/striped
for name in linear striped; do
  serve --table /run/$name --name $name
  nbd-client -unix /run/nbd /dev/nbd2 -N $name
  cat /sys/block/nbd2/size >>/out/sizes
  dd if=/dev/nbd2 of=/out/$name bs=16k count=4
  nbd-client -d /dev/nbd2
  end $name
done
ulvm ccd "ccd0 32 none /dev/wd0m /dev/wd0n" >/out/ccd
"#;

/// The upper half of the volume is a disk, the lower half device-mapper's.
const BELOW: &str = r#"
whole() { echo "0 32768 linear $disk2 0"; }
broken() { echo "0 8192 linear $disk2 0"; echo "8192 8192 error"; echo "16384 16384 linear $disk2 16384"; }
export DM_DISABLE_UDEV=1
whole | dmsetup create below
printf '%s\n' "0 32768 linear /dev/mapper/below 0" "32768 32768 linear $disk3 0" >/run/table
serve --table /run/table --name x
nbd-client -unix /run/nbd /dev/nbd3 -N x
load beside /dev/nbd3 16m & work=$!
sleep 1
broken | dmsetup reload below
dmsetup suspend below; dmsetup resume below
try /dev/nbd3 0 1023 1024 1500 2047 2048 4095 >/out/broken
dd if=/dev/zero of=/dev/nbd3 bs=4096 seek=1024 count=1 oflag=direct conv=notrunc 2>/out/write || echo failed >>/out/write
whole | dmsetup reload below
dmsetup suspend below; dmsetup resume below
try /dev/nbd3 0 1023 1024 1500 2047 2048 4095 >/out/whole
wait $work
load lower /dev/nbd3 0 & work=$!
load pulled /dev/nbd3 16m & pulled=$!
sleep 2
echo 1 >/sys/block/${disk3##*/}/device/../remove
try /dev/nbd3 0 4095 4096 8191 >/out/pulled.reads
wait $work $pulled
dd if=/dev/zero of=/dev/nbd3 bs=4096 seek=4096 count=1 oflag=direct conv=notrunc 2>/out/pulled.write || echo failed >>/out/pulled.write
nbd-client -d /dev/nbd3
end below
"#;

fn faults() -> Outcome {
    let mut images = Images::new(Path::new(env!("CARGO_BIN_EXE_ulvm")))?;
    let a = images.add_empty("pv0", 32 * MIB)?;
    let b = images.add_empty("pv1", 32 * MIB)?;
    images.ok(&format!("vgcreate vg {} {}", a.display(), b.display()))?;
    images.ok("lvcreate -an -n striped -i 2 -I 16k -l 4 vg")?;
    let io = |e: std::io::Error| e.to_string();
    let path = |name: &str| images.path(name);
    for (name, seed) in [("first", 21), ("second", 22), ("third", 23), ("fourth", 24)] {
        std::fs::write(path(name), content::sectors(seed, 0, 2 * MIB / 512)).map_err(io)?;
    }
    for name in ["pv0", "pv1"] {
        std::fs::copy(path(name), path(&format!("{name}.before"))).map_err(io)?;
    }
    let disks = [path("long0"), path("long1")];
    for (seed, disk) in (31..).zip(&disks) {
        let file = std::fs::File::create(disk).map_err(io)?;
        file.set_len(LONG).map_err(io)?;
        file.write_all_at(&content::sectors(seed, 0, 256), 0)
            .map_err(io)?;
        let far = content::sectors(seed + 10, 0, 256);
        file.write_all_at(&far, 5_210_352 * 512).map_err(io)?;
    }
    // Busybox's does not know `dsync`.
    std::fs::copy("/bin/dd", path("dd-of-the-host")).map_err(io)?;
    let report = Guest::new()?
        .logged_disk(&path("pv0"), &path("log0"))
        .logged_disk(&path("pv1"), &path("log1"))
        .disk(&disks[0])
        .disk(&disks[1])
        .copy(&path("first"), "/first")
        .copy(&path("second"), "/second")
        .copy(&path("third"), "/third")
        .copy(&path("fourth"), "/fourth")
        .program(&path("dd-of-the-host"))
        .module("nbd")
        .program(Path::new(env!("CARGO_BIN_EXE_ulvm")))
        .tool("fio")
        .package(NBD_CLIENT, "/sbin/nbd-client")
        .limit(Duration::from_secs(400))
        .run(&format!("{FUNCTIONS}{FLUSH}{NO_RING}{HISTORY}{BELOW}"))?
        .success()?;
    ensure!(
        report.text("flush.code")? == "0",
        "the server: {}",
        report.text("flush.complaints")?
    );
    durable(&images, (21, 0), (22, 4))?;
    durable(&images, (23, 8), (24, 12))?;
    no_ring(&report)?;
    history(&report)?;
    below(&report).map_err(|e| format!("{e}\n{}", report.console))
}

/// Had power been cut right before the later data were written, at a moment when the disks had kept
/// nothing but what they were told to: the earlier data are there, the later ones are not. Each is
/// the seed of 2 MiB and the MiB of the volume where they begin.
fn durable(images: &Images, earlier: (u64, u64), later: (u64, u64)) -> Outcome {
    let data = |(seed, _)| content::sectors(seed, 0, 2 * MIB / 512);
    let read = |(_, mib)| images.ok(&format!("read vg/striped --offset {mib}m --length 2m"));
    let after = data(later);
    for n in ["0", "1"] {
        let entries = log_writes::read(&images.path(&format!("log{n}")))?;
        let of_later = |entry: &Entry| match entry {
            Entry::Write { data, .. } => {
                data.len() >= 512 && after.chunks(512).any(|sector| sector == &data[..512])
            }
            _ => false,
        };
        let cut = entries.iter().position(of_later);
        let cut = cut.ok_or("the later data are not in the log")?;
        let told = |entry: &Entry| matches!(entry, Entry::Flush);
        let last = entries[..cut].iter().rposition(told);
        let kept = last.ok_or(format!("disk {n} was not flushed before the later data"))?;
        let disk = images.path(&format!("pv{n}"));
        std::fs::copy(images.path(&format!("pv{n}.before")), &disk).map_err(|e| e.to_string())?;
        let fua = |entry: &Entry| matches!(entry, Entry::Write { fua: true, .. });
        log_writes::replay(&entries, &disk, |number, entry| {
            number < kept || (number < cut && fua(entry))
        })
        .map_err(|error| error.to_string())?;
    }
    let (first, wanted) = (read(earlier)?.stdout, data(earlier));
    let lost = first
        .chunks(512)
        .zip(wanted.chunks(512))
        .filter(|(a, b)| a != b)
        .count();
    ensure!(lost == 0, "{lost} sectors of {earlier:?} are lost");
    let second = read(later)?.stdout;
    let nothing = second.iter().all(|byte| *byte == 0);
    ensure!(nothing, "what was never flushed was kept: no proof");
    Ok(())
}

fn no_ring(report: &Report) -> Outcome {
    for (name, driver) in [("with_ring", "io_uring"), ("without_ring", "pool")] {
        let said = report.text(name)?;
        ensure!(
            said.contains(&format!("\"driver\": \"{driver}\"")),
            "{name}: {said}"
        );
        ensure!(said.contains("\"errors\": 0"), "{name}: {said}");
    }
    let insisted = report.text("insisted")?;
    ensure!(
        !insisted.contains("answered"),
        "a ring where there is none: {insisted}"
    );
    ensure!(
        report.text("no_ring.code")? == "0",
        "{}",
        report.text("no_ring.complaints")?
    );
    let seen = report.file("by_threads")?;
    ensure!(
        seen == content::sectors(21, 0, 2 * MIB / 512),
        "read by threads"
    );
    Ok(())
}

fn history(report: &Report) -> Outcome {
    ensure!(
        report.text("sizes")? == "1639008\n327680",
        "sizes {}",
        report.text("sizes")?
    );
    ensure!(
        report.file("linear")? == content::sectors(41, 0, 128),
        "the linear table"
    );
    let mut wanted = Vec::new();
    for row in 0..2 {
        wanted.extend(content::sectors(31, row * 32, 32));
        wanted.extend(content::sectors(32, row * 32, 32));
    }
    ensure!(report.file("striped")? == wanted, "the striped table");
    let ccd = report.text("ccd")?;
    let line = "0 16777216 striped 2 32 /dev/wd0m 0 /dev/wd0n 0";
    ensure!(ccd == line, "the table of the ccd: {ccd}");
    Ok(())
}

fn below(report: &Report) -> Outcome {
    let lines = |words: &[&str]| words.join("\n");
    let broken = lines(&[
        "0 ok",
        "1023 ok",
        "1024 failed",
        "1500 failed",
        "2047 failed",
        "2048 ok",
        "4095 ok",
    ]);
    ensure!(
        report.text("broken")? == broken,
        "broken below: {}",
        report.text("broken")?
    );
    ensure!(
        report.text("write")?.ends_with("failed"),
        "a write into the hole was answered"
    );
    let whole = broken.replace("failed", "ok");
    ensure!(
        report.text("whole")? == whole,
        "whole again: {}",
        report.text("whole")?
    );
    for name in ["beside", "lower"] {
        let fio = report.text(&format!("{name}.fio"))?;
        ensure!(report.text(name)? == "fine", "the load {name}: {fio}");
    }
    ensure!(
        report.text("pulled")? == "broken",
        "a disk was pulled out, and nobody noticed"
    );
    let reads = report.text("pulled.reads")?;
    ensure!(
        reads == "0 ok\n4095 ok\n4096 failed\n8191 failed",
        "pulled out: {reads}"
    );
    let write = report.text("pulled.write")?;
    ensure!(
        write.contains("Input/output error") && write.ends_with("failed"),
        "the write: {write}"
    );
    // What was written there last is lost, and the end does not hide it.
    let complaints = report.text("below.complaints")?;
    ensure!(
        report.text("below.code")? == "5",
        "the server ended otherwise: {complaints}"
    );
    ensure!(complaints.contains("flush"), "complaints: {complaints}");
    Ok(())
}
