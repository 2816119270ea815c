//! Sessions over image files.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::*;
use crate::inventory::MdaState;
use crate::ui::Recorder;

/// A directory with images, a system directory and a lock directory of its own.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
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

    fn session(&self, devices: &[String], config: &str) -> (Session, Rc<Recorder>) {
        self.session_with(devices, config, |_| {})
    }

    fn session_with(
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
