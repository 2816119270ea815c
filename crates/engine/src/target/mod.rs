//! Targets: how a segment of a table maps requests to operations on backing devices.
//!
//! A target is given a [`Piece`] and writes a [`Plan`]. It does no I/O, holds no descriptor, no
//! thread and no clock (the time is handed in), and never calls upward. All places are in bytes
//! from the start of the segment; the backing devices are numbers in the table's device list.
//!
//! A new target is one file and one row of [`REGISTRY`].

mod args;
mod delay;
mod error;
mod flakey;
mod linear;
pub mod replica;
mod striped;
mod zero;

use std::fmt::Debug;
use std::time::Duration;

pub use args::{ArgError, Args, Devices};
pub use delay::Delay;
pub use error::ErrorTarget;
pub use flakey::Flakey;
pub use linear::Linear;
pub use striped::Striped;
pub use zero::Zero;

use crate::error::ErrorKind;
use crate::io::{Op, OpKind, SECTOR, Sectors};

/// A backing device's place in its table's list of devices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DevIndex(pub u32);

/// A part of a request that lies within one segment and within the target's reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// What to do.
    pub op: Op,
    /// First byte, from the start of the segment. Zero for a flush.
    pub offset: u64,
    /// Bytes. Zero for a flush.
    pub len: u64,
}

/// An operation on a backing device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child {
    /// What to do.
    pub op: Op,
    /// Where.
    pub device: DevIndex,
    /// First byte on the device.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Where in the piece's data these bytes lie. Children that fill memory come in ascending
    /// order and do not overlap.
    pub at: u64,
}

impl Child {
    /// The whole piece, on a device where the segment begins at sector `start`.
    pub fn shifted(piece: &Piece, device: DevIndex, start: Sectors) -> Self {
        let offset = match piece.op {
            Op::Flush => 0,
            _ => start.0 * SECTOR + piece.offset,
        };
        Self {
            op: piece.op,
            device,
            offset,
            len: piece.len,
            at: 0,
        }
    }
}

/// What becomes of a piece: the answer once all children are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// What the children answer; success if there are none.
    #[default]
    Children,
    /// Its data are zeroes (reads).
    Zeroes,
    /// It fails, whatever else is done.
    Fail(ErrorKind),
}

/// What a target wants done with a piece.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The operations, in any order in time.
    pub children: Vec<Child>,
    /// How long to wait before they are begun.
    pub delay: Duration,
    /// The answer.
    pub verdict: Verdict,
    /// [`Target::finish`] is to be called with the data when the children are done.
    pub finish: bool,
}

impl Plan {
    /// As new, keeping its memory.
    pub fn clear(&mut self) {
        self.children.clear();
        self.delay = Duration::ZERO;
        self.verdict = Verdict::Children;
        self.finish = false;
    }
}

/// A segment's mapping.
pub trait Target: Send + Sync + Debug {
    /// The word in a table line.
    fn kind(&self) -> &'static str;

    /// The arguments of the table line; `name` gives a device's word.
    fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String;

    /// What `status` shows after the kind.
    fn status(&self, _name: &dyn Fn(DevIndex) -> String) -> String {
        String::new()
    }

    /// Does what a message (`dmsetup message`) asks, and answers it with a text, mostly an empty one.
    /// There is at least one word. It may be asked a second time, by whoever did not get the answer.
    fn message(&self, _words: &[&str]) -> Result<String, MessageError> {
        Err(MessageError::Unknown)
    }

    /// Ranges of backing devices the target covers, for checks of size and for `deps`.
    fn uses(&self, len: Sectors) -> Vec<Use>;

    /// How many bytes from `offset` on can be one piece. Never 0; the caller cuts at the
    /// segment's end.
    fn reach(&self, _op: OpKind, _offset: u64) -> u64 {
        u64::MAX
    }

    /// Maps a piece. `plan` is empty.
    fn map(&self, piece: &Piece, now: Duration, plan: &mut Plan);

    /// The mirror that does what is asked in place of [`Self::map`], if it is one.
    fn mirror(&self) -> Option<&std::sync::Arc<replica::Mirror>> {
        None
    }

    /// Called when the children are done and the plan asked for it. May change the data read.
    fn finish(&self, _piece: &Piece, _data: &mut [u8]) {}
}

/// Why a target does not do what a message asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageError {
    /// It knows no such message (EINVAL).
    Unknown,
    /// Something else is under way that it would disturb (EBUSY).
    Busy,
    /// It tried, and this went wrong.
    Failed(ErrorKind),
}

impl MessageError {
    /// The kernel's number for it.
    pub const fn errno(self) -> i32 {
        match self {
            Self::Unknown => libc::EINVAL,
            Self::Busy => libc::EBUSY,
            Self::Failed(kind) => kind.errno(),
        }
    }
}

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("the target knows no such message"),
            Self::Busy => f.write_str("the target is busy with something else"),
            Self::Failed(kind) => write!(f, "{kind}"),
        }
    }
}

/// A range of a backing device that a target covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// Which device.
    pub device: DevIndex,
    /// First sector.
    pub start: Sectors,
    /// Sectors.
    pub len: Sectors,
}

/// A kind of target.
#[derive(Debug)]
pub struct TargetType {
    /// The word in a table line.
    pub name: &'static str,
    /// Version, as `dmsetup targets` shows it.
    pub version: [u32; 3],
    /// Builds a target of `len` sectors from the arguments of a line.
    pub parse: Parse,
}

/// Builds a target of a length from arguments.
pub type Parse = fn(&mut Args<'_>, Sectors, &mut dyn Devices) -> Result<Box<dyn Target>, ArgError>;

/// Every target.
pub const REGISTRY: &[TargetType] = &[
    linear::TYPE,
    striped::TYPE,
    error::TYPE,
    zero::TYPE,
    delay::TYPE,
    flakey::TYPE,
    replica::RAID1,
    replica::MIRROR,
    replica::RAID,
];

/// The target type of a name.
pub fn find(name: &str) -> Option<&'static TargetType> {
    REGISTRY.iter().find(|t| t.name == name)
}
