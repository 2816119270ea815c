//! Reads: from one leg, from another if that fails.
//!
//! The leg is the one whose last read ended where this begins, so that a sequential stream stays on
//! one leg, unless others have much less to do; else the one with the fewest reads under way.

use super::event::{Action, Failure, Ticket};
use super::locks::Who;
use super::machine::{Machine, Owner};
use crate::error::ErrorKind;
use crate::io::Op;

/// So many reads more than another leg may a leg have and keep its sequential stream.
const STREAM_LEAD: u32 = 8;

/// A read that has not been answered.
#[derive(Debug)]
pub(super) struct Read {
    offset: u64,
    len: u64,
    region: u64,
    /// The leg it is at.
    leg: usize,
    /// It has its range, or waits for it.
    locked: bool,
    failed: Vec<(usize, ErrorKind)>,
    /// Legs that answered when they were not to be trusted any more.
    doubted: Vec<(usize, ErrorKind)>,
}

impl Machine {
    pub(super) fn read_arrived(&mut self, ticket: Ticket, region: u64, offset: u64, len: u64) {
        let Some(leg) = self.choose(region, offset, &[]) else {
            return self.refuse(ticket, ErrorKind::Io, offset);
        };
        let read = Read {
            offset,
            len,
            region,
            leg,
            locked: false,
            failed: Vec::new(),
            doubted: Vec::new(),
        };
        self.reads.insert(ticket, read);
        if self.marks.marked.has(region) && self.legs.iter().any(|l| !l.alive) {
            self.marks.start_soon();
        }
        self.read_from(ticket, leg);
    }

    /// A leg that took over may still get a copy that was begun from the one before: it would hold
    /// one thing now and another soon. A read waits for that to end.
    fn read_from(&mut self, ticket: Ticket, leg: usize) {
        let Some(read) = self.reads.get(&ticket) else {
            return;
        };
        let (region, start, end) = (read.region, read.offset, read.offset + read.len);
        if !read.locked && self.jobs.values().any(|j| j.writes(leg, start, end)) {
            if let Some(read) = self.reads.get_mut(&ticket) {
                read.locked = true;
            }
            if !self.locks.ask(region, start, end, Who::Read(ticket)) {
                return;
            }
        }
        self.send_read(ticket, leg, start, end - start);
    }

    /// The range is had: what is written there has been written.
    pub(super) fn read_granted(&mut self, ticket: Ticket) {
        let Some(read) = self.reads.get(&ticket) else {
            return;
        };
        let (region, offset, len, mut not) =
            (read.region, read.offset, read.len, read.failed.clone());
        not.extend(&read.doubted);
        let leg = self.choose(region, offset, &not).unwrap_or(read.leg);
        if let Some(read) = self.reads.get_mut(&ticket) {
            read.leg = leg;
        }
        self.send_read(ticket, leg, offset, len);
    }

    fn send_read(&mut self, ticket: Ticket, leg: usize, offset: u64, len: u64) {
        self.legs[leg].reading += 1;
        self.legs[leg].head = offset + len;
        let id = self.op(Owner::Read { ticket });
        self.out.push(Action::Child {
            id,
            ticket,
            leg,
            op: Op::Read,
            offset,
            len,
        });
    }

    /// The leg to read from, of those not in `not`.
    pub(super) fn choose(
        &self,
        region: u64,
        offset: u64,
        not: &[(usize, ErrorKind)],
    ) -> Option<usize> {
        let usable =
            |n: &usize| self.readable(*n, region) && !not.iter().any(|(failed, _)| failed == n);
        let rank = |n: usize| (self.legs[n].suspect > 0, self.legs[n].write_mostly);
        let load = |n: &usize| (rank(*n), self.legs[*n].reading);
        let idlest = (0..self.legs.len()).filter(usable).min_by_key(load)?;
        let stream = (0..self.legs.len())
            .filter(usable)
            .find(|n| self.legs[*n].head == offset && offset > 0);
        match stream {
            Some(leg)
                if rank(leg) == rank(idlest)
                    && self.legs[leg].reading <= self.legs[idlest].reading + STREAM_LEAD =>
            {
                Some(leg)
            }
            _ => Some(idlest),
        }
    }

