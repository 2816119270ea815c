//! Partition tables inside images and devices whose partitions the kernel does not show.
//!
//! GPT (UEFI specification 5.3) and MBR with logical partitions, on sectors of 512 and 4096 bytes.
//! Tables are hostile input: every count is bounded, every entry must lie on the device.

use ulvm_metadata::disk::Disk;
use ulvm_metadata::units::Bytes;

/// A partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partition {
    /// As the kernel numbers it: slots from 1, logical ones from 5.
    pub number: u32,
    /// First byte.
    pub start: Bytes,
    /// Length in bytes.
    pub size: Bytes,
}

/// What kind of table there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Table {
    /// None.
    None,
    /// MBR ("dos").
    Mbr(Vec<Partition>),
    /// GPT.
    Gpt(Vec<Partition>),
}

impl Table {
    /// The partitions.
    pub fn partitions(&self) -> &[Partition] {
        match self {
            Self::None => &[],
            Self::Mbr(p) | Self::Gpt(p) => p,
        }
    }
}

/// Most GPT entries looked at; tables in use have 128.
const GPT_ENTRIES_MAX: u32 = 1024;
/// Most logical partitions followed.
const LOGICAL_MAX: u32 = 60;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const PROTECTIVE: u8 = 0xee;

/// Reads the table; anything unreadable or senseless is no table.
pub fn read(disk: &dyn Disk) -> Table {
    let mut sector = [0u8; 512];
    if disk.read_at(Bytes(0), &mut sector).is_err() || sector[510..] != [0x55, 0xaa] {
        return Table::None;
    }
    let entries = mbr_entries(&sector);
    if entries.iter().any(|e| e.kind == PROTECTIVE) {
        let first = u64::from(disk.logical_block_size());
        let other = if first == 512 { 4096 } else { 512 };
        for block in [first, other] {
            if let Some(list) = gpt(disk, block) {
                return Table::Gpt(list);
            }
        }
        return Table::Gpt(Vec::new());
    }
    if !plausible(&sector, &entries) {
        return Table::None;
    }
    Table::Mbr(mbr(disk, &entries))
}

#[derive(Clone, Copy)]
struct Entry {
    boot: u8,
    kind: u8,
    start: u64,
    len: u64,
}

