//! From what was scanned to the rows of a report.

use std::collections::{BTreeMap, BTreeSet};

use ulvm::activate::plan::lv_of_dm_name;
use ulvm::error::{Error, Result};
use ulvm::inventory::{DevKey, Inventory};
use ulvm::session::{Scope, Session};
use ulvm_metadata::model::{LvKey, Vg};
use ulvm_metadata::name::check_name;
use ulvm_metadata::units::Extents;

use super::options::{Base, Options, RowKind};
use super::row::{PvRow, Row, World};
use super::view::VgView;
use crate::args::Args;
use crate::context::Context;
use crate::exit::Worst;

/// The objects a command line names.
#[derive(Default)]
pub struct Wanted {
    /// VGs, each with the LVs wanted of it (`None` = all).
    vgs: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Devices.
    devices: Vec<DevKey>,
    /// Tags, without `@`.
    tags: Vec<String>,
    /// No operand was given.
    all: bool,
}

impl Wanted {
    /// No operand was given.
    pub fn everything(&self) -> bool {
        self.all
    }
    /// Anything of this VG?
    pub fn wants_vg(&self, vg: &Vg) -> bool {
        self.all || self.vgs.contains_key(&vg.name) || self.tagged(&vg.tags)
    }
    fn tagged(&self, tags: &[String]) -> bool {
        self.tags.iter().any(|t| tags.contains(t))
    }
    /// Was this LV asked for by name?
    fn named(&self, vg: &Vg, lv: &str) -> bool {
        matches!(self.vgs.get(&vg.name), Some(Some(names)) if names.contains(lv))
    }
    /// Were all LVs of the VG asked for?
    fn whole_vg(&self, vg: &Vg) -> bool {
        self.all || matches!(self.vgs.get(&vg.name), Some(None)) || self.tagged(&vg.tags)
    }
}

/// Parses the operands, reads what they need, and says which of them do not exist.
pub fn read(
    ctx: &Context,
    session: &mut Session,
    args: &Args,
    base: Base,
    worst: &mut Worst,
) -> Result<Wanted> {
    let mut wanted = Wanted {
        all: args.operands().is_empty(),
        ..Wanted::default()
    };
    for operand in args.operands() {
        if let Some(tag) = operand.strip_prefix('@') {
            wanted.tags.push(tag.to_owned());
        } else if base.of_pvs() {
            match session.name_device(operand) {
                Ok(key) => wanted.devices.push(key),
                Err(_) => {
                    worst.add::<()>(
                        ctx.ui(),
                        Err(Error::not_found(format!(
                            "Cannot use {operand}: device not found"
                        ))),
                    );
                }
            }
        } else {
            want_named(ctx, &mut wanted, operand, base, worst)?;
        }
    }
    let names: Vec<String> = wanted.vgs.keys().cloned().collect();
    let named_only = !wanted.all && wanted.tags.is_empty() && !base.of_pvs();
    let outcome = match named_only {
        true if names.is_empty() => Ok(()),
        true => session.read(Scope::Names(&names)).map(|_| ()),
        false => session.read(Scope::All).map(|_| ()),
    };
    if worst.add(ctx.ui(), outcome).is_some() {
        report_absent(ctx, session.inventory(), &names, worst);
    }
    Ok(wanted)
}

/// Says which named VGs do not exist.
fn report_absent(ctx: &Context, inventory: &Inventory, names: &[String], worst: &mut Worst) {
    for name in names {
        if !inventory.vgs.iter().any(|v| v.vg.name == *name) {
            worst.add::<()>(ctx.ui(), Err(Session::vg_not_found(name)));
        }
    }
}

