//! Entries with small numbers, reused. A number carries its entry's generation, so that a stale
//! one finds nothing.

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// Numbered entries.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

/// Number of an entry: slot in the low half, generation in the high one (31 bits of it, so that
/// the highest bit of a tag is free for others).
pub(crate) type Id = u64;

fn split(id: Id) -> (usize, u32) {
    ((id & 0xffff_ffff) as usize, (id >> 32) as u32)
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> Id {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                value: None,
            });
            self.entries.len() as u32 - 1
        });
        let entry = &mut self.entries[slot as usize];
        entry.value = Some(value);
        u64::from(entry.generation) << 32 | u64::from(slot)
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        let (slot, generation) = split(id);
        let entry = self.entries.get(slot)?;
        entry
            .value
            .as_ref()
            .filter(|_| entry.generation == generation)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (slot, generation) = split(id);
        let entry = self.entries.get_mut(slot)?;
        match entry.generation == generation {
            true => entry.value.as_mut(),
            false => None,
        }
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        let (slot, generation) = split(id);
        let entry = self.entries.get_mut(slot)?;
        if entry.generation != generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) & 0x7fff_ffff;
        self.free.push(slot as u32);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn ids(&self) -> Vec<Id> {
        let live = self.entries.iter().enumerate();
        live.filter(|(_, e)| e.value.is_some())
            .map(|(slot, e)| u64::from(e.generation) << 32 | slot as u64)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_number_finds_nothing() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b');
        assert_ne!(a, b);
        assert_eq!((slab.get(a), slab.get(b)), (None, Some(&'b')));
        assert_eq!((slab.remove(a), slab.len()), (None, 1));
    }
}
