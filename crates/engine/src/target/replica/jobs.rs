//! Work on one window of a region, under its lock: copying to stale legs, writing a bad block anew,
//! comparing. Reads into memory of its own first, then writes.

use super::Place;
use super::event::{Action, News};
use super::locks::Who;
use super::machine::{Broken, Machine, Owner};
use crate::buf::Buf;
use crate::error::ErrorKind;
use crate::io::SECTOR;

/// Differences are counted in whole blocks of this many bytes.
const COMPARED: usize = 64 << 10;
/// Bad blocks being written anew at a time; more are left to the next read.
const REWRITES: usize = 32;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// From a leg that may be read to those that may not.
    Copy,
    /// From another leg to this one, which could not read it.
    Rewrite(usize),
    /// Compare; and write the first over the others if they differ.
    Scrub { repair: bool },
}

/// Work on a window.
#[derive(Debug)]
pub(super) struct Job {
    pub kind: Kind,
    pub region: u64,
    pub start: u64,
    pub end: u64,
    /// Legs that could not be read.
    unread: Vec<(usize, ErrorKind)>,
    /// What was read.
    read: Vec<(usize, Buf)>,
    /// Legs whose answer is not to be relied on: they lost something meanwhile, or became stale.
    doubted: Vec<(usize, ErrorKind)>,
    /// What the legs had lost when the last read began.
    losses: Vec<Option<u64>>,
    writing: bool,
    /// Legs that are written.
    to: Vec<usize>,
    /// Operations under way.
    pending: usize,
    /// A write was not possible although the leg could not be given up, or nothing could be read.
    failed: bool,
}

impl Job {
    /// Is it writing to a leg, there?
    pub fn writes(&self, leg: usize, start: u64, end: u64) -> bool {
        self.writing && self.start < end && start < self.end && self.to.contains(&leg)
    }
}

impl Machine {
    /// Begins when the range is free.
    pub(super) fn begin_job(&mut self, kind: Kind, region: u64, start: u64, end: u64) {
        let number = self.background.number();
        self.jobs.insert(
            number,
            Job {
                kind,
                region,
                start,
                end,
                unread: Vec::new(),
                read: Vec::new(),
                doubted: Vec::new(),
                losses: Vec::new(),
                writing: false,
                to: Vec::new(),
                pending: 0,
                failed: false,
            },
        );
        let races = self.broken(Broken::ResyncRacesWrite);
        if races || self.locks.ask(region, start, end, Who::Job(number)) {
            self.job_granted(number);
        }
    }

    /// Writes anew what a leg could not read.
    pub(super) fn rewrite(&mut self, leg: usize, region: u64, offset: u64, len: u64) {
        let rewrite = |j: &&Job| matches!(j.kind, Kind::Rewrite(_));
        let same = |j: &Job| j.kind == Kind::Rewrite(leg) && j.start == offset;
        let known = self.jobs.values().any(same);
        if self.running() && !known && self.jobs.values().filter(rewrite).count() < REWRITES {
            self.begin_job(Kind::Rewrite(leg), region, offset, offset + len);
        }
    }

    pub(super) fn job_granted(&mut self, number: u64) {
        let Some(job) = self.jobs.get(&number) else {
            return;
        };
        let (kind, region, start) = (job.kind, job.region, job.start);
        let from: Vec<usize> = match kind {
            Kind::Copy => self.choose(region, start, &[]).into_iter().collect(),
            Kind::Rewrite(leg) => {
                let bad = [(leg, ErrorKind::Io)];
                self.choose(region, start, &bad).into_iter().collect()
            }
            Kind::Scrub { .. } => {
                let alive = self.alive();
                match alive.iter().all(|l| self.readable(*l, region)) {
                    true => alive,
                    // It is copied anyway.
                    false => Vec::new(),
                }
            }
        };
        if from.is_empty() {
            return self.end_job(number, kind == Kind::Copy);
        }
        for leg in from {
            self.job_read(number, leg);
        }
    }

    fn job_read(&mut self, job: u64, leg: usize) {
        let id = self.op(Owner::Job { job, leg });
        let losses = self.losses();
        let Some(job) = self.jobs.get_mut(&job) else {
            return;
        };
        job.losses = losses;
        job.pending += 1;
        self.legs[leg].reading += 1;
        self.out.push(Action::Read {
            id,
            place: Place::Data(leg),
            offset: job.start,
            len: job.end - job.start,
        });
    }

