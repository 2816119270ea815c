//! Against a real kernel: a guest with Debian's kernel, device-mapper and LVM2.

mod dmsetup;
mod faults;
mod harness;
mod lvm2;
mod nbd;
mod owners;
mod ublk;
mod volumes;

use std::process::ExitCode;

use ulvm_test_support::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new(11);
    // A guest takes about a processor, and most of a second one while it boots.
    suite.threads(1);
    harness::cases(&mut suite);
    lvm2::cases(&mut suite);
    nbd::cases(&mut suite);
    faults::cases(&mut suite);
    dmsetup::cases(&mut suite);
    owners::cases(&mut suite);
    ublk::cases(&mut suite);
    suite.run()
}
