//! The marks of a running raid1: one image of the bitmap, written to the metadata devices of all
//! legs, and a superblock for each.
//!
//! What must hold, so that whoever assembles after a crash at any point is right:
//!
//! - A superblock with event count n is written when all bitmaps have n on disk: a bitmap with fewer
//!   events than a superblock counts as out of date.
//! - While the mirror runs, `array_resync_offset` is 0 in all superblocks: with that the kernel,
//!   too, copies marked chunks. Nothing is written before that is durable. It goes back to all ones
//!   when the mirror stops and no whole legs may differ.
//! - A leg that is to be filled as a whole says so in its own superblock before any other stops
//!   naming it as failed.
//! - A leg that is brought up to date by marks stays named as failed until it is.
//! - `events_cleared` is raised only when no leg misses anything. Nothing is cleared while a leg is
//!   gone.

use super::BLOCK;
use super::bitmap::{self, BitmapHead};
use super::bytes::Image;
use super::superblock::Superblock;
use crate::io::{SECTOR, Sectors};
use crate::target::replica::{Config, Log, LogFailure, LogWrite, Place, Record, RegionSet};

/// What a leg is to the marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LegState {
    /// In sync.
    Whole,
    /// To be brought up to date by marks.
    Returning,
    /// To be filled; done up to this byte.
    Filling(u64),
    /// Failed or not there. Nothing is written to it.
    Gone,
}

/// A leg's metadata device.
#[derive(Debug)]
pub(super) struct LegLog {
    pub(super) state: LegState,
    /// Blocks of the bitmap that differ from the image there.
    pub(super) to_write: RegionSet,
    /// Event count of the bitmap last written there, or being written. A superblock with another
    /// one must not be.
    pub(super) bitmap_events: u64,
}

/// What the next stage may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Legs that are filled say so, before all else.
    Fillers,
    /// Bitmap blocks.
    Bitmap,
    /// Superblocks of whole legs; the bitmaps have their event count.
    Superblocks,
    /// Superblocks of the others, which must not get ahead of all whole legs: the last of these
    /// would count as one that missed something.
    Others,
}

/// The log of a `raid raid1`.
#[derive(Debug)]
pub(super) struct RaidLog {
    len: Sectors,
    offset: u64,
    legs: Vec<LegLog>,
    image: Image,
    head: BitmapHead,
    marked: RegionSet,
    events: u64,
    /// All whole legs have at least this event count in their superblocks: one that fails from here
    /// on can return by marks if nothing was cleared later.
    settled: u64,
    /// Event count of the superblocks that were handed out last.
    handed_out: u64,
    /// Superblocks are to be written.
    changed: bool,
    /// Something was told since the assembly: from here on the superblocks are this mirror's.
    started: bool,
    /// Superblocks say 0 for how far the array is in sync.
    active: bool,
    step: Step,
    /// The superblocks of the others, of the event count that those of whole legs have got.
    others: Vec<LogWrite>,
    /// The last whole leg takes no marks any more: what is on disk stays as it is.
    lost: bool,
}

impl RaidLog {
    pub(super) fn new(
        config: &Config,
        events: u64,
        head: BitmapHead,
        legs: Vec<LegLog>,
        image: Image,
        marked: RegionSet,
    ) -> Self {
        let offset = config.legs.iter().find_map(|leg| leg.devices);
        Self {
            len: config.len,
            offset: offset.map_or(0, |d| d.offset.0),
            legs,
            image,
            head,
            marked,
            events,
            settled: events.saturating_sub(1),
            handed_out: 0,
            changed: false,
            started: false,
            active: false,
            step: Step::Bitmap,
            others: Vec::new(),
            lost: false,
        }
    }

    /// The mirror is in use: superblocks have to say so.
    fn start(&mut self) {
        if !self.started {
            self.started = true;
            self.step = Step::Fillers;
        }
        if !self.active {
            self.active = true;
            self.changed = true;
        }
    }

