//! vgrename

use ulvm::error::{Error, Result};
use ulvm::session::{Allow, LockMode, Scope, Session};
use ulvm_metadata::ops::vg_export::vg_rename;
use ulvm_metadata::uuid::LvmUuid;

use super::lv_activation::{commit_renamed, live};
use super::vg_args::{done, vg_name};
use super::vgcreate::{check_new_name, dev_dir};
use crate::args::Args;
use crate::context::{Context, wrong_syntax};

/// Gives a volume group another name.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [old, new] = args.operands() else {
        return Err(wrong_syntax("vgrename"));
    };
    let (old, new) = (vg_name(old), vg_name(new));
    let mut session = ctx.session()?;
    check_new_name(&session, new)?;
    if old == new {
        return Err(Error::refused("Old and new volume group names must differ"));
    }
    session.lock_global(LockMode::Exclusive)?;
    let (found, id) = find(&mut session, old)?;
    let allow = Allow {
        exported: true,
        ..Allow::default()
    };
    let read = match &id {
        Some(id) => session.vg_for_write_by_id(&found, id, allow)?,
        None => session.vg_for_write(&found, allow)?,
    };
    session.lock_vg(new, LockMode::Exclusive)?;
    if session.inventory().name_taken(new) {
        return Err(Error::refused(format!(
            "New VG name \"{new}\" already exists"
        )));
    }
    let path = dev_dir(ctx).join(new);
    if path.symlink_metadata().is_ok() {
        return Err(Error::refused(format!(
            "{}: already exists in filesystem",
            path.display()
        )));
    }
    let renamed = done(&session, vg_rename(&read.vg, new))?;
    commit_renamed(&mut session, &mut live(ctx, false)?, &read, renamed.vg)?;
    session.ui().print(format!(
        "Volume group \"{old}\" successfully renamed to \"{new}\""
    ));
    Ok(())
}

/// The name of a VG given by name or by UUID, and that UUID: several VGs may have one name.
fn find(session: &mut Session, old: &str) -> Result<(String, Option<LvmUuid>)> {
    let Some(id) = LvmUuid::parse(old) else {
        return Ok((old.to_owned(), None));
    };
    let by_id = session
        .read(Scope::All)?
        .vgs
        .iter()
        .find(|v| v.vg.id == id && v.vg.name != old)
        .map(|v| v.vg.name.clone());
    match by_id {
        Some(name) => {
            session.ui().print(format!(
                "Processing VG {name} because of matching UUID {old}"
            ));
            Ok((name, Some(id)))
        }
        None => Ok((old.to_owned(), None)),
    }
}
