//! Fields about segments of LVs. A row without a segment is a free run of a PV.

use std::borrow::Cow;

use ulvm_metadata::model::{Area, Foreign, LvKey, Raid, Segment, SegmentKind};
use ulvm_metadata::tree::{Node, Section, Value as Tree};
use ulvm_metadata::units::Extents;

use super::{Field, Group, group};
use crate::report::kind::LvKind;
use crate::report::row::Row;
use crate::report::value::Value;
use crate::report::view::{Use, base_type, foreign};

/// About segments.
pub const FIELDS: &[Field] = group! { Group::Segment;
    "segtype", "Type", 4, Text, "Type of the segment.", segtype;
    "stripes", "#Str", 4, Number, "Number of stripes or copies.", |r| Value::number(r.segment().map_or(0, stripes));
    "data_stripes", "#DStr", 5, Number, "Number of stripes that hold data.", |r| Value::number(r.segment().map_or(0, data_stripes));
    "reshape_len", "RSize", 5, Size, "Room for a reshape.", |r| if reshapable(r) { Value::Size(0) } else { Value::Blank };
    "reshape_len_le", "RSize", 5, Number, "Room for a reshape, in extents.", |r| if reshapable(r) { Value::Number(0) } else { Value::Blank };
    "data_copies", "#Cpy", 4, Number, "Number of copies of the data.", data_copies;
    "data_offset", "DOff", 4, Number, "Where data begin on each image.", |_| Value::Blank;
    "new_data_offset", "NOff", 4, Number, "Where data will begin after a reshape.", |_| Value::Blank;
    "parity_chunks", "#Par", 4, Number, "Number of parity chunks.", parity;
    "stripe_size", "Stripe", 6, Size, "Data on one device before the next.", |r| Value::Size(r.segment().map_or(0, stripe_size));
    "region_size", "Region", 6, Size, "Unit of syncing.", |r| Value::Size(r.segment().map_or(0, region_size));
    "chunk_size", "Chunk", 5, Size, "Unit of tracking.", |r| Value::Size(chunk_size(r));
    "thin_count", "#Thins", 6, Number, "Number of thin LVs in the pool.", thin_count;
    "discards", "Discards", 8, Text, "Thin pools: how discards are treated.", discards;
    "cache_metadata_format", "CMFmt", 5, Number, "Cache: metadata format.", cache_format;
    "cache_mode", "CacheMode", 9, Text, "Cache: when a write is complete.", |r| Value::opt_text(cache_settings_of(r).and_then(|f| f.fields.str("cache_mode")));
    "zero", "Zero", 4, Number, "Set if new blocks are zeroed.", zero;
    "transaction_id", "TransId", 7, Number, "Thin: transaction of pool or LV.", |r| pool_number(r, "transaction_id");
    "thin_id", "ThId", 4, Number, "Thin: id in the pool.", |r| pool_number(r, "device_id");
    "seg_start", "Start", 5, Size, "Where it begins in the LV.", |r| Value::Size(r.segment().map_or(0, |s| r.sectors(s.start)));
    "seg_start_pe", "Start", 5, Number, "First extent in the LV.", |r| Value::number(r.segment().map_or(0, |s| s.start.0));
    "seg_size", "SSize", 5, Size, "Size.", |r| Value::Size(r.sectors(length(r)));
    "seg_size_pe", "SSize", 5, Size, "Number of extents.", |r| Value::number(length(r).0);
    "seg_tags", "Seg Tags", 8, List, "Tags.", |r| Value::sorted(r.segment().map_or(Vec::new(), |s| s.tags.iter().map(|t| Cow::Borrowed(t.as_str())).collect()));
    "seg_pe_ranges", "PE Ranges", 9, List, "Where it lies, as on a command line.", |r| ranges(r, false);
    "seg_le_ranges", "LE Ranges", 9, List, "Where it lies.", |r| ranges(r, true);
    "seg_metadata_le_ranges", "Metadata LE Ranges", 18, List, "Where its metadata lie.", metadata_ranges;
    "devices", "Devices", 7, List, "Devices or LVs it lies on, each with its first extent.", devices;
    "metadata_devices", "Metadata Devs", 13, List, "LVs its metadata lie on.", metadata_devices;
    "seg_monitor", "Monitor", 7, Text, "Whether events are monitored.", monitor;
    "cache_policy", "CachePolicy", 11, Text, "Cache: policy.", |r| Value::opt_text(cache_settings_of(r).and_then(|f| f.fields.str("policy")));
    "cache_settings", "CacheSettings", 13, List, "Cache: settings of the policy.", cache_settings;
    "vdo_compression", "VDOCompression", 14, Number, "VDO: compression.", |r| vdo_flag(r, "use_compression", "enabled");
    "vdo_deduplication", "VDODeduplication", 16, Number, "VDO: deduplication.", |r| vdo_flag(r, "use_deduplication", "enabled");
    "vdo_use_metadata_hints", "VDOMetadataHints", 16, Number, "VDO: hints for metadata writes.", |r| vdo_flag(r, "use_metadata_hints", "enabled");
    "vdo_minimum_io_size", "VDOMinimumIOSize", 16, Number, "VDO: least I/O size.", |r| vdo_number(r, "minimum_io_size");
    "vdo_block_map_cache_size", "VDOBlockMapCacheSize", 20, Size, "VDO: block map cache.", |r| vdo_mebibytes(r, "block_map_cache_size_mb");
    "vdo_block_map_era_length", "VDOBlockMapEraLength", 20, Number, "VDO: speed of cache writes.", |r| vdo_number(r, "block_map_era_length");
    "vdo_use_sparse_index", "VDOSparseIndex", 14, Number, "VDO: sparse index.", |r| vdo_flag(r, "use_sparse_index", "enabled");
    "vdo_index_memory_size", "VDOIndexMemorySize", 18, Size, "VDO: memory of the index.", |r| vdo_mebibytes(r, "index_memory_size_mb");
    "vdo_slab_size", "VDOSlabSize", 11, Size, "VDO: slab size.", |r| vdo_mebibytes(r, "slab_size_mb");
    "vdo_ack_threads", "VDOAckThreads", 13, Number, "VDO: threads that acknowledge.", |r| vdo_number(r, "ack_threads");
    "vdo_bio_threads", "VDOBioThreads", 13, Number, "VDO: threads that submit.", |r| vdo_number(r, "bio_threads");
    "vdo_bio_rotation", "VDOBioRotation", 14, Number, "VDO: submissions in one go.", |r| vdo_number(r, "bio_rotation");
    "vdo_cpu_threads", "VDOCPUThreads", 13, Number, "VDO: threads that hash and compress.", |r| vdo_number(r, "cpu_threads");
    "vdo_hash_zone_threads", "VDOHashZoneThreads", 18, Number, "VDO: hash zone threads.", |r| vdo_number(r, "hash_zone_threads");
    "vdo_logical_threads", "VDOLogicalThreads", 17, Number, "VDO: logical threads.", |r| vdo_number(r, "logical_threads");
    "vdo_physical_threads", "VDOPhysicalThreads", 18, Number, "VDO: physical threads.", |r| vdo_number(r, "physical_threads");
    "vdo_max_discard", "VDOMaxDiscard", 13, Number, "VDO: largest discard.", |r| vdo_number(r, "max_discard");
    "vdo_write_policy", "VDOWritePolicy", 14, Text, "VDO: write policy.", |r| Value::opt_text(vdo(r).and_then(|s| s.str("write_policy")));
    "vdo_header_size", "VDOHeaderSize", 13, Size, "VDO: header at the front of the pool.", |r| vdo(r).and_then(|s| s.int("header_size")).map_or(Value::Blank, |n| Value::Size(u64::try_from(n).unwrap_or(0)));
};