    fn superblock(&self, leg: usize) -> Superblock {
        let mut sb = Superblock::new(leg as u32, self.legs.len() as u32, self.len);
        sb.events = self.events;
        (sb.data_offset, sb.new_data_offset) = (self.offset, self.offset);
        for (n, other) in self.legs.iter().enumerate() {
            let failed = matches!(other.state, LegState::Gone | LegState::Returning);
            sb.failed.set(n, failed);
        }
        if let LegState::Filling(upto) = self.legs[leg].state {
            sb.disk_recovery_offset = Some(Sectors(upto / SECTOR));
        }
        let whole = self.legs.iter().filter(|l| l.state == LegState::Whole);
        let may_differ = whole.count() > 1 && !self.marked.is_empty();
        sb.array_resync_offset = (self.active || may_differ).then_some(Sectors(0));
        sb
    }

    fn put_head(&mut self) {
        let blocks = self.image.set(0, &self.head.encode());
        blocks.for_each(|block| self.touch(block));
    }

    /// A block of the image has changed.
    fn touch(&mut self, block: u64) {
        for leg in &mut self.legs {
            if leg.state != LegState::Gone {
                leg.to_write.add(block);
            }
        }
    }

    fn set(&mut self, region: u64, on: bool) {
        if region < self.marked.len()
            && let Some(block) = self.image.set_bit(bitmap::HEAD, region, on)
        {
            self.touch(block);
        }
        match on {
            true => self.marked.add(region),
            false => self.marked.remove(region),
        };
    }

    fn all_whole(&self) -> bool {
        self.legs.iter().all(|l| l.state == LegState::Whole)
    }

    fn write_superblocks(&self, which: impl Fn(&LegLog) -> bool, writes: &mut Vec<LogWrite>) {
        for (n, leg) in self.legs.iter().enumerate() {
            if leg.state != LegState::Gone && which(leg) {
                let mut data = self.superblock(n).encode().to_vec();
                data.resize(BLOCK as usize, 0);
                writes.push(LogWrite {
                    place: Place::Meta(n),
                    offset: 0,
                    data,
                });
            }
        }
    }

    fn write_bitmap(&mut self, writes: &mut Vec<LogWrite>) {
        let blocks = self.image.blocks();
        for (n, leg) in self.legs.iter_mut().enumerate() {
            let to_write = std::mem::replace(&mut leg.to_write, RegionSet::none(blocks));
            if leg.state == LegState::Gone {
                continue;
            }
            leg.bitmap_events = self.head.events;
            writes.extend(to_write.iter().map(|block| LogWrite {
                place: Place::Meta(n),
                offset: bitmap::START + block * BLOCK,
                data: self.image.block(block).to_vec(),
            }));
        }
    }

    /// The superblocks of whole legs, or then those of the others. None if no leg is left to write.
    fn superblocks(&mut self, writes: &mut Vec<LogWrite>) {
        let events = self.events;
        let current = |leg: &LegLog| leg.bitmap_events == events;
        if self.step == Step::Superblocks {
            // A leg that has returned since gets its bitmap first.
            let behind = |leg: &LegLog| leg.state != LegState::Gone && !current(leg);
            self.changed = self.legs.iter().any(behind);
            self.step = Step::Others;
            self.write_superblocks(|leg| current(leg) && leg.state == LegState::Whole, writes);
            // Two superblocks of one event count say the same, whatever is told meanwhile.
            let mut others = Vec::new();
            let other = |leg: &LegLog| current(leg) && leg.state != LegState::Whole;
            self.write_superblocks(other, &mut others);
            self.others = others;
            if !writes.is_empty() {
                return;
            }
        }
        self.step = Step::Bitmap;
        self.handed_out = events;
        let legs = &self.legs;
        let there = |w: &LogWrite| match w.place {
            Place::Meta(leg) => legs[leg].state != LegState::Gone,
            Place::Data(_) | Place::Log => false,
        };
        let others = std::mem::take(&mut self.others);
        writes.extend(others.into_iter().filter(there));
    }

