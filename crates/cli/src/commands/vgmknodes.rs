//! vgmknodes

use ulvm::error::Result;
use ulvm::session::Allow;

use super::lv_activation::live;
use super::vg_args::{each_vg, vg_operands};
use crate::args::Args;
use crate::context::Context;

/// Makes links of active LVs again that are gone. Nodes exist as long as their LVs are active.
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
        let read = session.vg_for_read(name, allow)?;
        live(ctx, false)?.make_links(&read.vg)
    })
}
