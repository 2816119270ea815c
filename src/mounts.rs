//! What is mounted where, as proc_pid_mountinfo(5) tells it.

use std::path::{Path, PathBuf};

/// The mounts that this process sees, read once.
#[derive(Clone, Debug)]
pub(crate) struct Mounts(String);

impl Mounts {
    /// As they are now; none where /proc is not there.
    pub fn read() -> Self {
        Self(std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Is a file system on this block device mounted?
    pub fn has_device(&self, (major, minor): (u32, u32)) -> bool {
        let device = format!("{major}:{minor}");
        self.words(2).any(|word| word == device)
    }

    /// Is something mounted on this folder?
    pub fn has_folder(&self, folder: &Path) -> bool {
        let folder = folder.to_string_lossy().replace(' ', SPACE);
        self.words(4).any(|word| word == folder)
    }

    /// Where file systems of a type are mounted.
    pub fn folders_of(&self, kind: &str) -> Vec<PathBuf> {
        let kind = format!(" - {kind} ");
        let lines = self.0.lines().filter(|line| line.contains(&kind));
        let folders = lines.filter_map(|line| line.split(' ').nth(4));
        folders.map(|f| f.replace(SPACE, " ").into()).collect()
    }

    fn words(&self, n: usize) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(move |l| l.split(' ').nth(n))
    }
}

/// A blank in a folder's name.
const SPACE: &str = "\\040";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_device_folder_and_type() {
        let mounts = Mounts(
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             30 22 0:26 / /run/a\\040b rw - fuse.ulvm ulvm rw\n"
                .into(),
        );
        assert!(mounts.has_device((8, 1)) && mounts.has_device((0, 26)));
        assert!(!mounts.has_device((8, 11)) && !mounts.has_device((1, 8)));
        let folder = PathBuf::from("/run/a b");
        assert!(mounts.has_folder(&folder) && !mounts.has_folder(Path::new("/run")));
        assert_eq!(mounts.folders_of("fuse.ulvm"), [folder]);
        assert!(mounts.folders_of("fuse").is_empty());
    }
}
