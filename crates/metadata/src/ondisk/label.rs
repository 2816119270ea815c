//! The label and the PV header it holds: one sector among the first four of a device.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 8 | `LABELONE` |
//! | 8 | 8 | number of the sector |
//! | 16 | 4 | checksum of bytes 20..512 |
//! | 20 | 4 | offset of the PV header (32) |
//! | 24 | 8 | `LVM2 001` |
//! | 32 | 32 | PV identifier |
//! | 64 | 8 | device size |
//! | 72 | 16 each | data areas, zeros, metadata areas, zeros |
//! | .. | 4 + 4 | version and flags of the extension |
//! | .. | 16 each | bootloader areas, zeros |

use std::io;

use super::Area;
use crate::crc::crc;
use crate::disk::Disk;
use crate::units::Bytes;
use crate::uuid::{ID_LEN, LvmUuid};
use crate::wire::{put, u32_at, u64_at};

/// Sectors that are searched for a label.
pub const LABEL_SCAN_SECTORS: u64 = 4;
/// Version of the extension that is written. 0 means that there is none.
pub const PV_EXT_VERSION: u32 = 2;
/// Extension flag: the PV belongs to a VG.
pub const PV_EXT_USED: u32 = 1;

const SECTOR: usize = 512;
const LABEL_ID: &[u8; 8] = b"LABELONE";
const LABEL_TYPE: &[u8; 8] = b"LVM2 001";
const PV_HEADER_OFFSET: usize = 32;
/// Bytes of the fixed part of the PV header: identifier and device size.
const PV_HEADER_FIXED: usize = ID_LEN + 8;

/// A PV header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvHeader {
    /// Identity of the PV.
    pub id: LvmUuid,
    /// Size of the device in bytes when the PV was made or resized.
    pub device_size: Bytes,
    /// Where extents lie; LVM2 writes one, with size 0 for "to the end". `pe_start` of the VG's
    /// metadata is authoritative.
    pub data_areas: Vec<Area>,
    /// Metadata areas: none, one or two.
    pub mdas: Vec<Area>,
    /// `None` if the header is of version 0, from before there were extensions.
    pub extension: Option<Extension>,
}

/// The extension of a PV header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extension {
    /// 1 or 2; later ones are read as far as they are known.
    pub version: u32,
    /// See [`PV_EXT_USED`].
    pub flags: u32,
    /// Areas for boot loaders; LVM2 writes at most one.
    pub bootloader_areas: Vec<Area>,
}

/// A checked label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// Sector it lies in, 0 to 3.
    pub sector: u64,
    /// The PV header in it.
    pub header: PvHeader,
}

/// The label of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundLabel {
    /// The first one; it rules.
    pub label: Label,
    /// Sectors with further valid labels, which are ignored.
    pub additional: Vec<u64>,
    /// Sectors that hold a label that is not valid.
    pub damaged: Vec<(u64, LabelSector)>,
}

