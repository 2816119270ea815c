//! Fields about the devices of LVs: those that the daemon serves, and those that are not active.

use ulvm::activate::sync::SyncStatus;
use ulvm_metadata::model::{Area, SegmentKind};
use ulvm_metadata::ops::pvmove;

use super::{Field, Group, group};
use crate::report::row::Row;
use crate::report::value::Value;
use crate::report::view::Use;

/// Device numbers and the like.
pub const INFO: &[Field] = group! { Group::LvInfo;
    "lv_kernel_major", "KMaj", 4, Number, "Major number in use, or -1.", |r| Value::Number(number(r).map_or(-1, |n| n.0.into()));
    "lv_kernel_minor", "KMin", 4, Number, "Minor number in use, or -1.", |r| Value::Number(number(r).map_or(-1, |n| n.1.into()));
    "lv_kernel_read_ahead", "KRahead", 7, Size, "Read ahead in use.", |_| Value::Number(-1);
    "lv_permissions", "LPerms", 8, Text, "Permissions.", permissions;
    "lv_suspended", "Suspended", 10, Number, "Set if suspended.", |r| Value::Flag(r.device().map(|d| d.suspended), "suspended");
    "lv_live_table", "LiveTable", 20, Number, "Set if there is a live table.", |r| Value::Flag(r.device().map(|d| d.live_table), "live table present");
    "lv_inactive_table", "InactiveTable", 20, Number, "Set if there is an inactive table.", |r| Value::Flag(r.device().map(|d| d.loaded_table), "inactive table present");
    "lv_device_open", "DevOpen", 10, Number, "Set if the device is open.", |r| Value::Flag(r.device().and_then(|d| d.open), "open");
};

/// What the kernel says about a device at work.
pub const STATUS: &[Field] = group! { Group::LvStatus;
    "data_percent", "Data%", 6, Percent, "How full a snapshot, cache, pool or thin LV is.", |_| Value::Blank;
    "snap_percent", "Snap%", 6, Percent, "How full a snapshot is.", |_| Value::Blank;
    "metadata_percent", "Meta%", 6, Percent, "How full the metadata of a pool are.", |_| Value::Blank;
    "copy_percent", "Cpy%Sync", 8, Percent, "How far copies are in sync.", copied;
    "sync_percent", "Cpy%Sync", 8, Percent, "How far copies are in sync.", copied;
    "cache_total_blocks", "CacheTotalBlocks", 16, Number, "Cache: blocks.", |_| Value::Blank;
    "cache_used_blocks", "CacheUsedBlocks", 16, Number, "Cache: blocks in use.", |_| Value::Blank;
    "cache_dirty_blocks", "CacheDirtyBlocks", 16, Number, "Cache: blocks to be written back.", |_| Value::Blank;
    "cache_read_hits", "CacheReadHits", 16, Number, "Cache: reads served.", |_| Value::Blank;
    "cache_read_misses", "CacheReadMisses", 16, Number, "Cache: reads not served.", |_| Value::Blank;
    "cache_write_hits", "CacheWriteHits", 16, Number, "Cache: writes taken.", |_| Value::Blank;
    "cache_write_misses", "CacheWriteMisses", 16, Number, "Cache: writes not taken.", |_| Value::Blank;
    "kernel_cache_settings", "KCacheSettings", 18, List, "Cache: settings in use.", |_| Value::list(Vec::new());
    "kernel_cache_policy", "KCachePolicy", 18, Text, "Cache: policy in use.", |_| Value::text("");
    "kernel_metadata_format", "KMFmt", 5, Number, "Cache: metadata format in use.", |_| Value::Blank;
    "lv_health_status", "Health", 15, Text, "What is wrong with the LV.", health;
    "kernel_discards", "KDiscards", 9, Text, "Thin pools: discards in use.", |_| Value::text("");
    "lv_check_needed", "CheckNeeded", 15, Number, "Set if metadata need a check.", |_| Value::Flag(None, "check needed");
    "lv_merge_failed", "MergeFailed", 15, Number, "Set if a merge failed.", |_| Value::Flag(None, "merge failed");
    "lv_snapshot_invalid", "SnapInvalid", 15, Number, "Set if a snapshot is invalid.", |_| Value::Flag(None, "snapshot invalid");
    "vdo_operating_mode", "VDOOperatingMode", 16, Text, "VDO: mode.", |_| Value::text("");
    "vdo_compression_state", "VDOCompressionState", 19, Text, "VDO: state of compression.", |_| Value::text("");
    "vdo_index_state", "VDOIndexState", 13, Text, "VDO: state of the index.", |_| Value::text("");
    "vdo_used_size", "VDOUsedSize", 11, Number, "VDO: space in use.", |_| Value::Blank;
    "vdo_saving_percent", "VDOSaving%", 10, Number, "VDO: space saved.", |_| Value::Blank;
    "writecache_total_blocks", "WCacheTotalBlocks", 17, Number, "Writecache: blocks.", |_| Value::Blank;
    "writecache_free_blocks", "WCacheFreeBlocks", 16, Number, "Writecache: free blocks.", |_| Value::Blank;
    "writecache_writeback_blocks", "WCacheWritebackBlocks", 21, Number, "Writecache: blocks being written back.", |_| Value::Blank;
    "writecache_error", "WCacheErrors", 12, Number, "Writecache: errors.", |_| Value::Blank;
};

