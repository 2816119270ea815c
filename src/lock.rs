//! LVM2's lock files, so that LVM2 and ulvm exclude each other, and locks on the PVs themselves, so
//! that users with different lock directories do too.
//!
//! The protocol of LVM2 (global/prioritise_write_locks on, the default), for a lock file `X`: who
//! wants `X` first takes `X:aux`; a writer keeps the aux until it has `X`, so that new readers wait
//! behind it; a reader lets go of it before it asks for `X`. Both unlink what they release if nobody
//! else holds it, and whoever gets a lock checks that the path still leads to the file it locked.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};

use crate::error::{Error, Kind, Result};
use crate::sys;

/// Mode of a lock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LockMode {
    /// Readers.
    Shared,
    /// One writer.
    Exclusive,
}

/// How locks are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockPolicy {
    /// global/locking_dir or `ULVM_LOCK_DIR`; `None` = no lock files (`--nolocking`, `--readonly`).
    pub dir: Option<PathBuf>,
    /// Longest wait for one lock; zero = do not wait (global/wait_for_locks=0).
    pub wait: Duration,
    /// Writers go before new readers (global/prioritise_write_locks).
    pub prioritise_writers: bool,
}

/// Longest wait unless set otherwise: far beyond what any command takes, short of for ever.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(180);

/// The lock files one command holds, by resource name. Dropping releases them.
#[derive(Debug)]
pub struct Locks {
    policy: LockPolicy,
    held: BTreeMap<String, (LockMode, LockFile)>,
}

impl Locks {
    /// None held.
    pub fn new(policy: LockPolicy) -> Self {
        Self {
            policy,
            held: BTreeMap::new(),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &LockPolicy {
        &self.policy
    }

    /// Takes a lock; true if it is newly held, so that what was read before must be read again.
    /// Held already in that mode or a stronger one: nothing to do. Held in the weaker mode: released
    /// and taken anew.
    pub fn take(&mut self, resource: &str, mode: LockMode) -> Result<bool> {
        if self.held.get(resource).is_some_and(|(m, _)| *m >= mode) {
            return Ok(false);
        }
        let Some(dir) = self.policy.dir.clone() else {
            return Ok(false);
        };
        self.held.remove(resource);
        make_dir(&dir)?;
        let lock = LockFile::take(&dir.join(resource), mode, &self.policy)?;
        self.held.insert(resource.to_owned(), (mode, lock));
        Ok(true)
    }

    /// Mode a lock is held in.
    pub fn mode(&self, resource: &str) -> Option<LockMode> {
        self.held.get(resource).map(|(m, _)| *m)
    }

    /// Releases one.
    pub fn release(&mut self, resource: &str) {
        self.held.remove(resource);
    }

    /// Releases all.
    pub fn release_all(&mut self) {
        self.held.clear();
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return check_owner(dir);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| {
            Error::io(format!("create lock directory {}", dir.display()), e)
                .and("Set ULVM_LOCK_DIR (or global/locking_dir) to a directory of your own.")
        })
}

/// Refuses a directory of somebody who is neither this user nor root: in a directory like /run/lock,
/// where anybody may make files, somebody else can have made it before, and decides who gets locks.
fn check_owner(dir: &Path) -> Result<()> {
    let failed = |e| Error::io(format!("lock directory {}", dir.display()), e);
    let owner = std::fs::metadata(dir).map_err(failed)?.uid();
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "Lock directory {} belongs to user {owner}, who could give locks away.",
        dir.display()
    ))
    .and("Set ULVM_LOCK_DIR (or global/locking_dir) to a directory of your own."))
}

/// One lock file, held.
#[derive(Debug)]
struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    fn take(path: &Path, mode: LockMode, policy: &LockPolicy) -> Result<Self> {
        let deadline = Instant::now() + policy.wait;
        let aux = if policy.prioritise_writers {
            let aux = with_suffix(path, ":aux");
            Some(Self::take_one(&aux, LockMode::Exclusive, policy, deadline)?)
        } else {
            None
        };
        if mode == LockMode::Shared {
            drop(aux);
            return Self::take_one(path, mode, policy, deadline);
        }
        let lock = Self::take_one(path, mode, policy, deadline);
        drop(aux);
        lock
    }

    fn take_one(
        path: &Path,
        mode: LockMode,
        policy: &LockPolicy,
        deadline: Instant,
    ) -> Result<Self> {
        loop {
            let file = open_lock(path)?;
            let file = flock_until(file, path, mode, policy, deadline)?;
            if is_current(&file, path) {
                return Ok(Self {
                    file,
                    path: path.to_owned(),
                });
            }
            // Released and unlinked by its last holder between our open and our lock.
            if Instant::now() >= deadline && !policy.wait.is_zero() {
                return Err(busy(path, None));
            }
        }
    }
}

