//! What the marks on disk of a mirror that is not active say of its copies, and clearing a log.

use ulvm_engine::target::replica::format::{NotOurs, Superblock};
use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::{Area, LvKey, SegmentKind, Vg};
use ulvm_metadata::ops::mirror::Sync;
use ulvm_metadata::units::Bytes;

use crate::error::{Error, Result};
use crate::inventory::VgRead;
use crate::lv_wipe::{is_whole, open};
use crate::session::Session;

/// Are the copies of `lv` equal? A raid1 LV that nobody has assembled yet is [`Sync::Unknown`]
/// unless it was made to be taken for equal, and so is a mirror without a log on disk.
pub fn sync(session: &Session, read: &VgRead, lv: LvKey) -> Result<Sync> {
    let vg = &*read.vg;
    let Some(entry) = vg.lvs.get(lv) else {
        return Ok(Sync::Unknown);
    };
    let found = match entry.segments.first().map(|s| &s.kind) {
        Some(SegmentKind::Raid(raid)) => {
            let metas: Vec<Option<LvKey>> = raid.images.iter().map(|i| i.meta).collect();
            of_superblocks(session, read, &metas)?
        }
        Some(SegmentKind::Mirror(mirror)) => match mirror.log {
            Some(log) => {
                let region = mirror.region_size.0.max(1);
                let sectors = entry.extents().to_sectors(vg.extent_size).0;
                of_log(session, read, log, sectors.div_ceil(region))?
            }
            None => Sync::Unknown,
        },
        // There is but one copy.
        _ => Sync::Done,
    };
    Ok(match found {
        Sync::Unknown if entry.status.not_synced => Sync::Done,
        other => other,
    })
}

/// The first bytes of a part whose PVs are all there.
fn start(session: &Session, read: &VgRead, part: LvKey, len: usize) -> Result<Option<Vec<u8>>> {
    if !is_whole(read, part) {
        return Ok(None);
    }
    let disk = open(session, read, &read.vg, part)?;
    let len = usize::try_from(disk.size().0).map_or(len, |size| size.min(len));
    let mut bytes = vec![0; len];
    disk.read_at(Bytes(0), &mut bytes)
        .map_err(|e| Error::io(format!("Read {}", name(&read.vg, part)), e))?;
    Ok(Some(bytes))
}

fn name(vg: &Vg, lv: LvKey) -> String {
    format!("{}/{}", vg.name, vg.lvs[lv].name)
}

/// Does a leg lack what the array has? Legs are named by the position that their superblocks tell.
fn is_behind(freshest: &Superblock, leg: &Superblock) -> bool {
    let position = usize::try_from(leg.array_position).unwrap_or(usize::MAX);
    leg.disk_recovery_offset.is_some() || freshest.failed.has(position)
}

/// Superblocks that can be read and are there, with the numbers of their images.
fn superblocks(
    session: &Session,
    read: &VgRead,
    metas: &[Option<LvKey>],
) -> Result<Vec<(usize, Superblock)>> {
    let mut seen: Vec<(usize, Superblock)> = Vec::new();
    for (leg, meta) in metas.iter().enumerate() {
        let Some(meta) = *meta else { continue };
        let Some(bytes) = start(session, read, meta, 4096)? else {
            continue;
        };
        match Superblock::decode(&bytes) {
            Ok(superblock) => seen.push((leg, superblock)),
            Err(NotOurs::New | NotOurs::Short) => {}
            Err(NotOurs::Features { .. }) => {
                return Err(Error::refused(format!(
                    "{} has a superblock with features that are not known.",
                    name(&read.vg, meta)
                )));
            }
        }
    }
    Ok(seen)
}

/// The images of a raid1 LV that surely hold its data: there, not to be filled yet, and equal to what
/// the array has. Of one that nobody has assembled, or whose copying has not ended, that is the first.
pub fn good_images(session: &Session, read: &VgRead, lv: LvKey) -> Result<Vec<LvKey>> {
    let Some(entry) = read.vg.lvs.get(lv) else {
        return Ok(Vec::new());
    };
    let Some(SegmentKind::Raid(raid)) = entry.segments.first().map(|s| &s.kind) else {
        return Ok(Vec::new());
    };
    let metas: Vec<Option<LvKey>> = raid.images.iter().map(|i| i.meta).collect();
    let seen = superblocks(session, read, &metas)?;
    let freshest = seen.iter().map(|(_, s)| s).max_by_key(|s| s.events);
    let holds = |leg: usize| match freshest {
        None => leg == 0 || entry.status.not_synced,
        Some(freshest) => {
            let own = seen.iter().find(|(n, _)| *n == leg);
            (leg == 0 || freshest.array_resync_offset.is_none())
                && own.is_some_and(|(_, own)| !is_behind(freshest, own))
        }
    };
    let images = raid.images.iter().enumerate();
    let good = images.filter_map(|(leg, image)| match image.image {
        Area::Lv { lv, .. } => {
            let there = is_whole(read, lv) && image.meta.is_none_or(|m| is_whole(read, m));
            (there && !read.vg.lvs[lv].status.rebuild && holds(leg)).then_some(lv)
        }
        Area::Pv { .. } => None,
    });
    Ok(good.collect())
}

