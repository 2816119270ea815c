//! vgextend

use ulvm::error::{Error, Result};
use ulvm::session::{Allow, LockMode};
use ulvm_metadata::ops::vg_pvs::{vg_extend, vg_restore_missing};

use super::pv_make::{Existing, Making, make_all, member_of};
use super::vg_args::{self, apply};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Adds PVs to a volume group, or takes back PVs that were missing.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [name, devices @ ..] = args.operands() else {
        return Err(wrong_syntax("vgextend"));
    };
    if devices.is_empty() {
        return Err(wrong_syntax("vgextend"));
    }
    let name = vg_args::vg_name(name);
    if args.has(Opt::RestoreMissing) {
        return restore(ctx, name, devices);
    }
    let making = Making::from_args(args, &[Opt::PvMetadataCopies])?;
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    let pvs = make_all(&mut session, &making, devices, Existing::Take(name))?;
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let read = session.vg_for_write(name, allow)?;
    let members: Vec<_> = pvs.iter().map(|pv| member_of(&session, pv)).collect();
    let outcome = vg_extend(&read.vg, &members);
    apply(&mut session, &read, outcome)?;
    session
        .ui()
        .print(format!("Volume group \"{name}\" successfully extended"));
    Ok(())
}

fn restore(ctx: &Context, name: &str, devices: &[String]) -> Result<()> {
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    let mut keys = Vec::new();
    for device in devices {
        keys.push(session.name_device(device)?);
    }
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let read = session.vg_for_write(name, allow)?;
    let mut back = Vec::new();
    for device in keys {
        let name_of = session.device(device).name.clone();
        let pv = read
            .vg
            .pvs
            .iter()
            .find(|(k, _)| read.pv(*k).device() == Some(device));
        match pv {
            Some((key, pv)) if pv.missing => back.push(key),
            Some(_) => session
                .ui()
                .warn(format!("PV {name_of} was not missing in VG {name}")),
            None => session
                .ui()
                .warn(format!("PV {name_of} not found in VG {name}")),
        }
    }
    if back.is_empty() {
        return Err(Error::refused("No PV has been restored."));
    }
    let outcome = vg_restore_missing(&read.vg, &back);
    apply(&mut session, &read, outcome)?;
    session
        .ui()
        .print(format!("Volume group \"{name}\" successfully extended"));
    Ok(())
}