/// What one of the first sectors holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LabelSector {
    /// No label.
    None,
    /// A valid LVM2 label.
    Valid(Label),
    /// The checksum is wrong: taken for no label.
    BadChecksum {
        /// As stored.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// Written for another sector (the number that is stored).
    BadSector(u64),
    /// A label of another kind than `LVM2 001` (the 8 characters).
    OtherType([u8; 8]),
    /// Checksum and type are right, the PV header is not: what is wrong.
    BadHeader(&'static str),
}

impl PvHeader {
    /// Does the PV belong to a VG, as far as the header says?
    pub fn is_used(&self) -> bool {
        self.extension
            .as_ref()
            .is_some_and(|e| e.flags & PV_EXT_USED != 0)
    }
    /// The same with the flag set or cleared and the extension of the version that is written.
    pub fn with_used(&self, used: bool) -> Self {
        let mut out = self.clone();
        let old = out.extension.take();
        let flags = old.as_ref().map_or(0, |e| e.flags);
        out.extension = Some(Extension {
            version: PV_EXT_VERSION,
            flags: if used {
                flags | PV_EXT_USED
            } else {
                flags & !PV_EXT_USED
            },
            bootloader_areas: old.map(|e| e.bootloader_areas).unwrap_or_default(),
        });
        out
    }
    /// Must it be rewritten when its VG is written? (Flag clear or extension of an older version.)
    pub fn needs_update(&self) -> bool {
        !self.is_used()
            || self
                .extension
                .as_ref()
                .is_none_or(|e| e.version < PV_EXT_VERSION)
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let fixed = bytes
            .get(..PV_HEADER_FIXED)
            .ok_or("the PV header does not fit the sector")?;
        let id = LvmUuid::from_raw(&fixed[..ID_LEN]).ok_or("the PV identifier is malformed")?;
        let mut at = PV_HEADER_FIXED;
        let data_areas = areas(bytes, &mut at)?;
        let mdas = areas(bytes, &mut at)?;
        if mdas
            .iter()
            .any(|a| a.start.0 < LABEL_SCAN_SECTORS * SECTOR as u64)
        {
            return Err("a metadata area overlaps the label");
        }
        let version = match bytes.get(at..at + 8) {
            Some(_) => u32_at(bytes, at),
            None => 0,
        };
        let extension = if version == 0 {
            None
        } else {
            let flags = u32_at(bytes, at + 4);
            at += 8;
            Some(Extension {
                version,
                flags,
                bootloader_areas: areas(bytes, &mut at)?,
            })
        };
        Ok(Self {
            id,
            device_size: Bytes(u64_at(fixed, ID_LEN)),
            data_areas,
            mdas,
            extension,
        })
    }

    fn encode(&self, out: &mut [u8]) -> Option<()> {
        let mut w = Cursor { out, at: 0 };
        w.put(self.id.raw())?;
        w.put(&self.device_size.0.to_le_bytes())?;
        w.areas(&self.data_areas)?;
        w.areas(&self.mdas)?;
        if let Some(e) = &self.extension {
            w.put(&e.version.to_le_bytes())?;
            w.put(&e.flags.to_le_bytes())?;
            w.areas(&e.bootloader_areas)?;
        }
        Some(())
    }
}

/// A list of areas that ends with an entry whose offset is 0.
fn areas(bytes: &[u8], at: &mut usize) -> Result<Vec<Area>, &'static str> {
    let mut out = Vec::new();
    loop {
        if bytes.len() < *at + 16 {
            return Err("a list of areas does not end within the sector");
        }
        let area = Area::new(u64_at(bytes, *at), u64_at(bytes, *at + 8));
        *at += 16;
        if area.start.is_zero() {
            return Ok(out);
        }
        out.push(area);
    }
}

struct Cursor<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at + bytes.len();
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }
    fn areas(&mut self, areas: &[Area]) -> Option<()> {
        for area in areas {
            // 0 would end the list; LVM2 stores one sector instead.
            self.put(&area.start.0.max(SECTOR as u64).to_le_bytes())?;
            self.put(&area.size.0.to_le_bytes())?;
        }
        self.put(&[0; 16])
    }
}

/// The sector that holds `label`. `None` if there are more areas than a sector has room for.
pub fn encode_label(label: &Label) -> Option<[u8; SECTOR]> {
    let mut s = [0; SECTOR];
    put(&mut s, 0, LABEL_ID);
    put(&mut s, 8, &label.sector.to_le_bytes());
    put(&mut s, 20, &(PV_HEADER_OFFSET as u32).to_le_bytes());
    put(&mut s, 24, LABEL_TYPE);
    label.header.encode(&mut s[PV_HEADER_OFFSET..])?;
    let sum = crc(&s[20..]);
    put(&mut s, 16, &sum.to_le_bytes());
    Some(s)
}

/// Judges the 512 bytes of sector number `sector`.
fn decode_label(s: &[u8], sector: u64) -> LabelSector {
    if s.len() < SECTOR || &s[..8] != LABEL_ID {
        return LabelSector::None;
    }
    let at = u64_at(s, 8);
    if at != sector {
        return LabelSector::BadSector(at);
    }
    let (stored, computed) = (u32_at(s, 16), crc(&s[20..SECTOR]));
    if stored != computed {
        return LabelSector::BadChecksum { stored, computed };
    }
    if &s[24..32] != LABEL_TYPE {
        let mut kind = [0; 8];
        kind.copy_from_slice(&s[24..32]);
        return LabelSector::OtherType(kind);
    }
    let offset = u32_at(s, 20) as usize;
    let Some(header) = s[..SECTOR].get(offset..).filter(|_| offset >= 32) else {
        return LabelSector::BadHeader("the PV header lies outside of the sector");
    };
    match PvHeader::decode(header) {
        Ok(header) => LabelSector::Valid(Label { sector, header }),
        Err(what) => LabelSector::BadHeader(what),
    }
}

/// Judges the sectors that may hold a label; a device may have fewer.
pub fn scan_label_sectors(disk: &dyn Disk) -> io::Result<Vec<LabelSector>> {
    let sectors = (disk.size().0 / SECTOR as u64).min(LABEL_SCAN_SECTORS);
    let mut bytes = vec![0; sectors as usize * SECTOR];
    disk.read_at(Bytes(0), &mut bytes)?;
    Ok(bytes
        .chunks(SECTOR)
        .zip(0..)
        .map(|(s, sector)| decode_label(s, sector))
        .collect())
}

