//! Marks: made durable before a region's first write, many with one write of the log; cleared when
//! a region has been quiet for a while, after all legs were flushed.
//!
//! The log is told of marks and records here and nowhere else. One stage of its writes is under way
//! at a time; what is told meanwhile goes with the next.

use std::collections::HashMap;
use std::time::Duration;

use super::event::{Action, News, Ticket};
use super::log::NoLog;
use super::machine::{Broken, Machine, Owner, State};
use super::{Log, LogFailure, LogWrite, Place, Record, RegionSet};
use crate::buf::Buf;
use crate::error::ErrorKind;

/// Marks cleared at a time.
const CLEARED_AT_ONCE: usize = 1 << 16;
/// How often it is noted how far a leg was filled, in looks for marks to clear.
const LOOKS_PER_NOTE: u32 = 10;

#[derive(Debug)]
pub(super) struct Marks {
    log: Box<dyn Log>,
    /// Regions the log was told of, or is about to be.
    pub marked: RegionSet,
    /// Regions whose mark is durable.
    firm: RegionSet,
    /// To be told: writes wait for them.
    want: Vec<(u64, Option<Ticket>)>,
    /// Told, and part of the next stage.
    told: Told,
    /// Being made durable, and how many writes of the stage are under way.
    stage: Option<(Told, usize)>,
    /// A place was lost in this stage.
    stage_failed: bool,
    /// The log was told something since it last said that all is durable.
    dirty: bool,
    /// A record is not durable yet.
    records: bool,
    /// Answers that wait for records.
    pub gated: Vec<Ticket>,
    /// Reads that do.
    pub gated_reads: Vec<Ticket>,
    /// Answers wait for a new table.
    pub held: bool,
    /// Nothing can be marked any more.
    lost: bool,
    /// Writes that could not be marked and wait for a new table.
    stranded: Vec<Ticket>,
    /// [`Record::Started`] was told.
    started: bool,
    /// It is to be told although nothing is written yet.
    start_soon: bool,
    /// The log is told that the mirror ends, or was.
    ending: bool,
    /// It is durable, and so are the marks that were found: they may have been read from a cache
    /// that a killed process left. Before that nothing is written, even where a mark was found.
    open: bool,
    /// Flushes of the log's places under way, for that.
    flushing: usize,
    /// Writes under way by region, from before the mark on.
    writers: HashMap<u64, u32>,
    /// When something last happened in a marked region, and its number.
    last: HashMap<u64, (Duration, u64)>,
    happened: u64,
    /// How often something came up that a flush of all legs, then under way, says nothing about.
    pub doubts: u64,
    next_look: Duration,
    /// Looks so far.
    looks: u32,
    /// The last flush of the legs failed: the next waits for the next look.
    failing: bool,
    /// Regions whose clearing may not be durable.
    #[cfg(test)]
    pub clearing: RegionSet,
}

/// Marks on their way, and the writes that wait for them.
#[derive(Debug, Default)]
struct Told {
    regions: Vec<u64>,
    tickets: Vec<Ticket>,
}

/// Does nothing but the clearing of marks depend on this flush?
fn settle_only_marks(settle: &Option<Settle>) -> bool {
    settle
        .as_ref()
        .is_some_and(|s| s.legs.is_empty() && s.filled.is_empty())
}

/// A flush of all legs, after which marks are cleared and legs are in sync.
#[derive(Debug)]
pub(super) struct Settle {
    regions: Vec<u64>,
    legs: Vec<usize>,
    /// How far legs were filled.
    filled: Vec<(usize, u64)>,
    /// What happened later counts against it.
    begun: u64,
    /// Of the marks, when it began.
    doubts: u64,
    /// Of the legs, when it began.
    losses: Vec<Option<u64>>,
    pending: usize,
    done: Vec<usize>,
    failed: Vec<(usize, ErrorKind)>,
}

