//! `fullreport`: for each VG its own row, its PVs, LVs, runs of extents and segments.

use ulvm::error::Result;
use ulvm::inventory::Inventory;

use super::collect::{self, Wanted};
use super::options::{self, Base, Options};
use super::output::{self, Object};
use super::table;
use super::view::VgView;
use crate::args::Args;
use crate::context::Context;
use crate::exit::Worst;

/// Runs the command.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let parts = options::prepare_full(ctx, args)?;
    let mut worst = Worst::default();
    let mut session = ctx.session()?;
    let wanted = collect::read(ctx, &mut session, args, Base::Vg, &mut worst)?;
    let inventory = session.inventory();
    print(ctx, inventory, &wanted, &parts, &mut worst);
    worst.finish()
}

fn print(
    ctx: &Context,
    inventory: &Inventory,
    wanted: &Wanted,
    parts: &[Options],
    worst: &mut Worst,
) {
    let Some(first) = parts.first() else {
        return;
    };
    let world = first.world(inventory);
    let views: Vec<VgView<'_>> = inventory
        .vgs
        .iter()
        .map(|v| VgView::new(v, inventory))
        .collect();
    let mut objects: Vec<Object<'_>> = Vec::new();
    for view in views.iter().filter(|v| wanted.wants_vg(v.vg())) {
        objects.push(
            parts
                .iter()
                .map(|part| table(collect::rows_of_vg(&world, view, part), part))
                .collect(),
        );
    }
    if wanted.everything() && !inventory.orphans.is_empty() {
        let of_pvs = parts.iter().filter(|p| p.base.of_pvs());
        objects.push(
            of_pvs
                .map(|part| table(collect::orphan_rows(&world, part.rows), part))
                .collect(),
        );
    }
    let _ = worst;
    output::write(&objects, &first.layout, &first.style, &mut |text| {
        ctx.terminal().put(text)
    });
}
