//! pvchange

use ulvm::error::{Error, Result};
use ulvm::inventory::{DevKey, VgRead};
use ulvm::session::{Allow, LockMode, RandomIds, Session};
use ulvm_metadata::ops::pv_change::{PvChange, pv_change};
use ulvm_metadata::ops::{Done, OpError};
use ulvm_metadata::uuid::IdSource;

use super::pv_operands::pick;
use super::vg_args::{done, tag_edit};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};
use crate::exit::Worst;

/// Changes physical volumes.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let asked = [
        Opt::Allocatable,
        Opt::AddTag,
        Opt::DelTag,
        Opt::Uuid,
        Opt::MetadataIgnore,
    ];
    let named = !args.operands().is_empty() || args.has(Opt::All) || args.has(Opt::Select);
    if !named || !asked.iter().any(|o| args.has(*o)) {
        return Err(wrong_syntax("pvchange"));
    }
    if args.has(Opt::All) && !args.operands().is_empty() {
        return Err(Error::usage(format!(
            "Command does not accept argument: {}.",
            args.operands()[0]
        )));
    }
    tag_edit(args)?;
    let mut session = ctx.session()?;
    session.lock_global(if args.has(Opt::Uuid) {
        LockMode::Exclusive
    } else {
        LockMode::Shared
    })?;
    let mut worst = Worst::default();
    let picked = pick(&mut session, args, args.has(Opt::All), &mut worst)?;
    let mut count = Count::default();
    for (vg, devices) in &picked.by_vg {
        match worst.add(ctx.ui(), session.vg_for_write(vg, Allow::default())) {
            Some(mut read) => {
                for device in devices {
                    let outcome = change(&mut session, &mut read, *device, args);
                    count.note(ctx, &session, *device, worst.add(ctx.ui(), outcome));
                }
            }
            None => {
                worst.add::<()>(
                    ctx.ui(),
                    Err(Error::refused(format!("Cannot process volume group {vg}"))),
                );
            }
        }
        session.unlock_vg(vg);
    }
    for device in &picked.orphans {
        let outcome = change_orphan(&mut session, *device, args);
        count.note(ctx, &session, *device, worst.add(ctx.ui(), outcome));
    }
    count.summary(ctx);
    worst.finish()
}

#[derive(Default)]
struct Count {
    changed: usize,
    unchanged: usize,
}

impl Count {
    fn note(&mut self, ctx: &Context, session: &Session, device: DevKey, changed: Option<bool>) {
        let name = &session.device(device).name;
        if changed == Some(true) {
            self.changed += 1;
            ctx.ui()
                .print(format!("Physical volume \"{name}\" changed"));
        } else {
            self.unchanged += 1;
            ctx.ui()
                .error(format!("Physical volume {name} not changed"));
        }
    }
    fn summary(&self, ctx: &Context) {
        let plural = |n| if n == 1 { "" } else { "s" };
        ctx.ui().print(format!(
            "{} physical volume{} changed / {} physical volume{} not changed",
            self.changed,
            plural(self.changed),
            self.unchanged,
            plural(self.unchanged)
        ));
    }
}

fn changes(args: &Args) -> Result<Vec<PvChange>> {
    let mut out = Vec::new();
    let tags = tag_edit(args)?;
    if !tags.is_empty() {
        out.push(PvChange::Tags(tags));
    }
    if let Some(yes) = args.yes_no(Opt::Allocatable) {
        out.push(PvChange::Allocatable(yes));
    }
    if args.has(Opt::Uuid) {
        out.push(PvChange::Id(RandomIds.new_id()));
    }
    Ok(out)
}

