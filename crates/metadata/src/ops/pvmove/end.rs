//! The steps that follow: a segment is copied, all of it is, or it is given up.

use super::super::lv_segments::{merge, split};
use super::super::{Done, OpError};
use super::{places, users};
use crate::model::{Area, LvKey, PvKey, Segment, SegmentKind, Vg};
use crate::units::Extents;

/// Notes that a segment of a mover, counted from 0, has been copied durably.
pub fn segment_moved(vg: &Vg, mover: LvKey, number: usize) -> Result<Done, OpError> {
    let mut vg = vg.clone();
    let lv = vg.lvs.get_mut(mover);
    let segment = lv.and_then(|lv| lv.segments.get_mut(number));
    let Some((len, SegmentKind::Mirror(mirror))) = segment.map(|s| (s.len, &mut s.kind)) else {
        return Err(OpError::refused("The segment that was moved is gone."));
    };
    mirror.extents_moved = Some(len);
    Done::checked(vg, Vec::new(), ())
}

/// The LVs on a mover lie on its new places, all of which must have been copied.
pub fn finish(vg: &Vg, mover: LvKey) -> Result<Done, OpError> {
    dissolve(vg, mover, |_| true)
}

/// The LVs on a mover lie where they were, but for segments that have been copied.
pub fn abort(vg: &Vg, mover: LvKey) -> Result<Done, OpError> {
    dissolve(vg, mover, |segment| match &segment.kind {
        SegmentKind::Mirror(mirror) => mirror.extents_moved == Some(segment.len),
        _ => true,
    })
}

/// Takes a mover out that nothing lies on any more.
pub fn remove(vg: &Vg, mover: LvKey) -> Result<Done, OpError> {
    if !users(vg, mover).is_empty() {
        let name = vg.lvs.get(mover).map_or("", |lv| lv.name.as_str());
        let text = format!("Logical volume {}/{name} is still used.", vg.name);
        return Err(OpError::refused(text));
    }
    let mut vg = vg.clone();
    vg.lvs.remove(mover);
    Done::checked(vg, Vec::new(), ())
}

/// A part of a mover: first extent, and where that and those behind it lie from now on.
struct Part {
    at: u32,
    place: (PvKey, Extents),
    len: u32,
}

/// Lets LVs lie on what `new` says of each segment of the mover, and leaves an `error` segment of it,
/// as LVM2 does: whoever still has its device must not write to extents that are free.
fn dissolve(vg: &Vg, mover: LvKey, new: impl Fn(&Segment) -> bool) -> Result<Done, OpError> {
    let mut vg = vg.clone();
    let (parts, images) = parts_of(&vg, mover, new)?;
    for key in users(&vg, mover) {
        lower(&mut vg, key, mover, &parts)?;
        let lv = &mut vg.lvs[key];
        lv.status.locked = false;
        merge(lv);
    }
    for image in images {
        vg.lvs.remove(image);
    }
    let lv = &mut vg.lvs[mover];
    lv.status.pvmove = false;
    lv.status.locked = false;
    lv.segments = vec![Segment::new(Extents::ZERO, Extents(1), SegmentKind::Error)];
    Done::checked(vg, Vec::new(), ())
}

