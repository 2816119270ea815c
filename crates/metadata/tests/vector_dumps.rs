//! `pvck --dump headers` of images that LVM2 made, sound and damaged, line for line.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use ulvm_metadata::disk::MemDisk;
use ulvm_metadata::ondisk::dump_headers;

fn unpack(path: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(fs::File::open(path).unwrap())
        .unwrap()
        .read_to_end(&mut out)
        .unwrap();
    out
}

/// The dumps that were taken of the images as delivered: those before the first command that could
/// have changed them.
fn untouched_dumps(expected: &Value) -> Vec<(String, Vec<String>)> {
    let reading = ["pvs", "vgs", "lvs", "vgck", "pvck", "vgcfgrestore --list"];
    let mut out = Vec::new();
    for command in expected["commands"].as_array().unwrap() {
        let line = command["cmd"].as_str().unwrap();
        if !reading.iter().any(|r| line.starts_with(r)) || line.contains("--updatemetadata") {
            break;
        }
        if let Some(device) = line.strip_prefix("pvck --dump headers /dev/pvs/") {
            let stdout = command["stdout"].as_array().unwrap();
            let lines = stdout.iter().map(|l| l.as_str().unwrap().trim().to_owned());
            out.push((device.to_owned(), lines.collect()));
        }
    }
    out
}

#[test]
fn headers_are_dumped_in_the_words_of_lvm2() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let mut compared = 0;
    let mut wrong = Vec::new();
    for case in fs::read_dir(vectors).unwrap() {
        let case = case.unwrap().path();
        let Ok(text) = fs::read_to_string(case.join("expected.json")) else {
            continue;
        };
        let expected: Value = serde_json::from_str(&text).unwrap();
        for (device, lines) in untouched_dumps(&expected) {
            let image = case.join(format!("{device}.img.zst"));
            if !image.exists() {
                continue;
            }
            let mut disk = MemDisk::new(0);
            disk.data = unpack(&image);
            let dump = dump_headers(&disk, 1).unwrap();
            let mut got: Vec<String> = dump.lines.iter().map(|l| l.text.clone()).collect();
            if dump.mdas.is_empty() {
                // The command adds this line.
                got.push("zero metadata copies".to_owned());
            }
            let got: Vec<&str> = got.iter().map(|l| l.trim()).collect();
            compared += 1;
            if got != lines {
                let at = got.iter().zip(&lines).position(|(a, b)| a != b);
                wrong.push(format!(
                    "{} {device}: {:?}",
                    case.display(),
                    at.map(|n| (got[n], &lines[n]))
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 100, "only {compared} dumps");
}
