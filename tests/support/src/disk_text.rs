//! A small reader of LVM2's on-disk structures that shares no code with ulvm.
//!
//! It exists so that what the two tools left on a disk can be compared without trusting either of
//! them to report it. It reads; it does not judge: checksums are returned, not enforced.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What the label of a device says, and what its metadata areas hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// Sector of the label (0..=3).
    pub label_sector: u64,
    /// PV id, 32 characters.
    pub pv_id: String,
    /// Device size recorded in the PV header, in bytes.
    pub device_size: u64,
    /// (offset, size) of the data areas.
    pub data_areas: Vec<(u64, u64)>,
    /// Version and flags of the header extension.
    pub extension: (u32, u32),
    /// (offset, size) of bootloader areas.
    pub boot_areas: Vec<(u64, u64)>,
    /// Metadata areas in the order of the header.
    pub areas: Vec<MetadataArea>,
}

/// One metadata area.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataArea {
    /// Offset on the device, in bytes.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Flags of the committed slot (bit 0: ignored).
    pub flags: u32,
    /// Whether a precommitted text is there.
    pub precommitted: bool,
    /// The committed text, if any.
    pub text: Option<String>,
}

const SECTOR: u64 = 512;
/// Bounds on lists read from a disk; LVM2 itself never writes more than a few.
const LIST_LIMIT: usize = 8;
const TEXT_LIMIT: u64 = 256 << 20;

/// Reads a device or image; `None` if it has no label.
pub fn read(path: &Path) -> Result<Option<OnDisk>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut head = vec![0; (4 * SECTOR) as usize];
    file.read_exact_at(&mut head, 0)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    for sector in 0..4 {
        let label = &head[(sector * SECTOR) as usize..((sector + 1) * SECTOR) as usize];
        if &label[0..8] == b"LABELONE"
            && u64_at(label, 8) == sector
            && &label[24..32] == b"LVM2 001"
        {
            return read_header(&file, sector, label).map(Some);
        }
    }
    Ok(None)
}

fn read_header(file: &File, sector: u64, label: &[u8]) -> Result<OnDisk, String> {
    let start = u32_at(label, 20) as usize;
    let pv_id = label
        .get(start..start + 32)
        .ok_or("PV header outside of its sector")?;
    let mut found = OnDisk {
        label_sector: sector,
        pv_id: String::from_utf8_lossy(pv_id).into_owned(),
        device_size: u64_at(label, start + 32),
        ..OnDisk::default()
    };
    let (data, next) = area_list(label, start + 40);
    let (metadata, next) = area_list(label, next);
    found.data_areas = data;
    if next + 8 <= label.len() {
        found.extension = (u32_at(label, next), u32_at(label, next + 4));
        if found.extension.0 > 0 {
            found.boot_areas = area_list(label, next + 8).0;
        }
    }
    for (offset, size) in metadata {
        found.areas.push(read_area(file, offset, size)?);
    }
    Ok(found)
}

fn area_list(label: &[u8], mut at: usize) -> (Vec<(u64, u64)>, usize) {
    let mut areas = Vec::new();
    while at + 16 <= label.len() {
        let (offset, size) = (u64_at(label, at), u64_at(label, at + 8));
        at += 16;
        if offset == 0 || areas.len() == LIST_LIMIT {
            break;
        }
        areas.push((offset, size));
    }
    (areas, at)
}

fn read_area(file: &File, offset: u64, size: u64) -> Result<MetadataArea, String> {
    let mut header = [0; SECTOR as usize];
    file.read_exact_at(&mut header, offset)
        .map_err(|error| format!("metadata area: {error}"))?;
    let mut area = MetadataArea {
        offset,
        size,
        ..MetadataArea::default()
    };
    let (start, length, flags) = (
        u64_at(&header, 40),
        u64_at(&header, 48),
        u32_at(&header, 60),
    );
    area.flags = flags;
    area.precommitted = u64_at(&header, 64) != 0;
    if start != 0 && length != 0 && length <= TEXT_LIMIT && start < size {
        area.text = Some(read_ring(file, offset, size, start, length)?);
    }
    Ok(area)
}

/// The text starts `start` bytes into the area and wraps to just behind the area's header sector.
fn read_ring(file: &File, area: u64, size: u64, start: u64, length: u64) -> Result<String, String> {
    let first = length.min(size - start);
    let mut bytes = vec![0; length as usize];
    let (head, tail) = bytes.split_at_mut(first as usize);
    let problem = |error: std::io::Error| format!("metadata text: {error}");
    file.read_exact_at(head, area + start).map_err(problem)?;
    file.read_exact_at(tail, area + SECTOR).map_err(problem)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
