//! What happened to devices: a bounded log that somebody may follow.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::IoError;

/// Events kept.
const KEPT: usize = 1024;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A request failed.
    Failed(IoError),
    /// A new table is live.
    Swapped,
    /// No request passes the gate.
    Suspended,
    /// Requests pass again.
    Resumed,
}

/// Something that happened to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// From 0 on, without gaps.
    pub number: u64,
    /// When.
    pub time: SystemTime,
    /// Name of the device.
    pub device: Arc<str>,
    /// What.
    pub what: What,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    next: u64,
}

/// A log of events. When it is full the oldest is forgotten: a reader sees from the numbers what
/// it missed, and no I/O ever waits for one.
#[derive(Debug, Default)]
pub struct EventLog {
    kept: Mutex<Kept>,
    news: Condvar,
}

impl EventLog {
    /// Adds an event.
    pub fn push(&self, device: &Arc<str>, what: What) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.next;
        kept.next += 1;
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Event {
            number,
            time: SystemTime::now(),
            device: Arc::clone(device),
            what,
        });
        self.news.notify_all();
    }

    /// Events from number `from` on that are still kept; waits up to `wait` for the first.
    pub fn since(&self, from: u64, wait: Duration) -> Vec<Event> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.news.wait_timeout_while(kept, wait, |k| k.next <= from);
        let (kept, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let fresh = kept.events.iter().filter(|e| e.number >= from);
        fresh.cloned().collect()
    }
}