impl Marks {
    /// Before anything was assembled.
    pub fn none(regions: u64) -> Self {
        Self {
            log: Box::new(NoLog),
            marked: RegionSet::none(regions),
            firm: RegionSet::none(regions),
            want: Vec::new(),
            told: Told::default(),
            stage: None,
            stage_failed: false,
            dirty: false,
            records: false,
            gated: Vec::new(),
            gated_reads: Vec::new(),
            held: false,
            lost: false,
            stranded: Vec::new(),
            started: false,
            start_soon: false,
            ending: false,
            open: false,
            flushing: 0,
            writers: HashMap::new(),
            last: HashMap::new(),
            happened: 0,
            doubts: 0,
            next_look: Duration::ZERO,
            looks: 0,
            failing: false,
            #[cfg(test)]
            clearing: RegionSet::none(regions),
        }
    }

    pub fn assembled(&mut self, log: Box<dyn Log>, marked: RegionSet) {
        let regions = marked.len();
        *self = Self {
            log,
            firm: marked.clone(),
            marked,
            next_look: self.next_look,
            ..Self::none(regions)
        };
    }

    pub fn remembers_failures(&self) -> bool {
        self.log.remembers_failures()
    }

    pub const fn record_pending(&self) -> bool {
        self.records
    }

    pub const fn lost(&self) -> bool {
        self.lost
    }

    /// Regions that are marked, or about to be, or may still be on disk.
    #[cfg(test)]
    pub fn everything(&self) -> RegionSet {
        let mut all = self.marked.clone();
        all.add_all(&self.clearing);
        for (region, _) in &self.want {
            all.add(*region);
        }
        all
    }

    /// Is there something for the next stage?
    fn has_something_to_say(&self) -> bool {
        self.dirty || self.start_soon || !self.want.is_empty()
    }

    /// Is something being made durable, or to be?
    pub fn busy(&self) -> bool {
        let flushes = self.stage.is_some() || self.flushing > 0;
        let told = (self.dirty && !self.lost) || self.start_soon;
        flushes || told || !self.want.is_empty()
    }

    /// Will the region's mark be found after a crash?
    pub fn is_kept(&self, region: u64) -> bool {
        self.firm.has(region)
    }

    pub fn is_firm(&self, region: u64) -> bool {
        self.open && self.firm.has(region)
    }

    /// A region is to be marked; a write may wait for it.
    pub fn want(&mut self, region: u64, ticket: Option<Ticket>) {
        self.want.push((region, ticket));
    }

    pub fn record(&mut self, what: Record) {
        self.log.record(what);
        self.records = true;
        self.dirty = true;
    }

    /// Legs that are not there have to be recorded as failed although nothing is written.
    pub fn start_soon(&mut self) {
        self.start_soon = !self.started && !self.lost && self.log.remembers_failures();
    }

    /// The mirror ends: the log is told, if it was told that it began.
    pub fn stopped(&mut self) {
        self.open = false;
        self.ending = true;
        if std::mem::take(&mut self.started) && !self.lost {
            self.record(Record::Stopped);
        }
    }

    /// It goes on after that.
    pub fn resumed(&mut self) {
        self.ending = false;
    }

    /// Marks a region although nobody writes there.
    pub fn mark_now(&mut self, region: u64) {
        if !self.marked.has(region) {
            self.want(region, None);
        }
    }

    fn note(&mut self, region: u64, now: Duration) {
        self.happened += 1;
        self.last.insert(region, (now, self.happened));
    }

    pub fn begin_write(&mut self, region: u64) {
        *self.writers.entry(region).or_default() += 1;
        let now = self.last.get(&region).map_or(Duration::ZERO, |l| l.0);
        self.note(region, now);
    }

    pub fn end_write(&mut self, region: u64, now: Duration) {
        if let Some(writers) = self.writers.get_mut(&region) {
            *writers -= 1;
            if *writers == 0 {
                self.writers.remove(&region);
            }
        }
        self.note(region, now);
    }

    /// Nothing has written here since `number`, and nothing does.
    fn quiet_since(&self, region: u64, number: u64) -> bool {
        !self.writers.contains_key(&region) && self.last.get(&region).is_none_or(|l| l.1 <= number)
    }

