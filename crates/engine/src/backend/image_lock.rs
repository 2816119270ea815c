//! Locks on image files, by the rules that QEMU keeps too: while a virtual machine, `qemu-img` or
//! another server has an image open, it is not opened for writing a second time, and the reverse.
//!
//! The rules (QEMU's `docs/devel` and observed): each permission has a number. Who uses a
//! permission holds a shared lock on byte 100 + number; who does not bear that others use it holds
//! one on byte 200 + number. After taking its locks each looks whether somebody else's contradict.
//!
//! One process counts as one user of a file, however often it opens it: the lock is shared by all
//! of them, and goes with the last.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::sys::ofd;

const USES: u32 = 100;
const BARS: u32 = 200;

/// Reads must give what was written.
const CONSISTENT_READ: u32 = 0;
const WRITE: u32 = 1;
/// Writes that change nothing a reader could see.
const WRITE_UNCHANGED: u32 = 2;
const RESIZE: u32 = 3;

/// Device and inode.
type Id = (u64, u64);

/// A lock on an image, until the last one of this process for the same file goes.
#[derive(Debug)]
pub struct ImageLock {
    file: File,
    writer: Mutex<bool>,
}

fn held() -> &'static Mutex<HashMap<Id, Weak<ImageLock>>> {
    static HELD: OnceLock<Mutex<HashMap<Id, Weak<ImageLock>>>> = OnceLock::new();
    HELD.get_or_init(Mutex::default)
}

impl ImageLock {
    /// Locks the image at `path` for reading, or for reading and writing. The error of an image in
    /// use is of kind `ResourceBusy`. A file system without such locks is passed over: QEMU does
    /// the same.
    pub fn take(path: &Path, write: bool) -> io::Result<Arc<Self>> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let mut held = held().lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, lock| lock.strong_count() > 0);
        let id = (meta.dev(), meta.ino());
        let lock = match held.get(&id).and_then(Weak::upgrade) {
            Some(lock) => lock,
            None => {
                let lock = Arc::new(Self {
                    file,
                    writer: Mutex::new(false),
                });
                lock.acquire(&[CONSISTENT_READ])?;
                held.insert(id, Arc::downgrade(&lock));
                lock
            }
        };
        if write {
            lock.become_writer()?;
        }
        Ok(lock)
    }

    /// The descriptor that the lock belongs to: whoever has a copy of it has the lock too.
    pub fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn become_writer(&self) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if !*writer {
            if let Err(error) = self.acquire(&[CONSISTENT_READ, WRITE, WRITE_UNCHANGED]) {
                // The reader that this lock is already stays one, and no more.
                for number in [WRITE, WRITE_UNCHANGED] {
                    ofd::unlock(self.file.as_fd(), USES + number)?;
                }
                return Err(error);
            }
            *writer = true;
        }
        Ok(())
    }

    /// Uses these permissions, and bars others from writing and resizing.
    fn acquire(&self, uses: &[u32]) -> io::Result<()> {
        let fd = self.file.as_fd();
        let bars = [WRITE, RESIZE];
        let ours = uses.iter().map(|n| USES + n);
        for byte in ours.chain(bars.map(|n| BARS + n)) {
            match ofd::lock_shared(fd, byte) {
                Ok(()) => {}
                Err(e) if unsupported(&e) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        let theirs = uses.iter().map(|n| BARS + n);
        for byte in theirs.chain(bars.map(|n| USES + n)) {
            if ofd::locked_elsewhere(fd, byte)? {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "the image is in use by another process",
                ));
            }
        }
        Ok(())
    }
}

fn unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The locks another process would hold: an open file description of its own.
    fn other(path: &Path, bytes: &[u32]) -> File {
        let file = File::open(path).unwrap();
        for &byte in bytes {
            ofd::lock_shared(file.as_fd(), byte).unwrap();
        }
        file
    }

    #[test]
    fn a_writer_elsewhere_keeps_us_out_and_a_reader_lets_us_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, "").unwrap();
        let busy = |write| {
            ImageLock::take(&path, write).is_err_and(|e| e.kind() == io::ErrorKind::ResourceBusy)
        };
        let writer = other(&path, &[100, 101, 201, 203]);
        assert!(busy(true) && busy(false));
        drop(writer);
        let reader = other(&path, &[100, 201, 203]);
        assert!(busy(true), "a reader does not bear a writer");
        assert!(!busy(false));
        drop(reader);
        assert!(!busy(true));
    }

    #[test]
    fn one_process_is_one_user_and_its_locks_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, "").unwrap();
        let first = ImageLock::take(&path, false).unwrap();
        let second = ImageLock::take(&path, true).unwrap();
        drop(first);
        let elsewhere = File::open(&path).unwrap();
        let seen = |byte| ofd::locked_elsewhere(elsewhere.as_fd(), byte).unwrap();
        for byte in [100, 101, 201, 203] {
            assert!(seen(byte), "{byte}");
        }
        assert!(!seen(103) && !seen(200));
        drop(second);
        assert!(!seen(101));
    }
}