fn of_superblocks(session: &Session, read: &VgRead, metas: &[Option<LvKey>]) -> Result<Sync> {
    let seen = superblocks(session, read, metas)?;
    let Some((_, freshest)) = seen.iter().max_by_key(|(_, s)| s.events) else {
        return Ok(Sync::Unknown);
    };
    let behind = |s: &Superblock| is_behind(freshest, s);
    let running = freshest.array_resync_offset.is_some() || seen.iter().any(|(_, s)| behind(s));
    Ok(if running { Sync::Running } else { Sync::Done })
}

/// dm-mirror's log begins with this word; the bits of clean regions stand at byte 1024.
const MIRROR_MAGIC: [u8; 4] = 0x4d69_5272_u32.to_le_bytes();
const BITS_AT: usize = 1024;

fn of_log(session: &Session, read: &VgRead, log: LvKey, regions: u64) -> Result<Sync> {
    let regions = usize::try_from(regions).unwrap_or(usize::MAX / 2);
    let Some(bytes) = start(session, read, log, BITS_AT + regions.div_ceil(8))? else {
        return Ok(Sync::Unknown);
    };
    if bytes.get(..4) != Some(&MIRROR_MAGIC[..]) {
        return Ok(Sync::Running);
    }
    let clean = |region: usize| {
        let byte = bytes.get(BITS_AT + region / 8);
        byte.is_some_and(|b| b >> (region % 8) & 1 != 0)
    };
    let all = (0..regions).all(clean);
    Ok(if all { Sync::Done } else { Sync::Running })
}

/// Makes a log or metadata LV that is there say nothing, before legs are added that are not equal.
/// Durable when it returns.
pub fn forget_log(session: &Session, read: &VgRead, log: LvKey) -> Result<()> {
    if session.settings().test {
        return Ok(());
    }
    let failed = |e| Error::io(format!("Clear {}", name(&read.vg, log)), e);
    let mut disk = open(session, read, &read.vg, log)?;
    let len = usize::try_from(disk.size().0.min(crate::lv_wipe::LOG_MAX)).unwrap_or(0);
    disk.write_at(Bytes(0), &vec![0; len]).map_err(failed)?;
    disk.flush().map_err(failed)
}

/// Makes all marks of a mirror say nothing, so that whoever assembles it next copies everything
/// from its first copy. Durable when it returns.
pub fn forget_all(session: &Session, read: &VgRead, lv: LvKey) -> Result<()> {
    let segment = read.vg.lvs.get(lv).and_then(|lv| lv.segments.first());
    let parts: Vec<LvKey> = match segment.map(|s| &s.kind) {
        Some(SegmentKind::Raid(raid)) => raid.images.iter().filter_map(|i| i.meta).collect(),
        Some(SegmentKind::Mirror(mirror)) => mirror.log.into_iter().collect(),
        _ => Vec::new(),
    };
    let images = match segment.map(|s| &s.kind) {
        Some(SegmentKind::Raid(raid)) => raid.images.as_slice(),
        _ => &[],
    };
    let first = images.first().map(|i| i.image);
    let good = good_images(session, read, lv)?;
    let source =
        first.is_none_or(|image| matches!(image, Area::Lv { lv, .. } if good.contains(&lv)));
    // One that is away would come back with the only superblock there is, and be believed.
    if !parts.iter().all(|part| is_whole(read, *part)) || !source {
        return Err(Error::refused(format!(
            "{} cannot be copied anew from its first copy: a copy is missing, or the first is not in sync.",
            name(&read.vg, lv)
        )));
    }
    // The one that is copied from is the last to say nothing.
    for part in parts.into_iter().rev() {
        forget_log(session, read, part)?;
    }
    Ok(())
}
