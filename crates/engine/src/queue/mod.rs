//! Queues: where requests are carried out and where exports live.
//!
//! A queue is one thread with one driver (a ring, or a share of the pool). Exports are [`Task`]s
//! on it: the descriptors of their clients, the requests they make and the backing side of every
//! I/O are all served by that one thread, so an I/O goes down once and up once without changing
//! threads. A task is told what happened ([`Event`]) and never waits.

mod at_once;
mod core;
mod inbox;
mod inline;
mod leaf;
mod mirror;
mod request;
mod shares;
mod slab;
mod task;
mod thread;
mod walk;

pub(crate) use core::{Core, Mode};
pub(crate) use inbox::{Inbox, Wake};
pub(crate) use mirror::stop_mirrors;
pub(crate) use shares::may_begin;
pub use task::{Commanded, Cx, Event, Task, TaskKey, WatchKey};
pub use thread::{Engine, TaskRef};

pub use crate::backend::driver::{Interest, Readiness};
