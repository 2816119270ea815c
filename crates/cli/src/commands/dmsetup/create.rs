//! `create`, and the tables that it and `load` take.

use std::io::Read;

use ulvm::daemon::dm::{DmAsk, DmDevice, Refusal, Which};
use ulvm::daemon::proto::{Export, NewDevice};
use ulvm::error::{Error, Result};
use ulvm_engine::table_text::MAX_TEXT;

use super::names::{new_name, new_uuid};
use super::session::{Session, Target, ioctl};
use super::{concise, failed, show};
use crate::args::Opt;

/// Makes a device, or those of a concise list.
pub fn run(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    if session.has(Opt::Concise) {
        let list = match operands.first() {
            Some(list) => (*list).to_owned(),
            None => standard_input()?,
        };
        let devices = concise::parse(&list)?;
        return devices.iter().try_for_each(|device| {
            check(&device.table, "")?;
            make(session, device)
        });
    }
    let Some((name, rest)) = operands.split_first() else {
        return Err(failed("Please provide a name for the new device."));
    };
    // The major number is the loop devices' own, whatever is given.
    let minor = match session.args.number(Opt::DmMinor) {
        None => None,
        Some(n) => Some(u32::try_from(n).map_err(|_| failed("Invalid minor number."))?),
    };
    let table = match session.has(Opt::Notable) {
        true => String::new(),
        false => read_table(session, rest.first())?,
    };
    let device = New {
        name: (*name).to_owned(),
        uuid: session
            .args
            .text(Opt::DmUuid)
            .unwrap_or_default()
            .to_owned(),
        minor,
        read_only: session.has(Opt::DmReadOnly),
        table,
    };
    make(session, &device)
}

/// A device to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct New {
    /// As it was given.
    pub name: String,
    /// Empty if none.
    pub uuid: String,
    /// Wanted for its block device.
    pub minor: Option<u32>,
    /// Refuses writes.
    pub read_only: bool,
    /// Lines; empty if there is none yet.
    pub table: String,
}

fn make(session: &Session<'_>, new: &New) -> Result<()> {
    let name = new_name(&new.name, session.mangling)?;
    let uuid = new_uuid(&new.uuid, session.mangling)?;
    let said = format!("{name} {uuid}");
    if ["", ".", "..", "control"].contains(&name.as_str()) {
        return Err(ioctl("create", &said, &Refusal::invalid()));
    }
    let devices = session.all()?;
    let taken = |d: &DmDevice| d.name == name || (!uuid.is_empty() && d.uuid == uuid);
    if devices.iter().any(taken) {
        return Err(ioctl("create", &said, &Refusal::busy()));
    }
    // The kernel has no device for a minor number that is taken, whatever the reason.
    if devices.iter().any(|d| new.minor == Some(d.number.1)) {
        return Err(ioctl("create", &said, &Refusal::absent()));
    }
    let export = match (
        session.args.text(Opt::Export),
        session.ctx.settings().env.root,
    ) {
        (Some("fuse"), _) => Export::Fuse,
        (Some("loop"), _) => Export::Loop,
        (Some("nbd"), _) => Export::Nbd,
        (Some("ublk"), _) => Export::Ublk,
        (_, true) => Export::Loop,
        (_, false) => Export::Fuse,
    };
    let device = NewDevice {
        links: vec![session.mapper_dir().join(&name)],
        name: name.clone(),
        uuid,
        read_only: new.read_only,
        table: new.table.clone(),
        backings: Vec::new(),
        export: Some(export),
        guard: Vec::new(),
        minor: new.minor,
    };
    session.start()?;
    // The real one creates first and loads then: what is wrong with a table is told by the second.
    session.order("reload", &said, DmAsk::Create { device })?;
    let target = Target {
        which: Which::Name(name),
        said,
    };
    read_ahead(session, &target)?;
    show::verbose(session, &target)
}

/// What `--readahead` asks for, on a block device.
pub fn read_ahead(session: &Session<'_>, target: &Target) -> Result<()> {
    let Some(word) = session.args.text(Opt::DmReadAhead) else {
        return Ok(());
    };
    let (least, number) = match (word, word.strip_prefix('+')) {
        ("auto", _) => return Ok(()),
        ("none", _) => (false, Some(0)),
        (_, Some(rest)) => (true, rest.parse::<u64>().ok()),
        (_, None) => (false, word.parse::<u64>().ok()),
    };
    let Some(sectors) = number else {
        return Err(failed(format!("Invalid read ahead {word}.")));
    };
    let Some(device) = session.find(target)? else {
        return Ok(());
    };
    if device.number.0 == 0 || (least && show::read_ahead_of(&device) >= Some(sectors)) {
        return Ok(());
    }
    let path = show::read_ahead_path(&device);
    let written = std::fs::write(&path, sectors.div_ceil(2).to_string());
    written.map_err(|e| Error::io(path.display(), e))
}

/// `--table`, the file, or standard input; checked as far as the real one checks it itself.
pub fn read_table(session: &Session<'_>, file: Option<&&str>) -> Result<String> {
    if let Some(text) = session.args.text(Opt::Table) {
        check(text, "")?;
        return Ok(text.to_owned());
    }
    let (text, from) = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|_| failed(format!("Couldn't open '{file}' for reading.")))?;
            (text, *file)
        }
        None => (standard_input()?, "stdin"),
    };
    if text.len() > MAX_TEXT {
        return Err(failed("The table is too long."));
    }
    check(&text, from)?;
    Ok(text)
}

fn standard_input() -> Result<String> {
    let mut text = String::new();
    let most = MAX_TEXT as u64 + 1;
    let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
    read.map_err(|e| Error::io("standard input", e))?;
    Ok(text)
}

/// Every line begins with two numbers and a target's name.
fn check(text: &str, from: &str) -> Result<()> {
    for (n, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let first = words.next();
        if first.is_none_or(|word| word.starts_with('#')) {
            continue;
        }
        let number = |word: Option<&str>| word.is_some_and(|w| w.parse::<i128>().is_ok());
        if !(number(first) && number(words.next()) && words.next().is_some()) {
            let n = n + 1;
            return Err(failed(format!(
                "Invalid format on line {n} of table {from}."
            )));
        }
    }
    Ok(())
}
