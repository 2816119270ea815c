//! Against a real kernel: a guest with Debian's kernel, device-mapper and LVM2.

mod harness;
mod lvm2;

use std::process::ExitCode;

use ulvm_test_support::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new(6);
    // A guest takes about a processor, and most of a second one while it boots.
    suite.threads(1);
    harness::cases(&mut suite);
    lvm2::cases(&mut suite);
    suite.run()
}
