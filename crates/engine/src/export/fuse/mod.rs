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

pub mod folder;
pub mod mount;
mod task;
pub mod wire;

use std::path::Path;
use std::sync::Arc;

use crate::device::Device;
use crate::error::Error;
use crate::queue::Engine;

pub use folder::{File, Folder};
pub use mount::Mounted;

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
    let folder = Folder::new(listed, uid.as_raw(), gid.as_raw()).ok_or_else(|| Error::Open {
        path: dir.to_owned(),
        source: std::io::Error::other("two volumes would have the same file name"),
    })?;
    let (folder, mounted) = (Arc::new(folder), Mounted::new(dir, others)?);
    for queue in 0..engine.queues() {
        let fd = mounted.clone_fd()?;
        let server = task::Server::new(fd, Arc::clone(&folder), devices.clone());
        engine.spawn(Some(queue), Box::new(server));
    }
    Ok(mounted)
}
