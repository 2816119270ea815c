//! Free areas of the PVs that an allocation may use.
//!
//! The areas of one PV are disjoint. They start in descending order of size, among equals the one
//! inserted first stands first; reservations move them as LVM2 moves them.

use crate::model::usage::Usage;
use crate::model::{PvKey, Vg};
use crate::units::Extents;

/// A PV an allocation may use, and which of its extents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvRange {
    /// The PV.
    pub pv: PvKey,
    /// First extent and number of extents of each range, ascending and disjoint.
    pub ranges: Vec<(Extents, Extents)>,
}

impl PvRange {
    /// Every extent of a PV.
    pub fn whole(vg: &Vg, pv: PvKey) -> Self {
        let count = vg.pvs.get(pv).map_or(Extents::ZERO, |p| p.pe_count);
        Self {
            pv,
            ranges: vec![(Extents::ZERO, count)],
        }
    }
}

/// A free area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeArea {
    /// First physical extent.
    pub start: u32,
    /// Number of extents.
    pub count: u32,
    /// What the current round has not reserved yet.
    pub(super) unreserved: u32,
    /// Stays the same while the area shrinks.
    pub(super) id: u32,
}

/// Free areas of one PV.
#[derive(Clone, Debug)]
pub struct PvFree {
    /// The PV.
    pub pv: PvKey,
    areas: Vec<FreeArea>,
}

/// Free areas of all PVs offered, in order of preference.
#[derive(Clone, Debug, Default)]
pub struct FreeMap {
    pvs: Vec<PvFree>,
}

impl FreeMap {
    /// Of the PVs and ranges given. PVs that are missing or not allocatable are left out.
    pub fn new(vg: &Vg, usage: &Usage, offered: &[PvRange]) -> Self {
        let mut pvs = Vec::with_capacity(offered.len());
        let mut id = 0;
        for range in offered {
            let Some(pv) = vg.pvs.get(range.pv) else {
                continue;
            };
            if !pv.allocatable || pv.missing {
                continue;
            }
            let mut free = PvFree {
                pv: range.pv,
                areas: Vec::new(),
            };
            let runs = usage.free_runs(range.pv, pv.pe_count);
            for (first, count) in &range.ranges {
                let end = u64::from(first.0) + u64::from(count.0);
                for (start, len) in &runs {
                    let from = start.0.max(first.0);
                    let to = (u64::from(start.0) + u64::from(len.0)).min(end);
                    let Some(count) = to.checked_sub(u64::from(from)).filter(|n| *n > 0) else {
                        continue;
                    };
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    free.insert(FreeArea {
                        start: from,
                        count,
                        unreserved: count,
                        id,
                    });
                    id += 1;
                }
            }
            pvs.push(free);
        }
        Self { pvs }
    }

    /// Of all PVs of a VG.
    pub fn whole(vg: &Vg, usage: &Usage) -> Self {
        let offered: Vec<_> = vg.pvs.keys().map(|pv| PvRange::whole(vg, pv)).collect();
        Self::new(vg, usage, &offered)
    }

    /// Free extents in it.
    pub fn total(&self) -> u64 {
        self.pvs.iter().map(PvFree::total).sum()
    }

    /// Number of PVs in it, full ones included.
    pub fn len(&self) -> usize {
        self.pvs.len()
    }

    /// No PV?
    pub fn is_empty(&self) -> bool {
        self.pvs.is_empty()
    }

    /// The PVs in order of preference.
    pub fn pvs(&self) -> &[PvFree] {
        &self.pvs
    }

    pub(super) fn pv(&self, map: usize) -> &PvFree {
        &self.pvs[map]
    }

    pub(super) fn pv_mut(&mut self, map: usize) -> &mut PvFree {
        &mut self.pvs[map]
    }

    /// Forgets reservations, as far as LVM2 does: an area that gets its extents back moves behind
    /// all areas of its size, and the walk goes on from there. Areas that were passed over stay
    /// reserved until a later round. This decides what `anywhere` finds, so it is kept.
    pub(super) fn reset(&mut self) {
        for pv in &mut self.pvs {
            let mut at = 0;
            while let Some(area) = pv.areas.get(at).copied() {
                if area.unreserved != area.count {
                    pv.areas.remove(at);
                    let unreserved = area.count;
                    at = pv.insert(FreeArea { unreserved, ..area });
                }
                at += 1;
            }
        }
    }
}

impl PvFree {
    /// Free extents.
    pub fn total(&self) -> u64 {
        self.areas.iter().map(|a| u64::from(a.count)).sum()
    }

    /// Areas, largest first.
    pub fn areas(&self) -> &[FreeArea] {
        &self.areas
    }

    /// Inserts an area behind those with at least as many extents as it has left; returns where.
    fn insert(&mut self, area: FreeArea) -> usize {
        let at = self
            .areas
            .iter()
            .position(|a| area.unreserved > a.count)
            .unwrap_or(self.areas.len());
        self.areas.insert(at, area);
        at
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.areas.iter().position(|a| a.id == id)
    }

    /// Reserves `wanted` extents of the area at `at`, or what is left of it. Returns how many, and
    /// where the area stands now.
    pub(super) fn reserve(&mut self, at: usize, wanted: u32) -> (u32, usize) {
        let area = self.areas[at];
        if wanted >= area.unreserved {
            self.areas[at].unreserved = 0;
            return (area.unreserved, at);
        }
        self.areas.remove(at);
        let unreserved = area.unreserved - wanted;
        let now_at = self.insert(FreeArea { unreserved, ..area });
        (wanted, now_at)
    }

    /// Takes `len` extents from the start of an area; returns the first of them.
    pub(super) fn consume(&mut self, id: u32, len: u32) -> Option<u32> {
        let at = self.position(id)?;
        let area = self.areas.remove(at);
        let count = area.count.checked_sub(len)?;
        if count > 0 {
            self.insert(FreeArea {
                start: area.start + len,
                count,
                unreserved: count,
                id,
            });
        }
        Some(area.start)
    }
}
