//! Errors arrive where they belong, with kind, device and sector; the gate loses nothing; flushes
//! reach what was written; statistics count what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ulvm_engine::backend::{Backing, OpenHow};
use ulvm_engine::buf::Buf;
use ulvm_engine::device::Device;
use ulvm_engine::error::ErrorKind;
use ulvm_engine::event::{EventLog, What};
use ulvm_engine::io::Request;
use ulvm_engine::limits::{DriverChoice, Settings};
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::{Client, SyncDevice};
use ulvm_engine::table::Table;
use ulvm_engine::table_text::{OpenPaths, Resolve, parse};

struct Named(Vec<(&'static str, Arc<Backing>)>);

impl Resolve for Named {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let found = self.0.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, b)| Arc::clone(b))
            .ok_or_else(|| format!("no device {word}"))
    }
}

fn memory(text: &str) -> Table {
    let mem = |name| (name, Arc::new(Backing::memory(name, 1 << 20, 512)));
    parse(text, &mut Named(vec![mem("a"), mem("b")])).expect("a good table")
}

fn alone(device: &Arc<Device>) -> SyncDevice {
    SyncDevice::new(Arc::clone(device)).expect("sync")
}

fn engines() -> Vec<Engine> {
    [DriverChoice::Pool, DriverChoice::Uring]
        .map(|driver| {
            let settings = Settings {
                driver,
                queues: 1,
                ..Settings::default()
            };
            Engine::start(&settings).expect("an engine")
        })
        .into()
}

#[test]
fn only_the_range_that_fails_fails() {
    let text = "0 16 linear a 0\n16 8 error\n24 16 linear b 0\n";
    let device = Device::with_table("vol", memory(text));
    let mut d = alone(&device);
    let mut buf = vec![1; 16 * 512];
    d.write_at(0, &buf).expect("before");
    d.write_at(24 * 512, &buf).expect("behind");
    let e = d.read_at(10 * 512, &mut buf).expect_err("into the hole");
    assert_eq!((e.kind, e.sector, e.offset), (ErrorKind::Io, 16, 16 * 512));
    assert_eq!(&*e.device, "vol");
    assert_eq!(e.to_string(), "vol: read at sector 16: input/output error");
    d.read_at(24 * 512, &mut buf).expect("behind");
    let past = d
        .read_at(39 * 512, &mut [0; 1024])
        .expect_err("beyond the end");
    assert_eq!(past.kind, ErrorKind::Invalid);
    let log = device.log().since(0, Duration::ZERO);
    assert_eq!(log.len(), 2);
    assert!(matches!(&log[0].what, What::Failed(e) if e.sector == 16));
    assert_eq!(device.stats().errors, 2);
}

#[test]
fn a_file_that_became_shorter_is_an_error_at_the_right_sector() {
    let file = tempfile::NamedTempFile::new().expect("tempfile");
    file.as_file().set_len(64 * 512).expect("set_len");
    let path = file.path().display().to_string();
    let mut paths = OpenPaths::new(OpenHow::default());
    let table = parse(&format!("0 32 linear {path} 32"), &mut paths).expect("table");
    let device = Device::with_table("vol", table);
    file.as_file().set_len(40 * 512).expect("truncate");
    let e = alone(&device)
        .read_at(0, &mut [0; 32 * 512])
        .expect_err("short");
    assert_eq!((e.kind, e.sector, e.offset), (ErrorKind::Io, 40, 8 * 512));
    assert_eq!(*e.device, *path);
    for engine in engines() {
        let client = Client::new(&engine, Arc::clone(&device));
        let ask = |at| {
            client
                .request(Request::read(at, Buf::zeroed(4096)))
                .expect("runs")
        };
        assert_eq!(ask(0).result, Ok(()), "{}", engine.driver());
        let e = ask(4096).result.expect_err("beyond the end of the file");
        assert_eq!(
            (e.kind, e.sector),
            (ErrorKind::Io, 40),
            "{}",
            engine.driver()
        );
    }
}

#[test]
fn a_read_only_device_is_not_written() {
    let device = Device::with_table("vol", memory("0 16 linear a 0"));
    device.set_read_only(true);
    let mut d = alone(&device);
    let e = d.write_at(0, &[1; 512]).expect_err("read-only");
    assert_eq!(e.kind, ErrorKind::ReadOnly);
    assert_eq!(
        d.write_zeroes(0, 512).expect_err("read-only").kind,
        ErrorKind::ReadOnly
    );
    d.read_at(0, &mut [0; 512]).expect("reading is allowed");
    d.flush().expect("nothing to flush");
}

