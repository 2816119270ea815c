//! The first step: which extents go where, and the mover between LVs and them.

use super::super::lv_name::check_length;
use super::super::lv_segments::split;
use super::super::lv_tree::{all_parts, full_name};
use super::super::mirror::region::not_above;
use super::super::pv_args::{PvArg, named_extents, pv_ranges};
use super::super::{Done, OpError};
use super::layout::{Piece, Place, by_image, by_segment, linear, split_users, total};
use crate::alloc::{self, AllocConfig, Beside, FreeMap, Parallel, PvRange};
use crate::model::usage::Usage;
use crate::model::{
    AllocPolicy, Area, Creation, Lv, LvFlags, LvKey, LvStatus, PvKey, ReadAhead, Segment,
    SegmentKind, Vg,
};
use crate::notice::Notice;
use crate::units::{Extents, Sectors};
use crate::uuid::IdSource;

/// What is to be moved, and where.
#[derive(Clone, Debug)]
pub struct Move<'a> {
    /// The PV to be emptied, or which of its extents.
    pub from: &'a PvArg,
    /// Only those of this LV, by its name.
    pub lv: Option<&'a str>,
    /// Where they may go; `None` = to any other PV.
    pub to: Option<&'a [PvArg]>,
    /// Policy for this time; `None` = the VG's.
    pub alloc: Option<AllocPolicy>,
    /// One mirror of everything, which is finished as a whole.
    pub atomic: bool,
    /// Sectors that the mirror marks together.
    pub region: Sectors,
    /// When and where.
    pub creation: Creation,
    /// Settings.
    pub config: &'a AllocConfig,
}

/// Puts a mover between LVs and the extents that are to move; its key is the value.
pub fn begin(vg: &Vg, what: &Move<'_>, ids: &mut dyn IdSource) -> Result<Done<LvKey>, OpError> {
    let mut notices = Vec::new();
    match build(vg, what, ids, &mut notices) {
        Ok((vg, mover)) => Done::checked(vg, notices, mover),
        Err(e) => Err(e.after(notices)),
    }
}

fn build(
    old: &Vg,
    what: &Move<'_>,
    ids: &mut dyn IdSource,
    notices: &mut Vec<Notice>,
) -> Result<(Vg, LvKey), OpError> {
    let source = named_extents(old, what.from)?;
    let policy = match what.alloc.unwrap_or(AllocPolicy::Inherit) {
        AllocPolicy::Inherit => old.alloc,
        other => other,
    };
    let mut offered = offered(old, what, policy, notices)?;
    trim_siblings(old, what, policy, &mut offered);
    let mut vg = old.clone();
    let mover = vg.lvs.push(mover(old, what, ids)?);
    let pieces = insert(&mut vg, mover, what, &source, notices)?;
    let places = allocate(&vg, mover, &pieces, policy, &offered, what.config)?;
    let region = not_above(&vg, total(&pieces), what.region, notices);
    match what.atomic {
        false => vg.lvs[mover].segments = by_segment(&pieces, &places, region),
        true => by_image(&mut vg, mover, (&pieces, &places), region, what, ids)?,
    }
    split_users(&mut vg, mover)?;
    Ok((vg, mover))
}

/// The PVs that may take what moves.
fn offered(
    vg: &Vg,
    what: &Move<'_>,
    policy: AllocPolicy,
    notices: &mut Vec<Notice>,
) -> Result<Vec<PvRange>, OpError> {
    let usage = Usage::of(vg);
    let mut list = match what.to {
        Some(args) => pv_ranges(vg, &usage, args, notices)?,
        None => vg.pvs.keys().map(|pv| PvRange::whole(vg, pv)).collect(),
    };
    list.retain(|range| {
        let full = usage.used(range.pv) >= vg.pvs[range.pv].pe_count;
        !full && (policy == AllocPolicy::Anywhere || range.pv != what.from.pv)
    });
    match list.is_empty() {
        true => Err(OpError::no_space("No extents available for allocation.")),
        false => Ok(list),
    }
}

/// Does a move of `what` concern this LV by its name: it, or a part of the one named?
fn named(vg: &Vg, what: &Move<'_>, lv: LvKey) -> bool {
    what.lv.is_none_or(|name| {
        vg.lvs[lv].name == name
            || vg
                .find_lv(name)
                .is_some_and(|top| all_parts(vg, top).contains(&lv))
    })
}

/// PVs under an LV and its parts.
fn pvs_under(vg: &Vg, lv: LvKey) -> Vec<PvKey> {
    let mut out = Vec::new();
    let mut all = all_parts(vg, lv);
    all.push(lv);
    for (area, _) in all
        .iter()
        .flat_map(|key| &vg.lvs[*key].segments)
        .flat_map(Segment::areas)
    {
        if let Area::Pv { pv, .. } = area
            && !out.contains(&pv)
        {
            out.push(pv);
        }
    }
    out
}

