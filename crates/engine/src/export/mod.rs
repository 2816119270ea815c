//! Exports: ways for others to use a device.

pub mod nbd;
