//! `dmsetup`: devices of device-mapper tables on the daemon's engine.
//!
//! What it prints, its errors and its one exit code for failures (1) are those of the real one;
//! where ulvm knows why something is refused, a line with two spaces in front says so.

mod change;
mod concise;
mod create;
mod fields;
mod names;
mod other;
mod remove;
mod report;
mod select;
mod session;
mod show;
mod tree;
mod udev;

use ulvm::error::{Error, Kind, Result};

use crate::args::{Args, Opt};
use crate::context::Context;
use crate::exit::Failure;

use session::Session;

/// The command's name.
pub const COMMAND: &str = "dmsetup";

/// What stands behind the options, as in help texts.
pub const OPERANDS: &str = "clear|create|deps|help|info|load|ls|mangle|measure|message|mknodes|reload|remove|remove_all|rename|resume|setgeometry|splitname|status|suspend|table|target-version|targets|udevcomplete|udevcomplete_all|udevcookies|udevcreatecookie|udevflags|udevreleasecookie|version|wait|wipe_table [DEVICE ...]";

/// One word behind `dmsetup`.
struct Verb {
    name: &'static str,
    /// Fewest and most operands; without a most one there is no limit.
    takes: (usize, Option<usize>),
    run: fn(&Session<'_>, &[&str]) -> Result<()>,
}

const VERBS: &[Verb] = &[
    verb("clear", 0, None, change::clear),
    verb("create", 0, Some(2), create::run),
    verb("deps", 0, None, show::deps),
    verb("help", 0, Some(0), other::help),
    verb("info", 0, None, show::info),
    verb("load", 0, Some(2), change::load),
    verb("ls", 0, Some(0), show::ls),
    verb("mangle", 0, None, other::mangle),
    verb("measure", 0, None, show::measure),
    verb("message", 2, None, change::message),
    verb("mknodes", 0, None, other::mknodes),
    verb("reload", 0, Some(2), change::load),
    verb("remove", 0, None, remove::remove),
    verb("remove_all", 0, Some(0), remove::remove_all),
    verb("rename", 1, Some(2), change::rename),
    verb("resume", 0, None, change::resume),
    verb("setgeometry", 5, Some(5), other::setgeometry),
    verb("splitname", 1, Some(2), other::splitname),
    verb("stats", 1, None, other::stats),
    verb("status", 0, None, show::status),
    verb("suspend", 0, None, change::suspend),
    verb("table", 0, None, show::table),
    verb("target-version", 1, None, other::target_version),
    verb("targets", 0, Some(0), other::targets),
    verb("udevcomplete", 1, Some(1), udev::complete),
    verb("udevcomplete_all", 0, Some(1), udev::complete_all),
    verb("udevcookies", 0, Some(0), udev::cookies),
    verb("udevcreatecookie", 0, Some(0), udev::create),
    verb("udevflags", 1, Some(1), udev::flags),
    verb("udevreleasecookie", 0, Some(1), udev::release),
    verb("version", 0, Some(0), other::version),
    verb("wait", 0, Some(2), change::wait),
    verb("wipe_table", 0, None, remove::wipe_table),
];

const fn verb(
    name: &'static str,
    least: usize,
    most: Option<usize>,
    run: fn(&Session<'_>, &[&str]) -> Result<()>,
) -> Verb {
    Verb {
        name,
        takes: (least, most),
        run,
    }
}

/// Makes, changes, shows and removes devices.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let session = Session::new(ctx, args)?;
    let Some((word, operands)) = args.operands().split_first() else {
        return Err(Error::usage(usage()));
    };
    let Some(verb) = VERBS.iter().find(|v| v.name == word) else {
        return Err(Error::usage("Unknown command.").and(usage()));
    };
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let (least, most) = verb.takes;
    if operands.len() < least || most.is_some_and(|most| operands.len() > most) {
        return Err(Error::usage("Incorrect number of arguments.").and(usage()));
    }
    if session.has(Opt::Notable) && session.has(Opt::Table) {
        return Err(wrong("--table and --notable are incompatible."));
    }
    if session.has(Opt::Major) != session.has(Opt::DmMinor) {
        return Err(wrong("Please specify both major number and minor number."));
    }
    (verb.run)(&session, &operands).map_err(|e| match e.kind() {
        Kind::Usage => e,
        _ => e.and("Command failed."),
    })
}

/// A command line that makes no sense.
fn wrong(line: impl Into<String>) -> Error {
    Error::usage(line).and("Couldn't process command line.")
}

/// Something that cannot be done.
fn failed(line: impl Into<String>) -> Error {
    Error::refused(line)
}

fn usage() -> String {
    let command = crate::dispatch::find(COMMAND);
    let text = command.map_or(String::new(), crate::commands::help::of);
    format!("Usage:\n\n{}", text.trim_end())
}

/// A failure in the real one's words.
pub fn words(failure: &Failure) -> String {
    match failure {
        Failure::Command(e) => e.lines().join("\n"),
        Failure::Parse(text) => {
            let mut lines: Vec<&str> = text.lines().map(str::trim_start).collect();
            lines.pop();
            lines.push("Couldn't process command line.");
            lines.join("\n")
        }
        other => other.message(),
    }
}
