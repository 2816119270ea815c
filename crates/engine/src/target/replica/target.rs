//! The targets `raid1`, `mirror` and `raid`: a [`Machine`] behind a lock, for the queues to run.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::format::{DiskLogForm, RaidForm};
use super::lines::{parse_mirror, parse_raid, parse_raid1};
use super::{
    Action, Activity, Config, Event, Form, LegState, LogKind, Machine, Message, Place, Refused,
    Status, Ticket, Tuning, Unlogged,
};
use crate::error::ErrorKind;
use crate::io::{OpKind, Sectors};
use crate::target::{
    ArgError, Args, DevIndex, Devices, MessageError, Piece, Plan, Target, TargetType, Use, Verdict,
};

pub(in crate::target) const RAID1: TargetType = TargetType {
    name: "raid1",
    version: [1, 0, 0],
    parse: |args, len, devices| build(parse_raid1, args, len, devices),
};
pub(in crate::target) const MIRROR: TargetType = TargetType {
    name: "mirror",
    version: [1, 14, 0],
    parse: |args, len, devices| build(parse_mirror, args, len, devices),
};
pub(in crate::target) const RAID: TargetType = TargetType {
    name: "raid",
    version: [1, 15, 1],
    parse: |args, len, devices| build(parse_raid, args, len, devices),
};

