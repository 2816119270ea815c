//! Changes to devices that are there: tables, gate, names, messages; and waiting for events.

use std::time::Duration;

use ulvm::daemon::dm::{DmAnswer, DmAsk, Refusal, Which};
use ulvm::error::Result;

use super::create::{read_ahead, read_table};
use super::failed;
use super::names::{new_name, new_uuid};
use super::session::{Session, Target, ioctl};
use super::show;
use crate::args::Opt;

/// How often a device is looked at for an event.
const LOOK: Duration = Duration::from_millis(100);

/// Does something with each device named; stops at the first that fails.
pub fn each(
    session: &Session<'_>,
    operands: &[&str],
    work: impl Fn(&Target) -> Result<()>,
) -> Result<()> {
    let targets = session.targets(operands)?;
    if targets.is_empty() {
        return Err(failed("No device specified."));
    }
    targets.iter().try_for_each(work)
}

/// The name that a device has; of one named by its name it need not be asked.
pub fn name_of(session: &Session<'_>, what: &str, target: &Target) -> Result<String> {
    match &target.which {
        Which::Name(name) => Ok(name.clone()),
        Which::Uuid(_) | Which::Number(..) => Ok(session.need(what, target)?.name),
    }
}

/// `clear`
pub fn clear(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    each(session, operands, |target| {
        let device = name_of(session, "clear", target)?;
        session.order("clear", &target.said, DmAsk::Clear { device })?;
        show::verbose(session, target)
    })
}

/// `suspend`
pub fn suspend(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let noflush = session.has(Opt::Noflush);
    each(session, operands, |target| {
        let device = name_of(session, "suspend", target)?;
        session.order("suspend", &target.said, DmAsk::Suspend { device, noflush })?;
        show::verbose(session, target)
    })
}

/// `resume`
pub fn resume(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    each(session, operands, |target| {
        let device = name_of(session, "resume", target)?;
        session.order("resume", &target.said, DmAsk::Resume { device })?;
        read_ahead(session, target)?;
        show::verbose(session, target)
    })
}

/// `load`, `reload`
pub fn load(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    if operands.is_empty() && !session.has(Opt::DmUuid) && !session.has(Opt::Major) {
        return Err(failed("Please specify device."));
    }
    let (target, rest) = session.one(operands)?;
    let table = read_table(session, rest.first())?;
    let device = name_of(session, "reload", &target)?;
    session.order("reload", &target.said, DmAsk::Load { device, table })?;
    show::verbose(session, &target)
}

/// `rename`
pub fn rename(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let (target, rest) = session.one(operands)?;
    let [new] = rest else {
        return Err(failed("No device specified."));
    };
    let (name, uuid) = match session.has(Opt::Setuuid) {
        true => (None, Some(new_uuid(new, session.mangling)?)),
        false => (Some(new_name(plain(session, new), session.mangling)?), None),
    };
    let ask = DmAsk::Rename {
        device: name_of(session, "rename", &target)?,
        name,
        uuid,
        links: session.mapper_dir(),
    };
    session.order("rename", &target.said, ask)
}

/// The new name may be given as a path in the folder of links.
fn plain<'n>(session: &Session<'_>, name: &'n str) -> &'n str {
    let dir = session.mapper_dir();
    let rest = name.strip_prefix(&*dir.to_string_lossy());
    rest.and_then(|rest| rest.strip_prefix('/')).unwrap_or(name)
}

/// `message`
pub fn message(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let (target, rest) = session.one(operands)?;
    let Some((sector, words)) = rest.split_first() else {
        return Err(failed("Invalid sector."));
    };
    let Ok(sector) = sector.parse::<u64>() else {
        return Err(failed("Invalid sector."));
    };
    let said = &target.said;
    let text = words.join(" ");
    let words: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        let error = ioctl("message", said, &Refusal::invalid());
        return Err(failed("No message supplied.").and(error.lines().join("\n")));
    }
    let device = name_of(session, "message", &target)?;
    let ask = match words[0].as_str() {
        "@cancel_deferred_remove" => DmAsk::Stay { device },
        _ => DmAsk::Message {
            device,
            sector,
            words,
        },
    };
    match session.ask(ask)? {
        Ok(DmAnswer::Text { text }) if !text.is_empty() => session.put(&format!("{text}\n")),
        Ok(_) => {}
        Err(refusal) => return Err(ioctl("message", said, &refusal)),
    }
    Ok(())
}

/// `wait`: until the number of events is another one. A device that goes is an event too.
pub fn wait(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let (target, rest) = session.one(operands)?;
    let number: u64 = match rest.first() {
        Some(word) => word.parse().map_err(|_| failed("Invalid event number."))?,
        None => 0,
    };
    let mut device = session.need("waitevent", &target)?;
    while device.events == number {
        std::thread::sleep(LOOK);
        match session.find(&target)? {
            Some(now) => device = now,
            None => return Ok(()),
        }
    }
    show::verbose(session, &target)
}
