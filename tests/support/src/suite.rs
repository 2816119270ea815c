//! A suite of cases, run by libtest-mimic, that never passes over a case in silence.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::needs::Need;

/// What a case returns: nothing, or why it failed.
pub type Outcome = Result<(), String>;

/// Cases under one binary.
pub struct Suite {
    trials: Vec<Trial>,
    at_least: usize,
    threads: Option<usize>,
    not_run: Arc<Mutex<BTreeMap<String, usize>>>,
    open: Arc<Mutex<BTreeMap<String, usize>>>,
    require_all: bool,
}

impl Suite {
    /// A suite written for `at_least` cases: it fails when it is left with fewer, so that a lost
    /// directory of inputs is not mistaken for success.
    pub fn new(at_least: usize) -> Suite {
        Suite {
            trials: Vec::new(),
            at_least,
            threads: None,
            not_run: Arc::default(),
            open: Arc::default(),
            require_all: std::env::var("ULVM_REQUIRE_ALL").is_ok_and(|v| v == "1"),
        }
    }

    /// Runs `threads` cases at a time instead of one a processor, for cases that mostly wait.
    pub fn threads(&mut self, threads: usize) -> &mut Suite {
        self.threads = Some(threads);
        self
    }

    /// Adds a case.
    pub fn case(
        &mut self,
        name: impl Into<String>,
        needs: &[Need],
        body: impl FnOnce() -> Outcome + Send + 'static,
    ) -> &mut Suite {
        self.add(name.into(), needs, None, body)
    }

    /// Adds a case that is known to fail: an open defect, with what is known of it. It is run all
    /// the same; a failure is reported as ignored, `open: WHY`, never as passed.
    pub fn open_case(
        &mut self,
        name: impl Into<String>,
        needs: &[Need],
        why: &str,
        body: impl FnOnce() -> Outcome + Send + 'static,
    ) -> &mut Suite {
        self.add(name.into(), needs, Some(why.to_owned()), body)
    }

    fn add(
        &mut self,
        name: String,
        needs: &[Need],
        open: Option<String>,
        body: impl FnOnce() -> Outcome + Send + 'static,
    ) -> &mut Suite {
        let needs = needs.to_vec();
        let not_run = Arc::clone(&self.not_run);
        let open_cases = Arc::clone(&self.open);
        let require_all = self.require_all;
        self.trials.push(Trial::ignorable_test(name, move || {
            if let Some(why) = needs.iter().find_map(|need| need.missing()) {
                let reason = format!("not run: {why}");
                if require_all {
                    return Err(Failed::from(format!("{reason} (ULVM_REQUIRE_ALL=1)")));
                }
                if let Ok(mut counts) = not_run.lock() {
                    *counts.entry(why).or_default() += 1;
                }
                return Ok(Completion::ignored_with(reason));
            }
            match (body(), open) {
                (Ok(()), _) => Ok(Completion::Completed),
                (Err(_), Some(why)) => {
                    if let Ok(mut counts) = open_cases.lock() {
                        *counts.entry(why.clone()).or_default() += 1;
                    }
                    Ok(Completion::ignored_with(format!("open: {why}")))
                }
                (Err(error), None) => Err(Failed::from(error)),
            }
        }));
        self
    }

    /// Runs the cases that the command line selects and says how many were not run, and why.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        if arguments.test_threads.is_none() {
            arguments.test_threads = self.threads;
        }
        let found = self.trials.len();
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        if let Ok(counts) = self.not_run.lock() {
            for (why, count) in counts.iter() {
                println!("not run: {count} case(s): {why}");
            }
        }
        if let Ok(counts) = self.open.lock() {
            for (why, count) in counts.iter() {
                println!("open: {count} case(s) fail: {why}");
            }
        }
        if found < self.at_least {
            println!(
                "this suite was written for {} cases and found only {found}",
                self.at_least
            );
            return ExitCode::from(101);
        }
        conclusion.exit_code()
    }
}

/// Fails the case with a formatted message unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
