//! A mirror that is only read: no machine, no marks, nothing is changed on any leg.
//!
//! Every read goes to one leg that holds what is to be read: the first that is whole and not
//! written-mostly. Where whole legs may differ that is the leg that the others would be copied
//! from, so that two reads give the same. A stale leg is never read.

use std::time::Duration;

use super::{Activity, Assembly, Config, LegFound, LegState, NoAssembly, Status};
use crate::error::ErrorKind;
use crate::io::{Op, Sectors};
use crate::target::{Child, DevIndex, Piece, Plan, Target, Use, Verdict};

/// A mirror for reading.
#[derive(Debug)]
pub struct ReadOnly {
    config: Config,
    source: usize,
    health: Vec<LegState>,
    /// Regions in which the legs do not differ.
    synced: u64,
}

impl ReadOnly {
    /// From what was found. The log of the assembly is dropped: nothing will be written.
    pub fn new(config: Config, found: &Assembly) -> Result<Self, NoAssembly> {
        let whole = |n: &usize| {
            found.legs.get(*n) == Some(&LegFound::Whole) && config.legs[*n].devices.is_some()
        };
        let all = || (0..config.legs.len()).filter(whole);
        let first = all().find(|n| !config.legs[*n].write_mostly);
        let Some(source) = first.or_else(|| all().next()) else {
            return Err(NoAssembly {
                what: "no leg is in sync".into(),
            });
        };
        let health = |n: usize| match (&config.legs[n].devices, &found.legs.get(n)) {
            (None, _) => LegState::Nowhere,
            (Some(_), Some(LegFound::Whole)) => LegState::InSync,
            (Some(_), Some(LegFound::Stale(_))) => LegState::Behind,
            (Some(_), Some(LegFound::Absent) | None) => LegState::Dead,
        };
        Ok(Self {
            health: (0..config.legs.len()).map(health).collect(),
            synced: config.regions() - found.dirty.count(),
            config,
            source,
        })
    }

    /// The leg that is read.
    pub fn source(&self) -> usize {
        self.source
    }
}

impl Target for ReadOnly {
    fn kind(&self) -> &'static str {
        self.config.kind()
    }

    fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        self.config.args(name)
    }

    fn status(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        let regions = self.config.regions();
        let now = Status {
            running: true,
            legs: self.health.clone(),
            synced: self.synced,
            regions,
            marked: regions - self.synced,
            activity: Activity::Frozen,
            mismatches: 0,
            corrected: 0,
            log_failed: false,
            held: false,
        };
        self.config.status(&now, name)
    }

    fn uses(&self, len: Sectors) -> Vec<Use> {
        let legs = self.config.legs.iter().filter_map(|leg| leg.devices);
        legs.map(|leg| Use {
            device: leg.data,
            start: leg.offset,
            len,
        })
        .collect()
    }

    fn map(&self, piece: &Piece, _now: Duration, plan: &mut Plan) {
        match (piece.op, self.config.legs[self.source].devices) {
            (Op::Read, Some(leg)) => {
                plan.children
                    .push(Child::shifted(piece, leg.data, leg.offset));
            }
            (Op::Flush, _) => {}
            _ => plan.verdict = Verdict::Fail(ErrorKind::ReadOnly),
        }
    }
}
