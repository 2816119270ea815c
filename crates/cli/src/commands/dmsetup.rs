//! `dmsetup`: devices of device-mapper tables on the daemon's engine.

use std::io::Read;

use ulvm::daemon::client::Client;
use ulvm::daemon::proto::{DeviceStatus, Export, NewDevice};
use ulvm::error::{Error, Result};
use ulvm_engine::table_text::MAX_TEXT;
use ulvm_engine::target::REGISTRY;

use super::lv_args::usage;
use super::vgcreate::dev_dir;
use crate::args::{Args, Opt};
use crate::context::Context;

const COMMAND: &str = "dmsetup";

/// Makes, changes, shows and removes devices.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let Some((word, operands)) = args.operands().split_first() else {
        return Err(usage(COMMAND, "Please say what to do, e.g. dmsetup ls."));
    };
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    match (word.as_str(), operands.as_slice()) {
        ("create", [name, file @ ..]) if file.len() <= 1 => create(ctx, args, name, file.first()),
        ("load" | "reload", [name, file @ ..]) if file.len() <= 1 => {
            let text = table(ctx, args, file.first())?;
            with(ctx, name, |client, name| {
                client.load(name, text, Vec::new())
            })
        }
        ("clear", names) => each(ctx, names, Client::clear),
        ("suspend", names) => each(ctx, names, Client::suspend),
        ("resume", names) => each(ctx, names, Client::resume),
        ("remove", names) => each(ctx, names, |client, name| client.deactivate(vec![name])),
        ("table", names) => lines(ctx, names, |device| match args.has(Opt::Inactive) {
            true => device.loaded.clone().unwrap_or_default(),
            false => device.table.clone(),
        }),
        ("status", names) => lines(ctx, names, |device| device.target_status.clone()),
        ("info", names) => {
            let blocks: Vec<String> = chosen(ctx, names)?.iter().map(info).collect();
            ctx.terminal().put(&blocks.join("\n"));
            Ok(())
        }
        ("ls", []) => ls(ctx),
        ("targets", []) => {
            for target in REGISTRY {
                ctx.terminal().put(&format!("{:<16} v1.0.0\n", target.name));
            }
            Ok(())
        }
        ("version", []) => {
            let version = env!("CARGO_PKG_VERSION");
            let text =
                format!("Library version:   {version}\nDriver version:    {version} (ulvm)\n");
            ctx.terminal().put(&text);
            Ok(())
        }
        ("create" | "load" | "reload" | "ls" | "targets" | "version", _) => {
            Err(usage(COMMAND, format!("{word}: wrong number of operands.")))
        }
        _ => Err(usage(COMMAND, format!("Unknown command: {word}"))),
    }
}

fn not_found(name: &str) -> Error {
    Error::not_found(format!("Device {name} not found"))
}

fn existing(ctx: &Context) -> Result<Option<Client>> {
    Client::connect(&ctx.settings().env.run_dir())
}

/// The name without the folder of nodes.
fn plain(name: &str) -> String {
    name.strip_prefix("/dev/mapper/").unwrap_or(name).to_owned()
}

/// `--table`, the file, or standard input.
fn table(ctx: &Context, args: &Args, file: Option<&&str>) -> Result<String> {
    let text = match (args.text(Opt::Table), file) {
        (Some(text), None) => text.to_owned(),
        (Some(_), Some(_)) => return Err(usage(COMMAND, "Either --table or a file.")),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|e| Error::io(file, e))?,
        (None, None) => {
            let mut text = String::new();
            let most = MAX_TEXT as u64 + 1;
            let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
            read.map_err(|e| Error::io("standard input", e))?;
            text
        }
    };
    if text.len() > MAX_TEXT {
        return Err(Error::refused("The table is too long."));
    }
    ctx.ui().verbose(format!("Table: {text}"));
    Ok(text)
}

