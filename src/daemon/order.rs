//! What the supervisor orders the worker to do. Each order is answered once, and each may be given
//! again to another worker when it was not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An order. Which descriptors come with it is said at each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// The first: start the engine. With the write end of the fence.
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
    /// The folder. With one clone of the connection for each queue.
    Folder,
    /// A device, as it shall be. It is made, or replaces what has its number.
    Device(DeviceOrder),
    /// Remove a device; what was written to it is made durable first.
    Remove {
        /// Its number.
        number: u32,
    },
    /// Answer requests from now on.
    Serve,
    /// Figures.
    Figures,
}

/// A backing file or device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackingOrder {
    /// The supervisor's number for it.
    pub id: u64,
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
    /// It is shown as a file of its name.
    pub shown: bool,
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
    /// Not done.
    Failed {
        /// Why.
        text: String,
    },
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
    /// All memory is locked.
    pub locked: bool,
}
