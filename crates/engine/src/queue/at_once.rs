//! The short way of a request that is done by the time its submission returns: reads that the page
//! cache has, and writes that go to it.
//!
//! Nothing is kept for such a request, no part of its memory is handed out, and its answer waits
//! with the other events. Only success is told here. Whatever is not plainly done (data that the
//! page cache does not have, an error, a target that wants more than its children) goes the long
//! way from its first byte: reads and writes may be repeated as long as they have not been answered.

use std::time::{Duration, Instant};

use super::core::{Core, Mode};
use super::inline::{Bytes, inline};
use super::task::{Event, TaskKey};
use crate::backend::Store;
use crate::backend::choice::{Route, route};
use crate::buf::Buf;
use crate::device::{Answered, Device};
use crate::io::{Completion, Op, SECTOR};
use crate::table::Table;
use crate::target::{Piece, Plan, Verdict};

/// What became of the short way.
pub(super) enum Outcome {
    /// All is done.
    Done,
    /// It was not tried, or is not for this request.
    NotTried,
    /// It was tried and not finished: to be given to the driver.
    Unfinished,
}

impl Core {
    /// Tries the short way for a request that the device's gate has let in with `table`.
    pub(super) fn at_once(&mut self, table: &Table, op: Op, offset: u64, buf: &mut Buf) -> Outcome {
        let plain = matches!(op, Op::Read | Op::Write { fua: false });
        if !plain || buf.is_empty() || self.mode != Mode::Shared || !table.may_be_cached() {
            return Outcome::NotTried;
        }
        let mut plan = std::mem::take(&mut self.plan);
        plan.clear();
        let outcome = match self.plan_whole(table, op, offset, buf.len() as u64, &mut plan) {
            true => carry_out(table, &plan, buf),
            false => Outcome::NotTried,
        };
        self.plan = plan;
        outcome
    }

    /// Maps a request that is a single piece; false if it is more, or not only its children.
    fn plan_whole(&self, table: &Table, op: Op, offset: u64, len: u64, plan: &mut Plan) -> bool {
        let Some(n) = table.find(offset) else {
            return false;
        };
        let segment = &table.segments()[n];
        let within = offset - segment.start.0 * SECTOR;
        let room = segment.len.0 * SECTOR - within;
        if len > room.min(segment.target.reach(op.kind(), within)) {
            return false;
        }
        let piece = Piece {
            op,
            offset: within,
            len,
        };
        segment.target.map(&piece, self.target_clock(), plan);
        let plain = plan.verdict == Verdict::Children && !plan.finish;
        plain && plan.delay == Duration::ZERO && covers(plan, op, len)
    }

    /// Answers a request that is done: `began` is when it was submitted.
    pub(super) fn answer_done(
        &mut self,
        task: TaskKey,
        device: &Device,
        began: Instant,
        completion: Completion,
    ) {
        let now = Instant::now();
        self.now = now;
        let answered = Answered {
            took: now.saturating_duration_since(began),
            ok: true,
        };
        device.leave(self.number(), completion.op, completion.len, now, answered);
        self.ready.push_back((task, Event::Done(completion)));
    }
}

/// Do the children move every byte of a piece of `len` bytes, in order?
fn covers(plan: &Plan, op: Op, len: u64) -> bool {
    let mut at = 0;
    for child in &plan.children {
        if child.op != op || child.at != at {
            return false;
        }
        at += child.len;
    }
    at == len
}

