//! The NBD server through its sockets, with a client written out here byte by byte.

mod client;

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, Reply};
use ulvm_engine::backend::{Backing, OpenHow};
use ulvm_engine::device::Device;
use ulvm_engine::export::nbd::{Address, Export, Exports, Limits, Listener, Server};
use ulvm_engine::limits::{DriverChoice, Settings};
use ulvm_engine::queue::{Cx, Engine, Event, Task};
use ulvm_engine::table_text::{self, Resolve};

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const CACHE: u16 = 5;
const ZEROES: u16 = 6;
const STATUS: u16 = 7;
const FUA: u16 = 1;
const NO_HOLE: u16 = 2;
const FAST_ZERO: u16 = 16;

const EPERM: u32 = 1;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// Finds `mem` in memory and other words as files in a directory.
struct Words(Arc<Backing>, std::path::PathBuf);

impl Resolve for Words {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        if word == "mem" {
            return Ok(Arc::clone(&self.0));
        }
        Backing::open(&self.1.join(word), &OpenHow::default())
            .map(Arc::new)
            .map_err(|e| e.to_string())
    }
}

struct Site {
    dir: tempfile::TempDir,
    engine: Option<Engine>,
    exports: Arc<Exports>,
    server: Server,
}

impl Site {
    fn with(settings: &Settings, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(settings).unwrap();
        let exports = Arc::new(Exports::default());
        let address = Address::Unix(dir.path().join("s"));
        let listener = Listener::bind(&address).unwrap();
        let server = Server::start(&engine, vec![listener], Arc::clone(&exports), limits);
        Self {
            dir,
            engine: Some(engine),
            exports,
            server,
        }
    }

    fn new(limits: Limits) -> Self {
        let settings = Settings {
            queues: 2,
            ..Settings::default()
        };
        Self::with(&settings, limits)
    }

    fn table(&self, text: &str) -> Arc<Device> {
        let memory = Arc::new(Backing::memory("mem", 4 << 20, 512));
        let mut words = Words(memory, self.dir.path().to_owned());
        let table = table_text::parse(text, &mut words).unwrap();
        Device::with_table("dev", table)
    }

    fn export(&self, name: &str, table: &str) -> Arc<Device> {
        let device = self.table(table);
        let export = Export {
            device: Arc::clone(&device),
            description: String::new(),
            read_only: false,
        };
        assert!(self.exports.add(name, export));
        device
    }

    /// A file in the site's directory.
    fn file(&self, name: &str, size: u64) -> std::fs::File {
        let path = self.dir.path().join(name);
        let options = &mut std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(path).unwrap();
        file.set_len(size).unwrap();
        file
    }

    fn raw(&self) -> Client {
        Client::connect(&self.dir.path().join("s"))
    }

    fn client(&self, name: &str) -> Client {
        let mut client = self.raw();
        client.begin(name, true);
        client
    }
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| (n as u8).wrapping_mul(31) ^ seed)
        .collect()
}

const MEM: &str = "0 8192 linear mem 0";

#[test]
fn what_is_written_is_read_at_any_alignment_with_both_kinds_of_reply() {
    for driver in [DriverChoice::Auto, DriverChoice::Pool] {
        let settings = Settings {
            driver,
            queues: 1,
            ..Settings::default()
        };
        let site = Site::with(&settings, Limits::default());
        site.file("a", 4 << 20);
        site.export("vg/lv", "0 8192 linear a 0");
        for structured in [true, false] {
            let mut client = site.raw();
            client.begin("vg/lv", structured);
            for (n, (offset, len)) in [(0, 512), (4095, 2), (1, 100_000), (77, 0), (12345, 1)]
                .into_iter()
                .enumerate()
            {
                let data = pattern(n as u8, len);
                assert!(client.write(offset, &data, FUA).is_ok());
                assert_eq!(client.read(offset, len as u32).unwrap(), data);
            }
            let end = (4 << 20) - 512;
            assert!(client.write(end, &[7; 512], 0).is_ok());
            assert_eq!(client.read(end, 512).unwrap(), [7; 512]);
            assert_eq!(client.call(FLUSH, 0, 0, 0), Reply::Done);
            assert_eq!(client.call(CACHE, 0, 0, 3 << 20), Reply::Done);
        }
    }
}

