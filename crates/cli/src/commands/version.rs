//! `version`

use ulvm::error::Result;

use crate::args::Args;
use crate::context::Context;

/// The release of LVM2 whose behaviour is followed.
const LVM2: &str = "2.03.16";

/// What `--version` prints.
pub fn text() -> String {
    format!(
        "  ulvm version:    {}\n  LVM version:     {LVM2} (behaviour followed)\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Prints versions.
pub fn run(ctx: &Context, _: &Args) -> Result<()> {
    ctx.terminal().put(&text());
    Ok(())
}
