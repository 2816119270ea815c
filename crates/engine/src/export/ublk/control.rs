//! The control device: making, starting, taking over and removing devices.
//!
//! Some commands wait for another process, or for requests that it has not answered; if that process
//! is gone they would wait for ever. So each has a limit, after which it is given up.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::params::{MAX_IO, Shape};
use super::server::Place;
use crate::error::Error;
use crate::sys::ublk::{self, ControlOp, DevInfo, Plain, bytes_of, from_bytes};

const CONTROL: &str = "/dev/ublk-control";
/// Requests of a queue that the kernel may hand over at a time.
pub const DEPTH: u16 = 64;

// Features.
const NEED_GET_DATA: u64 = 1 << 2;
const USER_RECOVERY: u64 = 1 << 3;
const USER_RECOVERY_REISSUE: u64 = 1 << 4;
const UNPRIVILEGED_DEV: u64 = 1 << 5;
const CMD_IOCTL_ENCODE: u64 = 1 << 6;
const UPDATE_SIZE: u64 = 1 << 10;
const PER_IO_DAEMON: u64 = 1 << 13;
const NO_AUTO_PART_SCAN: u64 = 1 << 18;

/// State of a device that has no block device (`UBLK_S_DEV_DEAD`).
const DEAD: u16 = 0;
/// State of a device that waits for another server (`UBLK_S_DEV_QUIESCED`).
const QUIESCED: u16 = 2;

/// How long commands may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Those that wait for nobody.
    pub plain: Duration,
    /// Those that wait for a server to begin, or for requests to end.
    pub waiting: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plain: Duration::from_secs(10),
            waiting: Duration::from_secs(60),
        }
    }
}

/// What the kernel's driver can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features(u64);

impl Features {
    /// What is needed at all.
    fn enough(self) -> bool {
        self.0 & (CMD_IOCTL_ENCODE | NEED_GET_DATA) == CMD_IOCTL_ENCODE | NEED_GET_DATA
    }
    /// Devices outlive their server, and requests that it had are given to the next.
    pub fn recovers(self) -> bool {
        let needed = USER_RECOVERY | USER_RECOVERY_REISSUE;
        self.0 & needed == needed
    }
    /// A device can change its size while it is in use (Linux 6.16).
    pub fn resizes(self) -> bool {
        self.0 & UPDATE_SIZE != 0
    }
    /// A device can be taken over from a server that died while it was taking the device over
    /// itself (Linux 6.16). Older kernels must not be asked: they do not get over it.
    pub fn recovers_half_begun(self) -> bool {
        self.0 & PER_IO_DAEMON != 0
    }
    /// What devices are made with.
    fn wanted(self, root: bool, end: End) -> u64 {
        let common = NEED_GET_DATA | CMD_IOCTL_ENCODE;
        let common = common | (self.0 & (NO_AUTO_PART_SCAN | UPDATE_SIZE));
        match (root, end) {
            (true, End::Waits) => common | (self.0 & (USER_RECOVERY | USER_RECOVERY_REISSUE)),
            (true, End::Fails) => common,
            // The kernel recovers devices of root only.
            (false, _) => common | UNPRIVILEGED_DEV,
        }
    }
}

/// What becomes of a device whose server dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It waits for another server, where the kernel can do that (root, [`Features::recovers`]).
    Waits,
    /// It ends, and all its requests fail.
    Fails,
}

/// A device that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Added {
    /// Its number: `/dev/ublkcN`, `/dev/ublkbN`.
    pub id: u32,
    /// Its queues: no more than were asked for.
    pub queues: u16,
    /// Requests of each queue.
    pub depth: u16,
    /// It outlives its server.
    pub recovers: bool,
}

impl Added {
    /// What its servers have to know.
    pub fn place(&self) -> Place {
        Place {
            id: self.id,
            queues: self.queues,
            depth: self.depth,
        }
    }
}

/// State of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// It waits for another server.
    pub quiesced: bool,
    /// It has been stopped, by somebody or since its server has died. (One that was not started yet is
    /// not meant.)
    pub stopped: bool,
    /// What it was made with: see [`Control::add`].
    pub mark: u64,
    /// Process that serves it, or did.
    pub server_pid: i32,
}

