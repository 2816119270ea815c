//! pvresize

use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::{DevKey, FoundPv, VgRead};
use ulvm::session::{Allow, LockMode, Session};
use ulvm_metadata::ops::pv_change::{PvResize, check_size, pv_resize};
use ulvm_metadata::ops::size::show;
use ulvm_metadata::units::{Bytes, Sectors};

use super::pv_operands::pick;
use super::vg_args::{self, done, op_error};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};
use crate::exit::Worst;

/// Changes the size of physical volumes to that of their devices, or to a given size.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.operands().is_empty() && !args.has(Opt::Select) {
        return Err(wrong_syntax("pvresize"));
    }
    let fake = vg_args::sectors(args, Opt::SetPhysicalVolumeSize)?;
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    let mut worst = Worst::default();
    let picked = pick(&mut session, args, false, &mut worst)?;
    let (mut resized, mut failed) = (0, 0);
    for (vg, devices) in &picked.by_vg {
        let read = session.vg_for_write(vg, Allow::default());
        let Some(mut read) = worst.add(ctx.ui(), read) else {
            worst.add::<()>(
                ctx.ui(),
                Err(Error::refused(format!("Cannot process volume group {vg}"))),
            );
            continue;
        };
        for device in devices {
            let outcome = resize(&mut session, &mut read, *device, fake);
            match worst.add(ctx.ui(), outcome) {
                Some(()) => resized += 1,
                None => failed += 1,
            }
        }
        session.unlock_vg(vg);
    }
    for device in &picked.orphans {
        let outcome = resize_orphan(&mut session, *device, fake);
        match worst.add(ctx.ui(), outcome) {
            Some(()) => resized += 1,
            None => failed += 1,
        }
    }
    ctx.ui().print(format!(
        "{resized} physical volume(s) resized or updated / {failed} physical volume(s) not resized"
    ));
    worst.finish()
}

/// Asks about a size that is not the device's, and decides on the new one.
fn new_size(session: &Session, device: DevKey, fake: Option<Sectors>) -> Result<Sectors> {
    let name = &session.device(device).name;
    let real = session.device(device).sectors();
    let Some(size) = fake else {
        return Ok(real);
    };
    if size > real {
        let question = format!(
            "{name}: Requested size {} exceeds real size {}. Proceed? ",
            show(size),
            show(real)
        );
        asked(session, name, &question)?;
        session.ui().warn(format!(
            "{name}: Overriding real size {}. You could lose data.",
            show(real)
        ));
    } else if size < real {
        let question = format!(
            "{name}: Requested size {} is less than real size {}. Proceed? ",
            show(size),
            show(real)
        );
        asked(session, name, &question)?;
    }
    session.ui().warn(format!(
        "{name}: Pretending size is {size} not {real} sectors."
    ));
    Ok(size)
}

fn asked(session: &Session, name: &str, question: &str) -> Result<()> {
    if session.ui().ask(question) {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Declined,
            format!("Physical Volume {name} not resized."),
        ))
    }
}

/// Where data must end: the second metadata area lies at the end of the device and stays there.
fn pe_limit(found: &FoundPv, size: Sectors) -> Sectors {
    found
        .mdas
        .iter()
        .filter(|m| m.start >= found.label.data_start)
        .map(|m| m.start.sectors_floor())
        .min()
        .map_or(size, |m| m.min(size))
}

fn resize(
    session: &mut Session,
    read: &mut VgRead,
    device: DevKey,
    fake: Option<Sectors>,
) -> Result<()> {
    let name = session.device(device).name.clone();
    let size = new_size(session, device, fake)?;
    let gone = || Error::not_found(format!("Failed to find physical volume \"{name}\"."));
    let key = read
        .vg
        .pvs
        .keys()
        .find(|k| read.pv(*k).device() == Some(device))
        .ok_or_else(gone)?;
    let found = read.pv(key).found.as_ref().ok_or_else(gone)?;
    keeps_second_mda(found, size, &name)?;
    let request = PvResize {
        device: &name,
        size,
        pe_limit: pe_limit(found, size),
    };
    let outcome = pv_resize(&read.vg, key, request);
    let vg = done(session, outcome)?.vg;
    // The size in the PV header is that of pvcreate; the VG's metadata rule.
    *read = session.commit(read, vg)?;
    session
        .ui()
        .print(format!("Physical volume \"{name}\" changed"));
    Ok(())
}

fn keeps_second_mda(found: &FoundPv, size: Sectors, name: &str) -> Result<()> {
    let end = found
        .mdas
        .iter()
        .map(|m| m.start.0.saturating_add(m.size.0))
        .max()
        .unwrap_or(0);
    if end > bytes(size).0 {
        return Err(Error::refused(format!(
            "{name}: cannot resize to {size} sectors as a metadata area ends at byte {end}."
        )));
    }
    Ok(())
}

fn resize_orphan(session: &mut Session, device: DevKey, fake: Option<Sectors>) -> Result<()> {
    let name = session.device(device).name.clone();
    let size = new_size(session, device, fake)?;
    check_size(size, &name).map_err(|e| op_error(session, e))?;
    if let Some(found) = session.inventory().orphan_on(device) {
        keeps_second_mda(found, size, &name)?;
        if size < found.label.data_start.sectors_ceil() {
            return Err(Error::refused(format!(
                "Size must exceed physical extent start of {} sectors on PV {name}.",
                found.label.data_start.sectors_ceil()
            )));
        }
    }
    session.set_header_size(device, bytes(size))?;
    session
        .ui()
        .print(format!("Physical volume \"{name}\" changed"));
    Ok(())
}

fn bytes(size: Sectors) -> Bytes {
    size.to_bytes().unwrap_or(Bytes(u64::MAX))
}
