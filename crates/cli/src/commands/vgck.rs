//! vgck

use ulvm::error::{Error, Result};
use ulvm::session::{Allow, Session};
use ulvm::sound::check_sound;

use super::vg_args::{each_vg, vg_operands};
use crate::args::{Args, Opt};
use crate::context::Context;

/// Checks volume groups; with --updatemetadata every copy of the metadata is written anew.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let update = args.has(Opt::UpdateMetadata);
    if update && args.operands().is_empty() {
        return Err(Error::usage(
            "Command does not accept option: --updatemetadata.",
        ));
    }
    let names = vg_operands(ctx, args, true)?;
    each_vg(ctx, &names, |session, name| {
        if update {
            mend(session, name)
        } else {
            check(session, name)
        }
    })
}

fn check(session: &mut Session, name: &str) -> Result<()> {
    let allow = Allow {
        exported: true,
        ..Allow::default()
    };
    let read = session.vg_for_read(name, allow)?;
    check_sound(session, &read)?;
    match read.missing().len() {
        0 => Ok(()),
        n => Err(Error::refused(format!(
            "The volume group is missing {n} physical volumes."
        ))),
    }
}

/// Outdated PVs are released, set-aside areas get a sound header and the current text.
fn mend(session: &mut Session, name: &str) -> Result<()> {
    let allow = Allow {
        exported: true,
        missing: true,
        ..Allow::default()
    };
    let read = session.vg_for_write(name, allow)?;
    session.repair(&read)?;
    Ok(())
}
