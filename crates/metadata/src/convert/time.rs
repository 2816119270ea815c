//! Dates in comments. The clock and the time zone belong to the host; here is only arithmetic.

/// Offset of local time from UTC in seconds, as a function of the time. The host passes its own.
#[derive(Clone, Copy)]
pub struct Zone(pub fn(i64) -> i32);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(|_| 0);
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

/// Zones decide how dates are shown, not what a header means: all are equal.
impl PartialEq for Zone {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Zone {}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zone")
    }
}

struct Civil {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

/// Gregorian date of `seconds` since 1970 (proleptic, 400-year cycles counted from 1 March 2000).
fn civil(seconds: i64) -> Civil {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    let from_march_2000 = days - 11_017;
    let cycle = from_march_2000.div_euclid(146_097);
    let day_of_cycle = from_march_2000.rem_euclid(146_097);
    let century = (day_of_cycle / 36_524).min(3);
    let day_of_century = day_of_cycle - century * 36_524;
    let four = day_of_century / 1_461;
    let day_of_four = day_of_century - four * 1_461;
    let year_of_four = (day_of_four / 365).min(3);
    let mut day = day_of_four - year_of_four * 365;
    // Months from March on.
    const LENGTHS: [i64; 12] = [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29];
    let mut month = 0;
    while day >= LENGTHS[month] && month < 11 {
        day -= LENGTHS[month];
        month += 1;
    }
    let year = 2000 + cycle * 400 + century * 100 + four * 4 + year_of_four;
    Civil {
        year: year + i64::from(month >= 10),
        month: (month + 2) % 12,
        day: day + 1,
        weekday: (days + 4).rem_euclid(7) as usize,
        hour: rest / 3600,
        minute: rest / 60 % 60,
        second: rest % 60,
    }
}

/// As C's `ctime`, without the line end: `Mon Nov 23 16:08:24 2026`.
pub fn ctime_text(time: i64, zone: Zone) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let c = civil(time.saturating_add(i64::from((zone.0)(time))));
    format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        DAYS[c.weekday], MONTHS[c.month], c.day, c.hour, c.minute, c.second, c.year
    )
}

/// `2026-11-23 16:08:24 +0000`: how LVM2 shows the creation time of LVs.
pub fn iso_text(time: i64, zone: Zone) -> String {
    let offset = (zone.0)(time);
    let c = civil(time.saturating_add(i64::from(offset)));
    let minutes = offset.unsigned_abs() / 60;
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} {}{:02}{:02}",
        c.year,
        c.month + 1,
        c.day,
        c.hour,
        c.minute,
        c.second,
        if offset < 0 { '-' } else { '+' },
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(
            ctime_text(1_795_450_104, Zone::UTC),
            "Mon Nov 23 16:08:24 2026"
        );
        assert_eq!(ctime_text(0, Zone::UTC), "Thu Jan  1 00:00:00 1970");
        assert_eq!(
            iso_text(951_782_400, Zone::UTC),
            "2000-02-29 00:00:00 +0000"
        );
        assert_eq!(
            iso_text(951_868_800, Zone::UTC),
            "2000-03-01 00:00:00 +0000"
        );
        assert_eq!(
            iso_text(4_107_542_400, Zone::UTC),
            "2100-03-01 00:00:00 +0000"
        );
        assert_eq!(
            iso_text(1_735_689_599, Zone::UTC),
            "2024-12-31 23:59:59 +0000"
        );
        assert_eq!(
            iso_text(1_735_689_599, Zone(|_| -5400)),
            "2024-12-31 22:29:59 -0130"
        );
        // Extremes do not panic.
        iso_text(i64::MAX, Zone(|_| 3600));
        ctime_text(i64::MIN, Zone(|_| -3600));
    }
}
