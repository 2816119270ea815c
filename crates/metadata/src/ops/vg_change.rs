//! vgchange: one property at a time.

use super::lv_tree::visible_count;
use super::tags::TagEdit;
use super::vg_create::check_policy;
use super::vg_extent_size::set_extent_size;
use super::{Done, OpError};
use crate::model::{AllocPolicy, Vg};
use crate::notice::Notice;
use crate::units::Sectors;
use crate::uuid::LvmUuid;

/// One change of a VG.
#[derive(Clone, PartialEq, Debug)]
pub enum VgChange {
    /// `-l`: most LVs, 0 = no limit.
    MaxLv(u32),
    /// `-p`: most PVs, 0 = no limit.
    MaxPv(u32),
    /// `-x`: PVs may come and go.
    Resizeable(bool),
    /// `--deltag`, `--addtag`
    Tags(TagEdit),
    /// `-s`
    ExtentSize {
        /// New size.
        size: Sectors,
        /// The size as a user reads it, for messages.
        shown: String,
    },
    /// `-u`: a new identity.
    Id(LvmUuid),
    /// `--alloc`
    Alloc(AllocPolicy),
    /// `--vgmetadatacopies`; 0 = unmanaged.
    MetadataCopies(u32),
    /// `--metadataprofile`, or `--detachprofile`.
    Profile(Option<String>),
    /// `--setautoactivation`
    Autoactivation(bool),
    /// `--systemid`; none = any host.
    SystemId(Option<String>),
}

/// Applies changes in the order given; the first that is refused refuses all.
pub fn vg_change(old: &Vg, changes: &[VgChange]) -> Result<Done, OpError> {
    let mut vg = old.clone();
    let mut notices = Vec::new();
    for change in changes {
        if let Err(e) = apply(&mut vg, change, &mut notices) {
            return Err(e.after(notices));
        }
    }
    Done::checked(vg, notices, ())
}

fn apply(vg: &mut Vg, change: &VgChange, notices: &mut Vec<Notice>) -> Result<(), OpError> {
    match change {
        VgChange::MaxLv(n) => max_lv(vg, *n),
        VgChange::MaxPv(n) => max_pv(vg, *n),
        VgChange::Resizeable(yes) => resizeable(vg, *yes),
        VgChange::Tags(edit) => edit.apply(&mut vg.tags),
        VgChange::ExtentSize { size, shown } => {
            if *size == vg.extent_size {
                notices.push(Notice::print(format!(
                    "Physical extent size of VG {} is already {shown}.",
                    vg.name
                )));
                return Ok(());
            }
            set_extent_size(vg, *size)
        }
        VgChange::Id(id) => {
            vg.id = *id;
            Ok(())
        }
        VgChange::Alloc(policy) => alloc(vg, *policy),
        VgChange::MetadataCopies(n) => {
            if *n == vg.metadata_copies {
                let shown = match n {
                    0 => "unmanaged".to_owned(),
                    n => n.to_string(),
                };
                notices.push(Notice::print(format!(
                    "Number of metadata copies for VG {} is already {shown}.",
                    vg.name
                )));
            }
            vg.metadata_copies = *n;
            Ok(())
        }
        VgChange::Profile(profile) => {
            vg.profile.clone_from(profile);
            Ok(())
        }
        VgChange::Autoactivation(on) => autoactivation(vg, *on),
        VgChange::SystemId(id) => system_id(vg, id.as_deref()),
    }
}

fn max_lv(vg: &mut Vg, n: u32) -> Result<(), OpError> {
    if !vg.status.resizeable {
        return Err(OpError::refused(format!(
            "Volume group \"{}\" must be resizeable to change MaxLogicalVolume",
            vg.name
        )));
    }
    let have = visible_count(vg);
    if n != 0 && (n as usize) < have {
        return Err(OpError::limit(format!(
            "MaxLogicalVolume is less than the current number {have} of LVs for {}",
            vg.name
        )));
    }
    vg.max_lv = n;
    Ok(())
}

