//! devices/filter and devices/global_filter: which device names are looked at.

use std::collections::HashMap;

use regex_lite::Regex;

use crate::error::{Error, Kind, Result};

/// An ordered list of accept and reject patterns.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Patterns that fit one name only (`^/dev/sda$`), by that name: the first place in the list.
    /// Lists of hundreds of devices are made of such patterns.
    exact: HashMap<String, Place>,
    /// All others, in order.
    others: Vec<(Place, Pattern)>,
}

/// Where a pattern stands in the list, and what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    at: usize,
    accept: bool,
}

/// A pattern that fits more than one name.
#[derive(Clone, Debug)]
enum Pattern {
    /// `.*`
    Any,
    Regex(Regex),
}

impl Pattern {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

impl Filter {
    /// From the strings of the setting `name`: `a` or `r`, a delimiter, a regular expression, the
    /// delimiter again (brackets are closed by their partner).
    pub fn parse(name: &str, patterns: &[String]) -> Result<Self> {
        let mut filter = Self::default();
        for (at, pattern) in patterns.iter().enumerate() {
            filter.add(at, pattern).ok_or_else(|| {
                Error::new(
                    Kind::Init,
                    format!(
                        "Invalid pattern \"{pattern}\" in {name}: expected a|REGEX| or r|REGEX|."
                    ),
                )
            })?;
        }
        Ok(filter)
    }

    fn add(&mut self, at: usize, pattern: &str) -> Option<()> {
        let (accept, body) = split(pattern)?;
        let place = Place { at, accept };
        if let Some(name) = only_name(body) {
            self.exact.entry(name.to_owned()).or_insert(place);
            return Some(());
        }
        let pattern = match body {
            ".*" => Pattern::Any,
            regex => Pattern::Regex(Regex::new(regex).ok()?),
        };
        self.others.push((place, pattern));
        Some(())
    }

    /// The first of a device's names that is accepted decides (its index is returned). A device
    /// none of whose names matches any pattern is accepted under its first name. `None` = rejected.
    pub fn accept<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<usize> {
        let mut rejected = false;
        for (n, name) in names.into_iter().enumerate() {
            match self.first_match(name) {
                Some(true) => return Some(n),
                Some(false) => rejected = true,
                None => {}
            }
        }
        (!rejected).then_some(0)
    }

    /// What the first pattern that fits a name says.
    fn first_match(&self, name: &str) -> Option<bool> {
        let exact = self.exact.get(name).copied();
        let before = |place: &Place| exact.is_none_or(|e| place.at < e.at);
        let earlier = self.others.iter().take_while(|(place, _)| before(place));
        let mut fitting = earlier.filter(|(_, pattern)| pattern.fits(name));
        let first = fitting.next().map(|(place, _)| *place);
        first.or(exact).map(|place| place.accept)
    }
}

/// Accept or reject, and the regular expression.
fn split(pattern: &str) -> Option<(bool, &str)> {
    let mut chars = pattern.trim().chars();
    let accept = match chars.next()? {
        'a' => true,
        'r' => false,
        _ => return None,
    };
    let close = match chars.next()? {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        c => c,
    };
    Some((accept, chars.as_str().strip_suffix(close)?))
}

/// The one name that a regular expression fits, if it is plain text between anchors.
fn only_name(regex: &str) -> Option<&str> {
    let name = regex.strip_prefix('^')?.strip_suffix('$')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | ':');
    name.chars().all(plain).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> Filter {
        let owned: Vec<String> = patterns.iter().map(|s| (*s).to_owned()).collect();
        Filter::parse("devices/filter", &owned).unwrap()
    }

    #[test]
    fn first_match_of_a_name_decides_and_one_accepted_name_is_enough() {
        let f = filter(&["a|^/dev/loop[0-3]$|", "r(.*)"]);
        assert_eq!(f.accept(["/dev/loop2"]), Some(0));
        assert_eq!(f.accept(["/dev/loop9"]), None);
        assert_eq!(f.accept(["/dev/x", "/dev/loop1"]), Some(1));
        let f = filter(&["r|/dev/sda|"]);
        assert_eq!(f.accept(["/dev/sdb"]), Some(0));
        assert_eq!(f.accept(["/dev/sda1"]), None);
        assert_eq!(f.accept(["/dev/sda1", "/dev/disk/x"]), None);
        assert_eq!(Filter::default().accept(["/dev/x"]), Some(0));
    }

    #[test]
    fn the_first_of_plain_names_and_patterns_decides() {
        let f = filter(&["r|^/dev/a$|", "a|^/dev/b$|", "r|b|", "a|^/dev/a$|", "a|.*|"]);
        assert_eq!(f.accept(["/dev/a"]), None);
        assert_eq!(f.accept(["/dev/b"]), Some(0));
        assert_eq!(f.accept(["/dev/b1"]), None);
        assert_eq!(f.accept(["/dev/c"]), Some(0));
        let f = filter(&["r|/dev/|", "a|^/dev/a$|"]);
        assert_eq!(f.accept(["/dev/a"]), None);
        // A dot is no plain text.
        assert_eq!(filter(&["r|^/dev/a.b$|"]).accept(["/dev/axb"]), None);
    }

    #[test]
    fn malformed_patterns_are_named() {
        for bad in ["", "x|a|", "a", "a|x", "a|(|"] {
            let e = Filter::parse("devices/filter", &[bad.to_owned()]).unwrap_err();
            assert!(e.to_string().contains("devices/filter"), "{bad}");
        }
    }
}
