//! Exports: ways for others to use a device.

pub mod fuse;
pub mod nbd;
