//! Moving extents from one PV to others, in the steps that LVM2's `pvmove` takes.
//!
//! [`begin`] puts a hidden LV `pvmoveN`, the *mover*, between LVs and the extents that are to move:
//! each of its segments is a mirror of an old place and a new one. Whoever carries it out copies one
//! segment after the other and notes it with [`segment_moved`]. [`finish`] lets the LVs lie on the new
//! places, [`abort`] on the new ones only where a segment was finished; what is left of the mover, an
//! `error` segment, goes with [`remove`]. Each of these is one commit, so either tool can go on from
//! any of them.
//!
//! With `--atomic` the mover is one mirror of two LVs, `pvmoveN_mimage_0` and `_1`: nothing counts as
//! moved until all of it is.

mod begin;
mod end;
mod layout;

#[cfg(test)]
mod tests;

pub use begin::{Move, begin};
pub use end::{abort, finish, leftovers, remove, segment_moved};

use std::borrow::Cow;

use super::lv_tree::parts;
use crate::model::{Area, LvKey, PvKey, SegmentKind, Vg};
use crate::units::Extents;

/// A run of extents that a mover copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The segment of the mover that it belongs to, from 0.
    pub segment: usize,
    /// First logical extent of the mover.
    pub at: Extents,
    /// Number of extents.
    pub len: Extents,
    /// Where the data are.
    pub from: (PvKey, Extents),
    /// Where they go.
    pub to: (PvKey, Extents),
    /// The segment is marked as copied: the data are at the new place, and the old one may be stale.
    pub moved: bool,
}

/// All movers of a VG, in list order.
pub fn movers(vg: &Vg) -> Vec<LvKey> {
    let all = vg.lvs.iter().filter(|(_, lv)| lv.status.pvmove);
    all.map(|(key, _)| key)
        .filter(|key| !vg.lvs.keys().any(|k| k != *key && is_image(vg, k, *key)))
        .collect()
}

/// Is `part` a leg of the mover `lv`?
fn is_image(vg: &Vg, lv: LvKey, part: LvKey) -> bool {
    vg.lvs[lv].status.pvmove && parts(vg, lv).contains(&part)
}

/// The VG as it would be without its movers: LVs lie where their data are now. Keys stay what they
/// are. This is what an LV is read from, and written to, while nobody copies.
pub fn settled(vg: &Vg) -> Cow<'_, Vg> {
    settled_but(vg, &|_| false)
}

/// The same, with the movers that are to be kept.
pub fn settled_but<'v>(vg: &'v Vg, keep: &dyn Fn(LvKey) -> bool) -> Cow<'v, Vg> {
    let mut out = Cow::Borrowed(vg);
    for mover in movers(vg).into_iter().filter(|key| !keep(*key)) {
        // One that is not as pvmove makes it stays, and is not run either.
        if let Ok(done) = abort(&out, mover) {
            out = Cow::Owned(done.vg);
        }
    }
    out
}

/// The mover that empties a PV, if there is one.
pub fn mover_of(vg: &Vg, pv: PvKey) -> Option<LvKey> {
    movers(vg).into_iter().find(|key| {
        let runs = runs(vg, *key);
        runs.iter().any(|run| run.from.0 == pv)
    })
}

/// The PV that a mover empties. `None` for one of which only the end is to be tidied up.
pub fn source(vg: &Vg, mover: LvKey) -> Option<PvKey> {
    runs(vg, mover).first().map(|run| run.from.0)
}

/// LVs that lie on a mover, in list order.
pub fn users(vg: &Vg, mover: LvKey) -> Vec<LvKey> {
    let keys = vg.lvs.keys();
    keys.filter(|key| parts(vg, *key).contains(&mover))
        .collect()
}

/// LVs that lie on a mover, themselves or with a part, in no order.
pub fn all_above(vg: &Vg, mover: LvKey) -> Vec<LvKey> {
    let mut out = users(vg, mover);
    let mut at = 0;
    while let Some(key) = out.get(at).copied() {
        at += 1;
        for next in users(vg, key) {
            if !out.contains(&next) {
                out.push(next);
            }
        }
    }
    out
}

/// What a mover copies, in order. Segments that are no mirrors with two legs have nothing in it.
pub fn runs(vg: &Vg, mover: LvKey) -> Vec<Run> {
    let mut out = Vec::new();
    let Some(lv) = vg.lvs.get(mover) else {
        return out;
    };
    for (number, segment) in lv.segments.iter().enumerate() {
        let SegmentKind::Mirror(mirror) = &segment.kind else {
            continue;
        };
        let [old, new] = mirror.legs.as_slice() else {
            continue;
        };
        let moved = mirror.extents_moved == Some(segment.len);
        let (old, new) = (places(vg, *old, segment.len), places(vg, *new, segment.len));
        // Cut where either leg goes on elsewhere.
        let mut at = 0;
        while at < segment.len.0 {
            let (Some(from), Some(to)) = (place_at(&old, at), place_at(&new, at)) else {
                break;
            };
            let len = from.1.min(to.1);
            out.push(Run {
                segment: number,
                at: Extents(segment.start.0.saturating_add(at)),
                len: Extents(len),
                from: from.0,
                to: to.0,
                moved,
            });
            at = at.saturating_add(len);
        }
    }
    out
}

/// Extents on PVs that an LV may use: its own, and where it lies on a mover, those of all that moves,
/// old places and new ones.
pub fn own_extents(vg: &Vg, lv: LvKey) -> Vec<((PvKey, Extents), Extents)> {
    let mut out = Vec::new();
    let mut on: Vec<LvKey> = vec![lv];
    for (area, len) in vg.lvs[lv].segments.iter().flat_map(|s| s.areas()) {
        match area {
            Area::Pv { pv, extent } => out.push(((pv, extent), len)),
            Area::Lv { lv, .. } if !on.contains(&lv) => on.push(lv),
            Area::Lv { .. } => {}
        }
    }
    for mover in on.into_iter().filter(|key| vg.lvs[*key].status.pvmove) {
        for run in runs(vg, mover) {
            out.extend([(run.from, run.len), (run.to, run.len)]);
        }
    }
    out
}

/// A run of extents on a PV: offset in the leg, PV and first extent, length.
type Place = (u32, (PvKey, Extents), u32);

/// Where a leg lies: on a PV, or on a linear LV.
fn places(vg: &Vg, leg: Area, len: Extents) -> Vec<Place> {
    let image = match leg {
        Area::Pv { pv, extent } => return vec![(0, (pv, extent), len.0)],
        Area::Lv { lv, extent } if extent.is_zero() => vg.lvs.get(lv),
        Area::Lv { .. } => None,
    };
    let segments = image.map_or(&[][..], |lv| &lv.segments);
    let linear = segments.iter().map_while(|s| match &s.kind {
        SegmentKind::Striped { stripes, .. } => match stripes.as_slice() {
            [Area::Pv { pv, extent }] => Some((s.start.0, (*pv, *extent), s.len.0)),
            _ => None,
        },
        _ => None,
    });
    linear.collect()
}

/// The extent of a leg at an offset, and how many follow it.
fn place_at(places: &[Place], at: u32) -> Option<((PvKey, Extents), u32)> {
    let (start, (pv, extent), len) = places
        .iter()
        .find(|(start, _, len)| *start <= at && at - start < *len)?;
    let inside = at - start;
    Some(((*pv, Extents(extent.0.checked_add(inside)?)), len - inside))
}
