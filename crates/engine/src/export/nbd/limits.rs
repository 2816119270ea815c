//! Bounds of what clients may ask of a server, and its time limits.

use std::time::Duration;

/// Settings of a server. The data one client can make it hold is at most `bytes + payload`, besides
/// buffers of fixed size for what is being received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time; further ones are closed at once.
    pub clients: usize,
    /// Requests of one connection that may be under way.
    pub requests: usize,
    /// Bytes of data of one connection's requests under way and of its replies not yet taken.
    /// One request may always be under way, so this bounds what comes on top of the largest payload.
    pub bytes: usize,
    /// Bytes of data of all clients together; at least one largest payload. Who finds none left waits.
    pub total: usize,
    /// Largest payload of one read or write, in bytes. Clients may count on 32 MiB.
    pub payload: u32,
    /// Options in one handshake. Some clients ask about each export of a list.
    pub options: u32,
    /// Exports told in one answer to `NBD_OPT_LIST`.
    pub list: usize,
    /// A handshake not done by then ends.
    pub handshake: Duration,
    /// A client that is half-way through a message, or has replies to take, and moves nothing for so
    /// long is let go.
    pub stalled: Duration,
    /// Bytes a second that it has to move on the average of that time, in either direction.
    pub rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 1024,
            requests: 256,
            bytes: 8 << 20,
            total: 1 << 30,
            payload: 32 << 20,
            options: 32_768,
            list: 10_000,
            handshake: Duration::from_secs(10),
            stalled: Duration::from_secs(60),
            rate: 16 << 10,
        }
    }
}

impl Limits {
    /// One largest payload, in whole pages as buffers are.
    pub(super) fn largest(&self) -> usize {
        (self.payload as usize).next_multiple_of(crate::buf::ALIGN)
    }
}
