//! From what the devices carry to volume groups: which copy of the metadata rules, which device is
//! which PV, what does not fit. Pure; the warnings are those of LVM2.
//!
//! The newest readable text of a VG (by identity, then seqno) rules. Of several devices with one PV
//! identity one is used. What is set aside is kept in the [`Inventory`] with the reason.

mod claims;
mod duplicates;
mod identity;
mod look;
mod report;
mod settle;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use ulvm_metadata::model::arena::Key;
use ulvm_metadata::model::usage::Usage;
use ulvm_metadata::model::{Pv, PvKey, Vg};
use ulvm_metadata::notice::{Level, Notice};
use ulvm_metadata::ondisk::Label;
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::LvmUuid;

use crate::in_use::Use;
use crate::inventory::{
    DevKey, Device, Duplicate, FoundPv, Inventory, MdaCopy, MdaState, PvLabel, PvRead, VgRead,
};
use crate::scan::{Content, Found, Scan, ScannedMda};
use crate::texts::TextId;

/// Whose eyes the inventory is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View<'v> {
    /// This host's system id.
    pub system_id: Option<&'v str>,
    /// Further ids that count as this host's.
    pub extra_ids: &'v [String],
    /// VGs of other hosts are shown.
    pub foreign: bool,
    /// VGs with a lock manager are shown.
    pub shared: bool,
    /// Only these VGs are parsed; `None` = all.
    pub names: Option<&'v [String]>,
    /// What a device is used for; asked only about devices that have one identity in common.
    pub use_of: Option<fn(&Device) -> Use>,
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    /// The inventory.
    pub inventory: Inventory,
    /// What the user must know.
    pub notices: Vec<Notice>,
    /// Names of VGs whose copies differ: a writer may be at work.
    pub inconsistent: Vec<String>,
}

/// One area that holds a text of a VG.
#[derive(Clone, Copy, Debug)]
struct Copy {
    device: DevKey,
    text: TextId,
    seqno: u32,
}

/// All copies of one VG.
#[derive(Debug, Default)]
struct Group {
    name: String,
    copies: Vec<Copy>,
    chosen: Option<(TextId, Rc<Vg>)>,
    in_scope: bool,
}

/// Puts it together.
pub(crate) fn assemble(scan: &Scan, view: &View<'_>) -> Assembled {
    let mut a = Assembler {
        scan,
        view,
        out: Assembled::default(),
        by_pv: HashMap::new(),
        claimed: HashSet::new(),
        passed_over: HashSet::new(),
        pending: identity::Pending::of(scan),
    };
    a.out.inventory.devices = scan.entries.iter().map(|e| e.device.clone()).collect();
    a.look_at_devices();
    let mut groups = a.groups();
    a.settle(&mut groups);
    let names = groups.values().map(|group| group.name.clone());
    a.out.inventory.names = names.collect();
    for (id, group) in &groups {
        a.vg(*id, group, &groups);
    }
    a.orphans(&groups);
    a.report_leftovers();
    let vgs = &mut a.out.inventory.vgs;
    vgs.sort_by(|a, b| (&a.vg.name, a.vg.id).cmp(&(&b.vg.name, b.vg.id)));
    a.same_names();
    // LVM2 goes through VGs in this order, the one found last first; reports sort by themselves.
    let vgs = &mut a.out.inventory.vgs;
    vgs.sort_by_key(|read| std::cmp::Reverse(read.found().map(|pv| pv.device).min()));
    a.out
}

struct Assembler<'a> {
    scan: &'a Scan,
    view: &'a View<'a>,
    out: Assembled,
    by_pv: HashMap<LvmUuid, Vec<DevKey>>,
    claimed: HashSet<DevKey>,
    /// Duplicates whose texts do not count: see [`duplicates`].
    passed_over: HashSet<DevKey>,
    pending: identity::Pending,
}

