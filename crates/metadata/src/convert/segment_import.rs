//! Segments: text to model, one function per type.

use std::collections::HashMap;

use super::fields::{Fault, Typed};
use crate::model::usage::Usage;
use crate::model::{
    Area, Foreign, LvKey, Mirror, PvKey, Raid, RaidImage, Segment, SegmentKind, Snapshot, Vg,
};
use crate::text::{Elements, ItemRef, NodeRef, SectionRef};
use crate::tree::{Item, Node, Section, Value};
use crate::units::{Extents, Sectors};

/// What the names in a text stand for.
pub(super) struct Names<'n> {
    pub pvs: &'n HashMap<&'n str, PvKey>,
    pub lvs: &'n HashMap<&'n str, LvKey>,
}

impl Names<'_> {
    fn lv(&self, name: &str) -> Result<LvKey, Fault> {
        self.lvs
            .get(name)
            .copied()
            .ok_or_else(|| format!("there is no LV {name:?}"))
    }

    fn area(&self, name: &str, extent: Extents) -> Result<Area, Fault> {
        if let Some(pv) = self.pvs.get(name) {
            return Ok(Area::Pv { pv: *pv, extent });
        }
        if let Some(lv) = self.lvs.get(name) {
            return Ok(Area::Lv { lv: *lv, extent });
        }
        Err(format!("there is no PV or LV {name:?}"))
    }

    /// `"name", extent` pairs.
    fn areas(&self, mut elements: Elements) -> Result<Vec<Area>, Fault> {
        let mut out = Vec::with_capacity(elements.len() / 2);
        while let Some(name) = elements.next() {
            let (Some(name), Some(extent)) = (name.str(), elements.next().and_then(NodeRef::int))
            else {
                return Err("areas are not pairs of a name and an extent".into());
            };
            let extent = u32::try_from(extent)
                .map_err(|_| format!("extent {extent} of {name:?} is out of range"))?;
            out.push(self.area(name, Extents(extent))?);
        }
        Ok(out)
    }
}

/// Fields that all types have.
#[derive(Default)]
struct Common {
    start: Option<Extents>,
    len: Option<Extents>,
    reshape_count: Option<u32>,
    tags: Vec<String>,
}

