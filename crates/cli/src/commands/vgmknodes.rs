//! vgmknodes

use ulvm::error::Result;
use ulvm::session::Allow;

use super::vg_args::{each_vg, vg_operands};
use crate::args::Args;
use crate::context::Context;

/// Device nodes exist only for LVs that are served; whoever serves them keeps the nodes right. So
/// all that is left is to see that the volume groups exist.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let names = vg_operands(ctx, args, true)?
        .into_iter()
        .map(|n| n.split('/').next().unwrap_or_default().to_owned())
        .collect::<Vec<_>>();
    let allow = Allow {
        exported: true,
        ..Allow::default()
    };
    each_vg(ctx, &names, |session, name| {
        session.vg_for_read(name, allow).map(|_| ())
    })
}
