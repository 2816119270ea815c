//! ulvm's side, and the comparison.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use ulvm_test_support::lvm::{Site, Tool};
use ulvm_test_support::normal::{Normaliser, diff};
use ulvm_test_support::process::{self, Finished};
use ulvm_test_support::state::values;

use crate::case::{Action, Case, Run};
use crate::guest_side::{REPORT, Recorded, Step};

const LIMIT: Duration = Duration::from_secs(60);

/// Image files as PVs.
struct Field {
    site: Site,
    images: Vec<PathBuf>,
    visible: Vec<PathBuf>,
}

impl Field {
    fn new(case: &Case, ulvm: &Path) -> Result<Field, String> {
        let site = Site::new(ulvm)?;
        let mut images = Vec::new();
        for (number, size) in case.devices.iter().enumerate() {
            let path = site.files().join(format!("pv{number}.img"));
            std::fs::File::create(&path)
                .and_then(|file| file.set_len(*size))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            images.push(path);
        }
        Ok(Field {
            visible: images.clone(),
            images,
            site,
        })
    }

    fn run(&self, words: &[String], stdin: &str) -> Result<Finished, String> {
        let visible: Vec<String> = self
            .visible
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let mut command = self.site.command(Tool::Ulvm, words);
        command.env("ULVM_DEVICES", visible.join(","));
        process::run(&mut command, stdin.as_bytes(), LIMIT)
    }

    fn line(&self, line: &str) -> Result<Finished, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        self.run(&words, "")
    }

    fn expand(&self, word: &str) -> String {
        let mut text = word.to_owned();
        for (number, image) in self.images.iter().enumerate().rev() {
            text = text.replace(&format!("$pv{number}"), &image.display().to_string());
        }
        text
    }

    fn step(&self, run: &Run) -> Result<Step, String> {
        let words: Vec<String> = run.words.iter().map(|word| self.expand(word)).collect();
        let done = self.run(&words, &run.stdin)?;
        let names = self.line("vgs --noheadings -o name")?.out();
        let mut names: Vec<&str> = names.split_whitespace().collect();
        names.sort_unstable();
        let file = self.site.files().join("backup");
        let mut backup = String::new();
        for name in names {
            self.line(&format!("vgcfgbackup -f {} {name}", file.display()))?;
            backup.push_str(&std::fs::read_to_string(&file).unwrap_or_default());
            drop(std::fs::remove_file(&file));
        }
        Ok(Step {
            code: done.code,
            out: done.out(),
            err: done.err(),
            report: self.line(REPORT)?.out(),
            backup,
            table: String::new(),
        })
    }

    fn hide_or_show(&mut self, words: &[String]) -> Result<(), String> {
        let (verb, rest) = words.split_first().ok_or("nothing to do")?;
        let named: Vec<PathBuf> = rest.iter().map(|word| self.expand(word).into()).collect();
        let was = std::mem::take(&mut self.visible);
        let seen = |image: &&PathBuf| match verb.as_str() {
            "hide" => was.contains(image) && !named.contains(image),
            _ => was.contains(image) || named.contains(image),
        };
        self.visible = self.images.iter().filter(seen).cloned().collect();
        Ok(())
    }
}

