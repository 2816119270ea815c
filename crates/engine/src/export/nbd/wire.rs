//! Numbers of the NBD protocol, and the fixed-size messages of its transmission phase.
//!
//! All integers on the wire are big-endian. Source: the protocol document of the NetworkBlockDevice
//! project (`doc/proto.md`), fixed newstyle and structured replies.

/// First eight bytes of the greeting.
pub const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Second eight bytes of the greeting, and the start of every option.
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// Start of every reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Start of every request of the transmission phase.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Start of every simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Start of every chunk of a structured reply.
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Longest string the protocol allows (export names, context names, descriptions), in bytes.
pub const MAX_STRING: usize = 4096;
/// Length of a request header, in bytes.
pub const REQUEST_LEN: usize = 28;
/// Length of an option header, in bytes.
pub const OPTION_LEN: usize = 16;
/// Length of the header of a structured reply chunk, in bytes.
pub const CHUNK_LEN: usize = 20;
/// Length of a simple reply without its data, in bytes.
pub const SIMPLE_REPLY_LEN: usize = 16;

/// Handshake flags, server to client: fixed newstyle, and the client may leave out the zeroes that
/// end an answer to `NBD_OPT_EXPORT_NAME`.
pub const HANDSHAKE_FIXED_NEWSTYLE: u16 = 1 << 0;
/// See [`HANDSHAKE_FIXED_NEWSTYLE`].
pub const HANDSHAKE_NO_ZEROES: u16 = 1 << 1;

/// Options of the handshake.
pub mod option {
    /// Ends the handshake with an export's name; the old way, without a reply for an error.
    pub const EXPORT_NAME: u32 = 1;
    /// Ends the session.
    pub const ABORT: u32 = 2;
    /// Asks for the names of the exports.
    pub const LIST: u32 = 3;
    /// Asks about an export.
    pub const INFO: u32 = 6;
    /// Ends the handshake with an export's name.
    pub const GO: u32 = 7;
    /// Asks for structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Asks which metadata contexts an export has.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Chooses the metadata contexts of the session.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// Types of replies to options.
pub mod reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// One export of a list.
    pub const SERVER: u32 = 2;
    /// A fact about an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    const ERROR: u32 = 1 << 31;
    /// The option is not known.
    pub const ERR_UNSUP: u32 = ERROR | 1;
    /// The server's policy forbids it.
    pub const ERR_POLICY: u32 = ERROR | 2;
    /// The option's data is not of its form.
    pub const ERR_INVALID: u32 = ERROR | 3;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = ERROR | 6;
    /// The server is ending.
    pub const ERR_SHUTDOWN: u32 = ERROR | 7;
    /// The request or its answer is too long.
    pub const ERR_TOO_BIG: u32 = ERROR | 9;
}

/// Types of facts in `NBD_REP_INFO`.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The export's own name.
    pub const NAME: u16 = 1;
    /// Text for people.
    pub const DESCRIPTION: u16 = 2;
    /// Least, preferred and greatest block size.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags of an export.
