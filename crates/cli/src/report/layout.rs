//! `lv_layout` and `lv_role`.

use std::borrow::Cow;

use ulvm_metadata::model::{LvKey, SegmentKind};

use super::kind::LvKind;
use super::view::{Use, VgView, foreign};

type Words = Vec<Cow<'static, str>>;

fn add(out: &mut Words, words: &[&'static str]) {
    out.extend(words.iter().map(|w| Cow::Borrowed(*w)));
}

/// Words of `lv_layout`.
pub fn layout(view: &VgView<'_>, key: LvKey) -> Words {
    let kind = LvKind::new(view, key);
    let mut out = Words::new();
    if kind.is_mirror() {
        add(&mut out, &["mirror"]);
    } else if let Some(raid) = kind.raid() {
        add(&mut out, &["raid"]);
        add(&mut out, raid_words(&raid.level));
    } else {
        add(&mut out, foreign_words(&kind));
    }
    if out.is_empty() && !kind.is_virtual() && !kind.is_unknown() {
        let stripes = |wide: bool| {
            view.lv(key).segments.iter().any(|s| match &s.kind {
                SegmentKind::Striped { stripes, .. } => (stripes.len() > 1) == wide,
                _ => false,
            })
        };
        if stripes(false) {
            add(&mut out, &["linear"]);
        }
        if stripes(true) {
            add(&mut out, &["striped"]);
        }
    }
    if out.is_empty() {
        add(&mut out, &["unknown"]);
    }
    out
}

fn foreign_words(kind: &LvKind<'_, '_>) -> &'static [&'static str] {
    match kind.foreign_type() {
        Some("thin-pool") => &["thin", "pool"],
        Some("thin") => &["thin", "sparse"],
        Some("cache") => &["cache"],
        Some("cache-pool") => &["cache", "pool"],
        Some("writecache") => &["writecache"],
        Some("vdo-pool") => &["vdo", "pool"],
        Some("vdo") => &["vdo", "sparse"],
        _ => &[],
    }
}

fn raid_words(level: &str) -> &'static [&'static str] {
    match level {
        "raid0" => &["raid0"],
        "raid1" => &["raid1"],
        "raid10" | "raid10_near" => &["raid10"],
        "raid4" => &["raid4"],
        "raid5" | "raid5_ls" => &["raid5", "raid5_ls"],
        "raid5_n" => &["raid5", "raid5_n"],
        "raid5_la" => &["raid5", "raid5_la"],
        "raid5_ra" => &["raid5", "raid5_ra"],
        "raid5_rs" => &["raid5", "raid5_rs"],
        "raid6" | "raid6_zr" => &["raid6", "raid6_zr"],
        "raid6_nr" => &["raid6", "raid6_nr"],
        "raid6_nc" => &["raid6", "raid6_nc"],
        "raid6_n_6" => &["raid6", "raid6_n_6"],
        "raid6_ls_6" => &["raid6", "raid6_ls_6"],
        "raid6_rs_6" => &["raid6", "raid6_rs_6"],
        "raid6_la_6" => &["raid6", "raid6_la_6"],
        "raid6_ra_6" => &["raid6", "raid6_ra_6"],
        _ => &[],
    }
}

/// Words of `lv_role`.
pub fn role(view: &VgView<'_>, key: LvKey) -> Words {
    let kind = LvKind::new(view, key);
    let mut out = Words::new();
    let pool =
        kind.is_thin_pool() || kind.is_cache_pool() || kind.foreign_type() == Some("vdo-pool");
    // An image that was split off to be merged back is shown, and still a part.
    let public = (view.is_visible(key) || kind.is_cow()) && !kind.is(Use::RaidImage);
    add(
        &mut out,
        &[if public && !pool { "public" } else { "private" }],
    );
    if kind.is_pvmove() {
        add(&mut out, &["pvmove"]);
    }
    for (how, words) in PARTS {
        if kind.is(*how) {
            add(&mut out, words);
        }
    }
    if kind.is_spare() {
        add(&mut out, &["pool", "spare"]);
    }
    if kind.is_cache_vol() {
        add(&mut out, &["cache", "pool"]);
    }
    let thick = view.snapshots_of(key).len();
    let thin = kind.is_thin() && kind.is(Use::ThinOrigin);
    if thick > 0 || thin || kind.is(Use::ExternalOrigin) {
        add(&mut out, &["origin"]);
    }
    if thick > 0 {
        add(&mut out, &["thickorigin"]);
    }
    if thick > 1 {
        add(&mut out, &["multithickorigin"]);
    }
    if thin {
        add(&mut out, &["thinorigin"]);
    }
    if thin
        && view
            .used_by(key)
            .iter()
            .filter(|u| u.how == Use::ThinOrigin)
            .count()
            > 1
    {
        add(&mut out, &["multithinorigin"]);
    }
    if kind.is(Use::ExternalOrigin) {
        add(&mut out, &["externalorigin"]);
    }
    if kind.is_cow() {
        add(&mut out, &["snapshot", "thicksnapshot"]);
    }
    let of_thin = foreign(view.lv(key), "thin").is_some_and(|f| f.fields.str("origin").is_some());
    if of_thin {
        add(&mut out, &["snapshot", "thinsnapshot"]);
    }
    out
}

/// Roles of LVs that are parts of others.
const PARTS: &[(Use, &[&str])] = &[
    (Use::MirrorLeg, &["mirror", "image"]),
    (Use::MirrorLog, &["mirror", "log"]),
    (Use::RaidImage, &["raid", "image"]),
    (Use::RaidMeta, &["raid", "metadata"]),
    (Use::ThinPoolData, &["thin", "pool", "data"]),
    (Use::ThinPoolMeta, &["thin", "pool", "metadata"]),
    (Use::CacheOrigin, &["cache", "origin", "cacheorigin"]),
    (Use::CachePoolData, &["cache", "pool", "data"]),
    (Use::CachePoolMeta, &["cache", "pool", "metadata"]),
    (
        Use::WriteCacheOrigin,
        &["writecache", "origin", "writecacheorigin"],
    ),
    (Use::VdoPoolData, &["vdo", "pool", "data"]),
];
