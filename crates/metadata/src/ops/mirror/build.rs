//! Making the sub-LVs of mirrors, and the segments that join them.

use super::super::OpError;
use super::super::lv_name::{check_free, check_length};
use super::super::lv_segments::append_pieces;
use crate::alloc::{self, AllocConfig, Beside, FreeMap, Parallel, Piece, PvRange};
use crate::model::usage::Usage;
use crate::model::{
    AllocPolicy, Area, Creation, Lv, LvFlags, LvKey, LvStatus, Mirror, PvKey, Raid, RaidImage,
    ReadAhead, Segment, SegmentKind, Vg,
};
use crate::units::{Extents, Sectors};
use crate::uuid::IdSource;

/// `raid1` as metadata write it.
pub(super) const RAID1: &str = "raid1";

/// What new sub-LVs need to know.
pub(in super::super) struct Maker<'a> {
    pub ids: &'a mut dyn IdSource,
    pub creation: Creation,
    /// Policy that the sub-LVs keep: that of their LV.
    pub alloc: AllocPolicy,
}

impl Maker<'_> {
    /// A hidden LV without segments.
    pub(super) fn sub_lv(&mut self, vg: &Vg, name: String) -> Result<Lv, OpError> {
        check_free(vg, &name)?;
        check_length(&vg.name, &name)?;
        Ok(Lv {
            id: self.ids.new_id(),
            name,
            status: LvStatus {
                read: true,
                write: true,
                ..LvStatus::default()
            },
            flags: LvFlags::default(),
            unknown_flags: Vec::new(),
            tags: Vec::new(),
            creation: Some(self.creation.clone()),
            lock_args: None,
            alloc: self.alloc,
            profile: None,
            read_ahead: ReadAhead::Auto,
            major: None,
            minor: None,
            segments: Vec::new(),
            extra: Vec::new(),
        })
    }
}

/// The whole of a sub-LV.
pub(super) fn whole(lv: LvKey) -> Area {
    Area::Lv {
        lv,
        extent: Extents::ZERO,
    }
}

/// One linear run on a PV.
pub(super) fn linear(at: (PvKey, Extents), len: Extents) -> Vec<Segment> {
    let kind = SegmentKind::Striped {
        stripe_size: Sectors::ZERO,
        stripes: vec![Area::Pv {
            pv: at.0,
            extent: at.1,
        }],
    };
    vec![Segment::new(Extents::ZERO, len, kind)]
}

/// The pieces of leg `n` of several, each with so many stripes.
pub(in super::super) fn leg_pieces(pieces: &[Piece], n: usize, stripes: usize) -> Vec<Piece> {
    let range = n * stripes..(n + 1) * stripes;
    let of = |piece: &Piece| Piece {
        areas: piece.areas.get(range.clone()).unwrap_or_default().to_vec(),
        len: piece.len,
    };
    pieces.iter().map(of).collect()
}

/// What is to be allocated for new legs.
pub(super) struct Space<'a> {
    pub usage: &'a Usage,
    /// `None` = the whole VG.
    pub offered: Option<&'a [PvRange]>,
    /// Resolved: not `Inherit`.
    pub policy: AllocPolicy,
    pub config: &'a AllocConfig,
    /// Name for messages.
    pub name: &'a str,
    pub at_most: bool,
}

impl Space<'_> {
    pub(super) fn map(&self, vg: &Vg) -> FreeMap {
        match self.offered {
            Some(list) => FreeMap::new(vg, self.usage, list),
            None => FreeMap::whole(vg, self.usage),
        }
    }

    /// Extents for legs side by side.
    pub(super) fn legs(
        &self,
        vg: &Vg,
        extents: Extents,
        (legs, stripes): (u32, u32),
        beside: Beside,
        avoid: &[Parallel],
    ) -> Result<alloc::Allocation, OpError> {
        let request = alloc::Request {
            lv_name: self.name,
            extends: None,
            extents,
            parallel: legs.saturating_mul(stripes),
            per_area: stripes,
            policy: self.policy,
            at_most: self.at_most,
            beside,
            avoid,
            config: self.config,
        };
        alloc::allocate(vg, self.map(vg), &request)
            .map_err(|e| OpError::no_space(e.message(self.name)))
    }

    /// Extents for the log of a mirror.
    pub(super) fn log(
        &self,
        vg: &Vg,
        len: Extents,
        avoid: &[Parallel],
    ) -> Result<(PvKey, Extents), OpError> {
        let request = alloc::Request {
            lv_name: "",
            extends: None,
            extents: Extents::ZERO,
            parallel: 0,
            per_area: 1,
            policy: self.policy,
            at_most: false,
            beside: Beside::Log(len),
            avoid,
            config: self.config,
        };
        let failed = |message: String| {
            OpError::no_space(format!(
                "{message}\nUnable to allocate extents for mirror log."
            ))
        };
        let found =
            alloc::allocate(vg, self.map(vg), &request).map_err(|e| failed(e.message("")))?;
        found
            .log
            .ok_or_else(|| failed(alloc::AllocError::NoLog.message("")))
    }
}

/// PVs under each run of an LV, for what shall be parallel to it: one list per run of extents, or
/// one for the whole LV.
pub(super) fn parallel_to(vg: &Vg, lv: LvKey, one_list: bool) -> Vec<Parallel> {
    let mut runs: Vec<(u32, u32, PvKey)> = Vec::new();
    collect(vg, lv, 0, (0, u32::MAX), &mut runs, 0);
    let len = vg.lvs[lv].extents().0;
    let mut ends: Vec<u32> = if one_list {
        vec![len]
    } else {
        let all = runs.iter().map(|r| r.1.min(len));
        all.chain([len]).filter(|end| *end > 0).collect()
    };
    ends.sort_unstable();
    ends.dedup();
    let mut out = Vec::with_capacity(ends.len());
    let mut start = 0;
    for end in ends {
        let mut pvs: Vec<PvKey> = Vec::new();
        for (from, to, pv) in &runs {
            if *from < end && start < *to && !pvs.contains(pv) {
                pvs.push(*pv);
            }
        }
        out.push(Parallel {
            end: Extents(end),
            pvs,
        });
        start = end;
    }
    out
}

