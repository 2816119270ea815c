//! The proof that all I/O of a worker has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use crate::daemon::service::Store;

/// The read end of the pipe whose write end a worker's rings hold on to.
///
/// What must hold: from the moment in which a worker can begin I/O until its fence is proven, the
/// read end is kept by somebody: the keeper of workers; the next worker, which hands it to a
/// supervisor that takes over; a service manager that keeps descriptors.
#[derive(Debug)]
pub struct Fence {
    read: OwnedFd,
    /// Its number in the service manager's store, if there is one.
    stored: Option<u128>,
}

impl Fence {
    /// A new one, with the write end. It has to outlive all processes before the first I/O begins.
    pub fn new(store: Option<&Store>) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((Self::of(read, store)?, write))
    }

    /// That of a worker which runs or has run.
    pub fn of(read: OwnedFd, store: Option<&Store>) -> io::Result<Self> {
        let stored = store.map(|store| store.fence(read.as_fd())).transpose()?;
        Ok(Self { read, stored })
    }

    /// One that the service manager keeps already, under a number.
    pub fn stored(read: OwnedFd, number: u128) -> Self {
        Self {
            read,
            stored: Some(number),
        }
    }

    /// Its number in the service manager's store.
    pub fn number(&self) -> Option<u128> {
        self.stored
    }

    /// For whoever is to keep it, too.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Waits for the hang-up: the kernel has let go of the last write end, so the last operation of
    /// the last ring has ended. There is no limit: without this proof nobody may serve. An error
    /// proves nothing.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.read, PollFlags::empty())];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
            if fds[0].revents().contains(PollFlags::HUP) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_proven_by_the_last_holder_of_the_write_end() {
        let (fence, write) = Fence::new(None).expect("a pipe");
        let copy = write.try_clone().expect("a copy");
        drop(write);
        let waiting = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| fence.wait());
            std::thread::sleep(std::time::Duration::from_millis(50));
            let early = waiter.is_finished();
            drop(copy);
            (early, waiter.join().expect("no panic").is_ok())
        });
        assert_eq!(waiting, (false, true));
        fence.wait().expect("a proof can be looked at again");
    }
}
