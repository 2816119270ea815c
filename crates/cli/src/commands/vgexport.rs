//! vgexport and vgimport

use ulvm::error::{Error, Result};
use ulvm::session::Allow;
use ulvm_metadata::ops::vg_export::{vg_export, vg_import};

use super::lv_activation::{live, vg_must_be_inactive};
use super::vg_args::{apply, each_vg, vg_operands};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// vgexport: marks volume groups as belonging to no host.
pub fn export(ctx: &Context, args: &Args) -> Result<()> {
    let names = names(ctx, args, "vgexport", false)?;
    each_vg(ctx, &names, |session, name| {
        let read = session.vg_for_write(name, Allow::default())?;
        vg_must_be_inactive(&live(ctx, false)?, &read.vg)?;
        let outcome = vg_export(&read.vg);
        apply(session, &read, outcome)?;
        session
            .ui()
            .print(format!("Volume group \"{name}\" successfully exported"));
        Ok(())
    })
}

/// vgimport: takes exported volume groups in.
pub fn import(ctx: &Context, args: &Args) -> Result<()> {
    let names = names(ctx, args, "vgimport", true)?;
    let allow = Allow {
        exported: true,
        missing: args.force(),
        ..Allow::default()
    };
    each_vg(ctx, &names, |session, name| {
        let read = session.vg_for_write(name, allow)?;
        let system_id = session.system_id().map(str::to_owned);
        let outcome = vg_import(&read.vg, system_id.as_deref());
        apply(session, &read, outcome)?;
        session
            .ui()
            .print(format!("Volume group \"{name}\" successfully imported"));
        Ok(())
    })
}

fn names(ctx: &Context, args: &Args, command: &str, exported: bool) -> Result<Vec<String>> {
    let all = args.has(Opt::All);
    match args.operands() {
        [] if !all && !args.has(Opt::Select) => return Err(wrong_syntax(command)),
        [first, ..] if all => {
            return Err(Error::usage(format!(
                "Command does not accept argument: {first}."
            )));
        }
        _ => {}
    }
    let mut names = vg_operands(ctx, args, all)?;
    if all && !exported {
        // With -a, VGs that are exported already are passed over.
        let mut session = ctx.session()?;
        let inventory = session.read(ulvm::session::Scope::All)?;
        names.retain(|n| !inventory.find_vg(n).is_some_and(|v| v.vg.status.exported));
    }
    Ok(names)
}
