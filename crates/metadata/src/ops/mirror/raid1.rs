//! Conversions of raid1 LVs: from and to linear, more and fewer images, images split off, followed
//! and merged back, images replaced.
//!
//! What holds afterwards: images are numbered from 0 without gaps, each with metadata of its own; a
//! raid1 LV that is left with one image becomes the LV the image was, under its own name.

use super::super::lv_name::{check_chosen, check_free, check_length};
use super::super::lv_tree::full_name;
use super::super::{Done, OpError};
use super::build::{linear, parallel_to, push_images, raid1_segment, whole};
use super::convert::{
    Growth, Plan, Sync, absorb, editable, lies_on, lv_of, maker, raid1_mut, raid1_of, remove_tree,
};
use super::region::{few_enough, not_above, rmeta_extents};
use crate::alloc::{Beside, PvRange};
use crate::model::{Area, LvKey, PvKey, RaidImage, SegmentKind, Vg};
use crate::notice::Notice;
use crate::units::Extents;
use crate::uuid::IdSource;

/// Makes a linear LV a raid1 LV with so many images, the first of which is what was there; or adds
/// images until there are so many. The value is the images that are new.
pub fn raid1_grow(
    old: &Vg,
    lv: LvKey,
    images: u32,
    sync: Sync,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
) -> Result<Done<Vec<LvKey>>, OpError> {
    editable(old, lv)?;
    let mut notices = Vec::new();
    let grown = match raid1_of(old, lv) {
        Some(_) => add(old, lv, images, sync, growth, ids, &mut notices),
        None => from_linear(old, lv, images, growth, ids, &mut notices),
    };
    match grown {
        Ok((vg, new)) => Done::checked(vg, notices, new),
        Err(e) => Err(e.after(notices)),
    }
}

fn add(
    old: &Vg,
    lv: LvKey,
    images: u32,
    sync: Sync,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
    notices: &mut Vec<Notice>,
) -> Result<(Vg, Vec<LvKey>), OpError> {
    let raid = raid1_of(old, lv).ok_or_else(|| OpError::refused("No raid1 LV."))?;
    refuse_tracking(old, lv)?;
    let have = u32::try_from(raid.images.len()).unwrap_or(u32::MAX);
    if old.lvs[lv].status.not_synced || sync == Sync::Running {
        return Err(OpError::refused(
            "Can't add image to out-of-sync RAID LV: use 'lvchange --resync' first.",
        ));
    }
    let region = raid.region_size;
    let plan = Plan::new(old, lv, growth, notices)?;
    let mut vg = old.clone();
    let len = vg.lvs[lv].extents();
    let meta = rmeta_extents(&vg, len, region);
    let avoid = parallel_to(&vg, lv, true);
    let more = images.saturating_sub(have);
    let found = plan
        .space(growth)
        .legs(&vg, len, (more, 1), Beside::Meta(meta), &avoid)?;
    let name = vg.lvs[lv].name.clone();
    let mut maker = maker(old, lv, growth, ids);
    let new = push_images(&mut vg, &mut maker, &name, have, &found, (meta, false))?;
    let keys = new.iter().filter_map(|i| lv_of(i.image)).collect();
    raid1_mut(&mut vg, lv)?.images.extend(new);
    Ok((vg, keys))
}

