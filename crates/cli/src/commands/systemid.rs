//! `systemid`

use ulvm::error::Result;

use crate::args::Args;
use crate::context::Context;

/// Shows this host's system ID.
pub fn run(ctx: &Context, _: &Args) -> Result<()> {
    let session = ctx.session()?;
    let id = session.system_id().unwrap_or("");
    ctx.terminal().line(&format!("system ID: {id}"));
    Ok(())
}
