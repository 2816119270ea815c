//! `pvchange -u`, `vgchange -u` and `vgimportclone` that were interrupted. Until an area has
//! committed, the old VG rules, and a label that is ahead of it counts as the old one; from then on
//! the new VG rules, also in areas that only know its text.

use std::collections::{HashMap, HashSet};

use ulvm_metadata::ops::pv_alias::{PvAlias, pv_aliases};
use ulvm_metadata::uuid::LvmUuid;

use super::Assembler;
use crate::inventory::{DevKey, Leftover};
use crate::scan::{Content, Found, Scan, ScannedMda};
use crate::texts::TextId;

/// Identities that were interrupted.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The identity a PV has, by the one its label says.
    aliases: HashMap<LvmUuid, LvmUuid>,
    /// Texts of VGs under another identity that areas know beside the one they have committed, and
    /// that another area has committed.
    switched: HashSet<(TextId, TextId)>,
}

impl Pending {
    /// What is interrupted on these devices: nothing, unless headers have precommitted texts.
    pub fn of(scan: &Scan) -> Self {
        let mut pairs: HashSet<(TextId, TextId)> = HashSet::new();
        let mut committed: HashSet<TextId> = HashSet::new();
        for (_, _, mda) in mdas(scan) {
            if let Content::Text(text) = mda.content {
                committed.insert(text);
                pairs.extend(mda.precommitted.map(|next| (text, next)));
            }
        }
        let mut out = Self::default();
        for (old, new) in pairs {
            let texts = &scan.texts;
            let (Ok(a), Ok(b)) = (&texts.get(old).summary, &texts.get(new).summary) else {
                continue;
            };
            if committed.contains(&new) {
                if a.id != b.id {
                    out.switched.insert((old, new));
                }
                continue;
            }
            let (Ok(a), Ok(b)) = (texts.get(old).vg(), texts.get(new).vg()) else {
                continue;
            };
            for alias in pv_aliases(&a, &b) {
                let words = alias.label.to_string();
                let cloned = a.id != b.id;
                if is_relabelled(scan, &alias, (old, new), cloned)
                    && !committed.iter().any(|t| texts.get(*t).mentions(&words))
                {
                    out.aliases.insert(alias.label, alias.pv);
                }
            }
        }
        out
    }

    /// The identity of a PV whose label says `label`.
    pub fn pv_id(&self, label: LvmUuid) -> LvmUuid {
        self.aliases.get(&label).copied().unwrap_or(label)
    }

    /// The text that counts in an area.
    pub fn text(&self, mda: &ScannedMda) -> Option<TextId> {
        let Content::Text(text) = mda.content else {
            return None;
        };
        let next = mda
            .precommitted
            .filter(|n| self.switched.contains(&(text, *n)));
        Some(next.unwrap_or(text))
    }
}

/// Is there a device with the label of an alias that was the PV before: one that has the old text
/// committed and knows the new one? One that has no area to tell by must be in use, and no other may
/// have the old label. (`vgcfgrestore` of a VG with another PV leaves the same texts elsewhere.) Where
/// the VG gets another identity as well it is a copy, beside its original with the old labels.
fn is_relabelled(scan: &Scan, alias: &PvAlias, (old, new): (TextId, TextId), cloned: bool) -> bool {
    let pvs = || (0..scan.entries.len()).filter_map(|n| scan.pv(DevKey(n)));
    let has_old = || pvs().any(|pv| pv.label.header.id == alias.pv);
    let mut labelled = pvs().filter(|pv| pv.label.header.id == alias.label);
    labelled.any(|pv| {
        let was = |m: &ScannedMda| {
            matches!(m.content, Content::Text(text) if text == old) && m.precommitted == Some(new)
        };
        let tells = |m: &ScannedMda| matches!(m.content, Content::Text(_) | Content::Empty);
        pv.mdas.iter().any(was)
            || !pv.mdas.iter().any(tells) && pv.label.header.is_used() && (cloned || !has_old())
    })
}

fn mdas(scan: &Scan) -> impl Iterator<Item = (DevKey, usize, &ScannedMda)> {
    let entries = scan.entries.iter().enumerate();
    entries.flat_map(|(n, entry)| {
        let mdas = match &entry.found {
            Found::Pv(pv) => pv.mdas.as_slice(),
            _ => &[],
        };
        let numbered = mdas.iter().enumerate();
        numbered.map(move |(m, mda)| (DevKey(n), m, mda))
    })
}

impl Assembler<'_> {
    /// Notes what the next command that changes a VG must put right first, and says so.
    pub(super) fn report_leftovers(&mut self) {
        if self.pending.aliases.is_empty() && self.pending.switched.is_empty() {
            return;
        }
        let mut left: Vec<(LvmUuid, Leftover)> = Vec::new();
        for (device, number, mda) in mdas(self.scan) {
            if let Content::Text(text) = mda.content
                && let Some(now) = self.pending.text(mda)
                && now != text
                && let Ok(summary) = &self.scan.texts.get(now).summary
            {
                left.push((summary.id, Leftover::Area(device, number)));
            }
        }
        let mut lines = Vec::new();
        for read in &self.out.inventory.vgs {
            for (key, pv) in read.vg.pvs.iter() {
                let state = read.pv(key);
                let devices = state.device().into_iter().chain(state.duplicates.clone());
                for device in devices {
                    let says = self.scan.pv(device).map(|p| p.label.header.id);
                    if says != Some(pv.id) {
                        left.push((read.vg.id, Leftover::Label(device, pv.id)));
                    }
                }
            }
            if left.iter().any(|(id, _)| *id == read.vg.id) {
                // Or a writer is at work: looked at again under the lock.
                self.out.inconsistent.push(read.vg.name.clone());
                lines.push(format!(
                    "A change of identities in VG {} was interrupted: the next command that changes it puts them right.",
                    read.vg.name
                ));
            }
        }
        for line in lines {
            self.warn(line);
        }
        self.out.inventory.leftovers = left;
    }
}
