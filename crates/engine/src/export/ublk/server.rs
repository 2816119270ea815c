//! The task that answers the kernel: one per engine queue, for the queues of that number of all
//! devices.
//!
//! Each place of a queue goes round: the kernel gives a request (for a write it asks for memory
//! first, and copies the data there), the device carries it out, and the answer asks for the next
//! request in the same breath.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::control::{char_path, open_char};
use super::lender::{Held, Lender};
use super::params::{Wish, place, token};
use crate::buf::Buf;
use crate::device::Device;
use crate::error::Error;
use crate::export::memory::{Budget, Memory};
use crate::io::{Completion, OpKind, Request};
use crate::queue::{Commanded, Cx, Engine, Event, Task, TaskRef};
use crate::sys::ublk::{Descriptors, DeviceCmd, SharedCounters, Step};

/// The kernel asks for memory to copy a write's data to.
const NEED_GET_DATA: i32 = 1;
/// How soon a command is given again that there was no room for.
const AGAIN: Duration = Duration::from_millis(1);
/// How soon, and after a while how seldom, it is looked whether a device is resumed that requests wait for.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));
/// Numbers of timers.
const SOON: u64 = 0;
const RESUMED: u64 = 1;

/// A device to be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its number.
    pub id: u32,
    /// Its queues.
    pub queues: u16,
    /// Requests of each.
    pub depth: u16,
}

/// The servers of an engine: one on each queue.
#[derive(Debug)]
pub struct Servers {
    tasks: Vec<TaskRef>,
}

impl Servers {
    /// `in_flight` is a file of memory, sealed against shrinking, in which each queue keeps the
    /// number of requests that it has and has not answered, as eight bytes: of a process that was
    /// killed it tells how many requests are given again. Fails without io_uring.
    pub fn start(
        engine: &Engine,
        budget: Budget,
        in_flight: Option<&OwnedFd>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Os {
            what: "serving ublk devices",
            source,
        };
        if engine.driver() != "io_uring" {
            let text = "it needs io_uring, which this engine does not use";
            return Err(failed(std::io::Error::other(text)));
        }
        let mut tasks = Vec::with_capacity(engine.queues());
        for queue in 0..engine.queues() {
            let counters = in_flight.map(|fd| SharedCounters::map(fd, engine.queues()));
            let counters = counters.transpose().map_err(|e| failed(e.into()))?;
            let server = Server {
                lender: Lender::new(Memory::new(budget)),
                attached: Vec::new(),
                waiting: VecDeque::new(),
                had: Vec::new(),
                backlog: VecDeque::new(),
                copying: 0,
                under_way: 0,
                told: 0,
                counters,
                timed: false,
                look: LOOK.0,
                looks: false,
                stopping: false,
            };
            tasks.push(engine.spawn(Some(queue), Box::new(server)));
        }
        Ok(Self { tasks })
    }

    /// Serves a device that was made, or made ready for another server, until it is stopped. To be
    /// done once for each.
    pub fn serve(&self, at: Place, device: &Arc<Device>) -> Result<(), Error> {
        let failed = |source| Error::Open {
            path: char_path(at.id),
            source,
        };
        if usize::from(at.queues) > self.tasks.len() {
            let text = "it has more queues than there are servers";
            return Err(failed(std::io::Error::other(text)));
        }
        let fd = Arc::new(open_char(at.id).map_err(failed)?);
        let mapped = (0..at.queues).map(|queue| Descriptors::map(fd.as_fd(), queue, at.depth));
        let mapped: Vec<_> = mapped
            .collect::<Result<_, _>>()
            .map_err(|e| failed(e.into()))?;
        for (queue, descriptors) in mapped.into_iter().enumerate() {
            let attached = Attached {
                fd: Arc::clone(&fd),
                queue: queue as u16,
                descriptors,
                device: Arc::clone(device),
                places: vec![State::Asking; at.depth.into()],
                held: Held::default(),
                waiting: VecDeque::new(),
                live: at.depth.into(),
            };
            self.tasks[queue].tell(Box::new(attached));
        }
        Ok(())
    }
}

/// One of a queue's places for requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The kernel has it, and gives a request when there is one.
    Asking,
    /// A request waits for memory.
    Waiting,
    /// The kernel copies a write's data.
    Getting,
    /// The device has the request.
    Working,
    /// The kernel gives no more.
    Over,
}

