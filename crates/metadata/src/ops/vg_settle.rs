//! What a crash in the middle of vgsplit, vgmerge or a change of the VG's identity left behind:
//! two VGs that claim the same PVs. [`settle`] says which claim holds; a later write finishes the
//! work on disk.
//!
//! Rules, in this order:
//! 1. A VG with the mark `ulvm_split_from` has the PVs and LVs it lists. They are taken out of the
//!    text of the VG it names (which vanishes if nothing is left), and the mark and the EXPORTED
//!    that came with it are taken off. See [`vg_split`](super::vg_split). Not if the other VG has
//!    been changed meanwhile, by LVM2, in a way that does not fit: then the mark means nothing.
//!    If that VG is not there, the mark becomes `ulvm_split_taken_from`, which stays, and means the
//!    same, until that VG has been seen without the PVs.
//! 2. A VG all of whose PVs and LVs are in another VG which has more PVs, or as many and a higher
//!    seqno, has been swallowed by it, if the areas that hold its text know one of that other VG.
//!    Otherwise it is what a finished vgsplit made, and the other text an old copy. See
//!    [`vg_merge`](super::vg_merge) and `vgchange -u`. The same rule undoes a vgsplit of LVM2's that
//!    was killed before it had changed the old VG: it is told by EXPORTED and the first seqno.
//!
//! What no rule settles stays as it is: of VGs that list the same PV, the one whose text is on it
//! has it.

use std::collections::HashSet;

use super::released::released;
use crate::model::check::check;
use crate::model::usage::Usage;
use crate::model::{LvKey, PvKey, Vg};
use crate::tree::{Item, Node, Value};
use crate::uuid::LvmUuid;

/// The field that marks a VG that is receiving PVs of another.
pub const SPLIT_MARK: &str = "ulvm_split_from";

/// The field that says from which VG PVs were received, while the text of that one has not been
/// seen without them.
pub const TAKEN_MARK: &str = "ulvm_split_taken_from";

/// What the marks have in common.
pub const MARKS: &str = "ulvm_split_";

/// What [`settle`] made of one of the VGs given to it.
#[derive(Clone, PartialEq, Debug)]
pub enum Settled {
    /// As it was.
    Unchanged,
    /// Lost PVs and LVs to a receiving VG: to be written before that one.
    Shrunk(Vg),
    /// A receiving VG without its mark, or with [`TAKEN_MARK`] while the one it took from is not
    /// there: to be written after that one.
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
    put_mark(vg, SPLIT_MARK, from);
    set_exported(vg, true);
}

fn put_mark(vg: &mut Vg, mark: &str, from: &LvmUuid) {
    vg.extra.push(Item {
        key: mark.to_owned(),
        node: Node::Value(Value::Str(from.to_string())),
    });
}

/// The VG from which this one is receiving PVs, or has received some that the text of that one may
/// list still.
pub fn split_mark(vg: &Vg) -> Option<LvmUuid> {
    marked(vg, SPLIT_MARK).or_else(|| marked(vg, TAKEN_MARK))
}

fn marked(vg: &Vg, mark: &str) -> Option<LvmUuid> {
    vg.extra.iter().rev().find_map(|item| match &item.node {
        Node::Value(Value::Str(id)) if item.key == mark => LvmUuid::parse(id),
        _ => None,
    })
}

fn unmark(vg: &mut Vg) {
    vg.extra
        .retain(|item| item.key != SPLIT_MARK && item.key != TAKEN_MARK);
}

fn set_exported(vg: &mut Vg, yes: bool) {
    vg.status.exported = yes;
    for pv in vg.pvs.values_mut() {
        pv.exported = yes;
    }
}

