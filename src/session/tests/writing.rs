//! What sessions write, and what they refuse to.

use ulvm_test_support::rng::Rng;

use super::*;

#[test]
fn a_vg_is_made_changed_renamed_and_removed() {
    let place = Place::new();
    let names = place.images(2);
    let made = place.make_vg(&names, MIB - 4096);
    assert_eq!((made.vg.seqno, made.missing().len()), (1, 0));
    let (inventory, warnings) = place.look(&names);
    assert_same(&inventory.vgs[0], &made);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(inventory.vgs[0].found().all(|f| f.label.used));
    assert_eq!(list(&place, "archive").len(), 0);

    let (mut session, _) = place.session(&names, "a=1");
    let now = edit(&mut session, "one");
    let now = session.commit(&now, tagged(&now, "two")).unwrap();
    assert_eq!((now.vg.seqno, now.vg.tags.len()), (3, 2));
    assert_eq!(session.inventory().vgs[0].vg, now.vg);
    drop(session);
    assert_same(&place.look(&names).0.vgs[0], &now);
    assert_eq!(list(&place, "archive").len(), 2);
    let backup = std::fs::read(place.path("lvm/backup/vg")).unwrap();
    let backup = ulvm_metadata::convert::import(&backup).unwrap();
    assert_eq!(backup.vg.seqno, 3);
    assert_eq!(
        backup.header.description,
        "Created *after* executing 'test'"
    );

    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut new = Vg::clone(&old.vg);
    new.name = "other".into();
    session.commit(&old, new).unwrap();
    drop(session);
    assert_eq!(list(&place, "backup"), ["other"]);

    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("other", Allow::default()).unwrap();
    session.remove_vg(&old).unwrap();
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(
        inventory.vgs.is_empty() && warnings.is_empty(),
        "{warnings:?}"
    );
    assert!(inventory.orphans.len() == 2 && inventory.orphans.iter().all(|o| !o.label.used));
    assert_eq!(std::fs::read_dir(place.path("lock")).unwrap().count(), 0);
}

#[test]
fn pvs_join_leave_and_move_between_vgs() {
    let place = Place::new();
    let names = place.images(3);
    let made = place.make_vg(&names, MIB - 4096);
    // vgreduce
    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut less = Vg::clone(&old.vg);
    let last = less.pvs.keys().next_back().unwrap();
    let gone = less.pvs.remove(last).unwrap();
    let now = session.commit(&old, less).unwrap();
    assert_eq!(session.inventory().orphans.len(), 1);
    // vgextend
    let mut more = Vg::clone(&now.vg);
    more.pvs.push(gone);
    let now = session.commit(&now, more).unwrap();
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(
        warnings.is_empty() && inventory.orphans.is_empty(),
        "{warnings:?}"
    );
    assert_same(&inventory.vgs[0], &now);
    // vgsplit
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut rest = Vg::clone(&old.vg);
    let key = rest.pvs.keys().next().unwrap();
    let mut split = Vg::new("split", RandomIds.new_id(), rest.extent_size);
    split.pvs.push(rest.pvs.remove(key).unwrap());
    let split = session.commit_split(&old, Some(rest), split, None).unwrap();
    assert_eq!((split.vg.seqno, split.vg.status.exported), (2, false));
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    let mut sizes: Vec<_> = inventory
        .vgs
        .iter()
        .map(|v| (v.vg.name.as_str(), v.vg.pvs.len()))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [("split", 1), ("vg", 2)]);
    // vgmerge
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    let from = session.vg_for_write("split", Allow::default()).unwrap();
    let into = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut merged = Vg::clone(&into.vg);
    for pv in from.vg.pvs.values() {
        merged.pvs.push(pv.clone());
    }
    session.commit_merge(&into, &from, merged).unwrap();
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!((inventory.vgs.len(), inventory.vgs[0].vg.pvs.len()), (1, 3));
    assert_eq!(inventory.vgs[0].vg.id, made.vg.id);
}