/// Copies stay on PVs of their own: what a mirror lies on takes nothing of it, so nothing at all.
fn trim_siblings(vg: &Vg, what: &Move<'_>, policy: AllocPolicy, offered: &mut Vec<PvRange>) {
    if policy == AllocPolicy::Anywhere {
        return;
    }
    for (key, lv) in vg.lvs.iter() {
        let has_copies = lv.segments.iter().any(|s| {
            let raid = matches!(s.kind, SegmentKind::Raid(_));
            raid || matches!(&s.kind, SegmentKind::Mirror(_)) && !lv.status.pvmove
        });
        // An image that is named by itself keeps away from the others where no place is.
        let image = |part: &LvKey| {
            let mut areas = lv.segments.iter().flat_map(Segment::areas);
            let is_part = |(area, _)| matches!(area, Area::Lv { lv, .. } if lv == *part);
            areas.any(is_part) && named(vg, what, *part)
        };
        let concerned =
            named(vg, what, key) || what.to.is_none() && all_parts(vg, key).iter().any(image);
        let pvs = pvs_under(vg, key);
        if has_copies && concerned && pvs.contains(&what.from.pv) {
            offered.retain(|range| !pvs.contains(&range.pv));
        }
    }
}

/// A mover without segments, with the first name that is free.
fn mover(vg: &Vg, what: &Move<'_>, ids: &mut dyn IdSource) -> Result<Lv, OpError> {
    let free = |name: &String| vg.find_lv(name).is_none();
    let name = (0..=vg.lvs.len()).map(|n| format!("pvmove{n}")).find(free);
    let name = name.ok_or_else(|| OpError::limit("Failed to generate a name for the mover."))?;
    let status = LvStatus {
        read: true,
        write: true,
        pvmove: true,
        locked: true,
        ..LvStatus::default()
    };
    hidden(vg, name, status, AllocPolicy::Contiguous, what, ids)
}

/// An LV without segments that the user does not see.
pub(super) fn hidden(
    vg: &Vg,
    name: String,
    status: LvStatus,
    alloc: AllocPolicy,
    what: &Move<'_>,
    ids: &mut dyn IdSource,
) -> Result<Lv, OpError> {
    check_length(&vg.name, &name)?;
    Ok(Lv {
        id: ids.new_id(),
        name,
        status,
        flags: LvFlags::default(),
        unknown_flags: Vec::new(),
        tags: Vec::new(),
        creation: Some(what.creation.clone()),
        lock_args: None,
        alloc,
        profile: None,
        read_ahead: ReadAhead::Auto,
        major: None,
        minor: None,
        segments: Vec::new(),
        extra: Vec::new(),
    })
}

