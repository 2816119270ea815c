//! What sort of LV an LV is: the basis of attr strings, layouts and roles.

use ulvm_metadata::model::{Lv, LvKey, Raid, SegmentKind};

use super::view::{Use, VgView, base_type, foreign};

/// Questions about one LV of a VG.
#[derive(Clone, Copy)]
pub struct LvKind<'v, 'a> {
    view: &'v VgView<'a>,
    key: LvKey,
    lv: &'a Lv,
}

impl<'v, 'a> LvKind<'v, 'a> {
    /// About this LV.
    pub fn new(view: &'v VgView<'a>, key: LvKey) -> Self {
        Self {
            view,
            key,
            lv: view.lv(key),
        }
    }
    fn any_segment(&self, test: impl Fn(&SegmentKind) -> bool) -> bool {
        self.lv.segments.iter().any(|s| test(&s.kind))
    }
    fn first(&self) -> Option<&'a SegmentKind> {
        self.lv.segments.first().map(|s| &s.kind)
    }
    /// Made by pvmove.
    pub fn is_pvmove(&self) -> bool {
        self.lv.status.pvmove
    }
    /// dm-mirror.
    pub fn is_mirror(&self) -> bool {
        matches!(self.first(), Some(SegmentKind::Mirror(_)))
    }
    /// The raid segment.
    pub fn raid(&self) -> Option<&'a Raid> {
        match self.first()? {
            SegmentKind::Raid(r) => Some(r),
            _ => None,
        }
    }
    /// Has classic snapshots.
    pub fn is_thick_origin(&self) -> bool {
        !self.view.snapshots_of(self.key).is_empty()
    }
    /// One of its snapshots, classic or thin, is being merged into it.
    pub fn is_merging_origin(&self) -> bool {
        let merging = |cow: &LvKey| self.view.snapshot(*cow).is_some_and(|s| s.merging);
        self.view.snapshots_of(self.key).iter().any(merging)
            || self.view.used_by(self.key).iter().any(|u| {
                u.how == Use::ThinOrigin && LvKind::new(self.view, u.lv).is_merging_thin_snapshot()
            })
    }
    /// A COW store.
    pub fn is_cow(&self) -> bool {
        self.view.snapshot(self.key).is_some()
    }
    /// A COW store that is being merged.
    pub fn is_merging_cow(&self) -> bool {
        self.view.snapshot(self.key).is_some_and(|s| s.merging)
    }
    /// Type of its first segment, if that is one ulvm only keeps.
    pub fn foreign_type(&self) -> Option<&'a str> {
        match self.first()? {
            SegmentKind::Foreign(f) => Some(base_type(&f.type_word)),
            _ => None,
        }
    }
    /// Thin LV.
    pub fn is_thin(&self) -> bool {
        self.foreign_type() == Some("thin")
    }
    /// Thin pool.
    pub fn is_thin_pool(&self) -> bool {
        self.foreign_type() == Some("thin-pool")
    }
    /// Thin snapshot that will be merged into its origin.
    pub fn is_merging_thin_snapshot(&self) -> bool {
        foreign(self.lv, "thin").is_some_and(|f| f.fields.str("merge").is_some())
    }
    /// Cached LV.
    pub fn is_cache(&self) -> bool {
        self.foreign_type() == Some("cache")
    }
    /// Cache pool.
    pub fn is_cache_pool(&self) -> bool {
        self.foreign_type() == Some("cache-pool")
    }
    /// LV used directly as cache.
    pub fn is_cache_vol(&self) -> bool {
        self.lv.flags.cache_vol
    }
    /// Writecache LV.
    pub fn is_writecache(&self) -> bool {
        self.foreign_type() == Some("writecache")
    }
    /// Used in this way by another LV.
    pub fn is(&self, how: Use) -> bool {
        self.view.is_used(self.key, how)
    }
    /// Spare for pool metadata.
    pub fn is_spare(&self) -> bool {
        self.lv.name.ends_with("_pmspare")
    }
    /// Without data of its own.
    pub fn is_virtual(&self) -> bool {
        self.any_segment(|k| match k {
            SegmentKind::Error | SegmentKind::Zero => true,
            SegmentKind::Foreign(f) => matches!(base_type(&f.type_word), "thin" | "vdo"),
            _ => false,
        })
    }
    /// Has segments of a type nobody knows.
    pub fn is_unknown(&self) -> bool {
        const KNOWN: [&str; 8] = [
            "thin",
            "thin-pool",
            "cache",
            "cache-pool",
            "writecache",
            "vdo",
            "vdo-pool",
            "integrity",
        ];
        self.any_segment(|k| match k {
            SegmentKind::Foreign(f) => !KNOWN.contains(&base_type(&f.type_word)),
            _ => false,
        })
    }
    /// Part of a pool that keeps metadata, or the spare for it.
    pub fn is_pool_metadata(&self) -> bool {
        self.is(Use::ThinPoolMeta) || self.is(Use::CachePoolMeta) || self.is_spare()
    }

    /// `lv_attr` of an LV that is not active.
    pub fn attr(&self) -> String {
        let lv = self.lv;
        let inherited = lv.alloc.letter();
        let permission = match (self.is_pvmove(), lv.status.write, lv.status.read) {
            (true, _, _) => '-',
            (false, true, _) => 'w',
            (false, false, true) => 'r',
            (false, false, false) => '-',
        };
        let mark = |set: bool, letter: char| if set { letter } else { '-' };
        [
            self.type_letter(),
            permission,
            if lv.status.locked {
                inherited.to_ascii_uppercase()
            } else {
                inherited
            },
            mark(lv.status.fixed_minor, 'm'),
            '-',
            '-',
            self.target_letter(),
            mark(self.zeroes(), 'z'),
            self.health_letter(),
            mark(lv.flags.activation_skip, 'k'),
        ]
        .iter()
        .collect()
    }

    fn type_letter(&self) -> char {
        let lv = self.lv;
        let unsynced = lv.status.not_synced;
        if self.is_pvmove() {
            'p'
        } else if self.is_thick_origin()
            || self.is(Use::ExternalOrigin)
            || self.is(Use::CacheOrigin)
            || self.is(Use::WriteCacheOrigin)
        {
            if self.is_merging_origin() { 'O' } else { 'o' }
        } else if self.is_pool_metadata() || self.is(Use::RaidMeta) {
            'e'
        } else if self.is_cache_type() {
            'C'
        } else if self.raid().is_some() {
            if unsynced { 'R' } else { 'r' }
        } else if self.is_mirror() {
            if unsynced { 'M' } else { 'm' }
        } else if self.is_thin() {
            match (self.is_merging_origin(), self.is_merging_thin_snapshot()) {
                (true, _) => 'O',
                (false, true) => 'S',
                (false, false) => 'V',
            }
        } else if self.is_virtual() {
            'v'
        } else if self.is_thin_pool() {
            't'
        } else if self.is(Use::ThinPoolData) {
            'T'
        } else if self.foreign_type() == Some("vdo-pool") {
            'd'
        } else if self.is(Use::VdoPoolData) {
            'D'
        } else if self.is_cow() {
            if self.is_merging_cow() { 'S' } else { 's' }
        } else if self.is(Use::MirrorLog) {
            'l'
        } else if self.is(Use::RaidImage) || self.is(Use::MirrorLeg) {
            'I'
        } else {
            '-'
        }
    }

    fn is_cache_type(&self) -> bool {
        self.is_cache()
            || self.is_writecache()
            || self.is_cache_pool()
            || self.is_cache_vol()
            || self.is(Use::CachePoolData)
    }

    fn target_letter(&self) -> char {
        if self.is_thin_pool() || self.is_thin() {
            't'
        } else if self.is_cache()
            || self.is_writecache()
            || self.is_cache_pool()
            || self.is_cache_vol()
            || self.is(Use::CacheOrigin)
            || self.is(Use::WriteCacheOrigin)
        {
            'C'
        } else if self.raid().is_some() || self.is(Use::RaidImage) || self.is(Use::RaidMeta) {
            'r'
        } else if self.is_mirror() || self.is(Use::MirrorLeg) || self.is(Use::MirrorLog) {
            'm'
        } else if self.is_cow() || self.is_thick_origin() {
            's'
        } else if self.is_unknown() {
            'u'
        } else if self.is_virtual() {
            'v'
        } else {
            '-'
        }
    }

    /// New blocks are zeroed (thin pools and their LVs).
    pub fn zeroes(&self) -> bool {
        let pool = if self.is_thin() {
            self.view.pool_of(self.key)
        } else {
            Some(self.key)
        };
        pool.and_then(|p| foreign(self.view.lv(p), "thin-pool"))
            .is_some_and(|f| f.fields.int("zero_new_blocks").unwrap_or(0) != 0)
    }

    fn health_letter(&self) -> char {
        if self.view.is_partial(self.key) {
            'p'
        } else if self.lv.status.write_mostly {
            'w'
        } else {
            '-'
        }
    }

    /// `lv_health_status` of an LV that is not active.
    pub fn health(&self) -> &'static str {
        match self.health_letter() {
            'p' => "partial",
            'w' => "writemostly",
            _ => "",
        }
    }
}

