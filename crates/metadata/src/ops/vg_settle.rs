//! What a crash in the middle of vgsplit, vgmerge or a change of the VG's identity left behind:
//! two VGs that claim the same PVs. [`settle`] says which claim holds; a later write finishes the
//! work on disk.
//!
//! Rules, in this order:
//! 1. A VG with the mark `ulvm_split_from` has the PVs and LVs it lists. They are taken out of the
//!    text of the VG it names (which vanishes if nothing is left), and the mark and the EXPORTED
//!    that came with it are taken off. See [`vg_split`](super::vg_split). Not if the other VG has
//!    been changed meanwhile, by LVM2, in a way that does not fit: then the mark means nothing.
//! 2. A VG all of whose PVs and LVs are in another VG which has more PVs, or as many and a higher
//!    seqno, has been swallowed by it. See [`vg_merge`](super::vg_merge) and `vgchange -u`. The
//!    same rule undoes a vgsplit of LVM2's that was killed before it had changed the old VG.

use std::collections::HashSet;

use super::released::released;
use crate::model::check::check;
use crate::model::usage::Usage;
use crate::model::{LvKey, PvKey, Vg};
use crate::tree::{Item, Node, Value};
use crate::uuid::LvmUuid;

/// The field that marks a VG that is receiving PVs of another.
pub const SPLIT_MARK: &str = "ulvm_split_from";

/// What [`settle`] made of one of the VGs given to it.
#[derive(Clone, PartialEq, Debug)]
pub enum Settled {
    /// As it was.
    Unchanged,
    /// Lost PVs and LVs to a receiving VG: to be written before that one.
    Shrunk(Vg),
    /// A receiving VG without its mark: to be written after the one it took from.
    Unmarked(Vg),
    /// Everything it had belongs to the VG of that index.
    Swallowed {
        /// Index among the VGs given.
        by: usize,
    },
}

/// Marks a VG as receiving PVs from another, and exports it so that LVM2 leaves it alone.
pub fn mark_split(vg: &mut Vg, from: &LvmUuid) {
    unmark(vg);
    vg.extra.push(Item {
        key: SPLIT_MARK.to_owned(),
        node: Node::Value(Value::Str(from.to_string())),
    });
    set_exported(vg, true);
}

/// The VG from which this one is receiving PVs.
pub fn split_mark(vg: &Vg) -> Option<LvmUuid> {
    vg.extra.iter().rev().find_map(|item| match &item.node {
        Node::Value(Value::Str(id)) if item.key == SPLIT_MARK => LvmUuid::parse(id),
        _ => None,
    })
}

fn unmark(vg: &mut Vg) {
    vg.extra.retain(|item| item.key != SPLIT_MARK);
}

fn set_exported(vg: &mut Vg, yes: bool) {
    vg.status.exported = yes;
    for pv in vg.pvs.values_mut() {
        pv.exported = yes;
    }
}

/// Settles the claims of VGs of which each is the newest text found under its identity. The
/// answers are in the order of the VGs.
pub fn settle(vgs: &[&Vg]) -> Vec<Settled> {
    let mut out = vec![Settled::Unchanged; vgs.len()];
    for (at, vg) in vgs.iter().enumerate() {
        let Some(from) = split_mark(vg) else {
            continue;
        };
        if let Some(other) = vgs.iter().position(|v| v.id == from).filter(|o| *o != at) {
            match take_out(vgs[other], vg, at) {
                Taken::Nothing => {}
                Taken::Rest(settled) => out[other] = *settled,
                Taken::Misfit => continue,
            }
        }
        let mut receiver = (*vg).clone();
        unmark(&mut receiver);
        set_exported(&mut receiver, false);
        out[at] = Settled::Unmarked(receiver);
    }
    for at in 0..vgs.len() {
        if out[at] != Settled::Unchanged {
            continue;
        }
        let by = (0..vgs.len())
            .find(|by| *by != at && out[*by] == Settled::Unchanged && swallowed(vgs[at], vgs[*by]));
        if let Some(by) = by {
            out[at] = Settled::Swallowed { by };
        }
    }
    out
}

