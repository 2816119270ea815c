//! What a flush of a file has to cover, and who is told when one fails.
//!
//! The kernel tells a lost write-back once per descriptor: to the flush, or durable write through the
//! page cache, that asks first. Another that runs at the same moment is told that all is well. So each
//! of them counts as under way from before its first call to after its last, and one that succeeded is
//! not answered before those that it overlapped have ended, and fails if one of them did.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Backing;
use crate::error::ErrorKind;

/// Which writes a flush has to cover. `written` is counted after a write has ended and before it
/// is answered, so a flush that begins after the answer sees it.
#[derive(Debug)]
pub(crate) struct FlushState {
    written: AtomicU64,
    flushed: AtomicU64,
    syncs: Mutex<Syncs>,
}

/// Calls whoever waits for others.
pub(crate) type Waker = Box<dyn FnOnce() + Send>;

/// Flushes and durable writes.
#[derive(Default)]
struct Syncs {
    /// Number of the next one.
    next: u64,
    under_way: BTreeSet<u64>,
    /// Who waits until all numbered below this have ended.
    waiting: Vec<(u64, Waker)>,
    failures: u64,
    /// Of the last failure.
    kind: Option<ErrorKind>,
}

impl fmt::Debug for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncs")
            .field("under_way", &self.under_way)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl FlushState {
    /// Whatever was written before through other descriptors is taken for unflushed.
    pub(super) fn unknown() -> Self {
        Self {
            written: AtomicU64::new(1),
            flushed: AtomicU64::new(0),
            syncs: Mutex::default(),
        }
    }

    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write has ended.
    pub(crate) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Release);
    }
    /// The mark to give to [`Self::done`] if a flush is needed.
    pub(crate) fn needed(&self) -> Option<u64> {
        let written = self.written.load(Ordering::Acquire);
        (self.flushed.load(Ordering::Acquire) < written).then_some(written)
    }
    /// A flush that began at `mark` succeeded, and those that it overlapped have too.
    pub(crate) fn done(&self, mark: u64) {
        self.flushed.fetch_max(mark, Ordering::AcqRel);
    }
    /// How many flushes and durable writes have failed: what they should have covered may be lost,
    /// and the kernel will not say so again.
    pub(super) fn failures(&self) -> u64 {
        self.syncs().failures
    }
    /// What kind the last failure was.
    pub(super) fn failure(&self) -> Option<ErrorKind> {
        self.syncs().kind
    }
    #[cfg(test)]
    pub(crate) fn failed(&self) {
        self.end(u64::MAX, Some(ErrorKind::Io), None);
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.syncs().waiting.len()
    }

    /// False if `waker` was kept, to be called when those under way have ended.
    fn end(&self, number: u64, failure: Option<ErrorKind>, waker: Option<Waker>) -> bool {
        let mut ready = Vec::new();
        let ended = {
            let mut syncs = self.syncs();
            syncs.under_way.remove(&number);
            if failure.is_some() {
                syncs.failures += 1;
                syncs.kind = failure;
            }
            let oldest = syncs.under_way.first().copied().unwrap_or(u64::MAX);
            let waiting = std::mem::take(&mut syncs.waiting);
            for (below, waker) in waiting {
                match below <= oldest {
                    true => ready.push(waker),
                    false => syncs.waiting.push((below, waker)),
                }
            }
            match waker.filter(|_| !syncs.under_way.is_empty()) {
                Some(waker) => {
                    let below = syncs.next;
                    syncs.waiting.push((below, waker));
                    false
                }
                None => true,
            }
        };
        for waker in ready {
            waker();
        }
        ended
    }
}

/// A flush or durable write under way. Dropped, it has ended without a failure that is known.
#[derive(Debug)]
pub(crate) struct Syncing {
    backing: Arc<Backing>,
    number: u64,
    failures: u64,
    ended: bool,
}

impl Syncing {
    /// To be called before the first call that may be told of a lost write-back.
    pub(crate) fn begin(backing: &Arc<Backing>) -> Self {
        let mut syncs = backing.flush_state().syncs();
        let number = syncs.next;
        syncs.next += 1;
        syncs.under_way.insert(number);
        Self {
            backing: Arc::clone(backing),
            number,
            failures: syncs.failures,
            ended: false,
        }
    }

    /// The last call has ended, and has failed or not.
    pub(crate) fn end(&mut self, failure: Option<ErrorKind>) {
        self.ended = true;
        self.backing.flush_state().end(self.number, failure, None);
    }

    /// The last call has succeeded. True if those that overlapped it have ended, else `waker` is
    /// called when they have. Then, [`Self::overlapped`] is to be asked.
    pub(crate) fn succeeded(&mut self, waker: Waker) -> bool {
        self.ended = true;
        let state = self.backing.flush_state();
        state.end(self.number, None, Some(waker))
    }

    /// The failure of one that overlapped this one, if one failed.
    pub(crate) fn overlapped(&self) -> Option<ErrorKind> {
        let syncs = self.backing.flush_state().syncs();
        syncs.kind.filter(|_| syncs.failures != self.failures)
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        if !self.ended {
            self.end(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    #[test]
    fn a_flush_covers_what_ended_before_it() {
        let f = FlushState::unknown();
        let mark = f.needed().expect("the past is unknown");
        f.wrote();
        f.done(mark);
        let mark = f.needed().expect("a write ended after the flush began");
        f.done(mark);
        assert_eq!(f.needed(), None);
    }

    fn succeed(syncing: &mut Syncing) -> (bool, Receiver<()>) {
        let (woken, receiver) = channel();
        let waker = Box::new(move || woken.send(()).expect("somebody waits"));
        (syncing.succeeded(waker), receiver)
    }

    #[test]
    fn a_flush_waits_for_those_under_way_and_for_no_later_ones() {
        let backing = Arc::new(Backing::memory("m", 4096, 512));
        let begin = || Syncing::begin(&backing);
        let (mut first, mut second) = (begin(), begin());
        let (at_once, woken) = succeed(&mut second);
        assert!(!at_once);
        let later = begin();
        assert!(woken.try_recv().is_err(), "the first is under way");
        first.end(Some(ErrorKind::NoSpace));
        assert!(woken.try_recv().is_ok(), "the later one does not count");
        assert_eq!(second.overlapped(), Some(ErrorKind::NoSpace));
        assert_eq!(later.overlapped(), Some(ErrorKind::NoSpace));
        drop(later);
        let mut last = begin();
        assert!(
            succeed(&mut last).0,
            "nothing is left of one that was dropped"
        );
        assert_eq!((last.overlapped(), backing.flush_failures()), (None, 1));
    }
}
