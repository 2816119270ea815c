//! The I/O engine: block devices made of device-mapper tables, in userspace.
//!
//! Knows sectors and devices, not VGs or LVs. From the top down:
//!
//! * [`device`]: a device with two table slots, a gate, and statistics;
//! * [`table`]: ordered segments, each with a [`target`];
//! * [`target`]: pure mapping, from a request to operations on backing devices;
//! * [`queue`]: the threads that run requests, and the tasks (exports) that live on them;
//! * [`backend`]: files, block devices and memory that the bytes lie on.
//!
//! Import arrows: `target` uses none of `backend`, `export`, `sys`.

pub mod backend;
pub mod bench;
pub mod buf;
pub mod ccd;
pub mod device;
pub mod error;
pub mod event;
pub mod export;
pub mod extents;
pub mod io;
pub mod limits;
pub mod queue;
pub mod stats;
pub mod sync;
pub mod table;
pub mod table_text;
pub mod target;

mod sys;
