//! Changing volume groups: archive, staged writes on every metadata area, backup.

use std::path::{Path, PathBuf};

use ulvm_metadata::convert::{Style, export, export_in};
use ulvm_metadata::model::{LvKey, PvKey, Vg};
use ulvm_metadata::ondisk::Area;
use ulvm_metadata::ops::pvmove::all_above;
use ulvm_metadata::ops::released::released;
use ulvm_metadata::ops::vg_settle::mark_split;
use ulvm_metadata::uuid::LvmUuid;

use super::{Allow, LockMode, Session, vg_lock};
use crate::backup::Store;
use crate::daemon::client::Client;
use crate::error::{Error, Kind, Result};
use crate::host;
use crate::in_use;
use crate::inventory::{DevKey, FoundPv, Unfinished, VgRead};
use crate::sound::check_sound;

/// Tries at reading a VG while somebody outside of our lock directory writes to it.
const TRIES_MAX: usize = 4;

impl Session {
    /// A VG to change: locked exclusively, read again under the lock, its devices locked, refused
    /// if it is exported, foreign, has missing or duplicate PVs, unknown status words and the like.
    pub fn vg_for_write(&mut self, name: &str, allow: Allow) -> Result<VgRead> {
        self.for_write(name, None, allow)
    }

    /// The same for one of several VGs with one name.
    pub fn vg_for_write_by_id(&mut self, name: &str, id: &LvmUuid, allow: Allow) -> Result<VgRead> {
        self.for_write(name, Some(id), allow)
    }

    fn for_write(&mut self, name: &str, id: Option<&LvmUuid>, allow: Allow) -> Result<VgRead> {
        self.check_may_write()?;
        self.lock_vg(name, LockMode::Exclusive)?;
        self.add_names(std::slice::from_ref(&name.to_owned()));
        self.scan_if_stale()?;
        for _ in 0..TRIES_MAX {
            let read = self.find_vg(name, id)?;
            self.check_readable(&read, allow)?;
            self.check_writable(&read, allow)?;
            check_sound(self, &read)?;
            self.leave_behind = allow.unwritable;
            if self.finish_split(&read.vg.id)? || self.finish_identities(&read.vg.id)? {
                continue;
            }
            if self.hold(&devices_of(&read))? {
                return Ok(read);
            }
        }
        Err(Error::new(
            Kind::Locked,
            format!("Volume group {name} is changed by others again and again."),
        ))
    }

    /// Finishes a split that was interrupted, if this VG took part in it; says whether it did. The
    /// VG that gave PVs is written before the mark is taken off the one that received them.
    fn finish_split(&mut self, id: &LvmUuid) -> Result<bool> {
        let unfinished = self.inventory.unfinished.iter().find(|u| {
            u.receiver.0 == *id || u.source.as_ref().is_some_and(|(source, _)| source == id)
        });
        let Some(Unfinished { receiver, source }) = unfinished.cloned() else {
            return Ok(false);
        };
        if self.settings.test {
            return Ok(false);
        }
        let parts: Vec<(LvmUuid, String)> = source.into_iter().chain([receiver]).collect();
        for (_, name) in &parts {
            self.lock_vg(name, LockMode::Exclusive)?;
            self.add_names(std::slice::from_ref(name));
        }
        self.scan()?;
        let store = self.store();
        for (id, name) in &parts {
            let read = self.find_vg(name, Some(id))?;
            if !self.hold(&devices_of(&read))? {
                return Ok(true);
            }
            self.archive(&read.vg)?;
            let mut vg = (*read.vg).clone();
            vg.seqno = next_seqno(vg.seqno)?;
            self.write_vg(vg, super::commit::Mode::Change(&read))?;
            self.finish(*id, &store)?;
        }
        Ok(true)
    }

    /// Refuses with `--readonly` and global/metadata_read_only.
    pub(super) fn check_may_write(&self) -> Result<()> {
        if self.settings.readonly {
            return Err(Error::refused("Operation prohibited with --readonly."));
        }
        if self.config().bool("global/metadata_read_only") {
            return Err(Error::refused(
                "Operation prohibited while global/metadata_read_only is set.",
            ));
        }
        Ok(())
    }

