//! The parser over a command that takes options of every kind.

use super::{Args, Opt, parse, sets};
use crate::dispatch::Command;
use crate::exit::Failure;

const COMMAND: Command = Command {
    name: "lvtest",
    summary: "",
    operands: "VG",
    options: sets::LVCREATE,
    run: |_, _| Ok(()),
};
const REPORT: Command = Command {
    name: "lvs",
    options: sets::LVS,
    ..COMMAND
};

fn of(command: &Command, line: &str) -> Result<Args, String> {
    let argv: Vec<String> = line
        .split(' ')
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect();
    parse(command, &argv).map_err(|e| match e {
        Failure::Parse(text) => text.lines().next().unwrap_or("").trim().to_owned(),
        other => other.message(),
    })
}

#[test]
fn options_and_operands_may_be_mixed() {
    let args = of(
        &COMMAND,
        "-L -7M vg -n x --addtag a -l+100%FREE /dev/sda:0-3 --addtag=b -yqq -vvv -Zn",
    )
    .unwrap();
    assert_eq!(args.text(Opt::Size), Some("-7M"));
    assert_eq!(args.text(Opt::Extents), Some("+100%FREE"));
    assert_eq!(args.text(Opt::Name), Some("x"));
    assert_eq!(args.texts(Opt::AddTag).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(args.operands(), ["vg", "/dev/sda:0-3"]);
    assert_eq!((args.count(Opt::Quiet), args.count(Opt::Verbose)), (2, 3));
    assert_eq!(args.yes_no(Opt::Zero), Some(false));
    assert!(args.has(Opt::Yes) && !args.has(Opt::Test));
}

#[test]
fn field_lists_keep_their_signs_and_order() {
    let args = of(&REPORT, "-o+a -o -b -O -c -o#d").unwrap();
    assert_eq!(
        args.texts(Opt::Options).collect::<Vec<_>>(),
        ["+a", "-b", "#d"]
    );
    let order: Vec<_> = args
        .in_order(&[Opt::Options, Opt::Sort])
        .iter()
        .map(|o| o.2)
        .collect();
    assert_eq!(order, ["+a", "-b", "-c", "#d"]);
}

#[test]
fn long_options_may_be_shortened_and_hyphenated() {
    assert!(of(&REPORT, "--nohe").unwrap().has(Opt::NoHeadings));
    assert!(of(&REPORT, "--no-headings").unwrap().has(Opt::NoHeadings));
    assert_eq!(
        of(&REPORT, "--report json")
            .unwrap()
            .text(Opt::ReportFormat),
        Some("json")
    );
    assert!(of(&REPORT, "--no").unwrap_err().contains("ambiguous"));
}

#[test]
fn wrong_command_lines_say_what_is_wrong() {
    for (line, expected) in [
        ("--foo", "lvs: unrecognized option '--foo'"),
        ("-E", "lvs: invalid option -- 'E'"),
        ("-a -a", "Option -a/--all may not be repeated."),
        (
            "--config a=1 --config b=2",
            "Option --config may not be repeated.",
        ),
        (
            "--driverloaded maybe",
            "Invalid argument for --driverloaded: maybe",
        ),
        (
            "--reportformat xml",
            "Invalid argument for --reportformat: xml",
        ),
    ] {
        assert_eq!(of(&REPORT, line).unwrap_err(), expected, "{line}");
    }
    assert!(
        of(&REPORT, "-o")
            .unwrap_err()
            .contains("requires an argument")
    );
    assert_eq!(
        of(&COMMAND, "-s -L foo").unwrap_err(),
        "Size requires number argument."
    );
}

#[test]
fn operands_behind_two_hyphens_are_never_options() {
    let args = of(&REPORT, "-- -a --foo").unwrap();
    assert_eq!(args.operands(), ["-a", "--foo"]);
}
