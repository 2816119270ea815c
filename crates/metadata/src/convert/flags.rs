//! Words of `status` and `flags` arrays, in the order LVM2 writes them.

use crate::model::{Lv, Pv, Vg};

/// A word and the switch it stands for.
pub(super) type Word<T> = (&'static str, Switch<T>);

/// A field of `T`, to read and to set.
pub(super) struct Switch<T> {
    read: fn(&T) -> bool,
    set: fn(&mut T),
}

impl<T> Switch<T> {
    /// Is it on?
    pub fn get(&self, of: &T) -> bool {
        (self.read)(of)
    }
}

macro_rules! switch {
    ($($field:ident).+) => {
        Switch {
            read: |x| x.$($field).+,
            set: |x| x.$($field).+ = true,
        }
    };
}

/// VG `status`.
pub(super) static VG_STATUS: [Word<Vg>; 7] = [
    ("EXPORTED", switch!(status.exported)),
    ("RESIZEABLE", switch!(status.resizeable)),
    ("PVMOVE", switch!(status.pvmove)),
    ("READ", switch!(status.read)),
    ("WRITE", switch!(status.write)),
    ("CLUSTERED", switch!(status.clustered)),
    ("SHARED", switch!(status.shared)),
];
/// VG `flags`.
pub(super) static VG_FLAGS: [Word<Vg>; 2] = [
    ("WRITE_LOCKED", switch!(flags.write_locked)),
    ("NOAUTOACTIVATE", switch!(flags.no_autoactivate)),
];
/// PV `status`.
pub(super) static PV_STATUS: [Word<Pv>; 2] = [
    ("ALLOCATABLE", switch!(allocatable)),
    ("EXPORTED", switch!(exported)),
];
/// PV `flags`; also read from `status`.
pub(super) static PV_FLAGS: [Word<Pv>; 1] = [("MISSING", switch!(missing))];
/// LV `status`.
pub(super) static LV_STATUS: [Word<Lv>; 9] = [
    ("READ", switch!(status.read)),
    ("WRITE", switch!(status.write)),
    ("FIXED_MINOR", switch!(status.fixed_minor)),
    ("VISIBLE", switch!(status.visible)),
    ("PVMOVE", switch!(status.pvmove)),
    ("LOCKED", switch!(status.locked)),
    ("NOTSYNCED", switch!(status.not_synced)),
    ("REBUILD", switch!(status.rebuild)),
    ("WRITEMOSTLY", switch!(status.write_mostly)),
];
/// LV `flags`.
pub(super) static LV_FLAGS: [Word<Lv>; 5] = [
    ("WRITE_LOCKED", switch!(flags.write_locked)),
    ("ACTIVATION_SKIP", switch!(flags.activation_skip)),
    ("ERROR_WHEN_FULL", switch!(flags.error_when_full)),
    ("CACHE_VOL", switch!(flags.cache_vol)),
    ("NOAUTOACTIVATE", switch!(flags.no_autoactivate)),
];

/// Sets the switch of `word`; false if no table row has it.
pub(super) fn set<T>(table: &[Word<T>], target: &mut T, word: &str) -> bool {
    match table.iter().find(|row| row.0 == word) {
        Some((_, switch)) => {
            (switch.set)(target);
            true
        }
        None => false,
    }
}
