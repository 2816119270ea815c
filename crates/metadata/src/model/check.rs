//! What must hold of every VG that ulvm writes, and of every VG it edits.

use std::collections::HashSet;
use std::fmt;

use super::arena::{Key, LvKey};
use super::segment::{Area, SegmentKind};
use super::usage::Usage;
use super::vg::Vg;
use crate::name::check_name;

/// A broken invariant; names the object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// Checks everything; the first broken invariant is returned.
///
/// 1. Names are well-formed and unique, identifiers unique.
/// 2. The extent size is not 0; each LV's segments are consecutive from 0 and not empty.
/// 3. Every area lies inside its PV or sub-LV, references lead to live entries, and no LV is made of
///    itself.
/// 4. No physical extent is used twice.
/// 5. A striped segment's length is a multiple of its stripes; several stripes have a stripe size
///    that is not larger than an extent.
/// 6. `max_lv` and `max_pv` are kept.
pub fn check(vg: &Vg) -> Result<(), Broken> {
    check_name(&vg.name).map_err(|e| Broken(format!("VG {}: {e}", vg.name)))?;
    if vg.extent_size.is_zero() {
        return Err(Broken(format!("VG {}: extent size is 0", vg.name)));
    }
    let mut ids = HashSet::new();
    for pv in vg.pvs.values() {
        if !ids.insert(pv.id) {
            return Err(Broken(format!("VG {}: PV {} occurs twice", vg.name, pv.id)));
        }
    }
    let mut names = HashSet::with_capacity(vg.lvs.len());
    let mut lv_ids = HashSet::with_capacity(vg.lvs.len());
    for (key, lv) in vg.lvs.iter() {
        check_name(&lv.name).map_err(|e| Broken(format!("LV {}/{}: {e}", vg.name, lv.name)))?;
        if !names.insert(lv.name.as_str()) {
            return Err(Broken(format!("LV {}/{} occurs twice", vg.name, lv.name)));
        }
        if !lv_ids.insert(lv.id) {
            return Err(Broken(format!(
                "LV {}/{}: id {} occurs twice",
                vg.name, lv.name, lv.id
            )));
        }
        check_lv(vg, key).map_err(|what| Broken(format!("LV {}/{}: {what}", vg.name, lv.name)))?;
    }
    if vg.max_pv != 0 && vg.pvs.len() > vg.max_pv as usize {
        return Err(Broken(format!(
            "VG {}: more than {} PVs",
            vg.name, vg.max_pv
        )));
    }
    check_cycles(vg)?;
    check_overlap(vg)
}

fn check_lv(vg: &Vg, key: LvKey) -> Result<(), String> {
    let lv = &vg.lvs[key];
    let mut at = 0u32;
    for (n, segment) in lv.segments.iter().enumerate() {
        let n = n + 1;
        if segment.start.0 != at {
            return Err(format!(
                "segment{n} starts at extent {}, not {at}",
                segment.start
            ));
        }
        if segment.len.is_zero() {
            return Err(format!("segment{n} is empty"));
        }
        at = at
            .checked_add(segment.len.0)
            .ok_or_else(|| format!("segment{n} is too long"))?;
        if let SegmentKind::Striped {
            stripe_size,
            stripes,
        } = &segment.kind
        {
            let count = u32::try_from(stripes.len()).unwrap_or(0);
            if count == 0 || segment.len.0 % count != 0 {
                return Err(format!(
                    "segment{n}: {} extents over {count} stripes",
                    segment.len
                ));
            }
            if count > 1 && (stripe_size.is_zero() || *stripe_size > vg.extent_size) {
                return Err(format!("segment{n}: stripe size is {stripe_size} sectors"));
            }
        }
        if let Some(gone) = references(&segment.kind)
            .into_iter()
            .find(|lv| vg.lvs.get(*lv).is_none())
        {
            return Err(format!(
                "segment{n} refers to an LV that is gone ({gone:?})"
            ));
        }
        for (area, len) in segment.areas() {
            check_area(vg, key, area, len.0).map_err(|what| format!("segment{n}: {what}"))?;
        }
    }
    Ok(())
}

