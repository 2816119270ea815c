//! The script language: one command line or action a line. `docs/testing.md` describes it.

use std::path::{Path, PathBuf};

/// One sequence.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique name.
    pub name: String,
    /// File it stands in.
    pub file: PathBuf,
    /// Sizes of the devices, in bytes.
    pub devices: Vec<u64>,
    /// Logical sector size of each device.
    pub sectors: Vec<u32>,
    /// That of the devices for which no other is given.
    pub sector: u32,
    /// Lines for `lvm.conf`.
    pub config: Vec<String>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// An open defect: why the case is known to fail.
    pub open: Option<String>,
}

/// One line of a case.
#[derive(Clone, Debug)]
pub struct Step {
    /// Line number in its file.
    pub line: usize,
    /// The line as written, for messages.
    pub source: String,
    /// What to do.
    pub action: Action,
}

/// What a line asks for.
#[derive(Clone, Debug)]
pub enum Action {
    /// `$`, `!`, `=` or `~`: run under both tools and compare.
    Run(Run),
    /// `lvm2`: preparation that LVM2 does on both sides.
    Prepare(Vec<String>),
    /// `do`: something done to the devices or files from outside.
    Outside(Vec<String>),
    /// `config`: a further line for `lvm.conf`.
    Config(String),
}

/// A command line under comparison.
#[derive(Clone, Debug)]
pub struct Run {
    /// Command and arguments, variables not yet replaced.
    pub words: Vec<String>,
    /// Whether LVM2 must succeed (`$`, `=`) or fail (`!`).
    pub succeeds: bool,
    /// Whether standard output is compared too (`=`).
    pub compare_output: bool,
    /// Standard input.
    pub stdin: String,
    /// The difference on purpose that this line shows.
    pub meant: Option<String>,
    /// `~`: LVM2 does it to active LVs, ulvm to the same that are not.
    pub live: bool,
}

/// Reads every case below a directory, and refuses two of one name.
pub fn load(directory: &Path) -> Result<Vec<Case>, String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "case")
        })
        .collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        for case in parse(file, &text)? {
            if let Some(other) = cases.iter().find(|other| other.name == case.name) {
                return Err(format!(
                    "{} and {} both name a case {}",
                    other.file.display(),
                    file.display(),
                    case.name
                ));
            }
            cases.push(case);
        }
    }
    Ok(cases)
}

/// Parses one file.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut stdin = String::new();
    let mut meant = None;
    for (index, raw) in text.lines().enumerate() {
        let source = raw.trim();
        let wrong = |what: String| format!("{}:{}: {what}", file.display(), index + 1);
        if source.is_empty() || source.starts_with('#') {
            continue;
        }
        let (head, rest) = source
            .split_once(' ')
            .map_or((source, ""), |(head, rest)| (head, rest.trim()));
        if head == "case" {
            if rest.is_empty() || !rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                return Err(wrong(
                    "a case needs a name of letters, digits and hyphens".into(),
                ));
            }
            cases.push(Case {
                name: rest.into(),
                file: file.into(),
                devices: Vec::new(),
                sectors: Vec::new(),
                sector: 512,
                config: Vec::new(),
                steps: Vec::new(),
                open: None,
            });
            continue;
        }
        let case = cases
            .last_mut()
            .ok_or_else(|| wrong("a line before the first `case`".into()))?;
        let action = match head {
            "devices" => {
                devices(case, rest).map_err(wrong)?;
                continue;
            }
            "open" if !rest.is_empty() => {
                case.open = Some(rest.into());
                continue;
            }
            "meant" => {
                meant = Some(rest.to_owned());
                continue;
            }
            "config" if case.steps.is_empty() => {
                case.config.push(rest.into());
                continue;
            }
            "config" => Action::Config(rest.into()),
            "stdin" => {
                stdin = format!("{stdin}{rest}\n");
                continue;
            }
            "$" | "!" | "=" | "!=" | "~" | "!~" | "~=" => Action::Run(Run {
                words: words(rest).map_err(wrong)?,
                succeeds: !head.starts_with('!'),
                compare_output: head.ends_with('='),
                live: head.contains('~'),
                stdin: std::mem::take(&mut stdin),
                meant: meant.take(),
            }),
            "lvm2" => Action::Prepare(words(rest).map_err(wrong)?),
            "do" => Action::Outside(words(rest).map_err(wrong)?),
            _ => return Err(wrong(format!("unknown directive `{head}`"))),
        };
        case.steps.push(Step {
            line: index + 1,
            source: source.into(),
            action,
        });
    }
    Ok(cases)
}

fn devices(case: &mut Case, rest: &str) -> Result<(), String> {
    for word in rest.split_whitespace() {
        match word.split_once('=') {
            Some(("sector", size)) => {
                case.sector = size.parse().map_err(|_| format!("sector size {size}"))?;
                case.sectors = vec![case.sector; case.devices.len()];
            }
            Some(_) => return Err(format!("unknown setting {word}")),
            None => {
                let (word, sector) = word.split_once('/').unwrap_or((word, ""));
                let sector = match sector {
                    "" => case.sector,
                    size => size.parse().map_err(|_| format!("sector size {size}"))?,
                };
                let (size, times) = word.split_once('x').unwrap_or((word, "1"));
                let times: usize = times.parse().map_err(|_| format!("count in {word}"))?;
                let size = size_in_bytes(size)?;
                case.devices.extend(std::iter::repeat_n(size, times));
                case.sectors.extend(std::iter::repeat_n(sector, times));
            }
        }
    }
    Ok(())
}

/// `512`, `4k`, `64M`, `1G`.
pub fn size_in_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.chars().next_back() {
        Some('k' | 'K') => (&text[..text.len() - 1], 10),
        Some('m' | 'M') => (&text[..text.len() - 1], 20),
        Some('g' | 'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits
        .parse::<u64>()
        .map(|number| number << shift)
        .map_err(|_| format!("not a size: {text}"))
}

/// Splits at blanks; single and double quotes keep them.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("quote not closed in `{line}`"));
    }
    words.extend(word);
    Ok(words)
}