#[test]
fn flakey_is_up_then_down() {
    let down = Device::with_table("vol", memory("0 16 flakey a 0 0 1"));
    let mut d = alone(&down);
    assert_eq!(
        d.read_at(0, &mut [0; 512]).expect_err("down").kind,
        ErrorKind::Io
    );
    assert_eq!(
        d.write_at(0, &[1; 512]).expect_err("down").kind,
        ErrorKind::Io
    );
    let drops = Device::with_table("vol", memory("0 16 flakey a 0 0 1 1 drop_writes"));
    let mut d = alone(&drops);
    d.write_at(0, &[1; 512]).expect("answered");
    let mut buf = [9; 512];
    d.read_at(0, &mut buf).expect("reads work");
    assert_eq!(buf, [0; 512], "the write was dropped");
    let text = "0 16 flakey a 0 0 1 5 corrupt_bio_byte 3 r 77 0";
    let corrupts = Device::with_table("vol", memory(text));
    let mut d = alone(&corrupts);
    d.read_at(0, &mut buf).expect("reads work");
    assert_eq!((buf[1], buf[2], buf[3]), (0, 77, 0));
    let up = Device::with_table("vol", memory("0 16 flakey a 0 3600 1"));
    alone(&up).write_at(0, &[1; 512]).expect("up");
}

#[test]
fn a_request_over_delayed_and_prompt_segments_reads_both() {
    let text = "0 8 delay a 0 30\n8 8 linear b 0\n16 8 delay a 8 1\n";
    let mut d = alone(&Device::with_table("vol", memory(text)));
    let data: Vec<u8> = (0..24 * 512_u32).map(|n| (n / 512 + 1) as u8).collect();
    d.write_at(0, &data).expect("write");
    let mut back = vec![0; data.len()];
    d.read_at(0, &mut back).expect("read");
    assert!(back == data);
}

#[test]
fn delay_delays_its_own_class_only() {
    for engine in engines() {
        let device = Device::with_table("vol", memory("0 16 delay a 0 0 a 0 60"));
        let client = Client::new(&engine, device);
        let took = |request| {
            let began = Instant::now();
            client
                .request(request)
                .expect("runs")
                .result
                .expect("works");
            began.elapsed()
        };
        let write = took(Request::write(0, Buf::copy_of(&[5; 512]), false));
        assert!(write >= Duration::from_millis(60), "{write:?}");
        let read = took(Request::read(0, Buf::zeroed(512)));
        assert!(read < Duration::from_millis(60), "{read:?}");
    }
}

#[test]
fn a_swap_under_load_loses_and_fails_nothing() {
    for engine in engines() {
        let device = Device::new("vol", "", Arc::default());
        device.load(memory("0 2048 delay a 0 1")).expect("load");
        assert!(device.suspended());
        let client = Client::new(&engine, Arc::clone(&device));
        // Made before there is a live table: waits at the gate.
        let early = client.begin(Request::read(0, Buf::zeroed(512)));
        device.resume(Duration::from_secs(5)).expect("first table");
        assert_eq!(early.recv().expect("answered").result, Ok(()));
        for round in 0..20u64 {
            let flying: Vec<_> = (0..16)
                .map(|n| client.begin(Request::write(n * 512, Buf::copy_of(&[7; 512]), false)))
                .collect();
            let text = if round % 2 == 0 {
                "0 1024 linear b 0"
            } else {
                "0 2048 delay a 0 1"
            };
            device.load(memory(text)).expect("load");
            device.resume(Duration::from_secs(5)).expect("swap");
            for answer in flying {
                assert_eq!(answer.recv().expect("answered").result, Ok(()));
            }
        }
        assert_eq!(device.in_flight(), 0);
        assert_eq!(device.size(), 2048 * 512);
        // Each swap tells of suspension, swap and resumption; the first had no suspension.
        let told = device.log().since(0, Duration::ZERO);
        assert_eq!(told.len(), 2 + 20 * 3);
        // None of it was raised by a target.
        assert_eq!(device.event_count(), 0);
    }
}

#[test]
fn suspend_waits_for_what_is_in_flight_and_gives_up_in_time() {
    let engine = engines().remove(0);
    let device = Device::with_table("vol", memory("0 16 delay a 0 150"));
    let client = Client::new(&engine, Arc::clone(&device));
    let answer = client.begin(Request::read(0, Buf::zeroed(512)));
    while device.in_flight() == 0 {
        std::thread::yield_now();
    }
    device
        .suspend(true, Duration::from_millis(20))
        .expect_err("too early");
    assert!(!device.suspended(), "open again");
    device
        .suspend(true, Duration::from_secs(5))
        .expect("waited");
    assert_eq!(device.in_flight(), 0);
    assert_eq!(answer.recv().expect("answered").result, Ok(()));
    let parked = client.begin(Request::read(0, Buf::zeroed(512)));
    assert!(
        parked.recv_timeout(Duration::from_millis(50)).is_err(),
        "the gate is shut"
    );
    device.resume(Duration::ZERO).expect("resume");
    assert_eq!(parked.recv().expect("answered").result, Ok(()));
}

