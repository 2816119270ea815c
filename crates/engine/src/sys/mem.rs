//! Buffers that the kernel may read or write while nobody else can.
//!
//! What must hold:
//! * a [`Buf`] is the only handle to its memory, so it may be used as a `&mut [u8]`;
//! * while a `Buf` is lent ([`Lent`]) its memory is reached through [`Slice`]s only. Either all of
//!   them are for reading, or they are disjoint, each the only handle to its bytes;
//! * memory is freed when the last handle goes: an operation that holds a slice keeps the memory,
//!   whatever becomes of the request it belongs to.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Alignment of every buffer: enough for O_DIRECT on any device.
pub const ALIGN: usize = 4096;

struct Memory {
    ptr: NonNull<u8>,
    cap: usize,
}

// SAFETY: the memory belongs to this value alone; who may touch which part at what time is ruled
// by the handles below, not by the thread they are on.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn layout(cap: usize) -> Layout {
        Layout::from_size_align(cap, ALIGN).expect("a capacity below isize::MAX")
    }
    fn new(cap: usize) -> Self {
        let cap = cap.max(1).next_multiple_of(ALIGN);
        let layout = Self::layout(cap);
        // SAFETY: the layout's size is not zero.
        let ptr = unsafe { alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(ptr) else {
            handle_alloc_error(layout)
        };
        Self { ptr, cap }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and no handle is left.
        unsafe { dealloc(self.ptr.as_ptr(), Self::layout(self.cap)) }
    }
}

/// An aligned buffer with one owner. All of its capacity is initialised.
pub struct Buf {
    mem: Arc<Memory>,
    len: usize,
}

impl Buf {
    /// Of `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        Self {
            mem: Arc::new(Memory::new(len)),
            len,
        }
    }
    /// A copy of `data`.
    pub fn copy_of(data: &[u8]) -> Self {
        let mut buf = Self::zeroed(data.len());
        buf.copy_from_slice(data);
        buf
    }
    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.mem.cap
    }
    /// Changes the length, at most to the capacity; false if that is too small. What lies behind
    /// the old length is whatever was there before.
    pub fn set_len(&mut self, len: usize) -> bool {
        if len > self.mem.cap {
            return false;
        }
        self.len = len;
        true
    }
    /// Lends the memory to operations that fill it.
    pub(crate) fn lend_to_fill(self) -> Lent {
        Lent {
            base: 0,
            len: self.len,
            carved: 0,
            writable: true,
            parts: None,
            _outer: None,
            mem: self.mem,
        }
    }
    /// Lends the memory to operations that only read it.
    pub(crate) fn lend_to_read(self) -> Lent {
        Lent {
            writable: false,
            parts: None,
            _outer: None,
            ..self.lend_to_fill()
        }
    }
}

impl Deref for Buf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: initialised up to `cap` >= `len`, and this is the only handle.
        unsafe { std::slice::from_raw_parts(self.mem.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: initialised up to `cap` >= `len`, and this is the only handle.
        unsafe { std::slice::from_raw_parts_mut(self.mem.ptr.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} of {})", self.len, self.mem.cap)
    }
}

/// Memory on loan to operations.
#[derive(Debug)]
pub struct Lent {
    mem: Arc<Memory>,
    base: usize,
    len: usize,
    /// Everything before this was handed out (only counted for memory that is to be filled).
    carved: usize,
    writable: bool,
    /// Of memory lent by a slice: shared with every part handed out, so that it can be told when none
    /// is left.
    parts: Option<Arc<()>>,
    /// That of the loan the slice was a part of.
    _outer: Option<Arc<()>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.cap)
    }
}

