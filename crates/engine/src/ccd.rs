//! Concatenated disks: from a line of ccd.conf to a device-mapper table. Pure; sizes are given.
//!
//! A line is `NAME INTERLEAVE FLAGS DEV DEV...`, the interleave in 512-byte blocks, 0 for one
//! component after the other. Otherwise blocks go round in runs of the interleave. Components of
//! different sizes make rounds: in each, all components that still have room take part, up to the
//! size of the smallest of them.

use std::fmt;

/// `uniform`: every component counts with the smallest size.
const UNIFORM: u64 = 0x02;
/// `mirror`: the second half of the components holds copies.
const MIRROR: u64 = 0x04;
/// Flags without a meaning for the layout.
const IGNORED: u64 = 0x01;

/// A configuration line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Name, such as `ccd0`.
    pub name: String,
    /// Blocks per run; 0 = one component after the other.
    pub interleave: u64,
    /// All components count with the smallest size.
    pub uniform: bool,
    /// Paths of the components.
    pub components: Vec<String>,
}

/// A component's size and sector size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Component {
    /// 512-byte blocks.
    pub blocks: u64,
    /// Bytes per sector.
    pub sector: u32,
}

/// A line of the table. Components by their place in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// First block.
    pub start: u64,
    /// Blocks.
    pub len: u64,
    /// Who takes part.
    pub members: Vec<usize>,
    /// Block on each of them where this row begins.
    pub offset: u64,
}

/// What is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CcdError(String);

impl fmt::Display for CcdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CcdError {}

fn wrong<T>(text: impl Into<String>) -> Result<T, CcdError> {
    Err(CcdError(text.into()))
}

impl Config {
    /// Reads a line.
    pub fn parse(line: &str) -> Result<Self, CcdError> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(interleave), Some(flags)) =
            (words.next(), words.next(), words.next())
        else {
            return wrong("a ccd line is NAME INTERLEAVE FLAGS DEVICE...");
        };
        let Ok(interleave) = interleave.parse::<u32>() else {
            return wrong(format!(
                "{name}: interleave is not a number: \"{interleave}\""
            ));
        };
        let flags = parse_flags(name, flags)?;
        if flags & MIRROR != 0 {
            return wrong(format!("{name}: mirrored ccds are not supported"));
        }
        let components: Vec<String> = words.map(str::to_owned).collect();
        if components.is_empty() {
            return wrong(format!("{name}: no components"));
        }
        if let Some(n) = (1..components.len()).find(|n| components[..*n].contains(&components[*n]))
        {
            return wrong(format!("{name}: {} occurs twice", components[n]));
        }
        Ok(Self {
            name: name.to_owned(),
            interleave: interleave.into(),
            uniform: flags & UNIFORM != 0,
            components,
        })
    }

    /// Reads a ccd.conf: a line each, `#` begins a comment.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, CcdError> {
        let mut configs = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if !line.is_empty() {
                let config = Self::parse(line);
                configs.push(config.map_err(|e| CcdError(format!("line {}: {e}", n + 1)))?);
            }
        }
        Ok(configs)
    }

    /// The table's rows, for components of these sizes.
    pub fn rows(&self, components: &[Component]) -> Result<Vec<Row>, CcdError> {
        let name = &self.name;
        if components.len() != self.components.len() {
            return wrong(format!("{name}: sizes of all components are needed"));
        }
        let largest = components.iter().map(|c| u64::from(c.sector)).max();
        if self.interleave > 0 && self.interleave * 512 < largest.unwrap_or(512) {
            return wrong(format!(
                "{name}: interleave is smaller than a sector of {} bytes",
                largest.unwrap_or(512)
            ));
        }
        let run = self.interleave.max(1);
        let mut sizes: Vec<u64> = components.iter().map(|c| c.blocks / run * run).collect();
        if let Some(n) = sizes.iter().position(|size| *size == 0) {
            return wrong(format!("{name}: {} is too small", self.components[n]));
        }
        if self.uniform {
            let least = sizes.iter().copied().min().unwrap_or(0);
            sizes.fill(least);
        }
        let total = sizes
            .iter()
            .try_fold(0u64, |sum, size| sum.checked_add(*size));
        if total.is_none_or(|t| t > i64::MAX as u64 / 512) {
            return wrong(format!("{name}: the components are too large"));
        }
        Ok(match self.interleave {
            0 => serial(&sizes),
            _ => rounds(&sizes),
        })
    }

    /// The table as device-mapper's text.
    pub fn table(&self, components: &[Component]) -> Result<String, CcdError> {
        let mut text = String::new();
        for row in self.rows(components)? {
            text.push_str(&format!("{} {} ", row.start, row.len));
            match row.members.as_slice() {
                [one] => {
                    text.push_str(&format!("linear {} {}", self.components[*one], row.offset));
                }
                several => {
                    text.push_str(&format!("striped {} {}", several.len(), self.interleave));
                    for n in several {
                        text.push_str(&format!(" {} {}", self.components[*n], row.offset));
                    }
                }
            }
            text.push('\n');
        }
        Ok(text)
    }
}

