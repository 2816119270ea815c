//! Segments of LVs.

use super::arena::{LvKey, PvKey};
use crate::tree::{Item, Section};
use crate::units::{Extents, Sectors};

/// A run of an LV's extents that are mapped in one way.
#[derive(Clone, PartialEq, Debug)]
pub struct Segment {
    /// First logical extent.
    pub start: Extents,
    /// Length in logical extents.
    pub len: Extents,
    /// `reshape_count`
    pub reshape_count: Option<u32>,
    /// In the order of the text.
    pub tags: Vec<String>,
    /// How it is mapped.
    pub kind: SegmentKind,
    /// Fields ulvm does not know in a segment type it does know, kept.
    pub extra: Vec<Item>,
}

/// How a segment is mapped.
#[derive(Clone, PartialEq, Debug)]
pub enum SegmentKind {
    /// `striped`; one stripe = linear. Each stripe has `len / stripes` extents.
    Striped {
        /// Sectors per chunk; zero when there is one stripe.
        stripe_size: Sectors,
        /// The stripes in order.
        stripes: Vec<Area>,
    },
    /// `mirror`
    Mirror(Mirror),
    /// `raid0`, `raid0_meta`, `raid1`, `raid4`, `raid5*`, `raid6*`, `raid10*`
    Raid(Raid),
    /// `snapshot`
    Snapshot(Snapshot),
    /// `error`
    Error,
    /// `zero`
    Zero,
    /// Anything else (thin, cache, vdo, unknown types, types with flag suffixes): kept word for
    /// word, never edited or activated.
    Foreign(Box<Foreign>),
}

/// Where a stripe or leg lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Area {
    /// Physical extents from `extent` on.
    Pv {
        /// Which PV.
        pv: PvKey,
        /// First physical extent.
        extent: Extents,
    },
    /// Logical extents of a sub-LV from `extent` on.
    Lv {
        /// Which LV.
        lv: LvKey,
        /// First logical extent.
        extent: Extents,
    },
}

/// A dm-mirror segment.
#[derive(Clone, PartialEq, Debug)]
pub struct Mirror {
    /// Legs in order.
    pub legs: Vec<Area>,
    /// Log LV; none = core log.
    pub log: Option<LvKey>,
    /// Sectors.
    pub region_size: Sectors,
    /// pvmove: extents already moved.
    pub extents_moved: Option<Extents>,
}

/// A raid segment.
#[derive(Clone, PartialEq, Debug)]
pub struct Raid {
    /// The type word as written: `raid1`, `raid5`, `raid5_ls`, `raid0_meta`, ...
    pub level: String,
    /// Images in order, each with its metadata LV where the level has one.
    pub images: Vec<RaidImage>,
    /// Sectors; zero when absent (raid0).
    pub region_size: Sectors,
    /// Sectors; zero for raid1.
    pub stripe_size: Sectors,
    /// raid10.
    pub data_copies: Option<u32>,
    /// raid1.
    pub writebehind: Option<u32>,
    /// KiB/s per disk.
    pub min_recovery_rate: Option<u32>,
    /// KiB/s per disk.
    pub max_recovery_rate: Option<u32>,
    /// Reshape, sectors.
    pub data_offset: Option<i64>,
}

/// One image of a raid segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RaidImage {
    /// `_rmeta_N`
    pub meta: Option<LvKey>,
    /// `_rimage_N`
    pub image: Area,
}

/// A snapshot segment: the only one of a hidden `snapshotN` LV.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Sectors.
    pub chunk_size: Sectors,
    /// The origin.
    pub origin: LvKey,
    /// The COW LV (which carries the name the user gave).
    pub cow: LvKey,
    /// `merging_store` was written instead of `cow_store`.
    pub merging: bool,
}

/// A segment of a type that ulvm only keeps.
#[derive(Clone, PartialEq, Debug)]
pub struct Foreign {
    /// The type word with its `+FLAG` suffixes.
    pub type_word: String,
    /// Every field but `start_extent`, `extent_count`, `reshape_count`, `type` and `tags`.
    /// LVs and PVs are named by their names and text keys here.
    pub fields: Section,
    /// LVs of this VG whose names occur as values in `fields`: those must not be renamed, resized
    /// or removed.
    pub lvs: Vec<LvKey>,
    /// Physical areas that are certain to be in use (`pvN`, extent pairs with a known length);
    /// empty for thin, cache and the like, whose data are in sub-LVs.
    pub areas: Vec<(PvKey, Extents, Extents)>,
}

impl SegmentKind {
    /// The type word as written in metadata (`linear` is written as `striped`).
    pub fn type_word(&self) -> &str {
        match self {
            Self::Striped { .. } => "striped",
            Self::Mirror(_) => "mirror",
            Self::Raid(r) => &r.level,
            Self::Snapshot(_) => "snapshot",
            Self::Error => "error",
            Self::Zero => "zero",
            Self::Foreign(f) => &f.type_word,
        }
    }
}

impl Segment {
    /// A plain segment.
    pub fn new(start: Extents, len: Extents, kind: SegmentKind) -> Self {
        Self {
            start,
            len,
            reshape_count: None,
            tags: Vec::new(),
            kind,
            extra: Vec::new(),
        }
    }
    /// First extent behind it.
    pub fn end(&self) -> Extents {
        Extents(self.start.0.saturating_add(self.len.0))
    }
    /// Areas in order, with the extents each covers. Metadata and log LVs are not among them.
    pub fn areas(&self) -> Vec<(Area, Extents)> {
        match &self.kind {
            SegmentKind::Striped { stripes, .. } => {
                let each = Extents(self.len.0 / u32::try_from(stripes.len().max(1)).unwrap_or(1));
                stripes.iter().map(|a| (*a, each)).collect()
            }
            SegmentKind::Mirror(m) => m.legs.iter().map(|a| (*a, self.len)).collect(),
            SegmentKind::Raid(r) => {
                let each = Extents(self.len.0 / r.data_stripes());
                r.images.iter().map(|i| (i.image, each)).collect()
            }
            SegmentKind::Snapshot(_) | SegmentKind::Error | SegmentKind::Zero => Vec::new(),
            SegmentKind::Foreign(f) => f
                .areas
                .iter()
                .map(|(pv, extent, len)| {
                    (
                        Area::Pv {
                            pv: *pv,
                            extent: *extent,
                        },
                        *len,
                    )
                })
                .collect(),
        }
    }
}

impl Raid {
    /// Number of images that hold distinct data: what the extent count is divided by to get the
    /// length of one image. At least 1.
    pub fn data_stripes(&self) -> u32 {
        let n = u32::try_from(self.images.len()).unwrap_or(u32::MAX);
        let data = if self.level.starts_with("raid10") {
            n / self.data_copies.unwrap_or(2).max(1)
        } else if self.level.starts_with("raid1") {
            1
        } else if self.level.starts_with("raid0") {
            n
        } else if self.level.starts_with("raid6") {
            n.saturating_sub(2)
        } else {
            n.saturating_sub(1)
        };
        data.max(1)
    }
}
