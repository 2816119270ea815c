//! Small forms of marks with the same rules as those on real disks: one log device, and superblock
//! and bitmap on every leg.

use super::super::{
    Assembly, Config, Form, LegFound, Log, LogFailure, LogRead, LogWrite, NoAssembly, Place,
    Record, RegionSet,
};

const SECTOR: usize = 512;

/// Deliberate faults of a form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Faulty {
    No,
    SuperblockFirst,
    OneLegOnly,
}

/// One log device: a sector of bits, 1 = marked.
#[derive(Debug)]
pub struct OneLog;

#[derive(Debug)]
struct OneLogImage {
    bits: Vec<u8>,
    dirty: bool,
}

impl Form for OneLog {
    fn reads(&self, _: &Config) -> Vec<LogRead> {
        vec![LogRead {
            place: Place::Log,
            offset: 0,
            len: SECTOR as u64,
        }]
    }
    fn assemble(&self, config: &Config, found: &[Option<Vec<u8>>]) -> Result<Assembly, NoAssembly> {
        let regions = config.regions();
        let bits = found[0].clone();
        let mut dirty = RegionSet::none(regions);
        for r in 0..regions {
            if bits.as_ref().is_none_or(|b| bit(b, r)) {
                dirty.add(r);
            }
        }
        let log = OneLogImage {
            bits: bits.unwrap_or_else(|| vec![255; SECTOR]),
            dirty: false,
        };
        Ok(Assembly {
            legs: vec![LegFound::Whole; config.legs.len()],
            marked: dirty.clone(),
            dirty,
            log: Box::new(log),
        })
    }
}

fn bit(bytes: &[u8], region: u64) -> bool {
    bytes[region as usize / 8] >> (region % 8) & 1 != 0
}

fn set(bytes: &mut [u8], region: u64, on: bool) {
    let mask = 1 << (region % 8);
    let byte = &mut bytes[region as usize / 8];
    *byte = if on { *byte | mask } else { *byte & !mask };
}

impl Log for OneLogImage {
    fn mark(&mut self, region: u64) {
        set(&mut self.bits, region, true);
        self.dirty = true;
    }
    fn clear(&mut self, region: u64) {
        set(&mut self.bits, region, false);
        self.dirty = true;
    }
    fn record(&mut self, _: Record) {}
    fn next(&mut self, writes: &mut Vec<LogWrite>) {
        if std::mem::take(&mut self.dirty) {
            writes.push(LogWrite {
                place: Place::Log,
                offset: 0,
                data: self.bits.clone(),
            });
        }
    }
    fn lost(&mut self, _: Place) -> LogFailure {
        LogFailure::All
    }
    fn remembers_failures(&self) -> bool {
        false
    }
    fn durable(&self) -> bool {
        true
    }
}

/// On every leg a superblock (sector 0) and a bitmap (sector 1), each with a count of events.
#[derive(Debug)]
pub struct Each(pub Faulty);

#[derive(Clone, Debug)]
struct Super {
    events: u64,
    failed: u64,
}

#[derive(Debug)]
struct EachImage {
    faulty: Faulty,
    at: Super,
    bits: Vec<u8>,
    working: Vec<bool>,
    /// Places whose bitmap, and whose superblock, has to be written.
    bitmaps: Vec<bool>,
    supers: Vec<bool>,
}

impl Form for Each {
    fn reads(&self, config: &Config) -> Vec<LogRead> {
        let read = |leg| LogRead {
            place: Place::Meta(leg),
            offset: 0,
            len: 2 * SECTOR as u64,
        };
        (0..config.legs.len()).map(read).collect()
    }

