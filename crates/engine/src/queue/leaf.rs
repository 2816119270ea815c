//! One operation on a backing device, from its first system call to its last.
//!
//! Most are one call. More are needed after a short count, where the kernel cannot zero or write
//! durably, and where O_DIRECT needs whole blocks: then the blocks around a request are read,
//! changed and written back while no other write to the file is under way.

use std::sync::Arc;

use rustix::io::Errno;

use super::core::{Core, Mode};
use super::inbox::Waiting;
use super::inline::{Bytes, inline};
use super::request::{By, ChildOf};
use super::shares::{Key, key};
use super::slab::Id;
use crate::backend::choice::{Route, room, route};
use crate::backend::driver::{FileOp, FileOpKind, perform};
use crate::backend::gate::Pass;
use crate::backend::{Backing, FileStore, Store, Syncing};
use crate::buf::{Buf, Lent, Slice};
use crate::error::{ErrorKind, IoError};
use crate::io::{Op, SECTOR};

/// Zeroes are written in runs of this many bytes.
const ZERO_RUN: u64 = 1 << 20;

/// An operation on a file.
#[derive(Debug)]
pub(super) struct LeafOp {
    of: ChildOf,
    backing: Arc<Backing>,
    op: Op,
    /// On the backing device.
    offset: u64,
    len: u64,
    mem: Option<Slice>,
    /// Bytes finished.
    done: u64,
    stage: Stage,
    /// Reads are for another thread, even where the driver could do them in this one.
    aside: bool,
    /// How it was let in at the file's gate.
    pass: Option<Pass>,
    /// RWF_DSYNC does not work here, or was not used: an fdatasync must follow.
    sync_after: bool,
    /// Of flushes and durable writes.
    syncing: Option<Syncing>,
    /// What its call takes up.
    share: Option<Key>,
}

#[derive(Debug)]
enum Stage {
    /// Not begun.
    New,
    /// Between the file and the request's own memory, or from zeroes.
    Data,
    /// Reading whole blocks around the request, `skip` bytes done.
    ReadAround(Around),
    /// Writing whole blocks back.
    WriteAround(Around),
    /// The kernel is asked to zero or to give back.
    Free,
    /// fdatasync; the mark is for the flush state.
    Sync(Option<u64>),
}

#[derive(Debug)]
struct Around {
    /// On the file.
    start: u64,
    len: u64,
    skip: u64,
    /// Bytes of the request that this covers.
    covers: u64,
    lent: Lent,
}

/// What comes after a step.
enum Next {
    Call(FileOp),
    /// Done; an error with the byte on the backing device where it happened.
    End(Result<(), (ErrorKind, u64)>),
}

fn failed(kind: ErrorKind, at: u64) -> Next {
    Next::End(Err((kind, at)))
}

impl Core {
    /// Begins an operation on a file or memory.
    pub(super) fn begin_leaf(
        &mut self,
        of: ChildOf,
        backing: &Arc<Backing>,
        op: Op,
        offset: u64,
        len: u64,
        mut mem: Option<Slice>,
    ) {
        let file = match backing.store() {
            Store::File(file) => file,
            Store::Mem(store) => {
                let ok = match (op, mem.as_mut()) {
                    (Op::Read, Some(mem)) => store.read(offset, mem),
                    (Op::Write { .. }, Some(mem)) => store.write(offset, mem),
                    (Op::WriteZeroes { .. } | Op::Discard, _) => store.zero(offset, len),
                    _ => true,
                };
                let kind = ErrorKind::Io;
                let result = if ok { Ok(()) } else { Err((kind, offset)) };
                return self.leaf_answer(of, backing, op, offset, result, mem);
            }
            Store::Device(_) => return,
        };
        let by = self.by(of.request);
        let way = match self.mode {
            Mode::Alone => Route::Inline,
            Mode::Shared if by != By::Any => Route::Driver,
            Mode::Shared => route(file, op),
        };
        let mut done = 0;
        if way != Route::Driver
            && file.align == 1
            && !op.fua()
            && let Some(bytes) = mem.as_mut().and_then(|mem| bytes_of(op, mem))
        {
            match inline(file, way, offset, bytes) {
                (n, None) if n < len => done = n,
                (n, failed) => {
                    let kind = |e: Errno| (file.kind_of(e, offset + len), offset + n);
                    let result = failed.map(kind).map_or(Ok(()), Err);
                    return self.leaf_answer(of, backing, op, offset, result, mem);
                }
            }
        }
        let id = self.leaves.insert(LeafOp {
            of,
            backing: Arc::clone(backing),
            op,
            offset,
            len,
            mem,
            done,
            stage: Stage::New,
            aside: by == By::Other && !file.direct && file.hints.warm(),
            pass: None,
            sync_after: false,
            syncing: None,
            share: None,
        });
        self.leaf_pass(id);
    }

