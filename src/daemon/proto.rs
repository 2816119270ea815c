//! What clients ask of the daemon, and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::dm::{DmAnswer, DmAsk};

/// A client's request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// Nothing: is there a daemon that answers?
    Hello,
    /// What is there.
    Status {
        /// Find out which devices are open, which takes longer.
        open: bool,
    },
    /// End, unless devices are there.
    Stop,
    /// Become another program, whose descriptor comes with this. There is no answer: the connection
    /// ends.
    Replace,
    /// Start the worker anew.
    Renew,
    /// Go on with another root folder: paths are those of that from now on.
    Enter {
        /// As the daemon sees it now.
        root: PathBuf,
    },
    /// Make devices, in this order. All or none.
    Activate {
        /// Lower ones first.
        devices: Vec<NewDevice>,
    },
    /// Load a table into a device, beside the live one. The next resume makes it live.
    Load {
        /// By uuid or name.
        device: String,
        /// device-mapper's text.
        table: String,
        /// What words of the table stand for.
        backings: Vec<NewBacking>,
    },
    /// Empty the place of the loaded table.
    Clear {
        /// By uuid or name.
        device: String,
    },
    /// Let no request through until it is resumed; what was written is durable then.
    Suspend {
        /// By uuid or name.
        device: String,
    },
    /// Make the loaded table live, if there is one, and let requests through.
    Resume {
        /// By uuid or name.
        device: String,
    },
    /// Give devices other names, uuids and links. All or none.
    Rename {
        /// Which, and how they are called from now on.
        devices: Vec<Rename>,
    },
    /// Refuse writes from now on, or let them through.
    Permission {
        /// By uuid or name.
        device: String,
        /// Refuse writes.
        read_only: bool,
    },
    /// Make links again that are gone, or lead elsewhere.
    Links {
        /// By uuid or name.
        devices: Vec<String>,
    },
    /// Remove devices. None that is open; stops at the first that cannot be removed.
    Deactivate {
        /// By uuid if it has one, else by name.
        devices: Vec<String>,
    },
    /// What only `dmsetup` asks.
    Dm {
        /// That.
        ask: DmAsk,
    },
}

/// A device to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewDevice {
    /// device-mapper name.
    pub name: String,
    /// device-mapper uuid; empty if none.
    pub uuid: String,
    /// Refuses writes.
    pub read_only: bool,
    /// device-mapper's text; without a line, the device has no table yet. A word for a device is one
    /// of `backings`, the name, number or node of a device of the daemon, or a path.
    pub table: String,
    /// What words of the table stand for.
    pub backings: Vec<NewBacking>,
    /// How it is shown, if at all.
    pub export: Option<Export>,
    /// Symbolic links to its node.
    pub links: Vec<PathBuf>,
    /// The PVs of the VG whose volume it is, with their identifiers as words: their metadata are
    /// watched.
    #[serde(default)]
    pub guard: Vec<NewBacking>,
    /// The minor number that its block device shall have.
    #[serde(default)]
    pub minor: Option<u32>,
}

/// Another name for a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rename {
    /// By uuid or name.
    pub device: String,
    /// device-mapper name from now on.
    pub name: String,
    /// device-mapper uuid from now on; as it is, if none.
    pub uuid: Option<String>,
    /// Symbolic links to its node from now on; as they are, if none.
    pub links: Option<Vec<PathBuf>>,
}

/// A file or device, or a part of one, for a table to lie on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewBacking {
    /// The word in the table.
    pub word: String,
    /// Regular file or block device.
    pub path: PathBuf,
    /// First byte that is used.
    pub start: u64,
    /// Bytes used; to the end if none.
    pub len: Option<u64>,
    /// Block size in bytes to work with, if larger than the device's own.
    pub logical: Option<u32>,
}

/// How a device is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Export {
    /// A file.
    Fuse,
    /// A loop device over that file (root).
    Loop,
    /// An export of the daemon's NBD server.
    Nbd,
    /// A block device of the kernel's ublk driver (root).
    Ublk,
}

