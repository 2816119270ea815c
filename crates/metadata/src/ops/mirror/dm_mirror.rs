//! Conversions of `mirror` LVs: from and to linear, more and fewer legs, another log, legs split
//! off, and raid1 in their place.
//!
//! A log on disk that outlives a conversion says of the old legs which regions are equal. Where legs
//! are added it must be cleared before the new metadata are there: the value of an operation says so.

use super::super::lv_name::{check_chosen, check_free, check_length};
use super::super::lv_tree::full_name;
use super::super::{Done, OpError};
use super::build::{
    linear, mirror_segment, parallel_to, push_legs, push_log, raid1_segment, whole,
};
use super::convert::{
    Growth, Plan, Sync, absorb, editable, lies_on, lv_of, maker, mirror_of, remove_tree,
};
use super::raid1::beside;
use super::region::{few_enough, log_extents, not_above, rmeta_extents};
use crate::alloc::Beside;
use crate::model::{LvKey, Mirror, PvKey, RaidImage, SegmentKind, Vg};
use crate::notice::Notice;
use crate::units::Sectors;
use crate::uuid::IdSource;

/// Makes a linear or striped LV a mirror with so many legs, or adds legs until there are so many.
/// `disk_log` is only looked at where the mirror begins. The value is the log that must be cleared
/// first.
pub fn mirror_grow(
    old: &Vg,
    lv: LvKey,
    (legs, disk_log): (u32, bool),
    sync: Sync,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
) -> Result<Done<Option<LvKey>>, OpError> {
    editable(old, lv)?;
    let mut notices = Vec::new();
    let grown = match mirror_of(old, lv) {
        Some(mirror) => add(old, lv, mirror, legs, sync, growth, ids, &mut notices),
        None => begin(old, lv, legs, disk_log, growth, ids, &mut notices).map(|vg| (vg, None)),
    };
    match grown {
        Ok((vg, log)) => Done::checked(vg, notices, log),
        Err(e) => Err(e.after(notices)),
    }
}

