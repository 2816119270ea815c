//! VGs.

use ulvm::inventory::MdaState;

use super::{BLANK, lv};
use crate::report::row::Row;
use crate::report::units::Units;
use crate::report::view::VgView;
use crate::ui::Terminal;

/// Status bits of the colon form.
const READ: u64 = 0x100;
const WRITE: u64 = 0x200;
const RESIZEABLE: u64 = 0x4;
const EXPORTED: u64 = 0x2;

struct Totals {
    total: u64,
    used: u64,
}

fn totals(view: &VgView<'_>) -> Totals {
    let vg = view.vg();
    Totals {
        total: vg.pvs.values().map(|p| p.pe_count.get()).sum(),
        used: vg.pvs.keys().map(|k| view.usage().used(k).get()).sum(),
    }
}

impl Totals {
    fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

fn access(view: &VgView<'_>) -> (&'static str, &'static str) {
    let status = view.vg().status;
    match (status.read, status.write) {
        (_, true) => ("read/write", "r/w"),
        _ => ("read", "r"),
    }
}

/// The block of one VG; with its LVs and PVs if `verbose`.
pub fn long(out: &Terminal, row: &Row<'_>, units: &Units, verbose: bool, driver: bool) {
    let Some(view) = row.vg else {
        return;
    };
    let vg = view.vg();
    let t = totals(view);
    let size = |extents: u64| units.show_long(extents.saturating_mul(vg.extent_size.0));
    let metadata_areas = view
        .read
        .mdas()
        .filter(|m| !matches!(m.state, MdaState::Bad(_)))
        .count();
    out.line("--- Volume group ---");
    let field = |name: &str, value: &str| out.line(&format!("{name:<22}{value}"));
    field("VG Name", &vg.name);
    field("System ID", vg.system_id.as_deref().unwrap_or(""));
    field("Format", "lvm2");
    field("Metadata Areas", &metadata_areas.to_string());
    field("Metadata Sequence No", &vg.seqno.to_string());
    field("VG Access", access(view).0);
    field(
        "VG Status",
        &format!(
            "{}{}",
            if vg.status.exported { "exported/" } else { "" },
            if vg.status.resizeable {
                "resizable"
            } else {
                "NOT resizable"
            }
        ),
    );
    if vg.status.clustered {
        field("Clustered", "yes");
        field("Shared", "no");
    }
    field("MAX LV", &vg.max_lv.to_string());
    field("Cur LV", &view.visible_lvs().to_string());
    field("Open LV", "0");
    field("Max PV", &vg.max_pv.to_string());
    field("Cur PV", &vg.pvs.len().to_string());
    field(
        "Act PV",
        &vg.pvs
            .len()
            .saturating_sub(view.read.missing().len())
            .to_string(),
    );
    field("VG Size", &size(t.total));
    field("PE Size", &units.show_long(vg.extent_size.0));
    field("Total PE", &t.total.to_string());
    field("Alloc PE / Size", &format!("{} / {}", t.used, size(t.used)));
    field(
        "Free  PE / Size",
        &format!("{} / {}", t.free(), size(t.free())),
    );
    field("VG UUID", &vg.id.to_string());
    out.line(BLANK);
    if verbose {
        contents(out, row, view, units, driver);
    }
}

fn contents(out: &Terminal, row: &Row<'_>, view: &VgView<'_>, units: &Units, driver: bool) {
    let vg = view.vg();
    for key in vg.lvs.keys().filter(|k| view.is_visible(*k)) {
        let lv_row = Row {
            lv: Some(key),
            ..*row
        };
        lv::long(out, &lv_row, units, false, driver);
    }
    out.line("--- Physical volumes ---");
    for (key, pv) in vg.pvs.iter() {
        let name = view.pv_name(key, row.world.two_word_unknown);
        let free = pv.pe_count.saturating_sub(view.usage().used(key));
        out.line(&format!("{:<22}{name}     ", "PV Name"));
        out.line(&format!("{:<22}{}", "PV UUID", pv.id));
        let word = if pv.allocatable {
            "allocatable"
        } else {
            "NOT allocatable"
        };
        out.line(&format!("{:<22}{word}", "PV Status"));
        out.line(&format!(
            "{:<22}{} / {free}",
            "Total PE / Free PE", pv.pe_count
        ));
        out.line(BLANK);
    }
}

/// `vgdisplay -c`
pub fn colon(out: &Terminal, row: &Row<'_>) {
    let Some(view) = row.vg else {
        return;
    };
    let vg = view.vg();
    let t = totals(view);
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    let status = bit(vg.status.read, READ)
        | bit(vg.status.write, WRITE)
        | bit(vg.status.resizeable, RESIZEABLE)
        | bit(vg.status.exported, EXPORTED);
    out.line(&format!(
        "{}:{}:{status}:-1:{}:{}:0:-1:{}:{}:{}:{}:{}:{}:{}:{}:{}",
        vg.name,
        access(view).1,
        vg.max_lv,
        view.visible_lvs(),
        vg.max_pv,
        vg.pvs.len(),
        vg.pvs.len().saturating_sub(view.read.missing().len()),
        t.total.saturating_mul(vg.extent_size.0) / 2,
        vg.extent_size.0 / 2,
        t.total,
        t.used,
        t.free(),
        vg.id
    ));
}

/// `vgdisplay -s`
pub fn short(out: &Terminal, row: &Row<'_>, units: &Units) {
    let Some(view) = row.vg else {
        return;
    };
    let vg = view.vg();
    let t = totals(view);
    let size = |extents: u64| units.show_long(extents.saturating_mul(vg.extent_size.0));
    out.line(&format!(
        "\"{}\" {:<9} [{:<9} used / {} free]",
        vg.name,
        size(t.total),
        size(t.used),
        size(t.free())
    ));
}
