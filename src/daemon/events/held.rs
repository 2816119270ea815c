//! The supervisor's end: the socket that events go into, and a scribe kept running at the other end.
//!
//! What must hold: the supervisor keeps the receiving end too, so that nothing that was sent is lost
//! when the scribe dies. Workers get the sending end only: when supervisor and worker are gone, the
//! scribe sees the end. A new supervisor makes a new socket and a new scribe, and gives the worker
//! the new end; the old scribe writes down what it still has, and ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::commands::Commands;
use super::scribe::{LOCK, NAME, Task};
use super::{Class, Event, Sender};
use crate::daemon::process::Program;

/// A scribe that dies sooner than this is followed by the next only after a rest.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// That rest.
const REST: Duration = Duration::from_secs(1);
/// Stacks of threads here: small, since they are locked in memory.
const STACK: usize = 256 << 10;

/// The sending end, and the scribe.
#[derive(Debug)]
pub struct Events {
    sender: Sender,
    scribe: Arc<AtomicU32>,
}

impl Events {
    /// Makes the socket, and starts a scribe and the thread that keeps one running.
    pub fn start(program: Arc<Program>, dir: &Path, commands: Commands) -> io::Result<Self> {
        reap_former(dir);
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (read, write) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        let task = Task {
            dir: dir.to_owned(),
            commands,
        };
        let task = serde_json::to_string(&task)?;
        let scribe = Arc::new(AtomicU32::new(0));
        let shown = Arc::clone(&scribe);
        std::thread::Builder::new()
            .name("ulvm-scribes".into())
            .stack_size(STACK)
            .spawn(move || keep(&program, &read, &task, &shown))?;
        Ok(Self {
            sender: Sender::new(write),
            scribe,
        })
    }

    /// Tells something.
    pub fn tell(&self, class: Class, device: Option<&str>, text: impl Into<String>) {
        self.sender.send(&Event::new(class, device, text));
    }

    /// Tells what was dropped, if there is place now.
    pub fn tell_dropped(&self) {
        self.sender.tell_dropped();
    }

    /// Ends the scribe; the next one is started with the root folder that this process has now.
    pub fn renew_scribe(&self) {
        let pid = self.scribe().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// The scribe's process.
    pub fn scribe(&self) -> Option<u32> {
        Some(self.scribe.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sender.as_fd()
    }
}

/// Keeps a scribe running for as long as the process lives.
fn keep(program: &Program, read: &OwnedFd, task: &str, shown: &AtomicU32) {
    loop {
        let began = Instant::now();
        let child = read
            .try_clone()
            .and_then(|read| program.start(NAME, &[task], read));
        if let Ok(mut child) = child {
            shown.store(child.id(), Ordering::Release);
            let _ = child.wait();
            shown.store(0, Ordering::Release);
        }
        if began.elapsed() < SHORT_LIFE {
            std::thread::sleep(REST);
        }
    }
}

/// Where this process is the former supervisor's under another program, the former scribe is its
/// child: somebody has to take notice of its end.
fn reap_former(dir: &Path) {
    let text = std::fs::read_to_string(dir.join(LOCK)).unwrap_or_default();
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let Some(pidfd) =
        pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return;
    };
    let wait = move |more| {
        let options = WaitIdOptions::EXITED | more;
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)
    };
    if matches!(wait(WaitIdOptions::NOHANG), Ok(None)) {
        // Without the thread it stays as it is until this process ends: no harm.
        let _ = std::thread::Builder::new()
            .name("ulvm-reap".into())
            .stack_size(STACK)
            .spawn(move || {
                let _ = wait(WaitIdOptions::empty());
            });
    }
}
