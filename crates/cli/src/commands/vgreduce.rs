//! vgreduce

use ulvm::error::{Error, Result};
use ulvm::inventory::VgRead;
use ulvm::session::{Allow, LockMode, Session};
use ulvm_metadata::model::Vg;
use ulvm_metadata::ops::lv_tree::is_visible;
use ulvm_metadata::ops::vg_missing::{Repair, drop_empty_missing, partial_lvs, repair_partial};
use ulvm_metadata::ops::vg_pvs::vg_reduce;

use super::vg_args::{self, done};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};
use crate::exit::Worst;

/// Takes PVs out of a volume group.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [name, devices @ ..] = args.operands() else {
        return Err(wrong_syntax("vgreduce"));
    };
    let name = vg_args::vg_name(name);
    let all = args.has(Opt::All);
    let mend = args.has(Opt::RemoveMissing);
    if !devices.is_empty() && (all || mend) {
        return Err(Error::usage(format!(
            "Command does not accept argument: {}.",
            devices[0]
        )));
    }
    if devices.is_empty() && !all && !mend {
        return Err(wrong_syntax("vgreduce"));
    }
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    if mend {
        return remove_missing(&mut session, name, args);
    }
    reduce(&mut session, name, devices, all)
}

fn reduce(session: &mut Session, name: &str, devices: &[String], all: bool) -> Result<()> {
    let mut worst = Worst::default();
    let mut wanted = Vec::new();
    for device in devices.iter().filter(|d| !d.starts_with('@')) {
        let key = session
            .name_device(device)
            .map_err(|_| Error::not_found(format!("Cannot use {device}: device not found")));
        wanted.extend(worst.add(session.ui(), key));
    }
    let tags: Vec<&str> = devices.iter().filter_map(|d| d.strip_prefix('@')).collect();
    let allow = Allow {
        unwritable: true,
        ..Allow::default()
    };
    let mut read = match session.vg_for_write(name, allow) {
        Ok(read) => read,
        Err(e) => {
            for device in devices {
                worst.add::<()>(
                    session.ui(),
                    Err(Error::not_found(format!(
                        "Failed to find physical volume \"{device}\"."
                    ))),
                );
            }
            return Err(e);
        }
    };
    let mut found = Vec::new();
    for key in read.vg.pvs.keys().collect::<Vec<_>>() {
        let Some(device) = read.pv(key).device() else {
            continue;
        };
        let tagged = read.vg.pvs[key]
            .tags
            .iter()
            .any(|t| tags.contains(&t.as_str()));
        if !(all || tagged || wanted.contains(&device)) {
            continue;
        }
        found.push(device);
        let name_of = session.device(device).name.clone();
        let outcome = vg_reduce(&read.vg, key, &name_of);
        let outcome = done(session, outcome).and_then(|d| session.commit(&read, d.vg));
        if let Some(new) = worst.add(session.ui(), outcome) {
            read = new;
            session.ui().print(format!(
                "Removed \"{name_of}\" from volume group \"{name}\""
            ));
        }
    }
    for device in wanted.into_iter().filter(|d| !found.contains(d)) {
        let e = Error::not_found(format!(
            "Failed to find physical volume \"{}\".",
            session.device(device).name
        ));
        worst.add::<()>(session.ui(), Err(e));
    }
    worst.finish()
}

fn remove_missing(session: &mut Session, name: &str, args: &Args) -> Result<()> {
    let allow = Allow {
        missing: true,
        unwritable: true,
        ..Allow::default()
    };
    let mut read = session.vg_for_write(name, allow)?;
    if read.missing().is_empty() {
        session
            .ui()
            .print(format!("Volume group \"{name}\" is already consistent."));
        return Ok(());
    }
    let force = args.force();
    let mut vg = (*read.vg).clone();
    if force {
        vg = repair_all(session, &mut read, args.has(Opt::MirrorsOnly))?;
    }
    let missing = read.missing();
    let outcome = drop_empty_missing(&vg, &missing);
    let finished = done(session, outcome)?;
    for lv in &finished.value {
        session
            .ui()
            .warn(format!("Partial LV {lv} needs to be repaired or removed. "));
    }
    if !finished.value.is_empty() {
        let ui = session.ui();
        ui.error(format!("There are still partial LVs in VG {name}."));
        ui.error("To remove them unconditionally use: vgreduce --removemissing --force.");
        ui.error(
            "To remove them unconditionally from mirror LVs use: vgreduce --removemissing --mirrorsonly --force.",
        );
        ui.warn("Proceeding to remove empty missing PVs.");
    }
    session.commit(&read, finished.vg)?;
    if !finished.value.is_empty() && !force {
        return Err(Error::reported());
    }
    session
        .ui()
        .print(format!("Wrote out consistent volume group {name}."));
    Ok(())
}

/// Makes partial LVs whole or removes them, one commit for each that goes. `read` is what is on disk
/// then; the VG returned may have repairs that are not written yet.
fn repair_all(session: &mut Session, read: &mut VgRead, mirrors_only: bool) -> Result<Vg> {
    let mut vg = (*read.vg).clone();
    let mut kept = Vec::new();
    loop {
        let missing = read.missing();
        let next = partial_lvs(&vg, &missing)
            .into_iter()
            .find(|k| is_visible(&vg, *k) && !kept.contains(k));
        let Some(key) = next else {
            return Ok(vg);
        };
        let name = vg.lvs[key].name.clone();
        let outcome = repair_partial(&vg, key, &missing, mirrors_only);
        let finished = done(session, outcome)?;
        vg = finished.vg;
        match finished.value {
            Repair::Repaired => {}
            Repair::Kept(lv) => {
                session
                    .ui()
                    .error(format!("Non-mirror-image LV {lv} found: can't remove."));
                kept.push(key);
            }
            Repair::Removed(_) => {
                session
                    .ui()
                    .warn(format!("Removing partial LV {}/{name}.", vg.name));
                *read = session.commit(read, vg)?;
                vg = (*read.vg).clone();
                session
                    .ui()
                    .print(format!("Logical volume \"{name}\" successfully removed."));
            }
        }
    }
}
