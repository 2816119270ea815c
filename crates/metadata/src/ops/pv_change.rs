//! pvchange and pvresize of PVs that belong to a VG.

use super::tags::TagEdit;
use super::{Done, OpError};
use crate::model::usage::Usage;
use crate::model::{PvKey, Vg};
use crate::notice::Notice;
use crate::units::{Extents, Sectors};
use crate::uuid::LvmUuid;

/// One change of a PV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PvChange {
    /// `-x`: new extents may be allocated on it.
    Allocatable(bool),
    /// `--deltag`, `--addtag`
    Tags(TagEdit),
    /// `-u`: a new identity. The PV header must get it too.
    Id(LvmUuid),
}

/// Applies changes. The value says whether anything was changed: an allocatable PV that is to be
/// made allocatable is no change, and no error.
pub fn pv_change(
    old: &Vg,
    key: PvKey,
    device: &str,
    changes: &[PvChange],
) -> Result<Done<bool>, OpError> {
    let mut vg = old.clone();
    let mut notices = Vec::new();
    let mut changed = false;
    let pv = vg.pvs.get_mut(key).ok_or_else(|| {
        OpError::not_found(format!("Failed to find physical volume \"{device}\"."))
    })?;
    for change in changes {
        match change {
            PvChange::Allocatable(yes) if pv.allocatable == *yes => {
                let un = if *yes { "" } else { "un" };
                notices.push(Notice::warn_plain(format!(
                    "Physical volume \"{device}\" is already {un}allocatable."
                )));
            }
            PvChange::Allocatable(yes) => {
                pv.allocatable = *yes;
                changed = true;
            }
            PvChange::Tags(edit) => {
                edit.apply(&mut pv.tags)?;
                changed = true;
            }
            PvChange::Id(id) => {
                pv.id = *id;
                changed = true;
            }
        }
    }
    Done::checked(vg, notices, changed)
}

/// Smallest PV that LVM2 looks at by default (devices/pv_min_size), in sectors.
pub const PV_MIN_SIZE: Sectors = Sectors(4096);

/// What pvresize needs to know of a PV.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PvResize<'a> {
    /// Name of the device, for messages.
    pub device: &'a str,
    /// New size of the PV.
    pub size: Sectors,
    /// Where data must end: `size`, or the start of the second metadata area.
    pub pe_limit: Sectors,
}

/// Changes the size of a PV of a VG. Extents that are in use stay.
pub fn pv_resize(old: &Vg, key: PvKey, request: PvResize<'_>) -> Result<Done, OpError> {
    let PvResize {
        device,
        size,
        pe_limit,
    } = request;
    check_size(size, device)?;
    let mut vg = old.clone();
    let extent_size = vg.extent_size;
    let pv = vg.pvs.get_mut(key).ok_or_else(|| {
        OpError::not_found(format!("Failed to find physical volume \"{device}\"."))
    })?;
    if size < pv.pe_start {
        return Err(OpError::refused(format!(
            "Size must exceed physical extent start of {} sectors on PV {device}.",
            pv.pe_start
        )));
    }
    let count = pe_limit.saturating_sub(pv.pe_start).0 / extent_size.0.max(1);
    if count == 0 {
        return Err(OpError::refused(format!(
            "Size must leave space for at least one physical extent of {extent_size} sectors on PV {device}."
        )));
    }
    let count = u32::try_from(count).map(Extents).map_err(|_| {
        OpError::limit(format!(
            "Unable to resize {device}: {count} extents exceed limit ({}).",
            u32::MAX
        ))
    })?;
    if count < pv.pe_count {
        let usage = Usage::of(old);
        let used = usage.used(key);
        if used > count {
            return Err(OpError::refused(format!(
                "{device}: cannot resize to {count} extents as {used} are allocated."
            )));
        }
        let end = usage
            .on(key)
            .last()
            .map_or(0, |u| u.start.0.saturating_add(u.len.0));
        if end > count.0 {
            return Err(OpError::refused(format!(
                "{device}: cannot resize to {count} extents as later ones are allocated."
            )));
        }
    }
    pv.pe_count = count;
    // What LVM2's pvresize records is the size without what lies before the extents.
    pv.dev_size = Some(size.saturating_sub(pv.pe_start));
    let total = vg
        .pvs
        .values()
        .fold(0u64, |n, p| n.saturating_add(p.pe_count.get()));
    if total > u64::from(u32::MAX) {
        return Err(OpError::limit(format!(
            "Unable to resize {device}: new extent count ({total}) exceeds limit ({}).",
            u32::MAX
        )));
    }
    Done::checked(vg, Vec::new(), ())
}

/// A PV, in a VG or not, has a smallest size.
pub fn check_size(size: Sectors, device: &str) -> Result<(), OpError> {
    if size < PV_MIN_SIZE {
        return Err(OpError::refused(format!(
            "Size must exceed minimum of {PV_MIN_SIZE} sectors on PV {device}."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, vg_of};
    use super::*;

    fn setup() -> (Vg, PvKey) {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 1);
        let pv = vg.pvs.keys().next().unwrap();
        linear(&mut vg, &mut ids, "a", pv, 4, 2);
        (vg, pv)
    }

    fn resize(vg: &Vg, pv: PvKey, sectors: u64) -> Result<Vg, OpError> {
        let size = Sectors(sectors);
        let request = PvResize {
            device: "d",
            size,
            pe_limit: size,
        };
        pv_resize(vg, pv, request).map(|d| d.vg)
    }

    #[test]
    fn already_so_is_no_change() {
        let (vg, pv) = setup();
        let done = pv_change(&vg, pv, "d", &[PvChange::Allocatable(true)]).unwrap();
        assert!(!done.value);
        assert_eq!(
            done.notices[0].text,
            "Physical volume \"d\" is already allocatable."
        );
        let done = pv_change(&vg, pv, "d", &[PvChange::Allocatable(false)]).unwrap();
        assert!(done.value && !done.vg.pvs[pv].allocatable);
    }

    #[test]
    fn shrinking_stops_at_what_is_in_use() {
        let (vg, pv) = setup();
        let small = resize(&vg, pv, 2048 + 6 * 8192).unwrap();
        assert_eq!(small.pvs[pv].pe_count, Extents(6));
        assert_eq!(small.pvs[pv].dev_size, Some(Sectors(6 * 8192)));
        let later = resize(&vg, pv, 2048 + 6 * 8192 - 1).unwrap_err();
        assert!(later.message.contains("as later ones are allocated"));
        let all = resize(&vg, pv, 2048 + 8192).unwrap_err();
        assert!(all.message.contains("to 1 extents as 2 are allocated"));
        assert!(
            resize(&vg, pv, 8192)
                .unwrap_err()
                .message
                .contains("at least one")
        );
        assert!(
            resize(&vg, pv, 100)
                .unwrap_err()
                .message
                .contains("minimum of 4096")
        );
    }

    #[test]
    fn growing_adds_extents() {
        let (vg, pv) = setup();
        let large = resize(&vg, pv, 2048 + 20 * 8192 + 7).unwrap();
        assert_eq!(large.pvs[pv].pe_count, Extents(20));
    }
}
