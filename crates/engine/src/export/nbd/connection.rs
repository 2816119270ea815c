//! A client's connection: a task on a queue, with the socket on one side and the device on the other.
//!
//! Invariants: one watch at a time, for exactly what is wanted; nothing is received while something
//! has to be done first, so a client that does not take its replies stops itself; a connection that
//! is stuck half-way through a message or with replies not taken ends after [`Limits::stalled`], or
//! when it has moved less than [`Limits::rate`] in that time.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::exports::{Exports, View};
use super::handshake::{Handshake, MAX_OPTION, Next};
use super::input::Input;
use super::limits::Limits;
use super::outgoing::Outgoing;
use super::session::{Session, Submit, Taken};
use super::wire::OPTION_LEN;
use crate::buf::Budget;
use crate::queue::{Cx, Event, Interest, Task, WatchKey};

/// Size of the buffer for what is received, once requests come: a run of writes of 4 KiB at a depth
/// of 32, in one call.
pub(super) const INPUT: usize = 160 << 10;
/// Receive calls for one readiness, so that other connections have their turn.
const ROUNDS: usize = 8;
/// A payload's rest is received into its place if it is at least this long.
const DIRECT: usize = 8 << 10;
/// After a payload with a rest of this length the next receive takes little more than a header, so
/// that a run of large writes is not copied.
const LARGE: usize = 64 << 10;
/// What it takes then.
const LITTLE: usize = 4 << 10;
/// Bytes of answers in the handshake that may wait to be sent before the next option is looked at.
const MAX_ANSWERS: usize = 64 << 10;
/// How long a client that found no memory left, with nothing of its own to wait for, waits until it
/// looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the replies to what was under way may take once the engine is to end.
const LAST_REPLIES: Duration = Duration::from_secs(5);

const TIMER_HANDSHAKE: u64 = 0;
const TIMER_STALLED: u64 = 1;
const TIMER_LAST: u64 = 2;
/// Others have had their turn: the input at hand is gone on with.
const TIMER_GO_ON: u64 = 3;

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub exports: Arc<Exports>,
    pub limits: Limits,
    /// Of all clients' data.
    pub budget: Arc<Budget>,
    pub clients: AtomicUsize,
}

/// One of the places for clients.
#[derive(Debug)]
pub(super) struct Place(Arc<Shared>);

impl Place {
    /// None if all are taken.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(Arc::clone(shared));
        (shared.clients.fetch_add(1, Ordering::AcqRel) < shared.limits.clients).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
enum Phase {
    Handshake(Handshake),
    Serving(Box<Session>),
}

/// How the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// On.
    Open,
    /// Nothing more is received; it ends when all that is under way is answered and sent.
    Ending,
    /// The client is cut off. What is under way holds memory, so it keeps its place until that has
    /// ended; nothing is sent any more.
    Over,
}

/// Half-way through a message, or with replies to be taken.
#[derive(Debug, Clone, Copy)]
struct Stuck {
    since: Instant,
    /// Bytes that have moved since.
    bytes: u64,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Arc<OwnedFd>,
    place: Place,
    phase: Phase,
    input: Input,
    /// The most that one receive puts into the input: little after large payloads, and more again
    /// with every receive that this cut short.
    reach: usize,
    out: Outgoing,
    course: Course,
    /// The input at hand waits for something under way.
    blocked: bool,
    watch: Option<(WatchKey, Interest)>,
    /// When bytes last moved.
    moved: Instant,
    /// Since when it has been half-way through a message, or from which time on that is looked at.
    stuck: Option<Stuck>,
    stall_timer: bool,
    /// [`TIMER_GO_ON`] is set.
    resting: bool,
}

impl Connection {
    /// The socket must not block.
    pub(super) fn new(socket: OwnedFd, place: Place) -> Self {
        let limits = &place.0.limits;
        let handshake = Handshake::new(limits.options, limits.list);
        Self {
            socket: Arc::new(socket),
            phase: Phase::Handshake(handshake),
            place,
            input: Input::new(MAX_OPTION + OPTION_LEN),
            reach: INPUT,
            out: Outgoing::default(),
            course: Course::Open,
            blocked: false,
            watch: None,
            moved: Instant::now(),
            stuck: None,
            stall_timer: false,
            resting: false,
        }
    }