/// `VG`, `VG/LV`, `/dev/VG/LV` or `/dev/mapper/VG-LV`.
fn want_named(
    ctx: &Context,
    wanted: &mut Wanted,
    operand: &str,
    base: Base,
    worst: &mut Worst,
) -> Result<()> {
    let plain = match operand.strip_prefix("/dev/mapper/").and_then(lv_of_dm_name) {
        Some((vg, lv)) => format!("{vg}/{lv}"),
        None => operand.strip_prefix("/dev/").unwrap_or(operand).to_owned(),
    };
    let (vg, lv) = match plain.split_once('/') {
        Some((vg, lv)) => (vg, Some(lv)),
        None => (plain.as_str(), None),
    };
    if base == Base::Vg && lv.is_some() {
        let command = ctx
            .settings()
            .command_line
            .split(' ')
            .next()
            .unwrap_or("vgs");
        return Err(Error::usage(format!(
            "Invalid volume group name {operand}.\nRun `{command} --help' for more information."
        )));
    }
    if lv.is_some_and(|l| l.contains('/')) {
        let text = format!("\"{operand}\": Invalid path for Logical Volume.");
        worst.add::<()>(ctx.ui(), Err(Error::refused(text)));
        return Ok(());
    }
    if check_name(vg).is_err() {
        let text = format!(
            "Volume group name \"{vg}\" has invalid characters.\nCannot process volume group {vg}"
        );
        worst.add::<()>(ctx.ui(), Err(Error::refused(text)));
        return Ok(());
    }
    let entry = wanted
        .vgs
        .entry(vg.to_owned())
        .or_insert_with(|| Some(BTreeSet::new()));
    match (lv, entry) {
        (Some(lv), Some(names)) => {
            names.insert(lv.to_owned());
        }
        (None, entry) => *entry = None,
        (Some(_), None) => {}
    }
    Ok(())
}

/// The rows of a report, unsorted.
pub fn rows<'a>(
    ctx: &Context,
    world: &'a World<'a>,
    views: &'a [VgView<'a>],
    wanted: &Wanted,
    options: &Options,
    worst: &mut Worst,
) -> Vec<Row<'a>> {
    if options.base.of_pvs() {
        return pv_command_rows(ctx, world, views, wanted, options, worst);
    }
    let mut out = Vec::new();
    for view in views {
        let vg = view.vg();
        let lvs = matches!(options.rows, RowKind::Lv | RowKind::Segment);
        if lvs && options.base != Base::Vg && vg.status.exported {
            if wanted.vgs.contains_key(&vg.name) {
                worst.add::<()>(
                    ctx.ui(),
                    Err(Error::refused(format!(
                        "Volume group {} is exported",
                        vg.name
                    ))),
                );
            }
            continue;
        }
        match options.rows {
            RowKind::Lv | RowKind::Segment => {
                absent_lvs(ctx, view, wanted, worst);
                for key in wanted_lvs(view, wanted, options.all) {
                    push_lv(&mut out, world, view, key, options.rows);
                }
            }
            _ if wanted.wants_vg(vg) => out.extend(rows_of_vg(world, view, options)),
            _ => {}
        }
    }
    out
}

fn absent_lvs(ctx: &Context, view: &VgView<'_>, wanted: &Wanted, worst: &mut Worst) {
    let vg = &view.vg().name;
    if let Some(Some(names)) = wanted.vgs.get(vg) {
        for name in names.iter().filter(|n| view.find(n).is_none()) {
            let text = format!("Failed to find logical volume \"{vg}/{name}\"");
            worst.add::<()>(ctx.ui(), Err(Error::not_found(text)));
        }
    }
}

/// LVs of a VG that are asked for: hidden ones only with `-a` or by name.
fn wanted_lvs(view: &VgView<'_>, wanted: &Wanted, all: bool) -> Vec<LvKey> {
    let vg = view.vg();
    let whole = wanted.whole_vg(vg);
    vg.lvs
        .iter()
        .filter(|(key, lv)| {
            wanted.named(vg, &lv.name)
                || ((whole || wanted.tagged(&lv.tags)) && (all || view.is_visible(*key)))
        })
        .map(|(key, _)| key)
        .filter(|key| !view.is_snapshot_holder(*key))
        .collect()
}

fn push_lv<'a>(
    out: &mut Vec<Row<'a>>,
    world: &'a World<'a>,
    view: &'a VgView<'a>,
    key: LvKey,
    kind: RowKind,
) {
    let row = Row {
        vg: Some(view),
        lv: Some(key),
        ..Row::new(world)
    };
    if kind == RowKind::Segment {
        out.extend((0..view.lv(key).segments.len()).map(|s| Row {
            segment: Some(s),
            ..row
        }));
    } else {
        out.push(row);
    }
}