/// Opens a lock file, never one that a link leads to.
fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(|e| Error::io(format!("{}: open failed", path.display()), e))
}

/// A lock of LVM2's on a file that stays when it is released and has no aux: the one on a devices file.
#[derive(Debug)]
pub struct StayingLock {
    _file: File,
}

impl StayingLock {
    /// Takes the lock `resource` exclusively, waiting as long as the policy says; `None` without a
    /// directory for locks.
    pub fn take(resource: &str, policy: &LockPolicy) -> Result<Option<Self>> {
        let Some(dir) = &policy.dir else {
            return Ok(None);
        };
        make_dir(dir)?;
        let path = dir.join(resource);
        let deadline = Instant::now() + policy.wait;
        let file = open_lock(&path)?;
        let file = flock_until(file, &path, LockMode::Exclusive, policy, deadline)?;
        Ok(Some(Self { _file: file }))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Whoever gets it exclusively is alone with it and may unlink it; those who have it open
        // notice that by its inode.
        let fd = self.file.as_fd();
        let _ = rustix::fs::flock(fd, FlockOperation::NonBlockingUnlock);
        if rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive).is_ok()
            && is_current(&self.file, &self.path)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn is_current(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => a.ino() == b.ino() && a.dev() == b.dev(),
        _ => false,
    }
}

/// Locks without waiting if possible; else waits in the kernel's queue, in a thread of its own so
/// that the wait can end. A thread given up lets go of the lock as soon as it gets it.
fn flock_until(
    file: File,
    path: &Path,
    mode: LockMode,
    policy: &LockPolicy,
    deadline: Instant,
) -> Result<File> {
    let (now, waiting) = match mode {
        LockMode::Shared => (
            FlockOperation::NonBlockingLockShared,
            FlockOperation::LockShared,
        ),
        LockMode::Exclusive => (
            FlockOperation::NonBlockingLockExclusive,
            FlockOperation::LockExclusive,
        ),
    };
    let failed = |e: io::Error| Error::io(format!("lock {}", path.display()), e);
    match rustix::fs::flock(&file, now) {
        Ok(()) => return Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        Err(e) => return Err(failed(e.into())),
    }
    if policy.wait.is_zero() {
        return Err(busy(path, Some(&file)));
    }
    let (sender, receiver) = mpsc::channel();
    let waiter = file.try_clone().map_err(failed)?;
    std::thread::Builder::new()
        .name("lock".into())
        .spawn(move || {
            let done = rustix::io::retry_on_intr(|| rustix::fs::flock(&waiter, waiting));
            if let Err(mpsc::SendError((waiter, _))) = sender.send((waiter, done)) {
                // Nobody waits any more; `waiter` shares its lock with no other descriptor.
                drop(waiter);
            }
        })
        .map_err(failed)?;
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok((waiter, Ok(()))) => Ok(waiter),
        Ok((_, Err(e))) => Err(failed(e.into())),
        Err(_) => Err(busy(path, Some(&file))),
    }
}

fn busy(path: &Path, file: Option<&File>) -> Error {
    let holder = file
        .and_then(holder)
        .map_or(String::new(), |h| format!(" by {h}"));
    Error::new(
        Kind::Locked,
        format!("Can't get lock {}: it is held{holder}.", path.display()),
    )
}

/// Locks a PV's device or image file itself for writing, waiting as long as `wait`. Every command
/// that writes to a PV does, readers do not. `start` is the PV's first byte within the file, and the
/// one byte that is locked: whoever serves data locks other bytes. The lock belongs to the open file
/// and lasts until its last descriptor is closed.
pub fn lock_device(file: &File, name: &str, start: u64, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    let mut pause = Duration::from_millis(1);
    let failed = |e: io::Error| Error::io(format!("lock {name}"), e);
    loop {
        if sys::ofd_try_lock(file.as_fd(), true, start, 1).map_err(failed)? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let holder = holder(file).map_or(String::new(), |h| format!(" by {h}"));
            return Err(Error::new(
                Kind::Locked,
                format!("Device {name} is locked{holder}."),
            ));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Who holds a lock on this file, as far as /proc tells: `process 4711 (lvcreate)`.
pub(crate) fn holder(file: &File) -> Option<String> {
    let inode = file.metadata().ok()?.ino();
    let suffix = format!(":{inode}");
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let by_table = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let waiting = words.get(1) == Some(&"->");
        let at = words.iter().position(|w| w.ends_with(&suffix))?;
        let pid: i32 = words.get(at.checked_sub(1)?)?.parse().ok()?;
        // The process that took a lock may be gone while a child of it has the file open.
        let lives = || Path::new(&format!("/proc/{pid}")).exists();
        (!waiting && pid > 0 && pid != own && lives()).then_some(pid)
    });
    let pid = by_table.or_else(|| holder_by_descriptor(&suffix, own))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}