/// Changes a PV of a VG; says whether anything was changed.
fn change(session: &mut Session, read: &mut VgRead, device: DevKey, args: &Args) -> Result<bool> {
    let name = session.device(device).name.clone();
    let gone = || Error::not_found(format!("Failed to find physical volume \"{name}\"."));
    let key = read
        .vg
        .pvs
        .keys()
        .find(|k| read.pv(*k).device() == Some(device))
        .ok_or_else(gone)?;
    let outcome: std::result::Result<Done<bool>, OpError> =
        pv_change(&read.vg, key, &name, &changes(args)?);
    let mut done = done(session, outcome)?;
    let mut changed = done.value;
    if let Some(ignore) = args.yes_no(Opt::MetadataIgnore) {
        let used = check_may_ignore(session, read, device, ignore)?;
        if done.vg.metadata_copies != 0 {
            let vg = &done.vg.name;
            let question = format!("Override preferred number of copies of VG {vg} metadata?");
            if !args.force() && !session.ui().ask(&question) {
                return Err(Error::new(ulvm::error::Kind::Declined, ""));
            }
            session.ui().warn(format!(
                "Changing preferred number of copies of VG {vg} metadata from {} to {used}",
                done.vg.metadata_copies
            ));
            // Else the commit would choose another area in this one's place.
            done.vg.metadata_copies = used;
        }
        session.set_mda_ignored(device, ignore)?;
        changed = true;
    }
    if changed {
        let id = done.vg.pvs[key].id;
        if id != read.vg.pvs[key].id {
            session.set_header_id(device, id)?;
        }
        match session.commit(read, done.vg) {
            Ok(new) => *read = new,
            Err(e) => {
                // The next PV's commit must not carry this change along.
                session.forget_marks(device);
                return Err(e);
            }
        }
    }
    Ok(changed)
}

/// May the areas of a PV of a VG be marked: does that change something and leave one in use? How many
/// are in use then.
fn check_may_ignore(session: &Session, read: &VgRead, device: DevKey, ignore: bool) -> Result<u32> {
    let name = session.device(device).name.clone();
    let (mut here, mut elsewhere) = (Vec::new(), 0);
    for key in read.vg.pvs.keys() {
        let Some(found) = &read.pv(key).found else {
            continue;
        };
        if found.device == device {
            here.clone_from(&found.mdas);
        } else {
            elsewhere += found.mdas.iter().filter(|m| m.in_use()).count();
        }
    }
    check_ignored(&name, &here, ignore)?;
    if ignore && elsewhere == 0 {
        return Err(Error::refused(format!(
            "Cannot disable all metadata areas in volume group {}.",
            read.vg.name
        )));
    }
    let used = elsewhere + if ignore { 0 } else { here.len() };
    Ok(u32::try_from(used).unwrap_or(u32::MAX))
}

fn check_ignored(name: &str, mdas: &[ulvm::inventory::MdaCopy], ignore: bool) -> Result<()> {
    use ulvm::inventory::MdaState;
    if mdas.is_empty() {
        return Err(Error::refused(format!(
            "Physical volume \"{name}\" has no metadata areas."
        )));
    }
    let ignored = |m: &ulvm::inventory::MdaCopy| m.state == MdaState::Ignored;
    if mdas.iter().all(|m| ignored(m) == ignore) {
        return Err(Error::refused(format!(
            "Metadata areas on physical volume \"{name}\" already marked as {}.",
            if ignore { "ignored" } else { "in-use" }
        )));
    }
    Ok(())
}

fn change_orphan(session: &mut Session, device: DevKey, args: &Args) -> Result<bool> {
    let name = session.device(device).name.clone();
    if session.inventory().has_duplicates(device) {
        return Err(Error::refused(
            "Cannot update volume group #orphans_lvm2 with duplicate PV devices.",
        ));
    }
    if args.has(Opt::AddTag) || args.has(Opt::DelTag) {
        return Err(Error::refused(format!(
            "Can't change tag on Physical Volume {name} not in volume group"
        )));
    }
    if args.has(Opt::Allocatable) {
        return Err(Error::refused(format!(
            "Allocatability not supported by orphan lvm2 format PV {name}"
        )));
    }
    if let Some(ignore) = args.yes_no(Opt::MetadataIgnore) {
        let mdas = session
            .inventory()
            .orphan_on(device)
            .map(|o| o.mdas.clone())
            .unwrap_or_default();
        check_ignored(&name, &mdas, ignore)?;
        session.set_mda_ignored(device, ignore)?;
    }
    if args.has(Opt::Uuid) {
        session.set_header_id(device, RandomIds.new_id())?;
    }
    Ok(true)
}
