//! The thread that keeps a worker running.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{WaitId, WaitIdOptions};
use ulvm_engine::export::fuse::mount;

use super::{Fence, Hub, ORDER_PATIENCE, must};
use crate::daemon::channel::{Channel, MAX_FDS};
use crate::daemon::events::Class;
use crate::daemon::holdings::Holding;
use crate::daemon::order::{Order, Report};
use crate::daemon::process::Program;

/// How long a worker may take to begin.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// After a worker that dies sooner than this there is a rest, which grows.
const SHORT_LIFE: Duration = Duration::from_millis(500);
/// The longest rest, if it had served: consumers wait.
const SHORT_REST: Duration = Duration::from_millis(50);
/// The longest rest, if it cannot even begin to serve.
const LONG_REST: Duration = Duration::from_secs(2);

impl Hub {
    /// Keeps a worker running until [`stop`](Self::stop). `began` is told of the first one, or why
    /// there is none.
    pub fn keep(&self, program: &Program, before: Before, began: impl FnOnce(io::Result<()>)) {
        let mut began = Some(began);
        let mut fences: Vec<Fence> = Vec::new();
        let mut died: Option<Instant> = None;
        let alive = match before {
            Before::Nothing => None,
            Before::Dead(left) => {
                fences = left;
                // Without devices nobody has waited.
                died = (!self.look(|s| s.devices.is_empty())).then(Instant::now);
                None
            }
            Before::Dying(dying) => Some(dying),
            Before::Alive(alive) => {
                if let Some(began) = began.take() {
                    began(Ok(()));
                }
                Some(alive)
            }
        };
        if let Some(alive) = alive {
            wait_for_end(&alive.pidfd);
            // A child of the program that was here before.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::PidFd(alive.pidfd.as_fd()), options);
            fences = alive.fences;
            died = Some(Instant::now());
            self.gone();
            if self.lock().stopping {
                return;
            }
        }
        let mut rest = Duration::ZERO;
        loop {
            let started = Instant::now();
            let outcome = self.one_life(program, &mut fences, died, &mut began);
            died = Some(Instant::now());
            let most = if outcome.is_ok() {
                SHORT_REST
            } else {
                LONG_REST
            };
            if let (Err(error), Some(began)) = (outcome, began.take()) {
                return began(Err(error));
            }
            if self.lock().stopping {
                return;
            }
            rest = match started.elapsed() < SHORT_LIFE {
                true => (2 * rest).clamp(Duration::from_millis(1), most),
                false => Duration::ZERO,
            };
            std::thread::sleep(rest);
        }
    }

