//! PVs into and out of a volume group.

use super::{Done, OpError};
use crate::model::usage::Usage;
use crate::model::{BootloaderArea, DeviceId, Pv, PvKey, Vg};
use crate::units::{Extents, Sectors};
use crate::uuid::LvmUuid;

/// A PV that is to join a VG: what its header and device say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewMember {
    /// Identity.
    pub id: LvmUuid,
    /// Name of the device, for the hint and for messages.
    pub device: String,
    /// Its entry in the devices file.
    pub device_id: Option<DeviceId>,
    /// Size by the PV header.
    pub size: Sectors,
    /// Where data start.
    pub pe_start: Sectors,
    /// Where data end: the device's end, or the second metadata area.
    pub pe_limit: Sectors,
    /// Boot loader area.
    pub bootloader: Option<BootloaderArea>,
}

/// Adds PVs in the order given.
pub fn vg_extend(old: &Vg, members: &[NewMember]) -> Result<Done, OpError> {
    must_be_resizeable(old)?;
    let mut vg = old.clone();
    for member in members {
        add_member(&mut vg, member)?;
    }
    Done::checked(vg, Vec::new(), ())
}

/// Removes one PV, which must be empty and not the last.
pub fn vg_reduce(old: &Vg, key: PvKey, device: &str) -> Result<Done<Pv>, OpError> {
    must_be_resizeable(old)?;
    if !Usage::of(old).used(key).is_zero() {
        return Err(OpError::refused(format!(
            "Physical volume \"{device}\" still in use"
        )));
    }
    if old.pvs.len() <= 1 {
        return Err(OpError::refused(format!(
            "Can't remove final physical volume \"{device}\" from volume group \"{}\"",
            old.name
        )));
    }
    let mut vg = old.clone();
    let gone = vg.pvs.remove(key).ok_or_else(|| {
        OpError::not_found(format!("Failed to find physical volume \"{device}\"."))
    })?;
    Done::checked(vg, Vec::new(), gone)
}

/// `vgextend --restoremissing`: takes the MISSING mark off PVs that are back.
pub fn vg_restore_missing(old: &Vg, keys: &[PvKey]) -> Result<Done, OpError> {
    let mut vg = old.clone();
    for key in keys {
        match vg.pvs.get_mut(*key) {
            Some(pv) => pv.missing = false,
            None => return Err(OpError::not_found("Failed to find physical volume.")),
        }
    }
    Done::checked(vg, Vec::new(), ())
}

/// PVs come and go only if the VG says so (`vgchange -x`).
pub(super) fn must_be_resizeable(vg: &Vg) -> Result<(), OpError> {
    if vg.status.resizeable {
        return Ok(());
    }
    Err(OpError::refused(format!(
        "Volume group {} is not resizeable.",
        vg.name
    )))
}

pub(super) fn add_member(vg: &mut Vg, member: &NewMember) -> Result<(), OpError> {
    let device = &member.device;
    let refuse = |what: String| {
        OpError::limit(format!(
            "{what}\nPV {device} cannot be added to VG {}.",
            vg.name
        ))
    };
    if vg.max_pv != 0 && vg.pvs.len() >= vg.max_pv as usize {
        return Err(refuse(format!(
            "No space for '{device}' - volume group '{}' holds max {} physical volume(s).",
            vg.name, vg.max_pv
        )));
    }
    if vg.find_pv(&member.id).is_some() {
        return Err(refuse(format!(
            "Physical volume '{device}' listed more than once."
        )));
    }
    let extents = member.pe_limit.saturating_sub(member.pe_start).0 / vg.extent_size.0.max(1);
    let total = vg
        .pvs
        .values()
        .fold(extents, |n, pv| n.saturating_add(pv.pe_count.get()));
    let Some(pe_count) = u32::try_from(extents)
        .ok()
        .filter(|_| total <= u64::from(u32::MAX))
    else {
        return Err(refuse(format!(
            "Unable to add {device} to {}: new extent count ({total}) exceeds limit ({}).",
            vg.name,
            u32::MAX
        )));
    };
    let mut pv = Pv::new(member.id, member.pe_start, Extents(pe_count));
    pv.device_hint = Some(member.device.clone());
    pv.device_id.clone_from(&member.device_id);
    pv.dev_size = Some(member.size);
    pv.bootloader = member.bootloader;
    vg.pvs.push(pv);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, member, vg_of};
    use super::*;

    #[test]
    fn extend_and_reduce_are_inverse() {
        let mut ids = Ids::default();
        let vg = vg_of(&mut ids, 2);
        let more = vg_extend(&vg, &[member(&mut ids, "new", 131_072)])
            .unwrap()
            .vg;
        assert_eq!(more.pvs.len(), 3);
        let key = more.pvs.keys().last().unwrap();
        let less = vg_reduce(&more, key, "new").unwrap();
        assert_eq!(less.vg.pvs.len(), 2);
        assert_eq!(less.value.device_hint.as_deref(), Some("new"));
    }

    #[test]
    fn what_is_used_or_last_stays() {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 2);
        let keys: Vec<_> = vg.pvs.keys().collect();
        linear(&mut vg, &mut ids, "a", keys[0], 0, 2);
        assert_eq!(
            vg_reduce(&vg, keys[0], "x").unwrap_err().message,
            "Physical volume \"x\" still in use"
        );
        let one = vg_reduce(&vg, keys[1], "y").unwrap().vg;
        let mut empty = one.clone();
        empty.lvs = Default::default();
        assert_eq!(
            vg_reduce(&empty, keys[0], "x").unwrap_err().message,
            "Can't remove final physical volume \"x\" from volume group \"vg\""
        );
        let mut fixed = vg.clone();
        fixed.status.resizeable = false;
        assert!(vg_reduce(&fixed, keys[1], "y").is_err());
    }

    #[test]
    fn the_same_pv_is_not_taken_twice() {
        let mut ids = Ids::default();
        let vg = vg_of(&mut ids, 1);
        let m = member(&mut ids, "new", 131_072);
        assert!(vg_extend(&vg, &[m.clone(), m]).is_err());
    }
}
