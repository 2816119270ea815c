//! The machine in a simulated world: operations end in any order, fail, are lost and torn; legs fail
//! and return; power is lost and processes are killed at any point; copying and comparing go on
//! meanwhile. Everything follows from a seed, which a failure prints; `ULVM_SIM_SEED` runs one
//! again, `ULVM_SIM_SEEDS` a range, `ULVM_SIM_TRACE` shows the last steps.
//!
//! What is checked is in `oracle.rs`, and where `world.rs` compares legs.

mod disk;
mod forms;
mod oracle;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::machine::Broken;
use forms::Faulty;
use world::{Choice, World, Wrong};

/// What went wrong with a seed, if anything.
fn run(seed: u64, form: Choice, wrong: Wrong) -> Option<String> {
    let mut world = World::new(seed, form, wrong);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let what = match result {
        Ok(Ok(())) => return None,
        Ok(Err(what)) => what,
        Err(_) => "panicked".to_owned(),
    };
    Some(format!("seed {seed}: {what}\n{}", world.trace()))
}

/// `A..B` or `B` of `ULVM_SIM_SEEDS`.
fn range(text: &str) -> std::ops::Range<u64> {
    let number = |n: &str| n.parse().expect("ULVM_SIM_SEEDS is A..B");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(text),
    }
}

/// All seeds of a form, or those that the environment asks for. Every failure is counted, the first
/// is shown.
fn seeds(form: Choice) {
    let var = |name: &str| std::env::var(name).ok();
    let seeds = match (var("ULVM_SIM_SEED"), var("ULVM_SIM_SEEDS")) {
        (Some(one), _) => {
            let seed = one.parse().expect("ULVM_SIM_SEED is a number");
            seed..seed + 1
        }
        (None, Some(some)) => range(&some),
        (None, None) => {
            0..if var("ULVM_PROVE").is_some() {
                100_000
            } else {
                3_000
            }
        }
    };
    let (mut failed, mut first) = (Vec::new(), None);
    for seed in seeds {
        if let Some(what) = run(seed, form, Wrong::Nothing) {
            failed.push(seed);
            first.get_or_insert(what);
        }
    }
    if let Some(first) = first {
        let shown = &failed[..failed.len().min(20)];
        panic!("{} seeds fail: {shown:?}\n{first}", failed.len());
    }
}

#[test]
fn what_was_acknowledged_is_read_and_clean_regions_are_equal() {
    seeds(Choice::Small);
}

#[test]
fn so_it_is_with_a_disk_log() {
    seeds(Choice::DiskLog);
}

#[test]
fn so_it_is_with_superblocks_and_bitmaps() {
    seeds(Choice::Raid);
}

/// Each of these is a mirror that breaks its promise: the simulator has to see it.
#[test]
fn broken_mirrors_are_caught() {
    let machine = [
        Broken::AnsweredBeforeMarked,
        Broken::ClearedWithoutFlush,
        Broken::ClearedEarly,
        Broken::StaleLegRead,
        Broken::FailureAfterAnswer,
        Broken::ResyncRacesWrite,
        Broken::OverlapsNotOrdered,
        Broken::ClearedWhileDegraded,
        Broken::DirtyReadAnywhere,
        Broken::InSyncBeforeCopied,
    ];
    let wrong = machine.into_iter().map(Wrong::Machine).chain([
        Wrong::LogNotFlushed,
        Wrong::Form(Faulty::SuperblockFirst),
        Wrong::Form(Faulty::OneLegOnly),
    ]);
    let mut missed = Vec::new();
    for wrong in wrong {
        match (0..1000).find_map(|seed| run(seed, Choice::Small, wrong).map(|what| (seed, what))) {
            Some((seed, what)) => {
                let line = what.lines().next().unwrap_or_default();
                println!("{wrong:?}: seed {seed}: {line}");
            }
            None => missed.push(wrong),
        }
    }
    assert_eq!(missed, []);
}
