//! vgexport, vgimport, vgrename and vgimportclone: a VG goes to another host or gets another name.

use std::collections::HashMap;

use super::vg_create::check_vg_name;
use super::{Done, OpError};
use crate::model::Vg;
use crate::uuid::LvmUuid;

/// Marks a VG as exported; it belongs to no host then.
pub fn vg_export(old: &Vg) -> Result<Done, OpError> {
    if old.status.exported {
        return Err(OpError::refused(format!(
            "Volume group \"{}\" is already exported",
            old.name
        )));
    }
    let mut vg = old.clone();
    set_exported(&mut vg, true);
    vg.system_id = None;
    Done::checked(vg, Vec::new(), ())
}

/// Takes the mark off again; the VG belongs to this host, if that has a system id.
pub fn vg_import(old: &Vg, system_id: Option<&str>) -> Result<Done, OpError> {
    if !old.status.exported {
        return Err(OpError::refused(format!(
            "Volume group \"{}\" is not exported",
            old.name
        )));
    }
    let mut vg = old.clone();
    set_exported(&mut vg, false);
    vg.system_id = system_id.map(str::to_owned);
    Done::checked(vg, Vec::new(), ())
}

fn set_exported(vg: &mut Vg, yes: bool) {
    vg.status.exported = yes;
    for pv in vg.pvs.values_mut() {
        pv.exported = yes;
    }
}

/// Another name for a VG. That no other VG has it is for the caller to see.
pub fn vg_rename(old: &Vg, name: &str) -> Result<Done, OpError> {
    check_vg_name(name)?;
    if old.name == name {
        return Err(OpError::refused(
            "Old and new volume group names must differ",
        ));
    }
    let mut vg = old.clone();
    name.clone_into(&mut vg.name);
    Done::checked(vg, Vec::new(), ())
}

/// What vgimportclone gives a copied VG.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloneIdentity {
    /// Name.
    pub name: String,
    /// Identity of the VG.
    pub id: LvmUuid,
    /// New identity of each PV by the old one.
    pub pv_ids: HashMap<LvmUuid, LvmUuid>,
    /// `--import`: an exported VG is taken, and imported.
    pub import: bool,
    /// This host's.
    pub system_id: Option<String>,
}

/// A copy of a VG under identities of its own.
pub fn vg_import_clone(old: &Vg, new: &CloneIdentity) -> Result<Done, OpError> {
    check_vg_name(&new.name)?;
    if old.status.exported && !new.import {
        return Err(OpError::refused(format!(
            "VG {} is exported, use the --import option.",
            old.name
        )));
    }
    let mut vg = old.clone();
    vg.name.clone_from(&new.name);
    vg.id = new.id;
    for pv in vg.pvs.values_mut() {
        pv.id = *new
            .pv_ids
            .get(&pv.id)
            .ok_or_else(|| OpError::not_found(format!("No new identity for PV {}.", pv.id)))?;
        pv.device_id = None;
    }
    if vg.status.exported {
        set_exported(&mut vg, false);
    }
    if new.import || vg.system_id.is_some() {
        vg.system_id.clone_from(&new.system_id);
    }
    Done::checked(vg, Vec::new(), ())
}

/// The first free name of the form `BASE` or `BASE1`, `BASE2`, ...: what vgimportclone picks.
/// `base` is what `-n` gave; without it the VG's own name always gets a number.
pub fn clone_name(vg: &str, base: Option<&str>, taken: impl Fn(&str) -> bool) -> String {
    if let Some(base) = base
        && !taken(base)
    {
        return base.to_owned();
    }
    let base = base.unwrap_or(vg);
    (1u32..)
        .map(|n| format!("{base}{n}"))
        .find(|name| !taken(name))
        .unwrap_or_else(|| base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, vg_of};
    use super::*;
    use crate::uuid::IdSource;

    #[test]
    fn export_and_import_are_inverse() {
        let mut vg = vg_of(&mut Ids::default(), 2);
        vg.system_id = Some("here".into());
        let out = vg_export(&vg).unwrap().vg;
        assert!(out.status.exported && out.pvs.values().all(|p| p.exported));
        assert_eq!(out.system_id, None);
        assert!(vg_export(&out).is_err());
        assert_eq!(vg_import(&out, Some("here")).unwrap().vg, vg);
        assert!(vg_import(&vg, None).is_err());
    }

    #[test]
    fn rename_checks_the_name() {
        let vg = vg_of(&mut Ids::default(), 1);
        assert_eq!(vg_rename(&vg, "x").unwrap().vg.name, "x");
        assert!(vg_rename(&vg, "vg").is_err());
        assert!(vg_rename(&vg, "a:b").is_err());
    }

    #[test]
    fn a_clone_has_new_ids_and_the_old_lvs() {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 2);
        let pv = vg.pvs.keys().next().unwrap();
        linear(&mut vg, &mut ids, "a", pv, 0, 1);
        let new = CloneIdentity {
            name: "vg1".into(),
            id: ids.new_id(),
            pv_ids: vg.pvs.values().map(|p| (p.id, ids.new_id())).collect(),
            import: false,
            system_id: None,
        };
        let clone = vg_import_clone(&vg, &new).unwrap().vg;
        assert!(clone.pvs.values().all(|p| vg.find_pv(&p.id).is_none()));
        assert_eq!(clone.lvs, vg.lvs);
        let exported = vg_export(&vg).unwrap().vg;
        assert!(vg_import_clone(&exported, &new).is_err());
    }

    #[test]
    fn clone_names() {
        let taken = |n: &str| ["vg", "vg1", "b"].contains(&n);
        assert_eq!(clone_name("vg", None, taken), "vg2");
        assert_eq!(clone_name("vg", Some("c"), taken), "c");
        assert_eq!(clone_name("vg", Some("b"), taken), "b1");
    }
}
