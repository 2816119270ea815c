//! `ulvm serve` over NBD, with the clients that others wrote. No root needed.

mod clients;
mod lifetime;
mod limits;
#[path = "../../crates/engine/tests/client/mod.rs"]
mod raw;
mod served;
mod tables;
mod vectors;

use std::path::Path;
use std::process::ExitCode;

use ulvm_test_support::suite::Suite;

/// The binary under test.
fn ulvm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ulvm"))
}

fn main() -> ExitCode {
    let mut suite = Suite::new(44);
    clients::cases(&mut suite);
    lifetime::cases(&mut suite);
    limits::cases(&mut suite);
    tables::cases(&mut suite);
    if let Err(error) = vectors::cases(&mut suite) {
        eprintln!("{error}");
        return ExitCode::from(101);
    }
    suite.run()
}
