//! Regular files and block devices.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags};
use rustix::io::Errno;

use super::choice::Hints;
use super::gate::Gate;
use super::image_lock::ImageLock;
use crate::error::ErrorKind;
use crate::io::SECTOR;

/// tmpfs, ramfs, hugetlbfs: files that are memory, where no operation waits for a device.
const MEMORY_FILESYSTEMS: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];

/// ext2 to ext4, xfs, btrfs, f2fs: file systems of this machine, whose writes to the page cache do not
/// wait for a network or a user process.
const LOCAL_FILESYSTEMS: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// Whether the page cache is passed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direct {
    /// Block devices directly, regular files through the page cache.
    #[default]
    Auto,
    /// Directly; an error if the file cannot.
    Always,
    /// Through the page cache.
    Never,
}

/// How a backing file is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenHow {
    /// Only for reading.
    pub read_only: bool,
    /// Page cache or not.
    pub direct: Direct,
    /// Block devices: refuse if the kernel or somebody else holds it exclusively.
    pub exclusive: bool,
    /// Regular files: refuse if somebody else uses the image ([`ImageLock`]), and keep others
    /// from it.
    pub lock: bool,
    /// First byte of the range that is used (a partition).
    pub start: u64,
    /// Length of the range in bytes; to the end if none.
    pub len: Option<u64>,
    /// Logical block size to work with, if larger than the device's own.
    pub logical: Option<u32>,
    /// Name for messages, if not the path.
    pub name: Option<String>,
}

/// An open file.
#[derive(Debug)]
pub struct FileStore {
    pub(crate) fd: Arc<OwnedFd>,
    /// Added to every offset.
    pub(crate) start: u64,
    /// O_DIRECT?
    pub(crate) direct: bool,
    /// What offsets and lengths must be multiples of: 1 through the page cache.
    pub(crate) align: u64,
    /// What memory addresses must be multiples of.
    pub(crate) mem_align: u64,
    /// No operation waits for a device.
    pub(crate) memory: bool,
    /// A regular file on a file system of this machine.
    pub(crate) local: bool,
    /// Keeps read-modify-write apart from other writes.
    pub(crate) gate: Gate,
    /// What was learned about its speed.
    pub(crate) hints: Hints,
    /// Keeps others from the image.
    lock: Option<Arc<ImageLock>>,
}

pub(super) struct Opened {
    pub store: FileStore,
    pub size: u64,
    pub logical: u32,
}

/// A file or device that is held, but not used yet: for handing it to another process, which
/// makes a [`super::Backing`] of the descriptor ([`super::Backing::adopt`]).
#[derive(Debug)]
pub struct Held {
    /// Open as asked for; of a block device, it is also the exclusive claim.
    pub fd: OwnedFd,
    /// Keeps others from an image.
    pub lock: Option<Arc<ImageLock>>,
    /// Passes the page cache by?
    pub direct: bool,
}

pub(super) fn open(path: &Path, how: &OpenHow) -> io::Result<Opened> {
    let held = hold(path, how)?;
    examine(held, how)
}

/// Opens and locks.
pub(super) fn hold(path: &Path, how: &OpenHow) -> io::Result<Held> {
    let kind = std::fs::metadata(path)?.file_type();
    let is_block = kind.is_block_device();
    // What is neither file nor block device is refused later; opening a FIFO for its lock would wait
    // for somebody at the other end.
    let lock = match how.lock && kind.is_file() {
        true => Some(ImageLock::take(path, !how.read_only)?),
        false => None,
    };
    let direct = match how.direct {
        Direct::Auto => is_block,
        Direct::Always => true,
        Direct::Never => false,
    };
    let mut flags = if how.read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    flags |= OFlags::CLOEXEC | OFlags::NONBLOCK;
    if how.exclusive && is_block {
        flags |= OFlags::EXCL;
    }
    if direct {
        flags |= OFlags::DIRECT;
    }
    let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    rustix::fs::fcntl_setfl(&fd, flags & !OFlags::NONBLOCK)?;
    Ok(Held { fd, lock, direct })
}

