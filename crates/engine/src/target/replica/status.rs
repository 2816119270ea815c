//! What a mirror looks like now, for reports.

use super::machine::{Machine, State};
use super::{Activity, RegionSet};

/// A leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegState {
    /// Alive and in sync.
    InSync,
    /// Alive, not in sync everywhere.
    Behind,
    /// Failed, or not found.
    Dead,
    /// The table has none here.
    Nowhere,
}

/// A mirror now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Is it assembled and running?
    pub running: bool,
    /// The legs in order.
    pub legs: Vec<LegState>,
    /// Regions that are the same on all legs that are alive.
    pub synced: u64,
    /// Regions.
    pub regions: u64,
    /// Regions that are marked.
    pub marked: u64,
    /// What runs in the background.
    pub activity: Activity,
    /// Sectors in blocks that differed, of the last check.
    pub mismatches: u64,
    /// Bad blocks that were written anew, over all legs.
    pub corrected: u64,
    /// Nothing can be marked any more.
    pub log_failed: bool,
    /// Writes wait for a new table.
    pub held: bool,
}

impl Machine {
    /// What it looks like now.
    pub fn status(&self) -> Status {
        let running = matches!(
            self.state,
            State::Running | State::Stopping(_) | State::Stopped
        );
        let regions = self.config.regions();
        let mut stale = RegionSet::none(regions);
        let leg = |leg: &super::legs::Leg| match leg {
            l if l.nowhere => LegState::Nowhere,
            l if !l.alive => LegState::Dead,
            l if l.whole() => LegState::InSync,
            _ => LegState::Behind,
        };
        for leg in self.legs.iter().filter(|l| l.alive) {
            stale.add_all(&leg.stale);
        }
        Status {
            running,
            legs: self.legs.iter().map(leg).collect(),
            synced: regions - stale.count(),
            regions,
            marked: self.marks.marked.count(),
            activity: self.activity(),
            mismatches: self.background.mismatches(),
            corrected: self.legs.iter().map(|l| l.corrected).sum(),
            log_failed: self.marks.lost(),
            held: self.marks.held,
        }
    }
}
