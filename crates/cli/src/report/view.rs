//! A volume group with the relations between its LVs that many fields ask for. Everything beyond
//! the metadata themselves is worked out when it is first asked for, in one pass over the VG.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use ulvm::inventory::{Inventory, VgRead};
use ulvm_metadata::model::arena::Key;
use ulvm_metadata::model::usage::{Usage, Used};
use ulvm_metadata::model::{Area, Foreign, Lv, LvKey, PvKey, Segment, SegmentKind, Snapshot, Vg};
use ulvm_metadata::units::Extents;

/// What one LV is to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Leg of a mirror.
    MirrorLeg,
    /// Log of a mirror.
    MirrorLog,
    /// Image of a raid LV.
    RaidImage,
    /// Metadata of a raid image.
    RaidMeta,
    /// Data of a thin pool.
    ThinPoolData,
    /// Metadata of a thin pool.
    ThinPoolMeta,
    /// Data of a cache pool.
    CachePoolData,
    /// Metadata of a cache pool.
    CachePoolMeta,
    /// Origin of a cached LV.
    CacheOrigin,
    /// Cache pool (or cache volume) of a cached LV.
    CachePool,
    /// Origin of a writecache LV.
    WriteCacheOrigin,
    /// Data of a VDO pool.
    VdoPoolData,
    /// Pool of a thin or VDO LV.
    Pool,
    /// Origin of a thin snapshot.
    ThinOrigin,
    /// External origin of a thin LV.
    ExternalOrigin,
    /// Stripe of a plain LV (seen while pvmove works).
    Stripe,
}

/// One LV made use of by another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedBy {
    /// The one that uses it.
    pub lv: LvKey,
    /// As what.
    pub how: Use,
}

#[derive(Default)]
struct Relations {
    /// By slot: who uses the LV.
    used_by: Vec<Vec<UsedBy>>,
    /// By slot: the hidden snapshot LV whose COW store the LV is.
    cow_of: Vec<Option<LvKey>>,
    /// By slot: COW LVs of the snapshots of an origin, in list order.
    snapshots: Vec<Vec<LvKey>>,
}

/// A volume group as reports see it.
pub struct VgView<'a> {
    /// As it was read.
    pub read: &'a VgRead,
    /// Where its devices are.
    pub inventory: &'a Inventory,
    names: OnceCell<HashMap<&'a str, LvKey>>,
    relations: OnceCell<Relations>,
    usage: OnceCell<Usage>,
    partial: OnceCell<Vec<bool>>,
}