    fn tell_wanted(&mut self) {
        for (region, ticket) in std::mem::take(&mut self.want) {
            if self.marked.add(region) {
                self.log.mark(region);
                self.told.regions.push(region);
                self.dirty = true;
            } else if !self.firm.has(region) && !self.told.regions.contains(&region) {
                // Told before, and in the stage that was under way: that has ended by now.
                self.told.regions.push(region);
            }
            self.told.tickets.extend(ticket);
        }
    }

    fn clear(&mut self, region: u64) {
        if self.marked.remove(region) {
            self.firm.remove(region);
            self.last.remove(&region);
            self.log.clear(region);
            self.dirty = true;
            #[cfg(test)]
            self.clearing.add(region);
        }
    }
}

impl Machine {
    /// Begins the next stage of the log if there is something to make durable.
    pub(super) fn pump_log(&mut self) {
        if self.marks.lost && !self.marks.gated.is_empty() {
            // Answers that came to wait after it was lost.
            self.strand();
        }
        while self.marks.stage.is_none() && self.marks.has_something_to_say() {
            if self.marks.lost {
                // Those that come after what fails want to be marked too.
                self.strand();
                continue;
            }
            self.marks.start_soon = false;
            if !self.marks.started && !self.marks.ending {
                self.start_log();
            }
            if self.marks.flushing > 0 {
                // What was found is made durable before anything says that it is.
                return;
            }
            if !self.marks.records {
                self.marks.tell_wanted();
            } else if !self.marks.dirty {
                return;
            }
            let mut writes = Vec::new();
            self.marks.log.next(&mut writes);
            let told = std::mem::take(&mut self.marks.told);
            if writes.is_empty() {
                self.marks.dirty = false;
                #[cfg(test)]
                if self.marks.started {
                    self.marks.clearing = RegionSet::none(self.config.regions());
                }
                self.marked(told);
                self.all_recorded();
            } else {
                self.marks.stage = Some((told, writes.len()));
                self.write_log(writes);
            }
        }
    }

    /// Before anything else is told: the mirror is in use, without the legs that are not there.
    fn start_log(&mut self) {
        self.marks.started = true;
        self.marks.record(Record::Started);
        let mut places: Vec<Place> = self
            .form
            .reads(&self.config)
            .iter()
            .map(|r| r.place)
            .collect();
        places.sort_unstable();
        places.dedup();
        places.retain(
            |p| !matches!(p, Place::Meta(leg) | Place::Data(leg) if !self.legs[*leg].alive),
        );
        self.marks.flushing = places.len();
        for place in places {
            let id = self.op(Owner::LogFlush { place });
            self.out.push(Action::Flush { id, place });
        }
        for leg in 0..self.legs.len() {
            if !self.legs[leg].alive {
                self.marks.record(Record::Failed(leg));
            }
        }
    }

    fn write_log(&mut self, writes: Vec<LogWrite>) {
        for LogWrite {
            place,
            offset,
            data,
        } in writes
        {
            let id = self.op(Owner::Log { place });
            self.out.push(Action::Write {
                to: vec![(id, place)],
                offset,
                buf: Buf::copy_of(&data),
                fua: true,
            });
        }
    }

    pub(super) fn log_write_done(&mut self, place: Place, result: Result<(), ErrorKind>) {
        if let Err(kind) = result {
            self.marks.stage_failed = true;
            self.log_failed(place, kind);
        }
        let Some((told, pending)) = &mut self.marks.stage else {
            return;
        };
        *pending -= 1;
        if *pending > 0 {
            return;
        }
        let told = std::mem::take(told);
        self.marks.stage = None;
        if self.marks.lost {
            self.marks.stranded.extend(told.tickets);
            self.strand();
            return self.pump_log();
        }
        if std::mem::take(&mut self.marks.stage_failed) {
            // One place has the marks and another has not: nothing may be written until it is
            // recorded which one to believe.
            for region in told.regions {
                self.marks.want(region, None);
            }
            for ticket in told.tickets {
                if let Some(write) = self.writes.get(&ticket) {
                    self.marks.want(write.region, Some(ticket));
                }
            }
            return;
        }
        self.marked(told);
    }

