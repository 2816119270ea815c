//! vgchange

use ulvm::activate::lists;
use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::{MdaState, VgRead};
use ulvm::online::{Members, Online};
use ulvm::session::{Allow, LockMode, RandomIds, Session};
use ulvm_metadata::model::LvKey;
use ulvm_metadata::ops::lv_tree::{full_name, is_visible};
use ulvm_metadata::ops::size::show;
use ulvm_metadata::ops::vg_change::{VgChange, vg_change};
use ulvm_metadata::ops::vg_create::{EXTENT_SIZE_MAX, check_policy};
use ulvm_metadata::units::Sectors;
use ulvm_metadata::uuid::IdSource;

use super::lv_activation::{self, Wanted};
use super::vg_args::{
    alloc, apply, each_vg, limit, metadata_copies, sectors, tag_edit, vg_operands,
};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};
use crate::exit::Worst;

/// Options that change metadata.
const METADATA: [Opt; 17] = [
    Opt::Logicalvolume,
    Opt::MaxPhysicalVolumes,
    Opt::Resizeable,
    Opt::Resizable,
    Opt::AddTag,
    Opt::DelTag,
    Opt::PhysicalExtentSize,
    Opt::Uuid,
    Opt::Alloc,
    Opt::VgMetadataCopies,
    Opt::PvMetadataCopies,
    Opt::Metadatacopies,
    Opt::MetadataProfile,
    Opt::Profile,
    Opt::DetachProfile,
    Opt::SetAutoActivation,
    Opt::SystemId,
];
/// Options that do something with active LVs.
const ACTIVE: [Opt; 7] = [
    Opt::Activate,
    Opt::Available,
    Opt::Refresh,
    Opt::Monitor,
    Opt::Poll,
    Opt::Lockstart,
    Opt::Lockstop,
];

/// Changes volume groups, activates and deactivates them.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let metadata = METADATA.iter().any(|o| args.has(*o));
    let active = ACTIVE.iter().find(|o| args.has(**o));
    match (metadata, active) {
        (false, None) => return Err(wrong_syntax("vgchange")),
        (true, None) => {}
        (true, Some(Opt::Poll | Opt::Monitor)) => {}
        (true, Some(opt)) => {
            let value = args.text(*opt).map(|v| format!(" {v}")).unwrap_or_default();
            return Err(Error::usage(format!(
                "Command does not accept option: --{}{value}.",
                opt.spec().long
            )));
        }
        (false, Some(Opt::Lockstart | Opt::Lockstop)) => return Ok(()),
        (false, Some(_)) => return activate(ctx, args),
    }
    // Anything wrong with the command line is said before any VG is touched.
    changes(args)?;
    let names = vg_operands(ctx, args, true)?;
    each_vg(ctx, &names, |session, name| change(session, name, args))
}

/// What is asked for, in the order LVM2 applies it.
fn changes(args: &Args) -> Result<Vec<VgChange>> {
    let mut out = Vec::new();
    if let Some(n) = limit(args, Opt::Logicalvolume)? {
        out.push(VgChange::MaxLv(n));
    }
    if let Some(n) = limit(args, Opt::MaxPhysicalVolumes)? {
        out.push(VgChange::MaxPv(n));
    }
    if let Some(yes) = args
        .yes_no(Opt::Resizeable)
        .or_else(|| args.yes_no(Opt::Resizable))
    {
        out.push(VgChange::Resizeable(yes));
    }
    let tags = tag_edit(args)?;
    if !tags.is_empty() {
        out.push(VgChange::Tags(tags));
    }
    if let Some(size) = sectors(args, Opt::PhysicalExtentSize)? {
        out.push(extent_size(size)?);
    }
    if args.has(Opt::Uuid) {
        out.push(VgChange::Id(RandomIds.new_id()));
    }
    if let Some(policy) = alloc(args) {
        check_policy(policy).map_err(|e| Error::refused(e.message))?;
        out.push(VgChange::Alloc(policy));
    }
    // --pvmetadatacopies is taken by LVM2 and changes nothing in a VG that exists.
    let of_vg = args.has(Opt::VgMetadataCopies) || args.has(Opt::Metadatacopies);
    if let Some((n, _)) = metadata_copies(args)?.filter(|_| of_vg) {
        out.push(VgChange::MetadataCopies(n));
    }
    if let Some(profile) = args.metadata_profile() {
        out.push(VgChange::Profile(Some(profile.to_owned())));
    }
    if args.has(Opt::DetachProfile) {
        out.push(VgChange::Profile(None));
    }
    if let Some(on) = args.yes_no(Opt::SetAutoActivation) {
        out.push(VgChange::Autoactivation(on));
    }
    if let Some(id) = args.text(Opt::SystemId) {
        out.push(VgChange::SystemId(clean_system_id(id)));
    }
    Ok(out)
}

