//! Which PVs pvchange and pvresize are to work on: grouped by VG, in the order LVM2 goes through
//! them (VG by VG in the order of the scan, PVs in VG order, orphans last).

use ulvm::error::{Error, Result};
use ulvm::inventory::DevKey;
use ulvm::session::Session;

use super::selected::Selection;
use crate::args::{Args, Opt};
use crate::exit::Worst;
use crate::report::fields::Group;

/// PVs picked by a command line.
#[derive(Debug, Default)]
pub struct Picked {
    /// Name of a VG and the devices of its PVs.
    pub by_vg: Vec<(String, Vec<DevKey>)>,
    /// PVs in no VG.
    pub orphans: Vec<DevKey>,
}

/// Scans and picks. Names that cannot be resolved are said and noted in `worst`, together with
/// devices that are no PV.
pub fn pick(session: &mut Session, args: &Args, all: bool, worst: &mut Worst) -> Result<Picked> {
    let mut wanted: Vec<DevKey> = Vec::new();
    for name in args.operands().iter().filter(|o| !o.starts_with('@')) {
        let device = session
            .name_device(name)
            .map_err(|_| Error::not_found(format!("Cannot use {name}: device not found")));
        wanted.extend(worst.add(session.ui(), device));
    }
    session.scan()?;
    let tags: Vec<&str> = args
        .operands()
        .iter()
        .filter_map(|o| o.strip_prefix('@'))
        .collect();
    let everything = all || (args.operands().is_empty() && args.has(Opt::Select));
    let selection = Selection::new(session.settings(), args, Group::Pv)?;
    let inventory = session.inventory();
    let mut picked = Picked::default();
    let mut found: Vec<DevKey> = Vec::new();
    for vg in &inventory.vgs {
        let mut devices = Vec::new();
        for (key, pv) in vg.vg.pvs.iter() {
            let Some(device) = vg.pv(key).device() else {
                continue;
            };
            let tagged = |t: &&str| pv.tags.iter().chain(&vg.vg.tags).any(|p| p == t);
            if everything || wanted.contains(&device) || tags.iter().any(tagged) {
                found.push(device);
                if selection.takes_pv(inventory, vg, key) {
                    devices.push(device);
                }
            }
        }
        if !devices.is_empty() {
            picked.by_vg.push((vg.vg.name.clone(), devices));
        }
    }
    for orphan in &inventory.orphans {
        if everything || wanted.contains(&orphan.device) {
            found.push(orphan.device);
            if selection.takes_orphan(inventory, orphan) {
                picked.orphans.push(orphan.device);
            }
        }
    }
    let unused = |device: &DevKey| {
        let duplicates = &inventory.duplicates;
        duplicates.iter().any(|d| d.pv.device == *device)
    };
    for device in wanted {
        // LVM2 passes over a duplicate that is not used without a word.
        if !found.contains(&device) && !unused(&device) {
            let name = &session.device(device).name;
            worst.add::<()>(
                session.ui(),
                Err(Error::not_found(format!(
                    "Failed to find physical volume \"{name}\"."
                ))),
            );
        }
    }
    Ok(picked)
}
