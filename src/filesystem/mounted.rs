//! Where the file system of a device is mounted, or swapped to.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::mounts::Mounts;

/// A place where a file system is mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mounted {
    /// The folder.
    pub folder: PathBuf,
    /// As for `mount -o`: `rw,noatime`...
    pub options: String,
    /// The whole file system is seen there, not a folder of it.
    pub whole: bool,
}

/// How a device is in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Situation {
    /// Every mount of it that this process sees.
    pub mounts: Vec<Mounted>,
    /// The system swaps to it.
    pub swapping: bool,
}

impl Situation {
    /// As it is now for a block device (or a link to one). Nothing can be mounted from a plain file.
    pub fn of(device: &Path) -> std::io::Result<Self> {
        let meta = std::fs::metadata(device)?;
        let number = (
            rustix::fs::major(meta.rdev()),
            rustix::fs::minor(meta.rdev()),
        );
        if number == (0, 0) {
            return Ok(Self::default());
        }
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        let swapping = swaps.lines().skip(1).any(|line| {
            let name = line.split_whitespace().next().unwrap_or_default();
            std::fs::metadata(name).is_ok_and(|m| m.rdev() == meta.rdev())
        });
        // btrfs shows a number of its own for each subvolume, but names the device it came from.
        let mounts = Mounts::read().of(number, |source| {
            std::fs::metadata(source).is_ok_and(|m| m.rdev() == meta.rdev())
        });
        Ok(Self { mounts, swapping })
    }
}

/// Nodes of the partitions that the kernel shows on a block device.
pub fn partitions(device: &Path) -> Vec<PathBuf> {
    let name = std::fs::canonicalize(device).ok();
    let name = name
        .as_deref()
        .and_then(Path::file_name)
        .unwrap_or_default();
    let entries = std::fs::read_dir(Path::new("/sys/class/block").join(name));
    let entries = entries.into_iter().flatten().flatten();
    let parts = entries.filter(|entry| entry.path().join("partition").exists());
    let folder = device.parent().unwrap_or(Path::new("/dev"));
    parts.map(|part| folder.join(part.file_name())).collect()
}
