//! vgmerge

use ulvm::error::{Error, Result};
use ulvm::session::{Allow, LockMode};
use ulvm_metadata::ops::lv_tree::visible_count;
use ulvm_metadata::ops::vg_merge::vg_merge;

use super::lv_activation::{live, vg_must_be_inactive};
use super::vg_args::{done, vg_name};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Puts all of one volume group into another.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [into, froms @ ..] = args.operands() else {
        return Err(wrong_syntax("vgmerge"));
    };
    let [from] = froms else {
        return Err(wrong_syntax("vgmerge"));
    };
    let (into_name, from_name) = (vg_name(into), vg_name(from));
    if into_name == from_name {
        return Err(Error::refused(format!(
            "Duplicate volume group name \"{into_name}\""
        )));
    }
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    // Locks are taken in the order of the names, whichever way the merge goes.
    let (first, second) = if into_name < from_name {
        (into_name, from_name)
    } else {
        (from_name, into_name)
    };
    session.lock_vg(first, LockMode::Exclusive)?;
    session.lock_vg(second, LockMode::Exclusive)?;
    let into = session.vg_for_write(into_name, Allow::default())?;
    let from = session.vg_for_write(from_name, Allow::default())?;
    vg_must_be_inactive(&live(ctx, false)?, &from.vg)?;
    let outcome = vg_merge(&into.vg, &from.vg);
    let merged = done(&session, outcome)?.vg;
    let new = session.commit_merge(&into, &from, merged)?;
    session.ui().print(format!(
        "Volume group \"{from_name}\" successfully merged into \"{into_name}\""
    ));
    if args.has(Opt::List) {
        let ui = session.ui();
        ui.print(format!(
            "Volume group \"{into_name}\" has {} PVs and {} LVs",
            new.vg.pvs.len(),
            visible_count(&new.vg)
        ));
    }
    Ok(())
}
