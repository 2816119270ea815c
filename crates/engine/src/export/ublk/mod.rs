//! Block devices of the kernel's ublk driver, `/dev/ublkbN`.
//!
//! From the pure to the worldly:
//!
//! * [`params`]: what the kernel is told of a device, and what a request's descriptor says;
//! * [`control`]: making, starting, taking over and removing devices;
//! * `lender`: which device gets memory for a request;
//! * `server`: the task on each engine queue that answers the kernel.
//!
//! A device has as many queues as the engine, and each is served by the engine queue of its number,
//! with commands on that queue's own ring: one call to the kernel hands over answers, backing I/O
//! and the wish for more. The kernel asks for memory when it has data to give (NEED_GET_DATA), so
//! all devices of a queue share one bounded store of buffers, and a device that is idle has none.
//!
//! The device belongs to the kernel. A process that serves one may be killed: requests wait, and
//! those that it had are given again to the one that takes over ([`Control::start_recovery`],
//! [`Servers::serve`], [`Control::end_recovery`]). Nobody but the serving process may have the
//! character device open: the kernel takes it for alive as long as somebody has.

pub mod control;
mod lender;
pub mod params;
mod server;

pub use super::memory::Budget;
pub use control::{Added, Control, End, Features, Limits};
pub use params::Shape;
pub use server::{Place, Servers};