/// What a VG is after another one has taken PVs from it.
enum Taken {
    /// It had none of them any more.
    Nothing,
    /// This.
    Rest(Box<Settled>),
    /// It cannot be: LVs of it use what would be taken, and the taker does not know of it.
    Misfit,
}

fn take_out(from: &Vg, taker: &Vg, taker_at: usize) -> Taken {
    let pvs: HashSet<_> = taker.pvs.values().map(|pv| pv.id).collect();
    let lvs: HashSet<_> = taker.lvs.values().map(|lv| lv.id).collect();
    let gone_pvs: Vec<PvKey> = keys_where(from.pvs.iter(), |pv| pvs.contains(&pv.id));
    if gone_pvs.is_empty() {
        return Taken::Nothing;
    }
    if !released(from, Some(taker), &gone_pvs).is_empty() {
        return Taken::Misfit;
    }
    let gone_lvs: Vec<LvKey> = keys_where(from.lvs.iter(), |lv| lvs.contains(&lv.id));
    let usage = Usage::of(from);
    let stay = from.pvs.keys().filter(|pv| !gone_pvs.contains(pv));
    let mut used = stay.flat_map(|pv| usage.on(pv));
    if used.any(|used| gone_lvs.contains(&used.lv)) {
        return Taken::Misfit;
    }
    let mut rest = from.clone();
    for key in gone_lvs {
        rest.lvs.remove(key);
    }
    for key in gone_pvs {
        rest.pvs.remove(key);
    }
    if check(&rest).is_err() && check(from).is_ok() {
        return Taken::Misfit;
    }
    Taken::Rest(Box::new(if rest.pvs.is_empty() {
        Settled::Swallowed { by: taker_at }
    } else {
        Settled::Shrunk(rest)
    }))
}