impl Lent {
    /// A part for one operation. None if it is out of range, or overlaps a part of memory that is
    /// to be filled which was handed out before (parts must be taken in ascending order).
    pub fn slice(&mut self, at: u64, len: u64) -> Option<Slice> {
        let (at, len) = (usize::try_from(at).ok()?, usize::try_from(len).ok()?);
        let end = at.checked_add(len)?;
        if end > self.len {
            return None;
        }
        if self.writable {
            if at < self.carved {
                return None;
            }
            self.carved = end;
        }
        Some(Slice {
            mem: Arc::clone(&self.mem),
            at: self.base + at,
            len,
            writable: self.writable,
            loan: self.parts.clone(),
        })
    }
    /// All of it again, for one user, once no slice is left.
    pub fn whole(&mut self) -> Option<Slice> {
        let none_left = match &mut self.parts {
            Some(parts) => Arc::get_mut(parts).is_some(),
            None => Arc::get_mut(&mut self.mem).is_some(),
        };
        if self.writable && none_left {
            self.carved = 0;
        }
        let len = self.len as u64;
        self.slice(0, len)
    }
    /// The buffer again, once no slice is left.
    pub fn reclaim(mut self) -> Result<Buf, Self> {
        if self.base == 0 && Arc::get_mut(&mut self.mem).is_some() {
            Ok(Buf {
                len: self.len,
                mem: self.mem,
            })
        } else {
            Err(self)
        }
    }
}

/// A part of lent memory, for one operation.
#[derive(Debug)]
pub struct Slice {
    mem: Arc<Memory>,
    at: usize,
    len: usize,
    writable: bool,
    /// The loan it is a part of, if that is a part itself.
    loan: Option<Arc<()>>,
}

impl Slice {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: in bounds and initialised. A writable slice is the only handle to its bytes and
        // is borrowed here; a slice that is not writable has only its like beside it.
        unsafe { std::slice::from_raw_parts(self.ptr().as_ptr(), self.len) }
    }
    /// The bytes, to be filled. None if this memory is only to be read.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if !self.writable {
            return None;
        }
        // SAFETY: in bounds and initialised, and the only handle to its bytes.
        Some(unsafe { std::slice::from_raw_parts_mut(self.ptr().as_ptr(), self.len) })
    }
    /// May be filled?
    pub fn writable(&self) -> bool {
        self.writable
    }
    /// Is the memory at a multiple of `align` (a power of two)?
    pub fn aligned(&self, align: u64) -> bool {
        (self.ptr().as_ptr() as u64) & (align - 1) == 0
    }
    /// Lends this part on, to the parts of a request to a lower device.
    pub fn lend(self) -> Lent {
        Lent {
            mem: self.mem,
            base: self.at,
            len: self.len,
            carved: 0,
            writable: self.writable,
            parts: Some(Arc::new(())),
            _outer: self.loan,
        }
    }
    /// First byte; for the kernel.
    pub(super) fn ptr(&self) -> NonNull<u8> {
        // SAFETY: `at` is within the allocation.
        unsafe { self.mem.ptr.add(self.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_to_fill_are_disjoint() {
        let mut lent = Buf::zeroed(8192).lend_to_fill();
        let mut a = lent.slice(0, 4096).expect("first part");
        assert!(lent.slice(4095, 10).is_none(), "overlaps the first part");
        let mut b = lent.slice(4096, 4096).expect("second part");
        assert!(lent.slice(8192, 1).is_none(), "beyond the end");
        a.bytes_mut().expect("writable").fill(1);
        b.bytes_mut().expect("writable").fill(2);
        let lent = lent.reclaim().expect_err("slices are out");
        drop((a, b));
        let buf = lent.reclaim().expect("all slices are back");
        assert_eq!((buf[0], buf[4095], buf[4096], buf[8191]), (1, 1, 2, 2));
    }

    #[test]
    fn parts_to_read_may_overlap_but_not_be_filled() {
        let mut lent = Buf::copy_of(b"abcdef").lend_to_read();
        let mut a = lent.slice(0, 4).expect("part");
        let b = lent.slice(2, 4).expect("overlapping part");
        assert_eq!((a.bytes(), b.bytes()), (&b"abcd"[..], &b"cdef"[..]));
        assert!(a.bytes_mut().is_none());
    }

    #[test]
    fn a_slice_keeps_the_memory() {
        let mut lent = Buf::copy_of(b"xyz").lend_to_read();
        let s = lent.slice(0, 3).expect("part");
        drop(lent);
        assert_eq!(s.bytes(), b"xyz");
        let mut part = s.lend();
        assert_eq!(part.slice(1, 2).expect("part of a part").bytes(), b"yz");
    }
}
