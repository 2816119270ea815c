//! The volumes that a guest first has through ulvm and then through its own device-mapper.

use std::path::Path;

use ulvm_test_support::ensure;
use ulvm_test_support::guest::Report;
use ulvm_test_support::images::Images;
use ulvm_test_support::suite::Outcome;

/// A VG made by ulvm on image files.
pub fn images() -> Result<Images, String> {
    let mut images = Images::new(Path::new(env!("CARGO_BIN_EXE_ulvm")))?;
    let a = images.add_empty("pv0", 64 << 20)?;
    let b = images.add_empty("pv1", 64 << 20)?;
    images.ok(&format!("vgcreate vg {} {}", a.display(), b.display()))?;
    images.ok("lvcreate -an -n linear -l 5 vg")?;
    images.ok("lvcreate -an -n striped -i 2 -I 16k -l 6 vg")?;
    Ok(images)
}

/// The digests that the job has left in `NAME.BY` and `NAME.dm` are equal.
pub fn same(report: &Report, name: &str, by: &str) -> Outcome {
    let [ours, dm] = [by, "dm"].map(|by| report.text(&format!("{name}.{by}")));
    let (ours, dm) = (ours?, dm?);
    ensure!(ours.len() == 64, "{name}: no digest: {ours}");
    ensure!(
        ours == dm,
        "{name} differs through {by} and through device-mapper\n{}",
        report.console
    );
    Ok(())
}