fn segtype<'a>(r: &Row<'a>) -> Value<'a> {
    let Some(segment) = r.segment() else {
        return Value::text("free");
    };
    match &segment.kind {
        SegmentKind::Striped { stripes, .. } if stripes.len() == 1 => Value::text("linear"),
        kind => Value::text(base_type(kind.type_word())),
    }
}

/// Number of areas.
fn stripes(segment: &Segment) -> u32 {
    match &segment.kind {
        SegmentKind::Foreign(f) => foreign_areas(f),
        _ => u32::try_from(segment.areas().len()).unwrap_or(u32::MAX),
    }
}

/// Pools and cached LVs have one area; thin and VDO LVs have none.
fn foreign_areas(f: &Foreign) -> u32 {
    match base_type(&f.type_word) {
        "thin-pool" | "cache-pool" | "cache" | "writecache" | "vdo-pool" => 1,
        _ => u32::try_from(f.areas.len()).unwrap_or(u32::MAX),
    }
}

fn data_stripes(segment: &Segment) -> u32 {
    match &segment.kind {
        SegmentKind::Raid(raid) if is_raid1(raid) => stripes(segment),
        SegmentKind::Raid(raid) => raid.data_stripes(),
        _ => stripes(segment),
    }
}

fn is_raid1(raid: &Raid) -> bool {
    raid.level == "raid1"
}