/// Deepest nesting of LVs that is looked into.
const DEPTH: u32 = 8;

/// Collects (first, end, PV) of what lies under the extents `window` of `lv`, counted from `base`.
/// Metadata LVs are counted as lying under the first extent.
fn collect(
    vg: &Vg,
    lv: LvKey,
    base: u32,
    window: (u32, u32),
    out: &mut Vec<(u32, u32, PvKey)>,
    depth: u32,
) {
    let Some(lv) = vg.lvs.get(lv).filter(|_| depth < DEPTH) else {
        return;
    };
    for segment in &lv.segments {
        let (from, to) = (segment.start.0.max(window.0), segment.end().0.min(window.1));
        if from >= to {
            continue;
        }
        for (area, len) in segment.areas() {
            match area {
                Area::Pv { pv, .. } => out.push((base + from, base + to, pv)),
                Area::Lv { lv, extent } => {
                    let end = extent.0.saturating_add(len.0);
                    collect(
                        vg,
                        lv,
                        base + segment.start.0,
                        (extent.0, end),
                        out,
                        depth + 1,
                    );
                }
            }
        }
        if let SegmentKind::Raid(raid) = &segment.kind {
            for meta in raid.images.iter().filter_map(|i| i.meta) {
                collect(vg, meta, base, (0, u32::MAX), out, depth + 1);
            }
        }
    }
}

/// Adds the images of a raid1 LV whose space is given; `first` is the number of the first.
/// Image before metadata where `image_first`, which is the order LVM2 makes them in.
pub(in super::super) fn push_images(
    vg: &mut Vg,
    maker: &mut Maker<'_>,
    name: &str,
    first: u32,
    found: &alloc::Allocation,
    (meta_len, image_first): (Extents, bool),
) -> Result<Vec<RaidImage>, OpError> {
    let mut out = Vec::with_capacity(found.meta.len());
    for (n, at) in found.meta.iter().enumerate() {
        let number = first + u32::try_from(n).unwrap_or(u32::MAX);
        let mut image = maker.sub_lv(vg, format!("{name}_rimage_{number}"))?;
        append_pieces(&mut image, &leg_pieces(&found.pieces, n, 1), Sectors::ZERO);
        let mut meta = maker.sub_lv(vg, format!("{name}_rmeta_{number}"))?;
        meta.segments = linear(*at, meta_len);
        let (image, meta) = if image_first {
            let image = vg.lvs.push(image);
            (image, vg.lvs.push(meta))
        } else {
            let meta = vg.lvs.push(meta);
            (vg.lvs.push(image), meta)
        };
        out.push(RaidImage {
            meta: Some(meta),
            image: whole(image),
        });
    }
    Ok(out)
}

/// Adds the legs of a mirror whose space is given; `first` is the number of the first.
pub(in super::super) fn push_legs(
    vg: &mut Vg,
    maker: &mut Maker<'_>,
    name: &str,
    first: u32,
    found: &alloc::Allocation,
    (legs, stripes, stripe_size): (u32, u32, Sectors),
) -> Result<Vec<LvKey>, OpError> {
    let mut out = Vec::new();
    for n in 0..legs {
        let mut leg = maker.sub_lv(vg, format!("{name}_mimage_{}", first + n))?;
        let pieces = leg_pieces(&found.pieces, n as usize, stripes as usize);
        append_pieces(&mut leg, &pieces, stripe_size);
        out.push(vg.lvs.push(leg));
    }
    Ok(out)
}

/// Adds the disk log of the mirror `lv`, on a PV without a leg if possible.
pub(super) fn push_log(
    vg: &mut Vg,
    maker: &mut Maker<'_>,
    lv: LvKey,
    region: Sectors,
    space: &Space<'_>,
) -> Result<LvKey, OpError> {
    let avoid = parallel_to(vg, lv, false);
    let extents = vg.lvs[lv].extents();
    let len = super::region::log_extents(vg, extents, region);
    let at = space.log(vg, len, &avoid)?;
    let name = format!("{}_mlog", vg.lvs[lv].name);
    let mut log = maker.sub_lv(vg, name)?;
    log.segments = linear(at, len);
    Ok(vg.lvs.push(log))
}

/// A raid1 segment over the whole LV.
pub(in super::super) fn raid1_segment(
    len: Extents,
    images: Vec<RaidImage>,
    region: Sectors,
    rates: (Option<u32>, Option<u32>),
) -> Segment {
    let raid = Raid {
        level: RAID1.to_owned(),
        images,
        region_size: region,
        stripe_size: Sectors::ZERO,
        data_copies: None,
        writebehind: None,
        min_recovery_rate: rates.0,
        max_recovery_rate: rates.1,
        data_offset: None,
    };
    Segment::new(Extents::ZERO, len, SegmentKind::Raid(raid))
}

/// A mirror segment over the whole LV.
pub(in super::super) fn mirror_segment(
    len: Extents,
    legs: &[LvKey],
    log: Option<LvKey>,
    region: Sectors,
) -> Segment {
    let mirror = Mirror {
        legs: legs.iter().map(|leg| whole(*leg)).collect(),
        log,
        region_size: region,
        extents_moved: None,
    };
    Segment::new(Extents::ZERO, len, SegmentKind::Mirror(mirror))
}
