//! The listening sockets of the daemon's NBD server. The supervisor holds them, so that clients who
//! come while a worker is being started wait instead of being refused.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ulvm_engine::export::nbd::{Address, Listener};

use super::order::{DeviceOrder, NbdOrder};

/// Name of the socket in the run directory.
pub const SOCKET: &str = "nbd.sock";

/// Sockets that NBD clients come to.
#[derive(Debug)]
pub struct NbdHeld {
    sockets: Vec<(Address, OwnedFd)>,
}

impl NbdHeld {
    /// Listens at a unix socket, made for its owner alone.
    pub fn bind(path: &Path) -> Result<Self, String> {
        let address = Address::Unix(path.to_owned());
        let socket = Listener::bind(&address).map_err(|e| e.to_string())?;
        // The name has to outlast the process: another one listens there at once.
        let socket = socket.keep_name();
        Ok(Self {
            sockets: vec![(address, socket)],
        })
    }

    /// Of sockets that listen already.
    pub fn of(sockets: Vec<(Address, OwnedFd)>) -> Self {
        Self { sockets }
    }

    /// Of descriptors that another process had.
    pub fn taken_over(order: NbdOrder, fds: Vec<OwnedFd>) -> Result<Self, String> {
        if fds.len() != order.addresses.len() {
            return Err("a descriptor is missing".into());
        }
        let addresses = order.addresses.iter().map(|a| a.parse::<Address>());
        let addresses: Result<Vec<_>, _> = addresses.collect();
        let addresses = addresses.map_err(|e| e.to_string())?;
        Ok(Self {
            sockets: addresses.into_iter().zip(fds).collect(),
        })
    }

    /// What the worker is told of them.
    pub fn order(&self) -> NbdOrder {
        NbdOrder {
            addresses: self.sockets.iter().map(|(a, _)| a.to_string()).collect(),
        }
    }

    /// In the order of the addresses.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets.iter().map(|(_, fd)| fd.as_fd()).collect()
    }

    /// Copies for a server.
    pub fn listeners(&self) -> Result<Vec<Listener>, String> {
        let copy = |(address, fd): &(Address, OwnedFd)| {
            let fd = fd.try_clone().map_err(|e| e.to_string())?;
            Ok(Listener::taken_over(fd, address.clone()))
        };
        self.sockets.iter().map(copy).collect()
    }

    /// Where clients find an export.
    pub fn uri(&self, name: &str) -> Option<String> {
        let (address, _) = self.sockets.first()?;
        Some(crate::serve::uri(address, name))
    }
}

/// The name of a device for NBD clients: `VG/LV` of a logical volume, its own name of another.
pub fn export_name(device: &DeviceOrder) -> String {
    let volume = device.uuid.starts_with("LVM-");
    let parts = volume.then(|| volume_name(&device.name)).flatten();
    parts.map_or_else(|| device.name.clone(), |(vg, lv)| format!("{vg}/{lv}"))
}

/// Takes a device-mapper name of LVM2 apart: hyphens of names are doubled, a single one divides.
fn volume_name(name: &str) -> Option<(String, String)> {
    let (mut at, bytes) = (0, name.as_bytes());
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'-', Some(b'-')) => at += 2,
            (b'-', Some(_)) => {
                let plain = |part: &str| part.replace("--", "-");
                return Some((plain(&name[..at]), plain(&name[at + 1..])));
            }
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_hyphen_divides() {
        let of = |name: &str| volume_name(name).map(|(vg, lv)| format!("{vg}/{lv}"));
        assert_eq!(of("vg-lv").as_deref(), Some("vg/lv"));
        assert_eq!(of("a--b-c--d").as_deref(), Some("a-b/c-d"));
        assert_eq!(of("a---b").as_deref(), Some("a-/b"));
        assert_eq!(of("plain"), None);
        assert_eq!(of("plain-"), None);
    }
}
