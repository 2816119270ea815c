//! vgimportclone

use std::collections::HashMap;

use ulvm::error::{Error, Result};
use ulvm::session::{Allow, LockMode, RandomIds, Scope, Session, Settings};
use ulvm_metadata::ops::vg_export::{CloneIdentity, clone_name, vg_import_clone};
use ulvm_metadata::uuid::IdSource;

use super::vg_args::{done, vg_name};
use super::vgcreate::check_new_name;
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Gives copied PVs, and the volume group on them, identities of their own.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.operands().is_empty() {
        return Err(wrong_syntax("vgimportclone"));
    }
    // The whole system: which names are taken, and that the devices are PVs at all.
    let mut all = ctx.session()?;
    all.lock_global(LockMode::Exclusive)?;
    let mut devices = Vec::new();
    for name in args.operands() {
        let device = all
            .name_device(name)
            .map_err(|_| Error::not_found(format!("Failed to find device {name}.")))?;
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    all.scan()?;
    let paths = devices
        .iter()
        .map(|d| all.device(*d).name.clone())
        .collect::<Vec<_>>();
    // The copies alone: seen without their originals they are a VG like any other.
    let settings = Settings {
        devices: Some(paths.clone()),
        devices_file: Some(String::new()),
        nolocking: true,
        ..ctx.settings().clone()
    };
    let mut clones = ctx.session_with(settings)?;
    let name = the_vg(&mut clones, &paths)?;
    let base = args.text(Opt::BaseVgName).map(vg_name);
    if let Some(base) = base {
        check_new_name(&clones, base)?;
    }
    let new_name = clone_name(&name, base, |n| all.inventory().name_taken(n));
    all.lock_vg(&new_name, LockMode::Exclusive)?;
    import(&mut clones, &name, new_name, args.has(Opt::Import))
}

/// The one VG that all the devices belong to.
fn the_vg(clones: &mut Session, paths: &[String]) -> Result<String> {
    let inventory = clones.read(Scope::All)?;
    let mut names: Vec<&str> = Vec::new();
    for path in paths {
        let pv = inventory
            .find_device(path)
            .ok_or_else(|| Error::not_found(format!("Failed to find device {path}.")))?;
        if inventory.orphan_on(pv).is_some() {
            return Err(Error::refused(format!("PV {path} is not in a VG.")));
        }
        let (vg, _) = inventory
            .pv_on(pv)
            .ok_or_else(|| Error::not_found(format!("Failed to find PVID for device {path}.")))?;
        if !names.contains(&vg.vg.name.as_str()) {
            names.push(&vg.vg.name);
        }
    }
    match names[..] {
        [one] => Ok(one.to_owned()),
        _ => Err(Error::refused(
            "Devices must be PVs of the same VG to be imported together.",
        )),
    }
}

fn import(clones: &mut Session, name: &str, new_name: String, import: bool) -> Result<()> {
    let failed = |e: Error| e.and("Failed to update VG on devices being imported.");
    let allow = Allow {
        exported: true,
        duplicates: true,
        ..Allow::default()
    };
    let read = clones.vg_for_write(name, allow).map_err(|e| {
        e.and(format!(
            "Failed to read VG {name} from devices being imported."
        ))
    })?;
    let mut ids = RandomIds;
    let identity = CloneIdentity {
        name: new_name,
        id: ids.new_id(),
        pv_ids: read
            .vg
            .pvs
            .values()
            .map(|pv| (pv.id, ids.new_id()))
            .collect::<HashMap<_, _>>(),
        import,
        system_id: clones.system_id().map(str::to_owned),
    };
    let outcome = vg_import_clone(&read.vg, &identity);
    let vg = done(clones, outcome).map_err(failed)?.vg;
    for (key, pv) in vg.pvs.iter() {
        if let Some(device) = read.pv(key).device() {
            clones.set_header_id(device, pv.id)?;
        }
    }
    clones.commit(&read, vg).map_err(failed)?;
    Ok(())
}
