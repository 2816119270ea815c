//! A set of regions: a bit each, and how many there are.

/// A set of the regions `0..len`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegionSet {
    words: Vec<u64>,
    len: u64,
    count: u64,
}

impl RegionSet {
    /// None of `len` regions.
    pub fn none(len: u64) -> Self {
        Self {
            words: vec![0; len.div_ceil(64) as usize],
            len,
            count: 0,
        }
    }

    /// All of `len` regions.
    pub fn all(len: u64) -> Self {
        let mut set = Self::none(len);
        set.words.fill(u64::MAX);
        if len % 64 != 0
            && let Some(last) = set.words.last_mut()
        {
            *last = (1 << (len % 64)) - 1;
        }
        set.count = len;
        set
    }

    /// Number of regions, in the set or not.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Number of regions in the set.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Is none in the set?
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Is a region in the set? One beyond the end is not.
    pub fn has(&self, region: u64) -> bool {
        let word = self.words.get((region / 64) as usize);
        word.is_some_and(|w| w >> (region % 64) & 1 != 0)
    }

    /// Puts a region in. True if it was not there before; one beyond the end is left out.
    pub fn add(&mut self, region: u64) -> bool {
        if region >= self.len || self.has(region) {
            return false;
        }
        self.words[(region / 64) as usize] |= 1 << (region % 64);
        self.count += 1;
        true
    }

    /// Takes a region out. True if it was there.
    pub fn remove(&mut self, region: u64) -> bool {
        if !self.has(region) {
            return false;
        }
        self.words[(region / 64) as usize] &= !(1 << (region % 64));
        self.count -= 1;
        true
    }

    /// Puts all regions of another set in.
    pub fn add_all(&mut self, other: &Self) {
        for (n, word) in other.words.iter().enumerate().take(self.words.len()) {
            self.words[n] |= word;
        }
        if let (Some(last), rest) = (self.words.last_mut(), self.len % 64)
            && rest != 0
        {
            *last &= (1 << rest) - 1;
        }
        self.count = self.words.iter().map(|w| u64::from(w.count_ones())).sum();
    }

    /// The first region of the set from `from` on.
    pub fn next(&self, from: u64) -> Option<u64> {
        let mut n = (from / 64) as usize;
        let mut word = self.words.get(n)? & (u64::MAX << (from % 64));
        while word == 0 {
            n += 1;
            word = *self.words.get(n)?;
        }
        Some(n as u64 * 64 + u64::from(word.trailing_zeros()))
    }

    /// The regions of the set in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let mut next = self.next(0);
        std::iter::from_fn(move || {
            let region = next?;
            next = self.next(region + 1);
            Some(region)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_finds() {
        let mut set = RegionSet::none(130);
        assert!(set.add(0) && set.add(64) && set.add(129));
        assert!(!set.add(64) && !set.add(130), "there already, and beyond");
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 64, 129]);
        assert_eq!(
            (set.next(1), set.next(130), set.count()),
            (Some(64), None, 3)
        );
        assert!(set.remove(64) && !set.remove(64));
        let mut all = RegionSet::all(130);
        assert_eq!((all.count(), all.iter().count()), (130, 130));
        all.add_all(&set);
        assert_eq!(all.count(), 130);
        set.add_all(&RegionSet::all(200));
        assert_eq!((set.count(), set.has(130)), (130, false));
    }
}
