//! Numbers in bytes, and an image in memory that knows which of its blocks are to be written.

use super::BLOCK;
use crate::target::replica::RegionSet;

/// Four bytes at a place that the caller knows to exist; 0 beyond the end.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    four.map_or(0, u32::from_le_bytes)
}

/// Eight bytes at a place that the caller knows to exist; 0 beyond the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    eight.map_or(0, u64::from_le_bytes)
}

pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Bytes that are to be on disk. Every change says which block it touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
}

impl Image {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of blocks; the last may be short, where a device ends.
    pub(super) fn blocks(&self) -> u64 {
        (self.bytes.len() as u64).div_ceil(BLOCK)
    }

    /// The bytes of a block.
    pub(super) fn block(&self, block: u64) -> &[u8] {
        let (start, end) = (block * BLOCK, (block + 1) * BLOCK);
        let end = end.min(self.bytes.len() as u64);
        &self.bytes[start.min(end) as usize..end as usize]
    }

    /// Is a bit set? `base` is the byte where bit 0 lies.
    pub(super) fn bit(&self, base: u64, n: u64) -> bool {
        let byte = self.bytes.get((base + n / 8) as usize);
        byte.is_some_and(|b| b >> (n % 8) & 1 != 0)
    }

    /// Sets or clears a bit; gives the block if it changed.
    pub(super) fn set_bit(&mut self, base: u64, n: u64, on: bool) -> Option<u64> {
        let at = base + n / 8;
        let byte = self.bytes.get_mut(at as usize)?;
        let before = *byte;
        match on {
            true => *byte |= 1 << (n % 8),
            false => *byte &= !(1 << (n % 8)),
        }
        (*byte != before).then_some(at / BLOCK)
    }

    /// Replaces bytes; gives the blocks if they changed.
    pub(super) fn set(&mut self, at: u64, new: &[u8]) -> std::ops::Range<u64> {
        let end = at + new.len() as u64;
        match self.bytes.get_mut(at as usize..end as usize) {
            Some(old) if old != new => {
                old.copy_from_slice(new);
                at / BLOCK..(end - 1) / BLOCK + 1
            }
            _ => 0..0,
        }
    }

    /// Blocks in which other bytes differ; a block that they lack differs.
    pub(super) fn differing(&self, other: &[u8]) -> RegionSet {
        let mut set = RegionSet::none(self.blocks());
        for block in 0..self.blocks() {
            let start = (block * BLOCK) as usize;
            let mine = self.block(block);
            if other.get(start..start + mine.len()) != Some(mine) {
                set.add(block);
            }
        }
        set
    }
}
