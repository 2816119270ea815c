//! A machine with its devices, its clients and its misfortunes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ulvm_test_support::rng::Rng;

use super::super::format::{DiskLogForm, RaidForm};
use super::super::machine::Broken;
use super::super::{
    Action, Activity, Config, Event, Form, Leg, LegDevices, LegState, LogKind, Machine, Message,
    MirrorArgs, News, OpId, Place, RaidArgs, RegionSet, Start, Ticket, Tuning, Unlogged,
};
use super::disk::{Disk, Mood, SECTOR};
use super::forms::{Each, Faulty, OneLog};
use super::oracle::Oracle;
use crate::buf::Buf;
use crate::error::ErrorKind;
use crate::io::{Op, Sectors};
use crate::target::DevIndex;

/// What is deliberately wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    Nothing,
    Machine(Broken),
    Form(Faulty),
    /// The log's writes are not durable when they end.
    LogNotFlushed,
}

/// Which forms of marks a run is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Small ones of the simulator's own, which are tried most quickly; or none.
    Small,
    /// dm-mirror's.
    DiskLog,
    /// dm-raid's.
    Raid,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Marks {
    Nowhere,
    OneLog,
    Each,
    /// As dm-mirror has them.
    DiskLog,
    /// As dm-raid has them.
    Raid,
}

impl Marks {
    /// On every leg?
    fn each(self) -> bool {
        matches!(self, Self::Each | Self::Raid)
    }
    /// On one device?
    fn one(self) -> bool {
        matches!(self, Self::OneLog | Self::DiskLog)
    }
}

#[derive(Debug)]
enum What {
    Child {
        ticket: u64,
        leg: usize,
        op: Op,
        offset: u64,
        len: u64,
    },
    Read {
        place: Place,
        offset: u64,
        len: u64,
    },
    Write {
        place: Place,
        offset: u64,
        data: Vec<u8>,
        fua: bool,
    },
    Flush {
        place: Place,
        upto: u64,
    },
}

#[derive(Debug)]
struct Request {
    op: Op,
    offset: u64,
    len: u64,
    data: Vec<u8>,
    /// Of a flush: what it covers.
    begun: u64,
}

pub struct World {
    rng: Rng,
    wrong: Wrong,
    marks: Marks,
    config: Config,
    /// Disk of each leg.
    disks: Vec<usize>,
    data: Vec<Disk>,
    meta: Vec<Disk>,
    log: Disk,
    machine: Machine,
    now: Duration,
    wakes: Vec<Duration>,
    ops: Vec<(OpId, What)>,
    requests: BTreeMap<u64, Request>,
    again: Vec<u64>,
    oracle: Oracle,
    tickets: u64,
    values: u64,
    assembled: bool,
    stopped: bool,
    trace: VecDeque<String>,
    /// Regions that may have been marked on disk when the machine before ended, and those that
    /// the present one found.
    before: RegionSet,
    found: RegionSet,
}

type Check = Result<(), String>;

fn config(rng: &mut Rng, marks: Marks) -> Config {
    let legs = if rng.chance(25) { 3 } else { 2 };
    let leg = |n: usize, mostly: bool| Leg {
        devices: Some(LegDevices {
            data: DevIndex(n as u32),
            offset: Sectors(0),
            meta: marks.each().then_some(DevIndex(n as u32 + 4)),
        }),
        write_mostly: mostly,
        rebuild: false,
    };
    let mostly = marks.each() && rng.chance(15);
    let args = MirrorArgs {
        handle_errors: true,
        ..MirrorArgs::default()
    };
    Config {
        len: Sectors(*rng.pick(&[24, 32, 45])),
        legs: (0..legs).map(|n| leg(n, mostly && n == 0)).collect(),
        region: Sectors(*rng.pick(&[4, 8])),
        log: match marks {
            Marks::Nowhere => LogKind::Core(args),
            Marks::OneLog | Marks::DiskLog => LogKind::Disk {
                device: DevIndex(9),
                args,
            },
            Marks::Each | Marks::Raid => LogKind::Raid(RaidArgs::default()),
        },
        start: Start::Marks,
        min_rate: None,
        max_rate: None,
    }
}

