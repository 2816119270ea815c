//! Backups over whatever there is.

use super::*;

#[test]
fn a_backup_is_restored_over_whatever_there_is() {
    let place = Place::new();
    let names = place.images(2);
    let made = place.make_vg(&names, MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    for tag in ["a", "b", "c"] {
        edit(&mut session, tag);
    }
    drop(session);
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    session.scan().unwrap();
    let restored = session.restore(Vg::clone(&made.vg)).unwrap();
    assert_eq!((restored.vg.seqno, restored.vg.tags.len()), (2, 0));
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(inventory.vgs[0].vg.seqno, 2);
    let (mut session, _) = place.session(&names[..1], "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    session.scan().unwrap();
    assert!(session.restore(Vg::clone(&made.vg)).is_err());
}

/// A PV that joined after the backup was made holds a newer text, which must not undo the restore.
#[test]
fn a_restore_is_not_undone_by_pvs_that_joined_later() {
    let place = Place::new();
    let names = place.images(2);
    let made = place.make_vg(&names, MIB - 4096);
    let mut smaller = Vg::clone(&made.vg);
    let (left_behind, _) = smaller.pvs.iter().next_back().unwrap();
    smaller.pvs.remove(left_behind);
    let (mut session, _) = place.session(&names, "a=1");
    for tag in ["a", "b"] {
        edit(&mut session, tag);
    }
    drop(session);
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    session.scan().unwrap();
    let restored = session.restore(smaller).unwrap();
    assert_eq!(restored.vg.seqno, made.vg.seqno + 3);
    drop(session);
    let (inventory, _) = place.look(&names);
    let vg = &inventory.vgs[0];
    assert_eq!((vg.vg.pvs.len(), vg.vg.tags.len()), (1, 0));
    assert_eq!(vg.outdated.len(), 1);
}

/// The third PV is left out of the VG while it is away, and comes back: the VG as it was.
#[test]
fn a_pv_that_was_removed_while_it_was_away_is_restored() {
    let place = Place::new();
    let names = place.images(2);
    let made = place.make_vg(&names, MIB - 4096);
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let (mut session, _) = place.session(&names[..1], "a=1");
    let old = session.vg_for_write("vg", allow).unwrap();
    let mut without = Vg::clone(&old.vg);
    without.pvs.remove(old.missing()[0]).unwrap();
    session.commit(&old, without).unwrap();
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert_eq!(inventory.vgs[0].outdated.len(), 1);
    let said = |w: &String| w.contains("outdated PV") && w.contains("seqno 1 has been removed");
    assert!(warnings.iter().any(said), "{warnings:?}");
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    session.scan().unwrap();
    session.restore((*made.vg).clone()).unwrap();
    drop(session);
    let (inventory, _) = place.look(&names);
    assert_eq!(missing(&inventory, "vg"), [false, false]);
    assert!(inventory.vgs[0].outdated.is_empty());
}

/// vgcfgrestore that puts another PV in the place of one was killed before it committed.
#[test]
fn a_restored_pv_is_not_taken_for_the_one_it_replaces() {
    let place = Place::new();
    let names = place.images(3);
    let made = place.make_vg(&names[..2], MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    let device = place.devices(&mut session, &names[2..])[0];
    let third = session.create_pv(device, &new_pv(MIB - 4096)).unwrap();
    let before: Vec<_> = names
        .iter()
        .map(|n| std::fs::read(place.path(n)).unwrap())
        .collect();
    let mut archived = Vg::clone(&made.vg);
    let second = archived.pvs.keys().nth(1).unwrap();
    archived.pvs[second].id = third.label.id;
    session.restore(archived.clone()).unwrap();
    drop(session);
    for n in [0, 2] {
        not_reached(&place.path(&names[n]), &before[n]);
    }
    let check = || {
        let (inventory, _) = place.look(&names);
        assert!(inventory.duplicates.is_empty());
        assert_eq!(missing(&inventory, "vg"), [false, false]);
        inventory
    };
    assert_eq!(check().orphans[0].label.id, third.label.id);
    // It can be done again.
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    session.scan().unwrap();
    session.restore(archived).unwrap();
    drop(session);
    let read = check().vgs.remove(0);
    assert!(read.vg.find_pv(&third.label.id).is_some());
}

#[test]
fn a_restore_that_does_not_rule_is_an_error() {
    use crate::disk::tape;
    let place = Place::new();
    let names = place.images(2);
    let made = place.make_vg(&names, MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    for tag in ["a", "b", "c"] {
        edit(&mut session, tag);
    }
    drop(session);
    let ((), _) = tape::record(|| {
        let (mut session, _) = place.session(&names, "a=1");
        session.lock_global(LockMode::Exclusive).unwrap();
        session.scan().unwrap();
        tape::break_writes(&place.path("d1.img"), 4096, 2);
        let e = session.restore((*made.vg).clone()).unwrap_err();
        tape::heal_writes();
        assert!(e.to_string().contains("is newer, and rules"), "{e}");
    });
    let (inventory, _) = place.look(&names);
    assert_eq!(inventory.vgs[0].vg.seqno, 4);
}
