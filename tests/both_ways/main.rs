//! LVM2 and ulvm on the same volume groups: each reads, edits and repairs what the other left.
//!
//! `ULVM_PROVE=1` runs the full counts (`tests/prove`); otherwise a fixed sample of them.

mod accepted;
mod concurrent;
mod random;

use std::path::Path;
use std::process::ExitCode;

use ulvm_test_support::needs::Need;
use ulvm_test_support::state::State;
use ulvm_test_support::suite::Suite;

/// Random sequences in full, and the sample taken otherwise.
const SEQUENCES: (u64, u64) = (200, 32);
/// Seconds of concurrent commands in full, and otherwise.
const SECONDS: (u64, u64) = (60, 8);
/// Most of a command's time is waiting for the kernel.
const THREADS: usize = 6;

/// The binary under test.
fn ulvm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ulvm"))
}

/// Both tools read the same text here, so even free space in the metadata areas agrees.
fn exactly(_: &mut State, _: &mut State) {}

fn main() -> ExitCode {
    let full = std::env::var("ULVM_PROVE").is_ok_and(|value| value == "1");
    let scaled = |(all, sample): (u64, u64)| if full { all } else { sample };
    let needs = [Need::Loop, Need::Lvm2];
    let mut suite = Suite::new(accepted::CASES.len() + scaled(SEQUENCES) as usize + 1);
    suite.threads(THREADS);
    for &(name, body) in accepted::CASES {
        suite.case(format!("both_ways::{name}"), &needs, body);
    }
    for seed in 0..scaled(SEQUENCES) {
        suite.case(
            format!("both_ways::random::seed_{seed}"),
            &needs,
            move || random::check(seed),
        );
    }
    let seconds = scaled(SECONDS);
    suite.case("both_ways::fifty_at_a_time", &needs, move || {
        concurrent::check(seconds)
    });
    suite.run()
}
