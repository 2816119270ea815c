//! Runs the steps of a plan.

use std::process::{Command, Stdio};

use super::plan::Step;
use crate::error::{Error, Kind, Result};
use crate::ui::Ui;

/// Runs steps, and remembers what of it is still to be taken back.
#[derive(Debug, Default)]
pub struct Runner {
    /// Mounts and the like that were changed, the last one last.
    changed: Vec<Step>,
}

impl Runner {
    /// Runs steps in order; stops at the first that fails, and says which.
    pub fn run(&mut self, steps: &[Step], ui: &dyn Ui) -> Result<()> {
        for step in steps {
            ui.print(format!("Running: {step}"));
            one(step)?;
            match step.inverse() {
                inverse if inverse.is_some() && inverse.as_ref() == self.changed.last() => {
                    self.changed.pop();
                }
                Some(_) => self.changed.push(step.clone()),
                None => {}
            }
        }
        Ok(())
    }

    /// After a failure: everything is mounted again as it was. `why` is what failed.
    pub fn restore(&mut self, why: Error, ui: &dyn Ui) -> Error {
        let mut why = why;
        while let Some(step) = self.changed.pop() {
            let Some(back) = step.inverse() else { continue };
            ui.print(format!("Running: {back}"));
            if let Err(e) = one(&back) {
                why = why.and(e.to_string());
            }
        }
        why
    }
}

fn one(step: &Step) -> Result<()> {
    let good = match step {
        Step::Tool { good, .. } => *good,
        _ => 0,
    };
    let (program, args) = step.command();
    // What the tools say is of interest only when they fail; some of them never stop talking.
    let done = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let done = done.map_err(|e| Error::io(format!("run {step}"), e))?;
    match done.status.code() {
        Some(code) if code <= good => Ok(()),
        _ => {
            let mut text = format!("{step} failed ({}).", done.status);
            for said in [&done.stdout, &done.stderr] {
                let said = String::from_utf8_lossy(said);
                for line in said.lines().filter(|l| !l.trim().is_empty()) {
                    text.push_str(&format!("\n{}", line.trim_end()));
                }
            }
            Err(Error::new(Kind::Io, text))
        }
    }
}
