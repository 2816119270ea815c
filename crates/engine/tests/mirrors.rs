//! Mirrors on the engine's queues: what is written is read, on whatever queue; legs are equal after
//! a suspension; a leg that fails is given up and its clients do not notice; what was marked when
//! nobody cleared it is copied.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use ulvm_engine::backend::{Backing, OpenHow};
use ulvm_engine::buf::Buf;
use ulvm_engine::device::Device;
use ulvm_engine::io::Request;
use ulvm_engine::limits::Settings;
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::{Client, SyncDevice};
use ulvm_engine::table_text::{Resolve, parse};
use ulvm_test_support::rng::Rng;

const WAIT: Duration = Duration::from_secs(20);
/// Sectors of the mirrors.
const LEN: u64 = 8192;

/// Files by their words, and devices over them.
#[derive(Default)]
struct Site {
    files: Vec<(String, NamedTempFile)>,
    known: Vec<(String, Arc<Backing>)>,
}

impl Resolve for Site {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let found = self.known.iter().find(|(name, _)| name == word);
        found.map(|f| Arc::clone(&f.1)).ok_or(format!("no {word}"))
    }
}

impl Site {
    fn new(words: &[&str]) -> Self {
        let mut site = Self::default();
        for word in words {
            let file = NamedTempFile::new().expect("tempfile");
            file.as_file()
                .set_len(LEN * 512 + (1 << 20))
                .expect("set_len");
            site.files.push(((*word).to_owned(), file));
        }
        site.open();
        site
    }

    /// All files, opened anew.
    fn open(&mut self) {
        let open = |path: &Path| Backing::open(path, &OpenHow::default()).expect("open");
        let each = self.files.iter();
        self.known = each
            .map(|(word, file)| (word.clone(), Arc::new(open(file.path()))))
            .collect();
    }

    fn device(&mut self, text: &str) -> Arc<Device> {
        Device::with_table("m", parse(text, self).expect("table"))
    }

    /// A device in place of a word, which can be made to fail by another table.
    fn between(&mut self, word: &str) -> Arc<Device> {
        let device = self.device(&format!("0 {} linear {word} 0\n", LEN + 2048));
        let over = Arc::new(Backing::device(Arc::clone(&device)));
        self.known.push((format!("{word}-dev"), over));
        device
    }

    fn bytes(&self, word: &str) -> Vec<u8> {
        let (_, file) = self.files.iter().find(|f| f.0 == word).expect("a file");
        let mut bytes = std::fs::read(file.path()).expect("read");
        bytes.truncate(LEN as usize * 512);
        bytes
    }
}

fn lines() -> Vec<(&'static str, String)> {
    vec![
        ("raid1", format!("0 {LEN} raid1 2 a 0 b 0 nosync\n")),
        (
            "mirror core",
            format!("0 {LEN} mirror core 2 64 nosync 2 a 0 b 0 1 handle_errors\n"),
        ),
        (
            "mirror disk",
            format!("0 {LEN} mirror disk 2 log 64 2 a 0 b 0 1 handle_errors\n"),
        ),
        (
            "raid",
            format!("0 {LEN} raid raid1 3 0 region_size 64 2 ma a mb b\n"),
        ),
    ]
}

fn engine() -> Engine {
    let settings = Settings {
        queues: 2,
        ..Settings::default()
    };
    Engine::start(&settings).expect("engine")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < WAIT, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes and reads at random on two queues, with what is expected kept beside.
fn load(engine: &Engine, device: &Arc<Device>, expected: &mut [u8], seed: u64) {
    let mut rng = Rng::new(seed);
    let clients = [0, 1].map(|_| Client::new(engine, Arc::clone(device)));
    for round in 0..150 {
        let mut begun = Vec::new();
        for client in &clients {
            let first = rng.below(LEN - 200) as usize * 512;
            let len = (1 + rng.below(199)) as usize * 512;
            let data = vec![rng.next_u64() as u8; len];
            // The second of two that overlap at a time is left out.
            if begun
                .iter()
                .any(|(at, n, _)| first < at + n && *at < first + len)
            {
                continue;
            }
            expected[first..first + len].copy_from_slice(&data);
            let request = Request::write(first as u64, Buf::copy_of(&data), round % 16 == 0);
            begun.push((first, len, client.begin(request)));
        }
        for (at, len, answer) in begun {
            let answer = answer.recv().expect("an answer");
            answer.result.expect("written");
            let read = clients[round % 2].request(Request::read(at as u64, Buf::zeroed(len)));
            let read = read.expect("an answer");
            read.result.expect("read");
            assert!(
                read.buf.as_deref() == Some(&expected[at..at + len]),
                "round {round}"
            );
        }
        if round % 40 == 0 {
            let flushed = clients[0].request(Request::flush()).expect("an answer");
            flushed.result.expect("flushed");
        }
    }
}

#[test]
fn what_is_written_is_read_and_on_both_legs() {
    let engine = engine();
    for (name, line) in lines() {
        let mut site = Site::new(&["a", "b", "log", "ma", "mb"]);
        let device = site.device(&line);
        let mut expected = vec![0; LEN as usize * 512];
        load(&engine, &device, &mut expected, 7);
        device.suspend(true, WAIT).expect("suspend");
        assert!(site.bytes("a") == expected, "{name}: first leg");
        device.resume(WAIT).expect("resume");
        load(&engine, &device, &mut expected, 8);
        until("in sync", || {
            let status = device.table().expect("table").status();
            status.contains("128/128") || status.contains("8192/8192")
        });
        device.suspend(true, WAIT).expect("suspend");
        assert!(site.bytes("a") == expected, "{name}: first leg");
        assert!(site.bytes("b") == expected, "{name}: second leg");
    }
}

#[test]
fn a_leg_that_fails_is_given_up_unnoticed_and_known_to_be_stale_afterwards() {
    let engine = engine();
    let mut site = Site::new(&["a", "b", "ma", "mb"]);
    let leg = site.between("b");
    let line = format!("0 {LEN} raid raid1 3 0 region_size 64 2 ma a mb b-dev\n");
    let device = site.device(&line);
    let mut expected = vec![0; LEN as usize * 512];
    load(&engine, &device, &mut expected, 1);
    until("in sync", || {
        device.table().expect("table").status().contains("AA")
    });
    leg.suspend(true, WAIT).expect("suspend");
    let error = parse(&format!("0 {} error\n", LEN + 2048), &mut site).expect("table");
    leg.load(error).expect("load");
    leg.resume(WAIT).expect("resume");
    load(&engine, &device, &mut expected, 2);
    let status = device.table().expect("table").status();
    assert!(status.contains(" AD "), "{status}");
    drop(device);
    // As after a crash: another process finds the legs, and copies what the second has missed.
    site.open();
    let device = site.device(&format!(
        "0 {LEN} raid raid1 3 0 region_size 64 2 ma a mb b\n"
    ));
    let mut sync = SyncDevice::new(Arc::clone(&device)).expect("sync");
    let mut all = vec![0; expected.len()];
    sync.read_at(0, &mut all).expect("read");
    assert!(all == expected, "a stale leg was read");
    let client = Client::new(&engine, Arc::clone(&device));
    until("in sync", || {
        let _ = client.request(Request::read(0, Buf::zeroed(512)));
        device
            .table()
            .expect("table")
            .status()
            .contains("AA 8192/8192")
    });
    device.suspend(true, WAIT).expect("suspend");
    assert!(site.bytes("a") == expected && site.bytes("b") == expected);
}
