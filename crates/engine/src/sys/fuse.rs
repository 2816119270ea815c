//! Descriptors of `/dev/fuse`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;

/// `_IOR(229, 0, u32)`: makes this descriptor serve the connection of another.
const FUSE_DEV_IOC_CLONE: u32 = 0x8004_e500;

/// Ties a freshly opened `/dev/fuse` to the connection of `of`.
pub(crate) fn clone_connection(fresh: &OwnedFd, of: &OwnedFd) -> Result<(), Errno> {
    let number = of.as_fd().as_raw_fd() as u32;
    // SAFETY: the kernel reads one u32 through the pointer during the call, and nothing else.
    let done = unsafe {
        libc::ioctl(
            fresh.as_raw_fd(),
            FUSE_DEV_IOC_CLONE as libc::Ioctl,
            std::ptr::from_ref(&number),
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
