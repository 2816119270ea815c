//! Sessions over image files.

mod damage;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ulvm_metadata::convert::{Style, TextHeader, export};
use ulvm_metadata::model::{Pv, Vg};
use ulvm_metadata::units::{Extents, Sectors};

use super::*;
use crate::inventory::{MdaState, VgRead};
use crate::ui::Recorder;

/// A directory with images, a system directory and a lock directory of its own.
pub(super) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Unpacks the images of a vector; their names.
    fn vector(&self, case: &str) -> Vec<String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/vectors")
            .join(case);
        let mut names: Vec<String> = std::fs::read_dir(&dir)
            .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
            .filter_map(|e| {
                let name = e.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".img.zst").map(str::to_owned)
            })
            .collect();
        names.sort();
        for name in &names {
            let packed = std::fs::File::open(dir.join(format!("{name}.img.zst"))).unwrap();
            let mut packed = ruzstd::decoding::StreamingDecoder::new(packed).unwrap();
            let mut image = std::fs::File::create(self.path(name)).unwrap();
            std::io::copy(&mut packed, &mut image).unwrap();
        }
        names
    }

    pub(super) fn session(&self, devices: &[String], config: &str) -> (Session, Rc<Recorder>) {
        self.session_with(devices, config, |_| {})
    }

    pub(super) fn session_with(
        &self,
        devices: &[String],
        config: &str,
        change: impl FnOnce(&mut Settings),
    ) -> (Session, Rc<Recorder>) {
        let env = Env {
            system_dir: Some(self.path("lvm")),
            lock_dir: Some(self.path("lock")),
            ..Env::default()
        };
        let names = devices
            .iter()
            .map(|d| self.path(d).to_str().unwrap().to_owned());
        let mut settings = Settings {
            config: Config::load(&env, Some(config), &[]).unwrap(),
            env,
            command_line: "test".into(),
            devices: Some(names.collect()),
            ..Settings::default()
        };
        change(&mut settings);
        let ui = Rc::new(Recorder::default());
        let session = Session::new(settings, Box::new(Rc::clone(&ui))).unwrap();
        (session, ui)
    }
}

/// Warnings of reading all VGs of a vector, with `/dev/pvs` for the directory.
fn warnings(case: &str) -> (Inventory, Vec<String>) {
    let place = Place::new();
    let devices = place.vector(case);
    let (mut session, ui) = place.session(&devices, "a=1");
    let inventory = session.read(Scope::All).unwrap().clone();
    let dir = place.dir.path().to_str().unwrap();
    let said = ui
        .warnings()
        .iter()
        .map(|w| w.replace(dir, "/dev/pvs"))
        .collect();
    (inventory, said)
}