fn parity_of(raid: &Raid) -> u32 {
    match raid.level.as_str() {
        level if level.starts_with("raid6") => 2,
        level if level.starts_with("raid4") || level.starts_with("raid5") => 1,
        _ => 0,
    }
}

/// Copies of the data; parity counts as one. LVM2 counts the legs of a mirror as one copy.
fn copies(segment: &Segment) -> u32 {
    match &segment.kind {
        SegmentKind::Raid(raid) if is_raid1(raid) => stripes(segment),
        SegmentKind::Raid(raid) if raid.level.starts_with("raid10") => {
            raid.data_copies.unwrap_or(2)
        }
        SegmentKind::Raid(raid) => 1 + parity_of(raid),
        _ => 1,
    }
}

fn data_copies<'a>(r: &Row<'a>) -> Value<'a> {
    let copies = r.segment().map(copies).filter(|n| *n > 0);
    copies.map_or(Value::Blank, Value::number)
}

/// One less than the copies; of no copies LVM2 makes a very large number.
fn parity<'a>(r: &Row<'a>) -> Value<'a> {
    match r.segment().map_or(0, copies).wrapping_sub(1) {
        0 => Value::Blank,
        n => Value::number(n),
    }
}

/// Part of a raid LV whose layout can be changed in place.
fn reshapable(r: &Row<'_>) -> bool {
    let Some((view, key)) = r.view() else {
        return false;
    };
    let owner = view.user(key, Use::RaidImage).unwrap_or(key);
    let raid = LvKind::new(view, owner).raid();
    raid.is_some_and(|raid| {
        ["raid4", "raid5", "raid6", "raid10"]
            .iter()
            .any(|level| raid.level.starts_with(level))
    })
}

/// What LVM2 says of segments that nothing monitors, as far as it says anything.
fn monitor<'a>(r: &Row<'a>) -> Value<'a> {
    let raid0 = match r.segment().map(|s| &s.kind) {
        Some(SegmentKind::Raid(raid)) => raid.level.starts_with("raid0"),
        _ => false,
    };
    let moving = r.lv().is_some_and(|lv| lv.status.pvmove);
    Value::text(if r.world.monitoring && (raid0 || moving) {
        "not monitored"
    } else {
        ""
    })
}

fn stripe_size(segment: &Segment) -> u64 {
    match &segment.kind {
        SegmentKind::Striped {
            stripe_size,
            stripes,
        } if stripes.len() > 1 => stripe_size.0,
        SegmentKind::Raid(raid) => raid.stripe_size.0,
        _ => 0,
    }
}

fn region_size(segment: &Segment) -> u64 {
    match &segment.kind {
        SegmentKind::Mirror(m) => m.region_size.0,
        SegmentKind::Raid(raid) => raid.region_size.0,
        _ => 0,
    }
}

fn chunk_size(r: &Row<'_>) -> u64 {
    let Some((view, key)) = r.view() else {
        return 0;
    };
    if let Some(snapshot) = view.snapshot(key) {
        return snapshot.chunk_size.0;
    }
    let own = kept(r).and_then(|f| f.fields.int("chunk_size"));
    let pool = || {
        let pool = view.pool_of(key)?;
        foreign(view.lv(pool), "cache-pool")?
            .fields
            .int("chunk_size")
    };
    let chunk = match r.kind() {
        Some(kind) if kind.is_cache() => own.or_else(pool),
        _ => own,
    };
    u64::try_from(chunk.unwrap_or(0)).unwrap_or(0)
}

