//! The terminal: standard output, standard error, questions.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufWriter, Write};

use ulvm::ui::Ui;
use ulvm_metadata::notice::{Level, Notice};

/// How much is said, and how questions are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manner {
    /// Number of `-q`.
    pub quiet: usize,
    /// Number of `-v`.
    pub verbose: usize,
    /// Number of `-d`.
    pub debug: usize,
    /// `-y`
    pub yes: bool,
    /// Standard output carries a document (JSON, YAML): nothing but the report may go there.
    pub document: bool,
}

/// What the process prints to. Output is collected and written in large pieces.
pub struct Terminal {
    manner: Cell<Manner>,
    out: RefCell<BufWriter<io::Stdout>>,
    /// The reader of standard output has gone.
    closed: Cell<bool>,
    /// Standard output could not be written for another reason.
    broken: RefCell<Option<io::Error>>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            manner: Cell::default(),
            out: RefCell::new(BufWriter::with_capacity(1 << 16, io::stdout())),
            closed: Cell::new(false),
            broken: RefCell::default(),
        }
    }
}

impl Terminal {
    /// Sets how much is said.
    pub fn set_manner(&self, manner: Manner) {
        self.manner.set(manner);
    }
    /// How much is said.
    pub fn manner(&self) -> Manner {
        self.manner.get()
    }
    /// Nothing but the report may go to standard output from now on.
    pub fn set_document(&self) {
        self.manner.set(Manner {
            document: true,
            ..self.manner.get()
        });
    }
    /// Puts text to standard output as it is: reports, dumps. `-q` does not hide it.
    pub fn put(&self, text: &str) {
        self.put_bytes(text.as_bytes());
    }
    /// Puts bytes to standard output as they are.
    pub fn put_bytes(&self, bytes: &[u8]) {
        if !self.closed.get() {
            let outcome = self.out.borrow_mut().write_all(bytes);
            self.note(outcome);
        }
    }
    /// Puts a line of a result to standard output, with LVM2's two spaces.
    pub fn line(&self, text: &str) {
        self.put("  ");
        self.put(text);
        self.put("\n");
    }
    /// A line to standard error, as it is.
    pub fn error_line(&self, text: &str) {
        self.flush();
        // Nothing is left to be told when standard error cannot be written.
        let _ = writeln!(io::stderr(), "{text}");
    }
    /// Writes out what was collected.
    pub fn flush(&self) {
        if !self.closed.get() {
            let outcome = self.out.borrow_mut().flush();
            self.note(outcome);
        }
    }
    /// Writes out what was collected, and says whether all of it could be written. A reader that
    /// has gone (`lvs | head`) is no failure.
    pub fn finish(&self) -> io::Result<()> {
        self.flush();
        self.broken.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Nobody reads standard output any more, or it cannot be written.
    pub fn closed(&self) -> bool {
        self.closed.get()
    }

    fn note(&self, outcome: io::Result<()>) {
        if let Err(e) = outcome {
            self.closed.set(true);
            if e.kind() != io::ErrorKind::BrokenPipe {
                self.broken.borrow_mut().get_or_insert(e);
            }
        }
    }
}

impl Ui for Terminal {
    fn flush(&self) {
        Self::flush(self);
    }

    fn say(&self, notice: &Notice) {
        let manner = self.manner.get();
        let text = &notice.text;
        let shown = match notice.level {
            Level::Error | Level::Warn => true,
            Level::Print => manner.quiet == 0,
            Level::Verbose => manner.verbose >= 1,
            Level::VeryVerbose => manner.verbose >= 2,
            Level::Debug => manner.verbose >= 3 || manner.debug >= 1,
        };
        if !shown {
            return;
        }
        match notice.level {
            Level::Print if !manner.document => self.line(text),
            _ => self.error_line(&format!("  {text}")),
        }
    }

    fn ask(&self, question: &str) -> bool {
        let manner = self.manner.get();
        if manner.quiet >= 2 {
            return false;
        }
        if manner.yes {
            return true;
        }
        self.flush();
        let mut err = io::stderr();
        // A question nobody can see is answered no below, at the end of input at the latest.
        let _ = write!(err, "{question} [y/n]: ").and_then(|()| err.flush());
        answer(&mut io::stdin().lock(), &mut err)
    }
}

/// Longest answer that is read.
const ANSWER_MAX: u64 = 4096;

/// Reads lines until one begins with y or n; the end of input is a no.
fn answer(input: &mut dyn BufRead, err: &mut dyn Write) -> bool {
    loop {
        let mut line = String::new();
        let read = io::Read::take(&mut *input, ANSWER_MAX).read_line(&mut line);
        if !matches!(read, Ok(n) if n > 0) {
            let _ = writeln!(err, "[n]");
            return false;
        }
        match line
            .trim_start()
            .chars()
            .next()
            .map(|c| c.to_ascii_lowercase())
        {
            Some('y') => return true,
            Some('n') => return false,
            _ => {
                let _ = write!(err, "  Please answer y or n: ").and_then(|()| err.flush());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn only_a_yes_is_a_yes() {
        let ask = |text: &str| answer(&mut text.as_bytes(), &mut Vec::new());
        assert!(ask("y\n"));
        assert!(ask("maybe\n\n Yes\n"));
        assert!(!ask("n\ny\n"));
        assert!(!ask("maybe\n"));
        assert!(!ask(""));
    }
}