fn extent_size(size: Sectors) -> Result<VgChange> {
    if size.is_zero() {
        return Err(Error::refused("Physical extent size may not be zero"));
    }
    if size > EXTENT_SIZE_MAX {
        return Err(Error::refused(
            "Physical extent size must be smaller than <2.00 TiB.",
        ));
    }
    Ok(VgChange::ExtentSize {
        size,
        shown: show(size),
    })
}

/// Characters that a system ID may not have are dropped, as LVM2 does.
fn clean_system_id(text: &str) -> Option<String> {
    let id: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_.+-".contains(*c))
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .collect();
    Some(id).filter(|i| !i.is_empty())
}

fn change(session: &mut Session, name: &str, args: &Args) -> Result<()> {
    if args.has(Opt::Uuid) {
        session.lock_global(LockMode::Exclusive)?;
    }
    // Only tags may be changed while PVs are missing.
    let tags_only = METADATA
        .iter()
        .all(|o| !args.has(*o) || matches!(o, Opt::AddTag | Opt::DelTag));
    let allow = Allow {
        missing: tags_only,
        ..Allow::default()
    };
    let read = session.vg_for_write(name, allow)?;
    let changes = changes(args)?;
    for change in &changes {
        if let VgChange::SystemId(id) = change {
            may_set_system_id(session, &read, id.as_deref())?;
        }
    }
    let outcome = vg_change(&read.vg, &changes);
    if outcome.is_ok() && metadata_copies(args)?.is_some_and(|(_, all)| all) {
        use_all_areas(session, &read)?;
    }
    apply(session, &read, outcome)?;
    session
        .ui()
        .print(format!("Volume group \"{name}\" successfully changed"));
    Ok(())
}

/// `--vgmetadatacopies all`: no area stays ignored.
fn use_all_areas(session: &mut Session, read: &VgRead) -> Result<()> {
    for key in read.vg.pvs.keys() {
        if let Some(found) = &read.pv(key).found
            && found.mdas.iter().any(|m| m.state == MdaState::Ignored)
        {
            session.set_mda_ignored(found.device, false)?;
        }
    }
    Ok(())
}

/// A system ID that is not this host's shuts this host out: the user must agree.
fn may_set_system_id(session: &Session, read: &VgRead, id: Option<&str>) -> Result<()> {
    let ui = session.ui();
    let name = &read.vg.name;
    let Some(id) = id else {
        ui.warn("Empty system ID supplied.");
        if read.vg.system_id.is_none() {
            return Ok(());
        }
        ui.warn("Removing the system ID allows unsafe access from other hosts.");
        return confirm(
            session,
            &format!("Remove system ID from volume group {name}?"),
            name,
        );
    };
    match session.system_id() {
        Some(local) if local == id => return Ok(()),
        Some(local) => ui.warn(format!(
            "Requested system ID {id} does not match local system ID {local}."
        )),
        None => ui.warn("No local system ID is set."),
    }
    ui.warn(format!(
        "Volume group {name} might become inaccessible from this machine."
    ));
    confirm(
        session,
        &format!("Set foreign system ID {id} on volume group {name}?"),
        name,
    )
}

fn confirm(session: &Session, question: &str, name: &str) -> Result<()> {
    if session.ui().ask(question) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Declined,
        format!("Volume group {name} system ID not changed."),
    ))
}

/// `-a`, `--refresh`, `--monitor`, `--poll`: the metadata stay as they are.
fn activate(ctx: &Context, args: &Args) -> Result<()> {
    let mut wanted = lv_activation::wanted(args);
    match (args.text(Opt::Autoactivation), wanted) {
        (Some(word), _) if word != lv_activation::EVENT => {
            let text = "Skip vgchange for unknown autoactivation value.";
            ctx.ui().print(text);
            return Ok(());
        }
        (Some(_), _) if !ctx.config().bool("global/event_activation") => {
            let text = "Skip vgchange for event and event_activation=0.";
            ctx.ui().print(text);
            return Ok(());
        }
        (Some(_), Some(Wanted::Auto)) => wanted = Some(Wanted::Event),
        _ => {}
    }
    let names = vg_operands(ctx, args, true)?;
    let any_named = !args.operands().is_empty();
    if wanted == Some(Wanted::Event) {
        let mut worst = Worst::default();
        for name in &names {
            worst.add(ctx.ui(), activate_by_event(ctx, args, name));
        }
        return worst.finish();
    }
    each_vg(ctx, &names, |session, name| {
        let allow = Allow {
            exported: !any_named,
            ..Allow::default()
        };
        let read = session.vg_for_read(name, allow)?;
        let Some(wanted) = wanted else {
            return Ok(());
        };
        if read.vg.status.exported {
            return Ok(());
        }
        if wanted == Wanted::Auto && read.vg.flags.no_autoactivate {
            return Ok(());
        }
        activate_vg(ctx, args, session, &read, wanted)
    })
}

