//! Texts in images and backup files that LVM2 made: reading and writing them again changes nothing.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ulvm_metadata::convert::{Style, export, import};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// Every directory that holds an `expected.json`.
fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(vectors())
        .expect("tests/vectors is there")
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("expected.json").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 48, "only {} cases", cases.len());
    cases
}

fn unpack(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap();
    let mut out = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(file)
        .unwrap()
        .read_to_end(&mut out)
        .unwrap();
    out
}

fn u64_at(image: &[u8], at: usize) -> usize {
    u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize
}

/// Texts of the first metadata area, the committed one and all that are left over from before, as
/// far as they are whole.
fn texts(image: &[u8]) -> Vec<Vec<u8>> {
    if &image[4096 + 4..4096 + 20] != b" LVM2 x[5A%r0N*>" {
        return Vec::new();
    }
    let size = u64_at(image, 4096 + 32);
    let area = &image[4096..4096 + size];
    let mut out = Vec::new();
    for start in (512..size).step_by(512) {
        let rest = &area[start..];
        let Some(len) = rest.iter().position(|b| *b == 0) else {
            continue;
        };
        let text = &rest[..len];
        let begins = text.iter().position(|b| *b == b'{').is_some_and(|p| {
            let name = &text[..p.max(1) - 1];
            name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
                && text[p + 1..].starts_with(b"\nid = ")
                && text[p + 46..].starts_with(b"\"\nseqno = ")
        });
        if begins && text.ends_with(b"2026\n\n") {
            out.push(text.to_vec());
        }
    }
    out
}

fn assert_same(case: &Path, before: &str, after: &str) {
    for (n, (b, a)) in before.lines().zip(after.lines()).enumerate() {
        assert_eq!(a, b, "{} line {}", case.display(), n + 1);
    }
    assert_eq!(before, after, "{}", case.display());
}

#[test]
fn texts_in_metadata_areas_come_out_as_they_were() {
    let mut tried = 0;
    for case in cases() {
        for file in fs::read_dir(&case).unwrap().map(|e| e.unwrap().path()) {
            if file.extension().is_none_or(|e| e != "zst") {
                continue;
            }
            for text in texts(&unpack(&file)) {
                let before = String::from_utf8(text).unwrap();
                let imported = match import(before.as_bytes()) {
                    Ok(i) => i,
                    // A damaged image may hold damaged text.
                    Err(_) if case.to_string_lossy().contains("corrupt") => continue,
                    Err(e) => panic!("{}: {e}\n{before}", case.display()),
                };
                let after = export(&imported.vg, &imported.header, Style::Raw);
                assert_same(&case, &before, &after);
                tried += 1;
            }
        }
    }
    println!("{tried} texts");
    assert!(tried > 300, "only {tried} texts were found");
}

#[test]
fn backup_files_come_out_as_they_were() {
    let mut tried = 0;
    for case in cases() {
        let expected: serde_json::Value =
            serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
        let Some(backups) = expected["vgcfgbackup"].as_object() else {
            continue;
        };
        for lines in backups.values() {
            let mut before = String::new();
            for line in lines.as_array().unwrap() {
                before.push_str(line.as_str().unwrap());
                before.push('\n');
            }
            let imported =
                import(before.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
            let after = export(&imported.vg, &imported.header, Style::Backup);
            assert_same(&case, &before, &after);
            tried += 1;
        }
    }
    println!("{tried} backup files");
    assert!(tried >= 40, "only {tried} backup files were found");
}

/// Texts that vgcfgrestore and vgcfgbackup wrote of a VG with segments of most types: mirrors,
/// raid, snapshots, thin and cache pools with messages and settings, VDO, writecache, cachevols.
#[test]
fn segments_of_all_kinds_come_out_as_they_were() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    for (file, style) in [
        ("all_kinds.raw", Style::Raw),
        ("all_kinds.backup", Style::Backup),
        ("vdo_cache.raw", Style::Raw),
        ("vdo_cache.backup", Style::Backup),
    ] {
        let path = dir.join(file);
        let before = fs::read_to_string(&path).unwrap();
        let imported = import(before.as_bytes()).unwrap();
        let after = export(&imported.vg, &imported.header, style);
        assert_same(&path, &before, &after);
    }
}
