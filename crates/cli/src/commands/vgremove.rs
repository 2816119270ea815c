//! vgremove

use ulvm::activate::live::Live;
use ulvm::error::{Error, Kind, Result};
use ulvm::session::{Allow, LockMode, Session};
use ulvm_metadata::model::{LvKey, Vg};
use ulvm_metadata::ops::lv_remove::lv_remove;
use ulvm_metadata::ops::lv_tree::{is_visible, visible_count};

use super::lv_activation::{self, before_removal};
use super::vg_args::{apply, each_vg, vg_operands};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Removes volume groups, and the LVs in them after asking.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.operands().is_empty() && !args.has(Opt::Select) {
        return Err(wrong_syntax("vgremove"));
    }
    let names = vg_operands(ctx, args, false)?;
    each_vg(ctx, &names, |session, name| {
        session.lock_global(LockMode::Exclusive)?;
        let mut live = lv_activation::live(ctx, true)?;
        remove(session, &mut live, name, args.force())
    })
}

fn remove(session: &mut Session, live: &mut Live, name: &str, force: bool) -> Result<()> {
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let mut read = session.vg_for_write(name, allow)?;
    let missing = read.missing().len();
    let lvs = visible_count(&read.vg);
    if missing > 0 && lvs == 0 && !force {
        return Err(Error::refused(format!(
            "Volume group \"{name}\" not found, is inconsistent or has PVs missing."
        ))
        .and("Consider vgreduce --removemissing if metadata is inconsistent."));
    }
    if lvs > 0 {
        if missing > 0 {
            session.ui().warn(format!(
                "{missing} physical volumes are currently missing from the system."
            ));
        }
        let question = format!(
            "Do you really want to remove volume group \"{name}\" containing {lvs} logical volumes?"
        );
        if !force && !session.ui().ask(&question) {
            return Err(Error::new(
                Kind::Declined,
                format!("Volume group \"{name}\" not removed"),
            ));
        }
        while let Some(key) = next_lv(&read.vg) {
            before_removal(session, live, &read.vg, key, force)?;
            let outcome = lv_remove(&read.vg, key);
            let (new, gone) = apply(session, &read, outcome)?;
            read = new;
            for lv in gone {
                session
                    .ui()
                    .print(format!("Logical volume \"{lv}\" successfully removed."));
            }
        }
        if missing > 0 && !force {
            return Err(Error::refused(format!(
                "Volume group \"{name}\" not found, is inconsistent or has PVs missing."
            ))
            .and("Consider vgreduce --removemissing if metadata is inconsistent."));
        }
    }
    session.remove_vg(&read)?;
    session
        .ui()
        .print(format!("Volume group \"{name}\" successfully removed"));
    Ok(())
}

/// The next LV to go, in list order; what hangs on it goes with it.
fn next_lv(vg: &Vg) -> Option<LvKey> {
    vg.lvs.keys().find(|key| is_visible(vg, *key))
}