    fn set_state(&mut self, leg: usize, state: LegState) {
        if let Some(it) = self.legs.get_mut(leg)
            && it.state != state
        {
            it.state = state;
            self.changed = true;
        }
    }
}

impl Log for RaidLog {
    fn mark(&mut self, region: u64) {
        self.start();
        self.set(region, true);
    }

    fn clear(&mut self, region: u64) {
        if self.legs.iter().any(|l| l.state == LegState::Gone) {
            return;
        }
        self.start();
        if self.all_whole() && self.head.events_cleared < self.settled {
            self.head.events_cleared = self.settled;
            self.put_head();
        }
        self.set(region, false);
    }

    fn record(&mut self, what: Record) {
        if what != Record::Stopped {
            self.start();
        }
        match what {
            Record::Failed(leg) => self.set_state(leg, LegState::Gone),
            Record::InSync(leg) => self.set_state(leg, LegState::Whole),
            Record::Filled(leg, upto) => {
                let filling = self.legs.get(leg).map(|l| l.state);
                if matches!(filling, Some(LegState::Filling(_))) {
                    self.set_state(leg, LegState::Filling(upto));
                }
            }
            Record::Started => {}
            Record::Returned(leg) => {
                self.set_state(leg, LegState::Returning);
                let blocks = self.image.blocks();
                if let Some(leg) = self.legs.get_mut(leg) {
                    leg.to_write = RegionSet::all(blocks);
                    leg.bitmap_events = 0;
                }
            }
            Record::Stopped => {
                self.changed |= self.active;
                self.active = false;
            }
        }
    }

    fn next(&mut self, writes: &mut Vec<LogWrite>) {
        if self.lost {
            return;
        }
        // The stage before has ended.
        self.settled = self.settled.max(self.handed_out);
        if self.step == Step::Fillers {
            self.step = Step::Bitmap;
            self.write_superblocks(|leg| matches!(leg.state, LegState::Filling(_)), writes);
            if !writes.is_empty() {
                return;
            }
        }
        if matches!(self.step, Step::Superblocks | Step::Others) {
            self.superblocks(writes);
            if !writes.is_empty() {
                return;
            }
        }
        if self.changed {
            self.events += 1;
            self.head.events = self.events;
            self.put_head();
            self.step = Step::Superblocks;
        }
        self.write_bitmap(writes);
        // A cut may have left the bitmaps as they are to be. An empty stage would say that the
        // superblocks are durable.
        if writes.is_empty() && self.step == Step::Superblocks {
            self.superblocks(writes);
        }
    }

    fn lost(&mut self, place: Place) -> LogFailure {
        match place {
            Place::Meta(leg) | Place::Data(leg) => {
                let mut legs = self.legs.iter().enumerate();
                if legs.any(|(n, l)| n != leg && l.state == LegState::Whole) {
                    self.set_state(leg, LegState::Gone);
                    return LogFailure::Leg(leg);
                }
                // Of a leg that is still to be filled nobody could go on: that the last whole one
                // failed is not told to it.
                let whole = |l: &LegLog| l.state == LegState::Whole;
                if self.legs.get(leg).is_some_and(whole) {
                    self.lost = true;
                    return LogFailure::All;
                }
                self.set_state(leg, LegState::Gone);
                LogFailure::Leg(leg)
            }
            Place::Log => LogFailure::All,
        }
    }

    fn remembers_failures(&self) -> bool {
        true
    }

    fn durable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::DevIndex;
    use crate::target::replica::format::RaidForm;
    use crate::target::replica::{
        Assembly, Form, Leg, LegDevices, LegFound, LogKind, RaidArgs, Start,
    };

    const REGIONS: u64 = 40;

