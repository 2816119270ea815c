//! An io_uring that owns what its operations use.
//!
//! What must hold: the memory and the descriptor of an operation are kept in `flying` from the
//! moment it is queued until its completion has been seen. A ring that is dropped waits for its
//! operations, and leaks what belongs to those that do not end.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::epoll;
use rustix::io::Errno;

use super::spin::Spin;
use super::ublk::{DeviceCmd, Loan};
use crate::backend::driver::{FileOp, FileOpKind, Happened, Interest, Readiness};
use crate::buf::Buf;

/// How long a dropped ring waits for its operations.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes that one operation is asked to move; the rest follows as after any short count.
const MAX_LEN: usize = 1 << 30;
/// So many new operations are handed to the kernel without waiting for the end of the queue's turn:
/// the device works on them while the rest of the turn is done. A device that is given its whole
/// queue at once ends it at once too, and idles while the next lot is made.
const HAND_OVER: usize = 4;
/// Completion of a cancellation: nobody waits for it.
const IGNORED: u64 = u64::MAX;
/// Completion of the watch on the queue's inbox.
const INBOX: u64 = u64::MAX - 1;

enum Flying {
    File {
        tag: u64,
        op: FileOp,
    },
    Watch {
        tag: u64,
        wanted: bool,
        /// Also for what is to be read.
        read: bool,
        fd: Arc<OwnedFd>,
        /// What is watched instead: an epoll set of the descriptor.
        through: Option<OwnedFd>,
    },
    Command {
        tag: u64,
        mem: Option<Buf>,
        _fd: Arc<OwnedFd>,
    },
}

/// A ring and its operations.
pub(crate) struct Ring {
    ring: IoUring,
    flying: Vec<Option<Flying>>,
    free: Vec<u32>,
    /// Places in `flying` of watches, by tag.
    watches: HashMap<u64, u32>,
    /// Memory of commands that the kernel copies when it takes them, with their tags.
    until_taken: Vec<(u64, Buf)>,
    files: usize,
    depth: usize,
    spin: Spin,
}

