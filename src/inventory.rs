//! What a scan found: devices, labels, volume groups, and what is wrong with them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use ulvm_metadata::model::arena::Key;
use ulvm_metadata::model::{PvKey, Vg};
use ulvm_metadata::ondisk::{Label, MdaHeader};
use ulvm_metadata::units::{Bytes, Sectors};
use ulvm_metadata::uuid::LvmUuid;

use crate::texts::TextId;

/// A device of a session. Stays valid while the session lives, whatever is scanned again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DevKey(pub(crate) usize);

/// What sort of device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// A block device with its number.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A regular file.
    File,
}

/// A device: a block device, an image file, or a partition of either that the kernel does not show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// The preferred name; for files as the user gave it, for partitions of images `PATH#N`.
    pub name: String,
    /// Other names of the same device.
    pub aliases: Vec<String>,
    /// What to open.
    pub path: std::path::PathBuf,
    /// Block device or file.
    pub kind: DeviceKind,
    /// Byte at which the PV space starts within `path`: 0 but for partitions of images.
    pub start: Bytes,
    /// Size in bytes (of the partition, if it is one).
    pub size: Bytes,
    /// 512 or 4096.
    pub logical_block_size: u32,
    /// Partition number within `path`, for partitions that the kernel does not show.
    pub partition: Option<u32>,
    /// Identity, where a devices file is in use (`pvs -o deviceid,deviceidtype`). For others see
    /// [`crate::discover::identify`].
    pub device_id: Option<ulvm_metadata::model::DeviceId>,
}

/// A metadata area of a PV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MdaCopy {
    /// Start in bytes from the start of the device.
    pub start: Bytes,
    /// Size in bytes, header included.
    pub size: Bytes,
    /// What is in it.
    pub state: MdaState,
    /// Its header; `None` if that cannot be trusted.
    pub header: Option<MdaHeader>,
}

/// What a metadata area holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MdaState {
    /// Nothing.
    Empty,
    /// Not in use for its VG (`pvchange --metadataignore y`).
    Ignored,
    /// A text that is the VG's current one.
    Current {
        /// Size of the text in bytes, NUL included.
        size: u64,
    },
    /// A text with an older seqno; mended by the next write.
    Stale {
        /// Its seqno.
        seqno: u32,
        /// Its size in bytes, NUL included.
        size: u64,
    },
    /// Header or text is unusable; the words say what. Set aside until `vgck --updatemetadata`.
    Bad(String),
}

impl MdaCopy {
    /// In use: neither ignored nor bad.
    pub fn in_use(&self) -> bool {
        matches!(
            self.state,
            MdaState::Empty | MdaState::Current { .. } | MdaState::Stale { .. }
        )
    }
    /// Bytes one text may have at most, NUL included.
    pub fn limit(&self) -> u64 {
        (self.size.0.saturating_sub(512) / 2).saturating_sub(512)
    }
    /// `pv_mda_free`: what the text may still grow, in bytes, whole sectors.
    pub fn free(&self) -> u64 {
        let used = match self.state {
            MdaState::Empty => 0,
            MdaState::Current { size } | MdaState::Stale { size, .. } => size,
            MdaState::Ignored | MdaState::Bad(_) => return 0,
        };
        self.limit().saturating_sub(used) & !511
    }
}

/// A PV's label and header as found on a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvLabel {
    /// Sector (0..=3) the label stands in.
    pub sector: u64,
    /// Identity.
    pub id: LvmUuid,
    /// Device size at pvcreate or pvresize.
    pub device_size: Bytes,
    /// Start of the data area.
    pub data_start: Bytes,
    /// Bootloader area: start and size.
    pub bootloader: Option<(Bytes, Bytes)>,
    /// Header extension version; 0 = none.
    pub ext_version: u32,
    /// The header says that the PV belongs to a VG.
    pub used: bool,
}

/// A labelled device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundPv {
    /// Where.
    pub device: DevKey,
    /// Its label.
    pub label: PvLabel,
    /// Its metadata areas, first to last.
    pub mdas: Vec<MdaCopy>,
    /// The label as it stands on the device.
    pub(crate) raw: Label,
}