    fn config(legs: u32) -> Config {
        let leg = |n| Leg {
            devices: Some(LegDevices {
                data: DevIndex(2 * n + 1),
                offset: Sectors(0),
                meta: Some(DevIndex(2 * n)),
            }),
            write_mostly: false,
            rebuild: false,
        };
        Config {
            len: Sectors(8 * REGIONS),
            legs: (0..legs).map(leg).collect(),
            region: Sectors(8),
            log: LogKind::Raid(RaidArgs::default()),
            start: Start::Marks,
            min_rate: None,
            max_rate: None,
        }
    }

    /// The metadata devices of a mirror.
    #[derive(Clone)]
    struct Disks(Vec<Vec<u8>>);

    impl Disks {
        fn new(legs: usize) -> Self {
            Self(vec![vec![0xEE; 12288]; legs])
        }
        fn assemble(&self, config: &Config, absent: &[usize]) -> Assembly {
            let read = |n: usize| (!absent.contains(&n)).then(|| self.0[n].clone());
            let found: Vec<_> = (0..self.0.len()).map(read).collect();
            RaidForm.assemble(config, &found).expect("a mirror")
        }
        fn apply(&mut self, writes: &[LogWrite]) {
            for w in writes {
                let Place::Meta(leg) = w.place else {
                    panic!("{:?}", w.place)
                };
                self.0[leg][w.offset as usize..][..w.data.len()].copy_from_slice(&w.data);
            }
        }
        /// Everything told, written. Gives the number of stages.
        fn settle(&mut self, log: &mut dyn Log) -> usize {
            for stage in 0.. {
                let mut writes = Vec::new();
                log.next(&mut writes);
                if writes.is_empty() {
                    return stage;
                }
                self.apply(&writes);
            }
            0
        }
        fn superblock(&self, leg: usize) -> Superblock {
            Superblock::decode(&self.0[leg]).expect("a superblock")
        }
    }

    fn list(set: &RegionSet) -> Vec<u64> {
        set.iter().collect()
    }

    /// A mirror of legs in sync, stopped.
    fn in_sync(legs: u32) -> (Config, Disks) {
        let (config, mut disks) = (config(legs), Disks::new(legs as usize));
        for blank in &mut disks.0 {
            blank[..4096].fill(0);
        }
        let mut new = disks.assemble(&config, &[]);
        assert_eq!(new.dirty.count(), REGIONS, "a new mirror is all dirty");
        new.log.record(Record::Started);
        disks.settle(new.log.as_mut());
        (0..REGIONS).for_each(|r| new.log.clear(r));
        new.log.record(Record::Stopped);
        disks.settle(new.log.as_mut());
        (config, disks)
    }

    #[test]
    fn says_to_the_kernel_that_marked_chunks_are_to_be_copied() {
        let (config, mut disks) = in_sync(2);
        assert_eq!(disks.superblock(0).array_resync_offset, None);
        let mut it = disks.assemble(&config, &[]);
        assert_eq!(it.legs, [LegFound::Whole, LegFound::Whole]);
        assert!(it.dirty.is_empty());
        it.log.record(Record::Started);
        assert_eq!(
            disks.settle(it.log.as_mut()),
            2,
            "bitmaps, then superblocks"
        );
        assert_eq!(disks.superblock(1).array_resync_offset, Some(Sectors(0)));
        it.log.mark(7);
        assert_eq!(disks.settle(it.log.as_mut()), 1, "a mark is one stage");
        it.log.mark(7);
        assert_eq!(disks.settle(it.log.as_mut()), 0, "once");
        let events = disks.superblock(0).events;
        assert_eq!(list(&disks.assemble(&config, &[]).dirty), [7]);
        it.log.record(Record::Stopped);
        disks.settle(it.log.as_mut());
        let stopped = disks.superblock(0);
        assert_eq!(stopped.array_resync_offset, Some(Sectors(0)), "7 is marked");
        assert_eq!(stopped.events, events + 1);
        it.log.record(Record::Started);
        it.log.clear(7);
        it.log.record(Record::Stopped);
        disks.settle(it.log.as_mut());
        assert_eq!(disks.superblock(1).array_resync_offset, None);
        assert!(disks.assemble(&config, &[]).marked.is_empty());
    }