#[test]
fn test_mode_shows_the_change_and_writes_nothing() {
    let place = Place::new();
    let names = place.images(2);
    place.make_vg(&names, MIB - 4096);
    let content = |n: &String| std::fs::read(place.path(n)).unwrap();
    let before: Vec<_> = names.iter().map(content).collect();
    let (mut session, _) = place.session_with(&names, "a=1", |s| s.test = true);
    let now = edit(&mut session, "one");
    assert_eq!((now.vg.seqno, session.inventory().vgs[0].vg.seqno), (2, 2));
    session.remove_vg(&now).unwrap();
    assert_eq!(session.inventory().orphans.len(), 2);
    drop(session);
    assert!(names.iter().map(content).eq(before));
    assert_eq!(list(&place, "archive").len(), 0);
}

#[test]
fn a_full_area_is_an_error_before_anything_is_written_and_a_warning_before_that() {
    let place = Place::new();
    let names = place.images(1);
    place.make_vg(&names, 32 * 1024);
    let (mut session, ui) = place.session(&names, "a=1");
    let mut warned_at = None;
    let mut last = session.vg_for_write("vg", Allow::default()).unwrap();
    let error = loop {
        let mut new = Vg::clone(&last.vg);
        new.tags
            .push(format!("{}{}", "t".repeat(900), last.vg.seqno));
        match session.commit(&last, new) {
            Ok(now) => last = now,
            Err(e) => break e,
        }
        if warned_at.is_none()
            && ui
                .warnings()
                .iter()
                .any(|w| w.contains("Metadata of VG vg takes"))
        {
            warned_at = Some(last.vg.seqno);
        }
    };
    assert_eq!(error.kind(), crate::error::Kind::NoSpace);
    assert!(warned_at.is_some_and(|s| s < last.vg.seqno));
    drop(session);
    assert_same(&place.look(&names).0.vgs[0], &last);
}

#[test]
fn damage_is_mended_by_a_write_or_by_repair() {
    let place = Place::new();
    let devices = place.vector("stale-mda");
    let (mut session, ui) = place.session(&devices, "a=1");
    let old = session
        .vg_for_write("v-stale-mda", Allow::default())
        .unwrap();
    let now = session.commit(&old, tagged(&old, "x")).unwrap();
    assert!(
        now.mdas()
            .all(|m| matches!(m.state, MdaState::Current { .. }))
    );
    assert!(
        ui.warnings()
            .iter()
            .any(|w| w.contains("updating old metadata to 7 on"))
    );
    drop(session);
    assert!(place.look(&devices).1.is_empty());

    for case in ["corrupt-text-one", "corrupt-mda-header"] {
        let place = Place::new();
        let devices = place.vector(case);
        let (mut session, _) = place.session(&devices, "a=1");
        let name = format!("v-{case}");
        let old = session.vg_for_write(&name, Allow::default()).unwrap();
        let now = session.commit(&old, tagged(&old, "x")).unwrap();
        let bad = |v: &VgRead| {
            v.mdas()
                .filter(|m| matches!(m.state, MdaState::Bad(_)))
                .count()
        };
        assert_eq!(bad(&now), 1, "{case}: a bad area is left alone");
        let now = session.repair(&now).unwrap();
        assert_eq!(bad(&now), 0);
        drop(session);
        let (inventory, warnings) = place.look(&devices);
        assert!(warnings.is_empty(), "{case}: {warnings:?}");
        assert_eq!(inventory.vgs[0].vg.seqno, now.vg.seqno);
    }
}

#[test]
fn what_must_not_be_changed_is_refused_in_lvm2s_words() {
    for (case, words) in [
        (
            "partial",
            "Cannot change VG v-partial while PVs are missing.",
        ),
        ("exported", "Volume group v-exported is exported"),
        (
            "duplicate-pv",
            "Cannot update volume group v-duplicate-pv with duplicate PV devices.",
        ),
        (
            "foreign-system-id",
            "Volume group \"v-foreign-system-id\" not found",
        ),
    ] {
        let place = Place::new();
        let devices = place.vector(case);
        let (mut session, _) = place.session(&devices, "a=1");
        let e = session
            .vg_for_write(&format!("v-{case}"), Allow::default())
            .unwrap_err();
        assert_eq!(e.lines()[0], words);
    }
}

