//! Times in selections: `2015-07-07 9:51`, `@SECONDS`, `yesterday`, `2 weeks ago`, ...

use crate::report::time::{Civil, Offset, days_from_civil};

const DAY: i64 = 86_400;

/// A moment or a range, both ends included; `now` is the present, `offset` the time zone.
pub fn parse(text: &str, now: i64, offset: Offset) -> Result<(i64, i64), String> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@') {
        let at = seconds.trim().parse().map_err(|_| wrong_format())?;
        return Ok((at, at));
    }
    match text.chars().next() {
        Some(c) if c.is_ascii_digit() && !text.contains(|c: char| c.is_ascii_alphabetic()) => {
            standard(text, offset)
        }
        Some(_) => free(text, now, i64::from(offset(now))),
        None => Err(wrong_format()),
    }
}

fn wrong_format() -> String {
    "Incorrect date format.".to_owned()
}

/// `YYYY[-MM[-DD]] [hh[:mm[:ss]]] [+hh[:mm]]`; what is left out makes a range.
fn standard(text: &str, local: Offset) -> Result<(i64, i64), String> {
    let mut words = text.split_whitespace();
    let date: Vec<&str> = words.next().unwrap_or("").split('-').collect();
    let mut rest: Vec<&str> = words.collect();
    let zone = match rest.last() {
        Some(last) if last.starts_with(['+', '-']) => {
            let zone = offset(last)?;
            rest.pop();
            Some(zone)
        }
        _ => None,
    };
    let clock: Vec<&str> = match rest.as_slice() {
        [] => Vec::new(),
        [one] if date.len() == 3 => one.split(':').collect(),
        _ => return Err(wrong_format()),
    };
    let part = |list: &[&str], i: usize, low: i64, high: i64| match list.get(i) {
        None => Ok(None),
        Some(s) => match s.parse::<i64>() {
            Ok(n) if (low..=high).contains(&n) => Ok(Some(n)),
            _ => Err(wrong_format()),
        },
    };
    if date.len() > 3 || clock.len() > 3 || date[0].len() != 4 {
        return Err(wrong_format());
    }
    let year = part(&date, 0, 0, 9999)?.ok_or_else(wrong_format)?;
    let month = part(&date, 1, 1, 12)?;
    let day = part(&date, 2, 1, 31)?;
    let hour = part(&clock, 0, 0, 23)?;
    let minute = part(&clock, 1, 0, 59)?;
    let second = part(&clock, 2, 0, 59)?;
    let small = |n: Option<i64>, default: i64| u32::try_from(n.unwrap_or(default)).unwrap_or(1);
    let from = Civil {
        year,
        month: small(month, 1),
        day: small(day, 1),
        hour: small(hour, 0),
        minute: small(minute, 0),
        second: small(second, 0),
    }
    .seconds();
    let length = match (month, day, hour, minute, second) {
        (None, ..) => (days_from_civil(year + 1, 1, 1) - days_from_civil(year, 1, 1)) * DAY,
        (Some(m), None, ..) => {
            let (y, m) = if m == 12 {
                (year + 1, 1)
            } else {
                (year, m + 1)
            };
            days_from_civil(y, small(Some(m), 1), 1) * DAY - from
        }
        (_, Some(_), None, ..) => DAY,
        (_, _, Some(_), None, _) => 3600,
        (_, _, _, Some(_), None) => 60,
        _ => 1,
    };
    let zone = zone.unwrap_or_else(|| i64::from(local(from)));
    Ok((from - zone, from - zone + length - 1))
}

/// `+hh`, `+hhmm` or `+hh:mm` in seconds.
fn offset(text: &str) -> Result<i64, String> {
    let (sign, digits) = text.split_at(1);
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.as_str(), "0"),
        4 => digits.split_at(2),
        _ => return Err(wrong_format()),
    };
    match (hours.parse::<i64>(), minutes.parse::<i64>()) {
        (Ok(h), Ok(m)) if h < 24 && m < 60 => {
            Ok((h * 3600 + m * 60) * if sign == "-" { -1 } else { 1 })
        }
        _ => Err(wrong_format()),
    }
}

