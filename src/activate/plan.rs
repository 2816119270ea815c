//! Which device-mapper tables make up a logical volume. Pure: metadata in, tables out, lower
//! devices before the ones that lie on them.

mod copies;
mod moving;
#[cfg(test)]
mod tests;

use std::fmt;

pub use copies::{Copies, CopiesLog, Copy, under};
pub use moving::{Moving, mover_rows};
use ulvm_metadata::model::arena::Key;
use ulvm_metadata::model::{Area, Lv, LvKey, PvKey, Segment, SegmentKind, Vg};
use ulvm_metadata::units::{Extents, Sectors};

/// How deep LVs may lie on LVs.
const MAX_DEPTH: usize = 16;

/// What stands in for a missing PV.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Filler {
    /// Reads and writes fail (`activation/missing_stripe_filler="error"`).
    #[default]
    Error,
    /// Reads give zeroes, writes are dropped.
    Zero,
}

/// What to do about missing PVs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// Refuse the LV (activation mode complete).
    Refuse,
    /// Refuse the LV unless it is a raid that has a leg left (activation mode degraded).
    Degraded,
    /// Go on without them (activation mode partial).
    Fill(Filler),
}

/// Where a part of a table lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Under {
    /// A PV's device.
    Pv(PvKey),
    /// A device planned before this one, by its place in [`Plan::devices`].
    Device(usize),
}

/// A device and the sector on it where something begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct On {
    /// The device.
    pub under: Under,
    /// First sector on it.
    pub offset: Sectors,
}

/// How a row of a table is mapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Map {
    /// One contiguous range.
    Linear(On),
    /// Chunks over several.
    Striped {
        /// Sectors per chunk.
        chunk: Sectors,
        /// In order.
        stripes: Vec<On>,
    },
    /// Fails.
    Error,
    /// Zeroes.
    Zero,
    /// dm-mirror's copies, or dm-raid's.
    Copies(Copies),
    /// A run that a pvmove copies.
    Moving(Moving),
}

/// A line of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// First sector.
    pub start: Sectors,
    /// Sectors.
    pub len: Sectors,
    /// The mapping.
    pub map: Map,
}

/// A device to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// device-mapper name.
    pub name: String,
    /// device-mapper uuid.
    pub uuid: String,
    /// Only for reading.
    pub read_only: bool,
    /// The table.
    pub rows: Vec<Row>,
}

/// A part of the LV whose PV is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hole {
    /// First sector of the LV that it can concern.
    pub start: Sectors,
    /// Sectors from there on that it can concern.
    pub len: Sectors,
    /// Of several stripes, which one (from 0), of how many, with how many sectors per chunk.
    pub stripe: Option<(usize, usize, Sectors)>,
    /// The PV.
    pub pv: PvKey,
}

/// The devices that make up an LV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Lower ones first; the last is the LV itself.
    pub devices: Vec<Planned>,
    /// What is not there, in order. What another leg of a mirror has is not among them.
    pub holes: Vec<Hole>,
    /// Parts of mirrors that lie on missing PVs, in order: the LV (an image, its metadata, a log)
    /// and the PV.
    pub lost: Vec<(LvKey, PvKey)>,
}

/// Why an LV cannot be made into tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// It has a segment of a type that the engine does not run.
    Type {
        /// Name of the LV.
        lv: String,
        /// The type's word.
        segment: String,
    },
    /// A PV is missing.
    Missing {
        /// Name of the LV.
        lv: String,
        /// The PV's identifier.
        pv: String,
        /// Device it was last seen at.
        hint: Option<String>,
        /// First sector of the LV that lies on it.
        sector: Sectors,
    },
    /// It has no segments.
    Empty(String),
    /// Numbers in the metadata that no device can have.
    Beyond(String),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { lv, segment } => write!(
                f,
                "Logical volume {lv} has a segment of type {segment}, which ulvm keeps but does not run."
            ),
            Self::Missing {
                lv,
                pv,
                hint,
                sector,
            } => write!(
                f,
                "Logical volume {lv}: physical volume {pv}{} is missing; it holds the volume's data from sector {sector} on. Use --activationmode partial for what is left.",
                hint.as_ref()
                    .map_or(String::new(), |h| format!(" (last seen on {h})")),
            ),
            Self::Empty(lv) => write!(f, "Logical volume {lv} has no segments."),
            Self::Beyond(lv) => write!(
                f,
                "Logical volume {lv}: metadata places it beyond what a device can hold."
            ),
        }
    }
}

impl std::error::Error for PlanError {}

/// device-mapper's name of an LV or of a layer of it: hyphens within VG and LV names are doubled.
pub fn dm_name(vg: &str, lv: &str, layer: Option<&str>) -> String {
    let double = |s: &str| s.replace('-', "--");
    let layer = layer.map_or(String::new(), |l| match l.starts_with('_') {
        true => l.to_owned(),
        false => format!("-{l}"),
    });
    format!("{}-{}{layer}", double(vg), double(lv))
}