#[test]
fn a_full_queue_is_answered_whole_and_right() {
    let site = Site::new(Limits::default());
    site.file("a", 4 << 20);
    site.export(
        "x",
        "0 4096 linear a 0\n4096 4096 striped 2 16 a 4096 a 6144",
    );
    let mut client = site.client("x");
    let all = pattern(9, 4 << 20);
    for (n, part) in all.chunks(1 << 20).enumerate() {
        assert!(client.write((n as u64) << 20, part, 0).is_ok());
    }
    // Many more at a time than may be under way, of all sizes, over both segments.
    let asked: Vec<(u64, u32)> = (0..2000_u64)
        .map(|n| ((n * 7919 * 13) % (3 << 20), 1 + (n as u32 * 977) % 20_000))
        .collect();
    std::thread::scope(|scope| {
        let mut sender = client.half();
        let asked_too = &asked;
        scope.spawn(move || {
            for (n, &(offset, len)) in asked_too.iter().enumerate() {
                sender.send(READ, 0, n as u64, offset, len, &[]);
            }
        });
        let mut seen = vec![false; asked.len()];
        for _ in 0..asked.len() {
            let (cookie, reply) = client.receive_any(|cookie| asked[cookie as usize].1);
            let (offset, len) = asked[cookie as usize];
            let wanted = &all[offset as usize..offset as usize + len as usize];
            assert_eq!(reply, Reply::Data(wanted.to_vec()), "request {cookie}");
            assert!(!std::mem::replace(&mut seen[cookie as usize], true));
        }
    });
}

#[test]
fn errors_come_to_the_right_request_with_the_right_kind_and_place() {
    let site = Site::new(Limits::default());
    site.export(
        "x",
        "0 2048 linear mem 0\n2048 8 error\n2056 2048 linear mem 2056",
    );
    let mut client = site.client("x");
    let bad = 2048 * 512;
    assert_eq!(client.read(bad - 512, 512).unwrap(), [0; 512]);
    assert_eq!(client.call(READ, 0, bad, 512), Reply::Error(EIO, Some(bad)));
    // The range begins in front of it: the place told is that of the error.
    assert_eq!(
        client.call(READ, 0, bad - 4096, 8192),
        Reply::Error(EIO, Some(bad))
    );
    assert_eq!(
        client.write(bad + 512, &[1; 512], 0),
        Err((EIO, Some(bad + 512)))
    );
    assert_eq!(client.read(bad + 8 * 512, 512).unwrap(), [0; 512]);
    let size = (2056 + 2048) * 512;
    assert_eq!(client.call(READ, 0, size, 1), Reply::Error(EINVAL, None));
    assert_eq!(client.write(size, &[1], 0), Err((ENOSPC, None)));
    assert_eq!(client.call(99, 0, 0, 0), Reply::Error(EINVAL, None));
    // Without structured replies the number alone.
    let mut simple = site.raw();
    simple.begin("x", false);
    assert_eq!(simple.call(READ, 0, bad, 512), Reply::Error(EIO, None));
    assert_eq!(simple.read(0, 512).unwrap(), [0; 512]);
}

#[test]
fn a_read_only_export_is_not_written() {
    let site = Site::new(Limits::default());
    let device = site.table(MEM);
    let export = Export {
        device,
        description: String::new(),
        read_only: true,
    };
    site.exports.add("ro", export);
    let mut client = site.client("ro");
    assert_eq!(client.flags & 2, 2);
    assert_eq!(client.write(0, &[1; 512], 0), Err((EPERM, None)));
    assert_eq!(client.call(TRIM, 0, 0, 512), Reply::Error(EPERM, None));
    assert_eq!(client.call(ZEROES, 0, 0, 512), Reply::Error(EPERM, None));
    assert_eq!(client.call(FLUSH, 0, 0, 0), Reply::Done);
    assert_eq!(client.read(0, 512).unwrap(), [0; 512]);
}

