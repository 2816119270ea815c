//! Choices that LVM2 2.03.16 was seen to make, and what must hold of any choice.

use proptest::prelude::*;

use super::{AllocConfig, AllocError, Beside, FreeMap, Piece, PvRange, Request, allocate};
use crate::model::usage::Usage;
use crate::model::{
    AllocPolicy, Area, Lv, LvFlags, LvStatus, Pv, PvKey, ReadAhead, Segment, SegmentKind, Vg,
};
use crate::units::{Extents, Sectors};
use crate::uuid::LvmUuid;

fn id(n: usize) -> LvmUuid {
    LvmUuid::parse(&format!("{n:0>32}")).unwrap()
}

/// PVs of so many extents each; `used` are (PV, first, count) that belong to an LV `h`.
fn vg(pvs: &[u32], used: &[(usize, u32, u32)]) -> Vg {
    let mut vg = Vg::new("v", id(0), Sectors(2048));
    let keys: Vec<PvKey> = pvs
        .iter()
        .enumerate()
        .map(|(n, count)| {
            vg.pvs
                .push(Pv::new(id(n + 1), Sectors(2048), Extents(*count)))
        })
        .collect();
    let mut lv = empty("h", id(99));
    for (pv, first, count) in used {
        push(&mut lv, &[(keys[*pv], *first)], *count);
    }
    if !used.is_empty() {
        vg.lvs.push(lv);
    }
    vg
}

fn empty(name: &str, id: LvmUuid) -> Lv {
    Lv {
        id,
        name: name.into(),
        status: LvStatus::default(),
        flags: LvFlags::default(),
        unknown_flags: Vec::new(),
        tags: Vec::new(),
        creation: None,
        lock_args: None,
        alloc: AllocPolicy::Inherit,
        profile: None,
        read_ahead: ReadAhead::Auto,
        major: None,
        minor: None,
        segments: Vec::new(),
        extra: Vec::new(),
    }
}

/// A segment with `each` extents on each PV.
fn push(lv: &mut Lv, areas: &[(PvKey, u32)], each: u32) {
    let stripes = areas.iter().map(|(pv, extent)| Area::Pv {
        pv: *pv,
        extent: Extents(*extent),
    });
    let kind = SegmentKind::Striped {
        stripe_size: Sectors(if areas.len() > 1 { 128 } else { 0 }),
        stripes: stripes.collect(),
    };
    let len = Extents(each * areas.len() as u32);
    lv.segments.push(Segment::new(lv.extents(), len, kind));
}

fn run(
    vg: &Vg,
    extends: Option<&Lv>,
    extents: u32,
    stripes: u32,
    policy: AllocPolicy,
    tags: &[&str],
) -> Result<Vec<Piece>, AllocError> {
    let config = AllocConfig {
        maximise_cling: true,
        cling_tag_list: tags.iter().map(|t| (*t).to_owned()).collect(),
        ..AllocConfig::default()
    };
    let request = Request {
        lv_name: "x",
        extends,
        extents: Extents(extents),
        parallel: stripes,
        per_area: stripes,
        policy,
        at_most: false,
        beside: Beside::Nothing,
        avoid: &[],
        config: &config,
    };
    allocate(vg, FreeMap::whole(vg, &Usage::of(vg)), &request).map(|found| found.pieces)
}

/// Pieces as extents in each area, and (PV number, first extent) of each.
fn shape(vg: &Vg, pieces: &[Piece]) -> Vec<(u32, Vec<(usize, u32)>)> {
    let number = |pv: PvKey| vg.pvs.keys().position(|k| k == pv).unwrap();
    pieces
        .iter()
        .map(|p| {
            let areas = p.areas.iter().map(|(pv, e)| (number(*pv), e.0));
            (p.len.0, areas.collect())
        })
        .collect()
}

#[test]
fn largest_areas_first_then_the_pvs_already_used() {
    let mut vg = vg(&[63; 6], &[(0, 5, 20), (1, 10, 20)]);
    for (_, pv) in vg.pvs.iter_mut().skip(3) {
        pv.allocatable = false;
    }
    let pieces = run(&vg, None, 120, 2, AllocPolicy::Normal, &[]).unwrap();
    assert_eq!(
        shape(&vg, &pieces),
        [
            (38, vec![(2, 0), (0, 25)]),
            (5, vec![(2, 38), (0, 0)]),
            (17, vec![(1, 30), (2, 43)]),
        ]
    );
    let mut s = empty("s", id(98));
    for piece in &pieces {
        let areas: Vec<_> = piece.areas.iter().map(|(pv, e)| (*pv, e.0)).collect();
        push(&mut s, &areas, piece.len.0);
    }
    for (_, pv) in vg.pvs.iter_mut() {
        pv.allocatable = true;
    }
    let key = vg.lvs.push(s);
    let pieces = run(&vg, Some(&vg.lvs[key]), 30, 2, AllocPolicy::Normal, &[]).unwrap();
    assert_eq!(
        shape(&vg, &pieces),
        [(3, vec![(1, 47), (2, 60)]), (12, vec![(1, 50), (3, 0)])]
    );
}

