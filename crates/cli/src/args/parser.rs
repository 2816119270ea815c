//! From a command's rows of the option table to a parser, and from its errors to LVM2's words.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command as Builder};

use super::table::OptSpec;
use super::{Args, sets};
use crate::dispatch::Command;
use crate::exit::Failure;

/// Second letters of options.
const ALSO: &[(&str, char)] = &[("DmColumns", 'C')];
/// Id of the operands in the parser.
const OPERANDS: &str = "operands";

/// The parser of a command. Unambiguous beginnings of long options are accepted.
pub fn builder(command: &Command) -> Builder {
    let mut letters = Vec::new();
    let mut out = Builder::new(command.name)
        .about(command.summary)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .infer_long_args(true)
        .arg(
            Arg::new(OPERANDS)
                .num_args(0..)
                .value_name(command.operands)
                .hide(command.operands.is_empty())
                .help(""),
        );
    for opt in command.options.iter().chain(sets::COMMON) {
        let spec = opt.spec();
        let mut arg = Arg::new(spec.id).long(spec.long).help(spec.help);
        if let Some(letter) = spec.short.filter(|c| !letters.contains(c)) {
            letters.push(letter);
            arg = arg.short(letter);
            let also = ALSO.iter().filter(|(id, _)| *id == spec.id);
            for letter in also.map(|(_, letter)| *letter) {
                letters.push(letter);
                arg = arg.visible_short_alias(letter);
            }
        }
        out = out.arg(with_value(arg, spec));
    }
    out
}

fn with_value(arg: Arg, spec: &OptSpec) -> Arg {
    if spec.value.takes_value() {
        arg.action(ArgAction::Append)
            .num_args(1)
            .allow_hyphen_values(true)
            .value_name(spec.value.placeholder())
    } else {
        arg.action(ArgAction::Count)
    }
}

/// Parses what stands behind the command's name.
pub fn parse(command: &Command, argv: &[String]) -> Result<Args, Failure> {
    let argv = argv.iter().scan(false, |ended, a| {
        *ended |= a == "--";
        Some(if *ended {
            a.clone()
        } else {
            without_inner_hyphens(a)
        })
    });
    let mut matches = builder(command)
        .no_binary_name(true)
        .try_get_matches_from(argv)
        .map_err(|e| Failure::parse(describe(command, &e)))?;
    let operands = matches
        .remove_many::<String>(OPERANDS)
        .into_iter()
        .flatten()
        .collect();
    let args = Args {
        matches,
        operands,
        options: command.options,
    };
    check(command, &args)?;
    Ok(args)
}

/// LVM2 reads `--no-headings` as `--noheadings`.
fn without_inner_hyphens(arg: &str) -> String {
    let Some(rest) = arg.strip_prefix("--") else {
        return arg.to_owned();
    };
    let (name, value) = match rest.find('=') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    format!("--{}{value}", name.replace('-', ""))
}

fn check(command: &Command, args: &Args) -> Result<(), Failure> {
    for opt in command.options.iter().chain(sets::COMMON) {
        let spec = opt.spec();
        if args.count(*opt) > 1 && !spec.value.repeats() {
            let letter = spec.short.map(|c| format!("-{c}/")).unwrap_or_default();
            return Err(Failure::parse(format!(
                "  Option {letter}--{} may not be repeated.",
                spec.long
            )));
        }
        for value in args.texts(*opt) {
            if let Err(more) = spec.value.check(value) {
                let more = more.map(|m| format!("  {m}\n")).unwrap_or_default();
                return Err(Failure::parse(format!(
                    "{more}  Invalid argument for --{}: {value}",
                    spec.long
                )));
            }
        }
    }
    Ok(())
}

/// The parser's error as one line in the style of getopt, with LVM2's indentation where LVM2 has it.
fn describe(command: &Command, error: &clap::Error) -> String {
    let name = command.name;
    let arg = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(s)) => s.clone(),
        Some(ContextValue::Strings(s)) => s.join(" "),
        _ => String::new(),
    };
    let bare = arg.split([' ', '=']).next().unwrap_or("");
    match error.kind() {
        ErrorKind::UnknownArgument => match bare.strip_prefix("--") {
            Some(long) => {
                let like: Vec<String> = command
                    .options
                    .iter()
                    .chain(sets::COMMON)
                    .filter(|o| o.spec().long.starts_with(long))
                    .map(|o| format!("'--{}'", o.spec().long))
                    .collect();
                if like.len() > 1 {
                    format!(
                        "{name}: option '{bare}' is ambiguous; possibilities: {}",
                        like.join(" ")
                    )
                } else {
                    format!("{name}: unrecognized option '{bare}'")
                }
            }
            None => format!(
                "{name}: invalid option -- '{}'",
                bare.trim_start_matches('-')
            ),
        },
        ErrorKind::InvalidValue
        | ErrorKind::NoEquals
        | ErrorKind::TooFewValues
        | ErrorKind::WrongNumberOfValues => {
            format!("{name}: option '{bare}' requires an argument")
        }
        ErrorKind::TooManyValues => format!("{name}: option '{bare}' doesn't allow an argument"),
        _ => format!("{name}: {}", error.kind()),
    }
}
