//! What an operation has to say beside its result. The library prints nothing: the command does.

/// One message for the user, without LVM2's two-space prefix and without a line end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Where it goes and when it is hidden.
    pub level: Level,
    /// The text.
    pub text: String,
}

/// Weight of a [`Notice`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Standard error, always (unless the command says otherwise).
    Error,
    /// Standard error, text begins with `WARNING: `.
    Warn,
    /// Standard output; hidden by `-q`. ("Rounding up size ...")
    Print,
    /// Shown with `-v`.
    Verbose,
    /// Shown with `-vv`.
    VeryVerbose,
    /// Shown with `-vvv` and more.
    Debug,
}

impl Notice {
    /// A message on standard output.
    pub fn print(text: impl Into<String>) -> Self {
        Self {
            level: Level::Print,
            text: text.into(),
        }
    }
    /// A warning; `WARNING: ` is put before the text.
    pub fn warn(text: impl AsRef<str>) -> Self {
        Self {
            level: Level::Warn,
            text: format!("WARNING: {}", text.as_ref()),
        }
    }
    /// A warning that LVM2 writes without the word `WARNING`.
    pub fn warn_plain(text: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            text: text.into(),
        }
    }
    /// Shown with `-v`.
    pub fn verbose(text: impl Into<String>) -> Self {
        Self {
            level: Level::Verbose,
            text: text.into(),
        }
    }
}
