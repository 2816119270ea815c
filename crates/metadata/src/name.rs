//! Names of VGs and LVs, and tags: what is allowed, which forms are reserved.

use std::fmt;

/// Longest VG or LV name (LVM2: NAME_LEN - 1).
pub const NAME_MAX: usize = 127;
/// Longest tag.
pub const TAG_MAX: usize = 1024;

/// Why a name is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameError {
    /// Empty.
    Empty,
    /// Longer than [`NAME_MAX`].
    TooLong(usize),
    /// Begins with a hyphen.
    Hyphen,
    /// `.` or `..`
    Dots,
    /// A character that is not allowed.
    Character(char),
    /// A form LVM2 keeps for itself; holds the prefix or infix.
    Reserved(&'static str),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "name is empty"),
            Self::TooLong(n) => write!(f, "name has {n} characters, {NAME_MAX} are allowed"),
            Self::Hyphen => write!(f, "name begins with a hyphen"),
            Self::Dots => write!(f, "name is \".\" or \"..\""),
            Self::Character(c) => write!(f, "name contains the character {c:?}"),
            Self::Reserved(s) => write!(f, "name contains \"{s}\", which is reserved"),
        }
    }
}

impl std::error::Error for NameError {}

/// Checks a VG or LV name as LVM2 accepts it on reading.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    if name.starts_with('-') {
        return Err(NameError::Hyphen);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    match name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "+_.-".contains(*c)))
    {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// Beginnings of LV names that LVM2 generates.
pub const RESERVED_PREFIXES: [&str; 2] = ["pvmove", "snapshot"];
/// Parts of LV names that mark sub-LVs.
pub const RESERVED_INFIXES: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_rimage",
    "_rmeta", "_tdata", "_tmeta", "_vdata", "_imeta", "_iorig", "_pmspare", "_vorigin",
];

/// Checks a name that a user gives to an LV: [`check_name`] and not one of LVM2's own forms.
pub fn check_user_lv_name(name: &str) -> Result<(), NameError> {
    check_name(name)?;
    if let Some(p) = RESERVED_PREFIXES.iter().find(|p| name.starts_with(**p)) {
        return Err(NameError::Reserved(p));
    }
    match RESERVED_INFIXES.iter().find(|p| name.contains(**p)) {
        Some(p) => Err(NameError::Reserved(p)),
        None => Ok(()),
    }
}

/// Checks a tag (without its `@`).
pub fn check_tag(tag: &str) -> Result<(), NameError> {
    if tag.is_empty() {
        return Err(NameError::Empty);
    }
    match tag
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "_+.-/=!:&#".contains(*c)))
    {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}
