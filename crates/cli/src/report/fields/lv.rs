//! Fields about LVs by their metadata.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ulvm_metadata::model::{Area, LvKey, PvKey, ReadAhead, SegmentKind};

use super::lv_runtime;
use super::{Field, Group, group};
use crate::report::kind::LvKind;
use crate::report::layout;
use crate::report::row::Row;
use crate::report::value::Value;
use crate::report::view::{Use, VgView, foreign};

/// About LVs.
pub const FIELDS: &[Field] = group! { Group::Lv;
    "lv_uuid", "LV UUID", 38, Text, "Identity.", uuid;
    "lv_name", "LV", 4, Text, "Name; hidden LVs in brackets.", name;
    "lv_full_name", "LV", 4, Text, "VG/LV.", full_name;
    "lv_path", "Path", 4, Text, "Path of the device node; blank for hidden LVs.", path;
    "lv_dm_path", "DMPath", 6, Text, "Path below /dev/mapper.", dm_path;
    "lv_parent", "Parent", 6, Text, "The LV this one is a part of.", parent;
    "lv_layout", "Layout", 10, List, "How data are laid out.", layout_words;
    "lv_role", "Role", 10, List, "What the LV is there for.", role_words;
    "lv_initial_image_sync", "InitImgSyn", 10, Number, "Set if all images were in sync from the start.", initial_sync;
    "lv_image_synced", "ImgSynced", 10, Number, "Set if the image is in sync.", |_| Value::flag(false, "image synced");
    "lv_merging", "Merging", 10, Number, "Set if a snapshot is being merged.", merging;
    "lv_converting", "Converting", 10, Number, "Set if the LV is being converted.", |_| Value::flag(false, "converting");
    "lv_allocation_policy", "AllocPol", 10, Text, "How extents are chosen.", |r| Value::text(r.lv().map_or("unknown", |l| l.alloc.word()));
    "lv_allocation_locked", "AllocLock", 10, Number, "Set while extents are being moved.", |r| Value::flag(r.lv().is_some_and(|l| l.status.locked), "allocation locked");
    "lv_fixed_minor", "FixMin", 10, Number, "Set if the device number is fixed.", |r| Value::flag(r.lv().is_some_and(|l| l.status.fixed_minor), "fixed minor");
    "lv_skip_activation", "SkipAct", 15, Number, "Set if activation leaves the LV out.", |r| Value::flag(r.lv().is_some_and(|l| l.flags.activation_skip), "skip activation");
    "lv_autoactivation", "AutoAct", 7, Number, "Set if the LV is activated at boot.", |r| Value::flag(r.lv().is_none_or(|l| !l.flags.no_autoactivate), "enabled");
    "lv_when_full", "WhenFull", 15, Text, "Thin pools: what happens when they are full.", when_full;
    "lv_active", "Active", 6, Text, "Active or not.", |r| Value::text(if r.device().is_some() { "active" } else { "" });
    "lv_active_locally", "ActLocal", 10, Number, "Set if active on this host.", |r| Value::flag(r.device().is_some(), "active locally");
    "lv_active_remotely", "ActRemote", 10, Number, "Set if active on another host.", |_| Value::flag(false, "active remotely");
    "lv_active_exclusively", "ActExcl", 10, Number, "Set if active on one host only.", |r| Value::flag(r.device().is_some(), "active exclusively");
    "lv_major", "Maj", 3, Number, "Fixed major number, or -1.", |r| Value::Number(r.lv().and_then(|l| l.major).unwrap_or(-1));
    "lv_minor", "Min", 3, Number, "Fixed minor number, or -1.", |r| Value::Number(r.lv().and_then(|l| l.minor).unwrap_or(-1));
    "lv_read_ahead", "Rahead", 6, Size, "Read ahead.", read_ahead;
    "lv_size", "LSize", 5, Size, "Size.", |r| Value::Size(r.lv().map_or(0, |l| r.sectors(l.extents())));
    "lv_metadata_size", "MSize", 5, Size, "Pools: size of the metadata LV.", metadata_size;
    "seg_count", "#Seg", 4, Number, "Number of segments.", |r| Value::count(r.lv().map_or(0, |l| l.segments.len()));
    "origin", "Origin", 6, Text, "What it is a snapshot of.", |r| lv_name(r, VgView::origin_of);
    "origin_uuid", "Origin UUID", 38, Text, "Identity of the origin.", |r| lv_uuid(r, VgView::origin_of);
    "origin_size", "OSize", 5, Size, "Size of the origin.", origin_size;
    "lv_ancestors", "Ancestors", 9, List, "Origins, their origins, and so on.", ancestors;
    "lv_full_ancestors", "FAncestors", 10, List, "The same with removed ones.", ancestors;
    "lv_descendants", "Descendants", 11, List, "Snapshots, their snapshots, and so on.", descendants;
    "lv_full_descendants", "FDescendants", 12, List, "The same with removed ones.", descendants;
    "raid_mismatch_count", "Mismatches", 10, Number, "Raid: mismatches found.", lv_runtime::mismatches;
    "raid_sync_action", "SyncAction", 10, Text, "Raid: what is being synced.", lv_runtime::action;
    "raid_write_behind", "WBehind", 7, Number, "Raid1: outstanding writes to write-mostly images.", |r| raid_number(r, |x| x.writebehind);
    "raid_min_recovery_rate", "MinSync", 7, Number, "Raid: least recovery rate in KiB/s and device.", |r| raid_number(r, |x| x.min_recovery_rate);
    "raid_max_recovery_rate", "MaxSync", 7, Number, "Raid: most recovery rate in KiB/s and device.", |r| raid_number(r, |x| x.max_recovery_rate);
    "raidintegritymode", "IntegMode", 9, Text, "Raid: how checksums are kept.", |_| Value::text("");
    "raidintegrityblocksize", "IntegBlkSize", 12, Number, "Raid: block size of checksums.", |_| Value::Number(-1);
    "integritymismatches", "IntegMismatches", 15, Number, "Raid: checksum mismatches.", |_| Value::Blank;
    "move_pv", "Move", 4, Text, "pvmove: the PV that is being emptied.", move_pv;
    "move_pv_uuid", "Move UUID", 38, Text, "pvmove: identity of that PV.", |r| Value::text(moved_from(r).map_or(String::new(), |(v, k)| v.vg().pvs[k].id.to_string()));
    "convert_lv", "Convert", 7, Text, "Conversion: the temporary LV.", |_| Value::text("");
    "convert_lv_uuid", "Convert UUID", 38, Text, "Conversion: identity of the temporary LV.", |_| Value::text("");
    "mirror_log", "Log", 3, Text, "Mirrors: the log LV.", |r| lv_name(r, mirror_log);
    "mirror_log_uuid", "Log UUID", 38, Text, "Mirrors: identity of the log LV.", |r| lv_uuid(r, mirror_log);
    "data_lv", "Data", 4, Text, "Pools: the LV with the data.", |r| lv_name(r, |v, k| v.pool_parts(k).0);
    "data_lv_uuid", "Data UUID", 38, Text, "Pools: identity of the LV with the data.", |r| lv_uuid(r, |v, k| v.pool_parts(k).0);
    "metadata_lv", "Meta", 4, Text, "Pools: the LV with the metadata.", |r| lv_name(r, |v, k| v.pool_parts(k).1);
    "metadata_lv_uuid", "Meta UUID", 38, Text, "Pools: identity of the LV with the metadata.", |r| lv_uuid(r, |v, k| v.pool_parts(k).1);
    "pool_lv", "Pool", 4, Text, "The pool an LV is in.", |r| lv_name(r, VgView::pool_of);
    "pool_lv_uuid", "Pool UUID", 38, Text, "Identity of the pool.", |r| lv_uuid(r, VgView::pool_of);
    "lv_tags", "LV Tags", 7, List, "Tags.", |r| Value::sorted(r.lv().map_or(Vec::new(), |l| l.tags.iter().map(|t| Cow::Borrowed(t.as_str())).collect()));
    "lv_profile", "LProfile", 8, Text, "Metadata profile.", |r| Value::opt_text(r.lv().and_then(|l| l.profile.as_deref()));
    "lv_lockargs", "LLockArgs", 9, Text, "Lock arguments (lvmlockd).", |r| Value::opt_text(r.lv().and_then(|l| l.lock_args.as_deref()));
    "lv_time", "CTime", 26, Time, "When it was made.", |r| r.lv().and_then(|l| l.creation.as_ref()).filter(|c| c.time != 0).map_or(Value::Blank, |c| Value::Time(c.time));
    "lv_time_removed", "RTime", 26, Time, "When it was removed.", |_| Value::Blank;
    "lv_host", "Host", 10, Text, "Where it was made.", |r| Value::opt_text(r.lv().and_then(|l| l.creation.as_ref()).map(|c| c.host.as_str()));
    "lv_modules", "Modules", 7, List, "Kernel modules it would need.", modules;
    "lv_historical", "Historical", 10, Number, "Set if the LV is gone.", |_| Value::flag(false, "historical");
    "writecache_block_size", "WCacheBlkSize", 13, Number, "Writecache: block size.", |_| Value::Number(-1);
};

