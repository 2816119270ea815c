//! New mirrors: legs, metadata or log, and what joins them.

use super::super::OpError;
use super::build::{Maker, Space, mirror_segment, push_images, push_legs, push_log, raid1_segment};
use super::region::{few_enough, not_above, rmeta_extents};
use crate::alloc::{AllocConfig, Beside, PvRange};
use crate::model::usage::Usage;
use crate::model::{AllocPolicy, Lv, LvKey, Vg};
use crate::notice::Notice;
use crate::units::{Extents, Sectors};

/// A `raid1` LV to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewRaid1 {
    /// Copies, the first included.
    pub legs: u32,
    /// Sectors, a power of two.
    pub region: Sectors,
    /// Assume that the copies are equal.
    pub nosync: bool,
    /// KiB/s per disk.
    pub min_recovery_rate: Option<u32>,
    /// KiB/s per disk.
    pub max_recovery_rate: Option<u32>,
}

/// A `mirror` LV to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewMirror {
    /// Copies, the first included.
    pub legs: u32,
    /// Stripes of each copy.
    pub stripes: u32,
    /// Sectors; zero with one stripe.
    pub stripe_size: Sectors,
    /// Sectors, a power of two.
    pub region: Sectors,
    /// Assume that the copies are equal.
    pub nosync: bool,
    /// With a log on disk.
    pub disk_log: bool,
}

/// Where a new mirror may lie.
pub(in super::super) struct Room<'a> {
    pub usage: &'a Usage,
    pub offered: Option<&'a [PvRange]>,
    /// Resolved: not `Inherit`.
    pub policy: AllocPolicy,
    pub config: &'a AllocConfig,
    pub at_most: bool,
}

impl<'a> Room<'a> {
    fn space(&self, name: &'a str, at_most: bool) -> Space<'a> {
        Space {
            usage: self.usage,
            offered: self.offered,
            policy: self.policy,
            config: self.config,
            name,
            at_most,
        }
    }
}

/// Makes `lv`, which is in no VG yet, a raid1 LV of `extents`.
pub(in super::super) fn raid1(
    vg: &mut Vg,
    maker: &mut Maker<'_>,
    lv: Lv,
    new: NewRaid1,
    extents: Extents,
    room: &Room<'_>,
    notices: &mut Vec<Notice>,
) -> Result<LvKey, OpError> {
    let region = not_above(vg, extents, new.region, notices);
    let region = few_enough(vg, extents, region);
    if new.nosync {
        unsynced("raid1", notices);
    }
    let meta = rmeta_extents(vg, extents, region);
    let name = lv.name.clone();
    let space = room.space(&name, room.at_most);
    let found = space.legs(vg, extents, (new.legs, 1), Beside::Meta(meta), &[])?;
    let len = found.pieces.iter().fold(0u32, |n, p| n + p.len.0);
    if len == 0 {
        return Err(OpError::no_space(format!(
            "Insufficient suitable allocatable extents found for logical volume {name}."
        )));
    }
    let tags = lv.tags.clone();
    let key = vg.lvs.push(lv);
    let images = push_images(vg, maker, &name, 0, &found, (meta, true))?;
    for meta in images.iter().filter_map(|i| i.meta) {
        // LVM2 gives an LV's tags to these, and to no other part.
        vg.lvs[meta].tags.clone_from(&tags);
    }
    let rates = (new.min_recovery_rate, new.max_recovery_rate);
    let segment = raid1_segment(Extents(len), images, region, rates);
    vg.lvs[key].segments = vec![segment];
    vg.lvs[key].status.not_synced = new.nosync;
    Ok(key)
}

/// Makes `lv`, which is in no VG yet, a mirror of `extents`.
pub(in super::super) fn mirror(
    vg: &mut Vg,
    maker: &mut Maker<'_>,
    lv: Lv,
    new: NewMirror,
    extents: Extents,
    room: &Room<'_>,
    notices: &mut Vec<Notice>,
) -> Result<LvKey, OpError> {
    let region = not_above(vg, extents, new.region, notices);
    if new.nosync {
        unsynced("mirror", notices);
    }
    let name = lv.name.clone();
    let space = room.space(&name, room.at_most);
    let found = space.legs(vg, extents, (new.legs, new.stripes), Beside::Nothing, &[])?;
    let len = found.pieces.iter().fold(0u32, |n, p| n + p.len.0) * new.stripes;
    let key = vg.lvs.push(lv);
    let shape = (new.legs, new.stripes, new.stripe_size);
    let legs = push_legs(vg, maker, &name, 0, &found, shape)?;
    vg.lvs[key].segments = vec![mirror_segment(Extents(len), &legs, None, region)];
    vg.lvs[key].status.not_synced = new.nosync;
    if new.disk_log {
        let usage = Usage::of(vg);
        let space = Space {
            usage: &usage,
            ..room.space(&name, false)
        };
        let log = push_log(vg, maker, key, region, &space)?;
        vg.lvs[key].segments = vec![mirror_segment(Extents(len), &legs, Some(log), region)];
    }
    Ok(key)
}

fn unsynced(what: &str, notices: &mut Vec<Notice>) {
    notices.push(Notice::warn(format!(
        "New {what} won't be synchronised. Don't read what you didn't write!"
    )));
}
