//! What is written to devices and flushed, put down in order: for the crash suite. Devices opened
//! for writing by this thread while [`record`] runs are on the tape, also when other threads flush
//! them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One thing that was done to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// `data` was written at byte `offset` of the device or file.
    Write {
        path: PathBuf,
        offset: u64,
        data: Vec<u8>,
    },
    /// What was written through this descriptor or any other became durable.
    Flush { path: PathBuf },
}

type Events = Arc<Mutex<Vec<Event>>>;

thread_local! {
    static RUNNING: RefCell<Option<Events>> = const { RefCell::new(None) };
}

/// A device's way to the tape.
#[derive(Debug)]
pub(crate) struct Tape {
    path: PathBuf,
    events: Events,
}

impl Tape {
    /// The tape that runs on this thread.
    pub fn running(path: &Path) -> Option<Self> {
        let events = RUNNING.with_borrow(Clone::clone)?;
        let path = path.to_owned();
        Some(Self { path, events })
    }
    pub fn write(&self, offset: u64, data: &[u8]) {
        self.push(Event::Write {
            path: self.path.clone(),
            offset,
            data: data.to_vec(),
        });
    }
    pub fn flush(&self) {
        let path = self.path.clone();
        self.push(Event::Flush { path });
    }
    fn push(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }
}

/// Runs `work`; what it did to devices, in order.
pub(crate) fn record<R>(work: impl FnOnce() -> R) -> (R, Vec<Event>) {
    let events = Events::default();
    RUNNING.set(Some(Arc::clone(&events)));
    let result = work();
    RUNNING.set(None);
    let done = std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
    (result, done)
}
