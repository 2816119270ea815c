//! Whether a VG that was read may be built upon: metadata with good checksums can contradict
//! themselves, or the labels of the PVs, and whoever writes by them destroys data.

use ulvm_metadata::model::check::check;
use ulvm_metadata::model::{Pv, Vg};
use ulvm_metadata::units::Bytes;

use crate::error::{Error, Kind, Result};
use crate::inventory::{MdaState, VgRead};
use crate::session::Session;

/// Refuses a VG whose metadata on disk break the model's rules, or with a metadata area in use that
/// lies in the extents of its PV.
pub fn check_sound(session: &Session, read: &VgRead) -> Result<()> {
    let vg = &read.vg;
    check(vg).map_err(|broken| {
        Error::new(
            Kind::Corrupt,
            format!(
                "The metadata of VG {} on disk are inconsistent: {broken}.",
                vg.name
            ),
        )
        .and("See vgcfgrestore --list for older metadata.")
    })?;
    for (key, pv) in vg.pvs.iter() {
        let Some(found) = &read.pv(key).found else {
            continue;
        };
        for mda in found.mdas.iter().filter(|m| m.state != MdaState::Ignored) {
            let name = &session.device(found.device).name;
            check_clear(vg, pv, name, mda.start, mda.size)?;
        }
    }
    Ok(())
}

/// Refuses bytes of a device for metadata that extents of its PV lie in: each text would be written
/// over data sooner or later, as the ring goes round.
pub(crate) fn check_clear(vg: &Vg, pv: &Pv, device: &str, start: Bytes, len: Bytes) -> Result<()> {
    let extent = u128::from(vg.extent_size.0) * 512;
    let first = u128::from(pv.pe_start.0) * 512;
    let end = first + u128::from(pv.pe_count.0) * extent;
    let (from, to) = (u128::from(start.0), u128::from(start.0) + u128::from(len.0));
    if from >= end || to <= first {
        return Ok(());
    }
    Err(Error::new(
        Kind::Corrupt,
        format!(
            "The metadata area on {device} at bytes {from} to {to} lies in the extents of VG {} there, bytes {first} to {end}.",
            vg.name
        ),
    )
    .and("Make the PV again with its old UUID and a smaller area (pvcreate --metadatasize), then run vgcfgrestore."))
}
