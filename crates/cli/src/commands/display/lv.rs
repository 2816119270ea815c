//! LVs.

use ulvm_metadata::model::{AllocPolicy, LvKey, ReadAhead, SegmentKind};

use super::{BLANK, map};
use crate::report::kind::LvKind;
use crate::report::row::Row;
use crate::report::units::Units;
use crate::report::value::Value;
use crate::report::view::{Use, VgView};
use crate::ui::Terminal;

/// The block of one LV; with its segments if asked for. `driver` is whether activation is
/// possible at all, so that there is a state to be told.
pub fn long(out: &Terminal, row: &Row<'_>, units: &Units, maps: bool, driver: bool) {
    let Some((view, key)) = row.view() else {
        return;
    };
    let (vg, lv) = (view.vg(), view.lv(key));
    let kind = LvKind::new(view, key);
    let size = |k: LvKey| units.show_long(view.lv(k).extents().to_sectors(vg.extent_size).0);
    let field = |name: &str, value: &str| out.line(&format!("{name:<23}{value}"));
    out.line("--- Logical volume ---");
    if !view.is_visible(key) {
        field("Internal LV Name", &lv.name);
    } else {
        if !kind.is_thin_pool() {
            field("LV Path", &path(row, view, key));
        }
        field("LV Name", &lv.name);
    }
    field("VG Name", &vg.name);
    field("LV UUID", &lv.id.to_string());
    field(
        "LV Write Access",
        if lv.status.write {
            "read/write"
        } else {
            "read only"
        },
    );
    if let Some(creation) = lv.creation.as_ref().filter(|c| c.time != 0) {
        let time = crate::report::value::show_time(creation.time);
        out.line(&format!("LV Creation host, time {}, {time}", creation.host));
    }
    relations(out, view, key, &field);
    if driver {
        match row.device() {
            None => field("LV Status", "NOT available"),
            Some(device) => {
                let suspended = if device.suspended {
                    "suspended"
                } else {
                    "available"
                };
                field("LV Status", suspended);
                field("# open", if device.open == Some(true) { "1" } else { "0" });
            }
        }
    }
    let snapshot = view.snapshot(key);
    let whole = snapshot.map_or(key, |s| s.origin);
    field("LV Size", &size(whole));
    field("Current LE", &view.lv(whole).extents().to_string());
    if let Some(snapshot) = snapshot {
        field("COW-table size", &size(key));
        field("COW-table LE", &lv.extents().to_string());
        field(
            "Snapshot chunk size",
            &units.show_long(snapshot.chunk_size.0),
        );
    }
    if let Some(copies) = mirrored(&kind, view, key) {
        field("Mirrored volumes", &copies.to_string());
    }
    field("Segments", &lv.segments.len().to_string());
    field("Allocation", lv.alloc.word());
    field("Read ahead sectors", &read_ahead(lv.read_ahead));
    if lv.status.fixed_minor {
        if let Some(major) = lv.major.filter(|m| *m >= 0) {
            field("Persistent major", &major.to_string());
        }
        field("Persistent minor", &lv.minor.unwrap_or(-1).to_string());
    }
    out.line(BLANK);
    if maps {
        map::segments(out, row, units);
    }
}

/// What the LV is to others.
fn relations(out: &Terminal, view: &VgView<'_>, key: LvKey, field: &dyn Fn(&str, &str)) {
    let snapshots = view.snapshots_of(key);
    if !snapshots.is_empty() {
        field("LV snapshot status", "source of");
        for cow in snapshots {
            out.line(&format!("{:<23}{} [INACTIVE]", "", view.lv(*cow).name));
        }
    }
    if let Some(snapshot) = view.snapshot(key) {
        let origin = &view.lv(snapshot.origin).name;
        field(
            "LV snapshot status",
            &format!("INACTIVE destination for {origin}"),
        );
    }
    let kind = LvKind::new(view, key);
    if kind.is_thin() {
        if let Some(pool) = view.pool_of(key) {
            field("LV Pool name", &view.lv(pool).name);
        }
        if let Some(origin) = view.origin_of(key) {
            field("LV Thin origin name", &view.lv(origin).name);
        }
    }
    let (data, metadata) = view.pool_parts(key);
    if let Some(metadata) = metadata {
        field("LV Pool metadata", &view.lv(metadata).name);
    }
    if let Some(data) = data {
        field("LV Pool data", &view.lv(data).name);
    }
    if let Some(cache) = view.user(key, Use::CacheOrigin) {
        field("LV origin of Cache LV", &view.lv(cache).name);
    }
}

fn mirrored(kind: &LvKind<'_, '_>, view: &VgView<'_>, key: LvKey) -> Option<usize> {
    match &view.lv(key).segments.first()?.kind {
        SegmentKind::Mirror(m) => Some(m.legs.len()),
        SegmentKind::Raid(r) if r.level.starts_with("raid1") => kind.raid().map(|r| r.images.len()),
        _ => None,
    }
}

fn read_ahead(read_ahead: ReadAhead) -> String {
    match read_ahead {
        ReadAhead::Auto => "auto".to_owned(),
        ReadAhead::None => "0".to_owned(),
        ReadAhead::Sectors(n) => n.to_string(),
    }
}

fn path(row: &Row<'_>, view: &VgView<'_>, key: LvKey) -> String {
    format!(
        "{}/{}/{}",
        row.world.dev_dir,
        view.vg().name,
        view.lv(key).name
    )
}

/// `lvdisplay -c`
pub fn colon(out: &Terminal, row: &Row<'_>) {
    let Some((view, key)) = row.view() else {
        return;
    };
    let (vg, lv) = (view.vg(), view.lv(key));
    let access = u8::from(lv.status.read) | u8::from(lv.status.write) << 1;
    let contiguous = if lv.alloc == AllocPolicy::Contiguous {
        2
    } else {
        0
    };
    let read_ahead = match lv.read_ahead {
        ReadAhead::Auto => -1,
        ReadAhead::None => 0,
        ReadAhead::Sectors(n) => i64::from(n),
    };
    out.line(&format!(
        "{}:{}:{access}:0:-1:0:{}:{}:-1:{contiguous}:{read_ahead}:-1:-1",
        path(row, view, key),
        vg.name,
        lv.extents().to_sectors(vg.extent_size),
        lv.extents()
    ));
}

/// A line of `lvscan`.
pub fn scan(out: &Terminal, row: &Row<'_>, units: &Units) {
    let Some((view, key)) = row.view() else {
        return;
    };
    let lv = view.lv(key);
    let kind = LvKind::new(view, key);
    let role = match (kind.is_cow(), kind.is_thick_origin()) {
        (true, _) => "Snapshot",
        (false, true) => "Original",
        (false, false) => "",
    };
    out.line(&format!(
        "{:<8} {role:<8} '{}' [{}] {}",
        if row.device().is_some() {
            "ACTIVE"
        } else {
            "inactive"
        },
        path(row, view, key),
        units.show_long(lv.extents().to_sectors(view.vg().extent_size).0),
        lv.alloc.word()
    ));
}

/// The text of a report field, for the lines that show the same.
pub(super) fn shown<'a>(value: &'a Value<'a>) -> &'a str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}
