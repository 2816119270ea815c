//! LVM2 metadata: on-disk structures, text format, model of a volume group, allocation, operations.
//!
//! No unsafe code, no operating system, no threads, no clock: devices come in as [`disk::Disk`],
//! identifiers as [`uuid::IdSource`], time and host name as values. See `docs/architecture.md`.
#![forbid(unsafe_code)]

pub mod alloc;
pub mod commit;
pub mod convert;
pub mod crc;
pub mod disk;
pub mod model;
pub mod name;
pub mod notice;
pub mod ondisk;
pub mod ops;
pub mod text;
pub mod tree;
pub mod units;
pub mod uuid;
mod wire;
