//! Another program in the place of a running daemon's. The supervisor becomes the new program under
//! its own process number, and takes over from its worker as after a death; then a worker of the new
//! program takes the place of the old one, as after a kill.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;
use super::process;
use super::proto::{Ask, Status};
use super::server::Settings;
use crate::error::{Error, Kind, Result};

/// How long the new supervisor may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Becomes another program, which is to go on as a daemon of the same settings, with descriptors by
/// name; the service manager keeps some under `stored` names. Returns only if that fails, and then
/// nothing has happened.
pub fn become_program(
    program: &OwnedFd,
    settings: &Settings,
    fds: &[(&str, BorrowedFd<'_>)],
    stored: &[String],
) -> io::Error {
    let mut handed_on = Vec::with_capacity(fds.len());
    for (name, fd) in fds {
        // A copy that the new program inherits.
        match rustix::io::dup(fd) {
            Ok(copy) => handed_on.push((name, copy)),
            Err(e) => return e.into(),
        }
    }
    let words = handed_on
        .iter()
        .map(|(name, fd)| format!("{}={name}", fd.as_raw_fd()));
    let words: Vec<String> = words.collect();
    let path = PathBuf::from(format!("/proc/self/fd/{}", program.as_raw_fd()));
    let mut command = Command::new(path);
    command.arg0(process::marked("ulvm")).arg("daemon");
    if settings.detach {
        command.arg("--detach");
    }
    command.env("ULVM_RUN_DIR", &settings.run_dir);
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    command.env("ULVM_FDS", words.join(":"));
    command.env("ULVM_STORED", stored.join(":"));
    // The streams stay as they are: whoever reads them has not changed.
    let inherit = Stdio::inherit;
    command.stdin(inherit()).stdout(inherit()).stderr(inherit());
    command.exec()
}

/// Puts the program that runs this in the place of a running daemon's, with a worker of its own.
pub fn replace(run_dir: &Path) -> Result<Status> {
    let Some(client) = Client::connect(run_dir)? else {
        return Err(Error::not_found(format!(
            "No daemon is running in {}.",
            run_dir.display()
        )));
    };
    let own = File::open("/proc/self/exe").map_err(|e| Error::io("/proc/self/exe", e))?;
    client.replace(own.as_fd())?;
    let mut client = again(run_dir)?;
    client.renew()?;
    client.status(false)
}

/// A connection to the new supervisor; where it has failed, the worker serves on and another one is
/// started.
fn again(run_dir: &Path) -> Result<Client> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(client) = Client::connect_only(run_dir)? {
            return Ok(client);
        }
        std::thread::sleep(LOOK);
    }
    Client::connect_or_start(run_dir)
}

impl Client {
    /// Has the daemon become another program; the connection ends with that.
    fn replace(mut self, program: std::os::fd::BorrowedFd<'_>) -> Result<()> {
        match self.ask_with(&Ask::Replace, &[program]) {
            Ok(_) => Err(Error::new(Kind::Internal, "The daemon has not ended.")),
            Err(e) if e.kind() == Kind::Io => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Starts the worker anew, of the supervisor's program.
    fn renew(&mut self) -> Result<()> {
        self.ask_with(&Ask::Renew, &[]).map(drop)
    }
}