/// Finds out what must be known of an open file to use it.
pub(super) fn examine(held: Held, how: &OpenHow) -> io::Result<Opened> {
    let Held { fd, lock, direct } = held;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    let regular = kind == rustix::fs::FileType::RegularFile;
    if !regular && kind != rustix::fs::FileType::BlockDevice {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a regular file nor a block device",
        ));
    }
    let whole = rustix::fs::seek(&fd, rustix::fs::SeekFrom::End(0))?;
    let size = window(whole, how)?;
    let own_logical = match regular {
        true => SECTOR as u32,
        false => rustix::fs::ioctl_blksszget(&fd)?,
    };
    let logical = own_logical.max(how.logical.unwrap_or(0)).max(SECTOR as u32);
    if !logical.is_power_of_two() || logical > 65536 || how.start % u64::from(own_logical) != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "block size or start of the range is not usable",
        ));
    }
    let (mem_align, align) = match direct {
        true => direct_alignment(&fd, own_logical, u64::from(logical)),
        false => (1, 1),
    };
    if how.start % align != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the range does not start at a multiple of {align} bytes"),
        ));
    }
    let file_system = rustix::fs::fstatfs(&fd)?.f_type as u64;
    let memory = regular && MEMORY_FILESYSTEMS.contains(&file_system);
    let store = FileStore {
        fd: Arc::new(fd),
        start: how.start,
        direct,
        align,
        mem_align,
        memory,
        local: regular && (memory || LOCAL_FILESYSTEMS.contains(&file_system)),
        gate: Gate::default(),
        hints: Hints::default(),
        lock,
    };
    Ok(Opened {
        store,
        // Whole blocks only: what is changed around a request must lie inside.
        size: size - size % align,
        logical,
    })
}

/// Size of the used range of a file, in whole sectors.
fn window(whole: u64, how: &OpenHow) -> io::Result<u64> {
    let rest = whole.checked_sub(how.start);
    let size = match (rest, how.len) {
        (Some(rest), None) => rest,
        (Some(rest), Some(len)) if len <= rest => len,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the range ends beyond the device's {whole} bytes"),
            ));
        }
    };
    Ok(size - size % SECTOR)
}

/// Memory and offset alignment that O_DIRECT needs, from the kernel where it tells (6.1 and
/// later), else by trying.
fn direct_alignment(fd: &OwnedFd, own_logical: u32, logical: u64) -> (u64, u64) {
    let told = rustix::fs::statx(fd.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    if let Ok(st) = told
        && st.stx_dio_offset_align.is_power_of_two()
        && st.stx_dio_mem_align.is_power_of_two()
    {
        return (
            u64::from(st.stx_dio_mem_align),
            logical.max(u64::from(st.stx_dio_offset_align)),
        );
    }
    let mut probe = crate::buf::Buf::zeroed(512);
    let small = rustix::io::pread(fd, &mut probe[..], 0).is_ok();
    let least = if small { own_logical.into() } else { 4096 };
    (least.max(512), logical.max(least))
}

impl FileStore {
    /// What kind of failure `errno` is, of an operation that ends at byte `end` of the range.
    ///
    /// A block device that was removed or has become shorter has nothing to read (which is told as
    /// EIO) and "no space" to write; a client that hears ENOSPC would wait for more space.
    pub(crate) fn kind_of(&self, errno: Errno, end: u64) -> ErrorKind {
        let kind = ErrorKind::from_errno(errno.raw_os_error());
        if !matches!(kind, ErrorKind::NoSpace | ErrorKind::Io) {
            return kind;
        }
        let is_block = rustix::fs::fstat(&self.fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_block_device());
        match rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::End(0)) {
            Ok(0) if is_block => ErrorKind::Gone,
            Ok(size) if is_block && size < self.start + end => ErrorKind::Io,
            _ => kind,
        }
    }

    /// The descriptor.
    pub fn as_file(&self) -> io::Result<File> {
        Ok(File::from(self.fd.try_clone()?))
    }
    /// The descriptor itself, to be handed to another process.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
    /// The descriptor that keeps others from the image, if there is one.
    pub fn lock_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_deref().map(ImageLock::descriptor)
    }
    /// Passes the page cache by?
    pub fn direct(&self) -> bool {
        self.direct
    }
}