    fn assemble(&self, config: &Config, found: &[Option<Vec<u8>>]) -> Result<Assembly, NoAssembly> {
        let regions = config.regions();
        let number = |b: &[u8], at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap());
        let freshest = found
            .iter()
            .flatten()
            .max_by_key(|b| (number(b, 0), number(b, SECTOR)));
        let Some(freshest) = freshest else {
            return Err(NoAssembly {
                what: "no superblock".into(),
            });
        };
        let at = Super {
            events: number(freshest, 0),
            failed: number(freshest, 8),
        };
        let bits = freshest[SECTOR..].to_vec();
        let mut dirty = RegionSet::none(regions);
        let stale = number(freshest, SECTOR) < at.events;
        for r in (0..regions).filter(|r| stale || bit(&bits[8..], *r)) {
            dirty.add(r);
        }
        let leg = |(n, found): (usize, &Option<Vec<u8>>)| match found {
            None => LegFound::Absent,
            Some(_) if at.failed >> n & 1 != 0 => LegFound::Stale(dirty.clone()),
            Some(_) => LegFound::Whole,
        };
        let working: Vec<bool> = found.iter().map(Option::is_some).collect();
        let returned: Vec<bool> = (0..found.len())
            .map(|n| working[n] && at.failed >> n & 1 != 0)
            .collect();
        Ok(Assembly {
            legs: found.iter().enumerate().map(leg).collect(),
            marked: dirty.clone(),
            dirty,
            log: Box::new(EachImage {
                faulty: self.0,
                at,
                bits,
                bitmaps: returned.clone(),
                supers: returned,
                working,
            }),
        })
    }
}

impl EachImage {
    fn places(&self, wanted: &[bool], first: &[u8], writes: &mut Vec<LogWrite>, sector: usize) {
        for (leg, _) in wanted
            .iter()
            .enumerate()
            .filter(|(n, w)| **w && self.working[*n])
        {
            writes.push(LogWrite {
                place: Place::Meta(leg),
                offset: (sector * SECTOR) as u64,
                data: first.to_vec(),
            });
            if self.faulty == Faulty::OneLegOnly {
                break;
            }
        }
    }

    fn bitmaps(&mut self, writes: &mut Vec<LogWrite>) {
        let wanted = std::mem::replace(&mut self.bitmaps, vec![false; self.working.len()]);
        let mut data = self.bits.clone();
        data[..8].copy_from_slice(&self.at.events.to_le_bytes());
        self.places(&wanted, &data, writes, 1);
    }

    fn supers(&mut self, writes: &mut Vec<LogWrite>) {
        let wanted = std::mem::replace(&mut self.supers, vec![false; self.working.len()]);
        let mut data = vec![0; SECTOR];
        data[..8].copy_from_slice(&self.at.events.to_le_bytes());
        data[8..16].copy_from_slice(&self.at.failed.to_le_bytes());
        self.places(&wanted, &data, writes, 0);
    }
}

impl Log for EachImage {
    fn mark(&mut self, region: u64) {
        set(&mut self.bits[8..], region, true);
        self.bitmaps.fill(true);
    }
    fn clear(&mut self, region: u64) {
        set(&mut self.bits[8..], region, false);
        self.bitmaps.fill(true);
    }
    fn record(&mut self, what: Record) {
        match what {
            Record::Failed(leg) => {
                self.at.failed |= 1 << leg;
                self.working[leg] = false;
            }
            Record::InSync(leg) => self.at.failed &= !(1 << leg),
            Record::Returned(leg) => self.working[leg] = true,
            _ => {}
        }
        self.at.events += 1;
        self.bitmaps.fill(true);
        self.supers.fill(true);
    }
    fn next(&mut self, writes: &mut Vec<LogWrite>) {
        if self.faulty == Faulty::SuperblockFirst {
            self.supers(writes);
            if writes.is_empty() {
                self.bitmaps(writes);
            }
            return;
        }
        self.bitmaps(writes);
        if writes.is_empty() {
            self.supers(writes);
        }
    }
    fn lost(&mut self, place: Place) -> LogFailure {
        match place {
            Place::Meta(leg) => {
                self.working[leg] = false;
                LogFailure::Leg(leg)
            }
            Place::Data(_) | Place::Log => LogFailure::All,
        }
    }
    fn remembers_failures(&self) -> bool {
        true
    }
    fn durable(&self) -> bool {
        true
    }
}
