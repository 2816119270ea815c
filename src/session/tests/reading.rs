//! What sessions read: damage, duplicates, names; and what they say of it.

use super::*;

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
