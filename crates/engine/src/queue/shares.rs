//! How many operations of a queue each file may have in the driver.
//!
//! A device that answers late, or not at all, would in time hold every place there is, and the other
//! devices of the queue would wait for it. So an operation is begun while its file has fewer than
//! three times what is free: one busy file gets three quarters, each of two three sevenths, and some
//! room is left for one that was idle. There are two kinds of room, since a ring hands some operations
//! to the kernel's worker threads, which are far fewer than its places.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::slab::Id;
use crate::backend::driver::{FileOp, Room};

/// May one that has `own` of the room get more, when so much is free?
pub(crate) fn may_begin(own: usize, free: usize) -> bool {
    free > 0 && own < free.saturating_mul(3)
}

/// A file, as long as it has operations in the driver or waiting, and which kind of room they take.
pub(super) type Key = (usize, Room);

/// Who shares what.
pub(super) fn key(op: &FileOp) -> Key {
    (Arc::as_ptr(&op.fd) as usize, op.room)
}

#[derive(Debug, Default)]
struct Share {
    under_way: usize,
    waiting: VecDeque<(Id, FileOp)>,
}

/// The shares of a queue.
#[derive(Debug)]
pub(super) struct Shares {
    places: Free,
    workers: Free,
    files: HashMap<Key, Share>,
    /// Those with operations that wait, in turn.
    turn: VecDeque<Key>,
}

#[derive(Debug)]
struct Free(usize);

impl Shares {
    /// Of so many places, and worker threads.
    pub(super) fn new(places: usize, workers: usize) -> Self {
        Self {
            places: Free(places.max(1)),
            workers: Free(workers.max(1)),
            files: HashMap::new(),
            turn: VecDeque::new(),
        }
    }

    fn free(&mut self, room: Room) -> &mut usize {
        match room {
            Room::Place => &mut self.places.0,
            Room::Worker => &mut self.workers.0,
        }
    }

    /// Gives the operation back if it may begin now; else it waits for [`Self::next`].
    pub(super) fn begin(&mut self, id: Id, op: FileOp) -> Option<(Id, FileOp)> {
        let key = key(&op);
        let free = *self.free(key.1);
        let share = self.files.entry(key).or_default();
        if share.waiting.is_empty() && may_begin(share.under_way, free) {
            share.under_way += 1;
            *self.free(key.1) -= 1;
            return Some((id, op));
        }
        if share.waiting.is_empty() {
            self.turn.push_back(key);
        }
        share.waiting.push_back((id, op));
        None
    }

    /// An operation that had begun has ended.
    pub(super) fn ended(&mut self, key: Key) {
        *self.free(key.1) += 1;
        if let Some(share) = self.files.get_mut(&key) {
            share.under_way -= 1;
            if share.under_way == 0 && share.waiting.is_empty() {
                self.files.remove(&key);
            }
        }
    }

    /// One that has waited and may begin now.
    pub(super) fn next(&mut self) -> Option<(Id, FileOp)> {
        for _ in 0..self.turn.len() {
            let key = self.turn.pop_front()?;
            let free = *self.free(key.1);
            let Some(share) = self.files.get_mut(&key) else {
                continue;
            };
            let found = match may_begin(share.under_way, free) {
                true => share.waiting.pop_front(),
                false => None,
            };
            share.under_way += usize::from(found.is_some());
            if !share.waiting.is_empty() {
                self.turn.push_back(key);
            }
            if found.is_some() {
                *self.free(key.1) -= 1;
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::backend::driver::FileOpKind;

    fn op(fd: &Arc<OwnedFd>, room: Room) -> FileOp {
        FileOp {
            fd: Arc::clone(fd),
            kind: FileOpKind::Sync,
            offset: 0,
            len: 0,
            mem: None,
            skip: 0,
            aside: false,
            room,
        }
    }

    #[test]
    fn every_file_gets_a_share_and_nobody_is_forgotten() {
        let file = || {
            let fd = rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::CLOEXEC);
            Arc::new(fd.expect("memory"))
        };
        let files = [file(), file(), file()];
        let mut shares = Shares::new(128, 8);
        let mut begun = [0; 3];
        for (n, fd) in files.iter().enumerate() {
            for id in 0..1000 {
                begun[n] += usize::from(shares.begin(id, op(fd, Room::Place)).is_some());
            }
        }
        assert_eq!(
            begun,
            [96, 24, 6],
            "the last came when two had what they could get"
        );
        assert!(
            shares.begin(0, op(&files[0], Room::Worker)).is_some(),
            "other room"
        );
        shares.ended(key(&op(&files[0], Room::Worker)));
        // Whoever waits comes in at last, in turn, when those under way end one by one.
        let mut under_way = begun;
        let mut served = begun;
        while let Some(n) = (0..3)
            .max_by_key(|n| under_way[*n])
            .filter(|n| under_way[*n] > 0)
        {
            shares.ended(key(&op(&files[n], Room::Place)));
            under_way[n] -= 1;
            while let Some((_, op)) = shares.next() {
                let n = files
                    .iter()
                    .position(|fd| Arc::ptr_eq(fd, &op.fd))
                    .expect("known");
                under_way[n] += 1;
                served[n] += 1;
            }
            assert!(under_way.iter().sum::<usize>() <= 128);
        }
        assert_eq!(served, [1000; 3]);
        assert!(shares.files.is_empty() && shares.turn.is_empty());
        assert_eq!((shares.places.0, shares.workers.0), (128, 8));
    }
}
