//! Which of a queue's devices gets memory. Pure.
//!
//! What must hold: a device whose requests do not end (it is suspended, or what it lies on hangs) never
//! has all memory. So a device that is suspended gets none, and any other has never more buffers of a
//! length than are left for all others.

use crate::buf::Buf;
use crate::export::memory::{CLASSES, Memory};

/// Buffers that a device has, of each length.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Held([usize; CLASSES]);

/// The memory of a queue.
#[derive(Debug)]
pub(super) struct Lender {
    memory: Memory,
    /// Lengths that somebody waits for: who comes later waits behind.
    awaited: [bool; CLASSES],
}

impl Lender {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            awaited: [false; CLASSES],
        }
    }

    /// Those who wait are about to be asked, the first first.
    pub(super) fn afresh(&mut self) {
        self.awaited = [false; CLASSES];
    }

    /// A buffer of `len` bytes for a device that has so many; none now.
    pub(super) fn lend(&mut self, held: &mut Held, len: usize) -> Option<Buf> {
        let class = Memory::class(len)?;
        let fair = |class: &usize| held.0[*class] < self.memory.free(*class);
        let mut may = (class..CLASSES).filter(|class| !self.awaited[*class]);
        if let Some(class) = may.find(fair) {
            held.0[class] += 1;
            return self.memory.take_of(class, len);
        }
        // One that has its share waits for itself, and nobody behind it.
        self.awaited[class] |= self.memory.free(class) == 0;
        None
    }

    /// Takes a buffer back from the device that had it; none if that is gone.
    pub(super) fn back(&mut self, held: Option<&mut Held>, buf: Buf) {
        if let (Some(held), Some(class)) = (held, Memory::class(buf.capacity())) {
            held.0[class] = held.0[class].saturating_sub(1);
        }
        self.memory.give(buf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::memory::Budget;

    const LARGE: usize = 1 << 20;

    fn lender() -> Lender {
        Lender::new(Memory::new(Budget::Ample))
    }

    fn all(lender: &mut Lender, held: &mut Held, len: usize) -> Vec<Buf> {
        std::iter::from_fn(|| lender.lend(held, len)).collect()
    }

    #[test]
    fn devices_whose_requests_never_end_leave_something() {
        let mut lender = lender();
        for wanted in [4, 2, 1] {
            let hung = all(&mut lender, &mut Held::default(), LARGE);
            assert_eq!(hung.len(), wanted, "never all that is left");
            std::mem::forget(hung);
        }
        let mut held = Held::default();
        for _ in 0..100 {
            let buf = lender.lend(&mut held, LARGE).expect("others go on");
            lender.back(Some(&mut held), buf);
        }
        assert_eq!(held, Held::default());
    }

    #[test]
    fn one_device_has_its_depth_of_small_requests() {
        for len in [4096, 64 << 10] {
            let had = all(&mut lender(), &mut Held::default(), len);
            assert!(had.len() >= 64, "{} of {len} bytes", had.len());
        }
    }

    #[test]
    fn who_comes_later_waits_behind() {
        let mut lender = lender();
        let mut devices = [Held::default(); 12];
        let had: Vec<Buf> = devices
            .iter_mut()
            .filter_map(|held| lender.lend(held, LARGE))
            .collect();
        assert_eq!(had.len(), 8, "one for each as long as there are any");
        let mut had = had.into_iter();
        lender.back(Some(&mut devices[0]), had.next().expect("one"));
        assert!(
            lender.lend(&mut devices[9], LARGE).is_none(),
            "another waits"
        );
        assert!(lender.lend(&mut devices[9], 512).is_some(), "not for this");
        lender.afresh();
        assert!(lender.lend(&mut devices[8], LARGE).is_some(), "the first");
        lender.back(None, had.next().expect("one"));
        assert!(lender.lend(&mut devices[9], LARGE).is_some());
    }
}
