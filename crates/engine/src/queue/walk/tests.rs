//! Over a driver that only counts, and ends operations when it is told to.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::backend::driver::{Driver, FileOp, FileOpKind, Happened, Interest};
use crate::backend::{Backing, OpenHow, Syncing};
use crate::buf::Buf;
use crate::device::Device;
use crate::io::{Completion, Request};
use crate::queue::{Cx, Event, Inbox, Mode, Task};
use crate::sync::SyncDevice;
use crate::table_text::{Resolve, parse};

/// Places in the driver.
const PLACES: usize = 128;

/// What a driver was asked, and how it answers.
#[derive(Default)]
struct Seen {
    under_way: VecDeque<(u64, FileOp)>,
    most: usize,
    kinds: Vec<FileOpKind>,
    /// Numbers of the operations that fail, in the order they were asked for.
    fails: Vec<usize>,
    ended: usize,
    /// A file whose operations never end.
    stuck: Option<Arc<OwnedFd>>,
}

/// Ends one operation at a time, the oldest first.
struct Slow(Rc<RefCell<Seen>>);

impl Driver for Slow {
    fn submit(&mut self, tag: u64, op: FileOp) -> Result<(), FileOp> {
        let mut seen = self.0.borrow_mut();
        if seen.under_way.len() >= PLACES {
            return Err(op);
        }
        seen.kinds.push(op.kind);
        seen.under_way.push_back((tag, op));
        seen.most = seen.most.max(seen.under_way.len());
        Ok(())
    }
    fn watch(&mut self, _: u64, _: &Arc<OwnedFd>, _: Interest) -> Result<(), Errno> {
        Ok(())
    }
    fn unwatch(&mut self, _: u64, _: &Arc<OwnedFd>) {}
    fn collect(&mut self, wait: Option<Duration>, happened: &mut Vec<Happened>) {
        let mut seen = self.0.borrow_mut();
        let ends = |(_, op): &(u64, FileOp)| {
            seen.stuck
                .as_ref()
                .is_none_or(|fd| !Arc::ptr_eq(fd, &op.fd))
        };
        let next = seen.under_way.iter().position(ends);
        if let Some((tag, op)) = next.and_then(|n| seen.under_way.remove(n)) {
            let fails = seen.fails.contains(&seen.ended);
            seen.ended += 1;
            let len = op
                .mem
                .as_ref()
                .map_or(op.len, |m| (m.len() - op.skip) as u64);
            happened.push(Happened::Done {
                tag,
                result: if fails { Err(Errno::IO) } else { Ok(len) },
                mem: op.mem,
            });
        } else if let Some(wait) = wait {
            std::thread::sleep(wait);
        }
    }
    fn room(&self) -> (usize, usize) {
        (PLACES, 8)
    }
    fn name(&self) -> &'static str {
        "slow"
    }
}

/// Makes all its requests at once and keeps the answers in their order.
struct Asks {
    device: Arc<Device>,
    requests: Vec<Request>,
    answers: Arc<Mutex<Vec<Completion>>>,
}

impl Task for Asks {
    fn start(&mut self, cx: &mut Cx<'_>) {
        for (n, request) in self.requests.drain(..).enumerate() {
            cx.submit(&self.device, request, n as u64);
        }
    }
    fn event(&mut self, _: &mut Cx<'_>, event: Event) {
        if let Event::Done(completion) = event {
            self.answers.lock().expect("one thread").push(completion);
        }
    }
}

struct Files(Vec<(String, Arc<Backing>)>);

impl Resolve for Files {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let found = self.0.iter().find(|(name, _)| name == word);
        found.map(|f| Arc::clone(&f.1)).ok_or_else(String::new)
    }
}

/// A file of 1 MiB, used through the page cache.
fn file(name: &str) -> (String, Arc<Backing>) {
    let file = tempfile::NamedTempFile::new().expect("tempfile");
    file.as_file().set_len(1 << 20).expect("set_len");
    let backing = Backing::open(file.path(), &OpenHow::default()).expect("open");
    if let Store::File(file) = backing.store() {
        // So that what is written at once is written here, and not by a driver that writes nothing.
        file.hints.nowait_write_unsupported();
    }
    (name.to_owned(), Arc::new(backing))
}

/// Two files of 1 MiB in stripes of one sector.
fn small_stripes() -> Arc<Device> {
    let mut files = Files(vec![file("a"), file("b")]);
    let table = parse("0 4096 striped 2 1 a 0 b 0", &mut files).expect("table");
    Device::with_table("d", table)
}

/// Makes the requests together; gives what the driver saw and the answers in their order.
fn run(device: &Arc<Device>, seen: Seen, requests: Vec<Request>) -> (Seen, Vec<Completion>) {
    run_each(vec![(device, requests)], seen)
}

