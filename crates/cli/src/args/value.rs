//! What an option takes, and the check of it that needs no knowledge beyond the command line.

/// Kind of an option's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueKind {
    /// None.
    Flag,
    /// None; the option may be repeated.
    Count,
    /// Any text.
    Text,
    /// Any text; the option may be repeated.
    List,
    /// `y` or `n`.
    YesNo,
    /// A non-negative integer.
    Number,
    /// An integer, with or without a sign.
    SignedNumber,
    /// A size; the character is the unit of a plain number.
    Size(char),
    /// A size that may have a sign.
    SignedSize(char),
    /// A count of extents or a percentage, with or without a sign.
    Extents,
    /// `auto`, `none` or sectors.
    ReadAhead,
    /// A report type; the option may be repeated.
    ConfigReports,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl ValueKind {
    /// May the option stand on the command line more than once?
    pub fn repeats(self) -> bool {
        matches!(self, Self::Count | Self::List | Self::ConfigReports)
    }

    /// Does it take a value at all?
    pub fn takes_value(self) -> bool {
        !matches!(self, Self::Flag | Self::Count)
    }

    /// Name of the value in help texts.
    pub fn placeholder(self) -> String {
        match self {
            Self::Flag | Self::Count => String::new(),
            Self::Text | Self::List => "String".into(),
            Self::YesNo => "y|n".into(),
            Self::Number => "Number".into(),
            Self::SignedNumber => "[+|-]Number".into(),
            Self::Size(u) => format!("Size[{u}|UNIT]"),
            Self::SignedSize(u) => format!("[+|-]Size[{u}|UNIT]"),
            Self::Extents => "[+|-]Number[PERCENT]".into(),
            Self::ReadAhead => "auto|none|Number".into(),
            Self::ConfigReports => REPORTS.join("|"),
            Self::Choice(words) => words.join("|"),
        }
    }

    /// Checks a value. The error is a line that says more than "invalid argument", if there is one.
    pub fn check(self, value: &str) -> Result<(), Option<&'static str>> {
        let ok = match self {
            Self::Flag | Self::Count | Self::Text | Self::List => true,
            Self::YesNo => yes_no(value).is_some(),
            Self::Number => unsigned(value),
            Self::SignedNumber => unsigned(value.strip_prefix(['+', '-']).unwrap_or(value)),
            Self::Size(_) => match value.strip_prefix('-') {
                Some(_) => return Err(Some("Size may not be negative.")),
                None => return size(value),
            },
            Self::SignedSize(_) => return size(value.strip_prefix(['+', '-']).unwrap_or(value)),
            Self::Extents => extents(value.strip_prefix(['+', '-']).unwrap_or(value)),
            Self::ReadAhead => matches!(value, "auto" | "none") || size(value).is_ok(),
            Self::ConfigReports => REPORTS.contains(&value),
            Self::Choice(words) => words.contains(&value),
        };
        if ok { Ok(()) } else { Err(None) }
    }
}

/// Report types that `--configreport` names.
const REPORTS: [&str; 6] = ["log", "vg", "lv", "pv", "pvseg", "seg"];

/// `y` or `n`, in the spellings LVM2 takes.
pub fn yes_no(value: &str) -> Option<bool> {
    match value {
        "y" | "1" => Some(true),
        "n" | "0" => Some(false),
        _ => None,
    }
}

fn unsigned(value: &str) -> bool {
    !value.is_empty() && value.len() <= 19 && value.bytes().all(|c| c.is_ascii_digit())
}

fn size(value: &str) -> Result<(), Option<&'static str>> {
    let digits = value
        .bytes()
        .take_while(|c| c.is_ascii_digit() || *c == b'.')
        .count();
    let (number, unit) = value.split_at(digits);
    if !number.bytes().any(|c| c.is_ascii_digit()) {
        return Err(Some("Size requires number argument."));
    }
    let known = match unit.len() {
        0 => true,
        1 => "bBsSkKmMgGtTpPeE".contains(unit),
        _ => false,
    };
    if known && number.matches('.').count() <= 1 {
        Ok(())
    } else {
        Err(None)
    }
}

fn extents(value: &str) -> bool {
    let (number, percent) = match value.split_once('%') {
        Some((n, p)) => (n, Some(p.to_ascii_uppercase())),
        None => (value, None),
    };
    let known = percent.is_none_or(|p| {
        ["VG", "LV", "PVS", "FREE", "ORIGIN"]
            .iter()
            .any(|w| !p.is_empty() && w.starts_with(p.as_str()))
    });
    known && unsigned(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_by_kind() {
        let good = [
            (ValueKind::SignedSize('m'), "-7M"),
            (ValueKind::SignedSize('m'), "+1.5g"),
            (ValueKind::Size('k'), "64"),
            (ValueKind::Extents, "+100%FREE"),
            (ValueKind::Extents, "-3"),
            (ValueKind::Extents, "50%v"),
            (ValueKind::SignedNumber, "+1"),
            (ValueKind::YesNo, "n"),
        ];
        for (kind, value) in good {
            assert!(kind.check(value).is_ok(), "{kind:?} {value}");
        }
        let bad = [
            (ValueKind::Size('m'), "-7M"),
            (ValueKind::Size('m'), "7x"),
            (ValueKind::Size('m'), "7mm"),
            (ValueKind::SignedSize('m'), "foo"),
            (ValueKind::Extents, "10%"),
            (ValueKind::Extents, "10%XX"),
            (ValueKind::Number, "-1"),
            (ValueKind::YesNo, "maybe"),
            (ValueKind::Choice(&["a"]), "b"),
        ];
        for (kind, value) in bad {
            assert!(kind.check(value).is_err(), "{kind:?} {value}");
        }
    }
}
