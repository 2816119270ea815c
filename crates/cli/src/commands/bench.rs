//! `bench`: load on an LV, a table or a file, made by the engine in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use ulvm::activate::open::How;
use ulvm::error::{Error, Kind, Result};
use ulvm_engine::backend::{Backing, Direct, OpenHow};
use ulvm_engine::bench::{self, Load, MAX_BLOCK, MAX_DEPTH, Pattern, Report};
use ulvm_engine::device::Device;
use ulvm_engine::io::Sectors;
use ulvm_engine::limits::{DriverChoice, Settings};
use ulvm_engine::queue::Engine;
use ulvm_engine::table::{Segment, Slot, Table};
use ulvm_engine::table_text::{OpenPaths, parse};
use ulvm_engine::target::{DevIndex, Linear};

use super::content::{bytes, lv_operand, open_lv};
use super::lv_args::usage;
use crate::args::{Args, Opt};
use crate::context::Context;

/// Percentiles that are reported.
const PERCENTILES: [f64; 6] = [50.0, 90.0, 95.0, 99.0, 99.9, 99.99];
/// Longest run.
const MAX_SECONDS: i64 = 24 * 3600;

/// Makes load and reports what came of it.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let load = load(args)?;
    let direct = match args.yes_no(Opt::Direct) {
        None => Direct::Auto,
        Some(true) => Direct::Always,
        Some(false) => Direct::Never,
    };
    let mut session = ctx.session()?;
    let device = match (args.text(Opt::Table), args.operands()) {
        (Some(file), []) => of_table(file, load.pattern.write, direct)?,
        (None, [path]) if is_file(path) => of_file(path, load.pattern.write, direct)?,
        (None, _) => {
            let (vg, lv) = lv_operand(ctx, args, "bench")?;
            let how = How {
                write: load.pattern.write,
                exclusive: load.pattern.write,
                direct,
                ..How::READ
            };
            open_lv(ctx, args, &mut session, (&vg, &lv), how)?.device
        }
        (Some(_), _) => return Err(usage("bench", "--table and an operand exclude each other.")),
    };
    let question = format!("Writing to {} destroys its contents. Go on?", device.name());
    if load.pattern.write && !ctx.ui().ask(&question) {
        return Err(Error::new(Kind::Declined, "Nothing was written."));
    }
    let settings = Settings {
        queues: load.jobs,
        depth: u32::try_from(load.depth).unwrap_or(u32::MAX),
        driver: match args.text(Opt::IoDriver) {
            Some("uring") => DriverChoice::Uring,
            Some("pool") => DriverChoice::Pool,
            _ => DriverChoice::Auto,
        },
        ..Settings::default()
    };
    let engine = Engine::start(&settings).map_err(engine_error)?;
    let report = bench::run(&engine, &device, &load).map_err(engine_error)?;
    if args.has(Opt::Json) {
        ctx.terminal().put(&as_json(&device, &load, &report));
    } else {
        as_text(ctx, &report);
    }
    match report.errors {
        (n, Some(first)) => Err(Error::new(
            Kind::Io,
            format!("{n} requests failed: {first}"),
        )),
        _ => Ok(()),
    }
}

fn engine_error(e: ulvm_engine::error::Error) -> Error {
    Error::new(Kind::Io, e.to_string()).with_source(e)
}

/// A path of a file or block device, rather than the name of an LV.
fn is_file(operand: &str) -> bool {
    std::fs::metadata(operand).is_ok_and(|m| !m.is_dir())
}