/// The string that sums it up.
pub const ATTR: &[Field] = group! { Group::LvInfoStatus;
    "lv_attr", "Attr", 10, Text, "Ten letters; see lvs(8).", attr;
};

/// Device number of the node, if that is a block device.
fn number(r: &Row<'_>) -> Option<(u32, u32)> {
    r.device()?.major_minor
}

/// The fifth letter is the state, the sixth whether the device is open. An image whose leg is not in
/// sync begins with a capital letter; the ninth letter tells of a live mirror's health.
fn attr<'a>(r: &Row<'a>) -> Value<'a> {
    let inactive = r.kind().map_or(String::new(), |k| k.attr());
    let Some(device) = r.device() else {
        return Value::text(inactive);
    };
    let part = part(r);
    let state = if device.suspended { 's' } else { 'a' };
    // What lies under an active LV is open as long as that is active.
    let open = device.open == Some(true) || part.is_some();
    let trouble = trouble(r);
    let letters = inactive.chars().enumerate().map(|(n, letter)| match n {
        0 if letter == 'I' && part.as_ref().is_some_and(Part::in_sync) => 'i',
        4 => state,
        5 if open => 'o',
        5 => '-',
        8 if letter == '-' => trouble.map_or('-', Trouble::letter),
        _ => letter,
    });
    Value::text(letters.collect::<String>())
}

/// What a live mirror's status says of the LV that is it.
fn sync(r: &Row<'_>) -> Option<SyncStatus> {
    let device = r.device()?;
    let kind = r.kind()?;
    let mirrored = kind.raid().is_some() || kind.is_mirror();
    mirrored.then(|| SyncStatus::parse(&device.target_status))?
}

/// A leg of an active mirror: the LV is its image or its metadata.
struct Part {
    leg: usize,
    sync: Option<SyncStatus>,
}

impl Part {
    fn in_sync(&self) -> bool {
        let sync = self.sync.as_ref();
        sync.is_some_and(|sync| sync.leg_in_sync(self.leg))
    }

    /// dm-raid goes on without it.
    fn dead(&self) -> bool {
        let raid = self.sync.as_ref().filter(|sync| sync.raid);
        raid.is_some_and(|sync| sync.leg_dead(self.leg))
    }
}

