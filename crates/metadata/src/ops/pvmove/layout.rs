//! What a mover is made of: old places and new ones side by side.

use super::super::OpError;
use super::begin::{Move, cut, hidden};
use crate::model::{AllocPolicy, Area, LvKey, LvStatus, Mirror, PvKey, Segment, SegmentKind, Vg};
use crate::units::{Extents, Sectors};
use crate::uuid::IdSource;

/// A run of extents on a PV: its first, and how many.
pub(super) type Place = ((PvKey, Extents), Extents);

/// A run of extents that is to move.
pub(super) struct Piece {
    pub from: (PvKey, Extents),
    pub len: Extents,
    /// PVs of the segment that it is a part of, from its first extent on.
    pub avoid: Vec<PvKey>,
}

/// Extents of all of them.
pub(super) fn total(pieces: &[Piece]) -> Extents {
    Extents(pieces.iter().fold(0, |n: u32, p| n.saturating_add(p.len.0)))
}

/// Linear segments one behind the other.
pub(super) fn linear(places: impl Iterator<Item = Place>) -> Vec<Segment> {
    let mut at = 0u32;
    places
        .map(|((pv, extent), len)| {
            let kind = SegmentKind::Striped {
                stripe_size: Sectors::ZERO,
                stripes: vec![Area::Pv { pv, extent }],
            };
            let segment = Segment::new(Extents(at), len, kind);
            at = at.saturating_add(len.0);
            segment
        })
        .collect()
}

fn mirror(legs: Vec<Area>, region: Sectors) -> SegmentKind {
    SegmentKind::Mirror(Mirror {
        legs,
        log: None,
        region_size: region,
        extents_moved: Some(Extents::ZERO),
    })
}

/// A mirror for each run whose old and new place both lie together.
pub(super) fn by_segment(pieces: &[Piece], places: &[Place], region: Sectors) -> Vec<Segment> {
    let mut out = Vec::new();
    let mut at = 0u32;
    let mut new = places.iter().copied();
    let mut place = new.next();
    for piece in pieces {
        let mut done = 0;
        while done < piece.len.0 {
            let Some(((pv, extent), left)) = place else {
                return out;
            };
            let len = left.0.min(piece.len.0 - done);
            let (old_pv, old) = piece.from;
            let legs = vec![
                Area::Pv {
                    pv: old_pv,
                    extent: Extents(old.0 + done),
                },
                Area::Pv { pv, extent },
            ];
            out.push(Segment::new(
                Extents(at),
                Extents(len),
                mirror(legs, region),
            ));
            (at, done) = (at.saturating_add(len), done + len);
            place = match left.0 - len {
                0 => new.next(),
                rest => Some(((pv, Extents(extent.0.saturating_add(len))), Extents(rest))),
            };
        }
    }
    out
}

/// One mirror of two LVs: the old places and the new.
pub(super) fn by_image(
    vg: &mut Vg,
    mover: LvKey,
    (pieces, places): (&[Piece], &[Place]),
    region: Sectors,
    what: &Move<'_>,
    ids: &mut dyn IdSource,
) -> Result<(), OpError> {
    // Both legs are divided alike, as LVM2 divides them.
    let cuts = by_segment(pieces, places, region);
    let leg = |n: usize| {
        cuts.iter().filter_map(move |s| match s.areas().get(n) {
            Some((Area::Pv { pv, extent }, len)) => Some(((*pv, *extent), *len)),
            _ => None,
        })
    };
    let mut legs = Vec::with_capacity(2);
    for n in 0..2 {
        let name = format!("{}_mimage_{n}", vg.lvs[mover].name);
        let status = LvStatus {
            read: true,
            write: true,
            ..LvStatus::default()
        };
        let mut image = hidden(vg, name, status, AllocPolicy::Inherit, what, ids)?;
        image.segments = linear(leg(n));
        legs.push(Area::Lv {
            lv: vg.lvs.push(image),
            extent: Extents::ZERO,
        });
    }
    vg.lvs[mover].segments = vec![Segment::new(
        Extents::ZERO,
        total(pieces),
        mirror(legs, region),
    )];
    Ok(())
}

/// Cuts the LVs on a mover so that no segment of them lies on two of its segments.
pub(super) fn split_users(vg: &mut Vg, mover: LvKey) -> Result<(), OpError> {
    let starts = vg.lvs[mover].segments.iter().map(|s| s.start.0);
    let starts: Vec<u32> = starts.collect();
    for key in super::users(vg, mover) {
        let mut cuts = Vec::new();
        for segment in &vg.lvs[key].segments {
            let areas = segment.areas();
            let stripes = u32::try_from(areas.len()).unwrap_or(u32::MAX);
            for (area, len) in areas {
                let Area::Lv { lv, extent } = area else {
                    continue;
                };
                let inside = |s: &&u32| lv == mover && **s > extent.0 && **s - extent.0 < len.0;
                cuts.extend(starts.iter().filter(inside).filter_map(|s| {
                    let logical = (s - extent.0).checked_mul(stripes)?;
                    segment.start.0.checked_add(logical)
                }));
            }
        }
        cut(vg, key, cuts)?;
    }
    Ok(())
}