fn begin(
    old: &Vg,
    lv: LvKey,
    legs: u32,
    disk_log: bool,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
    notices: &mut Vec<Notice>,
) -> Result<Vg, OpError> {
    let striped = |kind: &SegmentKind| matches!(kind, SegmentKind::Striped { .. });
    let segments = &old.lvs[lv].segments;
    if !segments.iter().all(|s| striped(&s.kind)) {
        return Err(OpError::refused(format!(
            "Unable to convert LV {} to a mirror.",
            full_name(old, lv)
        )));
    }
    let plan = Plan::new(old, lv, growth, notices)?;
    let mut vg = old.clone();
    let len = vg.lvs[lv].extents();
    let region = not_above(&vg, len, growth.region, notices);
    let avoid = parallel_to(&vg, lv, false);
    let log_len = log_extents(&vg, len, region);
    let with = match disk_log {
        true => Beside::Log(log_len),
        false => Beside::Nothing,
    };
    let more = legs.saturating_sub(1);
    let found = plan.space(growth).legs(&vg, len, (more, 1), with, &avoid)?;
    let name = vg.lvs[lv].name.clone();
    let mut maker = maker(old, lv, growth, ids);
    let log = match found.log {
        Some(at) => {
            let mut log = maker.sub_lv(&vg, format!("{name}_mlog"))?;
            log.segments = linear(at, log_len);
            Some(vg.lvs.push(log))
        }
        None => None,
    };
    let mut first = maker.sub_lv(&vg, format!("{name}_mimage_0"))?;
    first.segments = std::mem::take(&mut vg.lvs[lv].segments);
    let mut all = vec![vg.lvs.push(first)];
    let shape = (more, 1, Sectors::ZERO);
    all.extend(push_legs(&mut vg, &mut maker, &name, 1, &found, shape)?);
    vg.lvs[lv].segments = vec![mirror_segment(len, &all, log, region)];
    Ok(vg)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request")]
fn add(
    old: &Vg,
    lv: LvKey,
    mirror: &Mirror,
    legs: u32,
    sync: Sync,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
    notices: &mut Vec<Notice>,
) -> Result<(Vg, Option<LvKey>), OpError> {
    if old.lvs[lv].status.not_synced || sync == Sync::Running {
        return Err(OpError::refused(
            "Can't add mirror to out-of-sync mirrored LV: use lvchange --resync first.",
        ));
    }
    let plan = Plan::new(old, lv, growth, notices)?;
    let mut vg = old.clone();
    let len = vg.lvs[lv].extents();
    let have = u32::try_from(mirror.legs.len()).unwrap_or(u32::MAX);
    let more = legs.saturating_sub(have);
    let avoid = parallel_to(&vg, lv, false);
    let found = plan
        .space(growth)
        .legs(&vg, len, (more, 1), Beside::Nothing, &avoid)?;
    let name = vg.lvs[lv].name.clone();
    let mut maker = maker(old, lv, growth, ids);
    let shape = (more, 1, Sectors::ZERO);
    let new = push_legs(&mut vg, &mut maker, &name, have, &found, shape)?;
    let mirror = mirror_mut(&mut vg, lv)?;
    mirror.legs.extend(new.into_iter().map(whole));
    let log = mirror.log;
    Ok((vg, log))
}

fn mirror_mut(vg: &mut Vg, lv: LvKey) -> Result<&mut Mirror, OpError> {
    let name = full_name(vg, lv);
    match vg.lvs[lv].segments.first_mut().map(|s| &mut s.kind) {
        Some(SegmentKind::Mirror(mirror)) => Ok(mirror),
        _ => Err(OpError::refused(format!("{name} is no mirror."))),
    }
}

/// Which legs go when so many shall: those on the PVs given, or the last ones; in order.
fn choose(
    vg: &Vg,
    lv: LvKey,
    count: usize,
    pvs: Option<&[PvKey]>,
    sync: Sync,
) -> Result<Vec<usize>, OpError> {
    let mirror = mirror_of(vg, lv).ok_or_else(|| OpError::refused("No mirror."))?;
    let mut out = Vec::new();
    for (n, leg) in mirror.legs.iter().enumerate().rev() {
        let named = |pvs: &[PvKey]| lv_of(*leg).is_some_and(|leg| lies_on(vg, leg, pvs));
        if out.len() < count && pvs.is_none_or(named) {
            out.push(n);
        }
    }
    if out.len() < count {
        return Err(OpError::refused(format!(
            "Failed to find so many mirror images of {} on the devices given.",
            full_name(vg, lv)
        )));
    }
    if out.contains(&0) && sync != Sync::Done && !vg.lvs[lv].status.not_synced {
        // What the others lack is on the first leg only.
        return Err(OpError::refused(format!(
            "Unable to remove the first mirror image of {} while it is not in-sync.",
            full_name(vg, lv)
        )));
    }
    out.reverse();
    Ok(out)
}

/// Takes legs out and numbers the rest anew; one that is left alone becomes the LV, and the log
/// goes.
fn take_out(vg: &mut Vg, lv: LvKey, which: &[usize]) -> Result<Vec<LvKey>, OpError> {
    let name = vg.lvs[lv].name.clone();
    let mirror = mirror_mut(vg, lv)?;
    let log = mirror.log;
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    for (n, leg) in mirror.legs.iter().enumerate() {
        let Some(key) = lv_of(*leg) else { continue };
        if which.contains(&n) {
            taken.push(key);
        } else {
            kept.push(key);
        }
    }
    mirror.legs = kept.iter().map(|key| whole(*key)).collect();
    for (n, key) in taken.iter().enumerate() {
        vg.lvs[*key].name = format!("{name}_mimage_{n}_extracted");
    }
    for (n, key) in kept.iter().enumerate() {
        vg.lvs[*key].name = format!("{name}_mimage_{n}");
    }
    if let [only] = kept.as_slice() {
        absorb(vg, lv, *only);
        if let Some(log) = log {
            remove_tree(vg, log);
        }
        vg.lvs[lv].status.not_synced = false;
    }
    Ok(taken)
}

/// Removes legs until there are so many; with one the LV is what the leg was.
pub fn mirror_shrink(
    old: &Vg,
    lv: LvKey,
    legs: u32,
    pvs: Option<&[PvKey]>,
    sync: Sync,
) -> Result<Done, OpError> {
    editable(old, lv)?;
    let have = mirror_of(old, lv).map_or(0, |mirror| mirror.legs.len());
    let which = choose(old, lv, have.saturating_sub(legs as usize), pvs, sync)?;
    let mut vg = old.clone();
    for leg in take_out(&mut vg, lv, &which)? {
        remove_tree(&mut vg, leg);
    }
    Done::checked(vg, Vec::new(), ())
}

/// Gives a mirror a log on disk, or takes it away. Nothing is done if it is so already.
pub fn mirror_log(
    old: &Vg,
    lv: LvKey,
    disk: bool,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
) -> Result<Done, OpError> {
    editable(old, lv)?;
    let mut notices = Vec::new();
    let mut vg = old.clone();
    let mirror = mirror_mut(&mut vg, lv)?;
    let (log, region) = (mirror.log, mirror.region_size);
    match (log, disk) {
        (Some(log), false) => {
            mirror.log = None;
            remove_tree(&mut vg, log);
        }
        (None, true) => {
            let plan = Plan::new(old, lv, growth, &mut notices)?;
            let mut maker = maker(old, lv, growth, ids);
            let log = push_log(&mut vg, &mut maker, lv, region, &plan.space(growth))?;
            mirror_mut(&mut vg, lv)?.log = Some(log);
        }
        _ => {}
    }
    Done::checked(vg, notices, ())
}

/// Splits `count` legs off: they become an LV of their own, a mirror with a log in memory if there
/// are several. The value is that LV.
pub fn mirror_split(
    old: &Vg,
    lv: LvKey,
    (count, name): (u32, &str),
    pvs: Option<&[PvKey]>,
    sync: Sync,
    ids: &mut dyn IdSource,
) -> Result<Done<LvKey>, OpError> {
    editable(old, lv)?;
    if sync != Sync::Done && !old.lvs[lv].status.not_synced {
        return Err(OpError::refused(format!(
            "Unable to split {} while it is not in-sync.",
            full_name(old, lv)
        )));
    }
    check_chosen(name)?;
    check_free(old, name)?;
    check_length(&old.name, name)?;
    let have = mirror_of(old, lv).map_or(0, |mirror| mirror.legs.len());
    if count as usize >= have {
        return Err(OpError::refused(format!(
            "Unable to split all images from {}.",
            full_name(old, lv)
        )));
    }
    let which = choose(old, lv, count as usize, pvs, sync)?;
    let mut vg = old.clone();
    let taken = take_out(&mut vg, lv, &which)?;
    let key = match taken.as_slice() {
        [only] => {
            name.clone_into(&mut vg.lvs[*only].name);
            vg.lvs[*only].status.visible = true;
            *only
        }
        several => {
            let mut whole = old.lvs[lv].clone();
            whole.id = ids.new_id();
            name.clone_into(&mut whole.name);
            whole.tags.clear();
            let region = mirror_of(old, lv).map_or(Sectors(0), |mirror| mirror.region_size);
            whole.segments = vec![mirror_segment(whole.extents(), several, None, region)];
            for (n, leg) in several.iter().enumerate() {
                vg.lvs[*leg].name = format!("{name}_mimage_{n}");
            }
            vg.lvs.push(whole)
        }
    };
    Done::checked(vg, Vec::new(), key)
}

/// Makes a mirror a raid1 LV: each leg gets metadata beside it, and the log goes.
pub fn mirror_to_raid1(
    old: &Vg,
    lv: LvKey,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
) -> Result<Done, OpError> {
    editable(old, lv)?;
    let mut notices = Vec::new();
    let mut plan = Plan::new(old, lv, growth, &mut notices)?;
    let mut vg = old.clone();
    let len = vg.lvs[lv].extents();
    let mirror = mirror_mut(&mut vg, lv)?.clone();
    let region = few_enough(&vg, len, mirror.region_size);
    let meta_len = rmeta_extents(&vg, len, region);
    if let Some(log) = mirror.log {
        remove_tree(&mut vg, log);
    }
    let name = vg.lvs[lv].name.clone();
    let mut maker = maker(old, lv, growth, ids);
    let mut images = Vec::with_capacity(mirror.legs.len());
    for (n, leg) in mirror.legs.iter().enumerate() {
        let Some(leg) = lv_of(*leg) else {
            return Err(OpError::refused(format!("A leg of {name} is no LV.")));
        };
        plan.refresh(&vg);
        let at = beside(&vg, &plan, leg, meta_len, growth)?;
        let mut meta = maker.sub_lv(&vg, format!("{name}_rmeta_{n}"))?;
        meta.segments = linear(at, meta_len);
        let meta = vg.lvs.push(meta);
        vg.lvs[leg].name = format!("{name}_rimage_{n}");
        images.push(RaidImage {
            meta: Some(meta),
            image: whole(leg),
        });
    }
    vg.lvs[lv].segments = vec![raid1_segment(len, images, region, (None, None))];
    Done::checked(vg, notices, ())
}
