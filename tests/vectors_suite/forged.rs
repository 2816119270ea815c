//! Images that the vectors lack: partitioned disks, a second label, an older header extension,
//! segment types and flags that nobody knows yet.

use ulvm_test_support::images::Images;
use ulvm_test_support::suite::Outcome;
use ulvm_test_support::vectors::{Vector, digest};
use ulvm_test_support::{ensure, forge};

use crate::ulvm;

/// A case.
pub type Body = fn() -> Outcome;

/// Name and body of each.
pub const CASES: &[(&str, Body)] = &[
    ("pv_in_gpt_partition", pv_in_gpt_partition),
    (
        "pv_in_gpt_partition_of_4096_byte_sectors",
        pv_in_gpt_of_large_sectors,
    ),
    ("pv_in_mbr_partition", pv_in_mbr_partition),
    ("two_pvs_in_one_partitioned_disk", two_pvs_in_one_disk),
    ("second_label_is_passed_over", second_label),
    ("older_header_extension", older_extension),
    ("no_header_extension", no_extension),
    ("unknown_segment_type_is_kept", unknown_segment_type),
    ("unknown_flag_is_kept", unknown_flag),
    ("unknown_status_makes_the_vg_read_only", unknown_status),
    ("truncated_image", truncated_image),
    ("every_byte_of_the_headers_inverted", inverted_headers),
];

const VG: &str = "v-linear-one-pv";

fn base() -> Result<(Vector, Vec<u8>), String> {
    let vector = Vector::load("linear-one-pv")?;
    let image = vector.image("pv0")?;
    Ok((vector, image))
}

fn one(name: &str, bytes: &[u8]) -> Result<Images, String> {
    let mut images = Images::new(ulvm())?;
    images.add(name, bytes)?;
    Ok(images)
}

/// The LV reads as the kernel read it from the bare PV.
fn reads_as_recorded(vector: &Vector, images: &Images) -> Outcome {
    let expected = vector.expected["dm_devices"]["v--linear--one--pv-a"]["sha256"].as_str();
    let done = images.ok(&format!("read {VG}/a"))?;
    ensure!(
        Some(digest(&done.stdout).as_str()) == expected,
        "{VG}/a does not read as recorded"
    );
    Ok(())
}

