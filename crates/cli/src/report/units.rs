//! Sizes as reports show them (`--units`).

use std::fmt::Write as _;

/// Which unit sizes are shown in.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Units {
    scale: Scale,
    /// Letter behind the number.
    pub suffix: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Scale {
    /// The largest unit that gives at least 1; `base` is 1024 or 1000. `mark` puts `<` before a
    /// number that was rounded up.
    Human { base: u64, mark: bool },
    /// One unit of so many bytes.
    Fixed {
        bytes: f64,
        letter: char,
        decimals: usize,
    },
}

/// Letters of the units from bytes up.
const LETTERS: &str = "bkmgtpe";

impl Units {
    /// From the argument of `--units` or `global/units`. `None` if it makes no sense.
    pub fn parse(text: &str, suffix: bool) -> Option<Self> {
        let digits = text
            .bytes()
            .take_while(|c| c.is_ascii_digit() || *c == b'.')
            .count();
        let (number, unit) = text.split_at(digits);
        let factor: f64 = if number.is_empty() {
            1.0
        } else {
            number.parse().ok()?
        };
        let mut unit = unit.chars();
        let letter = unit.next()?;
        if unit.next().is_some() || factor <= 0.0 || !factor.is_finite() {
            return None;
        }
        let scale = match letter {
            'h' | 'r' => Scale::Human {
                base: 1024,
                mark: letter == 'r',
            },
            'H' | 'R' => Scale::Human {
                base: 1000,
                mark: letter == 'R',
            },
            _ => Self::fixed(letter, factor)?,
        };
        Some(Self { scale, suffix })
    }

    fn fixed(letter: char, factor: f64) -> Option<Scale> {
        let lower = letter.to_ascii_lowercase();
        let bytes = match lower {
            's' => 512.0,
            _ => {
                let power = i32::try_from(LETTERS.find(lower)?).ok()?;
                let base: f64 = if letter.is_ascii_uppercase() && lower != 'b' {
                    1000.0
                } else {
                    1024.0
                };
                base.powi(power)
            }
        };
        // A factor below 2 keeps the letter of its unit, as LVM2 has it.
        let custom = factor.trunc() != 1.0;
        let plain = matches!(lower, 'b' | 's');
        Some(Scale::Fixed {
            bytes: bytes * factor,
            letter: match (custom, plain) {
                (true, _) => 'U',
                (false, true) => letter.to_ascii_uppercase(),
                (false, false) => letter,
            },
            decimals: if plain && !custom { 0 } else { 2 },
        })
    }

    /// A size given in 512-byte sectors.
    pub fn show(&self, sectors: u64) -> String {
        let mut out = String::with_capacity(16);
        self.push(sectors, &mut out);
        out
    }

    /// [`Units::show`] at the end of `out`.
    pub fn push(&self, sectors: u64, out: &mut String) {
        match self.scale {
            Scale::Human { .. } if sectors == 0 => {
                out.push('0');
                self.push_letter(' ', out);
            }
            Scale::Human { base, mark } => push_human(sectors, base, mark, out),
            Scale::Fixed {
                bytes,
                letter,
                decimals,
            } => {
                // Writing to a string cannot fail.
                let _ = if sectors == 0 {
                    out.write_char('0')
                } else if bytes == 1.0 && decimals == 0 {
                    write!(out, "{}", u128::from(sectors) * 512)
                } else {
                    let value = in_bytes(sectors) / bytes;
                    write!(out, "{value:.decimals$}")
                };
                self.push_letter(letter, out);
            }
        }
    }

    fn push_letter(&self, letter: char, out: &mut String) {
        if self.suffix {
            out.push(letter);
        }
    }
}

/// In the largest unit that leaves a whole part. LVM2 leaves the letter of a unit that it chose
/// itself, whatever was asked for.
fn push_human(sectors: u64, base: u64, mark: bool, out: &mut String) {
    let (value, power) = human(sectors, base);
    let letter = LETTERS.chars().nth(power).unwrap_or('e');
    if base == 1024
        && let Some((whole, part)) = quarters(sectors, power)
    {
        let _ = write!(out, "{whole}{part}{letter}");
        return;
    }
    let letter = if base == 1000 {
        letter.to_ascii_uppercase()
    } else {
        letter
    };
    let decimals = if power == 0 { 0 } else { 2 };
    let number = format!("{value:.decimals$}");
    let up = mark && number.parse::<f64>().is_ok_and(|shown| shown > value);
    let _ = write!(out, "{}{number}{letter}", if up { "<" } else { "" });
}

