//! A request's pieces: mapped by their targets, begun a few at a time, and waited for.
//!
//! A request may be 32 MiB over stripes of one sector. Some [`WINDOW`] of its children are under way
//! at a time, so that what it costs is bounded and other requests get their share of the driver; and
//! the queue's other work has its turn after every [`BURST`] pieces, since children that are done
//! at once never fill the window.
//!
//! A durable write of several children on one device is written plainly, and what it was written to
//! is flushed before the answer: once per device, where each child would have waited by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Due};
use super::mirror::Live;
use super::request::{ChildOf, own_error};
use super::slab::Id;
use crate::backend::Store;
use crate::buf::{Lent, Slice};
use crate::error::{ErrorKind, IoError};
use crate::io::{Op, SECTOR};
use crate::table::Table;
use crate::target::replica::Mirror;
use crate::target::{Child, DevIndex, Piece, Plan, Verdict};

/// Children of a request under way before which another piece is begun. A piece is begun as a whole,
/// so those of the last one may come on top: at most 15 of a read or write, as targets map them.
pub(super) const WINDOW: u32 = 32;
/// Pieces begun in one go.
const BURST: usize = 32;

/// How far a request's pieces have been begun.
#[derive(Debug)]
pub(super) struct Walk {
    ahead: Ahead,
    /// False while it waits for children to end, which then go on with it.
    going: bool,
    /// Is durable by flushes at the end.
    flush_after: bool,
    /// Of a flush: devices it has reached. Of a durable write: devices to be flushed at the end.
    devices: BTreeSet<DevIndex>,
}

/// What has not been begun.
#[derive(Clone, Copy, Debug)]
enum Ahead {
    /// The range from this byte of the request on.
    Bytes(u64),
    /// A flush of the segments from this one on.
    Segments(usize),
    /// The flushes of a durable write.
    Flushes,
    Nothing,
}

impl Walk {
    pub(super) fn new(op: Op) -> Self {
        Self {
            ahead: match op {
                Op::Flush => Ahead::Segments(0),
                _ => Ahead::Bytes(0),
            },
            going: true,
            flush_after: false,
            devices: BTreeSet::new(),
        }
    }

    /// Begins no more.
    pub(super) fn stop(&mut self) {
        self.ahead = Ahead::Nothing;
        self.going = true;
    }
}

/// A piece and where it belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    request: Id,
    segment: usize,
    piece: Piece,
    /// First byte in the request's data.
    at: u64,
}

/// Children that are begun later.
#[derive(Debug)]
pub(super) struct Delayed {
    place: Place,
    plan: Plan,
    /// The piece's part of the data.
    data: Option<Lent>,
}