fn machine(config: &Config, marks: Marks, wrong: Wrong) -> Machine {
    let form: Box<dyn Form> = match (marks, wrong) {
        (Marks::Nowhere, _) => Box::new(Unlogged),
        (Marks::OneLog, _) => Box::new(OneLog),
        (Marks::Each, Wrong::Form(faulty)) => Box::new(Each(faulty)),
        (Marks::Each, _) => Box::new(Each(Faulty::No)),
        (Marks::DiskLog, _) => Box::new(DiskLogForm),
        (Marks::Raid, _) => Box::new(RaidForm),
    };
    let tuning = Tuning {
        clear_after: Duration::from_millis(8),
        look_every: Duration::from_millis(4),
        window: 1024,
        windows: 2,
        min_rate: 1 << 20,
    };
    let mut machine = Machine::new(config.clone(), form, tuning);
    if let Wrong::Machine(broken) = wrong {
        machine.broken_how = Some(broken);
    }
    machine
}

impl World {
    pub fn new(seed: u64, choice: Choice, wrong: Wrong) -> Self {
        let mut rng = Rng::new(seed);
        let small = [Marks::Each, Marks::Each, Marks::OneLog, Marks::Nowhere];
        let marks = match choice {
            Choice::Small => *rng.pick(&small),
            Choice::DiskLog => Marks::DiskLog,
            Choice::Raid => Marks::Raid,
        };
        let config = config(&mut rng, marks);
        let (legs, sectors) = (config.legs.len(), config.len.0);
        let machine = machine(&config, marks, wrong);
        let before = RegionSet::none(config.regions());
        let found = before.clone();
        Self {
            rng,
            wrong,
            marks,
            disks: (0..legs).collect(),
            data: vec![Disk::new(sectors, 0); legs],
            meta: vec![Disk::new(if marks == Marks::Raid { 64 } else { 2 }, 0); legs],
            log: Disk::new(log_sectors(marks), 0),
            oracle: Oracle::new(sectors),
            config,
            machine,
            now: Duration::ZERO,
            wakes: Vec::new(),
            ops: Vec::new(),
            requests: BTreeMap::new(),
            again: Vec::new(),
            tickets: 0,
            values: 0,
            assembled: false,
            stopped: false,
            trace: VecDeque::new(),
            before,
            found,
        }
    }

    pub fn trace(&self) -> String {
        let lines: Vec<_> = self.trace.iter().cloned().collect();
        format!("{:?}\n{}", self.config, lines.join("\n"))
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if std::env::var_os("ULVM_SIM_TRACE").is_some() {
            self.trace.push_back(line());
            if self.trace.len() > 3000 {
                self.trace.pop_front();
            }
        }
    }

    /// Lives for a while, then comes to rest.
    pub fn run(&mut self) -> Check {
        self.apply(Event::Start)?;
        let steps = 150 + self.rng.below(250);
        for _ in 0..steps {
            self.step()?;
        }
        self.rest()
    }

    fn step(&mut self) -> Check {
        if !self.assembled {
            return self.complete();
        }
        if self.assembled && (self.machine.status().held || self.machine.status().log_failed) {
            return self.replace_table();
        }
        match self.rng.below(100) {
            0..35 => self.complete(),
            35..62 => self.request(),
            62..84 => self.pass_time(),
            84..89 => self.misfortune(),
            89..93 => self.heal(),
            93..97 => self.message(),
            97 => self.crash(true),
            98 => self.crash(false),
            _ => self.pause(),
        }
    }

    fn apply(&mut self, event: Event) -> Check {
        let mut actions = Vec::new();
        self.machine.apply(self.now, event, &mut actions);
        self.first_is_sound()?;
        self.act(actions)
    }

