//! The transmission phase of one connection: requests to the device, and replies from its answers.

use std::sync::Arc;

use super::exports::Export;
use super::handshake::{ALLOCATION_ID, Chosen};
use super::intake::{Got, Intake};
use super::limits::Limits;
use super::outgoing::Outgoing;
use super::request::{Action, Request};
use super::wire::{self, Errno, allocation, chunk};
use crate::buf::{Budget, Buf, BufPool};
use crate::extents::{self, Kind};
use crate::io::{Completion, Op, Request as DeviceRequest};

/// Bytes read at a time for a request to fill the cache.
const CACHE_RUN: u64 = 1 << 20;
/// A read or write of at least so many bytes is done aside while the client has others under way:
/// this thread receives payloads and sends replies meanwhile, which is as much work.
const ASIDE: u64 = 64 << 10;
/// Extents in one reply.
const MAX_EXTENTS: usize = 1024;
/// Bytes of replies without data that may wait to be sent before no more is taken in.
const MAX_SMALL: usize = 64 << 10;

/// What the device is asked to do, with the number its answer comes under.
#[derive(Debug)]
pub(super) struct Submit {
    pub request: DeviceRequest,
    pub token: u64,
}

/// How taking in ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// All is used up.
    All,
    /// The rest waits until something that is under way is done.
    Blocked,
    /// No more requests come.
    Disconnect,
    /// The stream is lost.
    Lost,
}

/// A request whose answer has not been made.
#[derive(Debug, Clone, Copy)]
struct Pending {
    request: Request,
    /// The answer of a flush after it is its answer.
    flushing: bool,
    /// Bytes of a cache request that are done.
    cached: u64,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    chosen: Chosen,
    export: Arc<Export>,
    intake: Intake,
    pool: BufPool,
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    under_way: usize,
    max_requests: usize,
    /// A request that waits for a buffer.
    waiting: Option<Request>,
    /// Enough was done in this thread: others have their turn before the next request is taken.
    resting: bool,
    /// [`Device::lost`](crate::device::Device::lost) as this client was told.
    told: u64,
}

impl Session {
    pub(super) fn new(
        chosen: Chosen,
        export: Arc<Export>,
        limits: &Limits,
        budget: Arc<Budget>,
    ) -> Self {
        let told = export.device.lost();
        // One largest payload has to fit whatever else is there.
        let limit = limits.largest() + limits.bytes;
        Self {
            chosen,
            export,
            intake: Intake::default(),
            pool: BufPool::within(limit, budget),
            pending: Vec::new(),
            free: Vec::new(),
            under_way: 0,
            max_requests: limits.requests.max(1),
            waiting: None,
            resting: false,
            told,
        }
    }

    /// Others have had their turn.
    pub(super) fn rested(&mut self) {
        self.resting = false;
    }

    /// The client is gone: what is under way is not followed by more of the same request.
    pub(super) fn forget(&mut self, completion: Completion) {
        if let Ok(slot) = usize::try_from(completion.token)
            && self.pending.get(slot).is_some_and(Option::is_some)
        {
            self.end(slot, completion.buf);
        }
    }

