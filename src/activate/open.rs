//! Makes the devices of a plan in the engine of this process.

use std::sync::Arc;

use ulvm_engine::backend::{Backing, Direct, OpenHow};
use ulvm_engine::device::Device;
use ulvm_engine::error::Error as EngineError;
use ulvm_engine::event::EventLog;
use ulvm_engine::io::Sectors;
use ulvm_engine::table::{Segment, Slot, Table};
use ulvm_engine::target::{DevIndex, ErrorTarget, Linear, Striped, Target, Zero};
use ulvm_metadata::model::LvKey;
use ulvm_metadata::ops::pvmove::settled;
use ulvm_metadata::uuid::LvmUuid;

use super::plan::{self, Hole, Map, Missing, On, Plan, Planned, Row, Under};
use crate::error::{Error, Kind, Result};
use crate::in_use::{InUse, Range};
use crate::inventory::{DevKey, VgRead};
use crate::session::Session;
use crate::sound::check_sound;

/// How an LV is opened.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// To be written to.
    pub write: bool,
    /// Write even though the LV itself is read-only (a new LV's start is zeroed whatever its
    /// permission).
    pub ignore_permission: bool,
    /// Page cache or not.
    pub direct: Direct,
    /// What to do about missing PVs.
    pub missing: Missing,
    /// Refuse block devices that the kernel or somebody else holds exclusively.
    pub exclusive: bool,
}

impl How {
    /// For reading; nothing may be missing.
    pub const READ: Self = Self {
        write: false,
        ignore_permission: false,
        direct: Direct::Auto,
        missing: Missing::Degraded,
        exclusive: false,
    };
    /// For writing; nothing may be missing.
    pub const WRITE: Self = Self {
        write: true,
        ..Self::READ
    };
    /// To zero or wipe a new LV.
    pub const WIPE: Self = Self {
        ignore_permission: true,
        ..Self::WRITE
    };
}

/// An LV that the engine of this process can do I/O on.
#[derive(Debug)]
pub struct Opened {
    /// The device; its name is `VG/LV`.
    pub device: Arc<Device>,
    /// What is missing of it.
    pub holes: Vec<Hole>,
    /// Says to commands that its extents are open, if it was opened [`How::exclusive`]: to be kept
    /// as long as the device is used.
    pub in_use: InUse,
}

/// PVs that are open already, for LVs that are opened together: each is opened once, which
/// exclusive opening demands, and a flush of one LV knows what was written through another.
#[derive(Debug, Default)]
pub struct OpenPvs {
    open: Vec<(DevKey, Arc<Backing>)>,
    /// VGs that were found sound, in these versions.
    sound: Vec<(LvmUuid, u32)>,
}

/// Opens an LV of a VG as it was read. Every PV it lies on is opened once.
pub fn open(session: &Session, vg: &VgRead, lv: LvKey, how: How) -> Result<Opened> {
    open_with(session, vg, lv, how, &mut OpenPvs::default())
}

