//! Zeroes and trims on block devices, whatever their discard does; and where fast ones are refused.

use ulvm_engine::backend::Direct;
use ulvm_engine::io::Request;
use ulvm_engine::limits::DriverChoice;
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure};

use crate::client::Reply;
use crate::site::{DRIVERS, Site, table};

const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const ZEROES: u16 = 6;
const FUA: u16 = 1;
const NO_HOLE: u16 = 2;
const FAST: u16 = 16;
const ENOTSUP: u32 = 95;
const SIZE: usize = 4 << 20;

pub fn cases(suite: &mut Suite) {
    for driver in DRIVERS {
        for sector in [512, 4096] {
            let name = match driver {
                DriverChoice::Uring => "ring",
                _ => "pool",
            };
            let name = format!("zeroes::on_block_devices::sectors_of_{sector}::{name}");
            suite.case(name, &[Need::Loop], move || zeroes(driver, sector));
        }
    }
    for (name, driver) in [("pool", DRIVERS[0]), ("ring", DRIVERS[1])] {
        for sector in [512, 4096] {
            let name = format!("zeroes::trims_give_space_back::sectors_of_{sector}::{name}");
            suite.case(name, &[Need::Loop], move || trims(driver, sector));
        }
    }
    suite.case(
        "zeroes::fast_on_files",
        &[Need::Path("/dev/shm")],
        fast_on_files,
    );
}

/// A loop device on tmpfs zeroes by giving back, until it is asked for zeroes that keep the space:
/// tmpfs knows none, and from then on the kernel knows the device as one that cannot zero.
fn zeroes(driver: DriverChoice, sector: u32) -> Outcome {
    let dir = loopdev::scratch()?;
    let device = LoopDevice::attach(&dir.path().join("d"), SIZE as u64, sector)?;
    let text = format!("0 8192 linear {} 0\n", device.node().display());
    let mut site = Site::new(driver, table(&text, Direct::Auto)?)?;
    let mut model = content::sectors(4, 0, 8192);
    site.writes(0, &model)?;
    for (n, flags) in [0, NO_HOLE, FUA, NO_HOLE | FUA].into_iter().enumerate() {
        // Whole blocks, a sector within one, odd bytes, and a range with odd ends.
        let base = n * (1 << 20);
        for (at, len) in [
            (0, 65536),
            (131_072 + 512, 512),
            (200_001, 333),
            (300_100, 500_123),
        ] {
            let (at, len) = (base + at, len);
            let done = site.nbd.call(ZEROES, flags, at as u64, len as u32);
            ensure!(
                done == Reply::Done,
                "flags {flags}, {len} at {at}: {done:?}"
            );
            model[at..at + len].fill(0);
            // A fast one is refused, and nothing is changed by it.
            let fast = site.nbd.call(ZEROES, flags | FAST, (at + len) as u64, 4096);
            let refused = matches!(fast, Reply::Error(ENOTSUP, _));
            ensure!(refused, "flags {flags}, a fast one: {fast:?}");
        }
    }
    site.reads(0, &model)?;
    // Of a trim only what lies around it is sure.
    for (at, len) in [(65536, 65536), (140_000, 7), (4096 - 512, 1024)] {
        let done = site.nbd.call(TRIM, FUA, at as u64, len as u32);
        ensure!(done == Reply::Done, "a trim of {len} at {at}: {done:?}");
        let now = site.ask(Request::read(at as u64, ulvm_engine::buf::Buf::zeroed(len)));
        model[at..at + len].copy_from_slice(&now.map_err(|e| e.to_string())?);
    }
    site.reads(0, &model)?;
    // And it is so on the device, not only in our eyes.
    ensure!(site.nbd.call(FLUSH, 0, 0, 0) == Reply::Done, "the flush");
    let below = std::fs::read(device.file()).map_err(|e| e.to_string())?;
    ensure!(below == model, "the file below the device differs");
    Ok(())
}

/// Through NBD, a block device and a loop device down to a sparse file.
fn trims(driver: DriverChoice, sector: u32) -> Outcome {
    use std::os::unix::fs::MetadataExt;
    let dir = loopdev::scratch()?;
    let device = LoopDevice::attach(&dir.path().join("d"), SIZE as u64, sector)?;
    let text = format!("0 8192 linear {} 0\n", device.node().display());
    let mut site = Site::new(driver, table(&text, Direct::Auto)?)?;
    let data = content::sectors(4, 0, 8192);
    site.writes(0, &data)?;
    let used = || -> Result<u64, String> {
        let meta = std::fs::metadata(device.file()).map_err(|e| e.to_string())?;
        Ok(meta.blocks() * 512)
    };
    ensure!(used()? >= SIZE as u64, "{} bytes used before", used()?);
    let done = site.nbd.call(TRIM, FUA, 1 << 20, 2 << 20);
    ensure!(done == Reply::Done, "the trim: {done:?}");
    ensure!(
        used()? <= 2 << 20,
        "{} bytes used after a trim of half",
        used()?
    );
    site.reads(0, &data[..1 << 20])?;
    site.reads(3 << 20, &data[3 << 20..])
}

/// On tmpfs space can be given back at once, but zeroes that keep it have to be written.
fn fast_on_files() -> Outcome {
    let memory = loopdev::scratch()?;
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|e| e.to_string())?;
    for (dir, keeps) in [(memory.path(), false), (disk.path(), true)] {
        let path = dir.join("f");
        std::fs::write(&path, vec![7; SIZE]).map_err(|e| e.to_string())?;
        let text = format!("0 8192 linear {} 0\n", path.display());
        let mut site = Site::new(DriverChoice::Auto, table(&text, Direct::Never)?)?;
        let done = site.nbd.call(ZEROES, FAST, 0, 1 << 20);
        ensure!(done == Reply::Done, "{}: {done:?}", path.display());
        let done = site.nbd.call(ZEROES, FAST | NO_HOLE, 1 << 20, 1 << 20);
        let fine = match keeps {
            true => done == Reply::Done,
            false => matches!(done, Reply::Error(ENOTSUP, _)),
        };
        ensure!(fine, "{} with NO_HOLE: {done:?}", path.display());
        let mut wanted = vec![0; 2 << 20];
        if !keeps {
            wanted[1 << 20..].fill(7);
        }
        site.reads(0, &wanted)?;
    }
    Ok(())
}
