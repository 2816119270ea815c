//! Devices and image files behind the metadata library's [`Disk`].
//!
//! Block devices are opened with O_DIRECT: LVM2 reads and writes them so, and a page cache of ours
//! would neither see its writes nor be seen by it. Callers need no alignment: requests are widened
//! to whole blocks in an aligned buffer, a partial block is read first. Image files go through
//! the page cache, where every reader of the file (a loop device too) sees the same bytes.

#[cfg(test)]
pub(crate) mod tape;

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use ulvm_metadata::disk::Disk;
use ulvm_metadata::units::Bytes;

/// What a disk is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// Memory and file alignment of direct I/O: no device in use has larger logical blocks.
const ALIGN: usize = 4096;
/// Largest piece moved through the aligned buffer at once: enough for a device to be busy, and
/// little memory to fill with zeros first.
const PIECE: usize = 1 << 18;
/// Bytes read at once when a device is first looked at: the label sectors, and the header of a
/// metadata area at its usual place.
const HEAD: usize = 8192;

/// An open block device or file, or a part of one.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    direct: bool,
    start: u64,
    size: u64,
    block: u32,
    head: Vec<u8>,
    /// Kept from one direct request to the next: long texts are read in many pieces.
    bounce: RefCell<Bounce>,
    #[cfg(test)]
    tape: Option<tape::Tape>,
}

impl FileDisk {
    /// Opens a whole block device or regular file.
    pub fn open(path: &Path, access: Access) -> io::Result<Self> {
        let (file, direct) = open(path, access)?;
        let meta = file.metadata()?;
        let (size, block) = if meta.file_type().is_block_device() {
            let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
            (size, rustix::fs::ioctl_blksszget(&file).unwrap_or(512))
        } else {
            (meta.len(), 512)
        };
        Ok(Self {
            file,
            direct,
            start: 0,
            size,
            block: block.clamp(512, ALIGN as u32),
            head: Vec::new(),
            bounce: RefCell::default(),
            #[cfg(test)]
            tape: (access == Access::Write)
                .then(|| tape::Tape::running(path))
                .flatten(),
        })
    }

    /// The same open file a second time: what was opened and locked, wherever its name leads by now.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            direct: self.direct,
            start: self.start,
            size: self.size,
            block: self.block,
            head: Vec::new(),
            bounce: RefCell::default(),
            #[cfg(test)]
            tape: self.tape.clone(),
        })
    }

    /// Narrows the disk to a part, as for a partition. `None` if it does not lie within.
    #[must_use]
    pub fn part(mut self, start: Bytes, size: Bytes) -> Option<Self> {
        let end = start.0.checked_add(size.0)?;
        if end > self.size {
            return None;
        }
        self.start = self.start.checked_add(start.0)?;
        self.size = size.0;
        self.head = Vec::new();
        Some(self)
    }

    /// Reads the first bytes at once; reads within them need no system call until something is
    /// written through this disk.
    pub fn prefetch(&mut self) -> io::Result<()> {
        let len = HEAD.min(usize::try_from(self.size).unwrap_or(HEAD));
        self.head = Vec::new();
        let mut head = vec![0; len];
        self.read_at(Bytes(0), &mut head)?;
        self.head = head;
        Ok(())
    }

    /// Byte of the file at which the disk begins: not 0 for partitions of images.
    pub fn start(&self) -> Bytes {
        Bytes(self.start)
    }

    /// The open file, for locks.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn check(&self, offset: u64, len: usize) -> io::Result<u64> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.size => Ok(self.start + offset),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "{len} bytes at {offset} are beyond the end at {}",
                    self.size
                ),
            )),
        }
    }

    /// Last byte that direct I/O may touch: requests are widened to blocks, and a device ends at
    /// a block.
    fn read_direct(&self, mut at: u64, mut buf: &mut [u8]) -> io::Result<()> {
        let block = u64::from(self.block);
        let mut bounce = self.bounce.borrow_mut();
        while !buf.is_empty() {
            let skip = (at % block) as usize;
            let take = buf.len().min(PIECE);
            let wide = (skip + take).next_multiple_of(self.block as usize);
            let space = bounce.slice(wide);
            read_full(&self.file, space, at - skip as u64, skip + take)?;
            let (now, rest) = buf.split_at_mut(take);
            now.copy_from_slice(&space[skip..skip + take]);
            buf = rest;
            at += take as u64;
        }
        Ok(())
    }

    fn write_direct(&self, mut at: u64, mut data: &[u8]) -> io::Result<()> {
        let block = self.block as usize;
        let mut bounce = self.bounce.borrow_mut();
        while !data.is_empty() {
            let skip = (at % block as u64) as usize;
            let take = data.len().min(PIECE);
            let wide = (skip + take).next_multiple_of(block);
            let from = at - skip as u64;
            let space = bounce.slice(wide);
            if skip > 0 {
                read_full(&self.file, &mut space[..block], from, block)?;
            }
            if (skip + take) % block != 0 && (wide > block || skip == 0) {
                let last = wide - block;
                read_full(&self.file, &mut space[last..], from + last as u64, block)?;
            }
            space[skip..skip + take].copy_from_slice(&data[..take]);
            self.file.write_all_at(space, from)?;
            data = &data[take..];
            at += take as u64;
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn size(&self) -> Bytes {
        Bytes(self.size)
    }
    fn logical_block_size(&self) -> u32 {
        self.block
    }
    fn read_at(&self, offset: Bytes, buf: &mut [u8]) -> io::Result<()> {
        let at = self.check(offset.0, buf.len())?;
        let end = offset.0 + buf.len() as u64;
        if end <= self.head.len() as u64 {
            buf.copy_from_slice(&self.head[offset.0 as usize..end as usize]);
            return Ok(());
        }
        if self.direct {
            self.read_direct(at, buf)
        } else {
            self.file.read_exact_at(buf, at)
        }
    }
    fn write_at(&mut self, offset: Bytes, data: &[u8]) -> io::Result<()> {
        let at = self.check(offset.0, data.len())?;
        self.head = Vec::new();
        #[cfg(test)]
        if let Some(tape) = &self.tape {
            tape.write(at, data)?;
        }
        if self.direct {
            self.write_direct(at, data)
        } else {
            self.file.write_all_at(data, at)
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        #[cfg(test)]
        self.tape.iter().for_each(tape::Tape::flush);
        // Direct writes may still stand in the device's own cache; fdatasync empties it.
        self.file.sync_data()
    }
}

/// Is a block device open exclusively: mounted, part of an array, mapped?
pub fn is_busy(path: &Path) -> bool {
    let exclusive = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::EXCL.bits() as i32)
        .open(path);
    exclusive.is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY))
}

