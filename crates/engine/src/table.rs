//! A table: the segments of a device in order, and the backing devices they lie on.
//!
//! What must hold of a [`Table`]: its segments begin at sector 0 and follow each other without a
//! gap, none is empty, the sum fits a byte offset, and every backing device is large enough.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::{Backing, Store};
use crate::error::Error;
use crate::io::{SECTOR, Sectors};
use crate::target::replica::Mirror;
use crate::target::{DevIndex, MessageError, Target};

/// A run of sectors mapped by one target.
#[derive(Debug)]
pub struct Segment {
    /// First sector.
    pub start: Sectors,
    /// Sectors.
    pub len: Sectors,
    /// The mapping.
    pub target: Box<dyn Target>,
}

/// A backing device of a table.
#[derive(Debug)]
pub struct Slot {
    /// The device.
    pub backing: Arc<Backing>,
    /// How it was called in the table's text.
    pub word: String,
    /// Failed flushes of the backing device that this table's device was told of. The kernel tells
    /// a lost write-back once per descriptor, but several devices may share it.
    told: AtomicU64,
}

impl Slot {
    /// With no flush failed so far.
    pub fn new(backing: Arc<Backing>, word: String) -> Self {
        let told = AtomicU64::new(backing.flush_failures());
        Self {
            backing,
            word,
            told,
        }
    }

    /// Did a flush fail that was not told here yet? Telling it is the caller's job from now on.
    pub fn take_flush_failure(&self) -> bool {
        let failures = self.backing.flush_failures();
        self.told.swap(failures, Ordering::AcqRel) != failures
    }
}

/// Segments in order over backing devices.
#[derive(Debug)]
pub struct Table {
    segments: Vec<Segment>,
    slots: Vec<Slot>,
    len: Sectors,
    logical: u32,
    /// A backing device is a file that is used through the page cache.
    cached: bool,
    /// Devices of mirrors, which see to their failures themselves.
    mirrored: BTreeSet<DevIndex>,
}

/// Why segments do not make a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    /// No segment at all.
    Empty,
    /// Segment `n` does not begin where the one before it ends.
    Gap {
        /// Which, from 0.
        n: usize,
        /// Where it should begin.
        expected: Sectors,
    },
    /// Segment `n` is empty.
    ZeroLength(usize),
    /// Segment `n` ends beyond what can be addressed.
    TooLong(usize),
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the table is empty"),
            Self::Gap { expected, .. } => {
                write!(f, "this line should start at sector {expected}")
            }
            Self::ZeroLength(_) => f.write_str("length is 0"),
            Self::TooLong(_) => f.write_str("the table is too long"),
        }
    }
}

/// Checks that (start, length) pairs follow each other from 0; gives the total.
pub fn check_layout(
    pairs: impl IntoIterator<Item = (Sectors, Sectors)>,
) -> Result<Sectors, Layout> {
    let mut at = 0u64;
    for (n, (start, len)) in pairs.into_iter().enumerate() {
        if start.0 != at {
            return Err(Layout::Gap {
                n,
                expected: Sectors(at),
            });
        }
        if len.0 == 0 {
            return Err(Layout::ZeroLength(n));
        }
        at = match at.checked_add(len.0) {
            Some(end) if end <= i64::MAX as u64 / SECTOR => end,
            _ => return Err(Layout::TooLong(n)),
        };
    }
    if at == 0 {
        return Err(Layout::Empty);
    }
    Ok(Sectors(at))
}

/// The first device of a segment that is smaller than what is mapped on it, as an error.
pub(crate) fn shortfall(segment: &Segment, slots: &[Slot]) -> Option<(DevIndex, Error)> {
    segment
        .target
        .uses(segment.len)
        .into_iter()
        .find_map(|used| {
            let slot = &slots[used.device.0 as usize];
            let size = slot.backing.size() / SECTOR;
            let needed = used.start.0.saturating_add(used.len.0);
            let device = slot.word.clone();
            (needed > size).then_some((
                used.device,
                Error::TooShort {
                    device,
                    size,
                    needed,
                },
            ))
        })
}

