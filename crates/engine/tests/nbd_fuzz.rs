//! Bytes of hostile clients, against the pure side of the NBD server and against a live one.
//!
//! `corpus/nbd` holds whole client streams: good sessions, the edges of every message, and what
//! once was of interest. They are replayed, then mutated: a fixed number of times, or for
//! `ULVM_FUZZ_SECONDS` (ten minutes with `ULVM_PROVE`). A failure prints the seed of its round, for `ULVM_FUZZ_SEED`.

mod client;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Client;
use ulvm_engine::backend::{Backing, OpenHow};
use ulvm_engine::buf::BufPool;
use ulvm_engine::device::Device;
use ulvm_engine::export::nbd::handshake::{Catalog, ExportInfo, Handshake, Next, Refusal};
use ulvm_engine::export::nbd::intake::{Got, Intake};
use ulvm_engine::export::nbd::{Address, Export, Exports, Limits, Listener, Server};
use ulvm_engine::limits::Settings;
use ulvm_engine::queue::Engine;
use ulvm_engine::table_text::{self, Resolve};
use ulvm_test_support::rng::Rng;

const SIZE: u64 = 1 << 20;
const MAX_BLOCK: u32 = 64 << 10;

struct One;

impl Catalog for One {
    fn list(&self, limit: usize) -> Vec<(String, String)> {
        vec![("vg/lv".into(), String::new()); limit.min(1)]
    }
    fn find(&self, name: &str) -> Result<ExportInfo, Refusal> {
        match name {
            "" | "vg/lv" => Ok(ExportInfo {
                description: "a volume".into(),
                size: SIZE,
                read_only: false,
                min_block: 1,
                preferred_block: 4096,
                max_block: MAX_BLOCK,
            }),
            _ => Err(Refusal::Unknown),
        }
    }
}

/// The pure side of one session, fed in pieces. What must hold, whatever the bytes: no panic; no
/// step without progress goes on; a request lies within the export; what is held is bounded.
fn body(stream: &[u8], piece: usize) {
    let mut handshake = Handshake::new(64, 100);
    let (mut held, mut out) = (Vec::new(), Vec::new());
    let mut session = None;
    for bytes in stream.chunks(piece.max(1)) {
        held.extend_from_slice(bytes);
        loop {
            let used = match &mut session {
                None => {
                    let (used, next) = handshake.step(&held, &One, &mut out);
                    match next {
                        Next::More => {}
                        Next::Close => return,
                        Next::Begin(chosen) => {
                            let pool = BufPool::new(1 << 20);
                            session = Some((chosen, Intake::default(), pool));
                        }
                    }
                    used
                }
                Some((chosen, intake, pool)) => {
                    let (used, got) = intake.step(&held, chosen, pool);
                    match got {
                        Got::Nothing | Got::Refused(..) => {}
                        Got::NoRoom => panic!("every buffer was given back"),
                        Got::Disconnect | Got::Lost => return,
                        Got::Request(request, buf) => {
                            let end = request.offset + u64::from(request.length);
                            assert!(end <= SIZE, "{request:?}");
                            if let Some(buf) = buf {
                                assert_eq!(buf.len(), request.length as usize);
                                pool.give(buf);
                            }
                        }
                    }
                    used
                }
            };
            assert!(used <= held.len());
            held.drain(..used);
            // 64 options, each with a bounded answer.
            assert!(out.len() < 64 << 10, "{} bytes of answers", out.len());
            if used == 0 {
                break;
            }
        }
        assert!(
            held.len() <= piece + 16 + (16 << 10),
            "{} bytes held",
            held.len()
        );
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/nbd");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "the corpus is there");
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

/// A number below `n`, or 0 if that is 0.
fn below(rng: &mut Rng, n: usize) -> usize {
    rng.below(n.max(1) as u64) as usize
}

fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    const NUMBERS: [u64; 12] = [
        0,
        1,
        0x7f,
        0xff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        SIZE,
        SIZE - 1,
        MAX_BLOCK as u64 + 1,
        u64::MAX,
        u64::MAX - 511,
    ];
    let mut bytes = corpus[below(rng, corpus.len())].clone();
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len());
        match below(rng, 7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(rng, 8),
            1 if !bytes.is_empty() => bytes[at] = rng.next_u64() as u8,
            2 => bytes.truncate(at),
            3 => {
                let (n, width) = (NUMBERS[below(rng, NUMBERS.len())], [2, 4, 8][below(rng, 3)]);
                let raw = n.to_be_bytes();
                let end = (at + width).min(bytes.len());
                let take = end - at;
                bytes[at..end].copy_from_slice(&raw[8 - width..][..take]);
            }
            4 => {
                let other = &corpus[below(rng, corpus.len())];
                let from = below(rng, other.len());
                let insert: Vec<u8> = other[from..].iter().copied().take(200).collect();
                bytes.splice(at..at, insert);
            }
            5 => {
                let end = (at + below(rng, 64)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let end = (at + below(rng, 32)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

/// Runs `round` with seeds, a number of times or as long as the environment says.
fn rounds(name: &str, count: u64, mut round: impl FnMut(&mut Rng)) {
    let word = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = word("ULVM_FUZZ_SEED") {
        return round(&mut Rng::new(seed));
    }
    let long = std::env::var_os("ULVM_PROVE").map(|_| 600);
    let limit = word("ULVM_FUZZ_SECONDS").or(long).map(Duration::from_secs);
    let began = Instant::now();
    let start = match limit {
        Some(_) => std::process::id().into(),
        None => 0_u64,
    };
    let mut seed = start << 32;
    let mut done = 0;
    while limit.map_or(done < count, |l| began.elapsed() < l) {
        let told = Told(seed);
        round(&mut Rng::new(seed));
        std::mem::forget(told);
        seed += 1;
        done += 1;
    }
    // Past the test harness, which would keep it to itself.
    let _ = writeln!(
        std::io::stderr(),
        "{name}: {done} rounds from seed {}",
        start << 32
    );
}

/// Says the seed when a round panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        println!("ULVM_FUZZ_SEED={}", self.0);
    }
}

#[test]
fn the_pure_side_bears_any_bytes() {
    let corpus = corpus();
    for stream in &corpus {
        for piece in [1, 3, 17, 4096] {
            body(stream, piece);
        }
    }
    rounds("the pure side", 30_000, |rng| {
        let stream = mutate(rng, &corpus);
        let piece = 1 + below(rng, stream.len() + 64);
        body(&stream, piece);
    });
}

/// `m` is memory, `f` a file in a folder.
struct Below<'a>(&'a std::path::Path);

impl Resolve for Below<'_> {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        if word == "m" {
            return Ok(Arc::new(Backing::memory("mem", 2 * SIZE as usize, 512)));
        }
        let path = self.0.join(word);
        let file = std::fs::File::create(&path).map_err(|e| e.to_string())?;
        file.set_len(2 * SIZE).map_err(|e| e.to_string())?;
        let backing = Backing::open(&path, &OpenHow::default()).map_err(|e| e.to_string())?;
        Ok(Arc::new(backing))
    }
}