    #[test]
    fn a_leg_that_missed_writes_returns_by_marks() {
        let (config, mut disks) = in_sync(3);
        let mut it = disks.assemble(&config, &[]);
        it.log.record(Record::Started);
        it.log.mark(1);
        it.log.record(Record::Failed(1));
        disks.settle(it.log.as_mut());
        it.log.mark(9);
        it.log.clear(1);
        disks.settle(it.log.as_mut());
        assert!(disks.superblock(0).failed.has(1));
        assert!(
            !disks.superblock(1).failed.has(1),
            "nothing is written to it"
        );
        let mut back = disks.assemble(&config, &[]);
        let LegFound::Stale(missed) = &back.legs[1] else {
            panic!("{:?}", back.legs)
        };
        assert_eq!(list(missed), [1, 9]);
        back.log.clear(1);
        disks.settle(back.log.as_mut());
        // Cut here: 9 is still to be copied to it.
        let cut = disks.assemble(&config, &[]);
        assert_eq!(list(&cut.dirty), [9]);
        assert!(matches!(&cut.legs[1], LegFound::Stale(s) if list(s) == [9]));
        back.log.clear(9);
        back.log.record(Record::InSync(1));
        back.log.record(Record::Stopped);
        disks.settle(back.log.as_mut());
        let whole = disks.assemble(&config, &[]);
        assert!(whole.legs.iter().all(|l| *l == LegFound::Whole) && whole.marked.is_empty());
    }

    #[test]
    fn a_leg_that_cannot_return_by_marks_is_filled_and_says_so_first() {
        let (config, mut disks) = in_sync(2);
        let old = disks.clone();
        // Both went their own way: each names the other.
        for (alone, other) in [(0, 1), (1, 0)] {
            let mut copy = old.clone();
            let mut it = copy.assemble(&config, &[other]);
            it.log.record(Record::Failed(other));
            it.log.record(Record::Started);
            it.log.mark(alone as u64);
            copy.settle(it.log.as_mut());
            disks.0[alone] = copy.0[alone].clone();
        }
        let mut it = disks.assemble(&config, &[]);
        assert_eq!(it.legs[0], LegFound::Whole);
        assert!(matches!(&it.legs[1], LegFound::Stale(s) if s.count() == REGIONS));
        it.log.record(Record::Started);
        let mut writes = Vec::new();
        it.log.next(&mut writes);
        let places: Vec<_> = writes.iter().map(|w| w.place).collect();
        assert_eq!(places, [Place::Meta(1)], "the leg itself, alone and first");
        disks.apply(&writes);
        assert_eq!(disks.superblock(1).disk_recovery_offset, Some(Sectors(0)));
        disks.settle(it.log.as_mut());
        assert!(disks.superblock(0).failed.is_empty());
        it.log.record(Record::Filled(1, 10 * 4096));
        (0..10).for_each(|r| it.log.clear(r));
        disks.settle(it.log.as_mut());
        let half = disks.assemble(&config, &[]);
        assert!(
            matches!(&half.legs[1], LegFound::Stale(s) if list(s) == (10..40).collect::<Vec<_>>())
        );
    }

    #[test]
    fn a_cut_between_the_first_superblocks_loses_no_leg() {
        let (config, mut disks) = (config(2), Disks::new(2));
        disks.0.iter_mut().for_each(|blank| blank[..4096].fill(0));
        let mut it = disks.assemble(&config, &[]);
        it.log.record(Record::Started);
        let mut writes = Vec::new();
        it.log.next(&mut writes);
        disks.apply(&writes);
        writes.clear();
        it.log.next(&mut writes);
        assert_eq!(writes.len(), 2, "a superblock each");
        disks.apply(&writes[..1]);
        let found = disks.assemble(&config, &[]);
        assert_eq!(found.legs, [LegFound::Whole, LegFound::Whole]);
        assert_eq!(found.dirty.count(), REGIONS);
        // Without the bitmap that goes before it, it is another mirror's leg, or nobody's.
        disks.0[1][4096..].fill(0);
        let other = disks.assemble(&config, &[]);
        assert_eq!(other.legs, [LegFound::Whole, LegFound::Absent]);
    }

