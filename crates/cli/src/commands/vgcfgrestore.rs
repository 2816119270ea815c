//! vgcfgrestore

use std::path::{Path, PathBuf};

use ulvm::error::{Error, Kind, Result};
use ulvm::session::{LockMode, Session};
use ulvm_metadata::convert::ctime_text;
use ulvm_metadata::model::usage::Usage;
use ulvm_metadata::model::{SegmentKind, Vg};

use super::vg_args::vg_name;
use super::vg_file;
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Puts the metadata of a backup or archive file on all PVs it lists, or lists such files.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let file = args.text(Opt::File).map(Path::new);
    let name = match args.operands() {
        [name] => Some(vg_name(name)),
        [] => None,
        [_, second, ..] => {
            return Err(Error::usage(format!(
                "Command does not accept argument: {second}."
            )));
        }
    };
    match (args.has(Opt::List), name, file) {
        (true, _, Some(file)) => {
            show(ctx, file)?;
            Ok(())
        }
        (true, Some(name), None) => list(ctx, name),
        (false, Some(name), _) => restore(ctx, name, file, args.force()),
        _ => Err(wrong_syntax("vgcfgrestore")),
    }
}

fn list(ctx: &Context, name: &str) -> Result<()> {
    let dir = ctx.config().path("backup/archive_dir");
    let archives = ulvm::backup::list(&dir, name);
    if archives.is_empty() {
        ctx.ui()
            .print(format!("No archives found in {}.", dir.display()));
    }
    for archived in &archives {
        // A file that cannot be read is said and passed over, so that the others are listed.
        if let Err(e) = show(ctx, &archived.path) {
            for line in e.lines() {
                ctx.ui().error(line);
            }
        }
    }
    let backup = backup_file(ctx, name);
    if backup.exists() {
        show(ctx, &backup)?;
    }
    Ok(())
}

fn show(ctx: &Context, file: &Path) -> Result<()> {
    let read = vg_file::read(file)?;
    let out = ctx.terminal();
    out.line(" ");
    out.line(&format!("File:\t\t{}", file.display()));
    out.line(&format!("VG name:    \t{}", read.vg.name));
    out.line(&format!("Description:\t{}", read.header.description));
    out.line(&format!(
        "Backup Time:\t{}",
        ctime_text(read.header.creation_time, ulvm::host::zone())
    ));
    out.put("\n");
    Ok(())
}

/// Where the last backup of a VG is.
fn backup_file(ctx: &Context, name: &str) -> PathBuf {
    ctx.config().path("backup/backup_dir").join(name)
}

fn restore(ctx: &Context, name: &str, file: Option<&Path>, force: bool) -> Result<()> {
    let mut session = ctx.session()?;
    let failed = |e: Error| e.and("Restore failed.");
    session.lock_global(LockMode::Exclusive)?;
    session.lock_vg(name, LockMode::Exclusive)?;
    session.scan()?;
    let path: PathBuf = match file {
        Some(file) => file.to_owned(),
        None => backup_file(ctx, name),
    };
    let vg = vg_file::read(&path).map_err(failed)?.vg;
    if vg.name != name {
        return Err(failed(Error::not_found(format!(
            "'{}' does not contain volume group '{name}'.",
            path.display()
        ))));
    }
    check(&session, &vg, force).map_err(failed)?;
    check_others(&session, &vg, force).map_err(failed)?;
    session.restore(vg).map_err(failed)?;
    session.ui().print(format!("Restored volume group {name}."));
    Ok(())
}

/// PVs that other VGs keep LVs on are taken from those with --force only. (LVM2 takes them.)
fn check_others(session: &Session, vg: &Vg, force: bool) -> Result<()> {
    for other in session.inventory().vgs.iter().filter(|v| v.vg.id != vg.id) {
        let usage = Usage::of(&other.vg);
        let taken = other.vg.pvs.iter();
        let taken = taken.filter(|(_, pv)| vg.find_pv(&pv.id).is_some());
        let Some((_, pv)) = taken.into_iter().find(|(k, _)| !usage.used(*k).is_zero()) else {
            continue;
        };
        let name = &other.vg.name;
        if !force {
            return Err(Error::refused(format!(
                "Physical volume {} holds logical volumes of volume group {name} now.",
                pv.id
            ))
            .and(format!(
                "Consider using option --force to take it from {name}."
            )));
        }
        session.ui().warn(format!(
            "Forced restore onto physical volume {} with logical volumes of volume group {name}.",
            pv.id
        ));
    }
    Ok(())
}

fn check(session: &Session, vg: &Vg, force: bool) -> Result<()> {
    let inventory = session.inventory();
    let mut missing = 0;
    for pv in vg.pvs.values() {
        let found = inventory.orphans.iter().any(|o| o.label.id == pv.id)
            || inventory.vgs.iter().any(|v| {
                let outdated = v.outdated.iter().any(|o| o.label.id == pv.id);
                let key = v.vg.find_pv(&pv.id);
                outdated || key.is_some_and(|k| v.pv(k).device().is_some())
            });
        if !found {
            session
                .ui()
                .warn(format!("Couldn't find device with uuid {}.", pv.id));
        }
        missing += usize::from(!found || pv.missing);
    }
    if missing > 0 {
        return Err(Error::refused(format!(
            "Cannot restore Volume Group {} with {missing} PVs marked as missing.",
            vg.name
        )));
    }
    let thin = vg.lvs.values().flat_map(|lv| &lv.segments).any(
        |s| matches!(&s.kind, SegmentKind::Foreign(f) if f.type_word.starts_with("thin-pool")),
    );
    if thin && !force {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "Consider using option --force to restore Volume Group {} with thin volumes.",
                vg.name
            ),
        ));
    }
    if thin {
        session
            .ui()
            .warn("Forced restore of Volume Group with thin volumes.");
    }
    Ok(())
}
