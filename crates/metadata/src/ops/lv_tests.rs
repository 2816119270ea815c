//! Operations on LVs: what users see, and random sequences that must keep every invariant.

use proptest::prelude::*;

use super::fixture::{Ids, vg_of};
use super::lv_change::{LvChange, lv_change};
use super::lv_create::{Layout, LvCreate, lv_create};
use super::lv_remove::lv_remove;
use super::lv_rename::lv_rename;
use super::lv_resize::{Direction, LvResize, lv_resize};
use super::size::Size;
use super::{OpError, OpErrorKind};
use crate::alloc::AllocConfig;
use crate::model::{
    AllocPolicy, Area, Creation, LvKey, Mirror, ReadAhead, Segment, SegmentKind, Snapshot, Vg,
};
use crate::units::{Extents, Sectors};
use crate::uuid::IdSource;

fn request<'a>(name: Option<&'a str>, size: &str, config: &'a AllocConfig) -> LvCreate<'a> {
    LvCreate {
        name,
        size: Size::parse_extents(size).unwrap(),
        layout: Layout::Linear,
        pvs: None,
        alloc: AllocPolicy::Inherit,
        tags: &[],
        writable: true,
        fixed_minor: None,
        read_ahead: ReadAhead::Auto,
        activation_skip: false,
        no_autoactivate: false,
        profile: None,
        creation: Creation {
            time: 1,
            host: "h".into(),
        },
        config,
    }
}

fn create(vg: &mut Vg, ids: &mut Ids, name: &str, size: &str, stripes: u32) -> LvKey {
    let config = AllocConfig::default();
    let mut request = request(Some(name), size, &config);
    if stripes > 1 {
        request.layout = Layout::Striped {
            stripes,
            stripe_size: Sectors(128),
        };
    }
    let done = lv_create(vg, &request, ids).unwrap();
    *vg = done.vg;
    done.value
}

fn resize(vg: &Vg, lv: LvKey, size: &str) -> Result<(Vg, Vec<String>), (OpErrorKind, String)> {
    let config = AllocConfig::default();
    let request = LvResize {
        lv,
        direction: Direction::Either,
        size: Size::parse_extents(size).unwrap(),
        stripes: None,
        stripe_size: None,
        pvs: None,
        copies_given: false,
        alloc: None,
        config: &config,
    };
    lv_resize(vg, &request)
        .map(|d| (d.vg, d.notices.into_iter().map(|n| n.text).collect()))
        .map_err(|e| (e.kind, e.message))
}

#[test]
fn names_are_numbered_and_checked() {
    let (mut ids, config) = (Ids::default(), AllocConfig::default());
    let mut vg = vg_of(&mut ids, 1);
    create(&mut vg, &mut ids, "lvol7x", "1", 1);
    let done = lv_create(&vg, &request(None, "1", &config), &mut ids).unwrap();
    assert_eq!(done.vg.lvs[done.value].name, "lvol8");
    let fails = |name: &str| {
        let mut ids = Ids::default();
        lv_create(&vg, &request(Some(name), "1", &config), &mut ids)
            .unwrap_err()
            .kind
    };
    assert_eq!(fails("pvmove0"), OpErrorKind::Usage);
    assert_eq!(fails("a_mlog"), OpErrorKind::Usage);
    assert_eq!(fails("a b"), OpErrorKind::Usage);
    assert_eq!(fails("lvol7x"), OpErrorKind::Exists);
    assert_eq!(fails(&"a".repeat(123)), OpErrorKind::Limit);
}

#[test]
fn extending_fills_the_gap_behind_and_merges() {
    let mut ids = Ids::default();
    let mut vg = vg_of(&mut ids, 2);
    let a = create(&mut vg, &mut ids, "a", "2", 1);
    let b = create(&mut vg, &mut ids, "b", "2", 1);
    let (vg, _) = resize(&vg, a, "+1").unwrap();
    assert_eq!(vg.lvs[a].segments.len(), 2);
    let vg = lv_remove(&vg, b).unwrap().vg;
    let (vg, said) = resize(&vg, a, "-1").unwrap();
    assert_eq!(vg.lvs[a].segments.len(), 1);
    assert_eq!(
        said,
        ["Size of logical volume vg/a changed from 12.00 MiB (3 extents) to 8.00 MiB (2 extents)."]
    );
    let (vg, _) = resize(&vg, a, "+5").unwrap();
    assert_eq!(vg.lvs[a].segments.len(), 1, "merged: {:?}", vg.lvs[a]);
    assert_eq!(vg.lvs[a].extents(), Extents(7));
}

