//! devices/filter and devices/global_filter: which device names are looked at.

use regex_lite::Regex;

use crate::error::{Error, Kind, Result};

/// An ordered list of accept and reject patterns.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    rules: Vec<(bool, Regex)>,
}

impl Filter {
    /// From the strings of the setting `name`: `a` or `r`, a delimiter, a regular expression, the
    /// delimiter again (brackets are closed by their partner).
    pub fn parse(name: &str, patterns: &[String]) -> Result<Self> {
        let rules = patterns
            .iter()
            .map(|p| {
                rule(p).ok_or_else(|| {
                    Error::new(
                        Kind::Init,
                        format!(
                            "Invalid pattern \"{p}\" in {name}: expected a|REGEX| or r|REGEX|."
                        ),
                    )
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { rules })
    }

    /// The first of a device's names that is accepted decides (its index is returned). A device
    /// none of whose names matches any pattern is accepted under its first name. `None` = rejected.
    pub fn accept<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<usize> {
        let mut rejected = false;
        for (n, name) in names.into_iter().enumerate() {
            match self.rules.iter().find(|(_, re)| re.is_match(name)) {
                Some((true, _)) => return Some(n),
                Some((false, _)) => rejected = true,
                None => {}
            }
        }
        (!rejected).then_some(0)
    }
}

fn rule(pattern: &str) -> Option<(bool, Regex)> {
    let pattern = pattern.trim();
    let mut chars = pattern.chars();
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
    let body = chars.as_str().strip_suffix(close)?;
    Some((accept, Regex::new(body).ok()?))
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
    fn malformed_patterns_are_named() {
        for bad in ["", "x|a|", "a", "a|x", "a|(|"] {
            let e = Filter::parse("devices/filter", &[bad.to_owned()]).unwrap_err();
            assert!(e.to_string().contains("devices/filter"), "{bad}");
        }
    }
}
