//! Runs mirrors: carries out what their machines ask for.
//!
//! A request's part that lies on a mirror becomes a ticket. Whichever queue tells the machine
//! something carries out all that the machine then asks for, with its own driver; a ticket's memory
//! is kept with the mirror, so that any queue can do so, and its answer goes to the queue that the
//! request came from. What is to be done waits in a list, a bounded number of which is begun in
//! each turn: so nothing recurs, and copying cannot hold up a queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, Due, Mode};
use super::inbox::{Inbox, Message};
use super::request::{By, ChildOf, Origin};
use crate::backend::pool::{Pool, Threads};
use crate::backend::{Backing, Store};
use crate::buf::{Buf, Lent, Slice};
use crate::device::Device;
use crate::error::{Error, ErrorKind, IoError};
use crate::io::{Op, SECTOR};
use crate::table::Table;
use crate::target::Piece;
use crate::target::replica::{Action, Event, Failure, Mirror, OpId, Place, Ticket};

/// Actions begun in a turn.
const AT_ONCE: usize = 64;

/// A mirror of a table that is in use.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub mirror: Arc<Mirror>,
    pub table: Arc<Table>,
}

impl Live {
    /// Bytes behind `offset` of a place's device.
    fn room(&self, place: Place, offset: u64) -> u64 {
        let Some((device, start)) = self.mirror.place(place) else {
            return 0;
        };
        let size = self.table.slot(device).backing.size();
        size.saturating_sub(start.0 * SECTOR + offset)
    }
}

/// What is to be done for mirrors, in order.
pub(super) type Todo = VecDeque<(Live, Action)>;

/// What is kept of a request's part while a mirror has it.
struct Kept {
    of: ChildOf,
    op: Op,
    home: Arc<Inbox>,
    data: Option<Lent>,
}

impl Core {
    /// Gives a request's part to a mirror. It is counted as the request's child already.
    pub(super) fn mirror_request(
        &mut self,
        live: Live,
        of: ChildOf,
        piece: &Piece,
        data: Option<Slice>,
    ) {
        let kept = Kept {
            of,
            op: piece.op,
            home: Arc::clone(&self.inbox),
            data: data.map(Slice::lend),
        };
        let actions = live.mirror.request(piece, Box::new(kept));
        self.mirror_todo(&live, actions);
    }

    pub(super) fn mirror_event(&mut self, live: &Live, event: Event) {
        let actions = live.mirror.apply(event);
        self.mirror_todo(live, actions);
    }

    fn mirror_todo(&mut self, live: &Live, actions: Vec<Action>) {
        let each = actions.into_iter().map(|action| (live.clone(), action));
        self.todo.extend(each);
    }

    /// Begins some of what mirrors have asked for.
    pub(super) fn mirror_work(&mut self) {
        for _ in 0..AT_ONCE {
            let Some((live, action)) = self.todo.pop_front() else {
                return;
            };
            self.mirror_action(&live, action);
        }
    }

    fn mirror_action(&mut self, live: &Live, action: Action) {
        match action {
            Action::Child {
                id,
                ticket,
                leg,
                op,
                offset,
                len,
            } => {
                let whole = |kept: &mut Kept| kept.data.as_mut().and_then(Lent::whole);
                let data = match op {
                    Op::Read | Op::Write { .. } => live.mirror.with_ticket(ticket, whole).flatten(),
                    _ => None,
                };
                let data = data.map(Slice::lend);
                self.mirror_op(live, id, Place::Data(leg), (op, offset, len), data);
            }
            Action::Read {
                id,
                place,
                offset,
                len,
            } => {
                let len = live.room(place, offset).min(len);
                let data = Some(Buf::zeroed(len as usize).lend_to_fill());
                self.mirror_op(live, id, place, (Op::Read, offset, len), data);
            }
            Action::Write {
                to,
                offset,
                buf,
                fua,
            } => {
                let len = buf.len() as u64;
                let mut lent = buf.lend_to_read();
                for (id, place) in to {
                    let data = lent.whole().map(Slice::lend);
                    self.mirror_op(live, id, place, (Op::Write { fua }, offset, len), data);
                }
            }
            Action::Flush { id, place } => {
                self.mirror_op(live, id, place, (Op::Flush, 0, 0), None);
            }
            Action::Answer { ticket, result } => self.mirror_answer(live, ticket, result),
            Action::Again(ticket) => {
                let failure = Failure {
                    kind: ErrorKind::Io,
                    leg: None,
                    offset: 0,
                };
                self.mirror_answer(live, ticket, Err(failure));
            }
            Action::Wake(at) => {
                let after = live.mirror.until(at);
                self.at(after, Due::Mirror(live.clone()));
            }
            Action::Tell(_) | Action::Stopped => {}
        }
    }

