//! What is mounted where, as proc_pid_mountinfo(5) tells it.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::filesystem::Mounted;

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
        folders.map(unescaped).collect()
    }

    /// Mounts of whole file systems on a block device, known by its number or by the name of what
    /// was mounted.
    pub fn of(&self, (major, minor): (u32, u32), is_it: impl Fn(&Path) -> bool) -> Vec<Mounted> {
        let number = format!("{major}:{minor}");
        let of_line = |line: &str| {
            let (place, source) = line.split_once(" - ")?;
            let place: Vec<&str> = place.split(' ').collect();
            let source = unescaped(source.split(' ').nth(1)?);
            let own = *place.get(2)? == number;
            (own || source.starts_with("/") && is_it(&source)).then(|| Mounted {
                folder: unescaped(place.get(4).unwrap_or(&"/")),
                options: place.get(5).unwrap_or(&"rw").to_string(),
                whole: place.get(3) == Some(&"/"),
            })
        };
        self.0.lines().filter_map(of_line).collect()
    }

    fn words(&self, n: usize) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(move |l| l.split(' ').nth(n))
    }
}

/// A name with its escapes undone: blanks, tabs, line ends and backslashes stand as three octal
/// digits.
fn unescaped(name: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = &tail[if code.is_some() { 3 } else { 0 }..];
    }
    std::ffi::OsString::from_vec(bytes).into()
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
        let of = |number| mounts.of(number, |source| source == Path::new("/dev/sda1"));
        assert_eq!(of((8, 1)).len(), 1);
        assert_eq!(of((0, 26))[0].folder, Path::new("/"), "by its name");
        assert_eq!(of((0, 26))[1].folder, Path::new("/run/a b"));
        assert_eq!(of((0, 26))[1].options, "rw");
    }

    #[test]
    fn escapes_are_undone() {
        let cases = [
            ("a\\040b", "a b"),
            ("\\134x\\011", "\\x\t"),
            ("\\9\\04", "\\9\\04"),
        ];
        for (shown, meant) in cases {
            assert_eq!(unescaped(shown), Path::new(meant));
        }
    }
}
