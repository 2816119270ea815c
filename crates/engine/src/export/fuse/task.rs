//! The task that answers the kernel: one per queue, each with its own clone of the connection.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::Volumes;
use super::folder::{Action, written};
use super::wire::{IN_HEADER, InHeader, RESENT, Reply, WRITE_HEADER, split};
use crate::buf::Buf;
use crate::export::memory::{Budget, Memory};
use crate::io::{Completion, OpKind, Request};
use crate::queue::{Cx, Event, Interest, Task};

/// Bytes of the longest reply without a file's data.
const REPLY_MAX: usize = 64 << 10;
/// A write of at most so many bytes is copied to a buffer of its size, so that the large one that
/// the kernel filled can be used for the next request at once.
const COPY_LIMIT: usize = 64 << 10;
/// Requests taken in one go before others on the queue have their turn.
const BURST: usize = 64;
/// How long a server leaves the connection to the others once it was woken for a request that one
/// of them had already. The kernel wakes all that watch: with few requests, one is enough, and if
/// that one is held up by a disk the others are there again soon.
const AWAY: Duration = Duration::from_millis(10);

/// Serves a folder's requests that come through one descriptor.
pub(super) struct Server {
    fd: Arc<OwnedFd>,
    volumes: Arc<Volumes>,
    /// The kernel puts a request's header and a write's fields here, its data into `large`:
    /// so a write's data are aligned and need no copy.
    head: Buf,
    large: Option<Buf>,
    /// Replies are sent from here.
    out: Buf,
    memory: Memory,
    /// A request that waits for memory. Nothing is read while there is one.
    stalled: Option<(InHeader, Action)>,
    in_flight: usize,
    watching: bool,
    /// The watch has told of requests, and none has been taken since.
    woken: bool,
    away: bool,
    /// Servers of the connection that watch it.
    watchers: Arc<AtomicUsize>,
    stopping: bool,
}

/// How far reading got.
enum Taken {
    /// A request; there may be more.
    One,
    /// Nothing to read now.
    None,
    /// There is no memory: completions bring it back.
    Starved,
    /// The connection is over.
    Over,
}

impl Server {
    /// None if there is no memory even to begin with.
    pub(super) fn new(
        fd: OwnedFd,
        volumes: Arc<Volumes>,
        budget: Budget,
        watchers: Arc<AtomicUsize>,
    ) -> Option<Self> {
        let mut memory = Memory::new(budget);
        Some(Self {
            fd: Arc::new(fd),
            volumes,
            head: memory.take(WRITE_HEADER)?,
            large: memory.take_large(),
            out: memory.take(REPLY_MAX)?,
            memory,
            stalled: None,
            in_flight: 0,
            watching: false,
            woken: false,
            away: false,
            watchers,
            stopping: false,
        })
    }

    /// Does the kernel keep the memory in place?
    pub(super) fn pinned(&self) -> bool {
        self.memory.pinned()
    }

    fn take_requests(&mut self, cx: &mut Cx<'_>) {
        let mut taken = 0;
        for _ in 0..BURST {
            if self.stalled.is_some() || self.stopping {
                return;
            }
            match self.take_one(cx) {
                Taken::One => {
                    self.woken = false;
                    taken += 1;
                }
                Taken::None => break,
                // A watch would fire at once, again and again.
                Taken::Starved => return,
                Taken::Over => {
                    self.stopping = true;
                    return;
                }
            }
        }
        if self.watching || self.stalled.is_some() {
            return;
        }
        if std::mem::take(&mut self.woken) && self.watchers.load(Ordering::Acquire) > 0 {
            self.away = true;
            cx.timer(AWAY, 0);
            return;
        }
        if taken == 1 && self.in_flight <= 1 {
            cx.look_out();
        }
        self.watch(cx);
    }

    fn watch(&mut self, cx: &mut Cx<'_>) {
        let interest = Interest {
            read: true,
            write: false,
        };
        // Counted first: who sees the number may rely on somebody who will look.
        self.watchers.fetch_add(1, Ordering::AcqRel);
        self.watching = cx.watch(&self.fd, interest).is_ok();
        if !self.watching {
            self.watchers.fetch_sub(1, Ordering::AcqRel);
            self.stopping = true;
        }
    }