/// A PV of a VG as it was found, or not found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvRead {
    /// The device and what is on it; `None` = missing.
    pub found: Option<FoundPv>,
    /// Missing, or marked MISSING in the metadata: not to be used.
    pub missing: bool,
    /// Other devices with the same identity, not used.
    pub duplicates: Vec<DevKey>,
}

impl PvRead {
    /// The device.
    pub fn device(&self) -> Option<DevKey> {
        self.found.as_ref().map(|f| f.device)
    }
}

/// A volume group as it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct VgRead {
    /// The metadata, checked for form; cheap to clone.
    pub vg: Rc<Vg>,
    /// The text that rules, as it is on devices.
    pub(crate) text: TextId,
    /// By slot of the [`PvKey`].
    pub(crate) pvs: Vec<PvRead>,
    /// Size of the metadata text in bytes, NUL included.
    pub text_size: u64,
    /// The VG belongs to another host (only shown with `--foreign`).
    pub foreign: bool,
    /// Devices that were removed from the VG while they were away: they still carry an older
    /// metadata of it.
    pub outdated: Vec<FoundPv>,
}

impl VgRead {
    /// The same PVs with other metadata, which are not on any device yet.
    pub fn with(&self, vg: Vg) -> Self {
        Self {
            vg: Rc::new(vg),
            ..self.clone()
        }
    }
    /// How a PV was found.
    pub fn pv(&self, key: PvKey) -> &PvRead {
        static ABSENT: PvRead = PvRead {
            found: None,
            missing: true,
            duplicates: Vec::new(),
        };
        self.pvs.get(key.slot() as usize).unwrap_or(&ABSENT)
    }
    /// PVs that are missing or marked so.
    pub fn missing(&self) -> Vec<PvKey> {
        self.vg.pvs.keys().filter(|k| self.pv(*k).missing).collect()
    }
    /// Some PV is missing.
    pub fn partial(&self) -> bool {
        self.vg.pvs.keys().any(|k| self.pv(k).missing)
    }
    /// Some PV has duplicates.
    pub fn has_duplicates(&self) -> bool {
        self.vg
            .pvs
            .keys()
            .any(|k| !self.pv(k).duplicates.is_empty())
    }
    /// The PVs that were found, in list order.
    pub fn found(&self) -> impl Iterator<Item = &FoundPv> {
        self.pvs.iter().filter_map(|p| p.found.as_ref())
    }
    /// All metadata areas of the VG's PVs.
    pub fn mdas(&self) -> impl Iterator<Item = &MdaCopy> {
        self.pvs
            .iter()
            .filter_map(|p| p.found.as_ref())
            .flat_map(|f| &f.mdas)
    }
}

/// A device that carries an identity which another device was preferred for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Duplicate {
    /// The one not used.
    pub pv: FoundPv,
    /// The one used.
    pub preferred: DevKey,
    /// Name of the VG the identity belongs to.
    pub vg: Option<String>,
}

/// A vgsplit that a crash interrupted: on disk the receiving VG carries a mark still.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfinished {
    /// Identity and name of the VG that received PVs.
    pub receiver: (LvmUuid, String),
    /// Identity and name of the VG they came from, if its text on disk lists them still.
    pub source: Option<(LvmUuid, String)>,
}

/// What an interrupted `pvchange -u` or `vgimportclone` left to be put right before the VG is
/// changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leftover {
    /// The label has the identity that was to come; the VG rules by this one.
    Label(DevKey, LvmUuid),
    /// The area with this number knows the text of the VG, and still has another one committed.
    Area(DevKey, usize),
}

