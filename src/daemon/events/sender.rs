//! Telling events without ever waiting for whoever listens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::SendFlags;
use ulvm_engine::event::EventLog;

use super::{Class, Event};

/// How long the forwarder may sleep without news.
const REST: Duration = Duration::from_secs(3600);
/// How soon it tries again to tell what was dropped.
const AGAIN: Duration = Duration::from_millis(500);

/// The end of the socket that events go into, one a packet.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    dropped: AtomicU64,
}

impl Sender {
    /// Over a socket of packets.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            dropped: AtomicU64::new(0),
        }
    }

    /// Sends an event, or counts it as dropped.
    pub fn send(&self, event: &Event) {
        self.tell_dropped();
        if !self.put(event) {
            self.drop_some(1);
        }
    }

    /// Counts events as dropped.
    pub fn drop_some(&self, number: u64) {
        self.dropped.fetch_add(number, Ordering::Relaxed);
    }

    /// Tells how many were dropped, if there is place now. False while there is not.
    pub fn tell_dropped(&self) -> bool {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped == 0 {
            return true;
        }
        let told = self.put(&Event::new(
            Class::Dropped,
            None,
            format!("{dropped} events were dropped: nobody took them in time"),
        ));
        if !told {
            self.drop_some(dropped);
        }
        told
    }

    fn put(&self, event: &Event) -> bool {
        let Ok(packet) = serde_json::to_vec(event) else {
            return false;
        };
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, &packet, flags)).is_ok()
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends on what an engine tells, for as long as the process lives. What the log has forgotten
/// meanwhile counts as dropped.
pub fn forward(log: &EventLog, sender: impl Fn() -> Arc<Sender>) {
    let (mut next, mut rest) = (0, REST);
    loop {
        let events = log.since(next, rest);
        let sender = sender();
        for event in events {
            sender.drop_some(event.number.saturating_sub(next));
            next = event.number + 1;
            if let Some(event) = Event::of(&event) {
                sender.send(&event);
            }
        }
        rest = match sender.tell_dropped() {
            true => REST,
            false => AGAIN,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};

    #[test]
    fn what_finds_no_place_is_counted_and_told() {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (theirs, ours) = socketpair(family, kind, SocketFlags::CLOEXEC, None).expect("a pair");
        let sender = Sender::new(ours);
        let sent = 100_000;
        for n in 0..sent {
            sender.send(&Event::new(Class::Error, None, n.to_string()));
        }
        let (mut seen, mut told) = (0, 0);
        let mut buffer = [0; 4096];
        let mut take = || -> bool {
            let Ok((len, _)) = rustix::net::recv(&theirs, &mut buffer[..], RecvFlags::DONTWAIT)
            else {
                return false;
            };
            let event: Event = serde_json::from_slice(&buffer[..len]).expect("an event");
            match event.class {
                Class::Dropped => {
                    let number = event.text.split(' ').next().expect("a word");
                    told += number.parse::<u64>().expect("a number");
                }
                _ => seen += 1,
            }
            true
        };
        while take() {}
        assert!(sender.tell_dropped());
        while take() {}
        assert!(told > 0, "nothing was dropped: the buffer has no bound");
        assert_eq!(seen + told, sent);
    }
}
