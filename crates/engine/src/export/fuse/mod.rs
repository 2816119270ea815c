//! A folder with one file per device, through FUSE: by root, or by any user with `fusermount3`.
//!
//! From the pure to the worldly:
//!
//! * [`wire`]: fields of the kernel's protocol;
//! * [`folder`]: names, attributes, and what a request asks of which device;
//! * [`mount`]: mounting, and further descriptors of one connection;
//! * `task`: what runs on the queues.
//!
//! Reads and writes pass by the page cache (FOPEN_DIRECT_IO), direct writes run side by side, and
//! what the kernel is told was written has been answered by the device. A file's size is its
//! device's: nothing grows by writing. Punched holes and zeroed ranges read as zeroes, whatever
//! the device's discard does.
//!
//! A process can take over the connection of one that was killed: it needs the same descriptors
//! and the same files under the same numbers ([`Volumes`]), and asks the kernel to send again what
//! was not answered ([`mount::resend`]).

pub mod folder;
pub mod mount;
mod task;
pub mod wire;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::device::Device;
use crate::error::Error;
use crate::queue::Engine;

pub use super::memory::Budget;
pub use folder::{File, Folder, Negotiated};
pub use mount::Mounted;

use folder::Action;
use wire::InHeader;

/// The files of a folder and the devices behind them, shared by all that serve it.
#[derive(Debug)]
pub struct Volumes {
    inner: RwLock<Inner>,
    resent: AtomicU64,
    /// Counts the same, but outlives this process.
    counter: Option<OwnedFd>,
}

#[derive(Debug)]
struct Inner {
    folder: Folder,
    devices: BTreeMap<usize, Arc<Device>>,
}

impl Volumes {
    /// Without files, owned by the user that runs this. `counter` is an event descriptor that each
    /// request that came again is counted on.
    pub fn empty(counter: Option<OwnedFd>) -> Arc<Self> {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let folder = Folder::empty(uid.as_raw(), gid.as_raw());
        Self::with(folder, std::iter::empty(), counter)
    }

    fn with(
        folder: Folder,
        devices: impl Iterator<Item = Arc<Device>>,
        counter: Option<OwnedFd>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: RwLock::new(Inner {
                folder,
                devices: devices.enumerate().collect(),
            }),
            resent: AtomicU64::new(0),
            counter,
        })
    }

    /// Shows a device as a file with a number of its own; a file that has the number already is
    /// replaced. False if that is no file name, or another file has it.
    pub fn put(&self, number: usize, name: &str, device: &Arc<Device>) -> bool {
        let file = File {
            path: name.to_owned(),
            size: device.size(),
            read_only: device.read_only(),
        };
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let done = inner.folder.put(number, &file);
        if done {
            inner.devices.insert(number, Arc::clone(device));
        }
        done
    }

    /// The inode number of a file.
    pub fn inode(number: usize) -> u64 {
        folder::node(number)
    }

    /// Takes a file away. Requests under way are carried out.
    pub fn take(&self, number: usize) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.folder.take(number);
        inner.devices.remove(&number);
    }

    /// Requests that came a second time, because the process they came to first has died.
    pub fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    fn count_resent(&self) {
        self.resent.fetch_add(1, Ordering::Relaxed);
        if let Some(counter) = &self.counter {
            // Fails only when it is full, after more than could ever be sent again.
            let _ = rustix::io::write(counter, &1u64.to_ne_bytes());
        }
    }

    fn handle(&self, header: &InHeader, body: &[u8]) -> Action {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.folder.handle(header, body)
    }

    fn device(&self, number: usize) -> Option<Arc<Device>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.devices.get(&number).cloned()
    }
}

/// Servers of a connection that are ready, but have not begun.
pub struct Prepared(Vec<task::Server>);

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({})", self.0.len())
    }
}

impl Prepared {
    /// One server for each descriptor of the connection.
    pub fn new(fds: Vec<OwnedFd>, volumes: &Arc<Volumes>, budget: Budget) -> Option<Self> {
        let watchers = Arc::default();
        let servers = fds.into_iter().map(|fd| {
            let (volumes, watchers) = (Arc::clone(volumes), Arc::clone(&watchers));
            task::Server::new(fd, volumes, budget, watchers)
        });
        servers.collect::<Option<Vec<_>>>().map(Self)
    }

    /// Does the kernel keep all of their memory in place?
    pub fn pinned(&self) -> bool {
        self.0.iter().all(task::Server::pinned)
    }

    /// Begins to serve.
    pub fn begin(self, engine: &Engine) {
        for (queue, server) in self.0.into_iter().enumerate() {
            engine.spawn(Some(queue), Box::new(server));
        }
    }
}

/// Mounts a folder and serves it on every queue of the engine. `files` are paths within the
/// folder (`NAME` or `FOLDER/NAME`) with their devices. The folder is unmounted when the result is
/// dropped, which must be before the engine ends.
pub fn serve(
    engine: &Engine,
    dir: &Path,
    others: bool,
    files: Vec<(String, Arc<Device>)>,
) -> Result<Mounted, Error> {
    let (paths, devices): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let listed = paths
        .into_iter()
        .zip(&devices)
        .map(|(path, device): (String, &Arc<Device>)| File {
            path,
            size: device.size(),
            read_only: device.read_only(),
        })
        .collect();
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let failed = |what: &str| Error::Open {
        path: dir.to_owned(),
        source: std::io::Error::other(what.to_owned()),
    };
    let folder = Folder::new(listed, uid.as_raw(), gid.as_raw())
        .ok_or_else(|| failed("two volumes would have the same file name"))?;
    let volumes = Volumes::with(folder, devices.into_iter(), None);
    let mounted = Mounted::new(dir, others)?;
    let fds = (0..engine.queues()).map(|_| mounted.clone_fd());
    let fds = fds.collect::<Result<Vec<_>, _>>()?;
    Prepared::new(fds, &volumes, Budget::Ample)
        .ok_or_else(|| failed("no memory"))?
        .begin(engine);
    Ok(mounted)
}
