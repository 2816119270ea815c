//! `completions`

use std::str::FromStr;

use clap_complete::Shell;
use ulvm::error::{Error, Result};

use crate::args::{self, Args};
use crate::context::Context;
use crate::dispatch::COMMANDS;

/// Prints completions of all commands for one shell.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [shell] = args.operands() else {
        return Err(Error::usage("Please name one shell."));
    };
    let shell = Shell::from_str(shell).map_err(|e| Error::usage(format!("{shell}: {e}")))?;
    ctx.terminal().put_bytes(&script(shell));
    Ok(())
}

fn script(shell: Shell) -> Vec<u8> {
    let mut whole = clap::Command::new("ulvm")
        .about("LVM2 volumes without the kernel's device-mapper")
        .disable_help_subcommand(true)
        .subcommands(COMMANDS.iter().map(args::builder));
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut whole, "ulvm", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_every_command() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let text = String::from_utf8(script(shell)).unwrap();
            for command in COMMANDS {
                assert!(text.contains(command.name), "{shell}: {}", command.name);
            }
            assert!(text.contains("reportformat"), "{shell}");
        }
    }
}
