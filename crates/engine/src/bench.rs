//! A load generator that enters where exports do: tasks on the engine's queues, each keeping a
//! number of requests to a device in flight.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::buf::Buf;
use crate::device::Device;
use crate::error::{Error, IoError};
use crate::io::{Completion, Request};
use crate::queue::{Cx, Engine, Event, Task};
use crate::stats::Latencies;

/// In which order and direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// Write, not read.
    pub write: bool,
    /// At random places, not one after another.
    pub random: bool,
}

/// What load to make.
#[derive(Clone, Debug)]
pub struct Load {
    /// Order and direction.
    pub pattern: Pattern,
    /// Bytes per request.
    pub block: u64,
    /// Requests in flight, per job.
    pub depth: usize,
    /// How long.
    pub runtime: Duration,
    /// Jobs, spread over the queues.
    pub jobs: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests answered.
    pub ios: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// CPU time of the whole process, kernel and user.
    pub cpu: Duration,
    /// From request to answer, of all requests the device has had so far.
    pub latencies: Latencies,
    /// Requests that failed, and the first error.
    pub errors: (u64, Option<IoError>),
    /// What carries the operations.
    pub driver: &'static str,
}

/// Most requests in flight of one job.
pub const MAX_DEPTH: usize = 4096;
/// Largest request.
pub const MAX_BLOCK: u64 = 64 << 20;

#[derive(Debug)]
struct Part {
    ios: u64,
    elapsed: Duration,
    errors: (u64, Option<IoError>),
}

struct Job {
    device: Arc<Device>,
    load: Load,
    /// Blocks on the device.
    blocks: u64,
    next: u64,
    random: u64,
    in_flight: usize,
    began: Instant,
    part: Option<Part>,
    report: Sender<Part>,
    stop: bool,
}

impl Job {
    fn place(&mut self) -> u64 {
        if self.load.pattern.random {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            // The high half of the product: even without a division.
            ((u128::from(self.random) * u128::from(self.blocks)) >> 64) as u64 * self.load.block
        } else {
            let at = self.next;
            self.next = if at + 1 == self.blocks { 0 } else { at + 1 };
            at * self.load.block
        }
    }

    fn submit(&mut self, cx: &mut Cx<'_>, buf: Buf, token: u64) {
        let at = self.place();
        let request = match self.load.pattern.write {
            true => Request::write(at, buf, false),
            false => Request::read(at, buf),
        };
        self.in_flight += 1;
        cx.submit(&self.device, request, token);
    }

    fn answered(&mut self, cx: &mut Cx<'_>, completion: Completion) {
        self.in_flight -= 1;
        if let Some(part) = &mut self.part {
            part.ios += 1;
            if let Err(e) = completion.result {
                part.errors.0 += 1;
                part.errors.1.get_or_insert(e);
            }
        }
        let spent = cx.now().saturating_duration_since(self.began);
        let over = self.stop || spent >= self.load.runtime;
        match completion.buf {
            Some(buf) if !over => self.submit(cx, buf, completion.token),
            _ => self.ended(cx),
        }
    }

    fn ended(&mut self, cx: &mut Cx<'_>) {
        if self.in_flight > 0 {
            return;
        }
        if let Some(mut part) = self.part.take() {
            part.elapsed = self.began.elapsed();
            // Whoever asked for it has gone.
            let _ = self.report.send(part);
        }
        cx.exit();
    }
}

impl Task for Job {
    fn start(&mut self, cx: &mut Cx<'_>) {
        self.began = Instant::now();
        for token in 0..self.load.depth {
            let mut buf = Buf::zeroed(self.load.block as usize);
            if self.load.pattern.write {
                fill(&mut buf, token as u64);
            }
            self.submit(cx, buf, token as u64);
        }
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Done(completion) => self.answered(cx, completion),
            Event::Stop => self.stop = true,
            Event::Ready(..) | Event::Timer(_) | Event::Message(_) | Event::Command(_) => {}
        }
    }
}

/// Bytes that do not compress.
fn fill(buf: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in buf.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec as u32)
}

/// Loads a device and waits until it is done.
pub fn run(engine: &Engine, device: &Arc<Device>, load: &Load) -> Result<Report, Error> {
    let wrong = |what| Error::State {
        device: device.name().to_string(),
        what,
    };
    if load.block == 0 || load.block > MAX_BLOCK || load.depth == 0 || load.depth > MAX_DEPTH {
        return Err(wrong("the block size or the depth is out of range"));
    }
    let blocks = device.size() / load.block;
    if blocks == 0 {
        return Err(wrong("the device is smaller than one block"));
    }
    let (report, parts) = channel();
    let cpu = cpu_time();
    let jobs = load.jobs.max(1) as u64;
    for job in 0..jobs {
        let task = Job {
            device: Arc::clone(device),
            load: load.clone(),
            blocks,
            next: blocks / jobs * job,
            random: (job + 1).wrapping_mul(0x2545_F491_4F6C_DD1D),
            in_flight: 0,
            began: Instant::now(),
            part: Some(Part {
                ios: 0,
                elapsed: Duration::ZERO,
                errors: (0, None),
            }),
            report: report.clone(),
            stop: false,
        };
        engine.spawn(Some(job as usize), Box::new(task));
    }
    drop(report);
    let parts: Vec<Part> = parts.iter().collect();
    let ios = parts.iter().map(|p| p.ios).sum();
    Ok(Report {
        ios,
        bytes: ios * load.block,
        elapsed: parts.iter().map(|p| p.elapsed).max().unwrap_or_default(),
        cpu: cpu_time().saturating_sub(cpu),
        latencies: match load.pattern.write {
            true => device.stats().write_latency,
            false => device.stats().read_latency,
        },
        errors: (
            parts.iter().map(|p| p.errors.0).sum(),
            parts.into_iter().find_map(|p| p.errors.1),
        ),
        driver: engine.driver(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backing;
    use crate::limits::Settings;
    use crate::table_text::{Resolve, parse};

    struct One(Arc<Backing>);
    impl Resolve for One {
        fn resolve(&mut self, _word: &str) -> Result<Arc<Backing>, String> {
            Ok(Arc::clone(&self.0))
        }
    }

    #[test]
    fn load_passes_through_the_device_and_is_counted_there() {
        let mem = Arc::new(Backing::memory("m", 1 << 20, 512));
        let table = parse("0 1024 linear m 1024\n1024 512 error\n", &mut One(mem));
        let device = Device::with_table("d", table.expect("table"));
        let engine = Engine::start(&Settings::default()).expect("engine");
        let load = Load {
            pattern: Pattern {
                write: true,
                random: true,
            },
            block: 4096,
            depth: 8,
            runtime: Duration::from_millis(50),
            jobs: 2,
        };
        let report = run(&engine, &device, &load).expect("report");
        let stats = device.stats();
        assert!(report.ios > 16 && report.latencies.total() == report.ios);
        assert_eq!(stats.writes.ios, report.ios);
        assert_eq!(stats.errors, report.errors.0);
        // A third of the device fails.
        let share = report.errors.0 as f64 / report.ios as f64;
        assert!((0.2..0.5).contains(&share), "{share}");
        let first = report.errors.1.expect("an error");
        assert_eq!((&*first.device, first.sector >= 1024), ("d", true));
    }
}