/// Lets the LVs that are to move lie on the mover, and gives what it has to carry, in order.
fn insert(
    vg: &mut Vg,
    mover: LvKey,
    what: &Move<'_>,
    source: &PvRange,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Piece>, OpError> {
    let mut pieces = Vec::new();
    let (mut found, mut skipped, mut at) = (what.lv.is_none(), false, 0u32);
    for key in vg.lvs.keys().collect::<Vec<_>>() {
        if key == mover || !named(vg, what, key) {
            continue;
        }
        found = true;
        // What lies on other LVs moves with them.
        let plain = |s: &Segment| matches!(s.kind, SegmentKind::Striped { .. });
        if !vg.lvs[key].segments.iter().any(plain) {
            refuse_unknown(vg, key, source)?;
            continue;
        }
        if !pvs_under(vg, key).contains(&source.pv) {
            continue;
        }
        if vg.lvs[key].status.locked {
            skipped = true;
            let text = format!("Skipping locked LV {}.", full_name(vg, key));
            notices.push(Notice::print(text));
            continue;
        }
        cut_at_ranges(vg, key, source)?;
        let before = pieces.len();
        for number in 0..vg.lvs[key].segments.len() {
            lift(vg, (key, number), mover, source, &mut at, &mut pieces)?;
        }
        vg.lvs[key].status.locked = pieces.len() > before;
    }
    if !found {
        let name = what.lv.unwrap_or_default();
        let text = format!("Logical volume {name} not found.");
        return Err(OpError::not_found(text));
    }
    if pieces.is_empty() {
        let mut text = String::new();
        if skipped {
            text.push_str("All data on source PV skipped. It contains locked, hidden or non-top level LVs only.\n");
        }
        text.push_str(&format!("No data to move for {}.", vg.name));
        return Err(OpError::refused(text));
    }
    Ok(pieces)
}

/// Extents of a segment that ulvm only keeps are named in it in a way that nothing is known of.
fn refuse_unknown(vg: &Vg, key: LvKey, source: &PvRange) -> Result<(), OpError> {
    for segment in &vg.lvs[key].segments {
        let SegmentKind::Foreign(foreign) = &segment.kind else {
            continue;
        };
        let named = |(pv, start, len): &(PvKey, Extents, Extents)| {
            let last = start.0.saturating_add(len.0);
            let hit = |(s, n): &(Extents, Extents)| s.0 < last && start.0 < s.0.saturating_add(n.0);
            *pv == source.pv && source.ranges.iter().any(hit)
        };
        if foreign.areas.iter().any(named) {
            return Err(OpError::refused(format!(
                "Can't move logical volume {}: segment type {} is kept, but not understood.",
                full_name(vg, key),
                foreign.type_word
            )));
        }
    }
    Ok(())
}

/// Cuts the segments of an LV where the extents that are to move begin and end.
fn cut_at_ranges(vg: &mut Vg, key: LvKey, source: &PvRange) -> Result<(), OpError> {
    let mut cuts: Vec<u32> = Vec::new();
    for segment in &vg.lvs[key].segments {
        if !matches!(segment.kind, SegmentKind::Striped { .. }) {
            continue;
        }
        let areas = segment.areas();
        let stripes = u32::try_from(areas.len()).unwrap_or(u32::MAX);
        for (area, len) in areas {
            let Area::Pv { pv, extent } = area else {
                continue;
            };
            if pv != source.pv {
                continue;
            }
            let edges = source.ranges.iter();
            let edges = edges.flat_map(|(s, n)| [s.0, s.0.saturating_add(n.0)]);
            let inside = |edge: &u32| *edge > extent.0 && edge - extent.0 < len.0;
            cuts.extend(edges.filter(inside).filter_map(|edge| {
                let logical = (edge - extent.0).checked_mul(stripes)?;
                segment.start.0.checked_add(logical)
            }));
        }
    }
    cut(vg, key, cuts)
}

/// Cuts the segments of an LV at these extents.
pub(super) fn cut(vg: &mut Vg, key: LvKey, cuts: Vec<u32>) -> Result<(), OpError> {
    for at in cuts {
        if !split(&mut vg.lvs[key], Extents(at)) {
            let name = full_name(vg, key);
            return Err(OpError::refused(format!(
                "Can't move logical volume {name}: its segment with extent {at} cannot be divided there."
            )));
        }
    }
    Ok(())
}

/// Lets the areas of a segment that are to move lie on the mover.
fn lift(
    vg: &mut Vg,
    (key, number): (LvKey, usize),
    mover: LvKey,
    source: &PvRange,
    at: &mut u32,
    pieces: &mut Vec<Piece>,
) -> Result<(), OpError> {
    let segment = &vg.lvs[key].segments[number];
    let areas = segment.areas();
    let mut avoid: Vec<PvKey> = Vec::new();
    for (area, _) in &areas {
        match area {
            Area::Pv { pv, .. } => avoid.push(*pv),
            Area::Lv { lv, .. } => avoid.extend(pvs_under(vg, *lv)),
        }
    }
    let SegmentKind::Striped { stripes, .. } = &mut vg.lvs[key].segments[number].kind else {
        return Ok(());
    };
    for (area, (_, len)) in stripes.iter_mut().zip(areas) {
        let Area::Pv { pv, extent } = *area else {
            continue;
        };
        let within = |(s, n): &(Extents, Extents)| {
            *s <= extent && extent.0.saturating_add(len.0) <= s.0.saturating_add(n.0)
        };
        if pv != source.pv || !source.ranges.iter().any(within) {
            continue;
        }
        *area = Area::Lv {
            lv: mover,
            extent: Extents(*at),
        };
        *at = at
            .checked_add(len.0)
            .ok_or_else(|| OpError::limit("Too much is to be moved at once."))?;
        pieces.push(Piece {
            from: (pv, extent),
            len,
            avoid: avoid.clone(),
        });
    }
    Ok(())
}

/// New places, in the order of the mover's extents: PV, first extent, length.
fn allocate(
    vg: &Vg,
    mover: LvKey,
    pieces: &[Piece],
    policy: AllocPolicy,
    offered: &[PvRange],
    config: &AllocConfig,
) -> Result<Vec<Place>, OpError> {
    let mut usage_vg = vg.clone();
    // The old places are still taken.
    usage_vg.lvs[mover].segments = linear(pieces.iter().map(|p| (p.from, p.len)));
    let usage = Usage::of(&usage_vg);
    let mut end = 0u32;
    let avoid: Vec<Parallel> = pieces
        .iter()
        .map(|piece| {
            end = end.saturating_add(piece.len.0);
            Parallel {
                end: Extents(end),
                pvs: piece.avoid.clone(),
            }
        })
        .collect();
    let request = alloc::Request {
        lv_name: "",
        extends: None,
        extents: total(pieces),
        parallel: 1,
        per_area: 1,
        policy,
        at_most: false,
        beside: Beside::Nothing,
        avoid: &avoid,
        config,
    };
    let free = FreeMap::new(vg, &usage, offered);
    let found = alloc::allocate(vg, free, &request).map_err(|e| {
        let text = format!("{}\nUnable to allocate mirror extents for {}.\nFailed to convert pvmove LV to mirrored.", e.message(""), full_name(vg, mover));
        OpError::no_space(text)
    })?;
    let one = |piece: &alloc::Piece| Some((*piece.areas.first()?, piece.len));
    Ok(found.pieces.iter().filter_map(one).collect())
}
