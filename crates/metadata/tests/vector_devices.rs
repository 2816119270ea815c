//! Labels, headers and texts of devices that LVM2 wrote, healthy and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use ulvm_metadata::commit::{MdaTarget, Wanted, plan_commit};
use ulvm_metadata::convert::{Style, export, import};
use ulvm_metadata::disk::MemDisk;
use ulvm_metadata::model::check::check;
use ulvm_metadata::ondisk::{
    FoundLabel, MdaRead, MdaState, dump_headers, encode_label, find_label, read_mda, search_texts,
};

struct Device {
    name: String,
    disk: MemDisk,
    label: Option<FoundLabel>,
    mdas: Vec<MdaRead>,
}

fn devices(case: &str) -> Vec<Device> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors")
        .join(case);
    let mut files: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "zst"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let mut data = Vec::new();
            ruzstd::decoding::StreamingDecoder::new(fs::File::open(&path).unwrap())
                .unwrap()
                .read_to_end(&mut data)
                .unwrap();
            let disk = MemDisk {
                data,
                log: Vec::new(),
            };
            let label = find_label(&disk).unwrap();
            let areas = label.iter().flat_map(|l| &l.label.header.mdas);
            let mdas = areas.map(|a| read_mda(&disk, *a)).collect();
            let name = path.file_name().unwrap().to_string_lossy();
            Device {
                name: name.trim_end_matches(".img.zst").to_owned(),
                disk,
                label,
                mdas,
            }
        })
        .collect()
}

/// One letter for each area of each device: T text, E empty, I ignored, H bad header, B bad text;
/// `-` for a device without a label.
fn states(devices: &[Device]) -> String {
    let of = |d: &Device| -> String {
        if d.label.is_none() {
            return "-".into();
        }
        d.mdas
            .iter()
            .map(|m| match m.state {
                MdaState::Text(_) => 'T',
                MdaState::Empty => 'E',
                MdaState::Ignored => 'I',
                MdaState::BadHeader(_) => 'H',
                MdaState::BadText(_) => 'B',
            })
            .collect()
    };
    devices.iter().map(of).collect::<Vec<_>>().join(" ")
}

#[test]
fn areas_are_as_they_were_left() {
    let expected = [
        ("linear-one-pv", "T"),
        ("linear-multi-seg", "T T T"),
        ("two-mdas", "TT TT"),
        ("zero-mda", " T"),
        ("ignored-mda", "I I T"),
        ("wrapped-mda", "T T"),
        ("orphans", "E EE  E E"),
        ("corrupt-label", "T - -"),
        ("corrupt-mda-header", "T H"),
        ("corrupt-text-one", "T B"),
        ("corrupt-text-all", "B B"),
        ("stale-mda", "T T"),
        ("precommitted", "T T"),
        ("bootloader-area", "T T"),
    ];
    let found = expected.map(|(case, _)| (case, states(&devices(case))));
    let found = found.each_ref().map(|(case, s)| (*case, s.as_str()));
    assert_eq!(found, expected);
}

#[test]
fn a_text_that_wraps_is_read() {
    let devices = devices("wrapped-mda");
    let read = &devices[0].mdas[0];
    let header = read.header.unwrap();
    let end = header.committed.offset + header.committed.size;
    assert!(end > header.area.size.0, "the live text wraps");
    let vg = import(read.text().unwrap()).unwrap().vg;
    assert_eq!((vg.name.as_str(), vg.seqno), ("v-wrapped-mda", 62));
}

#[test]
fn a_precommitted_text_does_not_rule() {
    for device in devices("precommitted") {
        let read = &device.mdas[0];
        let seqno = import(read.text().unwrap()).unwrap().vg.seqno;
        assert_eq!(seqno, 2, "{}", device.name);
        assert!(read.precommitted().is_some(), "{}", device.name);
    }
}

#[test]
fn seqnos_of_a_stale_copy() {
    let seqnos: Vec<_> = devices("stale-mda")
        .iter()
        .map(|d| import(d.mdas[0].text().unwrap()).unwrap().vg.seqno)
        .collect();
    assert_eq!(seqnos.len(), 2);
    assert_ne!(seqnos[0], seqnos[1]);
}

#[test]
fn what_was_read_is_written_the_same() {
    let mut labels = 0;
    let mut headers = 0;
    for case in [
        "linear-one-pv",
        "two-mdas",
        "zero-mda",
        "bootloader-area",
        "ignored-mda",
        "orphans",
    ] {
        for device in devices(case) {
            let label = device.label.expect("healthy").label;
            let at = label.sector as usize * 512;
            let bytes = encode_label(&label).unwrap();
            assert_eq!(
                bytes[..],
                device.disk.data[at..at + 512],
                "{case} {}",
                device.name
            );
            labels += 1;
            for mda in &device.mdas {
                let at = mda.area.start.0 as usize;
                let bytes = mda.header.unwrap().encode();
                assert_eq!(
                    bytes[..],
                    device.disk.data[at..at + 512],
                    "{case} {}",
                    device.name
                );
                headers += 1;
            }
        }
    }
    assert!(
        labels >= 12 && headers >= 11,
        "{labels} labels, {headers} headers"
    );
}

/// Every VG in the vectors can be committed again: same text but for seqno, in the place where
/// LVM2 would put it, and the model's invariants hold.
#[test]
fn every_vg_holds_and_can_be_committed_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let mut cases: Vec<String> = fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().join("expected.json").exists())
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    let mut seen = BTreeMap::new();
    for case in &cases {
        for mut device in devices(case) {
            let Some(label) = &device.label else { continue };
            let dump = dump_headers(&device.disk, label.label.sector).unwrap();
            for n in 0..device.mdas.len() {
                let Some(text) = device.mdas[n].text() else {
                    continue;
                };
                let mut imported = import(text).unwrap_or_else(|e| panic!("{case}: {e}"));
                check(&imported.vg).unwrap_or_else(|e| panic!("{case}: {e}"));
                assert!(imported.vg.unknown_status.is_empty(), "{case}");
                assert_eq!(dump.mdas[n].text.as_deref(), Some(text), "{case}");
                let area = device.mdas[n].area;
                let found = search_texts(&device.disk, area).unwrap();
                assert!(found.iter().any(|t| t.text == text), "{case}");
                *seen.entry(case.clone()).or_insert(0) += 1;
                imported.vg.seqno += 1;
                let new = export(&imported.vg, &imported.header, Style::Raw);
                let target = MdaTarget::new(0, &device.mdas[n], Wanted::Use);
                let plan = plan_commit(&[target], &new).unwrap();
                plan.plan.execute(&mut [&mut device.disk]).unwrap();
                let read = read_mda(&device.disk, area);
                assert_eq!(read.text(), Some(new.as_bytes()), "{case}");
                assert_eq!(import(new.as_bytes()).unwrap(), imported, "{case}");
            }
        }
    }
    assert!(
        seen.len() >= 46,
        "VGs in {} of {} cases only",
        seen.len(),
        cases.len()
    );
}
