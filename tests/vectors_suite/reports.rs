//! The reports that real LVM2 gave before anything was activated, against ours.

use serde_json::Value;

use ulvm_test_support::images::Images;
use ulvm_test_support::normal::diff;
use ulvm_test_support::state::values;
use ulvm_test_support::vectors::Vector;

use crate::unpack;

/// Where the images were when real LVM2 reported on them.
const RECORDED: &str = "/dev/pvs/";

/// Runs every command recorded before activation and collects what differs.
pub fn check(vector: &Vector) -> Result<(), String> {
    let images = unpack(vector)?;
    let commands = vector.expected["commands"]
        .as_array()
        .ok_or("no commands recorded")?;
    let before = commands
        .iter()
        .take_while(|command| !line(command).starts_with("vgchange"));
    let mut wrong = String::new();
    let mut compared = 0;
    for command in before {
        compared += 1;
        one(&images, command, &mut wrong)?;
    }
    if compared < 6 {
        return Err(format!(
            "only {compared} commands recorded before activation"
        ));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("(LVM2 / ulvm)\n{wrong}"))
    }
}

fn line(command: &Value) -> &str {
    command["cmd"].as_str().unwrap_or("")
}

fn one(images: &Images, command: &Value, wrong: &mut String) -> Result<(), String> {
    let recorded = line(command);
    let words: Vec<String> = recorded
        .split(' ')
        .map(|word| word.replace(RECORDED, &images.prefix()))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = images.run(&words, &[])?;
    let short = recorded.split(" -o ").next().unwrap_or(recorded);
    let mut found = String::new();
    let code = command["rc"].as_i64().unwrap_or(-1);
    if i64::from(done.code) != code {
        found.push_str(&format!(
            "  exit code {code} / {}\n  {}\n",
            done.code,
            done.err().trim()
        ));
    }
    let output = done.out().replace(&images.prefix(), RECORDED);
    match command.get("json") {
        Some(expected) => match serde_json::from_str::<Value>(&output) {
            Ok(got) => values(expected, &got, "", &mut found),
            Err(error) => found.push_str(&format!("  not JSON alone: {error}\n{output}\n")),
        },
        None => text(command, &output, &mut found),
    }
    damage_is_named(images, command, &done.err(), &mut found);
    if !found.is_empty() {
        wrong.push_str(&format!("{short}\n{found}"));
    }
    Ok(())
}

/// Columns are as wide as the device paths, which differ; so runs of blanks count as one here.
/// Widths are compared where the paths are the same, in the differential suite.
fn text(command: &Value, output: &str, found: &mut String) {
    let squeeze = |line: &str| {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        // What is wrong with a damaged header is told in our own words, and without the overflow
        // of 32 bits that LVM2 shows there.
        if line.starts_with("CHECK: failed") || line.contains("is outside of") {
            "CHECK".into()
        } else {
            line
        }
    };
    // LVM2 prints this on standard output, even into JSON.
    let is_report = |line: &String| line != "Retrying metadata scan.";
    let expected: Vec<String> = command["stdout"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|line| line.as_str().map(squeeze))
        .filter(is_report)
        .collect();
    let got: Vec<String> = output.lines().map(squeeze).collect();
    if expected != got {
        found.push_str(&diff(&expected.join("\n"), &got.join("\n")));
    }
}

/// Where LVM2 names a damaged device in a warning, so do we.
fn damage_is_named(images: &Images, command: &Value, stderr: &str, found: &mut String) {
    let warnings = command["stderr"].as_array().cloned().unwrap_or_default();
    for warning in warnings
        .iter()
        .filter_map(Value::as_str)
        .filter(|line| line.contains("WARNING") && !line.contains("last written to"))
    {
        let words = warning
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| word.starts_with(RECORDED));
        for word in words {
            let path = word
                .trim_end_matches(['.', ')', ':'])
                .replace(RECORDED, &images.prefix());
            let is_here = std::path::Path::new(&path).exists();
            if is_here && !stderr.contains(&path) && !found.contains("not named") {
                found.push_str(&format!(
                    "  {word} not named; LVM2 says: {warning}\n  ulvm says: {}\n",
                    stderr.trim()
                ));
            }
        }
    }
}