#[derive(Default)]
struct Free {
    /// Days before today.
    back: Option<i64>,
    /// Seconds into the day, and how exact that is.
    clock: Option<(i64, i64)>,
    month: Option<u32>,
    day_of_month: Option<u32>,
    /// Seconds before now.
    ago: Option<i64>,
}

/// Words in any order.
fn free(text: &str, utc: i64, offset: i64) -> Result<(i64, i64), String> {
    let unknown = || format!("Unrecognized string in date/time specification at \"{text}\".");
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let now = utc.saturating_add(offset);
    let today = now.div_euclid(DAY);
    let mut out = Free::default();
    let mut i = 0;
    while let Some(word) = words.get(i) {
        i += 1;
        if let Some((n, unit, used)) = amount(word, words.get(i).copied()) {
            i += used;
            match unit {
                Unit::Seconds(s) => {
                    out.ago = Some(out.ago.unwrap_or(0).saturating_add(n.saturating_mul(s)))
                }
                Unit::Clock => out.clock = Some((n, 60)),
            }
        } else if let Some(clock) = clock(word, words.get(i).copied()) {
            i += usize::from(clock.2);
            out.clock = Some((clock.0, clock.1));
        } else if let Some(day) = weekday(word) {
            out.back = Some((today + 4 - day).rem_euclid(7));
        } else if let Some(month) = month(word) {
            out.month = Some(month);
        } else if let Ok(day) = word.parse::<u32>() {
            out.day_of_month = Some(day);
        } else {
            match *word {
                "today" => out.back = Some(0),
                "yesterday" => out.back = Some(1),
                "noon" => out.clock = Some((DAY / 2, 1)),
                "midnight" => out.clock = Some((0, 1)),
                "ago" if out.ago.is_some() => {}
                "now" => out.ago = Some(0),
                _ => return Err(unknown()),
            }
        }
    }
    let (from, to) = resolve(&out, now, today);
    Ok((from.saturating_sub(offset), to.saturating_sub(offset)))
}

fn resolve(free: &Free, now: i64, today: i64) -> (i64, i64) {
    if let Some(ago) = free.ago {
        return (now.saturating_sub(ago), now.saturating_sub(ago));
    }
    let mut first = today - free.back.unwrap_or(0);
    let mut days = 1;
    if let Some(month) = free.month {
        let year = Civil::of(now).year;
        let next = if month == 12 {
            (year + 1, 1)
        } else {
            (year, month + 1)
        };
        first = days_from_civil(year, month, free.day_of_month.unwrap_or(1));
        if free.day_of_month.is_none() {
            days = days_from_civil(next.0, next.1, 1) - first;
        }
    }
    match free.clock {
        Some((seconds, exact)) => (first * DAY + seconds, first * DAY + seconds + exact - 1),
        None => (first * DAY, (first + days) * DAY - 1),
    }
}

enum Unit {
    Seconds(i64),
    Clock,
}

/// `5 days`, `5days`, `5d`, `5 pm`: number, unit, and whether the next word belongs to it.
fn amount(word: &str, next: Option<&str>) -> Option<(i64, Unit, usize)> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, glued) = word.split_at(digits);
    let n: i64 = number.parse().ok()?;
    let (unit, used) = if glued.is_empty() {
        (next?, 1)
    } else {
        (glued, 0)
    };
    let seconds = match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "y" | "yr" | "yrs" | "year" | "years" => 365 * DAY,
        "am" if n <= 12 => return Some((n % 12 * 3600, Unit::Clock, used)),
        "pm" if n <= 12 => return Some(((n % 12 + 12) * 3600, Unit::Clock, used)),
        _ => return None,
    };
    Some((n, Unit::Seconds(seconds), used))
}

