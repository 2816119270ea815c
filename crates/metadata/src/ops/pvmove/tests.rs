//! Moves on small VGs: what each step leaves, and where data are meanwhile.

use std::sync::LazyLock;

use super::super::fixture::{Ids, linear, striped, vg_of};
use super::super::pv_args::PvArg;
use super::*;
use crate::alloc::AllocConfig;
use crate::model::{AllocPolicy, Creation};
use crate::ops::{OpError, OpErrorKind};
use crate::units::Sectors;

fn arg(vg: &Vg, n: usize, ranges: &str) -> PvArg {
    PvArg {
        pv: vg.pvs.keys().nth(n).expect("a PV"),
        name: format!("/dev/{n}"),
        ranges: ranges.to_owned(),
    }
}

/// A move from PV 0 with these changes to what is asked for.
fn start<'a>(
    vg: &Vg,
    ids: &mut Ids,
    from: &'a PvArg,
    change: impl FnOnce(&mut Move<'a>),
) -> Result<(Vg, LvKey), OpError> {
    static CONFIG: LazyLock<AllocConfig> = LazyLock::new(AllocConfig::default);
    let mut what = Move {
        from,
        lv: None,
        to: None,
        alloc: None,
        atomic: false,
        region: Sectors(4096),
        creation: Creation {
            time: 0,
            host: "h".into(),
        },
        config: &CONFIG,
    };
    change(&mut what);
    begin(vg, &what, ids).map(|done| (done.vg, done.value))
}

/// A segment: its length, and the PV (by number) and extent of each area; `None` = on an LV.
type Shape = (u32, Vec<Option<(usize, u32)>>);

/// The segments of an LV.
fn layout(vg: &Vg, name: &str) -> Vec<Shape> {
    let pv = |key| vg.pvs.keys().position(|k| k == key).expect("a PV");
    let lv = &vg.lvs[vg.find_lv(name).expect("an LV")];
    let area = |(area, _)| match area {
        Area::Pv { pv: key, extent } => Some((pv(key), extent.0)),
        Area::Lv { .. } => None,
    };
    let segments = lv.segments.iter();
    segments
        .map(|s| (s.len.0, s.areas().into_iter().map(area).collect()))
        .collect()
}

fn fixture(ids: &mut Ids) -> Vg {
    let mut vg = vg_of(ids, 3);
    let pvs: Vec<_> = vg.pvs.keys().collect();
    let a = linear(&mut vg, ids, "a", pvs[0], 0, 4);
    linear(&mut vg, ids, "b", pvs[0], 4, 4);
    // As lvextend leaves it.
    let more = linear(&mut vg, ids, "more", pvs[0], 8, 3);
    let mut segment = vg.lvs.remove(more).expect("it").segments.remove(0);
    segment.start = Extents(4);
    vg.lvs[a].segments.push(segment);
    vg
}

#[test]
fn segments_move_one_by_one_and_join_again() {
    let mut ids = Ids::default();
    let vg = fixture(&mut ids);
    let from = arg(&vg, 0, "");
    let (begun, mover) = start(&vg, &mut ids, &from, |_| ()).unwrap();
    let steps: Vec<_> = runs(&begun, mover)
        .iter()
        .map(|r| (r.segment, r.at.0, r.len.0, r.from.1.0, r.to.1.0, r.moved))
        .collect();
    assert_eq!(
        steps,
        [
            (0, 0, 4, 0, 0, false),
            (1, 4, 3, 8, 4, false),
            (2, 7, 4, 4, 7, false)
        ]
    );
    let status = begun.lvs[mover].status;
    assert!(status.pvmove && status.locked && !status.visible);
    assert_eq!(begun.lvs[mover].alloc, AllocPolicy::Contiguous);
    assert!(
        users(&begun, mover)
            .iter()
            .all(|k| begun.lvs[*k].status.locked)
    );
    assert_eq!(mover_of(&begun, from.pv), Some(mover));
    // Nothing is copied: data are where they were.
    assert_eq!(layout(&settled(&begun), "a"), layout(&vg, "a"));
    let one = segment_moved(&begun, mover, 0).unwrap().vg;
    assert_eq!(
        layout(&settled(&one), "a"),
        [(4, vec![Some((1, 0))]), (3, vec![Some((0, 8))])]
    );
    assert_eq!(layout(&settled(&one), "b"), layout(&vg, "b"));
    let given_up = abort(&one, mover).unwrap().vg;
    assert_eq!(layout(&given_up, "a"), layout(&settled(&one), "a"));
    let done = finish(&one, mover).unwrap().vg;
    assert_eq!(layout(&done, "a"), [(7, vec![Some((1, 0))])]);
    assert_eq!(layout(&done, "b"), [(4, vec![Some((1, 7))])]);
    assert!(done.lvs.values().all(|lv| !lv.status.locked));
    assert_eq!(leftovers(&done), [mover]);
    let gone = remove(&done, mover).unwrap().vg;
    assert_eq!(gone.lvs.len(), vg.lvs.len());
    assert!(remove(&begun, mover).is_err(), "LVs still lie on it");
}

