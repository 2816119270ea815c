//! Content of linear, striped and mirrored volumes, read through the engine.

use serde_json::Value;

use ulvm_test_support::content;
use ulvm_test_support::ensure;
use ulvm_test_support::images::Images;
use ulvm_test_support::vectors::{Vector, digest};

use crate::{storm, unpack};

/// The vectors whose logical volumes are linear, striped or mirrored, and readable as a whole.
pub const PLAIN: &[&str] = &[
    "bootloader-area",
    "corrupt-label",
    "corrupt-mda-header",
    "corrupt-text-all",
    "corrupt-text-one",
    "data-alignment",
    "duplicate-pv",
    "error-zero",
    "exported",
    "foreign-system-id",
    "ignored-mda",
    "linear-multi-seg",
    "linear-one-pv",
    "lv-options",
    "mirror-core",
    "mirror-disk",
    "mirror-disk-dirty",
    "mirror-mirrored-log",
    "mirror-nosync",
    "mirror-partial",
    "missing-marked",
    "partial",
    "precommitted",
    "pvmove-interrupted",
    "raid1-2leg",
    "raid1-3leg",
    "raid1-dirty",
    "raid1-missing-leg",
    "raid1-nosync",
    "raid1-resync-interrupted",
    "raid1-scrub-mismatch",
    "raid1-stale-leg",
    "stale-mda",
    "striped2",
    "striped3-mixed",
    "two-mdas",
    "wrapped-mda",
    "zero-mda",
];

/// LVM2 refuses to activate these; so does reading, with an error that says why.
const REFUSED: &[(&str, &str)] = &[
    ("corrupt-text-all", "v-corrupt-text-all"),
    ("duplicate-pv", "duplicate"),
    ("exported", "exported"),
    ("foreign-system-id", "system ID"),
];

/// Reads every LV of the vector and compares it with the kernel's own reading, or with what it was
/// filled with.
pub fn check(vector: &Vector) -> Result<(), String> {
    let images = unpack(vector)?;
    if let Some((_, why)) = REFUSED.iter().find(|(name, _)| *name == vector.name) {
        return refused(vector, &images, why);
    }
    let mut compared = 0;
    for (name, lv) in volumes(vector) {
        let Some(device) = vector.expected["dm_devices"].get(dm_name(&name)) else {
            continue;
        };
        if let Some(leg) = first_leg(vector, &name, device) {
            // The legs differ, and the kernel read whichever it liked: only one rule is right.
            let done = read(vector, &images, &name)?;
            ensure!(digest(&done) == leg, "{name} is not its first leg");
            compared += 1;
        } else if let Some(expected) = device["sha256"]
            .as_str()
            .filter(|_| vector.name != "partial")
        {
            let done = read(vector, &images, &name)?;
            ensure!(
                digest(&done) == expected,
                "{name} ({lv}) does not read as the kernel read it"
            );
            compared += 1;
        } else if device.get("read_error").is_some() {
            let done = images.run(&["read", &name], &[])?;
            ensure!(done.code != 0, "{name} is unreadable but was read");
            ensure!(
                done.err().contains("sector") || done.err().contains("error"),
                "{name}: {}",
                done.err()
            );
            compared += 1;
        }
    }
    compared += fills(vector, &images)?;
    compared += storm::check(vector, &images)?;
    ensure!(compared > 0, "nothing to compare in {}", vector.name);
    Ok(())
}

/// A whole LV. A dm-mirror that lacks a leg is read only on request, as LVM2 activates it.
fn read(vector: &Vector, images: &Images, name: &str) -> Result<Vec<u8>, String> {
    let mode = match vector.name.as_str() {
        "mirror-partial" => "--activationmode partial ",
        _ => "",
    };
    Ok(images.ok(&format!("read {mode}{name}"))?.stdout)
}

