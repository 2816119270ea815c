//! Extents that somebody has open. Who keeps an LV open for others holds shared locks on the bytes of
//! its extents in the image files or devices (`F_OFD_SETLK`), for as long as it does. Commands that
//! change metadata ask for such locks before they take extents away from an LV.
//!
//! No byte of them meets the other locks on such files: that of commands stands on the PV's first
//! byte, those of image files on bytes below 4096, and no extent begins before that.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use ulvm_engine::backend::ImageLock;

use crate::error::{Error, Kind, Result};
use crate::inventory::{Device, DeviceKind};
use crate::lock;
use crate::mounts::Mounts;
use crate::sys;

/// Locks that say what is open, until it is dropped.
#[derive(Debug, Default)]
pub struct InUse {
    files: Vec<File>,
}

/// Bytes of a device or image file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Range {
    /// First byte, from the start of the PV.
    pub start: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Where extents and areas for boot loaders may begin at the earliest.
const FIRST: u64 = 4096;

impl InUse {
    /// Locks ranges of a device. File systems without such locks are passed over.
    pub(crate) fn add(&mut self, device: &Device, mut ranges: Vec<Range>) -> io::Result<()> {
        ranges.sort_unstable();
        let file = File::open(&device.path)?;
        let mut rest = ranges.into_iter().peekable();
        while let Some(mut range) = rest.next() {
            while let Some(next) = rest.next_if(|n| n.start == range.start + range.len) {
                range.len += next.len;
            }
            let start = device.start.0.saturating_add(range.start);
            match sys::ofd_try_lock(file.as_fd(), false, start, range.len) {
                Ok(true) => {}
                Ok(false) => return Err(io::ErrorKind::ResourceBusy.into()),
                Err(e) if unsupported(&e) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// Keeps the locks for as long as the process lives.
    pub fn until_exit(self) {
        std::mem::forget(self.files);
    }
}

/// Who has bytes of a device open, if anybody has. `Some("")` = somebody who cannot be named. A
/// device that cannot be asked counts as free: its locks could not be taken either.
pub(crate) fn holder(device: &Device, range: Range) -> Option<String> {
    let file = File::open(&device.path).ok()?;
    let start = device.start.0.saturating_add(range.start);
    if !sys::ofd_is_locked(file.as_fd(), start, range.len).unwrap_or(false) {
        return None;
    }
    Some(lock::holder(&file).unwrap_or_default())
}

/// Keeps others from opening an image file, by the rules of QEMU; `None` for block devices. Refused
/// if a virtual machine, a server or another program that keeps these rules has it open.
pub(crate) fn lock_image(path: &Path, name: &str) -> Result<Option<Arc<ImageLock>>> {
    if !path.is_file() {
        return Ok(None);
    }
    match ImageLock::take(path, true) {
        Ok(lock) => Ok(Some(lock)),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            let by = File::open(path).ok().and_then(|f| lock::holder(&f));
            Err(Error::new(
                Kind::Locked,
                format!(
                    "Can't open {name} exclusively.  The image is in use by {}.",
                    by.as_deref().unwrap_or("another process")
                ),
            ))
        }
        Err(e) => Err(Error::io(format!("lock {name}"), e)),
    }
}

/// All bytes that extents of a device may lie in.
pub(crate) fn whole(device: &Device) -> Range {
    Range {
        start: FIRST,
        len: device.size.0.saturating_sub(FIRST).max(1),
    }
}

/// What a device is used for right now, as far as it can be told without device-mapper.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Use {
    /// LVs on it are open: served by ulvm, or mapped by the kernel's device-mapper.
    pub lv: bool,
    /// A file system on it is mounted.
    pub mounted: bool,
}

/// Asks locks, sysfs and the table of mounts.
pub(crate) fn use_of(device: &Device) -> Use {
    let served = holder(device, whole(device)).is_some();
    let DeviceKind::Block { major, minor } = device.kind else {
        return Use {
            lv: served,
            mounted: false,
        };
    };
    let holders = std::fs::read_dir(format!("/sys/dev/block/{major}:{minor}/holders"));
    let mut mapped = holders.into_iter().flatten().flatten();
    let mapped = mapped.any(|e| e.file_name().to_string_lossy().starts_with("dm-"));
    Use {
        lv: served || mapped,
        mounted: Mounts::read().has_device((major, minor)),
    }
}

fn unsupported(e: &io::Error) -> bool {
    let codes = [libc::ENOLCK, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOSYS];
    e.raw_os_error().is_some_and(|code| codes.contains(&code))
}
