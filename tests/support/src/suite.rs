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
        let needs = needs.to_vec();
        let not_run = Arc::clone(&self.not_run);
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
            body().map(|()| Completion::Completed).map_err(Failed::from)
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
