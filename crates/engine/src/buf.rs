//! Buffers: one owner, aligned for O_DIRECT, and a bounded store of them for an export.

pub use crate::sys::mem::{ALIGN, Buf};
pub(crate) use crate::sys::mem::{Lent, Slice};

/// Buffers for reuse, bounded in bytes: those in use and those kept for the next request.
#[derive(Debug)]
pub struct BufPool {
    free: Vec<Buf>,
    limit: usize,
    total: usize,
}

impl BufPool {
    /// That hands out at most `limit` bytes at a time.
    pub fn new(limit: usize) -> Self {
        Self {
            free: Vec::new(),
            limit,
            total: 0,
        }
    }

    /// A buffer of `len` bytes with whatever contents; none when the limit is reached.
    pub fn take(&mut self, len: usize) -> Option<Buf> {
        if let Some(n) = self.free.iter().rposition(|b| fits(b.capacity(), len)) {
            let mut buf = self.free.swap_remove(n);
            buf.set_len(len);
            return Some(buf);
        }
        let need = len.max(1).next_multiple_of(ALIGN);
        while self.total + need > self.limit {
            self.total -= self.free.pop()?.capacity();
        }
        self.total += need;
        Some(Buf::zeroed(len))
    }

    /// Takes a buffer of this pool back.
    pub fn give(&mut self, buf: Buf) {
        self.free.push(buf);
    }

    /// A buffer of this pool is lost (its request was dropped with its task).
    pub fn lost(&mut self, capacity: usize) {
        self.total = self.total.saturating_sub(capacity);
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
}
