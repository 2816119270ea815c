//! Taking devices away: `remove`, `remove_all`, `wipe_table`.

use std::time::{Duration, Instant};

use ulvm::daemon::dm::{DmAsk, DmDevice, Refusal};
use ulvm::error::Result;
use ulvm_engine::io::SECTOR;

use super::change::{each, name_of};
use super::session::{Session, ioctl};
use super::show;
use crate::args::Opt;

/// How long `--retry` tries.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const REST: Duration = Duration::from_millis(200);

/// `remove`
pub fn remove(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    each(session, operands, |target| {
        let name = name_of(session, "remove", target)?;
        if session.has(Opt::Force) {
            let device = session.need("table", target)?;
            wipe(session, &device, &target.said)?;
        }
        remove_one(session, &name, &target.said)
    })
}

fn remove_one(session: &Session<'_>, name: &str, said: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let outcome = session.ask(DmAsk::Remove {
            device: name.to_owned(),
            deferred: session.has(Opt::Deferred),
        })?;
        match outcome {
            Ok(_) => return Ok(()),
            Err(refusal)
                if session.has(Opt::Retry) && refusal.is_busy() && began.elapsed() < PATIENCE =>
            {
                std::thread::sleep(REST);
            }
            Err(refusal) => return Err(ioctl("remove", said, &refusal)),
        }
    }
}

/// Every request to the device fails from now on.
fn wipe(session: &Session<'_>, device: &DmDevice, said: &str) -> Result<()> {
    let live = device.live.as_ref().map_or(0, |table| sectors(&table.text));
    if live > 0 {
        let ask = DmAsk::Load {
            device: device.name.clone(),
            table: format!("0 {live} error"),
        };
        session.order("reload", said, ask)?;
    }
    let ask = DmAsk::Suspend {
        device: device.name.clone(),
        noflush: true,
    };
    session.order("suspend", said, ask)?;
    let ask = DmAsk::Resume {
        device: device.name.clone(),
    };
    session.order("resume", said, ask)
}

/// How long a table is.
fn sectors(table: &str) -> u64 {
    let last = table.lines().last().unwrap_or_default();
    let mut words = last.split_whitespace().map(|w| w.parse().unwrap_or(0));
    let sum = words
        .next()
        .unwrap_or(0u64)
        .saturating_add(words.next().unwrap_or(0));
    sum.min(u64::MAX / SECTOR)
}

/// `wipe_table`
pub fn wipe_table(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    each(session, operands, |target| {
        let Some(device) = session.find(target)? else {
            let absent = Refusal::absent();
            let table = ioctl("table", &target.said, &absent);
            let reload = ioctl("reload", &target.said, &absent);
            return Err(table.and(reload.lines().join("\n")));
        };
        wipe(session, &device, &target.said)?;
        show::verbose(session, target)
    })
}

/// `remove_all`: whatever nobody has open, upper ones first; with `--force` requests to the others
/// fail from then on.
pub fn remove_all(session: &Session<'_>, _: &[&str]) -> Result<()> {
    let mut left = pass(session)?;
    if session.has(Opt::Force) && !left.is_empty() {
        for device in &left {
            wipe(session, device, &device.name)?;
        }
        left = pass(session)?;
        if !left.is_empty() {
            let text = format!("Unable to remove {} device(s).", left.len());
            session.ctx.terminal().error_line(&text);
        }
    }
    Ok(())
}

/// Removes what can be removed, until nothing more can.
fn pass(session: &Session<'_>) -> Result<Vec<DmDevice>> {
    loop {
        let devices = session.all()?;
        let free = devices.iter().filter(|d| d.open.is_none_or(|n| n == 0));
        let mut gone = false;
        for device in free {
            let ask = DmAsk::Remove {
                device: device.name.clone(),
                deferred: false,
            };
            gone |= session.ask(ask)?.is_ok();
        }
        if !gone {
            return Ok(devices);
        }
    }
}
