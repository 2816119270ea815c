//! Where texts lie in a metadata area: a ring behind the header.
//!
//! * A text begins at a multiple of 512 bytes from the start of the area and at 512 at the least.
//! * A text that reaches the end of the area goes on at 512.
//! * The next text begins behind the old one, rounded up; at 512 if the old one ends within the
//!   last 512 bytes of the area, if that leaves less than 512 bytes, or if there is no old one.
//! * It may be half of the ring, less one sector; the old text is never touched.

use std::fmt;

use super::mda::{MDA_HEADER_SIZE, RawLocn};

const SECTOR: u64 = 512;

/// The ring of an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    /// Bytes of the area, header included.
    size: u64,
}

/// A piece of a text: bytes from the start of the area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Length.
    pub len: u64,
}

impl Span {
    fn overlaps(&self, other: &Self) -> bool {
        self.len > 0
            && other.len > 0
            && self.offset < other.offset + other.len
            && other.offset < self.offset + self.len
    }
}

/// Why a text does not fit a ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RingError {
    /// Longer than a text in this area may be.
    TooLong {
        /// Bytes, NUL included.
        size: u64,
        /// Most bytes.
        limit: u64,
    },
    /// It would overwrite the text that rules.
    Overlap {
        /// Bytes, NUL included.
        size: u64,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { size, limit } => write!(
                f,
                "metadata of {size} bytes exceeds maximum metadata size of {limit} bytes"
            ),
            Self::Overlap { size } => {
                write!(
                    f,
                    "metadata of {size} bytes is too large for circular buffer"
                )
            }
        }
    }
}

impl std::error::Error for RingError {}

impl Ring {
    /// The ring of an area of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size }
    }

    /// Longest text, NUL included.
    pub fn limit(&self) -> u64 {
        (self.size.saturating_sub(MDA_HEADER_SIZE) / 2).saturating_sub(SECTOR)
    }

    /// Does a text of `locn`'s offset and size lie in the ring?
    pub fn contains(&self, locn: &RawLocn) -> bool {
        locn.offset >= MDA_HEADER_SIZE
            && locn.offset < self.size
            && locn.size > 0
            && locn.size <= self.size - MDA_HEADER_SIZE
    }

    /// The pieces of a text; the second is empty unless it wraps. `None` if it does not lie in the
    /// ring.
    pub fn spans(&self, locn: &RawLocn) -> Option<[Span; 2]> {
        if !self.contains(locn) {
            return None;
        }
        let first = locn.size.min(self.size - locn.offset);
        Some([
            Span {
                offset: locn.offset,
                len: first,
            },
            Span {
                offset: MDA_HEADER_SIZE,
                len: locn.size - first,
            },
        ])
    }

    /// Where a text of `size` bytes (NUL included) goes, given the one that rules. A slot that
    /// points out of the ring protects nothing.
    pub fn place(&self, old: Option<&RawLocn>, size: u64) -> Result<u64, RingError> {
        let limit = self.limit();
        if size > limit {
            return Err(RingError::TooLong { size, limit });
        }
        let Some((old, old_spans)) = old.and_then(|o| Some((o, self.spans(o)?))) else {
            return Ok(MDA_HEADER_SIZE);
        };
        let offset = self.next(old);
        let new = RawLocn {
            offset,
            size: size
                .next_multiple_of(SECTOR)
                .min(self.size - MDA_HEADER_SIZE),
            ..RawLocn::default()
        };
        let new_spans = self.spans(&new).ok_or(RingError::Overlap { size })?;
        let overlap = new_spans
            .iter()
            .any(|n| old_spans.iter().any(|o| n.overlaps(o)));
        if overlap {
            return Err(RingError::Overlap { size });
        }
        Ok(offset)
    }

    /// Start of the text behind `old`, which lies in the ring.
    fn next(&self, old: &RawLocn) -> u64 {
        let mut end = old.offset + old.size;
        if end > self.size {
            end -= self.size - MDA_HEADER_SIZE;
        }
        if self.size - end < SECTOR {
            return MDA_HEADER_SIZE;
        }
        let rounded = end.next_multiple_of(SECTOR);
        if rounded > self.size - SECTOR {
            MDA_HEADER_SIZE
        } else {
            rounded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, size: u64) -> RawLocn {
        RawLocn {
            offset,
            size,
            ..RawLocn::default()
        }
    }

    #[test]
    fn limits() {
        assert_eq!(Ring::new(1_044_480).limit(), 521_472);
        assert_eq!(Ring::new(100).limit(), 0);
        let e = Ring::new(8192).place(None, 3400).unwrap_err();
        assert_eq!(
            e,
            RingError::TooLong {
                size: 3400,
                limit: 3328
            }
        );
    }

    #[test]
    fn positions() {
        let ring = Ring::new(8192);
        assert_eq!(ring.place(None, 100), Ok(512));
        assert_eq!(ring.place(Some(&at(512, 700)), 100), Ok(1536));
        assert_eq!(ring.place(Some(&at(512, 1024)), 100), Ok(1536));
        // Ends 100 bytes before the end of the area.
        assert_eq!(ring.place(Some(&at(7168, 924)), 100), Ok(512));
        // Exactly 512 bytes are left: they are used.
        assert_eq!(ring.place(Some(&at(7168, 512)), 1000), Ok(7680));
        // The old one wraps.
        assert_eq!(ring.place(Some(&at(7168, 1500)), 100), Ok(1024));
        // A slot that points nowhere.
        assert_eq!(ring.place(Some(&at(9000, 10)), 100), Ok(512));
        assert_eq!(ring.place(Some(&at(0, 10)), 100), Ok(512));
    }

    #[test]
    fn the_old_text_is_never_touched() {
        let ring = Ring::new(8192);
        // A text longer than a writer would write.
        assert_eq!(
            ring.place(Some(&at(512, 5000)), 3000),
            Err(RingError::Overlap { size: 3000 })
        );
    }
}