/// A device's queue.
struct Attached {
    fd: Arc<OwnedFd>,
    queue: u16,
    descriptors: Descriptors,
    device: Arc<Device>,
    places: Vec<State>,
    /// Memory that its requests have.
    held: Held,
    /// Places with requests that wait for memory, the first first.
    waiting: VecDeque<u16>,
    /// Places that are not over.
    live: usize,
}

struct Server {
    lender: Lender,
    attached: Vec<Option<Attached>>,
    /// Devices with requests that wait for memory, each once; they take turns.
    waiting: VecDeque<u32>,
    /// Of those, while they are asked, who had something.
    had: Vec<u32>,
    /// Commands that there was no room for.
    backlog: VecDeque<(u64, DeviceCmd)>,
    /// Answers whose memory is not back yet.
    copying: usize,
    /// Requests not answered.
    under_way: u64,
    /// The number last told.
    told: u64,
    counters: Option<SharedCounters>,
    /// A timer runs.
    timed: bool,
    /// After what time it is looked again for devices that are resumed, and whether that timer runs.
    look: Duration,
    looks: bool,
    stopping: bool,
}

impl Server {
    fn attach(&mut self, cx: &mut Cx<'_>, attached: Attached) {
        let free = self.attached.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.attached.push(None);
            self.attached.len() - 1
        });
        let depth = attached.places.len();
        self.attached[slot] = Some(attached);
        for tag in 0..depth {
            self.command(cx, slot as u32, tag as u16, Step::Fetch);
        }
    }

    fn at(&mut self, slot: u32) -> Option<&mut Attached> {
        self.attached.get_mut(slot as usize)?.as_mut()
    }

    fn set(&mut self, slot: u32, tag: u16, state: State) {
        let place = self
            .at(slot)
            .and_then(|a| a.places.get_mut(usize::from(tag)));
        if let Some(place) = place {
            *place = state;
        }
    }

    fn command(&mut self, cx: &mut Cx<'_>, slot: u32, tag: u16, step: Step) {
        let Some(attached) = self.at(slot) else {
            return;
        };
        let command = DeviceCmd {
            fd: Arc::clone(&attached.fd),
            queue: attached.queue,
            tag,
            step,
        };
        self.give(cx, token(slot, tag), command);
    }

    fn give(&mut self, cx: &mut Cx<'_>, token: u64, command: DeviceCmd) {
        if let Err(command) = cx.command(command, token) {
            self.backlog.push_back((token, command));
        }
    }

    /// A command has ended: the kernel has a request, or the data of one, or nothing more.
    fn ended(&mut self, cx: &mut Cx<'_>, token: u64, result: i32, buf: Option<Buf>) {
        let (slot, tag) = place(token);
        let Some(attached) = self.at(slot) else {
            return;
        };
        let state = attached.places.get(usize::from(tag)).copied();
        match (state, result) {
            (Some(State::Getting), 0) => self.write(cx, slot, tag, buf),
            (Some(State::Asking), 0 | NEED_GET_DATA) => self.arrived(cx, slot, tag),
            // The device is being stopped, or the kernel does not take us for its server.
            (Some(State::Getting), _) => {
                self.under_way -= 1;
                self.over(slot, tag, buf);
            }
            (Some(State::Asking), _) => self.over(slot, tag, buf),
            // Nothing else is ever under way.
            _ => self.over(slot, tag, buf),
        }
    }

    /// Nothing comes in this place any more; with the last one the device is let go of.
    fn over(&mut self, slot: u32, tag: u16, buf: Option<Buf>) {
        self.back(slot, buf);
        self.set(slot, tag, State::Over);
        let Some(attached) = self.at(slot) else {
            return;
        };
        attached.live = attached.live.saturating_sub(1);
        if attached.live == 0 {
            self.attached[slot as usize] = None;
        }
    }

    fn wish(&mut self, slot: u32, tag: u16) -> Option<Wish> {
        Wish::read(&self.at(slot)?.descriptors.get(tag)?)
    }

    /// Memory for a request; none now, or because its device is suspended and would keep it.
    fn lend(&mut self, slot: u32, len: u32) -> Option<Buf> {
        let attached = self.attached.get_mut(slot as usize)?.as_mut()?;
        match attached.device.suspended() {
            true => None,
            false => self.lender.lend(&mut attached.held, len as usize),
        }
    }

    fn back(&mut self, slot: u32, buf: Option<Buf>) {
        let Some(buf) = buf else {
            return;
        };
        let attached = self.attached.get_mut(slot as usize);
        let held = attached.and_then(|a| Some(&mut a.as_mut()?.held));
        self.lender.back(held, buf);
    }

    /// A request is there. It waits behind those of its device that wait.
    fn arrived(&mut self, cx: &mut Cx<'_>, slot: u32, tag: u16) {
        self.under_way += 1;
        let behind = self.at(slot).is_some_and(|a| !a.waiting.is_empty());
        if behind || !self.begin(cx, slot, tag) {
            self.wait(slot, tag);
        }
    }

    /// A read or write begins with memory for it. False if there is none for it now.
    fn begin(&mut self, cx: &mut Cx<'_>, slot: u32, tag: u16) -> bool {
        let request = match self.wish(slot, tag) {
            Some(Wish::Read { offset, len }) => match self.lend(slot, len) {
                Some(buf) => Request::read(offset, buf),
                None => return false,
            },
            Some(Wish::Write { len, .. }) => match self.lend(slot, len) {
                Some(buf) => {
                    self.set(slot, tag, State::Getting);
                    self.command(cx, slot, tag, Step::GetData(buf));
                    return true;
                }
                None => return false,
            },
            Some(Wish::Flush) => Request::flush(),
            Some(Wish::Discard { offset, len }) => Request::discard(offset, len),
            Some(Wish::Zero {
                offset,
                len,
                unmap,
                fua,
            }) => Request::write_zeroes(offset, len, unmap, fua),
            None => {
                self.answer(cx, slot, tag, -libc::EOPNOTSUPP, None);
                return true;
            }
        };
        self.submit(cx, slot, tag, request);
        true
    }

    fn wait(&mut self, slot: u32, tag: u16) {
        self.set(slot, tag, State::Waiting);
        let Some(attached) = self.at(slot) else {
            return;
        };
        attached.waiting.push_back(tag);
        if attached.waiting.len() == 1 {
            self.waiting.push_back(slot);
        }
    }

    /// Begins what has waited and can begin now. A device that had something is the last next time.
    fn retry(&mut self, cx: &mut Cx<'_>) {
        self.lender.afresh();
        for _ in 0..self.waiting.len() {
            let Some(slot) = self.waiting.pop_front() else {
                break;
            };
            let mut began = false;
            while let Some(tag) = self.first_waiting(slot) {
                if !self.begin(cx, slot, tag) {
                    break;
                }
                began = true;
                self.at(slot).and_then(|a| a.waiting.pop_front());
            }
            match (self.first_waiting(slot), began) {
                (None, _) => {}
                (Some(_), true) => self.had.push(slot),
                (Some(_), false) => self.waiting.push_back(slot),
            }
        }
        self.waiting.extend(self.had.drain(..));
    }

    fn first_waiting(&mut self, slot: u32) -> Option<u16> {
        self.at(slot)?.waiting.front().copied()
    }

    /// A write's data are there.
    fn write(&mut self, cx: &mut Cx<'_>, slot: u32, tag: u16, buf: Option<Buf>) {
        let wish = self.wish(slot, tag);
        let Some(mut buf) = buf else {
            return self.answer(cx, slot, tag, -libc::EIO, None);
        };
        match wish {
            // The kernel may have found less to copy than it had said.
            Some(Wish::Write { offset, len, fua }) if len as usize <= buf.capacity() => {
                buf.set_len(len as usize);
                self.submit(cx, slot, tag, Request::write(offset, buf, fua));
            }
            _ => {
                self.back(slot, Some(buf));
                self.answer(cx, slot, tag, -libc::EIO, None);
            }
        }
    }

    fn submit(&mut self, cx: &mut Cx<'_>, slot: u32, tag: u16, request: Request) {
        self.set(slot, tag, State::Working);
        if let Some(attached) = self.at(slot) {
            let device = Arc::clone(&attached.device);
            cx.submit(&device, request, token(slot, tag));
        }
    }

    fn done(&mut self, cx: &mut Cx<'_>, completion: Completion) {
        let (slot, tag) = place(completion.token);
        let errno = completion.errno();
        let result = match completion.op.kind() {
            _ if errno != 0 => -errno,
            OpKind::Read | OpKind::Write => completion.len as i32,
            OpKind::Flush | OpKind::Discard | OpKind::WriteZeroes => 0,
        };
        let data = match (completion.op.kind(), completion.buf) {
            // Memory has to be named even where there is nothing to copy.
            (OpKind::Read, buf) => buf,
            (_, buf) => {
                self.back(slot, buf);
                None
            }
        };
        self.answer(cx, slot, tag, result, data);
    }

    fn answer(&mut self, cx: &mut Cx<'_>, slot: u32, tag: u16, result: i32, data: Option<Buf>) {
        self.under_way -= 1;
        self.copying += usize::from(data.is_some());
        self.set(slot, tag, State::Asking);
        self.command(cx, slot, tag, Step::Commit { result, data });
    }

    /// Goes on with what there was no memory or no room for.
    fn go_on(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..self.backlog.len() {
            if let Some((token, command)) = self.backlog.pop_front() {
                self.give(cx, token, command);
            }
        }
        if self.waiting.is_empty() {
            return self.give_again_soon(cx, false);
        }
        self.retry(cx);
        // Memory of answers comes back when the queue goes round: it must not sleep before that.
        self.give_again_soon(cx, !self.waiting.is_empty() && self.copying > 0);
        self.look_for_resumed(cx);
    }

    fn give_again_soon(&mut self, cx: &mut Cx<'_>, short: bool) {
        if !self.timed && (short || !self.backlog.is_empty()) {
            self.timed = true;
            cx.timer(if short { Duration::ZERO } else { AGAIN }, SOON);
        }
    }

    /// Nobody tells of a device that is resumed while it has no request.
    fn look_for_resumed(&mut self, cx: &mut Cx<'_>) {
        let attached = &self.attached;
        let of = |slot: &u32| attached.get(*slot as usize)?.as_ref();
        let mut waiting = self.waiting.iter().filter_map(of);
        if !waiting.any(|a| a.device.suspended()) {
            self.look = LOOK.0;
        } else if !self.looks {
            self.looks = true;
            cx.timer(self.look, RESUMED);
            self.look = (self.look * 2).min(LOOK.1);
        }
    }

    /// Lets the number of unanswered requests be known.
    fn tell(&mut self, queue: usize) {
        if self.told == self.under_way {
            return;
        }
        self.told = self.under_way;
        if let Some(counter) = self.counters.as_ref().and_then(|c| c.get(queue)) {
            counter.store(self.under_way, Ordering::Relaxed);
        }
    }
}

