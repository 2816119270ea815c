//! Requests made one at a time by the calling thread, without queue threads: for commands that
//! read or write a volume, or wipe the start of a new one.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::pool::{Pool, Threads};
use crate::backend::{Backing, FileStore, Store, Syncing};
use crate::buf::Buf;
use crate::device::Device;
use crate::error::{Error, IoError};
use crate::io::{Completion, Request};
use crate::queue::{Core, Cx, Event, Inbox, Mode, Task};
use crate::table::Table;

/// Data are moved in runs of this many bytes.
pub const RUN: usize = 1 << 20;

/// A device used by one caller. The gate, the table and the statistics are those of every other
/// user of the device.
#[derive(Debug)]
pub struct SyncDevice {
    device: Arc<Device>,
    core: Core,
    buf: Option<Buf>,
}

/// Makes one request and keeps its answer.
struct Once {
    device: Arc<Device>,
    request: Option<Request>,
    answer: Arc<Mutex<Option<Completion>>>,
}

impl Task for Once {
    fn start(&mut self, cx: &mut Cx<'_>) {
        if let Some(request) = self.request.take() {
            cx.submit(&self.device, request, 0);
        }
    }
    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        if let Event::Done(completion) = event {
            *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(completion);
            cx.exit();
        }
    }
}

impl SyncDevice {
    /// For this device.
    pub fn new(device: Arc<Device>) -> Result<Self, Error> {
        let inbox = Inbox::new()?;
        let driver = Pool::new(Threads::start(0)?, Arc::clone(&inbox))?;
        Ok(Self {
            device,
            core: Core::new(0, Mode::Alone, Box::new(driver), inbox),
            buf: None,
        })
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Makes a request and waits for its answer.
    pub fn request(&mut self, request: Request) -> Result<Option<Buf>, IoError> {
        let answer = Arc::new(Mutex::new(None));
        self.core.spawn(Box::new(Once {
            device: Arc::clone(&self.device),
            request: Some(request),
            answer: Arc::clone(&answer),
        }));
        let take = || answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut completion = None;
        self.core.run_until(|| {
            completion = take();
            completion.is_some()
        });
        match completion {
            Some(c) => c.result.map(|()| c.buf),
            None => Ok(None),
        }
    }

    fn take_buf(&mut self, len: usize) -> Buf {
        let mut buf = self.buf.take().unwrap_or_else(|| Buf::zeroed(RUN));
        if buf.set_len(len) {
            buf
        } else {
            Buf::zeroed(len)
        }
    }

    /// Fills `into` from byte `offset` on.
    pub fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
        let mut at = offset;
        for part in into.chunks_mut(RUN) {
            let buf = self.take_buf(part.len());
            if let Some(buf) = self.request(Request::read(at, buf))? {
                part.copy_from_slice(&buf);
                self.buf = Some(buf);
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Writes `from` at byte `offset`. Durable after a [`Self::flush`].
    pub fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), IoError> {
        let mut at = offset;
        for part in from.chunks(RUN) {
            let mut buf = self.take_buf(part.len());
            buf.copy_from_slice(part);
            self.buf = self.request(Request::write(at, buf, false))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub fn flush(&mut self) -> Result<(), IoError> {
        self.request(Request::flush()).map(drop)
    }

    /// Ends the use of the device: what mirrors have under way ends, everything is made durable,
    /// and mirrors note that they were stopped in order. Without it they are as after a crash.
    pub fn stop(mut self, wait: std::time::Duration) -> Result<(), Error> {
        self.device.freeze_mirrors();
        self.core.run();
        self.device.suspend(true, wait)
    }

    /// Gives up the contents of a range.
    pub fn discard(&mut self, offset: u64, len: u64) -> Result<(), IoError> {
        self.request(Request::discard(offset, len)).map(drop)
    }

    /// Makes a range read as zeroes; the space stays allocated.
    pub fn write_zeroes(&mut self, offset: u64, len: u64) -> Result<(), IoError> {
        let request = Request::write_zeroes(offset, len, false, false);
        self.request(request).map(drop)
    }
}

/// Makes durable what was written to a table's backing devices.
pub(crate) fn flush_table(table: &Table) -> Result<(), Error> {
    for slot in table.plain_slots() {
        match slot.backing.store() {
            Store::Mem(_) => {}
            Store::Device(lower) => {
                if let Some(table) = lower.table() {
                    flush_table(&table).inspect_err(|_| drop(lower.count_lost(&table)))?;
                }
            }
            Store::File(file) => flush_file(&slot.backing, file)?,
        }
    }
    Ok(())
}

fn flush_file(backing: &Arc<Backing>, file: &FileStore) -> Result<(), Error> {
    let state = backing.flush_state();
    let Some(mark) = state.needed() else {
        return Ok(());
    };
    let mut syncing = Syncing::begin(backing);
    let failure = match rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&file.fd)) {
        Ok(()) => {
            let (woken, wake) = std::sync::mpsc::channel();
            // Nobody hears it who does not wait; the sender goes when it has been called, or never will.
            let waker = Box::new(move || {
                let _ = woken.send(());
            });
            if !syncing.succeeded(waker) {
                let _ = wake.recv();
            }
            syncing.overlapped()
        }
        Err(e) => {
            let kind = file.kind_of(e, 0);
            syncing.end(Some(kind));
            Some(kind)
        }
    };
    if let Some(kind) = failure {
        return Err(IoError {
            kind,
            op: crate::io::OpKind::Flush,
            device: Arc::clone(backing.name()),
            sector: 0,
            offset: 0,
        }
        .into());
    }
    state.done(mark);
    Ok(())
}

/// A request for a [`Client`]'s task, and where its answer goes.
struct Errand {
    request: Request,
    answer: std::sync::mpsc::Sender<Completion>,
}

/// Carries errands to a device on a queue of the engine.
struct Courier {
    device: Arc<Device>,
    next: u64,
    answers: std::collections::HashMap<u64, std::sync::mpsc::Sender<Completion>>,
    stopping: bool,
}

impl Task for Courier {
    fn start(&mut self, _cx: &mut Cx<'_>) {}
    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Message(what) => {
                if let Ok(errand) = what.downcast::<Errand>() {
                    self.next += 1;
                    self.answers.insert(self.next, errand.answer);
                    cx.submit(&self.device, errand.request, self.next);
                }
            }
            Event::Done(completion) => {
                if let Some(answer) = self.answers.remove(&completion.token) {
                    // Nobody waits any more: the answer has no use.
                    let _ = answer.send(completion);
                }
            }
            Event::Stop => self.stopping = true,
            Event::Ready(..) | Event::Timer(_) | Event::Command(_) => {}
        }
        if self.stopping && self.answers.is_empty() {
            cx.exit();
        }
    }
}

/// Makes requests to a device on a running engine from other threads.
#[derive(Clone, Debug)]
pub struct Client {
    task: crate::queue::TaskRef,
}

impl Client {
    /// On one of the engine's queues.
    pub fn new(engine: &crate::queue::Engine, device: Arc<Device>) -> Self {
        let courier = Courier {
            device,
            next: 0,
            answers: std::collections::HashMap::new(),
            stopping: false,
        };
        Self {
            task: engine.spawn(None, Box::new(courier)),
        }
    }

