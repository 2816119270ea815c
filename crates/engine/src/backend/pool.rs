//! The driver for where io_uring is refused: threads that make blocking calls, shared by all
//! queues, and one epoll set per queue.
//!
//! With no threads it serves a queue that does everything in the calling thread.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;

use super::driver::{Driver, FileOp, Happened, Interest, Readiness, perform};
use crate::error::Error;
use crate::queue::{Inbox, may_begin};

/// Jobs of one queue that are not done. It counts its own only: what is refused waits for one of
/// them to end, and nobody tells a queue of the others'.
const MAX_JOBS: usize = 4096;
/// Jobs of one queue that its files share: more than there are threads, and few enough to look through.
const PLACES: usize = 256;
/// The epoll tag of the queue's own inbox.
const INBOX_TAG: u64 = u64::MAX;

struct Job {
    tag: u64,
    op: FileOp,
    port: Arc<Port>,
}

/// Where a queue's finished operations are put.
struct Port {
    done: Mutex<Vec<Happened>>,
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// How many threads work for each file.
    busy: HashMap<usize, usize>,
    /// Threads without work.
    free: usize,
    stop: bool,
}

impl Jobs {
    /// The first job of a file that may get a thread: a device that does not answer must not take all
    /// of them. The thread counts as that file's.
    fn take(&mut self) -> Option<Job> {
        let (busy, free) = (&self.busy, self.free);
        let own = |job: &Job| busy.get(&file_of(&job.op)).copied().unwrap_or(0);
        let n = (self.waiting.iter()).position(|job| may_begin(own(job), free))?;
        let job = self.waiting.remove(n)?;
        self.free -= 1;
        *self.busy.entry(file_of(&job.op)).or_default() += 1;
        Some(job)
    }

    /// A thread has done a job of a file.
    fn done(&mut self, file: usize) {
        self.free += 1;
        if let Some(busy) = self.busy.get_mut(&file) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&file);
            }
        }
    }
}

/// Operations of one descriptor are one file's.
fn file_of(op: &FileOp) -> usize {
    Arc::as_ptr(&op.fd) as usize
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    ready: Condvar,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads. Dropped when the last queue is gone: then they finish what they have and end.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize) -> Result<Arc<Self>, Error> {
        let shared = Arc::new(Shared::default());
        lock(&shared.jobs).free = count;
        let mut handles = Vec::with_capacity(count);
        for n in 0..count {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name(format!("ulvm-pool-{n}"))
                .spawn(move || work(&shared))
                .map_err(|source| Error::Os {
                    what: "cannot start an I/O thread",
                    source,
                })?;
            handles.push(thread);
        }
        Ok(Arc::new(Self { shared, handles }))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.jobs).stop = true;
        self.shared.ready.notify_all();
        for handle in self.handles.drain(..) {
            // A thread that panicked has nothing to hand over any more.
            let _ = handle.join();
        }
    }
}