/// Serves as somebody who is not the administrator. On a device whose servers all are, the kernel
/// looks for partitions before the command that starts it ends; if the server died meanwhile, neither
/// would ever end. And what looks like partitions in a volume is its owner's business, as it is with
/// device-mapper. Nothing that a queue does takes this right. It is this thread's alone.
fn give_right_up() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    if let Ok(mut sets) = capabilities(None) {
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        // Refused to nobody.
        let _ = set_capabilities(None, sets);
    }
}

impl Task for Server {
    fn start(&mut self, _cx: &mut Cx<'_>) {
        give_right_up();
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Done(completion) => self.done(cx, completion),
            Event::Command(Commanded::Ended { token, result, buf }) => {
                self.ended(cx, token, result, buf);
            }
            Event::Command(Commanded::Taken { token, buf }) => {
                self.copying -= 1;
                self.back(place(token).0, Some(buf));
            }
            Event::Message(what) => {
                if let Ok(attached) = what.downcast::<Attached>() {
                    self.attach(cx, *attached);
                }
            }
            Event::Timer(RESUMED) => self.looks = false,
            Event::Timer(_) => self.timed = false,
            Event::Stop => self.stopping = true,
            Event::Ready(..) => {}
        }
    }

    fn batch_end(&mut self, cx: &mut Cx<'_>) {
        self.go_on(cx);
        self.tell(cx.queue());
        if self.stopping && self.under_way == 0 {
            cx.exit();
        }
    }
}