fn uuid<'a>(r: &Row<'a>) -> Value<'a> {
    Value::text(r.lv().map_or(String::new(), |l| l.id.to_string()))
}

fn name<'a>(r: &Row<'a>) -> Value<'a> {
    match r.view() {
        Some((view, key)) => Value::Text(view.shown_name(key, r.world.mark_hidden)),
        None => Value::text(""),
    }
}

fn full_name<'a>(r: &Row<'a>) -> Value<'a> {
    let vg = r.vg().map_or("", |v| v.name.as_str());
    let lv = r.lv().map_or("", |l| l.name.as_str());
    Value::text([vg, "/", lv].concat())
}

/// Thin pools have no node of their own.
fn path<'a>(r: &Row<'a>) -> Value<'a> {
    let (Some(vg), Some((view, key))) = (r.vg(), r.view()) else {
        return Value::text(r.vg().map_or(String::new(), |v| {
            format!("{}/{}/", r.world.dev_dir, v.name)
        }));
    };
    if !view.is_visible(key) || LvKind::new(view, key).is_thin_pool() {
        return Value::text("");
    }
    let lv = &view.lv(key).name;
    Value::text([&r.world.dev_dir, "/", &vg.name, "/", lv].concat())
}

/// A name as part of a name below /dev/mapper, where one hyphen separates.
fn mapper_word(name: &str) -> Cow<'_, str> {
    if name.contains('-') {
        Cow::Owned(name.replace('-', "--"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Device-mapper names double every hyphen of the VG's and the LV's name.
fn dm_path<'a>(r: &Row<'a>) -> Value<'a> {
    let Some(vg) = r.vg() else {
        return Value::text("");
    };
    let lv = r.lv().map_or("", |l| l.name.as_str());
    let (vg, lv) = (mapper_word(&vg.name), mapper_word(lv));
    Value::text([&r.world.dev_dir, "/mapper/", &vg, "-", &lv].concat())
}

const PARENT_USES: [Use; 9] = [
    Use::MirrorLeg,
    Use::MirrorLog,
    Use::RaidImage,
    Use::RaidMeta,
    Use::ThinPoolData,
    Use::ThinPoolMeta,
    Use::CachePoolData,
    Use::CachePoolMeta,
    Use::VdoPoolData,
];

fn parent<'a>(r: &Row<'a>) -> Value<'a> {
    lv_name(r, |view, key| {
        let shown = view.is_visible(key);
        view.used_by(key)
            .iter()
            .find(|u| PARENT_USES.contains(&u.how) && !(shown && u.how == Use::RaidImage))
            .map(|u| u.lv)
    })
}