    pub(super) fn log_flushed(&mut self, place: Place, result: Result<(), ErrorKind>) {
        self.marks.flushing -= 1;
        if let Err(kind) = result {
            self.log_failed(place, kind);
        }
        self.marks.open = self.marks.started && !self.marks.records && self.marks.flushing == 0;
    }

    fn log_failed(&mut self, place: Place, kind: ErrorKind) {
        let lost = match self.marks.log.lost(place) {
            LogFailure::Leg(leg) => leg >= self.legs.len() || !self.fail_leg(leg, kind, None),
            LogFailure::All => true,
        };
        if lost && !self.marks.lost {
            self.marks.lost = true;
            self.tell(News::LogFailed);
        }
    }

    /// These marks are durable.
    fn marked(&mut self, told: Told) {
        for region in told.regions {
            // A mark that was cleared meanwhile is not there.
            if self.marks.marked.has(region) {
                self.marks.firm.add(region);
            }
        }
        for ticket in told.tickets {
            self.write_marked(ticket);
        }
    }

    /// Every record is durable: answers that waited for that are given.
    fn all_recorded(&mut self) {
        self.marks.records = false;
        self.answer_gated_reads();
        self.marks.open = self.marks.started && self.marks.flushing == 0;
        if !self.marks.held {
            for ticket in std::mem::take(&mut self.marks.gated) {
                self.answer(ticket, Ok(()));
            }
        }
    }

    fn answer_gated_reads(&mut self) {
        for ticket in std::mem::take(&mut self.marks.gated_reads) {
            self.answer(ticket, Ok(()));
        }
    }

    /// The log is lost: what waited for it fails, or waits for a new table.
    fn strand(&mut self) {
        (self.marks.dirty, self.marks.start_soon) = (false, false);
        self.answer_gated_reads();
        for (_, ticket) in std::mem::take(&mut self.marks.want) {
            self.marks.stranded.extend(ticket);
        }
        let told = std::mem::take(&mut self.marks.told);
        self.marks.stranded.extend(told.tickets);
        if self.holds_writes() {
            return;
        }
        for ticket in std::mem::take(&mut self.marks.stranded) {
            self.write_unmarked(ticket);
        }
        // A failure that could not be recorded cannot be answered with success.
        for ticket in std::mem::take(&mut self.marks.gated) {
            self.refuse(ticket, ErrorKind::Io, 0);
        }
    }

    /// The mirror stops: requests that wait for a new table are given back.
    pub(super) fn give_back_held(&mut self) {
        if !self.marks.held && !self.marks.lost {
            return;
        }
        while !self.marks.stranded.is_empty() {
            for ticket in std::mem::take(&mut self.marks.stranded) {
                self.write_again(ticket);
            }
            // Those that waited for their ranges are stranded in turn.
            self.pump_log();
        }
        for ticket in std::mem::take(&mut self.marks.gated) {
            self.out.push(Action::Again(ticket));
        }
    }

    /// Looks for marks to clear and legs that are up to date, now and then.
    pub(super) fn pump_settle(&mut self) {
        if !self.running() || self.settle.is_some() || self.marks.lost {
            return;
        }
        let due = self.now >= self.marks.next_look;
        let fresh = self.legs.iter().any(|l| l.whole() && !l.settled) && !self.marks.failing;
        if due || fresh {
            self.marks.next_look = self.now + self.tuning.look_every;
            self.begin_settle(false);
        }
        let behind = self.legs.iter().any(|l| l.alive && !l.settled);
        if !self.marks.marked.is_empty() && (self.all_settled() || behind) {
            self.wake(self.marks.next_look);
        }
    }

    fn all_settled(&self) -> bool {
        self.legs.iter().all(|l| l.alive && l.settled) || self.broken(Broken::ClearedWhileDegraded)
    }

    fn clearable(&self, region: u64) -> bool {
        let holds = |l: &super::legs::Leg| !l.stale.has(region) && l.suspect == 0;
        self.all_settled() && self.legs.iter().all(holds)
    }