/// The segment, if it is of a type ulvm only keeps.
fn kept<'a>(r: &Row<'a>) -> Option<&'a Foreign> {
    match &r.segment()?.kind {
        SegmentKind::Foreign(f) => Some(f),
        _ => None,
    }
}

/// The thin pool of a pool or thin row.
fn thin_pool<'a>(r: &Row<'a>) -> Option<&'a Foreign> {
    let (view, key) = r.view()?;
    let pool = match base_type(&kept(r)?.type_word) {
        "thin-pool" => key,
        "thin" => view.pool_of(key)?,
        _ => return None,
    };
    foreign(view.lv(pool), "thin-pool")
}

fn thin_count<'a>(r: &Row<'a>) -> Value<'a> {
    match (r.view(), kept(r)) {
        (Some((view, key)), Some(f)) if base_type(&f.type_word) == "thin-pool" => Value::count(
            view.used_by(key)
                .iter()
                .filter(|u| u.how == Use::Pool)
                .count(),
        ),
        _ => Value::Blank,
    }
}

fn discards<'a>(r: &Row<'a>) -> Value<'a> {
    match (thin_pool(r), kept(r)) {
        (Some(pool), _) => Value::text(pool.fields.str("discards").unwrap_or("ignore")),
        _ => Value::text(""),
    }
}

fn zero<'a>(r: &Row<'a>) -> Value<'a> {
    let state = thin_pool(r).map(|p| p.fields.int("zero_new_blocks").unwrap_or(0) != 0);
    Value::Flag(state, "zero")
}

fn pool_number<'a>(r: &Row<'a>, field: &str) -> Value<'a> {
    match kept(r) {
        Some(f) if matches!(base_type(&f.type_word), "thin" | "thin-pool") => {
            f.fields.int(field).map_or(Value::Blank, Value::Number)
        }
        _ => Value::Blank,
    }
}

/// Where mode and policy of a cache stand: at the cached LV, else at its pool.
fn cache_settings_of<'a>(r: &Row<'a>) -> Option<&'a Foreign> {
    let own = kept(r)?;
    match base_type(&own.type_word) {
        "cache" if own.fields.str("cache_mode").is_some() || own.fields.str("policy").is_some() => {
            Some(own)
        }
        "cache" => {
            let (view, key) = r.view()?;
            foreign(view.lv(view.pool_of(key)?), "cache-pool")
        }
        "cache-pool" => Some(own),
        _ => None,
    }
}

fn cache_format<'a>(r: &Row<'a>) -> Value<'a> {
    let format = cache_settings_of(r).map(|f| f.fields.int("metadata_format").unwrap_or(0));
    format
        .filter(|n| *n != 0)
        .map_or(Value::Blank, Value::Number)
}

fn cache_settings<'a>(r: &Row<'a>) -> Value<'a> {
    let section = cache_settings_of(r).and_then(|f| f.fields.section("policy_settings"));
    let items = section.map_or(Vec::new(), |s| s.items.iter().collect());
    let shown = items.into_iter().filter_map(|item| match &item.node {
        Node::Value(Tree::Int(n)) => Some(format!("{}={n}", item.key).into()),
        Node::Value(Tree::Str(s) | Tree::Float(s)) => Some(format!("{}={s}", item.key).into()),
        _ => None,
    });
    Value::list(shown.collect())
}

fn length(r: &Row<'_>) -> Extents {
    match (r.segment(), r.run) {
        (Some(segment), _) => segment.len,
        (None, Some((_, len))) => len,
        (None, None) => Extents::ZERO,
    }
}

