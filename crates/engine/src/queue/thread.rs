//! The queue threads.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::core::{Core, Mode};
use super::inbox::{Inbox, Message};
use super::task::Task;
use crate::backend::driver::Driver;
use crate::backend::pool::{Pool, Threads};
use crate::backend::uring::Uring;
use crate::error::Error;
use crate::limits::{DriverChoice, Settings};

/// A task, seen from outside its queue.
#[derive(Clone, Debug)]
pub struct TaskRef {
    inbox: Arc<Inbox>,
    slot: u64,
}

impl TaskRef {
    /// Sends something: [`super::Event::Message`]. Nothing happens if the task has ended.
    pub fn tell(&self, what: Box<dyn Any + Send>) {
        self.inbox.send(Message::Tell(self.slot, what));
    }
}

#[derive(Debug)]
struct Queue {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

/// The running engine. Dropping it tells every task to stop and waits until all have.
#[derive(Debug)]
pub struct Engine {
    queues: Vec<Queue>,
    next: AtomicUsize,
    slots: AtomicU64,
    driver: &'static str,
}

impl Engine {
    /// Starts the queue threads.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        Self::start_fenced(settings, None)
    }

    /// Starts the queue threads. The kernel holds on to `fence` until all I/O of the engine has
    /// ended, even if the process is killed first: of a pipe's write end, the hang-up at the other
    /// end is the proof. Nothing else of the process may hold it longer than that.
    pub fn start_fenced(settings: &Settings, fence: Option<Arc<OwnedFd>>) -> Result<Self, Error> {
        let settings = settings.clone().clamped();
        let mut engine = Self {
            queues: Vec::new(),
            next: AtomicUsize::new(0),
            slots: AtomicU64::new(0),
            driver: "",
        };
        let threads = match wants_pool(&settings)? {
            true => Some(Threads::start(settings.pool_threads)?),
            false => None,
        };
        engine.driver = if threads.is_some() {
            "pool"
        } else {
            "io_uring"
        };
        for number in 0..settings.queues {
            let queue = start_queue(number, &settings, threads.clone(), fence.clone())?;
            engine.queues.push(queue);
        }
        Ok(engine)
    }

    /// Begins a task on a queue (any number; the queues are taken in turn if none).
    pub fn spawn(&self, queue: Option<usize>, task: Box<dyn Task>) -> TaskRef {
        let n = queue.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        let queue = &self.queues[n % self.queues.len()];
        let slot = self.slots.fetch_add(1, Ordering::Relaxed);
        queue.inbox.send(Message::Spawn(slot, task));
        TaskRef {
            inbox: Arc::clone(&queue.inbox),
            slot,
        }
    }

    /// Number of queues.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// `io_uring` or `pool`.
    pub fn driver(&self) -> &'static str {
        self.driver
    }

    /// Tells every task to stop and waits until all have ended.
    pub fn stop(&mut self) {
        for queue in &self.queues {
            queue.inbox.send(Message::Stop);
        }
        for queue in &mut self.queues {
            if let Some(thread) = queue.thread.take() {
                // A queue that panicked has printed why; the others still end in order.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wants_pool(settings: &Settings) -> Result<bool, Error> {
    match (settings.driver, Uring::available()) {
        (DriverChoice::Pool, _) => Ok(true),
        (_, Ok(())) => Ok(false),
        (DriverChoice::Auto, Err(_)) => Ok(true),
        (DriverChoice::Uring, Err(source)) => Err(Error::Os {
            what: "io_uring",
            source,
        }),
    }
}

fn start_queue(
    number: usize,
    settings: &Settings,
    threads: Option<Arc<Threads>>,
    fence: Option<Arc<OwnedFd>>,
) -> Result<Queue, Error> {
    let inbox = Inbox::new()?;
    let (told, tell) = std::sync::mpsc::channel();
    let (for_thread, settings) = (Arc::clone(&inbox), settings.clone());
    let thread = std::thread::Builder::new()
        .name(format!("ulvm-queue-{number}"))
        .spawn(move || {
            if settings.pin {
                pin(number);
            }
            let fd = fence.as_deref().map(AsFd::as_fd);
            let driver = make_driver(&settings, threads, &for_thread, fd);
            match driver {
                Err(e) => drop(told.send(Err(e))),
                Ok(driver) => {
                    drop(told.send(Ok(())));
                    Core::new(number, Mode::Shared, driver, for_thread).run();
                }
            }
        })
        .map_err(|source| Error::Os {
            what: "cannot start a queue thread",
            source,
        })?;
    match tell.recv() {
        Ok(Ok(())) => Ok(Queue {
            inbox,
            thread: Some(thread),
        }),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(Error::Os {
            what: "a queue thread ended at once",
            source: std::io::ErrorKind::Other.into(),
        }),
    }
}

/// Binds the calling thread to the `number`-th of the CPUs it may use. Best effort: a queue that
/// may not be bound runs where it is put.
fn pin(number: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    if let Some(cpu) = cpus.nth(number) {
        let mut one = CpuSet::new();
        one.set(cpu);
        let _ = sched_setaffinity(None, &one);
    }
}

fn make_driver(
    settings: &Settings,
    threads: Option<Arc<Threads>>,
    inbox: &Arc<Inbox>,
    fence: Option<BorrowedFd<'_>>,
) -> Result<Box<dyn Driver>, Error> {
    if let Some(threads) = threads {
        return Ok(Box::new(Pool::new(threads, Arc::clone(inbox))?));
    }
    let ring =
        Uring::new(settings.depth, Arc::clone(inbox), fence).map_err(|source| Error::Os {
            what: "io_uring",
            source,
        })?;
    Ok(Box::new(ring))
}