    /// The leg that the next assembly reads where legs may differ is one that is read now.
    fn first_is_sound(&self) -> Check {
        let machine = &self.machine;
        if !self.marks.each() || !machine.running() || machine.marks.lost() {
            return Ok(());
        }
        let first = machine.preferred(|_, leg| leg.alive && leg.settled);
        match first.is_some_and(|n| machine.legs[n].sound()) {
            true => Ok(()),
            false => Err(format!("leg {first:?} is the first, and not sound")),
        }
    }

    fn act(&mut self, actions: Vec<Action>) -> Check {
        for action in actions {
            self.note(|| match &action {
                Action::Write {
                    to, offset, fua, ..
                } => format!("  -> Write {to:?} {offset} {fua}"),
                action => format!("  -> {action:?}"),
            });
            match action {
                Action::Child {
                    id,
                    ticket,
                    leg,
                    op,
                    offset,
                    len,
                } => self.ops.push((
                    id,
                    What::Child {
                        ticket: ticket.0,
                        leg,
                        op,
                        offset,
                        len,
                    },
                )),
                Action::Read {
                    id,
                    place,
                    offset,
                    len,
                } => self.ops.push((id, What::Read { place, offset, len })),
                Action::Write {
                    to,
                    offset,
                    buf,
                    fua,
                } => {
                    for (id, place) in to {
                        let data = buf.to_vec();
                        self.ops.push((
                            id,
                            What::Write {
                                place,
                                offset,
                                data,
                                fua,
                            },
                        ));
                    }
                }
                Action::Flush { id, place } => {
                    let upto = self.disk(place).flush_begins();
                    self.ops.push((id, What::Flush { place, upto }));
                }
                Action::Answer { ticket, result } => self.answered(ticket.0, result.is_ok())?,
                Action::Again(ticket) => self.again.push(ticket.0),
                Action::Wake(at) => self.wakes.push(at),
                Action::Tell(News::Promoted(_)) => self.oracle.widen(false),
                Action::Tell(News::Assembled) => {
                    self.assembled = true;
                    self.found = self.machine.marks.marked.clone();
                    // Until the log is written again, what is on disk may have more marks: of
                    // another leg, or after power is lost.
                    self.machine.marks.clearing.add_all(&self.before);
                    self.legs_equal_where_clean()?;
                }
                Action::Tell(News::Unusable(what)) => {
                    return Err(format!("unusable: {what}"));
                }
                Action::Tell(_) => {}
                Action::Stopped => self.stopped = true,
            }
        }
        Ok(())
    }

    fn disk(&mut self, place: Place) -> &mut Disk {
        match place {
            Place::Data(leg) => &mut self.data[self.disks[leg]],
            Place::Meta(leg) => &mut self.meta[self.disks[leg]],
            Place::Log => &mut self.log,
        }
    }

    fn answered(&mut self, ticket: u64, ok: bool) -> Check {
        let Some(request) = self.requests.remove(&ticket) else {
            return Err(format!("request {ticket} answered twice"));
        };
        let (first, len) = (
            request.offset as usize / SECTOR,
            request.len as usize / SECTOR,
        );
        match request.op {
            Op::Read => {
                let values: Vec<u64> = request.data.chunks(SECTOR).map(value).collect();
                self.oracle.read_ends(ticket, ok.then_some(&values[..]))
            }
            Op::Flush => {
                if ok {
                    self.oracle.flush_ends(request.begun);
                }
                Ok(())
            }
            op => {
                self.oracle.write_ends(ticket, first, len, ok, op.fua());
                Ok(())
            }
        }
    }