    /// Flushes the legs if something comes of it. `all`: marks need not have been quiet for long.
    pub(super) fn begin_settle(&mut self, all: bool) {
        let after = if all {
            Duration::ZERO
        } else {
            self.tuning.clear_after
        };
        let quiet = |region: &u64| {
            let last = self.marks.last.get(region).map_or(Duration::ZERO, |l| l.0);
            let idle = !self.marks.writers.contains_key(region) && last + after <= self.now;
            (idle || self.broken(Broken::ClearedEarly)) && self.clearable(*region)
        };
        let regions: Vec<u64> = match self.all_settled() {
            true => {
                let quiet = self.marks.marked.iter().filter(quiet);
                quiet.take(CLEARED_AT_ONCE).collect()
            }
            false => Vec::new(),
        };
        let fresh = |n: &usize| self.legs[*n].whole() && !self.legs[*n].settled;
        let legs: Vec<usize> = (0..self.legs.len()).filter(fresh).collect();
        let filled = self.filled(all);
        if regions.is_empty() && legs.is_empty() && filled.is_empty() {
            return;
        }
        let flushed = self.alive();
        self.settle = Some(Settle {
            regions,
            legs,
            filled,
            begun: self.marks.happened,
            doubts: self.marks.doubts,
            losses: self.losses(),
            pending: flushed.len(),
            done: Vec::new(),
            failed: Vec::new(),
        });
        let only_marks = settle_only_marks(&self.settle);
        if only_marks && self.broken(Broken::ClearedWithoutFlush) {
            return self.settled();
        }
        for leg in flushed {
            let id = self.op(Owner::Settle { leg });
            let place = Place::Data(leg);
            self.out.push(Action::Flush { id, place });
        }
    }

    /// How far legs that are being filled have come, once in a while.
    fn filled(&mut self, now: bool) -> Vec<(usize, u64)> {
        self.marks.looks += 1;
        if !now && self.marks.looks % LOOKS_PER_NOTE != 0 {
            return Vec::new();
        }
        let legs = self.legs.iter().enumerate();
        let filling = legs.filter(|(_, l)| l.alive && !l.settled && !l.whole());
        let far = |leg: &super::legs::Leg| {
            let region = leg.stale.next(0).unwrap_or(leg.stale.len());
            self.config.region_range(region).0.min(self.len())
        };
        filling.map(|(n, leg)| (n, far(leg))).collect()
    }

    pub(super) fn settle_flushed(&mut self, leg: usize, result: Result<(), ErrorKind>) {
        let Some(settle) = &mut self.settle else {
            return;
        };
        match result {
            Ok(()) => settle.done.push(leg),
            Err(kind) => {
                settle.failed.push((leg, kind));
                self.flush_failed(leg);
            }
        }
        if let Some(settle) = &mut self.settle {
            settle.pending -= 1;
            if settle.pending == 0 {
                self.settled();
            }
        }
    }

    /// The legs are flushed: clears marks and records legs, where nothing came between.
    fn settled(&mut self) {
        let Some(settle) = self.settle.take() else {
            return;
        };
        let blind = settle.pending > 0;
        if !blind {
            let outcome = self.flush_outcome(&settle.done, &settle.failed, &settle.losses);
            self.marks.failing = outcome.is_err();
            self.untold = self.untold.or(outcome.err());
            // Since it began something was lost, or is to be copied, or was: the next one tells.
            if self.marks.failing || self.marks.doubts != settle.doubts {
                return;
            }
        }
        for leg in settle.legs {
            let flushed = settle.done.contains(&leg) && self.lost_nothing(leg, &settle.losses);
            if self.legs[leg].whole() && flushed {
                self.legs[leg].settled = true;
                self.marks.record(Record::InSync(leg));
                self.tell(News::LegInSync(leg));
            }
        }
        for (leg, bytes) in settle.filled {
            if self.legs[leg].alive && !self.legs[leg].settled {
                self.marks.record(Record::Filled(leg, bytes));
            }
        }
        let early = self.broken(Broken::ClearedEarly);
        for region in settle.regions {
            let quiet = self.marks.quiet_since(region, settle.begun) || early;
            if quiet && self.clearable(region) {
                self.marks.clear(region);
            }
        }
        if self.marks.marked.is_empty() && matches!(self.state, State::Running) {
            self.marks.next_look = self.now + self.tuning.look_every;
        }
    }
}
