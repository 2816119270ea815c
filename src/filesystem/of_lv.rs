//! The file system of a logical volume, active or not.

use std::collections::HashMap;
use std::path::Path;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::{LvKey, PvKey};

use super::superblock::{Filesystem, identify};
use crate::disk::{Access, FileDisk};
use crate::error::{Error, Result};
use crate::inventory::VgRead;
use crate::lv_disk::LvDisk;
use crate::session::Session;

/// What is on an LV: read through its node if it is active, else from its extents. None, too, if
/// that is not possible: PVs are missing, or its segments are not of a kind that can be mapped here.
pub fn of_lv(
    session: &Session,
    read: &VgRead,
    lv: LvKey,
    node: Option<&Path>,
) -> Result<Option<Filesystem>> {
    let entry = &read.vg.lvs[lv];
    let failed = |e| {
        Error::io(
            format!("look for a file system on {}/{}", read.vg.name, entry.name),
            e,
        )
    };
    if let Some(node) = node {
        let disk = FileDisk::open(node, Access::Read).map_err(failed)?;
        return identify(&disk).map_err(failed);
    }
    let mut pvs: HashMap<PvKey, Box<dyn Disk>> = HashMap::new();
    for pv in LvDisk::pvs_of(&read.vg, entry) {
        let Some(device) = read.pv(pv).device() else {
            return Ok(None);
        };
        pvs.insert(pv, Box::new(session.held(device)?));
    }
    match identify(&LvDisk::new(&read.vg, entry, pvs)) {
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => Ok(None),
        found => found.map_err(failed),
    }
}
