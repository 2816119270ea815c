//! Regions: the unit in which a mirror remembers what may differ between its copies, and the room
//! that this memory takes.

use super::super::OpError;
use super::super::size::show;
use crate::model::Vg;
use crate::notice::Notice;
use crate::units::{Extents, SECTOR_SIZE, Sectors};

/// Smallest region, and what every region size is a multiple of: a page.
pub const REGION_MIN: Sectors = Sectors(8);
/// Most regions of a dm-raid set: what the kernel's bitmap takes.
const RAID_REGIONS_MAX: u64 = 1 << 21;
/// Bytes of an `rmeta` LV before the bits: one page for the superblock, one that the bitmap's own
/// superblock shares with the first bits.
const RMETA_FIXED: u64 = 2 * 4096;
/// Bytes of a mirror log before its bits.
const LOG_HEADER: u64 = 1024;

/// Checks a region size that a user chose: whole pages, a power of two.
pub fn check_region_size(size: Sectors) -> Result<(), OpError> {
    if size.is_zero() || size.0 % REGION_MIN.0 != 0 {
        return Err(OpError::usage(format!(
            "Region size must be a multiple of machine memory page size ({} bytes).",
            REGION_MIN.0 * SECTOR_SIZE
        )));
    }
    if !size.0.is_power_of_two() {
        return Err(OpError::usage("Region size must be a power of 2."));
    }
    Ok(())
}

/// The region size for an LV of so many extents: not larger than the LV. What is reduced is told.
pub(in super::super) fn not_above(
    vg: &Vg,
    extents: Extents,
    region: Sectors,
    notices: &mut Vec<Notice>,
) -> Sectors {
    let size = extents.to_sectors(vg.extent_size).0.max(1);
    let most = Sectors(1 << size.ilog2());
    if region <= most {
        return region;
    }
    let text = format!("Using reduced mirror region size of {}", show(most));
    notices.push(Notice::print(text));
    most
}

/// The region size of a raid set: large enough that the regions are few enough for the bitmap.
pub(super) fn few_enough(vg: &Vg, extents: Extents, region: Sectors) -> Sectors {
    let size = extents.to_sectors(vg.extent_size).0;
    let mut region = region.0.max(1);
    while size / region >= RAID_REGIONS_MAX {
        region = region.saturating_mul(2);
    }
    Sectors(region)
}

/// Extents of one `rmeta` LV of a raid set whose images have so many.
pub fn rmeta_extents(vg: &Vg, image: Extents, region: Sectors) -> Extents {
    let regions = image.to_sectors(vg.extent_size).0 / region.0.max(1);
    whole_extents(vg, RMETA_FIXED + regions.div_ceil(8))
}

/// Extents of the disk log of a mirror with so many.
pub fn log_extents(vg: &Vg, mirror: Extents, region: Sectors) -> Extents {
    let regions = mirror
        .to_sectors(vg.extent_size)
        .0
        .div_ceil(region.0.max(1));
    // The bits are kept in words of 32.
    whole_extents(vg, LOG_HEADER + regions.div_ceil(32) * 4)
}

fn whole_extents(vg: &Vg, bytes: u64) -> Extents {
    let extents = bytes
        .div_ceil(SECTOR_SIZE)
        .div_ceil(vg.extent_size.0.max(1));
    Extents(u32::try_from(extents.max(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Ids, vg_of};
    use super::*;

    #[test]
    fn tiny_lvs_get_smaller_regions_and_are_told() {
        let mut vg = vg_of(&mut Ids::default(), 1);
        vg.extent_size = Sectors(2048);
        let mut notices = Vec::new();
        let reduced = not_above(&vg, Extents(3), Sectors(16384), &mut notices);
        assert_eq!((reduced, notices.len()), (Sectors(4096), 1));
        let kept = not_above(&vg, Extents(3), Sectors(4096), &mut notices);
        assert_eq!((kept, notices.len()), (Sectors(4096), 1));
    }

    #[test]
    fn room_for_bits() {
        let mut vg = vg_of(&mut Ids::default(), 1);
        assert_eq!(rmeta_extents(&vg, Extents(10), Sectors(4096)), Extents(1));
        // 4 KiB extents: two pages, and one more for the bits.
        vg.extent_size = Sectors(8);
        assert_eq!(rmeta_extents(&vg, Extents(1000), Sectors(8)), Extents(3));
        assert_eq!(log_extents(&vg, Extents(32), Sectors(8)), Extents(1));
        assert_eq!(
            log_extents(&vg, Extents(32 * 768 + 1), Sectors(8)),
            Extents(2)
        );
        let huge = few_enough(&vg, Extents(u32::MAX), Sectors(8));
        assert!(u64::from(u32::MAX) * 8 / huge.0 < RAID_REGIONS_MAX);
    }
}
