//! The header of a metadata area: its first 512 bytes.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | checksum of bytes 4..512 |
//! | 4 | 16 | magic |
//! | 20 | 4 | version (1) |
//! | 24 | 8 | byte offset of the header on the device |
//! | 32 | 8 | size of the area, header included |
//! | 40 | 24 each | slots: committed text, precommitted text |

use std::fmt;

use super::Area;
use crate::crc::crc;
use crate::units::Bytes;
use crate::wire::{put, u32_at, u64_at};

/// Bytes of the header; the ring of texts begins behind it.
pub const MDA_HEADER_SIZE: u64 = 512;
/// Flag of the committed slot: the whole area is not in use.
pub const RAW_LOCN_IGNORED: u32 = 1;

const SIZE: usize = MDA_HEADER_SIZE as usize;
const MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
const SLOTS_AT: usize = 40;
const SLOT_SIZE: usize = 24;

/// Where a text lies in its area, and its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RawLocn {
    /// Byte offset from the start of the area; 0 = no text.
    pub offset: u64,
    /// Bytes, the NUL at the end included.
    pub size: u64,
    /// Checksum of exactly those bytes.
    pub checksum: u32,
    /// See [`RAW_LOCN_IGNORED`].
    pub flags: u32,
}

impl RawLocn {
    /// Is there no text?
    pub fn is_empty(&self) -> bool {
        self.offset == 0
    }
    /// Is the area marked as not in use?
    pub fn is_ignored(&self) -> bool {
        self.flags & RAW_LOCN_IGNORED != 0
    }
}

/// A checked header of a metadata area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MdaHeader {
    /// The area, header included.
    pub area: Area,
    /// The text that rules.
    pub committed: RawLocn,
    /// The text that is about to rule; readers ignore it.
    pub precommitted: RawLocn,
}

/// Why a header cannot be trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderFault {
    /// The checksum is wrong.
    Checksum {
        /// As stored.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// Not the magic of a metadata area.
    Magic,
    /// A version that is not known.
    Version(u32),
    /// Written for another place on the device.
    Start(u64),
    /// Smaller than its own header, or it does not fit the device.
    Size(u64),
    /// It could not be read.
    Io(String),
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum { stored, computed } => write!(
                f,
                "Incorrect checksum in metadata area header: 0x{stored:x} is stored, 0x{computed:x} is right"
            ),
            Self::Magic => write!(f, "Wrong magic number in metadata area header"),
            Self::Version(v) => write!(f, "Incompatible version {v} of metadata area header"),
            Self::Start(at) => {
                write!(
                    f,
                    "Incorrect start sector in metadata area header: {}",
                    at / 512
                )
            }
            Self::Size(n) => write!(f, "Impossible size {n} in metadata area header"),
            Self::Io(e) => write!(f, "Failed to read metadata area header: {e}"),
        }
    }
}

impl std::error::Error for HeaderFault {}

impl MdaHeader {
    /// Of an area without any text.
    pub fn empty(area: Area) -> Self {
        Self {
            area,
            committed: RawLocn::default(),
            precommitted: RawLocn::default(),
        }
    }

    /// Of an area without any text, marked as not in use or not.
    pub fn unused(area: Area, ignored: bool) -> Self {
        let mut header = Self::empty(area);
        if ignored {
            header.committed.flags |= RAW_LOCN_IGNORED;
        }
        header
    }

    /// Is the area marked as not in use?
    pub fn is_ignored(&self) -> bool {
        self.committed.is_ignored()
    }

    /// Checks the 512 bytes found at `start` of a device of `device` bytes.
    pub fn decode(bytes: &[u8; SIZE], start: Bytes, device: Bytes) -> Result<Self, HeaderFault> {
        let (stored, computed) = (u32_at(bytes, 0), crc(&bytes[4..]));
        if stored != computed {
            return Err(HeaderFault::Checksum { stored, computed });
        }
        if &bytes[4..20] != MAGIC {
            return Err(HeaderFault::Magic);
        }
        let version = u32_at(bytes, 20);
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let area = Area::new(u64_at(bytes, 24), u64_at(bytes, 32));
        if area.start != start {
            return Err(HeaderFault::Start(area.start.0));
        }
        if area.size.0 < MDA_HEADER_SIZE || area.end().is_none_or(|end| end > device) {
            return Err(HeaderFault::Size(area.size.0));
        }
        Ok(Self {
            area,
            committed: slot(bytes, 0),
            precommitted: slot(bytes, 1),
        })
    }

    /// The 512 bytes.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut b = [0; SIZE];
        put(&mut b, 4, MAGIC);
        put(&mut b, 20, &VERSION.to_le_bytes());
        put(&mut b, 24, &self.area.start.0.to_le_bytes());
        put(&mut b, 32, &self.area.size.0.to_le_bytes());
        for (n, slot) in [self.committed, self.precommitted].iter().enumerate() {
            let at = SLOTS_AT + n * SLOT_SIZE;
            put(&mut b, at, &slot.offset.to_le_bytes());
            put(&mut b, at + 8, &slot.size.to_le_bytes());
            put(&mut b, at + 16, &slot.checksum.to_le_bytes());
            put(&mut b, at + 20, &slot.flags.to_le_bytes());
        }
        let sum = crc(&b[4..]);
        put(&mut b, 0, &sum.to_le_bytes());
        b
    }
}

fn slot(bytes: &[u8], n: usize) -> RawLocn {
    let at = SLOTS_AT + n * SLOT_SIZE;
    RawLocn {
        offset: u64_at(bytes, at),
        size: u64_at(bytes, at + 8),
        checksum: u32_at(bytes, at + 16),
        flags: u32_at(bytes, at + 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> MdaHeader {
        MdaHeader {
            area: Area::new(4096, 1_044_480),
            committed: RawLocn {
                offset: 512,
                size: 700,
                checksum: 0x1234_5678,
                flags: 0,
            },
            precommitted: RawLocn {
                offset: 1536,
                size: 710,
                checksum: 9,
                flags: RAW_LOCN_IGNORED,
            },
        }
    }

    #[test]
    fn a_header_comes_back() {
        let b = header().encode();
        let device = Bytes(1 << 30);
        assert_eq!(MdaHeader::decode(&b, Bytes(4096), device), Ok(header()));
        assert_eq!(
            MdaHeader::decode(&b, Bytes(8192), device),
            Err(HeaderFault::Start(4096))
        );
        assert_eq!(
            MdaHeader::decode(&b, Bytes(4096), Bytes((1 << 20) - 1)),
            Err(HeaderFault::Size(1_044_480))
        );
        for bit in 0..512 * 8 {
            let mut bad = b;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                MdaHeader::decode(&bad, Bytes(4096), device).is_err(),
                "bit {bit}"
            );
        }
    }
}
