//! Mounting: by the kernel's own call as root, else through `fusermount3`.

use std::fs::OpenOptions;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::folder::Negotiated;
use crate::error::Error;

/// A mounted folder. Unmounted when dropped; files still open are cut off then.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    fd: OwnedFd,
    by_helper: bool,
    mounted: bool,
}

impl Mounted {
    /// Mounts on a folder. Others than its owner see nothing of it, unless `others` is set (as
    /// root, or with `user_allow_other` in fuse.conf).
    pub fn new(dir: &Path, others: bool) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: dir.to_owned(),
            source,
        };
        let dir = dir.canonicalize().map_err(failed)?;
        let (fd, by_helper) = if rustix::process::geteuid().is_root() {
            (mount_as_root(&dir, others).map_err(failed)?, false)
        } else {
            (mount_by_helper(&dir, others).map_err(failed)?, true)
        };
        let mounted = Self {
            dir: dir.clone(),
            fd,
            by_helper,
            mounted: true,
        };
        rustix::io::ioctl_fionbio(&mounted.fd, true).map_err(|e| failed(e.into()))?;
        Ok(mounted)
    }

    /// Where.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A further descriptor of the same connection, so that several queues can serve it without
    /// sharing a queue of requests under way.
    pub fn clone_fd(&self) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Open {
            path: "/dev/fuse".into(),
            source,
        };
        let fresh = open_dev_fuse().map_err(failed)?;
        crate::sys::fuse::clone_connection(&fresh, &self.fd).map_err(|e| failed(e.into()))?;
        rustix::io::ioctl_fionbio(&fresh, true).map_err(|e| failed(e.into()))?;
        Ok(fresh)
    }

    /// The connection's first descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Was it mounted by `fusermount3`?
    pub fn by_helper(&self) -> bool {
        self.by_helper
    }

    /// Of a folder that is mounted, and whose first descriptor another process had.
    pub fn taken_over(dir: PathBuf, fd: OwnedFd, by_helper: bool) -> Self {
        Self {
            dir,
            fd,
            by_helper,
            mounted: true,
        }
    }

    /// Answers the kernel's first request, so that the connection can be served by processes that
    /// come and go. To be called before anybody serves it.
    pub fn handshake(&self, patience: Duration) -> Result<Negotiated, Error> {
        handshake(&self.fd, patience).map_err(|source| Error::Open {
            path: self.dir.clone(),
            source,
        })
    }

    /// Unmounts. Unless `lazy`, it fails while files are open.
    pub fn unmount(&mut self, lazy: bool) -> Result<(), Error> {
        if !self.mounted {
            return Ok(());
        }
        let failed = |source| Error::Open {
            path: self.dir.clone(),
            source,
        };
        if self.by_helper {
            unmount_by_helper(&self.dir, lazy).map_err(failed)?;
        } else {
            let flags = if lazy {
                UnmountFlags::DETACH
            } else {
                UnmountFlags::empty()
            };
            match rustix::mount::unmount(&self.dir, flags) {
                // Somebody else has unmounted it.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(failed(e.into())),
            }
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What cannot be unmounted is cut off all the same when the last descriptor closes.
        let _ = self.unmount(true);
    }
}

/// Asks the kernel to send every request again that was read by somebody and not answered. Only
/// for kernels that know this ([`Negotiated::resends`]), and only when all I/O of whoever read
/// them has ended.
pub fn resend(fd: BorrowedFd<'_>) -> Result<(), Error> {
    let done = rustix::io::retry_on_intr(|| {
        rustix::io::write(fd, &super::wire::Reply::notify_resend().finish(0))
    });
    done.map(drop).map_err(|e| Error::Os {
        what: "the kernel does not send requests again",
        source: e.into(),
    })
}

fn handshake(fd: &OwnedFd, patience: Duration) -> io::Result<Negotiated> {
    use super::wire::{Reply, op, split};
    let mut request = vec![0; 1 << 17];
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = rustix::time::Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&wait)))?;
        let len = match rustix::io::read(fd, &mut request) {
            Ok(len) => len,
            Err(Errno::AGAIN | Errno::INTR) if !left.is_zero() => continue,
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) => return Err(e.into()),
        };
        let Some((header, body)) = split(&request[..len]) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let agreed = match header.opcode {
            op::INIT => super::folder::negotiate(header.unique, body),
            _ => Err(libc::EIO),
        };
        match agreed {
            Ok((negotiated, reply)) => {
                rustix::io::write(fd, &reply)?;
                return Ok(negotiated);
            }
            Err(errno) => {
                rustix::io::write(fd, &Reply::error(header.unique, errno).finish(0))?;
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
    }
}

fn open_dev_fuse() -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    Ok(file.into())
}

fn mount_as_root(dir: &Path, others: bool) -> io::Result<OwnedFd> {
    let fd = open_dev_fuse()?;
    let others = if others { ",allow_other" } else { "" };
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={}{others}\0",
        fd.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let options = std::ffi::CString::from_vec_with_nul(options.into_bytes())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("ulvm", dir, "fuse.ulvm", flags, options.as_c_str())?;
    Ok(fd)
}

/// `fusermount3` mounts and sends the descriptor through a socket that it inherits.
fn mount_by_helper(dir: &Path, others: bool) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    // The helper must inherit its end; only it, so the flag is cleared on a copy made for it.
    let inherited = rustix::io::dup(&theirs)?;
    let options = if others {
        "fsname=ulvm,subtype=ulvm,nosuid,nodev,allow_other"
    } else {
        "fsname=ulvm,subtype=ulvm,nosuid,nodev"
    };
    let child = Command::new("fusermount3")
        .arg("-o")
        .arg(options)
        .arg("--")
        .arg(dir)
        .env("_FUSE_COMMFD", inherited.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => io::Error::other(
            "fusermount3 is needed to mount without being root (Debian's package fuse3)",
        ),
        _ => e,
    })?;
    drop((theirs, inherited));
    let fd = receive_fd(&ours);
    let out = child.wait_with_output()?;
    match fd {
        Some(fd) if out.status.success() => Ok(fd),
        _ => Err(io::Error::other(
            String::from_utf8_lossy(&out.stderr).trim().to_owned(),
        )),
    }
}

fn receive_fd(socket: &UnixStream) -> Option<OwnedFd> {
    let mut byte = [0u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags))
        .ok()?;
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

fn unmount_by_helper(dir: &Path, lazy: bool) -> io::Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").arg("-q");
    if lazy {
        command.arg("-z");
    }
    let out = command.arg("--").arg(dir).stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "fusermount3: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    )))
}