impl<'a> VgView<'a> {
    /// Of a VG.
    pub fn new(read: &'a VgRead, inventory: &'a Inventory) -> Self {
        Self {
            read,
            inventory,
            names: OnceCell::new(),
            relations: OnceCell::new(),
            usage: OnceCell::new(),
            partial: OnceCell::new(),
        }
    }
    /// The metadata.
    pub fn vg(&self) -> &'a Vg {
        &self.read.vg
    }
    /// An LV.
    pub fn lv(&self, key: LvKey) -> &'a Lv {
        &self.read.vg.lvs[key]
    }
    /// The LV of a name.
    pub fn find(&self, name: &str) -> Option<LvKey> {
        self.names
            .get_or_init(|| {
                self.vg()
                    .lvs
                    .iter()
                    .map(|(k, lv)| (lv.name.as_str(), k))
                    .collect()
            })
            .get(name)
            .copied()
    }
    /// Which extents of which PV are used by what.
    pub fn usage(&self) -> &Usage {
        self.usage.get_or_init(|| Usage::of(self.vg()))
    }
    /// Runs of a PV: used ones and free ones, in order.
    pub fn runs(&self, pv: PvKey) -> Vec<(Extents, Extents, Option<Used>)> {
        let count = self.vg().pvs[pv].pe_count;
        let mut out: Vec<_> = self
            .usage()
            .free_runs(pv, count)
            .into_iter()
            .map(|(start, len)| (start, len, None))
            .collect();
        out.extend(
            self.usage()
                .on(pv)
                .iter()
                .map(|u| (u.start, u.len, Some(*u))),
        );
        out.sort_by_key(|r| r.0);
        out
    }

    fn relations(&self) -> &Relations {
        self.relations.get_or_init(|| self.relate())
    }

    fn relate(&self) -> Relations {
        let slots = self.vg().lvs.slot_count();
        let mut out = Relations {
            used_by: vec![Vec::new(); slots],
            cow_of: vec![None; slots],
            snapshots: vec![Vec::new(); slots],
        };
        for (key, lv) in self.vg().lvs.iter() {
            for segment in &lv.segments {
                self.relate_segment(key, segment, &mut out);
            }
        }
        out
    }

    fn relate_segment(&self, owner: LvKey, segment: &Segment, out: &mut Relations) {
        let mut note = |lv: LvKey, how: Use| {
            let list = &mut out.used_by[lv.slot() as usize];
            let entry = UsedBy { lv: owner, how };
            if list.last() != Some(&entry) {
                list.push(entry);
            }
        };
        let sub = |area: &Area| match area {
            Area::Lv { lv, .. } => Some(*lv),
            Area::Pv { .. } => None,
        };
        match &segment.kind {
            SegmentKind::Striped { stripes, .. } => {
                stripes
                    .iter()
                    .filter_map(sub)
                    .for_each(|lv| note(lv, Use::Stripe));
            }
            SegmentKind::Mirror(m) => {
                m.legs
                    .iter()
                    .filter_map(sub)
                    .for_each(|lv| note(lv, Use::MirrorLeg));
                if let Some(log) = m.log {
                    note(log, Use::MirrorLog);
                }
            }
            SegmentKind::Raid(r) => {
                for image in &r.images {
                    if let Some(lv) = sub(&image.image) {
                        note(lv, Use::RaidImage);
                    }
                    if let Some(lv) = image.meta {
                        note(lv, Use::RaidMeta);
                    }
                }
            }
            SegmentKind::Snapshot(s) => {
                out.cow_of[s.cow.slot() as usize] = Some(owner);
                out.snapshots[s.origin.slot() as usize].push(s.cow);
            }
            SegmentKind::Foreign(f) => {
                for (field, how) in foreign_uses(f) {
                    if let Some(lv) = f.fields.str(field).and_then(|name| self.find(name)) {
                        note(lv, *how);
                    }
                }
            }
            SegmentKind::Error | SegmentKind::Zero => {}
        }
    }

    /// Who uses an LV.
    pub fn used_by(&self, lv: LvKey) -> &[UsedBy] {
        &self.relations().used_by[lv.slot() as usize]
    }
    /// The first LV that uses it in this way.
    pub fn user(&self, lv: LvKey, how: Use) -> Option<LvKey> {
        self.used_by(lv).iter().find(|u| u.how == how).map(|u| u.lv)
    }
    /// Is it used in this way?
    pub fn is_used(&self, lv: LvKey, how: Use) -> bool {
        self.user(lv, how).is_some()
    }
    /// The snapshot whose COW store an LV is.
    pub fn snapshot(&self, cow: LvKey) -> Option<&'a Snapshot> {
        let holder = self.relations().cow_of[cow.slot() as usize]?;
        self.lv(holder).segments.iter().find_map(|s| match &s.kind {
            SegmentKind::Snapshot(snapshot) => Some(snapshot),
            _ => None,
        })
    }
    /// COW LVs of the snapshots of an LV.
    pub fn snapshots_of(&self, origin: LvKey) -> &[LvKey] {
        &self.relations().snapshots[origin.slot() as usize]
    }
    /// Does the LV itself hold snapshot bookkeeping (`snapshotN`)? Such LVs are never listed.
    pub fn is_snapshot_holder(&self, lv: LvKey) -> bool {
        self.lv(lv)
            .segments
            .iter()
            .any(|s| matches!(s.kind, SegmentKind::Snapshot(_)))
    }
    /// Does the user see the LV without asking for hidden ones?
    pub fn is_visible(&self, lv: LvKey) -> bool {
        if self.is_snapshot_holder(lv) {
            return false;
        }
        match self.snapshot(lv) {
            Some(s) => !s.merging && s.origin != lv && self.lv(s.origin).status.visible,
            None => self.lv(lv).status.visible,
        }
    }
    /// Name as shown: hidden ones in brackets.
    pub fn shown_name(&self, lv: LvKey, mark_hidden: bool) -> Cow<'a, str> {
        let name = &self.lv(lv).name;
        if mark_hidden && !self.is_visible(lv) {
            Cow::Owned(format!("[{name}]"))
        } else {
            Cow::Borrowed(name)
        }
    }
    /// Does any part of the LV lie on a missing PV?
    pub fn is_partial(&self, lv: LvKey) -> bool {
        if !self.read.partial() {
            return false;
        }
        self.partial.get_or_init(|| self.find_partial())[lv.slot() as usize]
    }

    /// Spreads "partial" from the LVs that touch missing PVs to those that use them.
    fn find_partial(&self) -> Vec<bool> {
        let mut partial = vec![false; self.vg().lvs.slot_count()];
        let mut queue: Vec<LvKey> = Vec::new();
        for (key, lv) in self.vg().lvs.iter() {
            let touches = lv
                .segments
                .iter()
                .flat_map(Segment::areas)
                .any(|(area, _)| match area {
                    Area::Pv { pv, .. } => self.read.pv(pv).missing,
                    Area::Lv { .. } => false,
                });
            if touches {
                partial[key.slot() as usize] = true;
                queue.push(key);
            }
        }
        while let Some(key) = queue.pop() {
            for user in self.used_by(key) {
                let seen = &mut partial[user.lv.slot() as usize];
                if !*seen {
                    *seen = true;
                    queue.push(user.lv);
                }
            }
        }
        partial
    }

    /// Name of a PV's device as shown.
    pub fn pv_name(&self, pv: PvKey, two_word_unknown: bool) -> &'a str {
        match self.read.pv(pv).device() {
            Some(device) => &self.inventory.device(device).name,
            None if two_word_unknown => "unknown device",
            None => "[unknown]",
        }
    }
    /// Number of LVs the user sees.
    pub fn visible_lvs(&self) -> usize {
        self.vg().lvs.keys().filter(|k| self.is_visible(*k)).count()
    }
}

