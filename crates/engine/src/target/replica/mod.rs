//! What all mirrors have in common: `raid1`, `mirror` and `raid raid1`.
//!
//! A table line becomes a [`Config`]. The form its marks have on disk is a [`Form`], which reads
//! what is there and gives a [`Log`]. The machine (one for all of them) knows only these two.
//!
//! Everything here is pure: no clock, descriptor or thread.

mod config;
pub mod format;
pub mod lines;
mod log;
mod read_only;
mod region_set;

pub use config::{Config, Leg, LegDevices, LogKind, MirrorArgs, Place, RaidArgs, Start};
pub use log::{
    Assembly, Form, LegFound, Log, LogFailure, LogRead, LogWrite, NoAssembly, Record, Unlogged,
};
pub use read_only::ReadOnly;
pub use region_set::RegionSet;
