//! What makes a device visible: loop devices over the folder's files, and links.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatxFlags};
use serde::{Deserialize, Serialize};

use crate::mounts::Mounts;
use crate::sys::loops;

/// Tries at getting a loop device that somebody else has not taken meanwhile.
const TRIES: usize = 64;
/// How long a loop device may take to let go of its file.
const PATIENCE: Duration = Duration::from_secs(3);

/// A loop device of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoopNode {
    /// `/dev/loopN`.
    pub path: PathBuf,
    /// Device number.
    pub number: (u32, u32),
}

impl LoopNode {
    /// Of a block device that is there.
    pub fn of(path: &Path) -> io::Result<Self> {
        let rdev = std::fs::metadata(path)?.rdev();
        Ok(Self {
            path: path.to_owned(),
            number: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        })
    }
}

/// Attaches a loop device, that of number `minor` if one is wanted, to a file. It passes the page
/// cache by, has blocks of `logical` bytes, and refuses writes if it is to, until [`set_read_only`]
/// lets it take them.
pub fn attach(
    file: &Path,
    read_only: bool,
    logical: u32,
    minor: Option<u32>,
) -> io::Result<LoopNode> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    for _ in 0..TRIES {
        let number = match minor {
            Some(minor) => minor,
            None => loops::free(control.as_fd())?,
        };
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open_loop(&path, number)?;
        let attached = loops::attach(device.as_fd(), file.as_fd(), logical);
        match attached {
            Ok(()) => {
                let rdev = device.metadata()?.rdev();
                let node = LoopNode {
                    path,
                    number: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
                };
                let right = match loops::is_direct(device.as_fd()) {
                    Ok(true) => loops::set_read_only(device.as_fd(), read_only),
                    Ok(false) => Err(io::Error::other(
                        "the loop device cannot pass the page cache by",
                    )),
                    Err(e) => Err(e),
                };
                drop(device);
                return match right {
                    Ok(()) => Ok(node),
                    Err(e) => detach(&node).and(Err(e)),
                };
            }
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && minor.is_none() => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("no free loop device"))
}

/// Opens a loop device; where nobody makes nodes of new devices, it is made.
fn open_loop(path: &Path, number: u32) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mode = rustix::fs::Mode::from_raw_mode(0o660);
            let kind = rustix::fs::FileType::BlockDevice;
            let device = rustix::fs::makedev(loops::MAJOR, number);
            match rustix::fs::mknodat(CWD, path, kind, mode, device) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => open(),
                Err(e) => Err(e.into()),
            }
        }
        other => other,
    }
}

/// Detaches a loop device. Refused (`ResourceBusy`) while somebody else has it open or mounted.
pub fn detach(node: &LoopNode) -> io::Result<()> {
    if !is_attached(node) {
        return Ok(());
    }
    let exclusive = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(&node.path)?;
    loops::detach(exclusive.as_fd())?;
    drop(exclusive);
    let began = Instant::now();
    while is_attached(node) {
        if began.elapsed() > PATIENCE {
            // Somebody opened it in the last moment: it stays, until the next try.
            let device = File::open(&node.path)?;
            loops::keep(device.as_fd())?;
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Tells a loop device that its file has another size.
pub fn resized(node: &LoopNode, file: &Path) -> io::Result<()> {
    // The kernel asks for the file's size only now and then by itself.
    std::fs::metadata(file)?;
    loops::take_size(File::open(&node.path)?.as_fd())
}

/// How many bytes a block device has.
pub fn size(node: &LoopNode) -> io::Result<u64> {
    let (major, minor) = node.number;
    let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/size"))?;
    let sectors: u64 = text
        .trim()
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(sectors.saturating_mul(512))
}

/// Lets a loop device take writes, or not any more.
pub fn set_read_only(node: &LoopNode, read_only: bool) -> io::Result<()> {
    loops::set_read_only(File::open(&node.path)?.as_fd(), read_only)
}

fn sysfs(node: &LoopNode) -> PathBuf {
    let (major, minor) = node.number;
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}/loop/backing_file"))
}

fn is_attached(node: &LoopNode) -> bool {
    std::fs::read_to_string(sysfs(node)).is_ok_and(|file| !file.trim().is_empty())
}

/// Detaches what a daemon that is dead has left: loop devices over files of its folder.
pub fn detach_dead(folder: &Path) {
    let Ok(blocks) = std::fs::read_dir("/sys/block") else {
        return;
    };
    for block in blocks.flatten() {
        let name = block.file_name().to_string_lossy().into_owned();
        let file = std::fs::read_to_string(block.path().join("loop/backing_file"));
        let ours = file.is_ok_and(|file| Path::new(file.trim_end()).starts_with(folder));
        if !ours {
            continue;
        }
        if let Ok(device) = File::open(Path::new("/dev").join(&name)) {
            // Where it is mounted, it goes when that ends.
            let _ = loops::detach(device.as_fd());
        }
    }
}

/// Does a link lead to `node`? udev makes its links relative, ours are not.
pub fn leads(link: &Path, node: &Path) -> bool {
    let Ok(to) = std::fs::read_link(link) else {
        return false;
    };
    let mut full = link.parent().unwrap_or(Path::new("/")).to_owned();
    for part in to.components() {
        match part {
            Component::ParentDir => {
                full.pop();
            }
            Component::CurDir => {}
            part => full.push(part),
        }
    }
    full == node
}

/// Makes a link. One that is there already is replaced only if it is a link. udev may make the same
/// link at the same time.
pub fn link(path: &Path, node: &Path) -> io::Result<()> {
    const TRIES: usize = 8;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut made = Ok(());
    for _ in 0..TRIES {
        if leads(path, node) {
            return Ok(());
        }
        match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.file_type().is_symlink() => match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            },
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is no link has this name",
                ));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        made = symlink(node, path);
        match &made {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            // udev removes a folder in the moment in which its last link goes.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            }
            _ => return made,
        }
    }
    made
}

