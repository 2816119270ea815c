//! Extents that somebody has open. Who keeps an LV open for others holds shared locks on the bytes of
//! its extents in the image files or devices (`F_OFD_SETLK`), for as long as it does. Commands that
//! change metadata ask for such locks before they take extents away from an LV.
//!
//! No byte of them meets the other locks on such files: that of commands stands on the PV's first
//! byte, those of image files on bytes below 4096, and no extent begins before that.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
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

/// Bytes that this process has for itself, until it is dropped: nobody can open an LV on them.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    files: Vec<File>,
}

impl Alone {
    /// Takes a range of a device. False if somebody has some of it open. File systems without such
    /// locks are passed over.
    pub(crate) fn add(&mut self, device: &Device, range: Range) -> io::Result<bool> {
        let file = File::options().read(true).write(true).open(&device.path)?;
        let start = device.start.0.saturating_add(range.start);
        match sys::ofd_try_lock(file.as_fd(), true, start, range.len) {
            Ok(false) => return Ok(false),
            Err(e) if !unsupported(&e) => return Err(e),
            Ok(true) | Err(_) => {}
        }
        self.files.push(file);
        Ok(true)
    }
}

/// Locks ranges, whose starts are counted from the start of the file, through a descriptor that is
/// open. False if somebody else has some of them for himself. File systems without such locks are
/// passed over.
pub(crate) fn claim(fd: BorrowedFd<'_>, ranges: Vec<Range>) -> io::Result<bool> {
    for range in merged(ranges) {
        match sys::ofd_try_lock(fd, false, range.start, range.len) {
            Ok(true) => {}
            Err(e) if unsupported(&e) => return Ok(true),
            other => return other,
        }
    }
    Ok(true)
}

/// Gives back all locks of a descriptor but those on these ranges.
pub(crate) fn release_but(fd: BorrowedFd<'_>, ranges: Vec<Range>) -> io::Result<()> {
    let mut from = FIRST;
    for range in merged(ranges) {
        if range.start > from {
            sys::ofd_unlock(fd, from, range.start - from)?;
        }
        from = from.max(range.start.saturating_add(range.len));
    }
    // To the end, however far that is.
    sys::ofd_unlock(fd, from, 0)
}

/// Those from where extents may lie, in order, each as long as it can be.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let end = range.start.saturating_add(range.len).min(i64::MAX as u64);
        let start = range.start.max(FIRST);
        match out.last_mut() {
            _ if end <= start => {}
            Some(last) if start <= last.start + last.len => {
                last.len = last.len.max(end - last.start);
            }
            _ => out.push(Range {
                start,
                len: end - start,
            }),
        }
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> Range {
        Range { start, len }
    }

    #[test]
    fn ranges_are_joined_and_keep_off_other_locks() {
        let all = vec![
            range(9000, 1000),
            range(0, 5000),
            range(8192, 808),
            range(0, 16),
        ];
        assert_eq!(merged(all), [range(4096, 904), range(8192, 1808)]);
        assert_eq!(merged(vec![range(u64::MAX - 1, 5)]), []);
    }

    #[test]
    fn what_is_not_kept_is_given_back() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let ours = file.reopen().expect("opened");
        let other = file.reopen().expect("opened");
        let locked = |start| sys::ofd_is_locked(other.as_fd(), start, 1).expect("asked");
        // A lock of another kind on the same file.
        assert!(sys::ofd_try_lock(ours.as_fd(), false, 100, 1).expect("locked"));
        let both = vec![range(8192, 4096), range(65536, 4096)];
        assert!(claim(ours.as_fd(), both).expect("claimed"));
        assert!(locked(8192) && locked(69631) && !locked(12288));
        release_but(ours.as_fd(), vec![range(65536, 4096)]).expect("released");
        assert!(!locked(8192) && locked(65536));
        release_but(ours.as_fd(), Vec::new()).expect("released");
        assert!(!locked(65536) && locked(100));
    }
}
