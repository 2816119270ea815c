//! lvremove

use std::rc::Rc;

use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::VgRead;
use ulvm::session::{Allow, Session};
use ulvm_metadata::model::LvKey;
use ulvm_metadata::ops::lv_remove::{dependents, lv_remove};
use ulvm_metadata::ops::lv_tree::full_name;

use super::lv_args::{Commit, each_lv};
use super::vg_args::done;
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Removes logical volumes.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.operands().is_empty() && !args.has(Opt::Select) {
        return Err(wrong_syntax("lvremove"));
    }
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    each_lv(ctx, args, allow, Commit::AtOnce, |session, read, lv| {
        remove(session, read, lv, args.force())
    })
}

fn remove(session: &mut Session, read: &mut VgRead, lv: LvKey, force: bool) -> Result<Vec<String>> {
    let snapshots = dependents(&read.vg, lv).len();
    if snapshots > 0 && !force {
        let name = full_name(&read.vg, lv);
        let question = format!(
            "Do you really want to remove origin logical volume {name} with {snapshots} snapshot(s)?"
        );
        if !session.ui().ask(&question) {
            let text = format!("Logical volume {name} not removed.");
            return Err(Error::new(Kind::Declined, text));
        }
    }
    let removed = done(session, lv_remove(&read.vg, lv))?;
    read.vg = Rc::new(removed.vg);
    let said = |name| format!("Logical volume \"{name}\" successfully removed.");
    Ok(removed.value.into_iter().map(said).collect())
}
