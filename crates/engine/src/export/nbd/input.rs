//! Bytes received and not yet understood: one buffer of fixed size for a connection.

/// The buffer. Invariant: `start <= end <= bytes.len()`.
#[derive(Debug)]
pub(super) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size].into(),
            start: 0,
            end: 0,
        }
    }

    /// What is there.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first `n` bytes are used up.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for more. What is unread moves to the front when little room is left behind it; it is
    /// then the rest of one message, and short.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 && self.end > self.bytes.len() / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// `n` bytes were put into the room.
    pub(super) fn received(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// A larger buffer with the same contents.
    pub(super) fn grow(&mut self, size: usize) {
        let mut larger = Self::new(size.max(self.bytes.len()));
        let unread = self.unread();
        larger.bytes[..unread.len()].copy_from_slice(unread);
        larger.end = unread.len();
        *self = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut input = Input::new(16);
        let (mut next, mut seen, mut total) = (0_u8, 0_u8, 0);
        for turn in 0..100 {
            let room = input.room();
            let n = room.len().min(1 + turn % 7);
            for byte in &mut room[..n] {
                *byte = next;
                next = next.wrapping_add(1);
            }
            input.received(n);
            let take = input.unread().len().min(1 + turn % 5);
            for &byte in &input.unread()[..take] {
                assert_eq!(byte, seen);
                seen = seen.wrapping_add(1);
            }
            input.consume(take);
            total += take;
            if turn == 50 {
                input.grow(32);
            }
        }
        assert!(total > 100);
    }
}
