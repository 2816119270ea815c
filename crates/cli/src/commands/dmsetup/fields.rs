//! The fields of `info -c` and `splitname`.

use ulvm::daemon::dm::{Dep, DmDevice};

use super::names::{mangled, split, unmangled};
use super::show;

/// What a field holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

impl Cell {
    /// As it is shown.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(n) => n.to_string(),
        }
    }
}

/// What a row is about.
pub struct Row<'d> {
    /// The device.
    pub device: &'d DmDevice,
    /// All there are.
    pub all: &'d [DmDevice],
    /// The name as it is shown.
    pub name: String,
    /// The subsystem that the name is taken to be of.
    pub subsystem: Option<String>,
}

/// What fields are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Name and uuid.
    Name,
    /// State.
    Info,
    /// What lies on what.
    Deps,
    /// The parts of the name.
    Split,
}

impl Group {
    /// All of them, each with the name that stands for all of its fields, and its heading.
    pub const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Name, "name_all", "Names"),
        (Self::Info, "info_all", "State"),
        (Self::Deps, "deps_all", "What lies on what"),
        (Self::Split, "splitname_all", "Parts of the name"),
    ];
}

/// A field.
pub struct Field {
    /// Its group.
    pub group: Group,
    /// Name.
    pub id: &'static str,
    /// Heading of its column.
    pub heading: &'static str,
    /// Least width of its column.
    pub width: usize,
    /// Numbers stand right.
    pub right: bool,
    /// What it is.
    pub help: &'static str,
    /// How it is worked out.
    pub get: fn(&Row<'_>) -> Cell,
}

macro_rules! fields {
    ($($group:ident $id:literal $heading:literal $width:literal $right:ident $help:literal $get:expr;)*) => {
        /// Every field.
        pub const FIELDS: &[Field] = &[$(Field {
            group: Group::$group,
            id: $id,
            heading: $heading,
            width: $width,
            right: $right,
            help: $help,
            get: $get,
        },)*];
    };
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn number(n: impl TryInto<i64>) -> Cell {
    Cell::Number(n.try_into().unwrap_or(i64::MAX))
}

fields! {
    Name "name" "Name" 16 false "Name" |r| text(r.name.clone());
    Name "mangled_name" "MangledName" 16 false "Name with odd letters as codes" |r| text(mangled(&unmangled(&r.device.name)));
    Name "unmangled_name" "UnmangledName" 16 false "Name with codes as letters" |r| text(unmangled(&r.device.name));
    Name "uuid" "UUID" 32 false "Identifier, if it has one" |r| text(unmangled(&r.device.uuid));
    Name "mangled_uuid" "MangledUUID" 32 false "Identifier with odd letters as codes" |r| text(mangled(&unmangled(&r.device.uuid)));
    Name "unmangled_uuid" "UnmangledUUID" 32 false "Identifier with codes as letters" |r| text(unmangled(&r.device.uuid));
    Name "read_ahead" "RAhead" 6 true "Sectors read ahead" |r| number(show::read_ahead_of(r.device).unwrap_or(0));
    Info "blkdevname" "BlkDevName" 16 false "The kernel's name of the block device" |r| text(kernel_name_of(r.device));
    Info "attr" "Stat" 4 false "(L)ive table, (I)nactive table, (s)uspended, (r)ead-only or (w)ritable" |r| text(attr(r.device));
    Info "tables_loaded" "Tables" 6 false "Which tables there are" |r| text(tables(r.device));
    Info "suspended" "Suspended" 9 false "Suspended or active" |r| text(if r.device.suspended { "Suspended" } else { "Active" });
    Info "readonly" "Read-only" 9 false "Read-only or writable" |r| text(if r.device.read_only { "Read-only" } else { "Writeable" });
    Info "devno" "DevNo" 5 false "Device number" |r| text(pair(r.device.number));
    Info "major" "Maj" 3 true "Major number" |r| number(r.device.number.0);
    Info "minor" "Min" 3 true "Minor number" |r| number(r.device.number.1);
    Info "open" "Open" 4 true "Devices above it, and one for all others who have it open" |r| number(r.device.open.unwrap_or(0));
    Info "segments" "Targ" 4 true "Lines of the live table" |r| number(show::table_of(r.device, false).lines().count());
    Info "events" "Event" 6 true "Events so far" |r| number(r.device.events);
    Deps "device_count" "#Devs" 5 true "How many devices it lies on" |r| number(deps(r).len());
    Deps "devs_used" "DevNamesUsed" 16 false "Devices of dmsetup that it lies on" |r| list(deps(r).iter().filter_map(|d| d.name.as_deref().map(unmangled)));
    Deps "devnos_used" "DevNosUsed" 16 false "Numbers of what it lies on" |r| list(deps(r).iter().filter_map(|d| d.number.map(pair)));
    Deps "blkdevs_used" "BlkDevNamesUsed" 16 false "The kernel's names of what it lies on" |r| list(deps(r).iter().filter_map(|d| d.number.and_then(show::kernel_name)));
    Deps "device_ref_count" "#Refs" 5 true "How many devices of dmsetup lie on it" |r| number(above(r).count());
    Deps "names_using_dev" "RefNames" 8 false "Devices of dmsetup that lie on it" |r| list(above(r).map(|d| unmangled(&d.name)));
    Deps "devnos_using_dev" "RefDevNos" 9 false "Numbers of devices of dmsetup that lie on it" |r| list(above(r).map(|d| pair(d.number)));
    Split "subsystem" "Subsys" 6 false "Whose name it is" |r| text(subsystem(r));
    Split "vg_name" "VG" 4 false "VG of an LV" |r| part(r, 0);
    Split "lv_name" "LV" 4 false "LV" |r| part(r, 1);
    Split "lv_layer" "LVLayer" 7 false "Layer of an LV" |r| part(r, 2);
}

/// The field of a name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|f| f.id == name)
}

fn pair((major, minor): (u32, u32)) -> String {
    format!("{major}:{minor}")
}

fn list(items: impl Iterator<Item = String>) -> Cell {
    text(items.collect::<Vec<_>>().join(","))
}

fn deps<'d>(row: &Row<'d>) -> &'d [Dep] {
    let table = row.device.live.as_ref();
    table.map_or(&[][..], |table| table.deps.as_slice())
}