    /// Starts a worker and waits until it is dead.
    fn one_life(
        &self,
        program: &Program,
        fences: &mut Vec<Fence>,
        died: Option<Instant>,
        began: &mut Option<impl FnOnce(io::Result<()>)>,
    ) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let (fence, write_end) = Fence::new(self.store.as_deref())?;
        let mut child = program.worker(theirs)?;
        let mut channel = Channel::new(ours);
        let ready = self.prepare(&mut channel, (&fence, write_end), fences);
        // From now on this worker's I/O has to be waited for, too.
        fences.push(fence);
        let ready = ready.and_then(|()| match died {
            Some(_) => self.resume_consumers(&mut channel, &mut child),
            None => Ok(()),
        });
        let ready = ready.and_then(|()| must(&mut channel, &Order::Settled, &[]));
        let ready = ready.and_then(|()| self.publish(channel, &child, died));
        if ready.is_ok() {
            if let (Some(store), Some(current)) = (&self.store, fences.last()) {
                store.proven_but(current.number());
            }
            if died.is_some() {
                self.save();
            }
            if let Some(began) = began.take() {
                began(Ok(()));
            }
        } else {
            let _ = child.kill();
        }
        child.wait()?;
        self.gone();
        ready
    }

    /// There is no worker now.
    fn gone(&self) {
        let mut inner = self.lock();
        inner.link = None;
        inner.worker_pid = None;
        inner.pidfd = None;
    }

    /// Brings a new worker to where the last one was. It serves when all I/O of those before it has
    /// ended, and not before.
    fn prepare(
        &self,
        channel: &mut Channel,
        (fence, write_end): (&Fence, OwnedFd),
        fences: &mut Vec<Fence>,
    ) -> io::Result<()> {
        self.tell_all(channel, (fence, write_end), fences)?;
        for dead in fences.iter() {
            dead.wait()?;
        }
        fences.clear();
        must(channel, &Order::Serve, &[])?;
        channel.set_patience(Some(ORDER_PATIENCE))
    }

    /// Tells a new worker all there is.
    fn tell_all(
        &self,
        channel: &mut Channel,
        (fence, write_end): (&Fence, OwnedFd),
        fences: &[Fence],
    ) -> io::Result<()> {
        channel.set_patience(Some(START_PATIENCE))?;
        let mut telling = Telling::to(channel);
        let begin = Order::Begin {
            queues: self.queues,
            lock_memory: self.lock_memory,
        };
        let fds = [
            write_end.as_fd(),
            fence.descriptor(),
            self.resent.as_fd(),
            self.listener.as_fd(),
        ];
        telling.tell(&begin, &fds)?;
        drop(write_end);
        telling.tell(&Order::Events, &[self.events.as_fd()])?;
        for fences in fences.chunks(MAX_FDS) {
            let fds: Vec<_> = fences.iter().map(Fence::descriptor).collect();
            telling.tell(&Order::Fences, &fds)?;
        }
        let (holdings, devices, notes, folder, nbd) = self.look(|state| {
            let holdings: Vec<Holding> = state.holdings.values().cloned().collect();
            let notes = state.devices.iter().map(|(n, e)| (*n, e.note()));
            let notes: Vec<_> = notes.collect();
            let (folder, nbd) = (state.folder.clone(), state.nbd.clone());
            (holdings, state.lower_first(), notes, folder, nbd)
        });
        for holding in holdings {
            let order = Order::Backing(holding.order.clone());
            telling.tell(&order, &holding.descriptors())?;
        }
        if let Some(folder) = &folder {
            let order = Order::Folder(folder.order());
            telling.tell(&order, &folder.descriptors())?;
        }
        if let Some(nbd) = &nbd {
            telling.tell(&Order::Nbd(nbd.order()), &nbd.descriptors())?;
        }
        for device in devices {
            telling.tell(&Order::Device(device), &[])?;
        }
        for (number, note) in notes {
            telling.tell(&Order::Note { number, note }, &[])?;
        }
        telling.tell(&Order::Whole, &[])?;
        telling.end()
    }

    /// Lets the kernel give the new worker what the old one has not answered.
    fn resume_consumers(&self, channel: &mut Channel, child: &mut Child) -> io::Result<()> {
        if let Some(folder) = self.look(|state| state.folder.clone())
            && folder.negotiated.resends()
        {
            mount::resend(folder.mounted.fd()).map_err(io::Error::other)?;
        }
        self.recover_ublk(channel, child)
    }

    fn publish(&self, channel: Channel, child: &Child, died: Option<Instant>) -> io::Result<()> {
        let pid = rustix::process::Pid::from_child(child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let mut inner = self.lock();
        if inner.stopping {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some(died) = died {
            inner.restarts += 1;
            inner.last_pause = Some(died.elapsed());
            let (pid, pause) = (child.id(), died.elapsed().as_micros());
            let text = format!("worker {pid} took the place of one that died, after {pause} us");
            self.events.tell(Class::Restarted, None, text);
        }
        inner.link = Some(channel);
        inner.worker_pid = Some(child.id());
        inner.pidfd = Some(pidfd);
        self.changed.notify_all();
        Ok(())
    }
}

/// Orders that are given ahead of their answers. So they are on their way at once, and a worker that
/// loses its supervisor in the moment in which it is made still finds them.
struct Telling<'a> {
    channel: &'a mut Channel,
    /// Answers that have not come.
    waiting: usize,
}

/// Most orders ahead: both ends' sockets have place for so many short answers.
const AHEAD: usize = 64;

impl<'a> Telling<'a> {
    fn to(channel: &'a mut Channel) -> Self {
        Self {
            channel,
            waiting: 0,
        }
    }

    fn tell(&mut self, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.waiting >= AHEAD {
            self.hear()?;
        }
        self.waiting += 1;
        self.channel.send(order, fds)
    }

    /// Takes one answer. Only a worker that is broken refuses any of it.
    fn hear(&mut self) -> io::Result<()> {
        self.waiting -= 1;
        match self.channel.receive::<Report>()? {
            Some((Report::Failed { text }, _)) => Err(io::Error::other(text)),
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn end(mut self) -> io::Result<()> {
        while self.waiting > 0 {
            self.hear()?;
        }
        Ok(())
    }
}

/// What there is when a supervisor begins.
#[derive(Debug)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A worker that runs.
    Alive(Alive),
    /// A worker that was being made, and has been killed.
    Dying(Alive),
    /// Workers that are dead, but may have I/O under way.
    Dead(Vec<Fence>),
}

/// A worker that runs already.
#[derive(Debug)]
pub struct Alive {
    pub(super) pidfd: OwnedFd,
    /// Those of workers before it, and its own.
    pub(super) fences: Vec<Fence>,
}

/// Waits for the end of a process that is not our child.
fn wait_for_end(pidfd: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
        if polled.is_err() || !fds[0].revents().is_empty() {
            return;
        }
    }
}
