//! The legs: who is alive, who is whole, who is given up and who takes whose place.
//!
//! A leg is *whole* if it is alive and stale nowhere. It is *settled* if the log says that it is in
//! sync, *sound* if it is both: one leg always is. It is *fit* to take the place of the last sound leg, should that fail, if it is stale only
//! where the mirror was being written when it crashed, or where a write failed that its client was
//! told of. A log that does not remember failures cannot tell after a crash who is fit: nobody is
//! then, until it is whole.

use super::event::News;
use super::machine::{Broken, Machine};
use super::{Assembly, LegFound, LogKind, Record, RegionSet};
use crate::error::ErrorKind;

/// A leg.
#[derive(Debug)]
pub(super) struct Leg {
    /// Takes part in writes.
    pub alive: bool,
    /// The table gives it no device.
    pub nowhere: bool,
    /// How often it has returned: what was begun before does not count against it.
    pub life: u32,
    /// Recorded in sync.
    pub settled: bool,
    /// Misses nothing that was answered, but for unflushed writes before a crash.
    pub fit: bool,
    /// Where it must not be read.
    pub stale: RegionSet,
    pub write_mostly: bool,
    /// Flushes that failed and whose outcome is not decided: it may have lost what it had answered.
    pub suspect: u32,
    /// Flushes that ever failed: what was read or flushed while this grew is not to be relied on.
    pub losses: u64,
    /// Reads under way.
    pub reading: u32,
    /// Where the last read ended.
    pub head: u64,
    /// Bad blocks written anew.
    pub corrected: u64,
}

impl Leg {
    pub fn absent(leg: &super::Leg, regions: u64) -> Self {
        Self {
            alive: false,
            nowhere: leg.devices.is_none(),
            life: 0,
            settled: false,
            fit: false,
            stale: RegionSet::none(regions),
            write_mostly: leg.write_mostly,
            suspect: 0,
            losses: 0,
            reading: 0,
            head: 0,
            corrected: 0,
        }
    }

    pub const fn whole(&self) -> bool {
        self.alive && self.stale.is_empty()
    }

    /// May it take the place of the last sound leg?
    pub const fn may_take_over(&self) -> bool {
        self.alive && self.fit && self.settled
    }

    /// Whole, and after a crash known to be.
    pub const fn sound(&self) -> bool {
        self.whole() && self.settled
    }
}

