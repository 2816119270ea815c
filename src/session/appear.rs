//! One device that an event is about: what it carries, without reading any other device.

use super::Session;
use crate::assemble::{View, assemble};
use crate::discover;
use crate::error::Result;
use crate::inventory::{DeviceKind, VgRead};
use crate::scan::Found;
use ulvm_metadata::uuid::LvmUuid;

/// What a device carries.
#[derive(Clone, PartialEq, Debug)]
pub enum Appeared {
    /// There is no device of that number, or none that a PV can be on.
    NoDevice,
    /// It must not be used; the words say why.
    Excluded {
        /// Name of the device.
        name: String,
        /// `device is rejected by filter config`
        why: String,
    },
    /// It carries no label.
    NotLabelled {
        /// Name of the device.
        name: String,
    },
    /// It is a PV of no VG.
    NotUsed {
        /// Name of the device.
        name: String,
    },
    /// A PV.
    Pv(Box<PvAppeared>),
}

/// A PV as its own device tells of it.
#[derive(Clone, PartialEq, Debug)]
pub struct PvAppeared {
    /// Name of the device.
    pub name: String,
    /// Number of the device.
    pub number: (u32, u32),
    /// Identity of the PV.
    pub id: LvmUuid,
    /// The VG as this device's metadata have it; none if it has no metadata.
    pub vg: Option<VgRead>,
}

impl Session {
    /// Names and numbers of all block devices that may be used, for events about all of them.
    pub fn block_devices(&self) -> Result<Vec<(String, (u32, u32))>> {
        let mut candidates = discover::candidates(self.config(), &self.source()?)?;
        discover::sort(&mut candidates);
        let usable = candidates.into_iter().filter(|c| c.excluded.is_none());
        let numbers = usable.filter_map(|c| match c.device.kind {
            DeviceKind::Block { major, minor } => Some((c.device.name, (major, minor))),
            DeviceKind::File => None,
        });
        Ok(numbers.collect())
    }

    /// Reads the device of a number. Takes no lock: what is just being written is read again.
    pub fn appeared(&mut self, number: (u32, u32)) -> Result<Appeared> {
        const TRIES_MAX: usize = 5;
        let wanted = DeviceKind::Block {
            major: number.0,
            minor: number.1,
        };
        let candidates = discover::candidates(self.config(), &self.source()?)?;
        let Some(candidate) = candidates.into_iter().find(|c| c.device.kind == wanted) else {
            return Ok(Appeared::NoDevice);
        };
        let name = candidate.device.name.clone();
        if let Some(why) = candidate.excluded {
            return Ok(Appeared::Excluded { name, why });
        }
        let rules = self.rules();
        let mut doubts = None;
        for _ in 0..TRIES_MAX {
            self.scan.read_all(vec![candidate.clone()], rules);
            let now = self.scan.doubts(false);
            if now.is_empty() || doubts.as_ref() == Some(&now) {
                break;
            }
            doubts = Some(now);
        }
        Ok(self.what_appeared(name, number))
    }

    fn what_appeared(&self, name: String, number: (u32, u32)) -> Appeared {
        // Every VG is looked at, whosever it is: it is for the caller to leave it alone.
        let view = View {
            system_id: self.system_id.as_deref(),
            extra_ids: &self.extra_ids,
            foreign: true,
            shared: true,
            names: None,
            use_of: None,
        };
        let inventory = assemble(&self.scan, &view).inventory;
        let read = self.scan.entries.iter().map(|entry| &entry.found);
        if let Some(why) = read.clone().find_map(|found| match found {
            Found::Excluded(why) => Some(why.clone()),
            Found::Unreadable(error) => Some(error.to_string()),
            _ => None,
        }) {
            return Appeared::Excluded { name, why };
        }
        let mut vgs = inventory.vgs.iter();
        let member = vgs.find_map(|vg| Some((vg, vg.found().next()?)));
        let orphan = || inventory.orphans.iter().find(|pv| pv.label.used);
        let (vg, pv) = match (member, orphan()) {
            (Some((vg, pv)), _) => (Some(vg.clone()), pv),
            (None, Some(pv)) => (None, pv),
            (None, None) if inventory.orphans.is_empty() => {
                return Appeared::NotLabelled { name };
            }
            (None, None) => return Appeared::NotUsed { name },
        };
        Appeared::Pv(Box::new(PvAppeared {
            name,
            number,
            id: pv.label.id,
            vg,
        }))
    }
}