/// VG and LV of such a name: the first hyphen that stands alone is between them.
pub fn lv_of_dm_name(name: &str) -> Option<(String, String)> {
    let mut rest = name.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c == '-' && rest.next_if(|(_, next)| *next == '-').is_none() {
            let plain = |s: &str| s.replace("--", "-");
            return Some((plain(&name[..at]), plain(&name[at + 1..])));
        }
    }
    None
}

/// Is an LV's device to refuse writes?
pub fn read_only(lv: &Lv) -> bool {
    !lv.status.write || lv.flags.write_locked
}

/// A snapshot of an LV.
pub fn snapshot_of(vg: &Vg, origin: LvKey) -> Option<LvKey> {
    let kinds = vg.lvs.values().flat_map(|lv| &lv.segments);
    kinds.map(|s| &s.kind).find_map(|kind| match kind {
        SegmentKind::Snapshot(s) if s.origin == origin => Some(s.cow),
        _ => None,
    })
}

/// Plans an LV. `missing` tells of each PV whether its device is not there.
pub fn plan(
    vg: &Vg,
    lv: LvKey,
    missing: &dyn Fn(PvKey) -> bool,
    policy: Missing,
) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        vg,
        missing,
        policy,
        done: Vec::new(),
        plan: Plan {
            devices: Vec::new(),
            holes: Vec::new(),
            lost: Vec::new(),
        },
    };
    planner.lv(lv, None, 0)?;
    Ok(planner.plan)
}

struct Planner<'a> {
    vg: &'a Vg,
    missing: &'a dyn Fn(PvKey) -> bool,
    policy: Missing,
    /// LVs planned already and their places.
    done: Vec<(LvKey, usize)>,
    plan: Plan,
}

impl Planner<'_> {
    fn full_name(&self, lv: LvKey) -> String {
        format!("{}/{}", self.vg.name, self.vg.lvs[lv].name)
    }

    fn uuid(&self, lv: LvKey, suffix: &str) -> String {
        let (vg, lv) = (self.vg.id.compact(), self.vg.lvs[lv].id.compact());
        format!("LVM-{vg}{lv}{suffix}")
    }

    /// Plans an LV; gives its place. `layer` is the uuid suffix of one that others lie on.
    fn lv(&mut self, key: LvKey, layer: Option<&str>, depth: usize) -> Result<usize, PlanError> {
        if let Some((_, place)) = self.done.iter().find(|(lv, _)| *lv == key) {
            return Ok(*place);
        }
        let lv = &self.vg.lvs[key];
        if depth > MAX_DEPTH {
            return Err(PlanError::Beyond(self.full_name(key)));
        }
        if lv.segments.is_empty() {
            return Err(PlanError::Empty(self.full_name(key)));
        }
        let rows = match lv.status.pvmove {
            true => moving::mover_rows(self.vg, key, self.missing, false)?,
            false => {
                let mut rows = Vec::with_capacity(lv.segments.len());
                for (n, segment) in lv.segments.iter().enumerate() {
                    rows.push(self.row(key, n, segment, depth)?);
                }
                rows
            }
        };
        let suffix = layer.map_or(String::new(), |l| format!("-{l}"));
        self.plan.devices.push(Planned {
            name: dm_name(&self.vg.name, &lv.name, None),
            uuid: self.uuid(key, &suffix),
            read_only: read_only(lv),
            rows,
        });
        let place = self.plan.devices.len() - 1;
        self.done.push((key, place));
        Ok(place)
    }

    fn row(
        &mut self,
        lv: LvKey,
        n: usize,
        segment: &Segment,
        depth: usize,
    ) -> Result<Row, PlanError> {
        let start = self.sectors(lv, segment.start)?;
        let len = self.sectors(lv, segment.len)?;
        let map = match &segment.kind {
            SegmentKind::Error => Map::Error,
            SegmentKind::Zero => Map::Zero,
            SegmentKind::Striped {
                stripe_size,
                stripes,
            } => {
                let place = Place {
                    lv,
                    segment: n,
                    start,
                    len,
                    width: Sectors(len.0 / stripes.len().max(1) as u64),
                    stripes: stripes.len(),
                    chunk: *stripe_size,
                };
                let mut on = Vec::with_capacity(stripes.len());
                for (area_n, area) in stripes.iter().enumerate() {
                    on.push(self.area(&place, area_n, *area, depth)?);
                }
                match on.as_slice() {
                    [] => return Err(PlanError::Empty(self.full_name(lv))),
                    [one] => Map::Linear(*one),
                    _ => Map::Striped {
                        chunk: *stripe_size,
                        stripes: on,
                    },
                }
            }
            SegmentKind::Mirror(mirror) => Map::Copies(self.mirror(lv, mirror, depth)?),
            SegmentKind::Raid(raid) if raid.level == "raid1" => {
                Map::Copies(self.raid1(lv, raid, depth)?)
            }
            other => return Err(self.unknown(lv, other.type_word())),
        };
        Ok(Row { start, len, map })
    }

    fn unknown(&self, lv: LvKey, segment: &str) -> PlanError {
        PlanError::Type {
            lv: self.full_name(lv),
            segment: segment.to_owned(),
        }
    }

    fn missing_pv(&self, lv: LvKey, pv: PvKey, sector: Sectors) -> PlanError {
        let missing = &self.vg.pvs[pv];
        PlanError::Missing {
            lv: self.full_name(lv),
            pv: missing.id.to_string(),
            hint: missing.device_hint.clone(),
            sector,
        }
    }

    fn sectors(&self, lv: LvKey, extents: Extents) -> Result<Sectors, PlanError> {
        let sectors = u64::from(extents.0).checked_mul(self.vg.extent_size.0);
        let fits = sectors.filter(|s| *s <= i64::MAX as u64 / 512);
        fits.map(Sectors)
            .ok_or_else(|| PlanError::Beyond(self.full_name(lv)))
    }

    fn area(&mut self, place: &Place, n: usize, area: Area, depth: usize) -> Result<On, PlanError> {
        let (pv, extent) = match area {
            Area::Lv { lv, extent } => {
                // What lies on a mover lies on the whole of it, under its own name.
                let layer = (!self.vg.lvs[lv].status.pvmove).then_some("real");
                let under = Under::Device(self.lv(lv, layer, depth + 1)?);
                let offset = self.sectors(place.lv, extent)?;
                return Ok(On { under, offset });
            }
            Area::Pv { pv, extent } => (pv, extent),
        };
        if (self.missing)(pv) {
            return self.hole(place, n, pv);
        }
        let offset = self.sectors(place.lv, extent)?;
        match offset.0.checked_add(self.vg.pvs[pv].pe_start.0) {
            Some(offset) => Ok(On {
                under: Under::Pv(pv),
                offset: Sectors(offset),
            }),
            None => Err(PlanError::Beyond(self.full_name(place.lv))),
        }
    }

    /// An area on a missing PV becomes a device of its own.
    fn hole(&mut self, place: &Place, n: usize, pv: PvKey) -> Result<On, PlanError> {
        let filler = match self.policy {
            Missing::Fill(filler) => filler,
            Missing::Refuse | Missing::Degraded => {
                return Err(self.missing_pv(place.lv, pv, place.start));
            }
        };
        let map = match filler {
            Filler::Error => Map::Error,
            Filler::Zero => Map::Zero,
        };
        let layer = format!("missing_{n}_{}", place.segment);
        let name = dm_name(&self.vg.name, &self.vg.lvs[place.lv].name, Some(&layer));
        self.plan.devices.push(Planned {
            name,
            uuid: self.uuid(place.lv, &format!("-{layer}")),
            read_only: false,
            rows: vec![Row {
                start: Sectors(0),
                len: place.width,
                map,
            }],
        });
        self.plan.holes.push(Hole {
            start: place.start,
            len: place.len,
            stripe: (place.stripes > 1).then_some((n, place.stripes, place.chunk)),
            pv,
        });
        Ok(On {
            under: Under::Device(self.plan.devices.len() - 1),
            offset: Sectors(0),
        })
    }
}

