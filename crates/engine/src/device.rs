//! A device: two slots for tables, a gate that can be shut, and what is counted.
//!
//! What must hold: a request that has passed the gate is counted in flight until it is answered,
//! and is carried out by the table that was live when it passed; a table is replaced only while
//! the gate is shut and nothing is in flight.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant};

use crate::backend::{Backing, Store};
use crate::error::{Error, ErrorKind};
use crate::event::{EventLog, What};
use crate::io::{Op, SECTOR, Sectors};
use crate::queue::Wake;
use crate::stats::{Snapshot, Stats};
use crate::table::Table;
use crate::target::MessageError;

/// How deep devices may lie on devices.
const MAX_STACK: usize = 16;

#[derive(Debug, Default)]
struct State {
    active: Option<Arc<Table>>,
    inactive: Option<Arc<Table>>,
    suspended: bool,
    /// Requests that wait at the gate: who to wake.
    parked: Vec<Wake>,
}

/// Writes that were answered and turned out to be lost.
#[derive(Debug, Default)]
struct Lost {
    times: u64,
    /// Of the last failure.
    kind: Option<ErrorKind>,
}

/// A device made of a table.
#[derive(Debug)]
pub struct Device {
    name: RwLock<Arc<str>>,
    uuid: RwLock<String>,
    read_only: AtomicBool,
    state: RwLock<State>,
    in_flight: AtomicU64,
    draining: AtomicBool,
    drained: (Mutex<()>, Condvar),
    began: Instant,
    busy_since: AtomicU64,
    busy: AtomicU64,
    /// Counts what targets have raised, as `dmsetup info` shows it.
    events: AtomicU64,
    lost: Mutex<Lost>,
    /// Held by who suspends or resumes.
    changes: Mutex<()>,
    log: Arc<EventLog>,
    stats: Stats,
}

/// What the gate says to a request.
#[derive(Debug)]
pub(crate) enum Enter {
    /// Go on with this table.
    Pass(Arc<Table>),
    /// Wait until woken, then ask again.
    Wait,
    /// Not possible.
    Refused(ErrorKind),
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// How long it took.
    pub took: Duration,
    /// Without an error?
    pub ok: bool,
}

impl Device {
    /// Without a table, shut.
    pub fn new(name: &str, uuid: &str, log: Arc<EventLog>) -> Arc<Self> {
        Arc::new(Self {
            name: RwLock::new(name.into()),
            uuid: RwLock::new(uuid.to_owned()),
            read_only: AtomicBool::new(false),
            state: RwLock::new(State {
                suspended: true,
                ..State::default()
            }),
            in_flight: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            drained: (Mutex::new(()), Condvar::new()),
            began: Instant::now(),
            busy_since: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            events: AtomicU64::new(0),
            lost: Mutex::default(),
            changes: Mutex::default(),
            log,
            stats: Stats::new(),
        })
    }