/// Open-file-description locks have no pid in /proc/locks, but show with the descriptor.
fn holder_by_descriptor(suffix: &str, own: i32) -> Option<i32> {
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| {
        let pid: i32 = e.file_name().to_str()?.parse().ok()?;
        (pid != own).then_some(pid)
    });
    pids.into_iter().find(|pid| {
        let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            return false;
        };
        fds.flatten().any(|fd| {
            std::fs::read_to_string(fd.path()).is_ok_and(|text| {
                text.lines().any(|l| {
                    l.starts_with("lock:") && l.split_whitespace().any(|w| w.ends_with(suffix))
                })
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(dir: &Path, wait: Duration) -> Locks {
        Locks::new(LockPolicy {
            dir: Some(dir.to_owned()),
            wait,
            prioritise_writers: true,
        })
    }

    #[test]
    fn readers_share_writers_do_not_and_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let wait = Duration::ZERO;
        let (mut a, mut b) = (locks(dir.path(), wait), locks(dir.path(), wait));
        a.take("V_vg", LockMode::Shared).unwrap();
        b.take("V_vg", LockMode::Shared).unwrap();
        b.release_all();
        let e = b.take("V_vg", LockMode::Exclusive).unwrap_err();
        assert_eq!(e.kind(), Kind::Locked);
        a.take("V_vg", LockMode::Exclusive).unwrap();
        assert!(b.take("V_vg", LockMode::Shared).is_err());
        assert!(b.take("V_other", LockMode::Exclusive).is_ok());
        drop((a, b));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_and_directories_of_others_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("V_vg")).unwrap();
        let mut a = locks(dir.path(), Duration::ZERO);
        assert!(a.take("V_vg", LockMode::Exclusive).is_err());
        assert!(!elsewhere.exists());
        let theirs = dir.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        // Without privilege a directory cannot be given to somebody else; then only the links count.
        if std::os::unix::fs::chown(&theirs, Some(4711), None).is_ok() {
            let e = locks(&theirs, Duration::ZERO).take("V_vg", LockMode::Shared);
            assert!(e.unwrap_err().to_string().contains("belongs to user 4711"));
        }
    }

    /// The file of such a lock stays, as LVM2 does not look whether it is still the one it locked.
    #[test]
    fn a_staying_lock_excludes_and_leaves_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let policy = LockPolicy {
            dir: Some(dir.path().to_owned()),
            wait: Duration::ZERO,
            prioritise_writers: true,
        };
        let first = StayingLock::take("D_x", &policy).unwrap();
        assert!(StayingLock::take("D_x", &policy).is_err());
        drop(first);
        assert!(StayingLock::take("D_x", &policy).unwrap().is_some());
        assert!(dir.path().join("D_x").exists());
    }

    #[test]
    fn a_wait_ends_with_the_holder_or_with_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = locks(dir.path(), Duration::ZERO);
        a.take("V_vg", LockMode::Exclusive).unwrap();
        let started = Instant::now();
        let mut b = locks(dir.path(), Duration::from_millis(50));
        assert_eq!(
            b.take("V_vg", LockMode::Exclusive).unwrap_err().kind(),
            Kind::Locked
        );
        assert!(started.elapsed() >= Duration::from_millis(50));
        let path = dir.path().to_owned();
        let waiter = std::thread::spawn(move || {
            let mut c = locks(&path, Duration::from_secs(20));
            c.take("V_vg", LockMode::Exclusive).map(drop)
        });
        std::thread::sleep(Duration::from_millis(30));
        drop(a);
        waiter.join().unwrap().unwrap();
    }

    /// Many threads count under the lock; a lost update would show.
    #[test]
    fn nobody_is_inside_together() {
        let dir = tempfile::tempdir().unwrap();
        let counter = dir.path().join("counter");
        std::fs::write(&counter, "0").unwrap();
        let lock_dir = dir.path().join("lock");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let mut l = locks(&lock_dir, Duration::from_secs(60));
                        l.take("V_vg", LockMode::Exclusive).unwrap();
                        let n: u32 = std::fs::read_to_string(&counter).unwrap().parse().unwrap();
                        std::fs::write(&counter, (n + 1).to_string()).unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "200");
    }

    #[test]
    fn device_locks_exclude_open_files_not_processes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(file.path())
                .unwrap()
        };
        let (a, b) = (open(), open());
        lock_device(&a, "img", 0, Duration::ZERO).unwrap();
        assert!(lock_device(&b, "img", 0, Duration::from_millis(5)).is_err());
        assert!(lock_device(&b, "img", 1 << 20, Duration::ZERO).is_ok());
        drop(a);
        lock_device(&b, "img", 0, Duration::ZERO).unwrap();
    }
}
