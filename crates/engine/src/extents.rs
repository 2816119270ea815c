//! Which parts of a device hold data: from the targets (zeroes, errors) and, below them, from the
//! holes of the files.
//!
//! The answer is a hint that errs towards data: a part that cannot be looked into counts as data.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{FileType, SeekFrom, seek};

use crate::backend::{FileStore, Store};
use crate::device::Device;
use crate::io::{Op, OpKind, SECTOR};
use crate::table::Table;
use crate::target::{Child, Piece, Plan, Verdict};

/// Pieces of a table that one question looks at; it bounds the time the answer takes.
const MAX_PIECES: usize = 8192;
/// Bytes of a table that one of them covers at most, so that a plan over narrow stripes stays short.
const MAX_PIECE: u64 = 64 << 20;
/// Devices below devices that are looked into.
const MAX_DEPTH: u32 = 4;

/// What is known of a run of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Data, or not known.
    Data,
    /// Not allocated, and reads as zeroes.
    Hole,
}

/// A run of bytes of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Bytes.
    pub len: u64,
    /// What is known of them.
    pub kind: Kind,
}

/// The extents of a device from byte `offset` on, neighbours of one kind put together, at most
/// `max` of them. They may cover less than `len` bytes, but never nothing of a range within the
/// device, and never more than the range.
pub fn extents(device: &Device, offset: u64, len: u64, max: usize) -> Vec<Extent> {
    let mut found = Found {
        extents: Vec::new(),
        max: max.max(1),
        pieces: MAX_PIECES,
    };
    let end = device.size().min(offset.saturating_add(len));
    if let Some(table) = device.table() {
        found.table(&table, offset, end, 0);
    }
    found.extents
}

/// File systems on which giving back and zeroing a range is a matter of its extents: ext4, XFS, Btrfs.
const ZEROES_FAST: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
/// tmpfs: gives back a range, but cannot zero one otherwise than by writing.
const TMPFS: u64 = 0x0102_1994;

/// Is zeroing a range of the device faster than writing zeroes, wherever it lies, if its space may
/// be given back (`unmap`) or has to stay? Block devices are taken for slow: the kernel does not say.
pub fn zeroes_fast(device: &Device, unmap: bool) -> bool {
    device.table().is_some_and(|table| {
        table.slots().iter().all(|slot| match slot.backing.store() {
            Store::Mem(_) => true,
            Store::Device(lower) => zeroes_fast(lower, unmap),
            Store::File(file) => {
                let regular = rustix::fs::fstat(&file.fd)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
                regular
                    && rustix::fs::fstatfs(&file.fd).is_ok_and(|fs| {
                        let kind = fs.f_type as u64;
                        ZEROES_FAST.contains(&kind) || (unmap && kind == TMPFS)
                    })
            }
        })
    })
}

struct Found {
    extents: Vec<Extent>,
    max: usize,
    pieces: usize,
}

impl Found {
    /// Adds a run; false when no more is wanted.
    fn add(&mut self, len: u64, kind: Kind) -> bool {
        if len == 0 {
            return true;
        }
        let full = self.extents.len() == self.max;
        match self.extents.last_mut() {
            Some(last) if last.kind == kind => last.len += len,
            _ if full => return false,
            _ => self.extents.push(Extent { len, kind }),
        }
        true
    }

    /// From `offset` to `end` of a table; false when no more is wanted.
    fn table(&mut self, table: &Table, mut offset: u64, end: u64, depth: u32) -> bool {
        let mut plan = Plan::default();
        while offset < end {
            if self.pieces == 0 {
                return false;
            }
            self.pieces -= 1;
            let Some(segment) = table.find(offset).and_then(|n| table.segments().get(n)) else {
                return self.add(end - offset, Kind::Data);
            };
            let within = offset - segment.start.0 * SECTOR;
            let reach = segment.target.reach(OpKind::Read, within).max(1);
            let rest = (segment.len.0 * SECTOR - within).min(end - offset);
            let piece = Piece {
                op: Op::Read,
                offset: within,
                len: rest.min(reach).min(MAX_PIECE),
            };
            plan.clear();
            segment.target.map(&piece, Duration::ZERO, &mut plan);
            if !self.piece(table, &piece, &plan, depth) {
                return false;
            }
            offset += piece.len;
        }
        true
    }

