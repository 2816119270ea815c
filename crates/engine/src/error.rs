//! Errors: what an I/O can end with, and what building a device can fail with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::io::{OpKind, SECTOR};

/// What kind of failure an I/O met. Kept from the kernel's answer up to the client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The device failed (EIO).
    Io,
    /// No space behind a sparse file or thin device (ENOSPC, EDQUOT).
    NoSpace,
    /// The medium cannot give the data (ENODATA).
    NoData,
    /// The device did not answer in time (ETIMEDOUT).
    TimedOut,
    /// The device cannot do this (EOPNOTSUPP).
    NotSupported,
    /// The device is read-only (EROFS, EPERM, EACCES, EBADF on write).
    ReadOnly,
    /// Beyond the end of the device, or not a valid request (EINVAL).
    Invalid,
    /// The device is gone (ENODEV, ENXIO).
    Gone,
    /// No memory for the request (ENOMEM).
    NoMemory,
}

impl ErrorKind {
    /// The error number a client of the device is told.
    pub const fn errno(self) -> i32 {
        match self {
            Self::Io => libc::EIO,
            Self::NoSpace => libc::ENOSPC,
            Self::NoData => libc::ENODATA,
            Self::TimedOut => libc::ETIMEDOUT,
            Self::NotSupported => libc::EOPNOTSUPP,
            Self::ReadOnly => libc::EROFS,
            Self::Invalid => libc::EINVAL,
            Self::Gone => libc::ENODEV,
            Self::NoMemory => libc::ENOMEM,
        }
    }

    /// From the kernel's error number; what has no kind of its own is an I/O error.
    pub const fn from_errno(errno: i32) -> Self {
        match errno {
            libc::ENOSPC | libc::EDQUOT => Self::NoSpace,
            libc::ENODATA => Self::NoData,
            libc::ETIMEDOUT => Self::TimedOut,
            libc::EOPNOTSUPP | libc::ENOSYS => Self::NotSupported,
            libc::EROFS | libc::EPERM | libc::EACCES | libc::EBADF => Self::ReadOnly,
            libc::EINVAL | libc::EFBIG => Self::Invalid,
            libc::ENODEV | libc::ENXIO => Self::Gone,
            libc::ENOMEM => Self::NoMemory,
            _ => Self::Io,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "input/output error",
            Self::NoSpace => "no space left on device",
            Self::NoData => "no data available",
            Self::TimedOut => "timed out",
            Self::NotSupported => "operation not supported",
            Self::ReadOnly => "read-only device",
            Self::Invalid => "invalid request",
            Self::Gone => "no such device",
            Self::NoMemory => "out of memory",
        })
    }
}

/// A failed I/O: what happened, where on which device, and where in the request's own device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IoError {
    /// The kind.
    pub kind: ErrorKind,
    /// The operation that failed below.
    pub op: OpKind,
    /// Name of the device that failed: a backing device, or the device itself when no backing
    /// device was reached (error target, beyond the end).
    pub device: Arc<str>,
    /// Sector (512 bytes) on that device; 0 for a flush, which has none.
    pub sector: u64,
    /// Byte offset on the device the request was made to.
    pub offset: u64,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.op == OpKind::Flush {
            return write!(f, "{}: {}: {}", self.device, self.op, self.kind);
        }
        write!(
            f,
            "{}: {} at sector {}: {}",
            self.device, self.op, self.sector, self.kind
        )?;
        if self.offset / SECTOR != self.sector {
            write!(f, " (sector {} of the volume)", self.offset / SECTOR)?;
        }
        Ok(())
    }
}

impl std::error::Error for IoError {}

/// What a control operation of the engine can fail with.
#[derive(Debug)]
pub enum Error {
    /// A backing device cannot be opened or examined.
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A backing device is smaller than what is mapped on it.
    TooShort {
        /// Name of the backing device.
        device: String,
        /// Its size in sectors.
        size: u64,
        /// First sector behind what is mapped.
        needed: u64,
    },
    /// A table that is not valid.
    Table(crate::table_text::TableError),
    /// A request failed.
    Io(IoError),
    /// The device is in a state in which this cannot be done.
    State {
        /// Name of the device.
        device: String,
        /// What stands in the way.
        what: &'static str,
    },
    /// A mirror cannot be assembled from what is on its devices.
    Mirror {
        /// Why not.
        what: String,
    },
    /// The operating system refused something the engine needs.
    Os {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, source } => write!(f, "{}: {source}", path.display()),
            Self::TooShort {
                device,
                size,
                needed,
            } => write!(
                f,
                "{device}: device is too small: {size} sectors, {needed} are mapped"
            ),
            Self::Table(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
            Self::State { device, what } => write!(f, "{device}: {what}"),
            Self::Mirror { what } => write!(f, "the mirror cannot be assembled: {what}"),
            Self::Os { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Os { source, .. } => Some(source),
            Self::Table(e) => Some(e),
            Self::Io(e) => Some(e),
            Self::TooShort { .. } | Self::State { .. } | Self::Mirror { .. } => None,
        }
    }
}

impl From<IoError> for Error {
    fn from(e: IoError) -> Self {
        Self::Io(e)
    }
}

impl From<crate::table_text::TableError> for Error {
    fn from(e: crate::table_text::TableError) -> Self {
        Self::Table(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_errno() {
        for kind in [
            ErrorKind::Io,
            ErrorKind::NoSpace,
            ErrorKind::NoData,
            ErrorKind::TimedOut,
            ErrorKind::NotSupported,
            ErrorKind::ReadOnly,
            ErrorKind::Invalid,
            ErrorKind::Gone,
            ErrorKind::NoMemory,
        ] {
            assert_eq!(ErrorKind::from_errno(kind.errno()), kind);
        }
        assert_eq!(ErrorKind::from_errno(libc::EMFILE), ErrorKind::Io);
    }
}
