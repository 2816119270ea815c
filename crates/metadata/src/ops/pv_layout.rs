//! Where the areas of a new PV lie: label, metadata areas, boot loader area, data.
//!
//! ```text
//! 0      2 KiB  4 KiB          aligned        aligned            aligned      end
//! | labels |    | metadata 0 ... | boot loader ... | data ...      | metadata 1 |
//! ```
//! The rules are LVM2's, observed by running its pvcreate over several hundred combinations of
//! options; a sample of those observations is this file's test.

use crate::ops::OpError;
use crate::units::{Bytes, SECTOR_SIZE, Sectors};

/// Bytes kept for the four possible label sectors.
pub const LABEL_AREA: u64 = 2048;
/// Smallest metadata area LVM2 makes: eight pages.
pub const MDA_MIN: u64 = 8 * PAGE;
/// Default data alignment.
pub const DEFAULT_ALIGNMENT: Sectors = Sectors(2048);
/// Default size of a metadata area before rounding: it ends at 1 MiB.
pub const DEFAULT_MDA_SIZE: Bytes = Bytes((1 << 20) - PAGE);
const PAGE: u64 = 4096;

/// What pvcreate is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayoutRequest {
    /// Size of the device, or what `--setphysicalvolumesize` pretends it is.
    pub size: Sectors,
    /// `--dataalignment`
    pub alignment: Option<Sectors>,
    /// `--dataalignmentoffset`
    pub alignment_offset: Sectors,
    /// `--metadatacopies`: 0, 1 or 2.
    pub copies: u32,
    /// `--metadatasize`
    pub mda_size: Option<Bytes>,
    /// `--bootloaderareasize`
    pub bootloader: Sectors,
    /// Layout of a PV that is made again (`--restorefile`): data must start where they did.
    pub restored: Option<RestoredLayout>,
}

/// What `--restorefile` says of a PV.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestoredLayout {
    /// First sector of extent 0.
    pub pe_start: Sectors,
    /// End of the extents.
    pub pe_end: Sectors,
    /// Start and size of the boot loader area.
    pub bootloader: Option<(Sectors, Sectors)>,
}

/// Where everything lies, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Size for the PV header.
    pub size: Bytes,
    /// Where extents start.
    pub data_start: Bytes,
    /// Metadata areas as (start, size).
    pub mdas: Vec<(Bytes, Bytes)>,
    /// Boot loader area as (start, size).
    pub bootloader: Option<(Bytes, Bytes)>,
}

impl LayoutRequest {
    /// pvcreate without options on a device of that size.
    pub fn plain(size: Sectors) -> Self {
        Self {
            size,
            alignment: None,
            alignment_offset: Sectors::ZERO,
            copies: 1,
            mda_size: None,
            bootloader: Sectors::ZERO,
            restored: None,
        }
    }
}

/// Lays out a new PV; `device` is its name for messages.
pub fn lay_out(request: &LayoutRequest, device: &str) -> Result<Layout, OpError> {
    let frame = Frame::of(request, device)?;
    let mut layout = frame.initial(request, device)?;
    if request.copies >= 1 {
        let mda = frame.first_mda(request, &layout, device)?;
        if request.restored.is_none() {
            frame.move_data_behind(mda.0 + mda.1, &mut layout);
        }
        layout.mdas.push((Bytes(mda.0), Bytes(mda.1)));
    }
    if request.copies >= 2 {
        let mda = frame.second_mda(request, &layout, device)?;
        layout.mdas.push((Bytes(mda.0), Bytes(mda.1)));
    }
    Ok(layout)
}

/// The request in bytes, checked.
struct Frame {
    size: u64,
    align: u64,
    offset: u64,
    mda_size: u64,
    bootloader: u64,
}

