//! A client of the daemon: what commands use.

use std::io::{self, BufRead, BufReader};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::dm::{DmAnswer, DmAsk};
use super::process;
use super::proto::{Answer, Ask, DeviceStatus, NewBacking, NewDevice, Rename, Status};
use super::server::{SOCKET, WORKER_SOCKET};
use crate::error::{Error, Kind, Result};

/// What the daemon prints when clients can connect.
pub const READY: &str = "ready";

/// How long a daemon may take to die.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Debug)]
pub struct Client(Channel);

impl Client {
    /// To the daemon of a run directory; none if there is none. Where a worker serves on that has lost
    /// its supervisor, one is started: otherwise its devices would be taken for inactive.
    pub fn connect(run_dir: &Path) -> Result<Option<Self>> {
        match Self::connect_only(run_dir)? {
            None if UnixStream::connect(run_dir.join(WORKER_SOCKET)).is_ok() => {
                let started = start(run_dir);
                match Self::connect_only(run_dir)? {
                    None => started.map(|()| None),
                    client => Ok(client),
                }
            }
            client => Ok(client),
        }
    }

    /// The same, but nothing is started.
    pub(super) fn connect_only(run_dir: &Path) -> Result<Option<Self>> {
        let began = Instant::now();
        loop {
            let Some(mut client) = Self::reach(run_dir)? else {
                return Ok(None);
            };
            // One that is dying may have been reached, and says nothing any more.
            match client.ask(&Ask::Hello) {
                Ok(_) => return Ok(Some(client)),
                Err(e) if began.elapsed() > PATIENCE => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn reach(run_dir: &Path) -> Result<Option<Self>> {
        let path = run_dir.join(SOCKET);
        match UnixStream::connect(&path) {
            Ok(socket) => Ok(Some(Self(Channel::new(socket)))),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(Error::io(path.display(), e)),
        }
    }

    /// To the daemon of a run directory, which is started if there is none.
    pub fn connect_or_start(run_dir: &Path) -> Result<Self> {
        if let Some(client) = Self::connect(run_dir)? {
            return Ok(client);
        }
        let started = start(run_dir);
        // Somebody else may have started it at the same time.
        match (Self::connect(run_dir)?, started) {
            (Some(client), _) => Ok(client),
            (None, Err(e)) => Err(e),
            (None, Ok(())) => Err(Error::new(Kind::Io, "The daemon has ended at once.")),
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer> {
        self.ask_with(ask, &[])
    }

    /// A request with descriptors.
    pub(super) fn ask_with(&mut self, ask: &Ask, fds: &[BorrowedFd<'_>]) -> Result<Answer> {
        let failed = |e| Error::io("The daemon does not answer", e);
        self.0.send(ask, fds).map_err(failed)?;
        match self.0.receive::<Answer>().map_err(failed)? {
            Some((Answer::Refused { text }, _)) => Err(Error::refused(text)),
            Some((answer, _)) => Ok(answer),
            None => Err(Error::new(Kind::Io, "The daemon has ended.")),
        }
    }

    /// The daemon's state.
    pub fn status(&mut self, open: bool) -> Result<Status> {
        match self.ask(&Ask::Status { open })? {
            Answer::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the daemon.
    pub fn stop(&mut self) -> Result<()> {
        self.ask(&Ask::Stop).map(drop)
    }

    /// Has the daemon go on with another root folder.
    pub fn enter(&mut self, root: &Path) -> Result<()> {
        let root = root.to_owned();
        self.ask(&Ask::Enter { root }).map(drop)
    }

    /// Makes devices, all or none.
    pub fn activate(&mut self, devices: Vec<NewDevice>) -> Result<Vec<DeviceStatus>> {
        match self.ask(&Ask::Activate { devices })? {
            Answer::Made { devices } => Ok(devices),
            other => Err(unexpected(&other)),
        }
    }

    /// Loads a table into a device, to be made live by the next resume.
    pub fn load(&mut self, device: String, table: String, backings: Vec<NewBacking>) -> Result<()> {
        let ask = Ask::Load {
            device,
            table,
            backings,
        };
        self.ask(&ask).map(drop)
    }

    /// Empties the place of the loaded table.
    pub fn clear(&mut self, device: String) -> Result<()> {
        self.ask(&Ask::Clear { device }).map(drop)
    }

    /// Lets no request through until the device is resumed.
    pub fn suspend(&mut self, device: String) -> Result<()> {
        self.ask(&Ask::Suspend { device }).map(drop)
    }

    /// Makes the loaded table live, if there is one, and lets requests through.
    pub fn resume(&mut self, device: String) -> Result<()> {
        self.ask(&Ask::Resume { device }).map(drop)
    }

    /// Gives devices other names, all or none.
    pub fn rename(&mut self, devices: Vec<Rename>) -> Result<()> {
        self.ask(&Ask::Rename { devices }).map(drop)
    }

    /// Lets a device be written to, or not.
    pub fn set_read_only(&mut self, device: String, read_only: bool) -> Result<()> {
        self.ask(&Ask::Permission { device, read_only }).map(drop)
    }

    /// Makes links of devices again that are gone.
    pub fn make_links(&mut self, devices: Vec<String>) -> Result<()> {
        self.ask(&Ask::Links { devices }).map(drop)
    }

    /// Asks what only `dmsetup` asks.
    pub fn dm(&mut self, ask: DmAsk) -> Result<DmAnswer> {
        match self.ask(&Ask::Dm { ask })? {
            Answer::Dm { answer } => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes devices, by uuid or name.
    pub fn deactivate(&mut self, devices: Vec<String>) -> Result<()> {
        self.ask(&Ask::Deactivate { devices }).map(drop)
    }
}

fn unexpected(answer: &Answer) -> Error {
    Error::new(
        Kind::Internal,
        format!("The daemon gave an answer to something else: {answer:?}"),
    )
}

/// Starts a daemon and waits until it is ready.
fn start(run_dir: &Path) -> Result<()> {
    let failed = |e| Error::io("starting the daemon", e);
    let mut child = Command::new("/proc/self/exe")
        .arg0(process::marked("ulvm"))
        .args(["daemon", "--detach"])
        .env("ULVM_RUN_DIR", run_dir)
        // It is no part of the service that this command may belong to.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("ULVM_FDS")
        .env_remove("ULVM_STORED")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(failed)?;
    }
    match line.trim() {
        READY => Ok(()),
        why => {
            let _ = child.wait();
            let why = if why.is_empty() {
                "it ended at once"
            } else {
                why
            };
            Err(Error::new(
                Kind::Io,
                format!("The daemon cannot be started: {why}"),
            ))
        }
    }
}
