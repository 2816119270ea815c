//! Runs one case under both tools and compares them step by step.

use std::path::{Path, PathBuf};

use ulvm_test_support::disk_text;
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::lvm::{Site, Tool};
use ulvm_test_support::normal::{Normaliser, diff};
use ulvm_test_support::state::State;

use crate::case::{Action, Case, Run, Step};
use crate::{differences, outside};

/// What one tool did in one step.
struct Trace {
    code: i32,
    output: Option<String>,
    stderr: String,
    state: State,
}

/// Which sides to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// LVM2 first, then ulvm, compared.
    Both,
    /// LVM2 alone, to check a case that is being written.
    ReferenceOnly,
}

/// Runs a case; the error is a readable account of every difference.
pub fn run(case: &Case, ulvm: &Path, mode: Mode) -> Result<(), String> {
    let scratch = loopdev::scratch()?;
    let mut devices = Vec::new();
    let devices_of_case = case.devices.iter().zip(&case.sectors);
    for (index, (&size, &sector)) in devices_of_case.enumerate() {
        devices.push(LoopDevice::attach(
            &scratch.path().join(format!("pv{index}.img")),
            size,
            sector,
        )?);
    }
    let mut site = Site::new(ulvm)?;
    let reference = side(case, Tool::Debian, &mut site, &mut devices)?;
    if !reference
        .windows(2)
        .any(|pair| pair[0].state.disks != pair[1].state.disks)
        && !reference
            .first()
            .is_some_and(|trace| trace.state.disks.iter().any(|disk| disk != "no label\n"))
    {
        return Err("the sequence changes no metadata".into());
    }
    if mode == Mode::ReferenceOnly {
        return Ok(());
    }
    for (device, &size) in devices.iter_mut().zip(&case.devices) {
        device.resize(size)?;
        device.clear()?;
    }
    let ours = side(case, Tool::Ulvm, &mut site, &mut devices)?;
    compare(case, &reference, &ours)
}

fn side(
    case: &Case,
    tool: Tool,
    site: &mut Site,
    devices: &mut [LoopDevice],
) -> Result<Vec<Trace>, String> {
    site.unconfigure();
    site.reset()?;
    for line in &case.config {
        site.configure(line)?;
    }
    let nodes: Vec<PathBuf> = devices
        .iter()
        .map(|device| device.node().to_path_buf())
        .collect();
    let mut visible = nodes.clone();
    site.show(&visible)?;
    let mut places: Vec<(String, String)> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.display().to_string(), format!("$pv{index}")))
        .collect();
    // `/dev/loop1` is the beginning of `/dev/loop10`.
    places.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    places.push((site.path().display().to_string(), "$site".into()));
    let mut normal = Normaliser::new(&places);
    let mut traces = Vec::new();
    // Whether something other than a command under comparison happened since the last one.
    let mut disturbed = false;
    for step in &case.steps {
        let at = |error: String| format!("{tool}, line {}: {}\n{error}", step.line, step.source);
        match &step.action {
            Action::Run(run) if run.live => {
                return Err(at("active LVs are for the suite in the guest".into()));
            }
            Action::Run(run) => {
                let before = traces
                    .last()
                    .filter(|_| !disturbed)
                    .map(|trace: &Trace| &trace.state);
                let trace = one(run, tool, site, &nodes, &mut normal, before).map_err(at)?;
                disturbed = false;
                if tool == Tool::Debian && (trace.code == 0) != run.succeeds {
                    return Err(at(format!(
                        "the case expects otherwise: exit code {}\n{}",
                        trace.code, trace.stderr
                    )));
                }
                traces.push(trace);
                continue;
            }
            Action::Prepare(words) => {
                let words = expand_all(words, site, &nodes).map_err(at)?;
                site.run(Tool::Debian, &words, &[])
                    .and_then(|done| done.success("lvm2"))
                    .map_err(at)?;
            }
            Action::Config(line) => site.configure(&expand(line, site, &nodes).map_err(at)?)?,
            Action::Outside(words) => {
                outside_step(step, words, site, devices, &nodes, &mut visible).map_err(at)?
            }
        }
    }
    Ok(traces)
}

fn outside_step(
    step: &Step,
    words: &[String],
    site: &mut Site,
    devices: &mut [LoopDevice],
    nodes: &[PathBuf],
    visible: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let words = expand_all(words, site, nodes)?;
    let Some((verb, rest)) = words.split_first() else {
        return Err(format!("line {}: nothing to do", step.line));
    };
    match verb.as_str() {
        "hide" => visible.retain(|node| !rest.contains(&node.display().to_string())),
        "show" => {
            *visible = nodes
                .iter()
                .filter(|node| visible.contains(node) || rest.contains(&node.display().to_string()))
                .cloned()
                .collect();
        }
        _ => return outside::act(&words, devices),
    }
    site.show(visible)
}