/// Settles the claims of VGs of which each is the newest text found under its identity. The
/// answers are in the order of the VGs. `knows(a, b)`: do the PVs that hold the text of `a` also
/// hold one of `b`, committed or about to be?
pub fn settle(vgs: &[&Vg], knows: impl Fn(usize, usize) -> bool) -> Vec<Settled> {
    let mut out = vec![Settled::Unchanged; vgs.len()];
    for (at, vg) in vgs.iter().enumerate() {
        let Some(from) = split_mark(vg) else {
            continue;
        };
        let receiving = marked(vg, SPLIT_MARK).is_some();
        let other = vgs.iter().position(|v| v.id == from).filter(|o| *o != at);
        if let Some(other) = other {
            // Two may have taken from it while it was away.
            let rest = match &out[other] {
                Settled::Shrunk(rest) => rest,
                _ => vgs[other],
            };
            match take_out(rest, vg, at) {
                Taken::Nothing => {}
                Taken::Rest(settled) => out[other] = *settled,
                Taken::Misfit => continue,
            }
        } else if !receiving {
            continue;
        }
        let mut receiver = (*vg).clone();
        unmark(&mut receiver);
        if receiving {
            set_exported(&mut receiver, false);
        }
        if other.is_none() {
            put_mark(&mut receiver, TAKEN_MARK, &from);
        }
        out[at] = Settled::Unmarked(receiver);
    }
    for at in 0..vgs.len() {
        if out[at] != Settled::Unchanged {
            continue;
        }
        let by = (0..vgs.len()).find(|by| {
            *by != at
                && out[*by] == Settled::Unchanged
                && swallowed(vgs[at], vgs[*by])
                && (is_half_split(vgs[at]) || knows(at, *by))
        });
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

/// Is it as the first step of a vgsplit leaves it, ulvm's or LVM2's? A VG that LVM2 makes has seqno
/// 1 then, and 2 at the end of the split; nobody has changed it, as it is exported.
fn is_half_split(vg: &Vg) -> bool {
    vg.status.exported && (vg.seqno <= 1 || marked(vg, SPLIT_MARK).is_some())
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

    /// Where no area knows anything but the text that it holds.
    fn settled(vgs: &[&Vg]) -> Vec<Settled> {
        settle(vgs, |_, _| false)
    }

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
            settled(&[&old, &marked]),
            [
                Settled::Shrunk(rest.clone()),
                Settled::Unmarked(whole.clone())
            ]
        );
        assert_eq!(check(&rest), Ok(()));
        // After step 2.
        assert_eq!(
            settled(&[&marked, &rest]),
            [Settled::Unmarked(whole.clone()), Settled::Unchanged]
        );
        // After step 3.
        assert_eq!(
            settled(&[&whole, &rest]),
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
            settled(&[&old, &marked]),
            [Settled::Shrunk(rest.unwrap()), Settled::Unmarked(whole)]
        );
        let (rest, whole, marked) = split(&old, &pvs, new_vg(&mut ids));
        assert_eq!(rest, None);
        assert_eq!(
            settled(&[&old, &marked]),
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
            settle(&[&b, &merged], |a, b| (a, b) == (0, 1)),
            [Settled::Swallowed { by: 1 }, Settled::Unchanged]
        );
        let mut again = a.clone();
        again.id = ids.new_id();
        again.seqno += 1;
        assert_eq!(
            settle(&[&again, &a], |a, b| (a, b) == (1, 0)),
            [Settled::Unchanged, Settled::Swallowed { by: 0 }]
        );
    }

    #[test]
    fn an_interrupted_split_of_lvm2_is_undone() {
        let (mut ids, old, pvs) = setup();
        let (_, mut lvm2, _) = split(&old, &pvs[2..], new_vg(&mut ids));
        set_exported(&mut lvm2, true);
        assert_eq!(
            settled(&[&lvm2, &old]),
            [Settled::Swallowed { by: 1 }, Settled::Unchanged]
        );
    }

    #[test]
    fn strangers_are_left_alone() {
        let mut ids = Ids::default();
        let (a, b) = (vg_of(&mut ids, 2), vg_of(&mut ids, 1));
        assert_eq!(settled(&[&a, &b]), [Settled::Unchanged, Settled::Unchanged]);
        let mut stray = a.clone();
        mark_split(&mut stray, &ids.new_id());
        let mut taken = a.clone();
        put_mark(&mut taken, TAKEN_MARK, &split_mark(&stray).unwrap());
        assert_eq!(settled(&[&stray]), [Settled::Unmarked(taken)]);
    }

    /// LVM2 sees both VGs, and lets one change the one that is not exported.
    #[test]
    fn a_mark_means_nothing_when_the_other_vg_uses_what_was_to_move() {
        let (mut ids, vg, pvs) = setup();
        let (_, _, marked) = split(&vg, &pvs[1..], new_vg(&mut ids));
        let undone = |changed: &Vg| {
            let settled = settled(&[changed, &marked]);
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
            settled(&[&changed, &marked])[0],
            Settled::Shrunk(_)
        ));
    }

    /// The VG that was split comes back from an old copy, or a disk of it that was away.
    #[test]
    fn what_a_finished_split_made_is_not_swallowed() {
        let (mut ids, old, pvs) = setup();
        let (_, mut whole, _) = split(&old, &pvs[2..], new_vg(&mut ids));
        whole.seqno = 2;
        let both = [Settled::Unchanged, Settled::Unchanged];
        assert_eq!(settled(&[&whole, &old]), both);
        set_exported(&mut whole, true);
        whole.seqno = 3;
        assert_eq!(settled(&[&old, &whole]), both);
    }

    #[test]
    fn the_mark_stays_until_the_other_vg_has_been_seen() {
        let (mut ids, old, pvs) = setup();
        let (rest, whole, marked) = split(&old, &pvs[2..], new_vg(&mut ids));
        let rest = rest.unwrap();
        let Settled::Unmarked(mut waiting) = settled(&[&marked]).remove(0) else {
            panic!("not finished");
        };
        assert_eq!(split_mark(&waiting), Some(old.id));
        assert!(!waiting.status.exported);
        // Changes keep it, vgexport too.
        set_exported(&mut waiting, true);
        waiting.seqno += 7;
        assert_eq!(settled(&[&waiting]), [Settled::Unchanged]);
        let mut unmarked = whole.clone();
        set_exported(&mut unmarked, true);
        unmarked.seqno = waiting.seqno;
        assert_eq!(
            settled(&[&waiting, &old]),
            [
                Settled::Unmarked(unmarked.clone()),
                Settled::Shrunk(rest.clone())
            ]
        );
        assert_eq!(
            settled(&[&rest, &waiting]),
            [Settled::Unchanged, Settled::Unmarked(unmarked)]
        );
    }

    #[test]
    fn two_take_from_one_that_was_away() {
        let (mut ids, old, pvs) = setup();
        let (_, _, one) = split(&old, &pvs[1..2], new_vg(&mut ids));
        let (_, _, two) = split(&old, &pvs[2..], new_vg(&mut ids));
        let Settled::Shrunk(rest) = &settled(&[&one, &old, &two])[1] else {
            panic!("nothing was taken");
        };
        assert_eq!(rest.pvs.len(), 1);
    }
}
