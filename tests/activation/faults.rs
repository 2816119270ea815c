//! Faults below volumes that are shown as files and loop devices: their user is told the right error
//! for the right range only, the log says where, and everything else goes on. (NBD clients:
//! `crates/engine/tests/devices`; ublk devices: `tests/guest`.)

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure, process};

use crate::disk::{Disk, Load};
use crate::events;
use crate::host::{Host, LOOP};
use crate::slow::Slow;

const MIB: u64 = 1 << 20;
const EIO: i32 = 5;
const ENODEV: i32 = 19;
const ENOSPC: i32 = 28;
/// Where the data of a physical volume begin.
const DATA: u64 = MIB;

pub fn cases(suite: &mut Suite) {
    let mut ext4 = LOOP.to_vec();
    ext4.push(Need::Program("mkfs.ext4"));
    for export in ["fuse", "loop"] {
        let mut case = |name: &str, needs: &[Need], body: fn(&str) -> Outcome| {
            let name = format!("activation::faults::{export}::{name}");
            suite.case(name, needs, move || body(export));
        };
        case("errors_of_a_range", &LOOP, errors_of_a_range);
        case("no_space_below", &ext4, no_space);
        case("image_cut_short", &LOOP, cut_short);
        case("slow_device", &LOOP, slow);
        case("device_goes_under_load", &LOOP, device_goes);
    }
}

/// A volume half on a bad device and half on a good one, and one beside it on the good one.
struct Site {
    host: Host,
    /// 32 MiB: 16 on each.
    both: PathBuf,
    beside: Load,
}

impl Site {
    fn new(host: Host, export: &str, bad: &str) -> Result<Site, String> {
        let good = host.images().path("good").display().to_string();
        let devices = format!("{bad},{good}");
        let host = host.through(Path::new(&devices));
        host.ok(&format!("vgcreate faulty {bad} {good}"))?;
        host.ok(&format!("lvcreate -an -Zn -Wn -n both -L 16M faulty {bad}"))?;
        host.ok(&format!("lvextend -L +16M faulty/both {good}"))?;
        host.ok(&format!(
            "lvcreate -an -Zn -Wn -n beside -L 8M faulty {good}"
        ))?;
        host.ok(&format!("vgchange -ay --export {export} faulty"))?;
        let beside = Load::new(&host.node("faulty/beside")?, 0, 8 * MIB)?;
        let both = host.node("faulty/both")?;
        Ok(Site { host, both, beside })
    }

    /// The log names this byte of `both` and of the device below.
    fn logged(&self, at: u64, below: &str) -> Outcome {
        let wanted = |e: &Value| {
            e["class"] == "error"
                && e["device"] == "faulty-both"
                && e["sector"] == at / 512
                && e["below"] == below
                && e["below_sector"] == (DATA + at) / 512
        };
        events::until(&self.host, |all| all.iter().any(wanted)).map(drop)
    }

    /// Nothing else was hurt, and all of it can go.
    fn end(self) -> Result<Host, String> {
        self.beside.goes_on()?;
        self.beside.end()?;
        let wrong = |e: &Value| e["class"] == "error" && e["device"] != "faulty-both";
        let all = events::events(&self.host)?;
        ensure!(!all.iter().any(wrong), "{}", Value::from(all));
        self.host.ok("vgchange -an faulty")?;
        Ok(self.host)
    }
}

/// With an image `good` of 64 MiB beside the usual ones.
fn host() -> Result<Host, String> {
    let mut host = Host::new()?;
    host.add("good", 64 * MIB)?;
    Ok(host)
}

