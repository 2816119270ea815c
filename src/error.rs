//! The one public error type of the host layer.

use std::fmt;
use std::io;

/// What sort of failure. The command line decides the exit code from this alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The command line is wrong (exit code 3).
    Usage,
    /// Configuration or surroundings do not allow a start (exit code 4).
    Init,
    /// An object named does not exist.
    NotFound,
    /// The object's state or the rules do not allow it.
    Refused,
    /// Not enough room, in a VG or in a metadata area.
    NoSpace,
    /// Somebody else holds a lock that is needed.
    Locked,
    /// A device or file cannot be read or written.
    Io,
    /// What was read makes no sense.
    Corrupt,
    /// The user was asked and said no.
    Declined,
    /// Everything has been said already; only the exit code (5) is left.
    Reported,
    /// A fault of ulvm's own.
    Internal,
}

/// A failure: kind, message, what caused it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    lines: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// With a message: one or more lines as the user shall read them, without LVM2's two-space
    /// prefix and without a line end.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            kind,
            lines: message.lines().map(str::to_owned).collect(),
            source: None,
        }
    }
    /// Exit code 3.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// An object that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }
    /// Not allowed.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }
    /// Everything has been said through [`crate::ui::Ui`] already.
    pub fn reported() -> Self {
        Self::new(Kind::Reported, "")
    }
    /// An I/O failure; `doing` names the object, e.g. `open disk.img`.
    pub fn io(doing: impl fmt::Display, source: io::Error) -> Self {
        Self {
            kind: Kind::Io,
            lines: vec![format!("{doing}: {}", io_text(&source))],
            source: Some(Box::new(source)),
        }
    }
    /// With a cause.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
    /// With one more line, printed after the others.
    #[must_use]
    pub fn and(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// The lines to print; none for [`Kind::Reported`].
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// What went wrong in the words of the system, without Rust's ` (os error N)`.
pub fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) if text.ends_with(')') => text[..at].to_owned(),
        _ => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|s| s as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_said_in_the_words_of_the_system() {
        let denied = io::Error::from_raw_os_error(13);
        assert_eq!(io_text(&denied), "Permission denied");
        assert_eq!(io_text(&io::Error::other("odd (thing)")), "odd (thing)");
        let e = Error::io("a.img: open failed", denied).and("More.");
        assert_eq!(
            e.to_string(),
            "a.img: open failed: Permission denied\nMore."
        );
    }
}
