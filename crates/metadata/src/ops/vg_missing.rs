//! `vgreduce --removemissing`: a VG gets along without the PVs that are gone.
//!
//! Empty missing PVs are dropped. LVs that have extents on missing PVs are partial; with `--force`
//! mirrors lose the legs that are gone, raid images that are gone become error segments, and every
//! other partial LV is removed.

use super::lv_remove::lv_remove;
use super::lv_tree::all_parts;
use super::vg_graft::references;
use super::{Done, OpError};
use crate::model::usage::Usage;
use crate::model::{Area, LvKey, Mirror, PvKey, Segment, SegmentKind, Vg};
use crate::units::Extents;

/// What became of a partial LV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Repair {
    /// It lost its missing legs or images and is whole again, or its images are error segments.
    Repaired,
    /// It was removed, with everything it consisted of.
    Removed(String),
    /// It is no mirror and `--mirrorsonly` was given.
    Kept(String),
}

/// LVs with extents on missing PVs, themselves or in what they consist of, in list order.
pub fn partial_lvs(vg: &Vg, missing: &[PvKey]) -> Vec<LvKey> {
    vg.lvs
        .keys()
        .filter(|key| is_partial(vg, *key, missing))
        .collect()
}

/// Drops the missing PVs that hold no extents; the value is the names of LVs that are partial
/// still, visible ones only.
pub fn drop_empty_missing(old: &Vg, missing: &[PvKey]) -> Result<Done<Vec<String>>, OpError> {
    let usage = Usage::of(old);
    let mut vg = old.clone();
    for key in missing {
        if usage.used(*key).is_zero() {
            vg.pvs.remove(*key);
        }
    }
    let partial = partial_lvs(&vg, missing)
        .into_iter()
        .map(|key| vg.lvs[key].name.clone())
        .collect();
    if vg.pvs.is_empty() {
        return Err(OpError::refused(format!(
            "Volume group {} would have no physical volumes left.",
            old.name
        )));
    }
    Done::checked(vg, Vec::new(), partial)
}

/// Makes one partial LV whole, or removes it. The LV must be one that is partial and visible.
pub fn repair_partial(
    old: &Vg,
    key: LvKey,
    missing: &[PvKey],
    mirrors_only: bool,
) -> Result<Done<Repair>, OpError> {
    let mut vg = old.clone();
    let name = vg.lvs[key].name.clone();
    if old.lvs[key].status.pvmove || old.lvs[key].status.locked {
        return Err(OpError::refused(format!(
            "Logical volume {}/{name} is part of an unfinished pvmove.",
            old.name
        )));
    }
    let repaired = match vg.lvs[key].segments.first().map(|s| s.kind.clone()) {
        Some(SegmentKind::Raid(_)) => {
            fail_raid_images(&mut vg, key, missing);
            true
        }
        Some(SegmentKind::Mirror(mirror)) => drop_mirror_legs(&mut vg, key, &mirror, missing)?,
        _ => false,
    };
    // Segments behind the first may be of another type, and stay partial.
    let value = if repaired && !is_partial(&vg, key, missing) {
        Repair::Repaired
    } else if mirrors_only {
        vg = old.clone();
        Repair::Kept(name)
    } else {
        vg = lv_remove(old, key)?.vg;
        Repair::Removed(name)
    };
    Done::checked(vg, Vec::new(), value)
}

/// Deepest nesting of LVs that is looked into.
const DEPTH: u32 = 16;

fn is_partial(vg: &Vg, key: LvKey, missing: &[PvKey]) -> bool {
    fn on_missing(vg: &Vg, key: LvKey, missing: &[PvKey], depth: u32) -> bool {
        let Some(lv) = vg.lvs.get(key) else {
            return false;
        };
        lv.segments.iter().any(|segment| {
            let direct = segment
                .areas()
                .iter()
                .any(|(area, _)| matches!(area, Area::Pv { pv, .. } if missing.contains(pv)));
            let follows = !matches!(segment.kind, SegmentKind::Snapshot(_)) && depth < DEPTH;
            direct
                || (follows
                    && references(segment)
                        .into_iter()
                        .any(|l| l != key && on_missing(vg, l, missing, depth + 1)))
        })
    }
    on_missing(vg, key, missing, 0)
}

