//! What devices are: `info`, `table`, `status`, `deps`, `ls`.

use std::path::PathBuf;
use std::process::Command;

use ulvm::daemon::dm::{Dep, DmDevice};
use ulvm::error::Result;

use super::session::{Session, Target};
use super::{concise, failed, fields, report, tree, wrong};
use crate::args::Opt;

/// What is said where there is nothing to show.
const NONE: &str = "No devices found\n";

/// The devices named, which must be there: else the ioctl called `what` fails, or `missing` is said.
/// All, and `true`, if none is named. None says that there is none at all, which has been told.
fn chosen(
    session: &Session<'_>,
    operands: &[&str],
    what: Option<&str>,
) -> Result<Option<(Vec<DmDevice>, bool)>> {
    let targets = session.targets(operands)?;
    if targets.is_empty() {
        let all = session.all()?;
        if all.is_empty() {
            session.put(NONE);
            return Ok(None);
        }
        return Ok(Some((all, true)));
    }
    let one = |target: &Target| match what {
        Some(what) => session.need(what, target),
        None => session
            .find(target)?
            .ok_or_else(|| failed("Device does not exist.")),
    };
    let devices: Result<Vec<DmDevice>> = targets.iter().map(one).collect();
    Ok(Some((devices?, false)))
}

/// The live table's lines, or those of the loaded one.
pub fn table_of(device: &DmDevice, inactive: bool) -> &str {
    let table = match inactive {
        true => device.loaded.as_ref(),
        false => device.live.as_ref(),
    };
    table.map_or("", |table| table.text.as_str())
}

/// A line as device-mapper writes it: with a space behind the target, even if nothing follows.
pub fn spaced(line: &str) -> String {
    match line.split(' ').count() {
        0..=3 => format!("{line} "),
        _ => line.to_owned(),
    }
}

/// Block of text about a device, with an empty line behind it.
fn long(session: &Session<'_>, device: &DmDevice) -> String {
    let state = match device.suspended {
        true => "SUSPENDED",
        false => "ACTIVE",
    };
    let read_only = if device.read_only { " (READ-ONLY)" } else { "" };
    let deferred = if device.deferred {
        " (DEFERRED REMOVE)"
    } else {
        ""
    };
    let tables = match (&device.live, &device.loaded) {
        (Some(_), Some(_)) => "LIVE & INACTIVE",
        (Some(_), None) => "LIVE",
        (None, Some(_)) => "INACTIVE",
        (None, None) => "None",
    };
    let mut out = String::new();
    let mut row = |name: &str, value: String| out.push_str(&format!("{name:<19}{value}\n"));
    row("Name:", session.shown(&device.name));
    row("State:", format!("{state}{read_only}{deferred}"));
    if let Some(sectors) = read_ahead_of(device) {
        row("Read Ahead:", sectors.to_string());
    }
    row("Tables present:", tables.to_owned());
    if let Some(open) = device.open {
        row("Open count:", open.to_string());
    }
    row("Event number:", device.events.to_string());
    let (major, minor) = device.number;
    row("Major, minor:", format!("{major}, {minor}"));
    let targets = table_of(device, false).lines().count();
    row("Number of targets:", targets.to_string());
    if !device.uuid.is_empty() {
        out.push_str(&format!("UUID: {}\n", session.shown(&device.uuid)));
    }
    out.push('\n');
    out
}

/// Where the kernel keeps how far it reads ahead on a block device, in KiB.
pub fn read_ahead_path(device: &DmDevice) -> PathBuf {
    let (major, minor) = device.number;
    PathBuf::from(format!(
        "/sys/dev/block/{major}:{minor}/queue/read_ahead_kb"
    ))
}

/// Sectors that are read ahead; none of what is no block device.
pub fn read_ahead_of(device: &DmDevice) -> Option<u64> {
    if device.number.0 == 0 {
        return None;
    }
    let text = std::fs::read_to_string(read_ahead_path(device)).ok()?;
    text.trim().parse::<u64>().ok().map(|kib| kib * 2)
}

/// With `-v`, what the device is after a change.
pub fn verbose(session: &Session<'_>, target: &Target) -> Result<()> {
    if session.has(Opt::Verbose)
        && let Some(device) = session.find(target)?
    {
        session.put(&long(session, &device));
    }
    Ok(())
}

/// `info`
pub fn info(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let columns = session.has(Opt::DmColumns);
    let Some((devices, _)) = chosen(session, operands, None)? else {
        return Ok(());
    };
    if columns {
        let all = session.all()?;
        return report::info(session, &devices, &all);
    }
    for device in &devices {
        session.put(&long(session, device));
    }
    Ok(())
}

/// `table`
pub fn table(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let inactive = session.has(Opt::Inactive);
    if !session.has(Opt::Concise) {
        return lines(session, operands, Some("table"), |device| {
            table_of(device, inactive).to_owned()
        });
    }
    let Some((devices, _)) = chosen(session, operands, Some("table"))? else {
        return Ok(());
    };
    let entries = devices.iter().map(|d| concise::entry(d, inactive));
    let entries: Vec<String> = entries.collect();
    session.put(&format!("{}\n", entries.join(";")));
    Ok(())
}

/// `status`
pub fn status(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let inactive = session.has(Opt::Inactive);
    lines(session, operands, None, |device| match inactive {
        // Nothing happens yet to a table that is loaded only.
        true => heads(table_of(device, true)),
        false => device.status.clone(),
    })
}

/// `measure`: nothing is measured, as in a kernel without IMA.
pub fn measure(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    lines(session, operands, Some("status"), |device| {
        heads(table_of(device, false))
    })
}

