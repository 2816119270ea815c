//! `daemon`: the owner of live devices; its state and its end.

use std::path::Path;
use std::time::Duration;

use ulvm::daemon::client::{Client, READY};
use ulvm::daemon::events::Commands;
use ulvm::daemon::proto::{DeviceStatus, ProcessStatus, Status};
use ulvm::daemon::replace;
use ulvm::daemon::server::{self, Settings};
use ulvm::error::{Error, Result};

use super::lv_args::usage;
use crate::args::{Args, Opt};
use crate::context::Context;

/// Setting: seconds between two looks at the metadata of live volumes; 0 = never.
const WATCH_INTERVAL: &str = "ulvm/watch_interval";
/// If it is not set.
const WATCH_DEFAULT: u64 = 2;

/// Runs a daemon, or asks the running one.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if !args.operands().is_empty() {
        return Err(usage("daemon", "The daemon takes no operands."));
    }
    let asked = [
        Opt::DaemonStatus,
        Opt::DaemonStop,
        Opt::DaemonReplace,
        Opt::DaemonEnter,
    ];
    match asked.map(|opt| args.has(opt)) {
        [false, false, false, false] => serve(ctx, args.has(Opt::Detach)),
        [true, false, false, false] => status(ctx, args.has(Opt::Json)),
        [false, true, false, false] => match connect(ctx)? {
            Some(mut client) => client.stop(),
            None => Ok(()),
        },
        [false, false, true, false] => replaced(ctx),
        [false, false, false, true] => match connect(ctx)? {
            Some(mut client) => client.enter(Path::new(args.text(Opt::DaemonEnter).unwrap_or("/"))),
            None => Ok(()),
        },
        _ => Err(usage(
            "daemon",
            "One of --status, --stop, --replace and --enter.",
        )),
    }
}

fn replaced(ctx: &Context) -> Result<()> {
    let status = replace::replace(&ctx.settings().env.run_dir())?;
    ctx.ui().print(format!(
        "The daemon runs version {} now, with a new worker.",
        status.version
    ));
    Ok(())
}

fn connect(ctx: &Context) -> Result<Option<Client>> {
    Client::connect(&ctx.settings().env.run_dir())
}

fn serve(ctx: &Context, detach: bool) -> Result<()> {
    let pause = match ctx.config().is_set(WATCH_INTERVAL) {
        true => u64::try_from(ctx.config().int(WATCH_INTERVAL)).unwrap_or(0),
        false => WATCH_DEFAULT,
    };
    let settings = Settings {
        run_dir: ctx.settings().env.run_dir(),
        detach,
        manager: ctx.settings().env.manager.clone(),
        commands: Commands::configured(|path| ctx.config().str(path)),
        watch: (pause > 0).then(|| Duration::from_secs(pause)),
    };
    let out = ctx.terminal();
    let outcome = server::run(&settings, || {
        out.line(READY);
        out.flush();
    });
    if let (Err(error), true) = (&outcome, detach) {
        // Whoever started it reads this; nobody reads its standard error.
        out.line(&error.to_string().replace('\n', " "));
        out.flush();
    }
    outcome
}

fn status(ctx: &Context, json: bool) -> Result<()> {
    let Some(mut client) = connect(ctx)? else {
        let dir = ctx.settings().env.run_dir();
        return Err(Error::not_found(format!(
            "No daemon is running in {}.",
            dir.display()
        )));
    };
    let status = client.status(true)?;
    if json {
        let text = serde_json::to_string_pretty(&status);
        let text = text.map_err(|e| Error::refused(e.to_string()))?;
        ctx.terminal().put(&format!("{text}\n"));
    } else {
        ctx.terminal().put(&plain(&status));
    }
    Ok(())
}

fn plain(status: &Status) -> String {
    let worker = match status.worker_pid {
        Some(pid) => pid.to_string(),
        None => "being started".to_owned(),
    };
    let mut text = format!(
        "Version {}, supervisor {}, worker {worker} ({}), {} restarts, {} requests sent again\n",
        status.version, status.supervisor_pid, status.driver, status.restarts, status.resent
    );
    text.push_str(&format!("Memory: {}\n", status.memory));
    for process in &status.processes {
        text.push_str(&process_line(process));
    }
    text.push_str(&format!("A kill of both: {}\n", status.kill.both));
    for device in &status.devices {
        text.push_str(&line(device));
    }
    text
}

fn process_line(process: &ProcessStatus) -> String {
    let standing = process.standing.map(|s| {
        let locked = if s.memory_locked {
            "memory locked"
        } else {
            "memory not locked"
        };
        let flusher = if s.io_flusher {
            "an I/O flusher"
        } else {
            "no I/O flusher"
        };
        format!(" ({locked}, {flusher}, OOM score {})", s.oom_score_adj)
    });
    let standing = standing.unwrap_or_default();
    format!(
        "A kill of the {}{standing}: {}\n",
        process.role, process.kill
    )
}

fn line(device: &DeviceStatus) -> String {
    let state = match (device.suspended, device.open) {
        (true, _) => "suspended",
        (false, Some(true)) => "open",
        (false, _) => "active",
    };
    let node = device.node.as_ref().map(|n| n.display().to_string());
    let node = node.or_else(|| device.uri.clone());
    let node = node.unwrap_or_else(|| "not shown".to_owned());
    let lost = device.withdrawn.iter();
    let lost: String = lost.map(|why| format!(", withdrawn: {why}")).collect();
    format!(
        "{} {} bytes, {state}, {node}{lost}\n",
        device.name, device.size
    )
}