    /// Goes through the file's gate if need be, then on.
    fn leaf_pass(&mut self, id: Id) {
        let Some(leaf) = self.leaves.get_mut(id) else {
            return;
        };
        leaf.pass = leaf.needed_pass();
        let (backing, pass) = (Arc::clone(&leaf.backing), leaf.pass);
        if let (Store::File(file), Some(pass)) = (backing.store(), pass)
            && !file.gate.enter(pass, || self.wake(Waiting::Leaf(id)))
        {
            return;
        }
        self.leaf_admitted(id);
    }

    /// The file's gate has let the operation in.
    pub(super) fn leaf_admitted(&mut self, id: Id) {
        let zeroes = zeroes(&mut self.zeroes);
        if let Some(leaf) = self.leaves.get_mut(id) {
            let next = leaf.first(zeroes);
            self.leaf_next(id, next);
        }
    }

    /// A call has ended.
    pub(super) fn leaf_done(&mut self, id: Id, result: Result<u64, Errno>, mem: Option<Slice>) {
        let zeroes = zeroes(&mut self.zeroes);
        if let Some(leaf) = self.leaves.get_mut(id) {
            let next = leaf.step(result, mem, zeroes);
            self.leaf_next(id, next);
        }
    }

    fn leaf_next(&mut self, id: Id, mut next: Next) {
        loop {
            match next {
                Next::End(result) => return self.leaf_called(id, result),
                Next::Call(op) if self.mode == Mode::Shared => {
                    if let Some(leaf) = self.leaves.get_mut(id) {
                        leaf.share = Some(key(&op));
                    }
                    return self.submit_file(id, op);
                }
                Next::Call(mut op) => {
                    let result = perform(&mut op);
                    let zeroes = zeroes(&mut self.zeroes);
                    let Some(leaf) = self.leaves.get_mut(id) else {
                        return;
                    };
                    next = leaf.step(result, op.mem.take(), zeroes);
                }
            }
        }
    }

    /// All calls have ended.
    fn leaf_called(&mut self, id: Id, result: Result<(), (ErrorKind, u64)>) {
        let Some(leaf) = self.leaves.get_mut(id) else {
            return;
        };
        let (mut direct, pass) = (false, leaf.pass.take());
        if let Store::File(file) = leaf.backing.store() {
            direct = file.direct;
            pass.into_iter().for_each(|pass| file.gate.leave(pass));
        }
        let Some(mut syncing) = leaf.syncing.take() else {
            return self.leaf_end(id, result);
        };
        // A durable write past the page cache has its own errors.
        if result.is_err() || direct && leaf.op != Op::Flush {
            syncing.end(result.err().map(|(kind, _)| kind));
            return self.leaf_end(id, result);
        }
        let wake = self.wake(Waiting::Overlapped(id));
        let ended = syncing.succeeded(Box::new(|| wake.wake()));
        if let Some(leaf) = self.leaves.get_mut(id) {
            leaf.syncing = Some(syncing);
        }
        if ended {
            self.leaf_overlapped(id);
        }
    }

