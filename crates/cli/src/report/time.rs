//! Times as reports show them (`report/time_format`) and as selections name them.

use std::fmt::{self, Write as _};

/// Offset of local time from UTC in seconds, as a function of the time.
pub type Offset = fn(i64) -> i32;

/// A `strftime`-like format, in some time zone.
#[derive(Clone, Debug)]
pub struct TimeFormat {
    format: String,
    offset: Offset,
}

/// LVM2's default.
pub const DEFAULT: &str = "%Y-%m-%d %T %z";

/// A moment in civil terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    /// Year.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Days since 1970 of a date (proleptic Gregorian calendar).
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i64::from(month) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

impl Civil {
    /// Of seconds since 1970, UTC.
    pub fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        let rest = u32::try_from(seconds.rem_euclid(86_400)).unwrap_or(0);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let small = |n: i64| u32::try_from(n).unwrap_or(0);
        let month = small(if mp < 10 { mp + 3 } else { mp - 9 });
        Self {
            year: yoe + era * 400 + i64::from(month <= 2),
            month,
            day: small(doy - (153 * mp + 2) / 5 + 1),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
    /// Seconds since 1970, UTC.
    pub fn seconds(&self) -> i64 {
        days_from_civil(self.year, self.month, self.day) * 86_400
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }
}

impl TimeFormat {
    /// From `report/time_format`; an empty one is the default.
    pub fn new(format: &str, offset: Offset) -> Self {
        let format = if format.is_empty() { DEFAULT } else { format };
        Self {
            format: format.to_owned(),
            offset,
        }
    }

    /// A moment.
    pub fn show(&self, utc: i64) -> String {
        let mut out = String::with_capacity(32);
        self.push(utc, &mut out);
        out
    }

    /// [`TimeFormat::show`] at the end of `out`.
    pub fn push(&self, utc: i64, out: &mut String) {
        let offset = i64::from((self.offset)(utc));
        let seconds = utc.saturating_add(offset);
        let civil = Civil::of(seconds);
        let mut chars = self.format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                // Writing to a string cannot fail.
                Some(directive) => {
                    let _ = expand(out, directive, seconds, offset, &civil);
                }
                None => out.push('%'),
            }
        }
    }
}

fn expand(out: &mut String, directive: char, seconds: i64, offset: i64, t: &Civil) -> fmt::Result {
    let weekday = usize::try_from((seconds.div_euclid(86_400) + 4).rem_euclid(7)).unwrap_or(0);
    let month = MONTHS[t.month.clamp(1, 12) as usize - 1];
    match directive {
        'Y' => write!(out, "{}", t.year),
        'y' => two(out, t.year.rem_euclid(100)),
        'C' => two(out, t.year.div_euclid(100)),
        'm' => two(out, t.month),
        'd' => two(out, t.day),
        'e' => write!(out, "{:2}", t.day),
        'H' => two(out, t.hour),
        'I' => two(out, (t.hour + 11) % 12 + 1),
        'k' => write!(out, "{:2}", t.hour),
        'l' => write!(out, "{:2}", (t.hour + 11) % 12 + 1),
        'M' => two(out, t.minute),
        'S' => two(out, t.second),
        'p' => out.write_str(if t.hour < 12 { "AM" } else { "PM" }),
        'P' => out.write_str(if t.hour < 12 { "am" } else { "pm" }),
        'T' => {
            two(out, t.hour)?;
            out.push(':');
            two(out, t.minute)?;
            out.push(':');
            two(out, t.second)
        }
        'R' => write!(out, "{:02}:{:02}", t.hour, t.minute),
        'F' => write!(out, "{}-{:02}-{:02}", t.year, t.month, t.day),
        'D' => write!(
            out,
            "{:02}/{:02}/{:02}",
            t.month,
            t.day,
            t.year.rem_euclid(100)
        ),
        's' => write!(out, "{}", seconds.saturating_sub(offset)),
        'Z' if offset == 0 => out.write_str("UTC"),
        'z' | 'Z' => {
            let minutes = offset.abs() / 60;
            let sign = if offset < 0 { '-' } else { '+' };
            out.push(sign);
            two(out, minutes / 60)?;
            two(out, minutes % 60)
        }
        'a' => out.write_str(&DAYS[weekday][..3]),
        'A' => out.write_str(DAYS[weekday]),
        'b' | 'h' => out.write_str(&month[..3]),
        'B' => out.write_str(month),
        'u' => write!(out, "{}", (if weekday == 0 { 7 } else { weekday })),
        'w' => write!(out, "{}", weekday),
        'j' => write!(
            out,
            "{:03}",
            days_from_civil(t.year, t.month, t.day) - days_from_civil(t.year, 1, 1) + 1
        ),
        'c' => write!(
            out,
            "{} {} {:2} {:02}:{:02}:{:02} {}",
            &DAYS[weekday][..3],
            &month[..3],
            t.day,
            t.hour,
            t.minute,
            t.second,
            t.year
        ),
        'n' => out.write_str("\n"),
        't' => out.write_str("\t"),
        '%' => out.write_str("%"),
        other => write!(out, "%{other}"),
    }
}

/// A number with at least two digits.
fn two(out: &mut String, n: impl Into<i64>) -> fmt::Result {
    let n = n.into();
    if !(0..100).contains(&n) {
        return write!(out, "{n:02}");
    }
    let digit = |d: i64| char::from(b'0' + d as u8);
    out.push(digit(n / 10));
    out.push(digit(n % 10));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_shown() {
        let show = |offset: Offset| TimeFormat::new("", offset).show(1_795_278_524);
        assert_eq!(show(|_| 3600), "2026-11-21 17:28:44 +0100");
        assert_eq!(show(|_| -12_600), "2026-11-21 12:58:44 -0330");
    }

    #[test]
    fn civil_dates_round_trip() {
        for seconds in [0, 86_399, 951_782_400, 1_795_278_524, 4_107_542_399, -1] {
            assert_eq!(Civil::of(seconds).seconds(), seconds);
        }
        assert_eq!(
            TimeFormat::new("", |_| 0).show(1_795_278_524),
            "2026-11-21 16:28:44 +0000"
        );
        assert_eq!(
            TimeFormat::new("%a %b %e %j", |_| 0).show(951_782_400),
            "Tue Feb 29 060"
        );
    }
}