impl<'a> Assembler<'a> {
    fn warn(&mut self, text: String) {
        self.out.notices.push(Notice::warn(text));
    }
    fn plain(&mut self, text: impl Into<String>) {
        self.out.notices.push(Notice {
            level: Level::Warn,
            text: text.into(),
        });
    }
    fn name(&self, key: DevKey) -> &'a str {
        &self.scan.entries[key.0].device.name
    }

    /// Copies by VG, and the text that rules in each.
    fn groups(&mut self) -> BTreeMap<LvmUuid, Group> {
        let mut groups: BTreeMap<LvmUuid, Group> = BTreeMap::new();
        for (n, entry) in self.scan.entries.iter().enumerate() {
            let Found::Pv(pv) = &entry.found else {
                continue;
            };
            for mda in &pv.mdas {
                if let Some(text) = self.pending.text(mda)
                    && let Ok(summary) = &self.scan.texts.get(text).summary
                {
                    let group = groups.entry(summary.id).or_default();
                    group.copies.push(Copy {
                        device: DevKey(n),
                        text,
                        seqno: summary.seqno,
                    });
                }
            }
        }
        for group in groups.values_mut() {
            self.choose(group);
            self.pass_over_duplicates(group);
        }
        groups
    }

    fn choose(&mut self, group: &mut Group) {
        let mut texts: Vec<(u32, TextId)> = Vec::new();
        for copy in &group.copies {
            if !texts.contains(&(copy.seqno, copy.text)) {
                texts.push((copy.seqno, copy.text));
            }
        }
        // Newest first; of the same seqno the one seen first.
        texts.sort_by_key(|(seqno, _)| std::cmp::Reverse(*seqno));
        for (_, id) in texts {
            let text = self.scan.texts.get(id);
            let Ok(summary) = &text.summary else {
                continue;
            };
            group.name.clone_from(&summary.name);
            let wanted = self.view.names;
            group.in_scope = wanted.is_none_or(|names| names.contains(&summary.name));
            if !group.in_scope {
                return;
            }
            match text.vg() {
                Ok(vg) => {
                    group.chosen = Some((id, vg));
                    return;
                }
                Err(what) => {
                    let holders = group.copies.iter().filter(|c| c.text == id);
                    let holders: Vec<&str> = holders.map(|c| self.name(c.device)).collect();
                    for device in holders {
                        self.warn(format!(
                            "metadata of VG {} seqno {} on {device} is not usable: {what}",
                            summary.name, summary.seqno
                        ));
                        self.warn(format!(
                            "repair VG metadata on {device} with vgck --updatemetadata."
                        ));
                    }
                }
            }
        }
    }

    fn vg(&mut self, id: LvmUuid, group: &Group, groups: &BTreeMap<LvmUuid, Group>) {
        let Some((text, vg)) = group.chosen.as_ref().filter(|_| group.in_scope) else {
            return;
        };
        let newest = Newest {
            text: *text,
            id,
            seqno: vg.seqno,
        };
        let mut read = VgRead {
            vg: vg.clone(),
            text: *text,
            pvs: Vec::new(),
            text_size: self.scan.texts.get(*text).size,
            foreign: self.is_foreign(vg),
            outdated: Vec::new(),
        };
        let absent = PvRead {
            found: None,
            missing: true,
            duplicates: Vec::new(),
        };
        read.pvs.resize(vg.pvs.slot_count(), absent);
        let takers = self.takers(id, vg, groups);
        let mut taken = Vec::new();
        for (key, pv) in vg.pvs.iter() {
            let slot = &mut read.pvs[key.slot() as usize];
            slot.missing = pv.missing;
            let devices = self.by_pv.get(&pv.id).cloned().unwrap_or_default();
            let (mut own, mut elsewhere) = (Vec::new(), None);
            for device in &devices {
                let other = self.held_by(*device, pv.id, id, &takers, groups);
                self.note_claims(*device, pv.id, other.unwrap_or(id), groups);
                match other {
                    Some(other) => elsewhere = elsewhere.or(Some((*device, other))),
                    None => own.push(*device),
                }
            }
            if let Some((chosen, reason)) = self.prefer(&own, pv) {
                slot.found = self.found(chosen, Some(&newest));
                self.duplicates(vg, pv.id, &devices, chosen, reason);
                slot.duplicates = devices.into_iter().filter(|d| *d != chosen).collect();
            } else {
                slot.missing = true;
                taken.extend(elsewhere.map(|(device, other)| (pv.id, device, other)));
            }
        }
        take_back_unused(&mut read);
        read.outdated = self.outdated(vg, group, &newest, groups);
        let members = read.pvs.iter().flat_map(|p| {
            let found = p.found.iter().map(|f| f.device);
            found.chain(p.duplicates.iter().copied())
        });
        let owned = members.chain(read.outdated.iter().map(|o| o.device));
        let owned: Vec<DevKey> = owned.collect();
        for device in owned {
            let owners = &mut self.out.inventory.owners;
            owners.insert(device, vg.name.clone());
        }
        if self.hide(&read) {
            let found = read.pvs.into_iter().filter_map(|p| p.found);
            self.out.inventory.hidden.extend(found);
            return;
        }
        self.report(&read, group, &newest);
        self.report_sizes(&read);
        self.report_taken(&vg.name, &taken, groups);
        self.out.inventory.vgs.push(read);
    }

    /// Devices that hold texts of the VG and are no PVs of it.
    fn outdated(
        &mut self,
        vg: &Vg,
        group: &Group,
        newest: &Newest,
        groups: &BTreeMap<LvmUuid, Group>,
    ) -> Vec<FoundPv> {
        let members: HashSet<LvmUuid> = vg.pvs.values().map(|p| p.id).collect();
        let mut out: Vec<FoundPv> = Vec::new();
        for copy in &group.copies {
            let known = out.iter().any(|o| o.device == copy.device);
            let Some(found) = self.found(copy.device, Some(newest)) else {
                continue;
            };
            let id = found.label.id;
            if !known
                && !members.contains(&id)
                && self.held_by_text(copy.device, id, vg.id, groups).is_none()
            {
                out.push(found);
            }
        }
        out
    }

    fn found(&self, key: DevKey, newest: Option<&Newest>) -> Option<FoundPv> {
        let pv = self.scan.pv(key)?;
        let mut label = label(&pv.label);
        label.id = self.pending.pv_id(label.id);
        Some(FoundPv {
            device: key,
            label,
            mdas: pv.mdas.iter().map(|m| self.copy(m, newest)).collect(),
            raw: pv.label.clone(),
        })
    }

    fn copy(&self, mda: &ScannedMda, newest: Option<&Newest>) -> MdaCopy {
        let content = match self.pending.text(mda) {
            Some(id) => &Content::Text(id),
            None => &mda.content,
        };
        let state = match content {
            Content::Empty => MdaState::Empty,
            Content::Ignored => MdaState::Ignored,
            Content::BadHeader(fault) => MdaState::Bad(fault.to_string()),
            Content::BadText(fault) => MdaState::Bad(fault.to_string()),
            Content::Text(id) => {
                let text = self.scan.texts.get(*id);
                match (&text.summary, newest) {
                    (Err(what), _) => MdaState::Bad(what.clone()),
                    (Ok(_), Some(n)) if n.text == *id => MdaState::Current { size: text.size },
                    (Ok(s), Some(n)) if n.id == s.id && s.seqno == n.seqno => MdaState::Bad(
                        "another text with the seqno of the one that rules".to_owned(),
                    ),
                    (Ok(s), Some(n)) if n.id == s.id && s.seqno > n.seqno => {
                        MdaState::Bad("it is newer and not usable".to_owned())
                    }
                    (Ok(s), _) => MdaState::Stale {
                        seqno: s.seqno,
                        size: text.size,
                    },
                }
            }
        };
        MdaCopy {
            start: mda.area.start,
            size: mda.area.size,
            state,
            header: mda.header,
        }
    }

    /// Labelled devices that no VG claims.
    fn orphans(&mut self, groups: &BTreeMap<LvmUuid, Group>) {
        let mut unread: HashSet<DevKey> = HashSet::new();
        for group in groups.values().filter(|g| !g.in_scope) {
            unread.extend(group.copies.iter().map(|c| c.device));
        }
        let vgs = &self.out.inventory.vgs;
        for read in vgs {
            self.claimed.extend(read.outdated.iter().map(|o| o.device));
        }
        let mut ids: Vec<&Vec<DevKey>> = self.by_pv.values().collect();
        ids.sort_unstable_by_key(|d| d.first());
        let rest: Vec<Vec<DevKey>> = ids
            .into_iter()
            .map(|devices| {
                let free = devices.iter().filter(|d| !self.claimed.contains(d));
                free.copied().collect()
            })
            .collect();
        for devices in rest {
            let Some((first, others)) = devices.split_first() else {
                continue;
            };
            let Some(found) = self.found(*first, None) else {
                continue;
            };
            let id = found.label.id;
            // With some VGs left unread, a PV that is in use may belong to one of them.
            let elsewhere = self.view.names.is_some() && found.label.used;
            if unread.contains(first) || elsewhere {
                self.out.inventory.hidden.push(found);
            } else {
                self.out.inventory.orphans.push(found);
            }
            for other in others {
                self.warn(format!(
                    "Not using device {} for PV {id}.",
                    self.name(*other)
                ));
                if let Some(pv) = self.found(*other, None) {
                    self.out.inventory.duplicates.push(Duplicate {
                        pv,
                        preferred: *first,
                        vg: None,
                    });
                }
            }
            if !others.is_empty() {
                self.warn(format!(
                    "PV {id} prefers device {} because device was seen first.",
                    self.name(*first)
                ));
            }
        }
    }
}

