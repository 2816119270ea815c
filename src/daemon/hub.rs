//! The supervisor's state, the way to the worker, and the thread that keeps a worker running.
//!
//! What must hold: the state changes only together with an order that the worker has answered, so
//! a worker made from the state is as the one before it was. While there is no way to a worker the
//! state does not change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::process::{WaitId, WaitIdOptions};
use ulvm_engine::device::Device;
use ulvm_engine::export::fuse::{Mounted, Negotiated, mount};

use super::channel::Channel;
use super::events::{Class, Events};
use super::guard::GuardPv;
use super::holdings::Holding;
use super::nbd::NbdHeld;
use super::nodes::LoopNode;
use super::order::{DeviceNote, DeviceOrder, DmNote, FolderOrder, Order, Report, TableOrder, Word};
use super::process::Program;
use super::proto::Export;
use super::service::{Restored, Store};
use super::ublk::{InFlight, UblkNode};

/// How long an order may take: longer than anything the worker waits for itself.
const ORDER_PATIENCE: Duration = Duration::from_secs(120);
/// How long a worker may take to begin.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// After a worker that dies sooner than this there is a rest, which grows.
const SHORT_LIFE: Duration = Duration::from_millis(500);
/// The longest rest, if it had served: consumers wait.
const SHORT_REST: Duration = Duration::from_millis(50);
/// The longest rest, if it cannot even begin to serve.
const LONG_REST: Duration = Duration::from_secs(2);

/// The folder and its connection.
#[derive(Debug)]
pub struct FolderHeld {
    /// Mounted; its first descriptor.
    pub mounted: Mounted,
    /// One for each queue of the worker.
    pub clones: Vec<Arc<OwnedFd>>,
    /// What the kernel agreed to.
    pub negotiated: Negotiated,
}

impl FolderHeld {
    /// What the worker is told of it.
    pub fn order(&self) -> FolderOrder {
        FolderOrder {
            dir: self.mounted.dir().to_owned(),
            by_helper: self.mounted.by_helper(),
            minor: self.negotiated.minor,
            flags: self.negotiated.flags,
        }
    }

    /// The connection's first descriptor, and the clones.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let clones = self.clones.iter().map(|fd| fd.as_fd());
        std::iter::once(self.mounted.fd()).chain(clones).collect()
    }

    /// Of what a worker kept.
    pub fn taken_over(order: FolderOrder, fds: Vec<OwnedFd>) -> Result<Self, String> {
        let mut fds = fds.into_iter();
        let first = fds.next().ok_or("a descriptor is missing")?;
        Ok(Self {
            mounted: Mounted::taken_over(order.dir, first, order.by_helper),
            clones: fds.map(Arc::new).collect(),
            negotiated: Negotiated {
                minor: order.minor,
                flags: order.flags,
            },
        })
    }
}

/// A device.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the worker is told of it.
    pub order: DeviceOrder,
    /// The table that the next resume makes live.
    pub loaded: Option<TableOrder>,
    /// The same device without a worker: its tables, sizes and names, never its data.
    pub model: Arc<Device>,
    /// How it is shown.
    pub export: Option<Export>,
    /// Its loop device.
    pub loop_node: Option<LoopNode>,
    /// Its ublk device.
    pub ublk: Option<UblkNode>,
    /// Its file or block device.
    pub node: Option<PathBuf>,
    /// Links to that.
    pub links: Vec<PathBuf>,
    /// The PVs whose metadata are watched.
    pub guard: Vec<GuardPv>,
    /// Why it may not be resumed as it is.
    pub withdrawn: Option<String>,
    /// What `dmsetup` has said of it.
    pub dm: DmNote,
}

impl Entry {
    /// Its block device.
    pub fn block(&self) -> Option<&LoopNode> {
        let ublk = || self.ublk.as_ref()?.node.as_ref();
        self.loop_node.as_ref().or_else(ublk)
    }

    /// What the worker keeps of it.
    pub fn note(&self) -> DeviceNote {
        DeviceNote {
            loaded: self.loaded.clone(),
            export: self.export,
            loop_node: self.loop_node.clone(),
            ublk: self.ublk.clone(),
            node: self.node.clone(),
            links: self.links.clone(),
            guard: self.guard.clone(),
            withdrawn: self.withdrawn.clone(),
            dm: self.dm,
        }
    }
}

