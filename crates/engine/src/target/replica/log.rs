//! What the machine asks of the places where marks are kept.
//!
//! A [`Form`] reads what is on disk at assembly and gives a [`Log`]: the image in memory of what is
//! to be on disk, and the writes that bring the disk to it. The log does no I/O: the machine takes
//! the writes of one stage from [`Log::next`], has them made durable (FUA), all at once, and asks
//! for the next stage when all have ended. When a stage is empty, everything that the log was told
//! before is durable. A stage holds every mark told before it, so marks need one stage only;
//! records may take several, and while one is under way no marks are told.
//!
//! The machine keeps to this: a region is told as marked before a byte of it is written, and the
//! write waits for the stages; it is told as cleared only when all legs hold the same there and
//! have been flushed since; a failed leg is told before any write that it missed is answered.

use std::fmt::Debug;

use super::{Config, Place, RegionSet};

/// Bytes to be read at assembly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRead {
    /// Where.
    pub place: Place,
    /// First byte.
    pub offset: u64,
    /// Bytes. A device that ends earlier gives fewer.
    pub len: u64,
}

/// Bytes to be made durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogWrite {
    /// Where.
    pub place: Place,
    /// First byte, a multiple of the device's block.
    pub offset: u64,
    /// Whole blocks.
    pub data: Vec<u8>,
}

/// What is to be remembered beside marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// The first write since the assembly, or since [`Record::Stopped`], is about to come. No mark
    /// is told before this is durable.
    Started,
    /// A leg has missed a write: it may be used again only after what is marked was copied to it.
    Failed(usize),
    /// A leg that had failed is there again and takes part in writes. It stays recorded as failed;
    /// its own places are written again from now on, first as a whole.
    Returned(usize),
    /// A leg that had failed, was absent or was being filled holds what the others hold.
    InSync(usize),
    /// A leg that is being filled as a whole has got this far, in bytes. Flushed before.
    Filled(usize, u64),
    /// The mirror ends, all marks that could be were cleared and have become durable. What is not
    /// whole stays marked.
    Stopped,
}

/// A form's marks for one running mirror.
pub trait Log: Debug + Send {
    /// A region is about to be written.
    fn mark(&mut self, region: u64);
    /// A region is the same on all legs.
    fn clear(&mut self, region: u64);
    /// Something else is to be remembered.
    fn record(&mut self, what: Record);
    /// The writes of the next stage, into `writes` (empty when called); none if everything told
    /// before is durable. Called when all writes of the stage before have ended. Must hold every
    /// mark told so far; clears may come with whatever stage comes next.
    fn next(&mut self, writes: &mut Vec<LogWrite>);
    /// A write of the last stage failed, or its place is gone. No more writes go there. The stage
    /// counts as ended for this place.
    fn lost(&mut self, place: Place) -> LogFailure;
    /// Does it keep [`Record::Failed`]? If not, a mirror whose first leg failed must hold its
    /// writes, since the next assembly would copy from that leg.
    fn remembers_failures(&self) -> bool;
    /// Does it keep anything at all on disk?
    fn durable(&self) -> bool;
}

/// What the loss of a place means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFailure {
    /// The marks are kept elsewhere too: only this leg is lost.
    Leg(usize),
    /// Nothing can be marked any more.
    All,
}

/// A leg as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LegFound {
    /// It holds what is to be read, but for the mirror's dirty regions.
    Whole,
    /// It holds something older in these regions: to be copied from the others. It was away, or is
    /// being filled.
    Stale(RegionSet),
    /// It is not there, or not of this mirror.
    Absent,
}

/// A mirror, assembled from what was found.
#[derive(Debug)]
pub struct Assembly {
    /// The legs, in the table's order.
    pub legs: Vec<LegFound>,
    /// Regions in which the whole legs may differ: they are copied from the first of them that is
    /// not written-mostly, and read from it until then.
    pub dirty: RegionSet,
    /// Regions that are marked on disk: all of `dirty`, and those of stale legs.
    pub marked: RegionSet,
    /// The marks from now on.
    pub log: Box<dyn Log>,
}

/// Why a mirror cannot be assembled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoAssembly {
    /// What is wrong.
    pub what: String,
}

/// The form of marks on disk.
pub trait Form: Debug + Send + Sync {
    /// What has to be read before it can be assembled.
    fn reads(&self, config: &Config) -> Vec<LogRead>;
    /// Assembles from what was read, in the order of [`Self::reads`]; none where a read failed.
    fn assemble(&self, config: &Config, found: &[Option<Vec<u8>>]) -> Result<Assembly, NoAssembly>;
}

/// No marks on disk: the historical `raid1`, and `mirror core`. Whatever was written before counts
/// as different, unless the table says `nosync`.
#[derive(Clone, Copy, Debug)]
pub struct Unlogged;

impl Form for Unlogged {
    fn reads(&self, _config: &Config) -> Vec<LogRead> {
        Vec::new()
    }

    fn assemble(
        &self,
        config: &Config,
        _found: &[Option<Vec<u8>>],
    ) -> Result<Assembly, NoAssembly> {
        let regions = config.regions();
        let leg = |leg: &super::Leg| match leg.devices {
            None => LegFound::Absent,
            Some(_) if leg.rebuild => LegFound::Stale(RegionSet::all(regions)),
            Some(_) => LegFound::Whole,
        };
        let dirty = match config.start {
            super::Start::NoSync => RegionSet::none(regions),
            super::Start::Marks | super::Start::Sync => RegionSet::all(regions),
        };
        Ok(Assembly {
            legs: config.legs.iter().map(leg).collect(),
            marked: dirty.clone(),
            dirty,
            log: Box::new(NoLog),
        })
    }
}

#[derive(Debug)]
pub(super) struct NoLog;

impl Log for NoLog {
    fn mark(&mut self, _region: u64) {}
    fn clear(&mut self, _region: u64) {}
    fn record(&mut self, _what: Record) {}
    fn next(&mut self, _writes: &mut Vec<LogWrite>) {}
    fn lost(&mut self, _place: Place) -> LogFailure {
        LogFailure::All
    }
    fn remembers_failures(&self) -> bool {
        false
    }
    fn durable(&self) -> bool {
        false
    }
}
