//! A request's way through the queue: the short way, the gate, its pieces ([`super::walk`]), its
//! answer.

use std::sync::Arc;
use std::time::Instant;

use super::at_once::Outcome;
use super::core::Core;
use super::inbox::Waiting;
use super::mirror::Live;
use super::slab::Id;
use super::task::{Event, TaskKey};
use super::walk::Walk;
use crate::buf::Lent;
use crate::device::{Answered, Device, Enter};
use crate::error::{ErrorKind, IoError};
use crate::io::{Completion, Op, Request, SECTOR};
use crate::table::Table;
use crate::target::Piece;
use crate::target::replica::OpId;

/// Who made a request.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Task(TaskKey, u64),
    /// A request to an upper device, of which this is a child.
    Child(ChildOf),
    /// An operation of a mirror's own, or on one of its legs.
    Mirror(Live, OpId),
}

/// Which part of which request a child belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildOf {
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
    pub(super) origin: Origin,
    pub(super) device: Arc<Device>,
    pub(super) table: Option<Arc<Table>>,
    pub(super) op: Op,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) data: Option<Lent>,
    pub(super) by: By,
    pub(super) began: Instant,
    /// Children not done, plus one until all have been begun.
    pub(super) pending: u32,
    pub(super) walk: Walk,
    pub(super) error: Option<IoError>,
    /// [`Device::lost`] when a flush began.
    lost: u64,
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
    pub(super) fn submit_child(
        &mut self,
        of: ChildOf,
        device: &Arc<Device>,
        what: (Op, u64, u64),
        data: Option<Lent>,
    ) {
        let id = self.activate(Origin::Child(of), device, what, data, By::Any);
        self.enter(id);
    }

    /// Makes a request to a device for somebody else than a task or a request.
    pub(super) fn submit_from(
        &mut self,
        origin: Origin,
        device: &Arc<Device>,
        what: (Op, u64, u64),
        data: Option<Lent>,
    ) {
        let id = self.activate(origin, device, what, data, By::Any);
        self.enter(id);
    }

    pub(super) fn activate(
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
            walk: Walk::new(op),
            error: None,
            lost: 0,
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
            active.walk.stop();
        }
        self.child_ended(id);
    }

    fn dispatch(&mut self, id: Id, table: Arc<Table>) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        let end = active.offset.checked_add(active.len);
        let inside = end.is_some_and(|end| end <= table.len().0 * SECTOR);
        active.table = Some(Arc::clone(&table));
        if active.op == Op::Flush {
            active.lost = active.device.lost();
        } else if !inside {
            return self.refuse(id, ErrorKind::Invalid);
        }
        self.walk(id);
    }

    /// Notes an error: the lowest place counts.
    pub(super) fn fail(&mut self, id: Id, error: impl FnOnce(&Active) -> IoError) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        let error = error(active);
        let first = |e: &IoError| error.offset < e.offset;
        if active.error.as_ref().is_none_or(first) {
            active.error = Some(error);
        }
    }

    /// A flush has been answered by all below. Has something been lost in its time that was not told
    /// to it, but to another flush, of this device or of one beside it?
    fn flush_ended(&mut self, active: &mut Active) {
        let Some(table) = &active.table else {
            return;
        };
        let lost = active.device.count_lost(table);
        let counted = active.device.lost() != active.lost;
        if active.error.is_none() && (lost.is_some() || counted) {
            let kind = active.device.lost_kind().unwrap_or(ErrorKind::Io);
            let device = lost.map(|backing| Arc::clone(backing.name()));
            active.error = Some(IoError {
                device: device.unwrap_or_else(|| active.device.name()),
                ..own_error(active, kind, 0)
            });
        }
    }

    pub(super) fn answer(&mut self, mut active: Active) {
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
        let nobodys = matches!(active.origin, Origin::Mirror(..)) && active.table.is_none();
        if let Some(error) = active.error.as_ref().filter(|_| !nobodys) {
            active.device.failed(error);
        }
        let result = active.error.map_or(Ok(()), Err);
        match active.origin {
            Origin::Mirror(live, id) => self.mirror_done(&live, id, result, active.data),
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

pub(super) fn own_error(active: &Active, kind: ErrorKind, offset: u64) -> IoError {
    IoError {
        kind,
        op: active.op.kind(),
        device: active.device.name(),
        sector: offset / SECTOR,
        offset,
    }
}