fn max_pv(vg: &mut Vg, n: u32) -> Result<(), OpError> {
    if !vg.status.resizeable {
        return Err(OpError::refused(format!(
            "Volume group \"{}\" must be resizeable to change MaxPhysicalVolumes",
            vg.name
        )));
    }
    if n != 0 && (n as usize) < vg.pvs.len() {
        return Err(OpError::limit(format!(
            "MaxPhysicalVolumes is less than the current number {} of PVs for \"{}\"",
            vg.pvs.len(),
            vg.name
        )));
    }
    vg.max_pv = n;
    Ok(())
}

fn resizeable(vg: &mut Vg, yes: bool) -> Result<(), OpError> {
    if vg.status.resizeable == yes {
        let not = if yes { "" } else { "not " };
        return Err(OpError::refused(format!(
            "Volume group \"{}\" is already {not}resizeable",
            vg.name
        )));
    }
    vg.status.resizeable = yes;
    Ok(())
}

fn alloc(vg: &mut Vg, policy: AllocPolicy) -> Result<(), OpError> {
    check_policy(policy)?;
    if vg.alloc == policy {
        return Err(OpError::refused(format!(
            "Volume group allocation policy is already {}",
            policy.word()
        )));
    }
    vg.alloc = policy;
    Ok(())
}

fn autoactivation(vg: &mut Vg, on: bool) -> Result<(), OpError> {
    if vg.flags.no_autoactivate != on {
        return Err(OpError::refused(format!(
            "Volume group autoactivation is already {}.",
            if on { "yes" } else { "no" }
        )));
    }
    vg.flags.no_autoactivate = !on;
    Ok(())
}

fn system_id(vg: &mut Vg, id: Option<&str>) -> Result<(), OpError> {
    if vg.system_id.as_deref().unwrap_or("") == id.unwrap_or("") {
        return Err(OpError::refused(format!(
            "Volume Group system ID is already \"{}\".",
            id.unwrap_or("")
        )));
    }
    vg.system_id = id.filter(|i| !i.is_empty()).map(str::to_owned);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, vg_of};
    use super::*;

    fn vg() -> Vg {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 2);
        let pv = vg.pvs.keys().next().unwrap();
        linear(&mut vg, &mut ids, "a", pv, 0, 2);
        linear(&mut vg, &mut ids, "b", pv, 2, 3);
        vg
    }

    fn refused(change: VgChange) -> String {
        vg_change(&vg(), &[change]).unwrap_err().message
    }

    #[test]
    fn limits_never_go_below_what_is_there() {
        assert!(refused(VgChange::MaxLv(1)).contains("current number 2 of LVs"));
        assert!(refused(VgChange::MaxPv(1)).contains("current number 2 of PVs"));
        assert_eq!(
            vg_change(&vg(), &[VgChange::MaxLv(2)]).unwrap().vg.max_lv,
            2
        );
        assert_eq!(
            vg_change(&vg(), &[VgChange::MaxPv(0)]).unwrap().vg.max_pv,
            0
        );
    }

    #[test]
    fn no_change_is_refused_where_lvm2_refuses_it() {
        assert!(refused(VgChange::Resizeable(true)).contains("already resizeable"));
        assert!(refused(VgChange::Alloc(AllocPolicy::Normal)).contains("already normal"));
        assert!(refused(VgChange::Autoactivation(true)).contains("already yes"));
        assert!(refused(VgChange::SystemId(None)).contains("already \"\""));
        let done = vg_change(&vg(), &[VgChange::MetadataCopies(0)]).unwrap();
        assert_eq!(
            done.notices[0].text,
            "Number of metadata copies for VG vg is already unmanaged."
        );
    }

    #[test]
    fn one_refusal_undoes_all() {
        let both = [VgChange::MaxLv(9), VgChange::Alloc(AllocPolicy::Inherit)];
        assert!(vg_change(&vg(), &both).is_err());
        let fixed = vg_change(&vg(), &[VgChange::Resizeable(false)]).unwrap().vg;
        assert!(vg_change(&fixed, &[VgChange::MaxLv(9)]).is_err());
    }
}
