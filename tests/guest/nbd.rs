//! The kernel's NBD driver as a client of `ulvm serve`, and the same VG activated afterwards by the
//! guest's LVM2 and device-mapper.

use std::path::Path;
use std::time::Duration;

use ulvm_test_support::ensure;
use ulvm_test_support::guest::Guest;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};

use crate::volumes::{images, same};

/// nbd-client, and a library of its that not every machine has.
pub const NBD_CLIENT: &str = "nbd-client,libnl-genl-3-200";

pub fn cases(suite: &mut Suite) {
    suite.case(
        "nbd/kernel_driver_file_system_then_lvm2",
        &[Need::Guest, Need::Program("fio")],
        file_system,
    );
}

/// Serves both volumes to the kernel's driver, each under its number. Sets `server`.
const SERVE: &str = r#"
set -e
export ULVM_DEVICES=$disk0,$disk1
ulvm serve vg/linear vg/striped --nbd unix:/run/nbd >/run/served 2>&1 &
server=$!
for n in $(seq 600); do
  grep -q Serving /run/served && break
  kill -0 $server || { cat /run/served; exit 90; }
  sleep 0.1
done
# Two connections, over which the driver spreads its queues.
nbd-client -unix /run/nbd /dev/nbd0 -N vg/linear -C 2
nbd-client -unix /run/nbd /dev/nbd1 -N vg/striped
"#;

/// A file system on each, with data checked by fio; then everything again through device-mapper.
const JOB: &str = r#"
cat /sys/block/nbd0/size /sys/block/nbd1/size >/out/sizes
mkdir /run/a /run/b
mkfs.ext4 -q /dev/nbd0
mount -t ext4 /dev/nbd0 /run/a
mkfs.ext4 -q -E nodiscard /dev/nbd1
mount -t ext4 /dev/nbd1 /run/b
check() {
  fio --name=check --directory=$1 --size=6m --rw=randwrite --bsrange=1k-64k --verify=crc32c \
    --verify_fatal=1 --ioengine=psync --direct=$2 --fsync=32 --output=/run/fio "$3" || { cat /run/fio; exit 91; }
}
check /run/a 0 --do_verify=1
check /run/b 1 --do_verify=1
sha256sum /run/a/check.0.0 | cut -c1-64 >/out/a.nbd
sha256sum /run/b/check.0.0 | cut -c1-64 >/out/b.nbd
fstrim /run/a
sync
umount /run/a /run/b
e2fsck -fn /dev/nbd0 && e2fsck -fn /dev/nbd1
sha256sum </dev/nbd0 | cut -c1-64 >/out/linear.nbd
sha256sum </dev/nbd1 | cut -c1-64 >/out/striped.nbd
nbd-client -d /dev/nbd0
nbd-client -d /dev/nbd1
kill $server
wait $server
unset ULVM_DEVICES

vgck vg
vgchange -ay vg
dmsetup table >/out/tables
sha256sum </dev/mapper/vg-linear | cut -c1-64 >/out/linear.dm
sha256sum </dev/mapper/vg-striped | cut -c1-64 >/out/striped.dm
e2fsck -fn /dev/mapper/vg-linear && e2fsck -fn /dev/mapper/vg-striped
mount -t ext4 /dev/mapper/vg-linear /run/a
mount -t ext4 /dev/mapper/vg-striped /run/b
sha256sum /run/a/check.0.0 | cut -c1-64 >/out/a.dm
sha256sum /run/b/check.0.0 | cut -c1-64 >/out/b.dm
umount /run/a /run/b
vgchange -an vg
"#;

fn file_system() -> Outcome {
    let images = images()?;
    let report = Guest::new()?
        .disk(&images.path("pv0"))
        .disk(&images.path("pv1"))
        .module("nbd")
        .program(Path::new(env!("CARGO_BIN_EXE_ulvm")))
        .tool("fio")
        .package(NBD_CLIENT, "/sbin/nbd-client")
        .limit(Duration::from_secs(500))
        .run(&format!("{SERVE}{JOB}"))?
        .success()?;
    ensure!(
        report.text("sizes")? == "40960\n49152",
        "sizes of the kernel's devices: {}",
        report.text("sizes")?
    );
    for name in ["a", "b", "linear", "striped"] {
        same(&report, name, "nbd")?;
    }
    let tables = report.text("tables")?;
    ensure!(tables.contains("striped 2 32"), "tables: {tables}");
    Ok(())
}
