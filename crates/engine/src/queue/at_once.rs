//! The short way of a request that is done by the time its submission returns: reads that the page
//! cache has, and writes that go to it.
//!
//! Nothing is kept for such a request, no part of its memory is handed out, and its answer waits
//! with the other events. Only success is told here. Whatever is not plainly done (data that the
//! page cache does not have, an error, a target that wants more than its children) goes the long
//! way from its first byte: reads and writes may be repeated as long as they have not been answered.

use std::time::{Duration, Instant};

use super::core::{Core, Mode};
use super::inline::{Bytes, inline};
use super::task::{Event, TaskKey};
use crate::backend::Store;
use crate::backend::choice::{Route, route};
use crate::buf::Buf;
use crate::device::{Answered, Device};
use crate::io::{Completion, Op, SECTOR};
use crate::table::Table;
use crate::target::{Piece, Plan, Verdict};

/// What became of the short way.
pub(super) enum Outcome {
    /// All is done.
    Done,
    /// It was not tried, or is not for this request.
    NotTried,
    /// It was tried and not finished: to be given to the driver.
    Unfinished,
}

impl Core {
    /// Tries the short way for a request that the device's gate has let in with `table`.
    pub(super) fn at_once(&mut self, table: &Table, op: Op, offset: u64, buf: &mut Buf) -> Outcome {
        let plain = matches!(op, Op::Read | Op::Write { fua: false });
        if !plain || buf.is_empty() || self.mode != Mode::Shared || !table.may_be_cached() {
            return Outcome::NotTried;
        }
        let mut plan = std::mem::take(&mut self.plan);
        plan.clear();
        let outcome = match self.plan_whole(table, op, offset, buf.len() as u64, &mut plan) {
            true => carry_out(table, &plan, buf),
            false => Outcome::NotTried,
        };
        self.plan = plan;
        outcome
    }

    /// Maps a request that is a single piece; false if it is more, or not only its children.
    fn plan_whole(&self, table: &Table, op: Op, offset: u64, len: u64, plan: &mut Plan) -> bool {
        let Some(n) = table.find(offset) else {
            return false;
        };
        let segment = &table.segments()[n];
        let within = offset - segment.start.0 * SECTOR;
        let room = segment.len.0 * SECTOR - within;
        if len > room.min(segment.target.reach(op.kind(), within)) {
            return false;
        }
        let piece = Piece {
            op,
            offset: within,
            len,
        };
        segment.target.map(&piece, self.target_clock(), plan);
        let plain = plan.verdict == Verdict::Children && !plan.finish;
        plain && plan.delay == Duration::ZERO && covers(plan, op, len)
    }

    /// Answers a request that is done: `began` is when it was submitted.
    pub(super) fn answer_done(
        &mut self,
        task: TaskKey,
        device: &Device,
        began: Instant,
        completion: Completion,
    ) {
        let now = Instant::now();
        self.now = now;
        let answered = Answered {
            took: now.saturating_duration_since(began),
            ok: true,
        };
        device.leave(self.number(), completion.op, completion.len, now, answered);
        self.ready.push_back((task, Event::Done(completion)));
    }
}

/// Do the children move every byte of a piece of `len` bytes, in order?
fn covers(plan: &Plan, op: Op, len: u64) -> bool {
    let mut at = 0;
    for child in &plan.children {
        if child.op != op || child.at != at {
            return false;
        }
        at += child.len;
    }
    at == len
}

/// Does the children, whose bytes together are those of `buf`.
fn carry_out(table: &Table, plan: &Plan, buf: &mut Buf) -> Outcome {
    let mut rest: &mut [u8] = buf;
    let mut outcome = Outcome::NotTried;
    for child in &plan.children {
        let (part, behind) = std::mem::take(&mut rest).split_at_mut(child.len as usize);
        rest = behind;
        let backing = &table.slot(child.device).backing;
        let Store::File(file) = backing.store() else {
            return outcome;
        };
        let way = route(file, child.op);
        if way == Route::Driver || file.align != 1 || child.op.modifies() && backing.read_only() {
            return outcome;
        }
        let len = part.len() as u64;
        let bytes = match child.op {
            Op::Read => Bytes::Fill(part),
            _ => Bytes::From(part),
        };
        let done = inline(file, way, child.offset, bytes);
        if child.op.modifies() {
            backing.flush_state().wrote();
        }
        outcome = Outcome::Unfinished;
        if done != (len, None) {
            return outcome;
        }
    }
    Outcome::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Child, DevIndex};

    #[test]
    fn only_a_plan_that_moves_every_byte_in_order_is_done_at_once() {
        let child = |at: u64, len: u64| Child {
            op: Op::Read,
            device: DevIndex(0),
            offset: 7 * at,
            len,
            at,
        };
        let plan = |children: &[Child]| Plan {
            children: children.to_vec(),
            ..Plan::default()
        };
        assert!(covers(
            &plan(&[child(0, 512), child(512, 8)]),
            Op::Read,
            520
        ));
        for wrong in [
            &[][..],
            &[child(0, 512)],
            &[child(512, 8), child(0, 512)],
            &[child(0, 512), child(520, 8)],
        ] {
            assert!(!covers(&plan(wrong), Op::Read, 520), "{wrong:?}");
        }
        let write = Op::Write { fua: false };
        assert!(!covers(&plan(&[child(0, 512)]), write, 512));
    }
}