impl Table {
    /// From segments and the devices they number. Devices too small for what is mapped on them
    /// are refused.
    pub fn new(segments: Vec<Segment>, slots: Vec<Slot>) -> Result<Self, Error> {
        let len = check_layout(segments.iter().map(|s| (s.start, s.len))).map_err(|layout| {
            Error::Table(crate::table_text::TableError {
                line: 0,
                column: 0,
                what: layout.to_string(),
            })
        })?;
        if let Some((_, short)) = segments.iter().find_map(|s| shortfall(s, &slots)) {
            return Err(short);
        }
        let cached = |slot: &Slot| match slot.backing.store() {
            Store::File(file) => !file.direct(),
            Store::Mem(_) | Store::Device(_) => false,
        };
        let mirrors = || segments.iter().filter_map(|s| s.target.mirror());
        let mirrored = mirrors().flat_map(|m| m.devices()).collect();
        // A mirror does more than its children.
        let cached = mirrors().next().is_none() && slots.iter().any(cached);
        let logical = slots.iter().map(|s| s.backing.logical_block()).max();
        Ok(Self {
            segments,
            slots,
            len,
            logical: logical.unwrap_or(SECTOR as u32),
            cached,
            mirrored,
        })
    }

    /// Length.
    pub fn len(&self) -> Sectors {
        self.len
    }

    /// Never: a table has at least one segment.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Smallest unit that no client should go below: the largest of the backing devices'.
    pub fn logical_block(&self) -> u32 {
        self.logical
    }

    /// May some of it be in the page cache, so that the caller's thread could do a request at once?
    pub(crate) fn may_be_cached(&self) -> bool {
        self.cached
    }

    /// The mirrors among the targets.
    pub(crate) fn mirrors(&self) -> impl Iterator<Item = &Arc<Mirror>> {
        self.segments.iter().filter_map(|s| s.target.mirror())
    }

    /// The backing devices that no mirror uses: their failures are this table's.
    pub(crate) fn plain_slots(&self) -> impl Iterator<Item = &Slot> {
        let slots = self.slots.iter().enumerate();
        let plain = slots.filter(|(n, _)| !self.mirrored.contains(&DevIndex(*n as u32)));
        plain.map(|(_, slot)| slot)
    }

    /// The segments in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The backing devices.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// A backing device by its number.
    pub fn slot(&self, device: DevIndex) -> &Slot {
        &self.slots[device.0 as usize]
    }

    /// Number of the segment that byte `offset` lies in; none beyond the end.
    pub fn find(&self, offset: u64) -> Option<usize> {
        let sector = offset / SECTOR;
        if sector >= self.len.0 {
            return None;
        }
        if self.segments.len() == 1 {
            return Some(0);
        }
        let behind = self.segments.partition_point(|s| s.start.0 <= sector);
        Some(behind - 1)
    }

    /// As text, devices by the words they were given.
    pub fn text(&self) -> String {
        self.text_named(&|slot| slot.word.clone())
    }

    /// As text, devices by the names that `name` gives them.
    pub fn text_named(&self, name: &dyn Fn(&Slot) -> String) -> String {
        self.lines(|target| target.args(&|d| name(self.slot(d))))
    }

    /// Status lines.
    pub fn status(&self) -> String {
        self.status_named(&|slot| slot.word.clone())
    }

    /// Status lines, devices by the names that `name` gives them.
    pub fn status_named(&self, name: &dyn Fn(&Slot) -> String) -> String {
        self.lines(|target| target.status(&|d| name(self.slot(d))))
    }

    /// Gives a message to the target that maps `sector`.
    pub fn message(&self, sector: Sectors, words: &[&str]) -> Result<String, MessageError> {
        let unknown = MessageError::Unknown;
        let offset = sector.0.checked_mul(SECTOR).ok_or(unknown)?;
        let segment = self.find(offset).ok_or(unknown)?;
        if words.is_empty() {
            return Err(unknown);
        }
        self.segments[segment].target.message(words)
    }

    fn lines(&self, words: impl Fn(&dyn Target) -> String) -> String {
        let mut text = String::new();
        for s in &self.segments {
            text.push_str(&format!("{} {} {}", s.start, s.len, s.target.kind()));
            let words = words(s.target.as_ref());
            if !words.is_empty() {
                text.push(' ');
                text.push_str(&words);
            }
            text.push('\n');
        }
        text
    }
}
