//! What is written to devices and flushed, put down in order: for the crash suite. Devices opened
//! for writing by this thread while [`record`] runs are on the tape, also when other threads flush
//! them.

use std::cell::RefCell;
use std::io;
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

/// A place that cannot be written any more.
struct Broken {
    path: PathBuf,
    offset: u64,
    works: usize,
}

/// From here on, while [`record`] runs on this thread, the `nth` write at byte `offset` of a device
/// and those after it fail.
pub(crate) fn break_writes(path: &Path, offset: u64, nth: usize) {
    let path = path.to_owned();
    BROKEN.set(Some(Broken {
        path,
        offset,
        works: nth,
    }));
}

/// Heals it.
pub(crate) fn heal_writes() {
    BROKEN.set(None);
}

thread_local! {
    static BROKEN: RefCell<Option<Broken>> = const { RefCell::new(None) };
    static RUNNING: RefCell<Option<Events>> = const { RefCell::new(None) };
}

/// A device's way to the tape.
#[derive(Clone, Debug)]
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
    /// Fails if it is to, see [`break_writes`].
    pub fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let broken = BROKEN.with_borrow_mut(|broken| match broken {
            Some(b) if b.path == self.path && b.offset == offset => {
                b.works = b.works.saturating_sub(1);
                b.works == 0
            }
            _ => false,
        });
        if broken {
            return Err(io::Error::other("broken"));
        }
        self.push(Event::Write {
            path: self.path.clone(),
            offset,
            data: data.to_vec(),
        });
        Ok(())
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
