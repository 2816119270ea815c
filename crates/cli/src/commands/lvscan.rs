//! `lvscan`

use ulvm::error::Result;

use super::display;
use crate::args::Args;
use crate::commands::vgscan::no_operands;
use crate::context::Context;
use crate::report::{self, Base};

/// Lists LVs.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    no_operands(args)?;
    let out = ctx.terminal();
    report::each(ctx, args, Base::Lv, &mut |row, options| {
        display::lv_scan(out, row, &options.style.units);
    })
}