fn work(shared: &Shared) {
    let mut jobs = lock(&shared.jobs);
    loop {
        if let Some(mut job) = jobs.take() {
            if jobs.free > 0 && !jobs.waiting.is_empty() {
                shared.ready.notify_one();
            }
            drop(jobs);
            let file = file_of(&job.op);
            let result = perform(&mut job.op);
            lock(&job.port.done).push(Happened::Done {
                tag: job.tag,
                result,
                mem: job.op.mem.take(),
            });
            job.port.inbox.wake();
            jobs = lock(&shared.jobs);
            jobs.done(file);
            if jobs.stop {
                // Those that waited for this file's turn may go on, or end.
                shared.ready.notify_all();
            } else if !jobs.waiting.is_empty() {
                shared.ready.notify_one();
            }
        } else if jobs.stop && jobs.waiting.is_empty() {
            return;
        } else {
            jobs = match shared.ready.wait(jobs) {
                Ok(jobs) => jobs,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }
}

/// One queue's driver.
pub(crate) struct Pool {
    threads: Arc<Threads>,
    port: Arc<Port>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// Jobs given and not taken back.
    under_way: usize,
}

impl Pool {
    pub(crate) fn new(threads: Arc<Threads>, inbox: Arc<Inbox>) -> Result<Self, Error> {
        let os = |e: Errno| Error::Os {
            what: "cannot set up epoll",
            source: e.into(),
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(os)?;
        let data = epoll::EventData::new_u64(INBOX_TAG);
        epoll::add(&epoll, inbox.event(), data, epoll::EventFlags::IN).map_err(os)?;
        Ok(Self {
            threads,
            port: Arc::new(Port {
                done: Mutex::default(),
                inbox,
            }),
            epoll,
            events: Vec::with_capacity(64),
            under_way: 0,
        })
    }

    fn take_done(&mut self, happened: &mut Vec<Happened>) -> bool {
        let mut done = lock(&self.port.done);
        let any = !done.is_empty();
        self.under_way -= done.len();
        happened.append(&mut done);
        any
    }
}

impl Driver for Pool {
    fn submit(&mut self, tag: u64, op: FileOp) -> Result<(), FileOp> {
        if self.under_way >= MAX_JOBS {
            return Err(op);
        }
        self.under_way += 1;
        let mut jobs = lock(&self.threads.shared.jobs);
        jobs.waiting.push_back(Job {
            tag,
            op,
            port: Arc::clone(&self.port),
        });
        drop(jobs);
        self.threads.shared.ready.notify_one();
        Ok(())
    }

    fn watch(&mut self, tag: u64, fd: &Arc<OwnedFd>, interest: Interest) -> Result<(), Errno> {
        let mut flags = epoll::EventFlags::ONESHOT;
        if interest.read {
            flags |= epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        }
        if interest.write {
            flags |= epoll::EventFlags::OUT;
        }
        let data = epoll::EventData::new_u64(tag);
        match epoll::modify(&self.epoll, fd.as_fd(), data, flags) {
            Err(Errno::NOENT) => epoll::add(&self.epoll, fd.as_fd(), data, flags),
            other => other,
        }
    }

    fn unwatch(&mut self, _tag: u64, fd: &Arc<OwnedFd>) {
        // Not being in the set is what is wanted.
        let _ = epoll::delete(&self.epoll, fd.as_fd());
    }

    fn collect(&mut self, wait: Option<Duration>, happened: &mut Vec<Happened>) {
        let wait = match self.take_done(happened) {
            true => Some(Duration::ZERO),
            false => wait,
        };
        let timeout = wait.map(|d| rustix::time::Timespec {
            tv_sec: d.as_secs().min(1 << 30) as i64,
            tv_nsec: i64::from(d.subsec_nanos()),
        });
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        // An interrupted wait has found nothing; the queue comes round again.
        let _ = epoll::wait(&self.epoll, buffer, timeout.as_ref());
        for event in self.events.drain(..) {
            let tag = event.data.u64();
            if tag == INBOX_TAG {
                self.port.inbox.signalled();
                continue;
            }
            let flags = event.flags;
            let gone = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            let read = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            happened.push(Happened::Ready {
                tag,
                ready: Readiness {
                    read: gone || flags.intersects(read),
                    write: gone || flags.contains(epoll::EventFlags::OUT),
                },
            });
        }
        self.take_done(happened);
    }

    fn room(&self) -> (usize, usize) {
        // The threads are shared out when they take their jobs.
        (PLACES, PLACES)
    }

    fn name(&self) -> &'static str {
        "pool"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::driver::{FileOpKind, Room};

    #[test]
    fn a_file_that_does_not_answer_leaves_threads_to_others() {
        let file = || {
            let file = rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::CLOEXEC);
            Arc::new(file.expect("memory"))
        };
        let (stuck, prompt) = (file(), file());
        let port = Arc::new(Port {
            done: Mutex::default(),
            inbox: Inbox::new().expect("inbox"),
        });
        let job = |fd: &Arc<OwnedFd>| Job {
            tag: 0,
            op: FileOp {
                fd: Arc::clone(fd),
                kind: FileOpKind::Sync,
                offset: 0,
                len: 0,
                mem: None,
                skip: 0,
                aside: false,
                room: Room::Place,
            },
            port: Arc::clone(&port),
        };
        let mut jobs = Jobs {
            free: 4,
            ..Jobs::default()
        };
        jobs.waiting.extend((0..8).map(|_| job(&stuck)));
        let taken = std::iter::from_fn(|| jobs.take()).count();
        assert_eq!((taken, jobs.free), (3, 1));
        jobs.waiting.push_back(job(&prompt));
        let next = jobs.take().expect("a thread is left");
        assert!(Arc::ptr_eq(&next.op.fd, &prompt), "past those that wait");
        jobs.done(file_of(&next.op));
        assert!(jobs.take().is_none());
        (0..3).for_each(|_| jobs.done(file_of(&job(&stuck).op)));
        assert_eq!((jobs.free, jobs.busy.len(), jobs.waiting.len()), (4, 0, 5));
        let mut single = Jobs {
            free: 1,
            ..Jobs::default()
        };
        single.waiting.push_back(job(&stuck));
        assert!(single.take().is_some(), "a single thread serves all");
    }

    #[test]
    fn a_queue_is_refused_only_while_jobs_of_its_own_will_wake_it() {
        let threads = Threads::start(1).expect("threads");
        let file = rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::CLOEXEC);
        let file = Arc::new(file.expect("memory"));
        let pool = || Pool::new(Arc::clone(&threads), Inbox::new().expect("inbox")).expect("pool");
        let (mut busy, mut other) = (pool(), pool());
        let op = || FileOp {
            fd: Arc::clone(&file),
            kind: FileOpKind::Sync,
            offset: 0,
            len: 0,
            mem: None,
            skip: 0,
            aside: false,
            room: Room::Place,
        };
        for n in 0..MAX_JOBS {
            assert!(busy.submit(n as u64, op()).is_ok());
        }
        assert!(busy.submit(0, op()).is_err(), "full");
        assert!(other.submit(0, op()).is_ok(), "has none of its own");
        let mut happened = Vec::new();
        while happened.is_empty() {
            busy.collect(None, &mut happened);
        }
        assert!(busy.submit(0, op()).is_ok());
    }
}
