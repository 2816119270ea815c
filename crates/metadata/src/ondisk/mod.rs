//! What lies on a PV beside its extents: label, metadata area headers, the ring of texts.
//!
//! Bytes become checked types here and nowhere else. Nothing read from a device decides how much
//! memory is taken: a text is read piece by piece and given up at its first NUL byte.
//!
//! All numbers are little-endian; a sector is 512 bytes whatever the device says.

mod dump;
mod label;
pub mod layout;
mod mda;
mod read;
mod ring;

use std::fmt;

use crate::units::Bytes;

pub use dump::{
    DumpLine, DumpedMda, FoundText, HeaderDump, LineKind, TEXT_SEARCH_LIMIT, dump_headers,
    search_texts,
};
pub use label::{
    Extension, FoundLabel, LABEL_SCAN_SECTORS, Label, LabelSector, PV_EXT_USED, PV_EXT_VERSION,
    PvHeader, encode_label, find_label, scan_label_sectors,
};
pub use mda::{HeaderFault, MDA_HEADER_SIZE, MdaHeader, RAW_LOCN_IGNORED, RawLocn};
pub use read::{MdaRead, MdaState, TextFault, read_mda, read_mda_header, read_text};
pub use ring::{Ring, RingError, Span};

/// A range of bytes of a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Area {
    /// First byte, from the start of the device.
    pub start: Bytes,
    /// Length in bytes; 0 = up to the end, where that is allowed.
    pub size: Bytes,
}

impl Area {
    /// From numbers of bytes.
    pub const fn new(start: u64, size: u64) -> Self {
        Self {
            start: Bytes(start),
            size: Bytes(size),
        }
    }
    /// First byte behind it; `None` if that does not fit 64 bits.
    pub fn end(&self) -> Option<Bytes> {
        self.start.checked_add(self.size)
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.size, self.start)
    }
}
