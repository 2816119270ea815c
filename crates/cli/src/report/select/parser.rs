//! From text to [`Expr`].

use regex_lite::Regex;

use super::reserved::{self, Reserved};
use super::scan::Scan;
use super::{Compare, DEPTH_MAX, Expr, Lines, ListOperand, Op, Operand, Setting, when};
use crate::report::fields::{self, Field, Group, Kind};

const OPERATORS: [(&str, Op); 12] = [
    ("=~", Op::Match),
    ("!~", Op::NoMatch),
    ("!=", Op::Different),
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("=", Op::Equal),
    (">", Op::Above),
    ("<", Op::Below),
    ("since", Op::AtLeast),
    ("after", Op::Above),
    ("until", Op::AtMost),
    ("before", Op::Below),
];

/// Quotes around a text.
const QUOTES: [(char, char); 2] = [('"', '"'), ('\'', '\'')];
/// Quotes around a regular expression.
const REGEX_QUOTES: [(char, char); 5] =
    [('"', '"'), ('\'', '\''), ('(', ')'), ('{', '}'), ('[', ']')];

/// Parses a selection. `None` for an empty one, which selects everything.
pub fn parse(text: &str, setting: Setting) -> Result<Option<Expr>, Lines> {
    let mut scan = Scan::new(text);
    if matches!(text.trim(), "" | "all") {
        return Ok(None);
    }
    let expr = any(&mut scan, setting, 0)?;
    if scan.rest().is_empty() {
        Ok(Some(expr))
    } else {
        Err(at("Expecting logical operator", scan.rest()))
    }
}

/// What is wrong and where.
fn at(what: impl Into<String>, place: &str) -> Lines {
    vec![
        what.into(),
        format!("Selection syntax error at '{place}'."),
        "Use 'help' for selection to get more help.".to_owned(),
    ]
}

fn any(scan: &mut Scan<'_>, setting: Setting, depth: u32) -> Result<Expr, Lines> {
    let mut list = vec![all(scan, setting, depth)?];
    while scan.take_any(&["||", "#"]).is_some() {
        list.push(all(scan, setting, depth)?);
    }
    Ok(if list.len() > 1 {
        Expr::Any(list)
    } else {
        list.swap_remove(0)
    })
}

fn all(scan: &mut Scan<'_>, setting: Setting, depth: u32) -> Result<Expr, Lines> {
    let mut list = vec![one(scan, setting, depth)?];
    while scan.take_any(&["&&", ","]).is_some() {
        list.push(one(scan, setting, depth)?);
    }
    Ok(if list.len() > 1 {
        Expr::All(list)
    } else {
        list.swap_remove(0)
    })
}

fn one(scan: &mut Scan<'_>, setting: Setting, depth: u32) -> Result<Expr, Lines> {
    if depth > DEPTH_MAX {
        return Err(at("Too many parentheses", scan.rest()));
    }
    let not = scan.take("!");
    if !scan.take("(") {
        return if not {
            Err(vec![format!(
                "Syntax error: left parenthesis expected at '{}'",
                scan.rest()
            )])
        } else {
            compare(scan, setting)
        };
    }
    let inner = any(scan, setting, depth + 1)?;
    if !scan.take(")") {
        return Err(vec![format!(
            "Syntax error: right parenthesis expected at '{}'",
            scan.rest()
        )]);
    }
    Ok(if not {
        Expr::Not(Box::new(inner))
    } else {
        inner
    })
}

