//! Selection (`-S`): which rows a report shows and which objects a command works on.
//!
//! ```text
//! any  = all { ("||" | "#") all }        all = one { ("&&" | ",") one }
//! one  = "(" any ")" | "!" "(" any ")" | FIELD OPERATOR VALUE
//! ```

mod eval;
mod parser;
mod reserved;
mod scan;
mod when;

use regex_lite::Regex;

use super::fields::{Field, Group};
use super::row::Row;
use super::time::Offset;

pub use parser::parse;

/// Why a selection cannot be used: lines as the user shall read them.
pub type Lines = Vec<String>;

/// A parsed selection.
pub enum Expr {
    /// All must hold.
    All(Vec<Expr>),
    /// One must hold.
    Any(Vec<Expr>),
    /// Must not hold.
    Not(Box<Expr>),
    /// A comparison.
    Compare(Compare),
}

/// `FIELD OPERATOR VALUE`
pub struct Compare {
    /// The field.
    pub field: &'static Field,
    op: Op,
    operand: Operand,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Match,
    NoMatch,
    Equal,
    Different,
    AtLeast,
    Above,
    AtMost,
    Below,
}

enum Operand {
    Text(String),
    Number(i64),
    /// "undefined" and its synonyms.
    Undefined,
    /// Bytes.
    Size(f64),
    Percent(f64),
    Regex(Regex),
    /// Both ends belong to it.
    Time(i64, i64),
    List(ListOperand),
}

struct ListOperand {
    items: Vec<String>,
    /// `[ ]`: nothing else may be in the field.
    strict: bool,
    /// Items joined by `||` or `#`: one is enough.
    any: bool,
}

/// Nesting of parentheses that is accepted.
const DEPTH_MAX: u32 = 100;

impl Expr {
    /// Does a row match?
    pub fn matches(&self, row: &Row<'_>) -> bool {
        match self {
            Self::All(list) => list.iter().all(|e| e.matches(row)),
            Self::Any(list) => list.iter().any(|e| e.matches(row)),
            Self::Not(e) => !e.matches(row),
            Self::Compare(c) => c.holds(row),
        }
    }
    /// Every field that is compared.
    pub fn fields(&self, out: &mut Vec<&'static Field>) {
        match self {
            Self::All(list) | Self::Any(list) => list.iter().for_each(|e| e.fields(out)),
            Self::Not(e) => e.fields(out),
            Self::Compare(c) => out.push(c.field),
        }
    }
}

/// What the parser needs to know beside the text.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The report's own group, whose prefix may be left out.
    pub own: Group,
    /// Seconds since 1970.
    pub now: i64,
    /// Time zone of dates.
    pub offset: Offset,
}

impl Setting {
    /// Here and now.
    pub fn new(own: Group) -> Self {
        Self {
            own,
            now: ulvm::host::now(),
            offset: ulvm::host::zone().0,
        }
    }
}

#[cfg(test)]
mod tests;

/// Words with a meaning of their own.
pub struct Vocabulary;

impl Vocabulary {
    /// Words and the fields they belong to.
    pub fn lines() -> Vec<(String, &'static str)> {
        let mut out = vec![(reserved::UNDEFINED.join(", "), "undefined number")];
        out.extend(reserved::describe());
        out
    }
}
