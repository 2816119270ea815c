//! Several devices with one PV identity: a text that is only on those which are not used does not
//! rule. It would describe the data of a clone, and be read with those of the original.

use std::collections::HashSet;

use super::{Assembler, Group};
use crate::inventory::DevKey;

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
}
