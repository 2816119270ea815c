//! A request's way through the queue: gate, table, target; its children; its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::at_once::Outcome;
use super::core::{Core, Due};
use super::inbox::Waiting;
use super::slab::Id;
use super::task::{Event, TaskKey};
use crate::backend::{Backing, Store};
use crate::buf::{Lent, Slice};
use crate::device::{Answered, Device, Enter};
use crate::error::{ErrorKind, IoError};
use crate::io::{Completion, Op, Request, SECTOR};
use crate::table::{Slot, Table};
use crate::target::{Child, Piece, Plan, Verdict};

/// Who made a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    Task(TaskKey, u64),
    /// A request to an upper device, of which this is a child.
    Child(ChildOf),
}

/// Which part of which request a child belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChildOf {
    pub request: Id,
    /// First byte on the request's device, for errors.
    pub logical: u64,
    /// Segment whose target wants to see the data, and where in the segment they lie.
    pub finish: Option<(u32, Piece)>,
}

/// Who is to carry out a request's operations on files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// Whoever does it best.
    Any,
    /// The driver: this thread has tried and not finished.
    Driver,
    /// Another thread ([`Request::aside`]).
    Other,
}

/// A request that has not been answered.
#[derive(Debug)]
pub(super) struct Active {
    origin: Origin,
    device: Arc<Device>,
    table: Option<Arc<Table>>,
    op: Op,
    offset: u64,
    len: u64,
    data: Option<Lent>,
    by: By,
    began: Instant,
    /// Children not done, plus one while children are being made.
    pending: u32,
    error: Option<IoError>,
}

/// Children that are begun later.
#[derive(Debug)]
pub(super) struct Delayed {
    request: Id,
    segment: usize,
    piece: Piece,
    at: u64,
    plan: Plan,
}

impl Core {
    pub(super) fn submit(
        &mut self,
        task: TaskKey,
        device: &Arc<Device>,
        request: Request,
        token: u64,
    ) {
        let (op, offset, len) = (request.op(), request.offset(), request.len());
        let began = self.now;
        let mut by = match request.is_aside() {
            true => By::Other,
            false => By::Any,
        };
        let mut table = None;
        let mut buf = request.into_buf();
        if let Some(memory) = &mut buf {
            table = device.try_pass(op, began);
            let outcome = match &table {
                Some(table) if by == By::Any => self.at_once(table, op, offset, memory),
                _ => Outcome::NotTried,
            };
            if matches!(outcome, Outcome::Done) {
                let completion = Completion {
                    token,
                    op,
                    offset,
                    len,
                    result: Ok(()),
                    buf,
                };
                return self.answer_done(task, device, began, completion);
            }
            if matches!(outcome, Outcome::Unfinished) {
                by = By::Driver;
            }
        }
        let data = buf.map(|buf| match op {
            Op::Read => buf.lend_to_fill(),
            _ => buf.lend_to_read(),
        });
        let origin = Origin::Task(task, token);
        let id = self.activate(origin, device, (op, offset, len), data, by);
        match table {
            Some(table) => self.dispatch(id, table),
            None => self.enter(id),
        }
    }

    /// Makes a request to a lower device.
    fn submit_child(
        &mut self,
        of: ChildOf,
        device: &Arc<Device>,
        what: (Op, u64, u64),
        data: Option<Lent>,
    ) {
        let id = self.activate(Origin::Child(of), device, what, data, By::Any);
        self.enter(id);
    }

    fn activate(
        &mut self,
        origin: Origin,
        device: &Arc<Device>,
        (op, offset, len): (Op, u64, u64),
        data: Option<Lent>,
        by: By,
    ) -> Id {
        self.active.insert(Active {
            origin,
            device: Arc::clone(device),
            table: None,
            op,
            offset,
            len,
            data,
            by,
            began: self.now,
            pending: 1,
            error: None,
        })
    }

    /// Who is to carry out a request's operations.
    pub(super) fn by(&self, id: Id) -> By {
        self.active.get(id).map_or(By::Any, |a| a.by)
    }

    /// A gate has opened.
    pub(super) fn retry(&mut self, id: Id) {
        if self.active.get(id).is_some_and(|a| a.table.is_none()) {
            self.enter(id);
        }
    }

    fn enter(&mut self, id: Id) {
        let Some(active) = self.active.get(id) else {
            return;
        };
        let wake = || self.wake(Waiting::Request(id));
        match active.device.enter(active.op, active.began, wake) {
            Enter::Wait => {}
            Enter::Refused(kind) => self.refuse(id, kind),
            Enter::Pass(table) => self.dispatch(id, table),
        }
    }

    /// Fails the whole request at its own device.
    fn refuse(&mut self, id: Id, kind: ErrorKind) {
        if let Some(active) = self.active.get_mut(id) {
            active.error = Some(own_error(active, kind, active.offset));
        }
        self.child_ended(id);
    }