/// The control device.
#[derive(Debug)]
pub struct Control {
    device: OwnedFd,
    features: Features,
    root: bool,
    limits: Limits,
}

/// The character device of a number, which is for its server alone.
pub fn char_path(id: u32) -> PathBuf {
    PathBuf::from(format!("/dev/ublkc{id}"))
}

/// The block device of a number.
pub fn block_path(id: u32) -> PathBuf {
    PathBuf::from(format!("/dev/ublkb{id}"))
}

impl Control {
    /// Fails where the kernel has no ublk driver, or one that is too old, or refuses it.
    pub fn open(limits: Limits) -> Result<Self, Error> {
        let path = Path::new(CONTROL);
        let failed = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let device = OpenOptions::new().read(true).write(true).open(path);
        let device: OwnedFd = device.map_err(failed)?.into();
        let command = ublk::Control {
            op: ControlOp::Features,
            id: u32::MAX,
            data: 0,
            payload: vec![0; size_of::<u64>()],
            path_len: 0,
        };
        let answer = ublk::control(device.as_fd(), command, limits.plain);
        let features = answer.map(|bytes| from_bytes(&bytes).map_or(Features(0), Features));
        let features = features.map_err(|e| failed(e.into()))?;
        if !features.enough() {
            return Err(failed(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel's ublk driver is too old",
            )));
        }
        Ok(Self {
            device,
            features,
            root: rustix::process::geteuid().is_root(),
            limits,
        })
    }

    /// What the driver can do.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Makes a device, with the first free number and up to so many queues. `mark` is kept with it,
    /// to know it again. Its character device is there, and the block device is not yet.
    pub fn add(&self, queues: usize, shape: Shape, end: End, mark: u64) -> Result<Added, Error> {
        let params = shape.params().ok_or_else(|| Error::Os {
            what: "a ublk device",
            source: io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{} bytes in blocks of {} cannot be one",
                    shape.size, shape.logical_block
                ),
            ),
        })?;
        let wanted = DevInfo {
            queues: u16::try_from(queues).unwrap_or(u16::MAX),
            depth: DEPTH,
            max_io_bytes: MAX_IO,
            id: u32::MAX,
            flags: self.features.wanted(self.root, end),
            mark,
            ..DevInfo::default()
        };
        let what = "making a ublk device";
        let info: DevInfo = self.fill(ControlOp::AddDev, u32::MAX, wanted, what)?;
        let added = Added {
            id: info.id,
            queues: info.queues,
            depth: info.depth,
            recovers: info.flags & USER_RECOVERY_REISSUE != 0,
        };
        let ready = self.char_node(added.id).and_then(|()| {
            let what = "setting up a ublk device";
            self.fill(ControlOp::SetParams, added.id, params, what)
        });
        if let Err(error) = ready {
            // What went wrong first is told.
            let _ = self.delete(added.id);
            return Err(error);
        }
        Ok(added)
    }

    /// Waits for the character device, and for leave to use it; where nobody makes nodes it is made.
    fn char_node(&self, id: u32) -> Result<(), Error> {
        let path = char_path(id);
        let number = PathBuf::from(format!("/sys/class/ublk-char/ublkc{id}/dev"));
        let kind = rustix::fs::FileType::CharacterDevice;
        node(&path, kind, &number, self.limits.plain).map_err(|source| Error::Open { path, source })
    }

    /// Shows the block device, once the process `pid` serves all of its queues.
    pub fn start(&self, added: Added, pid: u32) -> Result<PathBuf, Error> {
        let what = "starting a ublk device";
        self.plain(ControlOp::StartDev, added.id, pid.into(), what)?;
        let path = block_path(added.id);
        let number = PathBuf::from(format!("/sys/class/block/ublkb{}/dev", added.id));
        let kind = rustix::fs::FileType::BlockDevice;
        let there = node(&path, kind, &number, self.limits.plain);
        leave_one_free(added);
        match there {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Open { path, source }),
        }
    }

    /// Ends a device; requests that come now fail. Its server is told so, and lets go of it. Done if
    /// there is none of this number.
    pub fn stop(&self, id: u32) -> Result<(), Error> {
        self.until_gone(ControlOp::StopDev, id, "stopping a ublk device")
    }

    /// Removes a device. Waits until its server has let go of it. Done if there is none of this number.
    pub fn delete(&self, id: u32) -> Result<(), Error> {
        self.until_gone(ControlOp::DelDev, id, "removing a ublk device")
    }

    fn until_gone(&self, op: ControlOp, id: u32, what: &'static str) -> Result<(), Error> {
        match self.raw(op, id, 0, &[], self.limits.waiting) {
            Ok(_) | Err(Errno::NODEV) => Ok(()),
            Err(e) => Err(os(what)(e)),
        }
    }

    /// Makes a device ready for another server, once the kernel has seen that the old one is gone.
    pub fn start_recovery(&self, id: u32) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let done = self.raw(ControlOp::StartRecovery, id, 0, &[], self.limits.plain);
            match done {
                // It takes its requests back from the dead one.
                Err(Errno::BUSY) if began.elapsed() < self.limits.waiting => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return other.map(drop).map_err(os("taking a ublk device over")),
            }
        }
    }

    /// Lets requests through, once the process `pid` serves all queues. Waits for that only so long:
    /// false if it has not come to that, and then it can be asked again.
    pub fn end_recovery_within(&self, id: u32, pid: u32, limit: Duration) -> Result<bool, Error> {
        match self.raw(ControlOp::EndRecovery, id, pid.into(), &[], limit) {
            Ok(_) => Ok(true),
            Err(Errno::TIMEDOUT) => Ok(false),
            Err(e) => Err(os("taking a ublk device over")(e)),
        }
    }

    /// Changes the size, in bytes.
    pub fn update_size(&self, id: u32, size: u64) -> Result<(), Error> {
        let what = "changing the size of a ublk device";
        self.plain(ControlOp::UpdateSize, id, size / 512, what)
    }

    /// How it is with a device; none if there is none of this number.
    pub fn info(&self, id: u32) -> Result<Option<Info>, Error> {
        let what = "looking at a ublk device";
        let blank = DevInfo::default();
        let payload = self.raw(
            ControlOp::DevInfo,
            id,
            0,
            bytes_of(&blank),
            self.limits.plain,
        );
        let (bytes, path_len) = match payload {
            Err(Errno::NODEV) => return Ok(None),
            other => other.map_err(os(what))?,
        };
        let info = bytes.get(path_len..).and_then(from_bytes::<DevInfo>);
        Ok(info.map(|info| Info {
            quiesced: info.state == QUIESCED,
            // Only stopping makes the process number this.
            stopped: info.state == DEAD && info.server_pid == -1,
            mark: info.mark,
            server_pid: info.server_pid,
        }))
    }

    fn plain(&self, op: ControlOp, id: u32, data: u64, what: &'static str) -> Result<(), Error> {
        let done = self.raw(op, id, data, &[], self.limits.waiting);
        done.map(drop).map_err(os(what))
    }

    /// A command with a struct that the driver reads, and may fill.
    fn fill<T: Plain>(
        &self,
        op: ControlOp,
        id: u32,
        value: T,
        what: &'static str,
    ) -> Result<T, Error> {
        let done = self.raw(op, id, 0, bytes_of(&value), self.limits.plain);
        let (bytes, path_len) = done.map_err(os(what))?;
        let filled = bytes.get(path_len..).and_then(from_bytes);
        filled.ok_or_else(|| os(what)(Errno::IO))
    }

    /// The payload as it is afterwards, and how much of it is a path.
    fn raw(
        &self,
        op: ControlOp,
        id: u32,
        data: u64,
        value: &[u8],
        limit: Duration,
    ) -> Result<(Vec<u8>, usize), Errno> {
        let mut payload = Vec::new();
        if !self.root && id != u32::MAX || op == ControlOp::DevInfo {
            payload.extend_from_slice(char_path(id).as_os_str().as_encoded_bytes());
            // Fields that follow are aligned.
            payload.resize(payload.len().next_multiple_of(8).max(16), 0);
        }
        let path_len = payload.len();
        payload.extend_from_slice(value);
        let command = ublk::Control {
            op,
            id,
            data,
            payload,
            path_len: path_len as u16,
        };
        let answer = ublk::control(self.device.as_fd(), command, limit)?;
        Ok((answer, path_len))
    }
}

