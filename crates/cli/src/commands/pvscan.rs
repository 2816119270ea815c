//! `pvscan`

mod event;

use ulvm::error::{Error, Result};

use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::row::Row;
use crate::report::units::Units;
use crate::report::{self, Base};

struct Line {
    name: String,
    uuid: String,
    vg: Option<String>,
    exported: bool,
    size: u64,
    free: u64,
}

/// Options that are about events.
const EVENT_OPTIONS: [Opt; 8] = [
    Opt::Cache,
    Opt::ListVg,
    Opt::ListLvs,
    Opt::Activate,
    Opt::Checkcomplete,
    Opt::Vgonline,
    Opt::Udevoutput,
    Opt::Autoactivation,
];

/// Lists PVs, or says which VG a device belongs to.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if EVENT_OPTIONS.iter().any(|o| args.has(*o)) {
        return event::run(ctx, args);
    }
    if let Some(first) = args.operands().first() {
        return Err(Error::usage(format!(
            "Command does not accept argument: {first}."
        )));
    }
    if args.has(Opt::NoVolumeGroup) && args.has(Opt::Exported) {
        return Err(Error::usage(
            "Options -e and -n are incompatible\nRun `pvscan --help' for more information.",
        ));
    }
    let mut lines = Vec::new();
    let mut units = None;
    report::each(ctx, args, Base::Pv, &mut |row, options| {
        units.get_or_insert(options.style.units);
        lines.extend(line(row));
    })?;
    // Columns are as wide as all PVs ask for, also those left out below.
    let widths = Widths::of(&lines);
    lines.retain(|l| {
        !(args.has(Opt::Exported) && !l.exported || args.has(Opt::NoVolumeGroup) && l.vg.is_some())
    });
    match units {
        Some(units) if !lines.is_empty() => print(ctx, args, &lines, &widths, &units),
        _ => ctx.terminal().line("No matching physical volumes found"),
    }
    Ok(())
}

fn line(row: &Row<'_>) -> Option<Line> {
    let pv = row.pv.filter(|p| p.duplicate.is_none())?;
    let name = match pv.device {
        Some(key) => row.world.inventory.device(key).name.clone(),
        None => "[unknown]".to_owned(),
    };
    Some(match row.member() {
        Some((view, key, member)) => Line {
            name,
            uuid: member.id.to_string(),
            vg: Some(view.vg().name.clone()),
            exported: member.exported || view.vg().status.exported,
            size: row.sectors(member.pe_count),
            free: row.sectors(member.pe_count.saturating_sub(view.usage().used(key))),
        },
        None => {
            let label = &pv.found?.label;
            Line {
                name,
                uuid: label.id.to_string(),
                vg: None,
                exported: false,
                size: label.device_size.sectors_floor().0,
                free: 0,
            }
        }
    })
}

/// Narrowest column of VG names.
const VG_WIDTH_MIN: usize = 15;

/// Lengths of the longest names.
struct Widths {
    pv: usize,
    vg: usize,
}

impl Widths {
    fn of(lines: &[Line]) -> Self {
        let vgs = lines.iter().filter_map(|l| l.vg.as_ref());
        Self {
            pv: lines.iter().map(|l| l.name.len()).max().unwrap_or(0),
            vg: vgs.map(String::len).max().unwrap_or(0),
        }
    }
}

fn print(ctx: &Context, args: &Args, lines: &[Line], widths: &Widths, units: &Units) {
    let out = ctx.terminal();
    let uuids = args.has(Opt::Uuid);
    let longest = widths.pv;
    let shown = |l: &Line| match uuids {
        true => format!("{:<longest$} with UUID {} ", l.name, l.uuid),
        false => format!("{:<longest$}", l.name),
    };
    let pv_width = lines.iter().map(|l| shown(l).len()).max().unwrap_or(0) + 2;
    let vg_width = (widths.vg + 2).max(VG_WIDTH_MIN);
    for l in lines {
        if args.has(Opt::Short) {
            out.line(&l.name);
            continue;
        }
        let name = shown(l);
        let sizes = format!(
            "[{} / {} free]",
            units.show_long(l.size),
            units.show_long(l.free)
        );
        out.line(&match &l.vg {
            None => format!(
                "PV {name:<pv_width$} {:<width$} lvm2 [{}]",
                "",
                units.show_long(l.size),
                width = vg_width + 3
            ),
            Some(vg) if l.exported => {
                format!("PV {name:<pv_width$}  is in exported VG {vg} {sizes}")
            }
            Some(vg) => format!("PV {name:<pv_width$} VG {vg:<vg_width$} lvm2 {sizes}"),
        });
    }
    let total = |test: &dyn Fn(&Line) -> bool| {
        let of: Vec<u64> = lines.iter().filter(|l| test(l)).map(|l| l.size).collect();
        format!("{} [{}]", of.len(), units.show_long(of.iter().sum()))
    };
    out.line(&format!(
        "Total: {} / in use: {} / in no VG: {}",
        total(&|_| true),
        total(&|l| l.vg.is_some()),
        total(&|l| l.vg.is_none())
    ));
}
