//! Carrying out a `pvmove` that the metadata hold: segment by segment, each noted when it is durable.
//!
//! LVs that the daemon serves are copied by it, with a mirror under them ([`live`]); other LVs by this
//! process ([`copy`]). Nobody else can open what moves
//! meanwhile: it holds the bytes of the old places and the new for itself. The VG is locked only
//! while its metadata change, so that other commands go on. Wherever this is stopped, what the
//! metadata say is true, and the next `pvmove` goes on from there.

mod copy;
mod live;

use std::time::{Duration, Instant};

use ulvm_metadata::model::{LvKey, Vg};
use ulvm_metadata::ops::pvmove::{self, Run};
use ulvm_metadata::ops::{Done, OpError};
use ulvm_metadata::uuid::LvmUuid;

use crate::activate::live::Live;
use crate::error::{Error, Kind, Result};
use crate::inventory::VgRead;
use crate::session::{Allow, Session};

/// A mover, wherever it stands in its VG by now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mover {
    /// Name of the VG.
    pub vg: String,
    /// The VG.
    pub vg_id: LvmUuid,
    /// The hidden LV `pvmoveN`.
    pub lv: LvmUuid,
    /// What the PV that is emptied is called in messages.
    pub pv: String,
}

impl Mover {
    /// The one with that key.
    pub fn of(session: &Session, read: &VgRead, key: LvKey) -> Self {
        let pv = pvmove::source(&read.vg, key);
        let device = pv.and_then(|pv| read.pv(pv).device());
        Self {
            vg: read.vg.name.clone(),
            vg_id: read.vg.id,
            lv: read.vg.lvs[key].id,
            pv: device.map_or_else(
                || "[unknown]".to_owned(),
                |device| session.device(device).name.clone(),
            ),
        }
    }

    fn find(&self, vg: &Vg) -> Option<LvKey> {
        let found = vg.lvs.iter().find(|(_, lv)| lv.id == self.lv);
        found.map(|(key, _)| key)
    }

    /// The VG to be changed, and the mover in it, if it is still there.
    fn read(&self, session: &mut Session) -> Result<(VgRead, Option<LvKey>)> {
        let read = session.vg_for_write_by_id(&self.vg, &self.vg_id, Allow::default())?;
        let key = self.find(&read.vg);
        Ok((read, key))
    }
}

/// Part of the extents that are at their new place, in hundredths of a percent.
fn hundredths(runs: &[Run], extra: u64, extent: u64) -> u64 {
    let all = |runs: &mut dyn Iterator<Item = &Run>| runs.map(|r| r.len.get()).sum::<u64>();
    let total = u128::from(all(&mut runs.iter())) * u128::from(extent.max(1));
    let moved = u128::from(all(&mut runs.iter().filter(|r| r.moved))) * u128::from(extent.max(1))
        + u128::from(extra);
    match total {
        0 => 10_000,
        total => u64::try_from((moved * 10_000 + total / 2) / total).unwrap_or(10_000),
    }
}

/// Tells how far it is, at most once in an interval but for ends of segments.
struct Progress<'a> {
    session: &'a Session,
    pv: &'a str,
    interval: Option<Duration>,
    last: Instant,
}

impl Progress<'_> {
    fn tell(&self, hundredths: u64) {
        let text = format!(
            "{}: Moved: {}.{:02}%",
            self.pv,
            hundredths / 100,
            hundredths % 100
        );
        self.session.ui().print(text);
        self.session.ui().flush();
    }

    fn within(&mut self, hundredths: u64) {
        if self.interval.is_some_and(|i| self.last.elapsed() >= i) {
            self.last = Instant::now();
            self.tell(hundredths);
        }
    }
}

/// Moves what is left, and ends the move. `interval`: how often to tell of it within a segment;
/// `None` = say nothing at all. The session's locks are released in between.
pub fn carry_out(
    session: &mut Session,
    live: &mut Live,
    mover: &Mover,
    interval: Option<Duration>,
) -> Result<()> {
    let mut routed = false;
    loop {
        let (read, Some(key)) = mover.read(session)? else {
            return gone(session, mover);
        };
        live.look_for_movers(&read.vg)?;
        let runs = pvmove::runs(&read.vg, key);
        let Some(number) = runs.iter().find(|r| !r.moved).map(|r| r.segment) else {
            return end(session, live, (&read, key), pvmove::finish);
        };
        let part: Vec<Run> = runs.into_iter().filter(|r| r.segment == number).collect();
        let next = Next {
            mover,
            read: &read,
            key,
            part: &part,
            interval,
        };
        let copied = match live.moves(&read.vg, key) {
            true => live::copy(session, live, &next, &mut routed)?,
            false => copy_here(session, &next)?,
        };
        let (now, key) = match copied {
            Copied::Whole(now, key) => (*now, key),
            Copied::Gone => return gone(session, mover),
            Copied::Stopped => {
                session.unlock_all();
                std::thread::sleep(Duration::from_millis(100));
                routed = false;
                continue;
            }
        };
        let left = pvmove::runs(&now.vg, key);
        let last = !left.iter().any(|r| !r.moved && r.segment != number);
        // What is active must know that the segment is moved before its old place is given up.
        if last && !live.moves(&now.vg, key) {
            return end(session, live, (&now, key), pvmove::finish);
        }
        commit(session, &now, pvmove::segment_moved(&now.vg, key, number))?;
        session.unlock_all();
    }
}