/// Does the children, whose bytes together are those of `buf`.
fn carry_out(table: &Table, plan: &Plan, buf: &mut Buf) -> Outcome {
    let mut rest: &mut [u8] = buf;
    let mut outcome = Outcome::NotTried;
    for child in &plan.children {
        let (part, behind) = std::mem::take(&mut rest).split_at_mut(child.len as usize);
        rest = behind;
        let backing = &table.slot(child.device).backing;
        let Store::File(file) = backing.store() else {
            return outcome;
        };
        let way = route(file, child.op);
        if way == Route::Driver || file.align != 1 || child.op.modifies() && backing.read_only() {
            return outcome;
        }
        let len = part.len() as u64;
        let bytes = match child.op {
            Op::Read => Bytes::Fill(part),
            _ => Bytes::From(part),
        };
        let done = inline(file, way, child.offset, bytes);
        if child.op.modifies() {
            backing.flush_state().wrote();
        }
        outcome = Outcome::Unfinished;
        if done != (len, None) {
            return outcome;
        }
    }
    Outcome::Done
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{Backing, OpenHow};
    use crate::io::Request;
    use crate::limits::Settings;
    use crate::queue::Engine;
    use crate::sync::Client;
    use crate::table_text::{Resolve, parse};
    use crate::target::{Child, DevIndex};

    #[test]
    fn only_a_plan_that_moves_every_byte_in_order_is_done_at_once() {
        let child = |at: u64, len: u64| Child {
            op: Op::Read,
            device: DevIndex(0),
            offset: 7 * at,
            len,
            at,
        };
        let plan = |children: &[Child]| Plan {
            children: children.to_vec(),
            ..Plan::default()
        };
        assert!(covers(
            &plan(&[child(0, 512), child(512, 8)]),
            Op::Read,
            520
        ));
        for wrong in [
            &[][..],
            &[child(0, 512)],
            &[child(512, 8), child(0, 512)],
            &[child(0, 512), child(520, 8)],
        ] {
            assert!(!covers(&plan(wrong), Op::Read, 520), "{wrong:?}");
        }
        let write = Op::Write { fua: false };
        assert!(!covers(&plan(&[child(0, 512)]), write, 512));
    }

    struct Files(Vec<(String, Arc<Backing>)>);

    impl Resolve for Files {
        fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
            let found = self.0.iter().find(|(name, _)| name == word);
            found.map(|f| Arc::clone(&f.1)).ok_or_else(String::new)
        }
    }

    #[test]
    fn the_short_way_and_the_way_aside_do_what_the_long_way_does() {
        let mut temporary = Vec::new();
        let mut files = Files(Vec::new());
        for name in ["a", "b"] {
            let file = tempfile::NamedTempFile::new().expect("tempfile");
            file.as_file().set_len(256 << 10).expect("set_len");
            let backing = Backing::open(file.path(), &OpenHow::default()).expect("open");
            files.0.push((name.into(), Arc::new(backing)));
            temporary.push(file);
        }
        let table = parse("0 1024 striped 2 8 a 0 b 0\n", &mut files).expect("table");
        let device = Device::with_table("d", table);
        let engine = Engine::start(&Settings::default()).expect("engine");
        let client = Client::new(&engine, Arc::clone(&device));
        let ask = |request: Request| client.request(request).expect("an answer");
        let unflushed = || -> Vec<bool> {
            let needed = |f: &(String, Arc<Backing>)| f.1.flush_state().needed().is_some();
            files.0.iter().map(needed).collect()
        };
        let data: Vec<u8> = (0..128_u32 << 10).map(|n| (n / 512 + n) as u8).collect();
        let ways: [fn(Request) -> Request; 2] = [|request| request, Request::aside];
        for (round, way) in ways.into_iter().enumerate() {
            assert!(ask(Request::flush()).result.is_ok());
            assert_eq!(unflushed(), [false, false]);
            // From the middle of a chunk on the first file, to the middle of one on the second.
            let at = (round as u64) << 18 | 512;
            assert!(
                ask(way(Request::write(at, Buf::copy_of(&data), false)))
                    .result
                    .is_ok()
            );
            assert_eq!(unflushed(), [true, true], "a flush has to cover the write");
            for way in ways {
                let read = ask(way(Request::read(at, Buf::zeroed(data.len()))));
                assert!(read.result.is_ok() && read.buf.as_deref() == Some(&data[..]));
            }
        }
        let stats = device.stats();
        assert_eq!(
            (stats.writes.ios, stats.reads.ios),
            (2, 4),
            "each is counted once"
        );
        assert_eq!((stats.in_flight, stats.errors), (0, 0));

        temporary[1].as_file().set_len(4096).expect("set_len");
        for way in ways {
            let read = ask(way(Request::read(0, Buf::zeroed(64 << 10))));
            let error = read.result.expect_err("the second file has one chunk left");
            assert_eq!((&error.device, error.sector), (files.0[1].1.name(), 8));
            assert_eq!(
                (error.offset, read.buf.map(|b| b.len())),
                (3 * 4096, Some(64 << 10))
            );
        }
        assert_eq!((device.stats().errors, device.in_flight()), (2, 0));
    }
}