impl Frame {
    fn of(request: &LayoutRequest, device: &str) -> Result<Self, OpError> {
        let align = request
            .alignment
            .filter(|a| !a.is_zero())
            .unwrap_or(DEFAULT_ALIGNMENT);
        if align < request.alignment_offset {
            return Err(OpError::refused(format!(
                "{device}: pe_align ({align} sectors) must not be less than pe_align_offset ({} sectors)",
                request.alignment_offset
            )));
        }
        let too_large = || OpError::refused(format!("{device}: a size is beyond 2^64 bytes."));
        let bytes = |s: Sectors| s.to_bytes().map(|b| b.0).ok_or_else(too_large);
        let frame = Self {
            size: bytes(request.size)?,
            align: bytes(align)?,
            offset: bytes(request.alignment_offset)?,
            mda_size: request
                .mda_size
                .filter(|s| !s.is_zero())
                .unwrap_or(DEFAULT_MDA_SIZE)
                .0,
            bootloader: bytes(request.bootloader)?,
        };
        if frame.size < frame.align.saturating_add(frame.offset) {
            return Err(OpError::refused(format!(
                "{device}: Data alignment must not exceed device size."
            )));
        }
        Ok(frame)
    }

    /// Data and boot loader area as they are without metadata areas.
    fn initial(&self, request: &LayoutRequest, device: &str) -> Result<Layout, OpError> {
        let first = self.align + self.offset;
        if self.size < first.saturating_add(self.bootloader) {
            return Err(OpError::refused(format!(
                "{device}: Bootloader area with data-aligned start must not exceed device size."
            )));
        }
        let mut layout = Layout {
            size: Bytes(self.size),
            data_start: Bytes(first),
            mdas: Vec::new(),
            bootloader: None,
        };
        if let Some(old) = request.restored {
            self.restore(old, &mut layout, device)?;
        } else if self.bootloader > 0 {
            let size = self
                .bootloader
                .next_multiple_of(self.align)
                .min(self.size - first);
            layout.bootloader = Some((Bytes(first), Bytes(size)));
            layout.data_start = Bytes(first + size);
        }
        Ok(layout)
    }

    fn restore(
        &self,
        old: RestoredLayout,
        layout: &mut Layout,
        device: &str,
    ) -> Result<(), OpError> {
        let pe_start = old.pe_start.0.saturating_mul(SECTOR_SIZE);
        if old.pe_end.0.saturating_mul(SECTOR_SIZE) > self.size {
            return Err(OpError::refused(format!(
                "Physical extents end beyond end of device {device}."
            )));
        }
        layout.data_start = Bytes(pe_start);
        if let Some((start, size)) = old.bootloader {
            let (start, size) = (
                start.0.saturating_mul(SECTOR_SIZE),
                size.0.saturating_mul(SECTOR_SIZE),
            );
            if start.saturating_add(size) > pe_start {
                return Err(OpError::refused(format!(
                    "{device}: Bootloader area would overlap data area."
                )));
            }
            layout.bootloader = Some((Bytes(start), Bytes(size)));
        }
        Ok(())
    }

    /// Behind the labels; ends at the alignment where that fits.
    fn first_mda(
        &self,
        request: &LayoutRequest,
        layout: &Layout,
        device: &str,
    ) -> Result<(u64, u64), OpError> {
        let bootloader = layout.bootloader.map_or(0, |(_, size)| size.0);
        let (limit, locked) = match &request.restored {
            Some(_) => {
                let start = layout
                    .bootloader
                    .map_or(layout.data_start, |(start, _)| start);
                (start.0, true)
            }
            None => (self.size - bootloader, false),
        };
        let mut start = LABEL_AREA;
        if limit.saturating_sub(start) >= MDA_MIN {
            start = start.next_multiple_of(PAGE);
        }
        let wanted = start
            .saturating_add(self.mda_size)
            .checked_next_multiple_of(self.align)
            .and_then(|end| end.checked_add(self.offset))
            .unwrap_or(u64::MAX);
        let end = if wanted <= limit {
            wanted
        } else if !locked && limit >= start + MDA_MIN + 2 * self.align {
            (limit - 2 * self.align).next_multiple_of(self.align)
        } else {
            limit
        };
        Self::big_enough(start, end, 0, device)
    }

    /// Boot loader area and data come right behind the first metadata area.
    fn move_data_behind(&self, end: u64, layout: &mut Layout) {
        match &mut layout.bootloader {
            Some((start, size)) => {
                *start = Bytes(end);
                layout.data_start = Bytes(end + size.0);
            }
            None => layout.data_start = Bytes(end),
        }
    }

