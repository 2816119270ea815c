//! Carries out a plan of staged writes: a flush after each stage, so that no later stage can be
//! durable before an earlier one.
//!
//! Until the commit stage any failure undoes everything, unless the command is one that goes on without
//! devices that fail. In the commit stage one area with the new
//! header makes the new text rule; areas that fail then are named and left behind (their old text
//! has a lower seqno and is mended by the next write).

use std::collections::BTreeMap;
use std::io;

use ulvm_metadata::commit::{Plan, Stage, Staged};
use ulvm_metadata::disk::Disk;

/// A device that could not be written, by its number.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Number of the device.
    pub disk: usize,
    /// Why.
    pub error: io::Error,
}

/// From so many devices on, flushes go side by side: they wait for hardware, not for the CPU.
const PARALLEL_FROM: usize = 4;
/// Threads that flush.
const FLUSHERS: usize = 16;

/// What a device that fails before the commit stage means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnFailure {
    /// Everything is undone.
    Undo,
    /// It is left behind with its old text, if another one is left to be committed to: for commands
    /// that get a VG along without a broken device.
    LeaveBehind,
}

/// Runs a plan. `Ok` lists devices that failed in the commit stage while at least one succeeded, and
/// those left behind; `Err` names the failure that ended it, after `revert` was tried on all devices.
pub(crate) fn run<D: Disk + Send>(
    plan: &Plan,
    revert: &Plan,
    disks: &mut BTreeMap<usize, D>,
    on_failure: OnFailure,
) -> Result<Vec<Failure>, Failure> {
    let commits = plan.stages.iter().filter(|s| s.stage == Stage::Commit);
    let committed_to: Vec<usize> = commits.flat_map(Staged::disks).collect();
    let mut lost: Vec<Failure> = Vec::new();
    for staged in &plan.stages {
        let mut failures = match lost.is_empty() {
            true => run_stage(staged, disks),
            false => run_stage(&without(staged, &lost), disks),
        };
        if failures.is_empty() {
            continue;
        }
        let failed = |disk: &usize| lost.iter().chain(&failures).any(|f| f.disk == *disk);
        let one_is_left = !committed_to.iter().all(failed);
        let survived = match staged.stage {
            Stage::Commit => one_is_left,
            _ => on_failure == OnFailure::LeaveBehind && one_is_left,
        };
        if survived {
            lost.append(&mut failures);
            continue;
        }
        for undo in &revert.stages {
            // What cannot be undone holds a precommitted text, which nobody reads.
            run_stage(undo, disks);
        }
        return Err(failures.swap_remove(0));
    }
    Ok(lost)
}

/// A stage without devices that failed before.
fn without(staged: &Staged, lost: &[Failure]) -> Staged {
    let kept = staged.writes.iter();
    let kept = kept.filter(|w| !lost.iter().any(|f| f.disk == w.disk));
    Staged {
        stage: staged.stage,
        writes: kept.cloned().collect(),
    }
}

/// All writes of a stage, then a flush of each device; the devices that failed.
fn run_stage<D: Disk + Send>(staged: &Staged, disks: &mut BTreeMap<usize, D>) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    for write in &staged.writes {
        if failures.iter().any(|f| f.disk == write.disk) {
            continue;
        }
        let result = match disks.get_mut(&write.disk) {
            Some(disk) => disk.write_at(write.offset, &write.bytes),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "it is not open")),
        };
        if let Err(error) = result {
            failures.push(Failure {
                disk: write.disk,
                error,
            });
        }
    }
    let wanted = staged.disks();
    let targets: Vec<(usize, &mut D)> = disks
        .iter_mut()
        .filter(|(n, _)| wanted.contains(n) && !failures.iter().any(|f| f.disk == **n))
        .map(|(n, d)| (*n, d))
        .collect();
    failures.extend(flush(targets));
    failures
}