    /// Receives what is there and does what it asks for.
    fn receive(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..ROUNDS {
            self.advance(cx);
            if self.blocked || self.course != Course::Open {
                return;
            }
            let direct = match &mut self.phase {
                Phase::Serving(session) if self.input.unread().is_empty() => {
                    session.direct().filter(|room| room.len() >= DIRECT)
                }
                _ => None,
            };
            let into_payload = direct.is_some();
            let room = match direct {
                Some(room) => {
                    if room.len() >= LARGE {
                        self.reach = LITTLE;
                    }
                    room
                }
                None => {
                    let room = self.input.room();
                    let reach = self.reach.min(room.len());
                    &mut room[..reach]
                }
            };
            let wanted = room.len();
            if wanted == 0 {
                return;
            }
            let n = match rustix::net::recv(&self.socket, room, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return self.course = Course::Ending,
                Ok((_, n)) => n,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.course = Course::Over,
            };
            self.moved(cx, n);
            if into_payload {
                self.payload_received(cx, n);
            } else {
                self.input.received(n);
                if n == wanted {
                    self.reach = (self.reach * 4).min(INPUT);
                }
            }
            if n < wanted {
                return self.advance(cx);
            }
        }
        self.advance(cx);
    }

    fn payload_received(&mut self, cx: &mut Cx<'_>, n: usize) {
        if let Phase::Serving(session) = &mut self.phase
            && let Some(submit) = session.received(n, &mut self.out)
        {
            submit_to(cx, session, submit);
        }
    }

    /// Works through the input at hand.
    fn advance(&mut self, cx: &mut Cx<'_>) {
        self.blocked = false;
        while self.course == Course::Open && !self.blocked {
            let used = match &mut self.phase {
                Phase::Handshake(_) => self.negotiate(),
                Phase::Serving(session) => {
                    let (used, taken, submit) = session.take(self.input.unread(), &mut self.out);
                    let going_on = used > 0 || submit.is_some();
                    if let Some(submit) = submit {
                        submit_to(cx, session, submit);
                    }
                    match taken {
                        Taken::All => {}
                        Taken::Blocked => self.blocked = true,
                        Taken::Disconnect => self.course = Course::Ending,
                        Taken::Lost => self.course = Course::Over,
                    }
                    self.input.consume(used);
                    going_on
                }
            };
            if !used {
                return;
            }
        }
    }

    /// One step of the handshake; whether it used or made anything.
    fn negotiate(&mut self) -> bool {
        let Phase::Handshake(handshake) = &mut self.phase else {
            return false;
        };
        if self.out.small_bytes() > MAX_ANSWERS {
            self.blocked = true;
            return false;
        }
        let shared = &self.place.0;
        let view = View(&shared.exports, shared.limits.payload);
        let mut answers = Vec::new();
        let (used, next) = handshake.step(self.input.unread(), &view, &mut answers);
        self.out.bytes(&answers);
        self.input.consume(used);
        match next {
            Next::More => return used > 0,
            Next::Close => self.course = Course::Ending,
            Next::Begin(chosen) => match shared.exports.get(&chosen.name) {
                None => self.course = Course::Over,
                Some(export) => {
                    let session =
                        Session::new(*chosen, export, &shared.limits, Arc::clone(&shared.budget));
                    self.phase = Phase::Serving(Box::new(session));
                    self.input.grow(INPUT);
                }
            },
        }
        true
    }

    fn moved(&mut self, cx: &Cx<'_>, bytes: usize) {
        self.moved = cx.now();
        if let Some(stuck) = &mut self.stuck {
            stuck.bytes += bytes as u64;
        }
    }

    fn send(&mut self, cx: &Cx<'_>) {
        let pool = match &mut self.phase {
            Phase::Serving(session) => Some(session.pool()),
            Phase::Handshake(_) => None,
        };
        match self.out.send(&self.socket, pool) {
            Ok(0) => {}
            Ok(n) => self.moved(cx, n),
            Err(_) => self.course = Course::Over,
        }
    }

