//! What must hold of mirrors whatever is done to them. Which extents LVM2 takes is compared with
//! LVM2 itself.

use super::super::OpErrorKind;
use super::super::fixture::{Ids, linear, vg_of};
use super::*;
use crate::alloc::AllocConfig;
use crate::model::{Area, Creation, LvKey, PvKey, SegmentKind, Vg};
use crate::units::{Extents, Sectors};

fn growth(config: &AllocConfig) -> Growth<'_> {
    Growth {
        pvs: None,
        alloc: None,
        region: Sectors(4096),
        creation: Creation {
            time: 1,
            host: "h".into(),
        },
        config,
    }
}

/// A raid1 LV `r` of three extents with so many images, on a VG of five PVs.
fn raid1(images: u32) -> (Ids, Vg, LvKey) {
    let mut ids = Ids::default();
    let mut vg = vg_of(&mut ids, 5);
    let first = vg.pvs.keys().next().unwrap();
    let lv = linear(&mut vg, &mut ids, "r", first, 4, 3);
    let config = AllocConfig::default();
    let done = raid1_grow(&vg, lv, images, Sync::Unknown, &growth(&config), &mut ids).unwrap();
    assert_eq!(done.value.len(), images as usize - 1);
    (ids, done.vg, lv)
}

/// PVs of each image, which its metadata share.
fn image_pvs(vg: &Vg, lv: LvKey) -> Vec<PvKey> {
    let pv = |lv: LvKey| match vg.lvs[lv].segments[0].areas()[0].0 {
        Area::Pv { pv, .. } => pv,
        Area::Lv { .. } => panic!("an image of LVs"),
    };
    let images = &raid1_of(vg, lv).unwrap().images;
    let both = images.iter().map(|image| {
        let Area::Lv { lv, .. } = image.image else {
            panic!("an image on a PV")
        };
        assert_eq!(pv(lv), pv(image.meta.unwrap()));
        pv(lv)
    });
    both.collect()
}