fn load(args: &Args) -> Result<Load> {
    let (write, random) = match args.text(Opt::Rw) {
        None | Some("randread") => (false, true),
        Some("read") => (false, false),
        Some("write") => (true, false),
        Some("randwrite") => (true, true),
        Some(other) => {
            return Err(usage(
                "bench",
                format!("Invalid argument for --rw: {other}"),
            ));
        }
    };
    let block = bytes(args, Opt::BlockSize, "bench")?.unwrap_or(4096);
    if block == 0 || block > MAX_BLOCK {
        return Err(usage("bench", "--bs is out of range."));
    }
    let number = |opt: Opt, default: i64, max: i64| match args.number(opt).unwrap_or(default) {
        n if (1..=max).contains(&n) => Ok(n),
        _ => Err(usage(
            "bench",
            format!("--{} is out of range.", opt.spec().long),
        )),
    };
    Ok(Load {
        pattern: Pattern { write, random },
        block,
        depth: number(Opt::IoDepth, 32, MAX_DEPTH as i64)? as usize,
        runtime: Duration::from_secs(number(Opt::Runtime, 5, MAX_SECONDS)? as u64),
        jobs: number(Opt::Jobs, 1, 1024)? as usize,
    })
}

fn how(write: bool, direct: Direct) -> OpenHow {
    OpenHow {
        read_only: !write,
        direct,
        exclusive: write,
        lock: write,
        ..OpenHow::default()
    }
}

fn of_table(file: &str, write: bool, direct: Direct) -> Result<Arc<Device>> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(format!("read {file}"), e))?;
    let mut devices = OpenPaths::new(how(write, direct));
    let table = parse(&text, &mut devices).map_err(engine_error)?;
    Ok(Device::with_table(file, table))
}

fn of_file(path: &str, write: bool, direct: Direct) -> Result<Arc<Device>> {
    let backing = Backing::open(Path::new(path), &how(write, direct)).map_err(engine_error)?;
    let len = Sectors(backing.size() / 512);
    let segment = Segment {
        start: Sectors(0),
        len,
        target: Box::new(Linear::new(DevIndex(0), Sectors(0))),
    };
    let slot = Slot::new(Arc::new(backing), path.to_owned());
    let table = Table::new(vec![segment], vec![slot]).map_err(engine_error)?;
    Ok(Device::with_table(path, table))
}

fn rates(report: &Report) -> (f64, f64, f64) {
    let seconds = report.elapsed.as_secs_f64().max(1e-9);
    let per_io = report.cpu.as_secs_f64() * 1e6 / report.ios.max(1) as f64;
    (
        report.ios as f64 / seconds,
        report.bytes as f64 / seconds,
        per_io,
    )
}

fn as_text(ctx: &Context, report: &Report) {
    let (iops, bandwidth, cpu) = rates(report);
    let out = ctx.terminal();
    out.line(&format!(
        "{iops:.0} I/Os per second, {:.1} MiB/s, {cpu:.2} us of CPU per I/O ({})",
        bandwidth / f64::from(1 << 20),
        report.driver
    ));
    let percentile = |p: f64| {
        let took = report.latencies.percentile(p).unwrap_or_default();
        format!("{p}%: {:.1} us", took.as_secs_f64() * 1e6)
    };
    let all: Vec<String> = PERCENTILES.iter().map(|p| percentile(*p)).collect();
    out.line(&format!("latency {}", all.join(", ")));
}

fn as_json(device: &Device, load: &Load, report: &Report) -> String {
    let (iops, bandwidth, cpu) = rates(report);
    let mut percentiles = serde_json::Map::new();
    for p in PERCENTILES {
        let took = report.latencies.percentile(p).unwrap_or_default();
        percentiles.insert(p.to_string(), json!(took.as_secs_f64() * 1e6));
    }
    let stats = device.stats();
    let value = json!({
        "device": device.name().as_ref(),
        "driver": report.driver,
        "bs": load.block,
        "iodepth": load.depth,
        "jobs": load.jobs,
        "ios": report.ios,
        "errors": report.errors.0,
        "runtime_s": report.elapsed.as_secs_f64(),
        "iops": iops,
        "bytes_per_s": bandwidth,
        "cpu_us_per_io": cpu,
        "latency_us": percentiles,
        "diskstats": stats.diskstats(),
    });
    format!("{value:#}\n")
}
