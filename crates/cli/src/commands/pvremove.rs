//! pvremove

use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::DevKey;
use ulvm::session::{LockMode, Session};

use crate::args::Args;
use crate::context::{Context, wrong_syntax};
use crate::exit::Worst;

/// Destroys the labels of physical volumes.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.operands().is_empty() {
        return Err(wrong_syntax("pvremove"));
    }
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    let mut worst = Worst::default();
    let mut devices = Vec::new();
    for name in args.operands() {
        let device = session
            .name_device(name)
            .map_err(|_| Error::not_found(format!("No device found for {name}.")));
        devices.extend(worst.add(session.ui(), device));
    }
    session.scan()?;
    for device in devices {
        let outcome = remove(&mut session, device, args);
        worst.add(ctx.ui(), outcome);
    }
    worst.finish()
}

fn remove(session: &mut Session, device: DevKey, args: &Args) -> Result<()> {
    let name = session.device(device).name.clone();
    if is_unused_duplicate(session, device) {
        // Not even with --force: its label may be that of the PV in use after the next scan.
        return Err(
            Error::not_found(format!("No PV found on device {name}.")).and(format!(
                "{name} is a duplicate of a PV that is used from another device; wipefs removes its label."
            )),
        );
    }
    let user = match session.inventory().owner(device) {
        Some(vg) => Some(vg.to_owned()),
        None => match session.inventory().orphan_on(device) {
            Some(orphan) if orphan.label.used => Some(String::new()),
            Some(_) => None,
            None => {
                return Err(Error::not_found(format!("No PV found on device {name}.")));
            }
        },
    };
    if let Some(vg) = user {
        may_wipe(session, &name, &vg, args)?;
    }
    session.remove_pv(device)?;
    session.ui().print(format!(
        "Labels on physical volume \"{name}\" successfully wiped."
    ));
    Ok(())
}

fn may_wipe(session: &Session, name: &str, vg: &str, args: &Args) -> Result<()> {
    let kept = format!("{name}: physical volume label not removed.");
    let (by, of) = if vg.is_empty() {
        ("a VG but its metadata is missing".to_owned(), String::new())
    } else {
        (format!("VG {vg}"), format!(" of volume group \"{vg}\""))
    };
    if args.count(crate::args::Opt::Force) < 2 {
        let mut line = format!("PV {name} is used by {by}");
        if !vg.is_empty() {
            line += " so please use vgreduce first";
        }
        return Err(Error::refused(format!("{line}."))
            .and("(If you are certain you need pvremove, then confirm by using --force twice.)")
            .and(kept));
    }
    session.ui().warn(format!("PV {name} is used by {by}."));
    let question = format!("Really WIPE LABELS from physical volume \"{name}\"{of} [y/n]?");
    if !session.ui().ask(&question) {
        return Err(Error::new(Kind::Declined, kept));
    }
    session
        .ui()
        .warn(format!("Wiping physical volume label from {name}{of}."));
    Ok(())
}

fn is_unused_duplicate(session: &Session, device: DevKey) -> bool {
    let duplicates = &session.inventory().duplicates;
    duplicates.iter().any(|d| d.pv.device == device)
}
