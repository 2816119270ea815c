//! One JSON value a line over a unix socket, with descriptors.
//!
//! What must hold: a line is at most [`MAX_LINE`] bytes, and says how many descriptors come with
//! it; descriptors travel with the first byte of their line, so they have all come when its last
//! byte has.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of both protocols. Another one is refused.
pub const VERSION: u32 = 1;
/// Most bytes of a line.
pub const MAX_LINE: usize = 16 << 20;
/// Most descriptors of a line.
pub const MAX_FDS: usize = 64;
/// Most bytes taken at a time.
const PART: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    #[serde(default)]
    fds: usize,
    body: T,
}

/// One end.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    input: Vec<u8>,
    /// Bytes of `input` known to hold no line end.
    looked: usize,
    fds: VecDeque<OwnedFd>,
}

impl Channel {
    /// Over a connected socket.
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            input: Vec::new(),
            looked: 0,
            fds: VecDeque::new(),
        }
    }

    /// How long one send or receive may wait; for ever if none.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(patience)?;
        self.socket.set_write_timeout(patience)
    }

    /// Sends a line.
    pub fn send<T: Serialize>(&mut self, body: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let envelope = Envelope {
            v: VERSION,
            fds: fds.len(),
            body,
        };
        let mut line = serde_json::to_vec(&envelope)?;
        line.push(b'\n');
        if line.len() > MAX_LINE || fds.len() > MAX_FDS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a message longer than the protocol allows",
            ));
        }
        let mut sent = 0;
        while sent < line.len() {
            let with = if sent == 0 { fds } else { &[] };
            sent += self.send_part(&line[sent..], with)?;
        }
        Ok(())
    }

    fn send_part(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let parts = [IoSlice::new(bytes)];
        let send =
            || rustix::net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL);
        Ok(rustix::io::retry_on_intr(send)?)
    }

    /// The next line and its descriptors; none at the end.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let envelope: Envelope<T> = serde_json::from_slice(&line)?;
        if envelope.v != VERSION {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the other side speaks version {} of the protocol, not {VERSION}",
                    envelope.v
                ),
            ));
        }
        if envelope.fds > self.fds.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "descriptors of a message are missing",
            ));
        }
        let fds = self.fds.drain(..envelope.fds).collect();
        Ok(Some((envelope.body, fds)))
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let fresh = &self.input[self.looked..];
            if let Some(end) = fresh.iter().position(|b| *b == b'\n') {
                let rest = self.input.split_off(self.looked + end + 1);
                let mut line = std::mem::replace(&mut self.input, rest);
                line.pop();
                self.looked = 0;
                return Ok(Some(line));
            }
            self.looked = self.input.len();
            if self.looked >= MAX_LINE {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a message longer than the protocol allows",
                ));
            }
            if self.receive_part()? == 0 {
                return match self.input.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn receive_part(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; PART];
        let len = {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::io::retry_on_intr(|| {
                rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags)
            })?
            .bytes
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > 2 * MAX_FDS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.input.extend_from_slice(&bytes[..len]);
        Ok(len)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().expect("a pair");
        (Channel::new(a), Channel::new(b))
    }

    #[test]
    fn descriptors_come_with_their_lines() {
        let (mut a, mut b) = pair();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"here").expect("written");
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        a.send(&"first", &[]).expect("sent");
        a.send(&"second", &[file.as_fd()]).expect("sent");
        a.send(&"third", &[theirs.as_fd()]).expect("sent");
        drop((a, theirs));
        let (first, fds): (String, _) = b.receive().expect("received").expect("a line");
        assert_eq!((first.as_str(), fds.len()), ("first", 0));
        let (second, fds): (String, _) = b.receive().expect("received").expect("a line");
        assert_eq!((second.as_str(), fds.len()), ("second", 1));
        let (third, fds): (String, _) = b.receive().expect("received").expect("a line");
        assert_eq!((third.as_str(), fds.len()), ("third", 1));
        drop(fds);
        assert_eq!(ours.read(&mut [0]).expect("hung up"), 0);
        assert!(b.receive::<String>().expect("the end").is_none());
    }

    #[test]
    fn long_lines_arrive_and_longer_ones_are_refused() {
        let (mut a, mut b) = pair();
        let long = "x".repeat(3 << 20);
        let sender = std::thread::spawn(move || a.send(&long, &[]).map(|()| a));
        let (text, _): (String, _) = b.receive().expect("received").expect("a line");
        assert_eq!(text.len(), 3 << 20);
        let mut a = sender.join().expect("ended").expect("sent");
        let error = a.send(&"x".repeat(MAX_LINE), &[]).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let endless = std::thread::spawn(move || {
            let part = vec![b' '; 1 << 20];
            while (&a.socket).write_all(&part).is_ok() {}
        });
        assert!(b.receive::<String>().is_err());
        drop(b);
        endless.join().expect("ended");
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bad in [
            "\n",
            "{}\n",
            "{\"v\":2,\"body\":\"x\"}\n",
            "{\"v\":1,\"fds\":1,\"body\":\"x\"}\n",
            "{\"v\":1,\"body\":\"x\"",
        ] {
            let (a, mut b) = pair();
            (&a.socket).write_all(bad.as_bytes()).expect("written");
            drop(a);
            assert!(b.receive::<String>().is_err(), "{bad:?}");
        }
    }
}