    /// The flushes and durable writes that overlapped this one have ended too.
    pub(super) fn leaf_overlapped(&mut self, id: Id) {
        let Some(leaf) = self.leaves.get(id) else {
            return;
        };
        let failure = leaf.syncing.as_ref().and_then(Syncing::overlapped);
        let result = failure.map_or(Ok(()), |kind| Err((kind, leaf.offset)));
        self.leaf_end(id, result);
    }

    fn leaf_end(&mut self, id: Id, result: Result<(), (ErrorKind, u64)>) {
        let Some(leaf) = self.leaves.remove(id) else {
            return;
        };
        if let (Ok(()), Op::Flush, Stage::Sync(Some(mark))) = (&result, leaf.op, &leaf.stage) {
            leaf.backing.flush_state().done(*mark);
        }
        let LeafOp {
            of,
            backing,
            op,
            offset,
            mem,
            ..
        } = leaf;
        self.leaf_answer(of, &backing, op, offset, result, mem);
    }

    fn leaf_answer(
        &mut self,
        of: ChildOf,
        backing: &Arc<Backing>,
        op: Op,
        offset: u64,
        result: Result<(), (ErrorKind, u64)>,
        mem: Option<Slice>,
    ) {
        // Even a write that failed may have changed something.
        if op.modifies() && !(op.fua() && result.is_ok()) {
            backing.flush_state().wrote();
        }
        let result = result.map_err(|(kind, at)| IoError {
            kind,
            op: op.kind(),
            device: Arc::clone(backing.name()),
            sector: at / SECTOR,
            offset: of.logical + (at - offset),
        });
        self.child_done(of, result, mem);
    }
}

/// The memory of a read or write. None if a read's may not be filled, which fails further on.
fn bytes_of(op: Op, mem: &mut Slice) -> Option<Bytes<'_>> {
    match op {
        Op::Read => mem.bytes_mut().map(Bytes::Fill),
        _ => Some(Bytes::From(mem.bytes())),
    }
}

/// The part of zeroed memory that zeroes are written from.
fn zeroes(kept: &mut Option<Lent>) -> &mut Lent {
    kept.get_or_insert_with(|| Buf::zeroed(ZERO_RUN as usize).lend_to_read())
}

impl LeafOp {
    fn file(&self) -> Option<&FileStore> {
        match self.backing.store() {
            Store::File(file) => Some(file),
            Store::Mem(_) | Store::Device(_) => None,
        }
    }

    /// What its call took up, which has ended.
    pub(super) fn take_share(&mut self) -> Option<Key> {
        self.share.take()
    }

    fn kind_of(&self, e: Errno) -> ErrorKind {
        match self.file() {
            Some(file) => file.kind_of(e, self.offset + self.len),
            None => ErrorKind::from_errno(e.raw_os_error()),
        }
    }

    /// What must be let in at the gate: changes to files that need whole blocks.
    fn needed_pass(&self) -> Option<Pass> {
        let file = self.file().filter(|f| f.align > 1)?;
        let start = file.start + self.offset;
        let whole = start % file.align == 0 && self.len % file.align == 0;
        self.op.modifies().then_some(match whole {
            true => Pass::Shared,
            false => Pass::Alone,
        })
    }

    fn first(&mut self, zeroes: &mut Lent) -> Next {
        if self.op.fua() {
            // A failure may be one of others' writes before it.
            self.syncing = Some(Syncing::begin(&self.backing));
        }
        match self.op {
            Op::Read | Op::Write { .. } => self.part(zeroes),
            Op::Flush => match self.backing.flush_state().needed() {
                None => Next::End(Ok(())),
                mark => {
                    self.syncing = Some(Syncing::begin(&self.backing));
                    self.sync(mark)
                }
            },
            Op::Discard | Op::WriteZeroes { unmap: true, .. } => self.free(FileOpKind::Punch),
            Op::WriteZeroes { unmap: false, .. } => self.free(FileOpKind::Zero),
        }
    }

