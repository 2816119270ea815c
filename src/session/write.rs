//! Changing volume groups.

use std::path::{Path, PathBuf};

use ulvm_metadata::model::Vg;

use super::{Allow, Session};
use crate::error::{Error, Kind, Result};
use crate::inventory::VgRead;

fn unfinished<T>() -> Result<T> {
    Err(Error::new(Kind::Internal, "not there yet"))
}

#[allow(unused_variables)]
impl Session {
    /// A VG to change: locked exclusively, read again under the lock, refused if it is exported,
    /// foreign, has missing or duplicate PVs, unknown status words and the like.
    pub fn vg_for_write(&mut self, name: &str, allow: Allow) -> Result<VgRead> {
        unfinished()
    }
    /// Writes a changed VG: seqno + 1, archive of `old`, the staged writes on every metadata area,
    /// backup. PVs new in `new` must be orphans or PVs made in this session; PVs gone from it
    /// become orphans. A changed name is a rename. Returns the VG as it is now.
    pub fn commit(&mut self, old: &VgRead, new: Vg) -> Result<VgRead> {
        unfinished()
    }
    /// Writes a VG that did not exist.
    pub fn commit_new(&mut self, new: Vg) -> Result<VgRead> {
        unfinished()
    }
    /// vgsplit: `rest` is what remains of `old`; `split` is the new VG, or `into` enlarged.
    pub fn commit_split(
        &mut self,
        old: &VgRead,
        rest: Option<Vg>,
        split: Vg,
        into: Option<&VgRead>,
    ) -> Result<VgRead> {
        unfinished()
    }
    /// vgmerge: `merged` is `into` with everything of `from`, which vanishes.
    pub fn commit_merge(&mut self, into: &VgRead, from: &VgRead, merged: Vg) -> Result<VgRead> {
        unfinished()
    }
    /// vgremove: empties the metadata areas, clears the used flag; the PVs become orphans.
    pub fn remove_vg(&mut self, old: &VgRead) -> Result<()> {
        unfinished()
    }
    /// vgcfgrestore: writes `vg` with seqno + 1 to all its PVs, whatever they hold now.
    pub fn restore(&mut self, vg: Vg) -> Result<VgRead> {
        unfinished()
    }
    /// vgcfgbackup: writes the VG's text to a file (the default one if `None`).
    pub fn backup(&mut self, vg: &VgRead, file: Option<&Path>) -> Result<PathBuf> {
        unfinished()
    }
}
