//! Exports: ways for others to use a device.

pub mod fuse;
mod memory;
pub mod nbd;
pub mod ublk;
