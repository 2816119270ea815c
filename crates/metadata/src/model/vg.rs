//! Volume groups.

use super::arena::{Arena, LvKey, PvKey};
use super::lv::Lv;
use super::policy::AllocPolicy;
use super::pv::Pv;
use crate::tree::{Item, Section};
use crate::units::Sectors;
use crate::uuid::LvmUuid;

/// A volume group.
#[derive(Clone, PartialEq, Debug)]
pub struct Vg {
    /// Name.
    pub name: String,
    /// Identity.
    pub id: LvmUuid,
    /// Grows by one with every write.
    pub seqno: u32,
    /// `status` words.
    pub status: VgStatus,
    /// `flags` words.
    pub flags: VgFlags,
    /// Flags ulvm does not know, kept.
    pub unknown_flags: Vec<String>,
    /// In the order of the text.
    pub tags: Vec<String>,
    /// Owner host.
    pub system_id: Option<String>,
    /// lvmlockd's lock manager; absent or `none` = local.
    pub lock_type: Option<String>,
    /// lvmlockd's.
    pub lock_args: Option<String>,
    /// Sectors per extent.
    pub extent_size: Sectors,
    /// Most LVs; 0 = no limit.
    pub max_lv: u32,
    /// Most PVs; 0 = no limit.
    pub max_pv: u32,
    /// Never `Inherit`.
    pub alloc: AllocPolicy,
    /// Metadata profile.
    pub profile: Option<String>,
    /// Metadata areas to keep in use; 0 = all that are not ignored.
    pub metadata_copies: u32,
    /// PVs in list order.
    pub pvs: Arena<PvKey, Pv>,
    /// LVs in list order, hidden ones included.
    pub lvs: Arena<LvKey, Lv>,
    /// `historical_logical_volumes`, kept.
    pub historical: Option<Section>,
    /// Fields ulvm does not know, kept.
    pub extra: Vec<Item>,
    /// `status` words ulvm does not know, of the VG or anything in it, as `object: WORD`. A VG
    /// with any is shown and never changed.
    pub unknown_status: Vec<String>,
    /// A line of the text with a string that is not UTF-8, shown with replacement characters.
    /// Strings are kept as UTF-8 here, so such a VG is shown and never changed.
    pub not_utf8: Option<String>,
}

/// `status` words of a VG.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VgStatus {
    /// EXPORTED
    pub exported: bool,
    /// RESIZEABLE
    pub resizeable: bool,
    /// PVMOVE
    pub pvmove: bool,
    /// READ
    pub read: bool,
    /// WRITE (also set when WRITE_LOCKED stands among the flags)
    pub write: bool,
    /// CLUSTERED
    pub clustered: bool,
    /// SHARED
    pub shared: bool,
}

/// `flags` words of a VG.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VgFlags {
    /// WRITE_LOCKED was written in place of WRITE
    pub write_locked: bool,
    /// NOAUTOACTIVATE
    pub no_autoactivate: bool,
}

impl Vg {
    /// An empty VG: resizeable, readable, writable, normal allocation, seqno 0.
    pub fn new(name: impl Into<String>, id: LvmUuid, extent_size: Sectors) -> Self {
        Self {
            name: name.into(),
            id,
            seqno: 0,
            status: VgStatus {
                resizeable: true,
                read: true,
                write: true,
                ..VgStatus::default()
            },
            flags: VgFlags::default(),
            unknown_flags: Vec::new(),
            tags: Vec::new(),
            system_id: None,
            lock_type: None,
            lock_args: None,
            extent_size,
            max_lv: 0,
            max_pv: 0,
            alloc: AllocPolicy::Normal,
            profile: None,
            metadata_copies: 0,
            pvs: Arena::default(),
            lvs: Arena::default(),
            historical: None,
            extra: Vec::new(),
            unknown_status: Vec::new(),
            not_utf8: None,
        }
    }
    /// The LV of that name.
    pub fn find_lv(&self, name: &str) -> Option<LvKey> {
        self.lvs
            .iter()
            .find(|(_, lv)| lv.name == name)
            .map(|(k, _)| k)
    }
    /// The PV of that identity.
    pub fn find_pv(&self, id: &LvmUuid) -> Option<PvKey> {
        self.pvs.iter().find(|(_, pv)| pv.id == *id).map(|(k, _)| k)
    }
}
