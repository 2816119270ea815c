//! Power may fail at any point of a command: what sessions find afterwards is what was there before
//! or what the command made, and the next command works.
//!
//! Each operation is carried out by a [`Session`](super::Session) as its command does it, on image
//! files; writes and flushes are recorded where they leave for the file. Then the files are put into
//! each state that a crash may leave (`points`) and judged (`judge`). The second test takes one
//! flush away at a time, and demands that a crash point breaks a rule.

mod judge;
mod points;
mod pvmove;
mod scenarios;

use judge::Scenario;
use points::{Point, Points};
use scenarios::{World, all, view_starts};

use ulvm_metadata::uuid::LvmUuid;

use super::Allow;
use crate::disk::tape::Event;
use crate::inventory::{Inventory, VgRead};

fn judge(world: &World, scenario: &Scenario, point: &Point) -> Result<(), String> {
    let starts = view_starts(&scenario.paths, scenario.rules);
    let seen: Vec<_> = starts.into_iter().map(|n| world.look(n)).collect();
    scenario.judge(point, &seen)
}

/// The next command changes each VG, and nothing is left to be mended.
fn next_command(world: &World, scenario: &Scenario) -> Result<(), String> {
    let first = *view_starts(&scenario.paths, scenario.rules).last().unwrap();
    let seen = world.look(first);
    for read in &seen.vgs {
        let mut session = world.session(first);
        let old = session
            .vg_for_write(&read.vg.name, Allow::default())
            .map_err(|e| format!("opening {}: {e}", read.vg.name))?;
        let mut vg = (*old.vg).clone();
        vg.tags.push("next".into());
        let now = session
            .commit(&old, vg)
            .map_err(|e| format!("changing {}: {e}", read.vg.name))?;
        // As with LVM2, what has left the VG is cleared by vgck --updatemetadata only.
        if !now.outdated.is_empty() {
            session.repair(&now).map_err(|e| format!("vgck: {e}"))?;
        }
    }
    let (inventory, warnings) = world.look_closely(first);
    let tagged = inventory
        .vgs
        .iter()
        .filter(|v| v.vg.tags == ["next"])
        .count();
    if tagged != seen.vgs.len() || inventory.vgs.len() != tagged {
        return Err(format!("{tagged} of {} VGs were changed", seen.vgs.len()));
    }
    if !warnings.is_empty() {
        return Err(format!("the next command leaves: {warnings:#?}"));
    }
    Ok(())
}

/// After so many crash points the next command is tried on one.
const NEXT_COMMAND_EACH: u64 = 17;

#[test]
fn every_crash_of_a_command_leaves_the_old_state_or_the_new() {
    let (mut total, mut commands) = (0, 0);
    for (world, scenario) in all() {
        let mut points = Points::new(&scenario.before, &scenario.events, 0);
        let mut tried = 0u64;
        while let Some(point) = points.next_point() {
            tried += 1;
            let mut verdict = judge(&world, &scenario, &point);
            if verdict.is_ok() && tried % NEXT_COMMAND_EACH == 0 {
                commands += 1;
                verdict = next_command(&world, &scenario);
                points.restore();
            }
            if let Err(broken) = verdict {
                panic!("{}: {broken}\nat {}", scenario.name, point.describe());
            }
        }
        println!("{tried:>8} crash points: {}", scenario.name);
        total += tried;
    }
    println!("{total:>8} crash points in all, {commands} commands after them");
    assert!(total > 4_000, "only {total} crash points were tried");
}

/// The whole operation was done, but for one disk that was elsewhere and comes back as it was. Each
/// disk belongs to one VG then, and a change of any VG leaves the others alone.
#[test]
fn an_old_disk_that_returns_takes_nothing_from_others() {
    let mut returns = 0;
    for (world, scenario) in all() {
        let mut after = scenario.before.clone();
        for event in &scenario.events {
            if let Event::Write { path, offset, data } = event {
                let image = after.get_mut(path).unwrap();
                image[*offset as usize..][..data.len()].copy_from_slice(data);
            }
        }
        for (old, _) in after.iter().filter(|(p, now)| scenario.before[*p] != **now) {
            returns += 1;
            for n in 0..usize::MAX {
                for (path, image) in &after {
                    let image = if path == old {
                        &scenario.before[path]
                    } else {
                        image
                    };
                    std::fs::write(path, image).unwrap();
                }
                let seen = world.look(0);
                let mut held: Vec<_> = seen.vgs.iter().flat_map(|v| v.found()).collect();
                held.sort_by_key(|f| f.device);
                let twice = held.windows(2).any(|w| w[0].device == w[1].device);
                assert!(!twice, "{}: {} is in two VGs", scenario.name, old.display());
                let Some(read) = seen.vgs.get(n) else {
                    break;
                };
                change_one(&world, &seen, read.vg.id, scenario.name);
            }
        }
    }
    assert!(returns > 20, "only {returns} disks returned");
}

fn change_one(world: &World, seen: &Inventory, id: LvmUuid, name: &str) {
    let others = |inventory: &Inventory| {
        let others = inventory.vgs.iter().filter(|v| v.vg.id != id);
        let of = |v: &VgRead| (v.vg.id, v.vg.seqno, v.missing().len());
        others.map(of).collect::<Vec<_>>()
    };
    let read = seen.vgs.iter().find(|v| v.vg.id == id).unwrap();
    let allow = Allow {
        missing: true,
        exported: true,
        ..Allow::default()
    };
    let mut session = world.session(0);
    let Ok(old) = session.vg_for_write_by_id(&read.vg.name, &id, allow) else {
        return;
    };
    let mut vg = (*old.vg).clone();
    vg.tags.push("next".into());
    if session.commit(&old, vg).is_ok() {
        drop(session);
        assert_eq!(others(&world.look(0)), others(seen), "{name}");
    }
}

/// Flushes whose loss breaks no rule in these operations, by their place on the tape.
const NEEDLESS: [(&str, usize); 8] = [
    // Commit, where the label of the same device is written and flushed next; the two need no
    // order.
    ("pvresize", 11),
    // Precommit of the area that goes out of use; the next stage writes the same sector.
    ("pvchange --metadataignore y", 7),
    // Commit of the first step on one of two areas: the other one is enough for it to rule.
    ("vgsplit", 10),
    ("vgsplit", 11),
    // Precommit with one area only, which has nobody to agree with.
    ("vgsplit", 15),
    // The same three.
    ("vgsplit into a VG", 10),
    ("vgsplit into a VG", 11),
    ("vgsplit into a VG", 15),
];

#[test]
fn no_flush_of_a_command_is_there_for_nothing() {
    let mut taken = 0;
    let mut needless = Vec::new();
    for (world, scenario) in all() {
        for (n, event) in scenario.events.iter().enumerate() {
            if !matches!(event, Event::Flush { .. }) {
                continue;
            }
            taken += 1;
            let mut events = scenario.events.clone();
            events.remove(n);
            let mut points = Points::new(&scenario.before, &events, n);
            let mut found = false;
            while let Some(point) = points.next_point() {
                if judge(&world, &scenario, &point).is_err() {
                    found = true;
                    break;
                }
            }
            if !found {
                needless.push((scenario.name, n));
            }
        }
    }
    println!("{taken} flushes were taken away");
    assert!(taken > 100, "only {taken} flushes");
    assert_eq!(needless, NEEDLESS, "nothing breaks without these flushes");
}