pub mod transmission {
    /// The field means something.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// No writes.
    pub const READ_ONLY: u16 = 1 << 1;
    /// Flush is known.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// FUA is known.
    pub const SEND_FUA: u16 = 1 << 3;
    /// The disk turns.
    pub const ROTATIONAL: u16 = 1 << 4;
    /// Trim is known.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// Write zeroes is known.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// A read's reply can be kept in one piece.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers what was answered on all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// Cache is known.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// Fast zeroes are known.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Flags of a request.
pub mod flag {
    /// Durable before the answer.
    pub const FUA: u16 = 1 << 0;
    /// Zeroes keep their space.
    pub const NO_HOLE: u16 = 1 << 1;
    /// The reply in one piece.
    pub const DF: u16 = 1 << 2;
    /// One extent is enough.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Zeroes only where that is faster than writing them.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// Types of requests.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// The client goes.
    pub const DISCONNECT: u16 = 2;
    /// Flush.
    pub const FLUSH: u16 = 3;
    /// Discard.
    pub const TRIM: u16 = 4;
    /// Read ahead into the cache.
    pub const CACHE: u16 = 5;
    /// Write zeroes.
    pub const WRITE_ZEROES: u16 = 6;
    /// Extents of the chosen contexts.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Types of chunks, and the flag of the last one.
pub mod chunk {
    /// The last chunk of its reply.
    pub const DONE: u16 = 1 << 0;
    /// Nothing but the end of the reply.
    pub const NONE: u16 = 0;
    /// Offset and data.
    pub const OFFSET_DATA: u16 = 1;
    /// Extents of one context.
    pub const BLOCK_STATUS: u16 = 5;
    /// An error of the whole request.
    pub const ERROR: u16 = (1 << 15) | 1;
    /// An error at an offset.
    pub const ERROR_OFFSET: u16 = (1 << 15) | 2;
}

/// Bits of an extent of `base:allocation`.
pub mod allocation {
    /// Not allocated.
    pub const HOLE: u32 = 1 << 0;
    /// Reads as zeroes.
    pub const ZERO: u32 = 1 << 1;
}

/// The errors NBD can carry, by their number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// Not permitted.
    Perm = 1,
    /// Input/output error.
    Io = 5,
    /// Out of memory.
    NoMem = 12,
    /// Invalid argument.
    Invalid = 22,
    /// No space left.
    NoSpace = 28,
    /// A value does not fit.
    Overflow = 75,
    /// Not supported.
    NotSup = 95,
    /// The server is ending.
    Shutdown = 108,
}

impl Errno {
    /// The nearest number NBD knows for one of Linux: kinds it has no number for become an I/O error.
    pub fn from_linux(errno: i32) -> Self {
        match errno {
            1 | 13 | 30 => Self::Perm,
            12 => Self::NoMem,
            22 => Self::Invalid,
            27 | 28 | 122 => Self::NoSpace,
            75 => Self::Overflow,
            95 => Self::NotSup,
            108 => Self::Shutdown,
            _ => Self::Io,
        }
    }
}

/// A request's header as it came, its numbers not yet judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Flags, see [`flag`].
    pub flags: u16,
    /// Type, see [`command`].
    pub command: u16,
    /// The client's name for the request, given back in the reply.
    pub cookie: u64,
    /// Bytes from the start of the export.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl Header {
    /// `None` if the magic number is wrong: the stream is then lost and the session has to end.
    pub fn parse(bytes: &[u8; REQUEST_LEN]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        (u32_at(0) == REQUEST_MAGIC).then(|| Self {
            flags: u16_at(4),
            command: u16_at(6),
            cookie: u64_at(8),
            offset: u64_at(16),
            length: u32_at(24),
        })
    }
}

/// A simple reply's bytes before its data.
pub fn simple_reply(error: Option<Errno>, cookie: u64) -> [u8; SIMPLE_REPLY_LEN] {
    let mut bytes = [0; SIMPLE_REPLY_LEN];
    bytes[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.map_or(0, |e| e as u32).to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// A chunk's bytes before its payload of `length` bytes.
pub fn chunk_header(flags: u16, kind: u16, cookie: u64, length: u32) -> [u8; CHUNK_LEN] {
    let mut bytes = [0; CHUNK_LEN];
    bytes[..4].copy_from_slice(&CHUNK_MAGIC.to_be_bytes());
    bytes[4..6].copy_from_slice(&flags.to_be_bytes());
    bytes[6..8].copy_from_slice(&kind.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_at_its_offsets() {
        let mut bytes = [0; REQUEST_LEN];
        bytes[..4].copy_from_slice(&[0x25, 0x60, 0x95, 0x13]);
        bytes[5] = 1;
        bytes[7] = 6;
        bytes[15] = 9;
        bytes[16] = 1;
        bytes[27] = 0x40;
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(
            header,
            Header {
                flags: flag::FUA,
                command: command::WRITE_ZEROES,
                cookie: 9,
                offset: 1 << 56,
                length: 64
            }
        );
        bytes[0] = 0;
        assert_eq!(Header::parse(&bytes), None);
    }

    #[test]
    fn replies_have_the_documented_bytes() {
        assert_eq!(
            simple_reply(Some(Errno::NoSpace), 0x0102),
            [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 1, 2]
        );
        assert_eq!(
            chunk_header(chunk::DONE, chunk::ERROR, 3, 6),
            [
                0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 6
            ]
        );
    }

    #[test]
    fn errors_keep_their_kind_where_nbd_has_one() {
        for (linux, nbd) in [
            (5, Errno::Io),
            (28, Errno::NoSpace),
            (61, Errno::Io),
            (110, Errno::Io),
            (30, Errno::Perm),
            (22, Errno::Invalid),
            (108, Errno::Shutdown),
        ] {
            assert_eq!(Errno::from_linux(linux), nbd, "{linux}");
        }
    }
}
