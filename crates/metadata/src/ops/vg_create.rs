//! New volume groups, and the limits that hold for new and old ones alike.

use super::vg_pvs::{NewMember, add_member};
use super::{Done, OpError};
use crate::model::{AllocPolicy, Vg};
use crate::name::{NameError, check_name};
use crate::units::Sectors;
use crate::uuid::LvmUuid;

/// What vgcreate is asked for. The PVs exist already.
#[derive(Clone, PartialEq, Debug)]
pub struct VgCreate {
    /// Name, checked by [`check_vg_name`].
    pub name: String,
    /// Identity.
    pub id: LvmUuid,
    /// `-s`
    pub extent_size: Sectors,
    /// `-l`, 0 = no limit.
    pub max_lv: u32,
    /// `-p`, 0 = no limit.
    pub max_pv: u32,
    /// `--alloc`
    pub alloc: AllocPolicy,
    /// `--addtag`, in the order given.
    pub tags: Vec<String>,
    /// The host's own or `--systemid`.
    pub system_id: Option<String>,
    /// `--vgmetadatacopies`; 0 = unmanaged.
    pub metadata_copies: u32,
    /// `--setautoactivation n`
    pub no_autoactivate: bool,
    /// `--metadataprofile`
    pub profile: Option<String>,
    /// The PVs in the order given.
    pub members: Vec<NewMember>,
}

/// Makes a VG.
pub fn vg_create(request: &VgCreate) -> Result<Done, OpError> {
    check_extent_size(request.extent_size)?;
    check_policy(request.alloc)?;
    let mut vg = Vg::new(request.name.clone(), request.id, request.extent_size);
    vg.max_lv = request.max_lv;
    vg.max_pv = request.max_pv;
    vg.alloc = request.alloc;
    vg.system_id.clone_from(&request.system_id);
    vg.metadata_copies = request.metadata_copies;
    vg.flags.no_autoactivate = request.no_autoactivate;
    vg.profile.clone_from(&request.profile);
    for tag in &request.tags {
        if !vg.tags.contains(tag) {
            vg.tags.push(tag.clone());
        }
    }
    for member in &request.members {
        add_member(&mut vg, member)?;
    }
    Done::checked(vg, Vec::new(), ())
}

/// Largest extent: what 32 bits of sectors hold.
pub const EXTENT_SIZE_MAX: Sectors = Sectors(u32::MAX as u64);
/// Extent sizes that are no power of two are multiples of this (128 KiB).
const ODD_EXTENT_STEP: u64 = 256;

/// Checks an extent size: a power of two, or a multiple of 128 KiB.
pub fn check_extent_size(size: Sectors) -> Result<(), OpError> {
    if size.is_zero() {
        return Err(OpError::refused("Physical extent size may not be zero"));
    }
    if size > EXTENT_SIZE_MAX {
        return Err(OpError::refused(
            "Physical extent size must be smaller than <2.00 TiB.",
        ));
    }
    if !size.0.is_power_of_two() && size.0 % ODD_EXTENT_STEP != 0 {
        return Err(OpError::refused(
            "Physical Extent size must be a multiple of 128.00 KiB when not a power of 2.",
        ));
    }
    Ok(())
}

/// A VG has a policy of its own.
pub fn check_policy(policy: AllocPolicy) -> Result<(), OpError> {
    match policy {
        AllocPolicy::Inherit => Err(OpError::refused(
            "Volume Group allocation policy cannot inherit from anything",
        )),
        _ => Ok(()),
    }
}

/// Checks the name of a new VG and says what is wrong in LVM2's words, without naming it.
pub fn check_vg_name(name: &str) -> Result<(), OpError> {
    check_name(name).map_err(|e| {
        OpError::usage(match e {
            NameError::Empty => "Name is zero length.".to_owned(),
            NameError::TooLong(_) => "Name length exceeds maximum limit of 127.".to_owned(),
            NameError::Hyphen => "Name cannot start with '-'.".to_owned(),
            NameError::Dots => {
                "Name starts with . or .. and has no following character(s).".to_owned()
            }
            NameError::Character(_) => {
                "Name contains invalid character, valid set includes: [a-zA-Z0-9.-_+].".to_owned()
            }
            NameError::Reserved(word) => format!("Name contains reserved word {word}."),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, member};
    use super::*;
    use crate::units::Extents;
    use crate::uuid::IdSource;

    fn request(ids: &mut Ids) -> VgCreate {
        VgCreate {
            name: "vg".into(),
            id: ids.new_id(),
            extent_size: Sectors(8192),
            max_lv: 0,
            max_pv: 0,
            alloc: AllocPolicy::Normal,
            tags: vec!["t".into(), "t".into(), "u".into()],
            system_id: None,
            metadata_copies: 0,
            no_autoactivate: false,
            profile: None,
            members: vec![member(ids, "a", 131_072), member(ids, "b", 131_072)],
        }
    }

    #[test]
    fn a_new_vg_has_its_pvs_in_order_and_no_tag_twice() {
        let done = vg_create(&request(&mut Ids::default())).unwrap();
        let hints: Vec<_> = done
            .vg
            .pvs
            .values()
            .map(|p| p.device_hint.clone())
            .collect();
        assert_eq!(hints, [Some("a".to_owned()), Some("b".to_owned())]);
        assert!(done.vg.pvs.values().all(|p| p.pe_count == Extents(15)));
        assert_eq!(done.vg.tags, ["t", "u"]);
        assert_eq!(done.vg.seqno, 0);
    }

    #[test]
    fn max_pv_is_kept() {
        let mut r = request(&mut Ids::default());
        r.max_pv = 1;
        let e = vg_create(&r).unwrap_err();
        assert_eq!(
            e.message,
            "No space for 'b' - volume group 'vg' holds max 1 physical volume(s).\n\
             PV b cannot be added to VG vg."
        );
    }

    #[test]
    fn extent_sizes() {
        for good in [1, 2, 128, 256, 768, 3 * 256, 8192, 1 << 31] {
            assert!(check_extent_size(Sectors(good)).is_ok(), "{good}");
        }
        for bad in [0, 3, 192, 200, 6, 1 << 32] {
            assert!(check_extent_size(Sectors(bad)).is_err(), "{bad}");
        }
    }
}
