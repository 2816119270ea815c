//! The machine of all mirrors: told what happens, it says what is to be done.
//!
//! What must hold, whatever happens in whatever order (the simulator beside this file tries):
//!
//! * A region's mark is durable before a byte of the region is written on any leg.
//! * A write is answered when every leg that is alive has it; a leg that missed it is durably recorded as
//!   failed before that, where the log can record it.
//! * One leg is always sound: it holds everything that was answered, and the log says so. It is the
//!   last to be given up, and its errors are the client's.
//! * A region is read only from legs that are not stale there; a leg stops being stale in a region
//!   when all of it was copied, under locks that no write passes.
//! * A mark is cleared only while all legs are alive, recorded in sync and not stale there, nothing
//!   writes there, and all legs were flushed since the last write there ended.
//! * Writes to the same bytes, and copies of them, happen one after the other.
//!
//! No clock, descriptor or thread is here. Memory: some bits for each region and leg, an entry for
//! each request and operation under way, and `Tuning::windows` buffers of `Tuning::window` bytes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::event::{Action, Event, Failure, News, OpId, Ticket};
use super::flushes::FlushAll;
use super::jobs::Job;
use super::legs::Leg;
use super::locks::{Locks, Who};
use super::marks::{Marks, Settle};
use super::reads::Read;
use super::recovery::Background;
use super::writes::Write;
use super::{Config, Form, LogRead, Place};
use crate::buf::Buf;
use crate::error::ErrorKind;
use crate::io::{Op, SECTOR};

/// Choices that are no part of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// A region's mark is cleared when nothing was written there for this long.
    pub clear_after: Duration,
    /// How often it is looked for marks to clear.
    pub look_every: Duration,
    /// Bytes copied or compared at a time; a multiple of 64 KiB, but for tests.
    pub window: u64,
    /// Windows under way at a time.
    pub windows: usize,
    /// Bytes a second that copying gets beside clients' requests, unless the table says.
    pub min_rate: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            clear_after: Duration::from_secs(5),
            look_every: Duration::from_secs(1),
            window: 512 << 10,
            windows: 4,
            min_rate: 4 << 20,
        }
    }
}

/// Whose an operation is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Read {
        ticket: Ticket,
    },
    Write {
        ticket: Ticket,
        leg: usize,
        life: u32,
    },
    Flush {
        ticket: Ticket,
        leg: usize,
    },
    Log {
        place: Place,
    },
    LogFlush {
        place: Place,
    },
    Found {
        n: usize,
    },
    Settle {
        leg: usize,
    },
    Job {
        job: u64,
        leg: usize,
    },
}

/// Where the mirror is in its life.
#[derive(Debug)]
pub(super) enum State {
    New,
    /// Reads what is on disk: what was found so far, and how many reads are under way.
    Assembling(Vec<Option<Vec<u8>>>, usize),
    Running,
    /// It could not be assembled.
    Unusable,
    Stopping(Stopping),
    Stopped,
}

/// How far a stop has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stopping {
    /// What is under way ends.
    Quiet,
    /// Legs are flushed and marks cleared.
    Settle,
    /// The log is told.
    Close,
}

/// One of a few deliberate faults, for the simulator to find. None outside of tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(test), allow(dead_code))]
pub(super) enum Broken {
    AnsweredBeforeMarked,
    ClearedWithoutFlush,
    ClearedEarly,
    StaleLegRead,
    FailureAfterAnswer,
    ResyncRacesWrite,
    OverlapsNotOrdered,
    ClearedWhileDegraded,
    DirtyReadAnywhere,
    InSyncBeforeCopied,
}

/// A mirror.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) form: Box<dyn Form>,
    pub(super) tuning: Tuning,
    pub(super) state: State,
    pub(super) now: Duration,
    pub(super) legs: Vec<Leg>,
    pub(super) marks: Marks,
    pub(super) locks: Locks,
    pub(super) reads: HashMap<Ticket, Read>,
    /// Reads that wait until it is decided what a leg has lost.
    pub(super) doubting: Vec<Ticket>,
    pub(super) writes: HashMap<Ticket, Write>,
    pub(super) flushes: HashMap<Ticket, FlushAll>,
    pub(super) settle: Option<Settle>,
    /// A flush of the machine's own failed on a leg that had to be kept: the next client's is told.
    pub(super) untold: Option<Failure>,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) background: Background,
    ops: HashMap<OpId, Owner>,
    next_op: u64,
    /// Requests that came while it does not run.
    held: Vec<(Ticket, Op, u64, u64)>,
    wake_at: Option<Duration>,
    pub(super) out: Vec<Action>,
    #[cfg(test)]
    pub(super) broken_how: Option<Broken>,
}

