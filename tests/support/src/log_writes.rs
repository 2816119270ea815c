//! Reading a log of writes and flushes, in the format of the kernel's dm-log-writes (which QEMU's
//! `blklogwrites` driver writes too), and replaying it.
//!
//! The log begins with a sector that holds a magic number, a version, the number of entries and the
//! sector size; each entry is a header of one sector, then its data. Numbers are little-endian.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// One thing that reached the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Data, at a byte offset.
    Write {
        /// Bytes from the start of the disk.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Durable on its own.
        fua: bool,
    },
    /// Given up.
    Discard {
        /// Bytes from the start of the disk.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// What was written before is durable.
    Flush,
}

/// All entries of a log, in order. A log that was cut off ends with its last whole entry.
pub fn read(log: &Path) -> Result<Vec<Entry>, String> {
    let bytes = std::fs::read(log).map_err(|error| format!("{}: {error}", log.display()))?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let word = |at: usize| {
        let raw = bytes.get(at..at + 8)?;
        Some(u64::from_le_bytes(raw.try_into().ok()?))
    };
    // The first sector is written with the first flush: a log cut off earlier has none yet.
    let sector = match (word(0), word(24)) {
        (Some(MAGIC), Some(size)) => size & 0xffff_ffff,
        (Some(0) | None, _) => 512,
        _ => return Err("not a log of writes".into()),
    };
    let mut at = usize::try_from(sector).map_err(|_| "sector size")?;
    let size = at;
    let mut entries = Vec::new();
    while let (Some(first), Some(count), Some(flags)) = (word(at), word(at + 8), word(at + 16)) {
        let length = count.saturating_mul(sector);
        let offset = first.saturating_mul(sector);
        at += size;
        if flags & FLUSH != 0 {
            entries.push(Entry::Flush);
        }
        if flags & DISCARD != 0 {
            entries.push(Entry::Discard { offset, length });
        } else if count > 0 {
            let end = at + usize::try_from(length).map_err(|_| "an entry is too long")?;
            let Some(data) = bytes.get(at..end) else {
                break;
            };
            entries.push(Entry::Write {
                offset,
                data: data.to_vec(),
                fua: flags & FUA != 0,
            });
            at = end;
        }
    }
    Ok(entries)
}

/// Applies to a copy of the disk as it was those entries for which `keep` says so (given their
/// number and what they are).
pub fn replay(
    entries: &[Entry],
    disk: &Path,
    mut keep: impl FnMut(usize, &Entry) -> bool,
) -> io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(disk)?;
    for (number, entry) in entries.iter().enumerate() {
        if !keep(number, entry) {
            continue;
        }
        match entry {
            Entry::Write { offset, data, .. } => file.write_all_at(data, *offset)?,
            Entry::Discard { offset, length } => {
                let zeroes = vec![0; usize::try_from(*length).map_err(io::Error::other)?];
                file.write_all_at(&zeroes, *offset)?;
            }
            Entry::Flush => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_a_torn_end_is_left_out() {
        let mut log = vec![0; 512];
        log[..8].copy_from_slice(&MAGIC.to_le_bytes());
        log[24..28].copy_from_slice(&512_u32.to_le_bytes());
        let mut entry = |sector: u64, count: u64, flags: u64, data: &[u8]| {
            let mut head = vec![0; 512];
            head[..8].copy_from_slice(&sector.to_le_bytes());
            head[8..16].copy_from_slice(&count.to_le_bytes());
            head[16..24].copy_from_slice(&flags.to_le_bytes());
            log.extend(head);
            log.extend(data);
        };
        entry(3, 1, 0, &[7; 512]);
        entry(0, 0, FLUSH, &[]);
        entry(8, 16, DISCARD, &[]);
        entry(1, 2, FUA, &[9; 1023]);
        let write = Entry::Write {
            offset: 1536,
            data: vec![7; 512],
            fua: false,
        };
        let discard = Entry::Discard {
            offset: 4096,
            length: 8192,
        };
        assert_eq!(parse(&log), Ok(vec![write, Entry::Flush, discard]));
        assert!(parse(&[1; 600]).is_err());
    }
}
