//! Choice of physical extents: free-area maps and allocation policies.
//!
//! [`allocate`] is a pure function: it chooses the extents LVM2 2.03.16 chooses, and changes
//! nothing. What it keeps:
//! - every piece lies in a free area of a PV that was offered, and no extent is handed out twice;
//! - the areas of one piece are parallel (stripes): equally long, and on different PVs unless the
//!   policy is [`Anywhere`](crate::model::AllocPolicy::Anywhere);
//! - it ends: every round hands out at least one extent or gives up a preference.

mod free;
mod search;
#[cfg(test)]
mod tests;

pub use free::{FreeArea, FreeMap, PvFree, PvRange};

use crate::model::{AllocPolicy, Area, Lv, PvKey, SegmentKind, Vg};
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
    /// Areas side by side (stripes).
    pub parallel: u32,
    /// Logical extents that one extent of each area holds: the number of stripes, 1 for copies.
    pub per_area: u32,
    /// Never `Inherit`.
    pub policy: AllocPolicy,
    /// Take less than wanted when there is not enough (percentages of free space).
    pub at_most: bool,
    /// Settings.
    pub config: &'a AllocConfig,
}

/// `allocation/` settings that decide where extents are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllocConfig {
    /// `allocation/maximise_cling`: prefer PVs that were already used at every step.
    pub maximise_cling: bool,
    /// `allocation/cling_tag_list`: `@tag` entries, `@*` for any tag; empty = not configured.
    pub cling_tag_list: Vec<String>,
}

impl Default for AllocConfig {
    fn default() -> Self {
        Self {
            maximise_cling: true,
            cling_tag_list: Vec::new(),
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
            Self::NoneSuitable { contiguous } => format!(
                "Insufficient suitable {}allocatable extents found for logical volume {lv_name}.",
                kind(contiguous)
            ),
        }
    }
}

/// Chooses extents from `free`. The pieces come in the order in which they follow each other in
/// the LV; together they hold `extents` logical extents (or fewer, at least one, with `at_most`).
pub fn allocate(vg: &Vg, free: FreeMap, request: &Request<'_>) -> Result<Vec<Piece>, AllocError> {
    search::Search::new(vg, free, request).run()
}

/// PV and first extent of each area of a segment, when all its areas lie on PVs.
fn pv_areas(kind: &SegmentKind) -> Vec<(PvKey, Extents)> {
    match kind {
        SegmentKind::Striped { stripes, .. } => stripes
            .iter()
            .filter_map(|a| match a {
                Area::Pv { pv, extent } => Some((*pv, *extent)),
                Area::Lv { .. } => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
