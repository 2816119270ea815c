//! `vgs`

use ulvm::error::Result;

use crate::args::Args;
use crate::context::Context;
use crate::report::{self, Base};

/// Reports.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    report::run(ctx, args, Base::Vg)
}
