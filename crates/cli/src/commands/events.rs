//! `events`: what has happened to devices and to the daemon.

use std::time::Duration;

use ulvm::daemon::events::{Event, log::Reader};
use ulvm::error::{Error, Result};

use super::lv_args::usage;
use crate::args::{Args, Opt};
use crate::context::Context;

/// How often it is looked for news.
const LOOK: Duration = Duration::from_millis(100);

/// Shows the log; with `--follow`, also what is added to it, until nobody reads.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if !args.operands().is_empty() {
        return Err(usage("events", "The command takes no operands."));
    }
    let (follow, json) = (args.has(Opt::Follow), args.has(Opt::Json));
    let dir = ctx.settings().env.run_dir();
    let mut reader = Reader::new(&dir);
    loop {
        let events = reader
            .read()
            .map_err(|e| Error::io(format!("the log in {}", dir.display()), e))?;
        for event in events {
            ctx.terminal().put(&line(&event, json)?);
        }
        ctx.terminal().flush();
        if !follow || ctx.terminal().closed() {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// JSON is one object a line, so that each can be read as it comes.
fn line(event: &Event, json: bool) -> Result<String> {
    Ok(match json {
        true => {
            let text = serde_json::to_string(event);
            text.map_err(|e| Error::refused(e.to_string()))? + "\n"
        }
        false => format!("  {event}\n"),
    })
}
