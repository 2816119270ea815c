//! Listening sockets.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::address::Address;
use crate::error::Error;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A bound socket. A unix socket's name goes when this goes, unless somebody has put another one
/// in its place.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
    address: Address,
    name: Option<Name>,
}

impl Listener {
    /// Binds. A unix socket that nobody listens at any more is replaced; it is made for its owner
    /// alone.
    pub fn bind(address: &Address) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: address.to_string().into(),
            source,
        };
        match address {
            Address::Tcp(at) => {
                let listener = TcpListener::bind(at).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                Ok(Self {
                    socket: listener.into(),
                    address: Address::Tcp(bound),
                    name: None,
                })
            }
            Address::Unix(path) => {
                let listener = bind_unix(path).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self {
                    socket: listener.into(),
                    address: address.clone(),
                    name: Name::of(path),
                })
            }
        }
    }

    /// Of a socket that another process has bound, and keeps: its name stays when this goes.
    pub fn taken_over(socket: OwnedFd, address: Address) -> Self {
        Self {
            socket,
            address,
            name: None,
        }
    }

    /// The socket alone: a unix socket's name stays when this goes.
    pub fn keep_name(mut self) -> OwnedFd {
        if let Some(name) = &mut self.name {
            name.kept = true;
        }
        self.socket
    }

    /// Where it listens; of TCP with the port that was taken.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket, and what keeps its name.
    pub(super) fn into_parts(self) -> (OwnedFd, Option<Name>) {
        (self.socket, self.name)
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let bind = || -> io::Result<UnixListener> {
        let flags = SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Before it has a name, so that nobody else can ever connect: the name takes the mode.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    };
    match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
            let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
            if !is_socket || !UnixStream::connect(path).is_err_and(refused) {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            bind()
        }
        other => other,
    }
}

/// The name of a unix socket; removed when dropped.
#[derive(Debug)]
pub(super) struct Name {
    path: PathBuf,
    inode: (u64, u64),
    kept: bool,
}

impl Name {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            inode: (meta.dev(), meta.ino()),
            kept: false,
        })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours && !self.kept {
            // Nothing is lost if it stays: the next server replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_used_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let address = Address::Unix(path.clone());
        let first = Listener::bind(&address).unwrap();
        let mode = std::fs::symlink_metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(Listener::bind(&address).is_err(), "somebody listens there");
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(Listener::bind(&address).is_err(), "a file is not replaced");
        assert!(path.exists());
    }
}