    fn dispatch(&mut self, id: Id, table: Arc<Table>) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        active.table = Some(Arc::clone(&table));
        let (op, offset, len) = (active.op, active.offset, active.len);
        let end = offset.checked_add(len);
        if op != Op::Flush && end.is_none_or(|end| end > table.len().0 * SECTOR) {
            return self.refuse(id, ErrorKind::Invalid);
        }
        if op == Op::Flush {
            self.dispatch_flush(id, &table);
        } else {
            self.dispatch_range(id, &table, op, offset, len);
        }
        self.child_ended(id);
    }

    fn dispatch_range(&mut self, id: Id, table: &Table, op: Op, offset: u64, len: u64) {
        let mut plan = std::mem::take(&mut self.plan);
        let mut at = 0;
        while at < len {
            let Some(n) = table.find(offset + at) else {
                break;
            };
            let segment = &table.segments()[n];
            let within = offset + at - segment.start.0 * SECTOR;
            let reach = segment.target.reach(op.kind(), within).max(1);
            let rest = (segment.len.0 * SECTOR - within).min(len - at);
            let piece = Piece {
                op,
                offset: within,
                len: rest.min(reach),
            };
            plan.clear();
            segment.target.map(&piece, self.target_clock(), &mut plan);
            plan = self.carry_out(id, table, n, piece, at, plan);
            at += piece.len;
        }
        self.plan = plan;
    }

    /// A flush goes to every segment's target; each backing device is flushed once.
    fn dispatch_flush(&mut self, id: Id, table: &Table) {
        if let Some(lost) = lost_below(table) {
            self.fail(id, |_| lost);
        }
        let mut flushed = Vec::new();
        let mut plan = std::mem::take(&mut self.plan);
        for (n, segment) in table.segments().iter().enumerate() {
            let piece = Piece {
                op: Op::Flush,
                offset: 0,
                len: 0,
            };
            plan.clear();
            segment.target.map(&piece, self.target_clock(), &mut plan);
            plan.children.retain(|c| !flushed.contains(&c.device));
            flushed.extend(plan.children.iter().map(|c| c.device));
            plan = self.carry_out(id, table, n, piece, 0, plan);
        }
        self.plan = plan;
    }

    /// Does what a target planned for a piece that lies at `at` of the request's data.
    fn carry_out(
        &mut self,
        id: Id,
        table: &Table,
        segment: usize,
        piece: Piece,
        at: u64,
        plan: Plan,
    ) -> Plan {
        if plan.delay > Duration::ZERO {
            self.add_pending(id, 1);
            let delay = plan.delay;
            let delayed = Delayed {
                request: id,
                segment,
                piece,
                at,
                plan,
            };
            self.at(delay, Due::Children(delayed));
            return Plan::default();
        }
        match plan.verdict {
            Verdict::Children => {}
            Verdict::Zeroes => {
                let data = self.active.get_mut(id).and_then(|a| a.data.as_mut());
                let mut part = data.and_then(|d| d.slice(at, piece.len));
                if let Some(bytes) = part.as_mut().and_then(Slice::bytes_mut) {
                    bytes.fill(0);
                }
            }
            Verdict::Fail(kind) => self.fail(id, |a| own_error(a, kind, a.offset + at)),
        }
        for child in &plan.children {
            let of = ChildOf {
                request: id,
                logical: if piece.op == Op::Flush {
                    0
                } else {
                    self.logical(id) + at + child.at
                },
                finish: plan.finish.then_some((segment as u32, piece)),
            };
            self.begin_child(of, table, child, at + child.at);
        }
        plan
    }

    fn logical(&self, id: Id) -> u64 {
        self.active.get(id).map_or(0, |a| a.offset)
    }

    pub(super) fn begin_delayed(&mut self, mut delayed: Delayed) {
        let id = delayed.request;
        let Some(table) = self.active.get(id).and_then(|a| a.table.clone()) else {
            return;
        };
        delayed.plan.delay = Duration::ZERO;
        let Delayed {
            segment,
            piece,
            at,
            plan,
            ..
        } = delayed;
        self.carry_out(id, &table, segment, piece, at, plan);
        self.child_ended(id);
    }

    fn begin_child(&mut self, of: ChildOf, table: &Table, child: &Child, at: u64) {
        let backing = &table.slot(child.device).backing;
        self.add_pending(of.request, 1);
        let mem = match child.op {
            Op::Read | Op::Write { .. } => {
                let active = self.active.get_mut(of.request);
                let data = active.and_then(|a| a.data.as_mut());
                match data.and_then(|d| d.slice(at, child.len)) {
                    Some(mem) => Some(mem),
                    // A target that hands out data twice or out of order.
                    None => return self.child_done(of, Err(self.broken(of, child.op)), None),
                }
            }
            _ => None,
        };
        if child.op.modifies() && backing.read_only() {
            let error = IoError {
                kind: ErrorKind::ReadOnly,
                op: child.op.kind(),
                device: Arc::clone(backing.name()),
                sector: child.offset / SECTOR,
                offset: of.logical,
            };
            return self.child_done(of, Err(error), mem);
        }
        match backing.store() {
            Store::Device(lower) => {
                let what = (child.op, child.offset, child.len);
                self.submit_child(of, lower, what, mem.map(Slice::lend));
            }
            Store::Mem(_) | Store::File(_) => {
                self.begin_leaf(of, backing, child.op, child.offset, child.len, mem);
            }
        }
    }

    fn broken(&self, of: ChildOf, op: Op) -> IoError {
        IoError {
            kind: ErrorKind::Invalid,
            op: op.kind(),
            device: match self.active.get(of.request) {
                Some(active) => active.device.shared_name(),
                None => Arc::from(""),
            },
            sector: of.logical / SECTOR,
            offset: of.logical,
        }
    }

    fn add_pending(&mut self, id: Id, n: u32) {
        if let Some(active) = self.active.get_mut(id) {
            active.pending += n;
        }
    }

    /// Notes an error: the lowest place counts.
    fn fail(&mut self, id: Id, error: impl FnOnce(&Active) -> IoError) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        let error = error(active);
        if active
            .error
            .as_ref()
            .is_none_or(|e| error.offset < e.offset)
        {
            active.error = Some(error);
        }
    }

    /// A child is done.
    pub(super) fn child_done(
        &mut self,
        of: ChildOf,
        result: Result<(), IoError>,
        mem: Option<Slice>,
    ) {
        match result {
            Err(error) => {
                // With the last part of it the buffer goes back to whoever made the request.
                drop(mem);
                self.fail(of.request, |_| error);
            }
            Ok(()) => {
                if let (Some((segment, piece)), Some(mut mem)) = (of.finish, mem)
                    && let Some(active) = self.active.get(of.request)
                    && let Some(table) = &active.table
                    && let Some(bytes) = mem.bytes_mut()
                {
                    let target = &table.segments()[segment as usize].target;
                    target.finish(&piece, bytes);
                }
            }
        }
        self.child_ended(of.request);
    }

    /// A flush of a backing device failed and its request says so: it need not be said again.
    pub(super) fn flush_failure_told(&self, of: ChildOf, is_it: impl Fn(&Arc<Backing>) -> bool) {
        let table = self.active.get(of.request).and_then(|a| a.table.as_ref());
        for slot in table.iter().flat_map(|t| t.slots()) {
            if is_it(&slot.backing) {
                slot.take_flush_failure();
            }
        }
    }

    /// A flush has been answered by all below. Did another's fail meanwhile, which the kernel told
    /// to that one only?
    fn flush_ended(&mut self, active: &mut Active) {
        if active.error.is_none() {
            active.error = active.table.iter().find_map(|t| lost_below(t));
        }
        if active.error.is_some() {
            active.device.flush_failed();
        }
        if let (Some(_), Origin::Child(of)) = (&active.error, active.origin) {
            let device = &active.device;
            self.flush_failure_told(
                of,
                |b| matches!(b.store(), Store::Device(lower) if Arc::ptr_eq(lower, device)),
            );
        }
    }

    fn child_ended(&mut self, id: Id) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        active.pending -= 1;
        if active.pending == 0
            && let Some(active) = self.active.remove(id)
        {
            self.answer(active);
        }
    }

    fn answer(&mut self, mut active: Active) {
        if active.op == Op::Flush {
            self.flush_ended(&mut active);
        }
        let now = Instant::now();
        self.now = now;
        let ok = active.error.is_none();
        if active.table.is_some() {
            let answered = Answered {
                took: now.saturating_duration_since(active.began),
                ok,
            };
            let Active { device, op, .. } = &active;
            device.leave(self.number(), *op, active.len, now, answered);
        }
        if let Some(error) = &active.error {
            active.device.failed(error);
        }
        let result = active.error.map_or(Ok(()), Err);
        match active.origin {
            Origin::Task(task, token) => {
                let completion = Completion {
                    token,
                    op: active.op,
                    offset: active.offset,
                    len: active.len,
                    result,
                    buf: active.data.and_then(|d| d.reclaim().ok()),
                };
                self.ready.push_back((task, Event::Done(completion)));
            }
            Origin::Child(of) => {
                let base = active.offset;
                let result = result.map_err(|e| IoError {
                    offset: of.logical + e.offset.saturating_sub(base),
                    ..e
                });
                let mem = active.data.and_then(|mut d| d.whole());
                self.child_done(of, result, mem);
            }
        }
    }
}

/// A flush of a backing device failed, and the table's device does not know it yet.
fn lost_below(table: &Table) -> Option<IoError> {
    let told = |slot: &Slot| {
        slot.take_flush_failure()
            .then(|| Arc::clone(slot.backing.name()))
    };
    // All of them count as told from now on.
    let lost: Vec<_> = table.slots().iter().filter_map(told).collect();
    lost.into_iter().next().map(|device| IoError {
        kind: ErrorKind::Io,
        op: Op::Flush.kind(),
        device,
        sector: 0,
        offset: 0,
    })
}

fn own_error(active: &Active, kind: ErrorKind, offset: u64) -> IoError {
    IoError {
        kind,
        op: active.op.kind(),
        device: active.device.shared_name(),
        sector: offset / SECTOR,
        offset,
    }
}