#[test]
fn ignored_areas_hold_no_text_and_come_back() {
    let place = Place::new();
    let names = place.images(2);
    place.make_vg(&names, MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let first = old.found().next().unwrap().device;
    session.set_mda_ignored(first, true).unwrap();
    let now = session.commit(&old, tagged(&old, "x")).unwrap();
    let ignored = |v: &VgRead| v.mdas().filter(|m| m.state == MdaState::Ignored).count();
    assert_eq!(ignored(&now), 1);
    let now = session.commit(&now, tagged(&now, "y")).unwrap();
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty());
    assert_same(&inventory.vgs[0], &now);
    assert_eq!(ignored(&inventory.vgs[0]), 1);
    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut all = Vg::clone(&old.vg);
    all.metadata_copies = u32::MAX;
    session.set_mda_ignored(first, false).unwrap();
    let now = session.commit(&old, all).unwrap();
    assert_eq!((ignored(&now), now.vg.metadata_copies), (0, 0));
}

/// Threads stand for commands: their locks are per open file. Half of them share a lock directory,
/// half have none at all in common and meet only at the images.
#[test]
fn concurrent_edits_lose_nothing() {
    let place = Place::new();
    let names = place.images(2);
    place.make_vg(&names, MIB - 4096);
    let (threads, edits) = (4, 5);
    std::thread::scope(|scope| {
        // A reader that no lock file keeps away always sees one whole VG and nothing wrong.
        let (place, names) = (&place, &names);
        scope.spawn(move || {
            for _ in 0..40 {
                let (mut session, ui) = place.session_with(names, "a=1", |s| {
                    s.env.lock_dir = Some(place.path("reader"));
                });
                let seen = session.read(Scope::All).unwrap().vgs.len();
                assert_eq!((seen, ui.warnings()), (1, Vec::new()));
            }
        });
        for t in 0..threads {
            scope.spawn(move || {
                for e in 0..edits {
                    let (mut session, _) = place.session_with(names, "backup/archive=0", |s| {
                        if t % 2 == 1 {
                            s.env.lock_dir = Some(place.path(&format!("lock{t}")));
                        }
                    });
                    edit(&mut session, &format!("t{t}e{e}"));
                }
            });
        }
    });
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    let vg = &inventory.vgs[0].vg;
    assert_eq!(
        (vg.seqno, vg.tags.len()),
        (1 + threads * edits, (threads * edits) as usize)
    );
}

#[test]
fn signatures_are_wiped_only_with_a_yes() {
    let place = Place::new();
    let names = place.images(1);
    let path = place.path(&names[0]);
    let mut content = std::fs::read(&path).unwrap();
    content[..4].copy_from_slice(b"XFSB");
    std::fs::write(&path, &content).unwrap();
    let (mut session, ui) = place.session(&names, "a=1");
    let device = place.devices(&mut session, &names)[0];
    let e = session.wipe_signatures(device).unwrap_err();
    assert_eq!(e.kind(), crate::error::Kind::Declined);
    assert!(ui.asked.borrow()[0].contains("xfs signature detected on"));
    assert!(std::fs::read(&path).unwrap() == content);
    drop(session);
    let (mut session, _) = place.session_with(&names, "a=1", |s| s.yes = true);
    let device = place.devices(&mut session, &names)[0];
    session.wipe_signatures(device).unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[..4], [0; 4]);
    session.create_pv(device, &new_pv(MIB - 4096)).unwrap();
    session.remove_pv(device).unwrap();
    drop(session);
    assert!(place.look(&names).0.orphans.is_empty());
}

