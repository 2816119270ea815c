//! vgcfgbackup

use std::path::PathBuf;

use ulvm::error::{Error, Result};
use ulvm::session::{Allow, Session};

use super::vg_args::{each_vg, vg_operands};
use crate::args::{Args, Opt};
use crate::context::Context;

/// Writes the metadata of volume groups to files.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let names = vg_operands(ctx, args, true)?;
    let file = args.text(Opt::File);
    if file.is_some_and(|f| !f.contains("%s")) && names.len() > 1 {
        return Err(Error::refused(
            "VGs must be backed up into different files. Use %s in filename for VG name.",
        ));
    }
    each_vg(ctx, &names, |session, name| backup(session, name, file))
}

fn backup(session: &mut Session, name: &str, file: Option<&str>) -> Result<()> {
    let allow = Allow {
        exported: true,
        missing: true,
        foreign: true,
        ..Allow::default()
    };
    let read = session.vg_for_read(name, allow)?;
    if file.is_none() && read.partial() {
        return Err(Error::refused(
            "No backup taken: specify filename with -f to backup with missing PVs.",
        ));
    }
    let path = file.map(|f| PathBuf::from(f.replace("%s", name)));
    session.backup(&read, path.as_deref())?;
    session
        .ui()
        .print(format!("Volume group \"{name}\" successfully backed up."));
    Ok(())
}
