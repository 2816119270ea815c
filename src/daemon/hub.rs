//! The supervisor's state, the way to the worker, and the thread that keeps a worker running.
//!
//! What must hold: the state changes only together with an order that the worker has answered, so
//! a worker made from the state is as the one before it was. While there is no way to a worker the
//! state does not change.

mod fence;
mod keeper;
mod state;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub use self::fence::Fence;
pub use self::keeper::{Alive, Before};
pub use self::state::{Entry, FolderHeld, State, lower_first};
use super::channel::Channel;
use super::events::{Class, Events};
use super::order::{DeviceOrder, Order, Report, Stage};
use super::service::Store;

/// How long an order may take: longer than anything the worker waits for itself.
const ORDER_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Inner {
    state: State,
    /// The way to the worker; none while there is no worker that serves.
    link: Option<Channel>,
    worker_pid: Option<u32>,
    pidfd: Option<OwnedFd>,
    restarts: u64,
    last_pause: Option<Duration>,
    stopping: bool,
}

/// What all threads of the supervisor share.
pub struct Hub {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Counts requests that came again, over the lives of workers.
    resent: OwnedFd,
    resent_before: Mutex<u64>,
    /// Where a supervisor comes to that takes over from a worker.
    listener: OwnedFd,
    queues: usize,
    lock_memory: bool,
    events: Events,
    store: Option<Arc<Store>>,
}

/// A worker that has lost its supervisor, and all that it kept.
#[derive(Debug)]
pub struct Orphan {
    /// The way to it.
    pub channel: Channel,
    /// What it is made from.
    pub state: State,
    /// Its process.
    pub pid: u32,
    /// Its queues.
    pub queues: usize,
    /// How far it is.
    pub stage: Stage,
    /// The read ends of the fences of workers before it.
    pub fences: Vec<OwnedFd>,
    /// The read end of its fence.
    pub fence: OwnedFd,
    /// The counter of requests that came again.
    pub resent: OwnedFd,
    /// Where this supervisor has come to.
    pub listener: OwnedFd,
}

/// Figures of the hub.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// The worker.
    pub worker_pid: Option<u32>,
    /// Starts after the first.
    pub restarts: u64,
    /// How long the last one took.
    pub last_pause: Option<Duration>,
    /// Requests that came again.
    pub resent: u64,
}

impl Hub {
    /// Without a worker. Supervisors that take over will come to `listener`.
    pub fn new(
        listener: OwnedFd,
        queues: usize,
        lock_memory: bool,
        events: Events,
        store: Option<Arc<Store>>,
    ) -> io::Result<Self> {
        Ok(Self {
            events,
            store,
            inner: Mutex::default(),
            changed: Condvar::new(),
            resent: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            resent_before: Mutex::new(0),
            listener,
            queues,
            lock_memory,
        })
    }

    /// With the worker of a supervisor that has died. What else it kept goes to
    /// [`keep`](Self::keep), which puts another in its place if it was not settled.
    pub fn of_orphan(
        orphan: Orphan,
        lock_memory: bool,
        events: Events,
        store: Option<Arc<Store>>,
    ) -> io::Result<(Self, Before)> {
        let mut fences = Vec::with_capacity(orphan.fences.len() + 1);
        for read in orphan.fences.into_iter().chain([orphan.fence]) {
            fences.push(Fence::of(read, store.as_deref())?);
        }
        let mut inner = Inner::default();
        let before = match pidfd_of(orphan.pid)? {
            None => Before::Dead(fences),
            Some(pidfd) if orphan.stage < Stage::Settled => {
                kill(pidfd.as_fd());
                Before::Dying(Alive { pidfd, fences })
            }
            Some(pidfd) => {
                orphan.channel.set_patience(Some(ORDER_PATIENCE))?;
                inner.link = Some(orphan.channel);
                inner.worker_pid = Some(orphan.pid);
                inner.pidfd = Some(pidfd.try_clone()?);
                Before::Alive(Alive { pidfd, fences })
            }
        };
        let queues = orphan.state.queues().max(orphan.queues);
        inner.state = orphan.state;
        let hub = Self {
            events,
            store,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            resent: orphan.resent,
            resent_before: Mutex::new(0),
            listener: orphan.listener,
            queues,
            lock_memory,
        };
        Ok((hub, before))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where events are told.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// A daemon whose processes have died; the fences of its workers go to [`keep`](Self::keep).
    pub fn of_restored(
        state: State,
        (listener, lock_memory): (OwnedFd, bool),
        events: Events,
        store: Option<Arc<Store>>,
    ) -> io::Result<Self> {
        let hub = Self::new(listener, state.queues(), lock_memory, events, store)?;
        hub.lock().state = state;
        Ok(hub)
    }

    /// Where the service manager keeps descriptors.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_deref()
    }

