//! Every field a report may show: name, heading, type, meaning, and how it is worked out.

mod lv;
mod lv_runtime;
mod pv;
mod segment;
mod vg;

use super::row::Row;
use super::value::Value;

/// Type of a field: how it is aligned, sorted and selected by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Text.
    Text,
    /// Texts.
    List,
    /// A number or a flag.
    Number,
    /// A size in sectors.
    Size,
    /// A percentage.
    Percent,
    /// A moment.
    Time,
}

impl Kind {
    /// As `-S help` names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::List => "string list",
            Self::Number => "number",
            Self::Size => "size",
            Self::Percent => "percent",
            Self::Time => "time",
        }
    }
    /// Right-aligned?
    pub fn right(self) -> bool {
        matches!(self, Self::Number | Self::Size)
    }
}

/// What a field is about: decides which rows a report has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// An LV by its metadata.
    Lv,
    /// An LV's device.
    LvInfo,
    /// An LV's device status.
    LvStatus,
    /// Both.
    LvInfoStatus,
    /// A PV's label.
    Label,
    /// A PV.
    Pv,
    /// A VG.
    Vg,
    /// A segment of an LV.
    Segment,
    /// A run of extents of a PV.
    PvSegment,
    /// About the row itself.
    Special,
}

impl Group {
    /// All, in the order of `-o help`, with their headings there and the prefix that may be left
    /// out.
    pub const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::Lv, "Logical Volume Fields", "lv"),
        (Self::LvInfo, "Logical Volume Device Info Fields", "lv"),
        (Self::LvStatus, "Logical Volume Device Status Fields", "lv"),
        (
            Self::LvInfoStatus,
            "Logical Volume Device Info and Status Combined Fields",
            "lv",
        ),
        (Self::Label, "Physical Volume Label Fields", "pv"),
        (Self::Pv, "Physical Volume Fields", "pv"),
        (Self::Vg, "Volume Group Fields", "vg"),
        (Self::Segment, "Logical Volume Segment Fields", "seg"),
        (Self::PvSegment, "Physical Volume Segment Fields", "pvseg"),
        (Self::Special, "Special Fields", ""),
    ];
    /// The prefix that may be left out in a report of that group.
    pub fn prefix(self) -> &'static str {
        Self::ALL.iter().find(|g| g.0 == self).map_or("", |g| g.2)
    }
    /// About LVs?
    pub fn of_lv(self) -> bool {
        matches!(
            self,
            Self::Lv | Self::LvInfo | Self::LvStatus | Self::LvInfoStatus
        )
    }
}

/// Works out a field's value.
pub type Get = for<'a> fn(&Row<'a>) -> Value<'a>;

/// A field.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name.
    pub id: &'static str,
    /// Heading of its column.
    pub heading: &'static str,
    /// Least width of its column.
    pub width: usize,
    /// Its type.
    pub kind: Kind,
    /// What it is about.
    pub group: Group,
    /// One line for `-o help`.
    pub about: &'static str,
    /// Its value.
    pub get: Get,
}

/// Rows of one group: `id, heading, width, kind, about, getter;`
macro_rules! group {
    ($group:expr; $($id:literal, $heading:literal, $width:literal, $kind:ident, $about:literal, $get:expr;)*) => {
        &[$($crate::report::fields::Field {
            id: $id,
            heading: $heading,
            width: $width,
            kind: $crate::report::fields::Kind::$kind,
            group: $group,
            about: $about,
            get: $get,
        },)*]
    };
}
pub(crate) use group;

const SPECIAL: &[Field] = group! { Group::Special;
    "selected", "Selected", 8, Number, "Set if the row matches the selection.", |r| Value::number(i64::from(r.selected));
    "help", "Help", 4, Number, "Show help.", |_| Value::Blank;
    "?", "Help", 4, Number, "Show help.", |_| Value::Blank;
};

/// All fields, group by group.
pub const FIELDS: [&[Field]; 10] = [
    lv::FIELDS,
    lv_runtime::INFO,
    lv_runtime::STATUS,
    lv_runtime::ATTR,
    pv::LABEL,
    pv::FIELDS,
    vg::FIELDS,
    segment::FIELDS,
    pv::SEGMENT,
    SPECIAL,
];

/// All fields in one row.
pub fn all() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().flat_map(|g| g.iter())
}

/// The field of a name. Underscores do not matter, and the prefix of the report's own group may be
/// left out.
pub fn find(name: &str, own: Group) -> Option<&'static Field> {
    if let Some(field) = all().find(|f| f.id == name) {
        return Some(field);
    }
    let bare = name.replace('_', "");
    let same = |id: &str| id.replace('_', "") == bare;
    all().find(|f| same(f.id)).or_else(|| {
        let prefix = own.prefix();
        all().find(|f| {
            let rest = f.id.strip_prefix(prefix).and_then(|r| r.strip_prefix('_'));
            rest.is_some_and(same)
        })
    })
}

/// Fields of a group name such as `lv_all` (or `all` for the report's own).
pub fn group_of(name: &str, own: Group) -> Option<Vec<&'static Field>> {
    let bare = name.replace('_', "");
    let prefix = match bare.strip_suffix("all")? {
        "" => own.prefix(),
        given => Group::ALL
            .iter()
            .map(|g| g.2)
            .find(|p| !p.is_empty() && *p == given)?,
    };
    Some(
        all()
            .filter(|f| f.group != Group::Special && f.group.prefix() == prefix)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_and_without_prefix_and_underscores() {
        for (name, own, id) in [
            ("lv_name", Group::Lv, "lv_name"),
            ("name", Group::Lv, "lv_name"),
            ("lvname", Group::Lv, "lv_name"),
            ("v_g_name", Group::Lv, "vg_name"),
            ("name", Group::Vg, "vg_name"),
            ("free", Group::Pv, "pv_free"),
            ("tags", Group::Segment, "seg_tags"),
            ("size", Group::Segment, "seg_size"),
            ("start", Group::PvSegment, "pvseg_start"),
        ] {
            assert_eq!(find(name, own).map(|f| f.id), Some(id), "{name}");
        }
        for (name, own) in [
            ("free", Group::Lv),
            ("name", Group::Segment),
            ("start", Group::Lv),
            ("pe_ranges", Group::Lv),
        ] {
            assert!(find(name, own).is_none(), "{name}");
        }
    }

    #[test]
    fn names_are_distinct_and_every_group_has_its_own_fields() {
        let ids: std::collections::HashSet<_> = all().map(|f| f.id).collect();
        assert_eq!(ids.len(), all().count());
        for (index, (group, _, _)) in Group::ALL.iter().enumerate() {
            assert!(FIELDS[index].iter().all(|f| f.group == *group));
        }
        assert_eq!(group_of("all", Group::Vg).unwrap().len(), FIELDS[6].len());
        assert!(
            group_of("lv_all", Group::Vg)
                .unwrap()
                .iter()
                .any(|f| f.id == "lv_attr")
        );
        assert!(group_of("foo_all", Group::Vg).is_none());
    }
}
