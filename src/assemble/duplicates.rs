//! Several devices with one PV identity: a text that is only on those which are not used does not
//! rule. It would describe the data of a clone, and be read with those of the original.

use std::collections::HashSet;

use ulvm_metadata::model::{Pv, Vg};
use ulvm_metadata::uuid::LvmUuid;

use super::{Assembler, Group};
use crate::in_use::Use;
use crate::inventory::{DevKey, Duplicate};

impl Assembler<'_> {
    /// Chooses again without the duplicates that are not used, if nobody else has the text that
    /// rules. They stay unused then, whatever the other text says of devices.
    pub(super) fn pass_over_duplicates(&mut self, group: &mut Group) {
        let Some((text, vg)) = &group.chosen else {
            return;
        };
        let mut unused: HashSet<DevKey> = HashSet::new();
        for pv in vg.pvs.values() {
            let Some(devices) = self.by_pv.get(&pv.id).filter(|d| d.len() > 1) else {
                continue;
            };
            if let Some((used, _)) = self.prefer(devices, pv) {
                unused.extend(devices.iter().filter(|d| **d != used));
            }
        }
        let mut holders = group.copies.iter().filter(|c| c.text == *text);
        let only_there = holders.all(|c| unused.contains(&c.device));
        let others = group.copies.iter().any(|c| !unused.contains(&c.device));
        if only_there && others {
            group.copies.retain(|c| !unused.contains(&c.device));
            self.passed_over.extend(unused);
            group.chosen = None;
            self.choose(group);
        }
    }

    /// Which of several devices with one identity is used, and why. `None` = there is none.
    pub(super) fn prefer(&self, devices: &[DevKey], pv: &Pv) -> Option<(DevKey, &'static str)> {
        let entry = |k: &DevKey| &self.scan.entries[k.0].device;
        let counts = |d: &&DevKey| !self.passed_over.contains(d);
        let counting: Vec<DevKey> = devices.iter().filter(counts).copied().collect();
        let devices = if counting.is_empty() {
            devices
        } else {
            &counting
        };
        let first = *devices.first()?;
        let only = |test: &dyn Fn(&DevKey) -> bool| {
            let mut hits = devices.iter().filter(|d| test(d));
            match (hits.next(), hits.next()) {
                (Some(one), None) => Some(*one),
                _ => None,
            }
        };
        let by_id = only(&|d| pv.device_id.is_some() && entry(d).device_id == pv.device_id);
        let uses: Vec<(DevKey, Use)> = match self.view.use_of {
            Some(use_of) if devices.len() > 1 => {
                devices.iter().map(|d| (*d, use_of(entry(d)))).collect()
            }
            _ => Vec::new(),
        };
        let used = |d: &DevKey, what: fn(&Use) -> bool| {
            uses.iter().any(|(device, u)| device == d && what(u))
        };
        let by_lv = only(&|d| used(d, |u| u.lv));
        let by_mount = only(&|d| used(d, |u| u.mounted));
        let by_size = only(&|d| Some(entry(d).sectors()) == pv.dev_size);
        let hint = pv.device_hint.as_deref();
        let by_name = only(&|d| {
            hint == Some(entry(d).name.as_str()) || entry(d).aliases.iter().any(|a| hint == Some(a))
        });
        let by_dm = only(&|d| entry(d).path.starts_with("/dev/mapper"));
        Some(if let Some(d) = by_id {
            (d, "device id matches previous")
        } else if let Some(d) = by_lv {
            (d, "device is used by LV")
        } else if let Some(d) = by_size {
            (d, "device size is correct")
        } else if let Some(d) = by_name {
            (d, "device name matches previous")
        } else if let Some(d) = by_mount {
            (d, "device has fs mounted")
        } else if let Some(d) = by_dm {
            (d, "of subsystem")
        } else {
            (first, "device was seen first")
        })
    }

    pub(super) fn duplicates(
        &mut self,
        vg: &Vg,
        id: LvmUuid,
        devices: &[DevKey],
        chosen: DevKey,
        reason: &str,
    ) {
        self.claimed.insert(chosen);
        let rest: Vec<DevKey> = devices.iter().copied().filter(|d| *d != chosen).collect();
        for other in &rest {
            self.claimed.insert(*other);
            self.warn(format!(
                "Not using device {} for PV {id}.",
                self.name(*other)
            ));
            if let Some(pv) = self.found(*other, None) {
                self.out.inventory.duplicates.push(Duplicate {
                    pv,
                    preferred: chosen,
                    vg: Some(vg.name.clone()),
                });
            }
        }
        if !rest.is_empty() {
            self.warn(format!(
                "PV {id} prefers device {} because {reason}.",
                self.name(chosen)
            ));
        }
    }
}
