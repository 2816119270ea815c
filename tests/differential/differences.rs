//! The differences from LVM2 that are meant, each with its reason. There may be at most ten.

use serde_json::Value;

use ulvm_test_support::state::State;

/// One difference on purpose.
pub struct Difference {
    /// Short name: what `meant` in a case names.
    pub name: &'static str,
    /// Why ulvm differs.
    pub reason: &'static str,
    /// Taken out of every comparison, in [`state`] and [`output`] below; the others are shown by a
    /// case that names them, which ends there.
    pub everywhere: bool,
}

/// All of them.
pub const ON_PURPOSE: &[Difference] = &[
    Difference {
        name: "activity is known",
        everywhere: true,
        reason: "without its kernel driver LVM2 prints X in lv_attr and `unknown` in lv_active* and in the \
                 health of RAID; ulvm knows that the LV is not active and prints what LVM2 prints where the \
                 driver is loaded",
    },
    Difference {
        name: "free metadata space",
        everywhere: true,
        reason: "vg_mda_free and pv_mda_free count the text's own header (host, description), which \
                 names another program and so is a few bytes longer or shorter",
    },
    Difference {
        name: "reports alone",
        everywhere: true,
        reason: "LVM2 prints messages (`Retrying metadata scan.`) into the middle of reports, JSON too; \
                 ulvm's go to standard error",
    },
    Difference {
        name: "a restore holds",
        everywhere: false,
        reason: "vgcfgrestore writes the seqno of the file plus one; where a PV that joined later holds a \
                 newer text, LVM2 reads that again afterwards and the restore is undone. ulvm counts on \
                 from the newest text it finds",
    },
    Difference {
        name: "extents keep off the label",
        everywhere: false,
        reason: "pvcreate --metadatacopies 0 with an alignment of one sector makes LVM2 put extent 0 on \
                 the label, which the first write to an LV destroys",
    },
    Difference {
        name: "no nodes to make",
        everywhere: false,
        reason: "vgmknodes and vgscan --mknodes fail in LVM2 without its kernel driver; ulvm serves LVs \
                 itself and mends their links",
    },
    Difference {
        name: "paths of archives",
        everywhere: false,
        reason: "vgcfgrestore --list prints DIR/NAME/NAME for the file DIR/NAME; ulvm prints the path that \
                 can be given to --file",
    },
    Difference {
        name: "a PV made again keeps its areas",
        everywhere: false,
        reason: "a PV made again under its old identity loses its metadata areas when LVM2 changes the VG \
                 before vgcfgrestore; ulvm writes the VG to them",
    },
    Difference {
        name: "own words about settings",
        everywhere: false,
        reason: "lvmconfig --withcomments and --withsummary print LVM2's own prose about each setting, which is \
                 not copied; ulvm says which setting it is",
    },
    Difference {
        name: "duplicates are no PVs to display",
        everywhere: false,
        reason: "pvdisplay of a duplicate that is not used prints VG name (null) and no identity; ulvm \
                 shows the PVs that are used",
    },
];

/// Takes the meant differences out of two states.
pub fn state(reference: &mut State, ours: &mut State) {
    for ((_, theirs), (_, own)) in reference.reports.iter_mut().zip(&mut ours.reports) {
        without_unknown_health(theirs, own);
    }
    for state in [reference, ours] {
        for (_, report) in &mut state.reports {
            without_free_space(report);
        }
    }
}

/// Where LVM2 does not know the health of an LV, ours may be what it prints of an inactive LV where
/// the driver is loaded: nothing, or that an image is write-mostly, which stands in the metadata.
fn without_unknown_health(theirs: &mut Value, ours: &mut Value) {
    match (theirs, ours) {
        (Value::Array(a), Value::Array(b)) => {
            a.iter_mut()
                .zip(b)
                .for_each(|(x, y)| without_unknown_health(x, y));
        }
        (Value::Object(a), Value::Object(b)) => {
            let health = |fields: &serde_json::Map<String, Value>| {
                let text = fields.get("lv_health_status").and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            let unknown =
                health(a) == "unknown" && ["", "writemostly"].contains(&health(b).as_str());
            for fields in [&mut *a, &mut *b].into_iter().filter(|_| unknown) {
                fields.insert("lv_health_status".into(), Value::Null);
                if let Some(Value::String(attr)) = fields.get_mut("lv_attr") {
                    *attr = attr
                        .char_indices()
                        .map(|(at, c)| if at == 8 { '?' } else { c })
                        .collect();
                }
            }
            for (key, x) in a.iter_mut() {
                if let Some(y) = b.get_mut(key) {
                    without_unknown_health(x, y);
                }
            }
        }
        _ => {}
    }
}

/// Takes the meant differences out of a command's standard output.
pub fn output(text: &str) -> String {
    let chatter = ["  Retrying metadata scan.", "  Ignoring supplied major "];
    let is_meant = |line: &&str| !chatter.iter().any(|begin| line.starts_with(begin));
    let text = &text
        .split_inclusive('\n')
        .filter(is_meant)
        .collect::<String>();
    const UNKNOWN: [&str; 5] = [
        "lv_active",
        "lv_active_locally",
        "lv_active_remotely",
        "lv_active_exclusively",
        "lv_health_status",
    ];
    let mut out = inactive(text);
    for field in UNKNOWN {
        out = out.replace(
            &format!("\"{field}\":\"unknown\""),
            &format!("\"{field}\":\"\""),
        );
    }
    out
}

/// Every `lv_attr` in a text, wherever it stands.
fn inactive(text: &str) -> String {
    const LENGTH: usize = 10;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("XX") {
        let found = at
            .checked_sub(4)
            .and_then(|start| Some((start, rest.get(start..start + LENGTH)?)))
            .filter(|(_, word)| word.chars().all(|c| c == '-' || c.is_ascii_alphabetic()));
        let (upto, end) = match found {
            Some((start, _)) => (start, start + LENGTH),
            None => (at + 2, at + 2),
        };
        out.push_str(&rest[..upto]);
        if let Some((_, word)) = found {
            let word = ulvm_test_support::state::attr(word);
            out.push_str(&word[..8]);
            out.push_str(&word[8..].replacen('X', "-", 1));
        }
        rest = &rest[end..];
    }
    out + rest
}

fn without_free_space(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_free_space),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match key.as_str() {
                    "vg_mda_free" | "pv_mda_free" => *field = Value::Null,
                    _ => without_free_space(field),
                }
            }
        }
        _ => {}
    }
}