fn run_each(asked: Vec<(&Arc<Device>, Vec<Request>)>, seen: Seen) -> (Seen, Vec<Completion>) {
    let seen = Rc::new(RefCell::new(seen));
    let inbox = Inbox::new().expect("inbox");
    let driver = Box::new(Slow(Rc::clone(&seen)));
    let mut core = Core::new(0, Mode::Shared, driver, inbox);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let expected: usize = asked.iter().map(|(_, requests)| requests.len()).sum();
    for (device, requests) in asked {
        core.spawn(Box::new(Asks {
            device: Arc::clone(device),
            requests,
            answers: Arc::clone(&answers),
        }));
    }
    core.run_until(|| answers.lock().expect("one thread").len() == expected);
    let answers = std::mem::take(&mut *answers.lock().expect("one thread"));
    (seen.take(), answers)
}

#[test]
fn a_huge_request_leaves_room_for_others() {
    let device = small_stripes();
    let huge = Request::read(0, Buf::zeroed(1 << 20)).aside();
    let small = Request::read(0, Buf::zeroed(512)).aside();
    let (seen, answers) = run(&device, Seen::default(), vec![huge, small]);
    assert_eq!(seen.kinds.len(), 2048 + 1, "each piece is read once");
    let most = WINDOW as usize..=WINDOW as usize + 15 + 1;
    assert!(most.contains(&seen.most), "{}", seen.most);
    let order: Vec<u64> = answers.iter().map(|a| a.token).collect();
    assert_eq!(
        order,
        [1, 0],
        "the small one does not wait for the huge one"
    );
    assert!(answers.iter().all(|a| a.result.is_ok()));
    assert_eq!(answers[1].buf.as_ref().map(|b| b.len()), Some(1 << 20));
}

#[test]
fn pieces_that_are_done_at_once_leave_room_for_others_too() {
    let device = small_stripes();
    let huge = Request::write(0, Buf::copy_of(&[7; 1 << 20]), false);
    let small = Request::write(1 << 20, Buf::copy_of(&[8; 1024]), false);
    let (_, answers) = run(&device, Seen::default(), vec![huge, small]);
    let order: Vec<u64> = answers.iter().map(|a| a.token).collect();
    assert_eq!(
        order,
        [1, 0],
        "the small one does not wait for the huge one"
    );
    let mut back = vec![0; (1 << 20) + 1024];
    let mut sync = SyncDevice::new(device).expect("sync");
    sync.read_at(0, &mut back).expect("read");
    assert!(back[..1 << 20].iter().all(|b| *b == 7));
    assert!(back[1 << 20..].iter().all(|b| *b == 8));
}

#[test]
fn a_durable_write_of_many_pieces_is_flushed_once_per_file() {
    let device = small_stripes();
    let write = Request::write(0, Buf::zeroed(1 << 20), true).aside();
    let (seen, answers) = run(&device, Seen::default(), vec![write]);
    let (writes, flushes) = seen.kinds.split_at(2048);
    let plain = FileOpKind::Write { dsync: false };
    assert!(
        writes.iter().all(|k| *k == plain),
        "none waits for the device"
    );
    assert_eq!(
        flushes,
        [FileOpKind::Sync; 2],
        "each file, after all writes"
    );
    assert!(answers[0].result.is_ok());
    // One on each file: no more is waited for than with flushes.
    let pair = Request::write(512, Buf::zeroed(1024), true).aside();
    let (seen, _) = run(&device, Seen::default(), vec![pair]);
    assert_eq!(seen.kinds, [FileOpKind::Write { dsync: true }; 2]);
    let three = Request::write(512, Buf::zeroed(1536), true).aside();
    let (seen, _) = run(&device, Seen::default(), vec![three]);
    let sync = FileOpKind::Sync;
    assert_eq!(seen.kinds, [plain, plain, plain, sync, sync]);
}

#[test]
fn a_durable_write_whose_flush_fails_has_failed_and_so_have_those_before_it() {
    let device = small_stripes();
    let broken = Seen {
        fails: vec![8, 9],
        ..Seen::default()
    };
    let write = Request::write(4096, Buf::zeroed(4096), true).aside();
    let (_, answers) = run(&device, broken, vec![write]);
    let error = answers[0].result.clone().expect_err("not durable");
    assert_eq!((error.kind, error.offset), (ErrorKind::Io, 4096));
    let flush = || run(&device, Seen::default(), vec![Request::flush()]).1;
    assert!(
        flush()[0].result.is_err(),
        "what was answered before is lost"
    );
    assert!(flush()[0].result.is_ok(), "told once");
}

#[test]
fn a_flush_reaches_each_file_of_many_segments_once() {
    let mut files = Files(vec![file("a")]);
    let lines = (0..2048).map(|n| format!("{n} 1 linear a {}\n", 2047 - n));
    let table = parse(&lines.collect::<String>(), &mut files).expect("table");
    let device = Device::with_table("d", table);
    let (seen, answers) = run(&device, Seen::default(), vec![Request::flush()]);
    assert_eq!(seen.kinds, [FileOpKind::Sync]);
    assert!(answers[0].result.is_ok());
}

