//! Fields about the devices of LVs: those that the daemon serves, and those that are not active.

use super::{Field, Group, group};
use crate::report::row::Row;
use crate::report::value::Value;

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
    "copy_percent", "Cpy%Sync", 8, Percent, "How far copies are in sync.", |_| Value::Blank;
    "sync_percent", "Cpy%Sync", 8, Percent, "How far copies are in sync.", |_| Value::Blank;
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
    "lv_health_status", "Health", 15, Text, "What is wrong with the LV.", |r| Value::text(r.kind().map_or("", |k| k.health()));
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

/// The fifth letter is the state, the sixth whether the device is open.
fn attr<'a>(r: &Row<'a>) -> Value<'a> {
    let inactive = r.kind().map_or(String::new(), |k| k.attr());
    let Some(device) = r.device() else {
        return Value::text(inactive);
    };
    let state = if device.suspended { 's' } else { 'a' };
    let open = if device.open == Some(true) { 'o' } else { '-' };
    let letters = inactive.chars().enumerate().map(|(n, letter)| match n {
        4 => state,
        5 => open,
        _ => letter,
    });
    Value::text(letters.collect::<String>())
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