/// How copying a segment has ended. The VG is locked.
enum Copied {
    /// All of it is at the new place: the VG now, and the mover in it.
    Whole(Box<VgRead>, LvKey),
    /// Somebody else has finished the move, or given it up.
    Gone,
    /// The LVs were deactivated while the daemon copied: to be begun again.
    Stopped,
}

/// The segment whose turn it is.
struct Next<'a> {
    mover: &'a Mover,
    read: &'a VgRead,
    key: LvKey,
    part: &'a [Run],
    interval: Option<Duration>,
}

impl Next<'_> {
    /// The VG, locked again, and the mover in it, if it is still there and has the segment to be
    /// moved still: what was copied counts only for the places that it was copied between.
    fn again(&self, session: &mut Session) -> Result<Copied> {
        let (now, Some(key)) = self.mover.read(session)? else {
            return Ok(Copied::Gone);
        };
        let runs = pvmove::runs(&now.vg, key);
        match runs.iter().any(|r| self.part.first() == Some(r)) {
            true => Ok(Copied::Whole(Box::new(now), key)),
            false => Err(changed(self.mover)),
        }
    }
}

/// Copies a segment in this process. The VG is locked afterwards.
fn copy_here(session: &mut Session, next: &Next<'_>) -> Result<Copied> {
    let mut task = copy::Task::prepare(session, next.read, next.part)?;
    session.unlock_all();
    let runs = pvmove::runs(&next.read.vg, next.key);
    let vg = &next.read.vg;
    copy_segment(session, next.mover, &mut task, (&runs, vg), next.interval)?;
    let now = next.again(session);
    // From here on nobody can open them without the VG's lock.
    drop(task);
    now
}

fn copy_segment(
    session: &Session,
    mover: &Mover,
    task: &mut copy::Task,
    (runs, vg): (&[Run], &Vg),
    interval: Option<Duration>,
) -> Result<()> {
    let extent = vg.extent_size.0.saturating_mul(512);
    let mut progress = Progress {
        session,
        pv: &mover.pv,
        interval,
        last: Instant::now(),
    };
    let copied = task.run(&mut |bytes| progress.within(hundredths(runs, bytes, extent)))?;
    if interval.is_some() {
        progress.tell(hundredths(runs, copied, extent));
    }
    Ok(())
}

/// Gives a move up: segments that were copied stay where they are now, the others where they were.
pub fn abort(session: &mut Session, live: &mut Live, mover: &Mover) -> Result<()> {
    match mover.read(session)? {
        (read, Some(key)) => end(session, live, (&read, key), pvmove::abort),
        (_, None) => gone(session, mover),
    }
}

/// The last two steps: the LVs lie on PVs again, and the mover goes.
fn end(
    session: &mut Session,
    live: &mut Live,
    (read, key): (&VgRead, LvKey),
    how: fn(&Vg, LvKey) -> std::result::Result<Done, OpError>,
) -> Result<()> {
    live.look_for_movers(&read.vg)?;
    if live.find(&read.vg, key).is_some() {
        live.copy(session, read, key, false)?;
        live.leave(session, read, key)?;
    }
    let now = commit(session, read, how(&read.vg, key))?;
    commit(session, &now, pvmove::remove(&now.vg, key))?;
    session.unlock_all();
    Ok(())
}

/// Takes out what movers of a VG have left that were stopped before their last step.
pub fn tidy(session: &mut Session, vg: &str) -> Result<()> {
    let read = session.vg_for_write(vg, Allow::default())?;
    let mut now = read;
    for _ in 0..now.vg.lvs.len() {
        let Some(key) = pvmove::leftovers(&now.vg).first().copied() else {
            break;
        };
        now = commit(session, &now, pvmove::remove(&now.vg, key))?;
    }
    session.unlock_all();
    Ok(())
}

fn commit(
    session: &mut Session,
    read: &VgRead,
    outcome: std::result::Result<Done, OpError>,
) -> Result<VgRead> {
    let done = outcome.map_err(|e| Error::refused(e.message))?;
    session.commit(read, done.vg)
}

/// Somebody else has finished it, or given it up.
fn gone(session: &mut Session, mover: &Mover) -> Result<()> {
    let text = format!(
        "{}: No pvmove in progress - already finished or aborted.",
        mover.pv
    );
    session.ui().print(text);
    session.unlock_all();
    Ok(())
}

fn changed(mover: &Mover) -> Error {
    Error::new(
        Kind::Locked,
        format!(
            "The pvmove of {} was changed by another command while it was carried out.",
            mover.pv
        ),
    )
    .and("Nothing that it copied counts. Run pvmove again to go on.")
}
