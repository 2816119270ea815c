//! What all mirrors have in common: `raid1`, `mirror` and `raid raid1`.
//!
//! A table line becomes a [`Config`]. The form its marks have on disk is a [`Form`], which reads
//! what is there and gives a [`Log`]. The machine (one for all of them) knows only these two.
//!
//! Everything here is pure: no clock, descriptor or thread.

mod config;
mod event;
mod flushes;
pub mod format;
mod jobs;
mod legs;
pub mod lines;
mod locks;
mod log;
mod machine;
mod marks;
mod read_only;
mod reads;
mod recovery;
mod region_set;
mod status;
mod target;
mod writes;

#[cfg(test)]
mod sim;

pub use config::{Config, Leg, LegDevices, LogKind, MirrorArgs, Place, RaidArgs, Start};
pub use event::{Action, Event, Failure, Message, News, OpId, Refused, Ticket};
pub use log::{
    Assembly, Form, LegFound, Log, LogFailure, LogRead, LogWrite, NoAssembly, Record, Unlogged,
};
pub use machine::{Machine, Tuning};
pub use read_only::ReadOnly;
pub use recovery::Activity;
pub use region_set::RegionSet;
pub use status::{LegState, Status};
pub(in crate::target) use target::{MIRROR, RAID, RAID1};
pub use target::{Mirror, Replica};