/// The areas of a segment, also of the kept types whose areas are sub-LVs.
fn areas(r: &Row<'_>) -> Vec<(Area, Extents)> {
    let Some(segment) = r.segment() else {
        return Vec::new();
    };
    let Some(f) = kept(r) else {
        return segment.areas();
    };
    let field = match base_type(&f.type_word) {
        "thin-pool" => "pool",
        "cache-pool" | "vdo-pool" => "data",
        "cache" | "writecache" => "origin",
        _ => return segment.areas(),
    };
    let part = r.vg.and_then(|v| v.find(f.fields.str(field)?));
    part.map_or(Vec::new(), |lv| {
        vec![(
            Area::Lv {
                lv,
                extent: Extents::ZERO,
            },
            segment.len,
        )]
    })
}

/// Name of what an area lies on.
fn area_name<'a>(r: &Row<'a>, area: Area, brackets: bool) -> Cow<'a, str> {
    let Some(view) = r.vg else {
        return Cow::Borrowed("");
    };
    match area {
        Area::Pv { pv, .. } => Cow::Borrowed(view.pv_name(pv, r.world.two_word_unknown)),
        Area::Lv { lv, .. } if brackets => view.shown_name(lv, r.world.mark_hidden),
        Area::Lv { lv, .. } => Cow::Borrowed(view.lv(lv).name.as_str()),
    }
}

fn first_extent(area: Area) -> Extents {
    match area {
        Area::Pv { extent, .. } | Area::Lv { extent, .. } => extent,
    }
}

fn range(name: &str, first: Extents, len: Extents) -> String {
    let last = u64::from(first.0) + u64::from(len.0.saturating_sub(1));
    format!("{name}:{first}-{last}")
}

fn ranges<'a>(r: &Row<'a>, logical: bool) -> Value<'a> {
    let items = areas(r)
        .into_iter()
        .map(|(area, len)| range(&area_name(r, area, logical), first_extent(area), len).into())
        .collect();
    Value::joined(items, if logical { "," } else { " " })
}

fn devices<'a>(r: &Row<'a>) -> Value<'a> {
    let items = areas(r)
        .into_iter()
        .map(|(area, _)| format!("{}({})", area_name(r, area, false), first_extent(area)).into())
        .collect();
    Value::joined(items, ",")
}

/// Metadata LVs of the images of a raid segment.
fn metadata_lvs(r: &Row<'_>) -> Vec<LvKey> {
    match r.segment().map(|s| &s.kind) {
        Some(SegmentKind::Raid(raid)) => raid.images.iter().filter_map(|i| i.meta).collect(),
        _ => Vec::new(),
    }
}

fn metadata_ranges<'a>(r: &Row<'a>) -> Value<'a> {
    let Some(view) = r.vg else {
        return Value::list(Vec::new());
    };
    let items = metadata_lvs(r)
        .into_iter()
        .map(|lv| {
            let name = view.shown_name(lv, r.world.mark_hidden);
            range(&name, Extents::ZERO, view.lv(lv).extents()).into()
        })
        .collect();
    Value::joined(items, ",")
}

fn metadata_devices<'a>(r: &Row<'a>) -> Value<'a> {
    let Some(view) = r.vg else {
        return Value::list(Vec::new());
    };
    let items = metadata_lvs(r)
        .into_iter()
        .map(|lv| format!("{}(0)", view.lv(lv).name).into())
        .collect();
    Value::joined(items, ",")
}

/// Settings of a VDO pool.
fn vdo<'a>(r: &Row<'a>) -> Option<&'a Section> {
    let own = kept(r)?;
    (base_type(&own.type_word) == "vdo-pool").then_some(&own.fields)
}

fn vdo_number<'a>(r: &Row<'a>, field: &str) -> Value<'a> {
    vdo(r)
        .and_then(|s| s.int(field))
        .map_or(Value::Blank, Value::Number)
}

fn vdo_flag<'a>(r: &Row<'a>, field: &str, word: &'static str) -> Value<'a> {
    match vdo(r) {
        Some(s) => Value::flag(s.int(field).unwrap_or(0) != 0, word),
        None => Value::Blank,
    }
}

fn vdo_mebibytes<'a>(r: &Row<'a>, field: &str) -> Value<'a> {
    let size = vdo(r)
        .and_then(|s| s.int(field))
        .and_then(|n| u64::try_from(n).ok());
    size.map_or(Value::Blank, |n| Value::Size(n.saturating_mul(2048)))
}
