//! What runs in the background: copying regions to legs that are stale there, and scrubs.
//!
//! A region is copied window by window, several at a time. When all of it was copied and nothing
//! made a leg stale there meanwhile, the legs are not stale there any more. Nothing is kept on disk
//! of a copy that is under way: the region's mark says that it is to be done.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::{Message, News, Refused};
use super::jobs::Kind;
use super::machine::{Broken, Machine};
use super::{Config, Record, RegionSet};

/// A client's request counts as load for this long.
const LOAD: Duration = Duration::from_millis(50);
/// Regions that could not be read are tried again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// What runs, for status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// Nothing may run.
    Frozen,
    /// Legs that may differ are made equal.
    Resync,
    /// Legs that were away are brought up to date.
    Recover,
    /// Legs are compared.
    Check,
    /// Legs are compared and made equal.
    Repair,
}

/// A region being copied.
#[derive(Debug)]
struct Active {
    region: u64,
    /// Where the next window begins.
    next: u64,
    end: u64,
    /// Windows under way.
    windows: usize,
    /// What was copied does not count.
    redo: bool,
    failed: bool,
    targets: Vec<usize>,
}

/// A scrub.
#[derive(Debug)]
struct Scrub {
    repair: bool,
    next: u64,
    windows: usize,
    mismatches: u64,
}

#[derive(Debug)]
pub(super) struct Background {
    frozen: bool,
    active: VecDeque<Active>,
    /// Where the next region is looked for.
    cursor: u64,
    /// Regions that cannot be copied for now, and when they are tried again.
    stuck: RegionSet,
    again: Option<Duration>,
    scrub: Option<Scrub>,
    /// Of the last check; 0 after a repair.
    mismatches: u64,
    numbers: u64,
    pace: Pace,
    /// Some leg was stale when it was last looked.
    behind: bool,
}

/// How fast copies may go.
#[derive(Debug)]
struct Pace {
    max: Option<u64>,
    min: Option<u64>,
    ready: Duration,
    load_until: Duration,
}

impl Background {
    pub fn new(config: &Config) -> Self {
        Self {
            frozen: false,
            active: VecDeque::new(),
            cursor: 0,
            stuck: RegionSet::none(config.regions()),
            again: None,
            scrub: None,
            mismatches: 0,
            numbers: 0,
            pace: Pace {
                max: config.max_rate.filter(|r| *r > 0).map(|r| r * 1024),
                min: config.min_rate.filter(|r| *r > 0).map(|r| r * 1024),
                ready: Duration::ZERO,
                load_until: Duration::ZERO,
            },
            behind: false,
        }
    }

    /// A number for a job.
    pub const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A client has made a request.
    pub fn foreground(&mut self, now: Duration) {
        self.pace.load_until = now + LOAD;
    }

    /// What is being copied of a region has to be copied again.
    pub fn redo(&mut self, region: u64) {
        for active in self.active.iter_mut().filter(|a| a.region == region) {
            active.redo = true;
        }
    }

    /// What is being copied has to be copied again.
    pub fn redo_all(&mut self) {
        for active in &mut self.active {
            active.redo = true;
        }
    }

    pub fn differ(&mut self, sectors: u64) {
        if let Some(scrub) = &mut self.scrub {
            scrub.mismatches += sectors;
        }
    }

    pub fn mismatches(&self) -> u64 {
        self.scrub
            .as_ref()
            .map_or(self.mismatches, |s| s.mismatches)
    }

    fn windows(&self) -> usize {
        let copies: usize = self.active.iter().map(|a| a.windows).sum();
        copies + self.scrub.as_ref().map_or(0, |s| s.windows)
    }

    fn retry_stuck(&mut self) {
        self.stuck = RegionSet::none(self.stuck.len());
        self.again = None;
    }
}

impl Pace {
    /// A window of `bytes` is begun.
    fn count(&mut self, bytes: u64, now: Duration, min: u64) {
        let rate = match now < self.load_until {
            true => Some(self.max.map_or(min, |max| max.min(min))),
            false => self.max,
        };
        if let Some(rate) = rate {
            let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            self.ready = self.ready.max(now) + takes;
        }
    }
}

