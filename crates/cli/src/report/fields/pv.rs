//! Fields about PVs, their labels, and runs of their extents.

use std::borrow::Cow;

use ulvm::inventory::{Device, DeviceKind, MdaCopy};

use super::{Field, Group, group};
use crate::report::row::Row;
use crate::report::value::Value;

/// About labels and devices.
pub const LABEL: &[Field] = group! { Group::Label;
    "pv_fmt", "Fmt", 3, Text, "Metadata format.", |r| Value::text(if r.pv.is_some_and(|p| p.found.is_some() || p.member.is_some()) { "lvm2" } else { "" });
    "pv_uuid", "PV UUID", 38, Text, "Identity.", uuid;
    "dev_size", "DevSize", 7, Size, "Size of the device.", |r| Value::Size(device(r).map_or(0, |d| d.sectors().0));
    "pv_name", "PV", 2, Text, "Name of the device.", name;
    "pv_major", "Maj", 3, Text, "Major number of the device.", |r| Value::text(numbers(r).0);
    "pv_minor", "Min", 3, Text, "Minor number of the device.", |r| Value::text(numbers(r).1);
    "pv_mda_free", "PMdaFree", 9, Size, "Least room left in a metadata area.", |r| Value::Size(mdas(r).filter(|m| m.in_use()).map(MdaCopy::free).min().unwrap_or(0) / 512);
    "pv_mda_size", "PMdaSize", 9, Size, "Size of the smallest metadata area.", |r| Value::Size(mdas(r).map(|m| m.size.0).min().unwrap_or(0) / 512);
    "pv_ext_vsn", "PExtVsn", 7, Number, "Version of the header extension.", ext_version;
};

/// About PVs.
pub const FIELDS: &[Field] = group! { Group::Pv;
    "pe_start", "1st PE", 7, Size, "Where the first extent begins.", pe_start;
    "pv_size", "PSize", 5, Size, "Size.", size;
    "pv_free", "PFree", 5, Size, "Free space.", free;
    "pv_used", "Used", 4, Size, "Space in use.", used;
    "pv_attr", "Attr", 4, Text, "Three letters; see pvs(8).", |r| Value::text(attr(r));
    "pv_allocatable", "Allocatable", 11, Number, "Set if extents may be taken.", |r| Value::flag(r.member().is_some_and(|(_, _, p)| p.allocatable), "allocatable");
    "pv_exported", "Exported", 10, Number, "Set if exported.", |r| Value::flag(exported(r), "exported");
    "pv_missing", "Missing", 10, Number, "Set if missing.", |r| Value::flag(missing(r), "missing");
    "pv_pe_count", "PE", 3, Number, "Number of extents.", |r| Value::number(r.member().map_or(0, |(_, _, p)| p.pe_count.0));
    "pv_pe_alloc_count", "Alloc", 5, Number, "Number of extents in use.", |r| Value::number(r.member().map_or(0, |(v, k, _)| v.usage().used(k).0));
    "pv_tags", "PV Tags", 7, List, "Tags.", |r| Value::sorted(r.member().map_or(Vec::new(), |(_, _, p)| p.tags.iter().map(|t| Cow::Borrowed(t.as_str())).collect()));
    "pv_mda_count", "#PMda", 5, Number, "Number of metadata areas.", |r| Value::count(mdas(r).count());
    "pv_mda_used_count", "#PMdaUse", 8, Number, "Number of metadata areas in use.", |r| Value::count(mdas(r).filter(|m| m.in_use()).count());
    "pv_ba_start", "BA Start", 8, Size, "Where the boot loader area begins.", |r| Value::Size(bootloader(r).0);
    "pv_ba_size", "BA Size", 7, Size, "Size of the boot loader area.", |r| Value::Size(bootloader(r).1);
    "pv_in_use", "PInUse", 6, Number, "Set if in a VG.", |r| Value::flag(in_use(r), "used");
    "pv_duplicate", "Duplicate", 9, Number, "Set if another device with this identity is used.", |r| Value::flag(r.pv.is_some_and(|p| p.duplicate.is_some()), "duplicate");
    "pv_device_id", "DeviceID", 8, Text, "Identity in the devices file.", |r| Value::opt_text(device_id(r).map(|d| d.name.as_str()));
    "pv_device_id_type", "DeviceIDType", 12, Text, "Kind of that identity.", |r| Value::opt_text(device_id(r).map(|d| d.kind.as_str()));
};

/// About runs of extents.
pub const SEGMENT: &[Field] = group! { Group::PvSegment;
    "pvseg_start", "Start", 5, Number, "First extent of the run.", |r| Value::number(r.run.map_or(0, |x| x.0.0));
    "pvseg_size", "SSize", 5, Number, "Extents in the run.", |r| Value::number(r.run.map_or(0, |x| x.1.0));
};

fn device<'a>(r: &Row<'a>) -> Option<&'a Device> {
    let inventory = r.world.inventory;
    r.pv?.device.map(|d| inventory.device(d))
}