    #[test]
    fn superblocks_of_one_event_count_name_the_same_legs() {
        let (config, mut disks) = in_sync(3);
        let mut it = disks.assemble(&config, &[]);
        it.log.record(Record::Failed(1));
        disks.settle(it.log.as_mut());
        it.log.record(Record::Returned(1));
        let mut writes = Vec::new();
        it.log.next(&mut writes);
        disks.apply(&writes);
        writes.clear();
        it.log.next(&mut writes);
        disks.apply(&writes);
        // Told after those of whole legs were handed out, and before the others'.
        it.log.record(Record::Failed(2));
        writes.clear();
        it.log.next(&mut writes);
        disks.apply(&writes);
        let (whole, other) = (disks.superblock(0), disks.superblock(1));
        assert_eq!((whole.events, whole.failed), (other.events, other.failed));
        disks.settle(it.log.as_mut());
        assert!(disks.superblock(0).failed.has(2));
    }

    #[test]
    fn a_leg_that_was_given_another_number_keeps_its_name() {
        let (config, mut disks) = in_sync(3);
        let mut it = disks.assemble(&config, &[]);
        it.log.record(Record::Started);
        it.log.record(Record::Failed(2));
        disks.settle(it.log.as_mut());
        // The first leg is taken out of the table: what was 2 is 1 now.
        let mut two = config.clone();
        two.legs.remove(0);
        let mut left = disks.clone();
        left.0.remove(0);
        let stale = |disks: &Disks| matches!(disks.assemble(&two, &[]).legs[1], LegFound::Stale(_));
        assert!(stale(&left), "named by its old number");
        let mut it = left.assemble(&two, &[]);
        it.log.record(Record::Failed(1));
        it.log.record(Record::Started);
        left.settle(it.log.as_mut());
        let events = left.superblock(0).events;
        left.0[1][16..24].copy_from_slice(&events.to_le_bytes());
        assert!(stale(&left), "named by its new number, and not behind");
    }

    #[test]
    fn what_is_out_of_date_or_grown_is_dirty() {
        let (mut config, disks) = in_sync(2);
        let all = |disks: &Disks, config: &Config| disks.assemble(config, &[]).dirty.count();
        let mut old = disks.clone();
        for leg in &mut old.0 {
            leg[4096 + 24..4096 + 32].fill(0);
        }
        assert_eq!(all(&old, &config), REGIONS, "the bitmap has fewer events");
        let mut one = old.clone();
        one.0[1] = disks.0[1].clone();
        assert_eq!(all(&one, &config), 0, "another leg's is up to date");
        let mut flagged = disks.clone();
        flagged.0.iter_mut().for_each(|leg| leg[4096 + 48] = 1);
        assert_eq!(all(&flagged, &config), REGIONS, "it says so itself");
        config.len = Sectors(8 * REGIONS + 12);
        assert_eq!(list(&disks.assemble(&config, &[]).dirty), [40, 41]);
        config.start = Start::NoSync;
        assert_eq!(all(&disks, &config), 0);
        config.start = Start::Sync;
        assert_eq!(all(&disks, &config), 42);
    }

    #[test]
    fn chunks_of_another_size_are_taken_over() {
        let (mut config, mut disks) = in_sync(2);
        let mut it = disks.assemble(&config, &[]);
        it.log.record(Record::Started);
        it.log.mark(5);
        disks.settle(it.log.as_mut());
        config.region = Sectors(16);
        let mut coarse = disks.assemble(&config, &[]);
        assert_eq!(list(&coarse.dirty), [2]);
        coarse.log.record(Record::Started);
        disks.settle(coarse.log.as_mut());
        assert_eq!(list(&disks.assemble(&config, &[]).dirty), [2]);
        config.region = Sectors(8);
        assert_eq!(list(&disks.assemble(&config, &[]).dirty), [4, 5]);
    }

