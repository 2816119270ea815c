//! Assembly of a raid1 from what is on the metadata devices of its legs.
//!
//! Rules, of which the first five are the kernel's:
//!
//! 1. The superblock with the highest event count is right; it names the legs that failed.
//! 2. A leg that it names, or whose own superblock says that it is not filled, is stale.
//! 3. A leg without superblock in a mirror that has some is not there, unless the table says that
//!    it is to be rebuilt. If no leg has one, the mirror is new.
//! 4. A bitmap with fewer events than the superblocks is out of date: everything is dirty.
//! 5. A mirror that was smaller when it last ran is dirty from its old end on.
//! 6. Every set bit is dirty, wherever a resync had got to. The kernel drops bits when the
//!    superblock says that the array is in sync, and legs stay different after a crash.
//! 7. Bits of all legs that are in sync count, not only those of the leg that is read first.
//! 8. A leg that failed is brought up to date by the bits only if none can have been cleared since
//!    (its events are not below `events_cleared`) and it has not gone its own way meanwhile (it
//!    names no leg as failed that the freshest does not); otherwise as a whole.
//! 9. A leg that lags by more than one update counts as one that failed: a crash leaves a lag of
//!    one.
//! 10. `sync` in the table: everything is dirty. `nosync`: a new mirror, and what was added to an
//!     old one, is clean.

use super::bitmap::{self, BitmapHead, MAX_CHUNKS};
use super::bytes::Image;
use super::raid_log::{LegLog, LegState, RaidLog};
use super::superblock::{NotOurs, Superblock};
use crate::io::SECTOR;
use crate::target::replica::{
    Assembly, Config, Form, Leg, LegFound, LogKind, LogRead, NoAssembly, Place, RegionSet, Start,
};

/// The form of a `raid raid1` table.
#[derive(Clone, Copy, Debug)]
pub struct RaidForm;

fn refused<T>(what: impl Into<String>) -> Result<T, NoAssembly> {
    Err(NoAssembly { what: what.into() })
}

impl Form for RaidForm {
    fn reads(&self, config: &Config) -> Vec<LogRead> {
        let len = bitmap::START + bitmap::bytes_needed(config);
        let meta = |n: usize| config.legs[n].devices.and_then(|d| d.meta);
        let with_meta = (0..config.legs.len()).filter(|n| meta(*n).is_some());
        with_meta
            .map(|n| LogRead {
                place: Place::Meta(n),
                offset: 0,
                len,
            })
            .collect()
    }

    fn assemble(&self, config: &Config, found: &[Option<Vec<u8>>]) -> Result<Assembly, NoAssembly> {
        if config.regions() > MAX_CHUNKS || u32::try_from(config.region_bytes()).is_err() {
            return refused(format!(
                "region size {} does not fit a bitmap for {} sectors",
                config.region, config.len
            ));
        }
        let legs = look(config, found)?;
        let fresh = match freshest(&legs) {
            Some(fresh) if fresh.events > 0 || !legs.iter().all(Seen::unused) => fresh,
            _ => return new_mirror(config, &legs),
        };
        check(fresh)?;
        let each = config.legs.iter().zip(&legs).enumerate();
        let states: Vec<_> = each
            .map(|(n, (leg, seen))| state(config, n, leg, fresh, seen))
            .collect();
        if !states.contains(&LegState::Whole) {
            return refused("no leg is in sync");
        }
        let dirty = dirty(config, fresh, &legs, &states);
        Ok(finish(config, fresh, &legs, states, dirty))
    }
}