/// Start, length and target of each line.
fn heads(table: &str) -> String {
    let head = |line: &str| {
        let words: Vec<&str> = line.split(' ').take(3).collect();
        format!("{}\n", words.join(" "))
    };
    table.lines().map(head).collect()
}

/// Lines of text of each device, with its name before them where all are shown.
fn lines(
    session: &Session<'_>,
    operands: &[&str],
    what: Option<&str>,
    text: impl Fn(&DmDevice) -> String,
) -> Result<()> {
    let Some((devices, all)) = chosen(session, operands, what)? else {
        return Ok(());
    };
    let wanted = session.args.text(Opt::Target);
    let several = all || devices.len() > 1;
    let mut out = String::new();
    for device in &devices {
        if session.has(Opt::Verbose) {
            out.push_str(&long(session, device));
        }
        let name = match several {
            true => format!("{}: ", session.shown(&device.name)),
            false => String::new(),
        };
        let text = text(device);
        if text.is_empty() && wanted.is_none() {
            out.push_str(&format!("{name}\n"));
        }
        for line in text.lines() {
            if wanted.is_none_or(|wanted| line.split(' ').nth(2) == Some(wanted)) {
                out.push_str(&format!("{name}{}\n", spaced(line)));
            }
        }
    }
    session.put(&out);
    Ok(())
}

/// How devices are shown by `-o`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    DevNo,
    DevName,
    BlkDevName,
}

impl Shape {
    fn of(session: &Session<'_>) -> Result<Self> {
        let mut shape = Self::DevNo;
        for list in session.args.texts(Opt::Options) {
            for word in list.split(',') {
                shape = match word {
                    "devno" => Self::DevNo,
                    "devname" => Self::DevName,
                    "blkdevname" => Self::BlkDevName,
                    _ => return Err(wrong(format!("Option not recognised: {word}."))),
                };
            }
        }
        Ok(shape)
    }
}

/// What a device of a table is called.
fn dep_text(session: &Session<'_>, dep: &Dep, shape: Shape) -> String {
    let numbers = dep
        .number
        .map(|(major, minor)| format!("({major}, {minor})"));
    let path = || {
        dep.path
            .as_ref()
            .map(|path| format!("({})", path.display()))
    };
    let kernel = || {
        dep.number
            .and_then(kernel_name)
            .map(|name| format!("({name})"))
    };
    let named = match (shape, &dep.name) {
        (Shape::DevNo, _) => None,
        (Shape::DevName, Some(name)) => Some(format!("({})", session.shown(name))),
        (Shape::DevName, None) | (Shape::BlkDevName, _) => kernel(),
    };
    let text = named.or(numbers).or_else(path);
    text.unwrap_or_else(|| "(?)".to_owned())
}

/// The kernel's name of a block device.
pub fn kernel_name((major, minor): (u32, u32)) -> Option<String> {
    let real = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    Some(real.file_name()?.to_string_lossy().into_owned())
}

/// `deps`
pub fn deps(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let shape = Shape::of(session)?;
    let Some((devices, all)) = chosen(session, operands, Some("deps"))? else {
        return Ok(());
    };
    for device in &devices {
        let table = match session.has(Opt::Inactive) {
            true => device.loaded.as_ref(),
            false => device.live.as_ref(),
        };
        let deps = table.map_or(&[][..], |table| table.deps.as_slice());
        let name = match all || devices.len() > 1 {
            true => format!("{}: ", session.shown(&device.name)),
            false => String::new(),
        };
        let mut line = format!("{name}{} dependencies\t:", deps.len());
        for dep in deps {
            line.push(' ');
            line.push_str(&dep_text(session, dep, shape));
        }
        session.put(&format!("{line}\n"));
    }
    Ok(())
}

/// `ls`
pub fn ls(session: &Session<'_>, _: &[&str]) -> Result<()> {
    if session.has(Opt::Tree) {
        let options = tree::Options::of(session)?;
        let Some((devices, _)) = chosen(session, &[], None)? else {
            return Ok(());
        };
        session.put(&tree::draw(session, &devices, &options));
        return Ok(());
    }
    let shape = Shape::of(session)?;
    let Some((devices, _)) = chosen(session, &[], None)? else {
        return Ok(());
    };
    let wanted = session.args.text(Opt::Target);
    let of_target = |device: &&DmDevice| {
        let mut lines = table_of(device, false).lines();
        wanted.is_none_or(|wanted| lines.any(|line| line.split(' ').nth(2) == Some(wanted)))
    };
    for device in devices.iter().filter(of_target) {
        match session.args.text(Opt::Exec) {
            Some(command) => exec(session, command, device),
            None => session.put(&line(session, device, shape, wanted.is_some())),
        }
    }
    Ok(())
}

fn line(session: &Session<'_>, device: &DmDevice, shape: Shape, target: bool) -> String {
    let (major, minor) = device.number;
    let name = session.shown(&device.name);
    let shown = match shape {
        Shape::DevName => name.clone(),
        Shape::BlkDevName => fields::kernel_name_of(device),
        Shape::DevNo if target => format!("{major}, {minor}"),
        Shape::DevNo => format!("{major}:{minor}"),
    };
    format!("{name}\t({shown})\n")
}

/// Runs a command with the path of a device behind its words. How it ends is its own business.
fn exec(session: &Session<'_>, command: &str, device: &DmDevice) {
    session.ctx.terminal().flush();
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else { return };
    let path = session.mapper_dir().join(&device.name);
    let _ = Command::new(program).args(words).arg(path).status();
}