/// The daemon's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Done,
    /// Done, and these are the devices made.
    Made {
        /// In the order asked for.
        devices: Vec<DeviceStatus>,
    },
    /// The status.
    Status(Box<Status>),
    /// To `dmsetup`.
    Dm {
        /// The answer.
        answer: DmAnswer,
    },
    /// Not done; nothing has changed unless the text says so.
    Refused {
        /// Why, naming the object.
        text: String,
    },
}

/// State of the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Process that holds the descriptors.
    pub supervisor_pid: u32,
    /// Process that does the I/O; none while a new one is being started.
    pub worker_pid: Option<u32>,
    /// Process that writes the log of events and runs their commands.
    #[serde(default)]
    pub scribe_pid: Option<u32>,
    /// How often a worker was started in the place of one that died.
    pub restarts: u64,
    /// How long the last such start took, from the death on, in microseconds.
    pub pause_us: Option<u64>,
    /// Requests that came again after a worker died.
    pub resent: u64,
    /// `io_uring` or `pool`.
    pub driver: String,
    /// What a kill means here.
    pub kill: Kill,
    /// The kernel keeps request memory in place.
    pub memory_pinned: bool,
    /// What is locked, and what not.
    pub memory: String,
    /// Each process by itself.
    #[serde(default)]
    pub processes: Vec<ProcessStatus>,
    /// The devices.
    pub devices: Vec<DeviceStatus>,
}

/// A process of the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// `supervisor`, `worker` or `scribe`.
    pub role: String,
    /// Its number; none while a new one is being started.
    pub pid: Option<u32>,
    /// What keeps the system from stopping it; of the scribe nothing does.
    pub standing: Option<Standing>,
    /// What a kill of it means here.
    pub kill: String,
}

/// What keeps the system from stopping a process that block devices depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// All of its memory is locked.
    pub memory_locked: bool,
    /// No memory is reclaimed in its name by writing to devices that may be our own
    /// (`PR_SET_IO_FLUSHER`).
    pub io_flusher: bool,
    /// The kernel's `oom_score_adj`: from -1000, never killed for memory, to 1000.
    pub oom_score_adj: i32,
}

/// What a kill of a process means, in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kill {
    /// Consumers go on after a kill of the worker.
    pub worker_survived: bool,
    /// Of the worker.
    pub worker: String,
    /// Of the supervisor.
    pub supervisor: String,
    /// Of both.
    pub both: String,
}

/// State of a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Number, from 0.
    pub number: u32,
    /// device-mapper name.
    pub name: String,
    /// device-mapper uuid.
    pub uuid: String,
    /// Bytes.
    pub size: u64,
    /// Refuses writes.
    pub read_only: bool,
    /// Its gate is shut.
    pub suspended: bool,
    /// There is a live table.
    pub live_table: bool,
    /// There is a loaded table.
    pub loaded_table: bool,
    /// The live table.
    pub table: String,
    /// The loaded table.
    pub loaded: Option<String>,
    /// Status lines of the live table.
    pub target_status: String,
    /// How it is shown.
    pub export: Option<Export>,
    /// Its file or block device.
    pub node: Option<PathBuf>,
    /// Where NBD clients find it.
    #[serde(default)]
    pub uri: Option<String>,
    /// Device number of its block device.
    pub major_minor: Option<(u32, u32)>,
    /// Links to the node.
    pub links: Vec<PathBuf>,
    /// Somebody has it open; known only if it was asked for.
    pub open: Option<bool>,
    /// Why it may not be resumed as it is: what it lies on is not its own any more.
    pub withdrawn: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_they_are_written() {
        let ask = Ask::Deactivate {
            devices: vec!["vg-a".into()],
        };
        let text = serde_json::to_string(&ask).expect("written");
        assert_eq!(text, r#"{"do":"deactivate","devices":["vg-a"]}"#);
        assert_eq!(serde_json::from_str::<Ask>(&text).expect("read"), ask);
        assert!(serde_json::from_str::<Ask>(r#"{"do":"explode"}"#).is_err());
    }
}