/// The label of a device: the first valid one of the first four sectors.
pub fn find_label(disk: &dyn Disk) -> io::Result<Option<FoundLabel>> {
    let mut first = None;
    let mut additional = Vec::new();
    let mut damaged = Vec::new();
    for (verdict, sector) in scan_label_sectors(disk)?.into_iter().zip(0..) {
        match verdict {
            LabelSector::None => {}
            LabelSector::Valid(label) if first.is_none() => first = Some(label),
            LabelSector::Valid(_) => additional.push(sector),
            bad => damaged.push((sector, bad)),
        }
    }
    Ok(first.map(|label| FoundLabel {
        label,
        additional,
        damaged,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    fn label() -> Label {
        Label {
            sector: 1,
            header: PvHeader {
                id: LvmUuid::from_entropy(&[7; 32]),
                device_size: Bytes(1 << 30),
                data_areas: vec![Area::new(1 << 20, 0)],
                mdas: vec![Area::new(4096, 1_044_480)],
                extension: Some(Extension {
                    version: 2,
                    flags: PV_EXT_USED,
                    bootloader_areas: vec![],
                }),
            },
        }
    }

    fn disk_with(labels: &[Label]) -> MemDisk {
        let mut disk = MemDisk::new(8192);
        for l in labels {
            let bytes = encode_label(l).unwrap();
            disk.write_at(Bytes(l.sector * 512), &bytes).unwrap();
        }
        disk
    }

    #[test]
    fn what_is_encoded_is_found() {
        let found = find_label(&disk_with(&[label()])).unwrap().unwrap();
        assert_eq!(found.label, label());
        assert!(found.additional.is_empty() && found.damaged.is_empty());
        let bytes = encode_label(&label()).unwrap();
        assert_eq!(
            u32_at(&bytes, 648 - 512),
            2,
            "the extension lies at byte 648"
        );
    }

    #[test]
    fn the_first_of_two_rules() {
        let mut other = label();
        other.sector = 3;
        other.header.id = LvmUuid::from_entropy(&[9; 32]);
        let found = find_label(&disk_with(&[label(), other])).unwrap().unwrap();
        assert_eq!(found.label, label());
        assert_eq!(found.additional, [3]);
    }

    #[test]
    fn any_bit_counts() {
        let good = encode_label(&label()).unwrap();
        for bit in 0..512 * 8 {
            let mut s = good;
            s[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(decode_label(&s, 1), LabelSector::Valid(_)),
                "bit {bit}"
            );
        }
        assert_eq!(decode_label(&good, 2), LabelSector::BadSector(1));
    }

    #[test]
    fn versions_of_the_extension() {
        let mut old = label();
        old.header.extension = None;
        let found = find_label(&disk_with(&[old.clone()])).unwrap().unwrap();
        assert_eq!(found.label, old);
        assert!(old.header.needs_update() && !old.header.is_used());
        let new = old.header.with_used(true);
        assert!(!new.needs_update());
        assert!(!new.with_used(false).is_used());
        let mut one = label();
        one.header.extension.as_mut().unwrap().version = 1;
        assert!(one.header.needs_update());
    }

    #[test]
    fn lists_that_do_not_end_are_refused() {
        let mut l = label();
        l.header.mdas = vec![Area::new(4096, 4096); 30];
        assert!(encode_label(&l).is_none());
        let mut s = [0xff; 512];
        put(&mut s, 0, LABEL_ID);
        put(&mut s, 8, &1u64.to_le_bytes());
        put(&mut s, 20, &32u32.to_le_bytes());
        put(&mut s, 24, LABEL_TYPE);
        put(&mut s, 32, &[b'a'; 32]);
        let sum = crc(&s[20..]);
        put(&mut s, 16, &sum.to_le_bytes());
        assert_eq!(
            decode_label(&s, 1),
            LabelSector::BadHeader("a list of areas does not end within the sector")
        );
    }

    #[test]
    fn an_area_on_the_label_is_refused() {
        let mut l = label();
        l.header.mdas = vec![Area::new(1024, 8192)];
        let bytes = encode_label(&l).unwrap();
        assert!(matches!(decode_label(&bytes, 1), LabelSector::BadHeader(_)));
    }

    #[test]
    fn a_device_may_be_tiny() {
        assert_eq!(find_label(&MemDisk::new(0)).unwrap(), None);
        assert_eq!(find_label(&MemDisk::new(700)).unwrap(), None);
    }
}
