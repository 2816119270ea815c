//! The one place that decides how an operation on a file is carried out: at once by the queue
//! thread, or by the driver (ring or pool).
//!
//! Measured on page-cached files, `preadv2(RWF_NOWAIT)` and `pwritev2` by the queue thread beat
//! the ring 1.3 to 1.4 times at 4 KiB and 7 times at 256 KiB, since the ring hands such I/O to
//! worker threads; with O_DIRECT the ring wins.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::FileStore;
use crate::io::Op;

/// How an operation goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// By the queue thread, which waits for it.
    Inline,
    /// By the queue thread if the page cache has it, else by the driver.
    Try,
    /// By the driver.
    Driver,
}

/// A write that took longer than this was not just a copy to the page cache.
const SLOW_WRITE: Duration = Duration::from_millis(2);
/// How many writes go to the driver after a slow one.
const PENALTY: u32 = 64;
/// Above this many points a file counts as not cached.
const COLD: u32 = 32;
/// Of a file that is not cached, one read in this many tries the cache all the same.
const RETRY: u32 = 16;

/// What was learned about a file. Shared between queues; the numbers need not be exact.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    misses: AtomicU32,
    cold_reads: AtomicU32,
    slow_writes: AtomicU32,
    no_nowait: AtomicU32,
}

impl Hints {
    /// A read that was tried inline got all its bytes, or not.
    pub(crate) fn tried(&self, hit: bool) {
        let misses = self.misses.load(Ordering::Relaxed);
        let now = match hit {
            true => misses.saturating_sub(1),
            false => (misses + 4).min(2 * COLD),
        };
        if now != misses {
            self.misses.store(now, Ordering::Relaxed);
        }
    }
    /// The file does not know RWF_NOWAIT.
    pub(crate) fn nowait_unsupported(&self) {
        self.no_nowait.store(1, Ordering::Relaxed);
    }
    /// An inline write took this long.
    pub(crate) fn wrote(&self, took: Duration) {
        if took > SLOW_WRITE {
            self.slow_writes.store(PENALTY, Ordering::Relaxed);
        }
    }
    /// Do reads mostly find the page cache filled?
    pub(crate) fn warm(&self) -> bool {
        self.misses.load(Ordering::Relaxed) <= COLD
    }
    fn cold(&self) -> bool {
        !self.warm() && self.cold_reads.fetch_add(1, Ordering::Relaxed) % RETRY != 0
    }
    fn penalised(&self) -> bool {
        let left = self.slow_writes.load(Ordering::Relaxed);
        if left > 0 {
            self.slow_writes.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }
}

/// How `op` on `file` goes.
pub(crate) fn route(file: &FileStore, op: Op) -> Route {
    match op {
        _ if file.direct => Route::Driver,
        Op::Read | Op::Write { .. } | Op::Flush if file.memory => Route::Inline,
        Op::Read if file.hints.no_nowait.load(Ordering::Relaxed) != 0 => Route::Driver,
        Op::Read if file.hints.cold() => Route::Driver,
        Op::Read => Route::Try,
        Op::Write { fua: false } if !file.hints.penalised() => Route::Inline,
        Op::Write { .. } | Op::Flush | Op::Discard | Op::WriteZeroes { .. } => Route::Driver,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_file_is_tried_now_and_then_and_warms_up() {
        let hints = Hints::default();
        assert!(!hints.cold());
        (0..10).for_each(|_| hints.tried(false));
        let tried = (0..160).filter(|_| !hints.cold()).count();
        assert_eq!(tried, 10);
        (0..64).for_each(|_| hints.tried(true));
        assert!(!hints.cold());
    }

    #[test]
    fn a_slow_write_sends_the_next_ones_to_the_driver() {
        let hints = Hints::default();
        hints.wrote(Duration::from_micros(100));
        assert!(!hints.penalised());
        hints.wrote(Duration::from_millis(3));
        assert_eq!((0..100).filter(|_| hints.penalised()).count(), 64);
    }
}