/// Whole units of 1024^`power` bytes and the two decimals behind them, if there is nothing beyond
/// quarters of a unit: most sizes are such, and need no rounding.
fn quarters(sectors: u64, power: usize) -> Option<(u128, &'static str)> {
    let bytes = u128::from(sectors) * 512;
    let bits = 10 * power;
    let quarter = bits.checked_sub(2)?;
    let whole_quarters = bytes >> quarter;
    (whole_quarters << quarter == bytes).then(|| {
        let part = [".00", ".25", ".50", ".75"][(whole_quarters & 3) as usize];
        (bytes >> bits, part)
    })
}

impl Units {
    /// A size given in 512-byte sectors, with the unit spelled out as the display commands do:
    /// `24.00 MiB`.
    pub fn show_long(&self, sectors: u64) -> String {
        let short = Self {
            suffix: true,
            ..*self
        }
        .show(sectors);
        let letter = short.chars().last().unwrap_or(' ');
        let number = &short[..short.len() - letter.len_utf8()];
        let chosen = matches!(self.scale, Scale::Human { .. }) && sectors != 0;
        if !self.suffix && !chosen {
            return number.to_owned();
        }
        let unit = match letter {
            ' ' => "   ".to_owned(),
            'b' | 'B' => " B ".to_owned(),
            'U' => " Un".to_owned(),
            's' | 'S' => " Se".to_owned(),
            'K' => " kB".to_owned(),
            c if c.is_ascii_uppercase() => format!(" {c}B"),
            c => format!(" {}iB", c.to_ascii_uppercase()),
        };
        format!("{number}{unit}")
    }
}

fn in_bytes(sectors: u64) -> f64 {
    // Beyond 2^53 the last digits are lost, as in LVM2.
    sectors as f64 * 512.0
}

/// The value in the largest unit that gives at least 1, and the power of that unit.
fn human(sectors: u64, base: u64) -> (f64, usize) {
    let bytes = u128::from(sectors) * 512;
    let mut unit: u128 = 1;
    let mut power = 0;
    while power + 1 < LETTERS.len() && bytes >= unit * u128::from(base) {
        unit *= u128::from(base);
        power += 1;
    }
    (in_bytes(sectors) / unit as f64, power)
}

#[cfg(test)]
mod tests {
    use super::Units;

    #[test]
    fn sizes_are_shown_as_lvm2_shows_them() {
        for (units, sectors, shown) in [
            ("r", 8, "4.00k"),
            ("r", 204_792, "<100.00m"),
            ("h", 204_792, "100.00m"),
            ("r", 2_097_144, "<1024.00m"),
            ("r", 2_097_160, "1.00g"),
            ("r", 1, "512b"),
            ("R", 8, "<4.10K"),
            ("R", 1, "512B"),
            ("H", 32768, "16.78M"),
            ("b", 2, "1024B"),
            ("s", 2, "2S"),
            ("S", 2, "2S"),
            ("k", 1, "0.50k"),
            ("K", 1, "0.51K"),
            ("4m", 32768, "4.00U"),
            ("4M", 32768, "4.19U"),
            ("3b", 32768, "5592405.33U"),
            ("1.5k", 32768, "10922.67k"),
            ("3s", 1, "0.33U"),
            ("r", 0, "0 "),
            ("m", 0, "0m"),
            ("s", 0, "0S"),
            ("4m", 0, "0U"),
        ] {
            assert_eq!(
                Units::parse(units, true).unwrap().show(sectors),
                shown,
                "{units} {sectors}"
            );
        }
        assert_eq!(Units::parse("r", false).unwrap().show(0), "0");
        assert_eq!(Units::parse("m", false).unwrap().show(2048), "1.00");
        assert_eq!(Units::parse("h", false).unwrap().show(2048), "1.00m");
    }

    #[test]
    fn long_sizes_spell_the_unit() {
        for (units, sectors, shown) in [
            ("r", 49152, "24.00 MiB"),
            ("r", 1024, "512.00 KiB"),
            ("r", 0, "0   "),
            ("H", 40960, "20.97 MB"),
            ("b", 40960, "20971520 B "),
            ("s", 40960, "40960 Se"),
            ("K", 40960, "20971.52 kB"),
            ("4m", 40960, "5.00 Un"),
        ] {
            assert_eq!(
                Units::parse(units, true).unwrap().show_long(sectors),
                shown,
                "{units}"
            );
        }
        assert_eq!(Units::parse("m", false).unwrap().show_long(40960), "20.00");
    }

    #[test]
    fn units_that_make_no_sense_are_refused() {
        for bad in ["", "x", "kb", "0b", "-1k", "4mh", "1.2.3k", "4"] {
            assert!(Units::parse(bad, true).is_none(), "{bad}");
        }
    }
}