    fn request(&mut self) -> Check {
        if self.requests.len() >= 6 || !self.assembled {
            return self.complete();
        }
        let sectors = self.config.len.0;
        let region = self.rng.below(self.config.regions());
        let (start, end) = self.config.region_range(region);
        let (start, end) = (start / 512, (end / 512).min(sectors));
        let first = start + self.rng.below(end - start);
        let len = 1 + self.rng.below(end - first);
        let op = match self.rng.below(100) {
            0..35 => Op::Read,
            35..75 => Op::Write { fua: false },
            75..85 => Op::Write { fua: true },
            85..88 => Op::WriteZeroes {
                fua: self.rng.chance(50),
                unmap: false,
            },
            _ => Op::Flush,
        };
        self.tickets += 1;
        let ticket = self.tickets;
        let mut request = Request {
            op,
            offset: first * 512,
            len: len * 512,
            data: vec![0; len as usize * SECTOR],
            begun: 0,
        };
        let n = first as usize;
        match op {
            Op::Read => self.oracle.read_begins(ticket, n, len as usize),
            Op::Flush => {
                (request.offset, request.len) = (0, 0);
                request.begun = self.oracle.flush_begins();
            }
            op => {
                if matches!(op, Op::Write { .. }) {
                    for sector in request.data.chunks_mut(SECTOR) {
                        self.values += 1;
                        sector[..8].copy_from_slice(&self.values.to_le_bytes());
                    }
                }
                let values: Vec<u64> = request.data.chunks(SECTOR).map(value).collect();
                self.oracle.write_begins(ticket, n, &values);
            }
        }
        self.requests.insert(ticket, request);
        self.submit(ticket)
    }

    fn submit(&mut self, ticket: u64) -> Check {
        let Some(request) = self.requests.get(&ticket) else {
            return Ok(());
        };
        let (op, offset, len) = (request.op, request.offset, request.len);
        self.note(|| format!("request {ticket} {op:?} {} +{}", offset / 512, len / 512));
        self.apply(Event::Request {
            ticket: Ticket(ticket),
            op,
            offset,
            len,
        })
    }

    /// One operation ends, whichever.
    fn complete(&mut self) -> Check {
        if self.ops.is_empty() {
            return self.pass_time();
        }
        let n = self.rng.below(self.ops.len() as u64) as usize;
        let (id, what) = self.ops.swap_remove(n);
        let (result, buf) = self.perform(what);
        self.note(|| format!("{id:?} ended {result:?}"));
        self.apply(Event::Done { id, result, buf })
    }

    fn perform(&mut self, what: What) -> (Result<(), ErrorKind>, Option<Buf>) {
        let mut rng = self.rng.clone();
        self.rng.next_u64();
        let log_durable = self.wrong != Wrong::LogNotFlushed;
        match what {
            What::Child {
                ticket,
                leg,
                op: Op::Read,
                offset,
                len,
            } => {
                let read = self.disk(Place::Data(leg)).read(offset, len);
                if let (Ok(bytes), Some(request)) = (&read, self.requests.get_mut(&ticket)) {
                    request.data.copy_from_slice(bytes);
                }
                (read.map(drop), None)
            }
            What::Child {
                ticket,
                leg,
                op,
                offset,
                ..
            } => {
                let request = &self.requests[&ticket];
                let data = request.data.clone();
                let disk = self.disk(Place::Data(leg));
                (disk.write(offset, &data, op.fua(), &mut rng), None)
            }
            What::Read { place, offset, len } => match self.disk(place).read(offset, len) {
                Ok(bytes) => (Ok(()), Some(Buf::copy_of(&bytes))),
                Err(kind) => (Err(kind), None),
            },
            What::Write {
                place,
                offset,
                data,
                fua,
            } => {
                let disk = self.disk(place);
                (
                    disk.write(offset, &data, fua && log_durable, &mut rng),
                    None,
                )
            }
            What::Flush { place, upto } => {
                let result = self.disk(place).flush(upto, &mut rng);
                if result.is_err() {
                    // Clients are told with their next flush that something may be lost; if the
                    // leg has to be kept, it is.
                    self.oracle.widen(true);
                }
                (result, None)
            }
        }
    }

    fn pass_time(&mut self) -> Check {
        self.now += Duration::from_micros(200 + self.rng.below(4000));
        let now = self.now;
        let before = self.wakes.len();
        self.wakes.retain(|at| *at > now);
        if self.wakes.len() < before {
            return self.apply(Event::Tick);
        }
        Ok(())
    }

