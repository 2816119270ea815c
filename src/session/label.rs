//! Making, changing and removing PVs.

use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::LvmUuid;

use super::{NewPv, Session};
use crate::error::{Error, Kind, Result};
use crate::inventory::{DevKey, FoundPv};

fn unfinished<T>() -> Result<T> {
    Err(Error::new(Kind::Internal, "not there yet"))
}

#[allow(unused_variables)]
impl Session {
    /// Writes label, header and empty metadata areas. The device is an orphan afterwards.
    pub fn create_pv(&mut self, device: DevKey, pv: &NewPv) -> Result<FoundPv> {
        unfinished()
    }
    /// pvremove: destroys the label.
    pub fn remove_pv(&mut self, device: DevKey) -> Result<()> {
        unfinished()
    }
    /// pvresize: the size in the PV header.
    pub fn set_header_size(&mut self, device: DevKey, size: Bytes) -> Result<()> {
        unfinished()
    }
    /// pvchange --uuid and vgimportclone of orphans: the identity in the PV header.
    pub fn set_header_id(&mut self, device: DevKey, id: LvmUuid) -> Result<()> {
        unfinished()
    }
    /// pvchange --metadataignore: marks all areas of a PV; takes effect in the next commit of the
    /// VG, at once for an orphan.
    pub fn set_mda_ignored(&mut self, device: DevKey, ignored: bool) -> Result<()> {
        unfinished()
    }
    /// Looks for signatures of other things on a device, asks about each and wipes those the user
    /// agrees to (all with `-y`). An error of kind [`Kind::Declined`] if one is to stay.
    pub fn wipe_signatures(&mut self, device: DevKey) -> Result<()> {
        unfinished()
    }
}