fn one(
    run: &Run,
    tool: Tool,
    site: &Site,
    nodes: &[PathBuf],
    normal: &mut Normaliser,
    before: Option<&State>,
) -> Result<Trace, String> {
    let words = expand_all(&run.words, site, nodes)?;
    let done = site.run(tool, &words, run.stdin.as_bytes())?;
    let state = State::capture(site, tool, nodes, normal, before)?;
    let output = run.compare_output.then(|| normal.text(&done.out()));
    Ok(Trace {
        code: done.code,
        output,
        stderr: done.err(),
        state,
    })
}

fn compare(case: &Case, reference: &[Trace], ours: &[Trace]) -> Result<(), String> {
    let runs = case.steps.iter().filter_map(|step| match &step.action {
        Action::Run(run) => Some((step, run)),
        _ => None,
    });
    let mut report = String::new();
    for (((step, run), a), b) in runs.zip(reference).zip(ours) {
        let mut found = String::new();
        if a.code != b.code {
            found.push_str(&format!("  exit code {} / {}\n", a.code, b.code));
            found.push_str(&indent("lvm2", &a.stderr));
            found.push_str(&indent("ulvm", &b.stderr));
        }
        if let (Some(x), Some(y)) = (&a.output, &b.output) {
            let (x, y) = (differences::output(x), differences::output(y));
            if x != y {
                found.push_str(&format!("  standard output:\n{}", diff(&x, &y)));
            }
        }
        let (mut x, mut y) = (a.state.clone(), b.state.clone());
        differences::state(&mut x, &mut y);
        let on_disk = x.disks != y.disks;
        // A report that stays wrong is told once.
        for line in x
            .difference(&y)
            .lines()
            .filter(|line| on_disk || !report.contains(*line))
        {
            found.push_str(line);
            found.push('\n');
        }
        if let Some(name) = &run.meant {
            // What follows has different states to start from.
            if found.is_empty() {
                report.push_str(&format!(
                    "line {}: {}\n  `{name}` is no difference any more\n",
                    step.line, step.source
                ));
            }
            break;
        }
        if !found.is_empty() {
            report.push_str(&format!(
                "{}:{}: {}   (lvm2 / ulvm)\n{found}",
                case.file.file_name().unwrap_or_default().to_string_lossy(),
                step.line,
                step.source
            ));
        }
        if on_disk {
            // What follows a wrong state is wrong as well and hides the cause.
            break;
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}

fn indent(who: &str, text: &str) -> String {
    text.lines()
        .take(12)
        .map(|line| format!("    {who}: {line}\n"))
        .collect()
}

fn expand_all(words: &[String], site: &Site, nodes: &[PathBuf]) -> Result<Vec<String>, String> {
    words.iter().map(|word| expand(word, site, nodes)).collect()
}

/// Replaces `$pv0`, `$dir`, `$sys`, `${id:pv0}` (PV id) and `${vgid:pv0}` (id of the VG on it).
fn expand(word: &str, site: &Site, nodes: &[PathBuf]) -> Result<String, String> {
    if !word.contains('$') {
        return Ok(word.to_owned());
    }
    let mut text = word.to_owned();
    for (index, node) in nodes.iter().enumerate().rev() {
        if text.contains(&format!("${{id:pv{index}}}")) {
            text = text.replace(&format!("${{id:pv{index}}}"), &pv_id(node)?);
        }
        if text.contains(&format!("${{vgid:pv{index}}}")) {
            text = text.replace(&format!("${{vgid:pv{index}}}"), &vg_id(node)?);
        }
        text = text.replace(&format!("$pv{index}"), &node.display().to_string());
    }
    text = text.replace("$dir", &site.files().display().to_string());
    Ok(text.replace("$sys", &site.system_dir().display().to_string()))
}

fn pv_id(node: &Path) -> Result<String, String> {
    let found = disk_text::read(node)?.ok_or(format!("{}: no label", node.display()))?;
    Ok(hyphenate(&found.pv_id))
}

fn vg_id(node: &Path) -> Result<String, String> {
    let found = disk_text::read(node)?.ok_or(format!("{}: no label", node.display()))?;
    let text = found.areas.into_iter().find_map(|area| area.text);
    let text = text.ok_or(format!("{}: no metadata", node.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("id = \""));
    line.and_then(|line| line.split('"').next())
        .map(str::to_owned)
        .ok_or("no VG id in the metadata".into())
}

/// 6-4-4-4-4-4-6.
fn hyphenate(id: &str) -> String {
    let mut out = String::new();
    for (at, c) in id.chars().enumerate() {
        if matches!(at, 6 | 10 | 14 | 18 | 22 | 26) {
            out.push('-');
        }
        out.push(c);
    }
    out
}