/// Every stream goes to a live server with two exports; on the second a good client works on.
#[test]
fn a_live_server_bears_any_bytes() {
    let corpus = corpus();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let settings = Settings {
        queues: 1,
        ..Settings::default()
    };
    let engine = Engine::start(&settings).unwrap();
    let exports = Arc::new(Exports::default());
    for (name, below) in [("vg/lv", "f"), ("good", "m")] {
        let text = format!(
            "0 1024 linear {below} 0\n1024 512 error\n1536 256 zero\n1792 256 linear {below} 1024"
        );
        let table = table_text::parse(&text, &mut Below(dir.path())).unwrap();
        let export = Export {
            device: Device::with_table(name, table),
            description: String::new(),
            read_only: false,
        };
        exports.add(name, export);
    }
    let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
    let limits = Limits {
        payload: MAX_BLOCK,
        ..Limits::default()
    };
    let server = Server::start(&engine, vec![listener], exports, limits);
    let mut good = Client::connect(&path);
    good.begin("good", true);
    let mut send = |stream: &[u8]| {
        let mut bad = UnixStream::connect(&path).unwrap();
        let limit = Some(Duration::from_secs(10));
        bad.set_read_timeout(limit).unwrap();
        bad.set_write_timeout(limit).unwrap();
        let mut reader = bad.try_clone().unwrap();
        std::thread::scope(|scope| {
            // Whatever comes back is taken, until the server hangs up after our end.
            scope.spawn(move || {
                let mut sink = vec![0; 1 << 16];
                loop {
                    match reader.read(&mut sink) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
                        Err(e) => panic!("the server neither answers nor hangs up: {e}"),
                    }
                }
            });
            let _ = bad.write_all(stream);
            let _ = bad.shutdown(std::net::Shutdown::Write);
        });
        assert!(good.write(0, &[9; 4096], 0).is_ok());
        assert_eq!(good.read(0, 4096).unwrap(), [9; 4096]);
    };
    corpus.iter().for_each(|stream| send(stream));
    rounds("a live server", 1_000, |rng| send(&mutate(rng, &corpus)));
    drop(good);
    let began = Instant::now();
    while server.clients() > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "places came back"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