impl Machine {
    /// That is not used yet.
    pub fn new(config: Config, form: Box<dyn Form>, tuning: Tuning) -> Self {
        let regions = config.regions();
        let legs = config.legs.iter().map(|l| Leg::absent(l, regions));
        Self {
            legs: legs.collect(),
            marks: Marks::none(regions),
            background: Background::new(&config),
            config,
            form,
            tuning,
            state: State::New,
            now: Duration::ZERO,
            locks: Locks::default(),
            reads: HashMap::new(),
            doubting: Vec::new(),
            writes: HashMap::new(),
            flushes: HashMap::new(),
            settle: None,
            untold: None,
            jobs: BTreeMap::new(),
            ops: HashMap::new(),
            next_op: 0,
            held: Vec::new(),
            wake_at: None,
            out: Vec::new(),
            #[cfg(test)]
            broken_how: None,
        }
    }

    /// What the table line says.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Something happened at `now`, which never goes back. What is to be done is added to `actions`.
    pub fn apply(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        self.now = now.max(self.now);
        // A tick may have been lost with the queue that was to give it.
        if self.wake_at.is_some_and(|at| at <= self.now) {
            self.wake_at = None;
        }
        match event {
            Event::Start => self.start(),
            Event::Request {
                ticket,
                op,
                offset,
                len,
            } => self.request(ticket, op, offset, len),
            Event::Done { id, result, buf } => self.done(id, result, buf),
            Event::Tick => {}
            Event::Stop => self.stop(),
        }
        self.go_on();
        actions.append(&mut self.out);
    }

