//! Logical volumes.

use super::policy::AllocPolicy;
use super::segment::Segment;
use crate::tree::Item;
use crate::units::Extents;
use crate::uuid::LvmUuid;

/// An LV, visible or not.
#[derive(Clone, PartialEq, Debug)]
pub struct Lv {
    /// Identity within the VG (the full identity is VG id + LV id).
    pub id: LvmUuid,
    /// Name, unique in the VG.
    pub name: String,
    /// `status` words.
    pub status: LvStatus,
    /// `flags` words.
    pub flags: LvFlags,
    /// Flags ulvm does not know, kept.
    pub unknown_flags: Vec<String>,
    /// In the order of the text.
    pub tags: Vec<String>,
    /// When and where it was made.
    pub creation: Option<Creation>,
    /// lvmlockd's.
    pub lock_args: Option<String>,
    /// `Inherit` unless the LV has its own.
    pub alloc: AllocPolicy,
    /// Metadata profile.
    pub profile: Option<String>,
    /// Read ahead.
    pub read_ahead: ReadAhead,
    /// Persistent major number.
    pub major: Option<i64>,
    /// Persistent minor number (with status FIXED_MINOR).
    pub minor: Option<i64>,
    /// Consecutive, without gaps, in order.
    pub segments: Vec<Segment>,
    /// Fields ulvm does not know, kept.
    pub extra: Vec<Item>,
}

/// `status` words of an LV.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LvStatus {
    /// READ
    pub read: bool,
    /// WRITE (also set when WRITE_LOCKED stands among the flags)
    pub write: bool,
    /// FIXED_MINOR
    pub fixed_minor: bool,
    /// VISIBLE. Beware: a snapshot's COW LV, which the user sees, is written without it.
    pub visible: bool,
    /// PVMOVE: this is a `pvmoveN` LV
    pub pvmove: bool,
    /// LOCKED by pvmove
    pub locked: bool,
    /// NOTSYNCED: created with --nosync
    pub not_synced: bool,
    /// REBUILD: raid image to be rebuilt at the next activation
    pub rebuild: bool,
    /// WRITEMOSTLY: raid1 image read last
    pub write_mostly: bool,
}

/// `flags` words of an LV.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LvFlags {
    /// WRITE_LOCKED was written in place of WRITE
    pub write_locked: bool,
    /// NOAUTOACTIVATE
    pub no_autoactivate: bool,
    /// ACTIVATION_SKIP
    pub activation_skip: bool,
    /// ERROR_WHEN_FULL
    pub error_when_full: bool,
    /// CACHE_VOL
    pub cache_vol: bool,
}

/// When and where an LV was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Creation {
    /// Seconds since 1970.
    pub time: i64,
    /// Host name.
    pub host: String,
}

/// Read ahead of an LV.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadAhead {
    /// Chosen at activation.
    #[default]
    Auto,
    /// None.
    None,
    /// Sectors.
    Sectors(u32),
}

impl Lv {
    /// Size in extents: where the last segment ends.
    pub fn extents(&self) -> Extents {
        self.segments.last().map_or(Extents::ZERO, |s| {
            Extents(s.start.0.saturating_add(s.len.0))
        })
    }
}
