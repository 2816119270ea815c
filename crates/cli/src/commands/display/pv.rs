//! PVs.

use ulvm_metadata::model::Pv;
use ulvm_metadata::units::Extents;

use super::BLANK;
use crate::report::row::Row;
use crate::report::units::Units;
use crate::ui::Terminal;

/// Status bits of the colon form.
const ALLOCATABLE: u64 = 0x8;
const EXPORTED: u64 = 0x2;
const MISSING: u64 = 0x80_0000;

struct Facts {
    name: String,
    uuid: String,
    vg: String,
    /// Sectors.
    size: u64,
    extent_size: u64,
    total: Extents,
    used: Extents,
    allocatable: bool,
    exported: bool,
    missing: bool,
    orphan: bool,
}

fn facts(row: &Row<'_>) -> Option<Facts> {
    let pv_row = row.pv.filter(|p| p.duplicate.is_none())?;
    let name = match pv_row.device {
        Some(key) => row.world.inventory.device(key).name.clone(),
        None => "[unknown]".to_owned(),
    };
    if let Some((view, key, pv)) = row.member() {
        let vg = view.vg();
        return Some(Facts {
            name,
            uuid: pv.id.to_string(),
            vg: vg.name.clone(),
            size: member_size(pv, row),
            extent_size: vg.extent_size.0,
            total: pv.pe_count,
            used: view.usage().used(key),
            allocatable: pv.allocatable,
            exported: pv.exported || vg.status.exported,
            missing: view.read.pv(key).missing,
            orphan: false,
        });
    }
    let label = &pv_row.found?.label;
    Some(Facts {
        name,
        uuid: label.id.to_string(),
        vg: String::new(),
        size: label.device_size.sectors_floor().0,
        extent_size: 0,
        total: Extents::ZERO,
        used: Extents::ZERO,
        allocatable: false,
        exported: false,
        missing: false,
        orphan: true,
    })
}

/// As the metadata have it, else as the device is.
fn member_size(pv: &Pv, row: &Row<'_>) -> u64 {
    let device = row.pv.and_then(|p| p.device);
    pv.dev_size
        .map(|s| s.0)
        .or_else(|| device.map(|d| row.world.inventory.device(d).sectors().0))
        .unwrap_or(0)
}

impl Facts {
    fn free(&self) -> Extents {
        self.total.saturating_sub(self.used)
    }
    fn announce(&self, out: &Terminal, units: &Units) {
        if self.orphan {
            let size = units.show_long(self.size);
            out.line(&format!(
                "\"{}\" is a new physical volume of \"{size}\"",
                self.name
            ));
        } else if self.exported {
            out.line(&format!(
                "Physical volume \"{}\" of volume group \"{}\" is exported",
                self.name, self.vg
            ));
        }
    }
    /// The size, and how much of it no extent covers.
    fn size_line(&self, pe_start: u64, units: &Units) -> String {
        let data = u64::from(self.total.0).saturating_mul(self.extent_size);
        if data == 0 {
            return units.show_long(self.size);
        }
        let whole = data.saturating_add(pe_start);
        let (size, unusable) = if self.size > whole {
            (self.size, self.size - data)
        } else {
            (whole, whole - self.size)
        };
        format!(
            "{} / not usable {}",
            units.show_long(size),
            units.show_long(unusable)
        )
    }
}

/// The block of one PV; with a map of its extents if asked for.
pub fn long(out: &Terminal, row: &Row<'_>, units: &Units, map: bool) {
    let Some(f) = facts(row) else {
        return;
    };
    f.announce(out, units);
    let pe_start = row.member().map_or(0, |(_, _, pv)| pv.pe_start.0);
    let kind = if f.orphan { "NEW Physical" } else { "Physical" };
    out.line(&format!("--- {kind} volume ---"));
    let field = |name: &str, value: &str| out.line(&format!("{name:<22}{value}"));
    field("PV Name", &f.name);
    let exported = if f.exported { " (exported)" } else { "" };
    field("VG Name", &format!("{}{exported}", f.vg));
    field("PV Size", &f.size_line(pe_start, units));
    field(
        "Allocatable",
        match (f.allocatable && !f.total.is_zero(), f.free().is_zero()) {
            (false, _) => "NO",
            (true, true) => "yes (but full)",
            (true, false) => "yes ",
        },
    );
    field("PE Size", &units.show_long(f.extent_size));
    field("Total PE", &f.total.to_string());
    field("Free PE", &f.free().to_string());
    field("Allocated PE", &f.used.to_string());
    field("PV UUID", &f.uuid);
    out.line(BLANK);
    if map {
        self::map(out, row);
    }
}

fn map(out: &Terminal, row: &Row<'_>) {
    if let Some((view, key, _)) = row.member() {
        out.line("--- Physical Segments ---");
        for (start, len, used) in view.runs(key) {
            let last = u64::from(start.0) + u64::from(len.0.saturating_sub(1));
            out.line(&format!("Physical extent {start} to {last}:"));
            let Some(used) = used else {
                out.line("  FREE");
                continue;
            };
            let lv = view.lv(used.lv);
            let path = format!("{}/{}/{}", row.world.dev_dir, view.vg().name, lv.name);
            out.line(&format!("  Logical volume\t{path}"));
            if let Some(segment) = lv.segments.get(used.segment as usize) {
                let last = u64::from(segment.start.0) + u64::from(segment.len.0.saturating_sub(1));
                out.line(&format!("  Logical extents\t{} to {last}", segment.start));
            }
        }
    }
    out.line(BLANK);
}

/// `pvdisplay -c`
pub fn colon(out: &Terminal, row: &Row<'_>, units: &Units) {
    let Some(f) = facts(row) else {
        return;
    };
    f.announce(out, units);
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    let allocatable = bit(f.allocatable, ALLOCATABLE);
    let status = allocatable | bit(f.exported, EXPORTED) | bit(f.missing, MISSING);
    out.line(&format!(
        "{}:{}:{}:-1:{status}:{allocatable}:-1:{}:{}:{}:{}:{}",
        f.name,
        f.vg,
        f.size,
        f.extent_size / 2,
        f.total,
        f.free(),
        f.used,
        f.uuid
    ));
}

/// `pvdisplay -s`
pub fn short(out: &Terminal, row: &Row<'_>, units: &Units) {
    let Some(f) = facts(row) else {
        return;
    };
    let free = if f.orphan {
        f.size
    } else {
        u64::from(f.free().0).saturating_mul(f.extent_size)
    };
    out.line(&format!(
        "Device \"{}\" has a capacity of {}",
        f.name,
        units.show_long(free)
    ));
}
