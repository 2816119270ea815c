//! Physical volumes as a VG's metadata describe them.

use crate::tree::Item;
use crate::units::{Extents, Sectors};
use crate::uuid::LvmUuid;

/// A PV of a VG.
#[derive(Clone, PartialEq, Debug)]
pub struct Pv {
    /// Identity; the same 32 characters stand in the PV header on the device.
    pub id: LvmUuid,
    /// Path it was last seen at: a hint only.
    pub device_hint: Option<String>,
    /// Identity of the device by a devices file entry.
    pub device_id: Option<DeviceId>,
    /// New extents may be allocated on it (`pvchange -x`).
    pub allocatable: bool,
    /// Status EXPORTED.
    pub exported: bool,
    /// Flag MISSING: was missing when the VG was last written. (Whether the device is there now is
    /// known to the host's scan, not to the model.)
    pub missing: bool,
    /// Flags ulvm does not know, kept.
    pub unknown_flags: Vec<String>,
    /// In the order of the text.
    pub tags: Vec<String>,
    /// Device size when last written.
    pub dev_size: Option<Sectors>,
    /// First sector of extent 0.
    pub pe_start: Sectors,
    /// Number of extents.
    pub pe_count: Extents,
    /// Area for a boot loader.
    pub bootloader: Option<BootloaderArea>,
    /// Key in the text it was read from (`pv0`). Kept when writing only if the VG has segments
    /// that ulvm keeps word for word, since those may mention it; else PVs are renumbered.
    pub text_key: Option<String>,
    /// Fields ulvm does not know, kept.
    pub extra: Vec<Item>,
}

/// `device_id_type` and `device_id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceId {
    /// `sys_wwid`, `loop_file`, ...
    pub kind: String,
    /// The identity itself.
    pub name: String,
}

/// Bootloader area, in sectors from the start of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootloaderArea {
    /// First sector.
    pub start: Sectors,
    /// Length.
    pub size: Sectors,
}

impl Pv {
    /// A new allocatable PV without anything special.
    pub fn new(id: LvmUuid, pe_start: Sectors, pe_count: Extents) -> Self {
        Self {
            id,
            device_hint: None,
            device_id: None,
            allocatable: true,
            exported: false,
            missing: false,
            unknown_flags: Vec::new(),
            tags: Vec::new(),
            dev_size: None,
            pe_start,
            pe_count,
            bootloader: None,
            text_key: None,
            extra: Vec::new(),
        }
    }
}
