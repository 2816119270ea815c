//! `vgdisplay`

use ulvm::error::Result;

use super::display;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::{self, Base};

/// Shows VGs.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if let Some(done) = display::columns(ctx, args, Base::Vg, &[Opt::Colon, Opt::Short]) {
        return done;
    }
    display::exclusive(ctx, args, Opt::Colon, &[Opt::Short])?;
    let out = ctx.terminal();
    report::each(ctx, args, Base::Vg, &mut |row, options| {
        let units = &options.style.units;
        if args.has(Opt::ActiveVolumeGroups) {
            // Nothing is active here.
        } else if args.has(Opt::Colon) {
            display::vg_colon(out, row);
        } else if args.has(Opt::Short) {
            display::vg_short(out, row, units);
        } else {
            let verbose = args.has(Opt::Verbose);
            display::vg_long(out, row, units, verbose, ctx.driver_loaded());
        }
    })
}