/// What a leg's metadata device holds.
#[derive(Debug)]
enum Seen<'a> {
    /// It is not there, cannot be read, or is too small.
    Nothing,
    /// No superblock, or one that the table says is to be replaced.
    New(&'a [u8]),
    /// A superblock and what may be a bitmap.
    Ours(Superblock, &'a [u8]),
}

impl Seen<'_> {
    fn superblock(&self) -> Option<&Superblock> {
        match self {
            Self::Ours(sb, _) => Some(sb),
            Self::Nothing | Self::New(_) => None,
        }
    }

    /// The bytes from the bitmap's first on.
    fn bitmap(&self) -> Option<&[u8]> {
        match self {
            Self::Nothing => None,
            Self::New(bytes) | Self::Ours(_, bytes) => bytes.get(bitmap::START as usize..),
        }
    }

    /// What an up-to-date bitmap calls dirty.
    fn marked(&self, config: &Config, events: u64) -> Option<RegionSet> {
        self.superblock()?;
        let bytes = self.bitmap()?;
        let head = BitmapHead::decode(bytes).ok()?;
        head.current(events).then_some(())?;
        head.dirty(bytes, config)
    }

    fn head(&self) -> Option<BitmapHead> {
        BitmapHead::decode(self.bitmap()?).ok()
    }

    /// Has no mirror with this leg ever run?
    fn unused(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::New(_) => true,
            Self::Ours(sb, _) => sb.events == 0,
        }
    }

    /// Was the leg's first superblock about to be written when power was lost? Bitmaps have their
    /// event count before any superblock has, and nothing is written before all superblocks are.
    fn cut_at_first(&self, fresh: &Superblock) -> bool {
        let first = |head: BitmapHead| head.events == 1 && fresh.events == 1;
        matches!(self, Self::New(_)) && self.head().is_some_and(first)
    }
}

fn look<'a>(config: &Config, found: &'a [Option<Vec<u8>>]) -> Result<Vec<Seen<'a>>, NoAssembly> {
    let needed = bitmap::START + bitmap::bytes_needed(config);
    // A device may end before the last whole block.
    let least = bitmap::START + bitmap::HEAD + config.regions().div_ceil(8);
    let mut found = found.iter();
    let mut legs = Vec::with_capacity(config.legs.len());
    for (n, leg) in config.legs.iter().enumerate() {
        let has_meta = leg.devices.is_some_and(|d| d.meta.is_some());
        let bytes = has_meta.then(|| found.next()).flatten();
        let Some(bytes) = bytes.and_then(Option::as_ref) else {
            legs.push(Seen::Nothing);
            continue;
        };
        if (bytes.len() as u64) < least {
            return refused(format!(
                "the metadata device of leg {n} has {} bytes, but {least} are needed",
                bytes.len()
            ));
        }
        let bytes = &bytes[..bytes.len().min(needed as usize)];
        legs.push(match Superblock::decode(bytes) {
            Ok(sb) if !leg.rebuild => Seen::Ours(sb, bytes),
            Ok(_) | Err(NotOurs::New | NotOurs::Short) => Seen::New(bytes),
            Err(NotOurs::Features { compat, incompat }) => {
                return refused(format!(
                    "the superblock of leg {n} has features that are not known (compatible {compat:#x}, incompatible {incompat:#x})"
                ));
            }
        });
    }
    Ok(legs)
}