    /// Not started, or stopped?
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::New | State::Stopped)
    }

    /// Is nothing under way, and nothing to be made durable?
    pub fn at_rest(&self) -> bool {
        self.is_idle() || matches!(self.state, State::Unusable)
    }

    /// What can begin because of what has ended.
    pub(super) fn go_on(&mut self) {
        self.pump_log();
        self.pump_settle();
        self.pump_background();
        self.pump_stop();
        self.pump_log();
    }

    #[cfg(test)]
    pub(super) fn broken(&self, how: Broken) -> bool {
        self.broken_how == Some(how)
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    pub(super) const fn broken(&self, _how: Broken) -> bool {
        false
    }

    /// Names an operation.
    pub(super) fn op(&mut self, owner: Owner) -> OpId {
        self.next_op += 1;
        let id = OpId(self.next_op);
        self.ops.insert(id, owner);
        id
    }

    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<(), Failure>) {
        self.out.push(Action::Answer { ticket, result });
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, kind: ErrorKind, offset: u64) {
        let failure = Failure {
            kind,
            leg: None,
            offset,
        };
        self.answer(ticket, Err(failure));
    }

    pub(super) fn tell(&mut self, news: News) {
        self.out.push(Action::Tell(news));
    }

    /// Asks for a tick, unless one comes by then.
    pub(super) fn wake(&mut self, at: Duration) {
        if self.wake_at.is_none_or(|before| at < before) {
            self.wake_at = Some(at);
            self.out.push(Action::Wake(at));
        }
    }

    pub(super) fn running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    fn request(&mut self, ticket: Ticket, op: Op, offset: u64, len: u64) {
        match self.state {
            State::Running => {}
            State::Unusable => return self.refuse(ticket, ErrorKind::Io, offset),
            _ => return self.held.push((ticket, op, offset, len)),
        }
        if op == Op::Flush {
            return self.flush_arrived(ticket);
        }
        let end = offset.checked_add(len);
        let region = self.config.region_of(offset);
        let within = |end| len > 0 && end <= self.config.region_range(region).1;
        if !end.is_some_and(within) {
            return self.refuse(ticket, ErrorKind::Invalid, offset);
        }
        self.background.foreground(self.now);
        match op {
            Op::Read => self.read_arrived(ticket, region, offset, len),
            _ => self.write_arrived(ticket, op, region, offset, len),
        }
    }

    fn done(&mut self, id: OpId, result: Result<(), ErrorKind>, buf: Option<Buf>) {
        match self.ops.remove(&id) {
            None => {}
            Some(Owner::Read { ticket }) => self.read_done(ticket, result),
            Some(Owner::Write { ticket, leg, life }) => self.write_done(ticket, leg, life, result),
            Some(Owner::Flush { ticket, leg }) => self.flush_done(ticket, leg, result),
            Some(Owner::Log { place }) => self.log_write_done(place, result),
            Some(Owner::LogFlush { place }) => self.log_flushed(place, result),
            Some(Owner::Found { n }) => self.found(n, buf.filter(|_| result.is_ok())),
            Some(Owner::Settle { leg }) => self.settle_flushed(leg, result),
            Some(Owner::Job { job, leg }) => self.job_op_done(job, leg, result, buf),
        }
    }

    /// Those who got their ranges go on.
    pub(super) fn granted(&mut self, who: Vec<Who>) {
        for who in who {
            match who {
                // It did not wait.
                Who::Write(_) if self.broken(Broken::OverlapsNotOrdered) => {}
                Who::Write(ticket) => self.write_granted(ticket),
                Who::Read(ticket) => self.read_granted(ticket),
                Who::Job(job) => self.job_granted(job),
            }
        }
    }

    fn start(&mut self) {
        match self.state {
            State::New | State::Unusable => {}
            State::Stopped => return self.run(),
            State::Assembling(..) | State::Running | State::Stopping(_) => return,
        }
        let reads = self.form.reads(&self.config);
        self.state = State::Assembling(vec![None; reads.len()], reads.len());
        for (n, LogRead { place, offset, len }) in reads.into_iter().enumerate() {
            let id = self.op(Owner::Found { n });
            self.out.push(Action::Read {
                id,
                place,
                offset,
                len,
            });
        }
        self.assemble_if_all_found();
    }

    fn found(&mut self, n: usize, buf: Option<Buf>) {
        let State::Assembling(found, pending) = &mut self.state else {
            return;
        };
        if let Some(place) = found.get_mut(n) {
            *place = buf.map(|b| b.to_vec());
        }
        *pending -= 1;
        self.assemble_if_all_found();
    }

    fn assemble_if_all_found(&mut self) {
        let State::Assembling(found, 0) = &self.state else {
            return;
        };
        match self.form.assemble(&self.config, found) {
            Err(no) => self.unusable(no.what),
            Ok(assembly) => match self.take_assembly(assembly) {
                Ok(()) => {
                    self.tell(News::Assembled);
                    self.run();
                }
                Err(what) => self.unusable(what.to_owned()),
            },
        }
    }

    fn unusable(&mut self, what: String) {
        self.state = State::Unusable;
        self.tell(News::Unusable(what));
        self.release_held();
    }

    fn run(&mut self) {
        self.state = State::Running;
        self.marks.resumed();
        self.release_held();
    }

    fn release_held(&mut self) {
        for (ticket, op, offset, len) in std::mem::take(&mut self.held) {
            self.request(ticket, op, offset, len);
        }
    }

    fn stop(&mut self) {
        match self.state {
            State::Running => self.state = State::Stopping(Stopping::Quiet),
            State::New | State::Unusable | State::Stopped => self.out.push(Action::Stopped),
            // It is told when it runs: the one who stops it waits for that first.
            State::Assembling(..) | State::Stopping(_) => {}
        }
    }

    fn pump_stop(&mut self) {
        let State::Stopping(at) = self.state else {
            return;
        };
        self.give_back_held();
        let quiet = self.jobs.is_empty() && self.writes.is_empty() && self.reads.is_empty();
        if !quiet || !self.flushes.is_empty() || self.settle.is_some() || self.marks.busy() {
            return;
        }
        match at {
            Stopping::Quiet => {
                self.state = State::Stopping(Stopping::Settle);
                self.begin_settle(true);
                self.pump_stop();
            }
            Stopping::Settle => {
                self.state = State::Stopping(Stopping::Close);
                self.marks.stopped();
                self.pump_log();
                self.pump_stop();
            }
            Stopping::Close => {
                self.state = State::Stopped;
                self.out.push(Action::Stopped);
            }
        }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.config.len.0 * SECTOR
    }
}