/// All that a worker is made from.
#[derive(Debug, Default)]
pub struct State {
    /// Backing devices by id.
    pub holdings: BTreeMap<u64, Holding>,
    /// The id for the next one.
    pub next_holding: u64,
    /// Devices by number.
    pub devices: BTreeMap<u32, Entry>,
    /// The folder, from the first device on that is shown.
    pub folder: Option<Arc<FolderHeld>>,
    /// The NBD server's sockets, from the first device on that is exported there.
    pub nbd: Option<Arc<NbdHeld>>,
    /// Where requests in flight of ublk devices are counted, from the first of them on.
    pub in_flight: Option<Arc<InFlight>>,
}

impl State {
    /// The device with that uuid or name.
    pub fn find(&self, name: &str) -> Option<u32> {
        let by = |test: &dyn Fn(&DeviceOrder) -> bool| {
            let mut devices = self.devices.iter();
            devices.find(|(_, e)| test(&e.order)).map(|(n, _)| *n)
        };
        by(&|o| !o.uuid.is_empty() && o.uuid == name).or_else(|| by(&|o| o.name == name))
    }

    /// Queues that a worker has to have for it: each serves one of the folder's descriptors, and the
    /// queues of its number of ublk devices.
    fn queues(&self) -> usize {
        let blocks = self.devices.values().filter_map(|e| e.ublk.as_ref());
        let blocks = blocks.map(|node| node.queues.into());
        let folder = self.folder.iter().map(|f| f.clones.len());
        folder.chain(blocks).max().unwrap_or(1)
    }

    /// Ids of the backing devices that tables lie on.
    pub fn used_holdings(&self) -> BTreeSet<u64> {
        let live = self.devices.values().flat_map(|e| words(&e.order));
        let loaded = self.devices.values().flat_map(|e| &e.loaded);
        let loaded = loaded.flat_map(|t| t.words.values().copied());
        live.chain(loaded)
            .filter_map(|w| match w {
                Word::Backing(id) => Some(id),
                Word::Device(_) => None,
            })
            .collect()
    }

    /// The name of a device that lies on another.
    pub fn above(&self, number: u32) -> Option<&str> {
        let mut devices = self.devices.values();
        let loaded = |e: &Entry| {
            let words = e.loaded.iter().flat_map(|t| t.words.values());
            words.copied().any(|w| w == Word::Device(number))
        };
        let on = |e: &&Entry| loaded(e) || words(&e.order).any(|w| w == Word::Device(number));
        devices.find(on).map(|e| e.order.name.as_str())
    }

    /// Devices in an order in which each comes after those it lies on.
    fn lower_first(&self) -> Vec<DeviceOrder> {
        lower_first(self.devices.values().map(|e| &e.order).collect())
    }
}

/// Devices in an order in which each comes after those it lies on.
pub fn lower_first(mut left: Vec<&DeviceOrder>) -> Vec<DeviceOrder> {
    let mut sorted: Vec<DeviceOrder> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let before = left.len();
        left.retain(|order| {
            let ready = words(order).all(|w| match w {
                Word::Device(n) => sorted.iter().any(|s| s.number == n),
                Word::Backing(_) => true,
            });
            if ready {
                sorted.push((*order).clone());
            }
            !ready
        });
        if left.len() == before {
            // No table leads back to its own device; so this does not happen.
            break;
        }
    }
    sorted
}