    /// Makes a request; its answer comes through the channel. If the engine ends first, the
    /// channel is closed.
    pub fn begin(&self, request: Request) -> std::sync::mpsc::Receiver<Completion> {
        let (answer, receiver) = std::sync::mpsc::channel();
        self.task.tell(Box::new(Errand { request, answer }));
        receiver
    }

    /// Makes a request and waits for its answer; none if the engine has ended.
    pub fn request(&self, request: Request) -> Option<Completion> {
        self.begin(request).recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::OpenHow;
    use crate::error::ErrorKind;
    use crate::table_text::{Resolve, parse};

    struct Files(Vec<(String, Arc<Backing>)>);

    impl Resolve for Files {
        fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
            let found = self.0.iter().find(|(name, _)| name == word);
            found.map(|f| Arc::clone(&f.1)).ok_or_else(String::new)
        }
    }

    /// Two files, and two devices that both lie on them.
    fn devices() -> (Vec<Arc<Backing>>, SyncDevice, SyncDevice) {
        let mut files = Files(Vec::new());
        for name in ["a", "b"] {
            let file = tempfile::NamedTempFile::new().expect("tempfile");
            file.as_file().set_len(1 << 20).expect("set_len");
            let backing = Backing::open(file.path(), &OpenHow::default()).expect("open");
            files.0.push((name.into(), Arc::new(backing)));
        }
        let mut device = |text: &str| {
            let table = parse(text, &mut files).expect("table");
            SyncDevice::new(Device::with_table("d", table)).expect("sync")
        };
        let one = device("0 64 striped 2 8 a 0 b 0\n64 8 linear a 64\n");
        let other = device("0 8 linear a 128");
        let backings = files.0.into_iter().map(|(_, b)| b).collect();
        (backings, one, other)
    }

    #[test]
    fn a_flush_reaches_what_was_written_since_the_last() {
        let (backings, mut one, _) = devices();
        let unflushed = || -> Vec<bool> {
            let needed = |b: &Arc<Backing>| b.flush_state().needed().is_some();
            backings.iter().map(needed).collect()
        };
        assert_eq!(unflushed(), [true, true], "the past is unknown");
        one.flush().expect("flush");
        assert_eq!(unflushed(), [false, false]);
        one.write_at(8 * 512, &[1; 512]).expect("write to b");
        assert_eq!(unflushed(), [false, true]);
        one.write_zeroes(70 * 512, 512).expect("zero on a");
        assert_eq!(unflushed(), [true, true]);
        one.device()
            .suspend(true, std::time::Duration::ZERO)
            .expect("suspend");
        assert_eq!(unflushed(), [false, false], "suspending flushes");
        one.device()
            .resume(std::time::Duration::ZERO)
            .expect("resume");
        let fua = Request::write(0, Buf::zeroed(512), true);
        one.request(fua).expect("durable when answered");
        assert_eq!(unflushed(), [false, false]);
    }

    #[test]
    fn a_failed_flush_is_told_once_to_every_device_on_the_file() {
        let (backings, mut one, mut other) = devices();
        backings[0].flush_state().failed();
        for device in [&mut one, &mut other] {
            let e = device.flush().expect_err("the file lost something");
            assert_eq!((e.kind, &e.device), (ErrorKind::Io, backings[0].name()));
            device.flush().expect("told once");
        }
    }

    #[test]
    fn what_a_lower_device_lost_is_told_by_all_that_lie_on_it() {
        let (backings, lower, _) = devices();
        let lower = Arc::clone(lower.device());
        let upper = || {
            let backing = Arc::new(Backing::device(Arc::clone(&lower)));
            let table = parse("0 8 linear l 0", &mut Files(vec![("l".into(), backing)]));
            SyncDevice::new(Device::with_table("u", table.expect("table"))).expect("sync")
        };
        let (mut one, mut other) = (upper(), upper());
        backings[1].flush_state().failed();
        one.flush().expect_err("told through the lower device");
        one.flush().expect("told once");
        other
            .flush()
            .expect_err("the other's writes were lost as well");
        other.flush().expect("told once");
        assert_eq!((one.device().lost(), other.device().lost()), (1, 1));
    }
}