impl Core {
    /// Begins pieces until the window is full, all have been begun, or it is others' turn.
    pub(super) fn walk(&mut self, id: Id) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        let Some(table) = active.table.clone() else {
            return;
        };
        active.walk.going = true;
        for _ in 0..BURST {
            let more = self.begin_piece(id, &table);
            let Some(active) = self.active.get_mut(id) else {
                return;
            };
            if !more {
                active.walk.stop();
                return self.child_ended(id);
            }
            if active.pending > WINDOW {
                active.walk.going = false;
                return;
            }
        }
        self.later.push_back(id);
    }

    /// Begins the next piece; false if there is none.
    fn begin_piece(&mut self, id: Id, table: &Arc<Table>) -> bool {
        match self.active.get(id).map(|a| a.walk.ahead) {
            Some(Ahead::Bytes(at)) => self.begin_range(id, table, at),
            Some(Ahead::Segments(n)) => self.begin_segment(id, table, n),
            Some(Ahead::Flushes) => self.begin_flush(id, table),
            Some(Ahead::Nothing) | None => false,
        }
    }

    fn begin_range(&mut self, id: Id, table: &Arc<Table>, at: u64) -> bool {
        let now = self.target_clock();
        let mut plan = std::mem::take(&mut self.plan);
        plan.clear();
        let Some(active) = self.active.get_mut(id).filter(|a| at < a.len) else {
            return false;
        };
        let Some(n) = table.find(active.offset + at) else {
            return false;
        };
        let segment = &table.segments()[n];
        let within = active.offset + at - segment.start.0 * SECTOR;
        let reach = segment.target.reach(active.op.kind(), within).max(1);
        let rest = (segment.len.0 * SECTOR - within).min(active.len - at);
        let piece = Piece {
            op: active.op,
            offset: within,
            len: rest.min(reach),
        };
        active.walk.ahead = Ahead::Bytes(at + piece.len);
        if let Some(mirror) = segment.target.mirror() {
            let mirror = Arc::clone(mirror);
            self.plan = plan;
            self.give_to_mirror(id, table, mirror, piece, at);
            return true;
        }
        segment.target.map(&piece, now, &mut plan);
        if active.op.fua() && (piece.len < active.len || repeats_a_device(&plan)) {
            active.walk.flush_after = true;
        }
        let place = Place {
            request: id,
            segment: n,
            piece,
            at,
        };
        self.plan = self.carry_out(place, table, plan);
        true
    }

    /// A flush goes to every segment's target; each backing device is flushed once.
    fn begin_segment(&mut self, id: Id, table: &Arc<Table>, n: usize) -> bool {
        let Some(segment) = table.segments().get(n) else {
            return false;
        };
        let mut plan = std::mem::take(&mut self.plan);
        plan.clear();
        let piece = Piece {
            op: Op::Flush,
            offset: 0,
            len: 0,
        };
        if let Some(mirror) = segment.target.mirror() {
            let mirror = Arc::clone(mirror);
            if let Some(active) = self.active.get_mut(id) {
                active.walk.ahead = Ahead::Segments(n + 1);
            }
            self.plan = plan;
            self.give_to_mirror(id, table, mirror, piece, 0);
            return true;
        }
        segment.target.map(&piece, self.target_clock(), &mut plan);
        if let Some(active) = self.active.get_mut(id) {
            let flushed = &mut active.walk.devices;
            plan.children.retain(|c| flushed.insert(c.device));
            active.walk.ahead = Ahead::Segments(n + 1);
        }
        let place = Place {
            request: id,
            segment: n,
            piece,
            at: 0,
        };
        self.plan = self.carry_out(place, table, plan);
        true
    }

    /// Gives a piece that lies at `at` of the request's data to a mirror.
    fn give_to_mirror(
        &mut self,
        id: Id,
        table: &Arc<Table>,
        mirror: Arc<Mirror>,
        piece: Piece,
        at: u64,
    ) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        active.pending += 1;
        let of = ChildOf {
            request: id,
            logical: active.offset + at,
            finish: None,
        };
        let data = match piece.op {
            Op::Read | Op::Write { .. } => self.part_of(id, at, 0, piece.len, None),
            _ => None,
        };
        let live = Live {
            mirror,
            table: Arc::clone(table),
        };
        self.mirror_request(live, of, &piece, data);
    }

    /// Flushes one device of a durable write.
    fn begin_flush(&mut self, id: Id, table: &Table) -> bool {
        let Some(active) = self.active.get_mut(id) else {
            return false;
        };
        let Some(device) = active.walk.devices.pop_first() else {
            return false;
        };
        let of = ChildOf {
            request: id,
            logical: active.offset,
            finish: None,
        };
        let flush = Child {
            op: Op::Flush,
            device,
            offset: 0,
            len: 0,
            at: 0,
        };
        self.begin_child(of, table, &flush, 0, None);
        true
    }

    /// Does what a target planned for a piece, now or after its delay.
    fn carry_out(&mut self, place: Place, table: &Table, plan: Plan) -> Plan {
        if plan.delay == Duration::ZERO {
            self.begin_planned(place, table, &plan, None);
            return plan;
        }
        let Some(active) = self.active.get_mut(place.request) else {
            return plan;
        };
        active.pending += 1;
        // Taken now, since parts that are to be filled are taken in ascending order.
        let data = active.data.as_mut();
        let data = data.and_then(|d| d.slice(place.at, place.piece.len));
        let delay = plan.delay;
        let delayed = Delayed {
            place,
            plan,
            data: data.map(Slice::lend),
        };
        self.at(delay, Due::Children(delayed));
        Plan::default()
    }

    pub(super) fn begin_delayed(&mut self, delayed: Delayed) {
        let (place, mut data) = (delayed.place, delayed.data);
        let request = self.active.get(place.request);
        let Some(table) = request.and_then(|a| a.table.clone()) else {
            return;
        };
        self.begin_planned(place, &table, &delayed.plan, data.as_mut());
        // With the last part of it the buffer goes back to whoever made the request.
        drop(data);
        self.child_ended(place.request);
    }

    /// Begins a piece's children, over `data` or else its part of the request's.
    fn begin_planned(
        &mut self,
        place: Place,
        table: &Table,
        plan: &Plan,
        mut data: Option<&mut Lent>,
    ) {
        let Place {
            request,
            segment,
            piece,
            at,
        } = place;
        match plan.verdict {
            Verdict::Children => {}
            Verdict::Zeroes => {
                let mut part = self.part_of(request, at, 0, piece.len, data.as_deref_mut());
                if let Some(bytes) = part.as_mut().and_then(Slice::bytes_mut) {
                    bytes.fill(0);
                }
            }
            Verdict::Fail(kind) => self.fail(request, |a| own_error(a, kind, a.offset + at)),
        }
        let logical = match piece.op {
            Op::Flush => 0,
            _ => self.active.get(request).map_or(0, |a| a.offset) + at,
        };
        for child in &plan.children {
            let of = ChildOf {
                request,
                logical: logical + child.at,
                finish: plan.finish.then_some((segment as u32, piece)),
            };
            self.begin_child(of, table, child, at, data.as_deref_mut());
        }
    }

    /// Memory for `len` bytes from `within` a piece on, which lies at `at` of the request's data:
    /// of `data`, or else of the request's.
    fn part_of(
        &mut self,
        id: Id,
        at: u64,
        within: u64,
        len: u64,
        data: Option<&mut Lent>,
    ) -> Option<Slice> {
        match data {
            Some(data) => data.slice(within, len),
            None => {
                let data = self.active.get_mut(id)?.data.as_mut()?;
                data.slice(at + within, len)
            }
        }
    }

    /// Begins a child of a piece that lies at `at` of the request's data.
    fn begin_child(
        &mut self,
        of: ChildOf,
        table: &Table,
        child: &Child,
        at: u64,
        data: Option<&mut Lent>,
    ) {
        let backing = &table.slot(child.device).backing;
        let Some(active) = self.active.get_mut(of.request) else {
            return;
        };
        active.pending += 1;
        let mut op = child.op;
        if active.walk.flush_after && op.fua() {
            active.walk.devices.insert(child.device);
            op = op.without_fua();
        }
        let mem = match op {
            Op::Read | Op::Write { .. } => {
                match self.part_of(of.request, at, child.at, child.len, data) {
                    Some(mem) => Some(mem),
                    // A target that hands out data twice or out of order.
                    None => return self.child_done(of, Err(self.broken(of, op)), None),
                }
            }
            _ => None,
        };
        if op.modifies() && backing.read_only() {
            let error = IoError {
                kind: ErrorKind::ReadOnly,
                op: op.kind(),
                device: Arc::clone(backing.name()),
                sector: child.offset / SECTOR,
                offset: of.logical,
            };
            return self.child_done(of, Err(error), mem);
        }
        match backing.store() {
            Store::Device(lower) => {
                let what = (op, child.offset, child.len);
                self.submit_child(of, lower, what, mem.map(Slice::lend));
            }
            Store::Mem(_) | Store::File(_) => {
                self.begin_leaf(of, backing, op, child.offset, child.len, mem);
            }
        }
    }

    fn broken(&self, of: ChildOf, op: Op) -> IoError {
        IoError {
            kind: ErrorKind::Invalid,
            op: op.kind(),
            device: match self.active.get(of.request) {
                Some(active) => active.device.name(),
                None => Arc::from(""),
            },
            sector: of.logical / SECTOR,
            offset: of.logical,
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

    /// A child is done, or all have been begun.
    pub(super) fn child_ended(&mut self, id: Id) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        active.pending -= 1;
        if active.pending > 0 {
            if !active.walk.going && active.pending <= WINDOW / 2 {
                self.walk(id);
            }
        } else if active.flushes_left() {
            active.pending = 1;
            active.walk.ahead = Ahead::Flushes;
            self.walk(id);
        } else if let Some(active) = self.active.remove(id) {
            self.answer(active);
        }
    }
}

fn repeats_a_device(plan: &Plan) -> bool {
    let mut seen = BTreeSet::new();
    plan.children.iter().any(|c| !seen.insert(c.device))
}

impl super::request::Active {
    /// Is there something to flush before the answer?
    fn flushes_left(&self) -> bool {
        self.walk.flush_after && self.error.is_none() && !self.walk.devices.is_empty()
    }
}

#[cfg(test)]
mod tests;
