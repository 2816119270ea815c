//! Copying a segment under LVs that are active: the daemon does it, and this process waits.

use std::time::{Duration, Instant};

use ulvm_metadata::disk::Disk;
use ulvm_metadata::ops::pvmove;

use super::{Copied, Next, Progress, hundredths};
use crate::activate::live::Live;
use crate::disk::{Access, FileDisk};
use crate::error::{Error, Kind, Result};
use crate::inventory::VgRead;
use crate::session::Session;

/// How often the daemon is asked at first, and how seldom at last.
const ASK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Copies a segment while LVs on it are in use. `routed`: this command has seen to it that they lie on
/// the mover's device.
pub(super) fn copy(
    session: &mut Session,
    live: &mut Live,
    next: &Next<'_>,
    routed: &mut bool,
) -> Result<Copied> {
    if !*routed || live.find(&next.read.vg, next.key).is_none() {
        live.route(session, next.read, next.key)?;
        *routed = true;
    }
    live.copy(session, next.read, next.key, true)?;
    session.unlock_all();
    if !wait(session, live, next)? {
        return Ok(Copied::Stopped);
    }
    let Copied::Whole(now, key) = next.again(session)? else {
        return Ok(Copied::Gone);
    };
    match live.copied(&now.vg, key)? {
        Some((done, total)) if done >= total && total > 0 => {}
        _ => return Ok(Copied::Stopped),
    }
    flush(session, &now, next)?;
    Ok(Copied::Whole(now, key))
}

/// Waits until the segment is in sync. False if nobody copies it any more.
fn wait(session: &Session, live: &mut Live, next: &Next<'_>) -> Result<bool> {
    let vg = &next.read.vg;
    let extent = vg.extent_size.0.saturating_mul(512);
    let runs = pvmove::runs(vg, next.key);
    let bytes: u64 = next.part.iter().map(|run| run.len.get()).sum::<u64>() * extent;
    let mut progress = Progress {
        session,
        pv: &next.mover.pv,
        interval: next.interval,
        last: Instant::now(),
    };
    let mut pause = ASK.0;
    loop {
        let Some((done, total)) = live.copied(vg, next.key)? else {
            return Ok(false);
        };
        if live.copy_failed(vg, next.key) {
            return Err(failed(next));
        }
        if done >= total {
            break;
        }
        let part = u128::from(bytes) * u128::from(done) / u128::from(total.max(1));
        progress.within(hundredths(
            &runs,
            u64::try_from(part).unwrap_or(bytes),
            extent,
        ));
        std::thread::sleep(pause);
        pause = (pause * 2).min(ASK.1);
    }
    if next.interval.is_some() {
        progress.tell(hundredths(&runs, bytes, extent));
    }
    Ok(true)
}

/// What was copied to the new places becomes durable, whoever wrote it.
fn flush(session: &Session, read: &VgRead, next: &Next<'_>) -> Result<()> {
    let mut done = Vec::new();
    for run in next.part {
        let Some(device) = read.pv(run.to.0).device() else {
            continue;
        };
        if done.contains(&device) {
            continue;
        }
        done.push(device);
        let device = session.device(device);
        let disk = FileDisk::open(&device.path, Access::Write);
        disk.and_then(|mut disk| disk.flush())
            .map_err(|e| Error::io(format!("{}: flush failed", device.name), e))?;
    }
    Ok(())
}

fn failed(next: &Next<'_>) -> Error {
    let text = format!(
        "The pvmove of {} met a device that fails: see ulvm events.",
        next.mover.pv
    );
    Error::new(Kind::Io, text).and("pvmove --abort gives it up; what was moved stays moved.")
}