/// Removes a link if it leads to `node`, and its folder if that is empty now.
pub fn unlink(path: &Path, node: &Path) {
    if leads(path, node) {
        let _ = std::fs::remove_file(path);
        let parent = path.parent();
        if let Some(parent) = parent.filter(|p| p.file_name().is_some_and(|n| n != "mapper")) {
            // Fails while other links are in it.
            let _ = std::fs::remove_dir(parent);
        }
    }
}

/// Where a device can be seen open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its file or block device.
    pub path: PathBuf,
    /// Device number of its block device.
    pub block: Option<(u32, u32)>,
    /// Inode number of its file in the folder.
    pub file: Option<u64>,
}

/// Which of these nodes somebody has open, mounted, swaps to, or has put a device on.
pub fn in_use(folder: &Path, nodes: &[Node]) -> Vec<bool> {
    let mounts = Mounts::read();
    let held = |number| mounts.has_device(number) || has_holders(number);
    let mut used: Vec<bool> = nodes.iter().map(|n| n.block.is_some_and(held)).collect();
    let all = || nodes.iter().enumerate();
    let by_path: HashMap<&Path, usize> = all().map(|(n, node)| (node.path.as_path(), n)).collect();
    let by_file: HashMap<u64, usize> = all()
        .filter_map(|(n, node)| Some((node.file?, n)))
        .collect();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let name = process.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(fds) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for fd in fds.flatten() {
            let Ok(to) = std::fs::read_link(fd.path()) else {
                continue;
            };
            // A file that was renamed is seen under its old name by those who have it open.
            let n = match to.starts_with(folder) {
                true => file_number(&fd.path()).and_then(|ino| by_file.get(&ino)),
                false => by_path.get(to.as_path()),
            };
            if let Some(n) = n {
                used[*n] = true;
            }
        }
    }
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let swaps = swaps.lines().filter_map(|l| l.split_whitespace().next());
    for n in swaps.filter_map(|swap| by_path.get(Path::new(swap))) {
        used[*n] = true;
    }
    used
}

/// The inode number of an open file, without a word to who serves it.
fn file_number(fd: &Path) -> Option<u64> {
    let (flags, wanted) = (AtFlags::STATX_DONT_SYNC, StatxFlags::INO);
    let seen = rustix::fs::statx(CWD, fd, flags, wanted).ok()?;
    Some(seen.stx_ino)
}

/// Does it lie below another device of the kernel's?
fn has_holders((major, minor): (u32, u32)) -> bool {
    let holders = std::fs::read_dir(format!("/sys/dev/block/{major}:{minor}/holders"));
    holders.is_ok_and(|mut h| h.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_a_node_whoever_made_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let (node, other) = (dir.path().join("ublkb7"), dir.path().join("ublkb8"));
        let path = dir.path().join("vg/lv");
        link(&path, &node).expect("made");
        assert!(leads(&path, &node));
        std::fs::remove_file(&path).expect("removed");
        symlink("../ublkb7", &path).expect("made as udev does");
        assert!(leads(&path, &node) && !leads(&path, &other));
        link(&path, &node).expect("it is there");
        link(&path, &other).expect("made anew");
        unlink(&path, &node);
        assert!(path.is_symlink(), "it leads elsewhere");
        unlink(&path, &other);
        assert!(!path.parent().expect("a folder").exists());
    }
}