fn freshest<'s>(legs: &'s [Seen<'_>]) -> Option<&'s Superblock> {
    let all = legs.iter().filter_map(Seen::superblock);
    all.reduce(|best, sb| if sb.events > best.events { sb } else { best })
}

fn check(sb: &Superblock) -> Result<(), NoAssembly> {
    if sb.level != 1 || sb.new_level != sb.level {
        return refused(format!(
            "the superblocks are of a raid{}, not a raid1",
            sb.level
        ));
    }
    if sb.reshaping() || sb.delta_disks != 0 {
        return refused("a reshape is under way, which is not supported");
    }
    Ok(())
}

/// Of no leg with a superblock.
fn new_mirror(config: &Config, legs: &[Seen<'_>]) -> Result<Assembly, NoAssembly> {
    if !legs.iter().all(Seen::unused) {
        return refused("no leg that can be read has a superblock");
    }
    if config.legs.iter().all(|leg| leg.rebuild) {
        return refused("there is no leg to rebuild the others from");
    }
    let regions = config.regions();
    let filled = |seen: &Seen<'_>| {
        let sb = seen.superblock();
        sb.is_none_or(|sb| sb.disk_recovery_offset.is_none())
    };
    let state = |(leg, seen): (&Leg, &Seen<'_>)| match !leg.rebuild && filled(seen) {
        true => LegState::Whole,
        false => LegState::Filling(0),
    };
    let states: Vec<_> = config.legs.iter().zip(legs).map(state).collect();
    if !states.contains(&LegState::Whole) {
        return refused("no leg is in sync");
    }
    let dirty = match config.start {
        Start::NoSync => RegionSet::none(regions),
        Start::Marks | Start::Sync => RegionSet::all(regions),
    };
    let fresh = Superblock::new(0, config.legs.len() as u32, config.len);
    Ok(finish(config, &fresh, legs, states, dirty))
}

/// What becomes of leg `n` of a mirror that has run before.
fn state(config: &Config, n: usize, leg: &Leg, fresh: &Superblock, seen: &Seen<'_>) -> LegState {
    let sb = match seen {
        Seen::New(_) if leg.rebuild => return LegState::Filling(0),
        Seen::New(_) if seen.cut_at_first(fresh) && !fresh.failed.has(n) => {
            return LegState::Whole;
        }
        Seen::Ours(sb, _) if sb.level == fresh.level => sb,
        _ => return LegState::Gone,
    };
    let failed = named(config, n, fresh, sb);
    match sb.disk_recovery_offset {
        Some(offset) => LegState::Filling(offset.0.min(config.len.0) * SECTOR),
        None if failed || fresh.events - sb.events > 1 => LegState::Returning,
        None => LegState::Whole,
    }
}

/// Does the freshest superblock name leg `n` as failed? Superblocks count legs as the table did that
/// they were written with; a leg may have another place by now.
fn named(config: &Config, n: usize, fresh: &Superblock, sb: &Superblock) -> bool {
    let now = fresh.num_devices as usize == config.legs.len();
    fresh.failed.has(sb.array_position as usize) || (now && fresh.failed.has(n))
}

/// Where whole legs may differ.
fn dirty(config: &Config, fresh: &Superblock, legs: &[Seen<'_>], states: &[LegState]) -> RegionSet {
    let regions = config.regions();
    if config.start == Start::Sync {
        return RegionSet::all(regions);
    }
    let whole = legs
        .iter()
        .zip(states)
        .filter(|(_, s)| **s == LegState::Whole);
    let marks = whole.filter_map(|(seen, _)| seen.marked(config, fresh.events));
    let union = |mut all: RegionSet, more: RegionSet| {
        all.add_all(&more);
        all
    };
    let mut dirty = marks
        .reduce(union)
        .unwrap_or_else(|| RegionSet::all(regions));
    let before = fresh.array_sectors;
    if before != 0 && before < config.len.0 && config.start != Start::NoSync {
        (config.region_of(before * SECTOR)..regions).for_each(|r| {
            dirty.add(r);
        });
    }
    dirty
}

/// What a leg has to be given by the others. One that cannot be brought up to date by marks is
/// filled as a whole from here on.
fn missed(
    config: &Config,
    n: usize,
    fresh: &Superblock,
    cleared: u64,
    seen: &Seen<'_>,
    state: &mut LegState,
) -> RegionSet {
    let regions = config.regions();
    if *state == LegState::Whole || *state == LegState::Gone {
        return RegionSet::none(regions);
    }
    // What the leg has marked itself says nothing more: a mark is on all legs before the write.
    let by_marks = seen.superblock().is_some_and(|sb| {
        // Numbers of another table's legs cannot be compared with this one's.
        let same = sb.num_devices == fresh.num_devices;
        let apart = named(config, n, fresh, sb) && (!same || named_another(fresh, sb));
        sb.events >= cleared && !apart
    });
    if !by_marks {
        *state = LegState::Filling(0);
        return RegionSet::all(regions);
    }
    let mut missed = RegionSet::none(regions);
    if let LegState::Filling(from) = *state {
        (config.region_of(from)..regions).for_each(|r| {
            missed.add(r);
        });
    }
    missed
}

/// Does a superblock say that a leg has failed which the freshest does not? Then it was written while
/// that leg was away.
fn named_another(fresh: &Superblock, sb: &Superblock) -> bool {
    let own = sb.array_position as usize;
    let mut others = (0..Config::MAX_LEGS).filter(|leg| *leg != own);
    others.any(|leg| sb.failed.has(leg) && !fresh.failed.has(leg))
}

/// The mirror with its marks.
fn finish(
    config: &Config,
    fresh: &Superblock,
    legs: &[Seen<'_>],
    mut states: Vec<LegState>,
    dirty: RegionSet,
) -> Assembly {
    let heads = legs
        .iter()
        .zip(&states)
        .filter(|(_, s)| **s == LegState::Whole);
    let heads = heads.filter_map(|(seen, _)| Some((seen.superblock()?, seen.head()?, seen)));
    let current: Vec<_> = heads
        .filter(|(_, head, _)| head.current(fresh.events))
        .collect();
    let cleared = current.iter().map(|(_, head, _)| head.events_cleared).max();
    // Without a bitmap nobody can tell what was cleared.
    let cleared = cleared.unwrap_or(u64::MAX);
    let mut marked = dirty.clone();
    let mut found = Vec::with_capacity(legs.len());
    for (n, (seen, state)) in legs.iter().zip(&mut states).enumerate() {
        let mut missed = missed(config, n, fresh, cleared, seen, state);
        missed.add_all(&dirty);
        if matches!(state, LegState::Returning | LegState::Filling(_)) {
            marked.add_all(&missed);
        }
        found.push(match state {
            LegState::Whole => LegFound::Whole,
            LegState::Gone => LegFound::Absent,
            LegState::Returning | LegState::Filling(_) => LegFound::Stale(missed),
        });
    }
    // Those of bitmaps do not count: a cut between bitmaps and superblocks would make the next
    // superblocks skip a number, and a lag of two mean nothing.
    let events = fresh.events;
    let usable = current.iter().find(|(_, head, _)| {
        u64::from(head.chunk_bytes) == config.region_bytes() && head.events_cleared <= head.events
    });
    let (head, bytes) = match usable {
        Some((_, head, seen)) => (head.clone(), seen.bitmap().unwrap_or_default().to_vec()),
        None => {
            let len = bitmap::bytes_needed(config);
            (
                BitmapHead::new(config, write_behind(config)),
                vec![0; len as usize],
            )
        }
    };
    let head = BitmapHead {
        sync_size: config.len,
        state: 0,
        ..head
    };
    let mut image = Image::new(bytes);
    for region in 0..config.regions() {
        image.set_bit(bitmap::HEAD, region, marked.has(region));
    }
    let logs = legs.iter().zip(&states).map(|(seen, state)| LegLog {
        state: *state,
        to_write: match (state, seen.bitmap()) {
            (LegState::Gone, _) | (_, None) => RegionSet::none(image.blocks()),
            (_, Some(bytes)) => image.differing(bytes),
        },
        bitmap_events: 0,
    });
    let log = RaidLog::new(config, events, head, logs.collect(), image, marked.clone());
    Assembly {
        legs: found,
        dirty,
        marked,
        log: Box::new(log),
    }
}

/// The bitmap keeps half of the table's number.
fn write_behind(config: &Config) -> u32 {
    match config.log {
        LogKind::Raid(args) => u32::try_from(args.write_behind.unwrap_or(0) / 2).unwrap_or(0),
        _ => 0,
    }
}
