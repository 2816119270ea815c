//! One row of a report: which objects it is about.

use ulvm::activate::live::Live;
use ulvm::daemon::proto::DeviceStatus;
use ulvm::inventory::{DevKey, Duplicate, FoundPv, Inventory, MdaCopy, MdaState};
use ulvm_metadata::model::{Lv, LvKey, Pv, PvKey, Segment, Vg};
use ulvm_metadata::units::{Extents, Sectors};

use super::kind::LvKind;
use super::view::VgView;

/// What all rows of a report share.
pub struct World<'a> {
    /// What was scanned.
    pub inventory: &'a Inventory,
    /// Hidden LVs in brackets.
    pub mark_hidden: bool,
    /// `unknown device` in place of `[unknown]`.
    pub two_word_unknown: bool,
    /// Directory of device nodes, for `lv_path`.
    pub dev_dir: String,
    /// `activation/monitoring`
    pub monitoring: bool,
    /// What the daemon serves.
    pub live: &'a Live,
}

/// The objects of a row. What is absent shows as LVM2 shows it for free space and orphans.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Shared by all rows.
    pub world: &'a World<'a>,
    /// The VG.
    pub vg: Option<&'a VgView<'a>>,
    /// An LV of it.
    pub lv: Option<LvKey>,
    /// Index of a segment of the LV.
    pub segment: Option<usize>,
    /// A PV.
    pub pv: Option<PvRow<'a>>,
    /// A run of extents of the PV: first one, how many.
    pub run: Option<(Extents, Extents)>,
    /// Matches the selection.
    pub selected: bool,
}

/// A PV, or a device that could become one.
#[derive(Clone, Copy)]
pub struct PvRow<'a> {
    /// Its VG and its key there. The row itself may be about no VG all the same: that of a PV
    /// without any extent is, where runs of extents are shown.
    pub member: Option<(&'a VgView<'a>, PvKey)>,
    /// Label and metadata areas, if the device is there.
    pub found: Option<&'a FoundPv>,
    /// The device, also if it is no PV.
    pub device: Option<DevKey>,
    /// A duplicate of a PV that is in use from another device; the name of its VG.
    pub duplicate: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// A row about nothing yet.
    pub fn new(world: &'a World<'a>) -> Self {
        Self {
            world,
            vg: None,
            lv: None,
            segment: None,
            pv: None,
            run: None,
            selected: true,
        }
    }
    /// The VG's metadata.
    pub fn vg(&self) -> Option<&'a Vg> {
        self.vg.map(VgView::vg)
    }
    /// VG view and key of the LV.
    pub fn view(&self) -> Option<(&'a VgView<'a>, LvKey)> {
        Some((self.vg?, self.lv?))
    }
    /// The LV.
    pub fn lv(&self) -> Option<&'a Lv> {
        let (view, key) = self.view()?;
        Some(view.lv(key))
    }
    /// Its device, if it is active.
    pub fn device(&self) -> Option<&'a DeviceStatus> {
        let (view, key) = self.view()?;
        self.world.live.find(view.vg(), key)
    }
    /// What sort of LV it is.
    pub fn kind(&self) -> Option<LvKind<'a, 'a>> {
        let (view, key) = self.view()?;
        Some(LvKind::new(view, key))
    }
    /// The segment.
    pub fn segment(&self) -> Option<&'a Segment> {
        self.lv()?.segments.get(self.segment?)
    }
    /// Sectors per extent.
    pub fn extent_size(&self) -> Sectors {
        self.vg().map_or(Sectors(0), |v| v.extent_size)
    }
    /// So many extents in sectors.
    pub fn sectors(&self, extents: Extents) -> u64 {
        extents.to_sectors(self.extent_size()).0
    }
    /// The PV in the VG's metadata.
    pub fn member(&self) -> Option<(&'a VgView<'a>, PvKey, &'a Pv)> {
        let (view, key) = self.pv?.member?;
        Some((view, key, view.vg().pvs.get(key)?))
    }
}

impl<'a> PvRow<'a> {
    /// A PV of a VG, whether its device was found or not.
    pub fn member(view: &'a VgView<'a>, key: PvKey) -> Self {
        let read = view.read.pv(key);
        Self {
            member: Some((view, key)),
            found: read.found.as_ref(),
            device: read.device(),
            duplicate: None,
        }
    }
    /// A PV that is in no VG.
    pub fn orphan(found: &'a FoundPv) -> Self {
        Self {
            member: None,
            found: Some(found),
            device: Some(found.device),
            duplicate: None,
        }
    }
    /// A PV that is not used because another device carries its identity.
    pub fn duplicate(duplicate: &'a Duplicate) -> Self {
        Self {
            duplicate: Some(duplicate.vg.as_deref().unwrap_or("")),
            ..Self::orphan(&duplicate.pv)
        }
    }
    /// A device that is no PV.
    pub fn no_pv(device: DevKey) -> Self {
        Self {
            member: None,
            found: None,
            device: Some(device),
            duplicate: None,
        }
    }
    /// Its metadata areas that can be used or are ignored on purpose; none for a duplicate.
    pub fn mdas(self) -> impl Iterator<Item = &'a MdaCopy> {
        let found = if self.duplicate.is_some() {
            None
        } else {
            self.found
        };
        found
            .into_iter()
            .flat_map(|f| &f.mdas)
            .filter(|m| !matches!(m.state, MdaState::Bad(_)))
    }
}
