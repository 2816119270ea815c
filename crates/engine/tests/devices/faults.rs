//! Faults below: the client is told the right error for the right range, the log says where, and
//! everything else goes on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ulvm_engine::backend::Direct;
use ulvm_engine::buf::Buf;
use ulvm_engine::error::ErrorKind;
use ulvm_engine::io::Request;
use ulvm_engine::limits::DriverChoice;
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;
use ulvm_test_support::rng::Rng;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure, process};

use crate::client::{Client, Reply};
use crate::site::{DRIVERS, Site, Told, table};

const MIB: u64 = 1 << 20;

pub fn cases(suite: &mut Suite) {
    for driver in DRIVERS {
        let name = match driver {
            DriverChoice::Uring => "ring",
            _ => "pool",
        };
        for (how, direct) in [("cached", Direct::Never), ("direct", Direct::Always)] {
            suite.case(
                format!("faults::file_cut_short::{how}::{name}"),
                &[],
                move || cut_short(driver, direct),
            );
            let needs = [Need::Loop, Need::Program("mkfs.ext4")];
            suite.case(
                format!("faults::no_space::{how}::{name}"),
                &needs,
                move || no_space(driver, direct),
            );
        }
        for sector in [512, 4096] {
            let name = format!("faults::device_goes_under_load::sectors_of_{sector}::{name}");
            suite.case(name, &[Need::Loop], move || device_goes(driver, sector));
        }
        suite.case(
            format!("faults::error_swapped_in_under_load::{name}"),
            &[],
            move || swapped(driver),
        );
    }
}

/// A folder on a disk's file system.
fn folder() -> Result<tempfile::TempDir, String> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|e| e.to_string())
}

fn cut_short(driver: DriverChoice, direct: Direct) -> Outcome {
    let dir = folder()?;
    let [a, b] = ["a", "b"].map(|n| dir.path().join(n));
    let (first, second) = (content::sectors(1, 0, 8192), content::sectors(2, 0, 8192));
    std::fs::write(&a, &first).map_err(|e| e.to_string())?;
    std::fs::write(&b, &second).map_err(|e| e.to_string())?;
    let text = format!(
        "0 8192 linear {} 0\n8192 8192 linear {} 0\n",
        a.display(),
        b.display()
    );
    let mut site = Site::new(driver, table(&text, direct)?)?;
    site.reads(0, &first)?;
    let file = std::fs::OpenOptions::new().write(true).open(&a);
    let file = file.map_err(|e| e.to_string())?;
    file.set_len(2 * MIB).map_err(|e| e.to_string())?;
    let told = |at: u64| Told {
        kind: ErrorKind::Io,
        below: a.display().to_string(),
        sector: at / 512,
        byte: at,
    };
    // Right at the end, across it, and beyond it.
    site.read_fails(2 * MIB, 512, &told(2 * MIB))?;
    site.read_fails(2 * MIB - 4096, 8192, &told(2 * MIB))?;
    site.read_fails(3 * MIB, 65536, &told(3 * MIB))?;
    site.reads(0, &first[..2 * MIB as usize])?;
    site.reads(4 * MIB, &second)?;
    site.writes(5 * MIB, &first[..65536])?;
    // Grown again it reads as zeroes.
    file.set_len(4 * MIB).map_err(|e| e.to_string())?;
    site.reads(3 * MIB, &[0; 65536])
}

/// A file system; unmounted when dropped.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        drop(process::output(
            "umount",
            &["-l".as_ref(), self.0.as_os_str()],
        ));
    }
}

fn small_ext4(device: &Path, at: PathBuf) -> Result<Mount, String> {
    std::fs::create_dir(&at).map_err(|e| e.to_string())?;
    let node = device.display().to_string();
    process::output("mkfs.ext4", &["-q", "-m", "0", &node])?.success("mkfs.ext4")?;
    process::output("mount", &["-t", "ext4", &node, &at.display().to_string()])?
        .success("mount")?;
    Ok(Mount(at))
}

