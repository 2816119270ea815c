//! The process that writes the log and runs commands. Nobody waits for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize};

use super::commands::{Commands, Runner};
use super::log::Log;
use super::{Class, Event};

/// The name it is started by.
pub const NAME: &str = "ulvm-scribe";
/// Held by the one scribe that writes; its process number is in it.
pub const LOCK: &str = "events.lock";
/// Longest packet.
const PACKET_MAX: usize = 64 << 10;

/// What it is told when it is started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Where the log is.
    pub dir: PathBuf,
    /// What is run.
    pub commands: Commands,
}

/// The whole of the process: events come through standard input. It ends when nobody is left to
/// tell any.
pub fn main(task: &str) -> io::Result<()> {
    let task: Task = serde_json::from_str(task)?;
    // Unlike its parent it does no I/O for others.
    let _ = rustix::process::configure_io_flusher_behavior(false);
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let lock = lock(&task.dir)?;
    let mut log = Log::open(&task.dir)?;
    let (mut runner, thread) = Runner::start(task.commands)?;
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&socket, &mut packet[..], RecvFlags::empty())
        });
        let (len, _) = received?;
        if len == 0 {
            break;
        }
        let Ok(event) = serde_json::from_slice::<Event>(&packet[..len]) else {
            continue;
        };
        if let Some(skipped) = record(&mut log, &mut runner, event) {
            let text = format!("{skipped} event commands were not run: others take too long");
            record(
                &mut log,
                &mut runner,
                Event::new(Class::Dropped, None, text),
            );
        }
    }
    // The next one may write while this one's commands end.
    drop((log, lock, runner));
    let _ = thread.join();
    Ok(())
}

/// Writes an event down, as far as that is possible, and has its commands run.
fn record(log: &mut Log, runner: &mut Runner, mut event: Event) -> Option<u64> {
    let _ = log.add(&mut event);
    runner.run(&event)
}

/// Waits until no other scribe writes.
fn lock(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(dir.join(LOCK))?;
    rustix::io::retry_on_intr(|| {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
    })?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}
