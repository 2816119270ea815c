//! vgsplit: PVs, with the LVs on them, into a VG of their own or into another VG.
//!
//! # On disk
//! Three commits, each of which is whole before the next begins:
//! 1. the receiving VG with the moved PVs, EXPORTED and with the field `ulvm_split_from` (the
//!    identity of the VG they come from), on its metadata areas and on those of the moved PVs;
//! 2. the VG that was split, without the moved PVs, on the metadata areas it keeps;
//! 3. the receiving VG again, without the mark.
//!
//! The first header switched in step 1 makes the split valid: [`settle`] takes the moved PVs and
//! LVs out of the old text of the other VG by itself, and takes off the mark. LVM2, which does not
//! know the field, sees an exported VG in between, as after a crash of its own vgsplit, and keeps
//! its hands off it.
//!
//! [`settle`]: super::vg_settle::settle

use std::collections::HashSet;

use super::vg_graft::{Graft, references, transplant};
use super::vg_merge::compatible;
use super::{Done, OpError, history};
use crate::model::{AllocPolicy, Area, Lv, LvKey, PvKey, SegmentKind, Vg};
use crate::name::check_name;
use crate::uuid::LvmUuid;

/// What vgsplit is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct VgSplit {
    /// PVs to move, in the order given.
    pub pvs: Vec<PvKey>,
    /// The VG to move them to.
    pub into: SplitInto,
}

/// Where vgsplit moves to.
#[derive(Clone, PartialEq, Debug)]
pub enum SplitInto {
    /// A new VG.
    New {
        /// Name.
        name: String,
        /// Identity.
        id: LvmUuid,
        /// `-l`; that of the old VG if not given.
        max_lv: Option<u32>,
        /// `-p`; that of the old VG if not given.
        max_pv: Option<u32>,
        /// `--alloc`; that of the old VG if not given.
        alloc: Option<AllocPolicy>,
        /// `--vgmetadatacopies`; 0 = unmanaged.
        metadata_copies: u32,
        /// This host's.
        system_id: Option<String>,
    },
    /// A VG that exists.
    Existing(Box<Vg>),
}

/// Both VGs after a split.
#[derive(Clone, PartialEq, Debug)]
pub struct Split {
    /// What remains; `None` if nothing does.
    pub rest: Option<Vg>,
}

/// PVs on which an LV and all it consists of lie, in the order of its segments; for `-n LV`.
pub fn pvs_of_lv(vg: &Vg, name: &str) -> Result<Vec<PvKey>, OpError> {
    let lv = vg.find_lv(name).ok_or_else(|| {
        OpError::not_found(format!(
            "Logical volume {name} not in volume group {}",
            vg.name
        ))
    })?;
    let mut pvs = Vec::new();
    let mut seen = HashSet::from([lv]);
    let mut todo = vec![lv];
    while let Some(lv) = todo.pop() {
        for segment in &vg.lvs[lv].segments {
            for (area, _) in segment.areas() {
                if let Area::Pv { pv, .. } = area
                    && !pvs.contains(&pv)
                {
                    pvs.push(pv);
                }
            }
            todo.extend(references(segment).into_iter().filter(|l| seen.insert(*l)));
        }
    }
    Ok(pvs)
}

/// Splits; the result's VG is the receiving one, its value what remains of the other.
pub fn vg_split(old: &Vg, request: &VgSplit) -> Result<Done<Split>, OpError> {
    let mut into = receiver(old, &request.into)?;
    let mut rest = old.clone();
    let mut moved = Graft::default();
    for pv in &request.pvs {
        if !moved.pvs.contains(pv) {
            moved.pvs.push(*pv);
        }
    }
    moved.lvs = lvs_to_move(old, &moved.pvs)?;
    if into.max_pv != 0 && into.pvs.len() + moved.pvs.len() > into.max_pv as usize {
        return Err(OpError::limit(format!(
            "Maximum number of physical volumes ({}) exceeded  for \"{}\" and \"{}\"",
            into.max_pv, into.name, old.name
        )));
    }
    transplant(&mut rest, &mut into, &moved)?;
    history::follow(&mut rest, &mut into)?;
    let rest = if rest.pvs.is_empty() && rest.lvs.is_empty() {
        None
    } else {
        Some(Done::checked(rest, Vec::new(), ())?.vg)
    };
    Done::checked(into, Vec::new(), Split { rest })
}

fn receiver(old: &Vg, into: &SplitInto) -> Result<Vg, OpError> {
    match into {
        SplitInto::New {
            name,
            id,
            max_lv,
            max_pv,
            alloc,
            metadata_copies,
            system_id,
        } => {
            check_name(name).map_err(|_| OpError::refused(format!("Invalid vg name {name}.")))?;
            let mut vg = Vg::new(name.clone(), *id, old.extent_size);
            vg.max_lv = max_lv.unwrap_or(old.max_lv);
            vg.max_pv = max_pv.unwrap_or(old.max_pv);
            vg.alloc = alloc.unwrap_or(old.alloc);
            vg.metadata_copies = *metadata_copies;
            vg.system_id.clone_from(system_id);
            Ok(vg)
        }
        SplitInto::Existing(vg) => {
            compatible(vg, old)?;
            Ok((**vg).clone())
        }
    }
}