/// The shown name of a related LV.
fn lv_name<'a>(r: &Row<'a>, related: impl Fn(&VgView<'a>, LvKey) -> Option<LvKey>) -> Value<'a> {
    match r.view().and_then(|(v, k)| Some((v, related(v, k)?))) {
        Some((view, key)) => Value::Text(view.shown_name(key, r.world.mark_hidden)),
        None => Value::text(""),
    }
}

/// The identity of a related LV.
fn lv_uuid<'a>(r: &Row<'a>, related: impl Fn(&VgView<'a>, LvKey) -> Option<LvKey>) -> Value<'a> {
    match r.view().and_then(|(v, k)| Some((v, related(v, k)?))) {
        Some((view, key)) => Value::text(view.lv(key).id.to_string()),
        None => Value::text(""),
    }
}

fn mirror_log(view: &VgView<'_>, key: LvKey) -> Option<LvKey> {
    view.lv(key).segments.iter().find_map(|s| match &s.kind {
        SegmentKind::Mirror(m) => m.log,
        _ => None,
    })
}

fn layout_words<'a>(r: &Row<'a>) -> Value<'a> {
    match r.view() {
        Some((view, key)) => Value::list(layout::layout(view, key)),
        None => Value::list(vec!["unknown".into()]),
    }
}

