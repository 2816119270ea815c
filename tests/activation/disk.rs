//! A volume as its user has it: a file or block device, past the page cache.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ulvm_engine::buf::Buf;
use ulvm_test_support::ensure;
use ulvm_test_support::rng::Rng;
use ulvm_test_support::suite::Outcome;

const O_DIRECT: i32 = 0o40000;

/// An open volume.
pub struct Disk(File);

impl Disk {
    pub fn open(node: &Path) -> Result<Disk, String> {
        Self::open_with(node, 0)
    }

    /// With more flags of open(2).
    pub fn open_with(node: &Path, flags: i32) -> Result<Disk, String> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_DIRECT | flags)
            .open(node)
            .map(Disk)
            .map_err(|e| format!("{}: {e}", node.display()))
    }

    pub fn file(&self) -> &File {
        &self.0
    }

    /// Whole blocks; the error's number. A short count is 0.
    pub fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, i32> {
        let mut buf = Buf::zeroed(len);
        match self.0.read_at(&mut buf, at) {
            Ok(n) if n == len => Ok(buf.to_vec()),
            Ok(_) => Err(0),
            Err(e) => Err(e.raw_os_error().unwrap_or(-1)),
        }
    }

    /// Whole blocks; the error's number. A short count is 0.
    pub fn write(&self, at: u64, data: &[u8]) -> Result<(), i32> {
        match self.0.write_at(&Buf::copy_of(data), at) {
            Ok(n) if n == data.len() => Ok(()),
            Ok(_) => Err(0),
            Err(e) => Err(e.raw_os_error().unwrap_or(-1)),
        }
    }

    /// What must be read.
    pub fn reads(&self, at: u64, wanted: &[u8]) -> Outcome {
        let seen = self.read(at, wanted.len());
        ensure!(
            seen.as_deref() == Ok(wanted),
            "reading {} at {at}: {:?}",
            wanted.len(),
            seen.err()
        );
        Ok(())
    }

    /// What can be written.
    pub fn writes(&self, at: u64, data: &[u8]) -> Outcome {
        let done = self.write(at, data);
        ensure!(done.is_ok(), "writing {} at {at}: {done:?}", data.len());
        Ok(())
    }

    /// Reading and writing there fail, with that number.
    pub fn fails(&self, at: u64, len: usize, errno: i32) -> Outcome {
        let seen = self.read(at, len).map(drop);
        ensure!(
            seen == Err(errno),
            "reading {len} at {at}: {seen:?}, not {errno}"
        );
        let done = self.write(at, &vec![0x5a; len]);
        ensure!(
            done == Err(errno),
            "writing {len} at {at}: {done:?}, not {errno}"
        );
        Ok(())
    }
}

/// Writes and reads in a part of a volume, which must go well as long as it runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Outcome>>,
}

impl Load {
    /// On `len` bytes from `start` on, where nobody else writes.
    pub fn new(node: &Path, start: u64, len: u64) -> Result<Load, String> {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let disk = Disk::open(node)?;
        let thread = std::thread::spawn({
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            move || work(&disk, start, len, &stop, &done)
        });
        Ok(Load {
            stop,
            done,
            thread: Some(thread),
        })
    }

    /// Waits until a good deal more has been done.
    pub fn goes_on(&self) -> Outcome {
        let (now, began) = (self.done.load(Ordering::Relaxed), Instant::now());
        while self.done.load(Ordering::Relaxed) < now + 50 {
            let over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            let late = began.elapsed() > Duration::from_secs(20);
            ensure!(!over && !late, "what is beside it does not go on");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Ends it. It must have gone well.
    pub fn end(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("ended")?;
        thread.join().map_err(|_| "the load panicked")?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn work(disk: &Disk, start: u64, len: u64, stop: &AtomicBool, done: &AtomicU64) -> Outcome {
    let mut rng = Rng::new(start);
    while !stop.load(Ordering::Relaxed) {
        let at = start + rng.below(len / 4096) * 4096;
        let data = [rng.next_u64() as u8; 4096];
        disk.writes(at, &data).map_err(|e| format!("beside: {e}"))?;
        disk.reads(at, &data).map_err(|e| format!("beside: {e}"))?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Where a link leads to, if there is a number behind it: `loop3`.
pub fn name(node: &Path) -> String {
    let name = node.file_name().map(PathBuf::from).unwrap_or_default();
    name.display().to_string()
}
