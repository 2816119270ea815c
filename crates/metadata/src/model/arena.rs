//! Slots with stable keys. A key stays valid while its entry lives, whatever else is removed;
//! iteration is in insertion order, which is LVM2's list order.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Key of an entry of an [`Arena`].
pub trait Key: Copy + Eq {
    /// From a slot number.
    fn from_slot(slot: u32) -> Self;
    /// The slot number.
    fn slot(self) -> u32;
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u32);
        impl Key for $name {
            fn from_slot(slot: u32) -> Self {
                Self(slot)
            }
            fn slot(self) -> u32 {
                self.0
            }
        }
    };
}

key! {
    /// A PV within its VG.
    PvKey
}
key! {
    /// An LV within its VG.
    LvKey
}

/// Entries with stable keys.
#[derive(Clone, PartialEq)]
pub struct Arena<K, T> {
    slots: Vec<Option<T>>,
    live: usize,
    key: PhantomData<K>,
}

impl<K, T> Default for Arena<K, T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            live: 0,
            key: PhantomData,
        }
    }
}

impl<K: Key, T> Arena<K, T> {
    /// With room for `n` entries.
    pub fn with_capacity(n: usize) -> Self {
        Self {
            slots: Vec::with_capacity(n),
            live: 0,
            key: PhantomData,
        }
    }
    /// Adds at the end of the list.
    pub fn push(&mut self, value: T) -> K {
        let key = K::from_slot(u32::try_from(self.slots.len()).expect("fewer than 2^32 entries"));
        self.slots.push(Some(value));
        self.live += 1;
        key
    }
    /// Removes an entry; its key is never used again.
    pub fn remove(&mut self, key: K) -> Option<T> {
        let old = self.slots.get_mut(key.slot() as usize)?.take();
        self.live -= usize::from(old.is_some());
        old
    }
    /// The entry of a key.
    pub fn get(&self, key: K) -> Option<&T> {
        self.slots.get(key.slot() as usize)?.as_ref()
    }
    /// The entry of a key.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.slots.get_mut(key.slot() as usize)?.as_mut()
    }
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.live
    }
    /// No entry?
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
    /// One more than the highest slot ever used: the size of a table indexed by slot.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }
    /// Keys and entries in list order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, s)| s.as_ref().map(|v| (K::from_slot(i as u32), v)))
    }
    /// Keys and entries in list order.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (K, &mut T)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(i, s)| s.as_mut().map(|v| (K::from_slot(i as u32), v)))
    }
    /// Entries in list order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.slots.iter().flatten()
    }
    /// Entries in list order.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.slots.iter_mut().flatten()
    }
    /// Keys in list order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> {
        self.iter().map(|(k, _)| k)
    }
}

impl<K: Key, T> Index<K> for Arena<K, T> {
    type Output = T;
    fn index(&self, key: K) -> &T {
        self.get(key).expect("key of a live entry")
    }
}

impl<K: Key, T> IndexMut<K> for Arena<K, T> {
    fn index_mut(&mut self, key: K) -> &mut T {
        self.get_mut(key).expect("key of a live entry")
    }
}

impl<K: Key, T: fmt::Debug> fmt::Debug for Arena<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}