#[test]
fn stripes_round_in_their_direction() {
    let mut ids = Ids::default();
    let mut vg = vg_of(&mut ids, 3);
    let s = create(&mut vg, &mut ids, "s", "6", 3);
    let (grown, said) = resize(&vg, s, "+1").unwrap();
    assert_eq!(grown.lvs[s].extents(), Extents(9));
    assert_eq!(said[0], "Using stripesize of last segment 64.00 KiB");
    let (cut, _) = resize(&vg, s, "-4").unwrap();
    assert_eq!(cut.lvs[s].extents(), Extents(3));
    let (_, text) = resize(&vg, s, "-1").unwrap_err();
    assert_eq!(
        text,
        "New size (6 extents) matches existing size (6 extents)"
    );
    let (_, text) = resize(&vg, s, "-6").unwrap_err();
    assert_eq!(text, "Unable to reduce vg/s below 1 extent.");
    let (kind, _) = resize(&vg, s, "1000").unwrap_err();
    assert_eq!(kind, OpErrorKind::NoSpace);
}

/// `o` with a snapshot `c`, tied by the hidden `snapshot0`.
fn with_snapshot(ids: &mut Ids) -> (Vg, LvKey, LvKey) {
    let mut vg = vg_of(ids, 1);
    let o = create(&mut vg, ids, "o", "2", 1);
    let c = create(&mut vg, ids, "c", "1", 1);
    vg.lvs[c].status.visible = false;
    let mut tie = vg.lvs[o].clone();
    tie.id = ids.new_id();
    tie.name = "snapshot0".into();
    tie.status.visible = false;
    let kind = SegmentKind::Snapshot(Snapshot {
        chunk_size: Sectors(8),
        origin: o,
        cow: c,
        merging: false,
    });
    tie.segments = vec![Segment::new(Extents(0), Extents(2), kind)];
    vg.lvs.push(tie);
    (vg, o, c)
}

#[test]
fn snapshots_go_with_their_origin_and_ties_with_snapshots() {
    let mut ids = Ids::default();
    let (vg, o, c) = with_snapshot(&mut ids);
    let done = lv_remove(&vg, o).unwrap();
    assert_eq!(done.value, ["c", "o"]);
    assert!(done.vg.lvs.is_empty());
    let done = lv_remove(&vg, c).unwrap();
    assert_eq!(done.value, ["c"]);
    assert_eq!(done.vg.lvs.len(), 1);
}

#[test]
fn names_of_parts_follow_and_parts_go_along() {
    let mut ids = Ids::default();
    let mut vg = vg_of(&mut ids, 2);
    let m = create(&mut vg, &mut ids, "m", "2", 1);
    let legs: Vec<LvKey> = (0..2)
        .map(|n| {
            let leg = create(&mut vg, &mut ids, &format!("leg{n}"), "2", 1);
            vg.lvs[leg].name = format!("m_mimage_{n}");
            vg.lvs[leg].status.visible = false;
            leg
        })
        .collect();
    let area = |lv: &LvKey| Area::Lv {
        lv: *lv,
        extent: Extents(0),
    };
    vg.lvs[m].segments[0].kind = SegmentKind::Mirror(Mirror {
        legs: legs.iter().map(area).collect(),
        log: None,
        region_size: Sectors(1024),
        extents_moved: None,
    });
    let renamed = lv_rename(&vg, m, "n").unwrap().vg;
    assert_eq!(renamed.lvs[legs[1]].name, "n_mimage_1");
    let refused = |r: Result<_, OpError>| r.map(|_: super::Done| ()).unwrap_err().kind;
    assert_eq!(refused(lv_rename(&vg, legs[0], "x")), OpErrorKind::Refused);
    assert_eq!(
        lv_remove(&vg, legs[0]).unwrap_err().kind,
        OpErrorKind::Refused
    );
    let longer = resize(&vg, m, "+1").unwrap().0;
    let lengths = [m, legs[0], legs[1]].map(|lv| longer.lvs[lv].extents());
    assert_eq!(lengths, [Extents(3); 3]);
    assert!(lv_remove(&vg, m).unwrap().vg.lvs.is_empty());
}