/// LVs that go with the PVs. An LV that lies on no PV (error, zero) goes too, as with LVM2. An LV
/// that lies on both sides, by itself or by what it consists of, is refused.
fn lvs_to_move(vg: &Vg, pvs: &[PvKey]) -> Result<Vec<LvKey>, OpError> {
    let mut out = Vec::new();
    for (key, lv) in vg.lvs.iter() {
        let side = side_of(vg, key, pvs, 0)?;
        if side.split() {
            return Err(refusal(vg, lv));
        }
        if !side.stays {
            out.push(key);
        }
    }
    // Whatever names each other stays together: snapshots and their origins.
    let moving: HashSet<_> = out.iter().copied().collect();
    for (key, lv) in vg.lvs.iter() {
        for other in lv.segments.iter().flat_map(references) {
            if moving.contains(&key) != moving.contains(&other) {
                return Err(refusal(vg, lv));
            }
        }
    }
    Ok(out)
}

fn refusal(vg: &Vg, lv: &Lv) -> OpError {
    let what = match lv.segments.first().map(|s| &s.kind) {
        Some(SegmentKind::Snapshot(s)) => {
            let name = vg.lvs.get(s.cow).map_or(&lv.name, |cow| &cow.name);
            return OpError::refused(format!(
                "Can't split snapshot {name} between two Volume Groups"
            ));
        }
        Some(SegmentKind::Mirror(_)) => "mirror",
        Some(SegmentKind::Raid(_)) => "RAID Logical Volume",
        _ => "Logical Volume",
    };
    OpError::refused(format!(
        "Can't split {what} {} between two Volume Groups",
        lv.name
    ))
}

#[derive(Clone, Copy, Default)]
struct Side {
    stays: bool,
    moves: bool,
}

impl Side {
    fn split(self) -> bool {
        self.stays && self.moves
    }
}

/// Deepest nesting of LVs that is looked into; LVM2 makes no more than a handful.
const DEPTH: u32 = 16;

fn side_of(vg: &Vg, key: LvKey, moved: &[PvKey], depth: u32) -> Result<Side, OpError> {
    let mut side = Side::default();
    if depth > DEPTH {
        return Err(OpError::refused(format!(
            "Logical volume {} is nested too deeply.",
            vg.lvs[key].name
        )));
    }
    for segment in &vg.lvs[key].segments {
        for (area, _) in segment.areas() {
            if let Area::Pv { pv, .. } = area {
                let moves = moved.contains(&pv);
                side.moves |= moves;
                side.stays |= !moves;
            }
        }
        for other in references(segment) {
            if other != key && vg.lvs.get(other).is_some() {
                let part = side_of(vg, other, moved, depth + 1)?;
                side.moves |= part.moves;
                side.stays |= part.stays;
            }
        }
    }
    Ok(side)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, striped, vg_of};
    use super::super::vg_merge::vg_merge;
    use super::*;
    use crate::uuid::IdSource;

    fn setup() -> (Ids, Vg, Vec<PvKey>) {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 4);
        let pvs: Vec<_> = vg.pvs.keys().collect();
        linear(&mut vg, &mut ids, "a", pvs[0], 0, 2);
        linear(&mut vg, &mut ids, "b", pvs[1], 0, 2);
        striped(&mut vg, &mut ids, "s", &pvs[2..], 0, 2);
        (ids, vg, pvs)
    }

    fn new(ids: &mut Ids) -> SplitInto {
        SplitInto::New {
            name: "nv".into(),
            id: ids.new_id(),
            max_lv: None,
            max_pv: None,
            alloc: None,
            metadata_copies: 0,
            system_id: None,
        }
    }

    #[test]
    fn split_and_merge_keep_every_lv() {
        let (mut ids, vg, pvs) = setup();
        let request = VgSplit {
            pvs: vec![pvs[3], pvs[2]],
            into: new(&mut ids),
        };
        let done = vg_split(&vg, &request).unwrap();
        let rest = done.value.rest.unwrap();
        assert_eq!((rest.lvs.len(), done.vg.lvs.len()), (2, 1));
        let first = done.vg.pvs.values().next().unwrap();
        assert_eq!(first.id, vg.pvs[pvs[3]].id);
        let back = vg_merge(&rest, &done.vg).unwrap().vg;
        assert_eq!((back.pvs.len(), back.lvs.len()), (4, 3));
    }

    #[test]
    fn an_lv_on_both_sides_is_refused() {
        let (mut ids, vg, pvs) = setup();
        let request = VgSplit {
            pvs: vec![pvs[2]],
            into: new(&mut ids),
        };
        assert_eq!(
            vg_split(&vg, &request).unwrap_err().message,
            "Can't split Logical Volume s between two Volume Groups"
        );
        assert_eq!(pvs_of_lv(&vg, "s").unwrap(), pvs[2..]);
        assert!(pvs_of_lv(&vg, "nosuch").is_err());
    }

    #[test]
    fn nothing_may_remain_and_existing_vgs_grow() {
        let (mut ids, vg, pvs) = setup();
        let all = VgSplit {
            pvs: pvs.clone(),
            into: new(&mut ids),
        };
        assert_eq!(vg_split(&vg, &all).unwrap().value.rest, None);
        let mut other = vg_of(&mut ids, 1);
        other.name = "other".into();
        let request = VgSplit {
            pvs: vec![pvs[1]],
            into: SplitInto::Existing(Box::new(other)),
        };
        let done = vg_split(&vg, &request).unwrap();
        assert_eq!((done.vg.pvs.len(), done.vg.lvs.len()), (2, 1));
    }
}
