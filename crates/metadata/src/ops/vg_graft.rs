//! Moving PVs and LVs from one VG into another: keys are counted anew, nothing else changes.

use std::collections::HashMap;

use super::OpError;
use crate::model::{Area, LvKey, PvKey, Segment, SegmentKind, Vg};

/// What is to move.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Graft {
    /// In the order they are to have in the other VG.
    pub pvs: Vec<PvKey>,
    /// Likewise.
    pub lvs: Vec<LvKey>,
}

/// Takes `graft` out of `from` and appends it to `into`. Every reference of what moves must lead
/// to something that moves.
pub(super) fn transplant(from: &mut Vg, into: &mut Vg, graft: &Graft) -> Result<(), OpError> {
    keeps_no_word_for_word_areas(from)?;
    keeps_no_word_for_word_areas(into)?;
    let mut keys = Keys::default();
    for old in &graft.pvs {
        let mut pv = from.pvs.remove(*old).ok_or_else(lost)?;
        // PVs are numbered anew: `pvN` of the one VG means another PV in the other.
        pv.text_key = None;
        keys.pvs.insert(*old, into.pvs.push(pv));
    }
    for old in &graft.lvs {
        let lv = from.lvs.remove(*old).ok_or_else(lost)?;
        keys.lvs.insert(*old, into.lvs.push(lv));
    }
    for new in keys.lvs.values() {
        for segment in &mut into.lvs[*new].segments {
            keys.segment(segment)?;
        }
    }
    Ok(())
}

/// Segments kept word for word may name PVs by their place in the text, which changes here.
fn keeps_no_word_for_word_areas(vg: &Vg) -> Result<(), OpError> {
    let word_for_word = |s: &Segment| match &s.kind {
        SegmentKind::Foreign(f) => !f.areas.is_empty(),
        _ => false,
    };
    match vg
        .lvs
        .values()
        .find(|lv| lv.segments.iter().any(word_for_word))
    {
        Some(lv) => Err(OpError::refused(format!(
            "Cannot move extents of volume group {}: LV {} has a segment type that cannot be changed.",
            vg.name, lv.name
        ))),
        None => Ok(()),
    }
}

fn lost() -> OpError {
    OpError::not_found("Internal error: an object to be moved is not in its volume group.")
}

#[derive(Default)]
struct Keys {
    pvs: HashMap<PvKey, PvKey>,
    lvs: HashMap<LvKey, LvKey>,
}

impl Keys {
    fn segment(&self, segment: &mut Segment) -> Result<(), OpError> {
        match &mut segment.kind {
            SegmentKind::Striped { stripes, .. } => {
                stripes.iter_mut().try_for_each(|a| self.area(a))?;
            }
            SegmentKind::Mirror(mirror) => {
                mirror.legs.iter_mut().try_for_each(|a| self.area(a))?;
                mirror.log.iter_mut().try_for_each(|l| self.lv(l))?;
            }
            SegmentKind::Raid(raid) => {
                for image in &mut raid.images {
                    self.area(&mut image.image)?;
                    image.meta.iter_mut().try_for_each(|l| self.lv(l))?;
                }
            }
            SegmentKind::Snapshot(snapshot) => {
                self.lv(&mut snapshot.origin)?;
                self.lv(&mut snapshot.cow)?;
            }
            SegmentKind::Error | SegmentKind::Zero => {}
            SegmentKind::Foreign(foreign) => {
                foreign.lvs.iter_mut().try_for_each(|l| self.lv(l))?;
            }
        }
        Ok(())
    }
    fn area(&self, area: &mut Area) -> Result<(), OpError> {
        match area {
            Area::Pv { pv, .. } => *pv = *self.pvs.get(pv).ok_or_else(lost)?,
            Area::Lv { lv, .. } => self.lv(lv)?,
        }
        Ok(())
    }
    fn lv(&self, lv: &mut LvKey) -> Result<(), OpError> {
        *lv = *self.lvs.get(lv).ok_or_else(lost)?;
        Ok(())
    }
}

/// LVs a segment leads to, metadata and log LVs included.
pub(super) fn references(segment: &Segment) -> Vec<LvKey> {
    let of_area = |a: &Area| match a {
        Area::Lv { lv, .. } => Some(*lv),
        Area::Pv { .. } => None,
    };
    match &segment.kind {
        SegmentKind::Striped { stripes, .. } => stripes.iter().filter_map(of_area).collect(),
        SegmentKind::Mirror(m) => m.legs.iter().filter_map(of_area).chain(m.log).collect(),
        SegmentKind::Raid(r) => r
            .images
            .iter()
            .flat_map(|i| of_area(&i.image).into_iter().chain(i.meta))
            .collect(),
        SegmentKind::Snapshot(s) => vec![s.origin, s.cow],
        SegmentKind::Error | SegmentKind::Zero => Vec::new(),
        SegmentKind::Foreign(f) => f.lvs.clone(),
    }
}
