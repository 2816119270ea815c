//! `write`: standard input into an LV, through the engine in this process.

use std::io::{self, Read};
use std::time::Duration;

use ulvm::activate::open::How;
use ulvm::error::{Error, Kind, Result};
use ulvm_engine::sync::{RUN, SyncDevice};

use super::content::{bytes, io_error, lv_operand, open_lv};
use crate::args::{Args, Opt};
use crate::context::Context;

/// How long mirrors may take to come to rest.
const STOP: Duration = Duration::from_secs(60);

/// Writes all of standard input, and flushes before it ends with success.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let (vg, lv) = lv_operand(ctx, args, "write")?;
    let offset = bytes(args, Opt::Offset, "write")?.unwrap_or(0);
    let name = format!("{vg}/{lv}");
    let mut session = ctx.session()?;
    let how = How {
        exclusive: true,
        ..How::WRITE
    };
    let opened = open_lv(ctx, args, &mut session, (&vg, &lv), how)?;
    let size = opened.device.size();
    if offset > size {
        return Err(too_much(&name, size));
    }
    if ctx.settings().test {
        return Ok(());
    }
    let engine = |e| Error::refused(format!("{e}")).with_source(e);
    let mut device = SyncDevice::new(opened.device).map_err(engine)?;
    let written = copy_in(&mut device, &name, offset, size);
    // What was written before an error is made durable all the same.
    let flushed = device.flush().map_err(|e| io_error(&name, e));
    let stopped = device.stop(STOP).map_err(engine);
    written.and(flushed).and(stopped)
}

fn too_much(name: &str, size: u64) -> Error {
    Error::refused(format!(
        "Logical volume {name} has {size} bytes: the input does not fit."
    ))
}

fn copy_in(device: &mut SyncDevice, name: &str, offset: u64, size: u64) -> Result<()> {
    let mut input = io::stdin().lock();
    let mut buf = vec![0; RUN];
    let mut at = offset;
    loop {
        let len = fill(&mut input, &mut buf)?;
        if len == 0 {
            return Ok(());
        }
        let room = usize::try_from(size - at).unwrap_or(usize::MAX).min(len);
        device
            .write_at(at, &buf[..room])
            .map_err(|e| io_error(name, e))?;
        if room < len {
            return Err(too_much(name, size));
        }
        at += len as u64;
    }
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut dyn Read, buf: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match input.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(Error::new(Kind::Io, format!("standard input: {e}")).with_source(e));
            }
        }
    }
    Ok(len)
}
