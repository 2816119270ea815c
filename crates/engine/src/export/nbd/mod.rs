//! An NBD server: devices as network block devices, over unix sockets and TCP.
//!
//! Fixed newstyle, structured replies and `base:allocation`. From the pure to the worldly:
//!
//! * [`wire`]: numbers and fixed-size messages;
//! * [`handshake`]: from the greeting to the choice of an export;
//! * [`request`]: a header judged against its export;
//! * [`limits`]: what one client may cost.

pub mod handshake;
pub mod limits;
pub mod request;
pub mod wire;

pub use limits::Limits;