/// Of a mirror whose legs differ: the digest of the first.
fn first_leg(vector: &Vector, name: &str, device: &Value) -> Option<String> {
    device.get("sha256_note")?;
    let before = &vector.expected["in_images_before_activation"];
    let name = dm_name(name);
    let leg = |kind| before[format!("{name}_{kind}_0")]["sha256"].as_str();
    leg("rimage").or(leg("mimage")).map(str::to_owned)
}

/// `(VG/LV, layout)` of the visible LVs in the recorded report.
fn volumes(vector: &Vector) -> Vec<(String, String)> {
    let commands = vector.expected["commands"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let report = commands.iter().find(|command| {
        command["cmd"]
            .as_str()
            .is_some_and(|line| line.starts_with("lvs --reportformat json --units b"))
    });
    let mut found: Vec<(String, String)> = Vec::new();
    for row in report
        .and_then(|report| report["json"]["report"][0]["lv"].as_array())
        .into_iter()
        .flatten()
    {
        let text = |key: &str| row[key].as_str().unwrap_or("").to_owned();
        let name = text("lv_full_name");
        if !text("lv_name").starts_with('[') && !found.iter().any(|(known, _)| *known == name) {
            found.push((name, text("lv_layout")));
        }
    }
    found
}

/// `vg-name/lv` as `vg--name-lv`.
fn dm_name(full: &str) -> String {
    let (vg, lv) = full.split_once('/').unwrap_or((full, ""));
    format!("{}-{}", vg.replace('-', "--"), lv.replace('-', "--"))
}

/// What the LVs were filled with, at the first and last sector of each fill and at some between.
fn fills(vector: &Vector, images: &Images) -> Result<usize, String> {
    let entries = vector.expected["content"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut compared = 0;
    for (index, entry) in entries.iter().enumerate() {
        let later = &entries[index + 1..];
        let name = entry["lv"].as_str().unwrap_or("");
        if entry.get("sectors").is_some() || later.iter().any(|other| other["lv"] == entry["lv"]) {
            continue;
        }
        let seed = entry["seed"].as_u64().unwrap_or(0);
        let Some(sectors) = size_of(vector, name).map(|bytes| bytes / 512) else {
            continue;
        };
        if is_partial(vector, name) || vector.expected["storm"]["lv"] == name {
            continue;
        }
        for sector in [0, 1, 255, 256, sectors / 3, sectors / 2, sectors - 1] {
            let line = format!("read {name} --offset {} --length 512", sector * 512);
            let done = images.ok(&line)?;
            ensure!(
                done.stdout == content::sector(seed, sector),
                "{name}: sector {sector} is not what it was filled with"
            );
            compared += 1;
        }
    }
    Ok(compared)
}

fn row<'a>(vector: &'a Vector, name: &str) -> Option<&'a Value> {
    let commands = vector.expected["commands"].as_array()?;
    let report = commands.iter().find(|command| {
        command["cmd"]
            .as_str()
            .is_some_and(|line| line.starts_with("lvs --reportformat json --units b"))
    })?;
    report["json"]["report"][0]["lv"]
        .as_array()?
        .iter()
        .find(|row| row["lv_full_name"] == name)
}

fn size_of(vector: &Vector, name: &str) -> Option<u64> {
    row(vector, name)?["lv_size"].as_str()?.parse().ok()
}

fn is_partial(vector: &Vector, name: &str) -> bool {
    row(vector, name).is_some_and(|row| {
        row["lv_attr"]
            .as_str()
            .is_some_and(|attr| attr.ends_with("p-"))
    })
}

fn refused(vector: &Vector, images: &Images, why: &str) -> Result<(), String> {
    let entry = &vector.expected["content"][0];
    let name = entry["lv"].as_str().ok_or("no content recorded")?;
    let done = images.run(&["read", name], &[])?;
    ensure!(
        done.code == 5,
        "reading {name} ended with {} instead of 5",
        done.code
    );
    ensure!(
        done.stdout.is_empty(),
        "reading {name} was refused but gave bytes"
    );
    ensure!(
        done.err().contains(why),
        "the message does not say `{why}`: {}",
        done.err()
    );
    Ok(())
}
