//! Selection of rows (`-S`).
//!
//! ```text
//! any = all { ("||" | "#") all }      all = one { ("&&" | ",") one }
//! one = "(" any ")" | "!" "(" any ")" | FIELD OPERATOR VALUE
//! ```

use regex_lite::Regex;
use ulvm::error::Result;

use super::failed;
use super::fields::{self, Cell, Field, Row};

/// Nesting of parentheses that is accepted.
const DEPTH_MAX: u32 = 100;

/// A parsed selection.
pub enum Filter {
    /// All must hold.
    All(Vec<Filter>),
    /// One must hold.
    Any(Vec<Filter>),
    /// Must not hold.
    Not(Box<Filter>),
    /// A comparison.
    Compare(&'static Field, Op, String, Option<Regex>),
}

/// How a field is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Matches,
    Differs,
    Equal,
    Unequal,
    AtLeast,
    Above,
    AtMost,
    Below,
}

/// Longer signs first.
const OPS: [(&str, Op); 8] = [
    ("=~", Op::Matches),
    ("!~", Op::Differs),
    ("!=", Op::Unequal),
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("=", Op::Equal),
    (">", Op::Above),
    ("<", Op::Below),
];

impl Filter {
    /// Does a row match?
    pub fn matches(&self, row: &Row<'_>) -> bool {
        match self {
            Self::All(list) => list.iter().all(|f| f.matches(row)),
            Self::Any(list) => list.iter().any(|f| f.matches(row)),
            Self::Not(filter) => !filter.matches(row),
            Self::Compare(field, op, value, regex) => {
                let cell = (field.get)(row);
                holds(&cell, *op, value, regex.as_ref())
            }
        }
    }
}

fn holds(cell: &Cell, op: Op, value: &str, regex: Option<&Regex>) -> bool {
    if let Some(regex) = regex {
        return regex.is_match(&cell.text()) == (op == Op::Matches);
    }
    let order = match (cell, value.parse::<i64>()) {
        (Cell::Number(n), Ok(value)) => n.cmp(&value),
        _ => cell.text().as_str().cmp(value),
    };
    match op {
        Op::Equal | Op::Matches => order.is_eq(),
        Op::Unequal | Op::Differs => order.is_ne(),
        Op::AtLeast => order.is_ge(),
        Op::Above => order.is_gt(),
        Op::AtMost => order.is_le(),
        Op::Below => order.is_lt(),
    }
}

/// Reads a selection.
pub fn parse(text: &str) -> Result<Filter> {
    let mut reader = Reader { rest: text };
    let filter = reader.any(0);
    match (filter, reader.rest.trim().is_empty()) {
        (Some(filter), true) => Ok(filter),
        _ => Err(failed(format!(
            "Selection syntax error at '{}'.",
            reader.rest.trim()
        ))),
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        if let Some(rest) = rest {
            self.rest = rest;
        }
        rest.is_some()
    }

    fn any(&mut self, depth: u32) -> Option<Filter> {
        let mut list = vec![self.all(depth)?];
        while self.take("||") || self.take("#") {
            list.push(self.all(depth)?);
        }
        Some(Filter::Any(list))
    }

    fn all(&mut self, depth: u32) -> Option<Filter> {
        let mut list = vec![self.one(depth)?];
        while self.take("&&") || self.take(",") {
            list.push(self.one(depth)?);
        }
        Some(Filter::All(list))
    }

    fn one(&mut self, depth: u32) -> Option<Filter> {
        if depth > DEPTH_MAX {
            return None;
        }
        if self.take("!") {
            return Some(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            return self.take(")").then_some(inner);
        }
        let before = self.rest;
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        let found = fields::find(name);
        let op = OPS.iter().find(|(sign, _)| self.take(sign));
        let (Some(field), Some((_, op))) = (found, op) else {
            self.rest = before;
            return None;
        };
        let value = self.value()?;
        let regex = match op {
            Op::Matches | Op::Differs => Some(Regex::new(value).ok()?),
            _ => None,
        };
        Some(Filter::Compare(field, *op, value.to_owned(), regex))
    }

    fn word(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest.trim_start();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.rest = &rest[end..];
        &rest[..end]
    }

    fn value(&mut self) -> Option<&'t str> {
        for quote in ['"', '\''] {
            let rest = self.rest.trim_start();
            if let Some(inner) = rest.strip_prefix(quote) {
                let (value, rest) = inner.split_once(quote)?;
                self.rest = rest;
                return Some(value);
            }
        }
        Some(self.word(|c| !c.is_whitespace() && !"&|,#)".contains(c)))
    }
}