fn compare(scan: &mut Scan<'_>, setting: Setting) -> Result<Expr, Lines> {
    let start = scan.rest();
    let name = scan.while_char(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() {
        return Err(at("Expecting field name", start));
    }
    let field = fields::find(name, setting.own)
        .filter(|f| f.group != Group::Special || f.id == "selected")
        .ok_or_else(|| at(format!("Unrecognised selection field: {name}"), start))?;
    let before = scan.rest();
    let op = OPERATORS
        .iter()
        .find(|(sign, _)| scan.take(sign))
        .map(|o| o.1)
        .ok_or_else(|| at(format!("Unrecognised comparison operator: {before}"), start))?;
    check_operator(field, op, start)?;
    let operand = operand(scan, field, op, setting).map_err(|what| {
        let kind = match field.kind {
            Kind::Text => "string",
            Kind::List => "string list",
            Kind::Time => "time",
            Kind::Number | Kind::Size | Kind::Percent => "numeric",
        };
        let failed = format!(
            "Failed to parse {kind} value for selection field {}.",
            field.id
        );
        let mut lines: Lines = what.into_iter().collect();
        lines.extend(at(failed, start));
        lines
    })?;
    Ok(Expr::Compare(Compare { field, op, operand }))
}

fn check_operator(field: &Field, op: Op, start: &str) -> Result<(), Lines> {
    let numeric = !matches!(field.kind, Kind::Text | Kind::List);
    match op {
        Op::Match | Op::NoMatch if field.kind != Kind::Text => Err(vec![format!(
            "dm_report: incompatible comparison type for selection field {}",
            field.id
        )]),
        Op::AtLeast | Op::Above | Op::AtMost | Op::Below if !numeric => Err(at(
            format!("Operator can be used only with number, size, time or percent fields: {start}"),
            start,
        )),
        _ => Ok(()),
    }
}

/// Why an operand is wrong, if there is more to say than that it is.
type Why = Option<String>;

fn operand(scan: &mut Scan<'_>, field: &Field, op: Op, setting: Setting) -> Result<Operand, Why> {
    if matches!(op, Op::Match | Op::NoMatch) {
        let text = match scan.quoted(&REGEX_QUOTES).map_err(Some)? {
            Some(text) => text,
            None => scan.word(""),
        };
        return Regex::new(text)
            .map(Operand::Regex)
            .map_err(|e| Some(e.to_string()));
    }
    if let Some(found) = named(scan, field)? {
        return Ok(found);
    }
    match field.kind {
        Kind::Text => Ok(Operand::Text(text(scan, "")?.to_owned())),
        Kind::List => list(scan).map(Operand::List),
        Kind::Number => {
            let digits = number(scan)?;
            digits
                .parse::<f64>()
                .map(|n| Operand::Number(n as i64))
                .map_err(|_| None)
        }
        Kind::Size => size(scan),
        Kind::Percent => {
            let n = number(scan)?.parse().map_err(|_| None)?;
            scan.take("%");
            Ok(Operand::Percent(n))
        }
        Kind::Time => {
            let words = match scan.quoted(&QUOTES).map_err(Some)? {
                Some(text) => text,
                None => scan.word(""),
            };
            let (from, to) = when::parse(words, setting.now, setting.offset).map_err(Some)?;
            Ok(Operand::Time(from, to))
        }
    }
}

/// A text, quoted or not.
fn text<'t>(scan: &mut Scan<'t>, more_ends: &str) -> Result<&'t str, Why> {
    Ok(match scan.quoted(&QUOTES).map_err(Some)? {
        Some(text) => text,
        None => scan.word(more_ends),
    })
}

/// A word that stands for a value; nothing is taken if it does not.
fn named(scan: &mut Scan<'_>, field: &Field) -> Result<Option<Operand>, Why> {
    let mut ahead = *scan;
    let word = text(&mut ahead, "")?;
    let found = match reserved::find(field.id, word) {
        Some(Reserved::Number(n)) => Operand::Number(n),
        Some(Reserved::NamedSize(sectors)) => Operand::Size(sectors as f64 * 512.0),
        Some(Reserved::Text(t)) => Operand::Text(t.to_owned()),
        None if field.kind == Kind::Number && reserved::UNDEFINED.contains(&word) => {
            Operand::Undefined
        }
        None => return Ok(None),
    };
    *scan = ahead;
    Ok(Some(found))
}

/// Digits, with at most one decimal point, optionally quoted by nobody.
fn number<'t>(scan: &mut Scan<'t>) -> Result<&'t str, Why> {
    let digits = scan.while_char(|c| c.is_ascii_digit() || c == '.');
    if digits.bytes().any(|c| c.is_ascii_digit()) {
        Ok(digits)
    } else {
        Err(None)
    }
}

/// Lower-case units are powers of 1024, upper-case ones of 1000; mebibytes if there is none.
fn size(scan: &mut Scan<'_>) -> Result<Operand, Why> {
    let n: f64 = number(scan)?.parse().map_err(|_| None)?;
    let unit = scan
        .rest()
        .chars()
        .next()
        .filter(|c| "bBsSkKmMgGtTpPeE".contains(*c));
    if let Some(unit) = unit {
        scan.take(unit.encode_utf8(&mut [0; 4]));
    }
    let unit = unit.unwrap_or('m');
    let base: f64 = if unit.is_ascii_uppercase() {
        1000.0
    } else {
        1024.0
    };
    let bytes = match unit.to_ascii_lowercase() {
        's' => 512.0,
        letter => base.powi(
            "bkmgtpe"
                .find(letter)
                .and_then(|p| i32::try_from(p).ok())
                .unwrap_or(0),
        ),
    };
    Ok(Operand::Size(n * bytes))
}

fn list(scan: &mut Scan<'_>) -> Result<ListOperand, Why> {
    let strict = scan.take("[");
    if !strict && !scan.take("{") {
        let item = text(scan, "")?.to_owned();
        let items = if item.is_empty() {
            Vec::new()
        } else {
            vec![item]
        };
        return Ok(ListOperand {
            items,
            strict: false,
            any: false,
        });
    }
    let close = if strict { "]" } else { "}" };
    let mut out = ListOperand {
        items: Vec::new(),
        strict,
        any: false,
    };
    let mut joined: Option<bool> = None;
    loop {
        if scan.take(close) {
            break;
        }
        let item = text(scan, "]}")?;
        if !item.is_empty() {
            out.items.push(item.to_owned());
        }
        if scan.take(close) {
            break;
        }
        let any = match scan.take_any(&["||", "#", "&&", ","]) {
            Some("||" | "#") => true,
            Some(_) => false,
            None => return Err(Some("Invalid operator in selection list.".to_owned())),
        };
        if joined.is_some_and(|j| j != any) {
            return Err(Some(
                "Only one type of logical operator allowed in selection list at a time.".to_owned(),
            ));
        }
        joined = Some(any);
    }
    out.any = joined.unwrap_or(false);
    Ok(out)
}