#[test]
fn the_smallest_area_that_fits_among_those_named() {
    let vg = vg(&[100], &[]);
    let pv = vg.pvs.keys().next().unwrap();
    let offered = [PvRange {
        pv,
        ranges: vec![(Extents(40), Extents(2)), (Extents(60), Extents(11))],
    }];
    let config = AllocConfig::default();
    let request = Request {
        lv_name: "x",
        extends: None,
        extents: Extents(4),
        parallel: 1,
        per_area: 1,
        policy: AllocPolicy::Normal,
        at_most: false,
        beside: Beside::Nothing,
        avoid: &[],
        config: &config,
    };
    let free = FreeMap::new(&vg, &Usage::of(&vg), &offered);
    let pieces = allocate(&vg, free, &request).unwrap().pieces;
    assert_eq!(shape(&vg, &pieces), [(4, vec![(0, 60)])]);
}

#[test]
fn anywhere_takes_several_areas_of_one_pv() {
    let odd: Vec<(usize, u32, u32)> = (0..8).map(|n| (0, 2 * n + 1, 1)).collect();
    let single = vg(&[33], &odd);
    let pieces = run(&single, None, 6, 6, AllocPolicy::Anywhere, &[]).unwrap();
    let places = [16, 6, 17, 18, 19, 20].map(|e| (0, e)).to_vec();
    assert_eq!(shape(&single, &pieces), [(1, places)]);

    let pair = vg(
        &[63; 2],
        &[(0, 0, 24), (0, 25, 6), (0, 58, 5), (1, 0, 6), (1, 40, 19)],
    );
    let pieces = run(&pair, None, 57, 3, AllocPolicy::Anywhere, &[]).unwrap();
    assert_eq!(
        shape(&pair, &pieces),
        [
            (1, vec![(0, 31), (1, 6), (0, 24)]),
            (4, vec![(0, 32), (1, 7), (1, 59)]),
            (8, vec![(0, 36), (1, 11), (0, 44)]),
            (6, vec![(0, 52), (1, 19), (1, 25)]),
        ]
    );
}

#[test]
fn stripes_avoid_pvs_with_a_common_tag_while_they_can() {
    let mut vg = vg(&[8; 4], &[]);
    for (n, tag) in [(0, "t1"), (1, "t1"), (2, "t2")] {
        let key = vg.pvs.keys().nth(n).unwrap();
        vg.pvs[key].tags.push(tag.into());
    }
    let list = ["@t1", "@t2"];
    let on = |stripes: u32, policy| {
        let pieces = run(&vg, None, stripes * 2, stripes, policy, &list)?;
        Ok(pieces[0]
            .areas
            .iter()
            .map(|(pv, _)| *pv)
            .collect::<Vec<_>>())
    };
    let keys: Vec<PvKey> = vg.pvs.keys().collect();
    assert_eq!(on(2, AllocPolicy::Normal), Ok(vec![keys[0], keys[2]]));
    assert_eq!(
        on(3, AllocPolicy::Contiguous),
        Ok(vec![keys[0], keys[2], keys[3]])
    );
    assert_eq!(on(4, AllocPolicy::Normal), Ok(keys.clone()));
    assert_eq!(
        on(4, AllocPolicy::Cling),
        Err(AllocError::NotSuitable {
            missing: 8,
            contiguous: false
        })
    );
}

const POLICIES: [AllocPolicy; 5] = [
    AllocPolicy::Contiguous,
    AllocPolicy::Cling,
    AllocPolicy::ClingByTags,
    AllocPolicy::Normal,
    AllocPolicy::Anywhere,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn pieces_lie_in_free_areas_and_never_overlap(
        sizes in proptest::collection::vec(1u32..40, 1..5),
        used in proptest::collection::vec((0usize..5, 0u32..40, 1u32..6), 0..12),
        stripes in 1u32..6,
        each in 1u32..30,
        policy in 0..POLICIES.len(),
    ) {
        let mut taken: Vec<Vec<bool>> = sizes.iter().map(|n| vec![false; *n as usize]).collect();
        let mut runs = Vec::new();
        for (pv, first, count) in used {
            let Some(pe) = taken.get_mut(pv) else { continue };
            let range = first as usize..(first + count) as usize;
            if range.end <= pe.len() && !pe[range.clone()].contains(&true) {
                pe[range].fill(true);
                runs.push((pv, first, count));
            }
        }
        let vg = vg(&sizes, &runs);
        let policy = POLICIES[policy];
        let Ok(pieces) = run(&vg, None, stripes * each, stripes, policy, &[]) else {
            return Ok(());
        };
        let total: u32 = pieces.iter().map(|p| p.len.0).sum();
        prop_assert_eq!(total, each);
        for (len, areas) in shape(&vg, &pieces) {
            prop_assert_eq!(areas.len(), stripes as usize);
            for (pv, first) in &areas {
                for pe in *first..first + len {
                    let slot = taken[*pv].get_mut(pe as usize);
                    prop_assert_eq!(slot.as_deref(), Some(&false), "PE {} of PV {}", pe, pv);
                    taken[*pv][pe as usize] = true;
                }
            }
            if policy != AllocPolicy::Anywhere {
                let mut pvs: Vec<usize> = areas.iter().map(|a| a.0).collect();
                pvs.sort_unstable();
                pvs.dedup();
                prop_assert_eq!(pvs.len(), areas.len(), "stripes on one PV");
            }
        }
    }
}