fn create(ctx: &Context, args: &Args, name: &str, file: Option<&&str>) -> Result<()> {
    let env = &ctx.settings().env;
    let text = table(ctx, args, file)?;
    let (export, dev_dir) = match (env.root, &env.dev_dir) {
        (true, _) => (Export::Loop, dev_dir(ctx)),
        (false, Some(dir)) => (Export::Fuse, dir.clone()),
        (false, None) => (Export::Fuse, env.run_dir().join("dev")),
    };
    let name = plain(name);
    let device = NewDevice {
        uuid: args.text(Opt::UuidValue).unwrap_or_default().to_owned(),
        read_only: args.has(Opt::ReadOnly),
        table: text,
        backings: Vec::new(),
        export: Some(match args.text(Opt::Export) {
            Some("fuse") => Export::Fuse,
            Some("loop") => Export::Loop,
            Some("nbd") => Export::Nbd,
            Some("ublk") => Export::Ublk,
            _ => export,
        }),
        links: vec![dev_dir.join("mapper").join(&name)],
        guard: Vec::new(),
        name,
    };
    let mut client = Client::connect_or_start(&env.run_dir())?;
    client.activate(vec![device]).map(drop)
}

fn with(
    ctx: &Context,
    name: &str,
    work: impl FnOnce(&mut Client, String) -> Result<()>,
) -> Result<()> {
    match existing(ctx)? {
        Some(mut client) => work(&mut client, plain(name)),
        None => Err(not_found(name)),
    }
}

fn each(
    ctx: &Context,
    names: &[&str],
    work: impl Fn(&mut Client, String) -> Result<()>,
) -> Result<()> {
    if names.is_empty() {
        return Err(usage(COMMAND, "Please name a device."));
    }
    names.iter().try_for_each(|name| with(ctx, name, &work))
}

/// The devices named; all if none is.
fn chosen(ctx: &Context, names: &[&str]) -> Result<Vec<DeviceStatus>> {
    let devices = match existing(ctx)? {
        Some(mut client) => client.status(true)?.devices,
        None => Vec::new(),
    };
    if names.is_empty() {
        return Ok(devices);
    }
    let find = |name: &&str| {
        let mut all = devices.iter();
        let wanted = plain(name);
        let found = all.find(|d| d.name == wanted || (!d.uuid.is_empty() && d.uuid == wanted));
        found.cloned().ok_or_else(|| not_found(name))
    };
    names.iter().map(find).collect()
}

/// Lines of text of each device, with its name before them where several are shown.
fn lines(ctx: &Context, names: &[&str], text: impl Fn(&DeviceStatus) -> String) -> Result<()> {
    let mut out = String::new();
    for device in chosen(ctx, names)? {
        for line in text(&device).lines() {
            match names.len() {
                1 => out.push_str(&format!("{line}\n")),
                _ => out.push_str(&format!("{}: {line}\n", device.name)),
            }
        }
    }
    ctx.terminal().put(&out);
    Ok(())
}

fn ls(ctx: &Context) -> Result<()> {
    let devices = chosen(ctx, &[])?;
    if devices.is_empty() {
        ctx.terminal().put("No devices found\n");
    }
    for device in devices {
        let (major, minor) = device.major_minor.unwrap_or((0, device.number));
        let line = format!("{}\t({major}:{minor})\n", device.name);
        ctx.terminal().put(&line);
    }
    Ok(())
}

fn info(device: &DeviceStatus) -> String {
    let state = match (device.suspended, device.read_only) {
        (true, _) => "SUSPENDED",
        (false, true) => "ACTIVE (READ-ONLY)",
        (false, false) => "ACTIVE",
    };
    let tables = match (device.live_table, device.loaded_table) {
        (true, true) => "LIVE & INACTIVE",
        (true, false) => "LIVE",
        (false, true) => "INACTIVE",
        (false, false) => "None",
    };
    let (major, minor) = device.major_minor.unwrap_or((0, device.number));
    let mut text = format!(
        "Name:              {}\nState:             {state}\nTables present:    {tables}\nOpen count:        {}\nMajor, minor:      {major}, {minor}\nNumber of targets: {}\n",
        device.name,
        u8::from(device.open == Some(true)),
        device.table.lines().count(),
    );
    if !device.uuid.is_empty() {
        text.push_str(&format!("UUID: {}\n", device.uuid));
    }
    text
}