    /// Queues of the worker.
    pub fn queues(&self) -> usize {
        self.queues
    }

    /// Gives the service manager what it is to keep, if there is one. Until it takes it, a death of
    /// both processes is not survived.
    pub fn save(&self) {
        let Some(store) = &self.store else {
            return;
        };
        let saved = self.look(|state| store.snapshot(state));
        if let Err(e) = saved.and_then(|saved| store.save(saved)) {
            let text = format!("the service manager has not taken what it is to keep: {e}");
            self.events.tell(Class::Dropped, None, text);
        }
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    /// Changes what the worker need not know.
    pub fn note<T>(&self, note: impl FnOnce(&mut State) -> T) -> T {
        note(&mut self.lock().state)
    }

    /// Changes what is known of a device, and the worker need not know; none if there is none.
    pub fn edit<T>(&self, number: u32, edit: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.note(|state| state.devices.get_mut(&number).map(edit))
    }

    /// Has a device be as ordered, and changes what is known of it accordingly: its order, and what
    /// `also` changes.
    pub fn change(&self, order: DeviceOrder, also: impl FnOnce(&mut Entry)) -> Result<(), String> {
        let number = order.number;
        let given = Order::Device(order.clone());
        self.order(&given, &[], |state, _| {
            if let Some(entry) = state.devices.get_mut(&number) {
                entry.order = order;
                also(entry);
            }
        })
    }

    /// Health.
    pub fn health(&self) -> Health {
        let mut total = self
            .resent_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut count = [0u8; 8];
        if rustix::io::read(&self.resent, &mut count).is_ok() {
            *total += u64::from_ne_bytes(count);
        }
        let inner = self.lock();
        Health {
            worker_pid: inner.worker_pid,
            restarts: inner.restarts,
            last_pause: inner.last_pause,
            resent: *total,
        }
    }

    /// Counts requests that come again, beside those that workers count.
    pub(super) fn count_resent(&self, more: u64) {
        let total = self.resent_before.lock();
        *total.unwrap_or_else(PoisonError::into_inner) += more;
    }

    /// Gives an order, and once it has been carried out changes the state accordingly. If the
    /// worker dies over it, the next one is given it.
    pub fn order<T>(
        &self,
        order: &Order,
        fds: &[BorrowedFd<'_>],
        commit: impl FnOnce(&mut State, Report) -> T,
    ) -> Result<T, String> {
        let mut inner = self.lock();
        loop {
            if inner.stopping {
                return Err("the daemon is ending".into());
            }
            let Some(link) = &mut inner.link else {
                inner = self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            match exchange(link, order, fds) {
                Ok(Report::Failed { text }) => return Err(text),
                Ok(report) => return Ok(commit(&mut inner.state, report)),
                Err(_) => {
                    // It is dead, or as good as that.
                    inner.link = None;
                    if let Some(pidfd) = &inner.pidfd {
                        kill(pidfd.as_fd());
                    }
                }
            }
        }
    }

    /// Kills the worker and waits for the one that takes its place.
    pub fn renew(&self) -> Result<(), String> {
        let mut inner = self.lock();
        let before = inner.restarts;
        inner.link = None;
        if let Some(pidfd) = &inner.pidfd {
            kill(pidfd.as_fd());
        }
        let waits = |i: &mut Inner| i.restarts == before && !i.stopping;
        let waited = self
            .changed
            .wait_timeout_while(inner, ORDER_PATIENCE, waits);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match inner.restarts > before {
            true => Ok(()),
            false => Err("no new worker serves yet".into()),
        }
    }

    /// Ends the worker, and lets nobody give orders any more.
    pub fn stop(&self) {
        let mut inner = self.lock();
        inner.stopping = true;
        inner.link = None;
        if let Some(pidfd) = &inner.pidfd {
            kill(pidfd.as_fd());
        }
        self.changed.notify_all();
    }
}

/// A process to wait for; none if there is none of this number.
fn pidfd_of(pid: u32) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(pid).ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn kill(pidfd: BorrowedFd<'_>) {
    // Fails only if it is dead already.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
}

fn exchange(channel: &mut Channel, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<Report> {
    channel.send(order, fds)?;
    match channel.receive::<Report>()? {
        Some((report, _)) => Ok(report),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// An order that only a worker that is broken refuses.
pub(super) fn must(channel: &mut Channel, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    match exchange(channel, order, fds)? {
        Report::Failed { text } => Err(io::Error::other(text)),
        _ => Ok(()),
    }
}
