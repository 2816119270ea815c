//! Settings of raid1 LVs: recovery rates, images that are read last, writes that may wait, and
//! forgetting that copies are equal.

use super::super::lv_tree::full_name;
use super::super::{Done, OpError};
use super::convert::{Sync, editable, lies_on, lv_of, mirror_of, raid1_mut, raid1_of};
use crate::model::{LvKey, PvKey, Vg};

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tune {
    /// KiB per second and disk; 0 = none.
    MinRate(u32),
    /// KiB per second and disk; 0 = none.
    MaxRate(u32),
    /// Images on these PVs are read last, or no more, or the other way round.
    WriteMostly(Vec<(PvKey, Mostly)>),
    /// Writes that images read last may be behind by; 0 = none.
    WriteBehind(u32),
    /// The copies are to be made equal again. Whoever commits this clears their marks first.
    Resync,
}

/// What becomes of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mostly {
    /// Read last.
    Yes,
    /// Read as the others.
    No,
    /// Changed.
    Toggle,
}

/// Changes one setting.
pub fn tune(old: &Vg, lv: LvKey, what: &Tune, sync: Sync) -> Result<Done, OpError> {
    editable(old, lv)?;
    let name = full_name(old, lv);
    let mut vg = old.clone();
    if *what == Tune::Resync {
        if raid1_of(old, lv).is_none() && mirror_of(old, lv).is_none() {
            return Err(OpError::refused(format!(
                "Unable to resync {name}. It is not RAID or mirrored."
            )));
        }
        vg.lvs[lv].status.not_synced = false;
        return Done::checked(vg, Vec::new(), ());
    }
    if raid1_of(old, lv).is_none() {
        return Err(OpError::refused(format!(
            "Command on LV {name} does not accept its type: it is no raid1 LV."
        )));
    }
    match what {
        Tune::MinRate(rate) => raid1_mut(&mut vg, lv)?.min_recovery_rate = some(*rate),
        Tune::MaxRate(rate) => raid1_mut(&mut vg, lv)?.max_recovery_rate = some(*rate),
        Tune::WriteMostly(which) => {
            check_in_sync("writemostly", &name, sync)?;
            write_mostly(&mut vg, lv, which);
        }
        Tune::WriteBehind(count) => {
            check_in_sync("writebehind", &name, sync)?;
            raid1_mut(&mut vg, lv)?.writebehind = some(*count);
        }
        Tune::Resync => {}
    }
    let raid = raid1_mut(&mut vg, lv)?;
    if let (Some(min), Some(max)) = (raid.min_recovery_rate, raid.max_recovery_rate)
        && min > max
    {
        return Err(OpError::refused(
            "Minimum recovery rate cannot be higher than maximum.",
        ));
    }
    Done::checked(vg, Vec::new(), ())
}

fn some(n: u32) -> Option<u32> {
    (n > 0).then_some(n)
}

fn check_in_sync(what: &str, name: &str, sync: Sync) -> Result<(), OpError> {
    let text = format!("Unable to change {what} on {name} while it is not in-sync.");
    match sync {
        Sync::Done => Ok(()),
        Sync::Running => Err(OpError::refused(text)),
        Sync::Unknown => Err(OpError::refused(format!(
            "Unable to determine sync status of {name}.\n{text}"
        ))),
    }
}

fn write_mostly(vg: &mut Vg, lv: LvKey, which: &[(PvKey, Mostly)]) {
    let images: Vec<LvKey> = raid1_of(vg, lv)
        .map(|raid| raid.images.iter().filter_map(|i| lv_of(i.image)).collect())
        .unwrap_or_default();
    for (pv, how) in which {
        // LVM2 passes over PVs that hold no image.
        let Some(image) = images.iter().find(|image| lies_on(vg, **image, &[*pv])) else {
            continue;
        };
        let status = &mut vg.lvs[*image].status;
        status.write_mostly = match how {
            Mostly::Yes => true,
            Mostly::No => false,
            Mostly::Toggle => !status.write_mostly,
        };
    }
}
