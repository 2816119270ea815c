//! Backup and archive files under LVM2's names, so that vgcfgrestore of either finds them.
//!
//! `<backup_dir>/<VG>` holds the VG as last written, `<archive_dir>/<VG>_NNNNN-RANDOM.vg` what it was
//! before each change. A file appears under its name only when its content is durable.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::unnamed::Unnamed;
use crate::config::Config;
use crate::error::{Error, Result};

mod unnamed;

/// The two directories and what is kept in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// backup/backup_dir; `None` = no backups are made.
    pub backup_dir: Option<PathBuf>,
    /// backup/archive_dir; `None` = no archives are made.
    pub archive_dir: Option<PathBuf>,
    /// backup/retain_min
    pub retain_min: usize,
    /// backup/retain_days
    pub retain_days: u64,
    /// global/umask
    pub umask: u32,
}

/// One file of the archive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Archived {
    /// NNNNN: grows with every change.
    pub index: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Store {
    /// As configured; `enabled` is false for `-A n`.
    pub fn from_config(config: &Config, enabled: bool) -> Self {
        let dir =
            |switch: &str, dir: &str| (enabled && config.bool(switch)).then(|| config.path(dir));
        Self {
            backup_dir: dir("backup/backup", "backup/backup_dir"),
            archive_dir: dir("backup/archive", "backup/archive_dir"),
            retain_min: usize::try_from(config.int("backup/retain_min")).unwrap_or(0),
            retain_days: u64::try_from(config.int("backup/retain_days")).unwrap_or(0),
            umask: umask(config),
        }
    }

    /// Writes the text of a VG as it was before a change, then drops what is older than
    /// configured.
    pub fn archive(&self, vg: &str, text: &str) -> Result<Option<PathBuf>> {
        let Some(dir) = &self.archive_dir else {
            return Ok(None);
        };
        make_dir(dir)?;
        let older = list(dir, vg);
        let index = older.last().map_or(0, |a| a.index + 1);
        let failed = |e| Error::io(format!("write archive in {}", dir.display()), e);
        let temp = Unnamed::write(dir, text, 0o666 & !self.umask).map_err(failed)?;
        let mut random = [0u8; 4];
        random.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..4]);
        let number = u32::from_le_bytes(random) >> 1;
        let path = dir.join(format!("{vg}_{index:05}-{number}.vg"));
        temp.appear(&path).map_err(failed)?;
        // The change that is to come must not be more durable than its undo.
        sync_dir(dir).map_err(failed)?;
        self.expire(&older);
        Ok(Some(path))
    }

    /// Oldest first, while more than retain_min would be left.
    fn expire(&self, older: &[Archived]) {
        let age = Duration::from_secs(self.retain_days.saturating_mul(24 * 3600));
        let Some(limit) = SystemTime::now().checked_sub(age) else {
            return;
        };
        let surplus = (older.len() + 1).saturating_sub(self.retain_min);
        for old in older.iter().take(surplus) {
            let written = fs::metadata(&old.path).and_then(|m| m.modified());
            if written.is_ok_and(|t| t > limit) {
                break;
            }
            // One that stays is tried again next time.
            let _ = fs::remove_file(&old.path);
        }
    }

    /// Writes the text of a VG as it is now.
    pub fn backup(&self, vg: &str, text: &str) -> Result<Option<PathBuf>> {
        let Some(dir) = &self.backup_dir else {
            return Ok(None);
        };
        make_dir(dir)?;
        let path = dir.join(vg);
        self.write_file(&path, text)?;
        Ok(Some(path))
    }

    /// Writes any file whole: without a name first, flushed, then in place of what has the name, the
    /// directory flushed.
    pub fn write_file(&self, path: &Path, text: &str) -> Result<()> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let failed = |e| Error::io(format!("write {}", path.display()), e);
        let temp = Unnamed::write(dir, text, 0o666 & !self.umask).map_err(failed)?;
        temp.replace(path).map_err(failed)?;
        sync_dir(dir).map_err(failed)
    }

    /// Forgets the backup of a VG that is gone or renamed.
    pub fn remove_backup(&self, vg: &str) {
        if let Some(dir) = &self.backup_dir {
            let _ = fs::remove_file(dir.join(vg));
        }
    }
}

/// global/umask; written in octal, which the configuration grammar reads as decimal digits unless
/// they begin with 0.
fn umask(config: &Config) -> u32 {
    u32::try_from(config.int("global/umask")).map_or(0o77, |u| u & 0o777)
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> std::io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

fn make_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        sync_dir(parent).map_err(|e| Error::io(format!("create {}", dir.display()), e))?;
    }
    Ok(())
}

/// Archived files of a VG, oldest first.
pub fn list(dir: &Path, vg: &str) -> Vec<Archived> {
    let mut out: Vec<Archived> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| {
            let name = e.file_name();
            let rest = name.to_str()?.strip_prefix(vg)?.strip_prefix('_')?;
            let (index, random) = rest.strip_suffix(".vg")?.split_once('-')?;
            let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            (index.len() >= 5 && digits(index) && digits(random)).then_some(())?;
            Some(Archived {
                index: index.parse().ok()?,
                path: e.path(),
            })
        })
        .collect();
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store(dir: &Path) -> Store {
        Store {
            backup_dir: Some(dir.join("backup")),
            archive_dir: Some(dir.join("archive")),
            retain_min: 3,
            retain_days: 30,
            umask: 0o77,
        }
    }

    #[test]
    fn names_indices_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let s = store(dir.path());
        for n in 0..3 {
            let path = s.archive("vg", &format!("text {n}")).unwrap().unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with(&format!("vg_0000{n}-")), "{name}");
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("text {n}"));
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        s.archive("vg_00000-1", "another VG").unwrap();
        assert_eq!(list(&dir.path().join("archive"), "vg").len(), 3);
        let path = s.backup("vg", "now").unwrap().unwrap();
        s.backup("vg", "later").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "later");
        assert_eq!(fs::read_dir(dir.path().join("backup")).unwrap().count(), 1);
    }

    #[test]
    fn only_old_files_beyond_the_minimum_go() {
        let dir = tempfile::tempdir().unwrap();
        let s = store(dir.path());
        let old = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
        for n in 0..6 {
            let path = s.archive("vg", "x").unwrap().unwrap();
            if n < 4 {
                fs::File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_modified(old)
                    .unwrap();
            }
        }
        s.archive("vg", "x").unwrap();
        let left: Vec<u64> = list(&dir.path().join("archive"), "vg")
            .iter()
            .map(|a| a.index)
            .collect();
        assert_eq!(left.last(), Some(&6));
        assert!(left.len() >= 3 && !left.contains(&0), "{left:?}");
        assert!(left.contains(&4) && left.contains(&5));
    }
}
