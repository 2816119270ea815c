//! ublk devices: made and removed by the supervisor, served by the worker, kept by the kernel while
//! there is no worker.
//!
//! The supervisor holds nothing of theirs open: the kernel takes a device for served as long as
//! anybody has its character device open. What must survive a worker is the kernel's; what the
//! supervisor knows is [`UblkNode`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};
use ulvm_engine::export::ublk::control::{all, seize};
use ulvm_engine::export::ublk::{Added, Control, End, Features, Limits, Place, Shape};

use super::nodes::LoopNode;
use super::order::UblkOrder;

/// What the marks of all our devices begin with: "ul". Then come the daemon (32 bits; none for a server
/// in the foreground) and the device (16 bits).
const MARK: u64 = 0x756c << 48;
/// The part that tells devices of a daemon apart.
const NONCE: u64 = 0xffff;
/// Queues that are counted: more than an engine has.
const QUEUES_MAX: usize = 512;

/// A ublk device of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UblkNode {
    /// The kernel's number of it. Others may have it once the device is gone.
    pub id: u32,
    /// What the kernel keeps with it: so it is known again.
    pub mark: u64,
    /// Its queues.
    pub queues: u16,
    /// Requests of each.
    pub depth: u16,
    /// It outlives its server.
    pub recovers: bool,
    /// Its block device, once it is there.
    pub node: Option<LoopNode>,
    /// How far it is.
    pub phase: Phase,
}

/// How far a ublk device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Made; its block device is not there yet.
    Made,
    /// A worker serves it.
    Serving,
    /// A worker takes it over.
    Taking,
    /// It is being removed, or is past saving.
    Ending,
}

/// What to do with a device whose worker has died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing: whoever makes or removes it goes on.
    Leave,
    /// A new worker takes it over.
    Recover,
    /// It cannot be saved: its requests fail, and it goes.
    GiveUp,
}

impl UblkNode {
    /// What to do when its worker has died.
    pub fn after_death(&self, half_begun: bool) -> Next {
        match self.phase {
            Phase::Made | Phase::Ending => Next::Leave,
            Phase::Serving if self.recovers => Next::Recover,
            Phase::Taking if self.recovers && half_begun => Next::Recover,
            // Kernels before 6.16 must not be asked: some queues may have begun and others not.
            Phase::Serving | Phase::Taking => Next::GiveUp,
        }
    }

    /// What the worker is told of it.
    pub fn order(&self, number: u32) -> UblkOrder {
        UblkOrder {
            number,
            id: self.id,
            queues: self.queues,
            depth: self.depth,
        }
    }

    fn added(&self) -> Added {
        Added {
            id: self.id,
            queues: self.queues,
            depth: self.depth,
            recovers: self.recovers,
        }
    }
}

impl UblkOrder {
    /// What the engine is told of it.
    pub fn place(&self) -> Place {
        Place {
            id: self.id,
            queues: self.queues,
            depth: self.depth,
        }
    }
}

/// Is there a driver whose devices survive a kill of their server?
pub fn usable() -> bool {
    control().is_ok_and(|control| control.features().recovers())
}

/// The control device.
pub fn control() -> Result<Control, String> {
    Control::open(Limits::default()).map_err(|e| e.to_string())
}

/// Makes a device of the daemon with that mark; its block device is not there yet.
pub fn make(
    control: &Control,
    queues: usize,
    shape: Shape,
    daemon: u64,
) -> Result<UblkNode, String> {
    let mark = daemon | nonce();
    let added = control.add(queues, shape, End::Waits, mark);
    let added = added.map_err(|e| e.to_string())?;
    Ok(UblkNode {
        id: added.id,
        mark,
        queues: added.queues,
        depth: added.depth,
        recovers: added.recovers,
        node: None,
        phase: Phase::Made,
    })
}

