//! What the format code needs of a device, and a device in memory for tests.

use std::io;

use crate::units::Bytes;

/// A random-access device or image. Offsets and lengths are bytes; no alignment is required of the
/// caller (an implementation over O_DIRECT bounces).
pub trait Disk {
    /// Size in bytes.
    fn size(&self) -> Bytes;
    /// Smallest unit the device writes atomically, in bytes: 512 or 4096.
    fn logical_block_size(&self) -> u32;
    /// Fills `buf` from `offset`; reading past the end is an error of kind `UnexpectedEof`.
    fn read_at(&self, offset: Bytes, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`; durable only after [`Disk::flush`].
    fn write_at(&mut self, offset: Bytes, data: &[u8]) -> io::Result<()>;
    /// Makes every earlier write durable.
    fn flush(&mut self) -> io::Result<()>;
}

/// A device in memory that records its writes and flushes.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    /// Present content.
    pub data: Vec<u8>,
    /// Everything done since creation, in order.
    pub log: Vec<DiskOp>,
}

/// One recorded operation of a [`MemDisk`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOp {
    /// `data` was written at byte `offset`.
    Write {
        /// Byte offset.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Everything before became durable.
    Flush,
}

impl MemDisk {
    /// A zeroed device of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self {
            data: vec![0; size],
            log: Vec::new(),
        }
    }
    fn range(&self, offset: Bytes, len: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(offset.0).ok();
        let end = start
            .and_then(|s| s.checked_add(len))
            .filter(|e| *e <= self.data.len());
        match (start, end) {
            (Some(s), Some(e)) => Ok(s..e),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "past the end of the device",
            )),
        }
    }
}

impl Disk for MemDisk {
    fn size(&self) -> Bytes {
        Bytes(self.data.len() as u64)
    }
    fn logical_block_size(&self) -> u32 {
        512
    }
    fn read_at(&self, offset: Bytes, buf: &mut [u8]) -> io::Result<()> {
        let range = self.range(offset, buf.len())?;
        buf.copy_from_slice(&self.data[range]);
        Ok(())
    }
    fn write_at(&mut self, offset: Bytes, data: &[u8]) -> io::Result<()> {
        let range = self.range(offset, data.len())?;
        self.data[range].copy_from_slice(data);
        self.log.push(DiskOp::Write {
            offset: offset.0,
            data: data.to_vec(),
        });
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.log.push(DiskOp::Flush);
        Ok(())
    }
}
