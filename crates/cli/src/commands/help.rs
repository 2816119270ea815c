//! `help`, and the help text of a command.

use ulvm::error::{Error, Result};

use crate::args::{Args, Opt, sets};
use crate::context::Context;
use crate::dispatch::{COMMANDS, Command, find};

/// Lists the commands, or shows the help of those named.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.operands().is_empty() {
        ctx.terminal().put(&list());
        return Ok(());
    }
    for name in args.operands() {
        match find(name) {
            Some(command) => ctx.terminal().put(&of(command)),
            None => return Err(Error::usage(format!("{name}: no such command."))),
        }
    }
    Ok(())
}

fn list() -> String {
    let mut out = String::from("  Commands (ulvm help COMMAND shows more):\n\n");
    let mut commands: Vec<&Command> = COMMANDS.iter().collect();
    commands.sort_by_key(|c| c.name);
    for command in commands {
        out.push_str(&format!("  {:<15} {}\n", command.name, command.summary));
    }
    out
}

/// The help text of a command.
pub fn of(command: &Command) -> String {
    let mut out = format!(
        "  {} - {}\n\n  {}\n",
        command.name, command.summary, command.name
    );
    options(&mut out, command.options);
    out.push_str("\t[ COMMON_OPTIONS ]\n");
    if !command.operands.is_empty() {
        out.push_str(&format!("\t[ {} ]\n", command.operands));
    }
    out.push_str("\n  Common options:\n");
    options(&mut out, sets::COMMON);
    out
}

fn options(out: &mut String, opts: &[Opt]) {
    for spec in opts.iter().map(|o| o.spec()) {
        let letter = spec.short.map_or("   ".to_owned(), |c| format!("-{c}|"));
        let usage = format!("[ {letter}--{} {} ]", spec.long, spec.value.placeholder());
        let usage = usage.replace("  ]", " ]");
        out.push_str(&format!("\t{usage:<40} {}\n", spec.help));
    }
}