#[test]
fn zeroes_and_trims_and_what_is_told_of_them() {
    use std::os::unix::fs::MetadataExt;
    let site = Site::new(Limits::default());
    let file = site.file("a", 4 << 20);
    file.write_all_at(&pattern(3, 4 << 20), 0).unwrap();
    file.sync_all().unwrap();
    site.export("x", "0 8192 linear a 0\n8192 2048 zero\n10240 2048 error");
    let mut client = site.client("x");
    let mib = 1 << 20;
    let before = file.metadata().unwrap().blocks();
    assert_eq!(client.call(ZEROES, NO_HOLE, 0, mib), Reply::Done);
    file.sync_all().unwrap();
    assert!(
        file.metadata().unwrap().blocks() >= before,
        "the space stays"
    );
    assert_eq!(client.call(ZEROES, FUA, mib.into(), mib), Reply::Done);
    assert_eq!(client.call(TRIM, FUA, 2 * u64::from(mib), mib), Reply::Done);
    file.sync_all().unwrap();
    assert!(
        file.metadata().unwrap().blocks() < before,
        "the space is given back"
    );
    assert_eq!(client.read(0, 2 * mib).unwrap(), vec![0; 2 * mib as usize]);
    assert_eq!(
        client.read(3 * u64::from(mib), mib).unwrap(),
        pattern(3, 4 << 20)[3 * mib as usize..]
    );
    // Zeroes of odd edges leave the neighbours.
    assert!(client.write(0, &[5; 8192], 0).is_ok());
    assert_eq!(client.call(ZEROES, 0, 100, 5000), Reply::Done);
    let mut wanted = vec![5; 8192];
    wanted[100..5100].fill(0);
    assert_eq!(client.read(0, 8192).unwrap(), wanted);
    // The file's holes, the zero target, the error target.
    let (mut at, mut runs) = (0, Vec::new());
    while at < 6 * u64::from(mib) {
        let found = client.status(at, (6 * u64::from(mib) - at) as u32);
        assert!(!found.is_empty());
        for (len, flags) in found {
            runs.push((at, flags));
            at += u64::from(len);
        }
    }
    let state = |byte: u64| {
        runs.iter()
            .rev()
            .find(|(start, _)| *start <= byte)
            .unwrap()
            .1
    };
    assert_eq!(state(2 * u64::from(mib)), 3, "trimmed");
    assert_eq!(state(3 * u64::from(mib)), 0, "data");
    assert_eq!(state(4 * u64::from(mib)), 3, "zero target");
    assert_eq!(state(5 * u64::from(mib)), 0, "error target");
    assert_eq!(at, 6 * u64::from(mib), "extents end where the device does");
    assert_eq!(client.call(STATUS, 0, 0, 0), Reply::Error(EINVAL, None));
}

#[test]
fn fast_zeroes_are_done_where_they_are_fast() {
    let site = Site::new(Limits::default());
    site.export("mem", MEM);
    let mut client = site.client("mem");
    assert_eq!(client.call(ZEROES, FAST_ZERO, 0, 4096), Reply::Done);
}

#[test]
fn a_resize_is_seen_by_new_clients() {
    let site = Site::new(Limits::default());
    let device = site.export("x", "0 2048 linear mem 0");
    let mut old = site.client("x");
    let second = Duration::from_secs(5);
    device
        .load(clone_table(&site, "0 4096 linear mem 0"))
        .unwrap();
    device.suspend(true, second).unwrap();
    device.resume(second).unwrap();
    let mut new = site.client("x");
    assert_eq!((old.size, new.size), (1 << 20, 2 << 20));
    assert!(new.write((2 << 20) - 512, &[1; 512], 0).is_ok());
    assert_eq!(old.call(READ, 0, 1 << 20, 512), Reply::Error(EINVAL, None));
    assert_eq!(old.read(0, 512).unwrap(), [0; 512]);
}

fn clone_table(site: &Site, text: &str) -> ulvm_engine::table::Table {
    let memory = Arc::new(Backing::memory("mem", 4 << 20, 512));
    table_text::parse(text, &mut Words(memory, site.dir.path().to_owned())).unwrap()
}

#[test]
fn the_default_export_is_the_only_one() {
    let site = Site::new(Limits::default());
    site.export("one", MEM);
    assert_eq!(site.client("").size, 4 << 20);
    site.export("two", MEM);
    let mut client = site.raw();
    assert!(client.try_begin("", true).is_err());
    assert!(
        client.try_begin("two", true).is_ok(),
        "the handshake goes on"
    );
    site.exports.remove("one");
    assert!(site.raw().try_begin("one", true).is_err());
}

