//! Adding segments to the end of an LV, merging and cutting them.

use crate::alloc::Piece;
use crate::model::{Area, Lv, Segment, SegmentKind};
use crate::units::{Extents, Sectors};

/// Appends allocated pieces as linear or striped segments, and merges what can be merged.
pub fn append_pieces(lv: &mut Lv, pieces: &[Piece], stripe_size: Sectors) {
    for piece in pieces {
        let count = u32::try_from(piece.areas.len()).unwrap_or(u32::MAX);
        let stripes: Vec<_> = piece
            .areas
            .iter()
            .map(|(pv, extent)| Area::Pv {
                pv: *pv,
                extent: *extent,
            })
            .collect();
        let stripe_size = if count > 1 {
            stripe_size
        } else {
            Sectors::ZERO
        };
        let kind = SegmentKind::Striped {
            stripe_size,
            stripes,
        };
        let len = Extents(piece.len.0.saturating_mul(count));
        lv.segments.push(Segment::new(lv.extents(), len, kind));
    }
    merge(lv);
}

/// Appends a segment without areas (`error`, `zero`).
pub fn append_virtual(lv: &mut Lv, len: Extents, kind: SegmentKind) {
    lv.segments.push(Segment::new(lv.extents(), len, kind));
    merge(lv);
}

/// Joins neighbours that continue each other: same layout, and each area directly behind its own.
pub fn merge(lv: &mut Lv) {
    let mut out: Vec<Segment> = Vec::with_capacity(lv.segments.len());
    for segment in lv.segments.drain(..) {
        match out.last_mut() {
            Some(last) if continues(last, &segment) => last.len += segment.len,
            _ => out.push(segment),
        }
    }
    lv.segments = out;
}

fn continues(a: &Segment, b: &Segment) -> bool {
    if a.tags != b.tags || !a.extra.is_empty() || !b.extra.is_empty() {
        return false;
    }
    if a.reshape_count.is_some() || b.reshape_count.is_some() {
        return false;
    }
    match (&a.kind, &b.kind) {
        (SegmentKind::Error, SegmentKind::Error) | (SegmentKind::Zero, SegmentKind::Zero) => true,
        (
            SegmentKind::Striped {
                stripe_size: size_a,
                stripes: stripes_a,
            },
            SegmentKind::Striped {
                stripe_size: size_b,
                stripes: stripes_b,
            },
        ) => {
            let each = a.len.0 / u32::try_from(stripes_a.len().max(1)).unwrap_or(u32::MAX);
            let follows = |(x, y): (&Area, &Area)| match (x, y) {
                (Area::Pv { pv, extent }, Area::Pv { pv: q, extent: e }) => {
                    pv == q && extent.0.checked_add(each) == Some(e.0)
                }
                _ => false,
            };
            size_a == size_b
                && stripes_a.len() == stripes_b.len()
                && stripes_a.iter().zip(stripes_b).all(follows)
        }
        _ => false,
    }
}

/// Cuts an LV down to `len` extents. A striped segment that is cut must be left with a multiple of
/// its stripes (see [`boundary`]).
pub fn cut(lv: &mut Lv, len: Extents) {
    lv.segments.retain(|s| s.start < len);
    if let Some(last) = lv.segments.last_mut() {
        last.len = last.len.min(len.saturating_sub(last.start));
    }
}

/// Cuts the striped segment that holds extent `at` in two there, if it does not begin with it. False
/// if it cannot be cut there.
pub fn split(lv: &mut Lv, at: Extents) -> bool {
    let inside = |s: &Segment| s.start < at && at < s.end();
    let Some(number) = lv.segments.iter().position(inside) else {
        return true;
    };
    let segment = &mut lv.segments[number];
    let SegmentKind::Striped {
        stripe_size,
        stripes,
    } = &segment.kind
    else {
        return false;
    };
    let count = u32::try_from(stripes.len().max(1)).unwrap_or(u32::MAX);
    let first = at.0 - segment.start.0;
    if first % count != 0 || segment.reshape_count.is_some() || !segment.extra.is_empty() {
        return false;
    }
    let further = |area: &Area| match *area {
        Area::Pv { pv, extent } => Area::Pv {
            pv,
            extent: Extents(extent.0.saturating_add(first / count)),
        },
        Area::Lv { lv, extent } => Area::Lv {
            lv,
            extent: Extents(extent.0.saturating_add(first / count)),
        },
    };
    let kind = SegmentKind::Striped {
        stripe_size: *stripe_size,
        stripes: stripes.iter().map(further).collect(),
    };
    let mut rest = Segment::new(at, Extents(segment.len.0 - first), kind);
    rest.tags.clone_from(&segment.tags);
    segment.len = Extents(first);
    lv.segments.insert(number + 1, rest);
    true
}

/// The next length from `len` on at which the LV can be cut.
pub fn boundary(lv: &Lv, len: Extents) -> Extents {
    let inside = |s: &&Segment| s.start <= len && len < s.end();
    let Some(segment) = lv.segments.iter().find(inside) else {
        return len;
    };
    let SegmentKind::Striped { stripes, .. } = &segment.kind else {
        return len;
    };
    let count = u32::try_from(stripes.len().max(1)).unwrap_or(u32::MAX);
    let rest = (len.0 - segment.start.0) % count;
    if rest == 0 {
        len
    } else {
        Extents(len.0.saturating_add(count - rest))
    }
}
