//! Buffers: one owner, aligned for O_DIRECT, and a bounded store of them for an export.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use crate::sys::mem::{ALIGN, Buf};
pub(crate) use crate::sys::mem::{Lent, Slice};

/// Bytes that several pools may hold together.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    /// Bytes that are held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, more).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Is so much held that nothing should be kept that is not in use?
    fn scarce(&self) -> bool {
        self.used() > self.limit / 2
    }
}

/// Buffers for reuse, bounded in bytes: those in use and those kept for the next request.
///
/// `total` is what is held of the budget: the capacities of all buffers, here or handed out.
#[derive(Debug)]
pub struct BufPool {
    free: Vec<Buf>,
    limit: usize,
    total: usize,
    budget: Arc<Budget>,
    starved: bool,
}

impl BufPool {
    /// That hands out at most `limit` bytes at a time.
    pub fn new(limit: usize) -> Self {
        Self::within(limit, Budget::new(usize::MAX))
    }

    /// That hands out at most `limit` bytes at a time, and no more than a budget has left.
    pub fn within(limit: usize, budget: Arc<Budget>) -> Self {
        Self {
            free: Vec::new(),
            limit,
            total: 0,
            budget,
            starved: false,
        }
    }

    /// A buffer of `len` bytes with whatever contents; none when the limit is reached, or the budget.
    pub fn take(&mut self, len: usize) -> Option<Buf> {
        self.starved = false;
        if let Some(n) = self.free.iter().rposition(|b| fits(b.capacity(), len)) {
            let mut buf = self.free.swap_remove(n);
            buf.set_len(len);
            return Some(buf);
        }
        let need = len.max(1).next_multiple_of(ALIGN);
        while self.total + need > self.limit {
            self.drop_one().then_some(())?;
        }
        while !self.budget.reserve(need) {
            if !self.drop_one() {
                self.starved = true;
                return None;
            }
        }
        self.total += need;
        Some(Buf::zeroed(len))
    }

    /// Was it the budget that the last [`Self::take`] lacked? Then nothing tells when there is more.
    pub fn starved(&self) -> bool {
        self.starved
    }

    /// Takes a buffer of this pool back.
    pub fn give(&mut self, buf: Buf) {
        self.free.push(buf);
        if self.budget.scarce() {
            self.idle();
        }
    }

    /// No buffer is needed for now: none is kept from others when there is little for all.
    pub fn idle(&mut self) {
        while self.budget.scarce() && self.drop_one() {}
    }

    /// A buffer of this pool is lost (its request was dropped with its task).
    pub fn lost(&mut self, capacity: usize) {
        let lost = capacity.min(self.total);
        self.total -= lost;
        self.budget.release(lost);
    }

    fn drop_one(&mut self) -> bool {
        match self.free.pop() {
            Some(buf) => {
                self.lost(buf.capacity());
                true
            }
            None => false,
        }
    }
}

impl Drop for BufPool {
    fn drop(&mut self) {
        self.budget.release(self.total);
    }
}

/// A buffer of this capacity serves `len` bytes without wasting more than it holds.
fn fits(capacity: usize, len: usize) -> bool {
    capacity >= len && capacity / 4 <= len.max(ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_buffers_in_use() {
        let mut pool = BufPool::new(3 * ALIGN);
        let a = pool.take(ALIGN).expect("first");
        let b = pool.take(2 * ALIGN).expect("second");
        assert!(pool.take(1).is_none(), "limit reached");
        pool.give(a);
        assert_eq!(pool.take(100).expect("reused").len(), 100);
        pool.give(b);
        assert!(pool.take(ALIGN + 1).is_some(), "reused");
    }

    #[test]
    fn pools_share_a_budget_and_keep_nothing_idle_when_it_is_short() {
        let budget = Budget::new(8 * ALIGN);
        let pool = || BufPool::within(6 * ALIGN, Arc::clone(&budget));
        let (mut one, mut other) = (pool(), pool());
        let kept = one.take(2 * ALIGN).expect("within both");
        one.give(kept);
        assert_eq!(budget.used(), 2 * ALIGN, "kept for the next request");
        let a = other.take(5 * ALIGN).expect("within both");
        assert!(one.take(4 * ALIGN).is_none() && one.starved());
        assert!(
            one.take(7 * ALIGN).is_none() && !one.starved(),
            "its own limit"
        );
        assert_eq!(budget.used(), 5 * ALIGN, "what was idle is given back");
        let b = one.take(3 * ALIGN).expect("what is left");
        assert!(other.take(1).is_none() && other.starved());
        other.give(a);
        assert_eq!(budget.used(), 3 * ALIGN, "not kept when it is short");
        assert!(other.take(1).is_some());
        drop((one, b));
        assert_eq!(budget.used(), ALIGN);
        drop(other);
        assert_eq!(budget.used(), 0);
    }
}
