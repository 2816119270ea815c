//! All `unsafe` code of the engine: memory that the kernel reads and writes, the ring, and the
//! few system calls that have no safe wrapper.
#![allow(unsafe_code)]

pub(crate) mod fuse;
pub(crate) mod mem;
pub(crate) mod ofd;
pub(crate) mod pin;
pub(crate) mod ring;
mod spin;
pub(crate) mod ublk;
