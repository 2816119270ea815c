//! The start of a new LV: signatures found there are wiped, after asking, and the first bytes
//! zeroed.
//!
//! This is done on the extents chosen, before the metadata name them: a crash in between leaves
//! free space that is blank, never an LV with somebody's old data at its start.

use std::collections::HashMap;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::{LvKey, PvKey, Vg};
use ulvm_metadata::notice::Notice;
use ulvm_metadata::units::Bytes;

use crate::error::{Error, Kind, Result};
use crate::inventory::VgRead;
use crate::lv_disk::LvDisk;
use crate::session::Session;
use crate::signatures::{Wiped, wipe_all};

/// Bytes zeroed at the start of a new LV.
const ZEROED: u64 = 4096;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Zero the first 4 KiB (`-Z y`).
    pub zero: bool,
    /// Wipe signatures (`-W y`).
    pub wipe: bool,
}

/// Prepares the start of the LV `lv` of the VG `new`, which is not committed yet. Durable when it
/// returns; an error of kind [`Kind::Declined`] if a signature is to stay.
pub fn prepare(session: &Session, read: &VgRead, new: &Vg, lv: LvKey, what: Start) -> Result<()> {
    let Some(entry) = new.lvs.get(lv) else {
        return Ok(());
    };
    if session.settings().test || !(what.zero || what.wipe) {
        return Ok(());
    }
    let name = format!("{}/{}", new.name, entry.name);
    let mut pvs: HashMap<PvKey, Box<dyn Disk>> = HashMap::new();
    for pv in LvDisk::pvs_of(entry) {
        let device = read
            .pv(pv)
            .device()
            .ok_or_else(|| Error::refused(format!("A PV of {name} is missing.")))?;
        pvs.insert(pv, Box::new(session.held(device)?));
    }
    let mut disk = LvDisk::new(new, entry, pvs);
    let failed = |e: std::io::Error| Error::io(format!("Wipe the start of {name}"), e);
    if what.wipe {
        let path = format!("/dev/{name}");
        let outcome = wipe_all(&mut disk, &[], false, |found| {
            let question = format!(
                "WARNING: {} signature detected on {path} at offset {}. Wipe it?",
                found.name, found.offset.0
            );
            let yes = session.ui().ask(&question);
            if yes {
                let text = format!("Wiping {} signature on {path}.", found.name);
                session.ui().say(&Notice::print(text));
            }
            yes
        });
        if let Wiped::Kept(kept) = outcome.map_err(failed)? {
            return Err(Error::new(
                Kind::Declined,
                format!(
                    "Aborted wiping of {}.\n1 existing signature left on the device.\nFailed to wipe signatures on logical volume {name}.\nAborting. Failed to wipe start of new LV.",
                    kept.name
                ),
            ));
        }
    }
    if what.zero {
        let len = usize::try_from(disk.size().0.min(ZEROED)).unwrap_or(0);
        disk.write_at(Bytes(0), &vec![0; len]).map_err(failed)?;
    }
    disk.flush().map_err(failed)
}
