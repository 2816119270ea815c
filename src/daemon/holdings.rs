//! Backing files and devices that the supervisor keeps open: each once, however many tables lie on
//! it, with its lock or exclusive claim.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ulvm_engine::backend::{Backing, Held, OpenHow, Store};

use super::order::BackingOrder;
use super::proto::NewBacking;

/// What makes two openings the same: the file or device, and the range.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Key {
    block: bool,
    /// Device and inode of a file, device number of a block device.
    id: (u64, u64),
    range: (u64, Option<u64>),
}

/// A backing file or device that is open.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Open.
    pub backing: Arc<Backing>,
    /// What the worker is told of it.
    pub order: BackingOrder,
    /// Its lock, if it was taken over from another process.
    lock: Option<Arc<OwnedFd>>,
}

impl Holding {
    /// Opens; `id` will be its number.
    pub fn open(id: u64, key: Key, wanted: &NewBacking, read_only: bool) -> Result<Self, String> {
        let how = |read_only| OpenHow {
            read_only,
            exclusive: true,
            lock: true,
            start: wanted.start,
            len: wanted.len,
            logical: wanted.logical,
            ..OpenHow::default()
        };
        // For writing if that is possible at all: another volume may lie on it.
        let opened = Backing::open(&wanted.path, &how(false)).map(|b| (b, false));
        let opened = match opened {
            Err(e) if read_only && not_writable(&e) => {
                Backing::open(&wanted.path, &how(true)).map(|b| (b, true))
            }
            other => other,
        };
        let (backing, read_only) = opened.map_err(|e| said(&wanted.path, &e))?;
        let direct = matches!(backing.store(), Store::File(file) if file.direct());
        Ok(Self {
            lock: None,
            order: BackingOrder {
                id,
                key,
                path: wanted.path.clone(),
                direct,
                read_only,
                start: wanted.start,
                len: wanted.len,
                logical: wanted.logical,
            },
            backing: Arc::new(backing),
        })
    }

    /// Of descriptors that another process had: its own, and that of its lock if it has one.
    pub fn adopt(order: BackingOrder, fds: Vec<OwnedFd>) -> Result<Self, String> {
        let mut fds = fds.into_iter();
        let held = Held {
            fd: fds.next().ok_or("a descriptor is missing")?,
            lock: None,
            direct: order.direct,
        };
        let backing = Backing::adopt(held, &order.path, &order.how()).map_err(|e| e.to_string())?;
        Ok(Self {
            backing: Arc::new(backing),
            order,
            lock: fds.next().map(Arc::new),
        })
    }

    /// The device number of a block device.
    pub fn device_number(&self) -> Option<(u32, u32)> {
        let Key { block, id, .. } = self.order.key;
        block.then(|| (rustix::fs::major(id.0), rustix::fs::minor(id.0)))
    }

    /// Its descriptor, and that of its lock if it has one.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self.backing.store() {
            Store::File(file) => std::iter::once(file.descriptor())
                .chain(file.lock_descriptor())
                .chain(self.lock.as_deref().map(AsFd::as_fd))
                .collect(),
            Store::Mem(_) | Store::Device(_) => Vec::new(),
        }
    }
}

impl BackingOrder {
    /// How its descriptor is used.
    fn how(&self) -> OpenHow {
        OpenHow {
            read_only: self.read_only,
            start: self.start,
            len: self.len,
            logical: self.logical,
            ..OpenHow::default()
        }
    }
}

/// What a path leads to.
pub fn key(wanted: &NewBacking) -> io::Result<Key> {
    let meta = std::fs::metadata(&wanted.path)?;
    let block = meta.file_type().is_block_device();
    Ok(Key {
        block,
        id: match block {
            true => (meta.rdev(), 0),
            false => (meta.dev(), meta.ino()),
        },
        range: (wanted.start, wanted.len),
    })
}

/// The path of a table's word for a device: `major:minor` is looked up among the block devices.
pub fn path_of(word: &str) -> PathBuf {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match word.split_once(':') {
        Some((major, minor)) if number(major) && number(minor) => {
            Path::new("/dev/block").join(word)
        }
        _ => PathBuf::from(word),
    }
}

/// Those of `all` that are not among `used`.
pub fn unused(all: &BTreeMap<u64, Holding>, used: &BTreeSet<u64>) -> Vec<u64> {
    all.keys()
        .filter(|id| !used.contains(id))
        .copied()
        .collect()
}

fn not_writable(error: &ulvm_engine::error::Error) -> bool {
    let ulvm_engine::error::Error::Open { source, .. } = error else {
        return false;
    };
    matches!(
        source.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Names who holds a device, where the kernel tells.
fn said(path: &Path, error: &ulvm_engine::error::Error) -> String {
    let ulvm_engine::error::Error::Open { source, .. } = error else {
        return error.to_string();
    };
    if source.kind() != io::ErrorKind::ResourceBusy {
        return error.to_string();
    }
    match kernel_holders(path).as_slice() {
        [] => format!("{}: in use by another process or mounted", path.display()),
        holders => format!("{}: held by {}", path.display(), holders.join(", ")),
    }
}

/// Names of the kernel's devices that lie on a block device, by device-mapper name where they have
/// one.
fn kernel_holders(path: &Path) -> Vec<String> {
    let Ok(meta) = std::fs::metadata(path) else {
        return Vec::new();
    };
    let rdev = meta.rdev();
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let holders = format!("/sys/dev/block/{major}:{minor}/holders");
    let Ok(entries) = std::fs::read_dir(holders) else {
        return Vec::new();
    };
    let name = |entry: std::fs::DirEntry| {
        let dm = std::fs::read_to_string(entry.path().join("dm/name"));
        let plain = || entry.file_name().to_string_lossy().into_owned();
        dm.map_or_else(|_| plain(), |name| name.trim().to_owned())
    };
    entries.flatten().map(name).collect()
}
