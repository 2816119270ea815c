//! What the service manager is told: datagrams of lines, as sd_notify(3) describes them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// How long it may take to take a note in.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to the service manager.
#[derive(Debug)]
pub struct Notify {
    path: PathBuf,
    socket: Mutex<OwnedFd>,
}

impl Notify {
    /// To the socket of a path, or of an abstract name if it begins with `@`.
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            socket: Mutex::new(connect(path)?),
        })
    }

    /// Tells it lines of `NAME=value`.
    pub fn tell(&self, lines: &str) -> io::Result<()> {
        self.send(lines, &[])
    }

    /// Gives it a descriptor to keep under a name.
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        // A fence that has been let go of is still needed to prove it.
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[fd])
    }

    /// Has it close what it keeps under a name.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    fn send(&self, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match send(&socket, text, fds) {
            // Somebody else listens there now, or will.
            Err(e) if is_gone(&e) => {
                *socket = connect(&self.path)?;
                send(&socket, text, fds)
            }
            other => other,
        }
    }
}

fn connect(path: &Path) -> io::Result<OwnedFd> {
    let address = match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        _ => SocketAddrUnix::new(path)?,
    };
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(text.as_bytes())];
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut ancillary, flags))?;
    Ok(())
}

/// Is there nobody at the other end? Told once as refused, and from then on as not connected.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected
    )
}
