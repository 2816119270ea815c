//! `lvmdiskscan`

use ulvm::error::Result;
use ulvm::session::Scope;

use crate::args::{Args, Opt};
use crate::commands::vgscan::no_operands;
use crate::context::Context;
use crate::report::options;

#[derive(Default)]
struct Counts {
    disks: u32,
    partitions: u32,
    pv_disks: u32,
    pvs: u32,
}

/// Lists the devices that could be PVs, and those that are.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    no_operands(args)?;
    let units = options::units(ctx, args)?;
    let mut session = ctx.session()?;
    session.read(Scope::All)?;
    let inventory = session.inventory();
    let only_pvs = args.has(Opt::LvmPartition);
    let mut counts = Counts::default();
    // What a filter rejects is no device as far as LVM2 is concerned.
    let usable = |name: &str| !inventory.excluded.iter().any(|(other, _)| other == name);
    let width = inventory
        .devices()
        .filter(|(_, d)| usable(&d.name))
        .map(|(_, d)| d.name.len())
        .max()
        .unwrap_or(0);
    for (key, device) in inventory.devices().filter(|(_, d)| usable(&d.name)) {
        let labelled = inventory.pv_on(key).is_some()
            || inventory.orphan_on(key).is_some()
            || inventory.hidden.iter().any(|h| h.device == key)
            || inventory.duplicates.iter().any(|d| d.pv.device == key);
        // A name that ends with a digit is taken for a partition's, as LVM2 does.
        let whole = !device.name.ends_with(|c: char| c.is_ascii_digit());
        match (labelled, whole) {
            (true, true) => counts.pv_disks += 1,
            (true, false) => counts.pvs += 1,
            (false, true) => counts.disks += 1,
            (false, false) => counts.partitions += 1,
        }
        if labelled || !only_pvs {
            let what = match (labelled, whole) {
                (true, true) => "LVM physical volume (whole disk)",
                (true, false) => "LVM physical volume",
                (false, _) => "",
            };
            let size = units.show_long(device.sectors().0);
            ctx.terminal()
                .line(&format!("{:<width$} [{size:>15}] {what}", device.name));
        }
    }
    let line = |n: u32, what: &str| {
        let plural = if n == 1 { "" } else { "s" };
        ctx.terminal().line(&format!("{n} {what}{plural}"));
    };
    if !only_pvs {
        line(counts.disks, "disk");
        line(counts.partitions, "partition");
    }
    line(counts.pv_disks, "LVM physical volume whole disk");
    line(counts.pvs, "LVM physical volume");
    Ok(())
}
