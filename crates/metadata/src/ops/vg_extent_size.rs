//! `vgchange -s`: everything is counted anew in extents of another size. Nothing moves on disk, so
//! each boundary must fall on a boundary of the new extents.

use super::OpError;
use super::vg_create::check_extent_size;
use crate::model::{Area, Segment, SegmentKind, Vg};
use crate::units::{Extents, Sectors};

pub(super) fn set_extent_size(vg: &mut Vg, size: Sectors) -> Result<(), OpError> {
    if !vg.status.resizeable {
        return Err(OpError::refused(format!(
            "Volume group \"{}\" must be resizeable to change PE size",
            vg.name
        )));
    }
    check_extent_size(size)?;
    if let Some(lv) = vg.lvs.values().find(|lv| {
        lv.segments
            .iter()
            .any(|s| matches!(s.kind, SegmentKind::Foreign(_)))
    }) {
        return Err(OpError::refused(format!(
            "Cannot change the extent size of volume group {}: LV {} has a segment type that cannot be changed.",
            vg.name, lv.name
        )));
    }
    let total = vg
        .pvs
        .values()
        .fold(0u64, |n, pv| n.saturating_add(pv.pe_count.get()));
    if size > vg.extent_size && total.saturating_mul(vg.extent_size.0) % size.0 != 0 {
        return Err(OpError::refused("New extent size is not a perfect fit"));
    }
    let scale = Scale {
        old: vg.extent_size.0,
        new: size.0,
    };
    for pv in vg.pvs.values_mut() {
        let name = pv.device_hint.clone().unwrap_or_else(|| pv.id.to_string());
        scale.apply(&mut pv.pe_count, &name, "")?;
    }
    for lv in vg.lvs.values_mut() {
        for segment in &mut lv.segments {
            scale.segment(segment, &lv.name)?;
        }
    }
    vg.extent_size = size;
    Ok(())
}

struct Scale {
    old: u64,
    new: u64,
}

impl Scale {
    fn apply(&self, extents: &mut Extents, name: &str, what: &str) -> Result<(), OpError> {
        let sectors = extents.get().saturating_mul(self.old);
        if sectors % self.new != 0 {
            return Err(OpError::refused(format!(
                "New size {sectors} for {name}{what} not an exact number of new extents."
            )));
        }
        let count = sectors / self.new;
        *extents = Extents(u32::try_from(count).map_err(|_| {
            OpError::refused(format!(
                "New extent count {count} for {name}{what} exceeds 32 bits."
            ))
        })?);
        Ok(())
    }

    fn segment(&self, segment: &mut Segment, lv: &str) -> Result<(), OpError> {
        self.apply(&mut segment.start, lv, " segment start")?;
        let areas = u32::try_from(match &segment.kind {
            SegmentKind::Striped { stripes, .. } => stripes.len(),
            SegmentKind::Raid(raid) => raid.data_stripes() as usize,
            _ => 1,
        });
        let mut each = Extents(segment.len.0 / areas.unwrap_or(1).max(1));
        self.apply(&mut segment.len, lv, " segment length")?;
        self.apply(&mut each, lv, " area length")?;
        match &mut segment.kind {
            SegmentKind::Striped { stripes, .. } => {
                for area in stripes {
                    self.area(area, lv)?;
                }
            }
            SegmentKind::Mirror(mirror) => {
                for leg in &mut mirror.legs {
                    self.area(leg, lv)?;
                }
                if let Some(moved) = &mut mirror.extents_moved {
                    self.apply(moved, lv, " extents moved")?;
                }
            }
            SegmentKind::Raid(raid) => {
                for image in &mut raid.images {
                    self.area(&mut image.image, lv)?;
                }
            }
            SegmentKind::Snapshot(_)
            | SegmentKind::Error
            | SegmentKind::Zero
            | SegmentKind::Foreign(_) => {}
        }
        Ok(())
    }

    fn area(&self, area: &mut Area, lv: &str) -> Result<(), OpError> {
        let (Area::Pv { extent, .. } | Area::Lv { extent, .. }) = area;
        self.apply(extent, lv, " area start")
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, striped, vg_of};
    use super::super::vg_change::{VgChange, vg_change};
    use super::*;

    fn to(vg: &Vg, sectors: u64) -> Result<Vg, OpError> {
        let change = VgChange::ExtentSize {
            size: Sectors(sectors),
            shown: String::new(),
        };
        vg_change(vg, &[change]).map(|d| d.vg)
    }

    #[test]
    fn smaller_and_back_is_the_identity() {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 2);
        let pvs: Vec<_> = vg.pvs.keys().collect();
        linear(&mut vg, &mut ids, "a", pvs[0], 0, 2);
        striped(&mut vg, &mut ids, "s", &pvs, 4, 3);
        let small = to(&vg, 2048).unwrap();
        assert_eq!(small.pvs[pvs[0]].pe_count, Extents(60));
        assert_eq!(small.lvs.values().nth(1).unwrap().extents(), Extents(24));
        assert_eq!(to(&small, 8192).unwrap(), vg);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 2);
        assert!(to(&vg, 3 * 256 * 512).is_err());
        let pv = vg.pvs.keys().next().unwrap();
        linear(&mut vg, &mut ids, "a", pv, 1, 2);
        for pv in vg.pvs.values_mut() {
            pv.pe_count = Extents(16);
        }
        let e = to(&vg, 16384).unwrap_err();
        assert!(e.message.contains("area start"), "{e}");
        assert!(to(&vg, 3).is_err());
    }
}