    pub(super) fn read_done(&mut self, ticket: Ticket, result: Result<(), ErrorKind>) {
        let stale = |read: &Read| !self.readable(read.leg, read.region);
        let stale = self.reads.get(&ticket).is_some_and(stale);
        let Some(read) = self.reads.get_mut(&ticket) else {
            return;
        };
        let leg = read.leg;
        self.legs[leg].reading = self.legs[leg].reading.saturating_sub(1);
        // A leg that was given up meanwhile, or whose flush has failed, may have lost something; and
        // one that has become stale here is not what the next read will see.
        let lost = !self.legs[leg].alive || self.legs[leg].suspect > 0;
        let doubted = lost || stale;
        match result {
            Err(kind) => read.failed.push((leg, kind)),
            Ok(()) if doubted => read.doubted.push((leg, ErrorKind::Io)),
            Ok(()) => {}
        }
        if result.is_ok() && !doubted {
            return self.read_ends(ticket, Ok(()));
        }
        self.read_elsewhere(ticket);
    }

    /// The leg has failed, or what it gave is not to be relied on. Another leg is asked; if none is
    /// left, one that was doubted, once it is decided what it has lost.
    fn read_elsewhere(&mut self, ticket: Ticket) {
        let Some(read) = self.reads.get(&ticket) else {
            return;
        };
        let (region, offset, failed) = (read.region, read.offset, read.failed.clone());
        let mut not = read.doubted.clone();
        not.extend(&failed);
        let next = self
            .choose(region, offset, &not)
            .or_else(|| self.choose(region, offset, &failed));
        let Some(read) = self.reads.get_mut(&ticket) else {
            return;
        };
        match next {
            Some(next) if self.legs[next].suspect > 0 => self.doubting.push(ticket),
            Some(next) => {
                read.doubted.retain(|(leg, _)| *leg != next);
                read.leg = next;
                self.read_from(ticket, next);
            }
            None => {
                let (leg, kind) = failed.first().copied().unzip();
                let failure = Failure {
                    kind: kind.unwrap_or(ErrorKind::Io),
                    leg,
                    offset,
                };
                self.read_ends(ticket, Err(failure));
            }
        }
    }

    /// It is decided what became of a leg whose flush failed.
    pub(super) fn reads_go_on(&mut self) {
        for ticket in std::mem::take(&mut self.doubting) {
            self.read_elsewhere(ticket);
        }
    }

    fn read_ends(&mut self, ticket: Ticket, result: Result<(), Failure>) {
        let Some(read) = self.reads.remove(&ticket) else {
            return;
        };
        if read.locked {
            let mut granted = Vec::new();
            self.locks
                .release(read.region, Who::Read(ticket), &mut granted);
            self.granted(granted);
        }
        match result {
            Ok(()) => {
                self.answer_read(ticket, read.region);
                self.mend(read.region, read.offset, read.len, &read.failed);
            }
            Err(failure) => {
                self.answer(ticket, Err(failure));
                self.give_up_gone(read.offset, &read.failed);
            }
        }
    }

    /// Where legs may differ, what one of them holds is told when it is recorded that those which
    /// failed or are missing are not to be believed: the next assembly may find them.
    fn answer_read(&mut self, ticket: Ticket, region: u64) {
        if self.marks.record_pending() && !self.marks.lost() && self.marks.marked.has(region) {
            self.marks.gated_reads.push(ticket);
        } else {
            self.answer(ticket, Ok(()));
        }
    }

    /// What these legs could not read was read from another.
    fn mend(&mut self, region: u64, offset: u64, len: u64, failed: &[(usize, ErrorKind)]) {
        self.give_up_gone(offset, failed);
        for (leg, _) in failed {
            if self.legs[*leg].alive {
                self.rewrite(*leg, region, offset, len);
            }
        }
    }

    /// A leg that is not there any more is not asked again.
    fn give_up_gone(&mut self, offset: u64, failed: &[(usize, ErrorKind)]) {
        for (leg, kind) in failed {
            if *kind == ErrorKind::Gone {
                self.fail_leg(*leg, *kind, Some(offset));
            }
        }
    }
}
