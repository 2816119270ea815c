//! Choice of physical extents: free-area maps and allocation policies.
//!
//! [`allocate`] is a pure function: it chooses the extents LVM2 2.03.16 chooses, and changes
//! nothing. What it keeps:
//! - every piece lies in a free area of a PV that was offered, and no extent is handed out twice;
//! - the areas of one piece are parallel (stripes): equally long, and on different PVs unless the
//!   policy is [`Anywhere`](crate::model::AllocPolicy::Anywhere);
//! - a raid image's metadata extents lie directly before its first data, on the same PV; a mirror's
//!   log is a request of its own, without data;
//! - it ends: every round hands out at least one extent or gives up a preference.

mod free;
mod search;
#[cfg(test)]
mod tests;

pub use free::{FreeArea, FreeMap, PvFree, PvRange};

use crate::model::{AllocPolicy, Area, Lv, PvKey, Vg};
use crate::units::Extents;

/// What is to be allocated.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Name of the LV, for messages.
    pub lv_name: &'a str,
    /// The LV that is extended: its first and last segment attract the new extents. `None` for a
    /// new LV.
    pub extends: Option<&'a Lv>,
    /// Logical extents wanted; a multiple of `per_area`.
    pub extents: Extents,
    /// Areas side by side (stripes, copies); zero where only a log is wanted.
    pub parallel: u32,
    /// Logical extents that one extent of each area holds: the number of stripes, 1 for copies.
    pub per_area: u32,
    /// Never `Inherit`.
    pub policy: AllocPolicy,
    /// Take less than wanted when there is not enough (percentages of free space).
    pub at_most: bool,
    /// What goes with the data.
    pub beside: Beside,
    /// PVs to keep away from, unless the policy is `Anywhere`: those of the areas that the new ones
    /// shall be parallel to.
    pub avoid: &'a [Parallel],
    /// Settings.
    pub config: &'a AllocConfig,
}

/// Extents that are allocated together with the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Beside {
    /// None.
    #[default]
    Nothing,
    /// So many for the metadata of each raid image, directly before its data.
    Meta(Extents),
    /// One area of so many for the log of a mirror, on a PV without a leg if there is one.
    Log(Extents),
}

impl Beside {
    /// Length of one such area; zero if there is none.
    fn len(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Meta(n) | Self::Log(n) => n.0,
        }
    }

    /// Extents of metadata before each area.
    fn meta(self) -> u32 {
        match self {
            Self::Meta(n) => n.0,
            _ => 0,
        }
    }

    fn is_log(self) -> bool {
        matches!(self, Self::Log(_))
    }
}

/// PVs that hold the logical extents before `end` of what the new areas shall be parallel to, as
/// far as the runs before it do not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parallel {
    /// First logical extent behind the run.
    pub end: Extents,
    /// PVs under it.
    pub pvs: Vec<PvKey>,
}

/// `allocation/` settings that decide where extents are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllocConfig {
    /// `allocation/maximise_cling`: prefer PVs that were already used at every step.
    pub maximise_cling: bool,
    /// `allocation/cling_tag_list`: `@tag` entries, `@*` for any tag; empty = not configured.
    pub cling_tag_list: Vec<String>,
    /// `allocation/mirror_logs_require_separate_pvs`: no log on a PV of a leg.
    pub separate_logs: bool,
}

impl Default for AllocConfig {
    fn default() -> Self {
        Self {
            maximise_cling: true,
            cling_tag_list: Vec::new(),
            separate_logs: false,
        }
    }
}

/// A run of extents, one area per stripe, all of one length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// PV and first physical extent of each area.
    pub areas: Vec<(PvKey, Extents)>,
    /// Physical extents in each area.
    pub len: Extents,
}

/// All that was chosen for a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allocation {
    /// Data, in the order in which the pieces follow each other in the LV.
    pub pieces: Vec<Piece>,
    /// Where the metadata of each image lie, in the order of the areas; empty without
    /// [`Beside::Meta`].
    pub meta: Vec<(PvKey, Extents)>,
    /// Where the log lies.
    pub log: Option<(PvKey, Extents)>,
}

/// Why nothing was allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// The PVs offered have fewer free extents than are needed.
    TooFewFree {
        /// Physical extents needed.
        needed: u64,
        /// Physical extents free.
        free: u64,
    },
    /// There are enough free extents, but not where the policy allows.
    NotSuitable {
        /// Physical extents that could not be placed.
        missing: u64,
        /// The policy was contiguous.
        contiguous: bool,
    },
    /// As many as possible were wanted, and there is not one where the policy allows.
    NoneSuitable {
        /// The policy was contiguous.
        contiguous: bool,
    },
    /// There is no place for a log.
    NoLog,
}

impl AllocError {
    /// The message for the user.
    pub fn message(&self, lv_name: &str) -> String {
        let kind = |contiguous: &bool| if *contiguous { "contiguous " } else { "" };
        match self {
            Self::TooFewFree { needed, free } => format!(
                "Insufficient free space: {needed} extents needed, but only {free} available"
            ),
            Self::NotSuitable {
                missing,
                contiguous,
            } => format!(
                "Insufficient suitable {}allocatable extents for logical volume {lv_name}: {missing} more required",
                kind(contiguous)
            ),
            Self::NoLog => {
                format!("Insufficient free space for log allocation for logical volume {lv_name}.")
            }
            Self::NoneSuitable { contiguous } => format!(
                "Insufficient suitable {}allocatable extents found for logical volume {lv_name}.",
                kind(contiguous)
            ),
        }
    }
}

/// Chooses extents from `free`. The pieces come in the order in which they follow each other in
/// the LV; together they hold `extents` logical extents (or fewer, at least one, with `at_most`).
pub fn allocate(vg: &Vg, free: FreeMap, request: &Request<'_>) -> Result<Allocation, AllocError> {
    search::Search::new(vg, free, request).run()
}

/// What of a segment attracts the extents behind it: the first or the last segment of each part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    First,
    Last,
}

/// Deepest nesting of LVs that is looked into.
const DEPTH: u32 = 8;

/// PV and physical extents of each area under one end of an LV, those of its images for a mirror:
/// PV, first extent, and the extent behind the last.
fn pv_areas(vg: &Vg, lv: &Lv, end: End, depth: u32) -> Vec<(PvKey, Extents, u64)> {
    let segment = match end {
        End::First => lv.segments.first(),
        End::Last => lv.segments.last(),
    };
    let mut out = Vec::new();
    for (area, len) in segment
        .map(crate::model::Segment::areas)
        .unwrap_or_default()
    {
        match area {
            Area::Pv { pv, extent } => out.push((pv, extent, extent.get() + len.get())),
            Area::Lv { lv, .. } if depth < DEPTH => {
                if let Some(part) = vg.lvs.get(lv) {
                    out.extend(pv_areas(vg, part, end, depth + 1));
                }
            }
            Area::Lv { .. } => {}
        }
    }
    out
}
