//! One body over every way an I/O can take: calling thread, pool and ring; memory, page cache and
//! O_DIRECT; blocks of 512 and 4096 bytes. What is read is what a plain array of bytes holds.

use std::path::Path;
use std::sync::Arc;

use ulvm_engine::backend::{Backing, Direct, OpenHow};
use ulvm_engine::buf::Buf;
use ulvm_engine::device::Device;
use ulvm_engine::error::IoError;
use ulvm_engine::io::Request;
use ulvm_engine::limits::{DriverChoice, Settings};
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::{Client, SyncDevice};
use ulvm_engine::table_text::{Resolve, parse};

const DEV_SECTORS: u64 = 4096;

/// Backing devices by name.
struct Named(Vec<(&'static str, Arc<Backing>)>);

impl Resolve for Named {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let found = self.0.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, b)| Arc::clone(b))
            .ok_or_else(|| format!("no device {word}"))
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A device, by whichever way.
enum Way {
    Alone(Box<SyncDevice>),
    Engine(Client),
}

impl Way {
    fn request(&mut self, request: Request) -> Result<Option<Buf>, IoError> {
        match self {
            Way::Alone(d) => d.request(request),
            Way::Engine(c) => {
                let completion = c.request(request).expect("the engine runs");
                completion.result.map(|()| completion.buf)
            }
        }
    }
}

fn body(way: &mut Way, size: u64, unit: u64, seed: u64, rounds: usize) {
    let mut model = vec![0u8; size as usize];
    let mut state = seed;
    way.request(Request::write_zeroes(0, size, false, false))
        .expect("zero all");
    for round in 0..rounds {
        let at = random(&mut state) % (size / unit) * unit;
        let most = (size - at).min(96 * 1024) / unit;
        let len = (1 + random(&mut state) % most) * unit;
        let range = at as usize..(at + len) as usize;
        match random(&mut state) % 8 {
            0..=2 => {
                let mut buf = Buf::zeroed(len as usize);
                for b in buf.iter_mut() {
                    *b = random(&mut state) as u8;
                }
                model[range].copy_from_slice(&buf);
                let fua = random(&mut state) % 8 == 0;
                let back = way.request(Request::write(at, buf, fua)).expect("write");
                assert_eq!(back.expect("the buffer comes back").len() as u64, len);
            }
            3..=5 => {
                let buf = way.request(Request::read(at, Buf::zeroed(len as usize)));
                let buf = buf.expect("read").expect("a buffer");
                assert!(
                    buf[..] == model[range],
                    "round {round}: {len} bytes at {at}"
                );
            }
            6 => {
                let (unmap, fua) = (random(&mut state) % 2 == 0, random(&mut state) % 4 == 0);
                model[range].fill(0);
                way.request(Request::write_zeroes(at, len, unmap, fua))
                    .expect("zeroes");
            }
            _ => drop(way.request(Request::flush()).expect("flush")),
        }
    }
    let buf = way.request(Request::read(0, Buf::zeroed(size as usize)));
    assert!(
        buf.expect("read").expect("a buffer")[..] == model[..],
        "the whole"
    );
}

const TABLE: &str = "0 1000 linear a 24\n1000 1536 striped 3 8 a 1032 b 0 c 40\n\
    2536 600 striped 2 12 c 2000 b 1000\n3136 64 linear c 1000\n";

fn device(backings: [Arc<Backing>; 3]) -> Arc<Device> {
    let [a, b, c] = backings;
    let mut named = Named(vec![("a", a), ("b", b), ("c", c)]);
    Device::with_table("t", parse(TABLE, &mut named).expect("a good table"))
}

fn files(dir: &Path, how: &OpenHow) -> Option<[Arc<Backing>; 3]> {
    let mut backings = Vec::new();
    for name in ["a", "b", "c"] {
        let path = dir.join(name);
        let file = std::fs::File::create(&path).expect("create");
        file.set_len(DEV_SECTORS * 512).expect("set_len");
        match Backing::open(&path, how) {
            Ok(b) => backings.push(Arc::new(b)),
            // No O_DIRECT on this filesystem: the caller counts.
            Err(_) if how.direct == Direct::Always => return None,
            Err(e) => panic!("{e}"),
        }
    }
    backings.try_into().ok()
}

fn engine(driver: DriverChoice) -> Engine {
    let settings = Settings {
        driver,
        queues: 1,
        ..Settings::default()
    };
    Engine::start(&settings).expect("an engine")
}

/// Runs the body over every way; gives how many there were.
fn every_way(unit: u64, rounds: usize) -> usize {
    let size = 3200 * 512;
    let mut ways = 0;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("tempdir");
    for logical in [512, 4096] {
        let mut sets = Vec::new();
        for direct in [Direct::Never, Direct::Always] {
            let how = OpenHow {
                direct,
                logical: Some(logical),
                ..OpenHow::default()
            };
            sets.extend(files(dir.path(), &how));
        }
        sets.push(
            ["a", "b", "c"]
                .map(|name| Arc::new(Backing::memory(name, DEV_SECTORS as usize * 512, logical))),
        );
        for set in sets {
            let device = device(set);
            assert_eq!(device.logical_block(), logical);
            assert_eq!(device.size(), size);
            let mut run = |way: &mut Way| {
                ways += 1;
                body(way, size, unit, ways as u64 * 7919 + unit, rounds);
                assert_eq!(device.in_flight(), 0);
            };
            let alone = SyncDevice::new(Arc::clone(&device)).expect("sync");
            run(&mut Way::Alone(Box::new(alone)));
            for driver in [DriverChoice::Pool, DriverChoice::Uring] {
                let engine = engine(driver);
                run(&mut Way::Engine(Client::new(&engine, Arc::clone(&device))));
            }
        }
    }
    ways
}

#[test]
fn what_is_read_is_what_was_written() {
    let ways = every_way(512, 150);
    assert!(ways >= 12, "{ways} ways");
}

#[test]
fn requests_need_not_be_whole_sectors() {
    every_way(1, 60);
}

#[test]
fn parts_of_a_block_written_at_once_all_stay() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("tempdir");
    let how = OpenHow {
        direct: Direct::Always,
        logical: Some(4096),
        ..OpenHow::default()
    };
    let Some(set) = files(dir.path(), &how) else {
        // Without O_DIRECT there is no read-modify-write to go wrong.
        return;
    };
    let device = device(set);
    for driver in [DriverChoice::Pool, DriverChoice::Uring] {
        let engine = engine(driver);
        let client = Client::new(&engine, Arc::clone(&device));
        for round in 1..=20u8 {
            // Sectors 8..24 of the volume are not at block boundaries of the file, so that these
            // requests share blocks; one write of whole blocks goes with them.
            let whole = client.begin(Request::write(64 * 512, Buf::zeroed(8192), false));
            let flying: Vec<_> = (0..16u64)
                .map(|n| {
                    let buf = Buf::copy_of(&[round.wrapping_mul(16) ^ n as u8; 512]);
                    client.begin(Request::write((8 + n) * 512, buf, n % 5 == 0))
                })
                .collect();
            for answer in flying {
                assert_eq!(answer.recv().expect("answered").result, Ok(()));
            }
            assert_eq!(whole.recv().expect("answered").result, Ok(()));
            let got = client.request(Request::read(8 * 512, Buf::zeroed(16 * 512)));
            let got = got.expect("answered").buf.expect("a buffer");
            for (n, sector) in got.chunks(512).enumerate() {
                let wanted = round.wrapping_mul(16) ^ n as u8;
                assert!(
                    sector.iter().all(|b| *b == wanted),
                    "round {round}, sector {n}"
                );
            }
        }
    }
}
