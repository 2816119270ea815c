//! Reads and writes of page-cached files by the queue thread itself.

use std::io::{IoSlice, IoSliceMut};
use std::time::Instant;

use rustix::io::{Errno, ReadWriteFlags};

use crate::backend::FileStore;
use crate::backend::choice::Route;

/// The memory of a read, or of a write.
pub(super) enum Bytes<'a> {
    Fill(&'a mut [u8]),
    From(&'a [u8]),
}

impl Bytes<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Fill(bytes) => bytes.len(),
            Self::From(bytes) => bytes.len(),
        }
    }
}

/// Does a read or write in this thread, at byte `offset` of the backing device. Gives the bytes
/// done: all, or fewer if the rest would wait ([`Route::Try`]) or has failed.
pub(super) fn inline(
    file: &FileStore,
    way: Route,
    offset: u64,
    mut bytes: Bytes<'_>,
) -> (u64, Option<Errno>) {
    let len = bytes.len();
    let mut done = 0;
    while done < len {
        let at = file.start + offset + done as u64;
        let result = match &mut bytes {
            Bytes::Fill(bytes) if way == Route::Try => match try_read(file, &mut bytes[done..], at)
            {
                Err(_) => return (done as u64, None),
                ok => ok,
            },
            Bytes::Fill(bytes) => {
                rustix::io::retry_on_intr(|| rustix::io::pread(&file.fd, &mut bytes[done..], at))
            }
            Bytes::From(bytes) if way == Route::Try => match try_write(file, &bytes[done..], at) {
                Err(_) => return (done as u64, None),
                ok => ok,
            },
            Bytes::From(bytes) => write(file, &bytes[done..], at),
        };
        match result {
            Ok(0) => return (done as u64, Some(Errno::IO)),
            Ok(n) => done += n,
            Err(e) => return (done as u64, Some(e)),
        }
    }
    if way == Route::Try && matches!(bytes, Bytes::Fill(_)) {
        file.hints.tried(true);
    }
    (done as u64, None)
}

fn try_read(file: &FileStore, into: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut iov = [IoSliceMut::new(into)];
    let result = rustix::io::preadv2(&file.fd, &mut iov, at, ReadWriteFlags::NOWAIT);
    match result {
        Err(Errno::OPNOTSUPP) => file.hints.nowait_unsupported(),
        Err(_) => file.hints.tried(false),
        Ok(_) => {}
    }
    result
}

fn try_write(file: &FileStore, from: &[u8], at: u64) -> Result<usize, Errno> {
    let iov = [IoSlice::new(from)];
    let result = rustix::io::pwritev2(&file.fd, &iov, at, ReadWriteFlags::NOWAIT);
    if matches!(result, Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)) {
        file.hints.nowait_write_unsupported();
    }
    result
}

/// Files that are memory are never slow, so their writes are not timed.
fn write(file: &FileStore, from: &[u8], at: u64) -> Result<usize, Errno> {
    let began = (!file.memory).then(Instant::now);
    let result = rustix::io::retry_on_intr(|| rustix::io::pwrite(&file.fd, from, at));
    if let Some(began) = began {
        file.hints.wrote(began.elapsed());
    }
    result
}