impl VgView<'_> {
    /// The pool of a thin LV, the cache pool of a cached one.
    pub fn pool_of(&self, key: LvKey) -> Option<LvKey> {
        let lv = self.lv(key);
        let name = foreign(lv, "thin")
            .and_then(|f| f.fields.str("thin_pool"))
            .or_else(|| foreign(lv, "cache").and_then(|f| f.fields.str("cache_pool")))
            .or_else(|| foreign(lv, "writecache").and_then(|f| f.fields.str("writecache")))
            .or_else(|| foreign(lv, "vdo").and_then(|f| f.fields.str("vdo_pool")))?;
        self.find(name)
    }
    /// The LV it is a snapshot or a cached view of.
    pub fn origin_of(&self, key: LvKey) -> Option<LvKey> {
        if let Some(snapshot) = self.snapshot(key) {
            return Some(snapshot.origin);
        }
        let lv = self.lv(key);
        let name = foreign(lv, "thin")
            .and_then(|f| {
                f.fields
                    .str("origin")
                    .or_else(|| f.fields.str("external_origin"))
            })
            .or_else(|| foreign(lv, "cache").and_then(|f| f.fields.str("origin")))
            .or_else(|| foreign(lv, "writecache").and_then(|f| f.fields.str("origin")))?;
        self.find(name)
    }
    /// Data and metadata LV of a pool.
    pub fn pool_parts(&self, key: LvKey) -> (Option<LvKey>, Option<LvKey>) {
        let lv = self.lv(key);
        let (pool, data) = match (
            foreign(lv, "thin-pool"),
            foreign(lv, "cache-pool"),
            foreign(lv, "vdo-pool"),
        ) {
            (Some(f), _, _) => (f, "pool"),
            (_, Some(f), _) | (_, _, Some(f)) => (f, "data"),
            _ => return (None, None),
        };
        let of = |field: &str| pool.fields.str(field).and_then(|name| self.find(name));
        (of(data), of("metadata"))
    }
}
