//! The memory that requests are copied into and answered out of.
//!
//! What must hold: every byte of it is resident for as long as it is there. A process that is
//! killed while the kernel waits for one of its pages makes the kernel end that request with an
//! error, and nobody could send it again. So all memory is touched at the start and pinned where
//! that is allowed, and none is added later.

use crate::buf::Buf;
use crate::sys::pin::Pinned;

/// How much memory one queue has for one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Budget {
    /// 17 MiB: as many large requests as a device keeps busy with.
    Ample,
    /// 3 MiB: within the 8 MiB that users may lock by default, on two queues.
    Small,
}

impl Budget {
    /// What the user of this process may lock.
    pub fn of_this_user() -> Self {
        match rustix::process::geteuid().is_root() {
            true => Self::Ample,
            false => Self::Small,
        }
    }
}

/// Lengths of buffers, and how many there are of each.
const AMPLE: [(usize, usize); 3] = [(4 << 10, 256), (64 << 10, 128), (1 << 20, 8)];
const SMALL: [(usize, usize); 3] = [(4 << 10, 64), (64 << 10, 12), (1 << 20, 2)];

/// Lengths of buffers that there are.
pub(crate) const CLASSES: usize = 3;

/// Buffers of three lengths.
#[derive(Debug)]
pub(crate) struct Memory {
    free: [Vec<Buf>; CLASSES],
    pinned: Option<Pinned>,
}

impl Memory {
    pub(crate) fn new(budget: Budget) -> Self {
        let classes = match budget {
            Budget::Ample => AMPLE,
            Budget::Small => SMALL,
        };
        let mut all = Vec::with_capacity(classes.iter().map(|(_, n)| n).sum());
        for (len, count) in classes {
            for _ in 0..count {
                all.push(touched(len));
            }
        }
        let pinned = Pinned::new(&all).ok();
        let mut memory = Self {
            free: Default::default(),
            pinned,
        };
        all.into_iter().for_each(|buf| memory.give(buf));
        memory
    }

    /// Does the kernel keep the pages in place?
    pub(crate) fn pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// A buffer of `len` bytes with whatever contents; none if all that are long enough are in use.
    pub(crate) fn take(&mut self, len: usize) -> Option<Buf> {
        let mut classes = SMALL.iter().zip(&mut self.free);
        let fit = classes.find_map(|((cap, _), free)| (*cap >= len).then_some(free)?.pop());
        fit.map(|mut buf| {
            buf.set_len(len);
            buf
        })
    }

    /// The number of the least length that `len` bytes fit into; none for more than any.
    pub(crate) fn class(len: usize) -> Option<usize> {
        SMALL.iter().position(|(cap, _)| *cap >= len)
    }

    /// How many buffers of a length are free.
    pub(crate) fn free(&self, class: usize) -> usize {
        self.free.get(class).map_or(0, Vec::len)
    }

    /// A buffer of that length, as [`Self::take`] has it.
    pub(crate) fn take_of(&mut self, class: usize, len: usize) -> Option<Buf> {
        let mut buf = self.free.get_mut(class)?.pop()?;
        buf.set_len(len);
        Some(buf)
    }

    /// A buffer of the greatest length.
    pub(crate) fn take_large(&mut self) -> Option<Buf> {
        let mut buf = self.free[2].pop()?;
        buf.set_len(SMALL[2].0);
        Some(buf)
    }

    /// Takes a buffer back.
    pub(crate) fn give(&mut self, buf: Buf) {
        let class = SMALL.iter().position(|(cap, _)| *cap == buf.capacity());
        if let Some(class) = class {
            self.free[class].push(buf);
        }
    }
}

/// A buffer with a page behind every address.
fn touched(len: usize) -> Buf {
    let mut buf = Buf::zeroed(len);
    // Fresh pages are zero already, but not there before something has been written to them.
    buf.fill(0xff);
    buf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_fit_and_come_back() {
        let mut memory = Memory::new(Budget::Small);
        let total: usize = SMALL.iter().map(|(_, n)| n).sum();
        let mut taken: Vec<Buf> = std::iter::from_fn(|| memory.take(512)).collect();
        assert_eq!(taken.len(), total, "small requests may use large buffers");
        assert!(memory.take(1).is_none() && memory.take_large().is_none());
        assert!(taken.iter().all(|b| b.len() == 512));
        taken.drain(..).for_each(|buf| memory.give(buf));
        let large = memory.take_large().expect("one is free");
        assert_eq!((large.len(), large.capacity()), (1 << 20, 1 << 20));
        assert_eq!(memory.take(5000).map(|b| b.capacity()), Some(64 << 10));
    }
}