/// Runs a case under ulvm and compares it with what the guest's LVM2 did.
pub fn compare(case: &Case, theirs: &Recorded, ulvm: &Path) -> Result<(), String> {
    let mut field = Field::new(case, ulvm)?;
    for line in &case.config {
        field.site.configure(line)?;
    }
    let loops = places((0..case.devices.len()).map(|n| format!("/dev/loop{n}")));
    let images = places(field.images.iter().map(|path| path.display().to_string()));
    let mut their_normal = Normaliser::new(&loops);
    let mut our_normal = Normaliser::new(&images);
    for (number, step) in case.steps.iter().enumerate() {
        let run = match &step.action {
            Action::Run(run) => run,
            Action::Config(line) => {
                field.site.configure(line)?;
                continue;
            }
            Action::Outside(words) => {
                field.hide_or_show(words)?;
                continue;
            }
            Action::Prepare(_) => continue,
        };
        let a = theirs
            .get(&(case.name.clone(), number))
            .ok_or("the guest did not come to this step")?;
        let at = format!("line {}: {}", step.line, step.source);
        if (a.code == 0) != run.succeeds {
            return Err(format!(
                "{at}\nthe case expects otherwise: LVM2 ended with {}\n{}{}",
                a.code, a.out, a.err
            ));
        }
        let b = field.step(run)?;
        let found = differences(run, (a, &mut their_normal), (&b, &mut our_normal));
        if run.meant.is_some() {
            return match found.is_empty() {
                true => Err(format!("{at}\nis no difference any more")),
                false => Ok(()),
            };
        }
        if !found.is_empty() {
            return Err(format!(
                "{at}   (lvm2 / ulvm)\n{found}{}{}{}",
                indent("lvm2", &format!("{}{}", a.out, a.err)),
                indent("ulvm", &format!("{}{}", b.out, b.err)),
                indent("lvm2's tables", &a.table)
            ));
        }
    }
    Ok(())
}

/// Paths and what to show instead; longest first, since `/dev/loop1` begins `/dev/loop10`.
fn places(paths: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let numbered = paths.enumerate();
    let mut out: Vec<_> = numbered
        .map(|(n, path)| (path, format!("$pv{n}")))
        .collect();
    out.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    out
}

fn differences(
    run: &Run,
    (a, a_normal): (&Step, &mut Normaliser),
    (b, b_normal): (&Step, &mut Normaliser),
) -> String {
    let mut out = String::new();
    if a.code != b.code {
        out.push_str(&format!("  exit code {} / {}\n", a.code, b.code));
    }
    // ulvm leaves it to the next activation to fill new images; LVM2 has done it by now.
    let filled = b.backup.replace(", \"REBUILD\"", "");
    let (x, y) = (
        a_normal.text(&comparable(&a.backup)),
        b_normal.text(&comparable(if run.live { &filled } else { &b.backup })),
    );
    if x != y {
        out.push_str(&format!("  metadata:\n{}", diff(&x, &y)));
        return out;
    }
    if run.compare_output {
        let (x, y) = (a_normal.text(&a.out), b_normal.text(&b.out));
        if x != y {
            out.push_str(&format!("  standard output:\n{}", diff(&x, &y)));
        }
        let (x, y) = (a_normal.text(&a.err), b_normal.text(&b.err));
        if x != y {
            out.push_str(&format!("  standard error:\n{}", diff(&x, &y)));
        }
    }
    match (
        json(a_normal.text(&a.report)),
        json(b_normal.text(&b.report)),
    ) {
        (Ok(x), Ok(y)) => values(&x, &y, "lvs", &mut out),
        (x, y) => out.push_str(&format!("  lvs: {x:?} / {y:?}\n")),
    }
    out
}

/// Without what must differ. ulvm changes a mirror in one commit where LVM2 makes several, since it
/// can clear metadata LVs before anybody knows of them: so the sequence number is left out.
fn comparable(backup: &str) -> String {
    let mut kept = String::new();
    for line in backup.lines() {
        let line = line.split('#').next().unwrap_or_default().trim_end();
        if !(line.trim_start().starts_with("seqno = ") || line.is_empty()) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn json(text: String) -> Result<Value, String> {
    serde_json::from_str::<Value>(&text)
        .map(without_accidents)
        .map_err(|error| format!("{error}: {text}"))
}

/// The same for reports; and the machine's name.
fn without_accidents(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => {
            for item in items {
                *item = without_accidents(item.take());
            }
        }
        Value::Object(fields) => {
            fields.remove("vg_seqno");
            fields.remove("lv_host");
            for field in fields.values_mut() {
                *field = without_accidents(field.take());
            }
        }
        _ => {}
    }
    value
}

fn indent(who: &str, text: &str) -> String {
    text.lines()
        .take(12)
        .map(|line| format!("    {who}: {line}\n"))
        .collect()
}