fn part(r: &Row<'_>) -> Option<Part> {
    const PARTS: &[Use] = &[
        Use::MirrorLeg,
        Use::MirrorLog,
        Use::RaidImage,
        Use::RaidMeta,
    ];
    let (view, key) = r.view()?;
    let user = view.used_by(key).iter().find(|u| PARTS.contains(&u.how))?;
    let device = r.world.live.find(view.vg(), user.lv)?;
    let segment = view.lv(user.lv).segments.first()?;
    let is = |area: &Area| matches!(area, Area::Lv { lv, .. } if *lv == key);
    let leg = match &segment.kind {
        SegmentKind::Mirror(mirror) => mirror.legs.iter().position(is),
        SegmentKind::Raid(raid) => {
            let mut images = raid.images.iter();
            images.position(|image| is(&image.image) || image.meta == Some(key))
        }
        _ => None,
    };
    Some(Part {
        // A log is no leg.
        leg: leg.unwrap_or(usize::MAX),
        sync: SyncStatus::parse(&device.target_status),
    })
}

/// What is wrong with a live mirror whose PVs are all there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// A leg failed: it is there, but not used.
    Refresh,
    /// The last check found differences.
    Mismatches,
}

impl Trouble {
    fn letter(self) -> char {
        match self {
            Self::Refresh => 'r',
            Self::Mismatches => 'm',
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Refresh => "refresh needed",
            Self::Mismatches => "mismatches exist",
        }
    }
}

fn trouble(r: &Row<'_>) -> Option<Trouble> {
    if part(r).is_some_and(|part| part.dead()) {
        return Some(Trouble::Refresh);
    }
    let sync = sync(r).filter(|sync| sync.raid)?;
    match sync.any_dead() {
        true => Some(Trouble::Refresh),
        false => sync
            .mismatches
            .filter(|n| *n > 0)
            .map(|_| Trouble::Mismatches),
    }
}

/// A missing PV, or that a leg is mostly written, is said first.
fn health<'a>(r: &Row<'a>) -> Value<'a> {
    let known = r.kind().map_or("", |k| k.health());
    let live = || trouble(r).map_or("", Trouble::words);
    Value::text(if known.is_empty() { live() } else { known })
}

fn copied<'a>(r: &Row<'a>) -> Value<'a> {
    if let Some(moved) = moved(r) {
        return Value::Percent(moved);
    }
    sync(r).map_or(Value::Blank, |sync| Value::Percent(sync.hundredths()))
}

/// How much a pvmove at work has moved, in hundredths of a percent: segments that are, and what the one
/// that is copied has in sync.
fn moved(r: &Row<'_>) -> Option<i64> {
    let (view, key) = r.view()?;
    let lv = view.vg().lvs.get(key).filter(|lv| lv.status.pvmove)?;
    let device = r.device()?;
    let extent = view.vg().extent_size.0;
    let sectors = |extents: u64| u128::from(extents) * u128::from(extent);
    let runs = pvmove::runs(view.vg(), key);
    let whole = runs.iter().filter(|run| run.moved);
    let mut done = sectors(whole.map(|run| run.len.get()).sum());
    for line in device.target_status.lines() {
        let len: Option<u128> = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        if let (Some(len), Some(sync)) = (len, SyncStatus::parse(line)) {
            done += len * u128::from(sync.done.min(sync.total)) / u128::from(sync.total.max(1));
        }
    }
    let total = sectors(lv.extents().get()).max(1);
    i64::try_from(done.min(total) * 10_000 / total).ok()
}

/// Raid: sectors that the last check found to differ.
pub(super) fn mismatches<'a>(r: &Row<'a>) -> Value<'a> {
    let count = sync(r).and_then(|sync| sync.mismatches);
    let shown = |n| Value::Number(i64::try_from(n).unwrap_or(i64::MAX));
    count.map_or(Value::Blank, shown)
}

/// Raid: what runs in the background.
pub(super) fn action<'a>(r: &Row<'a>) -> Value<'a> {
    Value::text(sync(r).and_then(|sync| sync.action).unwrap_or_default())
}

/// A writable LV that is not active could be either way; a read-only one could not.
fn permissions<'a>(r: &Row<'a>) -> Value<'a> {
    Value::text(match r.lv() {
        Some(_) if r.device().is_some_and(|d| d.read_only) => "read-only",
        Some(_) if r.device().is_some() => "writeable",
        Some(lv) if lv.status.pvmove => "",
        Some(lv) if lv.status.read && !lv.status.write => "read-only",
        _ => "unknown",
    })
}