/// Each line that real LVM2 printed for `pvs` on these images is said, in its order.
#[test]
fn damage_is_reported_in_the_words_of_lvm2() {
    for case in [
        "stale-mda",
        "corrupt-label",
        "corrupt-mda-header",
        "partial",
        "missing-marked",
        "foreign-system-id",
        "precommitted",
        "wrapped-mda",
        "zero-mda",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/vectors")
            .join(case);
        let text = std::fs::read_to_string(path.join("expected.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pvs = expected["commands"].as_array().unwrap().iter();
        let pvs = pvs.clone().find(|c| c["cmd"] == "pvs").unwrap();
        let wanted: Vec<String> = pvs["stderr"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|l| l.as_str().unwrap().trim().to_owned())
            .collect();
        let (_, mut said) = warnings(case);
        said.retain(|l| wanted.contains(l));
        assert_eq!(said, wanted, "{case}");
    }
}

#[test]
fn damaged_copies_are_set_aside_and_the_healthy_one_rules() {
    let (inventory, _) = warnings("corrupt-text-one");
    let states: Vec<&MdaState> = inventory.vgs[0].mdas().map(|m| &m.state).collect();
    assert!(
        matches!(states[..], [MdaState::Current { .. }, MdaState::Bad(_)]),
        "{states:?}"
    );
    let (inventory, _) = warnings("stale-mda");
    let states: Vec<&MdaState> = inventory.vgs[0].mdas().map(|m| &m.state).collect();
    assert!(matches!(
        states[..],
        [MdaState::Current { .. }, MdaState::Stale { seqno: 4, .. }]
    ));
    let (inventory, _) = warnings("ignored-mda");
    assert!(
        inventory.vgs[0]
            .mdas()
            .any(|m| m.state == MdaState::Ignored)
    );
    // No readable text: the PVs are in use, nobody knows by what.
    let (inventory, _) = warnings("corrupt-text-all");
    assert!(inventory.vgs.is_empty());
    assert!(inventory.orphans.len() == 2 && inventory.orphans.iter().all(|o| o.label.used));
    let (inventory, _) = warnings("orphans");
    assert!(inventory.orphans.iter().any(|o| !o.label.used));
}

#[test]
fn of_two_devices_with_one_identity_one_is_used() {
    let (inventory, said) = warnings("duplicate-pv");
    assert_eq!(inventory.duplicates.len(), 1);
    assert!(inventory.vgs[0].has_duplicates());
    assert!(
        said.iter()
            .any(|l| l.starts_with("WARNING: Not using device /dev/pvs/pv0"))
    );
}

const MIB: u64 = 1 << 20;

impl Place {
    fn images(&self, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|n| format!("d{n}.img")).collect();
        for name in &names {
            let file = std::fs::File::create(self.path(name)).unwrap();
            file.set_len(16 * MIB).unwrap();
        }
        names
    }

    fn devices(&self, session: &mut Session, names: &[String]) -> Vec<DevKey> {
        let paths = names.iter().map(|n| self.path(n));
        paths
            .map(|p| session.name_device(p.to_str().unwrap()).unwrap())
            .collect()
    }

    /// What another session finds.
    fn look(&self, devices: &[String]) -> (Inventory, Vec<String>) {
        let (mut session, ui) = self.session(devices, "a=1");
        let inventory = session.read(Scope::All).unwrap().clone();
        (inventory, ui.warnings())
    }

    /// Labels and a VG `vg` over all of them.
    fn make_vg(&self, names: &[String], mda_size: u64) -> VgRead {
        let (mut session, _) = self.session(names, "a=1");
        session.lock_global(LockMode::Exclusive).unwrap();
        let devices = self.devices(&mut session, names);
        let mut vg = Vg::new("vg", RandomIds.new_id(), Sectors(2048));
        for device in devices {
            let found = session.create_pv(device, &new_pv(mda_size)).unwrap();
            assert_eq!(found.label.data_start, Bytes(MIB));
            vg.pvs
                .push(Pv::new(found.label.id, Sectors(2048), Extents(15)));
        }
        session.commit_new(vg).unwrap()
    }
}

fn new_pv(mda_size: u64) -> NewPv {
    NewPv {
        id: RandomIds.new_id(),
        label_sector: 1,
        device_size: Bytes(16 * MIB),
        data_start: Bytes(MIB),
        mdas: vec![(Bytes(4096), Bytes(mda_size), false)],
        bootloader: None,
        zero: true,
    }
}

fn tagged(read: &VgRead, tag: &str) -> Vg {
    let mut vg = Vg::clone(&read.vg);
    vg.tags.push(tag.into());
    vg
}

/// The same VG, whatever slots its parts stand in.
fn assert_same(a: &VgRead, b: &VgRead) {
    let text = |v: &VgRead| export(&v.vg, &TextHeader::default(), Style::Raw);
    assert_eq!(text(a), text(b));
    let mdas = |v: &VgRead| v.mdas().cloned().collect::<Vec<_>>();
    assert_eq!(mdas(a), mdas(b));
}

fn edit(session: &mut Session, tag: &str) -> VgRead {
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    session.commit(&old, tagged(&old, tag)).unwrap()
}

#[test]
fn a_device_that_went_away_between_two_scans_is_not_listed() {
    let place = Place::new();
    let names = place.images(2);
    let (mut session, _) = place.session(&names, "a=1");
    assert_eq!(session.read(Scope::All).unwrap().devices().count(), 2);
    let gone = place.path(&names[1]);
    std::fs::remove_file(&gone).unwrap();
    let left = session.read(Scope::All).unwrap().devices();
    let left: Vec<String> = left.map(|(_, d)| d.name.clone()).collect();
    assert_eq!(left, [place.path(&names[0]).to_str().unwrap()]);
    let error = session.name_device(gone.to_str().unwrap()).unwrap_err();
    assert!(error.to_string().contains("No device found for"), "{error}");
}

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

fn list(place: &Place, dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("lvm").join(dir))
        .into_iter()
        .flatten();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
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

#[test]
fn a_pv_in_a_partition_of_an_image_is_found_under_its_number() {
    let place = Place::new();
    let names = place.images(1);
    let path = place.path(&names[0]);
    let mut content = std::fs::read(&path).unwrap();
    content[446 + 4] = 0x8e;
    content[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    content[446 + 12..446 + 16].copy_from_slice(&(14 * 2048u32).to_le_bytes());
    content[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(&path, &content).unwrap();
    let (mut session, _) = place.session(&names, "a=1");
    let whole = session.name_device(path.to_str().unwrap()).unwrap_err();
    assert!(whole.to_string().contains("is partitioned"), "{whole}");
    let name = format!("{}#1", path.display());
    let device = session.name_device(&name).unwrap();
    assert_eq!(session.device(device).size, Bytes(14 * MIB));
    let pv = NewPv {
        device_size: Bytes(14 * MIB),
        ..new_pv(MIB - 4096)
    };
    session.create_pv(device, &pv).unwrap();
    drop(session);
    let (inventory, _) = place.look(&names);
    assert_eq!(inventory.device(inventory.orphans[0].device).name, name);
    let (inventory, _) = place.look(&[format!("{}#1", names[0])]);
    assert_eq!(inventory.orphans.len(), 1);
    // Nothing outside of the partition was touched.
    assert!(std::fs::read(&path).unwrap()[..MIB as usize] == content[..MIB as usize]);
}

#[test]
fn two_vgs_of_one_name_are_told_apart_by_identity() {
    let place = Place::new();
    let names = place.images(2);
    let one = place.make_vg(&names[..1], MIB - 4096);
    let two = place.make_vg(&names[1..], MIB - 4096);
    let (inventory, warnings) = place.look(&names);
    assert_eq!(inventory.vgs.len(), 2);
    assert!(
        warnings[0].starts_with("WARNING: VG name vg is used by VGs "),
        "{warnings:?}"
    );
    let (mut session, _) = place.session(&names, "a=1");
    let e = session.vg_for_write("vg", Allow::default()).unwrap_err();
    assert!(
        e.to_string()
            .starts_with("Multiple VGs found with the same name")
    );
    let old = session
        .vg_for_write_by_id("vg", &two.vg.id, Allow::default())
        .unwrap();
    let mut new = Vg::clone(&old.vg);
    new.name = "second".into();
    session.commit(&old, new).unwrap();
    let first = session.vg_for_read("vg", Allow::default()).unwrap();
    assert_eq!(first.vg.id, one.vg.id);
}

/// A fixed sequence of numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
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
    let mut numbers = Numbers(7);
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

fn sizes(inventory: &Inventory) -> Vec<(&str, usize, bool)> {
    let vgs = inventory.vgs.iter();
    vgs.map(|v| (v.vg.name.as_str(), v.vg.pvs.len(), v.vg.status.exported))
        .collect()
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

fn edit_one(session: &mut Session, name: &str) {
    let read = session.vg_for_write(name, Allow::default()).unwrap();
    let new = tagged(&read, "edited");
    session.commit(&read, new).unwrap();
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

/// The header as the commit stage finds it: the text of `before` rules, the one to come is known.
fn not_reached(path: &Path, before: &[u8]) {
    use std::os::unix::fs::FileExt;
    use ulvm_metadata::ondisk::MdaHeader;
    let now = std::fs::read(path).unwrap();
    let header = |bytes: &[u8]| {
        let size = Bytes(bytes.len() as u64);
        MdaHeader::decode(bytes[4096..4608].try_into().unwrap(), Bytes(4096), size).unwrap()
    };
    let header = MdaHeader {
        committed: header(before).committed,
        precommitted: header(&now).committed,
        ..header(&now)
    };
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&header.encode(), 4096).unwrap();
}

/// A change by somebody who sees these devices only.
fn edit_without(place: &Place, name: &str, devices: &[String]) {
    let (mut session, _) = place.session(devices, "a=1");
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let read = session.vg_for_write(name, allow).unwrap();
    let new = tagged(&read, "elsewhere");
    session.commit(&read, new).unwrap();
}

/// Which of a VG's PVs are missing, by their place in the list.
fn missing(inventory: &Inventory, name: &str) -> Vec<bool> {
    let read = inventory.find_vg(name).unwrap();
    read.vg.pvs.keys().map(|k| read.pv(k).missing).collect()
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
fn a_device_that_shrank_is_named() {
    let place = Place::new();
    let names = place.images(1);
    let made = place.make_vg(&names, MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut sized = Vg::clone(&made.vg);
    sized
        .pvs
        .values_mut()
        .for_each(|pv| pv.dev_size = Some(Sectors(32768)));
    session.commit(&old, sized).unwrap();
    drop(session);
    assert!(place.look(&names).1.is_empty());
    let path = place.path(&names[0]);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(8 * MIB).unwrap();
    let (_, warnings) = place.look(&names);
    let said = format!(
        "Device {} has size of 16384 sectors which is smaller than corresponding PV size of 32768 sectors. Was device resized?",
        path.display()
    );
    assert!(warnings.iter().any(|w| w.contains(&said)), "{warnings:?}");
    assert!(
        warnings
            .iter()
            .any(|w| w.ends_with("VG vg have changed sizes."))
    );
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

/// The clone was changed elsewhere: its text says nothing about the data of the original.
#[test]
fn a_newer_text_on_a_clone_does_not_rule() {
    let place = Place::new();
    let names = place.images(2);
    place.make_vg(&names[..1], MIB - 4096);
    std::fs::copy(place.path("d0.img"), place.path("d1.img")).unwrap();
    let moved = Place::new();
    std::fs::copy(place.path("d1.img"), moved.path("d0.img")).unwrap();
    edit_without(&moved, "vg", &names[..1]);
    std::fs::copy(moved.path("d0.img"), place.path("d1.img")).unwrap();
    let (inventory, _) = place.look(&names);
    let read = &inventory.vgs[0];
    let used = read.found().next().unwrap();
    assert_eq!((inventory.duplicates.len(), read.vg.seqno), (1, 1));
    assert_eq!(inventory.device(used.device).path, place.path("d0.img"));
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

/// Puts the bytes of a text in place of others of the same length, in every area of these images.
fn rewrite_texts(place: &Place, names: &[String], change: impl Fn(&[u8]) -> Vec<u8>) {
    use ulvm_metadata::ondisk::{RawLocn, find_label, read_mda};
    for name in names {
        let mut data = std::fs::read(place.path(name)).unwrap();
        let disk = ulvm_metadata::disk::MemDisk {
            data: data.clone(),
            log: Vec::new(),
        };
        for area in find_label(&disk).unwrap().unwrap().label.header.mdas {
            let read = read_mda(&disk, area);
            let mut header = read.header.unwrap();
            let mut text = change(read.text().unwrap());
            text.push(0);
            header.committed = RawLocn {
                size: text.len() as u64,
                checksum: ulvm_metadata::crc::crc(&text),
                ..header.committed
            };
            let at = (area.start.0 + header.committed.offset) as usize;
            data[at..at + text.len()].copy_from_slice(&text);
            let start = area.start.0 as usize;
            data[start..start + 512].copy_from_slice(&header.encode());
        }
        std::fs::write(place.path(name), data).unwrap();
    }
}

fn replace_bytes(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = text.windows(old.len()).position(|w| w == old).unwrap();
    [&text[..at], new, &text[at + old.len()..]].concat()
}

#[test]
fn a_vg_with_strings_that_are_not_utf8_is_read_and_never_rewritten() {
    let place = Place::new();
    let names = place.images(1);
    place.make_vg(&names, MIB - 4096);
    let (mut session, _) = place.session(&names, "a=1");
    edit(&mut session, "wxyz");
    drop(session);
    rewrite_texts(&place, &names, |t| replace_bytes(t, b"wxyz", b"w\xff\xfez"));
    let before = std::fs::read(place.path(&names[0])).unwrap();
    let (inventory, warnings) = place.look(&names);
    assert_eq!(inventory.vgs[0].vg.tags, ["w\u{fffd}\u{fffd}z"]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let (mut session, _) = place.session(&names, "a=1");
    let error = session.vg_for_write("vg", Allow::default()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("not UTF-8") && said.contains("tags = "),
        "{said}"
    );
    assert!(session.restore(Vg::clone(&inventory.vgs[0].vg)).is_err());
    drop(session);
    assert!(std::fs::read(place.path(&names[0])).unwrap() == before);
    // The description is each command's own.
    rewrite_texts(&place, &names, |t| {
        let t = replace_bytes(t, b"w\xff\xfez", b"wxyz");
        replace_bytes(&t, b"Write from", b"Write\xfffrom")
    });
    let (mut session, _) = place.session(&names, "a=1");
    edit(&mut session, "more");
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

/// A VG of one PV with a linear LV `lv` of 4 extents.
fn vg_with_lv(place: &Place, names: &[String]) -> VgRead {
    use ulvm_metadata::convert::import;
    let made = place.make_vg(names, MIB - 4096);
    let text = export(&made.vg, &TextHeader::default(), Style::Raw);
    let lvs = format!(
        "logical_volumes {{\nlv {{\nid = \"{}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\n\
         flags = []\nsegment_count = 1\nsegment1 {{\nstart_extent = 0\nextent_count = 4\n\
         type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 2]\n}}\n}}\n}}\n",
        RandomIds.new_id()
    );
    let at = text.find("physical_volumes").unwrap();
    let text = format!("{}{lvs}{}", &text[..at], &text[at..]);
    let (mut session, _) = place.session(names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let vg = import(text.as_bytes()).unwrap().vg;
    session.commit(&old, vg).unwrap()
}

#[test]
fn extents_that_somebody_has_open_are_not_taken_away() {
    use crate::activate::open::{How, open};
    let place = Place::new();
    let names = place.images(1);
    vg_with_lv(&place, &names);
    let (mut server, _) = place.session(&names, "a=1");
    let read = server.vg_for_read("vg", Allow::default()).unwrap();
    let lv = read.vg.find_lv("lv").unwrap();
    let how = How {
        exclusive: true,
        ..How::WRITE
    };
    let opened = open(&server, &read, lv, how).unwrap();
    server.unlock_all();

    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let with = |change: &dyn Fn(&mut Vg)| {
        let mut vg = Vg::clone(&old.vg);
        change(&mut vg);
        vg
    };
    let gone = with(&|vg| {
        vg.lvs.remove(lv);
    });
    let reduced = with(&|vg| vg.lvs[lv].segments[0].len = Extents(3));
    for new in [&gone, &reduced] {
        let error = session.commit(&old, new.clone()).unwrap_err().to_string();
        assert!(error.starts_with("Logical volume vg/lv in use."), "{error}");
    }
    assert!(session.remove_vg(&old).is_err());
    assert!(session.restore(gone.clone()).is_err());
    let device = old.found().next().unwrap().device;
    assert!(session.create_pv(device, &new_pv(MIB - 4096)).is_err());
    assert!(session.remove_pv(device).is_err());
    // It may grow, and be called otherwise.
    let grown = with(&|vg| {
        vg.lvs[lv].segments[0].len = Extents(5);
        vg.lvs[lv].name = "other".into();
    });
    let old = session.commit(&old, grown).unwrap();
    drop(opened);
    session.remove_vg(&old).unwrap();
}

#[test]
fn of_duplicates_the_one_whose_lvs_are_open_is_used() {
    use crate::activate::open::{How, open};
    let place = Place::new();
    let names = place.images(2);
    vg_with_lv(&place, &names[..1]);
    std::fs::copy(place.path(&names[0]), place.path(&names[1])).unwrap();
    let chosen = || {
        let (inventory, warnings) = place.look(&names);
        let device = inventory.vgs[0].found().next().unwrap().device;
        let path = inventory.device(device).path.clone();
        (path, warnings)
    };
    // The copy is as good as the original but for its name.
    assert_eq!(chosen().0, place.path(&names[0]));
    let (mut server, _) = place.session(&names[1..], "a=1");
    let read = server.vg_for_read("vg", Allow::default()).unwrap();
    let how = How {
        exclusive: true,
        ..How::READ
    };
    let _opened = open(&server, &read, read.vg.find_lv("lv").unwrap(), how).unwrap();
    server.unlock_all();
    let (path, warnings) = chosen();
    assert_eq!(path, place.path(&names[1]));
    let because = |w: &String| w.ends_with("because device is used by LV.");
    assert!(warnings.iter().any(because), "{warnings:?}");
}