    /// Writes a changed VG: seqno + 1, archive of `old`, the staged writes on every metadata area,
    /// backup. PVs new in `new` must be orphans or PVs made in this session; PVs gone from it
    /// become orphans. A changed name is a rename. Returns the VG as it is now.
    pub fn commit(&mut self, old: &VgRead, new: Vg) -> Result<VgRead> {
        self.check_current(old)?;
        self.check_extents_free(old, Some(&new))?;
        let renamed = old.vg.name != new.name;
        if renamed {
            self.locks.take(&vg_lock(&new.name), LockMode::Exclusive)?;
        }
        self.archive(&old.vg)?;
        let gone: Vec<FoundPv> = self.released(old, &[&new]);
        let mut new = new;
        new.seqno = next_seqno(old.vg.seqno)?;
        let id = new.id;
        if renamed || new.pvs.len() != old.vg.pvs.len() || !gone.is_empty() {
            self.forget_hints();
        }
        self.write_vg(new, super::commit::Mode::Change(old))?;
        self.release(&old.vg.id, &gone)?;
        let store = self.store();
        if renamed && !self.settings.test {
            store.remove_backup(&old.vg.name);
        }
        self.finish(id, &store)
    }

    /// Refuses to go on from a VG that is not as this session knows it now.
    fn check_current(&self, old: &VgRead) -> Result<()> {
        let same = |v: &&VgRead| v.vg.id == old.vg.id;
        match self.inventory.vgs.iter().find(same) {
            Some(now) if now.vg.seqno != old.vg.seqno => Err(Error::new(
                Kind::Locked,
                format!(
                    "Volume group {} was changed since it was read: its metadata have seqno {} now, {} then. Nothing was written.",
                    old.vg.name, now.vg.seqno, old.vg.seqno
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses to take extents away from LVs that somebody has open.
    fn check_extents_free(&self, old: &VgRead, new: Option<&Vg>) -> Result<()> {
        // Usually nobody has anything open, and that is quickly seen.
        let open = |pv: &PvKey| {
            let device = old.pv(*pv).device().map(|d| self.device(d));
            device.is_some_and(|d| in_use::holder(d, in_use::whole(d)).is_some())
        };
        let pvs: Vec<PvKey> = old.vg.pvs.keys().filter(open).collect();
        if pvs.is_empty() {
            return Ok(());
        }
        let extent = old.vg.extent_size.0.saturating_mul(512);
        let served = self.served_here(&old.vg);
        for lost in released(&old.vg, new, &pvs) {
            // The daemon that this command speaks to has been told, or has refused.
            let told = |lv: LvKey| {
                let id = &old.vg.lvs[lv].id.compact();
                served.iter().any(|uuid| uuid.starts_with(id))
            };
            // What a mover or a leg of it loses, those that lie on it have or give up.
            let above = all_above(&old.vg, lost.lv);
            let moves = |key: &LvKey| old.vg.lvs[*key].status.pvmove;
            let mover = moves(&lost.lv) || above.iter().any(moves);
            if told(lost.lv) || mover && above.into_iter().any(told) {
                continue;
            }
            let Some(device) = old.pv(lost.pv).device().map(|d| self.device(d)) else {
                continue;
            };
            let first = old.vg.pvs[lost.pv].pe_start.0.saturating_mul(512);
            let range = in_use::Range {
                start: first.saturating_add(u64::from(lost.start.0).saturating_mul(extent)),
                len: u64::from(lost.len.0).saturating_mul(extent),
            };
            if let Some(holder) = in_use::holder(device, range) {
                let (vg, lv) = (&old.vg.name, &old.vg.lvs[lost.lv].name);
                let by = match holder.as_str() {
                    "" => String::new(),
                    holder => format!(" by {holder}"),
                };
                return Err(
                    Error::new(Kind::Locked, format!("Logical volume {vg}/{lv} in use."))
                        .and(format!("Its extents on {} are open{by}.", device.name)),
                );
            }
        }
        Ok(())
    }

    /// Identifiers of the VG's LVs that the daemon of this run directory serves, as device-mapper has
    /// them.
    fn served_here(&self, vg: &Vg) -> Vec<String> {
        let client = Client::connect(&self.settings.env.run_dir());
        let Ok(Some(mut client)) = client else {
            return Vec::new();
        };
        let devices = client
            .status(false)
            .map_or_else(|_| Vec::new(), |s| s.devices);
        let prefix = format!("LVM-{}", vg.id.compact());
        let ids = devices.iter().filter_map(|d| d.uuid.strip_prefix(&prefix));
        ids.map(str::to_owned).collect()
    }

    /// Writes a VG that did not exist.
    pub fn commit_new(&mut self, new: Vg) -> Result<VgRead> {
        self.locks.take(&vg_lock(&new.name), LockMode::Exclusive)?;
        self.forget_hints();
        let mut new = new;
        new.seqno = next_seqno(new.seqno)?;
        let id = new.id;
        self.write_vg(new, super::commit::Mode::New(None))?;
        let store = self.store();
        self.finish(id, &store)
    }

    /// vgsplit: `rest` is what remains of `old`; `split` is the new VG, or `into` enlarged. Written
    /// in LVM2's three steps: the target exported, the source without what moved, the target as it
    /// shall be. A crash between them is seen by a mark on the target: everybody reads the state after
    /// the split, and the next command that changes either VG finishes it.
    pub fn commit_split(
        &mut self,
        old: &VgRead,
        rest: Option<Vg>,
        split: Vg,
        into: Option<&VgRead>,
    ) -> Result<VgRead> {
        self.check_current(old)?;
        into.map_or(Ok(()), |into| self.check_current(into))?;
        self.check_extents_free(old, rest.as_ref())?;
        self.locks
            .take(&vg_lock(&split.name), LockMode::Exclusive)?;
        self.archive(&old.vg)?;
        if let Some(into) = into {
            self.archive(&into.vg)?;
        }
        self.forget_hints();
        let store = self.store();
        let mut split = split;
        split.seqno = next_seqno(into.map_or(0, |v| v.vg.seqno))?;
        // See `vg_settle` for what a crash from here on leaves, and how it is seen and finished.
        let mut exported = split.clone();
        mark_split(&mut exported, &old.vg.id);
        let mode = super::commit::Mode::New(Some(old.vg.id));
        self.write_vg(exported, mode)?;
        if let Some(mut rest) = rest {
            rest.seqno = next_seqno(old.vg.seqno)?;
            let id = rest.id;
            self.write_vg(rest, super::commit::Mode::Change(old))?;
            self.finish(id, &store)?;
        } else if !self.settings.test {
            store.remove_backup(&old.vg.name);
        }
        split.seqno = next_seqno(split.seqno)?;
        let id = split.id;
        self.write_vg(split, mode)?;
        self.finish(id, &store)
    }

    /// vgmerge: `merged` is `into` with everything of `from`, which vanishes.
    pub fn commit_merge(&mut self, into: &VgRead, from: &VgRead, merged: Vg) -> Result<VgRead> {
        self.check_current(into)?;
        self.check_current(from)?;
        self.archive(&into.vg)?;
        self.archive(&from.vg)?;
        self.forget_hints();
        let mut merged = merged;
        merged.seqno = next_seqno(into.vg.seqno)?;
        let id = merged.id;
        self.write_vg(merged, super::commit::Mode::Merge(into, from))?;
        let store = self.store();
        self.finish(id, &store)
    }

    /// vgremove: empties the metadata areas, clears the used flag; the PVs become orphans.
    pub fn remove_vg(&mut self, old: &VgRead) -> Result<()> {
        self.check_current(old)?;
        self.check_extents_free(old, None)?;
        self.archive(&old.vg)?;
        self.forget_hints();
        let pvs: Vec<FoundPv> = old.found().cloned().collect();
        self.release(&old.vg.id, &pvs)?;
        if !self.settings.test {
            self.store().remove_backup(&old.vg.name);
        }
        self.rebuild_quietly();
        Ok(())
    }

    /// vgcfgrestore: writes `vg` with seqno + 1 to all its PVs, whatever they hold now. All of them
    /// must be there as labelled devices.
    pub fn restore(&mut self, vg: Vg) -> Result<VgRead> {
        self.check_may_write()?;
        self.locks.take(&vg_lock(&vg.name), LockMode::Exclusive)?;
        // Again if somebody else wrote to a device before it was held.
        for _ in 0..TRIES_MAX {
            if !self.finish_identities(&vg.id)? {
                break;
            }
        }
        let places = self.places();
        let absent: Vec<_> = vg
            .pvs
            .values()
            .filter(|p| !places.contains_key(&p.id))
            .collect();
        if !absent.is_empty() {
            for pv in &absent {
                self.ui
                    .warn(format!("Couldn't find device with uuid {}.", pv.id));
            }
            return Err(Error::refused(format!(
                "Cannot restore Volume Group {} with {} PVs marked as missing.",
                vg.name,
                absent.len()
            )));
        }
        if let Some(now) = self.inventory.vgs.iter().find(|v| v.vg.id == vg.id) {
            self.check_extents_free(now, Some(&vg))?;
        }
        self.forget_hints();
        let mut vg = vg;
        vg.seqno = next_seqno(vg.seqno.max(self.seqno_left_behind(&vg)))?;
        let id = vg.id;
        self.write_vg(vg, super::commit::Mode::Overwrite)?;
        let store = self.store();
        self.finish(id, &store)
    }

    /// Seqno of the VG on devices, if PVs are in it now that `vg` does not have: what they hold must
    /// not rule over what is restored. (LVM2's vgcfgrestore is undone by them.)
    fn seqno_left_behind(&self, vg: &Vg) -> u32 {
        let now = self.inventory.vgs.iter().filter(|v| v.vg.id == vg.id);
        let left_behind = now.filter(|v| v.vg.pvs.values().any(|p| vg.find_pv(&p.id).is_none()));
        left_behind.map(|v| v.vg.seqno).max().unwrap_or(0)
    }

    /// vgck --updatemetadata: writes the VG as it is, with seqno + 1, to all areas, bad ones
    /// included, and wipes what outdated PVs still carry of it.
    pub fn repair(&mut self, old: &VgRead) -> Result<VgRead> {
        self.check_current(old)?;
        let mut new = Vg::clone(&old.vg);
        new.seqno = next_seqno(old.vg.seqno)?;
        let id = new.id;
        self.forget_hints();
        self.write_vg(new, super::commit::Mode::Repair(old))?;
        for pv in &old.outdated {
            let device = self.device(pv.device).name.clone();
            self.ui.warn(format!("wiping mda on outdated PV {device}"));
        }
        self.release(&old.vg.id, &old.outdated)?;
        let store = self.store();
        self.finish(id, &store)
    }

    /// vgcfgbackup: writes the VG's text to a file (the default one if `None`) with the command
    /// line as description; where it went.
    pub fn backup(&mut self, read: &VgRead, file: Option<&Path>) -> Result<PathBuf> {
        let header = host::header(self.settings.command_line.clone(), self.system_id());
        let text = export(&read.vg, &header, Style::Backup);
        let store = Store::from_config(self.config(), true);
        if let Some(file) = file {
            store.write_file(file, &text)?;
            return Ok(file.to_owned());
        }
        let dir = self.config().path("backup/backup_dir");
        let store = Store {
            backup_dir: Some(dir.clone()),
            ..store
        };
        store.backup(&read.vg.name, &text)?;
        Ok(dir.join(&read.vg.name))
    }

    /// PVs of `old` that none of the new VGs has.
    fn released(&self, old: &VgRead, new: &[&Vg]) -> Vec<FoundPv> {
        let kept = |found: &&FoundPv| {
            let key = self.new_ids.get(&found.device).copied();
            let id = key.unwrap_or(found.label.id);
            new.iter().any(|vg| vg.find_pv(&id).is_some())
        };
        let of = old.vg.pvs.keys().filter_map(|k| old.pv(k).found.as_ref());
        of.filter(|f| !kept(f)).cloned().collect()
    }

    fn store(&self) -> Store {
        Store::from_config(self.config(), !self.settings.no_autobackup)
    }

    /// The VG as it was, before anything is written.
    fn archive(&self, old: &Vg) -> Result<()> {
        let store = self.store();
        if self.settings.test || store.archive_dir.is_none() {
            return Ok(());
        }
        let description = format!(
            "Created *before* executing '{}'",
            self.settings.command_line
        );
        let header = host::header(description, self.system_id());
        let text = export_in(self.room.take(), old, &header, Style::Backup);
        let archived = store.archive(&old.name, &text);
        self.room.set(text);
        archived.map(|_| ())
    }

    /// Builds the inventory anew, writes the backup, returns the VG.
    fn finish(&mut self, id: LvmUuid, store: &Store) -> Result<VgRead> {
        self.rebuild_quietly();
        let find = |s: &Self| s.inventory.vgs.iter().find(|v| v.vg.id == id).cloned();
        let mut read = find(self);
        if read.is_none() {
            // The VG was given to another host just now.
            self.settings.foreign = true;
            self.rebuild_quietly();
            read = find(self);
        }
        let read = read.ok_or_else(|| {
            Error::new(Kind::Internal, "A VG just written is not in the inventory.")
        })?;
        if !self.settings.test && store.backup_dir.is_some() {
            let description = format!("Created *after* executing '{}'", self.settings.command_line);
            let header = host::header(description, self.system_id());
            let text = export_in(self.room.take(), &read.vg, &header, Style::Backup);
            // The VG is written; a backup that fails is not a reason to say that it is not.
            if let Err(e) = store.backup(&read.vg.name, &text) {
                self.ui.warn(format!(
                    "Backup of volume group {} failed: {e}",
                    read.vg.name
                ));
            }
        }
        Ok(read)
    }
}

/// The devices of a VG's PVs that are there.
pub(super) fn devices_of(read: &VgRead) -> Vec<DevKey> {
    let outdated = read.outdated.iter().map(|o| o.device);
    read.found().map(|f| f.device).chain(outdated).collect()
}

fn next_seqno(seqno: u32) -> Result<u32> {
    seqno
        .checked_add(1)
        .ok_or_else(|| Error::refused("The VG's sequence number cannot grow any more."))
}

/// The area of a copy.
pub(super) fn area(mda: &crate::inventory::MdaCopy) -> Area {
    Area {
        start: mda.start,
        size: mda.size,
    }
}
