//! Loop devices. Numbers and layouts: the kernel's userspace ABI header `linux/loop.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Major number of loop devices.
pub const MAJOR: u32 = 7;

const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_SET_STATUS64: libc::Ioctl = 0x4C04;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_SET_CAPACITY: libc::Ioctl = 0x4C07;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;

/// `BLKROSET` of `linux/fs.h`.
const BLKROSET: libc::Ioctl = 0x125D;

const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

impl Info {
    const EMPTY: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        sizelimit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

fn done(result: libc::c_int) -> io::Result<u32> {
    match result {
        n if n < 0 => Err(io::Error::last_os_error()),
        n => Ok(n as u32),
    }
}

/// The number of a loop device that is free.
pub fn free(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the descriptor is open; this call takes no pointer.
    done(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
}

/// Attaches a file, with direct I/O and blocks of `block_size` bytes.
pub fn attach(device: BorrowedFd<'_>, file: BorrowedFd<'_>, block_size: u32) -> io::Result<()> {
    let config = Config {
        fd: file.as_raw_fd() as u32,
        block_size,
        info: Info {
            flags: LO_FLAGS_DIRECT_IO,
            ..Info::EMPTY
        },
        reserved: [0; 8],
    };
    // SAFETY: both descriptors are open, and the struct, which is only read, outlives the call.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(drop)
}

fn info(device: BorrowedFd<'_>) -> io::Result<Info> {
    let mut info = Info::EMPTY;
    // SAFETY: the descriptor is open, and the struct is ours to be written to during the call.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) })?;
    Ok(info)
}

/// Does it pass the page cache by?
pub fn is_direct(device: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(info(device)?.flags & LO_FLAGS_DIRECT_IO != 0)
}

/// Detaches the file; at once, or when the last who has the device open closes it.
pub fn detach(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open; this call takes no pointer.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) }).map(drop)
}

/// Takes the size that the file has now.
pub fn take_size(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open; this call takes no pointer.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY) }).map(drop)
}

/// Lets a block device take writes, or not any more.
pub fn set_read_only(device: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    let wanted = libc::c_int::from(read_only);
    // SAFETY: the descriptor is open, and the number, which is only read, outlives the call.
    done(unsafe { libc::ioctl(device.as_raw_fd(), BLKROSET, &raw const wanted) }).map(drop)
}

/// Takes back a detachment that was put off.
pub fn keep(device: BorrowedFd<'_>) -> io::Result<()> {
    let mut info = info(device)?;
    info.flags &= !LO_FLAGS_AUTOCLEAR;
    // SAFETY: the descriptor is open, and the struct, which is only read, outlives the call.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64, &raw const info) }).map(drop)
}