/// Opens an LV, with PVs shared with others. All of them have to be opened in the same way, in one
/// session.
pub fn open_with(
    session: &Session,
    vg: &VgRead,
    lv: LvKey,
    how: How,
    pvs: &mut OpenPvs,
) -> Result<Opened> {
    let name = format!("{}/{}", vg.vg.name, vg.vg.lvs[lv].name);
    let missing = |pv| vg.pv(pv).missing || vg.pv(pv).device().is_none();
    let settled = settled(&vg.vg);
    let plan = plan::plan(&settled, lv, &missing, how.missing).map_err(refused)?;
    if how.write && !how.ignore_permission && plan.devices.last().is_some_and(|d| d.read_only) {
        return Err(Error::refused(format!(
            "Logical volume {name} is read-only."
        )));
    }
    if how.write && plan.holds_writes() {
        return Err(Error::refused(format!(
            "Logical volume {name} has lost a copy and its log cannot tell which: repair it first (lvconvert --repair)."
        )));
    }
    let version = (vg.vg.id, vg.vg.seqno);
    if how.write && !pvs.sound.contains(&version) {
        check_sound(session, vg)?;
        pvs.sound.push(version);
    }
    let mut backings = Vec::new();
    for pv in plan.pvs() {
        let Some(key) = vg.pv(pv).device() else {
            continue;
        };
        if !vg.pv(pv).duplicates.is_empty() {
            return Err(Error::refused(format!(
                "Logical volume {name}: physical volume {} has duplicates; use a filter or --devices to choose one.",
                vg.vg.pvs[pv].id
            )));
        }
        let known = pvs.open.iter().find(|(device, _)| *device == key);
        let backing = match known {
            Some((_, backing)) => Arc::clone(backing),
            None => {
                let opened = open_pv(session.device(key), how);
                let backing = Arc::new(opened.map_err(|e| engine_error(&name, e))?);
                pvs.open.push((key, Arc::clone(&backing)));
                backing
            }
        };
        backings.push((pv, backing));
    }
    let in_use = match how.exclusive {
        true => in_use(session, vg, &plan)?,
        false => InUse::default(),
    };
    let device = make(&name, &plan, &backings, how.write).map_err(|e| engine_error(&name, e))?;
    if !how.write {
        device.set_read_only(true);
    }
    Ok(Opened {
        device,
        holes: plan.holes,
        in_use,
    })
}

/// Locks the extents of an LV against being taken away from it.
fn in_use(session: &Session, vg: &VgRead, plan: &Plan) -> Result<InUse> {
    let mut out = InUse::default();
    for pv in plan.pvs() {
        let Some(device) = vg.pv(pv).device().map(|d| session.device(d)) else {
            continue;
        };
        let rows = plan.devices.iter().flat_map(|d| &d.rows);
        let on_pv = |on: &On, len: u64| {
            (on.under == Under::Pv(pv)).then(|| Range {
                start: on.offset.0.saturating_mul(512),
                len: len.saturating_mul(512),
            })
        };
        let ranges = rows.flat_map(|row| match &row.map {
            // Copies lie on devices of the plan, whose rows are seen here too.
            Map::Error | Map::Zero | Map::Copies(_) => Vec::new(),
            Map::Moving(moving) => {
                let legs = moving.legs.iter();
                legs.filter_map(|on| on_pv(on, row.len.0)).collect()
            }
            Map::Linear(on) => on_pv(on, row.len.0).into_iter().collect(),
            Map::Striped { stripes, .. } => {
                let each = row.len.0 / (stripes.len() as u64).max(1);
                stripes.iter().filter_map(|on| on_pv(on, each)).collect()
            }
        });
        out.add(device, ranges.collect())
            .map_err(|e| Error::io(format!("lock extents on {}", device.name), e))?;
    }
    Ok(out)
}

fn refused(e: plan::PlanError) -> Error {
    Error::refused(e.to_string()).with_source(e)
}

fn engine_error(name: &str, e: EngineError) -> Error {
    let text = format!("Logical volume {name}: {e}");
    Error::new(Kind::Io, text).with_source(e)
}

fn open_pv(
    device: &crate::inventory::Device,
    how: How,
) -> std::result::Result<Backing, EngineError> {
    Backing::open(
        &device.path,
        &OpenHow {
            read_only: !how.write,
            direct: how.direct,
            exclusive: how.exclusive,
            lock: how.exclusive,
            start: device.start.0,
            len: device.partition.map(|_| device.size.0),
            logical: Some(device.logical_block_size),
            name: Some(device.name.clone()),
        },
    )
}

mod copies;

type Backings = [(ulvm_metadata::model::PvKey, Arc<Backing>)];

