//! The volume group as ulvm thinks of it. Knows nothing of the on-disk or text form; `convert`
//! joins them.
//!
//! What must hold of a [`Vg`] is written in [`check`] and nowhere else.

pub mod arena;
pub mod check;
mod lv;
mod policy;
mod pv;
mod segment;
pub mod usage;
mod vg;

pub use arena::{Arena, LvKey, PvKey};
pub use lv::{Creation, Lv, LvFlags, LvStatus, ReadAhead};
pub use policy::AllocPolicy;
pub use pv::{BootloaderArea, DeviceId, Pv};
pub use segment::{Area, Foreign, Mirror, Raid, RaidImage, Segment, SegmentKind, Snapshot};
pub use vg::{Vg, VgFlags, VgStatus};
