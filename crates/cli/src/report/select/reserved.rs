//! Words that stand for values of certain fields.

/// A value that has words of its own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Reserved {
    /// A number (1 and 0 of a flag).
    Number(i64),
    /// A size shown as this word.
    NamedSize(u64),
    /// A text.
    Text(&'static str),
}

/// Words of flags that are set, beside `yes`; `no` is for those that are not.
const FLAGS: &[(&str, &[&str])] = &[
    ("pv_allocatable", &["allocatable"]),
    ("pv_exported", &["exported"]),
    ("pv_missing", &["missing"]),
    ("pv_in_use", &["used", "in use"]),
    ("pv_duplicate", &["duplicate"]),
    ("vg_extendable", &["extendable"]),
    ("vg_exported", &["exported"]),
    ("vg_partial", &["partial"]),
    ("vg_clustered", &["clustered"]),
    ("vg_shared", &["shared"]),
    ("lv_initial_image_sync", &["initial image sync", "sync"]),
    ("lv_image_synced", &["image synced", "synced"]),
    ("lv_merging", &["merging"]),
    ("lv_converting", &["converting"]),
    ("lv_allocation_locked", &["allocation locked", "locked"]),
    ("lv_fixed_minor", &["fixed minor", "fixed"]),
    (
        "lv_active_locally",
        &["active locally", "active", "locally"],
    ),
    (
        "lv_active_remotely",
        &["active remotely", "active", "remotely"],
    ),
    (
        "lv_active_exclusively",
        &["active exclusively", "active", "exclusively"],
    ),
    ("lv_merge_failed", &["merge failed", "failed"]),
    ("lv_snapshot_invalid", &["snapshot invalid", "invalid"]),
    ("lv_suspended", &["suspended"]),
    (
        "lv_live_table",
        &["live table present", "live table", "live"],
    ),
    (
        "lv_inactive_table",
        &["inactive table present", "inactive table", "inactive"],
    ),
    ("lv_device_open", &["open"]),
    ("lv_skip_activation", &["skip activation", "skip"]),
    ("lv_check_needed", &["check needed", "needed"]),
    ("lv_historical", &["historical"]),
    ("zero", &["zero"]),
];

/// Words of other values.
const OTHERS: &[(&str, Reserved, &[&str])] = &[
    (
        "vg_permissions",
        Reserved::Text("writeable"),
        &["writeable", "rw", "read-write"],
    ),
    (
        "vg_permissions",
        Reserved::Text("read-only"),
        &["read-only", "r", "ro"],
    ),
    (
        "lv_permissions",
        Reserved::Text("writeable"),
        &["writeable", "rw", "read-write"],
    ),
    (
        "lv_permissions",
        Reserved::Text("read-only"),
        &["read-only", "r", "ro"],
    ),
    (
        "lv_permissions",
        Reserved::Text("read-only-override"),
        &["read-only-override", "ro-override", "r-override", "R"],
    ),
    (
        "lv_read_ahead",
        Reserved::NamedSize(u32::MAX as u64),
        &["auto"],
    ),
    (
        "vg_mda_copies",
        Reserved::Number(crate::report::value::UNMANAGED),
        &["unmanaged"],
    ),
    (
        "lv_when_full",
        Reserved::Text("error"),
        &["error", "error when full", "error if no space"],
    ),
    (
        "lv_when_full",
        Reserved::Text("queue"),
        &["queue", "queue when full", "queue if no space"],
    ),
    ("lv_when_full", Reserved::Text(""), &["undefined"]),
    ("cache_policy", Reserved::Text(""), &["undefined"]),
    ("seg_monitor", Reserved::Text(""), &["undefined"]),
];

/// The value a word stands for in a field.
pub fn find(field: &str, word: &str) -> Option<Reserved> {
    if let Some((_, words)) = FLAGS.iter().find(|f| f.0 == field) {
        match word {
            "yes" => return Some(Reserved::Number(1)),
            "no" => return Some(Reserved::Number(0)),
            _ if words.contains(&word) => return Some(Reserved::Number(1)),
            _ => {}
        }
    }
    OTHERS
        .iter()
        .find(|o| o.0 == field && o.2.contains(&word))
        .map(|o| o.1)
}

/// Words for "undefined" in number fields.
pub const UNDEFINED: [&str; 4] = ["-1", "unknown", "undefined", "undef"];

/// Lines of `-S help`.
pub fn describe() -> Vec<(String, &'static str)> {
    let flags = FLAGS.iter().flat_map(|(field, words)| {
        [
            (format!("{}, yes", words.join(", ")), *field),
            ("no".to_owned(), *field),
        ]
    });
    let others = OTHERS
        .iter()
        .map(|(field, _, words)| (words.join(", "), *field));
    flags.chain(others).collect()
}
