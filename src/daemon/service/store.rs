//! The descriptors that the service manager keeps, so that supervisor and worker may both die: the
//! same that a worker hands to a new supervisor, and a memory file that says what they are.
//!
//! What must hold: a memory file is whole before it is handed over, and whatever it speaks of is
//! handed over before it. So a death at any moment leaves one state that can be gone on from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::{HandedIn, Notify};
use crate::daemon::holdings::Holding;
use crate::daemon::hub::{Fence, FolderHeld, State};
use crate::daemon::nbd::NbdHeld;
use crate::daemon::order::{BackingOrder, DeviceNote, DeviceOrder, FolderOrder, NbdOrder};
use crate::daemon::takeover;

/// All names begin so.
const STATE: &str = "ulvm-state-";
const FENCE: &str = "ulvm-fence-";
const FUSE: &str = "ulvm-fuse-";
const BACKING: &str = "ulvm-backing-";
const NBD: &str = "ulvm-nbd-";
/// Largest state that is read.
const STATE_MAX: u64 = 256 << 20;

/// What the descriptors are.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    holdings: Vec<(BackingOrder, usize)>,
    folder: Option<(FolderOrder, usize)>,
    nbd: Option<NbdOrder>,
    devices: Vec<(DeviceOrder, DeviceNote)>,
}

/// What a daemon that has died with its worker has left with the service manager.
#[derive(Debug, Default)]
pub struct Restored {
    /// What a worker is made from; none if there are no devices, or it is of no use.
    pub state: Option<State>,
    /// Of workers whose I/O may still be under way, whatever became of the state.
    pub fences: Vec<Fence>,
    /// Why the state is of no use.
    pub trouble: Option<String>,
}

/// The service manager's store.
///
/// What must hold: no state is in it that can be gone on from without a proof that the I/O of all
/// workers since has ended. Where the manager does not take a fence, or a state that is newer, those
/// that it has are made void, which takes no message: the memory is shared.
#[derive(Debug)]
pub struct Store {
    notify: Arc<Notify>,
    last: Mutex<u128>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Names of everything in the store.
    names: BTreeSet<String>,
    /// Fences that are not proven. With a copy of those that the manager has not taken yet.
    fences: BTreeMap<u128, Option<OwnedFd>>,
    /// States in the store that were written by this process.
    states: BTreeMap<String, File>,
    /// The newest state that was to be saved.
    newest: u128,
    /// The manager has not taken something.
    behind: bool,
}

impl Kept {
    /// Makes all states of no use. Fails if there is one that another process has written.
    fn make_void(&mut self) -> io::Result<()> {
        self.behind = true;
        let states = self.names.iter().filter(|n| n.starts_with(STATE));
        let all = states
            .map(|name| self.states.get(name).map(|file| file.set_len(0)))
            .collect::<Vec<_>>();
        all.into_iter().try_for_each(|done| {
            done.unwrap_or_else(|| Err(io::Error::other("a state of another process is kept")))
        })
    }
}

/// A state as it was at a moment.
#[derive(Debug)]
pub struct Snapshot {
    fds: BTreeMap<String, OwnedFd>,
    file: File,
    number: u128,
}

impl Store {
    /// `names` are in it already.
    pub fn new(notify: Arc<Notify>, names: Vec<String>) -> Self {
        // A fence that is given to the store again stays there under the name that it has.
        let fences = names.iter().filter_map(|n| numbered(n, FENCE));
        let kept = Kept {
            fences: fences.map(|number| (number, None)).collect(),
            names: names.into_iter().collect(),
            ..Kept::default()
        };
        Self {
            notify,
            last: Mutex::new(0),
            kept: Mutex::new(kept),
        }
    }

    /// A number that no daemon before this one has used. Nobody waits for a message here.
    fn number(&self) -> u128 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = now.unwrap_or_default().as_micros().max(*last + 1);
        *last
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of all that is in it.
    pub fn names(&self) -> Vec<String> {
        self.kept().names.iter().cloned().collect()
    }