/// Makes the devices of a plan, lower ones first; gives the last.
fn make(
    name: &str,
    plan: &Plan,
    backings: &Backings,
    write: bool,
) -> std::result::Result<Arc<Device>, EngineError> {
    let log = Arc::new(EventLog::default());
    let mut made: Vec<Arc<Device>> = Vec::with_capacity(plan.devices.len());
    for (n, planned) in plan.devices.iter().enumerate() {
        let table = table(planned, backings, &made, write)?;
        let last = n + 1 == plan.devices.len();
        let name = if last { name } else { &planned.name };
        let device = Device::new(name, &planned.uuid, Arc::clone(&log));
        device.load(table)?;
        device.resume(std::time::Duration::ZERO)?;
        made.push(device);
    }
    made.pop().ok_or_else(|| EngineError::State {
        device: name.to_owned(),
        what: "nothing to make",
    })
}

/// Slots of a table under construction.
struct Slots<'a> {
    backings: &'a Backings,
    made: &'a [Arc<Device>],
    /// Mirrors run, and are not only read.
    write: bool,
    slots: Vec<(Under, Slot)>,
}

impl Slots<'_> {
    fn index(&mut self, under: Under) -> std::result::Result<DevIndex, EngineError> {
        let known = self.slots.iter().position(|(u, _)| *u == under);
        if let Some(n) = known {
            return Ok(DevIndex(n as u32));
        }
        let backing = match under {
            Under::Pv(pv) => self.backings.iter().find(|(key, _)| *key == pv),
            Under::Device(_) => None,
        };
        let backing = match (under, backing) {
            (_, Some((_, backing))) => Arc::clone(backing),
            (Under::Device(n), _) if n < self.made.len() => {
                Arc::new(Backing::device(Arc::clone(&self.made[n])))
            }
            _ => {
                return Err(EngineError::State {
                    device: format!("{under:?}"),
                    what: "not opened",
                });
            }
        };
        let word = backing.name().to_string();
        self.slots.push((under, Slot::new(backing, word)));
        Ok(DevIndex(self.slots.len() as u32 - 1))
    }

    fn on(&mut self, on: On) -> std::result::Result<(DevIndex, Sectors), EngineError> {
        Ok((self.index(on.under)?, Sectors(on.offset.0)))
    }

    fn target(&mut self, row: &Row) -> std::result::Result<Box<dyn Target>, EngineError> {
        Ok(match &row.map {
            Map::Copies(copies) => self.copies(copies, row)?,
            // Only the daemon copies what others use meanwhile.
            Map::Moving(_) => {
                return Err(EngineError::State {
                    device: format!("segment at sector {}", row.start),
                    what: "it is being moved",
                });
            }
            Map::Error => Box::new(ErrorTarget),
            Map::Zero => Box::new(Zero),
            Map::Linear(on) => {
                let (device, offset) = self.on(*on)?;
                Box::new(Linear::new(device, offset))
            }
            Map::Striped { chunk, stripes } => {
                let stripes = stripes.iter().map(|on| self.on(*on));
                let stripes = stripes.collect::<std::result::Result<Vec<_>, _>>()?;
                let target = Striped::new(Sectors(chunk.0), stripes, Sectors(row.len.0));
                Box::new(target.ok_or_else(|| EngineError::State {
                    device: format!("segment at sector {}", row.start),
                    what: "its length is not a whole number of rows of stripes",
                })?)
            }
        })
    }
}

fn table(
    planned: &Planned,
    backings: &Backings,
    made: &[Arc<Device>],
    write: bool,
) -> std::result::Result<Table, EngineError> {
    let mut slots = Slots {
        backings,
        made,
        write,
        slots: Vec::new(),
    };
    let mut segments = Vec::with_capacity(planned.rows.len());
    for row in &planned.rows {
        segments.push(Segment {
            start: Sectors(row.start.0),
            len: Sectors(row.len.0),
            target: slots.target(row)?,
        });
    }
    Table::new(segments, slots.slots.into_iter().map(|(_, s)| s).collect())
}
