//! Ranges of bytes that one user has at a time.
//!
//! Two writes to the same bytes must reach all legs in the same order, and a copy from leg to leg
//! must not be overtaken by a write: each holds its range from before its first byte moves until
//! its last has. Ranges lie within one region. Whoever comes first has a range first, so nobody
//! waits for ever.

use std::collections::HashMap;

use super::event::Ticket;

/// Who has a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Write(Ticket),
    Read(Ticket),
    Job(u64),
}

#[derive(Debug)]
struct Entry {
    start: u64,
    end: u64,
    who: Who,
    held: bool,
}

/// The ranges in use, and those asked for, by region and in the order of asking.
#[derive(Debug, Default)]
pub(super) struct Locks {
    regions: HashMap<u64, Vec<Entry>>,
}

impl Locks {
    /// Asks for a range: true if it is had at once, else it comes from [`Self::release`].
    pub fn ask(&mut self, region: u64, start: u64, end: u64, who: Who) -> bool {
        let entries = self.regions.entry(region).or_default();
        let held = !entries.iter().any(|e| e.start < end && start < e.end);
        entries.push(Entry {
            start,
            end,
            who,
            held,
        });
        held
    }

    /// Gives a range back; those who have theirs now, into `granted`.
    pub fn release(&mut self, region: u64, who: Who, granted: &mut Vec<Who>) {
        let Some(entries) = self.regions.get_mut(&region) else {
            return;
        };
        let Some(at) = entries.iter().position(|e| e.who == who) else {
            return;
        };
        let gone = entries.remove(at);
        for n in at..entries.len() {
            let (start, end) = (entries[n].start, entries[n].end);
            let concerned = !entries[n].held && start < gone.end && gone.start < end;
            let overlaps = |e: &Entry| e.start < end && start < e.end;
            if concerned && !entries[..n].iter().any(overlaps) {
                entries[n].held = true;
                granted.push(entries[n].who);
            }
        }
        if entries.is_empty() {
            self.regions.remove(&region);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_where_ranges_overlap() {
        let who = |n| Who::Write(Ticket(n));
        let mut locks = Locks::default();
        assert!(locks.ask(0, 0, 10, who(1)));
        assert!(!locks.ask(0, 5, 15, who(2)));
        assert!(!locks.ask(0, 12, 20, who(3)), "behind one that waits");
        assert!(locks.ask(0, 20, 30, who(4)) && locks.ask(1, 0, 10, who(5)));
        let mut granted = Vec::new();
        locks.release(0, who(1), &mut granted);
        assert_eq!(granted, [who(2)]);
        granted.clear();
        locks.release(0, who(2), &mut granted);
        assert_eq!(granted, [who(3)]);
    }
}
