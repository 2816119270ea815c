//! Which physical extents are in use, and by what.

use super::arena::{Key, LvKey, PvKey};
use super::segment::Area;
use super::vg::Vg;
use crate::units::Extents;

/// A run of physical extents used by one segment of one LV.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    /// First physical extent.
    pub start: Extents,
    /// Number of extents.
    pub len: Extents,
    /// The LV that uses it.
    pub lv: LvKey,
    /// Index of the LV's segment.
    pub segment: u32,
    /// Index of the area (stripe, leg) within the segment.
    pub area: u32,
}

/// Use of every PV of a VG, each sorted by first extent.
#[derive(Clone, Debug)]
pub struct Usage {
    per_pv: Vec<Vec<Used>>,
}

impl Usage {
    /// Of the whole VG; one pass over all segments.
    pub fn of(vg: &Vg) -> Self {
        let mut per_pv = vec![Vec::new(); vg.pvs.slot_count()];
        for (lv_key, lv) in vg.lvs.iter() {
            for (s, segment) in lv.segments.iter().enumerate() {
                for (a, (area, len)) in segment.areas().into_iter().enumerate() {
                    if let Area::Pv { pv, extent } = area
                        && let Some(list) = per_pv.get_mut(pv.slot() as usize)
                    {
                        list.push(Used {
                            start: extent,
                            len,
                            lv: lv_key,
                            segment: s as u32,
                            area: a as u32,
                        });
                    }
                }
            }
        }
        for list in &mut per_pv {
            list.sort_unstable_by_key(|u| u.start);
        }
        Self { per_pv }
    }
    /// Runs in use on one PV, sorted.
    pub fn on(&self, pv: PvKey) -> &[Used] {
        self.per_pv
            .get(pv.slot() as usize)
            .map_or(&[], Vec::as_slice)
    }
    /// Number of extents in use on one PV.
    pub fn used(&self, pv: PvKey) -> Extents {
        Extents(
            self.on(pv)
                .iter()
                .fold(0, |n: u32, u| n.saturating_add(u.len.0)),
        )
    }
    /// Free runs of a PV with `pe_count` extents as (first, length), in order.
    pub fn free_runs(&self, pv: PvKey, pe_count: Extents) -> Vec<(Extents, Extents)> {
        let mut out = Vec::new();
        let mut at = 0u32;
        for u in self.on(pv) {
            if u.start.0 > at {
                out.push((Extents(at), Extents(u.start.0 - at)));
            }
            at = at.max(u.start.0.saturating_add(u.len.0));
        }
        if pe_count.0 > at {
            out.push((Extents(at), Extents(pe_count.0 - at)));
        }
        out
    }
}
