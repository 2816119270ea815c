//! A VG made on the host is activated by the guest's LVM2 and device-mapper, with its data.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use ulvm_test_support::guest::Guest;
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::lvm::{Site, Tool};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure};

const MIB: u64 = 1 << 20;
const SECTORS_OF_MIB: u64 = MIB / 512;

pub fn cases(suite: &mut Suite) {
    suite.case(
        "lvm2/vg_of_the_hosts_lvm2",
        &[Need::Guest, Need::Loop, Need::Lvm2],
        || activates(Tool::Debian),
    );
    suite.case("lvm2/vg_of_ulvm", &[Need::Guest, Need::Loop], || {
        activates(Tool::Ulvm)
    });
}

/// 64 KiB chunks over two PVs: where a sector of the striped LV lies, as (PV, sector from the LV's
/// first extent there). Written out here so that neither tool checks itself.
fn striped(sector: u64) -> (usize, u64) {
    let (chunk, within) = (sector / 128, sector % 128);
    let stripe = usize::from(chunk % 2 == 1);
    (stripe, chunk / 2 * 128 + within)
}

fn activates(tool: Tool) -> Outcome {
    let dir = loopdev::scratch()?;
    let mut site = Site::new(Path::new(env!("CARGO_BIN_EXE_ulvm")))?;
    let images = [dir.path().join("pv0"), dir.path().join("pv1")];
    let devices = [
        LoopDevice::attach(&images[0], 64 * MIB, 512)?,
        LoopDevice::attach(&images[1], 64 * MIB, 512)?,
    ];
    let [a, b] = [&devices[0], &devices[1]].map(|device| device.node().display().to_string());
    site.show(&devices.each_ref().map(|device| device.node().to_path_buf()))?;
    for line in [
        format!("vgcreate -s 4m v-g {a} {b}"),
        format!("lvcreate -an -Zn -Wn -n linear -l 3 v-g {a}:0-2"),
        format!("lvcreate -an -Zn -Wn -n striped -i 2 -I 64k -l 4 v-g {a}:3-4 {b}:0-1"),
        "vgs --noheadings -o vg_uuid v-g".to_owned(),
    ] {
        site.ok(tool, &line)?;
    }

    // The extents begin at 1 MiB, as both tools lay them out.
    let open = |path: &Path| OpenOptions::new().write(true).open(path);
    let files = [open(devices[0].node()), open(devices[1].node())]
        .map(|file| file.map_err(|e| e.to_string()));
    let [Ok(first), Ok(second)] = &files else {
        return Err(format!("{files:?}"));
    };
    let linear = content::sectors(11, 0, 12 * SECTORS_OF_MIB);
    let data = content::sectors(12, 0, 16 * SECTORS_OF_MIB);
    let fill = || {
        first.write_all_at(&linear, MIB)?;
        for (number, bytes) in (0..).zip(data.chunks(512)) {
            let (pv, sector) = striped(number);
            let start = [MIB + 12 * MIB, MIB][pv];
            [first, second][pv].write_all_at(bytes, start + sector * 512)?;
        }
        first.sync_all()?;
        second.sync_all()
    };
    fill().map_err(|error| error.to_string())?;

    let report = Guest::new()?
        .disk(&images[0])
        .disk(&images[1])
        .run(
            "set -e\n\
             vgchange -ay v-g\n\
             dmsetup table\n\
             sha256sum </dev/mapper/v--g-linear >/out/linear\n\
             sha256sum </dev/mapper/v--g-striped >/out/striped\n\
             vgck v-g\n\
             vgchange -an v-g\n",
        )?
        .success()?;
    for (name, bytes) in [("linear", &linear), ("striped", &data)] {
        let wanted: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let seen = report.text(name)?;
        ensure!(
            seen.starts_with(&wanted),
            "{name}: {seen} instead of {wanted}\n{}",
            report.console
        );
    }
    Ok(())
}
