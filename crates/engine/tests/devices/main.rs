//! Files and block devices that fail, end, or go away; and what zeroes and trims do to them.
//! Everything is asked through the library and through NBD, over both drivers.

#[path = "../client/mod.rs"]
mod client;
mod faults;
mod site;
mod zeroes;

use std::process::ExitCode;

use ulvm_test_support::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new(23);
    faults::cases(&mut suite);
    zeroes::cases(&mut suite);
    suite.run()
}
