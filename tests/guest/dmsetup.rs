//! `ulvm dmsetup` beside the real one: the same sequences, on a real kernel and on ulvm, must print
//! the same, complain the same and end with the same codes. What differs on purpose is in
//! docs/compatibility.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use regex_lite::{Captures, Regex};
use ulvm_test_support::guest::Guest;
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

const CASES: &str = include_str!("dmsetup.cases");
const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(900);

pub fn cases(suite: &mut Suite) {
    let needs = [Need::Guest, Need::Loop, Need::Path("/dev/fuse")];
    suite.case("dmsetup/same_as_the_real_one", &needs, same);
}

/// A command of a sequence.
struct Step {
    sequence: &'static str,
    line: &'static str,
    /// Where its output is kept.
    file: String,
    /// It is the first of its sequence.
    first: bool,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut sequence, mut number) = ("", 0);
    for line in CASES.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            (sequence, number) = (name, 0);
        } else if !line.is_empty() && !line.starts_with('#') {
            number += 1;
            steps.push(Step {
                sequence,
                line,
                file: format!("{sequence}.{number:02}"),
                first: number == 1,
            });
        }
    }
    steps
}

/// A script that runs all steps and keeps, in `$OUT`, what each says and what devices there are then.
fn script(steps: &[Step], mapper: &str) -> String {
    let mut out = String::from(
        "PATH=$PATH:/sbin:/usr/sbin\n\
         numbers() { dmsetup info -c --noheadings --separator ' ' -o major,minor,name 2>/dev/null; }\n\
         gone() { dmsetup remove_all -f; dmsetup remove_all -f; }\n",
    );
    for step in steps {
        if step.first {
            out.push_str("gone >/dev/null 2>&1\n");
        }
        let line = step
            .line
            .replace("/dev/mapper", mapper)
            .replace('\'', "'\\''");
        let file = format!("$OUT/{}", step.file);
        out.push_str(&format!(
            "sh -c '{line}' >{file}.out 2>{file}.err </dev/null; echo $? >{file}.code; numbers >{file}.num\n"
        ));
    }
    out.push_str("gone >/dev/null 2>&1\ntrue\n");
    out
}

/// Where the output of one side comes from, and how its devices are called there.
struct Side<'a> {
    read: &'a dyn Fn(&str) -> Result<String, String>,
    /// Words of this side alone, and what stands for them in both.
    words: Vec<(Regex, &'static str)>,
    /// Device numbers, and what stands for them in both.
    numbers: BTreeMap<(String, String), String>,
    rules: &'a Rules,
}

/// What is not compared: numbers and names that each side chooses, and the widths that follow from
/// them.
struct Rules {
    number: Regex,
    columns: Regex,
    block: Regex,
    minor: Regex,
    read_ahead: Regex,
    blanks: Regex,
    of_load: Regex,
    shell: Regex,
}

impl Rules {
    fn new() -> Result<Self, String> {
        let regex = |pattern| Regex::new(pattern).map_err(|e| e.to_string());
        Ok(Self {
            number: regex(r"\b(\d+)(:|, )(\d+)\b")?,
            columns: regex(r"\b(\d+) +(\d+)\b")?,
            block: regex(r"\b(dm-|loop)\d+\b")?,
            minor: regex(r",\d+,(rw|ro),")?,
            read_ahead: regex(r"(?m)^Read Ahead:.*\n")?,
            blanks: regex(r" +")?,
            // `create` loads into what has a number already in the kernel, and has none here.
            of_load: regex(r" +(\((\d+:\d+|<[^>]*>)\) )?failed:")?,
            shell: regex(r"(?m)^sh: .*$")?,
        })
    }
}

impl Side<'_> {
    fn learn(&mut self, file: &str) -> Result<(), String> {
        for line in (self.read)(&format!("{file}.num"))?.lines() {
            if let [major, minor, name] = line.splitn(3, ' ').collect::<Vec<_>>()[..] {
                let number = (major.to_owned(), minor.to_owned());
                self.numbers.insert(number, format!("<{name}>"));
            }
        }
        Ok(())
    }

    fn plain(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, by) in &self.words {
            text = word.replace_all(&text, *by).into_owned();
        }
        let of = |captures: &Captures<'_>, major: usize, minor: usize| {
            let number = (captures[major].to_owned(), captures[minor].to_owned());
            let known = self.numbers.get(&number);
            known.cloned().unwrap_or_else(|| captures[0].to_owned())
        };
        let rules = self.rules;
        let text = rules.read_ahead.replace_all(&text, "");
        let text = rules
            .number
            .replace_all(&text, |c: &Captures<'_>| of(c, 1, 3));
        let text = rules
            .columns
            .replace_all(&text, |c: &Captures<'_>| of(c, 1, 2));
        let text = rules.block.replace_all(&text, "BLOCK");
        rules.minor.replace_all(&text, ",M,$1,").into_owned()
    }

    fn out(&self, file: &str) -> Result<String, String> {
        let text = (self.read)(&format!("{file}.out"))?;
        let plain = self.plain(&text);
        // Widths are compared wherever nothing was put in place of something else.
        Ok(match plain == text {
            true => plain,
            false => self.rules.blanks.replace_all(&plain, " ").into_owned(),
        })
    }

    fn err(&self, file: &str) -> Result<String, String> {
        let text = self.plain(&(self.read)(&format!("{file}.err"))?);
        let done = self.code(file)? == "0";
        // Reasons that the kernel has a log for; help texts and lists of fields, which are each
        // one's own; and tries that `--retry` makes the best of.
        let left_out = |line: &str| {
            line.starts_with("  ")
                || line.ends_with("open failed: No such file or directory")
                || (done && line.contains("remove ioctl on"))
        };
        let mut lines: Vec<&str> = text.lines().filter(|line| !left_out(line)).collect();
        for own in ["Usage:", "Mapped Device Name Fields", "Names"] {
            if let Some(at) = lines.iter().position(|line| *line == own) {
                lines.truncate(at);
                lines.push("(a text of its own)");
            }
        }
        let text = lines.join("\n");
        let text = self.rules.of_load.replace_all(&text, " failed:");
        Ok(self.rules.shell.replace_all(&text, "sh:").into_owned())
    }

    fn code(&self, file: &str) -> Result<String, String> {
        Ok((self.read)(&format!("{file}.code"))?.trim().to_owned())
    }

    fn all(&self, file: &str) -> Result<String, String> {
        let (out, err) = (self.out(file)?, self.err(file)?);
        Ok(format!("{out}--\n{err}\n-- {}", self.code(file)?))
    }
}

