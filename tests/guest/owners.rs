//! A volume has one owner: the kernel maps nothing on a PV that ulvm holds, ulvm takes nothing that
//! lies below a device of the kernel's, and what one has written the other reads.

use ulvm_test_support::guest::Guest;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure, loopdev};

use std::path::Path;

const MIB: u64 = 1 << 20;

pub fn cases(suite: &mut Suite) {
    suite.case("owners/kernel_and_ulvm", &[Need::Guest], one_owner);
}

fn one_owner() -> Outcome {
    let dir = loopdev::scratch()?;
    let disk = crate::harness::disk(&dir, "pv", 64 * MIB, &[])?;
    let data = dir.path().join("data");
    let bytes = content::sectors(21, 0, 8 * MIB / 512);
    std::fs::write(&data, &bytes).map_err(|e| e.to_string())?;
    let mut guest = Guest::new()?;
    for module in ["fuse", "loop"] {
        guest = guest.module(module);
    }
    let report = guest
        .disk(&disk)
        .program(Path::new(env!("CARGO_BIN_EXE_ulvm")))
        .copy(&data, "/data")
        .tool("cmp")
        .run(
            "set -e\n\
             vgcreate -s 4m vg $disk0\n\
             lvcreate -an -Zn -Wn -n one -L 8m vg\n\
             lvcreate -an -Zn -Wn -n two -L 8m vg\n\
             ulvm lvchange -ay vg/one\n\
             dd if=/data of=/dev/vg/one bs=1M conv=fsync\n\
             set +e\n\
             lvchange -ay vg/two >/out/kernel 2>&1; echo $? >/out/kernel.code\n\
             dmsetup create raw --table \"0 8 linear $disk0 4096\" >/out/raw 2>&1; echo $? >/out/raw.code\n\
             dmsetup table >/out/maps\n\
             set -e\n\
             ulvm lvchange -an vg/one\n\
             lvchange -ay vg/one\n\
             cmp /data /dev/mapper/vg-one\n\
             set +e\n\
             ulvm lvchange -ay vg/two >/out/ulvm 2>&1; echo $? >/out/ulvm.code\n\
             set -e\n\
             lvchange -an vg/one\n\
             ulvm lvchange -ay vg/two\n\
             ulvm lvchange -an vg/two\n",
        )?
        .success()?;
    for name in ["kernel", "raw", "ulvm"] {
        let code = report.text(&format!("{name}.code"))?;
        ensure!(code != "0", "{name} was let in: {}", report.text(name)?);
    }
    let raw = report.text("raw")?;
    ensure!(raw.contains("Device or resource busy"), "dmsetup: {raw}");
    let maps = report.text("maps")?;
    ensure!(
        !maps.contains("vg-two: 0") && !maps.contains("raw: 0"),
        "mapped by the kernel: {maps}"
    );
    let refused = report.text("ulvm")?;
    ensure!(
        refused.contains("held by") && refused.contains("vg-one"),
        "the holder is not named: {refused}"
    );
    Ok(())
}
