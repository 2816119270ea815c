//! What `dmsetup` asks beyond what other commands do, and what it is answered: device-mapper's own
//! view of the devices, with device numbers and error numbers.

mod look;
mod serve;
mod sweep;

pub(super) use look::of_word;
pub(super) use sweep::Sweeper;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::proto::NewDevice;

/// How a device is named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// By its name.
    Name(String),
    /// By its uuid.
    Uuid(String),
    /// By its device number.
    Number(u32, u32),
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "dm", rename_all = "snake_case")]
pub enum DmAsk {
    /// Tell what there is to know of devices.
    Look {
        /// Which; all if none.
        device: Option<Which>,
        /// Find out which are open, which takes longer.
        open: bool,
    },
    /// Give a message to a target of the live table.
    Message {
        /// By name.
        device: String,
        /// A sector that the target maps.
        sector: u64,
        /// At least one.
        words: Vec<String>,
    },
    /// Make a device.
    Create {
        /// That.
        device: NewDevice,
    },
    /// Load a table, to be made live by the next resume.
    Load {
        /// By name.
        device: String,
        /// device-mapper's text.
        table: String,
    },
    /// Empty the place of the loaded table.
    Clear {
        /// By name.
        device: String,
    },
    /// Make the loaded table live, if there is one, and let requests through.
    Resume {
        /// By name.
        device: String,
    },
    /// Give a device another name, or a uuid if it has none.
    Rename {
        /// By name.
        device: String,
        /// The name from now on.
        name: Option<String>,
        /// The uuid from now on.
        uuid: Option<String>,
        /// The folder of links by name.
        links: PathBuf,
    },
    /// Remove a device that nobody has open.
    Remove {
        /// By name.
        device: String,
        /// If somebody has it open, remove it when nobody has any more.
        deferred: bool,
    },
    /// Do not remove it later after all.
    Stay {
        /// By name.
        device: String,
    },
    /// Let no request through until it is resumed.
    Suspend {
        /// By name.
        device: String,
        /// What was written need not be durable then.
        noflush: bool,
    },
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "dm", rename_all = "snake_case")]
pub enum DmAnswer {
    /// Done.
    Done,
    /// Done, with what a target says.
    Text {
        /// May be empty.
        text: String,
    },
    /// What there is, by name.
    Devices {
        /// In the order of their names.
        devices: Vec<DmDevice>,
    },
    /// Not done.
    Refused(Refusal),
}

/// Why something is not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// The number that device-mapper gives for the like.
    pub errno: i32,
    /// In words.
    pub text: String,
}

impl Refusal {
    fn bare(errno: i32) -> Self {
        Self {
            errno,
            text: String::new(),
        }
    }
    /// There is no such device.
    pub fn absent() -> Self {
        Self::bare(libc::ENXIO)
    }
    /// Somebody has it, or another has its name.
    pub fn busy() -> Self {
        Self::bare(libc::EBUSY)
    }
    /// It makes no sense.
    pub fn invalid() -> Self {
        Self::bare(libc::EINVAL)
    }
    /// Is there no such device?
    pub fn is_absent(&self) -> bool {
        self.errno == libc::ENXIO
    }
    /// May it be possible later?
    pub fn is_busy(&self) -> bool {
        self.errno == libc::EBUSY
    }
    /// There is no such device.
    pub(super) fn no_device(name: &str) -> Self {
        Self {
            errno: libc::ENXIO,
            text: format!("{name}: no such device"),
        }
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self {
            errno: libc::EINVAL,
            text,
        }
    }
}

/// A device, as device-mapper shows one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DmDevice {
    /// Name.
    pub name: String,
    /// uuid; empty if none.
    pub uuid: String,
    /// That of its block device; (0, n) of one that is no block device.
    pub number: (u32, u32),
    /// Its file or block device.
    pub node: Option<PathBuf>,
    /// Refuses writes.
    pub read_only: bool,
    /// Its gate is shut.
    pub suspended: bool,
    /// Who has it open: devices above it, and one for all others together. Known only if it was
    /// asked for.
    pub open: Option<u32>,
    /// Events that its targets have raised.
    pub events: u64,
    /// The live table.
    pub live: Option<DmTable>,
    /// The table that the next resume makes live.
    pub loaded: Option<DmTable>,
    /// Status lines of the live table.
    pub status: String,
    /// It is removed when nobody has it open any more.
    pub deferred: bool,
}

/// A table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DmTable {
    /// Lines, with device numbers where the devices have one.
    pub text: String,
    /// What it lies on, last mentioned first.
    pub deps: Vec<Dep>,
}

/// What a table lies on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dep {
    /// None of a regular file.
    pub number: Option<(u32, u32)>,
    /// The device-mapper name of one of ours.
    pub name: Option<String>,
    /// The path of another.
    pub path: Option<PathBuf>,
}