fn in_partition(disk: &[u8], number: u32) -> Outcome {
    let (vector, _) = base()?;
    let images = one("disk.img", disk)?;
    let report = images.json("pvs --reportformat json -o pv_name,vg_name")?;
    let name = report["report"][0]["pv"][0]["pv_name"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    ensure!(
        name.ends_with(&format!("disk.img#{number}")),
        "the PV is called {name}"
    );
    reads_as_recorded(&vector, &images)?;
    images.ok(&format!("lvcreate -an -n new -l 1 {VG}"))?;
    let report = images.json(&format!("lvs --reportformat json -o lv_name {VG}/new"))?;
    ensure!(
        report["report"][0]["lv"][0]["lv_name"] == "new",
        "the new LV is not there: {report}"
    );
    let after = std::fs::read(images.path("disk.img")).map_err(|error| error.to_string())?;
    ensure!(after.len() == disk.len(), "the image changed its size");
    ensure!(
        after[..1 << 20] == disk[..1 << 20],
        "the partition table was written to"
    );
    Ok(())
}

fn pv_in_gpt_partition() -> Outcome {
    let (_, image) = base()?;
    in_partition(&forge::gpt_disk(&[&[0; 4096], &[0; 4096], &image], 512), 3)
}

fn pv_in_gpt_of_large_sectors() -> Outcome {
    let (_, image) = base()?;
    in_partition(&forge::gpt_disk(&[&image], 4096), 1)
}

fn pv_in_mbr_partition() -> Outcome {
    let (_, image) = base()?;
    in_partition(&forge::mbr_disk(&[&[0; 4096], &image]), 2)
}

fn two_pvs_in_one_disk() -> Outcome {
    let vector = Vector::load("linear-multi-seg")?;
    let parts: Vec<Vec<u8>> = vector
        .images()
        .iter()
        .map(|name| vector.image(name))
        .collect::<Result<_, _>>()?;
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let images = one("disk.img", &forge::gpt_disk(&parts, 512))?;
    let report = images.json("pvs --reportformat json")?;
    let found = report["report"][0]["pv"].as_array().map_or(0, Vec::len);
    ensure!(
        found == parts.len(),
        "{found} PVs found in {} partitions",
        parts.len()
    );
    images.ok("vgck").map(drop)
}

fn second_label() -> Outcome {
    let (vector, mut image) = base()?;
    forge::add_second_label(&mut image);
    let images = one("pv0", &image)?;
    let report = images.json("pvs --reportformat json -o pv_uuid,vg_name")?;
    ensure!(
        report["report"][0]["pv"][0]["vg_name"] == VG,
        "the first label does not win: {report}"
    );
    reads_as_recorded(&vector, &images)
}

fn older_extension() -> Outcome {
    let (vector, mut image) = base()?;
    forge::set_extension(&mut image, 1, 0);
    let images = one("pv0", &image)?;
    let report = images.json("pvs --reportformat json -o pv_ext_vsn,pv_in_use,vg_name")?;
    ensure!(
        report["report"][0]["pv"][0]["pv_ext_vsn"] == "1",
        "version not reported: {report}"
    );
    reads_as_recorded(&vector, &images)?;
    images.ok(&format!("vgchange --addtag x {VG}")).map(drop)
}

fn no_extension() -> Outcome {
    let (vector, mut image) = base()?;
    forge::set_extension(&mut image, 0, 0);
    let images = one("pv0", &image)?;
    reads_as_recorded(&vector, &images)?;
    images.ok(&format!("vgchange --addtag x {VG}")).map(drop)
}

fn unknown_segment_type() -> Outcome {
    let (_, mut image) = base()?;
    let text = forge::text(&image);
    let at = text
        .find("\nro {")
        .ok_or("the LV `ro` is not in the text")?;
    let (head, tail) = text.split_at(at);
    let own = "type = \"future+turbo\"\nboost = [\"x\", 3, 1.5]\n";
    let text = format!("{head}{}", tail.replacen("type = \"striped\"\n", own, 1));
    forge::set_text(&mut image, &text);
    let images = one("pv0", &image)?;
    let report = images.json(&format!("lvs --reportformat json -o lv_name,segtype {VG}"))?;
    let rows = report["report"][0]["lv"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let row = rows
        .iter()
        .find(|row| row["lv_name"] == "ro")
        .ok_or("the LV is not listed")?;
    ensure!(
        row["segtype"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("future")),
        "{row}"
    );
    for line in [format!("lvextend -l +1 {VG}/ro"), format!("read {VG}/ro")] {
        let words: Vec<&str> = line.split(' ').collect();
        let done = images.run(&words, &[])?;
        ensure!(done.code == 5, "`{line}` ended with {}", done.code);
        ensure!(
            done.err().contains("future"),
            "`{line}` does not name the type: {}",
            done.err()
        );
    }
    images.ok(&format!("lvcreate -an -n new -l 1 {VG}"))?;
    let after = std::fs::read(images.path("pv0")).map_err(|error| error.to_string())?;
    let text = forge::text(&after);
    ensure!(text.contains("\"future+turbo\""), "the type is lost");
    ensure!(
        text.contains("boost = [\"x\", 3, 1.5]"),
        "its fields are lost:\n{text}"
    );
    Ok(())
}

fn unknown_flag() -> Outcome {
    let (vector, mut image) = base()?;
    let text = forge::text(&image);
    let changed = text.replacen("flags = []", "flags = [\"SHINY\"]", 1);
    ensure!(changed != text, "no empty flags in the text");
    forge::set_text(&mut image, &changed);
    let images = one("pv0", &image)?;
    reads_as_recorded(&vector, &images)?;
    images.ok(&format!("vgchange --addtag x {VG}"))?;
    let after = std::fs::read(images.path("pv0")).map_err(|error| error.to_string())?;
    ensure!(forge::text(&after).contains("SHINY"), "the flag is lost");
    Ok(())
}

fn unknown_status() -> Outcome {
    let (_, mut image) = base()?;
    let text = forge::text(&image);
    let changed = text.replacen(
        "status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]",
        "status = [\"RESIZEABLE\", \"READ\", \"WRITE\", \"FROZEN\"]",
        1,
    );
    ensure!(changed != text, "the VG's status is not in the text");
    forge::set_text(&mut image, &changed);
    let images = one("pv0", &image)?;
    images.ok("vgs")?;
    let done = images.run(&["vgchange", "--addtag", "x", VG], &[])?;
    ensure!(
        done.code == 5,
        "a VG of unknown status was changed (exit code {})",
        done.code
    );
    ensure!(
        done.err().contains("FROZEN"),
        "the word is not named: {}",
        done.err()
    );
    Ok(())
}

fn truncated_image() -> Outcome {
    let (_, image) = base()?;
    for length in [0, 512, 1024, 4096, 5000, 1 << 20] {
        let images = one("pv0", &image[..length])?;
        for command in ["pvs", "vgs", "lvs", "vgck"] {
            let done = images.run(&[command], &[])?;
            ensure!(
                matches!(done.code, 0 | 5),
                "{command} on {length} bytes ended with {}",
                done.code
            );
        }
    }
    let images = one("pv0", &image[..2 << 20])?;
    let done = images.run(&["read", &format!("{VG}/a")], &[])?;
    ensure!(done.code == 5, "an LV beyond the end of its image was read");
    ensure!(
        done.err().contains("pv0"),
        "the device is not named: {}",
        done.err()
    );
    Ok(())
}

/// One byte at a time, over label, PV header and metadata header: an error or the truth.
fn inverted_headers() -> Outcome {
    let (_, image) = base()?;
    let label = (512..512 + 160).step_by(7);
    let area = (forge::MDA..forge::MDA + 96).step_by(5);
    for at in label.chain(area) {
        let mut damaged = image.clone();
        damaged[at] ^= 0xFF;
        let images = one("pv0", &damaged)?;
        let done = images.run(&["vgs", "--noheadings", "-o", "vg_name"], &[])?;
        ensure!(
            matches!(done.code, 0 | 5),
            "byte {at}: exit code {}",
            done.code
        );
        let silent = done.err().trim().is_empty() && !done.out().contains(VG);
        ensure!(
            !silent || at < 1024,
            "byte {at}: the VG is gone without a word"
        );
    }
    Ok(())
}
