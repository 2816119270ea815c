//! Locks on byte ranges that belong to an open file description (`F_OFD_SETLK`), so that they are
//! not lost when another descriptor of the same file is closed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

fn range(kind: libc::c_int, start: i64, len: i64) -> libc::flock {
    // SAFETY: a struct of integers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = start;
    lock.l_len = len;
    lock
}

/// Takes a shared lock on a byte, without waiting.
pub(crate) fn lock_shared(fd: BorrowedFd<'_>, byte: u32) -> io::Result<()> {
    set(fd, libc::F_RDLCK, byte)
}

/// Gives a lock on a byte up.
pub(crate) fn unlock(fd: BorrowedFd<'_>, byte: u32) -> io::Result<()> {
    set(fd, libc::F_UNLCK, byte)
}

fn set(fd: BorrowedFd<'_>, kind: libc::c_int, byte: u32) -> io::Result<()> {
    let lock = range(kind, byte.into(), 1);
    // SAFETY: the descriptor is open, and the struct outlives the call.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &lock) };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Does another open file description hold any lock on a byte?
pub(crate) fn locked_elsewhere(fd: BorrowedFd<'_>, byte: u32) -> io::Result<bool> {
    let mut lock = range(libc::F_WRLCK, byte.into(), 1);
    // SAFETY: the descriptor is open, and the struct is ours to be written to.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(i32::from(lock.l_type) != libc::F_UNLCK),
    }
}