/// As the VG's metadata have it.
fn device_id<'a>(r: &Row<'a>) -> Option<&'a ulvm_metadata::model::DeviceId> {
    r.member().and_then(|(_, _, p)| p.device_id.as_ref())
}

fn mdas<'a>(r: &Row<'a>) -> impl Iterator<Item = &'a MdaCopy> {
    r.pv.into_iter().flat_map(|p| p.mdas())
}

fn uuid<'a>(r: &Row<'a>) -> Value<'a> {
    let id = match (r.member(), r.pv.and_then(|p| p.found)) {
        (Some((_, _, pv)), _) => pv.id.to_string(),
        (None, Some(found)) => found.label.id.to_string(),
        (None, None) => String::new(),
    };
    Value::text(id)
}

fn name<'a>(r: &Row<'a>) -> Value<'a> {
    match device(r) {
        Some(device) => Value::text(device.name.as_str()),
        None if r.world.two_word_unknown => Value::text("unknown device"),
        None => Value::text("[unknown]"),
    }
}

fn numbers(r: &Row<'_>) -> (String, String) {
    match device(r).map(|d| &d.kind) {
        Some(DeviceKind::Block { major, minor }) => (major.to_string(), minor.to_string()),
        Some(DeviceKind::File) => ("-1".to_owned(), "-1".to_owned()),
        None => ("0".to_owned(), "0".to_owned()),
    }
}

fn ext_version<'a>(r: &Row<'a>) -> Value<'a> {
    match r.pv {
        Some(pv) if pv.duplicate.is_none() => pv
            .found
            .map_or(Value::Blank, |f| Value::number(f.label.ext_version)),
        _ => Value::Blank,
    }
}

/// The label of a PV that is in no VG.
fn orphan<'a>(r: &Row<'a>) -> Option<&'a ulvm::inventory::PvLabel> {
    let pv =
        r.pv.filter(|p| p.member.is_none() && p.duplicate.is_none())?;
    pv.found.map(|f| &f.label)
}

fn pe_start<'a>(r: &Row<'a>) -> Value<'a> {
    Value::Size(match (r.member(), orphan(r)) {
        (Some((_, _, pv)), _) => pv.pe_start.0,
        (None, Some(label)) => label.data_start.sectors_floor().0,
        (None, None) => 0,
    })
}

fn size<'a>(r: &Row<'a>) -> Value<'a> {
    Value::Size(match (r.member(), orphan(r)) {
        (Some((_, _, pv)), _) if pv.pe_count.is_zero() => pv.dev_size.map_or(0, |s| s.0),
        (Some((_, _, pv)), _) => r.sectors(pv.pe_count),
        (None, Some(label)) => label.device_size.sectors_floor().0,
        (None, None) => 0,
    })
}

fn free<'a>(r: &Row<'a>) -> Value<'a> {
    Value::Size(match (r.member(), orphan(r)) {
        (Some((view, key, pv)), _) => r.sectors(pv.pe_count.saturating_sub(view.usage().used(key))),
        (None, Some(label)) if !label.used => label.device_size.sectors_floor().0,
        (None, _) => 0,
    })
}

fn used<'a>(r: &Row<'a>) -> Value<'a> {
    Value::Size(
        r.member()
            .map_or(0, |(view, key, _)| r.sectors(view.usage().used(key))),
    )
}

fn exported(r: &Row<'_>) -> bool {
    r.member()
        .is_some_and(|(v, _, p)| p.exported || v.vg().status.exported)
}

fn missing(r: &Row<'_>) -> bool {
    r.member()
        .is_some_and(|(view, key, _)| view.read.pv(key).missing)
}

fn in_use(r: &Row<'_>) -> bool {
    r.member().is_some()
        || r.pv.is_some_and(|p| p.duplicate.is_some())
        || orphan(r).is_some_and(|l| l.used)
}

/// `pv_attr`: allocatable or in use or duplicate, exported, missing.
fn attr(r: &Row<'_>) -> String {
    let state = match r.member() {
        Some((_, _, pv)) if pv.allocatable => 'a',
        Some(_) => 'u',
        None if r.pv.is_some_and(|p| p.duplicate.is_some()) => 'd',
        None if in_use(r) => 'u',
        None => '-',
    };
    let mark = |set: bool, letter: char| if set { letter } else { '-' };
    [state, mark(exported(r), 'x'), mark(missing(r), 'm')]
        .iter()
        .collect()
}

/// Start and size in sectors.
fn bootloader(r: &Row<'_>) -> (u64, u64) {
    let label =
        r.pv.filter(|p| p.duplicate.is_none())
            .and_then(|p| p.found)
            .map(|f| &f.label);
    match (label.and_then(|l| l.bootloader), r.member()) {
        (Some((start, size)), _) => (start.sectors_floor().0, size.sectors_floor().0),
        (None, Some((_, _, pv))) => pv.bootloader.map_or((0, 0), |b| (b.start.0, b.size.0)),
        (None, None) => (0, 0),
    }
}