fn from_linear(
    old: &Vg,
    lv: LvKey,
    images: u32,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
    notices: &mut Vec<Notice>,
) -> Result<(Vg, Vec<LvKey>), OpError> {
    let plain = |kind: &SegmentKind| matches!(kind, SegmentKind::Striped { stripes, .. } if stripes.len() == 1);
    if !old.lvs[lv].segments.iter().all(|s| plain(&s.kind)) {
        return Err(OpError::refused(format!(
            "Unable to convert LV {}: only linear and mirror LVs become raid1.",
            full_name(old, lv)
        )));
    }
    let mut plan = Plan::new(old, lv, growth, notices)?;
    let mut vg = old.clone();
    let len = vg.lvs[lv].extents();
    let region = not_above(&vg, len, growth.region, notices);
    let region = few_enough(&vg, len, region);
    let meta_len = rmeta_extents(&vg, len, region);
    let avoid = parallel_to(&vg, lv, true);
    let name = vg.lvs[lv].name.clone();
    let mut maker = maker(old, lv, growth, ids);

    let at = beside(&vg, &plan, lv, meta_len, growth)?;
    let mut meta = maker.sub_lv(&vg, format!("{name}_rmeta_0"))?;
    meta.segments = linear(at, meta_len);
    let meta = vg.lvs.push(meta);
    plan.refresh(&vg);

    let more = images.saturating_sub(1);
    let found = plan
        .space(growth)
        .legs(&vg, len, (more, 1), Beside::Meta(meta_len), &avoid)?;
    let new = push_images(&mut vg, &mut maker, &name, 1, &found, (meta_len, false))?;
    let keys = new.iter().filter_map(|i| lv_of(i.image)).collect();

    let mut first = maker.sub_lv(&vg, format!("{name}_rimage_0"))?;
    first.segments = std::mem::take(&mut vg.lvs[lv].segments);
    let first = vg.lvs.push(first);
    let mut all = vec![RaidImage {
        meta: Some(meta),
        image: whole(first),
    }];
    all.extend(new);
    vg.lvs[lv].segments = vec![raid1_segment(len, all, region, (None, None))];
    Ok((vg, keys))
}

/// A place for metadata on a PV of `lv`.
pub(super) fn beside(
    vg: &Vg,
    plan: &Plan,
    lv: LvKey,
    len: Extents,
    growth: &Growth<'_>,
) -> Result<(PvKey, Extents), OpError> {
    let on = parallel_to(vg, lv, true);
    let pvs = on.first().map_or(&[][..], |run| run.pvs.as_slice());
    let own: Vec<PvRange> = vg
        .pvs
        .keys()
        .filter(|pv| pvs.contains(pv))
        .map(|pv| PvRange::whole(vg, pv))
        .collect();
    let mut space = plan.space(growth);
    space.offered = Some(&own);
    space.usage = plan.usage();
    let found = space.legs(vg, len, (1, 1), Beside::Nothing, &[])?;
    match found.pieces.as_slice() {
        [piece] if piece.len == len => match piece.areas.first() {
            Some(at) => Ok(*at),
            None => Err(no_metadata(vg, lv)),
        },
        _ => Err(no_metadata(vg, lv)),
    }
}

fn no_metadata(vg: &Vg, lv: LvKey) -> OpError {
    OpError::no_space(format!(
        "Failed to allocate metadata LV for {}.",
        full_name(vg, lv)
    ))
}

/// Refuses what LVM2 refuses while an image is split off and followed.
fn refuse_tracking(vg: &Vg, lv: LvKey) -> Result<(), OpError> {
    if tracked(vg, lv).is_some() {
        return Err(OpError::refused(format!(
            "Conversion of tracking raid1 LV {} is not supported.",
            full_name(vg, lv)
        )));
    }
    Ok(())
}

/// The image of a raid1 LV that was split off to be merged back.
pub fn tracked(vg: &Vg, lv: LvKey) -> Option<LvKey> {
    let images = raid1_of(vg, lv)?.images.iter();
    let mut keys = images.filter_map(|i| lv_of(i.image));
    keys.find(|key| vg.lvs[*key].status.visible)
}

