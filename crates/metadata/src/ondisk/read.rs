//! Reading a metadata area: header, then the text it points to.

use std::fmt;

use super::Area;
use super::mda::{HeaderFault, MDA_HEADER_SIZE, MdaHeader, RawLocn};
use super::ring::Ring;
use crate::crc::{CRC_INITIAL, crc_more};
use crate::disk::Disk;
use crate::units::Bytes;

/// Bytes of a text that are read at a time.
const PIECE: u64 = 1 << 18;

/// A metadata area as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MdaRead {
    /// The area, as the PV header names it.
    pub area: Area,
    /// Its header; `None` if that cannot be trusted.
    pub header: Option<MdaHeader>,
    /// What it holds.
    pub state: MdaState,
}

/// What a metadata area holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MdaState {
    /// No text: the area belongs to no VG yet.
    Empty,
    /// It is not in use. Whatever text it may hold is not read.
    Ignored,
    /// A text, its checksum verified, without the NUL at its end.
    Text(Vec<u8>),
    /// The header cannot be trusted.
    BadHeader(HeaderFault),
    /// The text cannot be trusted.
    BadText(TextFault),
}

impl MdaRead {
    /// The slot of a text that was written and not committed; no reader believes it.
    pub fn precommitted(&self) -> Option<&RawLocn> {
        self.header
            .as_ref()
            .map(|h| &h.precommitted)
            .filter(|l| !l.is_empty())
    }
    /// The text, if there is one.
    pub fn text(&self) -> Option<&[u8]> {
        match &self.state {
            MdaState::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Why a text cannot be trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextFault {
    /// The slot points out of the area.
    Location(RawLocn),
    /// The checksum is wrong.
    Checksum {
        /// As stored in the slot.
        stored: u32,
        /// As the bytes give it.
        computed: u32,
    },
    /// A NUL byte stands before the end (the byte offset in the text), or none at the end.
    Nul(Option<u64>),
    /// It could not be read.
    Io(String),
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Location(l) => write!(
                f,
                "metadata location of {} bytes at offset {} is outside of the metadata area",
                l.size, l.offset
            ),
            Self::Checksum { stored, computed } => write!(
                f,
                "Checksum error: 0x{computed:x} instead of 0x{stored:x} in metadata text"
            ),
            Self::Nul(Some(at)) => write!(f, "metadata text has a NUL at byte {at}"),
            Self::Nul(None) => write!(f, "metadata text does not end with a NUL"),
            Self::Io(e) => write!(f, "Failed to read metadata text: {e}"),
        }
    }
}

impl std::error::Error for TextFault {}

/// Reads and checks the header of an area that a PV header names.
pub fn read_mda_header(disk: &dyn Disk, area: Area) -> Result<MdaHeader, HeaderFault> {
    let mut bytes = [0; MDA_HEADER_SIZE as usize];
    disk.read_at(area.start, &mut bytes)
        .map_err(|e| HeaderFault::Io(e.to_string()))?;
    let header = MdaHeader::decode(&bytes, area.start, disk.size())?;
    // A header that claims more than the label gave it would let texts run into extents.
    if header.area.size > area.size {
        return Err(HeaderFault::Size(header.area.size.0));
    }
    Ok(header)
}

/// Reads and checks the text a slot of an area points to; the NUL at its end is not part of what
/// is returned. Memory is taken as bytes other than NUL are found, not as the slot promises.
pub fn read_text(disk: &dyn Disk, area: Area, locn: &RawLocn) -> Result<Vec<u8>, TextFault> {
    let spans = Ring::new(area.size.0)
        .spans(locn)
        .ok_or(TextFault::Location(*locn))?;
    let mut text = Vec::new();
    for span in spans {
        let mut done = 0;
        while done < span.len {
            let len = PIECE.min(span.len - done);
            let at = area
                .start
                .checked_add(Bytes(span.offset + done))
                .ok_or(TextFault::Location(*locn))?;
            let before = text.len();
            text.resize(before + len as usize, 0);
            disk.read_at(at, &mut text[before..])
                .map_err(|e| TextFault::Io(e.to_string()))?;
            done += len;
            // Only the very last byte may be a NUL.
            let body = (text.len() as u64).min(locn.size - 1) as usize;
            if let Some(p) = find_nul(&text[before..body.max(before)]) {
                return Err(nul_fault(disk, area, locn, &spans, (before + p) as u64));
            }
        }
    }
    let computed = crc_more(CRC_INITIAL, &text);
    if computed != locn.checksum {
        return Err(TextFault::Checksum {
            stored: locn.checksum,
            computed,
        });
    }
    match text.pop() {
        Some(0) => Ok(text),
        _ => Err(TextFault::Nul(None)),
    }
}

/// Position of the first NUL byte.
fn find_nul(bytes: &[u8]) -> Option<usize> {
    // Blocks without any are skipped at once; the compiler makes vectors of this.
    let mut at = 0;
    for block in bytes.chunks(64) {
        if block.iter().fold(false, |any, b| any | (*b == 0)) {
            return block.iter().position(|b| *b == 0).map(|p| at + p);
        }
        at += block.len();
    }
    None
}

/// A text with a NUL inside is bad whatever its checksum; if the checksum is wrong, that is said,
/// since the NUL is then only how the damage shows. The sum is taken piece by piece.
fn nul_fault(
    disk: &dyn Disk,
    area: Area,
    locn: &RawLocn,
    spans: &[super::Span; 2],
    nul: u64,
) -> TextFault {
    /// More than this is not summed up for a message.
    const MOST: u64 = 1 << 24;
    if locn.size > MOST {
        return TextFault::Nul(Some(nul));
    }
    let mut sum = CRC_INITIAL;
    for span in spans {
        let mut done = 0;
        while done < span.len {
            let mut piece = vec![0; PIECE.min(span.len - done) as usize];
            let at = Bytes(area.start.0 + span.offset + done);
            if let Err(e) = disk.read_at(at, &mut piece) {
                return TextFault::Io(e.to_string());
            }
            sum = crc_more(sum, &piece);
            done += piece.len() as u64;
        }
    }
    if sum == locn.checksum {
        TextFault::Nul(Some(nul))
    } else {
        TextFault::Checksum {
            stored: locn.checksum,
            computed: sum,
        }
    }
}

/// Reads a metadata area: header and committed text.
pub fn read_mda(disk: &dyn Disk, area: Area) -> MdaRead {
    let header = match read_mda_header(disk, area) {
        Ok(header) => header,
        Err(fault) => {
            return MdaRead {
                area,
                header: None,
                state: MdaState::BadHeader(fault),
            };
        }
    };
    let state = if header.is_ignored() {
        MdaState::Ignored
    } else if header.committed.is_empty() {
        MdaState::Empty
    } else {
        match read_text(disk, header.area, &header.committed) {
            Ok(text) => MdaState::Text(text),
            Err(fault) => MdaState::BadText(fault),
        }
    };
    MdaRead {
        area,
        header: Some(header),
        state,
    }
}
