//! How LVs hang together: sub-LVs, snapshots, and LVs that only ulvm's preserved segments mention.

use super::OpError;
use crate::model::{Area, LvKey, SegmentKind, Vg};

/// LVs that the segments of an LV are made of: images, metadata and log LVs of mirrors and raid.
pub fn parts(vg: &Vg, lv: LvKey) -> Vec<LvKey> {
    let mut out = Vec::new();
    let mut add = |key: LvKey| {
        if !out.contains(&key) {
            out.push(key);
        }
    };
    for segment in &vg.lvs[lv].segments {
        for (area, _) in segment.areas() {
            if let Area::Lv { lv, .. } = area {
                add(lv);
            }
        }
        match &segment.kind {
            SegmentKind::Mirror(m) => m.log.into_iter().for_each(&mut add),
            SegmentKind::Raid(r) => r.images.iter().filter_map(|i| i.meta).for_each(&mut add),
            _ => {}
        }
    }
    out
}

/// The parts, their parts and so on; each once, an LV before its parts.
pub fn all_parts(vg: &Vg, lv: LvKey) -> Vec<LvKey> {
    let mut out = parts(vg, lv);
    let mut at = 0;
    while let Some(part) = out.get(at).copied() {
        for next in parts(vg, part) {
            if !out.contains(&next) && next != lv {
                out.push(next);
            }
        }
        at += 1;
    }
    out
}

/// A snapshot: the hidden LV that ties it together, and the COW LV that the user sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotOf {
    /// Hidden `snapshotN`.
    pub tie: LvKey,
    /// The LV with the name the user gave.
    pub cow: LvKey,
    /// What it is a snapshot of.
    pub origin: LvKey,
    /// It is being merged into its origin.
    pub merging: bool,
}

/// All snapshots of a VG, in list order.
pub fn snapshots(vg: &Vg) -> Vec<SnapshotOf> {
    let mut out = Vec::new();
    for (tie, lv) in vg.lvs.iter() {
        for segment in &lv.segments {
            if let SegmentKind::Snapshot(s) = &segment.kind {
                out.push(SnapshotOf {
                    tie,
                    cow: s.cow,
                    origin: s.origin,
                    merging: s.merging,
                });
            }
        }
    }
    out
}

/// Does the user see the LV?
pub fn is_visible(vg: &Vg, lv: LvKey) -> bool {
    vg.lvs[lv].status.visible || snapshots(vg).iter().any(|s| s.cow == lv && !s.merging)
}

/// Number of LVs the user sees: what `max_lv` limits.
pub fn visible_count(vg: &Vg) -> usize {
    let seen = vg.lvs.values().filter(|lv| lv.status.visible).count();
    let cows = snapshots(vg);
    let hidden_cows = cows.iter().filter(|s| !vg.lvs[s.cow].status.visible);
    seen + hidden_cows.count()
}

/// `VG/LV`
pub fn full_name(vg: &Vg, lv: LvKey) -> String {
    format!("{}/{}", vg.name, vg.lvs[lv].name)
}

/// Refuses LVs that have, or are part of, something ulvm keeps but does not understand, LVs locked
/// by pvmove, and LVs that are part of another; `verb` is what was to be done.
pub fn check_editable(vg: &Vg, lv: LvKey, verb: &str) -> Result<(), OpError> {
    let name = full_name(vg, lv);
    let foreign = |key: LvKey| {
        let mut segments = vg.lvs[key].segments.iter();
        segments.find_map(|s| match &s.kind {
            SegmentKind::Foreign(f) => Some(f.type_word.clone()),
            _ => None,
        })
    };
    let mut all = all_parts(vg, lv);
    all.push(lv);
    if let Some(word) = all.iter().find_map(|k| foreign(*k)) {
        return Err(OpError::refused(format!(
            "Can't {verb} logical volume {name}: segment type {word} is kept, but not understood."
        )));
    }
    for (_, other) in vg.lvs.iter() {
        for segment in &other.segments {
            if let SegmentKind::Foreign(f) = &segment.kind
                && f.lvs.iter().any(|k| all.contains(k))
            {
                return Err(OpError::refused(format!(
                    "Can't {verb} logical volume {name}: it is used by {}/{} of type {}, which is kept, but not understood.",
                    vg.name, other.name, f.type_word
                )));
            }
        }
    }
    if vg.lvs[lv].status.locked {
        let text = format!("Can't {verb} locked logical volume {name}.");
        return Err(OpError::refused(text));
    }
    if vg.lvs[lv].status.pvmove {
        let text = format!("Can't {verb} pvmove logical volume {name}.");
        return Err(OpError::refused(text));
    }
    if let Some((user, _)) = vg.lvs.iter().find(|(k, _)| parts(vg, *k).contains(&lv)) {
        let user = full_name(vg, user);
        let text = format!("Can't {verb} logical volume {name}: it is part of {user}.");
        return Err(OpError::refused(text));
    }
    Ok(())
}
