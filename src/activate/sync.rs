//! What the status line of a live mirror says: how far its copies are in sync, which are alive, and
//! what runs in the background.

/// A mirror, by its status line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncStatus {
    /// dm-raid's (it has an action and counts mismatches), not dm-mirror's.
    pub raid: bool,
    /// A letter for each leg: `A` in sync, `a` alive, `D` dead, `-` none; dm-mirror has letters for
    /// ways to fail.
    pub legs: String,
    /// How much is in sync, in the unit of `total`.
    pub done: u64,
    /// How much there is.
    pub total: u64,
    /// dm-raid: `idle`, `resync`, `recover`, ...
    pub action: Option<String>,
    /// dm-raid: sectors that the last check found to differ.
    pub mismatches: Option<u64>,
}

impl SyncStatus {
    /// From status lines; none if the first is not a mirror's.
    pub fn parse(lines: &str) -> Option<Self> {
        let mut words = lines.lines().next()?.split(' ').skip(2);
        match words.next()? {
            "raid" => {
                let _level = words.next()?;
                let _count = words.next()?;
                let legs = words.next()?.to_owned();
                let (done, total) = ratio(words.next()?)?;
                Some(Self {
                    raid: true,
                    legs,
                    done,
                    total,
                    action: words.next().map(str::to_owned),
                    mismatches: words.next().and_then(|n| n.parse().ok()),
                })
            }
            "mirror" => {
                let count = words.next()?.parse().ok()?;
                let (done, total) = ratio(words.nth(count)?)?;
                let _features = words.next()?;
                Some(Self {
                    raid: false,
                    legs: words.next()?.to_owned(),
                    done,
                    total,
                    action: None,
                    mismatches: None,
                })
            }
            _ => None,
        }
    }

    /// How much is in sync, in hundredths of a percent, rounded down: 10000 is all of it.
    pub fn hundredths(&self) -> i64 {
        if self.done >= self.total {
            return 10_000;
        }
        let part = u128::from(self.done) * 10_000 / u128::from(self.total);
        i64::try_from(part).unwrap_or(0)
    }

    /// Does a leg hold what is to be read? dm-raid tells it of each leg, dm-mirror of all.
    pub fn leg_in_sync(&self, leg: usize) -> bool {
        if !self.raid {
            return self.done >= self.total;
        }
        self.legs.as_bytes().get(leg) == Some(&b'A')
    }

    /// Is a leg dead? One that the table does not have is not.
    pub fn leg_dead(&self, leg: usize) -> bool {
        let letter = self.legs.as_bytes().get(leg);
        letter.is_some_and(|l| !matches!(l, b'A' | b'a' | b'-'))
    }

    /// Is a leg dead?
    pub fn any_dead(&self) -> bool {
        (0..self.legs.len()).any(|leg| self.leg_dead(leg))
    }
}

fn ratio(word: &str) -> Option<(u64, u64)> {
    let (done, total) = word.split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_are_read() {
        let raid = SyncStatus::parse("0 8 raid raid1 3 AaD 4/9 recover 256 0 -\n");
        let raid = raid.expect("a raid");
        assert_eq!((raid.hundredths(), raid.mismatches), (4444, Some(256)));
        assert_eq!(raid.action.as_deref(), Some("recover"));
        let sync: Vec<_> = (0..4).map(|n| raid.leg_in_sync(n)).collect();
        assert_eq!(sync, [true, false, false, false]);
        assert!(raid.leg_dead(2) && !raid.leg_dead(1) && !raid.leg_dead(3) && raid.any_dead());
        let line = "0 8 mirror 2 7:1 7:2 5/5 1 AA 3 disk 7:3 A";
        let mirror = SyncStatus::parse(line).expect("a mirror");
        assert_eq!((mirror.hundredths(), mirror.legs.as_str()), (10_000, "AA"));
        assert!(mirror.leg_in_sync(1) && !mirror.raid && !mirror.any_dead());
        let line = "0 8 mirror 2 7:1 7:2 2/5 1 AD 1 core";
        let mirror = SyncStatus::parse(line).expect("a mirror");
        assert!(!mirror.leg_in_sync(0) && mirror.leg_dead(1));
        assert_eq!(mirror.hundredths(), 4000);
    }

    #[test]
    fn other_lines_and_broken_ones_say_nothing() {
        for line in [
            "",
            "0 8 linear",
            "0 8 raid raid1 2",
            "0 8 raid raid1 2 AA 4 idle",
            "0 8 mirror 2 7:1 7:2",
            "0 8 mirror 18446744073709551615 7:1 5/5 1 AA",
            "0 8 mirror x 7:1 5/5 1 AA",
        ] {
            assert_eq!(SyncStatus::parse(line), None, "{line}");
        }
        let odd = SyncStatus::parse("0 8 raid raid1 2 AA 0/0 idle x").expect("a raid");
        assert_eq!((odd.hundredths(), odd.mismatches), (10_000, None));
    }
}
