//! The sending side: replies in the order in which they are sent, and what of them is on its way.
//!
//! Small pieces lie one after another in one run of bytes; data are sent from the buffers they were
//! read into. One system call takes all that is ready, up to [`IOV`] pieces.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::buf::{Buf, BufPool};

/// Pieces in one system call.
const IOV: usize = 256;

#[derive(Debug)]
enum Segment {
    /// The next so many bytes of the run.
    Small(usize),
    Data(Buf),
}

/// Replies not yet sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    segments: VecDeque<Segment>,
    small: Vec<u8>,
    /// Bytes of `small` that are sent.
    small_sent: usize,
    /// Bytes of the data in front that are sent.
    data_sent: usize,
}

impl Outgoing {
    /// Nothing left to send?
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Drops what was to be sent.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that lie in the run of small pieces: what replies without data cost.
    pub(super) fn small_bytes(&self) -> usize {
        self.small.len()
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.small.extend_from_slice(bytes);
        match self.segments.back_mut() {
            Some(Segment::Small(length)) => *length += bytes.len(),
            _ => self.segments.push_back(Segment::Small(bytes.len())),
        }
    }

    pub(super) fn data(&mut self, buf: Buf) {
        if !buf.is_empty() {
            self.segments.push_back(Segment::Data(buf));
        }
    }

    /// Sends what the socket takes now; buffers that are sent go back to the pool. Returns the
    /// number of bytes sent, which is 0 when the socket takes none.
    pub(super) fn send(
        &mut self,
        socket: &OwnedFd,
        mut pool: Option<&mut BufPool>,
    ) -> Result<usize, Errno> {
        let mut total = 0;
        while !self.segments.is_empty() {
            let mut pieces = [IoSlice::new(&[]); IOV];
            let (count, length) = self.pieces(&mut pieces);
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let mut none = SendAncillaryBuffer::default();
            match rustix::net::sendmsg(socket, &pieces[..count], &mut none, flags) {
                Ok(n) => {
                    total += n;
                    self.sent(n, pool.as_deref_mut());
                    // A short count says that there is no room for more.
                    if n < length {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Fills in what is to be sent next; the number of pieces and of bytes.
    fn pieces<'a>(&'a self, into: &mut [IoSlice<'a>; IOV]) -> (usize, usize) {
        let (mut count, mut length) = (0, 0);
        let (mut small, mut skip) = (self.small_sent, self.data_sent);
        for (segment, slot) in self.segments.iter().zip(into.iter_mut()) {
            let bytes = match segment {
                Segment::Small(n) => {
                    small += n;
                    &self.small[small - n..small]
                }
                Segment::Data(buf) => &buf[std::mem::take(&mut skip)..],
            };
            *slot = IoSlice::new(bytes);
            count += 1;
            length += bytes.len();
        }
        (count, length)
    }

    fn sent(&mut self, mut n: usize, mut pool: Option<&mut BufPool>) {
        while n > 0 {
            match self.segments.front_mut() {
                None => break,
                Some(Segment::Small(length)) => {
                    let part = n.min(*length);
                    *length -= part;
                    self.small_sent += part;
                    n -= part;
                    if *length > 0 {
                        break;
                    }
                }
                Some(Segment::Data(buf)) => {
                    let part = n.min(buf.len() - self.data_sent);
                    self.data_sent += part;
                    n -= part;
                    if self.data_sent < buf.len() {
                        break;
                    }
                    self.data_sent = 0;
                }
            }
            if let Some(Segment::Data(buf)) = self.segments.pop_front()
                && let Some(pool) = pool.as_deref_mut()
            {
                pool.give(buf);
            }
        }
        if self.small_sent == self.small.len() {
            self.small.clear();
            self.small_sent = 0;
        } else if self.small_sent > 64 << 10 {
            self.small.drain(..self.small_sent);
            self.small_sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn all_is_sent_in_order_through_a_narrow_socket() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = OwnedFd::from(ours);
        let (mut out, mut pool) = (Outgoing::default(), BufPool::new(8 << 20));
        let mut wanted = Vec::new();
        for n in 0..700_usize {
            let head = [n as u8; 7];
            out.bytes(&head);
            out.bytes(&head[..n % 3]);
            let mut buf = pool.take(n * 3 % 9000).unwrap();
            buf.fill(n as u8 ^ 0x55);
            wanted.extend_from_slice(&head);
            wanted.extend_from_slice(&head[..n % 3]);
            wanted.extend_from_slice(&buf);
            out.data(buf);
        }
        let mut seen = vec![0; wanted.len()];
        let mut at = 0;
        while at < seen.len() {
            let n = out.send(&ours, Some(&mut pool)).unwrap();
            assert!(n > 0, "the other side has taken all there was");
            theirs.read_exact(&mut seen[at..at + n]).unwrap();
            at += n;
        }
        assert!(seen == wanted);
        assert!(out.is_empty() && out.small_bytes() == 0);
    }
}
