//! The one place that decides how an operation on a file is carried out: at once by the queue
//! thread, or by the driver (ring or pool).
//!
//! Measured on page-cached files, `preadv2(RWF_NOWAIT)` and `pwritev2` by the queue thread beat
//! the ring 1.3 to 1.4 times at 4 KiB and 7 times at 256 KiB, since the ring hands such I/O to
//! worker threads; with O_DIRECT the ring wins.
//!
//! Writes are tried with RWF_NOWAIT too, where the file system has it for the page cache (xfs, btrfs;
//! not ext4 or tmpfs in Linux 6.18: EOPNOTSUPP). Where it has not, a write may wait for as long as the
//! file system likes: over a network, or for a user process. So the queue thread makes it only on a
//! file system of this machine, where it is a copy unless too much of the page cache is dirty (then the
//! kernel lets the writer sleep for up to 200 ms at a time) or a page has to be read first; and
//! stays away from the file for a hundred times as long as a slow one took.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::FileStore;
use super::driver::{FileOpKind, Room};
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
/// For how many times as long as a slow write took the next ones go to the driver: so at most one part
/// in so many of the queue thread's time is spent waiting for a file, however often it is slow.
const PENALTY: u32 = 100;
/// At most for so long.
const LONGEST_PENALTY: Duration = Duration::from_secs(60);
/// Above this many points a file counts as not cached.
const COLD: u32 = 32;
/// Of a file that is not cached, one read in this many tries the cache all the same.
const RETRY: u32 = 16;

/// What was learned about a file. Shared between queues; the numbers need not be exact.
#[derive(Debug)]
pub(crate) struct Hints {
    misses: AtomicU32,
    cold_reads: AtomicU32,
    began: Instant,
    /// Nanoseconds after `began` until which writes go to the driver; 0 if no write was slow.
    slow_until: AtomicU64,
    no_nowait: AtomicBool,
    no_nowait_write: AtomicBool,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            misses: AtomicU32::new(0),
            cold_reads: AtomicU32::new(0),
            began: Instant::now(),
            slow_until: AtomicU64::new(0),
            no_nowait: AtomicBool::new(false),
            no_nowait_write: AtomicBool::new(false),
        }
    }
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
    /// The file does not know RWF_NOWAIT for reads.
    pub(crate) fn nowait_unsupported(&self) {
        self.no_nowait.store(true, Ordering::Relaxed);
    }
    /// The file does not know RWF_NOWAIT for writes.
    pub(crate) fn nowait_write_unsupported(&self) {
        self.no_nowait_write.store(true, Ordering::Relaxed);
    }
    /// An inline write took this long.
    pub(crate) fn wrote(&self, took: Duration) {
        if took > SLOW_WRITE {
            let until = self.began.elapsed() + (took * PENALTY).min(LONGEST_PENALTY);
            let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
            self.slow_until.fetch_max(until, Ordering::Relaxed);
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
        let until = self.slow_until.load(Ordering::Relaxed);
        until > 0 && self.began.elapsed() < Duration::from_nanos(until)
    }
}

/// What an operation takes up in the driver. Flushes, zeroing and discards wait in a worker thread, and
/// so does everything on a file that is neither local nor passes the page cache by.
pub(crate) fn room(file: &FileStore, kind: FileOpKind) -> Room {
    match kind {
        FileOpKind::Sync | FileOpKind::Punch | FileOpKind::Zero => Room::Worker,
        FileOpKind::Read | FileOpKind::Write { .. } if file.direct || file.local => Room::Place,
        FileOpKind::Read | FileOpKind::Write { .. } => Room::Worker,
    }
}

/// How `op` on `file` goes.
pub(crate) fn route(file: &FileStore, op: Op) -> Route {
    match op {
        _ if file.direct => Route::Driver,
        Op::Read | Op::Write { .. } | Op::Flush if file.memory => Route::Inline,
        Op::Read if file.hints.no_nowait.load(Ordering::Relaxed) => Route::Driver,
        Op::Read if file.hints.cold() => Route::Driver,
        Op::Read => Route::Try,
        Op::Write { fua: true } => Route::Driver,
        Op::Write { fua: false } if file.hints.penalised() => Route::Driver,
        Op::Write { fua: false } if !file.hints.no_nowait_write.load(Ordering::Relaxed) => {
            Route::Try
        }
        Op::Write { fua: false } if file.local => Route::Inline,
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
    fn a_slow_write_keeps_the_queue_thread_away_for_a_while() {
        let hints = Hints::default();
        hints.wrote(Duration::from_micros(100));
        assert!(!hints.penalised());
        hints.wrote(Duration::from_millis(3));
        assert!(hints.penalised());
        let until = Duration::from_nanos(hints.slow_until.load(Ordering::Relaxed));
        let longest = hints.began.elapsed() + Duration::from_millis(300);
        assert!(until <= longest && until >= Duration::from_millis(300));
        hints.wrote(Duration::from_secs(3600));
        let until = Duration::from_nanos(hints.slow_until.load(Ordering::Relaxed));
        assert!(until <= hints.began.elapsed() + LONGEST_PENALTY);
    }

    #[test]
    fn only_writes_that_cannot_wait_long_are_made_by_the_queue_thread() {
        let file = tempfile::NamedTempFile::new().expect("tempfile");
        file.as_file().set_len(4096).expect("set_len");
        let opened = super::super::file::open(file.path(), &super::super::OpenHow::default());
        let mut file = opened.expect("open").store;
        (file.memory, file.local) = (false, true);
        let write = Op::Write { fua: false };
        assert_eq!(route(&file, write), Route::Try, "not known yet");
        file.hints.nowait_write_unsupported();
        assert_eq!(route(&file, write), Route::Inline);
        assert_eq!(room(&file, FileOpKind::Read), Room::Place);
        file.local = false;
        assert_eq!(route(&file, write), Route::Driver);
        assert_eq!(room(&file, FileOpKind::Read), Room::Worker);
        (file.local, file.memory) = (true, true);
        assert_eq!(route(&file, write), Route::Inline);
    }
}
