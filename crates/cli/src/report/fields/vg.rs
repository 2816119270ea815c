//! Fields about VGs. A row without a VG shows what LVM2 shows for orphan PVs.

use std::borrow::Cow;

use ulvm::inventory::{MdaCopy, MdaState};
use ulvm_metadata::model::Vg;

use super::{Field, Group, group};
use crate::report::row::Row;
use crate::report::value::Value;
use crate::report::view::VgView;

/// About VGs.
pub const FIELDS: &[Field] = group! { Group::Vg;
    "vg_fmt", "Fmt", 3, Text, "Metadata format.", |r| Value::text(if r.vg.is_some() { "lvm2" } else { "" });
    "vg_uuid", "VG UUID", 38, Text, "Identity.", |r| Value::text(r.vg().map_or(String::new(), |v| v.id.to_string()));
    "vg_name", "VG", 2, Text, "Name.", name;
    "vg_attr", "Attr", 5, Text, "Six letters; see vgs(8).", |r| Value::text(attr(r));
    "vg_permissions", "VPerms", 10, Text, "Whether it may be changed.", |r| Value::text(if r.vg().is_some_and(|v| v.status.write) { "writeable" } else { "read-only" });
    "vg_extendable", "Extendable", 10, Number, "Set if PVs may be added.", |r| Value::flag(r.vg().is_some_and(|v| v.status.resizeable), "extendable");
    "vg_exported", "Exported", 10, Number, "Set if exported.", |r| Value::flag(r.vg().is_some_and(|v| v.status.exported), "exported");
    "vg_autoactivation", "AutoAct", 7, Number, "Set if LVs are activated at boot.", |r| Value::flag(r.vg().is_none_or(|v| !v.flags.no_autoactivate), "enabled");
    "vg_partial", "Partial", 10, Number, "Set if PVs are missing.", |r| Value::flag(r.vg.is_some_and(|v| v.read.partial()), "partial");
    "vg_allocation_policy", "AllocPol", 10, Text, "How extents are chosen.", |r| Value::text(r.vg().map_or("unknown", |v| v.alloc.word()));
    "vg_clustered", "Clustered", 10, Number, "Set if clustered.", |r| Value::flag(r.vg().is_some_and(|v| v.status.clustered), "clustered");
    "vg_shared", "Shared", 7, Number, "Set if shared by lvmlockd.", |r| Value::flag(r.vg().is_some_and(is_shared), "shared");
    "vg_size", "VSize", 5, Size, "Size.", |r| extents(r, total);
    "vg_free", "VFree", 5, Size, "Free space.", |r| extents(r, free);
    "vg_sysid", "SYS ID", 6, Text, "System ID of the owner.", |r| Value::opt_text(r.vg().and_then(|v| v.system_id.as_deref()));
    "vg_systemid", "System ID", 9, Text, "System ID of the owner.", |r| Value::opt_text(r.vg().and_then(|v| v.system_id.as_deref()));
    "vg_lock_type", "LockType", 8, Text, "Kind of locks (lvmlockd).", |r| Value::opt_text(r.vg().and_then(|v| v.lock_type.as_deref()));
    "vg_lock_args", "VLockArgs", 9, Text, "Lock arguments (lvmlockd).", |r| Value::opt_text(r.vg().and_then(|v| v.lock_args.as_deref()));
    "vg_extent_size", "Ext", 3, Size, "Extent size.", |r| Value::Size(r.extent_size().0);
    "vg_extent_count", "#Ext", 4, Number, "Number of extents.", |r| count(r, total);
    "vg_free_count", "Free", 4, Number, "Number of free extents.", |r| count(r, free);
    "max_lv", "MaxLV", 5, Number, "Most LVs; 0 for no limit.", |r| Value::number(r.vg().map_or(0, |v| v.max_lv));
    "max_pv", "MaxPV", 5, Number, "Most PVs; 0 for no limit.", |r| Value::number(r.vg().map_or(0, |v| v.max_pv));
    "pv_count", "#PV", 3, Number, "Number of PVs.", |r| Value::count(r.vg().map_or(0, |v| v.pvs.len()));
    "vg_missing_pv_count", "#PV Missing", 11, Number, "Number of PVs that are missing.", |r| Value::count(r.vg.map_or(0, |v| v.read.missing().len()));
    "lv_count", "#LV", 3, Number, "Number of visible LVs.", |r| Value::count(r.vg.map_or(0, VgView::visible_lvs));
    "snap_count", "#SN", 3, Number, "Number of snapshots.", |r| Value::count(r.vg.map_or(0, snapshots));
    "vg_seqno", "Seq", 3, Number, "Grows with every change.", |r| Value::number(r.vg().map_or(0, |v| v.seqno));
    "vg_tags", "VG Tags", 7, List, "Tags.", |r| Value::sorted(r.vg().map_or(Vec::new(), |v| v.tags.iter().map(|t| Cow::Borrowed(t.as_str())).collect()));
    "vg_profile", "VProfile", 8, Text, "Metadata profile.", |r| Value::opt_text(r.vg().and_then(|v| v.profile.as_deref()));
    "vg_mda_count", "#VMda", 5, Number, "Number of metadata areas.", |r| Value::count(mdas(r).count());
    "vg_mda_used_count", "#VMdaUse", 8, Number, "Number of metadata areas in use.", |r| Value::count(mdas(r).filter(|m| m.in_use()).count());
    "vg_mda_free", "VMdaFree", 9, Size, "Least room left in a metadata area.", |r| Value::Size(mdas(r).filter(|m| m.in_use()).map(MdaCopy::free).min().unwrap_or(0) / 512);
    "vg_mda_size", "VMdaSize", 9, Size, "Size of the smallest metadata area.", |r| Value::Size(mdas(r).map(|m| m.size.0).min().unwrap_or(0) / 512);
    "vg_mda_copies", "#VMdaCps", 8, Number, "Metadata areas to be kept in use.", copies;
};

