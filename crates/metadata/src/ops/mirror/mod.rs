//! Mirrors: LVs of the types `raid1` and `mirror`, and what changes them.
//!
//! A mirror is one segment over the whole LV whose areas are hidden LVs: the images (`_rimage_N`,
//! `_mimage_N`), beside them the metadata of each image (`_rmeta_N`) or a log (`_mlog`). Every
//! operation leaves the LVs of one mirror named after it and numbered without gaps.

pub(super) mod build;
mod convert;
mod create;
mod dm_mirror;
mod raid1;
pub(super) mod region;
mod resize;
#[cfg(test)]
mod tests;
mod tune;

pub use convert::{Growth, Sync, mirror_of, raid1_of};
pub use create::{NewMirror, NewRaid1};
pub(super) use create::{Room, mirror as new_mirror, raid1 as new_raid1};
pub use dm_mirror::{mirror_grow, mirror_log, mirror_shrink, mirror_split, mirror_to_raid1};
pub use raid1::{
    Replaced, image_number, raid1_grow, raid1_merge, raid1_replace, raid1_shrink, raid1_split,
    raid1_track, tracked,
};
pub use region::{REGION_MIN, check_region_size, log_extents, rmeta_extents};
pub(super) use resize::{Shape, lengthen, shape, shorten};
pub use tune::{Mostly, Tune, tune};

/// Most copies of a `mirror` LV: what the kernel copies to at once.
pub const MIRROR_LEGS_MAX: u32 = 8;
/// Most copies of a `raid1` LV.
pub const RAID1_LEGS_MAX: u32 = 64;
/// Region size when none is given nor configured: 2 MiB.
pub const REGION_DEFAULT: crate::units::Sectors = crate::units::Sectors(4096);
