//! What `read`, `write`, `serve` and `bench` share: naming an LV and opening it in the engine of
//! this process.

use ulvm::activate::open::{How, Opened, open};
use ulvm::activate::plan::{Filler, Hole, Missing};
use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::VgRead;
use ulvm::session::{Allow, Session};
use ulvm_engine::error::IoError;
use ulvm_metadata::model::{LvKey, Vg};

use super::lv_args::{lv_path, usage};
use crate::args::{Args, Opt};
use crate::context::Context;

/// A number of bytes: a plain number, or one with a unit (b, s, k, m, g, t, p, e; 1024-based).
pub fn bytes(args: &Args, opt: Opt, command: &str) -> Result<Option<u64>> {
    let Some(text) = args.text(opt) else {
        return Ok(None);
    };
    match parse_bytes(text) {
        Some(n) => Ok(Some(n)),
        None => Err(usage(
            command,
            format!("Invalid argument for --{}: {text}", opt.spec().long),
        )),
    }
}

/// `4096`, `4k`, `8s`, `1GiB`... as bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").unwrap_or(&unit);
    let shift = match unit {
        "" | "b" => 0,
        "s" => 9,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        "e" => 60,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The one operand: an LV.
pub fn lv_operand(ctx: &Context, args: &Args, command: &str) -> Result<(String, String)> {
    match args.operands() {
        [name] => lv_path(ctx, command, name),
        [] => Err(usage(command, "Please specify a logical volume path.")),
        _ => Err(usage(command, "Only one logical volume at a time.")),
    }
}

/// The LV of a name.
pub fn find_lv(vg: &Vg, lv: &str) -> Result<LvKey> {
    let named = vg.lvs.iter().find(|(_, l)| l.name == lv);
    named.map(|(key, _)| key).ok_or_else(|| {
        Error::not_found(format!(
            "Failed to find logical volume \"{}/{lv}\"",
            vg.name
        ))
    })
}

/// What `--activationmode` (or the configuration) says about missing PVs.
pub fn missing(ctx: &Context, args: &Args, filler: Filler) -> Missing {
    let configured = ctx.config().str("activation/activation_mode");
    match args.text(Opt::ActivationMode).unwrap_or(&configured) {
        "partial" => Missing::Fill(filler),
        "complete" => Missing::Refuse,
        _ => Missing::Degraded,
    }
}

/// Opens `VG/LV` and says what is missing of it. The VG stays locked as long as the session lives.
pub fn open_lv(
    ctx: &Context,
    args: &Args,
    session: &mut Session,
    (vg, lv): (&str, &str),
    how: How,
) -> Result<Opened> {
    let read = session.vg_for_read(vg, Allow::default())?;
    let key = find_lv(&read.vg, lv)?;
    let filler = if how.write {
        Filler::Error
    } else {
        Filler::Zero
    };
    let how = How {
        missing: missing(ctx, args, filler),
        ..how
    };
    let opened = open(session, &read, key, how)?;
    for hole in &opened.holes {
        ctx.ui().warn(describe(&read, lv, hole, how.write));
    }
    Ok(opened)
}

/// A part of an LV that is not there, in words.
pub fn describe(read: &VgRead, lv: &str, hole: &Hole, write: bool) -> String {
    let stripe = hole.stripe.map_or(String::new(), |(n, of, chunk)| {
        format!(" stripe {} of {of} (chunks of {chunk} sectors) of", n + 1)
    });
    let end = hole.start.0 + hole.len.0;
    let what = if write {
        "cannot be written"
    } else {
        "reads as zeroes"
    };
    format!(
        "Logical volume {}/{lv}:{stripe} sectors {} to {} {what}: physical volume {} is missing.",
        read.vg.name,
        hole.start,
        end.saturating_sub(1),
        read.vg.pvs[hole.pv].id,
    )
}

/// An I/O error of an LV.
pub fn io_error(lv: &str, e: IoError) -> Error {
    Error::new(Kind::Io, format!("Logical volume {lv}: {e}")).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_in_bytes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4086", Some(4086)),
            ("3s", Some(1536)),
            ("4k", Some(4096)),
            ("1GiB", Some(1 << 30)),
            ("2M", Some(2 << 20)),
            ("", None),
            ("k", None),
            ("1x", None),
            ("-1", None),
            ("99999999999e", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }
}
