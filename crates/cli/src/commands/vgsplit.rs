//! vgsplit

use ulvm::error::{Error, Result};
use ulvm::inventory::VgRead;
use ulvm::session::{Allow, LockMode, RandomIds, Session};
use ulvm_metadata::model::PvKey;
use ulvm_metadata::name::check_name;
use ulvm_metadata::ops::vg_split::{SplitInto, VgSplit, pvs_of_lv, vg_split};
use ulvm_metadata::uuid::IdSource;

use super::lv_activation::{live, vg_must_be_inactive};
use super::vg_args::{self, done, op_error, vg_name};
use super::vgcreate::dev_dir;
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Moves PVs, with the LVs on them, into a new volume group or another one.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [from, into, devices @ ..] = args.operands() else {
        return Err(wrong_syntax("vgsplit"));
    };
    match (args.text(Opt::Name), devices) {
        (Some(_), [first, ..]) => {
            return Err(Error::usage(format!(
                "Command does not accept argument: {first}."
            )));
        }
        (None, []) => return Err(wrong_syntax("vgsplit")),
        _ => {}
    }
    let (from, into) = (vg_name(from), vg_name(into));
    if from == into {
        return Err(Error::refused(format!(
            "Duplicate volume group name \"{from}\""
        )));
    }
    check_name(into).map_err(|_| Error::refused(format!("Invalid vg name {into}.")))?;
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    let (first, second) = if from < into {
        (from, into)
    } else {
        (into, from)
    };
    session.lock_vg(first, LockMode::Exclusive)?;
    session.lock_vg(second, LockMode::Exclusive)?;
    split(ctx, &mut session, args, from, into)
}

fn split(ctx: &Context, session: &mut Session, args: &Args, from: &str, into: &str) -> Result<()> {
    let old = session.vg_for_write(from, Allow::default())?;
    vg_must_be_inactive(&live(ctx, false)?, &old.vg)?;
    let existing = match session.inventory().vgs.iter().any(|v| v.vg.name == into) {
        true => Some(session.vg_for_write(into, Allow::default())?),
        false if session.inventory().name_taken(into) => {
            return Err(Error::refused(format!(
                "Volume group \"{into}\" exists and cannot be accessed by this host or command."
            )));
        }
        false => None,
    };
    let request = VgSplit {
        pvs: pvs(session, args, &old)?,
        into: match &existing {
            Some(read) => existing_options(args, read)?,
            None => new_options(ctx, session, args, into)?,
        },
    };
    let outcome = vg_split(&old.vg, &request);
    let finished = done(session, outcome)?;
    let rest = finished.value.rest;
    check_areas(
        session,
        &old,
        &request.pvs,
        existing.as_ref(),
        rest.is_some(),
    )?;
    session.commit_split(&old, rest, finished.vg, existing.as_ref())?;
    let kind = if existing.is_some() {
        "Existing"
    } else {
        "New"
    };
    session.ui().print(format!(
        "{kind} volume group \"{into}\" successfully split from \"{from}\""
    ));
    Ok(())
}

/// The PVs to move: those named, or those an LV lies on.
fn pvs(session: &mut Session, args: &Args, old: &VgRead) -> Result<Vec<PvKey>> {
    if let Some(lv) = args.text(Opt::Name) {
        let lv = lv.rsplit('/').next().unwrap_or(lv);
        return pvs_of_lv(&old.vg, lv).map_err(|e| op_error(session, e));
    }
    let mut keys = Vec::new();
    for name in &args.operands()[2..] {
        if let Some(tag) = name.strip_prefix('@') {
            let tagged = old
                .vg
                .pvs
                .iter()
                .filter(|(_, pv)| pv.tags.iter().any(|t| t == tag));
            keys.extend(tagged.map(|(k, _)| k));
            continue;
        }
        let absent = || {
            Error::not_found(format!(
                "Physical volume {name} not in volume group {}",
                old.vg.name
            ))
        };
        let device = session.name_device(name).map_err(|_| absent())?;
        let key = old
            .vg
            .pvs
            .keys()
            .find(|k| old.pv(*k).device() == Some(device))
            .ok_or_else(absent)?;
        keys.push(key);
    }
    Ok(keys)
}

fn existing_options(args: &Args, into: &VgRead) -> Result<SplitInto> {
    let new_only = [
        Opt::MaxLogicalVolumes,
        Opt::MaxPhysicalVolumes,
        Opt::Alloc,
        Opt::VgMetadataCopies,
    ];
    if new_only.iter().any(|o| args.has(*o)) {
        return Err(Error::refused(format!(
            "Volume group \"{}\" exists, but new VG option specified",
            into.vg.name
        )));
    }
    Ok(SplitInto::Existing(Box::new((*into.vg).clone())))
}

fn new_options(ctx: &Context, session: &Session, args: &Args, name: &str) -> Result<SplitInto> {
    let path = dev_dir(ctx).join(name);
    if path.symlink_metadata().is_ok() {
        return Err(Error::refused(format!(
            "{}: already exists in filesystem",
            path.display()
        )));
    }
    let copies = match args.has(Opt::VgMetadataCopies) {
        true => vg_args::metadata_copies(args)?.map_or(0, |(n, _)| n),
        false => 0,
    };
    Ok(SplitInto::New {
        name: name.to_owned(),
        id: RandomIds.new_id(),
        max_lv: vg_args::limit(args, Opt::MaxLogicalVolumes)?,
        max_pv: vg_args::limit(args, Opt::MaxPhysicalVolumes)?,
        alloc: vg_args::alloc(args),
        metadata_copies: copies,
        system_id: session.system_id().map(str::to_owned),
    })
}

/// Both VGs must have somewhere to keep their metadata.
fn check_areas(
    session: &Session,
    old: &VgRead,
    moved: &[PvKey],
    into: Option<&VgRead>,
    rest: bool,
) -> Result<()> {
    let areas = |keys: &mut dyn Iterator<Item = PvKey>| -> usize {
        keys.filter_map(|k| old.pv(k).found.as_ref())
            .map(|f| f.mdas.iter().filter(|m| m.in_use()).count())
            .sum()
    };
    let stays = areas(&mut old.vg.pvs.keys().filter(|k| !moved.contains(k)));
    let moves = areas(&mut moved.iter().copied()) + into.map_or(0, |v| v.mdas().count());
    if rest && stays == 0 {
        return Err(Error::refused(format!(
            "Cannot split: Nowhere to store metadata for old Volume Group {}",
            old.vg.name
        )));
    }
    if moves == 0 {
        session
            .ui()
            .verbose("The PVs to be moved have no metadata area in use.");
        return Err(Error::refused(
            "Cannot split: Nowhere to store metadata for new Volume Group",
        ));
    }
    Ok(())
}
