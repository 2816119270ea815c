//! ulvm: LVM2's commands without the kernel's device-mapper. One binary for all of them: `ulvm
//! COMMAND`, `lvm COMMAND`, or a link named as the command.

mod args;
mod commands;
mod context;
mod dispatch;
mod exit;
mod report;
mod ui;

use std::process::ExitCode;
use std::rc::Rc;

use ulvm::daemon::unmarked;

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    if argv
        .first()
        .is_some_and(|own| unmarked(own) == ulvm::daemon::WORKER_NAME)
    {
        return match ulvm::daemon::worker_main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(exit::FAILED),
        };
    }
    if let [own, task] = &argv[..]
        && unmarked(own) == ulvm::daemon::events::SCRIBE_NAME
    {
        return match ulvm::daemon::events::scribe_main(task) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(exit::FAILED),
        };
    }
    let terminal = Rc::new(ui::Terminal::default());
    let outcome = dispatch::run(&argv, &terminal);
    if let Err(failure) = &outcome {
        let message = failure.message();
        if !message.is_empty() {
            terminal.error_line(&message);
        }
    }
    let code = exit::code(&outcome);
    match terminal.finish() {
        Err(e) if code == exit::SUCCESS => {
            terminal.error_line(&format!("  standard output: {e}"));
            ExitCode::from(exit::FAILED)
        }
        _ => ExitCode::from(code),
    }
}
