//! `PV[:RANGE]...` arguments: which physical extents an allocation may use.

use super::OpError;
use crate::alloc::PvRange;
use crate::model::usage::Usage;
use crate::model::{PvKey, Vg};
use crate::notice::Notice;
use crate::units::Extents;

/// A PV named on a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvArg {
    /// The PV.
    pub pv: PvKey,
    /// What to call it in messages.
    pub name: String,
    /// What stood behind its name, from the first `:` on; empty for the whole PV.
    pub ranges: String,
}

/// The PVs and extents that the arguments allow, in their order. PVs that cannot take anything are
/// left out with a warning; it is an error if none remains.
pub fn pv_ranges(
    vg: &Vg,
    usage: &Usage,
    args: &[PvArg],
    notices: &mut Vec<Notice>,
) -> Result<Vec<PvRange>, OpError> {
    let mut out: Vec<PvRange> = Vec::new();
    for arg in args {
        let Some(pv) = vg.pvs.get(arg.pv) else {
            continue;
        };
        if !pv.allocatable {
            let text = format!("Physical volume {} not allocatable.", arg.name);
            notices.push(Notice::warn(text));
            continue;
        }
        if pv.missing {
            let text = format!("Physical volume {} is missing.", arg.name);
            notices.push(Notice::warn(text));
            continue;
        }
        if usage.used(arg.pv) >= pv.pe_count {
            let text = format!("No free extents on physical volume \"{}\".", arg.name);
            notices.push(Notice::warn(text));
            continue;
        }
        let at = match out.iter().position(|r| r.pv == arg.pv) {
            Some(at) => at,
            None => {
                let (pv, ranges) = (arg.pv, Vec::new());
                out.push(PvRange { pv, ranges });
                out.len() - 1
            }
        };
        for (start, end) in parse_ranges(&arg.ranges, pv.pe_count.0)? {
            add(&mut out[at].ranges, start, end)
                .map_err(|what| OpError::refused(format!("{what} on {}.", arg.name)))?;
        }
    }
    if out.is_empty() {
        return Err(OpError::no_space("No specified PVs have space available."));
    }
    Ok(out)
}

/// The extents that an argument names, ascending, whether they are free or not.
pub(super) fn named_extents(vg: &Vg, arg: &PvArg) -> Result<PvRange, OpError> {
    let count = vg.pvs.get(arg.pv).map_or(0, |pv| pv.pe_count.0);
    let mut ranges = Vec::new();
    if count > 0 {
        for (first, last) in parse_ranges(&arg.ranges, count)? {
            add(&mut ranges, first, last)
                .map_err(|what| OpError::refused(format!("{what} on {}.", arg.name)))?;
        }
    }
    Ok(PvRange { pv: arg.pv, ranges })
}

/// Ranges as (first, last), checked against the size of the PV.
fn parse_ranges(text: &str, pe_count: u32) -> Result<Vec<(u32, u32)>, OpError> {
    let last_pe = pe_count.saturating_sub(1);
    if text.is_empty() {
        return Ok(vec![(0, last_pe)]);
    }
    let bad = |at: &str| OpError::refused(format!("Physical extent parsing error at {at}."));
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(part) = rest.strip_prefix(':') {
        if part.is_empty() || part.starts_with(':') {
            return Err(bad(part));
        }
        let (start, after) = leading_number(part).map_err(|()| bad(part))?;
        let first = start.unwrap_or(0);
        let last;
        (last, rest) = match after.as_bytes().first() {
            Some(b'-') => {
                let (end, tail) = leading_number(&after[1..]).map_err(|()| bad(after))?;
                (end.unwrap_or(last_pe), tail)
            }
            // No count leaves the end open; a count of 0 is taken for 1.
            Some(b'+') => {
                let (count, tail) = leading_number(&after[1..]).map_err(|()| bad(after))?;
                let end = |n: u32| first.saturating_add(n.saturating_sub(1));
                (count.map_or(last_pe, end), tail)
            }
            _ if start.is_none() => return Err(bad(part)),
            _ => (first, after),
        };
        if !rest.is_empty() && !rest.starts_with(':') {
            return Err(bad(rest));
        }
        if first > last || last >= pe_count {
            return Err(OpError::refused(format!(
                "PE range error: start extent {first} to end extent {last}."
            )));
        }
        out.push((first, last));
    }
    if rest.is_empty() {
        Ok(out)
    } else {
        Err(bad(rest))
    }
}

/// The number at the beginning, if there is one, and what follows it.
fn leading_number(text: &str) -> Result<(Option<u32>, &str), ()> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Ok((None, rest));
    }
    number.parse().map(|n| (Some(n), rest)).map_err(|_| ())
}

/// Adds a range, keeping the list ascending.
fn add(ranges: &mut Vec<(Extents, Extents)>, first: u32, last: u32) -> Result<(), String> {
    let clash = |(start, len): &&(Extents, Extents)| {
        first < start.0.saturating_add(len.0) && start.0 <= last
    };
    if let Some((start, len)) = ranges.iter().find(clash) {
        return Err(format!(
            "Overlapping PE ranges specified ({first}-{last}, {start}-{})",
            start.0.saturating_add(len.0) - 1
        ));
    }
    let at = ranges.partition_point(|(start, _)| start.0 < first);
    ranges.insert(at, (Extents(first), Extents(last - first + 1)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let parse = |t| parse_ranges(t, 100).map_err(|e| e.message);
        assert_eq!(parse(""), Ok(vec![(0, 99)]));
        assert_eq!(parse(":5"), Ok(vec![(5, 5)]));
        assert_eq!(parse(":0-9:50+10"), Ok(vec![(0, 9), (50, 59)]));
        assert_eq!(parse(":5-"), Ok(vec![(5, 99)]));
        assert_eq!(parse(":-9"), Ok(vec![(0, 9)]));
        assert_eq!(parse(":95+0:97+"), Ok(vec![(95, 95), (97, 99)]));
        for bad in [":", "::", ":x", ":5-x", ":9-5", ":0-100", ":5:"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let mut list = Vec::new();
        add(&mut list, 10, 19).unwrap();
        add(&mut list, 0, 9).unwrap();
        assert_eq!(list[0].0, Extents(0));
        assert!(add(&mut list, 19, 30).is_err());
        assert!(add(&mut list, 5, 5).is_err());
    }
}
