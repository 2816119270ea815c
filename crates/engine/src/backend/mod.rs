//! What the bytes of a device lie on: files and block devices, memory, or another device of the
//! engine; and the drivers that carry operations on files to the kernel.

pub(crate) mod choice;
pub(crate) mod driver;
mod file;
pub(crate) mod gate;
mod image_lock;
mod mem;
pub(crate) mod pool;
pub(crate) mod uring;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use file::{Direct, FileStore, Held, OpenHow};
pub use image_lock::ImageLock;
pub use mem::MemStore;

use crate::device::Device;
use crate::error::Error;
use crate::io::SECTOR;

/// A backing device.
#[derive(Debug)]
pub struct Backing {
    name: Arc<str>,
    size: u64,
    logical: u32,
    read_only: bool,
    flush: FlushState,
    store: Store,
}

/// Where a backing device keeps its bytes.
#[derive(Debug)]
pub enum Store {
    /// A regular file or block device, or a range of one.
    File(FileStore),
    /// Memory.
    Mem(MemStore),
    /// Another device of the engine.
    Device(Arc<Device>),
}

impl Backing {
    /// Opens a regular file or a block device.
    pub fn open(path: &Path, how: &OpenHow) -> Result<Self, Error> {
        let opened = file::open(path, how).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::of(opened, path, how))
    }

    /// Opens and locks a file or device without using it.
    pub fn hold(path: &Path, how: &OpenHow) -> Result<Held, Error> {
        file::hold(path, how).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })
    }

    /// Of a file or device that another process holds; `path` is for messages. Whatever was
    /// written to it before counts as not flushed.
    pub fn adopt(held: Held, path: &Path, how: &OpenHow) -> Result<Self, Error> {
        let opened = file::examine(held, how).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::of(opened, path, how))
    }

    fn of(opened: file::Opened, path: &Path, how: &OpenHow) -> Self {
        let name = match &how.name {
            Some(name) => name.as_str().into(),
            None => path.to_string_lossy().into(),
        };
        Self {
            name,
            size: opened.size,
            logical: opened.logical,
            read_only: how.read_only,
            flush: FlushState::unknown(),
            store: Store::File(opened.store),
        }
    }

    /// Zeroed memory of `size` bytes (rounded down to sectors), told to have blocks of `logical`.
    pub fn memory(name: &str, size: usize, logical: u32) -> Self {
        let size = size - size % SECTOR as usize;
        Self {
            name: name.into(),
            size: size as u64,
            logical: logical.max(SECTOR as u32),
            read_only: false,
            flush: FlushState::unknown(),
            store: Store::Mem(MemStore::new(size)),
        }
    }

    /// Another device of the engine, as long as it is now.
    pub fn device(device: Arc<Device>) -> Self {
        Self {
            name: device.name(),
            size: device.size(),
            logical: device.logical_block(),
            read_only: device.read_only(),
            flush: FlushState::unknown(),
            store: Store::Device(device),
        }
    }

    /// Name, for messages.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
    /// Size in bytes, a multiple of 512.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Logical block size in bytes.
    pub fn logical_block(&self) -> u32 {
        self.logical
    }
    /// Opened read-only?
    pub fn read_only(&self) -> bool {
        self.read_only
    }
    /// Where the bytes are.
    pub fn store(&self) -> &Store {
        &self.store
    }
    /// How many flushes have failed.
    pub fn flush_failures(&self) -> u64 {
        match &self.store {
            Store::Device(lower) => lower.lost(),
            Store::Mem(_) | Store::File(_) => self.flush.failures.load(Ordering::Acquire),
        }
    }
    pub(crate) fn flush_state(&self) -> &FlushState {
        &self.flush
    }
}

/// Which writes a flush has to cover. `written` is counted after a write has ended and before it
/// is answered, so a flush that begins after the answer sees it.
#[derive(Debug)]
pub(crate) struct FlushState {
    written: AtomicU64,
    flushed: AtomicU64,
    failures: AtomicU64,
}

impl FlushState {
    /// Whatever was written before through other descriptors is taken for unflushed.
    fn unknown() -> Self {
        Self {
            written: AtomicU64::new(1),
            flushed: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }
    /// A write has ended.
    pub(crate) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Release);
    }
    /// The mark to give to [`Self::done`] if a flush is needed.
    pub(crate) fn needed(&self) -> Option<u64> {
        let written = self.written.load(Ordering::Acquire);
        (self.flushed.load(Ordering::Acquire) < written).then_some(written)
    }
    /// A flush that began at `mark` succeeded.
    pub(crate) fn done(&self, mark: u64) {
        self.flushed.fetch_max(mark, Ordering::AcqRel);
    }
    /// A flush failed: what it should have covered may be lost, and the kernel will not say so
    /// again.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_covers_what_ended_before_it() {
        let f = FlushState::unknown();
        let mark = f.needed().expect("the past is unknown");
        f.wrote();
        f.done(mark);
        let mark = f.needed().expect("a write ended after the flush began");
        f.done(mark);
        assert_eq!(f.needed(), None);
    }
}