impl Ring {
    /// With room for `depth` file operations at a time. To be made on the thread that uses it.
    ///
    /// The kernel holds on to `fence` until the last operation of the ring has ended, also when
    /// the process is gone before that.
    pub(crate) fn new(depth: u32, fence: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let ring = build(depth)?;
        if let Some(fence) = fence {
            ring.submitter().register_files(&[fence.as_raw_fd()])?;
        }
        let mut probe = io_uring::register::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::Fsync::CODE,
            opcode::Fallocate::CODE,
            opcode::PollAdd::CODE,
            opcode::PollRemove::CODE,
        ];
        if !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            ring,
            flying: Vec::new(),
            free: Vec::new(),
            watches: HashMap::new(),
            until_taken: Vec::new(),
            files: 0,
            depth: depth as usize,
            spin: Spin::new(),
        })
    }

    /// File operations it has room for.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    fn place(&mut self, flying: Flying) -> u32 {
        match self.free.pop() {
            Some(n) => {
                self.flying[n as usize] = Some(flying);
                n
            }
            None => {
                self.flying.push(Some(flying));
                self.flying.len() as u32 - 1
            }
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), Errno> {
        for _ in 0..2 {
            // SAFETY: what the entry points to is in `flying` (or is a descriptor that the caller
            // keeps open for the life of the ring), and stays there until it has completed.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0)?;
        }
        Err(Errno::BUSY)
    }

    fn enter(&mut self, want: usize) -> Result<(), Errno> {
        match self.ring.submit_and_wait(want) {
            Ok(_) => Ok(()),
            Err(e) => Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        }
    }

    /// Begins an operation; gives it back if there is no room.
    pub(crate) fn submit(&mut self, tag: u64, op: FileOp) -> Result<(), FileOp> {
        if self.files >= self.depth {
            return Err(op);
        }
        let entry = entry(&op);
        let n = self.place(Flying::File { tag, op });
        if self.push(&entry.user_data(u64::from(n))).is_ok() {
            self.files += 1;
            if self.ring.submission().len() >= HAND_OVER {
                // What was not taken now is offered again with the next call.
                let _ = self.ring.submit();
            }
            return Ok(());
        }
        self.free.push(n);
        match self.flying[n as usize].take() {
            Some(Flying::File { op, .. }) => Err(op),
            _ => unreachable!("placed above"),
        }
    }

    /// Watches a descriptor once.
    pub(crate) fn watch(
        &mut self,
        tag: u64,
        fd: &Arc<OwnedFd>,
        interest: Interest,
    ) -> Result<(), Errno> {
        // Who does not read does not want to know that no more comes: it would never get rid of it.
        let mut flags = 0;
        if interest.read {
            flags |= (libc::POLLIN | libc::POLLRDHUP) as u32;
        }
        if interest.write {
            flags |= libc::POLLOUT as u32;
        }
        let watched = fd.as_raw_fd();
        let flying = Flying::Watch {
            tag,
            wanted: true,
            read: interest.read,
            fd: Arc::clone(fd),
            through: None,
        };
        self.watch_as(tag, flying, watched, flags)
    }

    fn watch_as(
        &mut self,
        tag: u64,
        flying: Flying,
        watched: RawFd,
        flags: u32,
    ) -> Result<(), Errno> {
        let entry = opcode::PollAdd::new(types::Fd(watched), flags).build();
        let n = self.place(flying);
        if let Err(e) = self.push(&entry.user_data(u64::from(n))) {
            self.flying[n as usize] = None;
            self.free.push(n);
            return Err(e);
        }
        self.watches.insert(tag, n);
        Ok(())
    }

    /// Goes on with a watch for room to write at a socket whose other side sends no more. The ring
    /// would report only that, at once and for ever, though it was not asked to; epoll does not.
    fn watch_through(&mut self, tag: u64, fd: Arc<OwnedFd>) -> Result<(), Errno> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(tag);
        epoll::add(&set, fd.as_fd(), data, epoll::EventFlags::OUT)?;
        let watched = set.as_raw_fd();
        let flying = Flying::Watch {
            tag,
            wanted: true,
            read: false,
            fd,
            through: Some(set),
        };
        self.watch_as(tag, flying, watched, libc::POLLIN as u32)
    }

    /// Ends a watch; its completion is swallowed.
    pub(crate) fn unwatch(&mut self, tag: u64) {
        let Some(n) = self.watches.remove(&tag) else {
            return;
        };
        if let Some(Some(Flying::Watch { wanted, .. })) = self.flying.get_mut(n as usize) {
            *wanted = false;
        }
        let entry = opcode::PollRemove::new(u64::from(n)).build();
        // Without room the watch stays until it is ready: nobody is told then either.
        let _ = self.push(&entry.user_data(IGNORED));
    }

    /// Begins a command to a ublk device; gives it back if there is no room.
    pub(crate) fn command(&mut self, tag: u64, command: DeviceCmd) -> Result<(), DeviceCmd> {
        if self.ring.submission().is_full() {
            // What was not taken now is offered again with the next call.
            let _ = self.enter(0);
            if self.ring.submission().is_full() {
                return Err(command);
            }
        }
        let (entry, fd, loan) = command.into_parts();
        let (mem, until_taken) = match loan {
            Loan::None => (None, None),
            Loan::ToTheEnd(buf) => (Some(buf), None),
            Loan::UntilTaken(buf) => (None, Some(buf)),
        };
        let n = self.place(Flying::Command { tag, mem, _fd: fd });
        // There is room: it was looked for above.
        let _ = self.push(&entry.user_data(u64::from(n)));
        self.until_taken.extend(until_taken.map(|buf| (tag, buf)));
        if self.ring.submission().len() >= HAND_OVER {
            // What was not taken now is offered again with the next call.
            let _ = self.ring.submit();
        }
        Ok(())
    }

    /// Reports when the inbox's descriptor (kept open by the caller) is readable, once.
    pub(crate) fn watch_inbox(&mut self, event: std::os::fd::BorrowedFd<'_>) {
        let flags = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(event.as_raw_fd()), flags).build();
        // Fails only when the kernel takes nothing at all; then nothing works.
        let _ = self.push(&entry.user_data(INBOX));
    }

    /// Hands new operations to the kernel and adds what has ended; waits for something if there
    /// is nothing. Gives whether the inbox was readable.
    pub(crate) fn collect(&mut self, wait: Option<Duration>, out: &mut Vec<Happened>) -> bool {
        let nothing = self.ring.completion().is_empty();
        let wait = if nothing { wait } else { Some(Duration::ZERO) };
        match wait {
            Some(Duration::ZERO) => {
                let sq = self.ring.submission();
                if !sq.is_empty() || sq.taskrun() || sq.cq_overflow() {
                    drop(sq);
                    // What was not taken now is offered again the next time.
                    let _ = self.enter(0);
                }
            }
            Some(wait) => {
                let began = self.before_wait(wait);
                let time = types::Timespec::from(wait);
                let args = types::SubmitArgs::new().timespec(&time);
                // The time being over, a signal, or a full queue: what is there is looked at.
                let _ = self.ring.submitter().submit_with_args(1, &args);
                self.spin.waited(began.elapsed());
            }
            None => {
                let began = self.before_wait(Duration::MAX);
                let _ = self.enter(1);
                self.spin.waited(began.elapsed());
            }
        }
        if !self.until_taken.is_empty() && self.ring.submission().is_empty() {
            // The driver copies an answer's data while it takes the command.
            let taken = self.until_taken.drain(..);
            out.extend(taken.map(|(tag, mem)| Happened::Taken { tag, mem }));
        }
        self.reap(out)
    }

    /// The next wait is likely to be a short one.
    pub(crate) fn look_out(&mut self) {
        self.spin.expect();
    }

    /// Before it waits for the kernel: hands new operations over and looks out for an end for a
    /// while, if that is worth it. Gives when that began.
    fn before_wait(&mut self, wait: Duration) -> Instant {
        let began = Instant::now();
        if let Some(mut turn) = self.spin.begin(began) {
            // What was not taken now is offered again with the next call.
            let _ = self.ring.submit();
            while self.ring.completion().is_empty()
                && !self.ring.submission().taskrun()
                && turn.goes_on(wait)
            {
                // Whoever else wants this CPU has it first.
                std::thread::yield_now();
            }
        }
        began
    }

    fn reap(&mut self, out: &mut Vec<Happened>) -> bool {
        let (mut inbox, mut again) = (false, Vec::new());
        let Self {
            ring,
            flying,
            free,
            watches,
            files,
            ..
        } = self;
        for cqe in ring.completion() {
            let (n, result) = (cqe.user_data(), cqe.result());
            if n == INBOX {
                inbox = true;
                continue;
            }
            let Some(ended) = flying.get_mut(n as usize).and_then(Option::take) else {
                continue;
            };
            free.push(n as u32);
            match ended {
                Flying::File { tag, mut op } => {
                    *files -= 1;
                    let failed = || Errno::from_raw_os_error(-result);
                    let done = match op.kind {
                        FileOpKind::Punch | FileOpKind::Zero => op.len,
                        _ => result.max(0) as u64,
                    };
                    out.push(Happened::Done {
                        tag,
                        result: if result < 0 { Err(failed()) } else { Ok(done) },
                        mem: op.mem.take(),
                    });
                }
                Flying::Command { tag, mem, .. } => {
                    out.push(Happened::Command { tag, result, mem })
                }
                Flying::Watch { wanted: false, .. } => {}
                Flying::Watch {
                    tag,
                    read,
                    fd,
                    through,
                    ..
                } => {
                    watches.remove(&tag);
                    let ready = match through {
                        Some(_) => room_or_gone(result),
                        None => readiness(result),
                    };
                    if !read && !ready.write {
                        again.push((tag, fd));
                    } else {
                        out.push(Happened::Ready { tag, ready });
                    }
                }
            }
        }
        for (tag, fd) in again {
            if self.watch_through(tag, fd).is_err() {
                // Writing tells what is wrong.
                let ready = room_or_gone(-1);
                out.push(Happened::Ready { tag, ready });
            }
        }
        inbox
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let began = Instant::now();
        let mut ended = Vec::new();
        while self.files > 0 && began.elapsed() < PATIENCE {
            self.collect(Some(Duration::from_millis(100)), &mut ended);
        }
        let lent = |f: &Option<Flying>| matches!(f, Some(Flying::Command { mem: Some(_), .. }));
        std::mem::forget(std::mem::take(&mut self.until_taken));
        if self.files > 0 || self.flying.iter().any(lent) {
            // The kernel may still use them.
            std::mem::forget(std::mem::take(&mut self.flying));
        }
    }
}

