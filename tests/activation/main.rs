//! Activation: the daemon, files and loop devices, and what a kill of the worker means.

mod changes;
mod choices;
mod claims;
mod daemon;
mod disk;
mod endurance;
mod events;
mod faults;
mod fence;
mod filesystems;
mod host;
mod kernel_log;
mod kill;
mod nbd;
mod service;
mod slow;
mod upgrade;
mod volumes;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use ulvm_test_support::suite::Suite;

/// The binary under test.
fn ulvm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ulvm"))
}

fn main() -> ExitCode {
    let mut suite = Suite::new(74);
    daemon::cases(&mut suite);
    volumes::cases(&mut suite);
    changes::cases(&mut suite);
    choices::cases(&mut suite);
    watch::cases(&mut suite);
    kill::cases(&mut suite);
    fence::cases(&mut suite);
    faults::cases(&mut suite);
    endurance::cases(&mut suite);
    events::cases(&mut suite);
    filesystems::cases(&mut suite);
    nbd::cases(&mut suite);
    claims::cases(&mut suite);
    service::cases(&mut suite);
    upgrade::cases(&mut suite);
    suite.run()
}