fn keys_where<'a, K, T: 'a>(
    entries: impl Iterator<Item = (K, &'a T)>,
    gone: impl Fn(&T) -> bool,
) -> Vec<K> {
    entries.filter(|(_, t)| gone(t)).map(|(k, _)| k).collect()
}

fn swallowed(small: &Vg, large: &Vg) -> bool {
    if small.pvs.is_empty() || small.id == large.id {
        return false;
    }
    let newer = large.pvs.len() > small.pvs.len()
        || (large.pvs.len() == small.pvs.len() && large.seqno > small.seqno);
    newer && small.pvs.values().all(|pv| large.find_pv(&pv.id).is_some()) && {
        let lvs: HashSet<_> = large.lvs.values().map(|lv| lv.id).collect();
        small.lvs.values().all(|lv| lvs.contains(&lv.id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, vg_of};
    use super::super::vg_merge::vg_merge;
    use super::super::vg_split::{SplitInto, VgSplit, vg_split};
    use super::*;
    use crate::uuid::IdSource;

    fn setup() -> (Ids, Vg, Vec<PvKey>) {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 3);
        vg.seqno = 5;
        let pvs: Vec<_> = vg.pvs.keys().collect();
        linear(&mut vg, &mut ids, "a", pvs[0], 0, 2);
        linear(&mut vg, &mut ids, "b", pvs[2], 0, 2);
        (ids, vg, pvs)
    }

    fn split(vg: &Vg, pvs: &[PvKey], into: SplitInto) -> (Option<Vg>, Vg, Vg) {
        let request = VgSplit {
            pvs: pvs.to_vec(),
            into,
        };
        let done = vg_split(vg, &request).unwrap();
        let mut marked = done.vg.clone();
        mark_split(&mut marked, &vg.id);
        (done.value.rest, done.vg, marked)
    }

    fn new_vg(ids: &mut Ids) -> SplitInto {
        SplitInto::New {
            name: "nv".into(),
            id: ids.new_id(),
            max_lv: None,
            max_pv: None,
            alloc: None,
            metadata_copies: 0,
            system_id: None,
        }
    }

    #[test]
    fn an_interrupted_split_is_the_new_state_from_the_mark_on() {
        let (mut ids, old, pvs) = setup();
        let (rest, whole, marked) = split(&old, &pvs[2..], new_vg(&mut ids));
        let rest = rest.unwrap();
        // After step 1: the old text is still there.
        assert_eq!(
            settle(&[&old, &marked]),
            [
                Settled::Shrunk(rest.clone()),
                Settled::Unmarked(whole.clone())
            ]
        );
        assert_eq!(check(&rest), Ok(()));
        // After step 2.
        assert_eq!(
            settle(&[&marked, &rest]),
            [Settled::Unmarked(whole.clone()), Settled::Unchanged]
        );
        // After step 3.
        assert_eq!(
            settle(&[&whole, &rest]),
            [Settled::Unchanged, Settled::Unchanged]
        );
    }

    #[test]
    fn a_split_into_an_existing_vg_or_of_everything() {
        let (mut ids, old, pvs) = setup();
        let mut other = vg_of(&mut ids, 1);
        other.name = "other".into();
        let into = SplitInto::Existing(Box::new(other));
        let (rest, whole, marked) = split(&old, &pvs[2..], into);
        assert_eq!(
            settle(&[&old, &marked]),
            [Settled::Shrunk(rest.unwrap()), Settled::Unmarked(whole)]
        );
        let (rest, whole, marked) = split(&old, &pvs, new_vg(&mut ids));
        assert_eq!(rest, None);
        assert_eq!(
            settle(&[&old, &marked]),
            [Settled::Swallowed { by: 1 }, Settled::Unmarked(whole)]
        );
    }

    #[test]
    fn a_merge_and_a_new_identity_swallow_the_old() {
        let (mut ids, a, _) = setup();
        let mut b = vg_of(&mut ids, 1);
        b.name = "other".into();
        b.seqno = 40;
        let merged = vg_merge(&a, &b).unwrap().vg;
        assert_eq!(
            settle(&[&b, &merged]),
            [Settled::Swallowed { by: 1 }, Settled::Unchanged]
        );
        let mut again = a.clone();
        again.id = ids.new_id();
        again.seqno += 1;
        assert_eq!(
            settle(&[&again, &a]),
            [Settled::Unchanged, Settled::Swallowed { by: 0 }]
        );
    }

    #[test]
    fn an_interrupted_split_of_lvm2_is_undone() {
        let (mut ids, old, pvs) = setup();
        let (_, mut lvm2, _) = split(&old, &pvs[2..], new_vg(&mut ids));
        set_exported(&mut lvm2, true);
        assert_eq!(
            settle(&[&lvm2, &old]),
            [Settled::Swallowed { by: 1 }, Settled::Unchanged]
        );
    }

    #[test]
    fn strangers_are_left_alone() {
        let mut ids = Ids::default();
        let (a, b) = (vg_of(&mut ids, 2), vg_of(&mut ids, 1));
        assert_eq!(settle(&[&a, &b]), [Settled::Unchanged, Settled::Unchanged]);
        let mut stray = a.clone();
        mark_split(&mut stray, &ids.new_id());
        assert_eq!(settle(&[&stray]), [Settled::Unmarked(a)]);
    }

    /// LVM2 sees both VGs, and lets one change the one that is not exported.
    #[test]
    fn a_mark_means_nothing_when_the_other_vg_uses_what_was_to_move() {
        let (mut ids, vg, pvs) = setup();
        let (_, _, marked) = split(&vg, &pvs[1..], new_vg(&mut ids));
        let undone = |changed: &Vg| {
            let settled = settle(&[changed, &marked]);
            assert_eq!(settled[0], Settled::Unchanged);
            assert_eq!(settled[1], Settled::Swallowed { by: 0 });
        };
        let mut changed = vg.clone();
        changed.seqno += 1;
        linear(&mut changed, &mut ids, "x", pvs[1], 4, 2);
        undone(&changed);
        let mut changed = vg.clone();
        let b = changed.find_lv("b").unwrap();
        changed.lvs[b].segments[0].len = crate::units::Extents(3);
        undone(&changed);
        // A change of what stays does no harm.
        let mut changed = vg.clone();
        linear(&mut changed, &mut ids, "x", pvs[0], 4, 2);
        assert!(matches!(
            settle(&[&changed, &marked])[0],
            Settled::Shrunk(_)
        ));
    }
}