    fn misfortune(&mut self) -> Check {
        let n = self.rng.below(self.data.len() as u64) as usize;
        let kind = self.rng.below(if self.marks.one() { 7 } else { 6 });
        self.note(|| format!("misfortune {kind} of disk {n}"));
        let sectors = self.config.len.0;
        let mood = &mut self.data[n].mood;
        match kind {
            0 => {
                mood.gone = true;
                self.meta[n].mood.gone = true;
            }
            1 => mood.no_writes = true,
            2 => mood.no_reads = true,
            3 => {
                let first = self.rng.below(sectors);
                mood.bad
                    .extend(first..(first + 1 + self.rng.below(3)).min(sectors));
            }
            4 => mood.no_flush = true,
            5 => self.meta[n].mood.no_writes = true,
            _ => self.log.mood.no_writes = true,
        }
        Ok(())
    }

    fn heal(&mut self) -> Check {
        let n = self.rng.below(self.data.len() as u64) as usize;
        self.heal_disk(n);
        Ok(())
    }

    fn heal_disk(&mut self, n: usize) {
        self.note(|| format!("disk {n} is well"));
        // A bad sector heals by being written.
        let bad = std::mem::take(&mut self.data[n].mood.bad);
        self.data[n].mood = Mood {
            bad,
            ..Mood::default()
        };
        self.meta[n].mood = Mood::default();
    }

    fn message(&mut self) -> Check {
        if !self.assembled {
            return Ok(());
        }
        let dead = self.dead_leg();
        let message = match self.rng.below(10) {
            0..4 => match dead {
                Some(leg) if self.marks.each() => {
                    self.heal_disk(self.disks[leg]);
                    Message::Return(leg)
                }
                _ => Message::Recover,
            },
            4 | 5 => Message::Check,
            6 => Message::Repair,
            7 => Message::Resync,
            8 => Message::Frozen,
            _ => Message::Idle,
        };
        self.tell(message)
    }

    fn tell(&mut self, message: Message) -> Check {
        self.note(|| format!("message {message:?}"));
        let mut actions = Vec::new();
        // Whether it is refused is not of interest here.
        let _ = self.machine.message(self.now, message, &mut actions);
        self.act(actions)
    }

    fn dead_leg(&self) -> Option<usize> {
        let legs = self.machine.status().legs;
        legs.iter().position(|l| *l == LegState::Dead)
    }

    /// The clean stop of a suspension, and on again; or another machine.
    fn pause(&mut self) -> Check {
        if !self.assembled {
            return Ok(());
        }
        self.stop()?;
        if self.machine.status().held || self.machine.status().log_failed {
            return self.other_table();
        }
        if self.rng.chance(50) {
            self.note(|| "resumed".into());
            self.stopped = false;
            return self.apply(Event::Start);
        }
        self.note(|| "activated again".into());
        self.back_after_crash();
        self.new_machine()?;
        self.assemble()
    }

    fn stop(&mut self) -> Check {
        self.note(|| "stop".into());
        self.apply(Event::Stop)?;
        for _ in 0..20_000 {
            if self.stopped {
                return Ok(());
            }
            self.complete()?;
        }
        Err("does not stop".into())
    }

    fn new_machine(&mut self) -> Check {
        self.before = self.machine.marks.everything();
        let log_lost = self.machine.marks.lost();
        self.machine = machine(&self.config, self.marks, self.wrong);
        self.assembled = false;
        self.stopped = false;
        self.wakes.clear();
        if log_lost {
            // Reads went on although it could not be recorded which leg not to believe.
            self.oracle.widen(false);
        }
        if self.marks == Marks::Nowhere {
            // Everything is copied from the first leg: reads may change where it was not whole.
            self.oracle.widen(false);
        }
        self.apply(Event::Start)
    }

    fn assemble(&mut self) -> Check {
        for _ in 0..1000 {
            if self.assembled {
                return Ok(());
            }
            self.complete()?;
        }
        Err("does not assemble".into())
    }

    fn replace_table(&mut self) -> Check {
        self.stop()?;
        self.other_table()
    }

