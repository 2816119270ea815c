//! lvremove

use ulvm::error::Result;
use ulvm::session::{Allow, Session};
use ulvm_metadata::model::LvKey;
use ulvm_metadata::ops::lv_remove::{dependents, lv_remove, untie_snapshot};

use super::lv_activation;
use super::lv_args::{Draft, each_lv};
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
        unwritable: true,
        ..Allow::default()
    };
    let mut live = lv_activation::live(ctx, true)?;
    each_lv(ctx, args, allow, |session, draft, lv| {
        lv_activation::before_removal(session, &mut live, draft.vg(), lv, args.force())?;
        remove(session, draft, lv)
    })
}

/// Removes an LV with what depends on it. As with LVM2, every snapshot first becomes an LV of its
/// own, which is committed: so its origin could be told before its store goes.
fn remove(session: &mut Session, draft: &mut Draft, lv: LvKey) -> Result<Vec<String>> {
    // What stands against any of it is to be known before the first commit.
    let whole = done(session, lv_remove(draft.vg(), lv))?;
    let mut snapshots = dependents(draft.vg(), lv);
    snapshots.push(lv);
    for cow in snapshots {
        let untied = done(session, untie_snapshot(draft.vg(), cow))?;
        if untied.value {
            draft.change(untied.vg);
            draft.commit(session)?;
        }
        let vg = done(session, lv_remove(draft.vg(), cow))?.vg;
        draft.change(vg);
    }
    let said = |name| format!("Logical volume \"{name}\" successfully removed.");
    Ok(whole.value.into_iter().map(said).collect())
}
