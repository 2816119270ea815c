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
use crate::daemon::hub::{FolderHeld, State};
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

/// A daemon without processes.
#[derive(Debug)]
pub struct Restored {
    /// What a worker is made from.
    pub state: State,
    /// Of workers whose I/O may still be under way.
    pub fences: Vec<OwnedFd>,
}

/// The service manager's store.
#[derive(Debug)]
pub struct Store {
    notify: Arc<Notify>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Names of everything in the store.
    names: BTreeSet<String>,
    /// Those of fences that are not proven.
    fences: BTreeSet<String>,
    last: u128,
}

impl Kept {
    /// A number that no daemon before this one has used.
    fn number(&mut self) -> u128 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last = now.unwrap_or_default().as_micros().max(self.last + 1);
        self.last
    }
}

impl Store {
    /// `names` are in it already.
    pub fn new(notify: Arc<Notify>, names: Vec<String>) -> Self {
        // A fence that is given to the store again stays there under the name that it has.
        let fences = names.iter().filter(|n| n.starts_with(FENCE)).cloned();
        let kept = Kept {
            fences: fences.collect(),
            names: names.into_iter().collect(),
            last: 0,
        };
        Self {
            notify,
            kept: Mutex::new(kept),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of all that is in it.
    pub fn names(&self) -> Vec<String> {
        self.kept().names.iter().cloned().collect()
    }

    /// Keeps the read end of a fence until it is proven; gives its name.
    pub fn fence(&self, fd: BorrowedFd<'_>) -> io::Result<String> {
        let mut kept = self.kept();
        let name = format!("{FENCE}{}", kept.number());
        self.notify.store(&name, fd)?;
        kept.names.insert(name.clone());
        kept.fences.insert(name.clone());
        Ok(name)
    }

    /// All fences but one are proven.
    pub fn proven_but(&self, name: &str) {
        let mut kept = self.kept();
        let others: Vec<String> = kept.fences.iter().filter(|n| *n != name).cloned().collect();
        for name in others {
            // What stays in the store is proven at once by whoever finds it.
            kept.fences.remove(&name);
            if self.notify.forget(&name).is_ok() {
                kept.names.remove(&name);
            }
        }
    }

    /// Keeps a state, and nothing else.
    pub fn save(&self, state: &State) -> io::Result<()> {
        let mut kept = self.kept();
        let fds = descriptors(state);
        for (name, fd) in &fds {
            if !kept.names.contains(name) {
                self.notify.store(name, *fd)?;
                kept.names.insert(name.clone());
            }
        }
        let name = format!("{STATE}{}", kept.number());
        self.notify.store(&name, written(state)?.as_fd())?;
        kept.names.insert(name.clone());
        let wanted = |n: &String| *n == name || fds.contains_key(n) || kept.fences.contains(n);
        let gone: Vec<String> = kept.names.iter().filter(|n| !wanted(n)).cloned().collect();
        for name in gone {
            self.notify.forget(&name)?;
            kept.names.remove(&name);
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
    /// Of what the service manager has handed in; none if it kept no state with devices.
    pub fn take(fds: &mut HandedIn) -> Result<Option<Self>, String> {
        let number = |name: &str| name.strip_prefix(STATE)?.parse::<u128>().ok();
        let states = fds.all(STATE).into_iter();
        let newest = states.max_by_key(|(name, _)| number(name));
        let fences = fds.all(FENCE).into_iter().map(|(_, fd)| fd).collect();
        let Some((_, file)) = newest else {
            return Ok(None);
        };
        let written: Written = read(file.into()).map_err(|e| e.to_string())?;
        if written.devices.is_empty() {
            return Ok(None);
        }
        let mut state = State::default();
        for (order, count) in written.holdings {
            let id = order.id;
            let own = numbered(fds, &format!("{BACKING}{id}-"), count)?;
            state.holdings.insert(id, Holding::adopt(order, own)?);
            state.next_holding = state.next_holding.max(id);
        }
        if let Some((order, count)) = written.folder {
            let own = numbered(fds, FUSE, count)?;
            state.folder = Some(Arc::new(FolderHeld::taken_over(order, own)?));
        }
        if let Some(order) = written.nbd {
            let own = numbered(fds, NBD, order.addresses.len())?;
            state.nbd = Some(Arc::new(NbdHeld::taken_over(order, own)?));
        }
        takeover::enter(&mut state, written.devices)?;
        Ok(Some(Self { state, fences }))
    }
}

fn numbered(fds: &mut HandedIn, prefix: &str, count: usize) -> Result<Vec<OwnedFd>, String> {
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
