//! All that a worker is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use ulvm_engine::device::Device;
use ulvm_engine::export::fuse::{Mounted, Negotiated};

use crate::daemon::guard::GuardPv;
use crate::daemon::holdings::Holding;
use crate::daemon::nbd::NbdHeld;
use crate::daemon::nodes::LoopNode;
use crate::daemon::order::{DeviceNote, DeviceOrder, DmNote, FolderOrder, TableOrder, Word};
use crate::daemon::proto::Export;
use crate::daemon::ublk::{InFlight, UblkNode};

/// The folder and its connection.
#[derive(Debug)]
pub struct FolderHeld {
    /// Mounted; its first descriptor.
    pub mounted: Mounted,
    /// One for each queue of the worker.
    pub clones: Vec<Arc<OwnedFd>>,
    /// What the kernel agreed to.
    pub negotiated: Negotiated,
}

impl FolderHeld {
    /// What the worker is told of it.
    pub fn order(&self) -> FolderOrder {
        FolderOrder {
            dir: self.mounted.dir().to_owned(),
            by_helper: self.mounted.by_helper(),
            minor: self.negotiated.minor,
            flags: self.negotiated.flags,
        }
    }

    /// The connection's first descriptor, and the clones.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let clones = self.clones.iter().map(|fd| fd.as_fd());
        std::iter::once(self.mounted.fd()).chain(clones).collect()
    }

    /// Of what a worker kept.
    pub fn taken_over(order: FolderOrder, fds: Vec<OwnedFd>) -> Result<Self, String> {
        let mut fds = fds.into_iter();
        let first = fds.next().ok_or("a descriptor is missing")?;
        Ok(Self {
            mounted: Mounted::taken_over(order.dir, first, order.by_helper),
            clones: fds.map(Arc::new).collect(),
            negotiated: Negotiated {
                minor: order.minor,
                flags: order.flags,
            },
        })
    }
}

/// A device.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the worker is told of it.
    pub order: DeviceOrder,
    /// The table that the next resume makes live.
    pub loaded: Option<TableOrder>,
    /// The same device without a worker: its tables, sizes and names, never its data.
    pub model: Arc<Device>,
    /// How it is shown.
    pub export: Option<Export>,
    /// Its loop device.
    pub loop_node: Option<LoopNode>,
    /// Its ublk device.
    pub ublk: Option<UblkNode>,
    /// Its file or block device.
    pub node: Option<PathBuf>,
    /// Links to that.
    pub links: Vec<PathBuf>,
    /// The PVs whose metadata are watched.
    pub guard: Vec<GuardPv>,
    /// Why it may not be resumed as it is.
    pub withdrawn: Option<String>,
    /// What `dmsetup` has said of it.
    pub dm: DmNote,
}

impl Entry {
    /// Its block device.
    pub fn block(&self) -> Option<&LoopNode> {
        let ublk = || self.ublk.as_ref()?.node.as_ref();
        self.loop_node.as_ref().or_else(ublk)
    }

    /// What the worker keeps of it.
    pub fn note(&self) -> DeviceNote {
        DeviceNote {
            loaded: self.loaded.clone(),
            export: self.export,
            loop_node: self.loop_node.clone(),
            ublk: self.ublk.clone(),
            node: self.node.clone(),
            links: self.links.clone(),
            guard: self.guard.clone(),
            withdrawn: self.withdrawn.clone(),
            dm: self.dm,
        }
    }
}

/// All that a worker is made from.
#[derive(Debug, Default)]
pub struct State {
    /// Backing devices by id.
    pub holdings: BTreeMap<u64, Holding>,
    /// The id for the next one.
    pub next_holding: u64,
    /// Devices by number.
    pub devices: BTreeMap<u32, Entry>,
    /// The folder, from the first device on that is shown.
    pub folder: Option<Arc<FolderHeld>>,
    /// The NBD server's sockets, from the first device on that is exported there.
    pub nbd: Option<Arc<NbdHeld>>,
    /// Where requests in flight of ublk devices are counted, from the first of them on.
    pub in_flight: Option<Arc<InFlight>>,
}

impl State {
    /// The device with that uuid or name.
    pub fn find(&self, name: &str) -> Option<u32> {
        let by = |test: &dyn Fn(&DeviceOrder) -> bool| {
            let mut devices = self.devices.iter();
            devices.find(|(_, e)| test(&e.order)).map(|(n, _)| *n)
        };
        by(&|o| !o.uuid.is_empty() && o.uuid == name).or_else(|| by(&|o| o.name == name))
    }

    /// Queues that a worker has to have for it: each serves one of the folder's descriptors, and the
    /// queues of its number of ublk devices.
    pub fn queues(&self) -> usize {
        let blocks = self.devices.values().filter_map(|e| e.ublk.as_ref());
        let blocks = blocks.map(|node| node.queues.into());
        let folder = self.folder.iter().map(|f| f.clones.len());
        folder.chain(blocks).max().unwrap_or(1)
    }

    /// Ids of the backing devices that tables lie on.
    pub fn used_holdings(&self) -> BTreeSet<u64> {
        let live = self.devices.values().flat_map(|e| words(&e.order));
        let loaded = self.devices.values().flat_map(|e| &e.loaded);
        let loaded = loaded.flat_map(|t| t.words.values().copied());
        live.chain(loaded)
            .filter_map(|w| match w {
                Word::Backing(id) => Some(id),
                Word::Device(_) => None,
            })
            .collect()
    }

    /// The name of a device that lies on another.
    pub fn above(&self, number: u32) -> Option<&str> {
        let mut devices = self.devices.values();
        let loaded = |e: &Entry| {
            let words = e.loaded.iter().flat_map(|t| t.words.values());
            words.copied().any(|w| w == Word::Device(number))
        };
        let on = |e: &&Entry| loaded(e) || words(&e.order).any(|w| w == Word::Device(number));
        devices.find(on).map(|e| e.order.name.as_str())
    }

    /// Devices in an order in which each comes after those it lies on.
    pub fn lower_first(&self) -> Vec<DeviceOrder> {
        lower_first(self.devices.values().map(|e| &e.order).collect())
    }
}

/// Devices in an order in which each comes after those it lies on.
pub fn lower_first(mut left: Vec<&DeviceOrder>) -> Vec<DeviceOrder> {
    let mut sorted: Vec<DeviceOrder> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let before = left.len();
        left.retain(|order| {
            let ready = words(order).all(|w| match w {
                Word::Device(n) => sorted.iter().any(|s| s.number == n),
                Word::Backing(_) => true,
            });
            if ready {
                sorted.push((*order).clone());
            }
            !ready
        });
        if left.len() == before {
            // No table leads back to its own device; so this does not happen.
            break;
        }
    }
    sorted
}

fn words(order: &DeviceOrder) -> impl Iterator<Item = Word> + '_ {
    order.live.iter().flat_map(|t| t.words.values().copied())
}