impl Machine {
    /// Legs, marks and log from what was found.
    pub(super) fn take_assembly(&mut self, assembly: Assembly) -> Result<(), &'static str> {
        let regions = self.config.regions();
        let fits = |set: &RegionSet| set.len() == regions;
        if assembly.legs.len() != self.legs.len()
            || !fits(&assembly.dirty)
            || !fits(&assembly.marked)
        {
            return Err("what was found is not of this size");
        }
        let mut whole = Vec::new();
        let tells_fit = assembly.log.remembers_failures() || assembly.dirty.is_empty();
        for (n, (leg, found)) in self.legs.iter_mut().zip(assembly.legs).enumerate() {
            leg.stale = RegionSet::none(regions);
            leg.alive = found != LegFound::Absent && !leg.nowhere;
            leg.settled = leg.alive && found == LegFound::Whole;
            leg.fit = leg.settled && tells_fit;
            match found {
                LegFound::Stale(stale) if fits(&stale) => leg.stale.add_all(&stale),
                LegFound::Stale(_) => return Err("what was found is not of this size"),
                LegFound::Whole if leg.alive => whole.push(n),
                LegFound::Whole | LegFound::Absent => {}
            }
        }
        let first = whole.iter().find(|n| !self.legs[**n].write_mostly);
        let source = *first.or(whole.first()).ok_or("no leg is in sync")?;
        if !self.broken(Broken::DirtyReadAnywhere) {
            for n in (0..self.legs.len()).filter(|n| *n != source) {
                self.legs[n].stale.add_all(&assembly.dirty);
            }
        }
        let mut marked = assembly.marked;
        marked.add_all(&assembly.dirty);
        for leg in self.legs.iter().filter(|l| l.alive) {
            marked.add_all(&leg.stale);
        }
        self.marks.assembled(assembly.log, marked);
        Ok(())
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        (0..self.legs.len())
            .filter(|n| self.legs[*n].alive)
            .collect()
    }

    /// Gives a leg up, if a sound one is left or can take its place. False if it is the last.
    pub(super) fn fail_leg(&mut self, leg: usize, kind: ErrorKind, offset: Option<u64>) -> bool {
        if !self.legs[leg].alive {
            return true;
        }
        let others = || (0..self.legs.len()).filter(|n| *n != leg);
        if !others().any(|n| self.legs[n].sound()) {
            let next = self.preferred(|n, it| n != leg && it.may_take_over());
            let Some(next) = next.filter(|_| self.legs[leg].sound()) else {
                return false;
            };
            self.promote(next);
        }
        let first = self.legs.iter().position(|l| l.alive) == Some(leg);
        self.legs[leg].alive = false;
        self.legs[leg].settled = false;
        self.legs[leg].fit = false;
        // If it returns, it is to have all of every region.
        self.doubt();
        self.tell(News::LegFailed { leg, offset, kind });
        self.marks.record(Record::Failed(leg));
        if first && !self.marks.remembers_failures() && self.holds_writes() {
            self.marks.held = true;
        }
        self.keep_order();
        true
    }

    /// The next assembly reads, where legs may differ, from the first leg that is recorded in sync: as
    /// long as that is not sound, it is recorded as one to be brought up to date.
    pub(super) fn keep_order(&mut self) {
        if !self.marks.remembers_failures() || !self.legs.iter().any(Leg::sound) {
            return;
        }
        while let Some(leg) = self.preferred(|_, it| it.alive && it.settled)
            && !self.legs[leg].sound()
        {
            self.legs[leg].settled = false;
            self.legs[leg].fit = false;
            self.marks.record(Record::Failed(leg));
            self.marks.record(Record::Returned(leg));
        }
    }

    /// The first of these legs, in the order that assemblies take them: those that are mostly
    /// written come last.
    pub(super) fn preferred(&self, of: impl Fn(usize, &Leg) -> bool) -> Option<usize> {
        let mut legs = (0..self.legs.len()).filter(|n| of(*n, &self.legs[*n]));
        let usual = legs.clone().find(|n| !self.legs[*n].write_mostly);
        usual.or_else(|| legs.next())
    }

    /// A fit leg is sound from now on, and the others follow it where they may differ.
    pub(super) fn promote(&mut self, leg: usize) {
        let regions = self.config.regions();
        self.legs[leg].stale = RegionSet::none(regions);
        self.follow_leg(leg);
        self.tell(News::Promoted(leg));
    }

    /// Wherever legs may differ, the others are copied from this one.
    pub(super) fn follow_leg(&mut self, leg: usize) {
        for n in (0..self.legs.len()).filter(|n| *n != leg) {
            self.legs[n].stale.add_all(&self.marks.marked);
        }
        self.doubt();
    }

    /// What is being copied has to be copied again, and a flush of all legs that is under way says
    /// nothing about what is copied from now on.
    pub(super) fn doubt(&mut self) {
        self.marks.doubts += 1;
        self.background.redo_all();
    }

    /// A flush of a leg has failed; whoever made it decides what becomes of the leg.
    pub(super) fn flush_failed(&mut self, leg: usize) {
        self.legs[leg].suspect += 1;
        self.legs[leg].losses += 1;
        self.marks.doubts += 1;
    }

    /// What flushes and reads that begin now are to be compared with when they end.
    pub(super) fn losses(&self) -> Vec<Option<u64>> {
        let known = |leg: &Leg| (leg.suspect == 0).then_some(leg.losses);
        self.legs.iter().map(known).collect()
    }

    /// Has no flush of the leg failed since, nor was one undecided then?
    pub(super) fn lost_nothing(&self, leg: usize, since: &[Option<u64>]) -> bool {
        let now = &self.legs[leg];
        now.suspect == 0 && since.get(leg) == Some(&Some(now.losses))
    }

    /// Do writes wait for a new table once the first leg has failed? The next assembly would copy
    /// from it.
    pub(super) fn holds_writes(&self) -> bool {
        match &self.config.log {
            LogKind::Core(args) | LogKind::Disk { args, .. } => {
                args.handle_errors || args.block_on_error
            }
            LogKind::None | LogKind::Raid(_) => false,
        }
    }

    /// A region of a leg is not to be trusted any more.
    pub(super) fn make_stale(&mut self, leg: usize, region: u64) {
        self.legs[leg].stale.add(region);
        self.marks.doubts += 1;
        self.background.redo(region);
    }

    /// The first leg that is sound.
    pub(super) fn first_sound(&self) -> Option<usize> {
        self.preferred(|_, it| it.sound())
    }

    /// May this region of the leg be read?
    pub(super) fn readable(&self, leg: usize, region: u64) -> bool {
        let stale = self.legs[leg].stale.has(region) && !self.broken(Broken::StaleLegRead);
        self.legs[leg].alive && !stale
    }
}
