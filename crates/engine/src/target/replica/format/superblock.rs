//! dm-raid's superblock: the first 148 bytes of a leg's metadata device.

use super::bytes::{put_u32, put_u64, u32_at, u64_at};
use crate::io::Sectors;

/// `DmRd`
const MAGIC: u32 = 0x6452_6D44;
/// The fields from `flags` on are valid (dm-raid 1.9.0).
const EXTENDED: u32 = 1;
/// Bytes of the superblock itself; the rest of its block is zero.
const LEN: usize = 148;
/// Stands for "no offset: done" and "no reshape".
const NONE: u64 = u64::MAX;

/// Legs that have failed: a bit for each of 256.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FailedLegs([u64; 4]);

impl FailedLegs {
    /// Is a leg among them?
    pub fn has(&self, leg: usize) -> bool {
        let word = self.0.get(leg / 64);
        word.is_some_and(|w| w >> (leg % 64) & 1 != 0)
    }

    /// Puts a leg in or takes it out. One beyond the last that there is a bit for is left out.
    pub fn set(&mut self, leg: usize, failed: bool) {
        if let Some(word) = self.0.get_mut(leg / 64) {
            let bit = 1 << (leg % 64);
            *word = if failed { *word | bit } else { *word & !bit };
        }
    }

    /// Is none among them?
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

/// The superblock of one leg. Sizes and offsets in sectors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Number of legs.
    pub num_devices: u32,
    /// Which leg this is.
    pub array_position: u32,
    /// Counts updates of superblocks. The leg with the highest number is right.
    pub events: u64,
    /// Legs that missed writes.
    pub failed: FailedLegs,
    /// How far this leg has been filled; none if it is in sync.
    pub disk_recovery_offset: Option<Sectors>,
    /// How far the array has been resynced; none if it is in sync.
    pub array_resync_offset: Option<Sectors>,
    /// RAID level.
    pub level: u32,
    /// md's layout of the level; 0 for raid1.
    pub layout: u32,
    /// Chunk; 0 for raid1.
    pub stripe_sectors: u32,
    /// 1: reshape active, 2: backwards.
    pub flags: u32,
    /// How far a reshape has come; none if there is none.
    pub reshape_position: Option<Sectors>,
    /// The level reshaped to.
    pub new_level: u32,
    /// The layout reshaped to.
    pub new_layout: u32,
    /// The chunk reshaped to.
    pub new_stripe_sectors: u32,
    /// Legs added or taken away by a reshape.
    pub delta_disks: i32,
    /// Size of the array.
    pub array_sectors: u64,
    /// Where data begin on the leg.
    pub data_offset: u64,
    /// Where they begin after a reshape.
    pub new_data_offset: u64,
    /// Size of the leg's data.
    pub sectors: u64,
}

/// Why a block is not a superblock that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotOurs {
    /// No magic number: a new leg.
    New,
    /// Fewer bytes than a superblock has.
    Short,
    /// Features that are not known. Whoever wrote it must assemble it.
    Features {
        /// `compat_features`
        compat: u32,
        /// `incompat_features`
        incompat: u32,
    },
}

impl Superblock {
    /// Of a leg of a raid1 that has just been made.
    pub fn new(leg: u32, legs: u32, len: Sectors) -> Self {
        Self {
            num_devices: legs,
            array_position: leg,
            events: 0,
            failed: FailedLegs::default(),
            disk_recovery_offset: None,
            array_resync_offset: None,
            level: 1,
            layout: 0,
            stripe_sectors: 0,
            flags: 0,
            reshape_position: None,
            new_level: 1,
            new_layout: 0,
            new_stripe_sectors: 0,
            delta_disks: 0,
            array_sectors: len.0,
            data_offset: 0,
            new_data_offset: 0,
            sectors: len.0,
        }
    }

