//! Requests: what is asked of a device, in bytes, and what comes back.

use std::fmt;

use crate::buf::Buf;
use crate::error::IoError;

/// Bytes in a sector, the unit of tables.
pub const SECTOR: u64 = 512;

/// A number of 512-byte sectors, or the place of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sectors(pub u64);

impl Sectors {
    /// In bytes; none if that does not fit.
    pub const fn checked_bytes(self) -> Option<u64> {
        self.0.checked_mul(SECTOR)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read.
    Read,
    /// Write.
    Write {
        /// Durable before the answer.
        fua: bool,
    },
    /// Everything answered before is durable when this is answered.
    Flush,
    /// The contents are no longer needed. A hint: what is read afterwards is not defined.
    Discard,
    /// Reads as zeroes afterwards.
    WriteZeroes {
        /// Durable before the answer.
        fua: bool,
        /// The space may be given back.
        unmap: bool,
    },
}

/// The operation without its flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpKind {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Flush.
    Flush,
    /// Discard.
    Discard,
    /// Write zeroes.
    WriteZeroes,
}

impl Op {
    /// Without flags.
    pub const fn kind(self) -> OpKind {
        match self {
            Self::Read => OpKind::Read,
            Self::Write { .. } => OpKind::Write,
            Self::Flush => OpKind::Flush,
            Self::Discard => OpKind::Discard,
            Self::WriteZeroes { .. } => OpKind::WriteZeroes,
        }
    }

    /// Changes what is on the device?
    pub const fn modifies(self) -> bool {
        matches!(
            self,
            Self::Write { .. } | Self::Discard | Self::WriteZeroes { .. }
        )
    }

    /// Must be durable before the answer?
    pub const fn fua(self) -> bool {
        matches!(
            self,
            Self::Write { fua: true } | Self::WriteZeroes { fua: true, .. }
        )
    }

    /// The same, durable only after a flush.
    pub const fn without_fua(self) -> Self {
        match self {
            Self::Write { .. } => Self::Write { fua: false },
            Self::WriteZeroes { unmap, .. } => Self::WriteZeroes { fua: false, unmap },
            Self::Read | Self::Flush | Self::Discard => self,
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write-zeroes",
        })
    }
}

/// A request to a device. It owns its memory until it is answered.
///
/// Invariant: a read or write has a buffer of exactly `len` bytes, the others have none; a flush
/// has neither offset nor length.
#[derive(Debug)]
pub struct Request {
    op: Op,
    offset: u64,
    len: u64,
    buf: Option<Buf>,
    aside: bool,
}

impl Request {
    /// Fill `buf` from byte `offset` on.
    pub fn read(offset: u64, buf: Buf) -> Self {
        let len = buf.len() as u64;
        Self {
            op: Op::Read,
            offset,
            len,
            buf: Some(buf),
            aside: false,
        }
    }
    /// Write `buf` at byte `offset`.
    pub fn write(offset: u64, buf: Buf, fua: bool) -> Self {
        let len = buf.len() as u64;
        Self {
            op: Op::Write { fua },
            offset,
            len,
            buf: Some(buf),
            aside: false,
        }
    }
    /// Make durable what was answered before.
    pub const fn flush() -> Self {
        Self::plain(Op::Flush, 0, 0)
    }
    /// Give up the contents of a range.
    pub const fn discard(offset: u64, len: u64) -> Self {
        Self::plain(Op::Discard, offset, len)
    }
    /// Make a range read as zeroes.
    pub const fn write_zeroes(offset: u64, len: u64, unmap: bool, fua: bool) -> Self {
        Self::plain(Op::WriteZeroes { fua, unmap }, offset, len)
    }
    const fn plain(op: Op, offset: u64, len: u64) -> Self {
        Self {
            op,
            offset,
            len,
            buf: None,
            aside: false,
        }
    }
    /// To be carried out by another thread than the queue's where that is possible: it costs more
    /// in all, and pays where the submitter has as much to do with the queue's thread meanwhile.
    pub fn aside(mut self) -> Self {
        self.aside = true;
        self
    }
    /// By another thread, if possible?
    pub const fn is_aside(&self) -> bool {
        self.aside
    }
    /// The operation.
    pub const fn op(&self) -> Op {
        self.op
    }
    /// First byte.
    pub const fn offset(&self) -> u64 {
        self.offset
    }
    /// Length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }
    /// No bytes?
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub(crate) fn into_buf(self) -> Option<Buf> {
        self.buf
    }
}

/// A request that has been answered.
#[derive(Debug)]
pub struct Completion {
    /// The number the submitter gave.
    pub token: u64,
    /// What was asked.
    pub op: Op,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// The answer. After an error of a read the buffer's contents are not defined.
    pub result: Result<(), IoError>,
    /// The request's buffer.
    pub buf: Option<Buf>,
}