fn role_words<'a>(r: &Row<'a>) -> Value<'a> {
    match r.view() {
        Some((view, key)) => Value::list(layout::role(view, key)),
        None => Value::list(vec!["public".into()]),
    }
}

fn initial_sync<'a>(r: &Row<'a>) -> Value<'a> {
    let copies = r
        .kind()
        .is_some_and(|k| k.raid().is_some() || k.is_mirror());
    let synced = copies && r.lv().is_some_and(|l| !l.status.not_synced);
    Value::flag(synced, "initial image sync")
}

fn merging<'a>(r: &Row<'a>) -> Value<'a> {
    let set = r.kind().is_some_and(|k| {
        k.is_merging_origin() || k.is_merging_cow() || k.is_merging_thin_snapshot()
    });
    Value::flag(set, "merging")
}

fn when_full<'a>(r: &Row<'a>) -> Value<'a> {
    match (r.kind(), r.lv()) {
        (Some(kind), Some(lv)) if kind.is_thin_pool() => Value::text(if lv.flags.error_when_full {
            "error"
        } else {
            "queue"
        }),
        _ => Value::text(""),
    }
}

fn read_ahead<'a>(r: &Row<'a>) -> Value<'a> {
    match r.lv().map(|l| l.read_ahead) {
        Some(ReadAhead::Auto) => Value::NamedSize(u64::from(u32::MAX), "auto"),
        Some(ReadAhead::Sectors(n)) => Value::Size(u64::from(n)),
        Some(ReadAhead::None) | None => Value::Size(0),
    }
}

fn metadata_size<'a>(r: &Row<'a>) -> Value<'a> {
    match r.view().and_then(|(v, k)| Some((v, v.pool_parts(k).1?))) {
        Some((view, key)) => Value::Size(r.sectors(view.lv(key).extents())),
        None => Value::Blank,
    }
}

fn origin_size<'a>(r: &Row<'a>) -> Value<'a> {
    let Some((view, key)) = r.view() else {
        return Value::Blank;
    };
    if let Some(snapshot) = view.snapshot(key) {
        return Value::Size(r.sectors(view.lv(snapshot.origin).extents()));
    }
    let external = foreign(view.lv(key), "thin").and_then(|f| f.fields.str("external_origin"));
    match external.and_then(|name| view.find(name)) {
        Some(origin) => Value::Size(r.sectors(view.lv(origin).extents())),
        None if LvKind::new(view, key).is_thick_origin() => {
            Value::Size(r.sectors(view.lv(key).extents()))
        }
        None => Value::Blank,
    }
}

/// The chain of origins; a damaged VG cannot make it endless.
fn ancestors<'a>(r: &Row<'a>) -> Value<'a> {
    let Some((view, key)) = r.view() else {
        return Value::list(Vec::new());
    };
    let mut out = Vec::new();
    let mut seen = vec![key];
    let mut at = key;
    while let Some(next) = lineage(view, at).filter(|n| !seen.contains(n)) {
        out.push(Cow::Borrowed(view.lv(next).name.as_str()));
        seen.push(next);
        at = next;
    }
    Value::list(out)
}

