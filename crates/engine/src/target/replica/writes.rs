//! Writes: range, mark, all legs, answer.

use super::event::{Action, Failure, Ticket};
use super::locks::Who;
use super::machine::{Broken, Machine, Owner};
use crate::error::ErrorKind;
use crate::io::Op;

/// A write that has not been answered.
#[derive(Debug)]
pub(super) struct Write {
    op: Op,
    offset: u64,
    len: u64,
    pub region: u64,
    /// Legs that have not answered.
    pending: usize,
    done: Vec<usize>,
    failed: Vec<(usize, ErrorKind)>,
}

impl Machine {
    pub(super) fn write_arrived(
        &mut self,
        ticket: Ticket,
        op: Op,
        region: u64,
        offset: u64,
        len: u64,
    ) {
        let op = match op {
            // What is read after a discard must be the same from every leg.
            Op::Discard => Op::WriteZeroes {
                fua: false,
                unmap: true,
            },
            op => op,
        };
        self.writes.insert(
            ticket,
            Write {
                op,
                offset,
                len,
                region,
                pending: 0,
                done: Vec::new(),
                failed: Vec::new(),
            },
        );
        let had = self
            .locks
            .ask(region, offset, offset + len, Who::Write(ticket));
        if had || self.broken(Broken::OverlapsNotOrdered) {
            self.write_granted(ticket);
        }
    }

    /// The range is had: the region is marked, if it is not.
    pub(super) fn write_granted(&mut self, ticket: Ticket) {
        let Some(write) = self.writes.get(&ticket) else {
            return;
        };
        let region = write.region;
        self.marks.begin_write(region);
        if self.marks.is_firm(region) {
            self.write_marked(ticket);
        } else if self.broken(Broken::AnsweredBeforeMarked) {
            self.marks.want(region, None);
            self.write_marked(ticket);
        } else {
            self.marks.want(region, Some(ticket));
        }
    }

    /// The mark is durable: the legs get it.
    pub(super) fn write_marked(&mut self, ticket: Ticket) {
        let legs = self.alive();
        let Some(write) = self.writes.get_mut(&ticket) else {
            return;
        };
        write.pending = legs.len();
        let (op, offset, len) = (write.op, write.offset, write.len);
        for leg in legs {
            let life = self.legs[leg].life;
            let id = self.op(Owner::Write { ticket, leg, life });
            self.out.push(Action::Child {
                id,
                ticket,
                leg,
                op,
                offset,
                len,
            });
        }
    }

    pub(super) fn write_done(
        &mut self,
        ticket: Ticket,
        leg: usize,
        life: u32,
        result: Result<(), ErrorKind>,
    ) {
        let same_life = self.legs[leg].life == life;
        let Some(write) = self.writes.get_mut(&ticket) else {
            return;
        };
        match result {
            Ok(()) => write.done.push(leg),
            Err(kind) if same_life => write.failed.push((leg, kind)),
            // It has been away since, and is copied anew here: this range was marked.
            Err(_) => {}
        }
        write.pending -= 1;
        if write.pending > 0 {
            return;
        }
        if let Some(write) = self.writes.remove(&ticket) {
            let result = self.write_outcome(&write);
            self.end_write(ticket, write.region);
            self.answer_when_recorded(ticket, result);
        }
    }

    /// All legs have answered: which of them go on, and what the client is told.
    fn write_outcome(&mut self, write: &Write) -> Result<(), Failure> {
        if write.failed.is_empty() && write.done.iter().any(|l| self.legs[*l].sound()) {
            return Ok(());
        }
        if self.one_has_it(&write.done) {
            for (leg, kind) in &write.failed {
                // One of the others is sound, so it can be given up.
                self.fail_leg(*leg, *kind, Some(write.offset));
            }
            return Ok(());
        }
        // The last leg's error is the client's. Nobody knows what is on which leg now: all follow
        // the first sound one.
        let source = self.first_sound();
        for leg in self.alive() {
            if Some(leg) != source {
                self.make_stale(leg, write.region);
            }
        }
        let failed = write.failed.iter().min_by_key(|f| Some(f.0) != source);
        Err(Failure {
            kind: failed.map_or(ErrorKind::Io, |f| f.1),
            leg: failed.map(|f| f.0),
            offset: write.offset,
        })
    }

    /// Is one of these legs sound, or can take the place of the sound ones that failed?
    pub(super) fn one_has_it(&mut self, done: &[usize]) -> bool {
        if done.iter().any(|l| self.legs[*l].sound()) {
            return true;
        }
        match self.preferred(|n, it| it.may_take_over() && done.contains(&n)) {
            Some(leg) => {
                self.promote(leg);
                self.keep_order();
                true
            }
            None => false,
        }
    }

    /// The range is free and the region quiet again.
    pub(super) fn end_write(&mut self, ticket: Ticket, region: u64) {
        self.marks.end_write(region, self.now);
        let mut granted = Vec::new();
        self.locks.release(region, Who::Write(ticket), &mut granted);
        self.granted(granted);
    }

    /// The region cannot be marked: nothing was written.
    pub(super) fn write_unmarked(&mut self, ticket: Ticket) {
        if let Some(write) = self.writes.remove(&ticket) {
            self.end_write(ticket, write.region);
            self.refuse(ticket, ErrorKind::Io, write.offset);
        }
    }

    /// As if it had never come: its maker makes it anew.
    pub(super) fn write_again(&mut self, ticket: Ticket) {
        if let Some(write) = self.writes.remove(&ticket) {
            self.end_write(ticket, write.region);
        }
        self.out.push(Action::Again(ticket));
    }

    /// Success is told when the legs that missed something are recorded as failed.
    pub(super) fn answer_when_recorded(&mut self, ticket: Ticket, result: Result<(), Failure>) {
        let waits = self.marks.record_pending() && !self.broken(Broken::FailureAfterAnswer);
        if result.is_ok() && (waits || self.marks.held) {
            self.marks.gated.push(ticket);
        } else {
            self.answer(ticket, result);
        }
    }
}
