//! A file that has no name until its content is durable, so that a command that is killed leaves
//! nothing behind.
//!
//! A name that is free is taken in one step. One that is taken needs a second name for a moment; that
//! one is always the same, so the next command replaces what was left under it. Where the filesystem
//! knows no files without names (`O_TMPFILE`), a temporary name is used from the start, and those
//! that are too old to be in use are removed first.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// What temporary names begin with.
const PREFIX: &str = ".ulvm_";
/// No command takes so long between making a temporary file and renaming it.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
/// Tries at a second name that others take at the same time.
const TRIES: usize = 16;

/// A file whose content is durable and which has no name yet.
#[derive(Debug)]
pub(super) enum Unnamed {
    /// Without any name.
    Open(File),
    /// With a temporary one.
    Temporary(tempfile::NamedTempFile),
}

impl Unnamed {
    /// Writes a file into the filesystem of a directory.
    pub fn write(dir: &Path, text: &str, mode: u32) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut out = match rustix::fs::open(dir, flags, Mode::from_raw_mode(mode)) {
            Ok(fd) => Self::Open(fd.into()),
            Err(_) => Self::temporary(dir, mode)?,
        };
        let file = match &mut out {
            Self::Open(file) => file,
            Self::Temporary(temp) => temp.as_file_mut(),
        };
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        Ok(out)
    }

    fn temporary(dir: &Path, mode: u32) -> io::Result<Self> {
        remove_left_behind(dir);
        tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(dir)
            .map(Self::Temporary)
    }

    /// Gives it a name that must be free.
    pub fn appear(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Open(file) => link(&file, path),
            Self::Temporary(temp) => temp.persist_noclobber(path).map_err(|e| e.error).map(drop),
        }
    }

    /// Gives it a name in place of what has it now.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        let file = match self {
            Self::Open(file) => file,
            Self::Temporary(temp) => return temp.persist(path).map_err(|e| e.error).map(drop),
        };
        let second = second_name(path)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
        for _ in 0..TRIES {
            match link(&file, &second) {
                Ok(()) => return fs::rename(&second, path),
                // Left behind, or somebody else writes the same file now and will not miss it: his
                // rename fails, or ours follows.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let _ = fs::remove_file(&second);
                }
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    // The way that needs no privilege.
    let by_fd = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, by_fd, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

/// The name that a file has for a moment before it replaces `path`.
fn second_name(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(PREFIX);
    name.push(path.file_name()?);
    Some(path.with_file_name(name))
}

fn remove_left_behind(dir: &Path) {
    let Some(limit) = SystemTime::now().checked_sub(LEFT_BEHIND) else {
        return;
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let written = entry.metadata().and_then(|m| m.modified());
        if ours && written.is_ok_and(|t| t < limit) {
            // One that stays is tried again next time.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut out: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        out.sort();
        out
    }

    #[test]
    fn nothing_has_a_name_before_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = Unnamed::write(dir.path(), "text", 0o600).unwrap();
        if matches!(file, Unnamed::Open(_)) {
            // Killed here, a command leaves nothing.
            assert!(names(dir.path()).is_empty());
        }
        let path = dir.path().join("vg");
        file.appear(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = Unnamed::write(dir.path(), "x", 0o600).unwrap();
        let taken = again.appear(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_was_left_under_the_second_name_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vg");
        fs::write(&path, "old").unwrap();
        fs::write(dir.path().join(".ulvm_vg"), "left").unwrap();
        let file = Unnamed::write(dir.path(), "new", 0o600).unwrap();
        file.replace(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["vg"]);
    }

    #[test]
    fn old_temporary_names_go_and_young_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let old = File::create(dir.path().join(".ulvm_a")).unwrap();
        old.set_modified(SystemTime::now() - 2 * LEFT_BEHIND)
            .unwrap();
        File::create(dir.path().join(".ulvm_b")).unwrap();
        File::create(dir.path().join("vg")).unwrap();
        let temp = Unnamed::temporary(dir.path(), 0o600).unwrap();
        temp.appear(&dir.path().join("new")).unwrap();
        assert_eq!(names(dir.path()), [".ulvm_b", "new", "vg"]);
    }
}