type Line = fn(&mut Args<'_>, Sectors, &mut dyn Devices) -> Result<Config, ArgError>;

fn build(
    line: Line,
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Box<dyn Target>, ArgError> {
    let config = line(args, len, devices)?;
    let target = Replica::new(config).map_err(|what| args.at_last(what))?;
    Ok(Box::new(target))
}

/// A mirror that queues run. Whichever queue tells the machine something carries out what it asks
/// for; the lock is held for no I/O.
#[derive(Debug)]
pub struct Mirror {
    config: Config,
    state: Mutex<Running>,
    stopped: Condvar,
    began: Instant,
}

#[derive(Debug)]
struct Running {
    machine: Machine,
    /// What the queues keep of requests under way.
    tickets: HashMap<Ticket, Box<dyn Any + Send>>,
    last: u64,
}

impl Mirror {
    fn new(config: Config) -> Self {
        let form: Box<dyn Form> = match &config.log {
            LogKind::None | LogKind::Core(_) => Box::new(Unlogged),
            LogKind::Disk { .. } => Box::new(DiskLogForm),
            LogKind::Raid(_) => Box::new(RaidForm),
        };
        Self {
            state: Mutex::new(Running {
                machine: Machine::new(config.clone(), form, Tuning::default()),
                tickets: HashMap::new(),
                last: 0,
            }),
            config,
            stopped: Condvar::new(),
            began: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> Duration {
        self.began.elapsed()
    }

    /// Tells the machine something; gives what is to be done.
    pub(crate) fn apply(&self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let now = self.clock();
        self.lock().machine.apply(now, event, &mut actions);
        if actions.iter().any(|a| matches!(a, Action::Stopped)) {
            self.stopped.notify_all();
        }
        actions
    }

    /// Makes a request, for which the queue keeps `kept`. The mirror is started if it is not.
    pub(crate) fn request(&self, piece: &Piece, kept: Box<dyn Any + Send>) -> Vec<Action> {
        let mut actions = Vec::new();
        let now = self.clock();
        let mut running = self.lock();
        running.last += 1;
        let ticket = Ticket(running.last);
        running.tickets.insert(ticket, kept);
        if running.machine.is_idle() {
            running.machine.apply(now, Event::Start, &mut actions);
        }
        let event = Event::Request {
            ticket,
            op: piece.op,
            offset: piece.offset,
            len: piece.len,
        };
        running.machine.apply(now, event, &mut actions);
        actions
    }

    /// What a queue keeps of a request.
    pub(crate) fn with_ticket<T: 'static, R>(
        &self,
        ticket: Ticket,
        look: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let mut running = self.lock();
        let kept = running.tickets.get_mut(&ticket)?;
        kept.downcast_mut().map(look)
    }

    /// A request is answered: what was kept of it.
    pub(crate) fn take_ticket<T: 'static>(&self, ticket: Ticket) -> Option<Box<T>> {
        self.lock().tickets.remove(&ticket)?.downcast().ok()
    }

    /// How long until a time of the machine's clock.
    pub(crate) fn until(&self, at: Duration) -> Duration {
        at.saturating_sub(self.clock())
    }

    /// Where a place is: the device, and the first sector on it.
    pub(crate) fn place(&self, place: Place) -> Option<(DevIndex, Sectors)> {
        let leg = |n: usize| self.config.legs.get(n).and_then(|l| l.devices);
        match (place, &self.config.log) {
            (Place::Data(n), _) => leg(n).map(|d| (d.data, d.offset)),
            (Place::Meta(n), _) => leg(n).and_then(|d| Some((d.meta?, Sectors(0)))),
            (Place::Log, LogKind::Disk { device, .. }) => Some((*device, Sectors(0))),
            (Place::Log, _) => None,
        }
    }

    /// The devices it uses, in every role.
    pub(crate) fn devices(&self) -> Vec<DevIndex> {
        let legs = self.config.legs.iter().filter_map(|l| l.devices);
        let mut devices: Vec<_> = legs
            .flat_map(|d| [Some(d.data), d.meta])
            .flatten()
            .collect();
        if let LogKind::Disk { device, .. } = self.config.log {
            devices.push(device);
        }
        devices
    }

    /// Begins nothing in the background any more, until it is told otherwise or made anew.
    pub(crate) fn freeze(&self) {
        let now = self.clock();
        // One that does not run does nothing in the background.
        let _ = self.lock().machine.ask(now, Message::Frozen);
    }

    /// How it is now.
    pub fn status(&self) -> Status {
        self.lock().machine.status()
    }

    /// Is nothing under way, and nothing to be made durable?
    pub(crate) fn at_rest(&self) -> bool {
        self.lock().machine.at_rest()
    }

    /// Waits a little for a stop to end; true if it has.
    pub(crate) fn wait_stopped(&self, wait: Duration) -> bool {
        let running = self.lock();
        let busy = |r: &mut Running| !r.machine.at_rest();
        let waited = self.stopped.wait_timeout_while(running, wait, busy);
        waited.is_ok_and(|(r, _)| r.machine.at_rest())
    }
}

/// A mirror as a target.
#[derive(Debug)]
pub struct Replica {
    mirror: Arc<Mirror>,
}

fn letter(state: LegState) -> char {
    match state {
        LegState::InSync => 'A',
        LegState::Behind => 'a',
        LegState::Dead => 'D',
        LegState::Nowhere => '-',
    }
}

fn mirror_status(config: &Config, status: &Status, name: &dyn Fn(DevIndex) -> String) -> String {
    let legs: Vec<_> = config.legs.iter().filter_map(|l| l.devices).collect();
    let names: Vec<String> = legs.iter().map(|l| name(l.data)).collect();
    let health = |l: &LegState| if *l == LegState::Dead { 'D' } else { 'A' };
    let health: String = status.legs.iter().map(health).collect();
    let log = match &config.log {
        LogKind::Disk { device, .. } => {
            let state = if status.log_failed { 'D' } else { 'A' };
            format!("3 disk {} {state}", name(*device))
        }
        _ => "1 core".to_owned(),
    };
    let (n, synced, regions) = (legs.len(), status.synced, status.regions);
    format!(
        "{n} {} {synced}/{regions} 1 {health} {log}",
        names.join(" ")
    )
}

fn raid_status(config: &Config, status: &Status) -> String {
    let health: String = status.legs.iter().map(|l| letter(*l)).collect();
    let done = (status.synced * config.region.0).min(config.len.0);
    let action = match status.activity {
        Activity::Idle => "idle",
        Activity::Frozen => "frozen",
        Activity::Resync => "resync",
        Activity::Recover => "recover",
        Activity::Check => "check",
        Activity::Repair => "repair",
    };
    let (n, len, mismatches) = (status.legs.len(), config.len, status.mismatches);
    format!("raid1 {n} {health} {done}/{len} {action} {mismatches} 0 -")
}

impl Replica {
    /// That is assembled with its first request. Fails, with what is wrong, if the parts of the
    /// configuration do not fit together.
    pub fn new(config: Config) -> Result<Self, &'static str> {
        config.check()?;
        Ok(Self {
            mirror: Arc::new(Mirror::new(config)),
        })
    }
}

impl Target for Replica {
    fn kind(&self) -> &'static str {
        self.mirror.config.kind()
    }

    fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        self.mirror.config.args(name)
    }

    fn status(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        let (config, status) = (&self.mirror.config, self.mirror.status());
        match config.log {
            LogKind::Core(_) | LogKind::Disk { .. } => mirror_status(config, &status, name),
            LogKind::None | LogKind::Raid(_) => raid_status(config, &status),
        }
    }

    fn message(&self, words: &[&str]) -> Result<String, MessageError> {
        let message = match (words, &self.mirror.config.log) {
            (_, LogKind::Core(_) | LogKind::Disk { .. }) => return Err(MessageError::Unknown),
            (["idle"], _) => Message::Idle,
            (["frozen"], _) => Message::Frozen,
            (["resync"], _) => Message::Resync,
            (["recover"], _) => Message::Recover,
            (["check"], _) => Message::Check,
            (["repair"], _) => Message::Repair,
            _ => return Err(MessageError::Unknown),
        };
        let now = self.mirror.clock();
        match self.mirror.lock().machine.ask(now, message) {
            Ok(()) => Ok(String::new()),
            Err(Refused::Busy) => Err(MessageError::Busy),
            Err(Refused::Invalid) => Err(MessageError::Failed(ErrorKind::Invalid)),
        }
    }

    fn uses(&self, len: Sectors) -> Vec<Use> {
        let legs = self.mirror.config.legs.iter().filter_map(|l| l.devices);
        legs.map(|leg| Use {
            device: leg.data,
            start: leg.offset,
            len,
        })
        .collect()
    }

    fn reach(&self, _op: OpKind, offset: u64) -> u64 {
        let size = self.mirror.config.region_bytes();
        size - offset % size
    }

    /// Not asked: queues run [`Self::mirror`] in its place.
    fn map(&self, _piece: &Piece, _now: Duration, plan: &mut Plan) {
        plan.verdict = Verdict::Fail(ErrorKind::NotSupported);
    }

    fn mirror(&self) -> Option<&Arc<Mirror>> {
        Some(&self.mirror)
    }
}