fn parse_flags(name: &str, word: &str) -> Result<u64, CcdError> {
    let number = match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    };
    if let Some(flags) = number {
        return match flags & !(UNIFORM | MIRROR | IGNORED) {
            0 => Ok(flags),
            _ => wrong(format!("{name}: unknown flags {word}")),
        };
    }
    let mut flags = 0;
    for flag in word.split([',', '|']) {
        flags |= match flag.to_ascii_lowercase().trim_start_matches("ccdf_") {
            "none" => 0,
            "uniform" => UNIFORM,
            "mirror" => MIRROR,
            _ => return wrong(format!("{name}: unknown flag \"{flag}\"")),
        };
    }
    Ok(flags)
}

/// One component after the other.
fn serial(sizes: &[u64]) -> Vec<Row> {
    let mut start = 0;
    let row = |(n, len): (usize, &u64)| {
        let row = Row {
            start,
            len: *len,
            members: vec![n],
            offset: 0,
        };
        start += len;
        row
    };
    sizes.iter().enumerate().map(row).collect()
}

/// Rounds over the components that still have room.
fn rounds(sizes: &[u64]) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut start, mut done) = (0, 0);
    while let Some(next) = sizes.iter().copied().filter(|size| *size > done).min() {
        let members: Vec<usize> = (0..sizes.len()).filter(|n| sizes[*n] >= next).collect();
        let len = members.len() as u64 * (next - done);
        rows.push(Row {
            start,
            len,
            members,
            offset: done,
        });
        start += len;
        done = next;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(line: &str, blocks: &[u64]) -> Result<String, String> {
        let config = Config::parse(line).map_err(|e| e.to_string())?;
        let sizes: Vec<Component> = blocks
            .iter()
            .map(|b| Component {
                blocks: *b,
                sector: 512,
            })
            .collect();
        config.table(&sizes).map_err(|e| e.to_string())
    }

    #[test]
    fn equal_components_are_one_striped_line() {
        assert_eq!(
            table("ccd0 32 none /dev/wd0m /dev/wd0n", &[163_850, 163_840]),
            Ok("0 327680 striped 2 32 /dev/wd0m 0 /dev/wd0n 0\n".into())
        );
    }

    #[test]
    fn unequal_components_make_rounds() {
        assert_eq!(
            table("ccd0 32 none A B C", &[1000, 3000, 3000]),
            Ok("0 2976 striped 3 32 A 0 B 0 C 0\n2976 3968 striped 2 32 B 992 C 992\n".into())
        );
        assert_eq!(
            table("ccd0 16 0 A B", &[64, 20]),
            Ok("0 32 striped 2 16 A 0 B 0\n32 48 linear A 16\n".into())
        );
        assert_eq!(
            table("ccd0 16 uniform A B", &[64, 20]),
            Ok("0 32 striped 2 16 A 0 B 0\n".into())
        );
    }

    #[test]
    fn without_interleave_one_follows_the_other() {
        assert_eq!(
            table("ccd1 0 none A B", &[100, 51]),
            Ok("0 100 linear A 0\n100 51 linear B 0\n".into())
        );
    }

    #[test]
    fn what_is_refused() {
        for (line, blocks, why) in [
            ("ccd0 32", &[][..], "NAME INTERLEAVE FLAGS"),
            ("ccd0 x none A", &[9], "not a number"),
            ("ccd0 32 none", &[], "no components"),
            ("ccd0 32 mirror A B", &[99, 99], "mirrored"),
            ("ccd0 32 0x40 A B", &[99, 99], "unknown flags"),
            ("ccd0 32 none A A", &[99, 99], "twice"),
            ("ccd0 32 none A B", &[99, 31], "B is too small"),
        ] {
            let e = table(line, blocks).expect_err(line);
            assert!(e.contains(why), "{line}: {e}");
        }
        let config = Config::parse("ccd0 4 none A").expect("config");
        let large = Component {
            blocks: 100,
            sector: 4096,
        };
        assert!(config.rows(&[large]).is_err(), "runs below a sector");
    }
}