/// Bytes are changed in the label, headers and texts of one or two PVs of three. Whatever is left
/// is read without a panic; if the VG can still be changed, the change is found again.
#[test]
fn random_damage_never_panics_and_what_is_written_is_found() {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    let names = place.images(3);
    place.make_vg(&names, MIB - 4096);
    let (mut session, _) = place.session(&names, "backup/archive=0 backup/backup=0");
    for n in 0..20 {
        edit(&mut session, &format!("t{n}"));
    }
    drop(session);
    let open = |name: &String| {
        let mut options = std::fs::File::options();
        options
            .read(true)
            .write(true)
            .open(place.path(name))
            .unwrap()
    };
    // Label, header and the part of the ring that is in use.
    let start = |name: &String| {
        let mut bytes = vec![0; 256 * 1024];
        open(name).read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let whole: Vec<Vec<u8>> = names.iter().map(start).collect();
    let mut numbers = Rng::new(7);
    let mut changed = 0;
    for round in 0..120 {
        for (name, content) in names.iter().zip(&whole) {
            open(name).write_all_at(content, 0).unwrap();
        }
        for _ in 0..=numbers.below(3) {
            let name = &names[numbers.below(2) as usize];
            let file = open(name);
            // Half of the damage goes to the structures, half to the ring.
            let at = match numbers.below(2) {
                0 => 512 + numbers.below(200),
                _ => 4096 + numbers.below(9000),
            };
            let byte = [numbers.below(256) as u8; 8];
            file.write_all_at(&byte[..1 + numbers.below(8) as usize], at)
                .unwrap();
        }
        place.look(&names);
        let (mut session, _) = place.session(&names, "backup/archive=0 backup/backup=0");
        let allow = Allow {
            missing: true,
            ..Allow::default()
        };
        let Ok(old) = session.vg_for_write("vg", allow) else {
            continue;
        };
        if let Ok(new) = session.commit(&old, tagged(&old, &format!("r{round}"))) {
            drop(session);
            let (inventory, _) = place.look(&names);
            assert_eq!(inventory.vgs[0].vg.seqno, new.vg.seqno, "round {round}");
            assert_eq!(inventory.vgs[0].vg.tags, new.vg.tags);
            changed += 1;
        }
    }
    assert!(changed > 100, "only {changed} of 120 could be changed");
}

#[test]
fn an_area_that_failed_is_left_alone_by_the_rest_of_the_command() {
    use crate::disk::tape;
    let place = Place::new();
    let names = place.images(2);
    place.make_vg(&names, MIB - 4096);
    let ((), _) = tape::record(|| {
        let (mut session, ui) = place.session(&names, "a=1");
        let old = session.vg_for_write("vg", Allow::default()).unwrap();
        tape::break_writes(&place.path("d1.img"), 4096, 2);
        let now = session.commit(&old, tagged(&old, "a")).unwrap();
        tape::heal_writes();
        let said = |w: &String| w.contains("Failed to write metadata of VG vg");
        assert!(ui.warnings().iter().any(said));
        let before = std::fs::read(place.path("d1.img")).unwrap();
        session.commit(&now, tagged(&now, "b")).unwrap();
        assert!(std::fs::read(place.path("d1.img")).unwrap() == before);
    });
    let (mut session, _) = place.session(&names, "a=1");
    edit(&mut session, "c");
    drop(session);
    let (inventory, warnings) = place.look(&names);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(inventory.vgs[0].vg.tags.len(), 3);
}

#[test]
fn a_vg_with_a_missing_pv_is_changed_twice() {
    let place = Place::new();
    let names = place.images(3);
    place.make_vg(&names, MIB - 4096);
    let there = [names[0].clone(), names[2].clone()];
    let (mut session, _) = place.session(&there, "a=1");
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let old = session.vg_for_write("vg", allow).unwrap();
    let now = session.commit(&old, tagged(&old, "one")).unwrap();
    let lost = now.missing();
    assert!(now.vg.pvs[lost[0]].missing);
    let mut without = Vg::clone(&now.vg);
    without.pvs.remove(lost[0]).unwrap();
    let now = session.commit(&now, without).unwrap();
    assert_eq!((now.vg.seqno, now.partial()), (3, false));
    drop(session);
    let (inventory, warnings) = place.look(&there);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_same(&inventory.vgs[0], &now);
}

#[test]
fn a_vg_that_was_read_before_another_change_is_not_written() {
    let place = Place::new();
    let names = place.images(1);
    place.make_vg(&names, MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    session.commit(&old, tagged(&old, "one")).unwrap();
    let archived = list(&place, "archive").len();
    let error = session.commit(&old, tagged(&old, "two")).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("seqno 2 now, 1 then"), "{said}");
    assert!(session.remove_vg(&old).is_err() && session.repair(&old).is_err());
    assert_eq!(list(&place, "archive").len(), archived);
    drop(session);
    assert_eq!(place.look(&names).0.vgs[0].vg.tags, ["one"]);
}
