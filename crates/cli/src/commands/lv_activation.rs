//! What commands say about activation as long as the engine does not serve devices.

use crate::args::{Args, Opt};
use crate::context::Context;

/// Says once that nothing is activated; not where the user has said so with `--driverloaded n`.
pub fn note(ctx: &Context, told: &mut bool) {
    if ctx.driver_loaded() && !*told {
        ctx.ui()
            .warn("Activation is not available yet: only metadata are changed.");
        *told = true;
    }
}

/// Major numbers are the kernel's choice.
pub fn warn_major(ctx: &Context, args: &Args) {
    if let Some(major) = args.number(Opt::Major).filter(|n| *n != 0) {
        ctx.ui().warn(format!(
            "Ignoring supplied major number {major} - kernel assigns major numbers dynamically. Using major number 0 instead."
        ));
    }
}
