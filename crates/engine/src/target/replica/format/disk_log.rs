//! dm-mirror's disk log: a header in the first 1024 bytes of the log device, then a bit for each
//! region; **1 = clean**, the opposite of md's bitmap. Bits past the last region are 0 up to the
//! next multiple of 32. There is one log for all legs, without checksum or generation, and it does
//! not remember failed legs.

use super::bytes::{Image, put_u32, put_u64, u32_at, u64_at};
use super::{BLOCK, whole_blocks};
use crate::target::replica::{
    Assembly, Config, Form, LegFound, Log, LogFailure, LogRead, LogWrite, NoAssembly, Place,
    Record, RegionSet, Start,
};

/// `rRiM` in the order of bytes.
const MAGIC: u32 = 0x4D69_5272;
const VERSION: u32 = 2;
/// Bytes before the first bit. From 16 on nobody interprets them.
const HEAD: u64 = 1024;

/// The header of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Regions that the bits were last kept for. LVM2 writes all ones for a log that is to be taken
    /// as clean whatever the mirror's size.
    pub regions: u64,
}

impl Header {
    /// From the first bytes of a log; none without its magic number.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, NoAssembly> {
        if bytes.len() < 16 || u32_at(bytes, 0) != MAGIC {
            return Ok(None);
        }
        match u32_at(bytes, 4) {
            // What version 1 means on a little-endian machine is what version 2 means on all.
            1 | VERSION => Ok(Some(Self {
                regions: u64_at(bytes, 8),
            })),
            other => Err(NoAssembly {
                what: format!("the mirror's log has version {other}, which is not known"),
            }),
        }
    }

    /// The bytes that are interpreted.
    pub fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        put_u32(&mut bytes, 0, MAGIC);
        put_u32(&mut bytes, 4, VERSION);
        put_u64(&mut bytes, 8, self.regions);
        bytes
    }
}

/// The form of a `mirror disk` table.
#[derive(Clone, Copy, Debug)]
pub struct DiskLogForm;

impl DiskLogForm {
    /// Bytes of a log that a mirror's log takes.
    fn used(config: &Config) -> u64 {
        HEAD + config.regions().div_ceil(32) * 4
    }
}

impl Form for DiskLogForm {
    fn reads(&self, config: &Config) -> Vec<LogRead> {
        vec![LogRead {
            place: Place::Log,
            offset: 0,
            len: whole_blocks(Self::used(config)),
        }]
    }

    fn assemble(&self, config: &Config, found: &[Option<Vec<u8>>]) -> Result<Assembly, NoAssembly> {
        let used = Self::used(config);
        let read = found.first().and_then(Option::as_ref);
        if read.is_some_and(|bytes| (bytes.len() as u64) < used) {
            return Err(NoAssembly {
                what: format!("the mirror's log device is smaller than the {used} bytes needed"),
            });
        }
        let whole = vec![0; whole_blocks(used) as usize];
        let readable = read.is_some();
        let mut image = Image::new(read.cloned().unwrap_or(whole));
        let before = image.bytes().to_vec();
        let header = match config.start {
            Start::Marks => Header::decode(image.bytes())?,
            Start::Sync | Start::NoSync => None,
        };
        let known = header.map_or(0, |h| h.regions);
        let regions = config.regions();
        let mut dirty = RegionSet::none(regions);
        for region in 0..used.saturating_sub(HEAD) * 8 {
            let clean = match region {
                r if r >= regions => false,
                r if r < known => image.bit(HEAD, r),
                _ => config.start == Start::NoSync,
            };
            if !clean {
                dirty.add(region);
            }
            image.set_bit(HEAD, region, clean);
        }
        image.set(0, &Header { regions }.encode());
        let to_write = match readable {
            true => image.differing(&before),
            false => RegionSet::all(image.blocks()),
        };
        let leg = |leg: &crate::target::replica::Leg| match leg.devices {
            Some(_) => LegFound::Whole,
            None => LegFound::Absent,
        };
        Ok(Assembly {
            legs: config.legs.iter().map(leg).collect(),
            marked: dirty.clone(),
            dirty,
            log: Box::new(DiskLog {
                image,
                to_write,
                regions,
            }),
        })
    }
}

/// A running mirror's log.
#[derive(Debug)]
struct DiskLog {
    image: Image,
    to_write: RegionSet,
    regions: u64,
}

impl DiskLog {
    fn set(&mut self, region: u64, clean: bool) {
        if region < self.regions
            && let Some(block) = self.image.set_bit(HEAD, region, clean)
        {
            self.to_write.add(block);
        }
    }
}