    /// Writes are held: a table without the legs that failed, as somebody who was told would load it.
    fn other_table(&mut self) -> Check {
        let legs = self.machine.status().legs;
        let alive = |n: &usize| legs[*n] != LegState::Dead;
        let keep: Vec<usize> = match self.marks {
            // The last whole leg was lost: it comes back, or nothing does.
            marks if marks.each() => {
                for leg in 0..legs.len() {
                    self.heal_disk(self.disks[leg]);
                }
                (0..legs.len()).collect()
            }
            _ => (0..legs.len()).filter(alive).collect(),
        };
        self.note(|| format!("table of legs {keep:?}"));
        if self.machine.status().log_failed {
            self.log = Disk::new(
                log_sectors(self.marks),
                if self.marks == Marks::OneLog { 255 } else { 0 },
            );
        }
        self.disks = keep.iter().map(|n| self.disks[*n]).collect();
        self.config.legs = keep.iter().map(|n| self.config.legs[*n].clone()).collect();
        self.new_machine()?;
        self.assemble()?;
        for ticket in std::mem::take(&mut self.again) {
            self.submit(ticket)?;
        }
        Ok(())
    }

    /// Power is lost, or only the process is killed.
    fn crash(&mut self, power: bool) -> Check {
        if !self.assembled {
            return Ok(());
        }
        self.note(|| format!("crash, power {power}"));
        let before = self.machine.marks.everything();
        let mut rng = self.rng.clone();
        self.rng.next_u64();
        for (_, what) in std::mem::take(&mut self.ops) {
            self.perhaps(what, &mut rng);
        }
        if power {
            for disk in self.data.iter_mut().chain(&mut self.meta) {
                disk.crash(&mut rng);
            }
            self.log.crash(&mut rng);
            self.oracle.crash();
        } else {
            self.oracle.killed();
        }
        self.requests.clear();
        self.again.clear();
        let held = self.machine.status().held;
        self.back_after_crash();
        if held {
            // The table without the failed leg is what comes up.
            return self.other_table();
        }
        self.new_machine()?;
        self.assemble()?;
        let unmarked: Vec<u64> = self.found.iter().filter(|r| !before.has(*r)).collect();
        // A leg that failed just when another was recorded in sync is copied as a whole: from what
        // is on disk it cannot be told from one that went on alone.
        let whole =
            |leg: &super::super::legs::Leg| leg.alive && leg.stale.count() == self.config.regions();
        let filled = self.marks == Marks::Raid && self.machine.legs.iter().any(whole);
        if self.marks != Marks::Nowhere && !filled && !unmarked.is_empty() {
            let marked: Vec<u64> = before.iter().collect();
            return Err(format!(
                "regions {unmarked:?} are copied that nobody marked, of {marked:?}"
            ));
        }
        Ok(())
    }

    /// An operation that was under way: done, in part, or not at all.
    fn perhaps(&mut self, what: What, rng: &mut Rng) {
        let (place, offset, data) = match what {
            What::Child {
                ticket,
                leg,
                op,
                offset,
                ..
            } if op.modifies() => {
                let data = self.requests.get(&ticket).map(|r| r.data.clone());
                (Place::Data(leg), offset, data.unwrap_or_default())
            }
            What::Write {
                place,
                offset,
                data,
                ..
            } => (place, offset, data),
            _ => return,
        };
        let chance = *rng.pick(&[0, 50, 100]);
        for (n, sector) in data.chunks(SECTOR).enumerate() {
            if rng.chance(chance) {
                let at = offset + (n * SECTOR) as u64;
                let _ = self.disk(place).write(at, sector, false, rng);
            }
        }
    }

