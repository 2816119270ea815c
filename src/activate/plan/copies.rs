//! Mirrors in plans: `mirror` and `raid1` segments, whose legs are LVs of their own.
//!
//! What lies on a missing PV becomes an error device, whatever else is to stand in for missing PVs:
//! a leg of zeroes would be taken for data.

use ulvm_metadata::model::{Area, LvKey, Mirror, Raid, SegmentKind, Vg};
use ulvm_metadata::units::Sectors;

use super::{Filler, Missing, Plan, PlanError, Planner, Under};

/// A mirror's line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copies {
    /// Sectors in a region.
    pub region: Sectors,
    /// In order.
    pub legs: Vec<Copy>,
    /// Where marks are kept.
    pub log: CopiesLog,
    /// What is there counts as equal (a new LV that was made so).
    pub nosync: bool,
}

/// A leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// Its metadata device (raid) and its data; none if it is split off for a while.
    pub on: Option<(Option<Under>, Under)>,
    /// All of it is there.
    pub whole: bool,
    /// To be filled anew.
    pub rebuild: bool,
    /// Read only when no other can be.
    pub write_mostly: bool,
}

/// Where marks are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopiesLog {
    /// In memory (dm-mirror).
    Core,
    /// On a device of its own (dm-mirror).
    Disk(Under),
    /// With each leg (dm-raid).
    Raid {
        /// KiB a second.
        min_rate: Option<u32>,
        /// KiB a second.
        max_rate: Option<u32>,
        /// Writes that a leg that is mostly written may be behind.
        write_behind: Option<u32>,
    },
}

impl Planner<'_> {
    /// dm-mirror, which is run only when all of it is there, or on request.
    pub(super) fn mirror(
        &mut self,
        lv: LvKey,
        mirror: &Mirror,
        depth: usize,
    ) -> Result<Copies, PlanError> {
        let before = self.plan.lost.len();
        let log = match mirror.log {
            None => CopiesLog::Core,
            Some(log) => CopiesLog::Disk(self.part(log, depth)?.0),
        };
        let mut legs = Vec::with_capacity(mirror.legs.len());
        for area in &mirror.legs {
            let image = self.image(lv, *area, "mirror")?;
            let (data, whole) = self.part(image, depth)?;
            legs.push(Copy {
                on: Some((None, data)),
                whole,
                rebuild: false,
                write_mostly: false,
            });
        }
        if let (Some(&(_, pv)), Missing::Refuse | Missing::Degraded) =
            (self.plan.lost.get(before), self.policy)
        {
            return Err(self.missing_pv(lv, pv, Sectors(0)));
        }
        Ok(Copies {
            region: mirror.region_size,
            legs,
            log,
            nosync: false,
        })
    }

    /// dm-raid's raid1, which is run with one whole leg, unless nothing may be missing.
    pub(super) fn raid1(
        &mut self,
        lv: LvKey,
        raid: &Raid,
        depth: usize,
    ) -> Result<Copies, PlanError> {
        let before = self.plan.lost.len();
        let mut legs = Vec::with_capacity(raid.images.len());
        for image in &raid.images {
            let data = self.image(lv, image.image, "raid1")?;
            let status = self.vg.lvs[data].status;
            let Some(meta) = image.meta else {
                return Err(self.unknown(lv, "raid1 without metadata"));
            };
            let mut leg = Copy {
                on: None,
                whole: false,
                rebuild: status.rebuild,
                write_mostly: status.write_mostly,
            };
            // An image that the user sees is split off; what changes meanwhile is marked.
            if !status.visible {
                let (meta, meta_whole) = self.part(meta, depth)?;
                let (data, data_whole) = self.part(data, depth)?;
                leg.on = Some((Some(meta), data));
                leg.whole = meta_whole && data_whole;
            }
            legs.push(leg);
        }
        let enough = match self.policy {
            Missing::Refuse => self.plan.lost.len() == before,
            Missing::Degraded => legs.iter().any(|leg| leg.whole && !leg.rebuild),
            Missing::Fill(_) => true,
        };
        if let (Some(&(_, pv)), false) = (self.plan.lost.get(before), enough) {
            return Err(self.missing_pv(lv, pv, Sectors(0)));
        }
        Ok(Copies {
            region: raid.region_size,
            legs,
            log: CopiesLog::Raid {
                min_rate: raid.min_recovery_rate,
                max_rate: raid.max_recovery_rate,
                write_behind: raid.writebehind,
            },
            nosync: false,
        })
    }

    /// The LV that a leg is. Legs on PVs are a pvmove's.
    fn image(&self, lv: LvKey, area: Area, segment: &str) -> Result<LvKey, PlanError> {
        match area {
            Area::Lv { lv, extent } if extent.0 == 0 => Ok(lv),
            Area::Lv { .. } | Area::Pv { .. } => {
                Err(self.unknown(lv, &format!("{segment} on physical volumes")))
            }
        }
    }

    /// A part of a mirror: its place, and whether all of it is there.
    fn part(&mut self, lv: LvKey, depth: usize) -> Result<(Under, bool), PlanError> {
        let (policy, holes) = (self.policy, self.plan.holes.len());
        self.policy = Missing::Fill(Filler::Error);
        let place = self.lv(lv, None, depth + 1);
        self.policy = policy;
        let lost = self.plan.holes.split_off(holes);
        let whole = lost.is_empty();
        self.plan.lost.extend(lost.iter().map(|hole| (lv, hole.pv)));
        Ok((Under::Device(place?), whole))
    }
}