impl Common {
    /// Takes the field if it is one of these.
    fn take(&mut self, item: &ItemRef) -> Result<bool, Fault> {
        match item.key {
            "start_extent" => self.start = Some(item.extents()?),
            "extent_count" => self.len = Some(item.extents()?),
            "type" => {}
            "reshape_count" => self.reshape_count = Some(item.number()?),
            "tags" => self.tags = item.strings()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

pub(super) fn import_segment(section: SectionRef, names: &Names) -> Result<Segment, Fault> {
    let type_word = match section.items().find(|i| i.key == "type") {
        Some(item) => item.string()?,
        None => "striped",
    };
    let mut common = Common::default();
    let mut extra = Vec::new();
    let mut rest = Rest {
        section,
        common: &mut common,
        extra: &mut extra,
        names,
    };
    let kind = match type_word {
        "striped" | "linear" => striped(&mut rest)?,
        "mirror" => mirror(&mut rest)?,
        "snapshot" => snapshot(&mut rest)?,
        "error" => plain(&mut rest, SegmentKind::Error)?,
        "zero" => plain(&mut rest, SegmentKind::Zero)?,
        raid if is_raid(raid) => self::raid(&mut rest, raid)?,
        other => foreign(&mut rest, other)?,
    };
    Ok(Segment {
        start: common.start.ok_or("has no start_extent")?,
        len: common.len.ok_or("has no extent_count")?,
        reshape_count: common.reshape_count,
        tags: common.tags,
        kind,
        extra,
    })
}

fn is_raid(word: &str) -> bool {
    const LEVELS: [&str; 17] = [
        "raid0",
        "raid0_meta",
        "raid1",
        "raid10",
        "raid10_near",
        "raid4",
        "raid5",
        "raid5_n",
        "raid5_ls",
        "raid5_la",
        "raid5_rs",
        "raid5_ra",
        "raid6",
        "raid6_zr",
        "raid6_nr",
        "raid6_nc",
        "raid6_n_6",
    ];
    const MORE: [&str; 4] = ["raid6_ls_6", "raid6_la_6", "raid6_rs_6", "raid6_ra_6"];
    LEVELS.contains(&word) || MORE.contains(&word)
}

/// A segment being read: hands out the fields that are not common, keeps the unknown ones.
struct Rest<'r, 'd, 'a> {
    section: SectionRef<'d, 'a>,
    common: &'r mut Common,
    extra: &'r mut Vec<Item>,
    names: &'r Names<'r>,
}

impl<'d, 'a> Rest<'_, 'd, 'a> {
    /// Calls `known` for each field that is not common; fields it does not take (`false`) are kept.
    fn each(
        &mut self,
        mut known: impl FnMut(&ItemRef<'d, 'a>) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        for item in self.section.items() {
            if !self.common.take(&item)? && !known(&item)? {
                self.extra.push(item.to_tree());
            }
        }
        Ok(())
    }
}

fn plain(rest: &mut Rest, kind: SegmentKind) -> Result<SegmentKind, Fault> {
    rest.each(|_| Ok(false))?;
    Ok(kind)
}

fn same_count(field: &str, said: Option<u32>, there: usize) -> Result<(), Fault> {
    match said {
        Some(n) if n as usize == there && there > 0 => Ok(()),
        Some(n) => Err(format!("{field} is {n}, but {there} are there")),
        None => Err(format!("has no {field}")),
    }
}

fn striped(rest: &mut Rest) -> Result<SegmentKind, Fault> {
    let names = rest.names;
    let (mut count, mut stripe_size, mut stripes) = (None, Sectors::ZERO, Vec::new());
    rest.each(|item| {
        match item.key {
            "stripe_count" => count = Some(item.number()?),
            "stripe_size" => stripe_size = Sectors(u64::from(item.number::<u32>()?)),
            "stripes" => stripes = names.areas(item.elements()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    same_count("stripe_count", count, stripes.len())?;
    if stripes.len() == 1 {
        stripe_size = Sectors::ZERO;
    }
    Ok(SegmentKind::Striped {
        stripe_size,
        stripes,
    })
}

fn mirror(rest: &mut Rest) -> Result<SegmentKind, Fault> {
    let names = rest.names;
    let mut count = None;
    let mut m = Mirror {
        legs: Vec::new(),
        log: None,
        region_size: Sectors::ZERO,
        extents_moved: None,
    };
    rest.each(|item| {
        match item.key {
            "mirror_count" => count = Some(item.number()?),
            "extents_moved" => m.extents_moved = Some(item.extents()?),
            "mirror_log" => m.log = Some(names.lv(item.string()?)?),
            "region_size" => m.region_size = Sectors(u64::from(item.number::<u32>()?)),
            "mirrors" => m.legs = names.areas(item.elements()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    same_count("mirror_count", count, m.legs.len())?;
    Ok(SegmentKind::Mirror(m))
}

fn snapshot(rest: &mut Rest) -> Result<SegmentKind, Fault> {
    let names = rest.names;
    let (mut chunk_size, mut origin, mut cow, mut merging) = (None, None, None, false);
    rest.each(|item| {
        match item.key {
            "chunk_size" => chunk_size = Some(Sectors(u64::from(item.number::<u32>()?))),
            "origin" => origin = Some(names.lv(item.string()?)?),
            "cow_store" => cow = Some(names.lv(item.string()?)?),
            "merging_store" => {
                cow = Some(names.lv(item.string()?)?);
                merging = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(SegmentKind::Snapshot(Snapshot {
        chunk_size: chunk_size.ok_or("has no chunk_size")?,
        origin: origin.ok_or("has no origin")?,
        cow: cow.ok_or("has no cow_store")?,
        merging,
    }))
}

fn raid(rest: &mut Rest, level: &str) -> Result<SegmentKind, Fault> {
    let names = rest.names;
    let mut count = None;
    let mut raid = Raid {
        level: level.to_owned(),
        images: Vec::new(),
        region_size: Sectors::ZERO,
        stripe_size: Sectors::ZERO,
        data_copies: None,
        writebehind: None,
        min_recovery_rate: None,
        max_recovery_rate: None,
        data_offset: None,
    };
    rest.each(|item| {
        match item.key {
            "device_count" | "stripe_count" => count = Some(item.number()?),
            "data_copies" => raid.data_copies = Some(item.number()?),
            "region_size" => raid.region_size = Sectors(u64::from(item.number::<u32>()?)),
            "stripe_size" => raid.stripe_size = Sectors(u64::from(item.number::<u32>()?)),
            "writebehind" => raid.writebehind = Some(item.number()?),
            "min_recovery_rate" => raid.min_recovery_rate = Some(item.number()?),
            "max_recovery_rate" => raid.max_recovery_rate = Some(item.number()?),
            "data_offset" => raid.data_offset = Some(item.number()?),
            "raids" => raid.images = raid_pairs(names, item.elements()?)?,
            "raid0_lvs" => raid.images = raid0_images(names, item.elements()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    same_count("device_count", count, raid.images.len())?;
    Ok(SegmentKind::Raid(raid))
}

fn raid_pairs(names: &Names, mut elements: Elements) -> Result<Vec<RaidImage>, Fault> {
    let mut images = Vec::with_capacity(elements.len() / 2);
    while let Some(meta) = elements.next() {
        let (Some(meta), Some(image)) = (meta.str(), elements.next().and_then(NodeRef::str)) else {
            return Err("raids are not pairs of LV names".into());
        };
        images.push(RaidImage {
            meta: Some(names.lv(meta)?),
            image: Area::Lv {
                lv: names.lv(image)?,
                extent: Extents::ZERO,
            },
        });
    }
    Ok(images)
}

fn raid0_images(names: &Names, elements: Elements) -> Result<Vec<RaidImage>, Fault> {
    elements
        .map(|e| {
            let name = e.str().ok_or("raid0_lvs holds what is not a name")?;
            Ok(RaidImage {
                meta: None,
                image: Area::Lv {
                    lv: names.lv(name)?,
                    extent: Extents::ZERO,
                },
            })
        })
        .collect()
}

fn foreign(rest: &mut Rest, type_word: &str) -> Result<SegmentKind, Fault> {
    let mut fields = Section::default();
    for item in rest.section.items() {
        if !rest.common.take(&item)? {
            fields.items.push(item.to_tree());
        }
    }
    let mut found = Found {
        names: rest.names,
        lvs: Vec::new(),
        areas: Vec::new(),
    };
    found.section(&fields);
    found.lvs.sort_unstable();
    found.lvs.dedup();
    Ok(SegmentKind::Foreign(Box::new(Foreign {
        type_word: type_word.to_owned(),
        fields,
        lvs: found.lvs,
        areas: found.areas,
    })))
}

/// Names of LVs and PVs among the values of a segment that is only kept.
struct Found<'n> {
    names: &'n Names<'n>,
    lvs: Vec<LvKey>,
    areas: Vec<(PvKey, Extents, Extents)>,
}

impl Found<'_> {
    fn section(&mut self, section: &Section) {
        for item in &section.items {
            match &item.node {
                Node::Section(s) => self.section(s),
                Node::Value(Value::Array(elements)) => self.array(elements),
                Node::Value(Value::Str(s)) => self.name(s),
                Node::Value(_) => {}
            }
        }
    }

    fn name(&mut self, name: &str) {
        self.lvs.extend(self.names.lvs.get(name));
    }

    fn array(&mut self, elements: &[Value]) {
        for (i, element) in elements.iter().enumerate() {
            let Value::Str(name) = element else { continue };
            self.name(name);
            if let (Some(pv), Some(Value::Int(extent))) =
                (self.names.pvs.get(name.as_str()), elements.get(i + 1))
                && let Ok(extent) = u32::try_from(*extent)
            {
                // The length is found when all LVs are known.
                self.areas.push((*pv, Extents(extent), Extents::ZERO));
            }
        }
    }
}

/// Gives the physical areas of segments that are only kept their lengths. How such a type divides
/// its extents is not known: at most all of them lie behind each area, so much is claimed, up to
/// the next area of anything else on that PV.
pub(super) fn claim_foreign_areas(vg: &mut Vg) {
    let is_foreign_with_areas =
        |k: &SegmentKind| matches!(k, SegmentKind::Foreign(f) if !f.areas.is_empty());
    let any = |vg: &Vg| {
        vg.lvs
            .values()
            .any(|lv| lv.segments.iter().any(|s| is_foreign_with_areas(&s.kind)))
    };
    if !any(vg) {
        return;
    }
    // Areas of length zero are in it with their first extents.
    let usage = Usage::of(vg);
    let ends: Vec<Extents> = vg.pvs.values().map(|pv| pv.pe_count).collect();
    for (_, lv) in vg.lvs.iter_mut() {
        for segment in &mut lv.segments {
            let len = segment.len;
            if let SegmentKind::Foreign(f) = &mut segment.kind {
                for (pv, start, claimed) in &mut f.areas {
                    use crate::model::arena::Key;
                    let used = usage.on(*pv);
                    let next = used.partition_point(|u| u.start <= *start);
                    let limit = used
                        .get(next)
                        .map(|u| u.start)
                        .or(ends.get(pv.slot() as usize).copied())
                        .unwrap_or(*start);
                    *claimed = len.min(limit.saturating_sub(*start));
                }
                f.areas.retain(|(_, _, len)| !len.is_zero());
            }
        }
    }
}
