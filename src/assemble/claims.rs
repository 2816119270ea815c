//! PVs that more than one VG lists: a disk comes back with an old text of a VG whose other PVs have
//! gone to other VGs meanwhile. The VG that has a text on the PV, and lists it, has it; for the
//! others it is missing, whatever its label says. They would write over that text otherwise, and
//! over the data.

use std::collections::BTreeMap;

use ulvm_metadata::model::Vg;
use ulvm_metadata::uuid::LvmUuid;

use super::{Assembler, Group};
use crate::inventory::DevKey;
use crate::texts::TextId;

impl Assembler<'_> {
    /// The VGs whose texts are on a device, in the order of its areas.
    pub(super) fn texts_on(&self, device: DevKey) -> impl Iterator<Item = (LvmUuid, TextId)> {
        let mdas = self.scan.pv(device).map(|pv| pv.mdas.as_slice());
        mdas.unwrap_or_default().iter().filter_map(|mda| {
            let text = self.pending.text(mda)?;
            let summary = self.scan.texts.get(text).summary.as_ref().ok()?;
            Some((summary.id, text))
        })
    }

    /// The VGs that have PVs which this one lists too.
    pub(super) fn takers(
        &self,
        id: LvmUuid,
        vg: &Vg,
        groups: &BTreeMap<LvmUuid, Group>,
    ) -> Vec<LvmUuid> {
        let mut out = Vec::new();
        for pv in vg.pvs.values() {
            let devices = self.by_pv.get(&pv.id).into_iter().flatten();
            out.extend(devices.filter_map(|d| self.held_by_text(*d, pv.id, id, groups)));
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The VG that has a PV which `vg` lists; `None` if it is `vg`'s. A PV without any text has gone
    /// where others of that VG went.
    pub(super) fn held_by(
        &self,
        device: DevKey,
        pv: LvmUuid,
        vg: LvmUuid,
        takers: &[LvmUuid],
        groups: &BTreeMap<LvmUuid, Group>,
    ) -> Option<LvmUuid> {
        if takers.is_empty() || self.texts_on(device).next().is_some() {
            return self.held_by_text(device, pv, vg, groups);
        }
        let lists = |id: &&LvmUuid| text_listing(pv, id, groups).is_some();
        takers.iter().find(lists).copied()
    }

    /// The same, by what is on the device.
    pub(super) fn held_by_text(
        &self,
        device: DevKey,
        pv: LvmUuid,
        vg: LvmUuid,
        groups: &BTreeMap<LvmUuid, Group>,
    ) -> Option<LvmUuid> {
        if self.texts_on(device).all(|(id, _)| id == vg) {
            return None;
        }
        let mut holder: Option<(bool, LvmUuid)> = None;
        for (id, text) in self.texts_on(device) {
            let Some(newest) = text_listing(pv, &id, groups) else {
                continue;
            };
            // A text that is up to date goes before an old one.
            let current = newest == text;
            if holder.is_none_or(|(best, _)| current && !best) {
                holder = Some((current, id));
            }
        }
        holder.map(|(_, id)| id).filter(|id| *id != vg)
    }

    /// Notes who has a device, and whose texts on it are not to be lost.
    pub(super) fn note_claims(
        &mut self,
        device: DevKey,
        pv: LvmUuid,
        holder: LvmUuid,
        groups: &BTreeMap<LvmUuid, Group>,
    ) {
        let texts: Vec<LvmUuid> = self.texts_on(device).map(|(id, _)| id).collect();
        let listed = texts
            .into_iter()
            .filter(|id| text_listing(pv, id, groups).is_some());
        let inventory = &mut self.out.inventory;
        inventory.claims.extend(listed.map(|id| (device, id)));
        let holders = inventory.holders.entry(device).or_default();
        if !holders.contains(&holder) {
            holders.push(holder);
        }
    }

    /// Says which PVs of a VG are another's.
    pub(super) fn report_taken(
        &mut self,
        name: &str,
        taken: &[(LvmUuid, DevKey, LvmUuid)],
        groups: &BTreeMap<LvmUuid, Group>,
    ) {
        for (pv, device, other) in taken {
            let other = groups.get(other).map_or("", |g| g.name.as_str());
            self.warn(format!(
                "PV {pv} on {} belongs to VG {other} now, and counts as missing in VG {name}.",
                self.name(*device)
            ));
        }
        if !taken.is_empty() {
            self.plain(format!("See vgreduce --removemissing {name}."));
        }
    }
}

/// The text that rules in a VG, if it lists a PV.
fn text_listing(pv: LvmUuid, vg: &LvmUuid, groups: &BTreeMap<LvmUuid, Group>) -> Option<TextId> {
    let (text, vg) = groups.get(vg)?.chosen.as_ref()?;
    vg.find_pv(&pv).map(|_| *text)
}
