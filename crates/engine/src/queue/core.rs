//! A queue's state and its loop. Everything here is used by one thread.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Message, TaskKeySlot, Waiting, Wake};
use super::leaf::LeafOp;
use super::mirror::{Live, Todo};
use super::request::Active;
use super::shares::Shares;
use super::slab::{Id, Slab};
use super::task::{Commanded, Cx, Event, Task, TaskKey, WatchKey};
use super::walk::Delayed;
use crate::backend::driver::{Driver, FileOp, Happened, Interest};
use crate::buf::Lent;
use crate::device::Device;
use crate::error::Error;
use crate::sys::ublk::DeviceCmd;
use crate::target::{Plan, replica};

/// Set in a driver's tag for a watch; clear for an operation.
const WATCH_TAG: u64 = 1 << 63;
/// Events handed out between two looks at the driver.
const BATCH: usize = 128;

/// May the thread wait for each operation?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// It serves many: what could wait goes to the driver.
    Shared,
    /// It serves its caller alone and makes every call itself.
    Alone,
}

struct Watch {
    task: TaskKey,
    fd: Arc<OwnedFd>,
}

/// A command to a ublk device that has not ended.
struct Command {
    task: TaskKey,
    token: u64,
}

/// What is to happen at a time.
pub(super) enum Due {
    Timer(TaskKey, u64),
    Children(Delayed),
    /// A mirror's machine asked to be told.
    Mirror(Live),
    /// Nothing: it was only waited for.
    Pause,
    /// The end is no longer waited for.
    GiveUp,
}

