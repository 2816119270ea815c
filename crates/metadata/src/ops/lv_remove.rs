//! Removing LVs.

use super::lv_tree::{all_parts, check_editable, full_name, snapshots};
use super::{Done, OpError};
use crate::model::{LvKey, Vg};

/// The snapshots that go with an LV, in list order: what the user is asked about first.
pub fn dependents(vg: &Vg, lv: LvKey) -> Vec<LvKey> {
    let all = snapshots(vg);
    let of = all.iter().filter(|s| s.origin == lv);
    of.map(|s| s.cow).collect()
}

/// Removes an LV with its sub-LVs, and the snapshots it is the origin of. The value is the names
/// of the LVs the user knows, in the order of removal.
pub fn lv_remove(old: &Vg, lv: LvKey) -> Result<Done<Vec<String>>, OpError> {
    if old.lvs.get(lv).is_none() {
        return Err(OpError::not_found("The logical volume is gone."));
    }
    let mut vg = old.clone();
    let mut names = Vec::new();
    for cow in dependents(old, lv) {
        remove_one(&mut vg, cow, &mut names)?;
    }
    if let Some(s) = snapshots(old).iter().find(|s| s.cow == lv && s.merging) {
        return Err(OpError::refused(format!(
            "Can't remove merging snapshot logical volume {}: it merges into {}.",
            full_name(old, lv),
            full_name(old, s.origin)
        )));
    }
    remove_one(&mut vg, lv, &mut names)?;
    Done::checked(vg, Vec::new(), names)
}

/// Makes a snapshot an LV of its own, with the content of its store. The value says whether the LV
/// was a snapshot at all.
pub fn untie_snapshot(old: &Vg, cow: LvKey) -> Result<Done<bool>, OpError> {
    let mut vg = old.clone();
    let mut untied = false;
    for snapshot in snapshots(old).iter().filter(|s| s.cow == cow) {
        vg.lvs.remove(snapshot.tie);
        untied = true;
    }
    if let Some(lv) = vg.lvs.get_mut(cow).filter(|_| untied) {
        lv.status.visible = true;
    }
    Done::checked(vg, Vec::new(), untied)
}

fn remove_one(vg: &mut Vg, lv: LvKey, names: &mut Vec<String>) -> Result<(), OpError> {
    if vg.lvs.get(lv).is_none() {
        // Malformed metadata may tie one COW LV to an origin twice.
        return Ok(());
    }
    check_editable(vg, lv, "remove")?;
    let ties: Vec<LvKey> = snapshots(vg)
        .iter()
        .filter(|s| s.cow == lv)
        .map(|s| s.tie)
        .collect();
    for part in all_parts(vg, lv).into_iter().chain(ties) {
        vg.lvs.remove(part);
    }
    if let Some(gone) = vg.lvs.remove(lv) {
        names.push(gone.name);
    }
    Ok(())
}
