//! What carries operations on files to the kernel and waits for what happens: one per queue.
//! Implemented by a ring and, where that is refused, by a pool of threads.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::buf::{Buf, Slice};
use crate::sys::ublk::DeviceCmd;

/// What is done to a file: one system call's worth. It owns its memory and its descriptor.
#[derive(Debug)]
pub(crate) struct FileOp {
    pub fd: Arc<OwnedFd>,
    pub kind: FileOpKind,
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes, where there is no memory.
    pub len: u64,
    /// Where the data are or go to.
    pub mem: Option<Slice>,
    /// Bytes at the start of `mem` that are done already.
    pub skip: usize,
    /// A read not to be done in the submitting thread, even if it need not wait: worth its cost for
    /// a large copy. (Writes to the page cache go to the ring's workers anyway where they could
    /// wait; to insist on it was slower.)
    pub aside: bool,
    /// What it takes up until it has ended.
    pub room: Room,
}

/// What an operation in the driver takes up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Room {
    /// A place among the driver's operations.
    Place,
    /// One of the kernel's worker threads as well: it waits there.
    Worker,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileOpKind {
    Read,
    Write {
        /// RWF_DSYNC
        dsync: bool,
    },
    /// fdatasync
    Sync,
    /// Give the space back; reads as zeroes.
    Punch,
    /// Reads as zeroes; the space stays.
    Zero,
}

/// Which readiness of a descriptor to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interest {
    /// Something to read, or the other side is gone.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

/// What a descriptor is ready for. Errors and hang-ups show as both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// Reading does not wait.
    pub read: bool,
    /// Writing does not wait.
    pub write: bool,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Happened {
    /// A file operation ended: bytes done, or the error; and its memory.
    Done {
        tag: u64,
        result: Result<u64, Errno>,
        mem: Option<Slice>,
    },
    /// A watched descriptor is ready; the watch is over.
    Ready { tag: u64, ready: Readiness },
    /// A command's answer has been copied by the kernel: its memory is free again.
    Taken { tag: u64, mem: Buf },
    /// A command ended, with its result and its memory.
    Command {
        tag: u64,
        result: i32,
        mem: Option<Buf>,
    },
}

/// Carries file operations and watches descriptors. Every operation taken is reported once.
pub(crate) trait Driver {
    /// Begins an operation. Given back if there is no room now.
    fn submit(&mut self, tag: u64, op: FileOp) -> Result<(), FileOp>;
    /// Watches a descriptor until it is ready once.
    fn watch(&mut self, tag: u64, fd: &Arc<OwnedFd>, interest: Interest) -> Result<(), Errno>;
    /// Ends a watch. It may have been reported already.
    fn unwatch(&mut self, tag: u64, fd: &Arc<OwnedFd>);
    /// Begins a command to a ublk device. Given back if there is no room now. Every one that is taken is reported once as
    /// [`Happened::Command`], and before that as [`Happened::Taken`] if it carries an answer's data.
    /// Only rings can.
    fn command(&mut self, tag: u64, command: DeviceCmd) -> Result<(), DeviceCmd> {
        let _ = tag;
        Err(command)
    }
    /// Adds what has happened; waits for something if there is nothing, at most `wait` (for ever
    /// if none). A zero wait only looks.
    fn collect(&mut self, wait: Option<Duration>, happened: &mut Vec<Happened>);
    /// The next wait is likely to be a short one.
    fn look_out(&mut self) {}
    /// Places, and threads for what waits in one ([`Room`]).
    fn room(&self) -> (usize, usize);
    /// Name, for reports.
    fn name(&self) -> &'static str;
}

/// Does one operation, waiting for it. Interrupted calls are repeated.
pub(crate) fn perform(op: &mut FileOp) -> Result<u64, Errno> {
    rustix::io::retry_on_intr(|| perform_once(op))
}

fn perform_once(op: &mut FileOp) -> Result<u64, Errno> {
    use rustix::fs::FallocateFlags as F;
    use rustix::io::ReadWriteFlags;
    match op.kind {
        FileOpKind::Read => {
            let bytes = op.mem.as_mut().and_then(Slice::bytes_mut);
            let bytes = bytes.and_then(|b| b.get_mut(op.skip..));
            let bytes = bytes.ok_or(Errno::INVAL)?;
            rustix::io::pread(&op.fd, bytes, op.offset).map(|n| n as u64)
        }
        FileOpKind::Write { dsync } => {
            let bytes = op.mem.as_ref().and_then(|m| m.bytes().get(op.skip..));
            let bytes = bytes.ok_or(Errno::INVAL)?;
            let done = if dsync {
                let iov = [std::io::IoSlice::new(bytes)];
                rustix::io::pwritev2(&op.fd, &iov, op.offset, ReadWriteFlags::DSYNC)
            } else {
                rustix::io::pwrite(&op.fd, bytes, op.offset)
            };
            done.map(|n| n as u64)
        }
        FileOpKind::Sync => rustix::fs::fdatasync(&op.fd).map(|()| 0),
        FileOpKind::Punch => {
            let flags = F::PUNCH_HOLE | F::KEEP_SIZE;
            rustix::fs::fallocate(&op.fd, flags, op.offset, op.len).map(|()| op.len)
        }
        FileOpKind::Zero => {
            let flags = F::ZERO_RANGE | F::KEEP_SIZE;
            rustix::fs::fallocate(&op.fd, flags, op.offset, op.len).map(|()| op.len)
        }
    }
}