/// Fields of a kept segment that name other LVs, by type.
fn foreign_uses(f: &Foreign) -> &'static [(&'static str, Use)] {
    match base_type(&f.type_word) {
        "thin-pool" => &[("pool", Use::ThinPoolData), ("metadata", Use::ThinPoolMeta)],
        "thin" => &[
            ("thin_pool", Use::Pool),
            ("origin", Use::ThinOrigin),
            ("external_origin", Use::ExternalOrigin),
        ],
        "cache-pool" => &[
            ("data", Use::CachePoolData),
            ("metadata", Use::CachePoolMeta),
        ],
        "cache" => &[("cache_pool", Use::CachePool), ("origin", Use::CacheOrigin)],
        "writecache" => &[
            ("writecache", Use::CachePool),
            ("origin", Use::WriteCacheOrigin),
        ],
        "vdo-pool" => &[("data", Use::VdoPoolData)],
        "vdo" => &[("vdo_pool", Use::Pool)],
        _ => &[],
    }
}

/// A type word without its `+FLAG` suffixes.
pub fn base_type(word: &str) -> &str {
    word.split('+').next().unwrap_or(word)
}

/// The kept segment of a type, if the LV begins with one.
pub fn foreign<'a>(lv: &'a Lv, kind: &str) -> Option<&'a Foreign> {
    match &lv.segments.first()?.kind {
        SegmentKind::Foreign(f) if base_type(&f.type_word) == kind => Some(f),
        _ => None,
    }
}
