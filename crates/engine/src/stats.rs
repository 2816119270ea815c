//! Statistics of a device: the fields of `/proc/diskstats`, and a histogram of latencies.
//! Counted in shards, one per queue, so that queues do not share cache lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::io::{OpKind, SECTOR};

/// Buckets per power of two.
const SUB: u64 = 8;
/// Times below 2^LOW nanoseconds fall into the first buckets together.
const LOW: u32 = 6;
/// Powers of two that are told apart: up to 2^38 ns, four and a half minutes.
const OCTAVES: usize = 32;
const BUCKETS: usize = OCTAVES * SUB as usize;

/// A histogram of durations; a bucket is an eighth of a power of two wide.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

fn bucket_of(ns: u64) -> usize {
    let ns = ns.max(1 << LOW);
    let octave = ns.ilog2();
    let sub = (ns >> (octave - 3)) & (SUB - 1);
    (((octave - LOW) as usize) * SUB as usize + sub as usize).min(BUCKETS - 1)
}

/// The highest duration of a bucket.
fn upper(bucket: usize) -> u64 {
    let (octave, sub) = (bucket as u64 / SUB + u64::from(LOW), bucket as u64 % SUB);
    (1 << octave) + ((sub + 1) << (octave - 3)) - 1
}

impl Histogram {
    /// Counts a duration.
    pub fn count(&self, took: Duration) {
        self.buckets[bucket_of(nanos(took))].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds this one's counts to `sums`, which has a place per bucket.
    fn add_to(&self, sums: &mut [u64]) {
        for (sum, bucket) in sums.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Latencies at a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Of several histograms together.
    pub fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut sums = vec![0; BUCKETS];
        histograms.into_iter().for_each(|h| h.add_to(&mut sums));
        Self(sums)
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration that `percent` of them do not exceed, to an eighth; none if nothing was
    /// counted.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64) * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_nanos(upper(bucket)));
            }
        }
        None
    }

    /// Upper bounds of the buckets that hold something, with their counts.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let held = self.0.iter().enumerate().filter(|(_, n)| **n > 0);
        held.map(|(bucket, n)| (Duration::from_nanos(upper(bucket)), *n))
    }
}

/// What is counted for one class of operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Class {
    /// Requests answered.
    pub ios: u64,
    /// Requests merged with others before they reached a device.
    pub merges: u64,
    /// Sectors.
    pub sectors: u64,
    /// Sum of their durations.
    pub time: Duration,
}

/// A device's statistics at a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Reads.
    pub reads: Class,
    /// Writes and write-zeroes.
    pub writes: Class,
    /// Discards.
    pub discards: Class,
    /// Flushes answered, and how long they took together.
    pub flushes: (u64, Duration),
    /// Requests that failed.
    pub errors: u64,
    /// Requests in flight now.
    pub in_flight: u64,
    /// How long there was at least one in flight.
    pub busy: Duration,
    /// Latencies of reads.
    pub read_latency: Latencies,
    /// Latencies of writes.
    pub write_latency: Latencies,
}

impl Snapshot {
    /// The seventeen fields of `/proc/diskstats` behind the device's name.
    pub fn diskstats(&self) -> [u64; 17] {
        let ms = |d: Duration| d.as_millis() as u64;
        let waited = self.reads.time + self.writes.time + self.discards.time + self.flushes.1;
        [
            self.reads.ios,
            self.reads.merges,
            self.reads.sectors,
            ms(self.reads.time),
            self.writes.ios,
            self.writes.merges,
            self.writes.sectors,
            ms(self.writes.time),
            self.in_flight,
            ms(self.busy),
            ms(waited),
            self.discards.ios,
            self.discards.merges,
            self.discards.sectors,
            ms(self.discards.time),
            self.flushes.0,
            ms(self.flushes.1),
        ]
    }
}

#[derive(Debug, Default)]
struct Counters {
    ios: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
}

impl Counters {
    fn count(&self, bytes: u64, took: Duration) {
        self.ios.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.nanos.fetch_add(nanos(took), Ordering::Relaxed);
    }
    fn add_to(&self, class: &mut Class) {
        class.ios += self.ios.load(Ordering::Relaxed);
        class.sectors += self.bytes.load(Ordering::Relaxed) / SECTOR;
        class.time += Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    reads: Counters,
    writes: Counters,
    discards: Counters,
    flushes: Counters,
    errors: AtomicU64,
    read_latency: Histogram,
    write_latency: Histogram,
}

/// Counters of a device.
#[derive(Debug)]
pub(crate) struct Stats {
    shards: Box<[Shard]>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let count = crate::limits::cpus();
        Self {
            shards: (0..count).map(|_| Shard::default()).collect(),
        }
    }

    /// Counts an answered request. `queue` is any number that differs between queues.
    pub(crate) fn count(&self, queue: usize, op: OpKind, bytes: u64, took: Duration, ok: bool) {
        let shard = &self.shards[queue % self.shards.len()];
        if !ok {
            shard.errors.fetch_add(1, Ordering::Relaxed);
        }
        match op {
            OpKind::Read => {
                shard.reads.count(bytes, took);
                shard.read_latency.count(took);
            }
            OpKind::Write | OpKind::WriteZeroes => {
                shard.writes.count(bytes, took);
                shard.write_latency.count(took);
            }
            OpKind::Discard => shard.discards.count(bytes, took),
            OpKind::Flush => shard.flushes.count(0, took),
        }
    }

    pub(crate) fn snapshot(&self, in_flight: u64, busy: Duration) -> Snapshot {
        let mut s = Snapshot {
            reads: Class::default(),
            writes: Class::default(),
            discards: Class::default(),
            flushes: (0, Duration::ZERO),
            errors: 0,
            in_flight,
            busy,
            read_latency: Latencies::of(self.shards.iter().map(|s| &s.read_latency)),
            write_latency: Latencies::of(self.shards.iter().map(|s| &s.write_latency)),
        };
        let mut flushes = Class::default();
        for shard in &self.shards {
            shard.reads.add_to(&mut s.reads);
            shard.writes.add_to(&mut s.writes);
            shard.discards.add_to(&mut s.discards);
            shard.flushes.add_to(&mut flushes);
            s.errors += shard.errors.load(Ordering::Relaxed);
        }
        s.flushes = (flushes.ios, flushes.time);
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_bound_says() {
        for ns in [64u64, 65, 71, 72, 100, 1000, 4096, 123_456, 5_000_000_000] {
            let b = bucket_of(ns);
            assert!(ns <= upper(b), "{ns} above bucket {b}");
            assert!(b == 0 || ns > upper(b - 1), "{ns} fits bucket {}", b - 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles() {
        let h = Histogram::default();
        (1..=100u64).for_each(|n| h.count(Duration::from_micros(n)));
        let l = Latencies::of([&h]);
        let within = |p: f64, us: u64| {
            let got = l.percentile(p).expect("counted").as_nanos() as f64;
            let want = (us * 1000) as f64;
            assert!(got >= want && got <= want * 1.125, "{p}: {got} for {want}");
        };
        within(50.0, 50);
        within(99.0, 99);
        within(100.0, 100);
    }
}
