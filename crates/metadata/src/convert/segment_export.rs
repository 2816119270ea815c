//! Segments: model to text, one function per type.

use super::export::{Context, export_tags, size_text};
use crate::model::{Area, Foreign, Mirror, Raid, Segment, SegmentKind, Snapshot};
use crate::text::write::{Writer, push_value};
use crate::tree::{Item, Node, Section, Value};
use crate::units::Sectors;

pub(super) fn export_segment(w: &mut Writer, c: &Context, segment: &Segment) {
    w.int("start_extent", segment.start);
    w.int_with("extent_count", segment.len, || c.extents(segment.len));
    w.blank();
    if let Some(n) = segment.reshape_count {
        w.int_with("reshape_count", n, || c.extents(crate::units::Extents(n)));
    }
    w.str("type", segment.kind.type_word());
    export_tags(w, &segment.tags);
    match &segment.kind {
        SegmentKind::Striped {
            stripe_size,
            stripes,
        } => striped(w, c, *stripe_size, stripes, &segment.extra),
        SegmentKind::Mirror(m) => mirror(w, c, m, &segment.extra),
        SegmentKind::Raid(r) => raid(w, c, r, &segment.extra),
        SegmentKind::Snapshot(s) => snapshot(w, c, s, &segment.extra),
        SegmentKind::Error | SegmentKind::Zero => extra(w, &segment.extra),
        SegmentKind::Foreign(f) => foreign(w, c, f),
    }
}

fn extra(w: &mut Writer, items: &[Item]) {
    for item in items {
        w.item(item);
    }
}

fn areas(w: &mut Writer, c: &Context, key: &str, areas: impl ExactSizeIterator<Item = Area>) {
    w.blank();
    w.open_array(key);
    let last = areas.len().saturating_sub(1);
    for (i, area) in areas.enumerate() {
        let (name, extent) = match area {
            Area::Pv { pv, extent } => (c.pv_name(pv), extent),
            Area::Lv { lv, extent } => (c.lv_name(lv), extent),
        };
        w.area(name, extent.0, i == last);
    }
    w.close_array();
}

fn striped(w: &mut Writer, c: &Context, stripe_size: Sectors, stripes: &[Area], more: &[Item]) {
    if let [_] = stripes {
        w.int_with("stripe_count", 1, || "linear".into());
    } else {
        w.int("stripe_count", stripes.len());
        w.int_with("stripe_size", stripe_size, || size_text(stripe_size));
    }
    extra(w, more);
    areas(w, c, "stripes", stripes.iter().copied());
}

fn mirror(w: &mut Writer, c: &Context, m: &Mirror, more: &[Item]) {
    w.int("mirror_count", m.legs.len());
    if let Some(n) = m.extents_moved {
        w.int_with("extents_moved", n, || c.extents(n));
    }
    if let Some(log) = m.log {
        w.str("mirror_log", c.lv_name(log));
    }
    if !m.region_size.is_zero() {
        w.int("region_size", m.region_size);
    }
    extra(w, more);
    areas(w, c, "mirrors", m.legs.iter().copied());
}

fn snapshot(w: &mut Writer, c: &Context, s: &Snapshot, more: &[Item]) {
    w.int("chunk_size", s.chunk_size);
    w.str("origin", c.lv_name(s.origin));
    let store = if s.merging {
        "merging_store"
    } else {
        "cow_store"
    };
    w.str(store, c.lv_name(s.cow));
    extra(w, more);
}