    fn call(&self, kind: FileOpKind, offset: u64, len: u64, mem: Option<(Slice, u64)>) -> Next {
        let Some(file) = self.file() else {
            return failed(ErrorKind::Invalid, self.offset);
        };
        let (mem, skip) = mem.map_or((None, 0), |(mem, skip)| (Some(mem), skip));
        Next::Call(FileOp {
            fd: Arc::clone(&file.fd),
            kind,
            offset,
            len,
            mem,
            skip: skip as usize,
            aside: self.aside,
            room: room(file, kind),
        })
    }

    fn sync(&mut self, mark: Option<u64>) -> Next {
        self.stage = Stage::Sync(mark);
        self.call(FileOpKind::Sync, 0, 0, None)
    }

    fn free(&mut self, kind: FileOpKind) -> Next {
        self.stage = Stage::Free;
        let start = self.file().map_or(0, |f| f.start);
        self.call(kind, start + self.offset, self.len, None)
    }

    fn write_kind(&self) -> FileOpKind {
        FileOpKind::Write {
            dsync: self.op.fua() && !self.sync_after,
        }
    }

    /// Begins the next part: what is left of a read or write, or the next run of zeroes.
    fn part(&mut self, zeroes: &mut Lent) -> Next {
        let left = self.len - self.done;
        if left == 0 {
            return match self.sync_after && self.op.fua() {
                true => self.sync(None),
                false => Next::End(Ok(())),
            };
        }
        let at = self.offset + self.done;
        let zeroing = matches!(self.op, Op::WriteZeroes { .. });
        let (mem, skip) = match zeroing {
            true => (zeroes.slice(0, left.min(ZERO_RUN)), 0),
            false => (self.mem.take(), self.done),
        };
        let (Some(mem), Some(file)) = (mem, self.file()) else {
            return failed(ErrorKind::Invalid, at);
        };
        let len = mem.len() as u64 - skip;
        let start = file.start + at;
        let whole = start % file.align == 0 && len % file.align == 0;
        if !whole || !mem.aligned(file.mem_align) || skip % file.mem_align != 0 {
            return self.around(start, len, whole, mem);
        }
        self.stage = Stage::Data;
        match self.op {
            Op::Read => self.call(FileOpKind::Read, start, len, Some((mem, skip))),
            _ => self.call(self.write_kind(), start, len, Some((mem, skip))),
        }
    }

    /// A part that O_DIRECT cannot take as it is: over memory of our own, in whole blocks.
    fn around(&mut self, start: u64, len: u64, whole: bool, mem: Slice) -> Next {
        let align = self.file().map_or(1, |f| f.align);
        let first = start - start % align;
        let end = (start + len).next_multiple_of(align);
        let around = Around {
            start: first,
            len: end - first,
            skip: 0,
            covers: len,
            lent: Buf::zeroed((end - first) as usize).lend_to_fill(),
        };
        // Zeroes need not be kept: new memory is zero.
        if !matches!(self.op, Op::WriteZeroes { .. }) {
            self.mem = Some(mem);
        }
        if whole && self.op.modifies() {
            return self.change(around);
        }
        self.read_around(around)
    }

    fn read_around(&mut self, mut around: Around) -> Next {
        let Some(mem) = around.lent.whole() else {
            return failed(ErrorKind::Invalid, self.offset);
        };
        let (at, skip) = (around.start + around.skip, around.skip);
        let len = around.len - skip;
        self.stage = Stage::ReadAround(around);
        self.call(FileOpKind::Read, at, len, Some((mem, skip)))
    }

