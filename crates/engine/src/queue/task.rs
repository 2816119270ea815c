//! Tasks: the state machines that live on a queue, such as an export's connection.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::slab::Id;
use crate::backend::driver::{Interest, Readiness};
use crate::buf::Buf;
use crate::device::Device;
use crate::error::{Error, ErrorKind};
use crate::io::{Completion, Request};
use crate::sys::ublk::DeviceCmd;

/// Name of a task on its queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TaskKey(pub(crate) Id);

/// Name of a watch on a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WatchKey(pub(crate) Id);

/// What a task is told.
#[derive(Debug)]
pub enum Event {
    /// A request has been answered.
    Done(Completion),
    /// A descriptor is ready; the watch is over.
    Ready(WatchKey, Readiness),
    /// Something about a command to a ublk device.
    Command(Commanded),
    /// The time given with this number has passed.
    Timer(u64),
    /// Somebody outside sent something ([`super::TaskRef::tell`]).
    Message(Box<dyn Any + Send>),
    /// The engine is to end: finish what is under way and [`Cx::exit`].
    Stop,
}

/// What becomes of a command to a ublk device, under the number it was given with.
#[derive(Debug)]
pub enum Commanded {
    /// The kernel has copied the answer that it carried: the memory is free again. Comes before the
    /// command's end.
    Taken {
        /// Its number.
        token: u64,
        /// Its memory.
        buf: Buf,
    },
    /// It has ended.
    Ended {
        /// Its number.
        token: u64,
        /// The driver's answer.
        result: i32,
        /// Its memory.
        buf: Option<Buf>,
    },
}

/// A state machine on a queue. Its methods must not wait.
pub trait Task: Send {
    /// Called once, first.
    fn start(&mut self, cx: &mut Cx<'_>);
    /// Something happened.
    fn event(&mut self, cx: &mut Cx<'_>, event: Event);
    /// Called after a run of events for this task: the place to send answers together.
    fn batch_end(&mut self, _cx: &mut Cx<'_>) {}
}

/// What a task can do to its queue.
#[derive(Debug)]
pub struct Cx<'a> {
    pub(super) core: &'a mut Core,
    pub(super) task: TaskKey,
}

impl Cx<'_> {
    /// Makes a request. It is answered by [`Event::Done`] with this token, never before the
    /// current call has returned. If the task ends first, the request is still carried out, and
    /// its memory is kept until then.
    pub fn submit(&mut self, device: &Arc<Device>, request: Request, token: u64) {
        self.core.submit(self.task, device, request, token);
    }

    /// Waits until a descriptor is ready, once: [`Event::Ready`] ends the watch. One watch per
    /// descriptor at a time. The descriptor is kept open until then.
    pub fn watch(&mut self, fd: &Arc<OwnedFd>, interest: Interest) -> Result<WatchKey, Error> {
        self.core.watch(self.task, fd, interest)
    }

    /// Ends a watch. No event of it follows.
    pub fn unwatch(&mut self, key: WatchKey) {
        self.core.unwatch(key);
    }

    /// Gives a command to a ublk device: [`Event::Command`] tells with this token of its
    /// end, and gives back the memory of an answer. A device's queue has to be served by
    /// one engine queue, from the first command to the last. Given back if there is no room now.
    pub(crate) fn command(&mut self, command: DeviceCmd, token: u64) -> Result<(), DeviceCmd> {
        self.core.command(self.task, command, token)
    }

    /// The next event of this task is likely to come at once: the queue may look out for it for a
    /// moment before it sleeps. Worth it for who has one request at a time.
    pub fn look_out(&mut self) {
        self.core.driver.look_out();
    }

    /// [`Event::Timer`] with this number after a time.
    pub fn timer(&mut self, after: Duration, number: u64) {
        self.core.timer(self.task, after, number);
    }

    /// Begins another task on this queue.
    pub fn spawn(&mut self, task: Box<dyn Task>) -> TaskKey {
        self.core.spawn(task)
    }

    /// Ends this task: no event follows, its watches end.
    pub fn exit(&mut self) {
        self.core.exit(self.task);
    }

    /// This task.
    pub fn key(&self) -> TaskKey {
        self.task
    }

    /// The time, not much older than this run of events.
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// Number of this queue.
    pub fn queue(&self) -> usize {
        self.core.number()
    }
}

impl Completion {
    /// The error number for the client; 0 for success.
    pub fn errno(&self) -> i32 {
        self.result.as_ref().map_or_else(|e| e.kind.errno(), |()| 0)
    }
    /// The kind of failure, if it failed.
    pub fn failure(&self) -> Option<ErrorKind> {
        self.result.as_ref().err().map(|e| e.kind)
    }
}