    fn watched(&mut self) {
        if std::mem::take(&mut self.watching) {
            self.watchers.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn take_one(&mut self, cx: &mut Cx<'_>) -> Taken {
        if self.large.is_none() {
            self.large = self.memory.take_large();
        }
        let Some(large) = &mut self.large else {
            return Taken::Starved;
        };
        let mut parts = [IoSliceMut::new(&mut self.head), IoSliceMut::new(large)];
        let len = match rustix::io::readv(&*self.fd, &mut parts) {
            Ok(len) => len,
            // The request was given up by its caller meanwhile, or the call interrupted.
            Err(Errno::NOENT | Errno::INTR) => return Taken::One,
            Err(Errno::AGAIN) => return Taken::None,
            Err(_) => return Taken::Over,
        };
        let decided = if len <= WRITE_HEADER {
            split(&self.head[..len]).map(|(h, body)| (h, self.volumes.handle(&h, body)))
        } else {
            // The header never lies in the second part; the body may.
            let spill = len - WRITE_HEADER;
            split_both(&self.head, &large[..spill])
                .map(|(h, body)| (h, self.volumes.handle(&h, &body)))
        };
        match decided {
            Some((header, action)) => self.carry_out(cx, header, action),
            // The kernel does not send such a thing; there is nobody to answer.
            None => return Taken::Over,
        }
        Taken::One
    }

    fn carry_out(&mut self, cx: &mut Cx<'_>, header: InHeader, action: Action) {
        if header.unique & RESENT != 0 {
            self.volumes.count_resent();
        }
        let request = match action {
            Action::Silent => return,
            Action::Gone => {
                self.send(&Reply::ok(header.unique).finish(0), &[]);
                self.stopping = true;
                return;
            }
            Action::Reply(bytes) => return self.send(&bytes, &[]),
            Action::Read { file, offset, len } => {
                let Some(buf) = self.memory.take(len as usize) else {
                    self.stalled = Some((header, action));
                    return;
                };
                (file, Request::read(offset, buf))
            }
            Action::Write {
                file,
                offset,
                len,
                fua,
            } => {
                let Some(buf) = self.write_buf(len as usize) else {
                    self.stalled = Some((header, action));
                    return;
                };
                (file, Request::write(offset, buf, fua))
            }
            Action::Flush { file } => (file, Request::flush()),
            Action::Zero {
                file,
                offset,
                len,
                unmap,
                fua,
            } => (file, Request::write_zeroes(offset, len, unmap, fua)),
        };
        let (file, request) = request;
        let Some(device) = self.volumes.device(file) else {
            // Taken away since the request was looked at.
            if let Some(buf) = request.into_buf() {
                self.memory.give(buf);
            }
            return self.send(&Reply::error(header.unique, libc::ENODEV).finish(0), &[]);
        };
        self.in_flight += 1;
        cx.submit(&device, request, header.unique);
    }

    /// The data of the write that was just read, as a buffer of its own. `None` when there is no
    /// memory: the data stay where they are, since nothing is read until there is.
    fn write_buf(&mut self, len: usize) -> Option<Buf> {
        if len > COPY_LIMIT {
            let mut large = self.large.take()?;
            large.set_len(len);
            return Some(large);
        }
        let mut buf = self.memory.take(len)?;
        buf.copy_from_slice(&self.large.as_ref()?[..len]);
        Some(buf)
    }

    fn answer(&mut self, completion: Completion) {
        self.in_flight -= 1;
        let unique = completion.token;
        match completion.errno() {
            0 => match completion.op.kind() {
                OpKind::Read => {
                    let data = completion.buf.as_deref().unwrap_or(&[]);
                    let head = Reply::ok(unique).finish(data.len());
                    self.send(&head, data);
                }
                OpKind::Write => self.send(&written(unique, completion.len as u32), &[]),
                OpKind::Flush | OpKind::Discard | OpKind::WriteZeroes => {
                    self.send(&Reply::ok(unique).finish(0), &[]);
                }
            },
            errno => self.send(&Reply::error(unique, errno).finish(0), &[]),
        }
        if let Some(buf) = completion.buf {
            self.memory.give(buf);
        }
    }

    /// A reply is taken whole or not at all. ENOENT: its caller has given up. Other errors mean
    /// that the connection is over, which the next read says too.
    fn send(&mut self, head: &[u8], data: &[u8]) {
        let Some(out) = self.out.get_mut(..head.len()) else {
            return;
        };
        out.copy_from_slice(head);
        let parts = [IoSlice::new(out), IoSlice::new(data)];
        let count = if data.is_empty() { 1 } else { 2 };
        let _ = rustix::io::retry_on_intr(|| rustix::io::writev(&*self.fd, &parts[..count]));
    }
}

/// Header and body of a request that lies in two parts.
fn split_both(head: &[u8], rest: &[u8]) -> Option<(InHeader, Vec<u8>)> {
    let mut fields = [0; IN_HEADER];
    fields.copy_from_slice(&head[..IN_HEADER]);
    fields[..4].copy_from_slice(&(IN_HEADER as u32).to_ne_bytes());
    let (mut header, _) = split(&fields)?;
    header.len = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
    if header.len as usize != WRITE_HEADER + rest.len() {
        return None;
    }
    Some((header, [&head[IN_HEADER..], rest].concat()))
}

impl Task for Server {
    fn start(&mut self, cx: &mut Cx<'_>) {
        self.take_requests(cx);
    }

    fn event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Done(completion) => self.answer(completion),
            Event::Ready(..) => {
                self.watched();
                self.woken = true;
            }
            Event::Stop => self.stopping = true,
            Event::Timer(_) => self.away = false,
            Event::Message(_) | Event::Command(_) => {}
        }
    }

    fn batch_end(&mut self, cx: &mut Cx<'_>) {
        if let Some((header, action)) = self.stalled.take() {
            self.carry_out(cx, header, action);
        }
        if !self.watching && !self.away {
            self.take_requests(cx);
        }
        if self.stopping && self.in_flight == 0 {
            self.watched();
            cx.exit();
        }
    }
}