#[test]
fn changes_that_change_nothing() {
    let mut ids = Ids::default();
    let mut vg = vg_of(&mut ids, 1);
    let a = create(&mut vg, &mut ids, "a", "1", 1);
    let refused = [
        LvChange::Writable(true),
        LvChange::Alloc(AllocPolicy::Inherit),
        LvChange::ReadAhead(ReadAhead::Auto),
        LvChange::Minor(None),
        LvChange::Minor(Some(1 << 20)),
    ];
    for change in refused {
        assert!(lv_change(&vg, a, &change).is_err(), "{change:?}");
    }
    let done = lv_change(&vg, a, &LvChange::ReadAhead(ReadAhead::Sectors(12))).unwrap();
    assert_eq!(done.vg.lvs[a].read_ahead, ReadAhead::Sectors(8));
    assert_eq!(done.notices.len(), 1);
    let done = lv_change(&vg, a, &LvChange::Minor(Some(7))).unwrap();
    let lv = &done.vg.lvs[a];
    assert_eq!(
        (lv.status.fixed_minor, lv.major, lv.minor),
        (true, Some(0), Some(7))
    );
}

/// One random step; refusals are part of the game.
#[derive(Clone, Debug)]
enum Step {
    Create(u32, u32, usize),
    Resize(usize, i32, Option<u32>, usize),
    Remove(usize),
    Rename(usize, u8),
}

const POLICIES: [AllocPolicy; 5] = [
    AllocPolicy::Normal,
    AllocPolicy::Contiguous,
    AllocPolicy::Cling,
    AllocPolicy::Anywhere,
    AllocPolicy::ClingByTags,
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u32..30, 1u32..7, 0..POLICIES.len()).prop_map(|(n, s, p)| Step::Create(n, s, p)),
        3 => (0usize..8, -9i32..20, proptest::option::of(1u32..5), 0..POLICIES.len())
            .prop_map(|(l, n, s, p)| Step::Resize(l, n, s, p)),
        2 => (0usize..8).prop_map(Step::Remove),
        1 => (0usize..8, any::<u8>()).prop_map(|(l, n)| Step::Rename(l, n)),
    ]
}

fn apply(vg: &Vg, ids: &mut Ids, step: &Step, config: &AllocConfig) -> Result<Vg, OpError> {
    let pick = |n: &usize| vg.lvs.keys().nth(n % vg.lvs.len().max(1));
    match step {
        Step::Create(n, stripes, policy) => {
            let size = n.to_string();
            let mut request = request(None, &size, config);
            request.alloc = POLICIES[*policy];
            if *stripes > 1 {
                request.layout = Layout::Striped {
                    stripes: *stripes,
                    stripe_size: Sectors(128),
                };
            }
            lv_create(vg, &request, ids).map(|d| d.vg)
        }
        Step::Resize(lv, by, stripes, policy) => {
            let Some(lv) = pick(lv) else {
                return Ok(vg.clone());
            };
            let size = Size::parse_extents(&format!("{by:+}")).unwrap();
            lv_resize(
                vg,
                &LvResize {
                    lv,
                    direction: Direction::Either,
                    size,
                    stripes: *stripes,
                    stripe_size: Some(Sectors(128)),
                    pvs: None,
                    copies_given: false,
                    alloc: Some(POLICIES[*policy]),
                    config,
                },
            )
            .map(|d| d.vg)
        }
        Step::Remove(lv) => match pick(lv) {
            Some(lv) => lv_remove(vg, lv).map(|d| d.vg),
            None => Ok(vg.clone()),
        },
        Step::Rename(lv, n) => match pick(lv) {
            Some(lv) => lv_rename(vg, lv, &format!("r{n}")).map(|d| d.vg),
            None => Ok(vg.clone()),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// `Done::checked` refuses what breaks an invariant, so no error may be of that kind; and
    /// extents are neither lost nor found.
    #[test]
    fn random_operations_keep_the_invariants(
        steps in proptest::collection::vec(step(), 1..40),
        tagged in any::<bool>(),
        maximise_cling in any::<bool>(),
    ) {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 4);
        if tagged {
            vg.pvs.iter_mut().take(3).for_each(|(_, pv)| pv.tags.push("t".into()));
        }
        let cling_tag_list = if tagged { vec!["@t".to_owned()] } else { Vec::new() };
        let config = AllocConfig { maximise_cling, cling_tag_list, ..AllocConfig::default() };
        for step in &steps {
            match apply(&vg, &mut ids, step, &config) {
                Ok(new) => vg = new,
                Err(e) => prop_assert_ne!(e.kind, OpErrorKind::Broken, "{}: {:?}", e.message, step),
            }
        }
    }
}
