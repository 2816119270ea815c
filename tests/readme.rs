//! The sessions of the README (```console blocks), run as they stand: every command must succeed,
//! and what is shown as output must be what is printed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

/// A command of a session and the lines shown below it.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The ```console blocks of a text.
fn sessions(text: &str) -> Vec<Vec<Step>> {
    let mut found: Vec<Vec<Step>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (inside, line) {
            (false, "```console") => {
                inside = true;
                found.push(Vec::new());
            }
            (true, "```") => inside = false,
            (true, line) => {
                let Some(session) = found.last_mut() else {
                    continue;
                };
                match (line.strip_prefix("$ "), session.last_mut()) {
                    (Some(command), _) => session.push(Step {
                        command: command.into(),
                        shown: Vec::new(),
                    }),
                    (None, Some(step)) => step.shown.push(line.into()),
                    (None, None) => {}
                }
            }
            (false, _) => {}
        }
    }
    found
}

/// Runs a session in one shell; a marker after each command separates the outputs.
fn run(session: &[Step]) -> Outcome {
    const MARK: &str = "--- end of step";
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bin = directory.path().join("bin");
    let work = directory.path().join("work");
    for folder in [&bin, &work] {
        std::fs::create_dir(folder).map_err(|error| error.to_string())?;
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ulvm"), bin.join("ulvm"))
        .map_err(|error| error.to_string())?;
    let script: String = session
        .iter()
        .map(|step| format!("{}\necho '{MARK}' $?\n", step.command))
        .collect();
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()),
        )
        .env("LC_ALL", "C")
        .env("HOME", directory.path())
        .env("LVM_SYSTEM_DIR", directory.path().join("system"))
        .env("ULVM_LOCK_DIR", directory.path().join("lock"))
        .env("ULVM_RUN_DIR", directory.path().join("run"))
        .current_dir(&work);
    let done = process::run(&mut command, &[], Duration::from_secs(120))?;
    let output = done.out();
    let mut parts = output.split(MARK);
    for step in session {
        let part = parts.next().unwrap_or("");
        // The exit code of the step before stands on the first line.
        let printed: Vec<&str> = part
            .lines()
            .skip(usize::from(part.starts_with(' ')))
            .collect();
        let code = output_code(&output, MARK, session, step);
        ensure!(
            code == Some(0),
            "`{}` ended with {code:?}\n{}",
            step.command,
            done.err()
        );
        ensure!(
            step.shown.is_empty() || printed == step.shown,
            "`{}` prints\n{}\nbut the text shows\n{}",
            step.command,
            printed.join("\n"),
            step.shown.join("\n")
        );
    }
    Ok(())
}

fn output_code(output: &str, mark: &str, session: &[Step], step: &Step) -> Option<i32> {
    let index = session.iter().position(|other| std::ptr::eq(other, step))?;
    output
        .split(mark)
        .nth(index + 1)?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()
}

fn main() -> ExitCode {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let found = sessions(&text);
    let mut suite = Suite::new(2);
    for (index, session) in found.into_iter().enumerate() {
        suite.case(format!("readme::session_{}", index + 1), &[], move || {
            run(&session)
        });
    }
    suite.case("readme::links", &[], move || {
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or("");
            let is_file = !target.contains("://") && !target.starts_with('#');
            ensure!(
                !is_file || root().join(target).exists(),
                "the README links to {target}, which is not there"
            );
        }
        Ok(())
    });
    suite.run()
}