    /// The blocks have been read: hands the data out, or changes them and writes them back.
    fn change(&mut self, around: Around) -> Next {
        let at = self.offset + self.done;
        let start = self.file().map_or(0, |f| f.start) + at;
        let Ok(mut buf) = around.lent.reclaim() else {
            return failed(ErrorKind::Invalid, at);
        };
        let from = (start - around.start) as usize;
        let Some(blocks) = buf.get_mut(from..from + around.covers as usize) else {
            return failed(ErrorKind::Invalid, at);
        };
        let done = self.done as usize;
        match (self.op, &mut self.mem) {
            (Op::Read, Some(mem)) => {
                let Some(bytes) = mem.bytes_mut().and_then(|b| b.get_mut(done..)) else {
                    return failed(ErrorKind::Invalid, at);
                };
                bytes.copy_from_slice(blocks);
                return Next::End(Ok(()));
            }
            (Op::Write { .. }, Some(mem)) => blocks.copy_from_slice(&mem.bytes()[done..]),
            _ => blocks.fill(0),
        }
        self.write_around(Around {
            skip: 0,
            lent: buf.lend_to_read(),
            ..around
        })
    }

    fn write_around(&mut self, mut around: Around) -> Next {
        let Some(mem) = around.lent.whole() else {
            return failed(ErrorKind::Invalid, self.offset);
        };
        let (at, skip) = (around.start + around.skip, around.skip);
        let len = around.len - skip;
        self.stage = Stage::WriteAround(around);
        self.call(self.write_kind(), at, len, Some((mem, skip)))
    }

    /// A call has ended: what is next?
    fn step(&mut self, result: Result<u64, Errno>, mem: Option<Slice>, zeroes: &mut Lent) -> Next {
        let stage = std::mem::replace(&mut self.stage, Stage::New);
        let again = matches!(result, Err(Errno::INTR | Errno::AGAIN));
        let writes = matches!(stage, Stage::Data | Stage::WriteAround(_)) && self.op.modifies();
        let no_dsync =
            writes && self.op.fua() && !self.sync_after && matches!(result, Err(Errno::OPNOTSUPP));
        self.sync_after |= no_dsync;
        let result = if again || no_dsync {
            Ok(0)
        } else {
            result.and_then(some(&stage))
        };
        let at = self.offset + self.done;
        match (stage, result) {
            (Stage::Sync(mark), Ok(_)) if again => self.sync(mark),
            (Stage::Sync(mark), Ok(_)) => {
                self.stage = Stage::Sync(mark);
                Next::End(Ok(()))
            }
            (Stage::Free, result) => self.freed(again, result, zeroes),
            (_, Err(e)) => {
                self.mem = self.mem.take().or(mem);
                failed(self.kind_of(e), at)
            }
            (Stage::New, _) => failed(ErrorKind::Invalid, at),
            (Stage::Data, Ok(n)) => {
                if !matches!(self.op, Op::WriteZeroes { .. }) {
                    self.mem = mem;
                }
                self.done = (self.done + n).min(self.len);
                self.part(zeroes)
            }
            (Stage::ReadAround(around), Ok(n)) => {
                drop(mem);
                let skip = (around.skip + n).min(around.len);
                let around = Around { skip, ..around };
                match skip == around.len {
                    true => self.change(around),
                    false => self.read_around(around),
                }
            }
            (Stage::WriteAround(around), Ok(n)) => {
                drop(mem);
                let skip = (around.skip + n).min(around.len);
                if skip < around.len {
                    return self.write_around(Around { skip, ..around });
                }
                self.done += around.covers;
                self.part(zeroes)
            }
        }
    }

    /// The kernel has zeroed, or cannot.
    fn freed(&mut self, again: bool, result: Result<u64, Errno>, zeroes: &mut Lent) -> Next {
        self.sync_after = true;
        match result {
            Ok(_) if again => self.first(zeroes),
            Ok(_) => {
                self.done = self.len;
                self.part(zeroes)
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => {
                if self.op == Op::Discard {
                    return Next::End(Ok(()));
                }
                self.sync_after = false;
                self.part(zeroes)
            }
            Err(e) => failed(self.kind_of(e), self.offset),
        }
    }
}

/// No bytes at all where there should be some: the device has become shorter.
fn some(stage: &Stage) -> impl Fn(u64) -> Result<u64, Errno> + use<> {
    let moves = !matches!(stage, Stage::Free | Stage::Sync(_));
    move |n| match n {
        0 if moves => Err(Errno::IO),
        n => Ok(n),
    }
}