    /// With a live table.
    pub fn with_table(name: &str, table: Table) -> Arc<Self> {
        let device = Self::new(name, "", Arc::default());
        {
            let mut state = device.write();
            state.active = Some(Arc::new(table));
            state.suspended = false;
        }
        device
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.read().unwrap_or_else(PoisonError::into_inner))
    }
    /// device-mapper uuid; empty if none.
    pub fn uuid(&self) -> String {
        let uuid = self.uuid.read().unwrap_or_else(PoisonError::into_inner);
        uuid.clone()
    }
    /// Gives it another name and uuid. What was told before keeps the old ones.
    pub fn rename(&self, name: &str, uuid: &str) {
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = name.into();
        *self.uuid.write().unwrap_or_else(PoisonError::into_inner) = uuid.to_owned();
    }
    /// The live table.
    pub fn table(&self) -> Option<Arc<Table>> {
        self.read().active.clone()
    }
    /// The table that the next resume makes live.
    pub fn inactive_table(&self) -> Option<Arc<Table>> {
        self.read().inactive.clone()
    }
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        let state = self.read();
        state.active.as_ref().map_or(0, |t| t.len().0 * SECTOR)
    }
    /// Logical block size in bytes.
    pub fn logical_block(&self) -> u32 {
        let state = self.read();
        let table = state.active.as_ref();
        table.map_or(SECTOR as u32, |t| t.logical_block())
    }
    /// Refuses to be changed?
    pub fn read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }
    /// Lets itself be changed, or not.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Release);
    }
    /// Is the gate shut?
    pub fn suspended(&self) -> bool {
        self.read().suspended
    }
    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Acquire)
    }
    /// Number of events that targets have raised so far; `dmsetup wait` waits for one more.
    pub fn event_count(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }
    /// How often writes that were answered turned out to be lost. The kernel says so once, to one
    /// flush; a device may have several users, and each of them has to be told. So each compares
    /// this with what it saw last, after a flush of its own.
    pub fn lost(&self) -> u64 {
        self.lost_now().times
    }
    /// What kind of failure it was the last time.
    pub(crate) fn lost_kind(&self) -> Option<ErrorKind> {
        self.lost_now().kind
    }
    fn lost_now(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Counts flushes of a table's devices that have failed and were not counted here yet, as one loss;
    /// gives the first of those devices. To be called before anybody is told. Who calls this after
    /// such a failure finds it counted, whoever has counted it.
    pub(crate) fn count_lost(&self, table: &Table) -> Option<Arc<Backing>> {
        let mut lost = self.lost_now();
        let slots = table.plain_slots();
        // All of them are counted from now on.
        let failed: Vec<_> = slots.filter(|s| s.take_flush_failure()).collect();
        let first = Arc::clone(&failed.first()?.backing);
        lost.times += 1;
        lost.kind = Some(first.flush_failure());
        Some(first)
    }
    /// Where events go.
    pub fn log(&self) -> &Arc<EventLog> {
        &self.log
    }
    /// Statistics now.
    pub fn stats(&self) -> Snapshot {
        let mut busy = self.busy.load(Ordering::Relaxed);
        let in_flight = self.in_flight();
        if in_flight > 0 {
            busy += self
                .clock(Instant::now())
                .saturating_sub(self.busy_since.load(Ordering::Relaxed));
        }
        self.stats.snapshot(in_flight, Duration::from_nanos(busy))
    }

    /// Puts a table into the inactive slot. A table that leads back to this device is refused.
    pub fn load(self: &Arc<Self>, table: Table) -> Result<(), Error> {
        if !free_of(&table, self, MAX_STACK) {
            return Err(self.wrong("the table leads back to the device itself"));
        }
        self.write().inactive = Some(Arc::new(table));
        Ok(())
    }

    /// Empties the inactive slot.
    pub fn clear(&self) {
        self.write().inactive = None;
    }

    /// Shuts the gate, waits until nothing is in flight, and makes what was written durable unless
    /// `flush` is false. If requests do not end within `wait`, the gate is opened again.
    ///
    /// Waits, for other changes of the device too: not to be called on a queue's thread.
    pub fn suspend(&self, flush: bool, wait: Duration) -> Result<(), Error> {
        let _one = self.change();
        self.shut(flush, wait)
    }

    /// Its mirrors begin nothing in the background any more: to be called before the engine that
    /// runs them stops, which waits for what is under way, and before [`Self::suspend`], which has
    /// them note that they were stopped in order.
    pub fn freeze_mirrors(&self) {
        if let Some(table) = self.table() {
            table.mirrors().for_each(|mirror| mirror.freeze());
        }
    }

    /// One at a time suspends or resumes: else one would say that nothing is in flight while another
    /// waits for just that, or would open the gate under it.
    fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut(&self, flush: bool, wait: Duration) -> Result<(), Error> {
        {
            let mut state = self.write();
            if state.suspended {
                return Ok(());
            }
            state.suspended = true;
            self.draining.store(true, Ordering::SeqCst);
        }
        let drained = self.drain(wait);
        self.draining.store(false, Ordering::SeqCst);
        if !drained {
            self.open();
            return Err(self.wrong("requests are still in flight"));
        }
        let table = self.table();
        if let Some(table) = &table
            && !matches!(crate::queue::stop_mirrors(table, wait), Ok(true))
        {
            self.open();
            return Err(self.wrong("a mirror does not come to rest"));
        }
        if let Some(table) = table.filter(|_| flush)
            && let Err(e) = crate::sync::flush_table(&table)
        {
            self.count_lost(&table);
            self.open();
            return Err(e);
        }
        self.tell(What::Suspended);
        Ok(())
    }

    /// Makes the loaded table live, if there is one, and opens the gate. A live device is shut for
    /// the swap. Waits as [`Self::suspend`] does.
    pub fn resume(&self, wait: Duration) -> Result<(), Error> {
        let _one = self.change();
        if !self.suspended() && self.inactive_table().is_some() {
            self.shut(true, wait)?;
        }
        let swapped = {
            let mut state = self.write();
            let loaded = state.inactive.take();
            let swapped = loaded.is_some();
            if swapped {
                // What the old table's devices lost is not forgotten with it.
                if let Some(old) = &state.active {
                    self.count_lost(old);
                }
                state.active = loaded;
            }
            swapped
        };
        if swapped {
            self.tell(What::Swapped);
        }
        self.open();
        self.tell(What::Resumed);
        Ok(())
    }

    fn open(&self) {
        let parked = {
            let mut state = self.write();
            state.suspended = false;
            std::mem::take(&mut state.parked)
        };
        for wake in parked {
            wake.wake();
        }
    }

    fn drain(&self, wait: Duration) -> bool {
        let lock = self
            .drained
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let busy = |_: &mut ()| self.in_flight() > 0;
        let waited = self.drained.1.wait_timeout_while(lock, wait, busy);
        drop(waited);
        self.in_flight() == 0
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::State {
            device: self.name().to_string(),
            what,
        }
    }

    fn tell(&self, what: What) {
        self.log.push(&self.name(), what);
    }

    /// A target raises an event: something has changed that its status shows.
    pub fn raise(&self) {
        self.events.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives a message to the target of the live table that maps `sector`.
    pub fn message(&self, sector: Sectors, words: &[&str]) -> Result<String, MessageError> {
        let table = self.table().ok_or(MessageError::Unknown)?;
        table.message(sector, words)
    }

    fn clock(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_nanos() as u64
    }

    /// Lets a request in, or keeps who to wake.
    pub(crate) fn enter(&self, op: Op, now: Instant, wake: impl FnOnce() -> Wake) -> Enter {
        if op.modifies() && self.read_only() {
            return Enter::Refused(ErrorKind::ReadOnly);
        }
        if let Some(enter) = self.try_enter(&self.read(), now) {
            return enter;
        }
        let mut state = self.write();
        if let Some(enter) = self.try_enter(&state, now) {
            return enter;
        }
        state.parked.push(wake());
        Enter::Wait
    }

    /// Lets a request in if nothing is in its way; then it is in flight. None says that
    /// [`Self::enter`] is to be asked.
    pub(crate) fn try_pass(&self, op: Op, now: Instant) -> Option<Arc<Table>> {
        if op.modifies() && self.read_only() {
            return None;
        }
        let enter = self.try_enter(&self.read(), now);
        match enter {
            Some(Enter::Pass(table)) => Some(table),
            Some(Enter::Wait | Enter::Refused(_)) | None => None,
        }
    }

    /// None if the gate is shut.
    fn try_enter(&self, state: &State, now: Instant) -> Option<Enter> {
        if state.suspended {
            return None;
        }
        let Some(table) = &state.active else {
            return Some(Enter::Refused(ErrorKind::Io));
        };
        if self.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            self.busy_since.store(self.clock(now), Ordering::Relaxed);
        }
        Some(Enter::Pass(Arc::clone(table)))
    }

    /// A request that was let in has been answered, at `now`.
    pub(crate) fn leave(&self, queue: usize, op: Op, bytes: u64, now: Instant, answered: Answered) {
        let Answered { took, ok } = answered;
        self.stats.count(queue, op.kind(), bytes, took, ok);
        let since = self.busy_since.load(Ordering::Relaxed);
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            let busy = self.clock(now).saturating_sub(since);
            self.busy.fetch_add(busy, Ordering::Relaxed);
        }
        if self.draining.load(Ordering::SeqCst) {
            let _lock = self
                .drained
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.drained.1.notify_all();
        }
    }

    /// A request failed: tell whoever follows.
    pub(crate) fn failed(&self, error: &crate::error::IoError) {
        self.tell(What::Failed(error.clone()));
    }
}

/// Does the table reach `device` on no way, within `depth` devices?
fn free_of(table: &Table, device: &Arc<Device>, depth: usize) -> bool {
    table.slots().iter().all(|slot| match slot.backing.store() {
        Store::Device(lower) => {
            let below = lower.table();
            !Arc::ptr_eq(lower, device)
                && depth > 0
                && below.is_none_or(|t| free_of(&t, device, depth - 1))
        }
        Store::File(_) | Store::Mem(_) => true,
    })
}