#[test]
fn more_clients_than_allowed_are_turned_away_and_places_are_given_back() {
    let site = Site::new(Limits {
        clients: 3,
        ..Limits::default()
    });
    site.export("x", MEM);
    let mut kept: Vec<Client> = (0..3).map(|_| site.client("x")).collect();
    let mut byte = [0];
    assert_eq!(
        site.raw().stream.read(&mut byte).unwrap(),
        0,
        "closed at once"
    );
    kept[0].disconnect();
    let began = Instant::now();
    while site.server.clients() > 2 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "the place came back"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(site.client("x").read(0, 1).unwrap(), [0]);
    assert_eq!(kept[2].read(0, 1).unwrap(), [0]);
}

#[test]
fn a_handshake_and_a_message_have_to_end() {
    let site = Site::new(Limits {
        handshake: Duration::from_millis(200),
        stalled: Duration::from_millis(300),
        ..Limits::default()
    });
    site.export("x", MEM);
    let mut silent = site.raw();
    let mut half = site.client("x");
    half.send_header(WRITE, 0, 1, 0, 4096);
    half.stream.write_all(&[1; 100]).unwrap();
    let mut deaf = site.client("x");
    for n in 0..64 {
        deaf.send(READ, 0, n, 0, 1 << 20, &[]);
    }
    let mut idle = site.client("x");
    std::thread::sleep(Duration::from_millis(1200));
    assert!(silent.is_closed(), "no handshake");
    assert!(half.is_closed(), "half a message");
    assert!(deaf.is_closed(), "replies not taken");
    // A client that owes nothing may be silent as long as it likes.
    assert_eq!(idle.read(0, 512).unwrap(), [0; 512]);
}

