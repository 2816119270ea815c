//! Mirrors that were cut while they were written: what was acknowledged is there.

use ulvm_test_support::content;
use ulvm_test_support::ensure;
use ulvm_test_support::images::Images;
use ulvm_test_support::vectors::Vector;

/// The word of a storm's seed that says where write `k` of process `p` goes.
fn place(seed: u64, p: u64, k: u64) -> u64 {
    content::word(seed, (1 << 39) + (p << 24) + k)
}

/// Every sector of a storm's volume: what an acknowledged write wrote, or else what was there before;
/// at most one further write of each process in whole or in part. Gives the number of sectors.
pub fn check(vector: &Vector, images: &Images) -> Result<usize, String> {
    let storm = &vector.expected["storm"];
    let Some(name) = storm["lv"].as_str() else {
        return Ok(0);
    };
    let number = |key: &str| storm[key].as_u64().ok_or(format!("no {key}"));
    let (io, processes) = (number("io_sectors")?, number("processes")?);
    let (start, slice) = (number("start_sector")?, number("sectors")? / processes);
    let (seed, before) = (number("seed")?, number("content_before")?);
    let data = images.ok(&format!("read {name}"))?.stdout;
    let mut wanted = vec![before; data.len() / 512];
    let mut maybe = vec![false; wanted.len()];
    for p in 0..processes {
        let last = storm["acknowledged_up_to"][p.to_string()].as_u64();
        let last = last.ok_or("no acknowledged_up_to")?;
        for k in 0..=last + 1 {
            let block = place(seed, p, k) % (slice / io);
            let first = (start + p * slice + block * io) as usize;
            for sector in first..first + io as usize {
                match k <= last {
                    true => wanted[sector] = seed,
                    false => maybe[sector] = true,
                }
            }
        }
    }
    for (sector, bytes) in data.chunks(512).enumerate() {
        let is = |seed| bytes == content::sector(seed, sector as u64);
        ensure!(
            is(wanted[sector]) || (maybe[sector] && is(seed)),
            "{name}: sector {sector} is neither what was acknowledged nor what was in flight"
        );
    }
    Ok(data.len() / 512)
}
