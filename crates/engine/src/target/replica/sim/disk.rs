//! A device that may lose what was not flushed.

use std::collections::BTreeSet;

use ulvm_test_support::rng::Rng;

use crate::error::ErrorKind;

pub const SECTOR: usize = 512;

/// How a device behaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mood {
    /// Nothing works.
    pub gone: bool,
    /// Writes fail, having been done in part.
    pub no_writes: bool,
    /// Reads fail.
    pub no_reads: bool,
    /// A failed flush loses what was not durable.
    pub no_flush: bool,
    /// These sectors cannot be read until they are written.
    pub bad: BTreeSet<u64>,
}

/// What was done and may be lost: number, sector and bytes.
type Unflushed = (u64, u64, Vec<u8>);

#[derive(Clone, Debug)]
pub struct Disk {
    /// What is read now.
    now: Vec<u8>,
    /// What is there after a crash, whatever is lost.
    durable: Vec<u8>,
    unflushed: Vec<Unflushed>,
    writes: u64,
    pub mood: Mood,
}

impl Disk {
    pub fn new(sectors: u64, fill: u8) -> Self {
        let bytes = vec![fill; sectors as usize * SECTOR];
        Self {
            now: bytes.clone(),
            durable: bytes,
            unflushed: Vec::new(),
            writes: 0,
            mood: Mood::default(),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, ErrorKind> {
        if self.mood.gone {
            return Err(ErrorKind::Gone);
        }
        let (first, end) = (
            offset / SECTOR as u64,
            (offset + len).div_ceil(SECTOR as u64),
        );
        if self.mood.no_reads || self.mood.bad.range(first..end).next().is_some() {
            return Err(ErrorKind::Io);
        }
        let end = ((offset + len) as usize).min(self.now.len());
        Ok(self.now[offset as usize..end].to_vec())
    }

    fn put(&mut self, sector: u64, bytes: &[u8], durable: bool) {
        let at = sector as usize * SECTOR;
        self.now[at..at + SECTOR].copy_from_slice(bytes);
        if durable {
            self.unflushed.retain(|(_, s, _)| *s != sector);
            self.durable[at..at + SECTOR].copy_from_slice(bytes);
        } else {
            self.writes += 1;
            self.unflushed.push((self.writes, sector, bytes.to_vec()));
        }
        self.mood.bad.remove(&sector);
    }

    pub fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        durable: bool,
        rng: &mut Rng,
    ) -> Result<(), ErrorKind> {
        if self.mood.gone {
            return Err(ErrorKind::Gone);
        }
        let fails = self.mood.no_writes;
        for (n, sector) in data.chunks(SECTOR).enumerate() {
            if !fails || rng.chance(40) {
                self.put(offset / SECTOR as u64 + n as u64, sector, durable && !fails);
            }
        }
        if fails { Err(ErrorKind::Io) } else { Ok(()) }
    }

    /// How much a flush that begins now makes durable.
    pub const fn flush_begins(&self) -> u64 {
        self.writes
    }

    /// A flush that began at `upto` ends. If it fails, something may be lost.
    pub fn flush(&mut self, upto: u64, rng: &mut Rng) -> Result<(), ErrorKind> {
        if self.mood.gone {
            return Err(ErrorKind::Gone);
        }
        if self.mood.no_flush {
            self.crash(rng);
            return Err(ErrorKind::Io);
        }
        for (number, sector, bytes) in &self.unflushed {
            if *number <= upto {
                let at = *sector as usize * SECTOR;
                self.durable[at..at + SECTOR].copy_from_slice(bytes);
            }
        }
        self.unflushed.retain(|(number, ..)| *number > upto);
        Ok(())
    }

    /// Power is lost: any sectors of what was not durable are there, in any version.
    pub fn crash(&mut self, rng: &mut Rng) {
        let kept = *rng.pick(&[0, 30, 50, 80, 100]);
        for (_, sector, bytes) in std::mem::take(&mut self.unflushed) {
            if rng.chance(kept) {
                let at = sector as usize * SECTOR;
                self.durable[at..at + SECTOR].copy_from_slice(&bytes);
            }
        }
        self.now = self.durable.clone();
    }
}
