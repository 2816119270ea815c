//! Where metadata areas, the bootloader area and the first extent of a new PV go.
//!
//! * Area 0 begins at byte 4096 and ends at a multiple of the data alignment, plus the alignment
//!   offset, as far as there is room.
//! * The bootloader area follows, its size a multiple of the alignment. Behind it extents begin.
//! * Area 1 lies at the end of the device, its start a multiple of the alignment, down to the end
//!   of everything else.
//!
//! The odd rules for areas that do not fit are LVM2's.

use std::fmt;

use super::Area;
use super::label::{Extension, Label, PV_EXT_VERSION, PvHeader};
use crate::units::{Bytes, Extents, SECTOR_SIZE, Sectors};
use crate::uuid::LvmUuid;

/// Data alignment unless a device or user asks for another.
pub const DEFAULT_ALIGNMENT: Bytes = Bytes(1 << 20);
/// Size of a metadata area unless the user asks for another: it ends at 1 MiB.
pub const DEFAULT_MDA_SIZE: Bytes = Bytes((1 << 20) - MDA_START);
/// Smallest metadata area: eight pages of 4 KiB.
pub const SMALLEST_MDA: Bytes = Bytes(32 << 10);
/// Most metadata areas on a PV.
pub const MOST_MDAS: u32 = 2;

/// Area 0 begins at the first page behind the label sectors.
const MDA_START: u64 = 4096;
/// The sectors that may hold a label are no place for extents.
const LABEL_END: u64 = super::LABEL_SCAN_SECTORS * SECTOR_SIZE;

/// What is asked of a new PV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayoutRequest {
    /// Size of the PV: of the device, or as the user says.
    pub size: Bytes,
    /// Sector of the label, 0 to 3.
    pub label_sector: u64,
    /// Number of metadata areas, 0 to 2.
    pub mda_copies: u32,
    /// Size of a metadata area; `None` is [`DEFAULT_MDA_SIZE`], or up to `pe_start` if that is
    /// fixed.
    pub mda_size: Option<Bytes>,
    /// Data alignment.
    pub alignment: Bytes,
    /// Added to the alignment.
    pub alignment_offset: Bytes,
    /// Size of the bootloader area; 0 = none.
    pub bootloader: Bytes,
    /// A PV that is made again from a backup: where its extents and bootloader area were.
    pub fixed: Option<FixedData>,
}

/// Places that must stay as they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FixedData {
    /// First byte of extent 0.
    pub pe_start: Bytes,
    /// First byte behind the last extent; not beyond the PV.
    pub pe_end: Bytes,
    /// Bootloader area.
    pub bootloader: Option<Area>,
}

impl LayoutRequest {
    /// One metadata area, everything as by default.
    pub fn new(size: Bytes) -> Self {
        Self {
            size,
            label_sector: 1,
            mda_copies: 1,
            mda_size: None,
            alignment: DEFAULT_ALIGNMENT,
            alignment_offset: Bytes::ZERO,
            bootloader: Bytes::ZERO,
            fixed: None,
        }
    }
}

/// Where things of a new PV are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Size of the PV.
    pub size: Bytes,
    /// Sector of the label.
    pub label_sector: u64,
    /// Metadata areas.
    pub mdas: Vec<Area>,
    /// Bootloader area.
    pub bootloader: Option<Area>,
    /// First byte of extent 0.
    pub pe_start: Bytes,
    /// First byte that extents may not use.
    pub pe_end: Bytes,
}

/// Why there is no such layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// The label sector is not one of the first four.
    LabelSector(u64),
    /// More metadata areas than two.
    Copies(u32),
    /// The alignment, with its offset, is larger than the PV.
    AlignmentTooLarge,
    /// The alignment is smaller than its offset (both in sectors).
    OffsetTooLarge {
        /// Alignment.
        alignment: Sectors,
        /// Offset.
        offset: Sectors,
    },
    /// The bootloader area does not fit.
    BootloaderTooLarge,
    /// A metadata area would be smaller than [`SMALLEST_MDA`].
    MdaTooSmall(Bytes),
    /// No room for this metadata area (0 or 1).
    NoRoom(u32),
    /// A size is not a whole number of sectors.
    NotSectors,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LabelSector(_) => write!(f, "labelsector must be less than 4."),
            Self::Copies(n) => write!(f, "{n} metadata areas on a PV: at most 2 are possible."),
            Self::AlignmentTooLarge => write!(f, "Data alignment must not exceed device size."),
            Self::OffsetTooLarge { alignment, offset } => write!(
                f,
                "pe_align ({alignment} sectors) must not be less than pe_align_offset ({offset} sectors)"
            ),
            Self::BootloaderTooLarge => write!(
                f,
                "Bootloader area with data-aligned start must not exceed device size."
            ),
            Self::MdaTooSmall(size) => write!(
                f,
                "Metadata area size too small: {size} bytes. It must be at least {SMALLEST_MDA} bytes."
            ),
            Self::NoRoom(index) => {
                write!(
                    f,
                    "Not enough space available for metadata area with index {index}."
                )
            }
            Self::NotSectors => write!(f, "Sizes must be multiples of 512 bytes."),
        }
    }
}