/// Which images go when so many shall: those on the PVs given, or the last ones; in order.
fn choose(
    vg: &Vg,
    lv: LvKey,
    count: usize,
    pvs: Option<&[PvKey]>,
    sync: Sync,
) -> Result<Vec<usize>, OpError> {
    let raid = raid1_of(vg, lv).ok_or_else(|| OpError::refused("No raid1 LV."))?;
    let failed = |text: String| {
        let name = full_name(vg, lv);
        OpError::refused(format!("{text}\nFailed to extract images from {name}."))
    };
    if let Some(pvs) = pvs.filter(|pvs| pvs.len() < count) {
        let s = if pvs.len() == 1 { "" } else { "s" };
        return Err(failed(format!(
            "Unable to remove {count} images:  Only {} device{s} given.",
            pvs.len()
        )));
    }
    let mut out = Vec::new();
    for (n, image) in raid.images.iter().enumerate().rev() {
        if out.len() == count {
            break;
        }
        let named = |pvs: &[PvKey]| {
            let parts = lv_of(image.image).into_iter().chain(image.meta);
            parts.into_iter().any(|part| lies_on(vg, part, pvs))
        };
        if !pvs.is_none_or(named) {
            continue;
        }
        let primary = if n == 0 { "primary " } else { "" };
        if n == 0 && sync != Sync::Done && !vg.lvs[lv].status.not_synced {
            return Err(failed(format!(
                "Unable to extract {primary}RAID image while RAID array is not in-sync."
            )));
        }
        out.push(n);
    }
    if out.len() < count {
        return Err(failed(
            "Unable to extract enough images to satisfy request.".to_owned(),
        ));
    }
    out.reverse();
    Ok(out)
}

/// Takes images out of the segment and numbers the rest anew; one that is left alone becomes the LV.
/// What is taken out is still among the LVs, under its old name.
fn take_out(vg: &mut Vg, lv: LvKey, which: &[usize]) -> Result<Vec<RaidImage>, OpError> {
    let name = vg.lvs[lv].name.clone();
    let raid = raid1_mut(vg, lv)?;
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    for (n, image) in raid.images.iter().enumerate() {
        let list = if which.contains(&n) {
            &mut taken
        } else {
            &mut kept
        };
        list.push(*image);
    }
    raid.images.clone_from(&kept);
    for (n, image) in taken.iter().enumerate() {
        // Out of the way of those that move up.
        rename(vg, image, |part| format!("{name}_{part}_{n}_extracted"));
    }
    for (n, image) in kept.iter().enumerate() {
        rename(vg, image, |part| format!("{name}_{part}_{n}"));
    }
    if let [only] = kept.as_slice() {
        if let Some(meta) = only.meta {
            vg.lvs.remove(meta);
        }
        if let Some(image) = lv_of(only.image) {
            absorb(vg, lv, image);
        }
        vg.lvs[lv].status.not_synced = false;
    }
    Ok(taken)
}

fn rename(vg: &mut Vg, image: &RaidImage, name: impl Fn(&str) -> String) {
    if let Some(key) = lv_of(image.image) {
        vg.lvs[key].name = name("rimage");
    }
    if let Some(key) = image.meta {
        vg.lvs[key].name = name("rmeta");
    }
}

/// Removes images until there are so many; with one the LV becomes linear.
pub fn raid1_shrink(
    old: &Vg,
    lv: LvKey,
    images: u32,
    pvs: Option<&[PvKey]>,
    sync: Sync,
) -> Result<Done, OpError> {
    editable(old, lv)?;
    refuse_tracking(old, lv)?;
    let have = raid1_of(old, lv).map_or(0, |raid| raid.images.len());
    let which = choose(old, lv, have.saturating_sub(images as usize), pvs, sync)?;
    let mut vg = old.clone();
    for image in take_out(&mut vg, lv, &which)? {
        discard(&mut vg, &image);
    }
    Done::checked(vg, Vec::new(), ())
}

fn discard(vg: &mut Vg, image: &RaidImage) {
    let parts = lv_of(image.image).into_iter().chain(image.meta);
    for part in parts {
        remove_tree(vg, part);
    }
}

