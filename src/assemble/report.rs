//! What is said of a VG that was put together: whose it is, what is missing, damaged or alike.

use ulvm_metadata::model::Vg;

use super::{Assembler, Group, Newest, foreign_message, lock_manager};
use crate::inventory::{MdaState, VgRead};

impl Assembler<'_> {
    pub(super) fn is_foreign(&self, vg: &Vg) -> bool {
        match vg.system_id.as_deref() {
            None | Some("") => false,
            Some(id) => {
                self.view.system_id != Some(id) && !self.view.extra_ids.iter().any(|e| e == id)
            }
        }
    }

    /// Is the VG one that this command may not see? Says so.
    pub(super) fn hide(&mut self, read: &VgRead) -> bool {
        let vg = &read.vg;
        if read.foreign && !self.view.foreign {
            self.plain(foreign_message(vg, self.view.system_id));
            return true;
        }
        if let Some(lock) = lock_manager(vg)
            && !self.view.shared
        {
            self.plain(format!(
                "Cannot access VG {} with lock type {lock} that requires lvmlockd.",
                vg.name
            ));
            return true;
        }
        false
    }

    /// What is wrong with a VG as a whole.
    pub(super) fn report(&mut self, read: &VgRead, group: &Group, newest: &Newest) {
        self.report_copies(group, newest);
        let vg = &read.vg;
        for pv in &read.outdated {
            let old = pv.mdas.iter().find_map(|m| match m.state {
                MdaState::Stale { seqno, .. } => Some(seqno),
                MdaState::Current { .. } => Some(newest.seqno),
                _ => None,
            });
            self.warn(format!(
                "outdated PV {} seqno {} has been removed in current VG {} seqno {}.",
                self.name(pv.device),
                old.unwrap_or(0),
                vg.name,
                vg.seqno
            ));
            self.plain("See vgck --updatemetadata to clear outdated metadata.");
        }
        let absent = || vg.pvs.iter().filter(|(k, _)| read.pv(*k).found.is_none());
        for (_, pv) in absent() {
            self.warn(format!("Couldn't find device with uuid {}.", pv.id));
        }
        for (_, pv) in absent() {
            self.warn(format!(
                "VG {} is missing PV {} (last written to {}).",
                vg.name,
                pv.id,
                pv.device_hint.as_deref().unwrap_or("[unknown]")
            ));
        }
        // As the text says it: the flag of some has been taken off.
        let written = group.chosen.as_ref().map_or(vg, |(_, vg)| vg);
        for (key, pv) in written.pvs.iter().filter(|(_, pv)| pv.missing) {
            if let Some(device) = read.pv(key).device().map(|d| self.name(d)) {
                self.warn(format!(
                    "VG {} was previously updated while PV {device} was missing.",
                    vg.name
                ));
                self.warn(if read.pv(key).missing {
                    format!("VG {} was missing PV {device} {}.", vg.name, pv.id)
                } else {
                    format!(
                        "VG {} has unused reappeared PV {device} {}.",
                        vg.name, pv.id
                    )
                });
            }
        }
    }

    /// PVs on devices that have become too small for them.
    pub(super) fn report_sizes(&mut self, read: &VgRead) {
        let mut changed = false;
        for (key, pv) in read.vg.pvs.iter() {
            let device = read
                .pv(key)
                .device()
                .map(|d| &self.scan.entries[d.0].device);
            let (Some(device), Some(wanted)) = (device, pv.dev_size) else {
                continue;
            };
            if device.sectors() < wanted {
                changed = true;
                self.warn(format!(
                    "Device {} has size of {} sectors which is smaller than corresponding PV size of {} sectors. Was device resized?",
                    device.name,
                    device.sectors().0,
                    wanted.0
                ));
            }
        }
        if changed {
            self.warn(format!(
                "One or more devices used as PVs in VG {} have changed sizes.",
                read.vg.name
            ));
        }
    }

    pub(super) fn report_copies(&mut self, group: &Group, newest: &Newest) {
        let holder = group.copies.iter().find(|c| c.text == newest.text);
        let holder = holder.map_or("[unknown]", |c| self.name(c.device));
        let name = &group.name;
        let mut differ = false;
        for copy in &group.copies {
            let device = self.name(copy.device);
            if copy.seqno < newest.seqno {
                differ = true;
                self.warn(format!(
                    "ignoring metadata seqno {} on {device} for seqno {} on {holder} for VG {name}.",
                    copy.seqno, newest.seqno
                ));
            } else if copy.text != newest.text && copy.seqno == newest.seqno {
                differ = true;
                self.warn(format!(
                    "metadata on {device} differs from {holder} with the same seqno {} for VG {name}.",
                    copy.seqno
                ));
            }
        }
        if differ {
            self.warn(format!("Inconsistent metadata found for VG {name}."));
            self.plain("See vgck --updatemetadata to correct inconsistency.");
            self.out.inconsistent.push(name.clone());
        }
    }

    /// VGs that share a name.
    pub(super) fn same_names(&mut self) {
        let vgs = &self.out.inventory.vgs;
        let pairs: Vec<String> = vgs
            .windows(2)
            .filter(|w| w[0].vg.name == w[1].vg.name)
            .map(|w| {
                let (a, b) = (&w[0].vg, &w[1].vg);
                format!("VG name {} is used by VGs {} and {}.", a.name, a.id, b.id)
            })
            .collect();
        for text in pairs {
            self.warn(text);
            self.plain(
                "Fix duplicate VG names with vgrename uuid, a device filter, or system IDs.",
            );
        }
    }
}