fn raid(w: &mut Writer, c: &Context, r: &Raid, more: &[Item]) {
    let is_raid0 = r.level.starts_with("raid0");
    let count = if is_raid0 {
        "stripe_count"
    } else {
        "device_count"
    };
    w.int(count, r.images.len());
    if let Some(n) = r.data_copies {
        w.int("data_copies", n);
    }
    if !r.region_size.is_zero() {
        w.int("region_size", r.region_size);
    }
    if !r.stripe_size.is_zero() {
        w.int("stripe_size", r.stripe_size);
    }
    let numbers = [
        ("writebehind", r.writebehind.map(i64::from)),
        ("min_recovery_rate", r.min_recovery_rate.map(i64::from)),
        ("max_recovery_rate", r.max_recovery_rate.map(i64::from)),
        ("data_offset", r.data_offset),
    ];
    for (key, n) in numbers {
        if let Some(n) = n {
            w.int(key, n);
        }
    }
    extra(w, more);
    w.blank();
    let has_meta = r.images.iter().any(|i| i.meta.is_some());
    w.open_array(if has_meta { "raids" } else { "raid0_lvs" });
    let last = r.images.len().saturating_sub(1);
    for (i, image) in r.images.iter().enumerate() {
        let mut line = String::new();
        if let Some(meta) = image.meta {
            crate::text::write::push_quoted(&mut line, c.lv_name(meta));
            line.push_str(", ");
        }
        let name = match image.image {
            Area::Lv { lv, .. } => c.lv_name(lv),
            Area::Pv { pv, .. } => c.pv_name(pv),
        };
        crate::text::write::push_quoted(&mut line, name);
        if i != last {
            line.push(',');
        }
        w.line(&line);
    }
    w.close_array();
}

/// Fields of segments that are only kept, in LVM2's layout as far as their names tell it.
fn foreign(w: &mut Writer, c: &Context, f: &Foreign) {
    let base = f.type_word.split('+').next().unwrap_or_default();
    for item in &f.fields.items {
        match (&item.node, item.key.as_str()) {
            (Node::Value(Value::Array(elements)), "stripes" | "mirrors" | "raids") => {
                array_lines(w, &item.key, elements, 2);
            }
            (Node::Value(Value::Array(elements)), "raid0_lvs") => {
                array_lines(w, &item.key, elements, 1);
            }
            (Node::Value(Value::Int(n)), key) if sectors_each(c, base, key).is_some() => {
                let each = sectors_each(c, base, key).unwrap_or(0);
                let size = u64::try_from(*n).unwrap_or(0).saturating_mul(each);
                w.int_with(key, *n, || size_text(Sectors(size)));
            }
            (Node::Value(_), "use_compression") if base == "vdo-pool" => {
                w.blank();
                w.item(item);
            }
            (Node::Section(_), "message1") => {
                w.blank();
                w.item(item);
            }
            (Node::Section(s), key) if key.starts_with("policy_settings") => {
                settings(w, key, s);
            }
            _ => w.item(item),
        }
    }
}

/// Numbers that LVM2 explains as sizes in comments, in sectors for each.
fn sectors_each(c: &Context, base: &str, key: &str) -> Option<u64> {
    const MIB: u64 = 2048;
    match (base, key) {
        ("thin-pool", "chunk_size") | ("vdo-pool", "header_size") => Some(1),
        ("vdo-pool", "virtual_extents") => Some(c.vg.extent_size.0),
        ("vdo-pool", "block_map_cache_size_mb" | "index_memory_size_mb" | "slab_size_mb") => {
            Some(MIB)
        }
        _ => None,
    }
}

/// An array with `per_line` elements on each line of its own.
fn array_lines(w: &mut Writer, key: &str, elements: &[Value], per_line: usize) {
    w.blank();
    w.open_array(key);
    let mut lines = elements.chunks(per_line).peekable();
    while let Some(chunk) = lines.next() {
        let mut line = String::new();
        for (i, e) in chunk.iter().enumerate() {
            if i > 0 {
                line.push_str(", ");
            }
            push_value(&mut line, e);
        }
        if lines.peek().is_some() {
            line.push(',');
        }
        w.line(&line);
    }
    w.close_array();
}

/// LVM2 writes settings of cache policies without blanks around `=`, and indents them by a tab in
/// metadata areas, too.
fn settings(w: &mut Writer, key: &str, section: &Section) {
    w.open(key);
    for item in &section.items {
        match &item.node {
            Node::Value(v) => {
                let mut line = if w.is_indented() {
                    String::new()
                } else {
                    "\t".to_owned()
                };
                line.push_str(&item.key);
                line.push('=');
                push_value(&mut line, v);
                w.line(&line);
            }
            Node::Section(_) => w.item(item),
        }
    }
    w.close();
}
