//! Segments of an LV (`lvdisplay -m`).

use ulvm_metadata::model::{Area, Foreign, Mirror, Raid, Segment, SegmentKind};
use ulvm_metadata::units::{Extents, Sectors};

use super::BLANK;
use crate::report::fields;
use crate::report::row::Row;
use crate::report::units::Units;
use crate::report::view::base_type;
use crate::ui::Terminal;

struct Map<'o, 'r, 'a> {
    out: &'o Terminal,
    row: &'r Row<'a>,
    units: &'r Units,
}

/// All segments.
pub fn segments(out: &Terminal, row: &Row<'_>, units: &Units) {
    let Some(lv) = row.lv() else {
        return;
    };
    out.line("--- Segments ---");
    for (index, segment) in lv.segments.iter().enumerate() {
        let row = Row {
            segment: Some(index),
            ..*row
        };
        let map = Map {
            out,
            row: &row,
            units,
        };
        let last = u64::from(segment.start.0) + u64::from(segment.len.0.saturating_sub(1));
        let sort = if is_virtual(segment) {
            "Virtual"
        } else {
            "Logical"
        };
        out.line(&format!("{sort} extents {} to {last}:", segment.start));
        map.pair("Type", map.field("segtype"));
        map.body(segment);
        if !matches!(segment.kind, SegmentKind::Error | SegmentKind::Zero) {
            out.line(BLANK);
        }
    }
    out.line(BLANK);
}

fn is_virtual(segment: &Segment) -> bool {
    match &segment.kind {
        SegmentKind::Error | SegmentKind::Zero => true,
        SegmentKind::Foreign(f) => matches!(base_type(&f.type_word), "thin" | "vdo"),
        _ => false,
    }
}

impl Map<'_, '_, '_> {
    fn pair(&self, name: &str, value: impl AsRef<str>) {
        self.out.line(&format!("  {name}\t\t{}", value.as_ref()));
    }
    fn pair1(&self, name: &str, value: impl AsRef<str>) {
        self.out.line(&format!("  {name}\t{}", value.as_ref()));
    }
    /// What a report would show.
    fn field(&self, id: &str) -> String {
        let Some(field) = fields::all().find(|f| f.id == id) else {
            return String::new();
        };
        let value = (field.get)(self.row);
        match value.as_number() {
            Some(n) => n.to_string(),
            None => super::lv::shown(&value).to_owned(),
        }
    }
    fn size(&self, sectors: Sectors) -> String {
        self.units.show_long(sectors.0)
    }

    fn body(&self, segment: &Segment) {
        match &segment.kind {
            SegmentKind::Striped { stripes, .. } if stripes.len() == 1 => {
                self.area(&stripes[0], segment.len, "");
            }
            SegmentKind::Striped {
                stripe_size,
                stripes,
            } => {
                let each =
                    Extents(segment.len.0 / u32::try_from(stripes.len().max(1)).unwrap_or(1));
                self.pair("Stripes", stripes.len().to_string());
                self.pair("Stripe size", self.size(*stripe_size));
                for (n, area) in stripes.iter().enumerate() {
                    self.out.line(&format!("  Stripe {n}:"));
                    self.area(area, each, "  ");
                }
            }
            SegmentKind::Mirror(m) => self.mirror(m, segment),
            SegmentKind::Raid(r) => self.raid(r, segment),
            SegmentKind::Foreign(f) => self.foreign(f),
            SegmentKind::Snapshot(_) | SegmentKind::Error | SegmentKind::Zero => {}
        }
    }

    fn area(&self, area: &Area, len: Extents, indent: &str) {
        let (what, name, part, first) = match (area, self.row.vg) {
            (Area::Pv { pv, extent }, Some(view)) => {
                let name = view.pv_name(*pv, self.row.world.two_word_unknown);
                ("Physical volume", name, "Physical extents", extent)
            }
            (Area::Lv { lv, extent }, Some(view)) => (
                "Logical volume",
                view.lv(*lv).name.as_str(),
                "Logical extents",
                extent,
            ),
            (_, None) => return,
        };
        let last = u64::from(first.0) + u64::from(len.0.saturating_sub(1));
        self.out.line(&format!("{indent}  {what}\t{name}"));
        self.out
            .line(&format!("{indent}  {part}\t{first} to {last}"));
    }

    fn mirror(&self, m: &Mirror, segment: &Segment) {
        self.pair("Monitoring", self.field("seg_monitor"));
        self.pair("Mirrors", m.legs.len().to_string());
        self.pair("Mirror size", segment.len.to_string());
        if let (Some(log), Some(view)) = (m.log, self.row.vg) {
            self.pair1("Mirror log volume", &view.lv(log).name);
        }
        self.pair1("Mirror region size", self.size(m.region_size));
        for (n, leg) in m.legs.iter().enumerate() {
            match n {
                0 => self.out.line("  Mirror original:"),
                1 => self.out.line("  Mirror destinations:"),
                _ => {}
            }
            self.area(leg, segment.len, "  ");
        }
    }

    fn raid(&self, raid: &Raid, segment: &Segment) {
        // LVM2 shows the length of the whole segment for the images of raid10.
        let each = match raid.level.starts_with("raid10") {
            true => segment.len,
            false => Extents(segment.len.0 / raid.data_stripes()),
        };
        self.pair("Monitoring", self.field("seg_monitor"));
        for (n, image) in raid.images.iter().enumerate() {
            self.out.line(&format!("  Raid Data LV {n}"));
            self.area(&image.image, each, "  ");
        }
        if let Some(view) = self.row.vg {
            for (n, meta) in raid.images.iter().enumerate() {
                if let Some(meta) = meta.meta {
                    self.pair1(&format!("Raid Metadata LV {n}"), &view.lv(meta).name);
                }
            }
        }
    }

    fn foreign(&self, f: &Foreign) {
        let chunk = u64::try_from(f.fields.int("chunk_size").unwrap_or(0)).unwrap_or(0);
        match base_type(&f.type_word) {
            "thin-pool" => {
                self.pair("Monitoring", self.field("seg_monitor"));
                self.pair("Chunk size", self.size(Sectors(chunk)));
                self.pair("Discards", self.field("discards"));
                self.pair("Thin count", self.field("thin_count"));
                self.pair1("Transaction ID", self.field("transaction_id"));
                let zero = f.fields.int("zero_new_blocks").unwrap_or(0) != 0;
                self.pair1("Zero new blocks", if zero { "yes" } else { "no" });
            }
            "thin" => self.pair("Device ID", self.field("thin_id")),
            "cache" | "cache-pool" => {
                let sectors = self.field("chunk_size").parse().unwrap_or(0);
                self.pair("Chunk size", self.size(Sectors(sectors)));
                let format = self.field("cache_metadata_format");
                if !format.is_empty() {
                    self.pair1("Metadata format", format);
                }
                self.pair("Mode", self.field("cache_mode"));
                self.pair("Policy", self.field("cache_policy"));
            }
            _ => {}
        }
    }
}
