//! PVs whose labels are one step ahead of their VG.
//!
//! `pvchange -u` and `vgimportclone` write labels with new identities when every area has the new
//! text precommitted and none has committed it. A crash in between leaves labels that the text
//! which rules does not name. The precommitted text does: its PVs stand in the order of the old
//! ones, so it tells which PV a label belongs to. The old state rules until an area commits.

use crate::model::Vg;
use crate::uuid::LvmUuid;

/// A label's identity that no VG rules by yet, and the one its PV has until then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PvAlias {
    /// What the label may say.
    pub label: LvmUuid,
    /// The PV's identity in the text that rules.
    pub pv: LvmUuid,
}

/// The PVs that get another identity between the committed and the precommitted text of one area.
/// Empty if the two do not list the same PVs in the same order.
pub fn pv_aliases(committed: &Vg, precommitted: &Vg) -> Vec<PvAlias> {
    let same_place = committed.pvs.len() == precommitted.pvs.len()
        && (committed.pvs.values())
            .zip(precommitted.pvs.values())
            .all(|(a, b)| (a.pe_start, a.pe_count) == (b.pe_start, b.pe_count));
    if !same_place {
        return Vec::new();
    }
    let changed = committed
        .pvs
        .values()
        .zip(precommitted.pvs.values())
        .filter(|(a, b)| {
            let is_new = committed.find_pv(&b.id).is_none();
            is_new && precommitted.find_pv(&a.id).is_none()
        });
    changed
        .map(|(a, b)| PvAlias {
            label: b.id,
            pv: a.id,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, vg_of};
    use super::*;
    use crate::units::Extents;
    use crate::uuid::IdSource;

    #[test]
    fn pvs_are_matched_by_their_place() {
        let mut ids = Ids::default();
        let old = vg_of(&mut ids, 3);
        let mut new = old.clone();
        let (key, pv) = new.pvs.iter_mut().nth(1).unwrap();
        pv.id = ids.new_id();
        let alias = PvAlias {
            label: pv.id,
            pv: old.pvs[key].id,
        };
        assert_eq!(pv_aliases(&old, &new), [alias]);
        assert_eq!(pv_aliases(&old, &old), []);
        // Two that change places are not new identities, and another size is another PV.
        let mut swapped = old.clone();
        let list: Vec<_> = old.pvs.values().map(|p| p.id).collect();
        for (pv, id) in swapped.pvs.values_mut().zip(list.iter().rev()) {
            pv.id = *id;
        }
        assert_eq!(pv_aliases(&old, &swapped), []);
        new.pvs[key].pe_count = Extents(1);
        assert_eq!(pv_aliases(&old, &new), []);
        let fewer = vg_of(&mut ids, 2);
        assert_eq!(pv_aliases(&old, &fewer), []);
    }
}