#[test]
fn devices_lie_on_devices_but_not_on_themselves() {
    let lower = Device::with_table("lower", memory("0 8 linear a 8\n8 8 error\n"));
    let over = |d: &Arc<Device>, text: &str| {
        let backing = Arc::new(Backing::device(Arc::clone(d)));
        parse(text, &mut Named(vec![("l", backing)])).expect("table")
    };
    let upper = Device::with_table("upper", over(&lower, "0 12 linear l 2"));
    let mut d = alone(&upper);
    d.write_at(0, &[3; 512]).expect("reaches a");
    let mut buf = [0; 512];
    alone(&lower).read_at(2 * 512, &mut buf).expect("lower");
    assert_eq!(buf, [3; 512]);
    let e = d
        .read_at(5 * 512, &mut [0; 1024])
        .expect_err("the lower hole");
    assert_eq!((&*e.device, e.sector, e.offset), ("lower", 8, 6 * 512));
    assert!(
        lower.load(over(&upper, "0 8 linear l 0")).is_err(),
        "a loop"
    );
    d.flush().expect("down to memory");
}

#[test]
fn statistics_are_those_of_diskstats() {
    let log = Arc::new(EventLog::default());
    let device = Device::new("vol", "", log);
    device
        .load(memory("0 64 striped 2 8 a 0 b 0"))
        .expect("load");
    device.resume(Duration::ZERO).expect("resume");
    let mut d = alone(&device);
    d.write_at(0, &[1; 64 * 512]).expect("write");
    d.read_at(0, &mut [0; 512]).expect("read");
    d.read_at(512, &mut [0; 1024]).expect("read");
    d.discard(0, 4096).expect("discard");
    d.flush().expect("flush");
    let stats = device.stats();
    let f = stats.diskstats();
    assert_eq!((f[0], f[2]), (2, 3), "reads, sectors");
    assert_eq!((f[4], f[6]), (1, 64), "writes, sectors");
    assert_eq!((f[11], f[13]), (1, 8), "discards, sectors");
    assert_eq!((f[8], f[15]), (0, 1), "in flight, flushes");
    assert_eq!(stats.read_latency.total(), 2);
    assert!(stats.read_latency.percentile(100.0) < Some(Duration::from_secs(1)));
}

#[test]
fn who_suspends_beside_another_finds_nothing_in_flight() {
    let device = Device::with_table("vol", memory("0 16 delay a 0 400"));
    let engine = Engine::start(&Settings::default()).expect("an engine");
    let client = Client::new(&engine, Arc::clone(&device));
    let answer = client.begin(Request::read(0, Buf::zeroed(512)));
    let end = Instant::now() + Duration::from_secs(5);
    while device.in_flight() == 0 {
        assert!(Instant::now() < end, "the read has begun");
        std::thread::yield_now();
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let long = Duration::from_secs(10);
                device.suspend(true, long).expect("the read ends");
                assert_eq!(device.in_flight(), 0);
            });
        }
        // Comes while others wait: it opens the gate after one of them, not under it.
        scope.spawn(|| {
            while !device.suspended() {
                std::thread::yield_now();
            }
            device.resume(Duration::ZERO).expect("nothing is loaded");
            assert_eq!(device.in_flight(), 0, "the read was waited for");
        });
    });
    assert!(answer.recv().expect("an answer").result.is_ok());
}

#[test]
fn a_file_by_two_names_is_opened_once() {
    let directory = tempfile::tempdir().expect("tempdir");
    let name = |n: &str| directory.path().join(n).display().to_string();
    std::fs::write(name("image"), vec![0; 8192]).expect("write");
    std::fs::hard_link(name("image"), name("hard")).expect("link");
    std::os::unix::fs::symlink("image", name("soft")).expect("symlink");
    std::fs::write(name("other"), vec![0; 8192]).expect("write");
    let how = OpenHow {
        lock: true,
        ..OpenHow::default()
    };
    let line = |n: usize, word: &str| format!("{n} 1 linear {word} {n}\n");
    let words = ["image", "hard", "soft", "other"].map(name);
    let lines = words.iter().enumerate().map(|(n, w)| line(n, w));
    let table = parse(&lines.collect::<String>(), &mut OpenPaths::new(how)).expect("a table");
    let backing = |n: usize| &table.slots()[n].backing;
    assert!(Arc::ptr_eq(backing(0), backing(1)) && Arc::ptr_eq(backing(0), backing(2)));
    assert!(!Arc::ptr_eq(backing(0), backing(3)));
    assert!(
        table.text().contains("hard"),
        "it keeps the words it was given"
    );
}
