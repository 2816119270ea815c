//! Fifty commands at a time on one volume group, half LVM2's and half ulvm's: no logical volume and
//! no commit may be lost.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ulvm_test_support::ensure;
use ulvm_test_support::field::Field;
use ulvm_test_support::lvm::Tool;
use ulvm_test_support::suite::Outcome;

use crate::ulvm;

const WORKERS: usize = 50;
const MIB: u64 = 1 << 20;

/// What one worker did.
#[derive(Default)]
struct Tally {
    commits: u64,
    volumes: Vec<String>,
    problems: Vec<String>,
}

/// Lets the workers at one VG for that long, then counts.
pub fn check(seconds: u64) -> Outcome {
    let field = Field::new(ulvm(), &[256 * MIB; 2])?;
    field.ok(
        Tool::Debian,
        "vgcreate -s 64k --metadatasize 8M vg $pv0 $pv1",
    )?;
    let before = field.seqno("vg")?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let tallies = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (field, tallies) = (&field, &tallies);
            scope.spawn(move || {
                let tally = work(field, worker, until);
                if let Ok(mut all) = tallies.lock() {
                    all.push(tally);
                }
            });
        }
    });
    let tallies = tallies.into_inner().map_err(|error| error.to_string())?;
    let commits: u64 = tallies.iter().map(|tally| tally.commits).sum();
    let problems: Vec<&String> = tallies.iter().flat_map(|tally| &tally.problems).collect();
    let mut expected: Vec<String> = tallies
        .iter()
        .flat_map(|tally| tally.volumes.clone())
        .collect();
    expected.sort();
    ensure!(
        problems.is_empty(),
        "{} commands failed, such as:\n{}",
        problems.len(),
        problems[0]
    );
    let found = field.volumes("vg")?;
    ensure!(
        found == expected,
        "{} LVs are there, {} should be",
        found.len(),
        expected.len()
    );
    let after = field.seqno("vg")?;
    ensure!(
        after - before == commits,
        "{commits} commits moved seqno from {before} to {after}"
    );
    println!(
        "{commits} commits in {seconds} s, {} volumes left",
        found.len()
    );
    field.ok(Tool::Debian, "vgck vg")?;
    field.ok(Tool::Ulvm, "vgck vg").map(drop)
}

fn work(field: &Field, worker: usize, until: Instant) -> Tally {
    let tool = if worker % 2 == 0 {
        Tool::Debian
    } else {
        Tool::Ulvm
    };
    let mut tally = Tally::default();
    for round in 0.. {
        if Instant::now() >= until {
            break;
        }
        let name = format!("w{worker}r{round}");
        if !commit(
            field,
            tool,
            &format!("lvcreate -an -Zn -Wn -n {name} -l 1 vg"),
            &mut tally,
        ) {
            break;
        }
        tally.volumes.push(name);
        if round % 3 == 2 {
            let gone = tally.volumes.remove(0);
            if !commit(field, tool, &format!("lvremove -y vg/{gone}"), &mut tally) {
                break;
            }
        }
        if round % 4 == 3 {
            let line = format!("vgchange --addtag w{worker}t{round} vg");
            commit(field, tool, &line, &mut tally);
        }
    }
    tally
}

fn commit(field: &Field, tool: Tool, line: &str, tally: &mut Tally) -> bool {
    match field.run(tool, line) {
        Ok(done) if done.code == 0 => {
            tally.commits += 1;
            true
        }
        Ok(done) => {
            tally.problems.push(format!(
                "{tool}: {line} ended with {}\n{}",
                done.code,
                done.err()
            ));
            false
        }
        Err(error) => {
            tally.problems.push(error);
            false
        }
    }
}
