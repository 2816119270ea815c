//! What conversions share: where new parts may lie, what is known of the copies, and finding the
//! raid1 or mirror segment of an LV.

use super::super::OpError;
use super::super::lv_tree::{all_parts, check_editable, full_name};
use super::super::pv_args::{PvArg, pv_ranges};
use super::build::{Maker, RAID1, Space};
use crate::alloc::{AllocConfig, PvRange};
use crate::model::usage::Usage;
use crate::model::{AllocPolicy, Area, Creation, LvKey, Mirror, PvKey, Raid, SegmentKind, Vg};
use crate::notice::Notice;
use crate::units::Sectors;
use crate::uuid::IdSource;

/// Where new parts of a mirror may lie, and what they are given.
#[derive(Clone, Debug)]
pub struct Growth<'a> {
    /// PVs named; `None` = anywhere in the VG.
    pub pvs: Option<&'a [PvArg]>,
    /// Policy for this time; `None` = the LV's.
    pub alloc: Option<AllocPolicy>,
    /// Region size of a mirror that begins; one that is there keeps its own.
    pub region: Sectors,
    /// When and where.
    pub creation: Creation,
    /// Settings.
    pub config: &'a AllocConfig,
}

/// What is known of the copies of a mirror.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    /// All are equal.
    Done,
    /// Some differ from the first.
    Running,
    /// Nobody can say: the LV is not active and has no marks on disk.
    Unknown,
}

/// A conversion under way: the old VG's usage with what may be used of it.
pub(super) struct Plan {
    usage: Usage,
    offered: Option<Vec<PvRange>>,
    policy: AllocPolicy,
}

impl Plan {
    pub(super) fn new(
        vg: &Vg,
        lv: LvKey,
        growth: &Growth<'_>,
        notices: &mut Vec<Notice>,
    ) -> Result<Self, OpError> {
        let usage = Usage::of(vg);
        let offered = match growth.pvs {
            Some(args) => Some(pv_ranges(vg, &usage, args, notices)?),
            None => None,
        };
        let policy = match growth.alloc.unwrap_or(vg.lvs[lv].alloc) {
            AllocPolicy::Inherit => vg.alloc,
            other => other,
        };
        Ok(Self {
            usage,
            offered,
            policy,
        })
    }

    /// Conversions are no part of an LV's name to LVM2's allocator: its messages leave it empty.
    pub(super) fn space<'a>(&'a self, growth: &Growth<'a>) -> Space<'a> {
        Space {
            usage: &self.usage,
            offered: self.offered.as_deref(),
            policy: self.policy,
            config: growth.config,
            name: "",
            at_most: false,
        }
    }

    /// Takes note of what has been handed out since.
    pub(super) fn refresh(&mut self, vg: &Vg) {
        self.usage = Usage::of(vg);
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }
}

pub(super) fn maker<'a>(
    vg: &Vg,
    lv: LvKey,
    growth: &Growth<'_>,
    ids: &'a mut dyn IdSource,
) -> Maker<'a> {
    Maker {
        ids,
        creation: growth.creation.clone(),
        alloc: vg.lvs[lv].alloc,
    }
}

/// Checks that the LV is there and may be converted.
pub(super) fn editable(vg: &Vg, lv: LvKey) -> Result<(), OpError> {
    if vg.lvs.get(lv).is_none() {
        return Err(OpError::not_found("The logical volume is gone."));
    }
    check_editable(vg, lv, "convert")
}

/// The raid1 segment of an LV that is nothing else.
pub fn raid1_of(vg: &Vg, lv: LvKey) -> Option<&Raid> {
    match vg.lvs.get(lv)?.segments.as_slice() {
        [segment] => match &segment.kind {
            SegmentKind::Raid(raid) if raid.level == RAID1 => Some(raid),
            _ => None,
        },
        _ => None,
    }
}

/// The same, to be changed.
pub(super) fn raid1_mut(vg: &mut Vg, lv: LvKey) -> Result<&mut Raid, OpError> {
    let name = full_name(vg, lv);
    match vg.lvs[lv].segments.first_mut().map(|s| &mut s.kind) {
        Some(SegmentKind::Raid(raid)) => Ok(raid),
        _ => Err(OpError::refused(format!("{name} is no raid1 LV."))),
    }
}

/// The mirror segment of an LV that is nothing else, pvmove's aside.
pub fn mirror_of(vg: &Vg, lv: LvKey) -> Option<&Mirror> {
    match vg.lvs.get(lv)?.segments.as_slice() {
        [segment] => match &segment.kind {
            SegmentKind::Mirror(mirror) if mirror.extents_moved.is_none() => Some(mirror),
            _ => None,
        },
        _ => None,
    }
}

/// The LV of an area.
pub(super) fn lv_of(area: Area) -> Option<LvKey> {
    match area {
        Area::Lv { lv, .. } => Some(lv),
        Area::Pv { .. } => None,
    }
}

/// Does the LV lie on one of these PVs, itself or in a part?
pub(super) fn lies_on(vg: &Vg, lv: LvKey, pvs: &[PvKey]) -> bool {
    let mut all = all_parts(vg, lv);
    all.push(lv);
    all.iter().any(|part| {
        let segments = &vg.lvs[*part].segments;
        let mut areas = segments.iter().flat_map(|s| s.areas());
        areas.any(|(area, _)| matches!(area, Area::Pv { pv, .. } if pvs.contains(&pv)))
    })
}

/// Takes out an LV that nothing refers to any more, and what it consists of.
pub(super) fn remove_tree(vg: &mut Vg, lv: LvKey) {
    for part in all_parts(vg, lv) {
        vg.lvs.remove(part);
    }
    vg.lvs.remove(lv);
}

/// Moves what `part` is made of into `lv`, and takes `part` out.
pub(super) fn absorb(vg: &mut Vg, lv: LvKey, part: LvKey) {
    if let Some(part) = vg.lvs.remove(part) {
        vg.lvs[lv].segments = part.segments;
    }
}