impl Machine {
    /// Follows a message, or says why not. What is to be done is added to `actions`.
    pub fn message(
        &mut self,
        now: Duration,
        message: Message,
        actions: &mut Vec<super::Action>,
    ) -> Result<(), Refused> {
        self.now = now.max(self.now);
        if !self.running() {
            return Err(Refused::Invalid);
        }
        let followed = self.follow(message);
        self.go_on();
        actions.append(&mut self.out);
        followed
    }

    /// As [`Self::message`]; what is to be done is asked for with the next event.
    pub fn ask(&mut self, now: Duration, message: Message) -> Result<(), Refused> {
        self.now = now.max(self.now);
        match self.running() {
            true => self.follow(message),
            false => Err(Refused::Invalid),
        }
    }

    fn follow(&mut self, message: Message) -> Result<(), Refused> {
        let busy = !matches!(self.activity(), Activity::Idle | Activity::Frozen);
        match message {
            Message::Idle | Message::Frozen => {
                self.background.frozen = message == Message::Frozen;
                if let Some(scrub) = self.background.scrub.take() {
                    self.background.mismatches = scrub.mismatches;
                }
            }
            Message::Check | Message::Repair | Message::Resync if busy => {
                return Err(Refused::Busy);
            }
            Message::Check | Message::Repair => {
                self.background.frozen = false;
                self.background.scrub = Some(Scrub {
                    repair: message == Message::Repair,
                    next: 0,
                    windows: 0,
                    mismatches: 0,
                });
            }
            Message::Resync => {
                self.background.frozen = false;
                self.resync_all();
            }
            Message::Recover => {
                self.background.frozen = false;
                self.background.retry_stuck();
            }
            Message::Return(leg) => self.return_leg(leg)?,
        }
        Ok(())
    }

    fn resync_all(&mut self) {
        let Some(source) = self.first_sound() else {
            return;
        };
        let regions = self.config.regions();
        for region in 0..regions {
            self.marks.mark_now(region);
        }
        for leg in self.alive() {
            if leg != source {
                self.legs[leg].stale = RegionSet::all(regions);
            }
        }
        self.doubt();
    }

    /// A leg that failed takes part again: it is stale wherever a mark says that it may have missed
    /// a write, and no mark was cleared since it failed.
    fn return_leg(&mut self, leg: usize) -> Result<(), Refused> {
        let Some(found) = self.legs.get(leg) else {
            return Err(Refused::Invalid);
        };
        if found.nowhere || found.alive {
            return Err(Refused::Invalid);
        }
        let marked = self.marks.marked.clone();
        let found = &mut self.legs[leg];
        found.stale.add_all(&marked);
        found.alive = true;
        found.life += 1;
        found.settled = false;
        self.doubt();
        // It may have been missing since the assembly, without a write that it would be named for.
        self.marks.record(Record::Failed(leg));
        self.marks.record(Record::Returned(leg));
        self.background.retry_stuck();
        Ok(())
    }

    /// What runs now.
    pub(super) fn activity(&self) -> Activity {
        if self.background.frozen {
            return Activity::Frozen;
        }
        let behind = self.legs.iter().filter(|l| l.alive && !l.stale.is_empty());
        let (settled, away): (Vec<_>, Vec<_>) = behind.partition(|l| l.settled);
        match (&self.background.scrub, settled.is_empty(), away.is_empty()) {
            (_, _, false) => Activity::Recover,
            (_, false, _) => Activity::Resync,
            (Some(Scrub { repair: true, .. }), ..) => Activity::Repair,
            (Some(_), ..) => Activity::Check,
            (None, ..) => Activity::Idle,
        }
    }

    /// Begins windows as long as there are some, and their pace allows it.
    pub(super) fn pump_background(&mut self) {
        while self.running()
            && !self.background.frozen
            && self.background.windows() < self.tuning.windows
        {
            if self.background.pace.ready > self.now {
                if self.any_work() {
                    self.wake(self.background.pace.ready);
                }
                return;
            }
            let Some((kind, region, start, end)) = self.next_window() else {
                return self.look_again();
            };
            let min = self.background.pace.min.unwrap_or(self.tuning.min_rate);
            self.background.pace.count(end - start, self.now, min);
            self.begin_job(kind, region, start, end);
        }
    }

