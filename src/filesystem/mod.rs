//! File systems on logical volumes: what is there, and how it follows a change of the volume's size.
//!
//! ulvm changes no file system itself: each has a tool of its own. [`plan()`] decides, without doing
//! anything, which tools run in which order; a [`Runner`] runs them.

mod mounted;
mod of_lv;
mod plan;
mod run;
mod superblock;

pub use mounted::{Mounted, Situation, partitions};
pub use of_lv::of_lv;
pub use plan::{Change, Handling, Modes, Mounting, NotPossible, Plan, Step, plan};
pub use run::Runner;
pub use superblock::{Filesystem, Kind, identify};
