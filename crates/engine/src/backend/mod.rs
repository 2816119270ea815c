//! What the bytes of a device lie on: files and block devices, memory, or another device of the
//! engine; and the drivers that carry operations on files to the kernel.

pub(crate) mod choice;
pub(crate) mod driver;
mod file;
mod flush;
pub(crate) mod gate;
mod image_lock;
mod mem;
pub(crate) mod pool;
pub(crate) mod uring;

use std::path::Path;
use std::sync::Arc;

pub use file::{Direct, FileStore, Held, OpenHow};
pub(crate) use flush::{FlushState, Syncing};
pub use image_lock::ImageLock;
pub use mem::MemStore;

use crate::device::Device;
use crate::error::{Error, ErrorKind};
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
            Store::Mem(_) | Store::File(_) => self.flush.failures(),
        }
    }
    /// What kind the last failure of a flush was.
    pub(crate) fn flush_failure(&self) -> ErrorKind {
        let kind = match &self.store {
            Store::Device(lower) => lower.lost_kind(),
            Store::Mem(_) | Store::File(_) => self.flush.failure(),
        };
        kind.unwrap_or(ErrorKind::Io)
    }
    pub(crate) fn flush_state(&self) -> &FlushState {
        &self.flush
    }
}
