//! What a tool says about the devices of a site, and what is on them, in comparable form.

use serde_json::Value;

use crate::disk_text::{self, OnDisk};
use crate::lvm::{Site, Tool};
use crate::normal::{Normaliser, diff};

/// The three reports that together show all that is stored.
pub const REPORTS: &[(&str, &str)] = &[
    (
        "pvs",
        "pvs -a --reportformat json --units b -o pv_all,vg_name,pvseg_all,lv_name,segtype,seg_start_pe",
    ),
    ("vgs", "vgs --reportformat json --units b -o vg_all"),
    (
        "lvs",
        "lvs -a --reportformat json --units b -o vg_name,lv_all,seg_all",
    ),
];

/// Reports and disks at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Exit code and rows of each of [`REPORTS`].
    pub reports: Vec<(i32, Value)>,
    /// Label, headers and text of each device, normalised.
    pub disks: Vec<String>,
}

impl State {
    /// Reads the disks, and asks `tool` for its reports unless they are known: `before` is the
    /// state before a command, as long as nothing but the disks can have changed since.
    pub fn capture(
        site: &Site,
        tool: Tool,
        devices: &[std::path::PathBuf],
        normal: &mut Normaliser,
        before: Option<&State>,
    ) -> Result<State, String> {
        let disks: Vec<String> = devices
            .iter()
            .map(|device| disk_text::read(device).map(|found| render(found.as_ref(), normal)))
            .collect::<Result<_, _>>()?;
        if let Some(before) = before.filter(|before| before.disks == disks) {
            return Ok(before.clone());
        }
        // Set to look at the disks alone, whatever the reports say.
        let disks_only = std::env::var_os("ULVM_DIFF_DISKS_ONLY").is_some();
        let reports = if disks_only { &[] } else { REPORTS };
        let reports = reports
            .iter()
            .map(|(name, line)| report(site, tool, name, line, normal))
            .collect::<Result<_, _>>()?;
        Ok(State { reports, disks })
    }

    /// What differs from `other`, for a reader; empty if nothing does.
    pub fn difference(&self, other: &State) -> String {
        let mut out = String::new();
        for (index, (a, b)) in self.disks.iter().zip(&other.disks).enumerate() {
            if a != b {
                out.push_str(&format!("  on disk, $pv{index}:\n{}", diff(a, b)));
            }
        }
        for ((name, _), (a, b)) in REPORTS.iter().zip(self.reports.iter().zip(&other.reports)) {
            if a.0 != b.0 {
                out.push_str(&format!("  {name}: exit code {} / {}\n", a.0, b.0));
            }
            values(&a.1, &b.1, name, &mut out);
        }
        out
    }
}

fn report(
    site: &Site,
    tool: Tool,
    name: &str,
    line: &str,
    normal: &mut Normaliser,
) -> Result<(i32, Value), String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let done = site.run(tool, &words, &[])?;
    let mut text = normal.text(&done.out());
    if tool == Tool::Debian {
        // LVM2 prints these into the middle of its JSON; ulvm keeps standard output to JSON.
        let chatter = ["  Retrying metadata scan.", "  Ignoring supplied major "];
        let lines = text
            .lines()
            .filter(|line| !chatter.iter().any(|begin| line.starts_with(begin)));
        text = lines.collect::<Vec<_>>().join("\n");
    }
    let mut value: Value = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{tool}: {name} does not print JSON alone: {error}\nstdout: {}\nstderr: {}",
            text,
            done.err()
        )
    })?;
    if tool == Tool::Debian {
        as_if_driver_were_loaded(&mut value);
    }
    Ok((done.code, value))
}

/// Without its kernel driver LVM2 does not know whether an LV is active; ulvm does, and prints what
/// LVM2 prints for an inactive LV where the driver is there.
fn as_if_driver_were_loaded(value: &mut Value) {
    const UNKNOWN: &[&str] = &[
        "lv_active",
        "lv_active_locally",
        "lv_active_remotely",
        "lv_active_exclusively",
    ];
    match value {
        Value::Array(items) => items.iter_mut().for_each(as_if_driver_were_loaded),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match field {
                    Value::String(text) if key == "lv_attr" => *text = attr(text),
                    Value::String(text) if UNKNOWN.contains(&key.as_str()) && text == "unknown" => {
                        text.clear()
                    }
                    _ => as_if_driver_were_loaded(field),
                }
            }
        }
        _ => {}
    }
}

/// `-wi-XX----` as `-wi-------`; the health of RAID is left.
pub fn attr(text: &str) -> String {
    text.char_indices()
        .map(|(at, c)| {
            if c == 'X' && matches!(at, 4 | 5) {
                '-'
            } else {
                c
            }
        })
        .collect()
}

fn render(disk: Option<&OnDisk>, normal: &mut Normaliser) -> String {
    let Some(disk) = disk else {
        return "no label\n".into();
    };
    let mut out = format!(
        "label in sector {}, id {}, device size {}\ndata areas {:?}\nextension {:?}, bootloader areas {:?}\n",
        disk.label_sector,
        normal.bare(&disk.pv_id),
        disk.device_size,
        disk.data_areas,
        disk.extension,
        disk.boot_areas
    );
    for area in &disk.areas {
        out.push_str(&format!(
            "metadata area {}+{}, flags {}, precommitted {}\n",
            area.offset, area.size, area.flags, area.precommitted
        ));
        match &area.text {
            Some(text) => out.push_str(&normal.text(text)),
            None => out.push_str("no text\n"),
        }
    }
    out
}

/// Compares two JSON values and names the paths at which they differ.
pub fn values(a: &Value, b: &Value, at: &str, out: &mut String) {
    const MOST: usize = 12_000;
    if a == b || out.len() > MOST {
        return;
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for (key, left) in x {
                match y.get(key) {
                    Some(right) => values(left, right, &format!("{at}.{key}"), out),
                    None => out.push_str(&format!("  {at}.{key}: {left} / missing\n")),
                }
            }
            for (key, right) in y.iter().filter(|(key, _)| !x.contains_key(*key)) {
                out.push_str(&format!("  {at}.{key}: missing / {right}\n"));
            }
        }
        (Value::Array(x), Value::Array(y)) => {
            if x.len() != y.len() {
                out.push_str(&format!("  {at}: {} rows / {} rows\n", x.len(), y.len()));
            }
            for (index, (left, right)) in x.iter().zip(y).enumerate() {
                values(left, right, &format!("{at}[{index}]"), out);
            }
        }
        _ => out.push_str(&format!("  {at}: {a} / {b}\n")),
    }
}