#[test]
fn ranges_cut_segments_and_the_rest_stays() {
    let mut ids = Ids::default();
    let vg = fixture(&mut ids);
    let from = arg(&vg, 0, ":2-4:9");
    let (begun, mover) = start(&vg, &mut ids, &from, |_| ()).unwrap();
    let done = finish(&begun, mover).unwrap().vg;
    assert_eq!(
        layout(&done, "a"),
        [
            (2, vec![Some((0, 0))]),
            (2, vec![Some((1, 0))]),
            (1, vec![Some((0, 8))]),
            (1, vec![Some((1, 2))]),
            (1, vec![Some((0, 10))]),
        ]
    );
    assert_eq!(
        layout(&done, "b"),
        [(1, vec![Some((1, 3))]), (3, vec![Some((0, 5))])]
    );
}

#[test]
fn stripes_stay_apart_and_can_be_cut() {
    let mut ids = Ids::default();
    let mut vg = vg_of(&mut ids, 3);
    let pvs: Vec<_> = vg.pvs.keys().collect();
    striped(&mut vg, &mut ids, "s", &pvs[..2], 0, 6);
    let from = arg(&vg, 0, ":2-3");
    let (begun, mover) = start(&vg, &mut ids, &from, |_| ()).unwrap();
    let done = finish(&begun, mover).unwrap().vg;
    assert_eq!(
        layout(&done, "s"),
        [
            (4, vec![Some((0, 0)), Some((1, 0))]),
            (4, vec![Some((2, 0)), Some((1, 2))]),
            (4, vec![Some((0, 4)), Some((1, 4))]),
        ]
    );
    // Not onto the PV of the other stripe, unless anything goes.
    let to = [arg(&vg, 1, "")];
    let refused = start(&vg, &mut ids, &from, |m| m.to = Some(&to)).unwrap_err();
    assert_eq!(refused.kind, OpErrorKind::NoSpace);
    assert!(refused.message.contains("Unable to allocate"), "{refused}");
    start(&vg, &mut ids, &from, |m| {
        m.to = Some(&to);
        m.alloc = Some(AllocPolicy::Anywhere);
    })
    .unwrap();
}

#[test]
fn new_places_in_pieces_make_more_segments() {
    let mut ids = Ids::default();
    let vg = fixture(&mut ids);
    let from = arg(&vg, 0, "");
    let to = [arg(&vg, 1, ":0-5"), arg(&vg, 2, "")];
    let (begun, mover) = start(&vg, &mut ids, &from, |m| m.to = Some(&to)).unwrap();
    let lens: Vec<_> = runs(&begun, mover).iter().map(|r| r.len.0).collect();
    assert_eq!(lens.iter().sum::<u32>(), 11);
    assert!(lens.len() > 3, "{lens:?}");
    // Each segment of an LV lies on one of the mover.
    for key in users(&begun, mover) {
        for (area, len) in begun.lvs[key].segments.iter().flat_map(|s| s.areas()) {
            let Area::Lv { extent, .. } = area else {
                continue;
            };
            let inside =
                |s: &crate::model::Segment| s.start <= extent && extent.0 + len.0 <= s.end().0;
            assert!(begun.lvs[mover].segments.iter().any(inside));
        }
    }
    assert_eq!(layout(&settled(&begun), "a"), layout(&vg, "a"));
    finish(&begun, mover).unwrap();
}

