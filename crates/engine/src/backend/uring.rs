//! The driver on io_uring: one ring per queue.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::driver::{Driver, FileOp, Happened, Interest};
use crate::queue::Inbox;
use crate::sys::ring::Ring;
use crate::sys::ublk::DeviceCmd;

/// One queue's ring.
pub(crate) struct Uring {
    ring: Ring,
    inbox: Arc<Inbox>,
    /// The inbox is being watched.
    armed: bool,
}

impl Uring {
    /// To be made on the queue's thread. The kernel lets go of `fence` when all I/O has ended.
    pub(crate) fn new(
        depth: u32,
        inbox: Arc<Inbox>,
        fence: Option<BorrowedFd<'_>>,
    ) -> io::Result<Self> {
        Ok(Self {
            ring: Ring::new(depth, fence)?,
            inbox,
            armed: false,
        })
    }

    /// Does the kernel let this process use io_uring?
    pub(crate) fn available() -> io::Result<()> {
        Ring::new(4, None).map(drop)
    }
}

impl Driver for Uring {
    fn submit(&mut self, tag: u64, op: FileOp) -> Result<(), FileOp> {
        self.ring.submit(tag, op)
    }

    fn watch(&mut self, tag: u64, fd: &Arc<OwnedFd>, interest: Interest) -> Result<(), Errno> {
        self.ring.watch(tag, fd, interest)
    }

    fn unwatch(&mut self, tag: u64, _fd: &Arc<OwnedFd>) {
        self.ring.unwatch(tag);
    }

    fn command(&mut self, tag: u64, command: DeviceCmd) -> Result<(), DeviceCmd> {
        self.ring.command(tag, command)
    }

    fn collect(&mut self, wait: Option<Duration>, happened: &mut Vec<Happened>) {
        if !self.armed {
            self.ring.watch_inbox(self.inbox.event());
            self.armed = true;
        }
        if self.ring.collect(wait, happened) {
            self.armed = false;
            self.inbox.signalled();
        }
    }

    fn look_out(&mut self) {
        self.ring.look_out();
    }

    fn room(&self) -> (usize, usize) {
        // The kernel makes as many workers for what is bounded.
        let depth = self.ring.depth();
        (depth, depth.min(4 * crate::limits::cpus()))
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}