/// LVs that a segment needs beside its areas.
fn references(kind: &SegmentKind) -> Vec<LvKey> {
    match kind {
        SegmentKind::Striped { .. } | SegmentKind::Error | SegmentKind::Zero => Vec::new(),
        SegmentKind::Mirror(m) => m.log.into_iter().collect(),
        SegmentKind::Raid(r) => r.images.iter().filter_map(|i| i.meta).collect(),
        SegmentKind::Snapshot(s) => vec![s.origin, s.cow],
        SegmentKind::Foreign(f) => f.lvs.clone(),
    }
}

fn check_area(vg: &Vg, owner: LvKey, area: Area, len: u32) -> Result<(), String> {
    let (extent, limit, pv, name) = match area {
        Area::Pv { pv, extent } => {
            let pv = vg.pvs.get(pv).ok_or("area on a PV that is gone")?;
            (extent, pv.pe_count, Some(pv.id), "")
        }
        Area::Lv { lv, extent } => {
            if lv == owner {
                return Err("the LV is mapped to itself".into());
            }
            let lv = vg.lvs.get(lv).ok_or("area on an LV that is gone")?;
            (extent, lv.extents(), None, lv.name.as_str())
        }
    };
    match extent.0.checked_add(len) {
        Some(end) if end <= limit.0 => Ok(()),
        _ => {
            let name = pv.map_or(name.to_owned(), |id| id.to_string());
            Err(format!(
                "extents {extent}+{len} are beyond the {limit} of {name}"
            ))
        }
    }
}

/// No LV is made of itself through others. Without recursion, since a hostile text nests as deep as
/// it likes.
fn check_cycles(vg: &Vg) -> Result<(), Broken> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let below = |key: LvKey| -> Vec<LvKey> {
        let mut out = Vec::new();
        for segment in vg.lvs.get(key).iter().flat_map(|lv| &lv.segments) {
            // Names in a segment that is only kept may mean anything.
            if !matches!(segment.kind, SegmentKind::Foreign(_)) {
                out.extend(references(&segment.kind));
                out.extend(segment.areas().iter().filter_map(|(area, _)| match area {
                    Area::Lv { lv, .. } => Some(*lv),
                    Area::Pv { .. } => None,
                }));
            }
        }
        out
    };
    let mut marks = vec![Mark::New; vg.lvs.slot_count()];
    for start in vg.lvs.keys() {
        let mut path = vec![(start, None::<Vec<LvKey>>)];
        while let Some((key, rest)) = path.last_mut() {
            let mark = &mut marks[key.slot() as usize];
            let rest = match rest {
                Some(rest) => rest,
                None => {
                    match mark {
                        Mark::Done => {
                            path.pop();
                            continue;
                        }
                        Mark::Open => {
                            let name = &vg.lvs[*key].name;
                            let what = format!("LV {}/{name} is made of itself", vg.name);
                            return Err(Broken(what));
                        }
                        Mark::New => *mark = Mark::Open,
                    }
                    rest.insert(below(*key))
                }
            };
            match rest.pop() {
                Some(next) => path.push((next, None)),
                None => {
                    *mark = Mark::Done;
                    path.pop();
                }
            }
        }
    }
    Ok(())
}

fn check_overlap(vg: &Vg) -> Result<(), Broken> {
    let usage = Usage::of(vg);
    for (key, pv) in vg.pvs.iter() {
        for pair in usage.on(key).windows(2) {
            let end = u64::from(pair[0].start.0) + u64::from(pair[0].len.0);
            if end > u64::from(pair[1].start.0) {
                return Err(Broken(format!(
                    "VG {}: extent {} of PV {} is used by {} and {}",
                    vg.name, pair[1].start, pv.id, vg.lvs[pair[0].lv].name, vg.lvs[pair[1].lv].name
                )));
            }
        }
    }
    Ok(())
}
