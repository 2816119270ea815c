//! The same command sequences under Debian's LVM2 and under ulvm, compared after every step: exit
//! code, reports, and what is on the disks. `docs/testing.md` describes the script language.
//!
//! `ULVM_DIFF_REFERENCE_ONLY=1` runs LVM2 alone, to try a case that is being written.

mod case;
mod differences;
mod outside;
mod run;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ulvm_test_support::ensure;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::Suite;

use case::{Action, Case};
use run::Mode;

/// Fewer sequences than this means that some were lost.
const SEQUENCES: usize = 383;
/// Cases mostly wait for the kernel and for each other's processes.
const THREADS: usize = 6;

/// Commands that a sequence must exercise.
const COMMANDS: &[&str] = &[
    "pvcreate",
    "pvremove",
    "pvs",
    "pvdisplay",
    "pvscan",
    "pvchange",
    "pvresize",
    "pvck",
    "vgcreate",
    "vgremove",
    "vgs",
    "vgdisplay",
    "vgscan",
    "vgchange",
    "vgextend",
    "vgreduce",
    "vgrename",
    "vgsplit",
    "vgmerge",
    "vgexport",
    "vgimport",
    "vgimportclone",
    "vgcfgbackup",
    "vgcfgrestore",
    "vgck",
    "lvcreate",
    "lvremove",
    "lvs",
    "lvdisplay",
    "lvscan",
    "lvchange",
    "lvrename",
    "lvextend",
    "lvreduce",
    "lvresize",
    "lvmdiskscan",
    "lvmdevices",
    "lvmconfig",
    "fullreport",
    "formats",
    "segtypes",
    "tags",
    "devtypes",
    "systemid",
    "version",
    "help",
];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cases = match case::load(&root.join("tests/differential/cases")) {
        Ok(cases) => Arc::new(cases),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(101);
        }
    };
    let mode = match std::env::var_os("ULVM_DIFF_REFERENCE_ONLY") {
        Some(_) => Mode::ReferenceOnly,
        None => Mode::Both,
    };
    let mut suite = Suite::new(SEQUENCES + 3);
    suite.threads(THREADS);
    for case in cases.iter().cloned() {
        let file = case
            .file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = format!("differential::{file}::{}", case.name);
        let needs = [Need::Loop, Need::Lvm2];
        let open = case.open.clone();
        let body = move || run::run(&case, Path::new(env!("CARGO_BIN_EXE_ulvm")), mode);
        match open {
            Some(why) => suite.open_case(name, &needs, &why, body),
            None => suite.case(name, &needs, body),
        };
    }
    // Those of mirrors are compared in a guest, by a suite of their own.
    let mirrors = match case::load(&root.join("tests/mirror_commands/cases")) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(101);
        }
    };
    let all = Arc::clone(&cases);
    let meant = Arc::clone(&cases);
    suite.case("differential::coverage::commands", &[], move || {
        every_command_has_a_case(&all)
    });
    suite.case("differential::coverage::compatibility", &[], move || {
        let every = cases.iter().cloned().chain(mirrors).collect::<Vec<_>>();
        every_promise_names_a_case(&every, &root.join("docs/compatibility.md"))
    });
    suite.case(
        "differential::coverage::differences_on_purpose",
        &[],
        move || {
            let named = || {
                let steps = meant.iter().flat_map(|case| &case.steps);
                steps.filter_map(|step| match &step.action {
                    Action::Run(run) => run.meant.as_deref(),
                    _ => None,
                })
            };
            let count = differences::ON_PURPOSE.len();
            ensure!(
                count <= 10,
                "{count} differences on purpose; at most ten are allowed"
            );
            for difference in differences::ON_PURPOSE {
                ensure!(
                    difference.reason.len() > 20,
                    "{} has no reason",
                    difference.name
                );
                ensure!(
                    difference.everywhere || named().any(|name| name == difference.name),
                    "no case shows {}",
                    difference.name
                );
            }
            for name in named() {
                ensure!(
                    differences::ON_PURPOSE.iter().any(|d| d.name == name),
                    "{name} is no difference on purpose"
                );
            }
            Ok(())
        },
    );
    suite.run()
}

fn every_command_has_a_case(cases: &[Case]) -> Result<(), String> {
    let used = |command: &str| {
        cases
            .iter()
            .flat_map(|case| &case.steps)
            .any(|step| match &step.action {
                Action::Run(run) => run.words.first().is_some_and(|word| word == command),
                _ => false,
            })
    };
    let missing: Vec<&str> = COMMANDS
        .iter()
        .copied()
        .filter(|command| !used(command))
        .collect();
    ensure!(
        missing.is_empty(),
        "no sequence uses {}",
        missing.join(", ")
    );
    Ok(())
}

/// A row `| thing | works | case |` must name a case that exists.
fn every_promise_names_a_case(cases: &[Case], file: &Path) -> Result<(), String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut rows = 0;
    for (number, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let Some(at) = cells.iter().position(|cell| *cell == "works") else {
            continue;
        };
        rows += 1;
        let named = cells.get(at + 1).copied().unwrap_or("").trim_matches('`');
        ensure!(
            !named.is_empty(),
            "line {}: `works` without a case",
            number + 1
        );
        for name in named
            .split([',', ' '])
            .map(|name| name.trim_matches('`'))
            .filter(|name| !name.is_empty())
        {
            ensure!(
                cases.iter().any(|case| case.name == name),
                "line {}: no case {name}",
                number + 1
            );
        }
    }
    ensure!(rows > 0, "{} promises nothing", file.display());
    Ok(())
}