/// Opens a device's character device, to serve it.
pub(super) fn open_char(id: u32) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(char_path(id))?;
    Ok(file.into())
}

/// Keeps one place of each queue free: while the driver has a command of a queue to end, it learns
/// at once that the server has died. Where all places have requests it learns from a timer, half a
/// minute later. A device without these files, or an old value, works as well.
fn leave_one_free(added: Added) {
    let queue = PathBuf::from(format!("/sys/block/ublkb{}/queue", added.id));
    let _ = std::fs::write(queue.join("scheduler"), "none");
    let requests = added.depth.saturating_sub(1).to_string();
    let _ = std::fs::write(queue.join("nr_requests"), requests);
}

/// Waits until a node is there and may be used. Where the number is known and the node is still not
/// there, it is made.
fn node(path: &Path, kind: rustix::fs::FileType, number: &Path, limit: Duration) -> io::Result<()> {
    let began = Instant::now();
    // Who makes nodes does so in the first moment.
    let moment = Duration::from_millis(200);
    loop {
        let access = rustix::fs::Access::READ_OK;
        match rustix::fs::access(path, access) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) if began.elapsed() > moment => make_node(path, kind, number)?,
            Err(Errno::NOENT | Errno::ACCESS) if began.elapsed() < limit => {}
            Err(e) => return Err(e.into()),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn make_node(path: &Path, kind: rustix::fs::FileType, number: &Path) -> io::Result<()> {
    let text = std::fs::read_to_string(number)?;
    let parts = text.trim().split_once(':');
    let parts = parts.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (major, minor) = parts.ok_or(io::ErrorKind::InvalidData)?;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let device = rustix::fs::makedev(major, minor);
    match rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Makes sure that nobody uses a block device: opens it so that nobody else can mount it, and writes
/// back what its page cache holds. To be kept open until it is stopped.
pub fn seize(block: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(block)?;
    file.sync_all()?;
    Ok(file.into())
}

fn os(what: &'static str) -> impl Fn(Errno) -> Error {
    move |e| Error::Os {
        what,
        source: e.into(),
    }
}

/// Numbers of all devices there are.
pub fn all() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/sys/class/ublk-char") else {
        return Vec::new();
    };
    let number = |name: &str| name.strip_prefix("ublkc")?.parse().ok();
    let entries = entries.flatten();
    entries
        .filter_map(|e| number(&e.file_name().to_string_lossy()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_driver_has_is_asked_for() {
        let old = Features(NEED_GET_DATA | CMD_IOCTL_ENCODE);
        assert!(old.enough() && !old.recovers() && !old.resizes());
        assert_eq!(
            old.wanted(true, End::Waits),
            NEED_GET_DATA | CMD_IOCTL_ENCODE
        );
        assert!(!Features(NEED_GET_DATA | USER_RECOVERY).enough());
        // Linux 6.12.
        let new = Features(0x3ff);
        assert!(new.recovers() && !new.resizes() && !new.recovers_half_begun());
        assert_eq!(new.wanted(true, End::Waits) & UNPRIVILEGED_DEV, 0);
        let recovery = USER_RECOVERY | USER_RECOVERY_REISSUE;
        assert_eq!(new.wanted(true, End::Waits) & recovery, recovery);
        assert_eq!(new.wanted(true, End::Fails) & recovery, 0);
        let user = new.wanted(false, End::Waits);
        assert_eq!(user & recovery, 0, "the kernel refuses it");
        assert_eq!(user & UNPRIVILEGED_DEV, UNPRIVILEGED_DEV);
    }

    #[test]
    fn a_machine_without_the_driver_is_told_so() {
        if Path::new(CONTROL).exists() {
            return;
        }
        let error = Control::open(Limits::default()).expect_err("no driver");
        assert!(error.to_string().contains(CONTROL), "{error}");
    }
}
