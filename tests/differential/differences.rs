//! The differences from LVM2 that are meant, each with its reason. There may be at most ten.

use serde_json::Value;

use ulvm_test_support::state::State;

/// One difference on purpose.
pub struct Difference {
    /// Short name.
    pub name: &'static str,
    /// Why ulvm differs.
    pub reason: &'static str,
}

/// All of them. What each leaves out of the comparison is in [`state`] and [`output`] below.
pub const ON_PURPOSE: &[Difference] = &[
    Difference {
        name: "activity is known",
        reason: "without its kernel driver LVM2 prints XX in lv_attr and `unknown` in lv_active*; ulvm \
                 knows that the LV is not active and prints what LVM2 prints where the driver is loaded",
    },
    Difference {
        name: "free metadata space",
        reason: "vg_mda_free and pv_mda_free count the text's own header (host, description), which \
                 names another program and so is a few bytes longer or shorter",
    },
    Difference {
        name: "JSON alone",
        reason: "LVM2 prints messages (`Retrying metadata scan.`) into the middle of JSON output; ulvm prints \
                 nothing but JSON there",
    },
];

/// Takes the meant differences out of two states.
pub fn state(a: &mut State, b: &mut State) {
    for state in [a, b] {
        for (_, report) in &mut state.reports {
            without_free_space(report);
        }
    }
}

/// Takes the meant differences out of a command's standard output.
pub fn output(text: &str) -> String {
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
            out.push_str(&ulvm_test_support::state::attr(word));
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