/// Shows a device's block device, once the worker `pid` serves it.
pub fn start(control: &Control, node: &UblkNode, pid: u32) -> Result<LoopNode, String> {
    let path = control.start(node.added(), pid);
    let path = path.map_err(|e| e.to_string())?;
    LoopNode::of(&path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Makes sure that nobody uses a device, for as long as the result is kept; none if there is nothing to use.
/// `ResourceBusy` if somebody does.
pub fn claim(node: &UblkNode) -> io::Result<Option<OwnedFd>> {
    let Some(block) = &node.node else {
        return Ok(None);
    };
    match seize(&block.path) {
        // An end that was begun and did not come to its end.
        Err(e) if node.phase == Phase::Ending && e.kind() != io::ErrorKind::ResourceBusy => {
            Ok(None)
        }
        seized => seized.map(Some),
    }
}

/// Is the device of this number still that one? Somebody may have removed it, and another one may have its
/// number.
pub fn is_there(control: &Control, node: &UblkNode) -> Result<bool, String> {
    let info = control.info(node.id).map_err(|e| e.to_string())?;
    Ok(info.is_some_and(|info| info.mark == node.mark))
}

/// Ends a device; requests that are under way fail. It keeps its number, so that nobody who knows it by
/// that meets another device.
pub fn end(control: &Control, node: &UblkNode) -> Result<(), String> {
    match is_there(control, node)? {
        true => control.stop(node.id).map_err(|e| e.to_string()),
        false => Ok(()),
    }
}

/// Removes a device that was ended. It is no error if it is gone.
pub fn remove(control: &Control, node: &UblkNode) -> Result<(), String> {
    match is_there(control, node)? {
        true => control.delete(node.id).map_err(|e| e.to_string()),
        false => Ok(()),
    }
}

/// The mark of the devices of a daemon.
pub fn mark(run_dir: &Path) -> u64 {
    // FNV-1a: the same for every version of the program.
    let bytes = run_dir.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    MARK | u64::from(hash) << NONCE.count_ones()
}

/// A number that another device with the same kernel's number hardly has.
fn nonce() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(std::process::id()) & NONCE
}

/// Is this the mark of one of our devices, whichever daemon's?
pub fn is_mark(mark: u64) -> bool {
    mark >> 48 == MARK >> 48
}

/// Removes what a dead daemon has left: devices with its mark.
pub fn clean(mark: u64) {
    let ids = all();
    if ids.is_empty() {
        return;
    }
    let Ok(control) = control() else {
        return;
    };
    for id in ids {
        if let Ok(Some(info)) = control.info(id)
            && info.mark & !NONCE == mark
        {
            // What does not end now is tried again by the next start.
            let _ = control.stop(id);
            let _ = control.delete(id);
        }
    }
}

/// The mark of devices of servers in the foreground.
pub const FOREGROUND: u64 = MARK;

/// Removes what servers in the foreground have left that were killed.
pub fn clean_stopped(control: &Control) {
    for id in all() {
        if let Ok(Some(info)) = control.info(id)
            && info.mark == FOREGROUND
            && info.stopped
        {
            // Another server may be about to do the same.
            let _ = control.delete(id);
        }
    }
}

/// Numbers of all devices that are LVs, whoever serves them.
pub fn shown() -> Vec<u32> {
    let ids = all();
    if ids.is_empty() {
        return ids;
    }
    let Ok(control) = control() else {
        return Vec::new();
    };
    let ours = |id: &u32| matches!(control.info(*id), Ok(Some(info)) if is_mark(info.mark));
    ids.into_iter().filter(ours).collect()
}

/// Can devices of this kernel change their size? To be asked before anything is changed.
pub fn may_resize() -> Result<(), String> {
    match control()?.features().resizes() {
        true => Ok(()),
        false => Err(
            "a ublk device keeps its size on this kernel (Linux 6.16 and later can change it): \
             deactivate the volume and activate it again"
                .into(),
        ),
    }
}

/// Gives a device a new size, in bytes.
pub fn resize(node: &UblkNode, size: u64) -> Result<(), String> {
    let control = control()?;
    match is_there(&control, node)? {
        true => control
            .update_size(node.id, size)
            .map_err(|e| e.to_string()),
        false => Err(format!("/dev/ublkb{} is somebody else's", node.id)),
    }
}

/// Requests that a worker has and has not answered, kept where they outlive it.
#[derive(Debug)]
pub struct InFlight(OwnedFd);

impl InFlight {
    /// None in flight.
    pub fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("ulvm-in-flight", flags)?;
        rustix::fs::ftruncate(&file, (QUEUES_MAX * size_of::<u64>()) as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self(file))
    }

    /// Of a worker that has lost its supervisor.
    pub fn taken_over(file: OwnedFd) -> Self {
        Self(file)
    }

    /// What the worker is given.
    pub fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes the number that a dead worker has left.
    pub fn take(&self) -> u64 {
        let mut bytes = vec![0; QUEUES_MAX * size_of::<u64>()];
        let Ok(read) = rustix::io::pread(&self.0, &mut bytes, 0) else {
            return 0;
        };
        let (counts, _) = bytes[..read].as_chunks::<8>();
        let total = counts.iter().map(|n| u64::from_ne_bytes(*n)).sum();
        // Memory: it cannot fail for want of space.
        let _ = rustix::io::pwrite(&self.0, &vec![0; read], 0);
        total
    }
}

/// Can a device be saved whose worker died while it took the device over?
pub fn half_begun(features: Features) -> bool {
    features.recovers_half_begun()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(phase: Phase, recovers: bool) -> UblkNode {
        UblkNode {
            id: 0,
            mark: MARK,
            queues: 2,
            depth: 64,
            recovers,
            node: None,
            phase,
        }
    }

    #[test]
    fn what_is_done_after_a_death() {
        let next = |phase, recovers, new| node(phase, recovers).after_death(new);
        assert_eq!(next(Phase::Serving, true, false), Next::Recover);
        assert_eq!(next(Phase::Serving, false, true), Next::GiveUp, "a user's");
        assert_eq!(next(Phase::Taking, true, false), Next::GiveUp);
        assert_eq!(next(Phase::Taking, true, true), Next::Recover);
        assert_eq!(next(Phase::Made, true, true), Next::Leave);
        assert_eq!(next(Phase::Ending, true, true), Next::Leave);
    }

    #[test]
    fn marks_tell_daemons_apart() {
        let (a, b) = (mark(Path::new("/run/ulvm")), mark(Path::new("/run/other")));
        assert!(a != b && is_mark(a) && is_mark(b) && !is_mark(0));
        assert_eq!(a, mark(Path::new("/run/ulvm")));
        assert!(
            a & NONCE == 0 && a != FOREGROUND,
            "room for the device's own part"
        );
        assert!(is_mark(a | NONCE) && (a | NONCE) & !NONCE == a);
    }

    #[test]
    fn what_was_in_flight_is_counted_once() {
        let counts = InFlight::new().expect("memory");
        rustix::io::pwrite(&counts.0, &3u64.to_ne_bytes(), 0).expect("written");
        rustix::io::pwrite(&counts.0, &4u64.to_ne_bytes(), 8).expect("written");
        assert_eq!((counts.take(), counts.take()), (7, 0));
    }
}
