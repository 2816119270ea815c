//! `fullreport`

use ulvm::error::Result;

use crate::args::Args;
use crate::context::Context;
use crate::report;

/// Reports everything of each VG.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    report::full(ctx, args)
}
