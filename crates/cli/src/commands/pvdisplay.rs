//! `pvdisplay`

use ulvm::error::Result;

use super::display;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::{self, Base};

/// Shows PVs.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if let Some(done) = display::columns(ctx, args, Base::Pv, &[Opt::Colon, Opt::Maps, Opt::Short])
    {
        return done;
    }
    display::exclusive(ctx, args, Opt::Colon, &[Opt::Maps, Opt::Short])?;
    let out = ctx.terminal();
    report::each(ctx, args, Base::Pv, &mut |row, options| {
        let units = &options.style.units;
        if args.has(Opt::Colon) {
            display::pv_colon(out, row, units);
        } else if args.has(Opt::Short) {
            display::pv_short(out, row, units);
        } else {
            display::pv_long(out, row, units, args.has(Opt::Maps));
        }
    })
}