fn words(order: &DeviceOrder) -> impl Iterator<Item = Word> + '_ {
    order.live.iter().flat_map(|t| t.words.values().copied())
}

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
    /// [`keep`](Self::keep).
    pub fn of_orphan(
        orphan: Orphan,
        lock_memory: bool,
        events: Events,
        store: Option<Arc<Store>>,
    ) -> io::Result<(Self, Alive)> {
        let pid = i32::try_from(orphan.pid).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let queues = orphan.state.queues().max(orphan.queues);
        let alive = Alive {
            pidfd: pidfd.try_clone()?,
            fence: Fence::kept(orphan.fence, store.as_deref())?,
        };
        orphan.channel.set_patience(Some(ORDER_PATIENCE))?;
        let inner = Inner {
            state: orphan.state,
            link: Some(orphan.channel),
            worker_pid: Some(orphan.pid),
            pidfd: Some(pidfd),
            ..Inner::default()
        };
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
        Ok((hub, alive))
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
        restored: Restored,
        (listener, lock_memory): (OwnedFd, bool),
        events: Events,
        store: Option<Arc<Store>>,
    ) -> io::Result<(Self, Before)> {
        let queues = restored.state.queues();
        let keep = |fd| Fence::kept(fd, store.as_deref());
        let fences = restored.fences.into_iter().map(keep);
        let fences = fences.collect::<io::Result<_>>()?;
        let hub = Self::new(listener, queues, lock_memory, events, store)?;
        hub.lock().state = restored.state;
        Ok((hub, Before::Dead(fences)))
    }

    /// Where the service manager keeps descriptors.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_deref()
    }

    /// Queues of the worker.
    pub fn queues(&self) -> usize {
        self.queues
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    /// Changes what the worker need not know.
    pub fn note<T>(&self, note: impl FnOnce(&mut State) -> T) -> T {
        note(&mut self.lock().state)
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

    /// Keeps a worker running until [`stop`](Self::stop). `began` is told of the first one, or why
    /// there is none.
    pub fn keep(&self, program: &Program, before: Before, began: impl FnOnce(io::Result<()>)) {
        let mut began = Some(began);
        let mut fences: Vec<Fence> = Vec::new();
        let mut died: Option<Instant> = None;
        if let Before::Dead(left) = before {
            fences = left;
            died = Some(Instant::now());
        } else if let Before::Alive(alive) = before {
            if let Some(began) = began.take() {
                began(Ok(()));
            }
            wait_for_end(&alive.pidfd);
            // A child of the program that was here before.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::PidFd(alive.pidfd.as_fd()), options);
            fences.push(alive.fence);
            died = Some(Instant::now());
            self.gone();
            if self.lock().stopping {
                return;
            }
        }
        let mut rest = Duration::ZERO;
        loop {
            let started = Instant::now();
            let outcome = self.one_life(program, &mut fences, died, &mut began);
            died = Some(Instant::now());
            let most = if outcome.is_ok() {
                SHORT_REST
            } else {
                LONG_REST
            };
            if let (Err(error), Some(began)) = (outcome, began.take()) {
                return began(Err(error));
            }
            if self.lock().stopping {
                return;
            }
            rest = match started.elapsed() < SHORT_LIFE {
                true => (2 * rest).clamp(Duration::from_millis(1), most),
                false => Duration::ZERO,
            };
            std::thread::sleep(rest);
        }
    }

    /// Starts a worker and waits until it is dead.
    fn one_life(
        &self,
        program: &Program,
        fences: &mut Vec<Fence>,
        died: Option<Instant>,
        began: &mut Option<impl FnOnce(io::Result<()>)>,
    ) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let (fence, write_end) = Fence::new(self.store.as_deref())?;
        let mut child = program.worker(theirs)?;
        let mut channel = Channel::new(ours);
        let ready = self.prepare(&mut channel, (&fence, write_end), fences);
        // From now on this worker's I/O has to be waited for, too.
        fences.push(fence);
        let ready = ready.and_then(|()| match died {
            Some(_) => self.resume_consumers(&mut channel, &mut child),
            None => Ok(()),
        });
        let ready = ready.and_then(|()| self.publish(channel, &child, died));
        if ready.is_ok() {
            if let Some(began) = began.take() {
                began(Ok(()));
            }
        } else {
            let _ = child.kill();
        }
        child.wait()?;
        self.gone();
        ready
    }

    /// There is no worker now.
    fn gone(&self) {
        let mut inner = self.lock();
        inner.link = None;
        inner.worker_pid = None;
        inner.pidfd = None;
    }

    /// Brings a new worker to where the last one was. It serves when all I/O of those before it has
    /// ended, and not before.
    fn prepare(
        &self,
        channel: &mut Channel,
        (fence, write_end): (&Fence, OwnedFd),
        fences: &mut Vec<Fence>,
    ) -> io::Result<()> {
        channel.set_patience(Some(START_PATIENCE))?;
        let begin = Order::Begin {
            queues: self.queues,
            lock_memory: self.lock_memory,
        };
        let fds = [
            write_end.as_fd(),
            fence.read.as_fd(),
            self.resent.as_fd(),
            self.listener.as_fd(),
        ];
        must(channel, &begin, &fds)?;
        drop(write_end);
        must(channel, &Order::Events, &[self.events.as_fd()])?;
        let (holdings, devices, notes, folder, nbd) = self.look(|state| {
            let holdings: Vec<Holding> = state.holdings.values().cloned().collect();
            let notes = state.devices.iter().map(|(n, e)| (*n, e.note()));
            let notes: Vec<_> = notes.collect();
            let (folder, nbd) = (state.folder.clone(), state.nbd.clone());
            (holdings, state.lower_first(), notes, folder, nbd)
        });
        for holding in holdings {
            let order = Order::Backing(holding.order.clone());
            must(channel, &order, &holding.descriptors())?;
        }
        for device in devices {
            must(channel, &Order::Device(device), &[])?;
        }
        for (number, note) in notes {
            must(channel, &Order::Note { number, note }, &[])?;
        }
        if let Some(folder) = &folder {
            let order = Order::Folder(folder.order());
            must(channel, &order, &folder.descriptors())?;
        }
        if let Some(nbd) = &nbd {
            must(channel, &Order::Nbd(nbd.order()), &nbd.descriptors())?;
        }
        for dead in fences.drain(..) {
            dead.wait()?;
        }
        if let (Some(store), Some(name)) = (&self.store, &fence.stored) {
            store.proven_but(name);
        }
        must(channel, &Order::Serve, &[])?;
        channel.set_patience(Some(ORDER_PATIENCE))
    }

    /// Lets the kernel give the new worker what the old one has not answered.
    fn resume_consumers(&self, channel: &mut Channel, child: &mut Child) -> io::Result<()> {
        if let Some(folder) = self.look(|state| state.folder.clone())
            && folder.negotiated.resends()
        {
            mount::resend(folder.mounted.fd()).map_err(io::Error::other)?;
        }
        self.recover_ublk(channel, child)
    }

    fn publish(&self, channel: Channel, child: &Child, died: Option<Instant>) -> io::Result<()> {
        let pid = rustix::process::Pid::from_child(child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let mut inner = self.lock();
        if inner.stopping {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some(died) = died {
            inner.restarts += 1;
            inner.last_pause = Some(died.elapsed());
            let (pid, pause) = (child.id(), died.elapsed().as_micros());
            let text = format!("worker {pid} took the place of one that died, after {pause} us");
            self.events.tell(Class::Restarted, None, text);
        }
        inner.link = Some(channel);
        inner.worker_pid = Some(child.id());
        inner.pidfd = Some(pidfd);
        self.changed.notify_all();
        Ok(())
    }
}

/// What there is when a supervisor begins.
#[derive(Debug)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A worker that runs.
    Alive(Alive),
    /// Workers that are dead, but may have I/O under way.
    Dead(Vec<Fence>),
}

/// A worker that runs already.
#[derive(Debug)]
pub struct Alive {
    pidfd: OwnedFd,
    fence: Fence,
}

/// Waits for the end of a process that is not our child.
fn wait_for_end(pidfd: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
        if polled.is_err() || !fds[0].revents().is_empty() {
            return;
        }
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

/// The read end of the pipe whose write end a worker's rings hold on to.
#[derive(Debug)]
pub struct Fence {
    read: OwnedFd,
    /// Its name in the service manager's store.
    stored: Option<String>,
}

impl Fence {
    fn new(store: Option<&Store>) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((Self::kept(read, store)?, write))
    }

    /// It has to outlive all processes before the first I/O begins.
    fn kept(read: OwnedFd, store: Option<&Store>) -> io::Result<Self> {
        let stored = store.map(|store| store.fence(read.as_fd()));
        Ok(Self {
            stored: stored.transpose()?,
            read,
        })
    }

    /// Waits for the hang-up: the kernel has let go of the last write end, so the last operation of
    /// the last ring has ended. There is no limit: without this proof nobody may serve.
    fn wait(self) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.read, PollFlags::empty())];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
            if fds[0].revents().contains(PollFlags::HUP) {
                return Ok(());
            }
        }
    }
}