fn le32(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4)
        .and_then(|s| s.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn le64(b: &[u8], at: usize) -> u64 {
    b.get(at..at + 8)
        .and_then(|s| s.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn mbr_entries(sector: &[u8; 512]) -> [Entry; 4] {
    std::array::from_fn(|i| {
        let at = 446 + 16 * i;
        Entry {
            boot: sector[at],
            kind: sector[at + 4],
            start: u64::from(le32(sector, at + 8)),
            len: u64::from(le32(sector, at + 12)),
        }
    })
}

/// A boot sector of a FAT or NTFS filesystem ends like an MBR; its "entries" are code.
fn plausible(sector: &[u8; 512], entries: &[Entry; 4]) -> bool {
    let sane = entries.iter().all(|e| e.boot == 0 || e.boot == 0x80);
    let used = entries.iter().any(|e| e.kind != 0 && e.len != 0);
    let filesystem = sector[3..11] == *b"NTFS    "
        || sector[54..57] == *b"FAT"
        || sector[82..87] == *b"FAT32"
        || sector[3..11] == *b"EXFAT   ";
    sane && used && !filesystem
}

/// An MBR does not say how large its sectors are. The device's own size is taken, unless only the
/// other one leads to a PV.
fn mbr(disk: &dyn Disk, entries: &[Entry; 4]) -> Vec<Partition> {
    let own = u64::from(disk.logical_block_size());
    let list = mbr_with(disk, entries, own);
    if list.iter().any(|p| holds_label(disk, p)) {
        return list;
    }
    let other = mbr_with(disk, entries, if own == 512 { 4096 } else { 512 });
    if other.iter().any(|p| holds_label(disk, p)) {
        return other;
    }
    list
}

fn holds_label(disk: &dyn Disk, partition: &Partition) -> bool {
    let mut head = [0u8; 2048];
    disk.read_at(partition.start, &mut head).is_ok()
        && head.chunks_exact(512).any(|s| s.starts_with(b"LABELONE"))
}

fn mbr_with(disk: &dyn Disk, entries: &[Entry; 4], unit: u64) -> Vec<Partition> {
    let mut out = Vec::new();
    let mut extended = None;
    for (i, e) in entries.iter().enumerate() {
        if e.kind == 0 || e.len == 0 {
            continue;
        }
        if EXTENDED.contains(&e.kind) {
            extended = extended.or(Some(e.start));
            continue;
        }
        out.extend(bounded(disk, i as u32 + 1, e.start, e.len, unit));
    }
    if let Some(first) = extended {
        logical(disk, first, unit, &mut out);
    }
    out
}

/// The chain of extended boot records: each names one partition (relative to itself) and the next
/// record (relative to the first).
fn logical(disk: &dyn Disk, first: u64, unit: u64, out: &mut Vec<Partition>) {
    let mut record = first;
    let mut number = 5;
    for _ in 0..LOGICAL_MAX {
        let mut sector = [0u8; 512];
        let Some(at) = record.checked_mul(unit) else {
            return;
        };
        if disk.read_at(Bytes(at), &mut sector).is_err() || sector[510..] != [0x55, 0xaa] {
            return;
        }
        let [part, next, ..] = mbr_entries(&sector);
        if part.kind != 0 && part.len != 0 {
            out.extend(bounded(disk, number, record + part.start, part.len, unit));
            number += 1;
        }
        // The chain only goes forward, so it ends.
        if !EXTENDED.contains(&next.kind) || next.len == 0 || first + next.start <= record {
            return;
        }
        record = first + next.start;
    }
}

fn bounded(disk: &dyn Disk, number: u32, start: u64, len: u64, unit: u64) -> Option<Partition> {
    let start = start.checked_mul(unit)?;
    let size = len.checked_mul(unit)?;
    let end = start.checked_add(size)?;
    (start > 0 && size > 0 && end <= disk.size().0).then_some(Partition {
        number,
        start: Bytes(start),
        size: Bytes(size),
    })
}

/// Primary header, else the backup in the last block.
fn gpt(disk: &dyn Disk, block: u64) -> Option<Vec<Partition>> {
    let last = (disk.size().0 / block).checked_sub(1)?;
    gpt_at(disk, block, 1).or_else(|| gpt_at(disk, block, last))
}

fn gpt_at(disk: &dyn Disk, block: u64, lba: u64) -> Option<Vec<Partition>> {
    let mut header = [0u8; 512];
    disk.read_at(Bytes(lba.checked_mul(block)?), &mut header)
        .ok()?;
    let header_len = le32(&header, 12) as usize;
    if header[..8] != *b"EFI PART" || !(92..=512).contains(&header_len) || le64(&header, 24) != lba
    {
        return None;
    }
    let crc = le32(&header, 16);
    header[16..20].fill(0);
    if crc32fast::hash(&header[..header_len]) != crc {
        return None;
    }
    let (table, count, size) = (le64(&header, 72), le32(&header, 80), le32(&header, 84));
    if count > GPT_ENTRIES_MAX || !(128..=4096).contains(&size) || size % 8 != 0 {
        return None;
    }
    let mut entries = vec![0u8; count as usize * size as usize];
    disk.read_at(Bytes(table.checked_mul(block)?), &mut entries)
        .ok()?;
    if crc32fast::hash(&entries) != le32(&header, 88) {
        return None;
    }
    let list = entries.chunks_exact(size as usize).zip(1u32..);
    Some(
        list.filter(|(e, _)| e[..16] != [0; 16])
            .filter_map(|(e, number)| {
                let (first, last) = (le64(e, 32), le64(e, 40));
                let len = last.checked_sub(first)?.checked_add(1)?;
                bounded(disk, number, first, len, block)
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulvm_metadata::disk::MemDisk;

    fn put(disk: &mut MemDisk, at: usize, bytes: &[u8]) {
        disk.data[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn entry(kind: u8, start: u32, len: u32) -> [u8; 16] {
        let mut e = [0; 16];
        e[4] = kind;
        e[8..12].copy_from_slice(&start.to_le_bytes());
        e[12..].copy_from_slice(&len.to_le_bytes());
        e
    }

    fn gpt_disk(block: usize, parts: &[(u64, u64)]) -> MemDisk {
        let mut disk = MemDisk::new(4 << 20);
        put(&mut disk, 446, &entry(PROTECTIVE, 1, 0xffff_ffff));
        put(&mut disk, 510, &[0x55, 0xaa]);
        let mut entries = vec![0u8; 128 * 128];
        for (i, (first, last)) in parts.iter().enumerate() {
            let e = &mut entries[128 * i..][..128];
            e[0] = 1;
            e[32..40].copy_from_slice(&first.to_le_bytes());
            e[40..48].copy_from_slice(&last.to_le_bytes());
        }
        let mut h = [0u8; 92];
        h[..8].copy_from_slice(b"EFI PART");
        h[12..16].copy_from_slice(&92u32.to_le_bytes());
        h[24..32].copy_from_slice(&1u64.to_le_bytes());
        h[72..80].copy_from_slice(&2u64.to_le_bytes());
        h[80..84].copy_from_slice(&128u32.to_le_bytes());
        h[84..88].copy_from_slice(&128u32.to_le_bytes());
        h[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let crc = crc32fast::hash(&h);
        h[16..20].copy_from_slice(&crc.to_le_bytes());
        put(&mut disk, block, &h);
        put(&mut disk, 2 * block, &entries);
        disk
    }

    #[test]
    fn gpt_of_both_sector_sizes() {
        for block in [512usize, 4096] {
            let disk = gpt_disk(block, &[(64, 127), (200, 200), (300, 1 << 40)]);
            let Table::Gpt(list) = read(&disk) else {
                panic!("no table")
            };
            let b = block as u64;
            // The third reaches beyond the end and is left out.
            assert_eq!(list.len(), 2);
            assert_eq!((list[0].start.0, list[0].size.0), (64 * b, 64 * b));
            assert_eq!((list[1].number, list[1].size.0), (2, b));
        }
    }

    #[test]
    fn a_damaged_gpt_has_no_partitions_and_is_still_one() {
        let mut disk = gpt_disk(512, &[(64, 127)]);
        disk.data[1024] ^= 1;
        assert_eq!(read(&disk), Table::Gpt(Vec::new()));
    }

    #[test]
    fn mbr_with_logical_partitions() {
        let mut disk = MemDisk::new(4 << 20);
        put(&mut disk, 446, &entry(0x8e, 100, 50));
        put(&mut disk, 462, &entry(0x05, 1000, 2000));
        put(&mut disk, 510, &[0x55, 0xaa]);
        put(&mut disk, 1000 * 512 + 446, &entry(0x83, 10, 90));
        put(&mut disk, 1000 * 512 + 462, &entry(0x05, 500, 100));
        put(&mut disk, 1000 * 512 + 510, &[0x55, 0xaa]);
        put(&mut disk, 1500 * 512 + 446, &entry(0x8e, 10, 90));
        // A record that names itself as the next one ends the chain.
        put(&mut disk, 1500 * 512 + 462, &entry(0x05, 500, 100));
        put(&mut disk, 1500 * 512 + 510, &[0x55, 0xaa]);
        let found: Vec<_> = read(&disk)
            .partitions()
            .iter()
            .map(|p| (p.number, p.start.0 / 512, p.size.0 / 512))
            .collect();
        assert_eq!(found, [(1, 100, 50), (5, 1010, 90), (6, 1510, 90)]);
    }

    #[test]
    fn mbr_sectors_of_4096_bytes_are_seen_by_the_label_they_lead_to() {
        let mut disk = MemDisk::new(4 << 20);
        put(&mut disk, 446, &entry(0x8e, 100, 50));
        put(&mut disk, 510, &[0x55, 0xaa]);
        assert_eq!(read(&disk).partitions()[0].start.0, 100 * 512);
        put(&mut disk, 100 * 4096 + 512, b"LABELONE");
        assert_eq!(read(&disk).partitions()[0].start.0, 100 * 4096);
    }

    #[test]
    fn boot_sectors_and_garbage_are_no_tables() {
        let mut disk = MemDisk::new(1 << 20);
        assert_eq!(read(&disk), Table::None);
        put(&mut disk, 510, &[0x55, 0xaa]);
        assert_eq!(read(&disk), Table::None);
        put(&mut disk, 446, &entry(0x83, 1, 50));
        put(&mut disk, 3, b"NTFS    ");
        assert_eq!(read(&disk), Table::None);
        disk.data[..512].fill(0xff);
        put(&mut disk, 510, &[0x55, 0xaa]);
        assert_eq!(read(&disk), Table::None);
        assert_eq!(read(&MemDisk::new(100)), Table::None);
    }
}