struct Timed {
    at: Instant,
    number: u64,
    due: Due,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    /// The earliest is the greatest: the heap gives it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// How long what is under way may take once the queue is to end: requests that a target delays, or
/// that wait at a gate which nobody opens, would take for ever. What the kernel has is waited for by
/// the driver.
const LAST: Duration = Duration::from_secs(7);

/// A queue.
pub(crate) struct Core {
    number: usize,
    pub(super) mode: Mode,
    pub(super) driver: Box<dyn Driver>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) active: Slab<Active>,
    pub(super) leaves: Slab<LeafOp>,
    /// Requests that go on after others have had their turn.
    pub(super) later: VecDeque<Id>,
    /// What mirrors want done.
    pub(super) todo: Todo,
    /// Stands for the device of operations that belong to no device.
    pub(super) nobody: Option<Arc<Device>>,
    shares: Shares,
    /// Operations that have their share, but the driver had no room for.
    backlog: VecDeque<(Id, FileOp)>,
    watches: Slab<Watch>,
    commands: Slab<Command>,
    tasks: Slab<Option<Box<dyn Task>>>,
    outside: HashMap<TaskKeySlot, TaskKey>,
    fresh: Vec<TaskKey>,
    pub(super) ready: VecDeque<(TaskKey, Event)>,
    timed: BinaryHeap<Timed>,
    timed_count: u64,
    happened: Vec<Happened>,
    touched: Vec<TaskKey>,
    pub(super) plan: Plan,
    /// Zeroes to write where the kernel cannot zero.
    pub(super) zeroes: Option<Lent>,
    /// The last time that was asked for: after waiting, and with every answer.
    pub(super) now: Instant,
    began: Instant,
    stopping: bool,
    given_up: bool,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("number", &self.number)
            .field("driver", &self.driver.name())
            .field("active", &self.active.len())
            .field("leaves", &self.leaves.len())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(
        number: usize,
        mode: Mode,
        driver: Box<dyn Driver>,
        inbox: Arc<Inbox>,
    ) -> Self {
        let now = Instant::now();
        let (places, workers) = driver.room();
        Self {
            number,
            mode,
            shares: Shares::new(places, workers),
            driver,
            inbox,
            active: Slab::default(),
            leaves: Slab::default(),
            later: VecDeque::new(),
            todo: Todo::new(),
            nobody: None,
            backlog: VecDeque::new(),
            watches: Slab::default(),
            commands: Slab::default(),
            tasks: Slab::default(),
            outside: HashMap::new(),
            fresh: Vec::new(),
            ready: VecDeque::new(),
            timed: BinaryHeap::new(),
            timed_count: 0,
            happened: Vec::new(),
            touched: Vec::new(),
            plan: Plan::default(),
            zeroes: None,
            now,
            began: now,
            stopping: false,
            given_up: false,
        }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// The clock targets are given.
    pub(super) fn target_clock(&self) -> Duration {
        self.now.saturating_duration_since(self.began)
    }

    pub(super) fn wake(&self, waiting: Waiting) -> Wake {
        Wake {
            inbox: Arc::clone(&self.inbox),
            waiting,
        }
    }

    pub(super) fn watch(
        &mut self,
        task: TaskKey,
        fd: &Arc<OwnedFd>,
        interest: Interest,
    ) -> Result<WatchKey, Error> {
        let id = self.watches.insert(Watch {
            task,
            fd: Arc::clone(fd),
        });
        if let Err(e) = self.driver.watch(id | WATCH_TAG, fd, interest) {
            self.watches.remove(id);
            return Err(Error::Os {
                what: "cannot watch a descriptor",
                source: e.into(),
            });
        }
        Ok(WatchKey(id))
    }

    pub(super) fn unwatch(&mut self, key: WatchKey) {
        if let Some(watch) = self.watches.remove(key.0) {
            self.driver.unwatch(key.0 | WATCH_TAG, &watch.fd);
        }
        self.ready
            .retain(|(_, event)| !matches!(event, Event::Ready(k, _) if *k == key));
    }

    pub(super) fn command(
        &mut self,
        task: TaskKey,
        command: DeviceCmd,
        token: u64,
    ) -> Result<(), DeviceCmd> {
        let id = self.commands.insert(Command { task, token });
        self.driver.command(id, command).inspect_err(|_| {
            self.commands.remove(id);
        })
    }

    pub(super) fn timer(&mut self, task: TaskKey, after: Duration, number: u64) {
        self.at(after, Due::Timer(task, number));
    }

    pub(super) fn at(&mut self, after: Duration, due: Due) {
        self.timed_count += 1;
        self.timed.push(Timed {
            at: Instant::now() + after,
            number: self.timed_count,
            due,
        });
    }

    pub(crate) fn spawn(&mut self, task: Box<dyn Task>) -> TaskKey {
        let key = TaskKey(self.tasks.insert(Some(task)));
        self.fresh.push(key);
        key
    }

    pub(super) fn exit(&mut self, task: TaskKey) {
        self.tasks.remove(task.0);
        self.outside.retain(|_, key| *key != task);
        let of_task = |w: &Watch| w.task == task;
        for id in self.watches.ids() {
            if self.watches.get(id).is_some_and(of_task) {
                self.unwatch(WatchKey(id));
            }
        }
    }

    pub(super) fn submit_file(&mut self, id: Id, op: FileOp) {
        if let Some((id, op)) = self.shares.begin(id, op) {
            self.hand_over(id, op);
        }
    }

    fn hand_over(&mut self, id: Id, op: FileOp) {
        if !self.backlog.is_empty() {
            self.backlog.push_back((id, op));
        } else if let Err(op) = self.driver.submit(id, op) {
            self.backlog.push_back((id, op));
        }
    }

    /// Runs until it was told to stop and every task has ended.
    pub(crate) fn run(&mut self) {
        while !self.over() {
            self.turn();
        }
    }

    /// Runs until `done` says so. It is asked between turns.
    pub(crate) fn run_until(&mut self, mut done: impl FnMut() -> bool) {
        self.now = Instant::now();
        while !done() {
            self.turn();
        }
    }

    fn idle(&self) -> bool {
        self.active.len() == 0 && self.leaves.len() == 0 && self.todo.is_empty()
    }

    /// Whatever is there to do now, then one look at the driver.
    fn turn(&mut self) {
        if self.inbox.woken() {
            self.inbox.acknowledge();
            self.read_inbox();
        }
        self.fire_timers();
        self.begin_tasks();
        self.deliver();
        if !self.ready.is_empty() {
            // What was done at once is answered before the kernel is asked for more.
            self.deliver();
        }
        self.go_on();
        self.mirror_work();
        self.drain_backlog();
        self.collect();
    }

    fn read_inbox(&mut self) {
        while let Some(message) = self.inbox.take() {
            match message {
                Message::Spawn(slot, task) => {
                    let key = self.spawn(task);
                    self.outside.insert(slot, key);
                }
                Message::Tell(slot, what) => {
                    if let Some(key) = self.outside.get(&slot) {
                        self.ready.push_back((*key, Event::Message(what)));
                    }
                }
                Message::Wake(Waiting::Request(id)) => self.retry(id),
                Message::Wake(Waiting::Leaf(id)) => self.leaf_admitted(id),
                Message::Wake(Waiting::Overlapped(id)) => self.leaf_overlapped(id),
                Message::Answer(of, result) => self.child_done(of, result, None),
                Message::Stop => {
                    self.stopping = true;
                    self.at(LAST, Due::GiveUp);
                    for id in self.tasks.ids() {
                        self.ready.push_back((TaskKey(id), Event::Stop));
                    }
                }
            }
        }
    }

    fn fire_timers(&mut self) {
        while self.timed.peek().is_some_and(|t| t.at <= self.now) {
            match self.timed.pop().map(|t| t.due) {
                Some(Due::Timer(task, number)) => {
                    self.ready.push_back((task, Event::Timer(number)));
                }
                Some(Due::Children(delayed)) => self.begin_delayed(delayed),
                Some(Due::Mirror(live)) => self.mirror_event(&live, replica::Event::Tick),
                Some(Due::Pause) => {}
                Some(Due::GiveUp) => self.given_up = true,
                None => {}
            }
        }
    }

    fn begin_tasks(&mut self) {
        while let Some(key) = self.fresh.pop() {
            self.with_task(key, |task, cx| task.start(cx));
            if self.stopping {
                self.ready.push_back((key, Event::Stop));
            }
        }
    }

    fn deliver(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for _ in 0..self.ready.len().min(BATCH) {
            let Some((key, event)) = self.ready.pop_front() else {
                break;
            };
            if touched.last() != Some(&key) && !touched.contains(&key) {
                touched.push(key);
            }
            self.with_task(key, |task, cx| task.event(cx, event));
        }
        for key in touched.drain(..) {
            self.with_task(key, |task, cx| task.batch_end(cx));
        }
        self.touched = touched;
    }

    fn go_on(&mut self) {
        for _ in 0..self.later.len() {
            if let Some(id) = self.later.pop_front() {
                self.walk(id);
            }
        }
    }

    /// Calls a task, unless it has ended. It is out of its place meanwhile, so that it can use
    /// the queue.
    fn with_task(&mut self, key: TaskKey, call: impl FnOnce(&mut dyn Task, &mut Cx<'_>)) {
        let Some(mut task) = self.tasks.get_mut(key.0).and_then(Option::take) else {
            return;
        };
        let mut cx = Cx {
            core: self,
            task: key,
        };
        call(task.as_mut(), &mut cx);
        if let Some(place) = self.tasks.get_mut(key.0) {
            *place = Some(task);
        }
    }

    fn drain_backlog(&mut self) {
        while let Some((id, op)) = self.backlog.pop_front() {
            if let Err(op) = self.driver.submit(id, op) {
                self.backlog.push_front((id, op));
                return;
            }
        }
        while let Some((id, op)) = self.shares.next() {
            self.hand_over(id, op);
        }
    }

    /// Nobody is left who could be waited for, and nobody can come; or it takes too long.
    fn over(&self) -> bool {
        if self.given_up {
            return true;
        }
        let last = self.stopping || self.mode == Mode::Alone;
        last && self.tasks.len() == 0 && self.idle()
    }

    fn collect(&mut self) {
        let busy = !self.ready.is_empty()
            || !self.fresh.is_empty()
            || !self.later.is_empty()
            || !self.todo.is_empty()
            || self.inbox.woken();
        let wait = match self.timed.peek() {
            _ if busy || self.over() => Some(Duration::ZERO),
            Some(next) => Some(next.at.saturating_duration_since(Instant::now())),
            None => None,
        };
        let mut happened = std::mem::take(&mut self.happened);
        self.driver.collect(wait, &mut happened);
        // While operations are done inline, each answer tells the time: no need to ask again.
        if wait != Some(Duration::ZERO) || !happened.is_empty() || !self.timed.is_empty() {
            self.now = Instant::now();
        }
        for what in happened.drain(..) {
            match what {
                Happened::Done { tag, result, mem } => {
                    if let Some(key) = self.leaves.get_mut(tag).and_then(LeafOp::take_share) {
                        self.shares.ended(key);
                    }
                    self.leaf_done(tag, result, mem);
                }
                Happened::Ready { tag, ready } => {
                    let id = tag & !WATCH_TAG;
                    if let Some(watch) = self.watches.remove(id) {
                        let event = Event::Ready(WatchKey(id), ready);
                        self.ready.push_back((watch.task, event));
                    }
                }
                Happened::Taken { tag, mem } => {
                    if let Some(Command { task, token }) = self.commands.get(tag) {
                        let (token, buf) = (*token, mem);
                        let event = Event::Command(Commanded::Taken { token, buf });
                        self.ready.push_back((*task, event));
                    }
                }
                Happened::Command { tag, result, mem } => {
                    if let Some(Command { task, token }) = self.commands.remove(tag) {
                        let buf = mem;
                        let ended = Commanded::Ended { token, result, buf };
                        self.ready.push_back((task, Event::Command(ended)));
                    }
                }
            }
        }
        self.happened = happened;
    }
}