fn no_space(driver: DriverChoice, direct: Direct) -> Outcome {
    let dir = loopdev::scratch()?;
    let disk = LoopDevice::attach(&dir.path().join("disk"), 24 * MIB, 512)?;
    let mount = small_ext4(disk.node(), dir.path().join("fs"))?;
    let image = mount.0.join("image");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(64 * MIB))
        .map_err(|e| e.to_string())?;
    let word = image.display().to_string();
    let text = format!("0 131072 linear {word} 0\n131072 8192 linear mem 0\n");
    let mut site = Site::new(driver, table(&text, direct)?)?;
    let block = content::sectors(5, 0, 128);
    let mut room = 0;
    // By turns through the library and through NBD, until there is no more room.
    let full = loop {
        ensure!(room < 64 * MIB, "room for everything");
        let by_library = room / 65536 % 2 == 0;
        let error = match by_library {
            true => match site.ask(Request::write(room, Buf::copy_of(&block), false)) {
                Ok(_) => None,
                Err(e) => {
                    let right = e.kind == ErrorKind::NoSpace && *e.device == *word;
                    ensure!(right && e.sector * 512 == e.offset, "the library: {e:?}");
                    Some(e.offset)
                }
            },
            false => match site.nbd.write(room, &block, 0) {
                Ok(()) => None,
                Err((28, Some(at))) => Some(at),
                Err(other) => return Err(format!("NBD: {other:?}")),
            },
        };
        match error {
            None => room += 65536,
            Some(at) => {
                ensure!((room..room + 65536).contains(&at), "{at} instead of {room}");
                break room;
            }
        }
    };
    ensure!(full > 4 * MIB, "room for {full} bytes only");
    // Further on there is none either, and both say so, the log, too.
    let at = full + 8 * MIB;
    let told = Told {
        kind: ErrorKind::NoSpace,
        below: word,
        sector: at / 512,
        byte: at,
    };
    site.write_fails(at, &block, &told)?;
    for at in (0..full).step_by(65536) {
        site.reads(at, &block)?;
    }
    site.writes(0, &block)?;
    site.writes(64 * MIB, &block)?;
    ensure!(site.ask(Request::flush()).is_ok(), "the flush");
    // Space that is given back can be had again.
    ensure!(site.nbd.call(4, 0, 0, 2 << 20) == Reply::Done, "the trim");
    site.writes(at, &block)?;
    site.reads(at, &block)
}