    /// Which disks are there when the mirror is assembled again: those that were whole, but for
    /// one if there are more; what the log cannot remember must be there.
    fn back_after_crash(&mut self) {
        let legs = self.machine.status().legs;
        let whole: Vec<usize> = (0..legs.len())
            .filter(|n| self.machine.legs[*n].sound())
            .collect();
        for n in 0..legs.len() {
            self.heal_disk(self.disks[n]);
        }
        self.log.mood = Mood::default();
        // What is on disk may lag behind what the machine thinks, until it has said so.
        let lags = self.machine.marks.record_pending();
        if !self.marks.each() || lags || !self.rng.chance(40) {
            return;
        }
        let missing = match self.rng.chance(50) && whole.len() > 1 {
            true => Some(*self.rng.pick(&whole)),
            false => (0..legs.len()).find(|n| !whole.contains(n)),
        };
        // A leg that got the last update of the superblocks when no other did must be there: two
        // legs that were each alone cannot be told apart by counting.
        let at = if self.marks == Marks::Raid { 16 } else { 0 };
        let events = |leg: usize| value(&self.meta[self.disks[leg]].bytes()[at..SECTOR]);
        let ahead = |leg: &usize| {
            let others = (0..legs.len()).filter(|n| n != leg);
            let one_leg = self.wrong == Wrong::Form(Faulty::OneLegOnly);
            others.map(events).max() < Some(events(*leg)) && !one_leg
        };
        let known = (0..legs.len()).all(|leg| self.marks == Marks::Each || events(leg) > 0);
        if let Some(leg) = missing.filter(|leg| known && !ahead(leg)) {
            let n = self.disks[leg];
            self.note(|| format!("disk {n} is not there"));
            self.data[n].mood.gone = true;
            self.meta[n].mood.gone = true;
        }
    }

    /// Where nothing is marked, whole legs hold the same.
    fn legs_equal_where_clean(&self) -> Check {
        let alive = self.machine.alive();
        for region in 0..self.config.regions() {
            if self.machine.marks.marked.has(region) {
                continue;
            }
            let (start, end) = self.config.region_range(region);
            let range = start as usize..end as usize;
            let bytes = |leg: usize| &self.data[self.disks[leg]].bytes()[range.clone()];
            if alive
                .windows(2)
                .any(|pair| bytes(pair[0]) != bytes(pair[1]))
            {
                return Err(format!(
                    "legs differ in region {region}, which is not marked"
                ));
            }
        }
        Ok(())
    }

    /// All is well again: the mirror must come to rest, in sync, with what may be read on each leg.
    fn rest(&mut self) -> Check {
        self.note(|| "rest".into());
        for n in 0..self.data.len() {
            self.heal_disk(n);
            self.data[n].mood.bad.clear();
        }
        self.log.mood = Mood::default();
        self.assemble()?;
        let quiet = |w: &Self| {
            let status = w.machine.status();
            w.ops.is_empty()
                && w.requests.is_empty()
                && status.activity == Activity::Idle
                && status.marked == 0
        };
        for round in 0..40_000 {
            let status = self.machine.status();
            if status.held || status.log_failed {
                self.replace_table()?;
            }
            if round % 64 == 0 {
                self.tell(Message::Recover)?;
                if let Some(leg) = self.dead_leg() {
                    match self.marks {
                        marks if marks.each() => self.tell(Message::Return(leg))?,
                        _ => self.replace_table()?,
                    }
                }
            }
            if quiet(self) {
                break;
            }
            self.complete()?;
        }
        if !quiet(self) {
            let status = self.machine.status();
            return Err(format!(
                "does not come to rest: {status:?}, {} operations, {} requests",
                self.ops.len(),
                self.requests.len()
            ));
        }
        self.stop()?;
        self.all_legs_right()
    }

    fn all_legs_right(&self) -> Check {
        for leg in self.machine.alive() {
            let bytes = self.data[self.disks[leg]].bytes();
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                if !self.oracle.may_be(n, value(sector)) {
                    return Err(format!("leg {leg}, sector {n} ends as {}", value(sector)));
                }
            }
        }
        self.legs_equal_where_clean()
    }
}

fn log_sectors(marks: Marks) -> u64 {
    if marks == Marks::DiskLog { 64 } else { 1 }
}

fn value(sector: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&sector[..8]);
    u64::from_le_bytes(bytes)
}