/// All rows of one VG.
pub fn rows_of_vg<'a>(
    world: &'a World<'a>,
    view: &'a VgView<'a>,
    options: &Options,
) -> Vec<Row<'a>> {
    let mut out = Vec::new();
    match options.rows {
        RowKind::Vg => out.push(Row {
            vg: Some(view),
            ..Row::new(world)
        }),
        RowKind::Lv | RowKind::Segment => {
            let everything = Wanted {
                all: true,
                ..Wanted::default()
            };
            for key in wanted_lvs(view, &everything, options.all) {
                push_lv(&mut out, world, view, key, options.rows);
            }
        }
        RowKind::Pv | RowKind::PvSegment => {
            for key in view.vg().pvs.keys() {
                push_pv(&mut out, world, PvRow::member(view, key), options.rows);
            }
        }
    }
    out
}

/// Rows of the PVs that are in no VG.
pub fn orphan_rows<'a>(world: &'a World<'a>, kind: RowKind) -> Vec<Row<'a>> {
    let mut out = Vec::new();
    for found in &world.inventory.orphans {
        push_pv(&mut out, world, PvRow::orphan(found), kind);
    }
    out
}

/// One row for a PV, or one for each run of its extents. What has no extents is shown all the same,
/// without its VG, as LVM2 does.
fn push_pv<'a>(out: &mut Vec<Row<'a>>, world: &'a World<'a>, pv: PvRow<'a>, kind: RowKind) {
    let bare = Row {
        pv: Some(pv),
        ..Row::new(world)
    };
    let vg = pv.member.map(|(view, _)| view);
    if kind != RowKind::PvSegment {
        out.push(Row { vg, ..bare });
        return;
    }
    let before = out.len();
    if let Some((view, key)) = pv.member {
        out.extend(view.runs(key).into_iter().map(|(start, len, used)| Row {
            vg,
            run: Some((start, len)),
            lv: used.map(|u| u.lv),
            segment: used.map(|u| u.segment as usize),
            ..bare
        }));
    }
    if out.len() == before {
        out.push(Row {
            run: Some((Extents::ZERO, Extents::ZERO)),
            ..bare
        });
    }
}

fn pv_command_rows<'a>(
    ctx: &Context,
    world: &'a World<'a>,
    views: &'a [VgView<'a>],
    wanted: &Wanted,
    options: &Options,
    worst: &mut Worst,
) -> Vec<Row<'a>> {
    let mut out = Vec::new();
    let mut seen: BTreeSet<DevKey> = BTreeSet::new();
    let wants = |device: Option<DevKey>, tags: &[String]| {
        wanted.all || device.is_some_and(|d| wanted.devices.contains(&d)) || wanted.tagged(tags)
    };
    for view in views {
        let whole = wanted.tagged(&view.vg().tags);
        for (key, pv) in view.vg().pvs.iter() {
            let row = PvRow::member(view, key);
            seen.extend(row.device);
            if whole || wants(row.device, &pv.tags) {
                push_pv(&mut out, world, row, options.rows);
            }
        }
    }
    for found in &world.inventory.orphans {
        seen.insert(found.device);
        if wants(Some(found.device), &[]) {
            push_pv(&mut out, world, PvRow::orphan(found), options.rows);
        }
    }
    for duplicate in &world.inventory.duplicates {
        seen.insert(duplicate.pv.device);
        let named = wanted.devices.contains(&duplicate.pv.device);
        if named || (wanted.all && options.all) {
            push_pv(&mut out, world, PvRow::duplicate(duplicate), options.rows);
        }
    }
    seen.extend(world.inventory.hidden.iter().map(|h| h.device));
    let inventory = &world.inventory;
    let excluded: std::collections::HashSet<&str> =
        inventory.excluded.iter().map(|e| e.0.as_str()).collect();
    for (key, device) in inventory.devices().filter(|(k, _)| !seen.contains(k)) {
        if excluded.contains(device.name.as_str()) {
            continue;
        }
        if wanted.all && options.all {
            push_pv(&mut out, world, PvRow::no_pv(key), options.rows);
        } else if wanted.devices.contains(&key) {
            let text = format!("Failed to find physical volume \"{}\".", device.name);
            worst.add::<()>(ctx.ui(), Err(Error::not_found(text)));
        }
    }
    out
}
