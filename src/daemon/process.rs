//! Processes: the program kept in memory, starting a worker of it, and what keeps a process that
//! block devices depend on from being stopped by the system.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::proto::Standing;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::MlockAllFlags;

/// The name a worker is started by: what it finds as its own.
pub const WORKER_NAME: &str = "ulvm-worker";

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
        .arg0(name)
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