    fn any_work(&self) -> bool {
        self.background.scrub.is_some() || self.legs.iter().any(|l| l.alive && !l.stale.is_empty())
    }

    /// Regions that could not be copied are tried again in a while.
    fn look_again(&mut self) {
        if self.background.stuck.is_empty() {
            return;
        }
        match self.background.again {
            Some(at) if at <= self.now => {
                self.background.retry_stuck();
                self.wake(self.now);
            }
            Some(at) => self.wake(at),
            None => {
                self.background.again = Some(self.now + AGAIN);
                self.wake(self.now + AGAIN);
            }
        }
    }

    fn next_window(&mut self) -> Option<(Kind, u64, u64, u64)> {
        let size = self.tuning.window;
        if self.background.active.iter().all(|a| a.next >= a.end)
            && let Some(active) = self.next_region()
        {
            self.background.behind = true;
            self.background.active.push_back(active);
        }
        let unfinished = self.background.active.iter_mut().find(|a| a.next < a.end);
        if let Some(active) = unfinished {
            let start = active.next;
            active.next = (start + size).min(active.end);
            active.windows += 1;
            return Some((Kind::Copy, active.region, start, active.next));
        }
        let len = self.len();
        let scrub = self.background.scrub.as_mut()?;
        if scrub.next >= len {
            return None;
        }
        let (start, repair) = (scrub.next, scrub.repair);
        let region = self.config.region_of(start);
        scrub.next = (start + size).min(self.config.region_range(region).1);
        scrub.windows += 1;
        Some((Kind::Scrub { repair }, region, start, scrub.next))
    }

    /// The next region in which a leg is stale, that is not being copied.
    fn next_region(&mut self) -> Option<Active> {
        let found = match self.stale_region(self.background.cursor) {
            None if self.background.cursor > 0 => self.stale_region(0),
            found => found,
        }?;
        self.background.cursor = found + 1;
        let stale = |n: &usize| self.legs[*n].alive && self.legs[*n].stale.has(found);
        let (next, end) = self.config.region_range(found);
        Some(Active {
            region: found,
            next,
            end,
            windows: 0,
            redo: false,
            failed: false,
            targets: (0..self.legs.len()).filter(stale).collect(),
        })
    }

    fn stale_region(&self, from: u64) -> Option<u64> {
        let mut from = from;
        loop {
            let legs = self.legs.iter().filter(|l| l.alive);
            let region = legs.filter_map(|l| l.stale.next(from)).min()?;
            let active = self.background.active.iter().any(|a| a.region == region);
            // A copy that is cut short must be done again: its mark is durable first.
            let marked = self.marks.is_kept(region);
            if marked && !active && !self.background.stuck.has(region) {
                return Some(region);
            }
            from = region + 1;
        }
    }

    /// A window of a region was copied, or could not be.
    pub(super) fn copied(&mut self, region: u64, failed: bool) {
        let actives = &mut self.background.active;
        let Some(at) = actives.iter().position(|a| a.region == region) else {
            return;
        };
        let active = &mut actives[at];
        active.windows -= 1;
        active.failed |= failed;
        let early = self.broken(Broken::InSyncBeforeCopied);
        let active = &self.background.active[at];
        if active.windows > 0 || (active.next < active.end && !early) {
            return;
        }
        let Some(active) = self.background.active.remove(at) else {
            return;
        };
        if active.failed {
            self.background.stuck.add(region);
        } else if !active.redo {
            for leg in active.targets {
                self.legs[leg].stale.remove(region);
                self.legs[leg].fit |= self.legs[leg].whole();
            }
        }
        let all = self.legs.iter().all(|l| l.alive && l.stale.is_empty());
        if all && std::mem::take(&mut self.background.behind) {
            self.tell(News::InSync);
        }
    }

    /// A window was compared.
    pub(super) fn scrubbed(&mut self) {
        let len = self.len();
        let Some(scrub) = &mut self.background.scrub else {
            return;
        };
        scrub.windows = scrub.windows.saturating_sub(1);
        if scrub.windows > 0 || scrub.next < len {
            return;
        }
        let mismatches = scrub.mismatches;
        self.background.mismatches = if scrub.repair { 0 } else { mismatches };
        self.background.scrub = None;
        self.tell(News::Scrubbed { mismatches });
    }
}
