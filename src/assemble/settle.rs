//! VGs that claim the same PVs, after a crash in the middle of vgsplit or vgmerge: which claim
//! holds is decided by [`ulvm_metadata::ops::vg_settle`]; here the VGs it must look at are found,
//! and its answers are put in place of what was read.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use ulvm_metadata::model::Vg;
use ulvm_metadata::ops::vg_settle::{MARKS, Settled, settle, split_mark};
use ulvm_metadata::uuid::LvmUuid;

use super::{Assembler, Group};
use crate::inventory::{DevKey, Unfinished};
use crate::scan::Content;
use crate::texts::TextId;

impl Assembler<'_> {
    /// Settles claims, drops VGs that were swallowed by others, and notes what is to be finished.
    pub(super) fn settle(&mut self, groups: &mut BTreeMap<LvmUuid, Group>) {
        if self.view.names.is_some() {
            self.widen(groups);
        }
        let chosen: Vec<(LvmUuid, Rc<Vg>)> = groups
            .iter()
            .filter_map(|(id, g)| g.chosen.as_ref().map(|(_, vg)| (*id, Rc::clone(vg))))
            .collect();
        if contested(&chosen) {
            let vgs: Vec<&Vg> = chosen.iter().map(|(_, vg)| &**vg).collect();
            let answers = settle(&vgs, |small, large| {
                let small = groups.get(&chosen[small].0);
                small.is_some_and(|group| self.knows(group, &chosen[large].0))
            });
            for ((id, old), answer) in chosen.iter().zip(&answers) {
                match answer {
                    Settled::Unchanged => {}
                    Settled::Shrunk(vg) | Settled::Unmarked(vg) => replace(groups, id, vg),
                    Settled::Swallowed { by } => {
                        let by = &chosen[*by].1.name;
                        self.warn(format!(
                            "VG {} is part of VG {by} since an interrupted command.",
                            old.name
                        ));
                        groups.remove(id);
                    }
                }
            }
            self.note_unfinished(&chosen, &answers);
        }
    }

    /// Do all devices with the text that rules in a group hold one of another VG too, committed or
    /// about to be?
    fn knows(&self, group: &Group, other: &LvmUuid) -> bool {
        let of_other = |text: TextId| {
            let summary = self.scan.texts.get(text).summary.as_ref();
            summary.is_ok_and(|s| s.id == *other)
        };
        let knows = |device: DevKey| {
            self.scan.pv(device).is_some_and(|pv| {
                pv.mdas.iter().any(|mda| {
                    let committed = match mda.content {
                        Content::Text(text) => Some(text),
                        _ => None,
                    };
                    committed.is_some_and(of_other) || mda.precommitted.is_some_and(of_other)
                })
            })
        };
        let Some((text, _)) = &group.chosen else {
            return false;
        };
        let mut holders = group.copies.iter().filter(|c| c.text == *text);
        holders.all(|copy| knows(copy.device))
    }

    fn note_unfinished(&mut self, vgs: &[(LvmUuid, Rc<Vg>)], answers: &[Settled]) {
        for ((id, vg), answer) in vgs.iter().zip(answers) {
            let Settled::Unmarked(_) = answer else {
                continue;
            };
            let source = split_mark(vg).and_then(|from| {
                let at = vgs.iter().position(|(id, _)| *id == from)?;
                matches!(answers[at], Settled::Shrunk(_)).then(|| (from, vgs[at].1.name.clone()))
            });
            self.warn(format!(
                "A vgsplit into VG {} was interrupted: the next command that changes it finishes the work.",
                vg.name
            ));
            self.out.inventory.unfinished.push(Unfinished {
                receiver: (*id, vg.name.clone()),
                source,
            });
        }
    }

    /// When only some VGs are read: others that may have a claim on the PVs of those are parsed
    /// too. Those are receivers in a split, texts that name a PV of a VG that is read, and texts
    /// that are on such PVs; and what a receiver that is read takes from.
    fn widen(&mut self, groups: &mut BTreeMap<LvmUuid, Group>) {
        if groups.len() < 2 {
            return;
        }
        let mut needles = vec![MARKS.to_owned()];
        let mut sources = self.others_on_their_pvs(groups);
        for (_, vg) in groups.values().filter_map(|g| g.chosen.as_ref()) {
            needles.extend(vg.pvs.values().next().map(|pv| pv.id.to_string()));
            sources.extend(split_mark(vg));
        }
        let mut more = Vec::new();
        for (id, group) in groups.iter_mut().filter(|(_, g)| g.chosen.is_none()) {
            let Some(newest) = group.copies.iter().max_by_key(|c| c.seqno) else {
                continue;
            };
            let text = self.scan.texts.get(newest.text);
            let wanted = sources.contains(id) || needles.iter().any(|n| text.mentions(n));
            if wanted {
                group.chosen = self.newest_usable(group);
                more.extend(group.chosen.iter().filter_map(|(_, vg)| split_mark(vg)));
            }
        }
        // What a receiver found just now takes from may be one that is not read yet either.
        for id in more {
            if let Some(group) = groups.get_mut(&id)
                && group.chosen.is_none()
            {
                group.chosen = self.newest_usable(group);
            }
        }
    }

    /// Of a VG that is not to be read: the text that rules.
    fn newest_usable(&self, group: &Group) -> Option<(TextId, Rc<Vg>)> {
        let mut copies: Vec<_> = group.copies.iter().collect();
        copies.sort_by_key(|c| std::cmp::Reverse(c.seqno));
        let vg = |text: TextId| self.scan.texts.get(text).vg().ok();
        copies.iter().find_map(|c| Some((c.text, vg(c.text)?)))
    }

    /// VGs whose texts are on PVs that VGs which are read list.
    fn others_on_their_pvs(&self, groups: &BTreeMap<LvmUuid, Group>) -> HashSet<LvmUuid> {
        let mut out = HashSet::new();
        for (id, group) in groups {
            let pvs = group.chosen.iter().flat_map(|(_, vg)| vg.pvs.values());
            let devices = pvs.flat_map(|pv| self.by_pv.get(&pv.id).into_iter().flatten());
            let texts = devices.flat_map(|device| self.texts_on(*device));
            out.extend(texts.map(|(other, _)| other).filter(|other| other != id));
        }
        out
    }
}

fn replace(groups: &mut BTreeMap<LvmUuid, Group>, id: &LvmUuid, vg: &Vg) {
    if let Some((_, chosen)) = groups.get_mut(id).and_then(|g| g.chosen.as_mut()) {
        *chosen = Rc::new(vg.clone());
    }
}

/// Is there a mark, or a PV that two VGs list?
fn contested(vgs: &[(LvmUuid, Rc<Vg>)]) -> bool {
    let mut seen = HashSet::new();
    vgs.iter()
        .any(|(_, vg)| split_mark(vg).is_some() || vg.pvs.values().any(|pv| !seen.insert(pv.id)))
}
