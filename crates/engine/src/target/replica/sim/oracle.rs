//! What may be read.
//!
//! For every sector the values that it may have now, those it may have after a crash, and the
//! writes to it that are under way. A sector that was read has that value from then on.

use std::collections::{BTreeSet, HashMap};

type Values = BTreeSet<u64>;

#[derive(Clone, Debug)]
struct UnderWay {
    ticket: u64,
    value: u64,
    /// Written by others meanwhile.
    beside: Values,
}

#[derive(Clone, Debug)]
struct Sector {
    now: Values,
    /// Before a read decided.
    wide: Values,
    /// After a crash: at least as new as this.
    durable: Values,
    /// Since then: when it was answered, and what the sector could be then.
    recent: Vec<(u64, Values)>,
    writes: Vec<UnderWay>,
}

/// A read under way: what each sector may have had meanwhile.
#[derive(Debug)]
struct Reading {
    first: usize,
    allowed: Vec<Values>,
    /// A write came by: what is read decides nothing.
    raced: Vec<bool>,
}

#[derive(Debug)]
pub struct Oracle {
    sectors: Vec<Sector>,
    reads: HashMap<u64, Reading>,
    answered: u64,
}

impl Oracle {
    pub fn new(sectors: u64) -> Self {
        let zero = || Values::from([0]);
        let sector = || Sector {
            now: zero(),
            wide: zero(),
            durable: zero(),
            recent: Vec::new(),
            writes: Vec::new(),
        };
        Self {
            sectors: (0..sectors).map(|_| sector()).collect(),
            reads: HashMap::new(),
            answered: 0,
        }
    }

    fn allow(&mut self, sector: usize, values: &Values) {
        for read in self.reads.values_mut() {
            if let Some(n) = sector.checked_sub(read.first)
                && n < read.allowed.len()
            {
                read.allowed[n].extend(values);
                read.raced[n] = true;
            }
        }
    }

    pub fn write_begins(&mut self, ticket: u64, first: usize, values: &[u64]) {
        for (n, value) in values.iter().enumerate() {
            let sector = &mut self.sectors[first + n];
            sector.writes.push(UnderWay {
                ticket,
                value: *value,
                beside: Values::new(),
            });
            self.allow(first + n, &Values::from([*value]));
        }
    }

    pub fn write_ends(&mut self, ticket: u64, first: usize, len: usize, ok: bool, fua: bool) {
        self.answered += 1;
        for n in first..first + len {
            let sector = &mut self.sectors[n];
            let Some(at) = sector.writes.iter().position(|w| w.ticket == ticket) else {
                continue;
            };
            let write = sector.writes.remove(at);
            for other in &mut sector.writes {
                other.beside.insert(write.value);
            }
            let mut values = write.beside;
            values.insert(write.value);
            if !ok {
                values.extend(&sector.now);
                values.extend(&sector.wide);
            }
            sector.now = values.clone();
            sector.wide = values.clone();
            if ok && fua {
                sector.durable = values.clone();
                sector.recent.clear();
            } else {
                sector.recent.push((self.answered, values.clone()));
            }
            self.allow(n, &values);
        }
    }

    /// The number to give to [`Self::flush_ends`].
    pub const fn flush_begins(&self) -> u64 {
        self.answered
    }

    pub fn flush_ends(&mut self, begun: u64) {
        for sector in &mut self.sectors {
            let covered = sector.recent.iter().rposition(|(at, _)| *at <= begun);
            if let Some(at) = covered {
                sector.durable = sector.recent[at].1.clone();
                sector.recent.drain(..=at);
            }
        }
    }

    pub fn read_begins(&mut self, ticket: u64, first: usize, len: usize) {
        let allowed = |n: usize| {
            let sector = &self.sectors[n];
            let writes = sector.writes.iter().map(|w| w.value);
            sector.now.iter().copied().chain(writes).collect::<Values>()
        };
        let reading = Reading {
            first,
            raced: (first..first + len)
                .map(|n| !self.sectors[n].writes.is_empty())
                .collect(),
            allowed: (first..first + len).map(allowed).collect(),
        };
        self.reads.insert(ticket, reading);
    }

    pub fn read_ends(&mut self, ticket: u64, values: Option<&[u64]>) -> Result<(), String> {
        let Some(read) = self.reads.remove(&ticket) else {
            return Ok(());
        };
        for (n, value) in values.unwrap_or_default().iter().enumerate() {
            let allowed = &read.allowed[n];
            if !allowed.contains(value) {
                return Err(format!(
                    "sector {} read as {value}, allowed: {allowed:?}",
                    read.first + n
                ));
            }
            if !read.raced[n] {
                let sector = &mut self.sectors[read.first + n];
                if sector.now.contains(value) {
                    sector.now = Values::from([*value]);
                }
            }
        }
        Ok(())
    }

    /// What reads decided does not hold any more: a leg took another's place, or one lost
    /// unflushed writes and had to be kept.
    pub fn widen(&mut self, lost: bool) {
        self.answered += 1;
        for n in 0..self.sectors.len() {
            let sector = &mut self.sectors[n];
            let mut wide = sector.wide.clone();
            if lost {
                wide.extend(sector.after_crash());
            }
            sector.now = wide.clone();
            sector.wide = wide.clone();
            if lost {
                sector.durable.extend(&wide);
                sector.recent.push((self.answered, wide.clone()));
                for write in &mut sector.writes {
                    write.beside.extend(&wide);
                }
            }
            self.allow(n, &wide);
        }
    }

    /// The process was killed, and nothing else was lost.
    pub fn killed(&mut self) {
        self.reads.clear();
        self.answered += 1;
        for sector in &mut self.sectors {
            let under_way = std::mem::take(&mut sector.writes);
            if !under_way.is_empty() {
                sector.now.extend(under_way.iter().map(|w| w.value));
            }
            // What a read decided was so on one leg; another may be believed some day.
            let now = sector.now.clone();
            sector.wide.extend(&now);
            if !under_way.is_empty() {
                let wide = sector.wide.clone();
                sector.recent.push((self.answered, wide));
            }
        }
    }

    /// May the sector have this value?
    pub fn may_be(&self, sector: usize, value: u64) -> bool {
        self.sectors[sector].now.contains(&value)
    }

    /// Power was lost: requests under way have no answer.
    pub fn crash(&mut self) {
        self.reads.clear();
        for sector in &mut self.sectors {
            let values = sector.after_crash();
            sector.writes.clear();
            sector.recent.clear();
            sector.now = values.clone();
            sector.wide = values.clone();
            sector.durable = values;
        }
    }
}

impl Sector {
    fn after_crash(&self) -> Values {
        let mut values = self.durable.clone();
        values.extend(self.recent.iter().flat_map(|(_, v)| v));
        values.extend(self.writes.iter().map(|w| w.value));
        values
    }
}