/// Reads and writes on a part of a device, alone there, until told to stop; how many.
fn load(
    mut client: Client,
    (start, len): (u64, u64),
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Outcome {
    let mut rng = Rng::new(start);
    while !stop.load(Ordering::Relaxed) {
        let at = start + rng.below(len / 4096) * 4096;
        let data = [rng.next_u64() as u8; 4096];
        ensure!(
            client.write(at, &data, 0).is_ok(),
            "a write at {at} beside it failed"
        );
        ensure!(
            client.read(at, 4096).as_deref() == Ok(&data),
            "a read at {at} beside it"
        );
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Waits until the load has gone on a good deal.
fn goes_on(done: &AtomicU64) -> Outcome {
    let (now, began) = (done.load(Ordering::Relaxed), Instant::now());
    while done.load(Ordering::Relaxed) < now + 50 {
        ensure!(
            began.elapsed() < Duration::from_secs(20),
            "the others do not go on"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Two devices; of one the end is lost while both are worked on, then all of it.
fn device_goes(driver: DriverChoice, sector: u32) -> Outcome {
    let dir = loopdev::scratch()?;
    let mut bad = LoopDevice::attach(&dir.path().join("bad"), 8 * MIB, sector)?;
    let good = LoopDevice::attach(&dir.path().join("good"), 8 * MIB, sector)?;
    let [a, b] = [&bad, &good].map(|device| device.node().display().to_string());
    let text = format!("0 16384 linear {a} 0\n16384 16384 linear {b} 0\n");
    let mut site = Site::new(driver, table(&text, Direct::Auto)?)?;
    let block = content::sectors(7, 0, 128);
    site.writes(0, &block)?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let told = |kind, at: u64| Told {
        kind,
        below: a.clone(),
        sector: at / 512,
        byte: at,
    };
    std::thread::scope(|scope| {
        let parts = [(8 * MIB, 4 * MIB), (12 * MIB, 4 * MIB)];
        let parts = parts.map(|part| (site.another(), part));
        let (until, count) = (&stop, &done);
        let loads =
            parts.map(|(client, part)| scope.spawn(move || load(client, part, until, count)));
        let faults = (|| {
            goes_on(&done)?;
            bad.resize(4 * MIB)?;
            // The kernel says that there is no room to write; an end of the device it is all the same.
            site.read_fails(6 * MIB, 4096, &told(ErrorKind::Io, 6 * MIB))?;
            site.read_fails(4 * MIB - 8192, 16384, &told(ErrorKind::Io, 4 * MIB))?;
            site.write_fails(6 * MIB, &block, &told(ErrorKind::Io, 6 * MIB))?;
            site.reads(0, &block)?;
            goes_on(&done)?;
            bad.resize(0)?;
            site.read_fails(0, 4096, &told(ErrorKind::Gone, 0))?;
            site.write_fails(0, &block, &told(ErrorKind::Gone, 0))?;
            goes_on(&done)
        })();
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().map_err(|_| "a client panicked")??;
        }
        faults
    })
}

/// The error target takes the place of a part of a device, and goes again, while it is read.
fn swapped(driver: DriverChoice) -> Outcome {
    let dir = folder()?;
    let path = dir.path().join("a");
    let data = content::sectors(3, 0, 8192);
    std::fs::write(&path, &data).map_err(|e| e.to_string())?;
    let a = path.display();
    let whole = format!("0 8192 linear {a} 0\n");
    let broken = format!("0 1024 linear {a} 0\n1024 1024 error\n2048 6144 linear {a} 2048\n");
    let mut site = Site::new(driver, table(&whole, Direct::Never)?)?;
    let (stop, failed) = (AtomicBool::new(false), AtomicU64::new(0));
    let bad = 1024 * 512..2048 * 512;
    let work = |mut client: Client, seed: u64| -> Outcome {
        let mut rng = Rng::new(seed);
        while !stop.load(Ordering::Relaxed) {
            let at = rng.below(8192) * 512;
            match client.read(at, 512) {
                Ok(seen) => {
                    let wanted = &data[at as usize..at as usize + 512];
                    ensure!(seen == wanted, "what was read at {at} differs");
                }
                Err(reply) => {
                    ensure!(bad.contains(&at), "an error at {at}: {reply:?}");
                    ensure!(reply == Reply::Error(5, Some(at)), "at {at}: {reply:?}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients = [
            (site.another(), 1),
            (site.another(), 2),
            (site.another(), 3),
        ];
        let work = &work;
        let loads = clients.map(|(client, seed)| scope.spawn(move || work(client, seed)));
        let wait = Duration::from_secs(5);
        let swap = |text: &str| -> Outcome {
            site.device
                .load(table(text, Direct::Never)?)
                .map_err(|e| e.to_string())?;
            site.device.suspend(true, wait).map_err(|e| e.to_string())?;
            site.device.resume(wait).map_err(|e| e.to_string())
        };
        let swaps = (|| {
            for _ in 0..10 {
                swap(&broken)?;
                let began = Instant::now();
                let before = failed.load(Ordering::Relaxed);
                while failed.load(Ordering::Relaxed) < before + 5 {
                    ensure!(
                        began.elapsed() < Duration::from_secs(20),
                        "nobody meets the error"
                    );
                    std::thread::sleep(Duration::from_millis(1));
                }
                swap(&whole)?;
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().map_err(|_| "a client panicked")??;
        }
        swaps
    })?;
    site.reads(0, &data)
}
