//! What the supervisor orders the worker to do. Each order is answered once, and each may be given
//! again to another worker when it was not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::guard::GuardPv;
use super::holdings::Key;
use super::nodes::LoopNode;
use super::proto::Export;
use super::proto::Standing;
use super::ublk::UblkNode;

/// An order. Which descriptors come with it is said at each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// The first: start the engine. With both ends of the fence, the counter of requests that came
    /// again, and the socket that a supervisor comes to which takes over.
    Begin {
        /// Queues wanted.
        queues: usize,
        /// Lock all memory.
        lock_memory: bool,
    },
    /// A backing file or device. With its descriptor, and that of its lock if it has one.
    Backing(BackingOrder),
    /// Backing devices that no table uses any more.
    Drop {
        /// Their ids.
        backings: Vec<u64>,
    },
    /// The folder. With the connection's first descriptor, and one clone of it for each queue.
    Folder(FolderOrder),
    /// The socket that events go into. With its descriptor.
    Events,
    /// The NBD server's listening sockets. With their descriptors, in this order.
    Nbd(NbdOrder),
    /// Serve a ublk device. With the file of memory in which requests in flight are counted.
    Ublk(UblkOrder),
    /// What a supervisor has to know of a device, and the worker only keeps.
    Note {
        /// Its number.
        number: u32,
        /// What is to be known.
        note: DeviceNote,
    },
    /// A new supervisor asks for everything: [`Report::Backing`], [`Report::Folder`],
    /// [`Report::Nbd`], [`Report::InFlight`], [`Report::Device`] and [`Report::Fences`] for all there is,
    /// then [`Report::Held`].
    HandOver,
    /// A device, as it shall be. It is made, or replaces what has its number.
    Device(DeviceOrder),
    /// Remove a device; what was written to it is made durable first.
    Remove {
        /// Its number.
        number: u32,
    },
    /// Give a message to a target. Answered by [`Report::Message`].
    Message {
        /// The device.
        number: u32,
        /// A sector that the target maps.
        sector: u64,
        /// At least one.
        words: Vec<String>,
    },
    /// Look at a device. Answered by [`Report::Look`].
    Look {
        /// Its number.
        number: u32,
        /// How words of its table are to be shown.
        names: BTreeMap<String, String>,
    },
    /// Fences of workers before this one, which it keeps until it is settled. With their read ends.
    Fences,
    /// All there is has been told.
    Whole,
    /// Answer requests from now on: the fences are proven.
    Serve,
    /// The consumers of those before it go on with this one.
    Settled,
    /// Go on with another root folder.
    Enter {
        /// That.
        root: PathBuf,
    },
    /// Figures.
    Figures,
}

/// A backing file or device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackingOrder {
    /// The supervisor's number for it.
    pub id: u64,
    /// What makes two openings the same.
    pub key: Key,
    /// For messages.
    pub path: PathBuf,
    /// Opened with O_DIRECT.
    pub direct: bool,
    /// Opened for reading only.
    pub read_only: bool,
    /// First byte that is used.
    pub start: u64,
    /// Bytes used; to the end if none.
    pub len: Option<u64>,
    /// Block size in bytes to work with, if larger than the device's own.
    pub logical: Option<u32>,
}

/// The folder in which devices are files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FolderOrder {
    /// Where it is mounted.
    pub dir: PathBuf,
    /// Mounted by `fusermount3`.
    pub by_helper: bool,
    /// Minor version of the protocol that was agreed on.
    pub minor: u32,
    /// Flags that were agreed on.
    pub flags: u64,
}

/// The sockets of the NBD server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NbdOrder {
    /// Where they listen, as [`ulvm_engine::export::nbd::Address`] is written.
    pub addresses: Vec<String>,
}

/// A ublk device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UblkOrder {
    /// The device's number.
    pub number: u32,
    /// The kernel's number of the ublk device.
    pub id: u32,
    /// Its queues.
    pub queues: u16,
    /// Requests of each.
    pub depth: u16,
}

