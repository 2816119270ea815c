//! Sizes as users write them, and as messages show them.
//!
//! Input units are powers of 1024 whatever their case; `s` counts 512-byte sectors, `b` bytes.

use std::fmt;

use crate::units::{SECTOR_SIZE, Sectors};

/// A sign before a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// The new size itself.
    None,
    /// More by so much.
    Plus,
    /// Less by so much.
    Minus,
}

/// What a percentage is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PercentOf {
    /// All extents of the VG.
    Vg,
    /// Its free extents.
    Free,
    /// Free extents of the PVs listed; of the VG, if none is.
    Pvs,
    /// The LV's present size.
    Lv,
    /// The size of the snapshot's origin.
    Origin,
}

/// A size argument, without its sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// `-L`: whole sectors.
    Sectors(Sectors),
    /// `-l N`
    Extents(u32),
    /// `-l N%WHAT`
    Percent(u32, PercentOf),
}

/// A size argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Its sign.
    pub sign: Sign,
    /// How much.
    pub amount: Amount,
}

/// Why a size cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SizeError {
    /// No digits where a number is expected.
    NoNumber,
    /// An unknown unit or trailing characters.
    Unit,
    /// Bytes that are no whole sectors.
    NotSectors,
    /// Larger than 2^64 bytes.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNumber => "Size requires number argument.",
            Self::Unit => "Unknown unit, or characters behind the size.",
            Self::NotSectors => "Size is not a multiple of 512 bytes.",
            Self::TooLarge => "Size is too large.",
        })
    }
}

impl std::error::Error for SizeError {}

impl Amount {
    /// Nothing at all, as written.
    pub fn is_zero(self) -> bool {
        match self {
            Self::Sectors(s) => s.is_zero(),
            Self::Extents(n) | Self::Percent(n, _) => n == 0,
        }
    }
}

fn split_sign(text: &str) -> (Sign, &str) {
    match text.as_bytes().first() {
        Some(b'+') => (Sign::Plus, &text[1..]),
        Some(b'-') => (Sign::Minus, &text[1..]),
        _ => (Sign::None, text),
    }
}

impl Size {
    /// An argument of `-L`; plain numbers are MiB.
    pub fn parse_size(text: &str) -> Result<Self, SizeError> {
        let (sign, rest) = split_sign(text);
        let amount = Amount::Sectors(parse_sectors(rest, 'm')?);
        Ok(Self { sign, amount })
    }

    /// An argument of `-l`.
    pub fn parse_extents(text: &str) -> Result<Self, SizeError> {
        let (sign, rest) = split_sign(text);
        let (number, of) = match rest.split_once('%') {
            None => (rest, None),
            Some((number, word)) => (number, Some(percent_of(word).ok_or(SizeError::Unit)?)),
        };
        if number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit()) {
            return Err(SizeError::NoNumber);
        }
        let number = number.parse().map_err(|_| SizeError::TooLarge)?;
        let amount = of.map_or(Amount::Extents(number), |of| Amount::Percent(number, of));
        Ok(Self { sign, amount })
    }
}

/// `VG`, `FREE`, `PVS`, `LV`, `ORIGIN` or a beginning of one of them, in any case.
fn percent_of(word: &str) -> Option<PercentOf> {
    let word = word.to_ascii_uppercase();
    [
        ("VG", PercentOf::Vg),
        ("LV", PercentOf::Lv),
        ("PVS", PercentOf::Pvs),
        ("FREE", PercentOf::Free),
        ("ORIGIN", PercentOf::Origin),
    ]
    .into_iter()
    .find(|(name, _)| !word.is_empty() && name.starts_with(&word))
    .map(|(_, of)| of)
}

