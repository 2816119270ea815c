//! One body over every way an I/O can take: the calling thread, pool and ring, and an NBD server
//! over both; memory, page cache, O_DIRECT files and block devices; blocks of 512 and 4096 bytes.
//! What is read is what a plain array of bytes holds.
//!
//! `ULVM_PROVE` makes it longer.

#[path = "../client/mod.rs"]
mod client;
mod stores;
mod ways;

use std::process::ExitCode;

use stores::{KINDS, Kind, SIZE, Store};
use ulvm_test_support::ensure;
use ulvm_test_support::rng::Rng;
use ulvm_test_support::suite::{Outcome, Suite};
use ways::{Ask, Open, WAYS, Way};

fn main() -> ExitCode {
    let mut suite = Suite::new(164);
    let times = match std::env::var_os("ULVM_PROVE") {
        Some(_) => 20,
        None => 1,
    };
    println!(
        "{} rounds of whole sectors, {} of bytes, each way",
        150 * times,
        60 * times
    );
    for (n, kind) in KINDS.into_iter().enumerate() {
        for (m, way) in WAYS.into_iter().enumerate() {
            let name = format!("{}::{}", kind.name(), way.name());
            let seed = (n * WAYS.len() + m) as u64;
            for (unit, rounds) in [(512, 150 * times), (1, 60 * times)] {
                suite.case(
                    format!("contract::{name}::unit_{unit}"),
                    kind.needs(),
                    move || body(kind, way, unit, seed * 7919 + unit, rounds),
                );
            }
            if way != Way::Alone {
                let name = format!("contract::{name}::large_and_small_at_once");
                suite.case(name, kind.needs(), move || {
                    at_once(kind, way, seed, 4 * times)
                });
            }
            if kind.has_blocks() && way != Way::Alone {
                let name = format!("contract::{name}::parts_of_a_block_written_at_once");
                suite.case(name, kind.needs(), move || parts(kind, way, 20 * times));
            }
        }
    }
    suite.run()
}

fn body(kind: Kind, way: Way, unit: u64, seed: u64, rounds: usize) -> Outcome {
    let store = Store::new(kind)?;
    let mut open = Open::new(way, &store.device)?;
    let mut rng = Rng::new(seed);
    let mut model = vec![0; SIZE as usize];
    open.ask(Ask::Zeroes(0, SIZE, false, false))?;
    for round in 0..rounds {
        step(&mut open, &mut rng, &mut model, unit)
            .map_err(|e| format!("round {round} of seed {seed}: {e}"))?;
        // Now and then by a new connection, engine or thread.
        if round % 50 == 49 {
            drop(open);
            open = Open::new(way, &store.device)?;
        }
    }
    ensure!(open.ask(Ask::Read(0, SIZE))? == model, "the whole differs");
    drop(open);
    ensure!(store.device.in_flight() == 0, "something is in flight");
    // What one way has written another reads.
    let mut other = Open::new(Way::Alone, &store.device)?;
    ensure!(
        other.ask(Ask::Read(0, SIZE))? == model,
        "the whole differs by another way"
    );
    Ok(())
}

/// One request, and what it does to a plain array of bytes.
fn step(open: &mut Open, rng: &mut Rng, model: &mut [u8], unit: u64) -> Outcome {
    let at = rng.below(SIZE / unit) * unit;
    let most = (SIZE - at).min(96 * 1024) / unit;
    let len = (1 + rng.below(most)) * unit;
    let range = at as usize..(at + len) as usize;
    match rng.below(10) {
        0..=2 => {
            let data: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            model[range].copy_from_slice(&data);
            open.ask(Ask::Write(at, data, rng.chance(12)))?;
        }
        3..=5 => {
            let seen = open.ask(Ask::Read(at, len))?;
            ensure!(seen == model[range], "{len} bytes at {at} differ");
        }
        6 | 7 => {
            model[range].fill(0);
            open.ask(Ask::Zeroes(at, len, rng.chance(50), rng.chance(25)))?;
        }
        8 => {
            open.ask(Ask::Discard(at, len))?;
            // What was given up may read as anything: zeroes, what was there, or what a block
            // device had before its page cache was dropped. What lies around it stays.
            model[range].copy_from_slice(&open.ask(Ask::Read(at, len))?);
        }
        _ => drop(open.ask(Ask::Flush)?),
    }
    Ok(())
}

/// The device cut into pieces of all sizes, up to most of it: all written at once, then read at once.
fn at_once(kind: Kind, way: Way, seed: u64, rounds: usize) -> Outcome {
    let store = Store::new(kind)?;
    let mut open = Open::new(way, &store.device)?;
    let mut rng = Rng::new(seed);
    for round in 0..rounds {
        let (mut ranges, mut at) = (Vec::new(), 0);
        while at < SIZE {
            let most = [512, 8192, 200 << 10, 1 << 20][rng.below(4) as usize];
            let len = (1 + rng.below(most)).min(SIZE - at);
            ranges.push((at, len));
            at += len;
        }
        let byte = |n: usize| (round as u8).wrapping_mul(31) ^ n as u8;
        let write = |(n, &(at, len)): (usize, &(u64, u64))| {
            Ask::Write(at, vec![byte(n); len as usize], n % 7 == 0)
        };
        let writes: Vec<Ask> = ranges.iter().enumerate().map(write).collect();
        // As many at a time as a client may have.
        for (n, part) in writes.chunks(200).enumerate() {
            open.ask_together(part)
                .map_err(|e| format!("round {round} of seed {seed}, writes {n}: {e}"))?;
        }
        for (n, part) in ranges.chunks(200).enumerate() {
            let seen = open.read_together(part)?;
            for (m, (data, range)) in seen.iter().zip(part).enumerate() {
                let right =
                    data.len() as u64 == range.1 && data.iter().all(|b| *b == byte(n * 200 + m));
                ensure!(right, "round {round} of seed {seed}: {range:?} differs");
            }
        }
    }
    Ok(())
}

/// Single sectors of blocks of 4096 bytes, many at a time: none may undo its neighbour.
fn parts(kind: Kind, way: Way, rounds: usize) -> Outcome {
    let store = Store::new(kind)?;
    let mut open = Open::new(way, &store.device)?;
    for round in 1..=rounds {
        let byte = |n: u64| (round as u8).wrapping_mul(16) ^ n as u8;
        // Some of whole blocks go with them.
        let mut asks = vec![Ask::Write(64 * 512, vec![0; 8192], false)];
        // Sectors 10..26 begin and end within blocks of the stores.
        asks.extend((0..16).map(|n| Ask::Write((10 + n) * 512, vec![byte(n); 512], n % 5 == 0)));
        open.ask_together(&asks)?;
        let seen = open.ask(Ask::Read(10 * 512, 16 * 512))?;
        for (n, sector) in (0..).zip(seen.chunks(512)) {
            let same = sector.iter().all(|b| *b == byte(n));
            ensure!(same, "round {round}: sector {n} was undone");
        }
    }
    Ok(())
}