/// What a supervisor knows of a device beside its tables.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceNote {
    /// The table that the next resume makes live.
    pub loaded: Option<TableOrder>,
    /// How it is shown.
    pub export: Option<Export>,
    /// Its loop device.
    pub loop_node: Option<LoopNode>,
    /// Its ublk device.
    #[serde(default)]
    pub ublk: Option<UblkNode>,
    /// Its file or block device.
    pub node: Option<PathBuf>,
    /// Links to that.
    pub links: Vec<PathBuf>,
    /// The PVs whose metadata are watched.
    #[serde(default)]
    pub guard: Vec<GuardPv>,
    /// Why it may not be resumed as it is.
    #[serde(default)]
    pub withdrawn: Option<String>,
    /// What `dmsetup` has said of it.
    #[serde(default)]
    pub dm: DmNote,
}

/// What is known of a device for `dmsetup` alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DmNote {
    /// Events that no target of this worker has raised: renames, and what earlier workers counted.
    pub events: u64,
    /// Events that the worker was last seen to have counted.
    pub counted: u64,
    /// Which worker that was: how often one had been started anew.
    pub life: u64,
    /// It is to be removed when nobody has it open any more.
    pub deferred: bool,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceOrder {
    /// Its number: also that of its file.
    pub number: u32,
    /// device-mapper name.
    pub name: String,
    /// device-mapper uuid.
    pub uuid: String,
    /// Refuses writes.
    pub read_only: bool,
    /// The live table.
    pub live: Option<TableOrder>,
    /// Its gate is shut.
    pub suspended: bool,
    /// When the gate was shut, what was written was not made durable.
    #[serde(default)]
    pub noflush: bool,
    /// It is shown as a file of its name.
    pub shown: bool,
    /// Its name for NBD clients, if it is exported to them.
    #[serde(default)]
    pub nbd: Option<String>,
}

/// A table and what its words stand for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableOrder {
    /// device-mapper's text.
    pub text: String,
    /// Every word for a device.
    pub words: BTreeMap<String, Word>,
}

/// What a word stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A backing device, by its id.
    Backing(u64),
    /// A device, by its number.
    Device(u32),
}

/// The worker's answer to an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Report {
    /// Done.
    Done,
    /// Figures.
    Figures(Figures),
    /// What a target says to a message, or the kernel's number for why it does not obey.
    Message {
        /// Its text, mostly empty.
        outcome: Result<String, i32>,
    },
    /// What is seen of a device.
    Look {
        /// Status lines of the live table.
        status: String,
        /// Events that its targets have raised under this worker.
        events: u64,
    },
    /// A backing device, with its descriptors.
    Backing(BackingOrder),
    /// The folder, with its descriptors.
    Folder(FolderOrder),
    /// The NBD server's sockets, with their descriptors.
    Nbd(NbdOrder),
    /// Where requests in flight of ublk devices are counted, as a descriptor.
    InFlight,
    /// A device.
    Device {
        /// As it was ordered.
        order: DeviceOrder,
        /// What was to be kept.
        note: Box<DeviceNote>,
    },
    /// Fences of workers before this one, as read ends.
    Fences,
    /// The end of what there is. With the read end of the fence, the counter and the socket.
    Held {
        /// The worker's process.
        pid: u32,
        /// Its queues.
        #[serde(default)]
        queues: usize,
        /// How far it is.
        #[serde(default)]
        stage: Stage,
    },
    /// Not done.
    Failed {
        /// Why.
        text: String,
    },
}

/// How far a worker is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It has not been told all there is: of no use but to the supervisor that makes it.
    Making,
    /// It has, and the fences too that must be proven before consumers go on.
    Whole,
    /// It is what the one before it was.
    #[default]
    Settled,
}

/// What the worker counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that came again.
    pub resent: u64,
    /// `io_uring` or `pool`.
    pub driver: String,
    /// The kernel keeps request memory in place.
    pub pinned: bool,
    /// What keeps the system from stopping the worker.
    #[serde(default)]
    pub standing: Standing,
    /// Numbers of devices that NBD clients use.
    #[serde(default)]
    pub nbd_users: BTreeSet<u32>,
}