fn name<'a>(r: &Row<'a>) -> Value<'a> {
    if let Some(vg) = r.vg() {
        return Value::text(vg.name.as_str());
    }
    // Where runs of extents are shown, LVM2 names no VG that the PV may belong to.
    let Some(pv) = r.pv.filter(|_| r.run.is_none()) else {
        return Value::text("");
    };
    match pv.duplicate {
        Some(of) if !of.is_empty() => Value::text(of),
        Some(_) => Value::text("[unknown]"),
        None if pv.found.is_some_and(|f| f.label.used) => Value::text("[unknown]"),
        None => Value::text(""),
    }
}

/// `vg_attr`: permission, resizeable, exported, partial, policy, clustered or shared.
fn attr(r: &Row<'_>) -> String {
    let Some(vg) = r.vg() else {
        return "r-----".to_owned();
    };
    let mark = |set: bool, letter: char| if set { letter } else { '-' };
    [
        if vg.status.write { 'w' } else { 'r' },
        mark(vg.status.resizeable, 'z'),
        mark(vg.status.exported, 'x'),
        mark(r.vg.is_some_and(|v| v.read.partial()), 'p'),
        vg.alloc.letter(),
        if vg.status.clustered {
            'c'
        } else {
            mark(is_shared(vg), 's')
        },
    ]
    .iter()
    .collect()
}

fn is_shared(vg: &Vg) -> bool {
    vg.lock_type.as_deref().is_some_and(|t| t != "none")
}

fn total(view: &VgView<'_>) -> u64 {
    view.vg().pvs.values().map(|p| p.pe_count.get()).sum()
}

fn free(view: &VgView<'_>) -> u64 {
    let used: u64 = view
        .vg()
        .pvs
        .keys()
        .map(|k| view.usage().used(k).get())
        .sum();
    total(view).saturating_sub(used)
}

fn extents<'a>(r: &Row<'a>, of: fn(&VgView<'_>) -> u64) -> Value<'a> {
    Value::Size(r.vg.map_or(0, of).saturating_mul(r.extent_size().0))
}

fn count<'a>(r: &Row<'a>, of: fn(&VgView<'_>) -> u64) -> Value<'a> {
    Value::Number(i64::try_from(r.vg.map_or(0, of)).unwrap_or(i64::MAX))
}

fn snapshots(view: &VgView<'_>) -> usize {
    view.vg()
        .lvs
        .keys()
        .filter(|k| view.snapshot(*k).is_some())
        .count()
}

/// Empty areas (of a PV made again under its old identity) count once the VG is written to them.
fn mdas<'a>(r: &Row<'a>) -> impl Iterator<Item = &'a MdaCopy> {
    r.vg.into_iter()
        .flat_map(|v| v.read.mdas())
        .filter(|m| !matches!(m.state, MdaState::Bad(_) | MdaState::Empty))
}

fn copies<'a>(r: &Row<'a>) -> Value<'a> {
    match r.vg().map_or(0, |v| v.metadata_copies) {
        0 => Value::Named(crate::report::value::UNMANAGED, "unmanaged"),
        u32::MAX => Value::Named(i64::MAX - 2, "all"),
        n => Value::number(n),
    }
}
