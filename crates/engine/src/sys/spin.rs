//! Whether to look out for what is to come before going to sleep.
//!
//! One request at a time costs twice as long as it must if each of those who pass it on has to be
//! woken. A thread that expects another request at once, and whose waits are short, looks out for it
//! instead: for no longer than [`LIMIT`], one thread of the process at a time, and leaving the CPU to
//! whoever else wants it. After a wait that was longer it sleeps at once, until waits are short again;
//! where others did want the CPU for long, it leaves it to them for many times as long as a turn takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What counts as short.
const LIMIT: Duration = Duration::from_micros(100);
/// Somebody who has the CPU for so long does other work than passing requests on.
const OTHERS: Duration = Duration::from_micros(40);
/// How long they are left alone then.
const BACK_OFF: Duration = Duration::from_millis(2);

static TAKEN: AtomicBool = AtomicBool::new(false);

/// A thread's memory of its waits.
#[derive(Debug)]
pub(super) struct Spin {
    /// There is a CPU for others meanwhile.
    able: bool,
    expected: bool,
    short: bool,
    not_before: Option<Instant>,
}

/// The turn of the one that looks out, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    taken: &'a AtomicBool,
    began: Instant,
    last: Instant,
    not_before: &'a mut Option<Instant>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.taken.store(false, Ordering::Release);
    }
}

impl Turn<'_> {
    /// Is it time to look once more? At most `wait` in all.
    pub(super) fn goes_on(&mut self, wait: Duration) -> bool {
        self.at(Instant::now(), wait)
    }

    fn at(&mut self, now: Instant, wait: Duration) -> bool {
        if now.saturating_duration_since(self.last) > OTHERS {
            *self.not_before = Some(now + BACK_OFF);
            return false;
        }
        self.last = now;
        now.saturating_duration_since(self.began) < wait.min(LIMIT)
    }
}

impl Spin {
    pub(super) fn new() -> Self {
        Self {
            able: crate::limits::cpus() > 1,
            expected: false,
            short: false,
            not_before: None,
        }
    }

    /// Another request is likely to come at once.
    pub(super) fn expect(&mut self) {
        self.expected = true;
    }

    /// None if this thread had better sleep.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Turn<'_>> {
        self.take(&TAKEN, now)
    }

    fn take<'a>(&'a mut self, taken: &'a AtomicBool, now: Instant) -> Option<Turn<'a>> {
        let worth = std::mem::take(&mut self.expected) && self.able && self.short;
        if !worth || self.not_before.is_some_and(|until| now < until) {
            return None;
        }
        (!taken.swap(true, Ordering::Acquire)).then_some(Turn {
            taken,
            began: now,
            last: now,
            not_before: &mut self.not_before,
        })
    }

    /// A wait took so long.
    pub(super) fn waited(&mut self, time: Duration) {
        self.short = time < LIMIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has waited shortly, and expects something.
    fn ready() -> Spin {
        Spin {
            able: true,
            expected: true,
            short: true,
            not_before: None,
        }
    }

    #[test]
    fn who_expects_something_after_a_short_wait_looks_out() {
        let (taken, now) = (AtomicBool::new(false), Instant::now());
        assert!(ready().take(&taken, now).is_some());
        for change in [
            (|s| s.able = false) as fn(&mut Spin),
            |s| s.expected = false,
            |s| s.waited(LIMIT),
        ] {
            let mut spin = ready();
            change(&mut spin);
            assert!(spin.take(&taken, now).is_none(), "{spin:?}");
        }
        let mut spin = ready();
        drop(spin.take(&taken, now));
        assert!(spin.take(&taken, now).is_none(), "expected once only");
    }

    #[test]
    fn one_looks_out_at_a_time_and_not_for_long() {
        let (taken, now) = (AtomicBool::new(false), Instant::now());
        let (mut one, mut other) = (ready(), ready());
        let mut turn = one.take(&taken, now).expect("its turn");
        assert!(other.take(&taken, now).is_none(), "two at a time");
        assert!(turn.at(now + LIMIT / 4, Duration::MAX));
        assert!(!turn.at(now + LIMIT / 3, LIMIT / 3), "no longer than asked");
        assert!(turn.at(now + LIMIT / 2, Duration::MAX));
        assert!(turn.at(now + LIMIT / 4 * 3, Duration::MAX));
        assert!(!turn.at(now + LIMIT, Duration::MAX));
        drop(turn);
        other.expect();
        assert!(other.take(&taken, now).is_some(), "the turn is given back");
    }

    #[test]
    fn others_who_want_the_cpu_are_left_alone() {
        let (taken, now) = (AtomicBool::new(false), Instant::now());
        let mut spin = ready();
        let mut turn = spin.take(&taken, now).expect("its turn");
        assert!(!turn.at(now + 2 * OTHERS, Duration::MAX));
        drop(turn);
        spin.expect();
        assert!(spin.take(&taken, now + BACK_OFF).is_none());
        spin.expect();
        assert!(spin.take(&taken, now + BACK_OFF + 2 * OTHERS).is_some());
    }
}