/// The newest set of flags that the kernel knows.
fn build(depth: u32) -> io::Result<IoUring> {
    let newest = IoUring::builder()
        .setup_clamp()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(depth);
    let ring = newest
        .or_else(|_| {
            IoUring::builder()
                .setup_clamp()
                .setup_coop_taskrun()
                .setup_taskrun_flag()
                .build(depth)
        })
        .or_else(|_| IoUring::builder().setup_clamp().build(depth))?;
    // Waiting for a limited time takes it (Linux 5.11).
    match ring.params().is_feature_ext_arg() {
        true => Ok(ring),
        false => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Of a watch through an epoll set: whatever it has, writing tells.
fn room_or_gone(result: i32) -> Readiness {
    Readiness {
        read: result < 0,
        write: true,
    }
}

fn readiness(result: i32) -> Readiness {
    let events = result as u32;
    let has = |mask: i16| events & mask as u16 as u32 != 0;
    let gone = result < 0 || has(libc::POLLERR | libc::POLLHUP | libc::POLLNVAL);
    Readiness {
        read: gone || has(libc::POLLIN | libc::POLLRDHUP),
        write: gone || has(libc::POLLOUT),
    }
}

fn entry(op: &FileOp) -> squeue::Entry {
    use rustix::fs::FallocateFlags as F;
    let fd = types::Fd(op.fd.as_raw_fd());
    // What lies behind `skip` in the operation's memory.
    let (ptr, len) = match &op.mem {
        Some(mem) => {
            let skip = op.skip.min(mem.len());
            // SAFETY: `skip` is within the slice.
            let ptr = unsafe { mem.ptr().add(skip) };
            (ptr.as_ptr(), (mem.len() - skip).min(MAX_LEN) as u32)
        }
        None => (std::ptr::null_mut(), 0),
    };
    let free = |mode: F| {
        opcode::Fallocate::new(fd, op.len)
            .offset(op.offset)
            .mode(mode.bits() as i32)
            .build()
    };
    match op.kind {
        // Memory that may not be filled: an empty read, which ends as an error above.
        FileOpKind::Read if !op.mem.as_ref().is_some_and(|m| m.writable()) => {
            opcode::Read::new(fd, ptr, 0).offset(op.offset).build()
        }
        FileOpKind::Read => {
            let read = opcode::Read::new(fd, ptr, len).offset(op.offset).build();
            match op.aside {
                true => read.flags(squeue::Flags::ASYNC),
                false => read,
            }
        }
        FileOpKind::Write { dsync } => opcode::Write::new(fd, ptr, len)
            .offset(op.offset)
            .rw_flags(if dsync { libc::RWF_DSYNC } else { 0 })
            .build(),
        FileOpKind::Sync => opcode::Fsync::new(fd)
            .flags(types::FsyncFlags::DATASYNC)
            .build(),
        FileOpKind::Punch => free(F::PUNCH_HOLE | F::KEEP_SIZE),
        FileOpKind::Zero => free(F::ZERO_RANGE | F::KEEP_SIZE),
    }
}
