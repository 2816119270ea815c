//! What other threads have for a queue.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::request::ChildOf;
use super::slab::Id;
use super::task::Task;
use crate::error::{Error, IoError};

pub(crate) enum Message {
    /// A task to begin.
    Spawn(TaskKeySlot, Box<dyn Task>),
    /// Something for a task.
    Tell(TaskKeySlot, Box<dyn Any + Send>),
    /// Something that waited may go on.
    Wake(Waiting),
    /// A mirror has answered a part of a request.
    Answer(ChildOf, Result<(), IoError>),
    /// End when every task has.
    Stop,
}

/// What waits at a gate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// A request, for a device's gate: it may try again.
    Request(Id),
    /// An operation, for a file's gate: it has been let in.
    Leaf(Id),
    /// A flush or durable write, for others of its file: they have ended.
    Overlapped(Id),
}

/// How another thread names a task: by a number that the engine gave it.
pub(crate) type TaskKeySlot = u64;

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spawn(..) => "Spawn",
            Self::Tell(..) => "Tell",
            Self::Wake(_) => "Wake",
            Self::Answer(..) => "Answer",
            Self::Stop => "Stop",
        })
    }
}

/// Messages, and the descriptor that wakes a waiting queue.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: Mutex<VecDeque<Message>>,
    /// The queue was woken and has not looked yet.
    woken: AtomicBool,
    event: OwnedFd,
}

impl Inbox {
    pub(crate) fn new() -> Result<Arc<Self>, Error> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let event = event.map_err(|e| Error::Os {
            what: "cannot make an event descriptor",
            source: e.into(),
        })?;
        Ok(Arc::new(Self {
            messages: Mutex::default(),
            woken: AtomicBool::new(false),
            event,
        }))
    }

    pub(crate) fn send(&self, message: Message) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push_back(message);
        drop(messages);
        self.wake();
    }

    /// Makes the queue come round.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // Fails only if the counter is full, and then the queue is woken already.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// The descriptor is readable: the queue is to look, whatever the flag says.
    pub(crate) fn signalled(&self) {
        self.woken.store(true, Ordering::Release);
    }

    pub(crate) fn woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// The wake has been seen: the next one signals again. To be called before messages are taken.
    ///
    /// The descriptor is emptied first: a sender that signals after this is seen by its flag, or
    /// wakes the queue once more than needed.
    pub(crate) fn acknowledge(&self) {
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        self.woken.store(false, Ordering::SeqCst);
    }

    pub(crate) fn take(&self) -> Option<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.pop_front()
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Wakes one waiting request or operation of a queue.
#[derive(Debug)]
pub(crate) struct Wake {
    pub(super) inbox: Arc<Inbox>,
    pub(super) waiting: Waiting,
}

impl Wake {
    pub(crate) fn wake(self) {
        self.inbox.send(Message::Wake(self.waiting));
    }
}
