//! Power may fail at any point of any operation that changes metadata: what is found afterwards is
//! exactly the old state or the new one.
//!
//! Every operation is run on devices that record their writes and flushes. For each prefix of the
//! record, each unflushed sector may have reached the device or not: all combinations are tried up
//! to a bound, a seeded sample above it. Then the devices are scanned and judged by `crash::judge`.
//!
//! The second test takes one flush away at a time; each time a crash point must be found that
//! breaks a rule. So no flush is there for nothing, and the judge is not blind.

mod crash {
    pub mod judge;
    pub mod record;
    pub mod scenarios;
}

use crash::judge::judge;
use ulvm_metadata::commit::Stage;

use crash::record::{CrashPoints, without_flush};
use crash::scenarios::all;

#[test]
fn every_crash_leaves_the_old_state_or_the_new() {
    let mut total = 0;
    for scenario in all() {
        let mut points = CrashPoints::new(&scenario.before, &scenario.events);
        let mut tried = 0u64;
        while let Some(point) = points.next_point() {
            tried += 1;
            if let Err(broken) = judge(&scenario, &point) {
                panic!("{}: {broken}\nat {}", scenario.name, point.describe());
            }
        }
        println!("{:>8} crash points: {}", tried, scenario.name);
        total += tried;
    }
    println!("{total:>8} crash points in all");
    assert!(total > 30_000, "only {total} crash points were tried");
}

/// Flushes whose loss breaks no rule, in these operations; each is needed in others.
///
/// * Precommitting where one area only stays in use: there is nobody to agree with, and the commit
///   overwrites the same sector. (Needed: every operation with two areas.)
const NEEDLESS_HERE: [(&str, Stage); 7] = [
    ("commit with wrap on 1 devices", Stage::Precommit),
    ("area goes out of use", Stage::Precommit),
    ("vgreduce", Stage::Precommit),
    ("vgcreate on areas [1]", Stage::Precommit),
    ("commit to areas [1]", Stage::Precommit),
    ("vgcreate on areas [1, 0]", Stage::Precommit),
    ("commit to areas [1, 0]", Stage::Precommit),
];

#[test]
fn no_flush_is_there_for_nothing() {
    let mut tried = 0;
    let mut needless: Vec<(String, Stage)> = Vec::new();
    for scenario in all() {
        for (stage, events) in without_flush(&scenario.events) {
            tried += 1;
            let mut points = CrashPoints::new(&scenario.before, &events);
            let mut found = false;
            while let Some(point) = points.next_point() {
                if judge(&scenario, &point).is_err() {
                    found = true;
                    break;
                }
            }
            if !found {
                needless.push((scenario.name.clone(), stage));
            }
        }
    }
    println!("{tried} flushes were taken away");
    assert!(tried > 60, "only {tried} flushes");
    let needless: Vec<_> = needless.iter().map(|(n, s)| (n.as_str(), *s)).collect();
    assert_eq!(
        needless, NEEDLESS_HERE,
        "nothing breaks without these flushes"
    );
}
