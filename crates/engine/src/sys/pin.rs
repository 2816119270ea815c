//! Memory that stays where it is: pinned pages are neither given back nor moved, so that nothing
//! that is copied there meets a page fault.

use std::fmt;
use std::io;

use io_uring::IoUring;

use crate::buf::Buf;

/// Keeps buffers pinned until it is dropped. A ring does it on the side: pages of buffers that are
/// registered with one stay in place. It is used for nothing else.
pub(crate) struct Pinned {
    _ring: IoUring,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl Pinned {
    /// Pins buffers. Refused where io_uring is, and to users whose limit of locked memory is lower.
    pub(crate) fn new(buffers: &[Buf]) -> io::Result<Self> {
        let ring = IoUring::new(2)?;
        let ranges: Vec<libc::iovec> = buffers.iter().map(range).collect();
        // SAFETY: no operation on this ring ever uses the registered ranges. All that registering
        // does is to hold on to the pages, which is allowed whatever becomes of the mapping.
        unsafe { ring.submitter().register_buffers(&ranges) }?;
        Ok(Self { _ring: ring })
    }
}

fn range(buf: &Buf) -> libc::iovec {
    libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.capacity(),
    }
}