    /// From the first bytes of a metadata device.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotOurs> {
        if bytes.len() < LEN {
            return Err(NotOurs::Short);
        }
        let (four, eight) = (|at| u32_at(bytes, at), |at| u64_at(bytes, at));
        let offset = |at| Some(u64_at(bytes, at)).filter(|n| *n != NONE).map(Sectors);
        if four(0) != MAGIC {
            return Err(NotOurs::New);
        }
        let compat = four(4);
        let extended = compat & EXTENDED != 0;
        // Without the feature bit nobody has written the word, and it says nothing.
        let incompat = if extended { four(144) } else { 0 };
        if compat & !EXTENDED != 0 || incompat != 0 {
            return Err(NotOurs::Features { compat, incompat });
        }
        let mut it = Self::new(four(12), four(8), Sectors(0));
        it.events = eight(16);
        it.failed.0[0] = eight(24);
        it.disk_recovery_offset = offset(32);
        it.array_resync_offset = offset(40);
        (it.level, it.layout, it.stripe_sectors) = (four(48), four(52), four(56));
        (it.new_level, it.new_layout) = (it.level, it.layout);
        it.new_stripe_sectors = it.stripe_sectors;
        if extended {
            it.flags = four(60);
            it.reshape_position = offset(64);
            (it.new_level, it.new_layout) = (four(72), four(76));
            it.new_stripe_sectors = four(80);
            it.delta_disks = four(84).cast_signed();
            it.array_sectors = eight(88);
            (it.data_offset, it.new_data_offset) = (eight(96), eight(104));
            it.sectors = eight(112);
            for n in 0..3 {
                it.failed.0[n + 1] = eight(120 + 8 * n);
            }
        }
        Ok(it)
    }

    /// As bytes: one sector.
    pub fn encode(&self) -> [u8; 512] {
        let mut bytes = [0; 512];
        let offset = |o: Option<Sectors>| o.map_or(NONE, |s| s.0);
        put_u32(&mut bytes, 0, MAGIC);
        put_u32(&mut bytes, 4, EXTENDED);
        put_u32(&mut bytes, 8, self.num_devices);
        put_u32(&mut bytes, 12, self.array_position);
        put_u64(&mut bytes, 16, self.events);
        put_u64(&mut bytes, 24, self.failed.0[0]);
        put_u64(&mut bytes, 32, offset(self.disk_recovery_offset));
        put_u64(&mut bytes, 40, offset(self.array_resync_offset));
        put_u32(&mut bytes, 48, self.level);
        put_u32(&mut bytes, 52, self.layout);
        put_u32(&mut bytes, 56, self.stripe_sectors);
        put_u32(&mut bytes, 60, self.flags);
        put_u64(&mut bytes, 64, offset(self.reshape_position));
        put_u32(&mut bytes, 72, self.new_level);
        put_u32(&mut bytes, 76, self.new_layout);
        put_u32(&mut bytes, 80, self.new_stripe_sectors);
        put_u32(&mut bytes, 84, self.delta_disks.cast_unsigned());
        put_u64(&mut bytes, 88, self.array_sectors);
        put_u64(&mut bytes, 96, self.data_offset);
        put_u64(&mut bytes, 104, self.new_data_offset);
        put_u64(&mut bytes, 112, self.sectors);
        for n in 0..3 {
            put_u64(&mut bytes, 120 + 8 * n, self.failed.0[n + 1]);
        }
        bytes
    }

    /// Is a reshape under way?
    pub fn reshaping(&self) -> bool {
        self.reshape_position.is_some() || self.flags & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_superblock_is_told_apart() {
        let whole = Superblock::new(1, 300, Sectors(8));
        let mut bytes = whole.encode();
        assert_eq!(Superblock::decode(&bytes), Ok(whole));
        assert_eq!(Superblock::decode(&bytes[..147]), Err(NotOurs::Short));
        bytes[144] = 1;
        let features = |compat, incompat| Err(NotOurs::Features { compat, incompat });
        assert_eq!(Superblock::decode(&bytes), features(1, 1));
        (bytes[144], bytes[4]) = (0, 3);
        assert_eq!(Superblock::decode(&bytes), features(3, 0));
        bytes[0] ^= 1;
        assert_eq!(Superblock::decode(&bytes), Err(NotOurs::New));
    }

    #[test]
    fn fields_that_an_older_writer_left_alone_say_nothing() {
        let mut old = Superblock::new(0, 2, Sectors(8));
        old.events = 7;
        let mut bytes = old.encode();
        bytes[4] = 0;
        bytes[60..].fill(0xA5);
        let read = Superblock::decode(&bytes).expect("a superblock");
        assert_eq!((read.events, read.array_sectors, read.new_level), (7, 0, 1));
        assert!(!read.reshaping() && read.failed.is_empty());
    }

    #[test]
    fn failed_legs_beyond_64_have_their_words() {
        let mut sb = Superblock::new(0, 256, Sectors(8));
        for leg in [0, 63, 64, 200, 255] {
            sb.failed.set(leg, true);
        }
        sb.failed.set(256, true);
        let read = Superblock::decode(&sb.encode()).expect("a superblock");
        let seen: Vec<_> = (0..300).filter(|n| read.failed.has(*n)).collect();
        assert_eq!(seen, [0, 63, 64, 200, 255]);
        assert_eq!(sb.encode()[120], 1, "leg 64 is the first extended bit");
    }
}