    /// Is there something that the manager has not taken? Then a death of both processes is not
    /// survived until a state is saved.
    pub fn behind(&self) -> bool {
        self.kept().behind
    }

    /// Keeps the read end of a fence until it is proven; gives its number. If the manager does not take
    /// it, that is made good by the next save, and there is no state until then.
    pub fn fence(&self, fd: BorrowedFd<'_>) -> io::Result<u128> {
        let mut kept = self.kept();
        let number = self.number();
        let name = format!("{FENCE}{number}");
        // One that has just not answered is not waited for again: consumers wait for this.
        let taken = !kept.behind && self.notify.store(&name, fd).is_ok();
        let owed = match taken {
            true => {
                kept.names.insert(name);
                None
            }
            false => {
                let owed = fd.try_clone_to_owned()?;
                kept.make_void()?;
                Some(owed)
            }
        };
        kept.fences.insert(number, owed);
        Ok(number)
    }

    /// All fences but one are proven.
    pub fn proven_but(&self, current: Option<u128>) {
        let mut kept = self.kept();
        let proven: Vec<u128> = kept.fences.keys().copied().collect();
        for number in proven.into_iter().filter(|n| Some(*n) != current) {
            // What stays in the store is proven at once by whoever finds it.
            kept.fences.remove(&number);
            let name = format!("{FENCE}{number}");
            if kept.names.contains(&name) && !kept.behind && self.notify.forget(&name).is_ok() {
                kept.names.remove(&name);
            }
        }
    }

    /// A state as it is now, to be saved when nobody waits for it.
    pub fn snapshot(&self, state: &State) -> io::Result<Snapshot> {
        let copy = |(name, fd): (String, BorrowedFd<'_>)| Ok((name, fd.try_clone_to_owned()?));
        let fds = descriptors(state).into_iter().map(copy);
        Ok(Snapshot {
            fds: fds.collect::<io::Result<_>>()?,
            file: written(state)?,
            number: self.number(),
        })
    }

    /// Keeps a state, unless a newer one is kept, and nothing else. If that fails there is none.
    pub fn save(&self, snapshot: Snapshot) -> io::Result<()> {
        let mut kept = self.kept();
        if kept.newest > snapshot.number {
            return Ok(());
        }
        kept.newest = snapshot.number;
        let saved = self.replace(&mut kept, snapshot);
        match &saved {
            Ok(()) => kept.behind = false,
            // What is older than the devices must not be gone on from.
            Err(_) => kept.make_void()?,
        }
        saved
    }

    fn replace(&self, kept: &mut Kept, snapshot: Snapshot) -> io::Result<()> {
        let Kept { fences, names, .. } = &mut *kept;
        for (number, owed) in fences {
            if let Some(fd) = owed {
                let name = format!("{FENCE}{number}");
                self.notify.store(&name, fd.as_fd())?;
                names.insert(name);
                *owed = None;
            }
        }
        for (name, fd) in &snapshot.fds {
            if !kept.names.contains(name) {
                self.notify.store(name, fd.as_fd())?;
                kept.names.insert(name.clone());
            }
        }
        let name = format!("{STATE}{}", snapshot.number);
        self.notify.store(&name, snapshot.file.as_fd())?;
        kept.names.insert(name.clone());
        kept.states.insert(name.clone(), snapshot.file);
        let fence = |n: &String| numbered(n, FENCE).is_some_and(|n| kept.fences.contains_key(&n));
        let wanted = |n: &String| *n == name || snapshot.fds.contains_key(n) || fence(n);
        let gone: Vec<String> = kept.names.iter().filter(|n| !wanted(n)).cloned().collect();
        for name in gone {
            self.notify.forget(&name)?;
            kept.names.remove(&name);
            kept.states.remove(&name);
        }
        Ok(())
    }

    /// Keeps nothing any more.
    pub fn clear(&self) {
        let mut kept = self.kept();
        for name in std::mem::take(&mut kept.names) {
            // The manager closes all of them when the service has ended.
            let _ = self.notify.forget(&name);
        }
    }
}

/// The number in a name that begins so.
fn numbered(name: &str, prefix: &str) -> Option<u128> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Everything that has a descriptor, by the name it is kept under.
fn descriptors(state: &State) -> BTreeMap<String, BorrowedFd<'_>> {
    let mut fds = BTreeMap::new();
    for (id, holding) in &state.holdings {
        for (n, fd) in holding.descriptors().into_iter().enumerate() {
            fds.insert(format!("{BACKING}{id}-{n}"), fd);
        }
    }
    let folder = state.folder.iter().flat_map(|f| f.descriptors());
    for (n, fd) in folder.enumerate() {
        fds.insert(format!("{FUSE}{n}"), fd);
    }
    let nbd = state.nbd.iter().flat_map(|n| n.descriptors());
    for (n, fd) in nbd.enumerate() {
        fds.insert(format!("{NBD}{n}"), fd);
    }
    fds
}

