//! The forms of marks on disk, in the kernel's own bytes: dm-mirror's disk log, dm-raid's
//! superblock and md's bitmap. Little-endian throughout.
//!
//! Bytes become a checked type before anything uses them ([`Header`], [`Superblock`],
//! [`BitmapHead`]); what is assembled from them gives a [`Log`](super::Log), which holds the image
//! of what is to be on disk and hands out whole blocks of it.

mod bitmap;
mod bytes;
mod disk_log;
mod raid;
mod raid_log;
mod superblock;

pub use bitmap::{BitmapHead, NoBitmap};
pub use disk_log::{DiskLogForm, Header};
pub use raid::RaidForm;
pub use superblock::{FailedLegs, NotOurs, Superblock};

/// Marks are read and written in blocks of this many bytes, whatever the device's own block: one
/// write of a page costs what one of a sector costs, and fits devices of either kind.
pub const BLOCK: u64 = 4096;

/// Bytes, up to whole blocks.
const fn whole_blocks(len: u64) -> u64 {
    len.div_ceil(BLOCK) * BLOCK
}