impl Copies {
    /// The table's words from the target's name on.
    pub(in crate::activate) fn line(&self, name: &dyn Fn(Under) -> String) -> String {
        match self.log {
            CopiesLog::Core | CopiesLog::Disk(_) => self.mirror_line(name),
            CopiesLog::Raid { .. } => self.raid_line(name),
        }
    }

    fn mirror_line(&self, name: &dyn Fn(Under) -> String) -> String {
        let mut log = Vec::new();
        let kind = match self.log {
            CopiesLog::Disk(device) => {
                log.push(name(device));
                "disk"
            }
            _ => "core",
        };
        log.push(self.region.to_string());
        if self.nosync {
            log.push("nosync".into());
        }
        let mut text = format!(
            "mirror {kind} {} {} {}",
            log.len(),
            log.join(" "),
            self.legs.len()
        );
        for (_, data) in self.legs.iter().filter_map(|leg| leg.on) {
            text.push_str(&format!(" {} 0", name(data)));
        }
        text + " 1 handle_errors"
    }

    fn raid_line(&self, name: &dyn Fn(Under) -> String) -> String {
        let mut words = vec!["0".to_owned()];
        if self.nosync {
            words.push("nosync".into());
        }
        let mut put = |word: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|v| [word.to_owned(), v]));
        };
        let each = || self.legs.iter().enumerate();
        each().for_each(|(n, leg)| put("rebuild", leg.rebuild.then(|| n.to_string())));
        if let CopiesLog::Raid {
            min_rate, max_rate, ..
        } = self.log
        {
            put("min_recovery_rate", min_rate.map(|r| r.to_string()));
            put("max_recovery_rate", max_rate.map(|r| r.to_string()));
        }
        each().for_each(|(n, leg)| put("write_mostly", leg.write_mostly.then(|| n.to_string())));
        if let CopiesLog::Raid { write_behind, .. } = self.log {
            put("max_write_behind", write_behind.map(|n| n.to_string()));
        }
        put("region_size", Some(self.region.to_string()));
        let mut text = format!(
            "raid raid1 {} {} {}",
            words.len(),
            words.join(" "),
            self.legs.len()
        );
        for leg in &self.legs {
            let word = |under: Option<Under>| under.map_or("-".to_owned(), name);
            let meta = leg.on.and_then(|(meta, _)| meta);
            let data = leg.on.map(|(_, data)| data);
            text.push_str(&format!(" {} {}", word(meta), word(data)));
        }
        text
    }
}

impl Plan {
    /// What its mirrors hold counts as equal: for an LV that is new and was made so.
    pub fn without_sync(mut self) -> Self {
        let rows = self.devices.iter_mut().flat_map(|d| &mut d.rows);
        for row in rows {
            if let super::Map::Copies(copies) = &mut row.map {
                copies.nosync = true;
            }
        }
        self
    }

    /// Is a mirror among its devices that would hold writes back until it is repaired? The log of
    /// dm-mirror cannot say that a copy has missed a write.
    pub fn holds_writes(&self) -> bool {
        let mut rows = self.devices.iter().flat_map(|d| &d.rows);
        rows.any(|row| match &row.map {
            super::Map::Copies(copies) => {
                let logged_with_legs = matches!(copies.log, CopiesLog::Raid { .. });
                !logged_with_legs && copies.legs.iter().any(|leg| !leg.whole)
            }
            _ => false,
        })
    }

    /// Is a mirror among its devices?
    pub fn has_copies(&self) -> bool {
        let mut rows = self.devices.iter().flat_map(|d| &d.rows);
        rows.any(|row| matches!(row.map, super::Map::Copies(_)))
    }
}

/// The LVs that an LV lies on, itself first, each before what lies under it.
pub fn under(vg: &Vg, lv: LvKey) -> Vec<LvKey> {
    let mut found = vec![lv];
    let mut at = 0;
    while let Some(&lv) = found.get(at) {
        at += 1;
        for segment in &vg.lvs[lv].segments {
            let mut parts: Vec<LvKey> = segment
                .areas()
                .into_iter()
                .filter_map(|(area, _)| match area {
                    Area::Lv { lv, .. } => Some(lv),
                    Area::Pv { .. } => None,
                })
                .collect();
            match &segment.kind {
                SegmentKind::Mirror(mirror) => parts.extend(mirror.log),
                SegmentKind::Raid(raid) => {
                    parts.extend(raid.images.iter().filter_map(|image| image.meta));
                }
                _ => {}
            }
            parts.retain(|part| !found.contains(part));
            found.extend(parts);
        }
    }
    found
}