/// Everything a scan found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Inventory {
    /// Devices looked at, in the order they were found; indexed by [`DevKey`].
    pub(crate) devices: Vec<Device>,
    /// Those of an earlier scan that the last one did not find any more.
    pub(crate) gone: HashSet<DevKey>,
    /// VGs in LVM2's order, the one whose first device comes last first; without those hidden from this command (foreign, lock types).
    pub vgs: Vec<VgRead>,
    /// Labelled devices in no VG. With [`PvLabel::used`] set they belong to a VG whose metadata
    /// cannot be read (shown as VG `[unknown]`).
    pub orphans: Vec<FoundPv>,
    /// PVs of VGs that this command may not see.
    pub hidden: Vec<FoundPv>,
    /// Names of devices that must not be used, and why (`device is partitioned`).
    pub excluded: Vec<(String, String)>,
    /// Splits of VGs that were interrupted; what is read is the state after them.
    pub unfinished: Vec<Unfinished>,
    /// New identities that were interrupted, by the VG that they are in the way of.
    pub(crate) leftovers: Vec<(LvmUuid, Leftover)>,
    /// Duplicates that are not used.
    pub duplicates: Vec<Duplicate>,
    /// Names of all VGs that any text found is of, those that this command may not see included.
    pub(crate) names: HashSet<String>,
    /// Name of the VG a device belongs to in any way.
    pub(crate) owners: HashMap<DevKey, String>,
    /// The VGs that a device is a PV of: one, or several if nothing tells which.
    pub(crate) holders: HashMap<DevKey, Vec<LvmUuid>>,
    /// Devices with texts of these VGs, which list them.
    pub(crate) claims: HashSet<(DevKey, LvmUuid)>,
}

impl Inventory {
    /// Did the VG take part in a split that was interrupted? What was read of it is then not what
    /// its text on disk says.
    pub fn is_unfinished(&self, id: &LvmUuid) -> bool {
        self.unfinished.iter().any(|u| {
            u.receiver.0 == *id || u.source.as_ref().is_some_and(|(source, _)| source == id)
        })
    }
    /// Do others have a device, and none of these VGs?
    pub(crate) fn is_held_by_others(&self, device: DevKey, vgs: &[LvmUuid]) -> bool {
        let holders = self.holders.get(&device);
        holders.is_some_and(|h| !h.iter().any(|id| vgs.contains(id)))
    }
    /// A device.
    pub fn device(&self, key: DevKey) -> &Device {
        &self.devices[key.0]
    }
    /// The devices that are there, with their keys.
    pub fn devices(&self) -> impl Iterator<Item = (DevKey, &Device)> {
        let all = self.devices.iter().enumerate();
        all.map(|(i, d)| (DevKey(i), d))
            .filter(|(key, _)| !self.gone.contains(key))
    }
    /// The device of a name or alias.
    pub fn find_device(&self, name: &str) -> Option<DevKey> {
        self.devices()
            .find(|(_, d)| d.name == name)
            .or_else(|| {
                self.devices()
                    .find(|(_, d)| d.aliases.iter().any(|a| a == name))
            })
            .map(|(k, _)| k)
    }
    /// Has any VG on the devices this name, whether this command may see it or not?
    pub fn name_taken(&self, name: &str) -> bool {
        self.names.contains(name)
    }
    /// The VG of a name; `None` also when the name is ambiguous.
    pub fn find_vg(&self, name: &str) -> Option<&VgRead> {
        let mut of_name = self.vgs.iter().filter(|v| v.vg.name == name);
        match (of_name.next(), of_name.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }
    /// Name of the VG that a device belongs to in any way: as a PV, as a PV removed while it was
    /// away, as a duplicate, or in a VG that this command may not see. It must not be made a PV of
    /// something else.
    pub fn owner(&self, device: DevKey) -> Option<&str> {
        self.owners.get(&device).map(String::as_str)
    }
    /// The VG and PV on a device.
    pub fn pv_on(&self, device: DevKey) -> Option<(&VgRead, PvKey)> {
        self.vgs.iter().find_map(|v| {
            let key =
                v.vg.pvs
                    .keys()
                    .find(|k| v.pv(*k).device() == Some(device))?;
            Some((v, key))
        })
    }
    /// Does another device carry the same identity as this one, whichever of the two is used?
    pub fn has_duplicates(&self, device: DevKey) -> bool {
        let of_device = |d: &Duplicate| d.pv.device == device || d.preferred == device;
        self.duplicates.iter().any(of_device)
    }
    /// The orphan on a device.
    pub fn orphan_on(&self, device: DevKey) -> Option<&FoundPv> {
        self.orphans.iter().find(|o| o.device == device)
    }
}

/// Size of a device in whole sectors.
impl Device {
    /// Size in whole sectors.
    pub fn sectors(&self) -> Sectors {
        self.size.sectors_floor()
    }
}
