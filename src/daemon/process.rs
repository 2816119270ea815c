//! Processes: the program kept in memory, starting a worker of it, and what keeps a process that
//! block devices depend on from being stopped by the system.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::proto::Standing;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::MlockAllFlags;

/// The name a worker is started by: what it finds as its own.
pub const WORKER_NAME: &str = "ulvm-worker";

/// What names of processes begin with that root storage depends on: service managers do not stop those
/// when they stop everything else, neither when the system goes from the initramfs to the real root nor
/// when it shuts down.
const ROOT_STORAGE: char = '@';

/// The name that a new process of the daemon is to be started by.
pub fn marked(name: &str) -> String {
    match serves_root() {
        true => format!("{ROOT_STORAGE}{name}"),
        false => name.to_owned(),
    }
}

/// The name without that mark.
pub fn unmarked(name: &str) -> &str {
    name.strip_prefix(ROOT_STORAGE).unwrap_or(name)
}

/// Is this process one that root storage depends on: started in an initramfs, or by one that was?
/// An initramfs is a root file system in memory.
fn serves_root() -> bool {
    const RAMFS: rustix::fs::FsWord = 0x8584_58f6;
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let own = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let root = rustix::fs::statfs("/");
        let in_memory = root.is_ok_and(|fs| matches!(fs.f_type, RAMFS | TMPFS));
        own.first() == Some(&(ROOT_STORAGE as u8)) || in_memory
    })
}

/// Goes on with another root folder, for all threads of this process.
pub fn enter(root: &Path) -> io::Result<()> {
    // What was found out about the old one holds.
    serves_root();
    rustix::process::chdir(root)?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// The running program, in memory: starting it again needs no file system, which may lie on a
/// device of ours. (A dynamically linked one still has its loader read through the file system.)
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// A copy of the program that runs this.
    pub fn copy() -> io::Result<Self> {
        let mut own = File::open("/proc/self/exe")?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut copy = File::from(rustix::fs::memfd_create("ulvm", flags)?);
        io::copy(&mut own, &mut copy)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&copy, seals)?;
        Ok(Self(copy.into()))
    }

    /// Starts a worker that takes its orders from `socket`.
    pub fn worker(&self, socket: UnixStream) -> io::Result<Child> {
        self.start(WORKER_NAME, &[], socket.into())
    }

    /// Starts the program under a name, which tells it what to be.
    pub fn start(&self, name: &str, args: &[&str], stdin: OwnedFd) -> io::Result<Child> {
        Command::new(PathBuf::from(format!(
            "/proc/self/fd/{}",
            self.0.as_raw_fd()
        )))
        .arg0(marked(name))
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        // A group of its own: what a terminal sends to the supervisor is not for it.
        .process_group(0)
        .spawn()
    }
}

/// Locks all memory of this process, now and later. False if it may not: by default users may lock
/// 8 MiB.
pub fn lock_memory() -> bool {
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).is_ok()
}

/// What keeps the system from stopping this process, given whether its memory is locked.
pub fn standing(memory_locked: bool) -> Standing {
    let oom = std::fs::read_to_string("/proc/self/oom_score_adj");
    let oom = oom.ok().and_then(|text| text.trim().parse().ok());
    Standing {
        memory_locked,
        io_flusher: rustix::process::is_io_flusher().unwrap_or(false),
        oom_score_adj: oom.unwrap_or(0),
    }
}

/// How many bytes this process may lock in memory; any number if none.
pub fn lock_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Memlock).current
}

/// Asks the kernel to spare this process: no memory is reclaimed in its name by writing to devices
/// that may be our own, and it is among the last to be killed for memory. As far as it may.
pub fn spare() {
    let _ = rustix::process::configure_io_flusher_behavior(true);
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
}
