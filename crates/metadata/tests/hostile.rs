//! Any input at all: the committed corpus, random bytes, and real devices and texts with damage.

mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use ulvm_metadata::commit::{MdaTarget, Wanted, plan_commit, plan_create};
use ulvm_metadata::convert::{ImportError, import};
use ulvm_metadata::disk::MemDisk;
use ulvm_metadata::model::check::check;
use ulvm_metadata::ondisk::layout::{LayoutRequest, layout};
use ulvm_metadata::ondisk::{MdaState, find_label, read_mda};
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::LvmUuid;

type Body = fn(&[u8]);

const BODIES: [(&str, Body); 5] = [
    ("device", bodies::device),
    ("text", bodies::text),
    ("config", bodies::config),
    ("ring", bodies::ring),
    ("ops", bodies::ops),
];

fn corpus(body: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(body)
}

#[test]
fn the_corpus_is_replayed() {
    for (name, body) in BODIES {
        let mut count = 0;
        for entry in fs::read_dir(corpus(name)).unwrap_or_else(|e| panic!("corpus {name}: {e}")) {
            let path = entry.unwrap().path();
            let data = fs::read(&path).unwrap();
            println!("{}", path.display());
            body(&data);
            count += 1;
        }
        assert!(count >= 5, "corpus {name} has {count} files only");
    }
}

/// Text with everything that the importer knows.
const TEXT: &str = include_str!("all_fields.vg");

fn device_with(text: &str) -> Vec<u8> {
    let mut request = LayoutRequest::new(Bytes(64 << 10));
    request.alignment = Bytes(4096);
    request.mda_size = Some(Bytes(48 << 10));
    let l = layout(&request).unwrap();
    let id = LvmUuid::parse("aaaaaa-0000-0000-0000-0000-0000-000000").unwrap();
    let mut disk = MemDisk::new(64 << 10);
    plan_create(0, &l.label(id, true), &[], false)
        .unwrap()
        .execute(&mut [&mut disk])
        .unwrap();
    let target = MdaTarget::new(0, &read_mda(&disk, l.mdas[0]), Wanted::Use);
    let plan = plan_commit(&[target], text).unwrap();
    plan.plan.execute(&mut [&mut disk]).unwrap();
    disk.data
}

#[test]
fn one_wrong_byte_is_healed_or_a_clean_error() {
    let good = device_with(TEXT);
    let disk = |data: &[u8]| MemDisk {
        data: data.to_vec(),
        log: Vec::new(),
    };
    let label = find_label(&disk(&good)).unwrap().unwrap().label;
    let area = label.header.mdas[0];
    let header = read_mda(&disk(&good), area).header.unwrap();
    let text_at = (area.start.0 + header.committed.offset) as usize;
    let (mut no_label, mut no_header, mut no_text, mut nothing) = (0, 0, 0, 0);
    let used = [(0, 2048), (4096, 512), (text_at, TEXT.len() + 1)];
    for at in used.iter().flat_map(|(start, len)| *start..start + len) {
        for change in [0x01u8, 0x80, 0xff] {
            let mut data = good.clone();
            data[at] ^= change;
            let disk = disk(&data);
            match find_label(&disk).unwrap() {
                None => no_label += 1,
                Some(found) => {
                    assert_eq!(found.label, label, "a wrong label is no label (byte {at})");
                    match read_mda(&disk, area).state {
                        MdaState::BadHeader(_) => no_header += 1,
                        MdaState::BadText(_) => no_text += 1,
                        MdaState::Text(text) => {
                            assert_eq!(text, TEXT.as_bytes(), "byte {at}");
                            nothing += 1;
                        }
                        other => panic!("byte {at}: {other:?}"),
                    }
                }
            }
        }
    }
    // Every byte of label, header and text counts; the other label sectors do not.
    assert_eq!(no_label, 3 * 512);
    assert_eq!(no_header, 3 * 512);
    assert_eq!(no_text, 3 * (TEXT.len() + 1));
    assert_eq!(nothing, 3 * 3 * 512);
}

#[test]
fn the_text_with_all_fields_is_one() {
    match import(TEXT.as_bytes()) {
        Ok(_) => bodies::text(TEXT.as_bytes()),
        Err(e @ (ImportError::Text(_) | ImportError::Content { .. })) => panic!("{e}"),
    }
}

#[test]
fn an_lv_that_is_made_of_itself_is_refused() {
    let vg = import(TEXT.as_bytes()).unwrap().vg;
    check(&vg).unwrap();
    let looped = TEXT.replace("\"pv0\", 32", "\"mir\", 0");
    assert_ne!(looped, TEXT);
    let vg = import(looped.as_bytes()).unwrap().vg;
    let broken = check(&vg).unwrap_err();
    assert_eq!(broken.to_string(), "LV vg/mir is made of itself");
    bodies::text(looped.as_bytes());
}

/// Edits of a text: cut out, doubled, replaced by a word that means something.
fn mangle(text: &[u8], edits: &[(u16, u16, u8)]) -> Vec<u8> {
    const WORDS: [&[u8]; 16] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"=",
        b"\"",
        b"\\",
        b"#",
        b"\0",
        b"-1",
        b"4294967295",
        b"99999999999999999999",
        b"pv0",
        b"lvol0",
        b"segment1 {",
        b"\xff",
    ];
    let mut out = text.to_vec();
    for (at, len, what) in edits {
        let at = usize::from(*at) % out.len().max(1);
        let end = (at + usize::from(*len) % 40).min(out.len());
        let piece = match what % 4 {
            0 => Vec::new(),
            1 => out[at..end].repeat(2),
            _ => WORDS[usize::from(what / 4) % WORDS.len()].to_vec(),
        };
        out.splice(at..end, piece);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
        for (_, body) in BODIES {
            body(&data);
        }
    }

    #[test]
    fn texts_with_damage(edits in proptest::collection::vec(any::<(u16, u16, u8)>(), 1..6)) {
        let data = mangle(TEXT.as_bytes(), &edits);
        bodies::text(&data);
        bodies::config(&data);
    }

    /// Damaged texts with right checksums: only the parser and the importer stand in the way.
    #[test]
    fn devices_with_damaged_texts(edits in proptest::collection::vec(any::<(u16, u16, u8)>(), 1..4)) {
        let data = mangle(TEXT.as_bytes(), &edits);
        if let Ok(text) = String::from_utf8(data)
            && !text.contains('\0')
        {
            bodies::device(&device_with(&text));
        }
    }

    #[test]
    fn devices_with_damage(at in 0usize..8192, bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
        let mut data = device_with(TEXT);
        data[at..at + bytes.len()].copy_from_slice(&bytes);
        bodies::device(&data);
    }

    #[test]
    fn rings(data in proptest::collection::vec(any::<u8>(), 2..120)) {
        bodies::ring(&data);
    }

    #[test]
    fn operations(data in proptest::collection::vec(any::<u8>(), 10..400)) {
        bodies::ops(&data);
    }
}