    pub(super) fn device(&self) -> &Arc<crate::device::Device> {
        &self.export.device
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn pool(&mut self) -> &mut BufPool {
        &mut self.pool
    }

    /// In the middle of receiving a request?
    pub(super) fn partial(&self) -> bool {
        self.intake.partial()
    }

    /// Where the rest of a payload can be received without a copy.
    pub(super) fn direct(&mut self) -> Option<&mut [u8]> {
        self.intake.direct()
    }

    /// `n` bytes were received there.
    pub(super) fn received(&mut self, n: usize, out: &mut Outgoing) -> Option<Submit> {
        match self.intake.received(n) {
            Got::Request(request, buf) => self.begin(request, buf, out),
            // A payload is never refused half-way.
            _ => None,
        }
    }

    /// Takes in one request. Returns the number of bytes used, how it stands, and what the device
    /// is to do; to be called again while bytes are used or something is to be done.
    pub(super) fn take(
        &mut self,
        input: &[u8],
        out: &mut Outgoing,
    ) -> (usize, Taken, Option<Submit>) {
        let full = self.under_way >= self.max_requests || out.small_bytes() > MAX_SMALL;
        if full || self.resting {
            return (0, Taken::Blocked, None);
        }
        if let Some(request) = self.waiting.take() {
            let submit = self.begin(request, None, out);
            let taken = match self.waiting {
                Some(_) => Taken::Blocked,
                None => Taken::All,
            };
            return (0, taken, submit);
        }
        let (used, got) = self.intake.step(input, &self.chosen, &mut self.pool);
        let mut submit = None;
        let taken = match got {
            Got::Nothing => Taken::All,
            Got::NoRoom => Taken::Blocked,
            Got::Disconnect => Taken::Disconnect,
            Got::Lost => Taken::Lost,
            Got::Refused(error, cookie) => {
                self.error(error, cookie, None, "the request is not valid here", out);
                Taken::All
            }
            Got::Request(request, buf) => {
                submit = self.begin(request, buf, out);
                match self.waiting {
                    Some(_) => Taken::Blocked,
                    None => Taken::All,
                }
            }
        };
        (used, taken, submit)
    }

    fn begin(
        &mut self,
        request: Request,
        payload: Option<Buf>,
        out: &mut Outgoing,
    ) -> Option<Submit> {
        let (offset, length) = (request.offset, u64::from(request.length));
        let asked = match request.action {
            Action::Flush => DeviceRequest::flush(),
            Action::Status { one } => {
                self.block_status(&request, one, out);
                return None;
            }
            _ if length == 0 => {
                self.done(request.cookie, out);
                return None;
            }
            Action::Read | Action::Cache => {
                let length = match request.action {
                    Action::Cache => length.min(CACHE_RUN),
                    _ => length,
                };
                let Some(buf) = self.pool.take(length as usize) else {
                    self.waiting = Some(request);
                    return None;
                };
                self.share(DeviceRequest::read(offset, buf))
            }
            Action::Write { fua } => self.share(DeviceRequest::write(offset, payload?, fua)),
            Action::Trim { .. } => DeviceRequest::discard(offset, length),
            Action::Zeroes {
                fast: true, unmap, ..
            } if !extents::zeroes_fast(&self.export.device, unmap) => {
                let text = "zeroing is no faster than writing here";
                self.error(Errno::NotSup, request.cookie, None, text, out);
                return None;
            }
            Action::Zeroes { fua, unmap, .. } => {
                DeviceRequest::write_zeroes(offset, length, unmap, fua)
            }
        };
        let pending = Pending {
            request,
            flushing: false,
            cached: 0,
        };
        let slot = self.free.pop().unwrap_or(self.pending.len());
        if slot == self.pending.len() {
            self.pending.push(None);
        }
        self.pending[slot] = Some(pending);
        self.under_way += 1;
        Some(Submit {
            request: asked,
            token: slot as u64,
        })
    }

    fn share(&self, request: DeviceRequest) -> DeviceRequest {
        match self.under_way > 0 && request.len() >= ASIDE {
            true => request.aside(),
            false => request,
        }
    }

    /// The device has answered. What it is to do next for the same request, if anything.
    pub(super) fn answered(
        &mut self,
        completion: Completion,
        out: &mut Outgoing,
    ) -> Option<Submit> {
        let slot = usize::try_from(completion.token).ok()?;
        let mut pending = (*self.pending.get(slot)?)?;
        let Request {
            action,
            cookie,
            offset,
            length,
        } = pending.request;
        let flushed = completion.op == Op::Flush;
        let lost = match flushed {
            true => std::mem::replace(&mut self.told, self.export.device.lost()),
            false => self.told,
        } != self.told;
        if let Err(error) = &completion.result {
            let nbd = Errno::from_linux(error.kind.errno());
            self.error(nbd, cookie, Some(error.offset), &error.to_string(), out);
            self.end(slot, completion.buf);
            return None;
        }
        if lost {
            let text = "writes before this flush were lost: a flush of another client was told";
            self.error(Errno::Io, cookie, None, text, out);
            self.end(slot, completion.buf);
            return None;
        }
        let next = match (action, completion.buf) {
            (Action::Trim { fua: true }, None) if !pending.flushing => {
                pending.flushing = true;
                DeviceRequest::flush()
            }
            (Action::Cache, Some(mut buf))
                if pending.cached + completion.len < u64::from(length) =>
            {
                pending.cached += completion.len;
                let left = u64::from(length) - pending.cached;
                buf.set_len(left.min(CACHE_RUN) as usize);
                DeviceRequest::read(offset + pending.cached, buf)
            }
            (Action::Read, Some(buf)) => {
                self.data(&pending.request, buf, out);
                self.end(slot, None);
                return None;
            }
            (_, buf) => {
                self.done(cookie, out);
                self.end(slot, buf);
                return None;
            }
        };
        self.pending[slot] = Some(pending);
        Some(Submit {
            request: next,
            token: completion.token,
        })
    }

    fn end(&mut self, slot: usize, buf: Option<Buf>) {
        self.pending[slot] = None;
        self.free.push(slot);
        self.under_way -= 1;
        if let Some(buf) = buf {
            self.pool.give(buf);
        }
    }

    fn data(&self, request: &Request, buf: Buf, out: &mut Outgoing) {
        if self.chosen.structured {
            let length = 8 + request.length;
            out.bytes(&wire::chunk_header(
                chunk::DONE,
                chunk::OFFSET_DATA,
                request.cookie,
                length,
            ));
            out.bytes(&request.offset.to_be_bytes());
        } else {
            out.bytes(&wire::simple_reply(None, request.cookie));
        }
        out.data(buf);
    }

    /// Success without data. A read of nothing has to be a structured reply where these were
    /// agreed on; for the rest it may be one.
    fn done(&self, cookie: u64, out: &mut Outgoing) {
        if self.chosen.structured {
            out.bytes(&wire::chunk_header(chunk::DONE, chunk::NONE, cookie, 0));
        } else {
            out.bytes(&wire::simple_reply(None, cookie));
        }
    }

    fn error(&self, error: Errno, cookie: u64, at: Option<u64>, text: &str, out: &mut Outgoing) {
        if !self.chosen.structured {
            out.bytes(&wire::simple_reply(Some(error), cookie));
            return;
        }
        let mut cut = text.len().min(wire::MAX_STRING);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let text = &text.as_bytes()[..cut];
        let kind = match at {
            Some(_) => chunk::ERROR_OFFSET,
            None => chunk::ERROR,
        };
        let length = 6 + text.len() + if at.is_some() { 8 } else { 0 };
        let header = wire::chunk_header(chunk::DONE, kind, cookie, length as u32);
        out.bytes(&header);
        out.bytes(&(error as u32).to_be_bytes());
        out.bytes(&(text.len() as u16).to_be_bytes());
        out.bytes(text);
        if let Some(at) = at {
            out.bytes(&at.to_be_bytes());
        }
    }

    /// Asks the kernel about every piece of the files, in this thread, and so rests after it.
    fn block_status(&mut self, request: &Request, one: bool, out: &mut Outgoing) {
        self.resting = true;
        let max = if one { 1 } else { MAX_EXTENTS };
        let length = u64::from(request.length);
        let found = extents::extents(&self.export.device, request.offset, length, max);
        if found.is_empty() {
            // The device has shrunk since.
            let text = "beyond the end of the device";
            self.error(Errno::Invalid, request.cookie, None, text, out);
            return;
        }
        let bytes = 4 + 8 * found.len();
        out.bytes(&wire::chunk_header(
            chunk::DONE,
            chunk::BLOCK_STATUS,
            request.cookie,
            bytes as u32,
        ));
        out.bytes(&ALLOCATION_ID.to_be_bytes());
        for extent in found {
            let state = match extent.kind {
                Kind::Data => 0,
                Kind::Hole => allocation::HOLE | allocation::ZERO,
            };
            // No longer than the request, whose length has 32 bits.
            out.bytes(&(extent.len as u32).to_be_bytes());
            out.bytes(&state.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backing;
    use crate::device::Device;
    use crate::export::nbd::handshake::ExportInfo;
    use crate::sync::SyncDevice;
    use crate::table_text::{Resolve, parse};

    struct Memory(Arc<Backing>);

    impl Resolve for Memory {
        fn resolve(&mut self, _: &str) -> Result<Arc<Backing>, String> {
            Ok(Arc::clone(&self.0))
        }
    }

    fn session(device: &Arc<Device>) -> Session {
        let info = ExportInfo {
            description: String::new(),
            size: device.size(),
            read_only: false,
            min_block: 1,
            preferred_block: 4096,
            max_block: 1 << 20,
        };
        let chosen = Chosen {
            name: String::new(),
            info,
            structured: true,
            allocation: false,
        };
        let export = Export {
            device: Arc::clone(device),
            description: String::new(),
            read_only: false,
        };
        let limits = Limits::default();
        Session::new(chosen, Arc::new(export), &limits, Budget::new(limits.total))
    }

    /// Is the session's flush, which the device does without an error, answered so?
    fn flush_succeeds(session: &mut Session) -> bool {
        let request = Request {
            action: Action::Flush,
            cookie: 1,
            offset: 0,
            length: 0,
        };
        let mut out = Outgoing::default();
        let submit = session.begin(request, None, &mut out).expect("a flush");
        let completion = Completion {
            token: submit.token,
            op: Op::Flush,
            offset: 0,
            len: 0,
            result: Ok(()),
            buf: None,
        };
        assert!(session.answered(completion, &mut out).is_none());
        out.small_bytes() == wire::chunk_header(chunk::DONE, chunk::NONE, 1, 0).len()
    }

    #[test]
    fn lost_writes_are_told_to_every_client_that_may_have_made_them() {
        let memory = Arc::new(Backing::memory("m", 1 << 20, 512));
        let table = parse("0 8 linear m 0", &mut Memory(Arc::clone(&memory))).expect("table");
        let device = Device::with_table("d", table);
        let (mut one, mut other) = (session(&device), session(&device));
        assert!(flush_succeeds(&mut one) && flush_succeeds(&mut other));
        memory.flush_state().failed();
        let mut third = SyncDevice::new(Arc::clone(&device)).expect("sync");
        third.flush().expect_err("told by the device");
        for session in [&mut one, &mut other] {
            assert!(!flush_succeeds(session), "told of it");
            assert!(flush_succeeds(session), "once");
        }
        assert!(
            flush_succeeds(&mut session(&device)),
            "who came later lost nothing"
        );
    }
}