    /// Sends, takes in what had to wait, and watches for what is wanted next.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.course != Course::Over {
            self.send(cx);
        }
        if self.blocked && self.course == Course::Open && !self.resting {
            if let Phase::Serving(session) = &mut self.phase {
                session.rested();
            }
            self.advance(cx);
            self.send(cx);
        }
        let under_way = self.under_way();
        if self.course == Course::Over {
            return self.cut_off(cx, under_way);
        }
        if self.course == Course::Ending && under_way == 0 && self.out.is_empty() {
            cx.exit();
            return;
        }
        let wanted = Interest {
            read: self.course == Course::Open && !self.blocked,
            write: !self.out.is_empty(),
        };
        self.watch_for(cx, wanted);
        if self.course == Course::Over {
            return self.cut_off(cx, under_way);
        }
        // Blocked, and neither an answer nor the socket will bring it on.
        let alone = under_way == 0 && self.out.is_empty();
        if self.course == Course::Open && self.blocked && alone && !self.resting {
            self.resting = true;
            let starved = match &mut self.phase {
                Phase::Serving(session) => session.pool().starved(),
                Phase::Handshake(_) => false,
            };
            let after = if starved { LOOK_AGAIN } else { Duration::ZERO };
            cx.timer(after, TIMER_GO_ON);
        }
        if alone && let Phase::Serving(session) = &mut self.phase {
            session.pool().idle();
        }
        if !self.is_stuck() {
            self.stuck = None;
            return;
        }
        let now = cx.now();
        if self.stuck.is_none() {
            self.moved = now;
            self.stuck = Some(Stuck {
                since: now,
                bytes: 0,
            });
        }
        if !self.stall_timer {
            self.stall_timer = true;
            cx.timer(self.place.0.limits.stalled, TIMER_STALLED);
        }
    }

    fn under_way(&self) -> usize {
        match &self.phase {
            Phase::Serving(session) => session.under_way(),
            Phase::Handshake(_) => 0,
        }
    }

    fn cut_off(&mut self, cx: &mut Cx<'_>, under_way: usize) {
        self.out.clear();
        if let Some((key, _)) = self.watch.take() {
            cx.unwatch(key);
        }
        // The client sees the end now; it may be gone already.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        if under_way == 0 {
            cx.exit();
        }
    }

    fn watch_for(&mut self, cx: &mut Cx<'_>, wanted: Interest) {
        if self.watch.is_some_and(|(_, interest)| interest == wanted) {
            return;
        }
        if let Some((key, _)) = self.watch.take() {
            cx.unwatch(key);
        }
        if wanted.read || wanted.write {
            match cx.watch(&self.socket, wanted) {
                Ok(key) => self.watch = Some((key, wanted)),
                Err(_) => self.course = Course::Over,
            }
        }
    }

    /// Half-way through something that only the client can bring to its end?
    fn is_stuck(&self) -> bool {
        let partial = match &self.phase {
            Phase::Serving(session) => {
                !self.blocked && (session.partial() || !self.input.unread().is_empty())
            }
            // The handshake has a limit of its own.
            Phase::Handshake(_) => false,
        };
        partial || !self.out.is_empty()
    }

    /// Cuts off who has moved nothing, or too little, for too long; looks again later at who is stuck.
    fn look_at_rate(&mut self, cx: &mut Cx<'_>) {
        let Some(stuck) = self.stuck.filter(|_| self.is_stuck()) else {
            return;
        };
        let Limits { stalled, rate, .. } = self.place.0.limits;
        let now = cx.now();
        let idle = now.saturating_duration_since(self.moved);
        let time = now.saturating_duration_since(stuck.since);
        let least = u128::from(rate) * time.as_millis() / 1000;
        let slow = time >= stalled && u128::from(stuck.bytes) < least;
        if idle >= stalled || slow {
            self.course = Course::Over;
            return;
        }
        if time >= stalled {
            // What came fast at first does not count for ever.
            self.stuck = Some(Stuck {
                since: now,
                bytes: 0,
            });
        }
        self.stall_timer = true;
        let rest = match time >= stalled {
            true => stalled,
            false => stalled - time,
        };
        cx.timer(rest.min(stalled - idle), TIMER_STALLED);
    }

    fn timer(&mut self, cx: &mut Cx<'_>, number: u64) {
        match number {
            TIMER_HANDSHAKE if matches!(self.phase, Phase::Handshake(_)) => {
                self.course = Course::Over;
            }
            // The engine ends: nobody else needs the place.
            TIMER_LAST => cx.exit(),
            TIMER_GO_ON => self.resting = false,
            TIMER_STALLED => {
                self.stall_timer = false;
                self.look_at_rate(cx);
            }
            _ => {}
        }
    }
}

fn submit_to(cx: &mut Cx<'_>, session: &Session, submit: Submit) {
    cx.submit(session.device(), submit.request, submit.token);
}

impl Task for Connection {
    fn start(&mut self, cx: &mut Cx<'_>) {
        self.out.bytes(&Handshake::greeting());
        cx.timer(self.place.0.limits.handshake, TIMER_HANDSHAKE);
        self.settle(cx);
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Done(completion) => {
                let Phase::Serving(session) = &mut self.phase else {
                    return;
                };
                if self.course == Course::Over {
                    session.forget(completion);
                } else if let Some(submit) = session.answered(completion, &mut self.out) {
                    submit_to(cx, session, submit);
                }
            }
            Event::Ready(_, ready) => {
                self.watch = None;
                if ready.read && self.course == Course::Open && !self.blocked {
                    self.receive(cx);
                }
            }
            Event::Timer(number) => self.timer(cx, number),
            Event::Message(_) | Event::Command(_) => {}
            Event::Stop => {
                if self.course == Course::Open {
                    self.course = Course::Ending;
                }
                cx.timer(LAST_REPLIES, TIMER_LAST);
            }
        }
    }

    fn batch_end(&mut self, cx: &mut Cx<'_>) {
        self.settle(cx);
    }
}
