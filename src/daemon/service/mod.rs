//! Running under a service manager that speaks systemd's protocols: sockets handed in, notes about
//! the state, and a store for descriptors that outlives both processes.
//!
//! * here: descriptors that were handed in; `notify`: what the manager is told; `store`: what it
//!   keeps, and how a daemon is made from that again.

mod notify;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use ulvm_engine::export::nbd::Address;

use super::nbd::NbdHeld;

pub use notify::Notify;
pub use store::{Restored, Store};

/// Name of the listening socket for clients, among descriptors that are handed in.
pub const SOCKET: &str = "daemon";
/// Name of listening sockets for NBD clients.
const NBD: &str = "nbd";
/// Name of the file with the lock of the run directory.
pub const LOCK: &str = "lock";

/// What the environment says of a service manager.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manager {
    /// `NOTIFY_SOCKET`: where it wants to be told.
    pub notify: Option<PathBuf>,
    /// Numbers and names of descriptors that are handed in, from `LISTEN_FDS`, `LISTEN_PID` and
    /// `LISTEN_FDNAMES`, or from a daemon whose place is taken.
    pub fds: Vec<(i32, String)>,
    /// `WATCHDOG_USEC` and `WATCHDOG_PID`: how often it wants to hear of this process.
    pub watchdog: Option<Duration>,
    /// Names of what it keeps already, from a daemon whose place is taken.
    pub stored: Vec<String>,
}

/// Descriptors that were handed in, by name.
#[derive(Debug, Default)]
pub struct HandedIn(BTreeMap<String, Vec<OwnedFd>>);

impl HandedIn {
    /// Takes them. To be called once, before anything else is opened.
    pub fn take(manager: &Manager) -> io::Result<Self> {
        let mut fds: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
        for (number, name) in &manager.fds {
            let fd = crate::sys::take_descriptor(*number)?;
            fds.entry(name.clone()).or_default().push(fd);
        }
        Ok(Self(fds))
    }

    /// Names of what a service manager keeps.
    pub fn stored(&self) -> Vec<String> {
        let names = self.0.keys().filter(|n| n.starts_with("ulvm-"));
        names.cloned().collect()
    }

    /// One of a name.
    pub fn one(&mut self, name: &str) -> Option<OwnedFd> {
        self.0.get_mut(name)?.pop()
    }

    /// Those whose names begin so.
    fn all(&mut self, prefix: &str) -> Vec<(String, OwnedFd)> {
        let names: Vec<String> = self.0.keys().cloned().collect();
        let names = names.into_iter().filter(|n| n.starts_with(prefix));
        let mut out = Vec::new();
        for name in names {
            let fds = self.0.remove(&name).unwrap_or_default();
            out.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
        }
        out
    }

    /// Sockets for NBD clients.
    pub fn nbd(&mut self) -> io::Result<Option<NbdHeld>> {
        let mut sockets = Vec::new();
        for (_, fd) in self.all(NBD) {
            rustix::io::ioctl_fionbio(&fd, true)?;
            sockets.push((address(&fd)?, fd));
        }
        Ok((!sockets.is_empty()).then(|| NbdHeld::of(sockets)))
    }
}

/// Where a socket listens.
fn address(fd: &OwnedFd) -> io::Result<Address> {
    let bound = rustix::net::getsockname(fd)?;
    if let Ok(ip) = std::net::SocketAddr::try_from(bound.clone()) {
        return Ok(Address::Tcp(ip));
    }
    let unix = rustix::net::SocketAddrUnix::try_from(bound)?;
    let path = unix.path().ok_or(io::ErrorKind::InvalidInput)?;
    let path = path.to_str().map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(Address::Unix(path.into()))
}