#[test]
fn a_child_takes_no_more_memory_than_the_formula_says() {
    use super::super::leaf::LeafOp;
    let leaf = size_of::<LeafOp>() + size_of::<(Id, FileOp)>();
    let lower = size_of::<super::super::request::Active>();
    let largest = leaf + lower;
    assert!(largest <= 800, "{leaf} + {lower}");
}

#[test]
fn a_failed_flush_is_told_to_all_that_overlap_it() {
    let mut files = Files(vec![file("a")]);
    let mut device = || Device::with_table("d", parse("0 64 linear a 0", &mut files).expect("t"));
    let (one, other) = (device(), device());
    let broken = || Seen {
        fails: vec![1],
        ..Seen::default()
    };
    let clean = || {
        run_each(
            vec![
                (&one, vec![Request::flush()]),
                (&other, vec![Request::flush()]),
            ],
            Seen::default(),
        )
        .1
    };
    let failures = |answers: &[Completion]| -> Vec<bool> {
        answers.iter().map(|a| a.result.is_err()).collect()
    };
    // The kernel says that the first has succeeded, and then that the second has failed.
    let (_, answers) = run(&one, broken(), vec![Request::flush(), Request::flush()]);
    assert_eq!(
        failures(&answers),
        [true, true],
        "both may have lost something"
    );
    assert_eq!(one.lost(), 1, "one loss");
    let mut told = failures(&clean());
    told.sort_unstable();
    assert_eq!(
        told,
        [false, true],
        "the device beside it was not told before"
    );
    assert_eq!(failures(&clean()), [false, false], "told once");

    let both = vec![
        (&one, vec![Request::flush()]),
        (&other, vec![Request::flush()]),
    ];
    write(&one);
    let (seen, answers) = run_each(both, broken());
    assert_eq!(seen.kinds, [FileOpKind::Sync; 2]);
    assert_eq!(failures(&answers), [true, true], "whatever device it was");
    assert_eq!(failures(&clean()), [false, false], "told once");

    write(&one);
    let fua = Request::write(0, Buf::zeroed(512), true);
    let (_, answers) = run(&one, broken(), vec![fua, Request::flush()]);
    assert_eq!(
        failures(&answers),
        [true, true],
        "the page it wrote may be lost"
    );
}

#[test]
fn a_flush_is_not_skipped_for_one_that_may_yet_fail() {
    let mut files = Files(vec![file("a")]);
    let device = Device::with_table("d", parse("0 64 linear a 0", &mut files).expect("t"));
    let mut syncing = Syncing::begin(&files.0[0].1);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let asking = {
        let answers = Arc::clone(&answers);
        std::thread::spawn(move || {
            let mut sync = SyncDevice::new(device).expect("sync");
            for _ in 0..2 {
                let result = sync.flush();
                answers.lock().expect("lock").push(result.is_err());
            }
        })
    };
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while files.0[0].1.flush_state().waiting() == 0 {
        assert!(std::time::Instant::now() < end, "it does not wait");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(answers.lock().expect("lock").is_empty());
    assert!(files.0[0].1.flush_state().needed().is_some());
    syncing.end(Some(ErrorKind::NoSpace));
    asking.join().expect("no panic");
    assert_eq!(*answers.lock().expect("lock"), [true, false]);
}

fn write(device: &Arc<Device>) {
    let mut sync = SyncDevice::new(Arc::clone(device)).expect("sync");
    sync.write_at(0, &[1; 512]).expect("write");
}

#[test]
fn a_device_that_does_not_answer_leaves_places_to_others() {
    let mut files = Files(vec![file("a"), file("b")]);
    let mut device = |text| Device::with_table("d", parse(text, &mut files).expect("table"));
    let (hung, other) = (device("0 2048 linear a 0"), device("0 2048 linear b 0"));
    let Store::File(stuck) = files.0[0].1.store() else {
        unreachable!("a file");
    };
    let seen = Rc::new(RefCell::new(Seen {
        stuck: Some(Arc::clone(&stuck.fd)),
        ..Seen::default()
    }));
    let inbox = Inbox::new().expect("inbox");
    let mut core = Core::new(0, Mode::Shared, Box::new(Slow(Rc::clone(&seen))), inbox);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let read = |n: u64| Request::read(512 * n, Buf::zeroed(512)).aside();
    for (device, count) in [(&other, 200), (&hung, 1000)] {
        core.spawn(Box::new(Asks {
            device: Arc::clone(device),
            requests: (0..count).map(read).collect(),
            answers: Arc::clone(&answers),
        }));
    }
    let mut turns = 0;
    core.run_until(|| {
        turns += 1;
        assert!(turns < 10_000, "the other device waits for the hung one");
        answers.lock().expect("one thread").len() == 200
    });
    let seen = seen.borrow();
    assert_eq!(seen.under_way.len(), 96, "what the hung one has, at most");
}