/// The error target in the middle of a device, which goes again while it is open.
fn errors_of_a_range(export: &str) -> Outcome {
    let host = host()?;
    let image = host.images().path("plain");
    let data = content::sectors(3, 0, 8192);
    std::fs::write(&image, &data).map_err(|e| e.to_string())?;
    let image = image.display().to_string();
    let set = |line: &str, table: &str| {
        let mut command = host.command(line);
        let done = process::run(&mut command, table.as_bytes(), Duration::from_secs(60))?;
        done.success(line).map(drop)
    };
    set(
        &format!("dmsetup create broken --export {export}"),
        &format!("0 1024 linear {image} 0\n1024 64 error\n1088 7104 linear {image} 1088\n"),
    )?;
    host.ok(&format!("lvchange -ay --export {export} vg/linear"))?;
    let beside = Load::new(&host.node("vg/linear")?, 0, 8 * MIB)?;
    let disk = Disk::open(&host.node("mapper/broken")?)?;
    let bad = 1024 * 512..1088 * 512_u64;
    for at in (0..4 * MIB).step_by(4096) {
        match bad.contains(&at) {
            true => disk.fails(at, 4096, EIO)?,
            false => disk.reads(at, &data[at as usize..at as usize + 4096])?,
        }
    }
    // Across its edges too, and nothing on the good side is taken along.
    let (start, end) = (bad.start as usize, bad.end as usize);
    for at in [bad.start - 4096, bad.end - 4096] {
        let seen = disk.read(at, 8192);
        ensure!(seen == Err(EIO), "across an edge: {seen:?}");
    }
    disk.writes(bad.start - 4096, &data[start - 4096..start])?;
    disk.writes(bad.end, &data[end..end + 4096])?;
    beside.goes_on()?;
    events::until(&host, |all| {
        let here = |s: u64| move |e: &Value| e["class"] == "error" && e["sector"] == s;
        all.iter().any(here(1024)) && all.iter().any(here(1080))
    })?;
    let wrong = |e: &&Value| {
        let sector = e["sector"].as_u64().unwrap_or(0);
        e["class"] == "error" && (e["device"] != "broken" || !(1024..1088).contains(&sector))
    };
    let all = events::events(&host)?;
    ensure!(
        all.iter().find(wrong).is_none(),
        "{:?}",
        all.iter().find(wrong)
    );
    // Its place is taken by a whole table while it is open.
    set("dmsetup load broken", &format!("0 8192 linear {image} 0\n"))?;
    host.ok("dmsetup suspend broken")?;
    host.ok("dmsetup resume broken")?;
    disk.reads(bad.start, &data[start..end])?;
    disk.writes(bad.start, &data[..4096])?;
    drop(disk);
    beside.end()?;
    host.ok("dmsetup remove broken").map(drop)
}

/// A sparse image that is larger than the room of its file system.
fn no_space(export: &str) -> Outcome {
    let host = host()?;
    let dir = loopdev::scratch()?;
    let disk = LoopDevice::attach(&dir.path().join("disk"), 16 * MIB, 512)?;
    let node = disk.node().display().to_string();
    process::output("mkfs.ext4", &["-q", "-m", "0", &node])?.success("mkfs.ext4")?;
    let at = dir.path().join("fs");
    std::fs::create_dir(&at).map_err(|e| e.to_string())?;
    let mount = Mounted::new(&node, at)?;
    let image = mount.0.join("image");
    std::fs::File::create(&image)
        .and_then(|f| f.set_len(64 * MIB))
        .map_err(|e| e.to_string())?;
    let image = image.display().to_string();
    let site = Site::new(host, export, &image)?;
    let disk = Disk::open(&site.both)?;
    let block = content::sectors(5, 0, 128);
    let mut full = 0;
    loop {
        ensure!(full < 16 * MIB, "there is room for everything");
        match disk.write(full, &block) {
            Ok(()) => full += 65536,
            Err(errno) => {
                ensure!(errno == ENOSPC, "{errno} at {full}");
                break;
            }
        }
    }
    ensure!(full > 2 * MIB, "room for {full} bytes only");
    // The rest of a larger write may have been cut off at any block.
    let events = events::until(&site.host, |all| all.iter().any(|e| e["class"] == "error"))?;
    let error = events.iter().find(|e| e["class"] == "error");
    let sector = error.and_then(|e| e["sector"].as_u64()).unwrap_or(0) * 512;
    ensure!(
        (full..full + 65536).contains(&sector),
        "{error:?} instead of {full}"
    );
    site.logged(sector, &image)?;
    site.beside.goes_on()?;
    // What is there stays, and can be written again; the other half is not touched by it.
    for at in (0..full).step_by(65536) {
        disk.reads(at, &block)?;
    }
    disk.writes(0, &block)?;
    disk.writes(16 * MIB, &block)?;
    disk.file().sync_all().map_err(|e| format!("flush: {e}"))?;
    let next = disk.write(full + 65536, &block);
    ensure!(next == Err(ENOSPC), "further on: {next:?}");
    // Space that is given back can be had again.
    let (file, half) = (site.both.display().to_string(), (2 * MIB).to_string());
    match export {
        "loop" => process::output("blkdiscard", &["-f", "-o", "0", "-l", &half, &file])?,
        _ => process::output("fallocate", &["-n", "-p", "-o", "0", "-l", &half, &file])?,
    }
    .success("giving space back")?;
    disk.writes(full + 65536, &block)?;
    disk.reads(full + 65536, &block)?;
    disk.reads(0, &[0; 65536])?;
    drop(disk);
    site.end()?;
    drop(mount);
    Ok(())
}