/// Splits an image off: it becomes an LV of its own, which is the value. `count` must be 1, as LVM2
/// splits no more at a time.
pub fn raid1_split(
    old: &Vg,
    lv: LvKey,
    (count, name): (u32, &str),
    pvs: Option<&[PvKey]>,
    sync: Sync,
) -> Result<Done<LvKey>, OpError> {
    editable(old, lv)?;
    check_chosen(name)?;
    check_free(old, name)?;
    check_length(&old.name, name)?;
    check_in_sync(old, lv, sync)?;
    refuse_tracking(old, lv)?;
    if count != 1 {
        return Err(OpError::refused(format!(
            "Unable to split more than one image from {}.",
            full_name(old, lv)
        )));
    }
    let which = choose(old, lv, 1, pvs, sync)?;
    let mut vg = old.clone();
    let taken = take_out(&mut vg, lv, &which)?;
    // Not that it means anything of a single image: LVM2 leaves it.
    vg.lvs[lv].status.not_synced = old.lvs[lv].status.not_synced;
    let [only] = taken.as_slice() else {
        return Err(OpError::refused("There is no image to split off."));
    };
    if let Some(meta) = only.meta {
        vg.lvs.remove(meta);
    }
    let key = lv_of(only.image).ok_or_else(|| OpError::refused("An image is no LV."))?;
    name.clone_into(&mut vg.lvs[key].name);
    vg.lvs[key].status.visible = true;
    vg.lvs[key].status.write_mostly = false;
    Done::checked(vg, Vec::new(), key)
}

/// Splitting needs equal images.
fn check_in_sync(vg: &Vg, lv: LvKey, sync: Sync) -> Result<(), OpError> {
    let name = full_name(vg, lv);
    match sync {
        Sync::Done => Ok(()),
        Sync::Running => Err(OpError::refused(format!(
            "Unable to split {name} while it is not in-sync."
        ))),
        Sync::Unknown => Err(OpError::refused(format!(
            "Unable to determine sync status of {name}.\nUnable to split {name} while it is not in-sync."
        ))),
    }
}

/// Splits an image off, readable and to be merged back; the value is the image.
pub fn raid1_track(
    old: &Vg,
    lv: LvKey,
    pvs: Option<&[PvKey]>,
    sync: Sync,
) -> Result<Done<LvKey>, OpError> {
    editable(old, lv)?;
    check_in_sync(old, lv, sync)?;
    refuse_tracking(old, lv)?;
    let full = full_name(old, lv);
    let raid = raid1_of(old, lv).ok_or_else(|| OpError::refused("No raid1 LV."))?;
    let mut keys = raid.images.iter().rev().filter_map(|i| lv_of(i.image));
    let image = keys
        .find(|key| pvs.is_none_or(|pvs| lies_on(old, *key, pvs)))
        .ok_or_else(|| OpError::refused("Unable to find image to satisfy request."))?;
    let mut vg = old.clone();
    vg.lvs[image].status.visible = true;
    vg.lvs[image].status.write = false;
    let name = full_name(old, image);
    let notices = vec![
        Notice::print(format!("{name} split from {full} for read-only purposes.")),
        Notice::print(format!(
            "Use 'lvconvert --merge {name}' to merge back into {full}."
        )),
    ];
    Done::checked(vg, notices, image)
}

/// Merges an image back that was split off to be followed; the value is the raid1 LV.
pub fn raid1_merge(old: &Vg, image: LvKey) -> Result<Done<LvKey>, OpError> {
    let has = |lv: &LvKey| {
        raid1_of(old, *lv).is_some_and(|raid| {
            let mut keys = raid.images.iter().filter_map(|i| lv_of(i.image));
            keys.any(|key| key == image)
        })
    };
    let name = full_name(old, image);
    let Some(lv) = old.lvs.keys().find(has) else {
        return Err(OpError::refused(format!(
            "{name} is not a mirror image that can be merged."
        )));
    };
    if !old.lvs[image].status.visible {
        return Err(OpError::refused(format!(
            "{name} cannot be merged because --trackchanges was not used."
        )));
    }
    let mut vg = old.clone();
    vg.lvs[image].status.visible = false;
    vg.lvs[image].status.write = true;
    let text = format!(
        "{name} successfully merged back into {}.",
        full_name(old, lv)
    );
    Done::checked(vg, vec![Notice::print(text)], lv)
}