/// A memory file of what the descriptors are.
fn written(state: &State) -> io::Result<File> {
    let holdings = state.holdings.values();
    let folder = state.folder.as_ref();
    let written = Written {
        holdings: holdings
            .map(|h| (h.order.clone(), h.descriptors().len()))
            .collect(),
        folder: folder.map(|f| (f.order(), f.descriptors().len())),
        nbd: state.nbd.as_ref().map(|n| n.order()),
        devices: state
            .devices
            .values()
            .map(|e| (e.order.clone(), e.note()))
            .collect(),
    };
    let file = rustix::fs::memfd_create("ulvm-state", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(&serde_json::to_vec(&written)?)?;
    Ok(file)
}

impl Restored {
    /// Of what the service manager has handed in.
    pub fn take(fds: &mut HandedIn) -> Self {
        let states = fds.all(STATE).into_iter();
        let newest = states.max_by_key(|(name, _)| numbered(name, STATE));
        let fences = fds.all(FENCE).into_iter();
        let fences = fences.map(|(name, fd)| match numbered(&name, FENCE) {
            Some(number) => Fence::stored(fd, number),
            // Nobody but us gives names.
            None => Fence::stored(fd, 0),
        });
        let mut restored = Self {
            fences: fences.collect(),
            ..Self::default()
        };
        if let Some((_, file)) = newest {
            match state(fds, file.into()) {
                Ok(state) => restored.state = state,
                Err(why) => restored.trouble = Some(why),
            }
        }
        restored
    }
}

/// The state of a file; none if there are no devices in it.
fn state(fds: &mut HandedIn, file: File) -> Result<Option<State>, String> {
    let written: Written = read(file).map_err(|e| e.to_string())?;
    if written.devices.is_empty() {
        return Ok(None);
    }
    let mut state = State::default();
    for (order, count) in written.holdings {
        let id = order.id;
        let own = several(fds, &format!("{BACKING}{id}-"), count)?;
        state.holdings.insert(id, Holding::adopt(order, own)?);
        state.next_holding = state.next_holding.max(id);
    }
    if let Some((order, count)) = written.folder {
        let own = several(fds, FUSE, count)?;
        state.folder = Some(Arc::new(FolderHeld::taken_over(order, own)?));
    }
    if let Some(order) = written.nbd {
        let own = several(fds, NBD, order.addresses.len())?;
        state.nbd = Some(Arc::new(NbdHeld::taken_over(order, own)?));
    }
    takeover::enter(&mut state, written.devices)?;
    Ok(Some(state))
}

fn several(fds: &mut HandedIn, prefix: &str, count: usize) -> Result<Vec<OwnedFd>, String> {
    let one = |n| {
        let name = format!("{prefix}{n}");
        fds.one(&name)
            .ok_or_else(|| format!("{name}: not handed in"))
    };
    (0..count).map(one).collect()
}

fn read(mut file: File) -> io::Result<Written> {
    file.rewind()?;
    let mut text = Vec::new();
    file.take(STATE_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
