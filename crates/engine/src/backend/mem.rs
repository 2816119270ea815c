//! Memory as a backing device: for tests and for load that is to meet no device.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::buf::Slice;

/// Bytes in memory, in blocks with a lock each, so that queues do not wait for one another.
pub struct MemStore {
    blocks: Vec<Mutex<Box<[u8]>>>,
}

const BLOCK: usize = 1 << 20;

impl fmt::Debug for MemStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStore({} blocks)", self.blocks.len())
    }
}

impl MemStore {
    pub(super) fn new(size: usize) -> Self {
        let block = |n: usize| {
            let len = BLOCK.min(size - n * BLOCK);
            Mutex::new(vec![0; len].into_boxed_slice())
        };
        Self {
            blocks: (0..size.div_ceil(BLOCK)).map(block).collect(),
        }
    }

    /// Calls `f` for each part of a range that lies in one block, with its place in the range.
    /// False if the range ends beyond the memory.
    fn parts(&self, offset: u64, len: u64, mut f: impl FnMut(usize, &mut [u8])) -> bool {
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let (n, within) = ((at / BLOCK as u64) as usize, (at % BLOCK as u64) as usize);
            let Some(block) = self.blocks.get(n) else {
                return false;
            };
            let mut block = block.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(rest) = block.get_mut(within..).filter(|r| !r.is_empty()) else {
                return false;
            };
            let take = ((len - done) as usize).min(rest.len());
            f(done as usize, &mut rest[..take]);
            done += take as u64;
        }
        true
    }

    pub(crate) fn read(&self, offset: u64, into: &mut Slice) -> bool {
        let len = into.len() as u64;
        let Some(bytes) = into.bytes_mut() else {
            return false;
        };
        self.parts(offset, len, |at, part| {
            bytes[at..at + part.len()].copy_from_slice(part);
        })
    }

    pub(crate) fn write(&self, offset: u64, from: &Slice) -> bool {
        let bytes = from.bytes();
        self.parts(offset, bytes.len() as u64, |at, part| {
            part.copy_from_slice(&bytes[at..at + part.len()]);
        })
    }

    pub(crate) fn zero(&self, offset: u64, len: u64) -> bool {
        self.parts(offset, len, |_, part| part.fill(0))
    }
}