    pub(super) fn job_op_done(
        &mut self,
        number: u64,
        leg: usize,
        result: Result<(), ErrorKind>,
        buf: Option<Buf>,
    ) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        job.pending -= 1;
        if job.writing {
            if let Err(kind) = result {
                let start = job.start;
                let given_up = self.fail_leg(leg, kind, Some(start));
                if let Some(job) = self.jobs.get_mut(&number) {
                    job.failed |= !given_up;
                }
            }
        } else {
            self.legs[leg].reading = self.legs[leg].reading.saturating_sub(1);
            let whole = (job.end - job.start) as usize;
            let (region, losses) = (job.region, std::mem::take(&mut job.losses));
            let trusted = self.readable(leg, region) && self.lost_nothing(leg, &losses);
            let Some(job) = self.jobs.get_mut(&number) else {
                return;
            };
            job.losses = losses;
            match (result, buf) {
                (Ok(()), _) if !trusted => job.doubted.push((leg, ErrorKind::Io)),
                (Ok(()), Some(buf)) if buf.len() == whole => job.read.push((leg, buf)),
                (Err(kind), _) => job.unread.push((leg, kind)),
                (Ok(()), _) => job.unread.push((leg, ErrorKind::Io)),
            }
        }
        match self.jobs.get(&number) {
            Some(job) if job.pending > 0 => {}
            Some(job) if job.writing => {
                let failed = job.failed;
                self.job_written(number);
                self.end_job(number, failed);
            }
            _ => self.job_has_read(number),
        }
    }

    fn job_has_read(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        let (kind, region, start) = (job.kind, job.region, job.start);
        job.read.sort_by_key(|(leg, _)| *leg);
        let doubted = !job.doubted.is_empty();
        if doubted && matches!(kind, Kind::Scrub { .. }) {
            return self.end_job(number, false);
        }
        if job.read.is_empty() {
            let mut not = job.unread.clone();
            not.extend(&job.doubted);
            if let Kind::Rewrite(leg) = kind {
                not.push((leg, ErrorKind::Io));
            }
            return match self.choose(region, start, &not) {
                Some(leg) => self.job_read(number, leg),
                None => {
                    // It may be read once it is decided what the leg has lost.
                    if doubted {
                        self.background.redo(region);
                    }
                    self.end_job(number, !doubted)
                }
            };
        }
        let mut to: Vec<usize> = job.unread.iter().map(|(leg, _)| *leg).collect();
        match kind {
            Kind::Copy => {
                let stale = |n: &usize| self.legs[*n].alive && self.legs[*n].stale.has(region);
                to.extend((0..self.legs.len()).filter(stale));
            }
            Kind::Rewrite(leg) => to.push(leg),
            Kind::Scrub { repair } => {
                let (blocks, differing) = differences(&job.read);
                self.background.differ(blocks);
                if repair {
                    to.extend(differing);
                }
            }
        }
        to.sort_unstable();
        to.dedup();
        to.retain(|leg| self.legs[*leg].alive);
        self.job_write(number, &to);
    }

    fn job_write(&mut self, number: u64, legs: &[usize]) {
        let to: Vec<_> = legs
            .iter()
            .map(|leg| {
                let owner = Owner::Job {
                    job: number,
                    leg: *leg,
                };
                (self.op(owner), Place::Data(*leg))
            })
            .collect();
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        if to.is_empty() || job.read.is_empty() {
            return self.end_job(number, false);
        }
        let (_, buf) = job.read.swap_remove(0);
        job.read.clear();
        job.writing = true;
        job.to = legs.to_vec();
        job.pending = to.len();
        self.out.push(Action::Write {
            to,
            offset: job.start,
            buf,
            fua: false,
        });
    }

    /// Blocks that could not be read before have been written.
    fn job_written(&mut self, number: u64) {
        let Some(job) = self.jobs.get(&number) else {
            return;
        };
        let mut mended: Vec<usize> = job.unread.iter().map(|(leg, _)| *leg).collect();
        if let Kind::Rewrite(leg) = job.kind {
            mended.push(leg);
        }
        let (offset, len) = (job.start, job.end - job.start);
        for leg in mended {
            if self.legs[leg].alive {
                self.legs[leg].corrected += 1;
                self.tell(News::Corrected { leg, offset, len });
            }
        }
    }

    fn end_job(&mut self, number: u64, failed: bool) {
        let Some(job) = self.jobs.remove(&number) else {
            return;
        };
        let mut granted = Vec::new();
        self.locks
            .release(job.region, Who::Job(number), &mut granted);
        match job.kind {
            Kind::Copy => self.copied(job.region, failed),
            Kind::Scrub { .. } => self.scrubbed(),
            Kind::Rewrite(_) => {}
        }
        self.granted(granted);
    }
}

/// Sectors in blocks that are not the same in all, and those that differ from the first.
fn differences(read: &[(usize, Buf)]) -> (u64, Vec<usize>) {
    let Some(((_, first), others)) = read.split_first() else {
        return (0, Vec::new());
    };
    let mut sectors = 0;
    let mut differing = Vec::new();
    for at in (0..first.len()).step_by(COMPARED) {
        let end = (at + COMPARED).min(first.len());
        let mut differs = false;
        for (leg, other) in others {
            if other[at..end] != first[at..end] {
                differs = true;
                differing.push(*leg);
            }
        }
        if differs {
            sectors += (end - at) as u64 / SECTOR;
        }
    }
    (sectors, differing)
}
