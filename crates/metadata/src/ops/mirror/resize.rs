//! Longer and shorter mirrors: every leg is changed alike, its metadata and log stay.

use super::super::OpError;
use super::super::lv_segments::{append_pieces, cut};
use super::super::lv_tree::full_name;
use super::region::{log_extents, rmeta_extents};
use crate::alloc::Piece;
use crate::model::{Area, LvKey, SegmentKind, Vg};
use crate::units::{Extents, Sectors};

/// How a mirror is made up, as far as its length goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Shape {
    /// The legs' LVs, in order.
    pub legs: Vec<LvKey>,
    /// Stripes of each leg.
    pub stripes: u32,
    /// Sectors; zero with one stripe.
    pub stripe_size: Sectors,
}

/// The shape of an LV that is one mirror or raid1 segment over sub-LVs; `None` if it is not.
pub(in super::super) fn shape(vg: &Vg, lv: LvKey) -> Option<Shape> {
    let [segment] = vg.lvs.get(lv)?.segments.as_slice() else {
        return None;
    };
    let mirrored = match &segment.kind {
        SegmentKind::Mirror(_) => true,
        SegmentKind::Raid(raid) => raid.level == super::build::RAID1,
        _ => false,
    };
    let leg = |(area, _): (Area, Extents)| match area {
        Area::Lv { lv, extent } if extent.is_zero() => Some(lv),
        _ => None,
    };
    let legs: Vec<LvKey> = segment
        .areas()
        .into_iter()
        .map(leg)
        .collect::<Option<_>>()?;
    let plain = |leg: &LvKey| {
        let Some(leg) = vg.lvs.get(*leg) else {
            return false;
        };
        let known =
            |kind: &SegmentKind| matches!(kind, SegmentKind::Striped { .. } | SegmentKind::Error);
        leg.extents() == segment.len && leg.segments.iter().all(|s| known(&s.kind))
    };
    if !mirrored || legs.is_empty() || !legs.iter().all(plain) {
        return None;
    }
    let last = vg.lvs[legs[0]].segments.last();
    let (stripes, stripe_size) = match last.map(|s| &s.kind) {
        Some(SegmentKind::Striped {
            stripe_size,
            stripes,
        }) => (u32::try_from(stripes.len()).ok()?, *stripe_size),
        _ => (1, Sectors::ZERO),
    };
    Some(Shape {
        legs,
        stripes,
        stripe_size,
    })
}

/// Appends space to every leg; what is kept of regions must have room for the new ones.
pub(in super::super) fn lengthen(
    vg: &mut Vg,
    lv: LvKey,
    shape: &Shape,
    pieces: &[Piece],
) -> Result<(), OpError> {
    let stripes = shape.stripes as usize;
    for (n, leg) in shape.legs.iter().enumerate() {
        let own = super::build::leg_pieces(pieces, n, stripes);
        append_pieces(&mut vg.lvs[*leg], &own, shape.stripe_size);
    }
    set_len(vg, lv, vg.lvs[shape.legs[0]].extents());
    check_room_for_regions(vg, lv)
}

/// Cuts every leg. A `mirror` must keep the length of a region.
pub(in super::super) fn shorten(
    vg: &mut Vg,
    lv: LvKey,
    shape: &Shape,
    len: Extents,
) -> Result<(), OpError> {
    if let Some(SegmentKind::Mirror(mirror)) = vg.lvs[lv].segments.first().map(|s| &s.kind)
        && mirror.region_size > len.to_sectors(vg.extent_size)
    {
        return Err(OpError::refused(format!(
            "Logical volume {} cannot be smaller than its regions.",
            full_name(vg, lv)
        )));
    }
    for leg in &shape.legs {
        cut(&mut vg.lvs[*leg], len);
    }
    set_len(vg, lv, len);
    Ok(())
}

fn set_len(vg: &mut Vg, lv: LvKey, len: Extents) {
    if let Some(segment) = vg.lvs[lv].segments.first_mut() {
        segment.len = len;
    }
}

fn check_room_for_regions(vg: &Vg, lv: LvKey) -> Result<(), OpError> {
    let len = vg.lvs[lv].extents();
    let small = |part: LvKey, need: Extents| vg.lvs[part].extents() < need;
    let short = match vg.lvs[lv].segments.first().map(|s| &s.kind) {
        Some(SegmentKind::Raid(raid)) => {
            let need = rmeta_extents(vg, len, raid.region_size);
            let mut metas = raid.images.iter().filter_map(|i| i.meta);
            metas.any(|meta| small(meta, need))
        }
        Some(SegmentKind::Mirror(mirror)) => {
            let need = log_extents(vg, len, mirror.region_size);
            mirror.log.is_some_and(|log| small(log, need))
        }
        _ => false,
    };
    if short {
        return Err(OpError::limit(format!(
            "{}: {len} extents have more regions than its metadata have room for; ulvm does not make these larger yet.",
            full_name(vg, lv)
        )));
    }
    Ok(())
}
