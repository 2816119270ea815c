//! LVM2's side: a script for the guest is made of all cases, and what each step left is read back.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ulvm_test_support::guest::Guest;

use crate::case::{Action, Case, Run};

/// The report that is compared.
pub const REPORT: &str = "lvs -a --reportformat json --units b -o vg_name,lv_all,seg_all";

/// What one step left behind.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The report.
    pub report: String,
    /// `vgcfgbackup` of every VG, in the order of names.
    pub backup: String,
    /// `dmsetup table` before LVs were deactivated again.
    pub table: String,
}

/// Steps by case and number.
pub type Recorded = HashMap<(String, usize), Step>;

/// Functions of the guest's script.
const PRELUDE: &str = r#"
export LVM_SUPPRESS_FD_WARNINGS=1 LC_ALL=C TZ=UTC
mount -t tmpfs -o size=2G pvs /tmp
cat >>/etc/lvm/lvm.conf <<CONF
devices { hints = "none" md_component_detection = 0 multipath_component_detection = 0 }
CONF
all=
fresh() {
  vgchange -an >/dev/null 2>&1
  dmsetup remove_all -f >/dev/null 2>&1
  for l in $all; do losetup -d $l 2>/dev/null; done
  rm -rf /dev/vg /dev/gv /tmp/pv* /etc/lvm/backup /etc/lvm/archive
  cp /etc/lvm/lvm.conf.first /etc/lvm/lvm.conf
  all=; i=0
  for size; do
    truncate -s $size /tmp/pv$i; losetup /dev/loop$i /tmp/pv$i
    all="$all /dev/loop$i"; i=$((i + 1))
  done
}
in_sync() {
  n=0
  while [ $n -lt 100 ]; do
    dmsetup status | awk '/ raid | mirror / { for (i = 1; i <= NF; i++) if (split($i, p, "/") == 2 && p[1] != p[2]) bad = 1; if ($0 ~ / raid / && $0 !~ / idle /) bad = 1 } END { exit bad }' && return
    sleep 0.1; n=$((n + 1))
  done
}
live_on() { vgchange -ay >/dev/null 2>&1; in_sync; }
live_off() { in_sync; dmsetup table | sort >$o.table; vgchange -an >/dev/null 2>&1; }
left() {
  [ -e $o.table ] || dmsetup table | sort >$o.table
  REPORT >$o.report 2>/dev/null
  : >$o.backup
  for vg in $(vgs --noheadings -o name 2>/dev/null | sort); do
    vgcfgbackup -f /tmp/backup $vg >/dev/null 2>&1 && cat /tmp/backup >>$o.backup
    rm -f /tmp/backup
  done
}
cp /etc/lvm/lvm.conf /etc/lvm/lvm.conf.first
"#;

/// Runs cases in one guest, or takes what it said before if that is kept in a directory.
pub fn record(cases: &[Case], keep_in: Option<&Path>) -> Result<Recorded, String> {
    let job = job(cases)?;
    let kept: Option<PathBuf> = keep_in.map(|dir| {
        let mut hash = DefaultHasher::new();
        job.hash(&mut hash);
        dir.join(format!("{:016x}.tar", hash.finish()))
    });
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let tar = directory.path().join("steps.tar");
    match kept.as_deref().filter(|path| path.exists()) {
        Some(path) => copy(path, &tar)?,
        None => {
            let report = Guest::new()?
                .module("loop")
                .module("dm_mirror")
                .module("raid1")
                .module("dm_raid")
                .limit(Duration::from_secs(1500))
                .run(&job)?
                .success()?;
            std::fs::write(&tar, report.file("steps.tar")?).map_err(|error| error.to_string())?;
            if let Some(path) = &kept {
                copy(&tar, path)?;
            }
        }
    }
    let unpacked = std::process::Command::new("tar")
        .arg("xf")
        .arg(&tar)
        .arg("-C")
        .arg(directory.path())
        .status();
    match unpacked {
        Ok(status) if status.success() => read(cases, &directory.path().join("steps")),
        other => Err(format!("the guest's answer cannot be unpacked: {other:?}")),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::copy(from, to)
        .map(drop)
        .map_err(|error| format!("{}: {error}", to.display()))
}

fn job(cases: &[Case]) -> Result<String, String> {
    let mut job = PRELUDE.replace("REPORT", REPORT);
    job.push_str("mkdir /tmp/steps\n");
    for case in cases {
        let sizes: Vec<String> = case.devices.iter().map(u64::to_string).collect();
        // Writing to a `String` cannot fail.
        let _ = writeln!(job, "fresh {}", sizes.join(" "));
        for line in &case.config {
            let _ = writeln!(job, "echo {} >>/etc/lvm/lvm.conf", quoted(line));
        }
        for (number, step) in case.steps.iter().enumerate() {
            let _ = writeln!(job, "o=/tmp/steps/{}.{number}", case.name);
            match &step.action {
                Action::Run(run) => command(&mut job, run),
                Action::Config(line) => {
                    let _ = writeln!(job, "echo {} >>/etc/lvm/lvm.conf", quoted(line));
                }
                Action::Outside(words) => outside(&mut job, words)
                    .map_err(|error| format!("line {}: {error}", step.line))?,
                Action::Prepare(_) => {
                    return Err(format!("line {}: no `lvm2` here", step.line));
                }
            }
        }
    }
    job.push_str("fresh\ntar cf /out/steps.tar -C /tmp steps\n");
    Ok(job)
}

fn command(job: &mut String, run: &Run) {
    let words: Vec<String> = run
        .words
        .iter()
        .map(|word| quoted(&in_guest(word)))
        .collect();
    if run.live {
        job.push_str("live_on\n");
    }
    let _ = writeln!(
        job,
        "printf %s {} | {} >$o.out 2>$o.err\necho $? >$o.code",
        quoted(&run.stdin),
        words.join(" ")
    );
    if run.live {
        job.push_str("live_off\n");
    }
    job.push_str("left\n");
}

fn outside(job: &mut String, words: &[String]) -> Result<(), String> {
    let (verb, rest) = words.split_first().ok_or("nothing to do")?;
    for device in rest {
        let number = device
            .strip_prefix("$pv")
            .ok_or_else(|| format!("{device} is no device"))?;
        let _ = match verb.as_str() {
            "hide" => writeln!(job, "losetup -d /dev/loop{number}"),
            "show" => writeln!(job, "losetup /dev/loop{number} /tmp/pv{number}"),
            _ => return Err(format!("no `do {verb}` here")),
        };
    }
    Ok(())
}

fn in_guest(word: &str) -> String {
    word.replace("$pv", "/dev/loop")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn read(cases: &[Case], directory: &Path) -> Result<Recorded, String> {
    let mut out = Recorded::new();
    for case in cases {
        for (number, step) in case.steps.iter().enumerate() {
            if !matches!(step.action, Action::Run(_)) {
                continue;
            }
            let file = |kind: &str| {
                let path = directory.join(format!("{}.{number}.{kind}", case.name));
                std::fs::read(&path)
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .map_err(|error| format!("the guest left no {}: {error}", path.display()))
            };
            let code = file("code")?;
            let step = Step {
                code: code
                    .trim()
                    .parse()
                    .map_err(|_| format!("exit code {code}"))?,
                out: file("out")?,
                err: file("err")?,
                report: file("report")?,
                backup: file("backup")?,
                table: file("table")?,
            };
            out.insert((case.name.clone(), number), step);
        }
    }
    Ok(out)
}