impl Log for DiskLog {
    fn mark(&mut self, region: u64) {
        self.set(region, false);
    }

    fn clear(&mut self, region: u64) {
        self.set(region, true);
    }

    fn record(&mut self, _what: Record) {}

    fn next(&mut self, writes: &mut Vec<LogWrite>) {
        let image = &self.image;
        writes.extend(self.to_write.iter().map(|block| LogWrite {
            place: Place::Log,
            offset: block * BLOCK,
            data: image.block(block).to_vec(),
        }));
        self.to_write = RegionSet::none(image.blocks());
    }

    fn lost(&mut self, _place: Place) -> LogFailure {
        LogFailure::All
    }

    fn remembers_failures(&self) -> bool {
        false
    }

    fn durable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Sectors;
    use crate::target::DevIndex;
    use crate::target::replica::{Leg, LegDevices, LogKind, MirrorArgs};

    fn config(len: u64, start: Start) -> Config {
        let leg = |n| Leg {
            devices: Some(LegDevices {
                data: DevIndex(n),
                offset: Sectors(0),
                meta: None,
            }),
            write_mostly: false,
            rebuild: false,
        };
        Config {
            len: Sectors(len),
            legs: vec![leg(0), leg(1)],
            region: Sectors(8),
            log: LogKind::Disk {
                device: DevIndex(2),
                args: MirrorArgs::default(),
            },
            start,
            min_rate: None,
            max_rate: None,
        }
    }

    /// The log's writes, applied.
    fn drain(log: &mut dyn Log, disk: &mut [u8]) -> usize {
        let mut writes = Vec::new();
        log.next(&mut writes);
        for w in &writes {
            disk[w.offset as usize..][..w.data.len()].copy_from_slice(&w.data);
        }
        writes.len()
    }

    #[test]
    fn growth_is_dirty_and_nosync_is_clean() {
        let mut disk = vec![0xFF; 4096];
        disk[..16].copy_from_slice(&Header { regions: 10 }.encode());
        let grown = DiskLogForm.assemble(&config(8 * 33, Start::Marks), &[Some(disk.clone())]);
        let mut grown = grown.expect("a log");
        assert_eq!(
            grown.dirty.iter().collect::<Vec<_>>(),
            (10..33).collect::<Vec<_>>()
        );
        assert_eq!(drain(grown.log.as_mut(), &mut disk), 1);
        // 33 regions take two words of 32: ten ones, and zeroes to the end of the second.
        assert_eq!(disk[1024..1034], [0xFF, 3, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
        assert_eq!(disk[8..16], 33u64.to_le_bytes());
        let clean = DiskLogForm.assemble(&config(8 * 33, Start::NoSync), &[Some(disk.clone())]);
        assert!(clean.expect("a log").dirty.is_empty());
        disk[4] = 3;
        assert!(
            DiskLogForm
                .assemble(&config(64, Start::Marks), &[Some(disk.clone())])
                .is_err()
        );
        let short = Some(vec![0; 1024]);
        assert!(
            DiskLogForm
                .assemble(&config(64, Start::Marks), &[short])
                .is_err()
        );
    }

    #[test]
    fn marks_are_written_once_each_block() {
        let mut disk = vec![0; 4096];
        let mut it = DiskLogForm
            .assemble(&config(64, Start::NoSync), &[Some(disk.clone())])
            .expect("a log");
        assert_eq!(drain(it.log.as_mut(), &mut disk), 1, "header and bits");
        it.log.mark(3);
        it.log.mark(3);
        it.log.mark(70);
        assert_eq!(drain(it.log.as_mut(), &mut disk), 1);
        assert_eq!(disk[1024], 0b1111_0111);
        assert_eq!(drain(it.log.as_mut(), &mut disk), 0);
        it.log.clear(3);
        assert_eq!(drain(it.log.as_mut(), &mut disk), 1);
        let again = DiskLogForm.assemble(&config(64, Start::Marks), &[Some(disk.clone())]);
        let mut again = again.expect("a log");
        assert!(again.dirty.is_empty());
        assert_eq!(drain(again.log.as_mut(), &mut disk), 0, "nothing to change");
        // Unreadable: everything is dirty, and all of the log is to be written.
        let mut lost = DiskLogForm
            .assemble(&config(64, Start::Marks), &[None])
            .expect("a log");
        assert_eq!(lost.dirty.count(), 8);
        assert_eq!(drain(lost.log.as_mut(), &mut disk), 1);
    }
}