fn flush<D: Disk + Send>(mut targets: Vec<(usize, &mut D)>) -> Vec<Failure> {
    let one = |(disk, target): &mut (usize, &mut D)| {
        let error = target.flush().err()?;
        Some(Failure { disk: *disk, error })
    };
    if targets.len() < PARALLEL_FROM {
        return targets.iter_mut().filter_map(one).collect();
    }
    let share = targets.len().div_ceil(FLUSHERS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = targets
            .chunks_mut(share)
            .map(|part| {
                let numbers: Vec<usize> = part.iter().map(|(disk, _)| *disk).collect();
                let work = move || -> Vec<Failure> { part.iter_mut().filter_map(one).collect() };
                (numbers, scope.spawn(work))
            })
            .collect();
        // What a thread that panicked has flushed, nobody knows.
        let unknown = |disk| Failure {
            disk,
            error: io::Error::other("the flush broke off"),
        };
        let joined = threads.into_iter().map(|(numbers, thread)| {
            let all = |_| numbers.into_iter().map(unknown).collect();
            thread.join().unwrap_or_else(all)
        });
        joined.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulvm_metadata::commit::{MdaTarget, plan_commit};
    use ulvm_metadata::disk::{DiskOp, MemDisk};
    use ulvm_metadata::ondisk::{Area, MdaState, read_mda};
    use ulvm_metadata::units::Bytes;

    /// Fails every write from the `n`th on.
    struct Failing {
        disk: MemDisk,
        writes_left: usize,
    }

    impl Disk for Failing {
        fn size(&self) -> Bytes {
            self.disk.size()
        }
        fn logical_block_size(&self) -> u32 {
            512
        }
        fn read_at(&self, offset: Bytes, buf: &mut [u8]) -> io::Result<()> {
            self.disk.read_at(offset, buf)
        }
        fn write_at(&mut self, offset: Bytes, data: &[u8]) -> io::Result<()> {
            let Some(left) = self.writes_left.checked_sub(1) else {
                return Err(io::Error::other("broken"));
            };
            self.writes_left = left;
            self.disk.write_at(offset, data)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.disk.flush()
        }
    }

    const AREA: Area = Area::new(4096, 65536);

    fn disks(writes: &[usize]) -> BTreeMap<usize, Failing> {
        let disk = |writes_left| Failing {
            disk: MemDisk::new(1 << 20),
            writes_left,
        };
        writes.iter().map(|w| disk(*w)).enumerate().collect()
    }

    fn commit(disks: &mut BTreeMap<usize, Failing>) -> Result<Vec<Failure>, Failure> {
        let targets: Vec<MdaTarget> = disks.keys().map(|n| MdaTarget::empty(*n, AREA)).collect();
        let plan = plan_commit(&targets, "text").unwrap();
        run(&plan.plan, &plan.revert, disks, OnFailure::Undo)
    }

    fn holds_text(disk: &Failing) -> bool {
        matches!(read_mda(&disk.disk, AREA).state, MdaState::Text(_))
    }

    #[test]
    fn every_stage_is_flushed() {
        for count in [1, 8] {
            let mut d = disks(&vec![99; count]);
            assert!(commit(&mut d).unwrap().is_empty());
            for disk in d.values() {
                let shape: Vec<bool> = disk
                    .disk
                    .log
                    .iter()
                    .map(|op| *op == DiskOp::Flush)
                    .collect();
                assert_eq!(shape, [false, true, false, true, false, true]);
                assert!(holds_text(disk));
            }
        }
    }

    #[test]
    fn a_failure_before_the_commit_leaves_nothing() {
        for writes in [0, 1] {
            let mut d = disks(&[99, writes]);
            assert_eq!(commit(&mut d).unwrap_err().disk, 1);
            assert!(!holds_text(&d[&0]) && !holds_text(&d[&1]));
            assert_eq!(read_mda(&d[&0].disk, AREA).precommitted(), None);
        }
    }

    #[test]
    fn a_device_that_fails_is_left_behind_where_that_is_wanted() {
        let run = |writes: &[usize]| {
            let mut d = disks(writes);
            let targets: Vec<MdaTarget> = d.keys().map(|n| MdaTarget::empty(*n, AREA)).collect();
            let plan = plan_commit(&targets, "text").unwrap();
            let done = run(&plan.plan, &plan.revert, &mut d, OnFailure::LeaveBehind);
            let failed = done.map(|f| f.iter().map(|f| f.disk).collect::<Vec<_>>());
            (failed, d.values().map(holds_text).collect::<Vec<_>>())
        };
        let (failed, texts) = run(&[0, 99, 1]);
        assert_eq!(failed.unwrap(), [0, 2]);
        assert_eq!(texts, [false, true, false]);
        let (failed, texts) = run(&[0, 2]);
        assert!(failed.is_err() && texts == [false, false]);
    }

    /// A flush that nobody knows the outcome of is none.
    #[test]
    fn a_flush_that_panics_is_a_failure() {
        struct Panics(MemDisk);
        impl Disk for Panics {
            fn size(&self) -> Bytes {
                self.0.size()
            }
            fn logical_block_size(&self) -> u32 {
                512
            }
            fn read_at(&self, offset: Bytes, buf: &mut [u8]) -> io::Result<()> {
                self.0.read_at(offset, buf)
            }
            fn write_at(&mut self, offset: Bytes, data: &[u8]) -> io::Result<()> {
                self.0.write_at(offset, data)
            }
            fn flush(&mut self) -> io::Result<()> {
                panic!("meant to")
            }
        }
        let mut d: BTreeMap<usize, Panics> = (0..PARALLEL_FROM)
            .map(|n| (n, Panics(MemDisk::new(1 << 20))))
            .collect();
        let targets: Vec<MdaTarget> = d.keys().map(|n| MdaTarget::empty(*n, AREA)).collect();
        let plan = plan_commit(&targets, "text").unwrap();
        assert!(run(&plan.plan, &plan.revert, &mut d, OnFailure::Undo).is_err());
    }

    #[test]
    fn one_committed_area_is_enough_and_the_others_are_named() {
        let mut d = disks(&[2, 99, 2]);
        let failed: Vec<usize> = commit(&mut d).unwrap().iter().map(|f| f.disk).collect();
        assert_eq!(failed, [0, 2]);
        assert!(holds_text(&d[&1]));
        let mut d = disks(&[2, 2]);
        assert!(commit(&mut d).is_err());
        assert!(!holds_text(&d[&0]));
    }
}