/// A size without a sign, e.g. `1.5g`, `64`, `100s`; `default_unit` is that of a plain number.
/// Fractions of a sector are dropped, except that bytes must be whole sectors.
pub fn parse_sectors(text: &str, default_unit: char) -> Result<Sectors, SizeError> {
    let digits = text
        .bytes()
        .take_while(|c| c.is_ascii_digit() || *c == b'.')
        .count();
    let (number, unit) = text.split_at(digits);
    let mut rest = unit.chars();
    let unit = rest.next().unwrap_or(default_unit).to_ascii_lowercase();
    if rest.next().is_some() {
        return Err(SizeError::Unit);
    }
    let unit_bytes: u64 = match unit {
        'b' => 1,
        's' => SECTOR_SIZE,
        _ => match "kmgtpe".find(unit) {
            Some(n) => 1 << (10 * (n + 1)),
            None => return Err(SizeError::Unit),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(SizeError::NoNumber);
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| SizeError::TooLarge)?
    };
    let mut bytes = u128::from(whole) * u128::from(unit_bytes);
    // Eighteen digits behind the point are more than any unit can tell apart.
    let digits: String = fraction.chars().take(18).collect();
    if !digits.is_empty() {
        let scale = 10u128.pow(u32::try_from(digits.len()).unwrap_or(18));
        let part: u128 = digits.parse().map_err(|_| SizeError::NoNumber)?;
        bytes += part * u128::from(unit_bytes) / scale;
    }
    let bytes = u64::try_from(bytes).map_err(|_| SizeError::TooLarge)?;
    if unit == 'b' && bytes % SECTOR_SIZE != 0 {
        return Err(SizeError::NotSectors);
    }
    Ok(Sectors(bytes / SECTOR_SIZE))
}

/// A size as messages show it: two decimals in the largest unit that fits, with `<` before it when
/// it was rounded up.
pub fn show(size: Sectors) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let bytes = u128::from(size.0) * u128::from(SECTOR_SIZE);
    if bytes == 0 {
        return "0   ".to_owned();
    }
    let step = (0..UNITS.len())
        .rev()
        .find(|n| bytes >> (10 * n) > 0)
        .unwrap_or(0);
    let unit = 1u128 << (10 * step);
    // Round to nearest, halves to even, as printf does with these exact binary fractions.
    let scaled = bytes * 100;
    let (mut hundredths, rest) = (scaled / unit, scaled % unit);
    let up = rest * 2 > unit || (rest * 2 == unit && hundredths % 2 == 1);
    hundredths += u128::from(up);
    let mark = if rest != 0 && up { "<" } else { "" };
    format!(
        "{mark}{}.{:02} {}",
        hundredths / 100,
        hundredths % 100,
        UNITS[step]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        let good = [
            ("5", 10240),
            ("5M", 10240),
            ("1.5g", 3 << 20),
            ("7s", 7),
            ("1024b", 2),
            (".5k", 1),
            ("0", 0),
            ("16e", u64::MAX),
        ];
        for (text, sectors) in &good[..7] {
            assert_eq!(parse_sectors(text, 'm'), Ok(Sectors(*sectors)), "{text}");
        }
        assert_eq!(parse_sectors(good[7].0, 'm'), Err(SizeError::TooLarge));
        assert_eq!(parse_sectors("64", 'k'), Ok(Sectors(128)));
        for (text, error) in [
            ("", SizeError::NoNumber),
            (".", SizeError::NoNumber),
            ("x", SizeError::Unit),
            ("5mm", SizeError::Unit),
            ("1000b", SizeError::NotSectors),
            ("99999999999999999999m", SizeError::TooLarge),
        ] {
            assert_eq!(parse_sectors(text, 'm'), Err(error), "{text}");
        }
    }

    #[test]
    fn extents_and_percentages() {
        let parse = |t| Size::parse_extents(t).map(|s| (s.sign, s.amount));
        assert_eq!(parse("12"), Ok((Sign::None, Amount::Extents(12))));
        assert_eq!(
            parse("+100%free"),
            Ok((Sign::Plus, Amount::Percent(100, PercentOf::Free)))
        );
        assert_eq!(
            parse("-5%O"),
            Ok((Sign::Minus, Amount::Percent(5, PercentOf::Origin)))
        );
        assert_eq!(parse("5%"), Err(SizeError::Unit));
        assert_eq!(parse("%VG"), Err(SizeError::NoNumber));
        assert_eq!(parse("99999999999"), Err(SizeError::TooLarge));
    }

    #[test]
    fn sizes_are_shown_as_lvm2_shows_them() {
        assert_eq!(show(Sectors(8192)), "4.00 MiB");
        assert_eq!(show(Sectors(128)), "64.00 KiB");
        assert_eq!(show(Sectors(1)), "512.00 B");
        assert_eq!(show(Sectors(8_192_000)), "<3.91 GiB");
        assert_eq!(show(Sectors(8_224_768)), "3.92 GiB");
        assert_eq!(show(Sectors(1 << 31)), "1.00 TiB");
        assert_eq!(show(Sectors(0)), "0   ");
    }
}