/// Opens, directly if it is a block device that can.
fn open(path: &Path, access: Access) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::Write);
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a block device nor a regular file",
        ));
    }
    if kind.is_block_device() {
        let direct = options
            .clone()
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(path);
        match direct {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
            other => return Ok((other?, true)),
        }
    }
    Ok((options.open(path)?, false))
}

/// Reads at least `need` bytes into `space` (whose length is a whole number of blocks).
fn read_full(file: &File, space: &mut [u8], at: u64, need: usize) -> io::Result<()> {
    let mut done = 0;
    while done < need {
        match file.read_at(&mut space[done..], at + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A buffer whose usable part begins at a multiple of [`ALIGN`].
#[derive(Debug, Default)]
struct Bounce {
    bytes: Vec<u8>,
    skip: usize,
}

impl Bounce {
    /// Room for `len` bytes; what stands in it is of an earlier request.
    fn slice(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < self.skip + len {
            self.bytes = vec![0; len.next_multiple_of(ALIGN) + ALIGN];
            self.skip = self.bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        }
        &mut self.bytes[self.skip..self.skip + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(len: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
        let data: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &data).unwrap();
        (file, data)
    }

    /// The widening code is independent of O_DIRECT itself, so files show that it is right.
    #[test]
    fn unaligned_direct_reads_and_writes_touch_only_what_they_should() {
        for block in [512u32, 4096] {
            let (file, mut data) = image(64 * 1024);
            let mut disk = FileDisk::open(file.path(), Access::Write).unwrap();
            disk.direct = true;
            disk.block = block;
            for (at, len) in [
                (0usize, 1usize),
                (511, 2),
                (512, 512),
                (4095, 4098),
                (5, 30_000),
                (65_535, 1),
                (4096, 8192),
                (600, 100),
            ] {
                let mut buf = vec![0; len];
                disk.read_at(Bytes(at as u64), &mut buf).unwrap();
                assert_eq!(buf, data[at..at + len], "read {at}+{len}");
                let new = vec![at as u8 ^ 0x5a; len];
                disk.write_at(Bytes(at as u64), &new).unwrap();
                data[at..at + len].copy_from_slice(&new);
                assert!(
                    std::fs::read(file.path()).unwrap() == data,
                    "write {at}+{len}"
                );
            }
        }
    }

    #[test]
    fn large_requests_go_in_pieces() {
        let (file, data) = image(3 * PIECE);
        let mut disk = FileDisk::open(file.path(), Access::Write).unwrap();
        disk.direct = true;
        let mut buf = vec![0; 2 * PIECE + 77];
        disk.read_at(Bytes(33), &mut buf).unwrap();
        assert!(buf == data[33..33 + buf.len()]);
        let new = vec![9; 2 * PIECE + 5];
        disk.write_at(Bytes(1), &new).unwrap();
        let now = std::fs::read(file.path()).unwrap();
        assert!(now[0] == data[0] && now[1..=new.len()] == new[..]);
        assert!(now[new.len() + 1..] == data[new.len() + 1..]);
    }

    #[test]
    fn a_part_is_bounded_and_prefetch_is_dropped_by_writes() {
        let (file, data) = image(32 * 1024);
        let disk = FileDisk::open(file.path(), Access::Write).unwrap();
        let mut part = disk.part(Bytes(4096), Bytes(16 * 1024)).unwrap();
        part.prefetch().unwrap();
        let mut buf = [0; 16];
        part.read_at(Bytes(8), &mut buf).unwrap();
        assert_eq!(buf[..], data[4104..4120]);
        part.write_at(Bytes(8), &[1; 16]).unwrap();
        part.read_at(Bytes(8), &mut buf).unwrap();
        assert_eq!(buf, [1; 16]);
        assert_eq!(
            part.read_at(Bytes(16 * 1024 - 8), &mut buf)
                .unwrap_err()
                .kind(),
            io::ErrorKind::UnexpectedEof
        );
        let disk = FileDisk::open(file.path(), Access::Read).unwrap();
        assert!(disk.part(Bytes(4096), Bytes(u64::MAX)).is_none());
    }
}