#[test]
fn a_message_that_trickles_in_has_to_end_too() {
    let site = Site::new(Limits {
        stalled: Duration::from_secs(1),
        rate: 1 << 10,
        ..Limits::default()
    });
    site.export("x", MEM);
    let mut slow = site.client("x");
    let mut steady = site.client("x");
    for client in [&mut slow, &mut steady] {
        client.send_header(WRITE, 0, 1, 0, 64 << 10);
    }
    let mut idle = site.client("x");
    // 10 bytes and 1.6 KiB in 100 ms.
    for _ in 0..40 {
        drop(slow.stream.write(&[1; 10]));
        steady.stream.write_all(&[2; 1638]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(slow.is_closed(), "slower than the least rate");
    steady.stream.write_all(&[2; 16]).unwrap();
    assert_eq!(steady.receive_any(|_| 0), (1, Reply::Done), "fast enough");
    assert_eq!(idle.read(0, 512).unwrap(), [2; 512]);
}

#[test]
fn all_clients_together_hold_no_more_than_they_may() {
    const PAYLOAD: usize = 1 << 20;
    let site = Site::new(Limits {
        payload: PAYLOAD as u32,
        total: 3 * PAYLOAD,
        stalled: Duration::from_millis(400),
        ..Limits::default()
    });
    site.export("x", MEM);
    let mut good = site.client("x");
    assert_eq!(good.read(0, 64 << 10).unwrap().len(), 64 << 10);
    let bad: Vec<_> = (0..20)
        .map(|n| {
            let mut client = site.client("x");
            client.send_header(WRITE, 0, n, 0, PAYLOAD as u32);
            client
        })
        .collect();
    let began = Instant::now();
    let mut most = 0;
    while site.server.held() < 2 * PAYLOAD && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // It waits for those to be let go, and then has its turn.
    let data = pattern(3, PAYLOAD);
    let writer = std::thread::spawn(move || {
        let written = good.write(0, &data, 0).is_ok();
        (written, good.read(0, PAYLOAD as u32).unwrap() == data)
    });
    while !writer.is_finished() && began.elapsed() < Duration::from_secs(30) {
        most = most.max(site.server.held());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(writer.is_finished(), "it gets its memory at last");
    assert_eq!(writer.join().unwrap(), (true, true));
    assert!((2 * PAYLOAD..=3 * PAYLOAD).contains(&most), "{most}");
    drop(bad);
    while site.server.clients() > 0 && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(site.server.held(), 0, "all is given back");
}

/// Tells how much CPU time its queue's thread has used.
struct Meter(std::sync::mpsc::Sender<Duration>);

impl Task for Meter {
    fn start(&mut self, cx: &mut Cx<'_>) {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let time = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        self.0.send(time).unwrap();
        cx.exit();
    }
    fn event(&mut self, _: &mut Cx<'_>, _: Event) {}
}

/// CPU time of all queue threads.
fn cpu(site: &Site) -> Duration {
    let engine = site.engine.as_ref().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    for queue in 0..engine.queues() {
        engine.spawn(Some(queue), Box::new(Meter(sender.clone())));
    }
    (0..engine.queues()).map(|_| receiver.recv().unwrap()).sum()
}

#[test]
fn a_half_closed_connection_does_not_keep_its_thread_busy() {
    let site = Site::new(Limits::default());
    site.export("slow", "0 8192 delay mem 0 900");
    site.export("x", MEM);
    // One waits for its answer, the other does not take its answers; neither will ask again.
    let mut waits = site.client("slow");
    waits.send(READ, 0, 1, 0, 512, &[]);
    let mut deaf = site.client("x");
    for n in 0..16 {
        deaf.send(READ, 0, n, 0, 1 << 20, &[]);
    }
    std::thread::sleep(Duration::from_millis(200));
    for client in [&waits, &deaf] {
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    let before = cpu(&site);
    std::thread::sleep(Duration::from_millis(400));
    let used = cpu(&site) - before;
    assert!(used < Duration::from_millis(80), "{used:?} of 400 ms");
    assert_eq!(waits.receive_any(|_| 512).1, Reply::Data(vec![0; 512]));
    assert!(waits.is_closed());
}

#[test]
fn hostile_and_slow_clients_cost_only_themselves() {
    let site = Site::new(Limits {
        clients: 300,
        ..Limits::default()
    });
    site.file("a", 4 << 20);
    site.export("x", "0 8192 linear a 0");
    let mut good = site.client("x");
    let data = pattern(1, 64 << 10);
    let mut bad = Vec::new();
    for n in 0..100_u64 {
        let mut client = match n % 5 {
            0 => site.raw(),
            _ => site.client("x"),
        };
        // Each does its worst and then holds the line.
        match n % 5 {
            0 => drop(client.stream.write_all(&pattern(n as u8, 300))),
            1 => (0..2000).for_each(|c| {
                client.try_send(READ, 0, c, 0, 1 << 20, &[]);
            }),
            2 => client.send_header(WRITE, 0, n, 0, 4 << 20),
            3 => drop(client.stream.write_all(&[0; 28])),
            _ => (0..3000).for_each(|c| {
                client.try_send(99, 0xffff, c, u64::MAX, u32::MAX, &[]);
            }),
        }
        bad.push(client);
        let offset = (n * 4096) % (3 << 20);
        assert!(good.write(offset, &data, 0).is_ok(), "beside {n}");
        assert_eq!(good.read(offset, data.len() as u32).unwrap(), data);
    }
    let began = Instant::now();
    for n in 0..200_u64 {
        assert_eq!(good.read(n * 512, 4096).unwrap().len(), 4096);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    drop(bad);
    assert_eq!(good.call(FLUSH, 0, 0, 0), Reply::Done);
}

#[test]
fn at_the_end_what_is_under_way_is_answered() {
    let mut site = Site::new(Limits::default());
    let file = site.file("a", 4 << 20);
    // Each write waits a while in the target.
    site.export("x", "0 8192 delay a 0 0 a 0 100");
    let mut client = site.client("x");
    let data = pattern(4, 4096);
    for n in 0..8 {
        client.send(WRITE, 0, n, n * 4096, 4096, &data);
    }
    std::thread::sleep(Duration::from_millis(30));
    let mut late = site.raw();
    let engine = site.engine.take();
    let ending = std::thread::spawn(move || drop(engine));
    let mut answered = 0;
    for _ in 0..8 {
        let (_, reply) = client.receive_any(|_| 0);
        assert_eq!(reply, Reply::Done);
        answered += 1;
    }
    assert!(client.is_closed());
    ending.join().unwrap();
    assert_eq!(answered, 8);
    let mut seen = vec![0; 4096];
    file.read_exact_at(&mut seen, 7 * 4096).unwrap();
    assert_eq!(seen, data);
    assert!(late.is_closed());
    assert!(!site.dir.path().join("s").exists(), "the socket is gone");
}

#[test]
fn several_connections_are_told_of_and_see_each_others_writes() {
    let site = Site::new(Limits::default());
    site.file("a", 4 << 20);
    site.export("x", "0 8192 linear a 0");
    let mut clients = [site.client("x"), site.client("x"), site.client("x")];
    assert_eq!(clients[0].flags & 0x100, 0x100, "multi-conn is told");
    for (n, client) in clients.iter_mut().enumerate() {
        assert!(
            client
                .write(n as u64 * 4096, &[n as u8 + 1; 4096], 0)
                .is_ok()
        );
    }
    // The flush of one covers what was answered to the others.
    assert_eq!(clients[0].call(FLUSH, 0, 0, 0), Reply::Done);
    for client in &mut clients {
        for n in 0..3 {
            assert_eq!(client.read(n * 4096, 4096).unwrap(), [n as u8 + 1; 4096]);
        }
    }
}

#[test]
fn a_slow_device_holds_up_only_its_own_requests() {
    let settings = Settings {
        queues: 1,
        ..Settings::default()
    };
    let site = Site::with(&settings, Limits::default());
    site.file("a", 4 << 20);
    site.export("slow", "0 4096 delay a 0 700\n4096 4096 linear a 4096");
    site.export("quick", MEM);
    let (mut slow, mut quick) = (site.client("slow"), site.client("quick"));
    let began = Instant::now();
    for n in 0..16 {
        slow.send(READ, 0, n, n * 4096, 4096, &[]);
    }
    // On the same connection what lies elsewhere is answered first.
    slow.send(READ, 0, 99, 3 << 20, 512, &[]);
    assert_eq!(slow.receive_any(|_| 512).0, 99);
    for n in 0..200 {
        assert_eq!(quick.read(n * 4096, 4096).unwrap(), [0; 4096]);
    }
    assert!(
        began.elapsed() < Duration::from_millis(650),
        "{:?}",
        began.elapsed()
    );
    for _ in 0..16 {
        assert_eq!(slow.receive_any(|_| 4096).1, Reply::Data(vec![0; 4096]));
    }
    assert!(began.elapsed() >= Duration::from_millis(700));
}

#[test]
fn questions_about_a_fragmented_file_are_all_answered_though_nothing_else_happens() {
    // The end of the handshake's time must not be what wakes the connection.
    let site = Site::new(Limits {
        handshake: Duration::from_secs(3600),
        ..Limits::default()
    });
    let file = site.file("a", 32 << 20);
    for block in (0..(32 << 20) / 4096_u64).step_by(2) {
        file.write_all_at(&[1; 4096], block * 4096).unwrap();
    }
    site.export("x", "0 65536 linear a 0");
    let mut client = site.client("x");
    for n in 0..40 {
        client.send(STATUS, 0, n, 0, 32 << 20, &[]);
    }
    for n in 0..40 {
        let (cookie, reply) = client.receive_any(|_| 0);
        assert_eq!(cookie, n);
        assert!(matches!(reply, Reply::Extents(found) if found.len() > 8));
    }
}

#[test]
fn who_is_cut_off_keeps_the_place_until_what_was_asked_for_has_ended() {
    let settings = Settings {
        queues: 1,
        ..Settings::default()
    };
    let limits = Limits {
        clients: 2,
        ..Limits::default()
    };
    let site = Site::with(&settings, limits);
    site.file("a", 4 << 20);
    site.export("slow", "0 8192 delay a 0 1500");
    let began = Instant::now();
    let mut held: Vec<Client> = Vec::new();
    for _ in 0..2 {
        let mut client = site.client("slow");
        client.send(WRITE, 0, 1, 0, 1 << 20, &vec![7; 1 << 20]);
        client.stream.write_all(&[0; 28]).unwrap();
        held.push(client);
    }
    assert!(held.iter_mut().all(Client::is_closed));
    drop(held);
    let mut byte = [0];
    if began.elapsed() < Duration::from_millis(1200) {
        let read = site.raw().stream.read(&mut byte).unwrap();
        assert_eq!(read, 0, "their memory is still held, and so is their place");
    }
    while site.server.clients() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(began.elapsed() >= Duration::from_millis(1500));
    assert_eq!(site.client("slow").size, 4 << 20);
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let mut site = Site::new(Limits::default());
    site.file("a", 4 << 20);
    let device = site.export("slow", "0 8192 delay a 0 600000");
    let mut client = site.client("slow");
    client.send(READ, 0, 1, 0, 4096, &[]);
    let began = Instant::now();
    while device.in_flight() == 0 {
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(5));
    }
    site.engine.take().unwrap().stop();
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(client.is_closed());
}
