//! Plans of mirrors beside the devices that LVM2 made of the same metadata.

use std::collections::BTreeMap;

use ulvm_metadata::convert::import;
use ulvm_metadata::model::{LvKey, PvKey, Vg};
use ulvm_test_support::vectors::Vector;

use super::{Filler, Missing, Plan, PlanError, Under, dm_name, lv_of_dm_name, plan, under};

/// The metadata as they were before activation: what the first area of a PV holds.
fn metadata(case: &str) -> (Vector, Vg) {
    const AREA: usize = 4096;
    let vector = Vector::load(case).expect("a vector");
    let image = vector.image("pv0").expect("an image");
    let number = |at: usize| {
        let bytes = image[AREA + at..AREA + at + 8].try_into().expect("bytes");
        u64::from_le_bytes(bytes) as usize
    };
    let (start, len) = (AREA + number(40), number(48));
    let text = image[start..start + len].trim_ascii_end();
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let vg = import(text).expect("metadata").vg;
    (vector, vg)
}

fn pv_name(vg: &Vg, pv: PvKey) -> &str {
    let hint = vg.pvs[pv].device_hint.as_deref().unwrap_or("");
    hint.rsplit('/').next().unwrap_or("")
}

fn top(vg: &Vg) -> impl Iterator<Item = LvKey> + '_ {
    vg.lvs
        .iter()
        .filter(|(_, lv)| lv.status.visible)
        .map(|(key, _)| key)
}

/// Name, uuid and table of each device.
type Devices = BTreeMap<String, (String, String)>;

fn made(vg: &Vg, plan: &Plan) -> Devices {
    let word = |under: Under| match under {
        Under::Pv(pv) => pv_name(vg, pv).to_owned(),
        Under::Device(n) => plan.devices[n].name.clone(),
    };
    let each = plan.devices.iter();
    each.map(|d| {
        (
            d.name.clone(),
            (d.uuid.clone(), d.text(&word).trim_end().to_owned()),
        )
    })
    .collect()
}

fn recorded(vector: &Vector) -> Devices {
    let devices = vector.expected["dm_devices"].as_object().expect("devices");
    let each = devices.iter().map(|(name, device)| {
        let lines = device["table"].as_array().expect("a table").iter();
        let lines: Vec<_> = lines.filter_map(|l| l.as_str()).collect();
        let uuid = device["uuid"].as_str().expect("a uuid").to_owned();
        // The kernel shows what the bitmap holds, whatever the table said.
        let table = lines
            .join("\n")
            .replace("max_write_behind 0 ", "max_write_behind 64 ");
        (name.clone(), (uuid, table))
    });
    each.collect()
}

#[test]
fn devices_are_those_that_lvm2_made() {
    for case in ulvm_test_support::vectors::MIRRORS.iter().copied() {
        let (vector, vg) = metadata(case);
        let absent = vector.expected["absent_images"].to_string();
        let missing = |pv: PvKey| {
            let name = pv_name(&vg, pv);
            name.is_empty() || name == "[unknown]" || absent.contains(&format!("\"{name}\""))
        };
        let mut all = Devices::new();
        for lv in top(&vg) {
            let plan = plan(&vg, lv, &missing, Missing::Fill(Filler::Zero)).expect("a plan");
            assert!(plan.has_copies() && plan.holes.is_empty(), "{case}");
            let lower = under(&vg, lv).len();
            assert_eq!(lower, plan.devices.len() - plan.lost.len(), "{case}");
            all.extend(made(&vg, &plan));
        }
        let recorded = recorded(&vector);
        assert!(recorded.len() >= 3, "{case}");
        assert_eq!(all, recorded, "{case}");
    }
}

/// A raid1 runs with one whole leg, a mirror with all, unless told otherwise.
#[test]
fn what_may_be_missing() {
    let (_, vg) = metadata("raid1-2leg");
    let lv = top(&vg).next().expect("an LV");
    let first = |pv: PvKey| pv_name(&vg, pv) == "pv0";
    let degraded = plan(&vg, lv, &first, Missing::Degraded).expect("a plan");
    let lost: Vec<_> = degraded
        .lost
        .iter()
        .map(|(lv, _)| &vg.lvs[*lv].name)
        .collect();
    assert_eq!(lost, ["r_rmeta_0", "r_rimage_0"]);
    let error = ("v--raid1--2leg-r_rimage_0-missing_0_0", "0 4096 error");
    let devices = made(&vg, &degraded);
    assert_eq!(devices[error.0].1, error.1);
    assert!(devices[error.0].0.ends_with("-missing_0_0"));
    let line = &devices["v--raid1--2leg-r_rimage_0"].1;
    assert_eq!(*line, format!("0 4096 linear {} 0", error.0));
    let refused = |result: Result<Plan, PlanError>| {
        assert!(
            matches!(result, Err(PlanError::Missing { .. })),
            "{result:?}"
        );
    };
    refused(plan(&vg, lv, &first, Missing::Refuse));
    refused(plan(&vg, lv, &|_| true, Missing::Degraded));
    assert!(plan(&vg, lv, &|_| true, Missing::Fill(Filler::Error)).is_ok());
    let (_, vg) = metadata("mirror-core");
    let lv = top(&vg).next().expect("an LV");
    refused(plan(
        &vg,
        lv,
        &|pv| pv_name(&vg, pv) == "pv0",
        Missing::Degraded,
    ));
}

#[test]
fn flags_of_images_are_words_of_the_line() {
    let (_, mut vg) = metadata("raid1-3leg");
    let lv = top(&vg).next().expect("an LV");
    let image = |vg: &Vg, name: &str| {
        let found = vg.lvs.iter().find(|(_, lv)| lv.name == name);
        found.expect("an image").0
    };
    let (first, second) = (image(&vg, "r_rimage_0"), image(&vg, "r_rimage_1"));
    vg.lvs[first].status.rebuild = true;
    vg.lvs[second].status.visible = true;
    let made = plan(&vg, lv, &|_| false, Missing::Degraded).expect("a plan");
    let text = |plan: &Plan| {
        let last = plan.devices.last().expect("a device");
        last.text(&|under| format!("{under:?}").replace("Device", "d"))
    };
    assert_eq!(
        text(&made.clone().without_sync()),
        "0 7168 raid raid1 10 0 nosync rebuild 0 write_mostly 2 max_write_behind 64 \
         region_size 1024 3 d(0) d(1) - - d(2) d(3)\n"
    );
    assert!(!text(&made).contains("nosync"));
    let (_, vg) = metadata("mirror-disk");
    let lv = top(&vg).next().expect("an LV");
    let made = plan(&vg, lv, &|_| false, Missing::Degraded).expect("a plan");
    let line = text(&made.without_sync());
    assert!(
        line.contains("mirror disk 3 d(0) 1024 nosync 2 d(1) 0"),
        "{line}"
    );
}

#[test]
fn names_of_devices_tell_vg_and_lv() {
    for (vg, lv) in [("vg", "lv"), ("a-b", "c--d-e"), ("v-", "l")] {
        let name = dm_name(vg, lv, None);
        assert_eq!(lv_of_dm_name(&name), Some((vg.to_owned(), lv.to_owned())));
    }
    assert_eq!(lv_of_dm_name("a--b"), None);
}
