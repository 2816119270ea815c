//! What a field of a row holds, before and after it is turned into text.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use super::time::TimeFormat;
use super::units::Units;

/// Number behind `vg_mda_copies` when it is left to LVM2.
pub const UNMANAGED: i64 = i64::MAX - 1;

/// A field's value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value<'a> {
    /// Does not apply: shown blank, equal to `undefined` in selections.
    Blank,
    /// Text.
    Text(Cow<'a, str>),
    /// Several texts.
    List(List<'a>),
    /// A number. -1 stands for "undefined".
    Number(i64),
    /// Hundredths of a percent.
    Percent(i64),
    /// A number that is shown as a word.
    Named(i64, &'static str),
    /// A size in sectors.
    Size(u64),
    /// A size that is shown as a word.
    NamedSize(u64, &'static str),
    /// Seconds since 1970.
    Time(i64),
    /// Set (shown as the word), not set (blank), or not known (`unknown`).
    Flag(Option<bool>, &'static str),
}

/// Several texts and how they are shown.
#[derive(Clone, PartialEq, Debug)]
pub struct List<'a> {
    /// The texts in the order they are shown.
    pub items: Vec<Cow<'a, str>>,
    /// What they are joined with, whatever the configuration says.
    pub joint: Option<&'static str>,
}

/// A moment in LVM2's default format.
pub fn show_time(seconds: i64) -> String {
    TimeFormat::new("", ulvm::host::zone().0).show(seconds)
}

/// How values become text.
#[derive(Clone, Debug)]
pub struct Style {
    /// Units of sizes.
    pub units: Units,
    /// Flags as 1, 0 and -1.
    pub binary: bool,
    /// Between the items of a list.
    pub list_separator: String,
    /// Of times.
    pub time: TimeFormat,
    /// Hidden LVs in brackets.
    pub mark_hidden: bool,
    /// `unknown device` in place of `[unknown]`.
    pub two_word_unknown: bool,
}

impl<'a> Value<'a> {
    /// Text that lives as long as the data it comes from.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }
    /// Optional text; blank if there is none.
    pub fn opt_text(text: Option<&'a str>) -> Self {
        Self::Text(Cow::Borrowed(text.unwrap_or("")))
    }
    /// A list shown in its own order.
    pub fn list(items: Vec<Cow<'a, str>>) -> Self {
        Self::List(List { items, joint: None })
    }
    /// A list that is always joined with these characters.
    pub fn joined(items: Vec<Cow<'a, str>>, joint: &'static str) -> Self {
        Self::List(List {
            items,
            joint: Some(joint),
        })
    }
    /// A list shown in the order of its bytes.
    pub fn sorted(mut items: Vec<Cow<'a, str>>) -> Self {
        items.sort();
        Self::list(items)
    }
    /// A number.
    pub fn number(n: impl Into<i64>) -> Self {
        Self::Number(n.into())
    }
    /// A count; beyond 2^63 it would not be one.
    pub fn count(n: usize) -> Self {
        Self::Number(i64::try_from(n).unwrap_or(i64::MAX))
    }
    /// A known flag.
    pub fn flag(set: bool, word: &'static str) -> Self {
        Self::Flag(Some(set), word)
    }

    /// Puts it at the end of `out` as shown. Reports of thousands of rows are made of this: what
    /// has to be worked out needs no string of its own.
    pub fn push(&self, style: &Style, out: &mut String) {
        match self {
            Self::Blank => {}
            // Writing to a string cannot fail.
            Self::Number(n) => drop(write!(out, "{n}")),
            Self::Size(sectors) => style.units.push(*sectors, out),
            Self::Time(t) => style.time.push(*t, out),
            other => out.push_str(&other.show(style)),
        }
    }

    /// As shown.
    pub fn show(&self, style: &Style) -> Cow<'_, str> {
        match self {
            Self::Blank => Cow::Borrowed(""),
            Self::Text(t) => Cow::Borrowed(t),
            Self::List(l) => match l.items.as_slice() {
                [] => Cow::Borrowed(""),
                [one] => Cow::Borrowed(one),
                many => Cow::Owned(many.join(l.joint.unwrap_or(&style.list_separator))),
            },
            Self::Number(n) => Cow::Owned(n.to_string()),
            Self::Percent(n) => Cow::Owned(format!("{}.{:02}", n / 100, n % 100)),
            Self::Named(_, word) | Self::NamedSize(_, word) => Cow::Borrowed(word),
            Self::Size(sectors) => Cow::Owned(style.units.show(*sectors)),
            Self::Time(t) => Cow::Owned(style.time.show(*t)),
            Self::Flag(state, word) => Cow::Borrowed(match (state, style.binary) {
                (Some(true), false) => word,
                (Some(false), false) => "",
                (None, false) => "unknown",
                (Some(true), true) => "1",
                (Some(false), true) => "0",
                (None, true) => "-1",
            }),
        }
    }

    /// The number behind it, for comparisons; `None` is "undefined".
    pub fn as_number(&self) -> Option<i64> {
        match self {
            Self::Number(-1) => None,
            Self::Number(n) | Self::Percent(n) | Self::Named(n, _) | Self::Time(n) => Some(*n),
            Self::Size(n) | Self::NamedSize(n, _) => i64::try_from(*n).ok(),
            Self::Flag(state, _) => state.map(i64::from),
            Self::Blank | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Order in which rows are sorted. "Undefined" comes behind all numbers.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => a.items.cmp(&b.items),
            (Self::Text(_) | Self::List(_), _) => Ordering::Less,
            (_, Self::Text(_) | Self::List(_)) => Ordering::Greater,
            _ => match (self.as_number(), other.as_number()) {
                (Some(a), Some(b)) => a.cmp(&b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            },
        }
    }
}