    fn mirror_op(
        &mut self,
        live: &Live,
        id: OpId,
        place: Place,
        (op, offset, len): (Op, u64, u64),
        data: Option<Lent>,
    ) {
        let Some((device, start)) = live.mirror.place(place) else {
            return self.mirror_refused(live, id, ErrorKind::Gone);
        };
        let needs_memory = matches!(op, Op::Read | Op::Write { .. });
        let backing = Arc::clone(&live.table.slot(device).backing);
        if (needs_memory && data.is_none()) || (op.modifies() && backing.read_only()) {
            return self.mirror_refused(live, id, ErrorKind::ReadOnly);
        }
        let at = match op {
            Op::Flush => 0,
            _ => start.0 * SECTOR + offset,
        };
        let origin = Origin::Mirror(live.clone(), id);
        self.submit_own(origin, &backing, (op, at, len), data);
    }

    fn mirror_refused(&mut self, live: &Live, id: OpId, kind: ErrorKind) {
        let event = Event::Done {
            id,
            result: Err(kind),
            buf: None,
        };
        self.mirror_event(live, event);
    }

    /// An operation has ended.
    pub(super) fn mirror_done(
        &mut self,
        live: &Live,
        id: OpId,
        result: Result<(), IoError>,
        data: Option<Lent>,
    ) {
        // Of an operation with a request's own memory nothing is got back here: that is kept elsewhere.
        let buf = data.and_then(|lent| lent.reclaim().ok());
        let event = Event::Done {
            id,
            result: result.map_err(|e| e.kind),
            buf,
        };
        self.mirror_event(live, event);
    }

    fn mirror_answer(&mut self, live: &Live, ticket: Ticket, result: Result<(), Failure>) {
        let Some(kept) = live.mirror.take_ticket::<Kept>(ticket) else {
            return;
        };
        let Kept { of, op, home, data } = *kept;
        // The request's memory is whole again before it is answered.
        drop(data);
        let result = result.map_err(|failure| error_of(live, &failure, of, op));
        if Arc::ptr_eq(&home, &self.inbox) {
            self.child_done(of, result, None);
        } else {
            home.send(Message::Answer(of, result));
        }
    }
}

fn error_of(live: &Live, failure: &Failure, of: ChildOf, op: Op) -> IoError {
    let place = failure
        .leg
        .and_then(|leg| live.mirror.place(Place::Data(leg)));
    let (device, start): (Arc<str>, u64) = match place {
        Some((device, start)) => {
            let backing: &Arc<Backing> = &live.table.slot(device).backing;
            (Arc::clone(backing.name()), start.0)
        }
        None => (Arc::from("mirror"), 0),
    };
    IoError {
        kind: failure.kind,
        op: op.kind(),
        device,
        sector: start + failure.offset / SECTOR,
        offset: of.logical,
    }
}

/// Has the mirrors of a table clear and keep their marks, with no request under way. Waits.
pub(crate) fn stop_mirrors(table: &Arc<Table>, wait: Duration) -> Result<bool, Error> {
    let until = Instant::now() + wait.max(Duration::from_secs(1));
    for mirror in table.mirrors() {
        if mirror.at_rest() {
            continue;
        }
        let live = Live {
            mirror: Arc::clone(mirror),
            table: Arc::clone(table),
        };
        let inbox = Inbox::new()?;
        let driver = Pool::new(Threads::start(0)?, Arc::clone(&inbox))?;
        let mut core = Core::new(0, Mode::Alone, Box::new(driver), inbox);
        core.mirror_event(&live, Event::Stop);
        // What other queues have under way they end themselves.
        while !mirror.wait_stopped(Duration::from_millis(2)) {
            if Instant::now() > until {
                return Ok(false);
            }
            let mut turns = 0;
            core.at(Duration::ZERO, Due::Pause);
            core.run_until(|| {
                turns += 1;
                turns > 2
            });
        }
    }
    Ok(true)
}

/// A device that stands for nobody's: operations of mirrors on files need one.
pub(super) fn nobody() -> Arc<Device> {
    Device::new("mirror", "", Arc::default())
}

impl Core {
    /// An operation that no request made.
    fn submit_own(
        &mut self,
        origin: Origin,
        backing: &Arc<Backing>,
        (op, at, len): (Op, u64, u64),
        data: Option<Lent>,
    ) {
        if let Store::Device(lower) = backing.store() {
            let lower = Arc::clone(lower);
            return self.submit_from(origin, &lower, (op, at, len), data);
        }
        let device = Arc::clone(self.nobody.get_or_insert_with(nobody));
        let id = self.activate(origin, &device, (op, at, len), data, By::Any);
        let mut mem = None;
        if let Some(active) = self.active.get_mut(id) {
            active.pending += 1;
            mem = active.data.as_mut().and_then(Lent::whole);
        }
        let of = ChildOf {
            request: id,
            logical: at,
            finish: None,
        };
        self.begin_leaf(of, backing, op, at, len, mem);
        self.child_ended(id);
    }
}