impl std::error::Error for LayoutError {}

impl Layout {
    /// The label of a PV with this layout.
    pub fn label(&self, id: LvmUuid, used: bool) -> Label {
        let header = PvHeader {
            id,
            device_size: self.size,
            data_areas: vec![Area::new(self.pe_start.0, 0)],
            mdas: self.mdas.clone(),
            extension: Some(Extension {
                version: PV_EXT_VERSION,
                flags: 0,
                bootloader_areas: self.bootloader.into_iter().collect(),
            }),
        };
        Label {
            sector: self.label_sector,
            header: header.with_used(used),
        }
    }
    /// Number of extents there is room for; 0 for an extent size of 0.
    pub fn pe_count(&self, extent_size: Sectors) -> Extents {
        let room = self.pe_end.saturating_sub(self.pe_start).sectors_floor();
        let count = room.0.checked_div(extent_size.0).unwrap_or(0);
        Extents(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

/// Lays out a new PV.
pub fn layout(request: &LayoutRequest) -> Result<Layout, LayoutError> {
    check_request(request)?;
    // Sizes are below 2^63 here and sums of three of them fit.
    match &request.fixed {
        Some(fixed) => with_fixed_data(request, fixed),
        None => with_free_data(request),
    }
}

fn check_request(r: &LayoutRequest) -> Result<(), LayoutError> {
    const HUGE: u64 = 1 << 61;
    if r.label_sector >= super::LABEL_SCAN_SECTORS {
        return Err(LayoutError::LabelSector(r.label_sector));
    }
    if r.mda_copies > MOST_MDAS {
        return Err(LayoutError::Copies(r.mda_copies));
    }
    let sizes = [r.alignment, r.alignment_offset, r.bootloader];
    let sizes = sizes.iter().chain(r.mda_size.iter());
    if sizes.clone().any(|s| s.0 % SECTOR_SIZE != 0) || r.alignment.is_zero() {
        return Err(LayoutError::NotSectors);
    }
    if r.size.0 > HUGE || sizes.clone().any(|s| s.0 > HUGE) {
        return Err(LayoutError::AlignmentTooLarge);
    }
    if r.alignment.0 + r.alignment_offset.0 > r.size.0 {
        return Err(LayoutError::AlignmentTooLarge);
    }
    if r.alignment < r.alignment_offset {
        return Err(LayoutError::OffsetTooLarge {
            alignment: r.alignment.sectors_floor(),
            offset: r.alignment_offset.sectors_floor(),
        });
    }
    Ok(())
}

fn with_free_data(r: &LayoutRequest) -> Result<Layout, LayoutError> {
    let size = whole_sectors(r.size);
    let align = r.alignment.0;
    let bootloader = r.bootloader.0.next_multiple_of(align);
    let without_mda = LABEL_END.next_multiple_of(align) + r.alignment_offset.0;
    if r.bootloader.0 > 0 && align + r.alignment_offset.0 + bootloader > size {
        return Err(LayoutError::BootloaderTooLarge);
    }
    let mut mdas = Vec::new();
    let mut at = without_mda;
    if r.mda_copies > 0 {
        let wanted = r.mda_size.unwrap_or(DEFAULT_MDA_SIZE).0;
        let limit = size.saturating_sub(bootloader);
        at = end_of_area_0(wanted, limit, align, r.alignment_offset.0);
        mdas.push(area_0(at)?);
    }
    let area = (bootloader > 0).then_some(Area::new(at, bootloader));
    at += bootloader;
    if at > size {
        return Err(LayoutError::BootloaderTooLarge);
    }
    let pe_end = area_1(r, &mut mdas, size, at)?;
    Ok(Layout {
        size: r.size,
        label_sector: r.label_sector,
        mdas,
        bootloader: area,
        pe_start: Bytes(at),
        pe_end: Bytes(pe_end),
    })
}

fn with_fixed_data(r: &LayoutRequest, fixed: &FixedData) -> Result<Layout, LayoutError> {
    let size = whole_sectors(r.size);
    let limit = fixed.bootloader.map_or(fixed.pe_start, |a| a.start).0;
    let mut mdas = Vec::new();
    if r.mda_copies > 0 {
        let room = limit.checked_sub(MDA_START).ok_or(LayoutError::NoRoom(0))?;
        let end = match r.mda_size {
            Some(wanted) if wanted.0 <= room => {
                let aligned = (MDA_START + wanted.0).next_multiple_of(r.alignment.0);
                [aligned + r.alignment_offset.0, aligned]
                    .into_iter()
                    .find(|end| *end <= limit)
                    .unwrap_or(MDA_START + wanted.0)
            }
            _ => limit,
        };
        mdas.push(area_0(end)?);
    }
    area_1(r, &mut mdas, size, fixed.pe_end.max(fixed.pe_start).0)?;
    Ok(Layout {
        size: r.size,
        label_sector: r.label_sector,
        mdas,
        bootloader: fixed.bootloader,
        pe_start: fixed.pe_start,
        pe_end: fixed.pe_end,
    })
}

fn whole_sectors(size: Bytes) -> u64 {
    size.0 / SECTOR_SIZE * SECTOR_SIZE
}

/// End of metadata area 0 where extents may begin anywhere: up to the next multiple of the
/// alignment and the offset if that fits, to the multiple alone, to the size asked for. An area
/// that does not fit at all is made smaller.
fn end_of_area_0(wanted: u64, limit: u64, align: u64, offset: u64) -> u64 {
    let plain = MDA_START + wanted;
    let aligned = plain.next_multiple_of(align);
    if let Some(end) = [aligned + offset, aligned, plain]
        .into_iter()
        .find(|end| *end <= limit)
    {
        return end;
    }
    // Room must be left for a smallest area before the end is rounded.
    let lowest = MDA_START + SMALLEST_MDA.0 + 2 * align;
    if limit >= lowest {
        (limit - 2 * align).next_multiple_of(align)
    } else {
        limit
    }
}

fn area_0(end: u64) -> Result<Area, LayoutError> {
    let size = end.saturating_sub(MDA_START);
    if size < SMALLEST_MDA.0 {
        return Err(LayoutError::MdaTooSmall(Bytes(size)));
    }
    Ok(Area::new(MDA_START, size))
}

/// Adds metadata area 1, which may not begin before `used_end`; returns where extents must end.
fn area_1(
    r: &LayoutRequest,
    mdas: &mut Vec<Area>,
    size: u64,
    used_end: u64,
) -> Result<u64, LayoutError> {
    if r.mda_copies < 2 {
        return Ok(size);
    }
    let wanted = r.mda_size.unwrap_or(DEFAULT_MDA_SIZE).0;
    let start = size.saturating_sub(wanted) / r.alignment.0 * r.alignment.0;
    let start = start.max(used_end);
    if size < start + SMALLEST_MDA.0 {
        return Err(LayoutError::NoRoom(1));
    }
    mdas.push(Area::new(start, size - start));
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1024;
    const M: u64 = 1 << 20;

    /// Options of pvcreate, and what Debian's pvcreate 2.03.16 made of them: metadata areas as
    /// (start, size), bootloader area, start of data.
    type Row = (
        u64,
        fn(&mut LayoutRequest),
        &'static [(u64, u64)],
        Option<(u64, u64)>,
        u64,
    );

    const REAL: &[Row] = &[
        (64 * M, |_| {}, &[(4096, 1_044_480)], None, M),
        (64 * M, |r| mda(r, 64 * K), &[(4096, 1_044_480)], None, M),
        (64 * M, |r| mda(r, 2 * M), &[(4096, 3_141_632)], None, 3 * M),
        (
            64 * M,
            |r| mda(r, 1021 * K),
            &[(4096, 2_093_056)],
            None,
            2 * M,
        ),
        (
            64 * M,
            |r| {
                mda(r, 128 * K);
                al(r, 64 * K)
            },
            &[(4096, 192_512)],
            None,
            196_608,
        ),
        (
            64 * M,
            |r| {
                mda(r, 100 * K);
                al(r, 64 * K)
            },
            &[(4096, 126_976)],
            None,
            131_072,
        ),
        (64 * M, |r| al(r, 4 * M), &[(4096, 4_190_208)], None, 4 * M),
        (
            64 * M,
            |r| {
                al(r, 4 * M);
                off(r, 512 * K)
            },
            &[(4096, 4_714_496)],
            None,
            4_718_592,
        ),
        (
            64 * M,
            |r| off(r, 512 * K),
            &[(4096, 1_568_768)],
            None,
            1_572_864,
        ),
        (
            64 * M,
            |r| off(r, 7 * 512),
            &[(4096, 1_048_064)],
            None,
            1_052_160,
        ),
        (
            64 * M,
            |r| al(r, 192 * K),
            &[(4096, 1_175_552)],
            None,
            1_179_648,
        ),
        (64 * M, |r| al(r, 512), &[(4096, 1_044_480)], None, M),
        (
            64 * M,
            |r| al(r, 3 * 512),
            &[(4096, 1_044_992)],
            None,
            1_049_088,
        ),
        (
            64 * M,
            |r| {
                mda(r, 50 * K);
                al(r, 3 * 512)
            },
            &[(4096, 51_200)],
            None,
            55_296,
        ),
        (
            64 * M,
            |r| {
                mda(r, 32 * K);
                al(r, 512)
            },
            &[(4096, 32_768)],
            None,
            36_864,
        ),
        (
            64 * M,
            |r| {
                mda(r, 32 * K);
                al(r, 4096);
                off(r, 512)
            },
            &[(4096, 33_280)],
            None,
            37_376,
        ),
        (64 * M, |r| copies(r, 0), &[], None, M),
        (
            64 * M,
            |r| {
                copies(r, 0);
                al(r, 4096)
            },
            &[],
            None,
            4096,
        ),
        (
            64 * M,
            |r| {
                copies(r, 0);
                off(r, 512 * K)
            },
            &[],
            None,
            1_572_864,
        ),
        (
            64 * M,
            |r| {
                copies(r, 0);
                al(r, 64 * K);
                off(r, 512)
            },
            &[],
            None,
            66_048,
        ),
        (
            64 * M,
            |r| copies(r, 2),
            &[(4096, 1_044_480), (66_060_288, M)],
            None,
            M,
        ),
        (
            64 * M,
            |r| {
                copies(r, 2);
                mda(r, 64 * K)
            },
            &[(4096, 1_044_480), (66_060_288, M)],
            None,
            M,
        ),
        (
            64 * M,
            |r| {
                copies(r, 2);
                mda(r, 64 * K);
                al(r, 64 * K)
            },
            &[(4096, 126_976), (67_043_328, 65_536)],
            None,
            131_072,
        ),
        (
            64 * M,
            |r| {
                copies(r, 2);
                al(r, 4 * M);
                off(r, 512 * K)
            },
            &[(4096, 4_714_496), (62_914_560, 4 * M)],
            None,
            4_718_592,
        ),
        (
            64 * M,
            |r| ba(r, M),
            &[(4096, 1_044_480)],
            Some((M, M)),
            2 * M,
        ),
        (
            64 * M,
            |r| ba(r, 512),
            &[(4096, 1_044_480)],
            Some((M, M)),
            2 * M,
        ),
        (
            64 * M,
            |r| {
                ba(r, 100 * K);
                al(r, 128 * K)
            },
            &[(4096, 1_044_480)],
            Some((M, 128 * K)),
            1_179_648,
        ),
        (
            64 * M,
            |r| {
                ba(r, 100 * K);
                al(r, 128 * K);
                off(r, 64 * K)
            },
            &[(4096, 1_110_016)],
            Some((1_114_112, 131_072)),
            1_245_184,
        ),
        (
            64 * M,
            |r| {
                ba(r, 3 * M);
                copies(r, 0)
            },
            &[],
            Some((M, 3 * M)),
            4 * M,
        ),
        (
            64 * M,
            |r| ba(r, 63 * M),
            &[(4096, 1_044_480)],
            Some((M, 63 * M)),
            64 * M,
        ),
        (
            64 * M,
            |r| {
                mda(r, 63 * M);
                ba(r, 5 * M)
            },
            &[(4096, 59_764_736)],
            Some((57 * M, 5 * M)),
            62 * M,
        ),
        (
            64 * M,
            |r| {
                mda(r, 58 * M);
                ba(r, 5 * M)
            },
            &[(4096, 61_861_888)],
            Some((59 * M, 5 * M)),
            64 * M,
        ),
        (2 * M, |_| {}, &[(4096, 1_044_480)], None, M),
        (2049 * K, |_| {}, &[(4096, 1_044_480)], None, M),
        (
            2 * M,
            |r| copies(r, 2),
            &[(4096, 1_044_480), (M, M)],
            None,
            M,
        ),
        (2 * M, |r| mda(r, 2 * M), &[(4096, 2_093_056)], None, 2 * M),
        (
            2 * M,
            |r| {
                mda(r, 2 * M);
                ba(r, M)
            },
            &[(4096, 1_044_480)],
            Some((M, M)),
            2 * M,
        ),
        (4 * M, |r| mda(r, 3 * M), &[(4096, 4_190_208)], None, 4 * M),
        (4 * M, |r| mda(r, 16 * M), &[(4096, 2_093_056)], None, 2 * M),
        (
            8 * M,
            |r| {
                mda(r, 7 * M);
                off(r, 512 * K)
            },
            &[(4096, 8_384_512)],
            None,
            8 * M,
        ),
        (
            8 * M,
            |r| {
                mda(r, 3 * M);
                copies(r, 2)
            },
            &[(4096, 4_190_208), (5 * M, 3 * M)],
            None,
            4 * M,
        ),
        (
            8 * M,
            |r| {
                mda(r, 9 * M);
                copies(r, 2)
            },
            &[(4096, 6_287_360), (6 * M, 2 * M)],
            None,
            6 * M,
        ),
        (
            8 * M,
            |r| {
                mda(r, 16 * M);
                al(r, 192 * K)
            },
            &[(4096, 8_056_832)],
            None,
            8_060_928,
        ),
        (
            8 * M,
            |r| {
                mda(r, 16 * M);
                al(r, 4 * M)
            },
            &[(4096, 8_384_512)],
            None,
            8 * M,
        ),
        (
            8292 * K,
            |r| mda(r, 8 * M),
            &[(4096, 8 * M)],
            None,
            8_392_704,
        ),
        (
            8292 * K,
            |r| mda(r, 16 * M),
            &[(4096, 7_335_936)],
            None,
            7 * M,
        ),
        (
            2200 * K,
            |r| {
                mda(r, 2 * M);
                copies(r, 2)
            },
            &[(4096, 2 * M), (2_101_248, 151_552)],
            None,
            2_101_248,
        ),
        (
            65_537 * K,
            |r| copies(r, 2),
            &[(4096, 1_044_480), (66_060_288, 1_049_600)],
            None,
            M,
        ),
    ];

    fn mda(r: &mut LayoutRequest, n: u64) {
        r.mda_size = Some(Bytes(n));
    }
    fn al(r: &mut LayoutRequest, n: u64) {
        r.alignment = Bytes(n);
    }
    fn off(r: &mut LayoutRequest, n: u64) {
        r.alignment_offset = Bytes(n);
    }
    fn ba(r: &mut LayoutRequest, n: u64) {
        r.bootloader = Bytes(n);
    }
    fn copies(r: &mut LayoutRequest, n: u32) {
        r.mda_copies = n;
    }

    #[test]
    fn as_pvcreate_does() {
        for (n, (size, options, mdas, bootloader, data)) in REAL.iter().enumerate() {
            let mut r = LayoutRequest::new(Bytes(*size));
            options(&mut r);
            let l = layout(&r).unwrap_or_else(|e| panic!("row {n}: {e}"));
            let got: Vec<_> = l.mdas.iter().map(|a| (a.start.0, a.size.0)).collect();
            assert_eq!(got, *mdas, "metadata areas of row {n}");
            let got = l.bootloader.map(|a| (a.start.0, a.size.0));
            assert_eq!(got, *bootloader, "bootloader area of row {n}");
            assert_eq!(l.pe_start.0, *data, "data of row {n}");
            assert!(l.pe_end >= l.pe_start && l.pe_end.0 <= *size, "row {n}");
        }
    }

    #[test]
    fn what_pvcreate_refuses() {
        let refused = |size, options: fn(&mut LayoutRequest)| {
            let mut r = LayoutRequest::new(Bytes(size));
            options(&mut r);
            layout(&r).unwrap_err()
        };
        let e = refused(64 * M, |r| {
            mda(r, 16 * K);
            al(r, 512)
        });
        assert_eq!(e, LayoutError::MdaTooSmall(Bytes(16 * K)));
        assert_eq!(
            refused(8 * M, |r| al(r, 16 * M)),
            LayoutError::AlignmentTooLarge
        );
        assert_eq!(
            refused(8 * M, |r| {
                al(r, 4 * M);
                off(r, 5 * M)
            }),
            LayoutError::AlignmentTooLarge
        );
        let e = refused(64 * M, |r| {
            al(r, 512);
            off(r, 512 * K)
        });
        assert_eq!(
            e.to_string(),
            "pe_align (1 sectors) must not be less than pe_align_offset (1024 sectors)"
        );
        assert_eq!(
            refused(8 * M, |r| ba(r, 16 * M)),
            LayoutError::BootloaderTooLarge
        );
        assert_eq!(
            refused(64 * M, |r| ba(r, 64 * M)),
            LayoutError::BootloaderTooLarge
        );
        assert_eq!(
            refused(64 * M, |r| {
                ba(r, 63 * M);
                copies(r, 2)
            }),
            LayoutError::NoRoom(1)
        );
        assert_eq!(
            refused(2 * M, |r| {
                mda(r, 2 * M);
                copies(r, 2)
            }),
            LayoutError::NoRoom(1)
        );
        assert_eq!(
            refused(64 * M, |r| r.label_sector = 4),
            LayoutError::LabelSector(4)
        );
        assert_eq!(refused(u64::MAX, |_| {}), LayoutError::AlignmentTooLarge);
    }

    #[test]
    fn extents_never_lie_on_the_label() {
        // Here LVM2 puts extent 0 on sector 1, where the label is.
        let mut r = LayoutRequest::new(Bytes(64 * M));
        copies(&mut r, 0);
        al(&mut r, 512);
        assert_eq!(layout(&r).unwrap().pe_start, Bytes(2048));
    }

    #[test]
    fn made_again_from_a_backup() {
        let again = |pe_start, ba: Option<Area>, pe_end, size, copies| {
            layout(&LayoutRequest {
                mda_copies: copies,
                mda_size: size,
                fixed: Some(FixedData {
                    pe_start: Bytes(pe_start),
                    pe_end: Bytes(pe_end),
                    bootloader: ba,
                }),
                ..LayoutRequest::new(Bytes(64 * M))
            })
            .map(|l| {
                l.mdas
                    .iter()
                    .map(|a| (a.start.0, a.size.0))
                    .collect::<Vec<_>>()
            })
        };
        let ba = Some(Area::new(M, 2 * M));
        let all = 64 * M;
        assert_eq!(
            again(4 * M, None, all, None, 1),
            Ok(vec![(4096, 4_190_208)])
        );
        assert_eq!(
            again(4 * M, None, all, Some(Bytes(64 * K)), 1),
            Ok(vec![(4096, 1_044_480)])
        );
        assert_eq!(
            again(4 * M, None, all, Some(Bytes(16 * M)), 1),
            Ok(vec![(4096, 4_190_208)])
        );
        assert_eq!(
            again(4 * M, None, all, None, 2),
            Err(LayoutError::NoRoom(1))
        );
        assert_eq!(
            again(3 * M, ba, 63 * M, None, 2),
            Ok(vec![(4096, 1_044_480), (63 * M, M)])
        );
        assert_eq!(
            again(128 * K, None, 60 * M, Some(Bytes(64 * K)), 1),
            Ok(vec![(4096, 65_536)])
        );
        assert_eq!(again(2048, None, all, None, 1), Err(LayoutError::NoRoom(0)));
        assert_eq!(again(2048, None, all, None, 0), Ok(vec![]));
    }

    #[test]
    fn extents_of_a_layout() {
        let mut r = LayoutRequest::new(Bytes(64 * M));
        assert_eq!(layout(&r).unwrap().pe_count(Sectors(8192)), Extents(15));
        copies(&mut r, 2);
        assert_eq!(layout(&r).unwrap().pe_count(Sectors(2048)), Extents(62));
        assert_eq!(layout(&r).unwrap().pe_count(Sectors(0)), Extents(0));
    }
}
