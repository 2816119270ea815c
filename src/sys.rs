//! System calls that rustix does not offer. The only unsafe code of the host layer.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Tries to take an open-file-description lock on `len` bytes from `start`. Such a lock belongs to
/// the open file, not to the process, and goes when the last descriptor of it is closed. `Ok(false)`
/// = somebody else holds a conflicting one.
pub fn ofd_try_lock(fd: BorrowedFd<'_>, exclusive: bool, start: u64, len: u64) -> io::Result<bool> {
    let kind = if exclusive {
        libc::F_WRLCK
    } else {
        libc::F_RDLCK
    };
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: len as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: fd is open for the duration of the call, and the third argument of F_OFD_SETLK is a
    // pointer to a `struct flock`, which outlives the call and is only read.
    let rc = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if rc == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Offset of local time from UTC at `time` (seconds since 1970), in seconds; 0 if unknown.
pub fn local_offset(time: i64) -> i32 {
    let time: libc::time_t = time;
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers lead to live objects of the right types; localtime_r writes only `tm`,
    // whose bytes are initialised (zeroed is a valid tm), and keeps neither pointer.
    let parts = unsafe {
        if libc::localtime_r(&raw const time, parts.as_mut_ptr()).is_null() {
            return 0;
        }
        parts.assume_init()
    };
    i32::try_from(parts.tm_gmtoff).unwrap_or(0)
}