/// What an event that makes a VG ready leads to: its LVs that are activated by themselves become active,
/// but for those that wait for a PV. The mark of a VG that has such is taken away, so that the next PV
/// has it activated again; if that PV has come meanwhile, this is the one who goes on.
pub fn activate_by_event(ctx: &Context, args: &Args, name: &str) -> Result<()> {
    const ROUNDS_MAX: usize = 8;
    let online = Online::new(&ctx.settings().env.run_dir());
    for _ in 0..ROUNDS_MAX {
        let mut session = ctx.session()?;
        let read = session.vg_for_read(name, Allow::default())?;
        if read.vg.flags.no_autoactivate {
            return Ok(());
        }
        activate_vg(ctx, args, &mut session, &read, Wanted::Event)?;
        let waiting = waiting(ctx, args, &read);
        if waiting.is_empty() {
            return Ok(());
        }
        let needed = lists::needed_by_event(ctx.config(), &read.vg);
        let members = online.note(name, Members::of(&read.vg, &needed))?;
        online.unmark(name)?;
        if online.progress(&members).needed > 0 || !online.mark(name)? {
            for lv in waiting {
                let lv = full_name(&read.vg, lv);
                ctx.ui().print(format!(
                    "Logical volume {lv} waits for physical volumes that are not there yet."
                ));
            }
            return Ok(());
        }
    }
    Ok(())
}

/// LVs that wait for a PV that is not there; none if it was said what to do without it.
fn waiting(ctx: &Context, args: &Args, read: &VgRead) -> Vec<LvKey> {
    if args.has(Opt::ActivationMode) {
        return Vec::new();
    }
    let lvs = read.vg.lvs.keys();
    let of_event = lvs.filter(|lv| lists::by_event(ctx.config(), &read.vg, *lv));
    of_event
        .filter(|lv| lv_activation::lacks(read, *lv))
        .collect()
}

/// All LVs of a VG. One that fails does not stop the others.
fn activate_vg(
    ctx: &Context,
    args: &Args,
    session: &mut Session,
    read: &VgRead,
    wanted: Wanted,
) -> Result<()> {
    let vg = &*read.vg;
    let mut live = lv_activation::live(ctx, wanted == Wanted::Off)?;
    let lvs: Vec<LvKey> = vg.lvs.keys().filter(|lv| is_visible(vg, *lv)).collect();
    let mut worst = Worst::default();
    let mut open = 0;
    if wanted == Wanted::Off {
        for lv in &lvs {
            if live.open(vg, *lv)? {
                let is_open = |lv: &&LvKey| {
                    let device = live.find(vg, **lv);
                    device.is_some_and(|d| d.open == Some(true))
                };
                open = lvs.iter().filter(is_open).count();
                break;
            }
        }
    }
    if open > 0 {
        return Err(Error::refused(format!(
            "Can't deactivate volume group \"{}\" with {open} open logical volume(s)",
            vg.name
        )));
    }
    if wanted == Wanted::Off {
        live.deactivate_together(vg, &lvs)?;
    }
    let waiting = match wanted {
        Wanted::Event => waiting(ctx, args, read),
        _ => Vec::new(),
    };
    for lv in lvs.iter().filter(|lv| !waiting.contains(lv)) {
        let outcome = match wanted {
            Wanted::Off => live.deactivate(vg, *lv),
            on => lv_activation::activate(ctx, args, &mut live, session, read, (*lv, on)),
        };
        worst.add(session.ui(), outcome);
    }
    let active = lvs
        .iter()
        .filter(|lv| live.find(vg, **lv).is_some())
        .count();
    session.ui().print(format!(
        "{active} logical volume(s) in volume group \"{}\" now active",
        vg.name
    ));
    worst.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_ids_are_cleaned() {
        assert_eq!(clean_system_id("a b").as_deref(), Some("ab"));
        assert_eq!(clean_system_id("-x.1").as_deref(), Some("x.1"));
        assert_eq!(clean_system_id(""), None);
    }
}