fn above<'d>(row: &Row<'d>) -> impl Iterator<Item = &'d DmDevice> {
    let number = row.device.number;
    let on = move |d: &&DmDevice| {
        let deps = d.live.iter().flat_map(|table| &table.deps);
        deps.into_iter().any(|dep| dep.number == Some(number))
    };
    row.all.iter().filter(on)
}

/// The kernel's name of a device's block device; that of its file, if it is none.
pub fn kernel_name_of(device: &DmDevice) -> String {
    let file = || {
        device
            .node
            .as_ref()?
            .file_name()?
            .to_str()
            .map(str::to_owned)
    };
    let name = match device.number.0 {
        0 => None,
        _ => show::kernel_name(device.number),
    };
    name.or_else(file).unwrap_or_default()
}

fn attr(device: &DmDevice) -> String {
    let mark = |set: bool, letter| if set { letter } else { '-' };
    [
        mark(device.live.is_some(), 'L'),
        mark(device.loaded.is_some(), 'I'),
        mark(device.suspended, 's'),
        if device.read_only { 'r' } else { 'w' },
    ]
    .iter()
    .collect()
}

fn tables(device: &DmDevice) -> &'static str {
    match (&device.live, &device.loaded) {
        (Some(_), Some(_)) => "Both",
        (Some(_), None) => "Live",
        (None, Some(_)) => "Inactive",
        (None, None) => "None",
    }
}

fn subsystem(row: &Row<'_>) -> String {
    if let Some(subsystem) = &row.subsystem {
        return subsystem.clone();
    }
    let prefix = row.device.uuid.split_once('-').map(|(prefix, _)| prefix);
    prefix.unwrap_or_default().to_owned()
}

fn part(row: &Row<'_>, n: usize) -> Cell {
    match subsystem(row).as_str() {
        "LVM" => text(split(&row.name)[n].clone()),
        _ => text(""),
    }
}