/// The segment that an area belongs to.
struct Place {
    lv: LvKey,
    segment: usize,
    start: Sectors,
    len: Sectors,
    width: Sectors,
    stripes: usize,
    chunk: Sectors,
}

impl Planned {
    /// The table as device-mapper's text; `name` gives the word of what lies below.
    pub fn text(&self, name: &dyn Fn(Under) -> String) -> String {
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&format!("{} {} ", row.start, row.len));
            match &row.map {
                Map::Linear(on) => {
                    text.push_str(&format!("linear {} {}", name(on.under), on.offset));
                }
                Map::Striped { chunk, stripes } => {
                    text.push_str(&format!("striped {} {chunk}", stripes.len()));
                    for on in stripes {
                        text.push_str(&format!(" {} {}", name(on.under), on.offset));
                    }
                }
                Map::Copies(copies) => text.push_str(&copies.line(name)),
                Map::Moving(moving) => text.push_str(&moving.line(name)),
                Map::Error => text.push_str("error"),
                Map::Zero => text.push_str("zero"),
            }
            text.push('\n');
        }
        text
    }
}

impl Map {
    /// Where it lies, but for copies, which lie on devices of the plan.
    pub(super) fn legs(&self) -> &[On] {
        match self {
            Self::Linear(on) => std::slice::from_ref(on),
            Self::Striped { stripes, .. } => stripes,
            Self::Moving(moving) => &moving.legs,
            Self::Copies(_) | Self::Error | Self::Zero => &[],
        }
    }
}

impl Plan {
    /// PVs it lies on, each once.
    pub fn pvs(&self) -> Vec<PvKey> {
        let mut pvs = Vec::new();
        let rows = self.devices.iter().flat_map(|d| &d.rows);
        for row in rows {
            for on in row.map.legs() {
                if let Under::Pv(pv) = on.under
                    && !pvs.contains(&pv)
                {
                    pvs.push(pv);
                }
            }
        }
        pvs.sort_unstable_by_key(|pv| pv.slot());
        pvs
    }

    /// Size of the LV.
    pub fn size(&self) -> Sectors {
        let last = self.devices.last().and_then(|d| d.rows.last());
        last.map_or(Sectors(0), |row| Sectors(row.start.0 + row.len.0))
    }
}