    /// At the end of the device; starts at the alignment, behind everything else.
    fn second_mda(
        &self,
        request: &LayoutRequest,
        layout: &Layout,
        device: &str,
    ) -> Result<(u64, u64), OpError> {
        let floor = match &request.restored {
            Some(old) => old.pe_end.0.saturating_mul(SECTOR_SIZE),
            None => layout.data_start.0,
        };
        let start = self.size.saturating_sub(self.mda_size);
        let start = (start - start % self.align).max(floor);
        Self::big_enough(start, self.size, 1, device)
    }

    fn big_enough(start: u64, end: u64, index: u32, device: &str) -> Result<(u64, u64), OpError> {
        let size = end.saturating_sub(start);
        if size >= MDA_MIN {
            return Ok((start, size));
        }
        let mut message = String::new();
        if size > 0 {
            message = format!(
                "Metadata area size too small: {size} bytes. It must be at least {MDA_MIN} bytes.\n"
            );
        }
        message += &format!(
            "Not enough space available for metadata area with index {index} on PV {device}.\n\
             Failed to add metadata area for new physical volume {device}"
        );
        Err(OpError::no_space(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `size alignment offset copies mda_size bootloader => data mda0 mda1 ba` in bytes, `-` for
    /// "not given" and "none", as LVM2 2.03.16's pvcreate laid it out; `=> refused` where it did.
    const OBSERVED: &str = include_str!("data/pv-layouts.txt");

    fn number(word: &str) -> Option<u64> {
        (word != "-").then(|| word.parse().expect("a number"))
    }

    fn area(word: &str) -> Option<(Bytes, Bytes)> {
        let (start, size) = word.split_once('+')?;
        Some((Bytes(number(start)?), Bytes(number(size)?)))
    }

    #[test]
    fn layouts_are_those_lvm2_makes() {
        let mut seen = 0;
        for line in OBSERVED.lines().filter(|l| !l.starts_with('#')) {
            let (asked, got) = line.split_once(" => ").expect("=>");
            let a: Vec<_> = asked.split(' ').map(number).collect();
            let request = LayoutRequest {
                size: Sectors(a[0].unwrap() / 512),
                alignment: a[1].map(|b| Sectors(b / 512)),
                alignment_offset: Sectors(a[2].unwrap_or(0) / 512),
                copies: a[3].unwrap_or(1) as u32,
                mda_size: a[4].map(Bytes),
                bootloader: Sectors(a[5].unwrap_or(0) / 512),
                restored: None,
            };
            let layout = lay_out(&request, "dev");
            if got == "refused" {
                assert!(layout.is_err(), "{line}: {layout:?}");
            } else {
                let g: Vec<_> = got.split(' ').collect();
                let expected = Layout {
                    size: Bytes(a[0].unwrap()),
                    data_start: Bytes(number(g[0]).unwrap()),
                    mdas: [g[1], g[2]].into_iter().filter_map(area).collect(),
                    bootloader: area(g[3]),
                };
                assert_eq!(layout.as_ref(), Ok(&expected), "{line}");
            }
            seen += 1;
        }
        assert!(seen >= 200, "only {seen} observations");
    }

    #[test]
    fn a_restored_pv_keeps_its_data_start() {
        let request = LayoutRequest {
            restored: Some(RestoredLayout {
                pe_start: Sectors(384),
                pe_end: Sectors(384 + 8192 * 15),
                bootloader: None,
            }),
            ..LayoutRequest::plain(Sectors(131_072))
        };
        let layout = lay_out(&request, "dev").unwrap();
        assert_eq!(layout.data_start, Bytes(384 * 512));
        assert_eq!(layout.mdas, [(Bytes(4096), Bytes(384 * 512 - 4096))]);
        let too_long = LayoutRequest {
            size: Sectors(384 + 8192 * 15 - 1),
            ..request
        };
        assert!(lay_out(&too_long, "dev").is_err());
    }
}
