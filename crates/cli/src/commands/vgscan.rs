//! `vgscan`

use ulvm::error::{Error, Result};

use crate::args::Args;
use crate::context::Context;
use crate::report::{self, Base};

/// Refuses operands.
pub fn no_operands(args: &Args) -> Result<()> {
    match args.operands().first() {
        Some(first) => Err(Error::usage(format!(
            "Command does not accept argument: {first}."
        ))),
        None => Ok(()),
    }
}

/// Lists VGs. There is nothing to refresh or to make nodes for.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    no_operands(args)?;
    report::each(ctx, args, Base::Vg, &mut |row, _| {
        if let Some(vg) = row.vg() {
            let exported = if vg.status.exported { "exported " } else { "" };
            ctx.terminal().line(&format!(
                "Found {exported}volume group \"{}\" using metadata type lvm2",
                vg.name
            ));
        }
    })
}
