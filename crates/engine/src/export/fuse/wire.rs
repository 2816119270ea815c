//! The FUSE kernel protocol (major 7): fields in, fields out, no I/O.
//!
//! Source of the format: the kernel's userspace ABI header `linux/fuse.h`; sizes and offsets are
//! facts of that ABI, all fields in the machine's byte order. Only what a folder of fixed files
//! needs is here.

/// Bytes of the header in front of every request.
pub const IN_HEADER: usize = 40;
/// Bytes of the header in front of every reply.
pub const OUT_HEADER: usize = 16;
/// Bytes in front of the data of a WRITE, header included.
pub const WRITE_HEADER: usize = IN_HEADER + 40;
/// Set in `unique` of a request that the kernel sends again (FUSE_NOTIFY_RESEND); the reply must
/// carry it too.
pub const RESENT: u64 = 1 << 63;
/// Error code of the notification that asks for everything unanswered to be sent again.
pub const NOTIFY_RESEND: i32 = 7;

/// Opcodes.
pub mod op {
    #![allow(missing_docs)]
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const ACCESS: u32 = 34;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const LSEEK: u32 = 46;
}

/// Flags of INIT (those above bit 31 travel in `flags2`).
pub mod init {
    #![allow(missing_docs)]
    pub const ASYNC_READ: u64 = 1 << 0;
    pub const BIG_WRITES: u64 = 1 << 5;
    pub const ASYNC_DIO: u64 = 1 << 15;
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    pub const MAX_PAGES: u64 = 1 << 22;
    pub const INIT_EXT: u64 = 1 << 30;
    pub const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
    pub const HAS_RESEND: u64 = 1 << 39;
}

/// `open_flags` of an OPEN reply: the page cache is passed by.
pub const FOPEN_DIRECT_IO: u32 = 1 << 0;
/// `open_flags`: no FLUSH at close.
pub const FOPEN_NOFLUSH: u32 = 1 << 5;
/// `open_flags`: direct writes to one file do not wait for each other.
pub const FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// Fields of a request header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InHeader {
    /// Bytes of the whole request.
    pub len: u32,
    /// Opcode.
    pub opcode: u32,
    /// Number the reply must carry.
    pub unique: u64,
    /// The node it is about.
    pub node: u64,
}

/// Reads numbers off the front of a request body; every read is checked.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    /// The next 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }
    /// The next 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }
}

/// Splits a request into header and body. `None` if it is shorter than it says.
pub fn split(request: &[u8]) -> Option<(InHeader, &[u8])> {
    let mut f = Fields(request);
    let header = InHeader {
        len: f.u32()?,
        opcode: f.u32()?,
        unique: f.u64()?,
        node: f.u64()?,
    };
    let len = header.len as usize;
    if len < IN_HEADER || len > request.len() {
        return None;
    }
    Some((header, &request[IN_HEADER..len]))
}

/// A reply (or notification) being built: header first, lengths filled in at the end.
#[derive(Debug)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// A successful reply without a body so far.
    pub fn ok(unique: u64) -> Self {
        let mut out = Vec::with_capacity(OUT_HEADER + 144);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&unique.to_ne_bytes());
        Self(out)
    }
    /// An error reply; `errno` is positive.
    pub fn error(unique: u64, errno: i32) -> Self {
        let mut reply = Self::ok(unique);
        reply.0[4..8].copy_from_slice(&(-errno).to_ne_bytes());
        reply
    }
    /// The notification that makes the kernel send every unanswered request again.
    pub fn notify_resend() -> Self {
        let mut reply = Self::ok(0);
        reply.0[4..8].copy_from_slice(&NOTIFY_RESEND.to_ne_bytes());
        reply
    }
    /// Appends 32 bits.
    pub fn u32(mut self, n: u32) -> Self {
        self.0.extend_from_slice(&n.to_ne_bytes());
        self
    }
    /// Appends 64 bits.
    pub fn u64(mut self, n: u64) -> Self {
        self.0.extend_from_slice(&n.to_ne_bytes());
        self
    }
    /// Appends bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    /// The finished bytes, with `payload` further bytes to be sent behind them.
    pub fn finish(mut self, payload: usize) -> Vec<u8> {
        let len = u32::try_from(self.0.len() + payload).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        self.0
    }
}

/// Attributes of a node, as LOOKUP, GETATTR and SETATTR return them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Node number, also the inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// File type and permissions.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
}

impl Attr {
    fn put(self, reply: Reply) -> Reply {
        reply
            .u64(self.ino)
            .u64(self.size)
            .u64(self.size.div_ceil(512))
            .bytes(&[0; 36]) // access, modification and change times
            .u32(self.mode)
            .u32(self.nlink)
            .u32(self.uid)
            .u32(self.gid)
            .u32(0) // rdev
            .u32(self.blksize)
            .u32(0) // flags
    }
    /// Reply to GETATTR and SETATTR; valid for no time, so that a new size is seen at once.
    pub fn reply(self, unique: u64) -> Vec<u8> {
        self.put(Reply::ok(unique).u64(0).u32(0).u32(0)).finish(0)
    }
    /// Reply to LOOKUP. The name stays valid for `name_seconds`.
    pub fn entry(self, unique: u64, name_seconds: u64) -> Vec<u8> {
        let head = Reply::ok(unique)
            .u64(self.ino)
            .u64(0)
            .u64(name_seconds)
            .u64(0)
            .u32(0)
            .u32(0);
        self.put(head).finish(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_sizes_are_the_abi_s() {
        let attr = Attr {
            ino: 2,
            size: 1 << 20,
            mode: 0o100_600,
            nlink: 1,
            uid: 0,
            gid: 0,
            blksize: 4096,
        };
        assert_eq!(attr.reply(7).len(), OUT_HEADER + 104);
        assert_eq!(attr.entry(7, 1).len(), OUT_HEADER + 128);
        assert_eq!(Reply::notify_resend().finish(0).len(), 16);
    }

    #[test]
    fn a_request_shorter_than_it_says_is_no_request() {
        let mut request = vec![0u8; IN_HEADER];
        request[0..4].copy_from_slice(&(IN_HEADER as u32 + 1).to_ne_bytes());
        assert_eq!(split(&request), None);
        request[0..4].copy_from_slice(&(IN_HEADER as u32 - 1).to_ne_bytes());
        assert_eq!(split(&request), None);
        request[0..4].copy_from_slice(&(IN_HEADER as u32).to_ne_bytes());
        assert!(split(&request).is_some());
        assert_eq!(split(&request[..IN_HEADER - 1]), None);
    }
}
