//! `lvdisplay`

use ulvm::error::Result;

use super::display;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::{self, Base};

/// Shows LVs.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let base = if args.has(Opt::Segments) {
        Base::Segment
    } else {
        Base::Lv
    };
    if let Some(done) = display::columns(ctx, args, base, &[Opt::Colon, Opt::Maps]) {
        return done;
    }
    display::exclusive(ctx, args, Opt::Colon, &[Opt::Maps, Opt::Verbose])?;
    let out = ctx.terminal();
    report::each(ctx, args, Base::Lv, &mut |row, options| {
        if args.has(Opt::Colon) {
            display::lv_colon(out, row);
        } else {
            let maps = args.has(Opt::Maps);
            display::lv_long(out, row, &options.style.units, maps, ctx.driver_loaded());
        }
    })
}