    #[test]
    fn hostile_metadata_is_refused() {
        let (mut config, disks) = in_sync(2);
        let refused = |change: &dyn Fn(&mut Vec<u8>), config: &Config| {
            let mut disks = disks.clone();
            disks.0.iter_mut().for_each(change);
            let found: Vec<_> = disks.0.into_iter().map(Some).collect();
            RaidForm.assemble(config, &found).map_err(|e| e.what).err()
        };
        assert!(refused(&|_| (), &config).is_none());
        for (at, value) in [(4, 3), (144, 1), (48, 5), (60, 1), (84, 1)] {
            assert!(
                refused(&|leg| leg[at] = value, &config).is_some(),
                "byte {at}"
            );
        }
        assert!(refused(&|leg| leg.truncate(4200), &config).is_some());
        assert!(
            refused(&|leg| leg[32..40].fill(0), &config).is_some(),
            "none in sync"
        );
        let one = |leg: &mut Vec<u8>| leg[4096 + 52..4096 + 56].fill(0xFF);
        assert!(
            refused(&one, &config).is_none(),
            "an unusable bitmap is all dirty"
        );
        config.legs[0].rebuild = true;
        config.legs[1].rebuild = true;
        assert!(refused(&|_| (), &config).is_some());
        config.legs[1].rebuild = false;
        config.len = Sectors(8 << 22);
        assert!(refused(&|_| (), &config).is_some(), "too many regions");
    }

    /// Stages cut anywhere, with any of their writes done: what is assembled is never less than
    /// what was durable, and not more than what was told.
    #[test]
    fn a_cut_at_any_point_leaves_what_was_told() {
        let mut rng = 0x9E37_79B9_7F4A_7C15u64;
        let mut dice = move |n: u64| {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            rng % n
        };
        for _ in 0..3000 {
            let (config, mut disks) = in_sync(3);
            let mut it = disks.assemble(&config, &[]);
            it.log.record(Record::Started);
            disks.settle(it.log.as_mut());
            let mut durable = RegionSet::none(REGIONS);
            let mut failed = None;
            for _ in 0..dice(12) {
                let region = dice(REGIONS);
                match dice(8) {
                    0 if failed.is_none() => {
                        failed = Some(dice(3) as usize);
                        it.log.record(Record::Failed(failed.unwrap_or(0)));
                    }
                    1..4 if failed.is_none() => {
                        it.log.clear(region);
                        durable.remove(region);
                    }
                    _ => {
                        it.log.mark(region);
                        durable.add(region);
                    }
                }
                disks.settle(it.log.as_mut());
            }
            let (mark, away) = (dice(REGIONS), dice(3) as usize);
            let told_failed = failed.is_none() && dice(2) == 0;
            it.log.mark(mark);
            if told_failed {
                it.log.record(Record::Failed(away));
            }
            let cut = dice(3);
            for stage in 0..=cut {
                let mut writes = Vec::new();
                it.log.next(&mut writes);
                if stage == cut {
                    writes.retain(|_| dice(2) == 0);
                }
                disks.apply(&writes);
            }
            let found = disks.assemble(&config, &[]);
            let mut told = durable.clone();
            told.add(mark);
            assert!(
                durable.iter().all(|r| found.marked.has(r)),
                "a mark is lost"
            );
            assert!(found.marked.iter().all(|r| told.has(r)), "marked by nobody");
            for (n, leg) in found.legs.iter().enumerate() {
                let away = told_failed && n == away;
                assert!(
                    failed != Some(n) || *leg != LegFound::Whole,
                    "leg {n} is stale"
                );
                assert!(
                    failed == Some(n) || away || *leg == LegFound::Whole,
                    "leg {n} is whole"
                );
            }
        }
    }
}