fn names(vg: &Vg) -> Vec<&str> {
    let mut names: Vec<_> = vg.lvs.values().map(|lv| lv.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn images_lie_on_pvs_of_their_own_beside_their_metadata() {
    let (_, vg, lv) = raid1(4);
    let mut pvs = image_pvs(&vg, lv);
    pvs.sort_unstable();
    pvs.dedup();
    assert_eq!(pvs.len(), 4);
    assert_eq!(vg.lvs[lv].extents(), Extents(3));
    assert_eq!(vg.lvs.len(), 9);
}

#[test]
fn there_and_back_leaves_what_there_was() {
    let (_, vg, lv) = raid1(3);
    let two = raid1_shrink(&vg, lv, 2, None, Sync::Done).unwrap().vg;
    assert_eq!(
        names(&two),
        ["r", "r_rimage_0", "r_rimage_1", "r_rmeta_0", "r_rmeta_1"]
    );
    let one = raid1_shrink(&two, lv, 1, None, Sync::Done).unwrap().vg;
    assert_eq!(names(&one), ["r"]);
    let first = vg.pvs.keys().next().unwrap();
    let at = one.lvs[lv].segments[0].areas();
    let was = Area::Pv {
        pv: first,
        extent: Extents(4),
    };
    assert_eq!(at, [(was, Extents(3))]);
}

#[test]
fn the_first_image_stays_while_others_lack_what_it_has() {
    let (_, vg, lv) = raid1(2);
    let first = [image_pvs(&vg, lv)[0]];
    for sync in [Sync::Running, Sync::Unknown] {
        let refused = raid1_shrink(&vg, lv, 1, Some(&first), sync).unwrap_err();
        assert_eq!(refused.kind, OpErrorKind::Refused);
    }
    let gone = raid1_shrink(&vg, lv, 1, Some(&first), Sync::Done).unwrap();
    let left = gone.vg.lvs[lv].segments[0].areas()[0].0;
    assert!(!matches!(left, Area::Pv { pv, .. } if pv == first[0]));
}

#[test]
fn numbers_close_up_behind_an_image_that_goes() {
    let (_, vg, lv) = raid1(3);
    let pvs = image_pvs(&vg, lv);
    let done = raid1_shrink(&vg, lv, 2, Some(&pvs[1..2]), Sync::Done).unwrap();
    assert_eq!(image_pvs(&done.vg, lv), [pvs[0], pvs[2]]);
    assert!(names(&done.vg).contains(&"r_rmeta_1"));
    assert!(
        !names(&done.vg)
            .iter()
            .any(|name| name.contains("extracted"))
    );
}

#[test]
fn a_replaced_image_keeps_its_number_and_leaves_its_pv() {
    let (mut ids, vg, lv) = raid1(3);
    let pvs = image_pvs(&vg, lv);
    let config = AllocConfig::default();
    let growth = growth(&config);
    let done = raid1_replace(&vg, lv, &pvs[1..2], Sync::Done, &growth, &mut ids).unwrap();
    let now = image_pvs(&done.vg, lv);
    assert_eq!((now[0], now[2]), (pvs[0], pvs[2]));
    assert!(!pvs.contains(&now[1]));
    assert_eq!(names(&done.vg), names(&vg));
    let all = raid1_replace(&vg, lv, &pvs, Sync::Done, &growth, &mut ids).unwrap_err();
    assert_eq!(all.kind, OpErrorKind::Refused);
}

#[test]
fn an_image_split_off_is_an_lv_and_one_that_is_followed_comes_back() {
    let (_, vg, lv) = raid1(3);
    let split = raid1_split(&vg, lv, (1, "s"), None, Sync::Done).unwrap();
    assert!(split.vg.lvs[split.value].status.visible);
    assert_eq!(raid1_of(&split.vg, lv).unwrap().images.len(), 2);
    assert_eq!(split.vg.lvs.len(), 6);
    let unsynced = raid1_split(&vg, lv, (1, "s"), None, Sync::Running);
    assert_eq!(unsynced.unwrap_err().kind, OpErrorKind::Refused);

    let followed = raid1_track(&vg, lv, None, Sync::Done).unwrap();
    assert_eq!(tracked(&followed.vg, lv), Some(followed.value));
    let busy = raid1_shrink(&followed.vg, lv, 1, None, Sync::Done);
    assert_eq!(busy.unwrap_err().kind, OpErrorKind::Refused);
    let merged = raid1_merge(&followed.vg, followed.value).unwrap();
    assert_eq!(merged.vg, vg);
}

#[test]
fn a_mirror_gets_legs_and_a_log_and_becomes_raid1() {
    let mut ids = Ids::default();
    let mut vg = vg_of(&mut ids, 4);
    let first = vg.pvs.keys().next().unwrap();
    let lv = linear(&mut vg, &mut ids, "m", first, 4, 3);
    let config = AllocConfig::default();
    let growth = growth(&config);
    let begun = mirror_grow(&vg, lv, (2, true), Sync::Unknown, &growth, &mut ids).unwrap();
    assert_eq!(begun.value, None);
    assert_eq!(
        names(&begun.vg),
        ["m", "m_mimage_0", "m_mimage_1", "m_mlog"]
    );
    // A log that says "equal" of the old legs must not be believed of a new one.
    let more = mirror_grow(&begun.vg, lv, (3, true), Sync::Done, &growth, &mut ids).unwrap();
    assert_eq!(more.value, mirror_of(&begun.vg, lv).unwrap().log);
    assert!(more.value.is_some());
    let unsynced = mirror_shrink(&begun.vg, lv, 1, Some(&[first]), Sync::Running);
    assert_eq!(unsynced.unwrap_err().kind, OpErrorKind::Refused);
    let raid = mirror_to_raid1(&more.vg, lv, &growth, &mut ids).unwrap().vg;
    assert_eq!(image_pvs(&raid, lv).len(), 3);
    assert!(raid.find_lv("m_mlog").is_none());
    let back = mirror_shrink(&begun.vg, lv, 1, None, Sync::Done)
        .unwrap()
        .vg;
    assert_eq!(back.lvs.len(), 1);
    assert!(matches!(
        back.lvs[lv].segments[0].kind,
        SegmentKind::Striped { .. }
    ));
}
