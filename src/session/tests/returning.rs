//! Commands that were interrupted, and disks that come back later.

use super::*;

/// Step 1 of a split of `d1.img` from `vg`, as a crash leaves it.
fn interrupted_split(place: &Place, names: &[String]) -> (LvmUuid, LvmUuid) {
    let old = place.make_vg(names, MIB - 4096);
    let (mut session, _) = place.session(names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    let old = session
        .vg_for_write_by_id("vg", &old.vg.id, Allow::default())
        .unwrap();
    let mut split = Vg::new("split", RandomIds.new_id(), old.vg.extent_size);
    let key = old.vg.pvs.keys().nth(1).unwrap();
    split.pvs.push(old.vg.pvs[key].clone());
    split.seqno = 1;
    ulvm_metadata::ops::vg_settle::mark_split(&mut split, &old.vg.id);
    let ids = (old.vg.id, split.id);
    session
        .write_vg(split, crate::session::commit::Mode::New(Some(old.vg.id)))
        .unwrap();
    ids
}

#[test]
fn an_interrupted_split_is_read_as_done_and_finished_by_the_next_writer() {
    for writer in ["vg", "split"] {
        let place = Place::new();
        let names = place.images(3);
        let (from, _) = interrupted_split(&place, &names);
        let (inventory, warnings) = place.look(&names);
        assert_eq!(sizes(&inventory), [("split", 1, false), ("vg", 2, false)]);
        assert_eq!(inventory.unfinished.len(), 1);
        assert!(warnings.iter().any(|w| w.contains("was interrupted")));
        // Whoever reads one of the two alone sees the same.
        for (name, pvs) in [("vg", 2), ("split", 1)] {
            let (mut session, _) = place.session(&names, "a=1");
            let read = session.vg_for_read(name, Allow::default()).unwrap();
            assert_eq!(read.vg.pvs.len(), pvs, "{name}");
            assert!(!read.partial());
        }
        let (mut session, _) = place.session(&names, "a=1");
        edit_one(&mut session, writer);
        drop(session);
        let (inventory, warnings) = place.look(&names);
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(sizes(&inventory), [("split", 1, false), ("vg", 2, false)]);
        assert!(inventory.unfinished.is_empty());
        assert_eq!(inventory.vgs[1].vg.id, from);
    }
}

#[test]
fn an_interrupted_merge_is_read_as_done() {
    // The next writer may see the device or not.
    interrupted_merge(false);
    interrupted_merge(true);
}

fn interrupted_merge(edited: bool) {
    let place = Place::new();
    let names = place.images(3);
    place.make_vg(&names[..2], MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    let device = place.devices(&mut session, &names[2..])[0];
    let found = session.create_pv(device, &new_pv(MIB - 4096)).unwrap();
    let mut other = Vg::new("other", RandomIds.new_id(), Sectors(2048));
    other
        .pvs
        .push(Pv::new(found.label.id, Sectors(2048), Extents(15)));
    session.commit_new(other).unwrap();
    drop(session);
    let before = std::fs::read(place.path("d2.img")).unwrap();
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    let from = session.vg_for_write("other", Allow::default()).unwrap();
    let into = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut merged = Vg::clone(&into.vg);
    merged
        .pvs
        .push(from.vg.pvs.values().next().unwrap().clone());
    session.commit_merge(&into, &from, merged).unwrap();
    drop(session);
    // The device of the VG that vanishes was not reached.
    if edited {
        edit_without(&place, "vg", &names[..2]);
    }
    not_reached(&place.path("d2.img"), &before);
    let (inventory, warnings) = place.look(&names);
    assert_eq!(sizes(&inventory), [("vg", 3, false)]);
    assert!(warnings.iter().any(|w| w.contains("interrupted")));
    let (mut session, _) = place.session(&names, "a=1");
    assert!(session.vg_for_write("other", Allow::default()).is_err());
    drop(session);
    edit_without(&place, "vg", &names);
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(sizes(&inventory), [("vg", 3, false)]);
}

/// `vg` without its first disk is removed, and a new VG made of the second; the first comes back.
fn taken_by_another_vg(place: &Place, names: &[String]) {
    place.make_vg(names, MIB - 4096);
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let (mut session, _) = place.session(&names[1..], "a=1");
    let old = session.vg_for_write("vg", allow).unwrap();
    let mut without = Vg::clone(&old.vg);
    without.pvs.remove(old.missing()[0]).unwrap();
    let now = session.commit(&old, without).unwrap();
    session.remove_vg(&now).unwrap();
    let mut other = Vg::new("other", RandomIds.new_id(), Sectors(2048));
    let pv = now.vg.pvs.values().next().unwrap();
    other.pvs.push(pv.clone());
    session.commit_new(other).unwrap();
}

#[test]
fn a_vg_that_comes_back_leaves_the_pvs_of_others_alone() {
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    for step in ["change", "reduce", "repair", "remove"] {
        let place = Place::new();
        let names = place.images(2);
        taken_by_another_vg(&place, &names);
        let (inventory, warnings) = place.look(&names);
        assert_eq!(missing(&inventory, "vg"), [false, true]);
        assert_eq!(missing(&inventory, "other"), [false]);
        let said = |w: &&String| w.contains("belongs to VG other now");
        assert_eq!(warnings.iter().filter(said).count(), 1, "{warnings:?}");
        let before = std::fs::read(place.path("d1.img")).unwrap();
        let (mut session, _) = place.session(&names, "a=1");
        session.lock_global(LockMode::Exclusive).unwrap();
        let read = session.vg_for_write("vg", allow).unwrap();
        assert_eq!(read.missing().len(), 1);
        match step {
            "change" => drop(session.commit(&read, tagged(&read, "x")).unwrap()),
            "repair" => drop(session.repair(&read).unwrap()),
            "remove" => session.remove_vg(&read).unwrap(),
            _ => {
                let mut less = Vg::clone(&read.vg);
                less.pvs.remove(read.missing()[0]).unwrap();
                session.commit(&read, less).unwrap();
            }
        }
        drop(session);
        assert!(
            std::fs::read(place.path("d1.img")).unwrap() == before,
            "{step}"
        );
        let (mut session, _) = place.session(&names, "a=1");
        edit_one(&mut session, "other");
        drop(session);
        let (inventory, warnings) = place.look(&names);
        assert_eq!(missing(&inventory, "other"), [false], "{step}");
        if step == "reduce" {
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }
}

#[test]
fn an_old_copy_of_a_vg_does_not_undo_a_split_from_it() {
    let place = Place::new();
    let names = place.images(2);
    interrupted_split(&place, &names);
    let copy = std::fs::read(place.path("d0.img")).unwrap();
    let (mut session, _) = place.session(&names, "a=1");
    edit_one(&mut session, "split");
    drop(session);
    std::fs::write(place.path("d0.img"), copy).unwrap();
    let before = std::fs::read(place.path("d1.img")).unwrap();
    let (inventory, _) = place.look(&names);
    assert_eq!(sizes(&inventory), [("split", 1, false), ("vg", 2, false)]);
    assert_eq!(missing(&inventory, "split"), [false]);
    assert_eq!(missing(&inventory, "vg"), [false, true]);
    edit_without(&place, "vg", &names);
    assert!(std::fs::read(place.path("d1.img")).unwrap() == before);
    let (inventory, _) = place.look(&names);
    assert_eq!(sizes(&inventory), [("split", 1, false), ("vg", 2, false)]);
}

#[test]
fn a_split_that_was_finished_without_the_other_disks_stays() {
    let place = Place::new();
    let names = place.images(2);
    interrupted_split(&place, &names);
    // The disk that was to be taken away is, and changed where it went to.
    for _ in 0..2 {
        edit_without(&place, "split", &names[1..]);
    }
    let (inventory, warnings) = place.look(&names[1..]);
    assert_eq!(sizes(&inventory), [("split", 1, false)]);
    assert!(warnings.is_empty(), "{warnings:?}");
    // And comes back.
    for writer in ["vg", "split"] {
        let (inventory, _) = place.look(&names);
        assert_eq!(sizes(&inventory), [("split", 1, false), ("vg", 1, false)]);
        let (mut session, _) = place.session(&names, "a=1");
        edit_one(&mut session, writer);
    }
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    let split = inventory.find_vg("split").unwrap();
    assert_eq!((split.vg.tags.len(), split.vg.extra.len()), (3, 0));
}

/// As in LVM2: `pvs` on such PVs, then `lvcreate`.
#[test]
fn an_unused_pv_that_comes_back_is_used_again() {
    let place = Place::new();
    let names = place.images(2);
    place.make_vg(&names, MIB - 4096);
    edit_without(&place, "vg", &names[..1]);
    let (inventory, warnings) = place.look(&names);
    assert_eq!(missing(&inventory, "vg"), [false, false]);
    let said = |w: &String| w.contains("VG vg has unused reappeared PV");
    assert!(warnings.iter().any(said), "{warnings:?}");
    let (mut session, _) = place.session(&names, "a=1");
    edit_one(&mut session, "vg");
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    let vg = &inventory.vgs[0].vg;
    assert_eq!((vg.seqno, vg.pvs.values().any(|pv| pv.missing)), (3, false));
}
