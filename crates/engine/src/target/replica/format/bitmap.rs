//! md's bitmap: 256 bytes of superblock at byte 4096 of a leg's metadata device, then a bit for
//! each chunk; 1 = the legs may differ there. Bits beyond the last chunk have no meaning.

use super::bytes::{put_u32, put_u64, u32_at, u64_at};
use super::whole_blocks;
use crate::io::{SECTOR, Sectors};
use crate::target::replica::{Config, RegionSet};

/// `bitm`
const MAGIC: u32 = 0x6D74_6962;
/// Bits in little-endian order.
const VERSION: u32 = 4;
/// The bitmap was not kept up to date.
const STALE: u32 = 1;
/// Where the bitmap lies on a metadata device.
pub(super) const START: u64 = 4096;
/// Bytes before the first bit.
pub(super) const HEAD: u64 = 256;
/// md's default, in seconds.
const DAEMON_SLEEP: u32 = 5;
/// Most chunks that a bitmap may have (LVM2 and dm-raid keep to it).
pub(super) const MAX_CHUNKS: u64 = 1 << 21;

/// The superblock of a bitmap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BitmapHead {
    /// Zeroes with dm-raid.
    pub uuid: [u8; 16],
    /// Event count of the array when it was written. Less than the array's: it is out of date.
    pub events: u64,
    /// Event count when bits were last cleared with all legs there.
    pub events_cleared: u64,
    /// Size of what it describes.
    pub sync_size: Sectors,
    /// 1: out of date, 2: write errors.
    pub state: u32,
    /// Bytes in a chunk: a power of two, at least a sector.
    pub chunk_bytes: u32,
    /// Seconds between two looks at bits to be cleared.
    pub daemon_sleep: u32,
    /// Writes that may be behind on legs that are mostly written.
    pub write_behind: u32,
    /// Not used with dm-raid.
    pub sectors_reserved: u32,
    /// Not used with dm-raid.
    pub nodes: u32,
    /// Not used with dm-raid.
    pub cluster: [u8; 64],
}

/// Why bytes are not a bitmap that can be used: everything counts as dirty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoBitmap {
    /// No magic number.
    None,
    /// A version that is not known.
    Version(u32),
    /// Chunks that are no power of two, or no whole sectors.
    Chunk(u32),
    /// Fewer bytes than it needs.
    Short,
}

impl BitmapHead {
    /// Of a new bitmap.
    pub fn new(config: &Config, write_behind: u32) -> Self {
        Self {
            uuid: [0; 16],
            events: 0,
            events_cleared: 0,
            sync_size: config.len,
            state: 0,
            chunk_bytes: u32::try_from(config.region_bytes()).unwrap_or(0),
            daemon_sleep: DAEMON_SLEEP,
            write_behind,
            sectors_reserved: 0,
            nodes: 0,
            cluster: [0; 64],
        }
    }

    /// From the bytes of a bitmap, its superblock first.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoBitmap> {
        let Some((head, _)) = bytes.split_at_checked(HEAD as usize) else {
            return Err(NoBitmap::Short);
        };
        if u32_at(head, 0) != MAGIC {
            return Err(NoBitmap::None);
        }
        let version = u32_at(head, 4);
        if version != VERSION {
            return Err(NoBitmap::Version(version));
        }
        let chunk_bytes = u32_at(head, 52);
        if !chunk_bytes.is_power_of_two() || u64::from(chunk_bytes) < SECTOR {
            return Err(NoBitmap::Chunk(chunk_bytes));
        }
        let (mut uuid, mut cluster) = ([0; 16], [0; 64]);
        uuid.copy_from_slice(&head[8..24]);
        cluster.copy_from_slice(&head[72..136]);
        Ok(Self {
            uuid,
            events: u64_at(head, 24),
            events_cleared: u64_at(head, 32),
            sync_size: Sectors(u64_at(head, 40)),
            state: u32_at(head, 48),
            chunk_bytes,
            daemon_sleep: u32_at(head, 56),
            write_behind: u32_at(head, 60),
            sectors_reserved: u32_at(head, 64),
            nodes: u32_at(head, 68),
            cluster,
        })
    }

    /// As bytes.
    pub fn encode(&self) -> [u8; HEAD as usize] {
        let mut bytes = [0; HEAD as usize];
        put_u32(&mut bytes, 0, MAGIC);
        put_u32(&mut bytes, 4, VERSION);
        bytes[8..24].copy_from_slice(&self.uuid);
        put_u64(&mut bytes, 24, self.events);
        put_u64(&mut bytes, 32, self.events_cleared);
        put_u64(&mut bytes, 40, self.sync_size.0);
        put_u32(&mut bytes, 48, self.state);
        put_u32(&mut bytes, 52, self.chunk_bytes);
        put_u32(&mut bytes, 56, self.daemon_sleep);
        put_u32(&mut bytes, 60, self.write_behind);
        put_u32(&mut bytes, 64, self.sectors_reserved);
        put_u32(&mut bytes, 68, self.nodes);
        bytes[72..136].copy_from_slice(&self.cluster);
        bytes
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.sync_size
            .0
            .div_ceil(u64::from(self.chunk_bytes) / SECTOR)
    }

    /// Was it up to date when an array with this event count stopped?
    pub fn current(&self, events: u64) -> bool {
        self.events >= events && self.state & STALE == 0
    }

    /// Regions of a mirror that the set bits touch, whatever size the chunks have. None if the
    /// bytes are fewer than the chunks need.
    pub fn dirty(&self, bytes: &[u8], config: &Config) -> Option<RegionSet> {
        let regions = config.regions();
        let mut set = RegionSet::none(regions);
        let chunk = u64::from(self.chunk_bytes);
        let len = self.sync_size.0.min(config.len.0) * SECTOR;
        let bits = bytes.get(HEAD as usize..)?;
        let used = usize::try_from(len.div_ceil(chunk).div_ceil(8)).ok()?;
        for (at, byte) in bits.get(..used)?.iter().enumerate() {
            let mut left = *byte;
            while left != 0 {
                let start = (at as u64 * 8 + u64::from(left.trailing_zeros())) * chunk;
                left &= left - 1;
                let end = (start + chunk).min(len);
                if start < end {
                    let last = config.region_of(end - 1);
                    (config.region_of(start)..=last).for_each(|r| {
                        set.add(r);
                    });
                }
            }
        }
        Some(set)
    }
}

/// Bytes that a mirror's bitmap takes, its superblock and whole blocks included.
pub(super) fn bytes_needed(config: &Config) -> u64 {
    whole_blocks(HEAD + config.regions().div_ceil(8))
}
