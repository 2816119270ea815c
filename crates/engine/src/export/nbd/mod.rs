//! An NBD server: devices as network block devices, over unix sockets and TCP.
//!
//! Fixed newstyle, structured replies and `base:allocation`. From the pure to the worldly:
//!
//! * [`wire`]: numbers and fixed-size messages;
//! * [`handshake`]: from the greeting to the choice of an export;
//! * [`request`]: a header judged against its export;
//! * [`intake`]: requests and payloads out of a stream of bytes;
//! * `outgoing`: replies on their way;
//! * `session`: requests to the device, replies from its answers;
//! * `connection`: the task that joins a socket, a session and the device on a queue;
//! * `listener`, `server`: where clients come from.

pub mod address;
mod connection;
mod exports;
pub mod handshake;
mod input;
pub mod intake;
pub mod limits;
mod listener;
mod outgoing;
pub mod request;
mod server;
mod session;
pub mod wire;

pub use address::Address;
pub use exports::{Export, Exports};
pub use limits::Limits;
pub use listener::Listener;
pub use server::Server;