    fn piece(&mut self, table: &Table, piece: &Piece, plan: &Plan, depth: u32) -> bool {
        match plan.verdict {
            Verdict::Zeroes => return self.add(piece.len, Kind::Hole),
            Verdict::Fail(_) => return self.add(piece.len, Kind::Data),
            Verdict::Children => {}
        }
        if plan.finish {
            return self.add(piece.len, Kind::Data);
        }
        // Children lie one after another in the piece; what none covers counts as data.
        let mut done = 0;
        for child in &plan.children {
            if child.at < done || child.at + child.len > piece.len {
                break;
            }
            if self.pieces == 0 || !self.add(child.at - done, Kind::Data) {
                return false;
            }
            self.pieces -= 1;
            if !self.child(table, child, depth) {
                return false;
            }
            done = child.at + child.len;
        }
        self.add(piece.len - done, Kind::Data)
    }

    fn child(&mut self, table: &Table, child: &Child, depth: u32) -> bool {
        let end = child.offset + child.len;
        match table.slot(child.device).backing.store() {
            Store::File(file) => self.file(file, child.offset, end),
            Store::Device(lower) if depth < MAX_DEPTH => match lower.table() {
                Some(lower) => self.table(&lower, child.offset, end, depth + 1),
                None => self.add(child.len, Kind::Data),
            },
            Store::Device(_) | Store::Mem(_) => self.add(child.len, Kind::Data),
        }
    }

    /// From `offset` to `end` of a file. Each turn is two system calls and one extent.
    fn file(&mut self, file: &FileStore, mut offset: u64, end: u64) -> bool {
        while offset < end {
            let at = file.start + offset;
            let data = match seek(file.fd.as_fd(), SeekFrom::Data(at)) {
                Ok(data) => (data - file.start).clamp(offset, end),
                // Nothing but a hole up to the end of the file.
                Err(rustix::io::Errno::NXIO) => end,
                Err(_) => offset,
            };
            if !self.add(data - offset, Kind::Hole) {
                return false;
            }
            if data == end {
                return true;
            }
            let hole = match seek(file.fd.as_fd(), SeekFrom::Hole(file.start + data)) {
                Ok(hole) => (hole - file.start).clamp(data, end),
                Err(_) => end,
            };
            // A hole of no length would be no progress; the kernel does not say so.
            let hole = if hole == data { end } else { hole };
            if !self.add(hole - data, Kind::Data) {
                return false;
            }
            offset = hole;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::OpenHow;
    use crate::table_text::{OpenPaths, parse};
    use std::os::unix::fs::FileExt;

    /// The kinds of each sector, as the extents say; all of `offset..offset + len` is asked for.
    fn kinds(device: &Device, mut offset: u64, len: u64, max: usize) -> Vec<Kind> {
        let (end, mut kinds) = (offset + len, Vec::new());
        while offset < end {
            let found = extents(device, offset, end - offset, max);
            assert!(!found.is_empty() && found.len() <= max);
            for e in found {
                kinds.extend((0..e.len / SECTOR).map(|_| e.kind));
                offset += e.len;
            }
        }
        assert_eq!(offset, end);
        kinds
    }

    #[test]
    fn holes_are_found_through_stripes_and_devices() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |n: &str| dir.path().join(n).display().to_string();
        for name in ["a", "b"] {
            let file = std::fs::File::create(path(name)).expect("a file");
            file.set_len(8 << 20).expect("its size");
            // One block of 64 KiB at 1 MiB; holes elsewhere.
            file.write_all_at(&[1; 64 << 10], 1 << 20).expect("data");
        }
        let (a, b) = (path("a"), path("b"));
        let text = format!(
            "0 8192 linear {a} 0\n8192 8192 striped 2 128 {a} 0 {b} 0\n16384 8 error\n16392 8 zero"
        );
        let table = parse(&text, &mut OpenPaths::new(OpenHow::default())).expect("a table");
        let device = Device::with_table("x", table);
        let all = 16400 * SECTOR;
        for max in [1, 3, 1000] {
            let kinds = kinds(&device, 0, all, max);
            assert_eq!(kinds[2047..2049], [Kind::Hole, Kind::Data]);
            assert_eq!(kinds[2175..2177], [Kind::Data, Kind::Hole]);
            // Row 16 of the stripes: both chunks.
            let row = 8192 + 16 * 256;
            assert_eq!(kinds[row - 1..row + 1], [Kind::Hole, Kind::Data]);
            assert_eq!(kinds[row + 255..row + 257], [Kind::Data, Kind::Hole]);
            assert_eq!(kinds[16383..16385], [Kind::Hole, Kind::Data]);
            assert_eq!(kinds[16391..16393], [Kind::Data, Kind::Hole]);
        }
        assert!(extents(&device, all, 512, 8).is_empty());
    }
}
