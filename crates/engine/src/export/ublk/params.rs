//! What the kernel is told of a device, and what it says of a request. Pure.

use crate::device::Device;
use crate::io::SECTOR;
use crate::sys::ublk::{IoDesc, Params};

/// Most bytes of a read or write: the largest buffers there are.
pub const MAX_IO: u32 = 1 << 20;
/// Most bytes that are discarded or zeroed by one request: what takes longer comes in parts.
const MAX_RANGE: u32 = 1 << 30;
/// Most bytes of a block: a page.
const MAX_BLOCK: u32 = 4096;

// Kinds of parameters.
const BASIC: u32 = 1 << 0;
const DISCARD: u32 = 1 << 1;
// Attributes.
const READ_ONLY: u32 = 1 << 0;
const VOLATILE_CACHE: u32 = 1 << 2;
const FUA: u32 = 1 << 3;
// A request's operation is in the low byte of its flags.
const OP_READ: u32 = 0;
const OP_WRITE: u32 = 1;
const OP_FLUSH: u32 = 2;
const OP_DISCARD: u32 = 3;
const OP_WRITE_ZEROES: u32 = 5;
const IO_FUA: u32 = 1 << 13;
const IO_NO_UNMAP: u32 = 1 << 15;

/// What there is to know of a device before it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bytes.
    pub size: u64,
    /// Bytes of a block: a power of two from 512 on.
    pub logical_block: u32,
    /// Refuses writes.
    pub read_only: bool,
}

impl Shape {
    /// Of a device as it is now.
    pub fn of(device: &Device) -> Self {
        Self {
            size: device.size(),
            logical_block: device.logical_block(),
            read_only: device.read_only(),
        }
    }

    /// The kernel's parameters; none for a device that it cannot have: no blocks, or blocks larger
    /// than a page.
    pub(super) fn params(&self) -> Option<Params> {
        let block = self.logical_block;
        let fits = block.is_power_of_two() && (SECTOR as u32..=MAX_BLOCK).contains(&block);
        let blocks = self.size / u64::from(block.max(1));
        if !fits || blocks == 0 {
            return None;
        }
        let shift = block.trailing_zeros() as u8;
        let sectors = |bytes: u32| bytes / SECTOR as u32;
        let read_only = if self.read_only { READ_ONLY } else { 0 };
        // A device that refuses writes has nothing to discard either.
        let range = if self.read_only { 0 } else { MAX_RANGE };
        Some(Params {
            len: size_of::<Params>() as u32,
            types: BASIC | DISCARD,
            attrs: VOLATILE_CACHE | FUA | read_only,
            logical_shift: shift,
            physical_shift: shift,
            io_opt_shift: shift,
            io_min_shift: shift,
            max_sectors: sectors(MAX_IO),
            // Whole blocks: the kernel asks for nothing else.
            dev_sectors: blocks * u64::from(sectors(block)),
            discard_granularity: block,
            max_discard_sectors: sectors(range),
            max_write_zeroes_sectors: sectors(range),
            max_discard_segments: 1,
            ..Params::default()
        })
    }
}

/// A request of the kernel's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Read {
        offset: u64,
        len: u32,
    },
    Write {
        offset: u64,
        len: u32,
        fua: bool,
    },
    Flush,
    Discard {
        offset: u64,
        len: u64,
    },
    Zero {
        offset: u64,
        len: u64,
        unmap: bool,
        fua: bool,
    },
}

impl Wish {
    /// None for an operation that no device of ours has, or a range that cannot be.
    pub(super) fn read(desc: &IoDesc) -> Option<Self> {
        // A flush is nowhere: its place is whatever number.
        if desc.op_flags & 0xff == OP_FLUSH {
            return Some(Self::Flush);
        }
        let offset = desc.start_sector.checked_mul(SECTOR)?;
        let len = u64::from(desc.sectors) * SECTOR;
        let data = || u32::try_from(len).ok().filter(|len| *len <= MAX_IO);
        let fua = desc.op_flags & IO_FUA != 0;
        Some(match desc.op_flags & 0xff {
            OP_READ => Self::Read {
                offset,
                len: data()?,
            },
            OP_WRITE => Self::Write {
                offset,
                len: data()?,
                fua,
            },
            OP_DISCARD => Self::Discard { offset, len },
            OP_WRITE_ZEROES => Self::Zero {
                offset,
                len,
                unmap: desc.op_flags & IO_NO_UNMAP == 0,
                fua,
            },
            _ => return None,
        })
    }
}

/// The number of a place for requests among all of a task: the device's slot and the tag.
pub(super) fn token(slot: u32, tag: u16) -> u64 {
    u64::from(slot) << 16 | u64::from(tag)
}

/// The other way.
pub(super) fn place(token: u64) -> (u32, u16) {
    ((token >> 16) as u32, token as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_parameters() {
        let shape = Shape {
            size: (1 << 20) + 512,
            logical_block: 4096,
            read_only: false,
        };
        let params = shape.params().expect("a device");
        assert_eq!(params.dev_sectors, 2048, "no half block at the end");
        assert_eq!((params.logical_shift, params.len), (12, 80));
        assert_eq!(params.attrs, VOLATILE_CACHE | FUA);
        assert_eq!(params.max_sectors, 2048);
        let read_only = Shape {
            read_only: true,
            ..shape
        };
        let params = read_only.params().expect("a device");
        assert_eq!(params.attrs & READ_ONLY, READ_ONLY);
        assert_eq!(params.max_discard_sectors, 0);
        for (size, logical_block) in [(511, 512), (1 << 20, 8192), (1 << 20, 1000), (1 << 20, 0)] {
            let odd = Shape {
                size,
                logical_block,
                read_only: false,
            };
            assert_eq!(odd.params(), None, "{odd:?}");
        }
    }

    #[test]
    fn descriptors_become_requests() {
        let desc = |op_flags, start_sector, sectors| {
            Wish::read(&IoDesc {
                op_flags,
                sectors,
                start_sector,
                addr: 0,
            })
        };
        let (offset, len) = (1 << 12, 4096);
        assert_eq!(desc(0, 8, 8), Some(Wish::Read { offset, len }));
        let fua = true;
        let durable = Wish::Write { offset, len, fua };
        assert_eq!(desc(1 | 1 << 13 | 1 << 8, 8, 8), Some(durable));
        assert_eq!(desc(2, 0, 0), Some(Wish::Flush));
        assert_eq!(desc(2 | 1 << 11, u64::MAX, 0), Some(Wish::Flush));
        let len = u64::from(u32::MAX) * 512;
        let all = Wish::Discard { offset, len };
        assert_eq!(desc(3, 8, u32::MAX), Some(all));
        let zero = |unmap| Wish::Zero {
            offset,
            len: 512,
            unmap,
            fua: false,
        };
        assert_eq!(desc(5, 8, 1), Some(zero(true)));
        assert_eq!(desc(5 | 1 << 15, 8, 1), Some(zero(false)));
        assert_eq!(desc(0, 8, 2049), None, "longer than any buffer");
        assert_eq!(desc(4, 8, 1), None, "write same");
        assert_eq!(desc(0, u64::MAX / 2, 1), None, "beyond all devices");
    }

    #[test]
    fn tokens_go_there_and_back() {
        for (slot, tag) in [(0, 0), (1, 65535), (u32::MAX, 4095)] {
            assert_eq!(place(token(slot, tag)), (slot, tag));
        }
    }
}
