//! Files that tell udev's rule (`dist/udev`) which ublk devices are volumes: `marks/ublkbN` in the run
//! directory.
//!
//! What must hold: the file is there before the block device is, and no other device's node finds it.

use std::io;
use std::path::{Path, PathBuf};

use super::ublk::shown;

/// The folder of marks.
#[derive(Clone, Debug)]
pub struct Marks(PathBuf);

impl Marks {
    /// Of a run directory.
    pub fn of(run_dir: &Path) -> Self {
        Self(run_dir.join("marks"))
    }

    /// Marks the block device that the ublk device of this number is going to have.
    pub fn set(&self, id: u32) -> Result<(), String> {
        let path = self.path(id);
        let made = std::fs::create_dir_all(&self.0).and_then(|()| std::fs::write(&path, []));
        made.map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Takes the mark away, once the device is gone.
    pub fn clear(&self, id: u32) -> io::Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Takes away what processes that were killed have left: marks of devices that are no volumes.
    pub fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.0) else {
            return;
        };
        let volumes = shown();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let id = name
                .to_str()
                .and_then(|n| n.strip_prefix("ublkb")?.parse().ok());
            if id.is_some_and(|id: u32| !volumes.contains(&id)) {
                // One that stays is looked at by the next.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, id: u32) -> PathBuf {
        self.0.join(format!("ublkb{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_and_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let marks = Marks::of(dir.path());
        marks.clear(3).expect("none is there");
        // Numbers that no kernel gives.
        marks.set(4_000_000_003).expect("set");
        marks.set(4_000_000_004).expect("set");
        let there = |id: u32| dir.path().join(format!("marks/ublkb{id}")).exists();
        marks.clear(4_000_000_003).expect("cleared");
        assert!(!there(4_000_000_003) && there(4_000_000_004));
        std::fs::write(dir.path().join("marks/other"), []).expect("written");
        marks.prune();
        assert!(!there(4_000_000_004), "no such device");
        assert!(dir.path().join("marks/other").exists(), "not one of ours");
    }
}
