//! VGs that claim the same PVs, after a crash in the middle of vgsplit or vgmerge: which claim
//! holds is decided by [`ulvm_metadata::ops::vg_settle`]; here the VGs it must look at are found,
//! and its answers are put in place of what was read.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use ulvm_metadata::model::Vg;
use ulvm_metadata::ops::vg_settle::{SPLIT_MARK, Settled, settle, split_mark};
use ulvm_metadata::uuid::LvmUuid;

use super::{Assembler, Group};
use crate::inventory::Unfinished;

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
            let answers = settle(&vgs);
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
        for group in groups.values_mut().filter(|g| !g.in_scope) {
            group.chosen = None;
        }
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
    /// too. Those are receivers in a split, and texts that name a PV of a VG that is read; and
    /// what a receiver that is read takes from.
    fn widen(&mut self, groups: &mut BTreeMap<LvmUuid, Group>) {
        if groups.len() < 2 {
            return;
        }
        let mut needles = vec![SPLIT_MARK.to_owned()];
        let mut sources = HashSet::new();
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
            if wanted && let Ok(vg) = text.vg() {
                more.extend(split_mark(&vg));
                group.chosen = Some((newest.text, vg));
            }
        }
        // What a receiver found just now takes from may be one that is not read yet either.
        for id in more {
            if let Some(group) = groups.get_mut(&id)
                && group.chosen.is_none()
                && let Some(newest) = group.copies.iter().max_by_key(|c| c.seqno)
                && let Ok(vg) = self.scan.texts.get(newest.text).vg()
            {
                group.chosen = Some((newest.text, vg));
            }
        }
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
