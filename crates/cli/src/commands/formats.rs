//! `formats`

use ulvm::error::Result;

use crate::args::Args;
use crate::context::Context;

/// Lists the metadata formats.
pub fn run(ctx: &Context, _: &Args) -> Result<()> {
    ctx.terminal().line("lvm2");
    Ok(())
}
