//! The options of `serve` and `ccd` that bound what serving may cost: of the engine's threads and
//! of NBD clients. What they come to in memory is in `docs/engine.md` and `docs/nbd.md`.

use std::ops::RangeInclusive;

use ulvm::error::Result;
use ulvm_engine::backend::Direct;
use ulvm_engine::export::nbd::Limits;
use ulvm_engine::limits::{DriverChoice, Settings};

use super::content::bytes;
use super::lv_args::usage;
use crate::args::{Args, Opt};

/// Multiples of this: the largest block a client is told must be one of the least.
const PAYLOAD_UNIT: u64 = 64 << 10;

/// How the engine is to run.
pub fn settings(args: &Args, command: &str) -> Result<Settings> {
    let default = Settings::default();
    Ok(Settings {
        queues: number(args, Opt::Queues, command, 1..=1024)?.unwrap_or(default.queues),
        depth: number(args, Opt::IoDepth, command, 4..=4096)?.unwrap_or(default.depth),
        pin: args.has(Opt::Pin),
        driver: match args.text(Opt::IoDriver) {
            Some("uring") => DriverChoice::Uring,
            Some("pool") => DriverChoice::Pool,
            _ => DriverChoice::Auto,
        },
        ..default
    })
}

/// What NBD clients may cost.
pub fn limits(args: &Args, command: &str) -> Result<Limits> {
    let default = Limits::default();
    let payload = size(args, Opt::MaxPayload, command, PAYLOAD_UNIT..=64 << 20)?;
    if payload.is_some_and(|n| n % PAYLOAD_UNIT != 0) {
        return Err(usage(
            command,
            "--maxpayload has to be a multiple of 64 KiB.",
        ));
    }
    let buffer = size(args, Opt::MaxBuffer, command, 64 << 10..=1 << 30)?;
    let total = size(args, Opt::MaxMemory, command, PAYLOAD_UNIT..=1 << 40)?;
    let largest = u64::from(payload.map_or(default.payload, |n| n as u32));
    if total.is_some_and(|n| n < largest) {
        return Err(usage(
            command,
            format!(
                "--maxmemory has to be at least --maxpayload ({} KiB).",
                largest >> 10
            ),
        ));
    }
    Ok(Limits {
        total: total.map_or(default.total, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        rate: size(args, Opt::MinRate, command, 0..=1 << 30)?.unwrap_or(default.rate),
        clients: number(args, Opt::MaxClients, command, 1..=65_536)?.unwrap_or(default.clients),
        requests: number(args, Opt::MaxRequests, command, 1..=65_536)?.unwrap_or(default.requests),
        payload: payload.map_or(default.payload, |n| n as u32),
        bytes: buffer.map_or(default.bytes, |n| n as usize),
        ..default
    })
}

/// Whether the page cache is passed by.
pub fn direct(args: &Args) -> Direct {
    match args.yes_no(Opt::Direct) {
        None => Direct::Auto,
        Some(true) => Direct::Always,
        Some(false) => Direct::Never,
    }
}

fn number<T: TryFrom<i64>>(
    args: &Args,
    opt: Opt,
    command: &str,
    range: RangeInclusive<i64>,
) -> Result<Option<T>> {
    let Some(text) = args.text(opt) else {
        return Ok(None);
    };
    let within = args.number(opt).filter(|n| range.contains(n));
    match within.and_then(|n| T::try_from(n).ok()) {
        Some(n) => Ok(Some(n)),
        None => Err(usage(
            command,
            format!(
                "Invalid argument for --{}: {text} (from {} to {}).",
                opt.spec().long,
                range.start(),
                range.end()
            ),
        )),
    }
}

fn size(args: &Args, opt: Opt, command: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
    match bytes(args, opt, command)? {
        Some(n) if !range.contains(&n) => Err(usage(
            command,
            format!(
                "Invalid argument for --{}: {n} bytes (from {} KiB to {} MiB).",
                opt.spec().long,
                range.start() >> 10,
                range.end() >> 20
            ),
        )),
        given => Ok(given),
    }
}