/// PVs marked as missing that are there and hold no extents are as good as new.
fn take_back_unused(read: &mut VgRead) {
    let back =
        |(key, pv): (PvKey, &Pv)| (pv.missing && read.pv(key).found.is_some()).then_some(key);
    let back: Vec<PvKey> = read.vg.pvs.iter().filter_map(back).collect();
    if back.is_empty() {
        return;
    }
    let usage = Usage::of(&read.vg);
    let unused: Vec<PvKey> = back
        .into_iter()
        .filter(|key| usage.used(*key).is_zero())
        .collect();
    drop(usage);
    let vg = Rc::make_mut(&mut read.vg);
    for key in unused {
        read.pvs[key.slot() as usize].missing = false;
        if let Some(pv) = vg.pvs.get_mut(key) {
            pv.missing = false;
        }
    }
}

/// The text that rules.
struct Newest {
    text: TextId,
    id: LvmUuid,
    seqno: u32,
}

/// The message about a VG of another host.
pub(crate) fn foreign_message(vg: &Vg, own: Option<&str>) -> String {
    let theirs = vg.system_id.as_deref().unwrap_or_default();
    match own {
        Some(own) => format!(
            "Cannot access VG {} with system ID {theirs} with local system ID {own}.",
            vg.name
        ),
        None => format!(
            "Cannot access VG {} with system ID {theirs} with unknown local system ID.",
            vg.name
        ),
    }
}

/// The lock manager a VG needs, if it needs one.
pub(crate) fn lock_manager(vg: &Vg) -> Option<&str> {
    vg.lock_type
        .as_deref()
        .filter(|t| !matches!(*t, "" | "none"))
}

/// A label as the inventory shows it.
pub(crate) fn label(label: &Label) -> PvLabel {
    let header = &label.header;
    let extension = header.extension.as_ref();
    PvLabel {
        sector: label.sector,
        id: header.id,
        device_size: header.device_size,
        data_start: header.data_areas.first().map_or(Bytes::ZERO, |a| a.start),
        bootloader: extension
            .and_then(|e| e.bootloader_areas.first())
            .map(|a| (a.start, a.size)),
        ext_version: extension.map_or(0, |e| e.version),
        used: header.is_used(),
    }
}