/// A mounted file system.
struct Mounted(PathBuf);

impl Mounted {
    fn new(node: &str, at: PathBuf) -> Result<Mounted, String> {
        let folder = at.display().to_string();
        process::output("mount", &["-t", "ext4", node, &folder])?.success("mount")?;
        Ok(Mounted(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(process::output(
            "umount",
            &["-l".as_ref(), self.0.as_os_str()],
        ));
    }
}

/// Reads come back short, since the image has lost its end.
fn cut_short(export: &str) -> Outcome {
    let host = host()?;
    let path = host.images().path("short");
    let file = std::fs::File::create(&path).map_err(|e| e.to_string())?;
    file.set_len(64 * MIB).map_err(|e| e.to_string())?;
    let image = path.display().to_string();
    let site = Site::new(host, export, &image)?;
    let disk = Disk::open(&site.both)?;
    let data = content::sectors(6, 0, 2 * 16384);
    for at in (0..16 * MIB).step_by(65536) {
        disk.writes(at, &data[at as usize..at as usize + 65536])?;
    }
    disk.writes(16 * MIB, &data[..65536])?;
    let cut = 8 * MIB;
    file.set_len(DATA + cut).map_err(|e| e.to_string())?;
    let fails = |at: u64, len: usize, sector: u64| -> Outcome {
        let seen = disk.read(at, len).map(drop);
        ensure!(seen == Err(EIO), "reading {len} at {at}: {seen:?}");
        site.logged(sector, &image)
    };
    // Right at the end, across it, and beyond it.
    fails(cut, 4096, cut)?;
    fails(cut - 4096, 8192, cut)?;
    fails(12 * MIB, 65536, 12 * MIB)?;
    for at in (0..cut).step_by(65536) {
        disk.reads(at, &data[at as usize..at as usize + 65536])?;
    }
    disk.reads(16 * MIB, &data[..65536])?;
    disk.writes(20 * MIB, &data[..65536])?;
    site.beside.goes_on()?;
    // Grown again it reads as zeroes.
    file.set_len(64 * MIB).map_err(|e| e.to_string())?;
    disk.reads(12 * MIB, &[0; 65536])?;
    drop(disk);
    let host = site.end()?;
    // A command that reads by itself: it fails while the error is there, and leaves nothing behind.
    let line = "read faulty/both --offset 7m --length 2m";
    file.set_len(DATA + cut).map_err(|e| e.to_string())?;
    let failed = host.run(line)?;
    ensure!(
        failed.code == 5 && failed.err().contains(&image),
        "{}: {}",
        failed.code,
        failed.err()
    );
    file.set_len(64 * MIB).map_err(|e| e.to_string())?;
    let seen = host.ok(line)?.stdout;
    let wanted = [&data[7 * MIB as usize..cut as usize], &[0; MIB as usize]].concat();
    ensure!(seen == wanted, "after the error has passed: other data");
    Ok(())
}

/// How long each request to the slow device takes.
const SLOW: Duration = Duration::from_secs(6);
/// Requests to each of two volumes that wait for it at a time: more than a loop device has at work.
const WAITING: u64 = 140;

/// Two volumes with as many requests under way as they can have, all of them waiting.
fn slow(export: &str) -> Outcome {
    let mut host = host()?;
    let image = host.add("slow", 64 * MIB)?;
    let data = content::sectors(8, 0, WAITING * 8);
    let file = std::fs::OpenOptions::new().write(true).open(&image);
    let file = file.map_err(|e| e.to_string())?;
    let device = Slow::new(Path::new(&image), SLOW)?;
    let site = Site::new(host, export, device.node())?;
    let bad = device.node();
    site.host.ok(&format!(
        "lvcreate -an -Zn -Wn -n second -L 8M faulty {bad}"
    ))?;
    site.host
        .ok(&format!("lvchange -ay --export {export} faulty/second"))?;
    // `both` has the first 16 MiB of the device.
    for at in [DATA, DATA + 16 * MIB] {
        file.write_all_at(&data, at).map_err(|e| e.to_string())?;
    }
    device.slow(true)?;
    let began = Instant::now();
    let second = site.host.node("faulty/second")?;
    std::thread::scope(|scope| -> Outcome {
        let reads = (0..2 * WAITING).map(|n| {
            let (node, data) = ([&site.both, &second][n as usize % 2], &data);
            let small = std::thread::Builder::new().stack_size(128 << 10);
            let read = move || -> Outcome {
                let at = n / 2 * 4096;
                Disk::open(node)?.reads(at, &data[at as usize..at as usize + 4096])
            };
            small.spawn_scoped(scope, read).map_err(|e| e.to_string())
        });
        let reads: Vec<_> = reads.collect::<Result<_, _>>()?;
        device.caught()?;
        // Time for all of them to be on their way.
        std::thread::sleep(SLOW / 6);
        // The volume's other half, and another volume, while all of them wait.
        let disk = Disk::open(&site.both);
        if export == "fuse" {
            // A loop device with as many requests as it can have takes no more.
            let disk = disk?;
            for n in 0..20 {
                disk.writes(16 * MIB + n * 4096, &data[..4096])?;
                disk.reads(16 * MIB + n * 4096, &data[..4096])?;
            }
        }
        site.beside.goes_on()?;
        let late = began.elapsed();
        ensure!(
            late < SLOW && reads.iter().all(|r| !r.is_finished()),
            "what is beside it went on only after {late:?}"
        );
        // Those under way take their time; the rest need not.
        device.slow(false)?;
        for read in reads {
            read.join().map_err(|_| "a reader panicked")??;
        }
        Ok(())
    })?;
    ensure!(began.elapsed() >= SLOW, "it was not slow");
    site.end().map(drop)
}

/// Reads and writes on the bad half until told to stop. They may fail, but only as a device that
/// goes makes them fail.
fn hammer(node: &Path, stop: &AtomicBool, counts: &[AtomicU64; 2]) -> Outcome {
    let disk = Disk::open(node)?;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let at = n * 37 % 4096 * 4096;
        for result in [disk.write(at, &[7; 4096]), disk.read(at, 4096).map(drop)] {
            match result {
                Ok(()) => counts[0].fetch_add(1, Ordering::Relaxed),
                Err(EIO | ENODEV) => counts[1].fetch_add(1, Ordering::Relaxed),
                Err(other) => return Err(format!("at {at}: {other}")),
            };
        }
    }
    Ok(())
}

/// Leaves nothing of a device. A write that lands while it is made smaller makes its file longer again.
fn vanish(device: &mut LoopDevice) -> Outcome {
    let name = crate::disk::name(device.node());
    let size = format!("/sys/block/{name}/size");
    for _ in 0..100 {
        device.resize(0)?;
        let now = std::fs::read_to_string(&size).map_err(|e| e.to_string())?;
        if now.trim() == "0" {
            return Ok(());
        }
    }
    Err("the device does not go".into())
}

/// A device is gone from one moment to the next while its volume is worked on.
fn device_goes(export: &str) -> Outcome {
    let host = host()?;
    let dir = loopdev::scratch()?;
    let mut bad = LoopDevice::attach(&dir.path().join("bad"), 64 * MIB, 512)?;
    let below = bad.node().display().to_string();
    let site = Site::new(host, export, &below)?;
    let disk = Disk::open(&site.both)?;
    let block = content::sectors(9, 0, 128);
    disk.writes(16 * MIB, &block)?;
    let (stop, counts) = (
        AtomicBool::new(false),
        [AtomicU64::new(0), AtomicU64::new(0)],
    );
    let more = |n: usize| -> Outcome {
        let (now, began) = (counts[n].load(Ordering::Relaxed), Instant::now());
        while counts[n].load(Ordering::Relaxed) < now + 50 {
            ensure!(began.elapsed() < Duration::from_secs(20), "{counts:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let (node, until, count) = (&site.both, &stop, &counts);
        let loads = [(); 3].map(|()| scope.spawn(move || hammer(node, until, count)));
        let faults = (|| {
            more(0)?;
            ensure!(counts[1].load(Ordering::Relaxed) == 0, "errors: {counts:?}");
            vanish(&mut bad)?;
            more(1)?;
            // All of it is gone, for everybody, and nothing else.
            disk.fails(0, 4096, ENODEV)?;
            disk.fails(16 * MIB - 65536, 65536, ENODEV)?;
            disk.reads(16 * MIB, &block)?;
            disk.writes(24 * MIB, &block)?;
            disk.reads(24 * MIB, &block)?;
            site.beside.goes_on()?;
            site.logged(0, &below)
        })();
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().map_err(|_| "a client panicked")??;
        }
        faults
    })?;
    drop(disk);
    site.end().map(drop)
}