fn word(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|e| e.to_string())
}

fn same() -> Outcome {
    let steps = steps();
    let sequences = steps.iter().filter(|s| s.first).count();
    ensure!(sequences >= 40, "{sequences} sequences");
    let dir = loopdev::scratch()?;
    let (images, real) = (["a", "b"].map(|name| dir.path().join(name)), ["ra", "rb"]);
    for name in real {
        crate::harness::disk(&dir, name, 32 * MIB, &[])?;
    }
    let mut guest = Guest::new()?.limit(LIMIT);
    for module in ["dm_delay", "dm_flakey", "dm_zero"] {
        guest = guest.module(module);
    }
    let report = guest
        .disk(&dir.path().join(real[0]))
        .disk(&dir.path().join(real[1]))
        .run(&format!(
            "OUT=/out A=$disk0 B=$disk1 DM_DISABLE_UDEV=1\nexport OUT A B DM_DISABLE_UDEV\n{}",
            script(&steps, "/dev/mapper")
        ))?
        .success()?;

    let devices = [
        LoopDevice::attach(&images[0], 32 * MIB, 512)?,
        LoopDevice::attach(&images[1], 32 * MIB, 512)?,
    ];
    let out = ours(dir.path(), &devices, &steps)?;
    let rules = Rules::new()?;
    let node = |n: usize| devices[n].node().display().to_string();
    let number = |n: usize| {
        let name = node(n).replace("/dev/loop", "");
        ("7".to_owned(), name)
    };
    let mut there = Side {
        read: &|name| Ok(String::from_utf8_lossy(&report.file(name)?).into_owned()),
        words: vec![
            (word(r"\bvda\b")?, "DISK-A"),
            (word(r"\bvdb\b")?, "DISK-B"),
            (word("/out/")?, "OUT/"),
        ],
        numbers: BTreeMap::new(),
        rules: &rules,
    };
    let rdev = |minor: &str| ("254".to_owned(), minor.to_owned());
    there.numbers.insert(rdev("0"), "<A>".to_owned());
    there.numbers.insert(rdev("16"), "<B>".to_owned());
    let base = |n: usize| word(&format!(r"\b{}\b", node(n).replace("/dev/", "")));
    let path = |path: &Path| word(&regex_lite::escape(&path.display().to_string()));
    let mut here = Side {
        read: &|name| {
            let bytes = std::fs::read(out.join(name)).map_err(|e| format!("{name}: {e}"))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        },
        words: vec![
            (path(&dir.path().join("dev/mapper"))?, "/dev/mapper"),
            (path(&out.join(""))?, "OUT/"),
            (base(0)?, "DISK-A"),
            (base(1)?, "DISK-B"),
        ],
        numbers: BTreeMap::from([(number(0), "<A>".to_owned()), (number(1), "<B>".to_owned())]),
        rules: &rules,
    };
    let mut wrong = Vec::new();
    for step in &steps {
        there.learn(&step.file)?;
        here.learn(&step.file)?;
        let (real, ours) = (there.all(&step.file)?, here.all(&step.file)?);
        if real != ours {
            let (name, line) = (step.sequence, step.line);
            wrong.push(format!("{name}: {line}\nreal:\n{real}\nulvm:\n{ours}\n"));
        }
    }
    let (n, of) = (wrong.len(), steps.len());
    ensure!(wrong.is_empty(), "{n} of {of} differ\n{}", wrong.join("\n"));
    Ok(())
}

/// Runs the steps with ulvm under the name `dmsetup`; gives the folder of what they said.
fn ours(
    dir: &Path,
    devices: &[LoopDevice; 2],
    steps: &[Step],
) -> Result<std::path::PathBuf, String> {
    let out = dir.join("out");
    let mapper = dir.join("dev/mapper");
    for folder in [
        &out,
        &dir.join("bin"),
        &mapper,
        &dir.join("run"),
        &dir.join("etc"),
    ] {
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_ulvm"));
    let link = std::os::unix::fs::symlink(program, dir.join("bin/dmsetup"));
    link.map_err(|e| e.to_string())?;
    let path = std::env::var("PATH").unwrap_or_default();
    let script = script(steps, &mapper.display().to_string());
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .env("PATH", format!("{}:{path}", dir.join("bin").display()))
        .env("OUT", &out)
        .env("A", devices[0].node())
        .env("B", devices[1].node())
        .env("DM_DEV_DIR", dir.join("dev"))
        .env("ULVM_RUN_DIR", dir.join("run"))
        .env("LVM_SYSTEM_DIR", dir.join("etc"));
    process::run(&mut command, &[], LIMIT)?.success("the sequences on ulvm")?;
    Ok(out)
}
