//! Exit codes: the only place that chooses them.

use ulvm::error::{Error, Kind, Result};
use ulvm::ui::Ui;
use ulvm_metadata::notice::{Level, Notice};

/// All done.
pub const SUCCESS: u8 = 0;
/// What `dmsetup` ends with when it fails, whatever the reason.
pub const DMSETUP_FAILED: u8 = 1;
/// There is no such command.
pub const NO_SUCH_COMMAND: u8 = 2;
/// The command line is wrong.
pub const INVALID_COMMAND_LINE: u8 = 3;
/// The start failed: configuration, surroundings.
pub const INIT_FAILED: u8 = 4;
/// The work failed.
pub const FAILED: u8 = 5;

/// Why a process ends without, or after, running its command.
#[derive(Debug)]
pub enum Failure {
    /// No command of that name, or none given.
    NoSuchCommand(String),
    /// The command line could not be parsed; ready to print.
    Parse(String),
    /// The command says so.
    Command(Error),
    /// `dmsetup` says so, which has its own manners: lines without indentation, and one exit code
    /// for all that fails.
    Dmsetup(String),
}

impl Failure {
    /// A command line that could not be parsed: `lines` are printed as they are.
    pub fn parse(lines: String) -> Self {
        Self::Parse(format!("{lines}\n  Error during parsing of command line."))
    }

    /// What the user reads, line by line, with its indentation.
    pub fn message(&self) -> String {
        match self {
            Self::NoSuchCommand(text) => format!("  {text}"),
            Self::Parse(text) | Self::Dmsetup(text) => text.clone(),
            Self::Command(e) => {
                let lines: Vec<String> = e.lines().iter().map(|l| format!("  {l}")).collect();
                lines.join("\n")
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Command(e)
    }
}

/// The exit code of a run.
pub fn code(outcome: &std::result::Result<(), Failure>) -> u8 {
    match outcome {
        Ok(()) => SUCCESS,
        Err(Failure::NoSuchCommand(_)) => NO_SUCH_COMMAND,
        Err(Failure::Dmsetup(_)) => DMSETUP_FAILED,
        Err(Failure::Parse(_)) => INVALID_COMMAND_LINE,
        Err(Failure::Command(e)) => match e.kind() {
            Kind::Usage => INVALID_COMMAND_LINE,
            Kind::Init => INIT_FAILED,
            Kind::NotFound
            | Kind::Refused
            | Kind::NoSpace
            | Kind::Locked
            | Kind::Io
            | Kind::Corrupt
            | Kind::Declined
            | Kind::Reported
            | Kind::Internal => FAILED,
        },
    }
}

/// Collects the outcomes of several objects: each failure is said at once, the worst one decides.
///
/// ```ignore
/// let mut worst = Worst::default();
/// for name in args.operands() {
///     worst.add(ctx.ui(), remove(name));
/// }
/// worst.finish()
/// ```
#[derive(Debug, Default)]
pub struct Worst {
    usage: bool,
    failed: bool,
}

impl Worst {
    /// Notes an outcome and says what went wrong; the value, if there is one.
    pub fn add<T>(&mut self, ui: &dyn Ui, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(e) => {
                for line in e.lines() {
                    ui.say(&Notice {
                        level: Level::Error,
                        text: line.clone(),
                    });
                }
                match e.kind() {
                    Kind::Usage => self.usage = true,
                    _ => self.failed = true,
                }
                None
            }
        }
    }
    /// Did anything fail?
    pub fn failed(&self) -> bool {
        self.failed || self.usage
    }
    /// The outcome of the whole; nothing more is to be said.
    pub fn finish(self) -> Result<()> {
        match (self.failed, self.usage) {
            (false, false) => Ok(()),
            (false, true) => Err(Error::new(Kind::Usage, "")),
            (true, _) => Err(Error::reported()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulvm::ui::Recorder;

    #[test]
    fn the_worst_of_several_objects_decides() {
        let ui = Recorder::default();
        let mut worst = Worst::default();
        worst.add(&ui, Ok(()));
        worst.add::<()>(&ui, Err(Error::usage("one")));
        assert_eq!(
            code(&worst.finish().map_err(Failure::from)),
            INVALID_COMMAND_LINE
        );
        let mut worst = Worst::default();
        worst.add::<()>(&ui, Err(Error::not_found("two")));
        worst.add::<()>(&ui, Err(Error::usage("three")));
        assert_eq!(code(&worst.finish().map_err(Failure::from)), FAILED);
        assert_eq!(ui.warnings(), ["one", "two", "three"]);
        assert_eq!(
            code(&Worst::default().finish().map_err(Failure::from)),
            SUCCESS
        );
    }
}