/// Classic and thin snapshots have ancestors; cached LVs have not.
fn lineage(view: &VgView<'_>, key: LvKey) -> Option<LvKey> {
    let kind = LvKind::new(view, key);
    if kind.is_cow() || kind.is_thin() {
        view.origin_of(key)
    } else {
        None
    }
}

fn descendants<'a>(r: &Row<'a>) -> Value<'a> {
    let Some((view, key)) = r.view() else {
        return Value::list(Vec::new());
    };
    let mut out: Vec<LvKey> = Vec::new();
    children(view, key, &mut out, key);
    Value::list(
        out.into_iter()
            .map(|k| Cow::Borrowed(view.lv(k).name.as_str()))
            .collect(),
    )
}

fn children(view: &VgView<'_>, of: LvKey, out: &mut Vec<LvKey>, root: LvKey) {
    let thin = view
        .used_by(of)
        .iter()
        .filter(|u| matches!(u.how, Use::ThinOrigin | Use::ExternalOrigin))
        .map(|u| u.lv);
    let direct: Vec<LvKey> = view.snapshots_of(of).iter().copied().chain(thin).collect();
    for child in direct {
        if child != root && !out.contains(&child) {
            out.push(child);
            children(view, child, out, root);
        }
    }
}

fn raid_number<'a>(
    r: &Row<'a>,
    get: impl Fn(&ulvm_metadata::model::Raid) -> Option<u32>,
) -> Value<'a> {
    let number = r
        .kind()
        .and_then(|k| k.raid())
        .and_then(get)
        .filter(|n| *n != 0);
    number.map_or(Value::Blank, Value::number)
}

/// The PV a pvmove LV moves data from: where its first leg lies.
fn moved_from<'a>(r: &Row<'a>) -> Option<(&'a VgView<'a>, PvKey)> {
    let (view, key) = r.view()?;
    if !view.lv(key).status.pvmove {
        return None;
    }
    let mut at = key;
    // A leg may be a sub-LV; more than a few levels do not exist.
    for _ in 0..4 {
        match view.lv(at).segments.first()?.areas().first()?.0 {
            Area::Pv { pv, .. } => return Some((view, pv)),
            Area::Lv { lv, .. } => at = lv,
        }
    }
    None
}

fn move_pv<'a>(r: &Row<'a>) -> Value<'a> {
    Value::text(moved_from(r).map_or("", |(v, k)| v.pv_name(k, r.world.two_word_unknown)))
}

/// Modules of the LV's own segments and of the LVs it lies on.
fn modules<'a>(r: &Row<'a>) -> Value<'a> {
    let mut out: BTreeSet<&'static str> = BTreeSet::new();
    if let Some((view, key)) = r.view() {
        let mut seen = BTreeSet::from([key]);
        let mut queue = vec![key];
        while let Some(at) = queue.pop() {
            own_modules(view, at, &mut out);
            let below = view.lv(at).segments.iter().flat_map(|s| s.areas());
            for (area, _) in below {
                if let Area::Lv { lv, .. } = area
                    && seen.insert(lv)
                {
                    queue.push(lv);
                }
            }
        }
    }
    Value::list(out.into_iter().map(Cow::Borrowed).collect())
}

fn own_modules(view: &VgView<'_>, key: LvKey, out: &mut BTreeSet<&'static str>) {
    let kind = LvKind::new(view, key);
    for segment in &view.lv(key).segments {
        out.extend(match &segment.kind {
            SegmentKind::Mirror(_) => Some("mirror"),
            SegmentKind::Raid(_) => Some("raid"),
            SegmentKind::Error => Some("error"),
            SegmentKind::Zero => Some("zero"),
            _ => None,
        });
    }
    match kind.foreign_type() {
        Some("thin") => out.extend(["thin", "thin-pool"]),
        Some("thin-pool") => out.extend(["thin-pool"]),
        Some("cache" | "cache-pool") => out.extend(["cache"]),
        _ => {}
    }
    if kind.is_cow() || kind.is_thick_origin() {
        out.insert("snapshot");
    }
}
