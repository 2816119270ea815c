//! vgmerge: everything of one VG into another.
//!
//! # On disk
//! The merged text is written to the PVs of both VGs under the identity of the receiving VG. The
//! first metadata header that is switched makes the merge valid: from then on [`settle`] sees that
//! every PV and every LV of the old VG belongs to the newer text and drops the old one.
//!
//! [`settle`]: super::vg_settle::settle

use super::lv_tree::visible_count;
use super::vg_graft::{Graft, transplant};
use super::{Done, OpError, history};
use crate::model::Vg;

/// `into` with everything of `from`.
pub fn vg_merge(into: &Vg, from: &Vg) -> Result<Done, OpError> {
    compatible(into, from)?;
    let (mut merged, mut rest) = (into.clone(), from.clone());
    let graft = Graft {
        pvs: from.pvs.keys().collect(),
        lvs: from.lvs.keys().collect(),
    };
    transplant(&mut rest, &mut merged, &graft)?;
    history::move_all(&mut rest, &mut merged)?;
    Done::checked(merged, Vec::new(), ())
}

/// Whether two VGs could become one.
pub(super) fn compatible(into: &Vg, from: &Vg) -> Result<(), OpError> {
    let (to_name, from_name) = (&into.name, &from.name);
    if into.extent_size != from.extent_size {
        return Err(OpError::refused(format!(
            "Extent sizes differ: {} ({to_name}) and {} ({from_name})",
            into.extent_size, from.extent_size
        )));
    }
    let pvs = into.pvs.len() + from.pvs.len();
    if into.max_pv != 0 && pvs > into.max_pv as usize {
        return Err(OpError::limit(format!(
            "Maximum number of physical volumes ({}) exceeded  for \"{to_name}\" and \"{from_name}\"",
            into.max_pv
        )));
    }
    let lvs = visible_count(into) + visible_count(from);
    if into.max_lv != 0 && lvs > into.max_lv as usize {
        return Err(OpError::limit(format!(
            "Maximum number of logical volumes ({}) exceeded  for \"{to_name}\" and \"{from_name}\"",
            into.max_lv
        )));
    }
    if let Some(lv) = from
        .lvs
        .values()
        .find(|lv| into.find_lv(&lv.name).is_some())
    {
        return Err(OpError::exists(format!(
            "Duplicate logical volume name \"{}\" in \"{to_name}\" and \"{from_name}\"",
            lv.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, vg_of};
    use super::*;
    use crate::model::usage::Usage;
    use crate::units::{Extents, Sectors};

    fn two() -> (Vg, Vg) {
        let mut ids = Ids::default();
        let (mut a, mut b) = (vg_of(&mut ids, 2), vg_of(&mut ids, 2));
        b.name = "other".into();
        let (pa, pb) = (
            a.pvs.keys().next().unwrap(),
            b.pvs.keys().next_back().unwrap(),
        );
        linear(&mut a, &mut ids, "a", pa, 0, 3);
        linear(&mut b, &mut ids, "b", pb, 5, 4);
        (a, b)
    }

    #[test]
    fn everything_is_in_the_merged_vg() {
        let (a, b) = two();
        let merged = vg_merge(&a, &b).unwrap().vg;
        assert_eq!((merged.pvs.len(), merged.lvs.len()), (4, 2));
        assert_eq!(merged.id, a.id);
        let last = merged.pvs.keys().next_back().unwrap();
        assert_eq!(merged.pvs[last].id, b.pvs.values().next_back().unwrap().id);
        assert_eq!(Usage::of(&merged).on(last)[0].start, Extents(5));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (a, b) = two();
        let with = |edit: fn(&mut Vg, &mut Vg)| {
            let (mut a, mut b) = (a.clone(), b.clone());
            edit(&mut a, &mut b);
            vg_merge(&a, &b).unwrap_err().message
        };
        assert!(with(|_, b| b.extent_size = Sectors(4096)).starts_with("Extent sizes differ"));
        assert!(with(|a, _| a.max_pv = 3).contains("physical volumes (3)"));
        assert!(with(|a, _| a.max_lv = 1).contains("logical volumes (1)"));
        let duplicate = |_: &mut Vg, b: &mut Vg| {
            let key = b.lvs.keys().next().unwrap();
            b.lvs[key].name = "a".into();
        };
        assert!(with(duplicate).starts_with("Duplicate logical volume name \"a\""));
    }
}
