//! `serve`: logical volumes, or a table, for NBD clients, as files and as block devices, in the foreground.

use std::sync::Arc;

use ulvm::activate::open::{How, OpenPvs, open_with};
use ulvm::error::{Error, Kind, Result};
use ulvm::serve::{Plan, serve};
use ulvm::session::Allow;
use ulvm_engine::backend::OpenHow;
use ulvm_engine::device::Device;
use ulvm_engine::export::nbd;
use ulvm_engine::table_text::{OpenPaths, parse};

use super::content::{describe, find_lv, missing};
use super::lv_args::{lv_path, usage};
use super::serve_limits::{direct, limits, settings};
use crate::args::{Args, Opt};
use crate::context::Context;
use ulvm::activate::plan::Filler;

/// A device and the name it is served under.
pub type Named = (String, Arc<Device>);

/// Serves until a signal asks for the end.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    serve_devices(ctx, args, "serve", || {
        match (args.text(Opt::Table), args.operands()) {
            (Some(file), []) => Ok(vec![table(args, file)?]),
            (Some(_), _) => Err(usage("serve", "Either a table or logical volumes.")),
            (None, []) => Err(usage("serve", "Please specify a logical volume path.")),
            (None, names) => volumes(ctx, args, names),
        }
    })
}

/// Serves what `devices` opens, where the options say, until a signal asks for the end.
pub fn serve_devices(
    ctx: &Context,
    args: &Args,
    command: &str,
    devices: impl FnOnce() -> Result<Vec<Named>>,
) -> Result<()> {
    let mut addresses = Vec::new();
    for word in args.texts(Opt::Nbd) {
        let address: nbd::Address = word
            .parse()
            .map_err(|e| usage(command, format!("Invalid argument for --nbd: {e}")))?;
        addresses.push(address);
    }
    let (engine, limits) = (settings(args, command)?, limits(args, command)?);
    let fuse = args.text(Opt::Fuse).map(Into::into);
    let ublk = args.has(Opt::Ublk);
    if addresses.is_empty() && fuse.is_none() && !ublk {
        let text = "Please say where: --nbd unix:PATH, --nbd tcp:HOST:PORT, --fuse DIR or --ublk.";
        return Err(usage(command, text));
    }
    let plan = Plan {
        devices: devices()?,
        nbd: addresses,
        fuse,
        ublk,
        run_dir: ctx.settings().env.run_dir(),
        engine,
        limits,
    };
    serve(plan, |places| {
        for place in places {
            ctx.terminal().line(&format!("Serving {place}"));
        }
        ctx.terminal().flush();
    })
}

/// The device of a table, under the name of `--name`, else the file's.
fn table(args: &Args, file: &str) -> Result<Named> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|e| Error::new(Kind::Io, format!("{file}: {e}")).with_source(e))?;
    let stem = std::path::Path::new(file).file_stem();
    let stem = stem.map_or(file.into(), |s| s.to_string_lossy());
    of_text(args, file, &text, args.text(Opt::Name).unwrap_or(&stem))
}

/// The device of a table's text; `from` says in messages where it comes from.
pub fn of_text(args: &Args, from: &str, text: &str, name: &str) -> Result<Named> {
    let wrong = |text: String| Error::new(Kind::Io, format!("{from}: {text}"));
    let write = !args.has(Opt::ReadOnly);
    let mut paths = OpenPaths::new(OpenHow {
        read_only: !write,
        exclusive: true,
        lock: true,
        direct: direct(args),
        ..OpenHow::default()
    });
    let table = parse(text, &mut paths).map_err(|e| wrong(e.to_string()).with_source(e))?;
    let device = Device::with_table(name, table);
    device.set_read_only(!write);
    Ok((name.to_owned(), device))
}

/// The devices of LVs. The VGs are locked only until all are open, so others can work on the rest
/// of them meanwhile.
fn volumes(ctx: &Context, args: &Args, names: &[String]) -> Result<Vec<Named>> {
    let write = !args.has(Opt::ReadOnly);
    let how = How {
        ignore_permission: true,
        exclusive: true,
        direct: direct(args),
        missing: missing(ctx, args, Filler::Error),
        ..if write { How::WRITE } else { How::READ }
    };
    let mut session = ctx.session()?;
    let (mut pvs, mut devices) = (OpenPvs::default(), Vec::<Named>::new());
    for word in names {
        let (vg, lv) = lv_path(ctx, "serve", word)?;
        let name = format!("{vg}/{lv}");
        if devices.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let read = session.vg_for_read(&vg, Allow::default())?;
        let key = find_lv(&read.vg, &lv)?;
        let opened = open_with(&session, &read, key, how, &mut pvs)?;
        for hole in &opened.holes {
            ctx.ui().warn(describe(&read, &lv, hole, write));
        }
        if !read.vg.lvs[key].status.write {
            opened.device.set_read_only(true);
        }
        opened.in_use.until_exit();
        devices.push((name, opened.device));
    }
    Ok(devices)
}
