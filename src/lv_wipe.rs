//! The start of a new LV: signatures found there are wiped, after asking, and the first bytes
//! zeroed.
//!
//! This is done on the extents chosen, before the metadata name them: a crash in between leaves
//! free space that is blank, never an LV with somebody's old data at its start.

use std::collections::HashMap;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::{LvKey, PvKey, Segment, SegmentKind, Vg};
use ulvm_metadata::notice::Notice;
use ulvm_metadata::units::Bytes;

use crate::error::{Error, Kind, Result};
use crate::inventory::VgRead;
use crate::lv_disk::LvDisk;
use crate::session::Session;
use crate::signatures::{Wiped, wipe_all};

/// Bytes zeroed at the start of a new LV.
const ZEROED: u64 = 4096;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Zero the first 4 KiB (`-Z y`).
    pub zero: bool,
    /// Wipe signatures (`-W y`).
    pub wipe: bool,
}

/// Prepares the start of the LV `lv` of the VG `new`, which is not committed yet. Durable when it
/// returns; an error of kind [`Kind::Declined`] if a signature is to stay.
pub fn prepare(session: &Session, read: &VgRead, new: &Vg, lv: LvKey, what: Start) -> Result<()> {
    let Some(entry) = new.lvs.get(lv) else {
        return Ok(());
    };
    if session.settings().test {
        return Ok(());
    }
    clear_parts(session, read, new, lv)?;
    if !(what.zero || what.wipe) {
        return Ok(());
    }
    let name = format!("{}/{}", new.name, entry.name);
    let mut disk = open(session, read, new, lv)?;
    let failed = |e: std::io::Error| Error::io(format!("Wipe the start of {name}"), e);
    if what.wipe {
        let path = format!("/dev/{name}");
        let outcome = wipe_all(&mut disk, &[], false, |found| {
            let question = format!(
                "WARNING: {} signature detected on {path} at offset {}. Wipe it?",
                found.name, found.offset.0
            );
            let yes = session.ui().ask(&question);
            if yes {
                let text = format!("Wiping {} signature on {path}.", found.name);
                session.ui().say(&Notice::print(text));
            }
            yes
        });
        if let Wiped::Kept(kept) = outcome.map_err(failed)? {
            return Err(Error::new(
                Kind::Declined,
                format!(
                    "Aborted wiping of {}.\n1 existing signature left on the device.\nFailed to wipe signatures on logical volume {name}.\nAborting. Failed to wipe start of new LV.",
                    kept.name
                ),
            ));
        }
    }
    if what.zero {
        let len = usize::try_from(disk.size().0.min(ZEROED)).unwrap_or(0);
        disk.write_at(Bytes(0), &vec![0; len]).map_err(failed)?;
    }
    disk.flush().map_err(failed)
}

/// The content of an LV of the VG `new`, which may be one that is not committed yet.
pub(crate) fn open<'a>(
    session: &Session,
    read: &VgRead,
    new: &'a Vg,
    lv: LvKey,
) -> Result<LvDisk<'a>> {
    let entry = &new.lvs[lv];
    let mut pvs: HashMap<PvKey, Box<dyn Disk>> = HashMap::new();
    for pv in LvDisk::pvs_of(new, entry) {
        let device = read.pv(pv).device().ok_or_else(|| {
            let name = format!("{}/{}", new.name, entry.name);
            Error::refused(format!("A PV of {name} is missing."))
        })?;
        pvs.insert(pv, Box::new(session.held(device)?));
    }
    Ok(LvDisk::new(new, entry, pvs))
}

/// Are all PVs that a part lies on there?
pub fn is_whole(read: &VgRead, part: LvKey) -> bool {
    read.vg.lvs.get(part).is_some_and(|entry| {
        let pvs = LvDisk::pvs_of(&read.vg, entry);
        let error = |s: &Segment| matches!(s.kind, SegmentKind::Error);
        !entry.segments.iter().any(error)
            && pvs.into_iter().all(|pv| read.pv(pv).device().is_some())
    })
}

/// Bytes cleared at the start of an `rmeta` LV: the superblock, and that of the bitmap. Without the
/// first the whole is a new set to whoever assembles it, and what lies behind is not looked at.
const RMETA_CLEARED: u64 = 2 * 4096;

/// Makes the metadata and log LVs of `lv` that the VG on disk does not have ready for the first
/// assembly. They lie on free extents until the commit that follows, so a crash leaves nothing half
/// done. Durable when it returns.
pub fn clear_parts(session: &Session, read: &VgRead, new: &Vg, lv: LvKey) -> Result<()> {
    if session.settings().test {
        return Ok(());
    }
    let is_new = |key: &LvKey| {
        let id = &new.lvs[*key].id;
        !read.vg.lvs.values().any(|old| old.id == *id)
    };
    let Some(segment) = new.lvs.get(lv).and_then(|lv| lv.segments.first()) else {
        return Ok(());
    };
    match &segment.kind {
        SegmentKind::Raid(raid) => {
            let all = raid.images.iter().filter_map(|i| i.meta);
            for meta in all.filter(is_new) {
                fill(session, read, new, meta, |size| {
                    vec![0; usize::try_from(size.min(RMETA_CLEARED)).unwrap_or(0)]
                })?;
            }
        }
        SegmentKind::Mirror(mirror) => {
            let clean = new.lvs[lv].status.not_synced;
            for log in mirror.log.iter().filter(|key| is_new(key)) {
                fill(session, read, new, *log, |size| new_log(size, clean))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Most of a log that is written: its header and the bits of as many regions as fit.
pub(crate) const LOG_MAX: u64 = 64 << 20;

/// What a new mirror log begins with: nothing, so that every region is copied, or the header of one
/// whose regions are all clean.
fn new_log(size: u64, clean: bool) -> Vec<u8> {
    let len = usize::try_from(size.min(LOG_MAX)).unwrap_or(0);
    if !clean {
        return vec![0; len];
    }
    let mut out = vec![0xff; len];
    for (at, word) in [(0, MIRROR_MAGIC), (4, MIRROR_VERSION)] {
        if let Some(field) = out.get_mut(at..at + 4) {
            field.copy_from_slice(&word.to_le_bytes());
        }
    }
    out
}

/// dm-mirror's log begins with these two words.
const MIRROR_MAGIC: u32 = 0x4d69_5272;
const MIRROR_VERSION: u32 = 2;

fn fill(
    session: &Session,
    read: &VgRead,
    new: &Vg,
    lv: LvKey,
    content: impl Fn(u64) -> Vec<u8>,
) -> Result<()> {
    let mut disk = open(session, read, new, lv)?;
    let failed = |e: std::io::Error| {
        let name = format!("{}/{}", new.name, new.lvs[lv].name);
        Error::io(format!("Clear the start of {name}"), e)
    };
    let bytes = content(disk.size().0);
    disk.write_at(Bytes(0), &bytes).map_err(failed)?;
    disk.flush().map_err(failed)
}
