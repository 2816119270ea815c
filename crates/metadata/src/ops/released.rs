//! What a change takes away from LVs: extents that one has before and not afterwards. While somebody
//! has them open they must stay.

use crate::model::usage::{Usage, Used};
use crate::model::{LvKey, PvKey, Vg};
use crate::units::Extents;

/// A run of extents that an LV loses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Released {
    /// The PV, in the old VG.
    pub pv: PvKey,
    /// First physical extent.
    pub start: Extents,
    /// Number of extents.
    pub len: Extents,
    /// The LV, in the old VG.
    pub lv: LvKey,
}

/// Extents on these PVs that LVs of `old` lose when it becomes `new` (`None`: when it ceases to be).
/// LVs and PVs are the same if their identity is.
pub fn released(old: &Vg, new: Option<&Vg>, pvs: &[PvKey]) -> Vec<Released> {
    let before = Usage::of(old);
    let after = new.map(|vg| (vg, Usage::of(vg)));
    let mut out = Vec::new();
    for pv in pvs {
        let kept = after.as_ref().and_then(|(vg, usage)| {
            let there = vg.find_pv(&old.pvs.get(*pv)?.id)?;
            Some((*vg, usage.on(there)))
        });
        for used in before.on(*pv) {
            lost(old, used, kept, |start, end| {
                out.push(Released {
                    pv: *pv,
                    start: Extents(start),
                    len: Extents(end - start),
                    lv: used.lv,
                });
            });
        }
    }
    out
}

/// Calls `each` for the parts of a run that the same LV does not have any more: first, end.
fn lost(old: &Vg, used: &Used, kept: Option<(&Vg, &[Used])>, mut each: impl FnMut(u32, u32)) {
    let mut at = used.start.0;
    let end = at.saturating_add(used.len.0);
    if let Some((vg, runs)) = kept {
        let id = old.lvs[used.lv].id;
        // Runs of one PV do not overlap, so their ends are in order, too.
        let first = runs.partition_point(|k| k.start.0.saturating_add(k.len.0) <= at);
        for run in runs[first..].iter().take_while(|k| k.start.0 < end) {
            if vg.lvs[run.lv].id == id {
                if run.start.0 > at {
                    each(at, run.start.0);
                }
                at = at.max(run.start.0.saturating_add(run.len.0));
            }
        }
    }
    if at < end {
        each(at, end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, vg_of};
    use super::*;

    #[test]
    fn what_an_lv_has_still_is_not_released() {
        let mut ids = Ids::default();
        let mut old = vg_of(&mut ids, 2);
        let pv = old.pvs.keys().next().unwrap();
        let pvs: Vec<PvKey> = old.pvs.keys().collect();
        let a = linear(&mut old, &mut ids, "a", pv, 0, 6);
        let b = linear(&mut old, &mut ids, "b", pv, 8, 2);
        let runs = |new: Option<&Vg>| -> Vec<(u32, u32, LvKey)> {
            let all = released(&old, new, &pvs);
            all.iter().map(|r| (r.start.0, r.len.0, r.lv)).collect()
        };
        assert_eq!(runs(Some(&old)), []);
        assert_eq!(runs(None), [(0, 6, a), (8, 2, b)]);
        let mut new = old.clone();
        new.lvs[a].name = "renamed".into();
        assert_eq!(runs(Some(&new)), []);
        new.lvs[a].segments[0].len = Extents(4);
        assert_eq!(runs(Some(&new)), [(4, 2, a)]);
        new.lvs.remove(b);
        assert_eq!(runs(Some(&new)), [(4, 2, a), (8, 2, b)]);
        // Another LV in its place is not the same one.
        linear(&mut new, &mut ids, "b", pv, 8, 2);
        assert_eq!(runs(Some(&new)), [(4, 2, a), (8, 2, b)]);
        new.pvs.remove(pv);
        assert_eq!(runs(Some(&new)), [(0, 6, a), (8, 2, b)]);
    }
}