/// Images with a part on a missing PV become error segments, data and metadata alike.
fn fail_raid_images(vg: &mut Vg, key: LvKey, missing: &[PvKey]) {
    let mut failed = Vec::new();
    for segment in &vg.lvs[key].segments {
        let SegmentKind::Raid(raid) = &segment.kind else {
            continue;
        };
        for image in &raid.images {
            let parts: Vec<LvKey> = match image.image {
                Area::Lv { lv, .. } => image.meta.into_iter().chain([lv]).collect(),
                Area::Pv { .. } => Vec::new(),
            };
            if parts.iter().any(|l| is_partial(vg, *l, missing)) {
                failed.extend(parts);
            }
        }
    }
    for lv in failed {
        let len = Extents(vg.lvs[lv].extents().0.max(1));
        vg.lvs[lv].segments = vec![Segment::new(Extents(0), len, SegmentKind::Error)];
    }
}

/// Legs on missing PVs are dropped; a single leg left becomes the LV itself. False if none is left.
fn drop_mirror_legs(
    vg: &mut Vg,
    key: LvKey,
    mirror: &Mirror,
    missing: &[PvKey],
) -> Result<bool, OpError> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for leg in &mirror.legs {
        let Area::Lv { lv, .. } = leg else {
            return Ok(false);
        };
        if is_partial(vg, *lv, missing) {
            bad.push(*lv);
        } else {
            good.push((*leg, *lv));
        }
    }
    if good.is_empty() || vg.lvs[key].segments.len() != 1 {
        return Ok(false);
    }
    let mut log = mirror.log;
    if let Some(l) = log
        && (good.len() == 1 || is_partial(vg, l, missing))
    {
        bad.push(l);
        log = None;
    }
    if let [(_, only)] = good[..] {
        vg.lvs[key].segments = std::mem::take(&mut vg.lvs[only].segments);
        vg.lvs[key].status.not_synced = false;
        vg.lvs.remove(only);
    } else {
        vg.lvs[key].segments[0].kind = SegmentKind::Mirror(Mirror {
            legs: good.iter().map(|(area, _)| *area).collect(),
            log,
            ..mirror.clone()
        });
    }
    for lv in bad {
        remove_tree(vg, lv);
    }
    Ok(true)
}

