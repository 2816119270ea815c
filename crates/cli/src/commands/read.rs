//! `read`: the contents of an LV to standard output, through the engine in this process.

use ulvm::activate::open::How;
use ulvm::error::{Error, Result};
use ulvm_engine::sync::{RUN, SyncDevice};

use super::content::{bytes, io_error, lv_operand, open_lv};
use crate::args::{Args, Opt};
use crate::context::Context;

/// Reads until the end, or `--length` bytes. What lies before an unreadable sector is given out.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let (vg, lv) = lv_operand(ctx, args, "read")?;
    let offset = bytes(args, Opt::Offset, "read")?.unwrap_or(0);
    let length = bytes(args, Opt::Length, "read")?;
    let name = format!("{vg}/{lv}");
    let mut session = ctx.session()?;
    let opened = open_lv(ctx, args, &mut session, (&vg, &lv), How::READ)?;
    let size = opened.device.size();
    let end = match length {
        None if offset <= size => size,
        Some(length) if offset.checked_add(length).is_some_and(|end| end <= size) => {
            offset + length
        }
        _ => {
            return Err(Error::refused(format!(
                "Logical volume {name} has {size} bytes: the range from byte {offset} on is not in it."
            )));
        }
    };
    let engine = |e| Error::refused(format!("{e}")).with_source(e);
    let mut device = SyncDevice::new(opened.device).map_err(engine)?;
    copy_out(ctx, &mut device, &name, offset, end)
}

fn copy_out(
    ctx: &Context,
    device: &mut SyncDevice,
    name: &str,
    offset: u64,
    end: u64,
) -> Result<()> {
    let mut buf = vec![0; RUN];
    let mut at = offset;
    while at < end && !ctx.terminal().closed() {
        let len = RUN.min(usize::try_from(end - at).unwrap_or(RUN));
        let part = &mut buf[..len];
        if device.read_at(at, part).is_err() {
            up_to_the_error(ctx, device, name, at, part)?;
        } else {
            ctx.terminal().put_bytes(part);
        }
        at += len as u64;
    }
    Ok(())
}

/// Reads sector by sector to find the first that cannot be read. An error that does not come again
/// is none: all of the range has been given out then.
fn up_to_the_error(
    ctx: &Context,
    device: &mut SyncDevice,
    name: &str,
    start: u64,
    buf: &mut [u8],
) -> Result<()> {
    let mut at = start;
    for part in buf.chunks_mut(512) {
        device.read_at(at, part).map_err(|e| io_error(name, e))?;
        ctx.terminal().put_bytes(part);
        at += part.len() as u64;
    }
    Ok(())
}
