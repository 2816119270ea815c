//! Every linear and striped volume that real LVM2 made, read through NBD, against what the kernel
//! read.

use ulvm_test_support::content;
use ulvm_test_support::ensure;
use ulvm_test_support::images::Images;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::vectors::{Vector, digest};

use crate::raw;
use crate::served::{Served, client};
use crate::ulvm;

/// The VG is recorded as it was read with PVs missing, which serving refuses unless told.
const PARTIAL: &str = "partial";

pub fn cases(suite: &mut Suite) -> Outcome {
    let mut found = 0;
    for vector in Vector::all()? {
        let volumes = volumes(&vector);
        if volumes.is_empty() || vector.name == PARTIAL {
            continue;
        }
        found += 1;
        suite.case(
            format!("nbd::vectors::{}", vector.name),
            &[Need::Program("nbdcopy")],
            move || check(&vector, &volumes),
        );
    }
    suite.case(
        "nbd::vectors::partial",
        &[Need::Program("nbdcopy")],
        partial,
    );
    ensure!(found >= 12, "only {found} vectors with plain volumes");
    Ok(())
}

/// `VG/LV` and digest of the visible volumes that lie on PVs alone, in linear or striped pieces.
fn volumes(vector: &Vector) -> Vec<(String, String)> {
    let commands = vector.expected["commands"].as_array();
    let rows = commands
        .into_iter()
        .flatten()
        .filter_map(|command| command["json"]["report"][0]["lv"].as_array())
        .flatten();
    let mut found: Vec<(String, String)> = Vec::new();
    for row in rows {
        let (Some(full), Some(name)) = (row["lv_full_name"].as_str(), row["lv_name"].as_str())
        else {
            continue;
        };
        let dm = &vector.expected["dm_devices"][dm_name(full)];
        let lines = dm["table"].as_array();
        let plain = lines.is_some_and(|lines| lines.iter().all(|line| plain(line.as_str())));
        if let Some(digest) = dm["sha256"].as_str()
            && plain
            && !name.starts_with('[')
            && !found.iter().any(|(known, _)| known == full)
        {
            found.push((full.to_owned(), digest.to_owned()));
        }
    }
    found
}

fn plain(line: Option<&str>) -> bool {
    let words: Vec<&str> = line.unwrap_or("").split(' ').collect();
    match words.get(2) {
        Some(&"zero") => true,
        Some(&"linear") => words[3].starts_with("pv"),
        Some(&"striped") => words[5..].iter().step_by(2).all(|w| w.starts_with("pv")),
        _ => false,
    }
}

fn dm_name(full: &str) -> String {
    let (vg, lv) = full.split_once('/').unwrap_or((full, ""));
    format!("{}-{}", vg.replace('-', "--"), lv.replace('-', "--"))
}

fn check(vector: &Vector, volumes: &[(String, String)]) -> Outcome {
    let mut images = Images::new(ulvm())?;
    for name in vector.images() {
        images.add(&name, &vector.image(&name)?)?;
    }
    let mut words = vec!["--readonly"];
    words.extend(volumes.iter().map(|(name, _)| name.as_str()));
    let served = Served::start(&images, &words)?;
    for (name, expected) in volumes {
        let data = client("nbdcopy", &[&served.uri(name), "-"])?.stdout;
        ensure!(
            digest(&data) == *expected,
            "{name} does not read through NBD as the kernel read it"
        );
    }
    let (code, err) = served.end()?;
    ensure!(code == 0, "the server ended with {code}: {err}");
    Ok(())
}

/// Of the volumes of a VG that lacks a PV: the whole one as ever, the other one by
/// `--activationmode partial`, where what lies on the lost PV is an error and nothing else is.
fn partial() -> Outcome {
    const EIO: u32 = 5;
    let vector = Vector::all()?
        .into_iter()
        .find(|vector| vector.name == PARTIAL)
        .ok_or("no vector")?;
    let mut images = Images::new(ulvm())?;
    for name in vector.images() {
        images.add(&name, &vector.image(&name)?)?;
    }
    let place = format!("unix:{}", images.path("s").display());
    let refused = images.run(&["serve", "v-partial/part", "--nbd", &place], &[])?;
    ensure!(
        refused.code == 5,
        "ended with {}: {}",
        refused.code,
        refused.err()
    );
    let words = ["--readonly", "--activationmode", "partial"];
    let served = Served::start(
        &images,
        &[&words[..], &["v-partial/whole", "v-partial/part"]].concat(),
    )?;
    let whole = client("nbdcopy", &[&served.uri("v-partial/whole"), "-"])?.stdout;
    let dm = &vector.expected["dm_devices"]["v--partial-whole"]["sha256"];
    ensure!(*dm == digest(&whole), "the whole volume differs");
    let seed = vector.expected["content"][1]["seed"]
        .as_u64()
        .ok_or("no seed")?;
    let mut reader = raw::Client::connect(served.socket());
    reader.begin("v-partial/part", true);
    ensure!(reader.size == 10240 * 512, "{} bytes", reader.size);
    for (first, count) in [(0, 3072), (8192, 2048)] {
        let seen = reader.read(first * 512, count * 512);
        let wanted = content::sectors(seed, first, count.into());
        ensure!(seen == Ok(wanted), "{count} sectors from {first} on differ");
    }
    for (first, count, bad) in [
        (3072, 1, 3072),
        (8191, 1, 8191),
        (3000, 1000, 3072),
        (8000, 500, 8000),
    ] {
        let seen = reader.read(first * 512, count * 512);
        let wanted = raw::Reply::Error(EIO, Some(bad * 512));
        ensure!(
            seen == Err(wanted),
            "{count} sectors from {first} on: no error at {bad}"
        );
    }
    let (code, err) = served.end()?;
    ensure!(code == 0, "the server ended with {code}: {err}");
    ensure!(err.contains("part"), "no warning of what is lost: {err}");
    Ok(())
}