/// Takes out an LV that nothing refers to any more, and what it consists of.
fn remove_tree(vg: &mut Vg, key: LvKey) {
    for part in all_parts(vg, key) {
        vg.lvs.remove(part);
    }
    vg.lvs.remove(key);
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, lv, striped, vg_of};
    use super::*;
    use crate::model::{Raid, RaidImage};
    use crate::units::Sectors;

    fn setup() -> (Ids, Vg, Vec<PvKey>) {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 4);
        let pvs: Vec<_> = vg.pvs.keys().collect();
        linear(&mut vg, &mut ids, "a", pvs[0], 0, 2);
        striped(&mut vg, &mut ids, "s", &pvs[1..3], 0, 2);
        (ids, vg, pvs)
    }

    fn at(lv: LvKey) -> Area {
        Area::Lv {
            lv,
            extent: Extents(0),
        }
    }

    #[test]
    fn empty_missing_pvs_go_and_partial_lvs_are_named() {
        let (_, vg, pvs) = setup();
        let done = drop_empty_missing(&vg, &[pvs[1], pvs[3]]).unwrap();
        assert_eq!(done.value, ["s"]);
        assert_eq!(done.vg.pvs.len(), 3);
        assert!(done.vg.pvs.get(pvs[1]).is_some());
    }

    #[test]
    fn a_partial_lv_is_removed_or_kept() {
        let (_, vg, pvs) = setup();
        let missing = [pvs[1]];
        let key = partial_lvs(&vg, &missing)[0];
        let kept = repair_partial(&vg, key, &missing, true).unwrap();
        assert_eq!(kept.value, Repair::Kept("s".into()));
        assert_eq!(kept.vg, vg);
        let done = repair_partial(&vg, key, &missing, false).unwrap();
        assert_eq!(done.value, Repair::Removed("s".into()));
        let done = drop_empty_missing(&done.vg, &missing).unwrap();
        assert_eq!((done.vg.pvs.len(), done.vg.lvs.len()), (3, 1));
    }

    #[test]
    fn a_mirror_lives_on_with_its_last_leg() {
        let (mut ids, mut vg, pvs) = setup();
        let legs = [
            linear(&mut vg, &mut ids, "m_mimage_0", pvs[1], 5, 2),
            linear(&mut vg, &mut ids, "m_mimage_1", pvs[2], 5, 2),
        ];
        let log = linear(&mut vg, &mut ids, "m_mlog", pvs[3], 5, 1);
        let mirror = SegmentKind::Mirror(Mirror {
            legs: legs.map(at).to_vec(),
            log: Some(log),
            region_size: Sectors(4096),
            extents_moved: None,
        });
        let m = lv(&mut vg, &mut ids, "m", 2, mirror);
        let missing = [pvs[2]];
        let done = repair_partial(&vg, m, &missing, true).unwrap();
        assert_eq!(done.value, Repair::Repaired);
        assert!(!is_partial(&done.vg, m, &missing));
        let names: Vec<_> = done.vg.lvs.values().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["a", "s", "m"]);
        assert_eq!(done.vg.lvs[m].extents(), Extents(2));
    }

    /// Whoever repairs goes on until nothing is partial: a repair that leaves an LV partial must not
    /// be called one.
    #[test]
    fn a_raid_with_other_segments_behind_it_is_removed() {
        let (mut ids, mut vg, pvs) = setup();
        let image = |vg: &mut Vg, ids: &mut Ids, n: usize| RaidImage {
            meta: None,
            image: at(linear(vg, ids, &format!("r_rimage_{n}"), pvs[n], 8, 2)),
        };
        let images = vec![image(&mut vg, &mut ids, 1), image(&mut vg, &mut ids, 2)];
        let raid = SegmentKind::Raid(Raid {
            level: "raid1".into(),
            images,
            region_size: Sectors(4096),
            stripe_size: Sectors::ZERO,
            data_copies: None,
            writebehind: None,
            min_recovery_rate: None,
            max_recovery_rate: None,
            data_offset: None,
        });
        let r = lv(&mut vg, &mut ids, "r", 2, raid);
        let behind = SegmentKind::Striped {
            stripe_size: Sectors(0),
            stripes: vec![Area::Pv {
                pv: pvs[1],
                extent: Extents(12),
            }],
        };
        let behind = Segment::new(Extents(2), Extents(1), behind);
        vg.lvs[r].segments.push(behind);
        let kept = repair_partial(&vg, r, &[pvs[1]], true).unwrap();
        assert_eq!(
            (kept.value, kept.vg),
            (Repair::Kept("r".into()), vg.clone())
        );
        let done = repair_partial(&vg, r, &[pvs[1]], false).unwrap();
        assert_eq!(done.value, Repair::Removed("r".into()));
    }

    #[test]
    fn lost_raid_images_become_errors() {
        let (mut ids, mut vg, pvs) = setup();
        let images = [1, 2].map(|n| RaidImage {
            meta: Some(linear(
                &mut vg,
                &mut ids,
                &format!("r_rmeta_{n}"),
                pvs[n],
                7,
                1,
            )),
            image: at(linear(
                &mut vg,
                &mut ids,
                &format!("r_rimage_{n}"),
                pvs[n],
                8,
                2,
            )),
        });
        let raid = SegmentKind::Raid(Raid {
            level: "raid1".into(),
            images: images.to_vec(),
            region_size: Sectors(4096),
            stripe_size: Sectors::ZERO,
            data_copies: None,
            writebehind: None,
            min_recovery_rate: None,
            max_recovery_rate: None,
            data_offset: None,
        });
        let r = lv(&mut vg, &mut ids, "r", 2, raid);
        let done = repair_partial(&vg, r, &[pvs[1]], false).unwrap();
        assert_eq!(done.value, Repair::Repaired);
        let errors = done
            .vg
            .lvs
            .values()
            .filter(|l| l.segments[0].kind == SegmentKind::Error);
        assert_eq!(errors.count(), 2);
    }
}