#[test]
fn atomic_moves_are_one_mirror_of_two_lvs() {
    let mut ids = Ids::default();
    let vg = fixture(&mut ids);
    let from = arg(&vg, 0, "");
    let (begun, mover) = start(&vg, &mut ids, &from, |m| m.atomic = true).unwrap();
    assert_eq!(begun.lvs[mover].segments.len(), 1);
    assert_eq!(movers(&begun), [mover]);
    assert_eq!(source(&begun, mover), Some(from.pv));
    assert_eq!(runs(&begun, mover).len(), 3);
    assert!(runs(&begun, mover).iter().all(|r| r.segment == 0));
    let given_up = abort(&begun, mover).unwrap().vg;
    assert_eq!(layout(&given_up, "a"), layout(&vg, "a"));
    let done = finish(&begun, mover).unwrap().vg;
    assert_eq!(layout(&done, "a"), [(7, vec![Some((1, 0))])]);
    assert_eq!(remove(&done, mover).unwrap().vg.lvs.len(), vg.lvs.len());
}

#[test]
fn several_at_once_leave_locked_lvs_alone() {
    let mut ids = Ids::default();
    let mut vg = fixture(&mut ids);
    let second = vg.pvs.keys().nth(1).unwrap();
    linear(&mut vg, &mut ids, "c", second, 0, 2);
    let (first, one) = start(&vg, &mut ids, &arg(&vg, 0, ""), |_| ()).unwrap();
    let from = arg(&vg, 1, "");
    let (both, two) = start(&first, &mut ids, &from, |_| ()).unwrap();
    assert_eq!(movers(&both), [one, two]);
    assert_eq!(both.lvs[two].name, "pvmove1");
    assert_eq!(layout(&settled(&both), "c"), layout(&vg, "c"));
    let again = start(&both, &mut ids, &from, |_| ()).unwrap_err();
    assert!(again.message.contains("All data on source PV skipped"));
    // Those on the first mover lie on this PV, too: it is where they go.
    assert_eq!(again.notices.len(), 3);
}

#[test]
fn what_cannot_be_moved_is_refused() {
    let mut ids = Ids::default();
    let vg = fixture(&mut ids);
    let message = |from: &PvArg, change: fn(&mut Move<'_>)| {
        let mut ids = Ids::default();
        start(&vg, &mut ids, from, |m| change(m))
            .unwrap_err()
            .message
    };
    assert_eq!(message(&arg(&vg, 2, ""), |_| ()), "No data to move for vg.");
    let nope = message(&arg(&vg, 0, ""), |m| m.lv = Some("nope"));
    assert_eq!(nope, "Logical volume nope not found.");
    assert!(message(&arg(&vg, 0, ":9-1"), |_| ()).starts_with("PE range error"));
    let contiguous = |m: &mut Move<'_>| m.alloc = Some(AllocPolicy::Contiguous);
    let mut small = vg.clone();
    for pv in small.pvs.values_mut().skip(1) {
        pv.pe_count = Extents(6);
    }
    let from = arg(&small, 0, "");
    let refused = start(&small, &mut ids, &from, contiguous).unwrap_err();
    assert!(refused.message.contains("contiguous"), "{refused}");
    // A mover that is not as pvmove makes it stays.
    let (mut odd, mover) = start(&vg, &mut ids, &arg(&vg, 0, ""), |_| ()).unwrap();
    odd.lvs[mover].segments[1].kind = SegmentKind::Zero;
    assert!(finish(&odd, mover).is_err() && abort(&odd, mover).is_err());
    assert_eq!(*settled(&odd), odd);
}
