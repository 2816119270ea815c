//! `lvs`

use ulvm::error::Result;

use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::{self, Base};

/// Reports.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let base = if args.has(Opt::Segments) {
        Base::Segment
    } else {
        Base::Lv
    };
    report::run(ctx, args, base)
}
