//! Which of the sectors that were not flushed a crash leaves, one choice after another.

use crate::rng::Rng;

/// All choices of some of `n` sectors where they are few, a seeded sample where they are many.
#[derive(Debug)]
pub struct Choices {
    all_up_to: usize,
    sample: u64,
    round: u64,
    rng: Rng,
}

impl Choices {
    /// Up to `all_up_to` sectors every choice is made. Above that: none, all, each one alone, each
    /// one alone absent, and `sample` random ones.
    pub fn new(all_up_to: usize, sample: u64) -> Self {
        Self {
            all_up_to,
            sample,
            round: 0,
            rng: Rng::new(1),
        }
    }

    /// Begins again with the first choice. What is random goes on.
    pub fn restart(&mut self) {
        self.round = 0;
    }

    /// Which of `n` sectors are kept; `None` when all choices were made.
    pub fn next_of(&mut self, n: usize) -> Option<Vec<bool>> {
        let kept = self.choice(n)?;
        self.round += 1;
        Some(kept)
    }

    fn choice(&mut self, n: usize) -> Option<Vec<bool>> {
        if n <= self.all_up_to {
            let bits = self.round;
            return (bits < 1 << n).then(|| (0..n).map(|i| bits >> i & 1 == 1).collect());
        }
        let alone = n as u64;
        match self.round {
            0 => Some(vec![false; n]),
            1 => Some(vec![true; n]),
            r if r < 2 + alone => Some((0..n).map(|i| i as u64 == r - 2).collect()),
            r if r < 2 + 2 * alone => Some((0..n).map(|i| i as u64 != r - 2 - alone).collect()),
            r if r < 2 + 2 * alone + self.sample => {
                Some((0..n).map(|_| self.rng.next_u64() & 1 == 1).collect())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(choices: &mut Choices, n: usize) -> usize {
        choices.restart();
        std::iter::from_fn(|| choices.next_of(n)).count()
    }

    #[test]
    fn few_sectors_are_tried_in_every_way_and_many_in_a_bounded_number() {
        let mut choices = Choices::new(4, 100);
        assert_eq!(count(&mut choices, 0), 1);
        assert_eq!(count(&mut choices, 4), 16);
        assert_eq!(count(&mut choices, 5), 2 + 5 + 5 + 100);
    }
}