/// Where the extents of a mover are to lie, and the LVs that are its legs.
fn parts_of(
    vg: &Vg,
    mover: LvKey,
    new: impl Fn(&Segment) -> bool,
) -> Result<(Vec<Part>, Vec<LvKey>), OpError> {
    let mut parts = Vec::new();
    let mut images = Vec::new();
    let odd = || {
        let name = vg.lvs.get(mover).map_or("", |lv| lv.name.as_str());
        OpError::refused(format!(
            "Logical volume {}/{name} is not what pvmove makes: nothing is known of where its data are.",
            vg.name
        ))
    };
    for segment in &vg.lvs.get(mover).ok_or_else(odd)?.segments {
        let leg = match &segment.kind {
            SegmentKind::Mirror(mirror) => match mirror.legs.as_slice() {
                [old, other] => {
                    let legs = [old, other].into_iter();
                    images.extend(legs.filter_map(|leg| match leg {
                        Area::Lv { lv, .. } => Some(*lv),
                        Area::Pv { .. } => None,
                    }));
                    *if new(segment) { other } else { old }
                }
                _ => return Err(odd()),
            },
            // What LVM2 leaves when it is stopped while it takes the mirror away.
            SegmentKind::Striped { stripes, .. } => match stripes.as_slice() {
                [one] => *one,
                _ => return Err(odd()),
            },
            _ => return Err(odd()),
        };
        let mut covered = 0;
        for (offset, place, len) in places(vg, leg, segment.len) {
            let len = len.min(segment.len.0.saturating_sub(offset));
            if offset != covered || len == 0 {
                break;
            }
            parts.push(Part {
                at: segment.start.0.saturating_add(offset),
                place,
                len,
            });
            covered = covered.saturating_add(len);
        }
        if covered != segment.len.0 {
            return Err(odd());
        }
    }
    Ok((parts, images))
}

/// Lets an LV lie on the parts instead of the mover.
fn lower(vg: &mut Vg, key: LvKey, mover: LvKey, parts: &[Part]) -> Result<(), OpError> {
    let name = vg.lvs[key].name.clone();
    let odd = || {
        OpError::refused(format!(
            "Logical volume {}/{name} does not lie on its pvmove in the way pvmove makes it.",
            vg.name
        ))
    };
    let mut cuts = Vec::new();
    for segment in &vg.lvs[key].segments {
        let areas = segment.areas();
        let stripes = u32::try_from(areas.len()).unwrap_or(u32::MAX);
        for (area, len) in areas {
            let Area::Lv { lv, extent } = area else {
                continue;
            };
            let inside = |p: &&Part| lv == mover && p.at > extent.0 && p.at - extent.0 < len.0;
            cuts.extend(parts.iter().filter(inside).filter_map(|p| {
                let logical = (p.at - extent.0).checked_mul(stripes)?;
                segment.start.0.checked_add(logical).map(Extents)
            }));
        }
    }
    let mut lv = vg.lvs[key].clone();
    for at in cuts {
        if !split(&mut lv, at) {
            return Err(odd());
        }
    }
    for segment in &mut lv.segments {
        let SegmentKind::Striped { stripes, .. } = &mut segment.kind else {
            continue;
        };
        let each = segment.len.0 / u32::try_from(stripes.len().max(1)).unwrap_or(u32::MAX);
        for area in stripes {
            let Area::Lv { lv, extent } = *area else {
                continue;
            };
            if lv != mover {
                continue;
            }
            let holds = |p: &&Part| p.at <= extent.0 && extent.0 - p.at < p.len;
            let part = parts.iter().find(holds).ok_or_else(odd)?;
            let inside = extent.0 - part.at;
            if part.len - inside < each {
                return Err(odd());
            }
            *area = Area::Pv {
                pv: part.place.0,
                extent: Extents(part.place.1.0.saturating_add(inside)),
            };
        }
    }
    vg.lvs[key] = lv;
    Ok(())
}

/// What is left of a mover by a command that was stopped before its last step: it is used by nothing.
pub fn leftovers(vg: &Vg) -> Vec<LvKey> {
    let plain = |lv: &crate::model::Lv| {
        let number = lv.name.strip_prefix("pvmove").unwrap_or("x");
        let ours = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let error = |s: &Segment| matches!(s.kind, SegmentKind::Error);
        ours && !lv.status.visible && !lv.status.pvmove && lv.segments.iter().all(error)
    };
    let all = vg.lvs.iter().filter(|(_, lv)| plain(lv));
    all.map(|(key, _)| key)
        .filter(|key| users(vg, *key).is_empty())
        .collect()
}
