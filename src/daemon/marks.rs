//! Files that tell udev's rule (`dist/udev`) which block devices are volumes, and the links to them:
//! `marks/ublkbN` and `marks/loopN` in the run directory. Only what udev knows of does systemd wait for
//! (`/dev/VG/LV` in /etc/fstab), so the links are udev's as well as ours.
//!
//! What must hold: the file of a ublk device is there before its block device is, and no other device's
//! node finds it.

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

    /// Marks the block device that the ublk device of this number is going to have, with the links that
    /// it is going to have.
    pub fn set(&self, id: u32, links: &[PathBuf]) -> Result<(), String> {
        self.write(&self.path(id), links)
    }

    /// Tells of the links of a block device that is there, and has udev look at it again.
    pub fn tell(&self, node: &Path, links: &[PathBuf]) -> Result<(), String> {
        let Some((mark, block)) = self.of_node(node) else {
            return Ok(());
        };
        self.write(&mark, links)?;
        // Without udev nobody listens.
        let _ = std::fs::write(block.join("uevent"), "change");
        Ok(())
    }

    /// Takes the mark of a block device away that is still there: it is going to be another's.
    pub fn forget(&self, node: &Path) {
        if let Some((mark, _)) = self.of_node(node) {
            let _ = std::fs::remove_file(mark);
        }
    }

    /// The mark of a block device, and what the kernel shows of it.
    fn of_node(&self, node: &Path) -> Option<(PathBuf, PathBuf)> {
        let name = node.file_name()?;
        let block = Path::new("/sys/class/block").join(name);
        block.exists().then(|| (self.0.join(name), block))
    }

    /// Variables for the rule: only links in /dev are udev's business.
    fn write(&self, path: &Path, links: &[PathBuf]) -> Result<(), String> {
        let names = links
            .iter()
            .filter_map(|link| link.strip_prefix("/dev").ok());
        let names: Vec<_> = names.filter_map(Path::to_str).collect();
        let text = format!("ULVM_LINKS=\"{}\"\n", names.join(" "));
        let made = std::fs::create_dir_all(&self.0).and_then(|()| std::fs::write(path, text));
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
        marks
            .set(
                4_000_000_003,
                &["/dev/vg/lv".into(), "/run/dev/vg/lv".into()],
            )
            .expect("set");
        let text = std::fs::read_to_string(marks.path(4_000_000_003)).expect("text");
        assert_eq!(text, "ULVM_LINKS=\"vg/lv\"\n");
        marks.set(4_000_000_004, &[]).expect("set");
        let there = |id: u32| dir.path().join(format!("marks/ublkb{id}")).exists();
        marks.clear(4_000_000_003).expect("cleared");
        assert!(!there(4_000_000_003) && there(4_000_000_004));
        std::fs::write(dir.path().join("marks/other"), []).expect("written");
        marks.prune();
        assert!(!there(4_000_000_004), "no such device");
        assert!(dir.path().join("marks/other").exists(), "not one of ours");
    }
}