/// `hh:mm[:ss]`, with AM or PM glued to it or behind it: seconds, exactness, next word used.
fn clock(word: &str, next: Option<&str>) -> Option<(i64, i64, bool)> {
    let (digits, half, used) = match (word.strip_suffix("am"), word.strip_suffix("pm"), next) {
        (Some(d), _, _) => (d, Some(0), false),
        (_, Some(d), _) => (d, Some(12), false),
        (_, _, Some("am")) => (word, Some(0), true),
        (_, _, Some("pm")) => (word, Some(12), true),
        _ => (word, None, false),
    };
    let parts: Vec<i64> = digits
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let (h, m, s) = match parts.as_slice() {
        [h, m] => (*h, *m, None),
        [h, m, s] => (*h, *m, Some(*s)),
        _ => return None,
    };
    if !(0..24).contains(&h) || !(0..60).contains(&m) || !(0..60).contains(&s.unwrap_or(0)) {
        return None;
    }
    let h = half.map_or(h, |half| h % 12 + half);
    Some((
        h * 3600 + m * 60 + s.unwrap_or(0),
        if s.is_some() { 1 } else { 60 },
        used,
    ))
}

/// Sunday is 0.
fn weekday(word: &str) -> Option<i64> {
    const DAYS: [&str; 7] = [
        "sunday",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
    ];
    let index = DAYS.iter().position(|d| *d == word || &d[..3] == word)?;
    i64::try_from(index).ok()
}

fn month(word: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let index = MONTHS.iter().position(|m| *m == word || &m[..3] == word)?;
    u32::try_from(index + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::report::time::Civil;

    /// Monday 2026-11-23 18:30:00 UTC.
    const NOW: i64 = 1_795_458_600;

    fn range(text: &str) -> (String, i64) {
        let (from, to) = parse(text, NOW, |_| 0).unwrap_or_else(|e| panic!("{text}: {e}"));
        let c = Civil::of(from);
        (
            format!(
                "{}-{:02}-{:02} {:02}:{:02}:{:02}",
                c.year, c.month, c.day, c.hour, c.minute, c.second
            ),
            to - from + 1,
        )
    }

    #[test]
    fn times_are_read_with_the_range_they_leave_open() {
        for (text, from, seconds) in [
            ("2015", "2015-01-01 00:00:00", 365 * 86_400),
            ("2015-07", "2015-07-01 00:00:00", 31 * 86_400),
            ("2015-12", "2015-12-01 00:00:00", 31 * 86_400),
            ("2015-07-07", "2015-07-07 00:00:00", 86_400),
            ("2015-07-07 9", "2015-07-07 09:00:00", 3600),
            ("2015-07-07 9:51", "2015-07-07 09:51:00", 60),
            ("2015-07-07 9:51:03", "2015-07-07 09:51:03", 1),
            ("2015-07-07 9:51 +02:00", "2015-07-07 07:51:00", 60),
            ("@0", "1970-01-01 00:00:00", 1),
            ("today", "2026-11-23 00:00:00", 86_400),
            ("yesterday", "2026-11-22 00:00:00", 86_400),
            ("yesterday noon", "2026-11-22 12:00:00", 1),
            ("Monday", "2026-11-23 00:00:00", 86_400),
            ("Sat", "2026-11-21 00:00:00", 86_400),
            ("2 hours ago", "2026-11-23 16:30:00", 1),
            ("1 week ago", "2026-11-16 18:30:00", 1),
            ("today 5pm", "2026-11-23 17:00:00", 60),
            ("today 5:15 PM", "2026-11-23 17:15:00", 60),
            ("July", "2026-07-01 00:00:00", 31 * 86_400),
            ("Jul 4", "2026-07-04 00:00:00", 86_400),
        ] {
            assert_eq!(range(text), (from.to_owned(), seconds), "{text}");
        }
        for bad in ["", "0", "foo", "2015-13", "2015-07-07 25", "@x", "15-07-07"] {
            assert!(parse(bad, NOW, |_| 0).is_err(), "{bad}");
        }
    }
}
