//! System calls that rustix does not offer. The only unsafe code of the host layer.
#![allow(unsafe_code)]

pub mod loops;

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

/// Gives back locks of this open file on `len` bytes from `start`; to the end of all if `len` is 0.
pub fn ofd_unlock(fd: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<()> {
    let lock = libc::flock {
        l_type: libc::F_UNLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: len as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: fd is open for the duration of the call, and the third argument of F_OFD_SETLK is a
    // pointer to a `struct flock`, which outlives the call and is only read.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Does another open file hold any lock on `len` bytes from `start`?
pub fn ofd_is_locked(fd: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<bool> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: len as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: fd is open for the duration of the call, and the third argument of F_OFD_GETLK is a
    // pointer to a `struct flock`, which outlives the call and may be written to.
    let rc = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    match rc {
        0 => Ok(i32::from(lock.l_type) != libc::F_UNLCK),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a descriptor that whoever started this process has handed in under a number (3 and up). To
/// be called once for each, before anything else is opened. No program that is started gets it.
pub fn take_descriptor(number: i32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd, OwnedFd};
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: F_GETFD takes no pointer, and fails for a number that is not open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open and was handed in, so nothing else of this process owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Signals that ask a server to end: SIGTERM, SIGINT and SIGHUP. While this value is there, they are
/// held back in the thread that made it and in the threads that it starts afterwards.
#[derive(Debug)]
pub struct EndSignals {
    set: libc::sigset_t,
    before: libc::sigset_t,
}

impl EndSignals {
    /// Holds them back from now on.
    pub fn hold() -> io::Result<Self> {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both pointers lead to live sets; sigemptyset initialises the first before it is
        // used, and pthread_sigmask writes the second.
        let (rc, set, before) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let rc = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            (rc, set.assume_init(), before.assume_init())
        };
        match rc {
            0 => Ok(Self { set, before }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits until one of them comes.
    pub fn wait(&self) -> io::Result<()> {
        let mut signal = 0;
        // SAFETY: the set is initialised, and the number is ours to be written to.
        match unsafe { libc::sigwait(&raw const self.set, &raw mut signal) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl Drop for EndSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by pthread_sigmask.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
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