/// What became of images that were to be replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replaced {
    /// No image lies on those PVs.
    None,
    /// The new images.
    Images(Vec<LvKey>),
}

/// Replaces the images on these PVs by new ones, with the same numbers.
pub fn raid1_replace(
    old: &Vg,
    lv: LvKey,
    bad: &[PvKey],
    sync: Sync,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
) -> Result<Done<Replaced>, OpError> {
    editable(old, lv)?;
    let mut notices = Vec::new();
    match replace(old, lv, bad, sync, growth, ids, &mut notices) {
        Ok((vg, value)) => Done::checked(vg, notices, value),
        Err(e) => Err(e.after(notices)),
    }
}

fn replace(
    old: &Vg,
    lv: LvKey,
    bad: &[PvKey],
    sync: Sync,
    growth: &Growth<'_>,
    ids: &mut dyn IdSource,
    notices: &mut Vec<Notice>,
) -> Result<(Vg, Replaced), OpError> {
    let full = full_name(old, lv);
    let raid =
        raid1_of(old, lv).ok_or_else(|| OpError::refused(format!("{full} is no raid1 LV.")))?;
    let is_bad = |image: &RaidImage| {
        let mut parts = lv_of(image.image).into_iter().chain(image.meta);
        parts.any(|part| lies_on(old, part, bad) || is_error(old, part))
    };
    let which: Vec<usize> = (0..raid.images.len())
        .filter(|n| is_bad(&raid.images[*n]))
        .collect();
    if which.is_empty() {
        return Ok((old.clone(), Replaced::None));
    }
    if which.len() == raid.images.len() {
        return Err(OpError::refused(format!(
            "Unable to remove all PVs from {full} at once."
        )));
    }
    if sync == Sync::Running && which.contains(&0) {
        return Err(OpError::refused(format!(
            "Unable to replace devices in {full} while it is not in-sync."
        )));
    }
    let mut plan = Plan::new(old, lv, growth, notices)?;
    let len = old.lvs[lv].extents();
    let meta = rmeta_extents(old, len, raid.region_size);
    let avoid = parallel_to(old, lv, true);
    let count = u32::try_from(which.len()).unwrap_or(u32::MAX);
    plan.refresh(old);
    let found = plan
        .space(growth)
        .legs(old, len, (count, 1), Beside::Meta(meta), &avoid)?;
    let mut vg = old.clone();
    let name = vg.lvs[lv].name.clone();
    for n in &which {
        let image = raid.images[*n];
        discard(&mut vg, &image);
    }
    let mut maker = maker(old, lv, growth, ids);
    // Named after what they replace: the numbers are given afterwards.
    let new = push_images(
        &mut vg,
        &mut maker,
        &format!("{name}_new"),
        0,
        &found,
        (meta, false),
    )?;
    let mut images = raid.images.clone();
    for (n, image) in which.iter().zip(&new) {
        images[*n] = *image;
        rename(&mut vg, image, |part| format!("{name}_{part}_{n}"));
    }
    raid1_mut(&mut vg, lv)?.images = images;
    let keys = new.iter().filter_map(|i| lv_of(i.image)).collect();
    Ok((vg, Replaced::Images(keys)))
}

/// An image that `vgreduce --removemissing --force` left behind.
fn is_error(vg: &Vg, lv: LvKey) -> bool {
    let segments = &vg.lvs[lv].segments;
    segments
        .iter()
        .any(|s| matches!(s.kind, SegmentKind::Error))
}

/// The number of an image, from 0.
pub fn image_number(vg: &Vg, lv: LvKey, image: LvKey) -> Option<usize> {
    let images = raid1_of(vg, lv)?.images.iter();
    let mut keys = images.map(|i| i.image);
    keys.position(|area| matches!(area, Area::Lv { lv, .. } if lv == image))
}
