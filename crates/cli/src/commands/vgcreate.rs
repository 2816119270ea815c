//! vgcreate

use std::path::PathBuf;

use ulvm::error::{Error, Result};
use ulvm::inventory::FoundPv;
use ulvm::session::{LockMode, RandomIds, Session};
use ulvm_metadata::model::AllocPolicy;
use ulvm_metadata::ops::vg_create::{
    EXTENT_SIZE_MAX, VgCreate, check_policy, check_vg_name, vg_create,
};
use ulvm_metadata::units::Sectors;
use ulvm_metadata::uuid::IdSource;

use super::pv_make::{Existing, Making, make_all, member_of};
use super::vg_args::{self, done, metadata_copies, op_error};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// 4 MiB.
const DEFAULT_EXTENT_SIZE: Sectors = Sectors(8192);

/// Makes a volume group, and PVs of the devices that are none yet.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [name, devices @ ..] = args.operands() else {
        return Err(wrong_syntax("vgcreate"));
    };
    if devices.is_empty() {
        return Err(wrong_syntax("vgcreate"));
    }
    let name = vg_args::vg_name(name);
    let mut request = request(ctx, args, name)?;
    let making = Making::from_args(args, &[Opt::PvMetadataCopies])?;
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    session.lock_vg(name, LockMode::Exclusive)?;
    session.scan()?;
    if session.inventory().name_taken(name) {
        return Err(Error::refused(format!(
            "A volume group called {name} already exists."
        )));
    }
    request.system_id = match args.text(Opt::SystemId) {
        Some(id) => Some(id.to_owned()).filter(|i| !i.is_empty()),
        None => session.system_id().map(str::to_owned),
    };
    let pvs = make_all(&mut session, &making, devices, Existing::Take(name))?;
    finish(&mut session, request, &pvs)
}

fn finish(session: &mut Session, mut request: VgCreate, pvs: &[FoundPv]) -> Result<()> {
    request.members = pvs.iter().map(|pv| member_of(session, pv)).collect();
    let outcome = vg_create(&request);
    let vg = done(session, outcome)?.vg;
    session.commit_new(vg)?;
    let with = match &request.system_id {
        Some(id) => format!(" with system ID {id}"),
        None => String::new(),
    };
    session.ui().print(format!(
        "Volume group \"{}\" successfully created{with}",
        request.name
    ));
    Ok(())
}

fn request(ctx: &Context, args: &Args, name: &str) -> Result<VgCreate> {
    check_vg_name(name).map_err(|e| {
        Error::usage(e.message).and(format!("New volume group name \"{name}\" is invalid."))
    })?;
    let path = dev_dir(ctx).join(name);
    if path.symlink_metadata().is_ok() {
        return Err(Error::usage(format!(
            "{}: already exists in filesystem",
            path.display()
        )));
    }
    if args.yes_no(Opt::Clustered) == Some(true) {
        return Err(Error::usage(
            "The clustered option is deprecated, see --shared.",
        ));
    }
    if args.has(Opt::Shared) || args.text(Opt::LockType).is_some_and(|t| t != "none") {
        return Err(Error::usage(
            "Using a shared lock type requires lvmlockd (lvm.conf use_lvmlockd.)",
        ));
    }
    let extent_size = extent_size(ctx, args)?;
    let alloc = vg_args::alloc(args).unwrap_or(AllocPolicy::Normal);
    check_policy(alloc).map_err(|e| Error::usage(e.message))?;
    let max_lv = vg_args::limit(args, Opt::MaxLogicalVolumes)?.unwrap_or(0);
    let max_pv = vg_args::limit(args, Opt::MaxPhysicalVolumes)?.unwrap_or(0);
    let copies = match args.has(Opt::VgMetadataCopies) || args.has(Opt::Metadatacopies) {
        true => metadata_copies(args)?.map_or(0, |(n, _)| n),
        false => 0,
    };
    Ok(VgCreate {
        name: name.to_owned(),
        id: RandomIds.new_id(),
        extent_size,
        max_lv,
        max_pv,
        alloc,
        tags: vg_args::tags(args, Opt::AddTag)?,
        system_id: None,
        metadata_copies: copies,
        no_autoactivate: args.yes_no(Opt::SetAutoActivation) == Some(false),
        profile: args.metadata_profile().map(str::to_owned),
        members: Vec::new(),
    })
}

fn extent_size(ctx: &Context, args: &Args) -> Result<Sectors> {
    let given = match vg_args::sectors(args, Opt::PhysicalExtentSize)? {
        Some(size) => size,
        // In KiB.
        None => u64::try_from(ctx.config().int("allocation/physical_extent_size"))
            .ok()
            .filter(|k| *k > 0)
            .map_or(DEFAULT_EXTENT_SIZE, |k| Sectors(k.saturating_mul(2))),
    };
    if given.is_zero() {
        return Err(Error::usage("Physical extent size may not be zero"));
    }
    if given > EXTENT_SIZE_MAX {
        return Err(Error::usage(
            "Physical extent size must be smaller than <2.00 TiB.",
        ));
    }
    Ok(given)
}

/// Where device nodes are: names of VGs must not be taken there.
pub fn dev_dir(ctx: &Context) -> PathBuf {
    ctx.settings()
        .env
        .dev_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(ctx.config().str("devices/dir")))
}

/// Checks a name that a VG is to get, in the words of vgrename and vgimportclone.
pub fn check_new_name(session: &Session, name: &str) -> Result<()> {
    check_vg_name(name).map_err(|e| {
        let e = op_error(session, e);
        Error::refused(e.lines().join("\n"))
            .and(format!("New volume group name \"{name}\" is invalid."))
    })
}
