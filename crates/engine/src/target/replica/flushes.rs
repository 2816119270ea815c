//! Flushes of clients: every leg is flushed; what was answered is durable on all that are whole.

use super::Place;
use super::event::{Action, Failure, Ticket};
use super::machine::{Machine, Owner};
use crate::error::ErrorKind;

/// A flush that has not been answered.
#[derive(Debug)]
pub(super) struct FlushAll {
    pending: usize,
    done: Vec<usize>,
    failed: Vec<(usize, ErrorKind)>,
    /// What the legs had lost when it began.
    losses: Vec<Option<u64>>,
}

impl Machine {
    pub(super) fn flush_arrived(&mut self, ticket: Ticket) {
        let legs = self.alive();
        let flush = FlushAll {
            pending: legs.len(),
            done: Vec::new(),
            failed: Vec::new(),
            losses: self.losses(),
        };
        self.flushes.insert(ticket, flush);
        // What a process before this one wrote is durable on these legs alone: the others must not
        // be believed by the next assembly.
        if !self.marks.marked.is_empty() && legs.len() < self.legs.len() {
            self.marks.start_soon();
        }
        for leg in legs {
            let id = self.op(Owner::Flush { ticket, leg });
            self.out.push(Action::Flush {
                id,
                place: Place::Data(leg),
            });
        }
    }

    pub(super) fn flush_done(&mut self, ticket: Ticket, leg: usize, result: Result<(), ErrorKind>) {
        let Some(flush) = self.flushes.get_mut(&ticket) else {
            return;
        };
        match result {
            Ok(()) => flush.done.push(leg),
            Err(kind) => {
                flush.failed.push((leg, kind));
                self.flush_failed(leg);
            }
        }
        let Some(flush) = self.flushes.get_mut(&ticket) else {
            return;
        };
        flush.pending -= 1;
        if flush.pending > 0 {
            return;
        }
        let Some(flush) = self.flushes.remove(&ticket) else {
            return;
        };
        let mut result = self.flush_outcome(&flush.done, &flush.failed, &flush.losses);
        if let Some(lost) = self.untold.take() {
            result = Err(lost);
        }
        self.answer_when_recorded(ticket, result);
    }

    /// Legs that lost something are given up as long as one has all. A leg of which another flush
    /// failed meanwhile is not that one, even if this flush succeeded: what is lost is told once.
    pub(super) fn flush_outcome(
        &mut self,
        done: &[usize],
        failed: &[(usize, ErrorKind)],
        losses: &[Option<u64>],
    ) -> Result<(), Failure> {
        let outcome = self.decide_flush(done, failed, losses);
        self.reads_go_on();
        outcome
    }

    fn decide_flush(
        &mut self,
        done: &[usize],
        failed: &[(usize, ErrorKind)],
        losses: &[Option<u64>],
    ) -> Result<(), Failure> {
        for (leg, _) in failed {
            self.legs[*leg].suspect -= 1;
        }
        let done: Vec<usize> = done
            .iter()
            .copied()
            .filter(|leg| self.lost_nothing(*leg, losses))
            .collect();
        if self.one_has_it(&done) {
            for (leg, kind) in failed {
                self.fail_leg(*leg, *kind, None);
            }
            return Ok(());
        }
        // A leg that has to be kept may have lost what it had answered: wherever that can be, the
        // others follow it.
        if let Some(source) = self.first_sound() {
            self.follow_leg(source);
        }
        let first = failed.first();
        Err(Failure {
            kind: first.map_or(ErrorKind::Io, |f| f.1),
            leg: first.map(|f| f.0),
            offset: 0,
        })
    }
}
