//! The folder that FUSE shows, of two levels. Pure: a request comes in, and either the bytes of a
//! reply or an I/O for a device comes out.
//!
//! Node numbers and file handles are fixed numbers (a file's handle is its node number), so that a
//! process that takes over a mounted folder needs nothing but the same list of files.

use std::collections::BTreeMap;

use super::wire::{
    Attr, FOPEN_DIRECT_IO, FOPEN_PARALLEL_DIRECT_WRITES, Fields, InHeader, Reply, init, op,
};

const ROOT: u64 = 1;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const FALLOC_KEEP_SIZE: u32 = 1;
const FALLOC_PUNCH_HOLE: u32 = 2;
const FALLOC_ZERO_RANGE: u32 = 0x10;
const SETATTR_SIZE: u32 = 1 << 3;
const O_ACCMODE: u32 = 3;

/// Newest minor version spoken; an older kernel's is taken instead.
const PROTOCOL_MINOR: u32 = 39;
/// Most requests of loop devices, and others that do not wait for each, that the kernel keeps going at a
/// time. A loop device has up to 128: two whose disk does not answer must not use up all there are.
const MAX_BACKGROUND: u16 = 1024;

/// Seconds that a name leads to the same node in a folder that does not change.
const NAME_SECONDS: u64 = 3600;
/// Most bytes of one listing: it is sent out of a small buffer.
const MAX_LISTING: u32 = 32 << 10;

/// Most bytes of one READ or WRITE.
pub const MAX_IO: u32 = 1 << 20;

/// A file of the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// `NAME` or `FOLDER/NAME`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Opening for writing is refused.
    pub read_only: bool,
}

/// What to do for a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send these bytes.
    Reply(Vec<u8>),
    /// Nothing is to be sent.
    Silent,
    /// Read from a file; the data are the reply.
    Read {
        /// Index of the file.
        file: usize,
        /// Byte offset.
        offset: u64,
        /// Bytes, cut to the file's end.
        len: u32,
    },
    /// Write the data behind [`WRITE_HEADER`](super::wire::WRITE_HEADER) to a file.
    Write {
        /// Index of the file.
        file: usize,
        /// Byte offset.
        offset: u64,
        /// Bytes.
        len: u32,
        /// Is it to be durable before it is answered?
        fua: bool,
    },
    /// Make a file's data durable.
    Flush {
        /// Index of the file.
        file: usize,
    },
    /// Make a range read as zeroes.
    Zero {
        /// Index of the file.
        file: usize,
        /// Byte offset.
        offset: u64,
        /// Bytes.
        len: u64,
        /// The space may be given back.
        unmap: bool,
        /// Durable before the answer.
        fua: bool,
    },
    /// The folder has been unmounted.
    Gone,
}

#[derive(Clone, Debug)]
enum Node {
    Dir {
        name: String,
        parent: u64,
    },
    File {
        name: String,
        parent: u64,
        index: usize,
        size: u64,
        read_only: bool,
    },
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder {
    nodes: BTreeMap<u64, Node>,
    uid: u32,
    gid: u32,
    name_seconds: u64,
}

/// A file as a request sees it.
#[derive(Clone, Copy)]
struct Seen {
    index: usize,
    size: u64,
    read_only: bool,
}

/// The node of a file that came under a number: the first after the root's.
pub fn node(index: usize) -> u64 {
    index as u64 + ROOT + 1
}

impl Folder {
    /// Without files, owned by that user; files come and go.
    pub fn empty(uid: u32, gid: u32) -> Self {
        Self {
            nodes: BTreeMap::new(),
            uid,
            gid,
            name_seconds: 0,
        }
    }

    /// A folder of these files that does not change. `None` if two have one path, or a path is
    /// not one or two plain names.
    pub fn new(files: Vec<File>, uid: u32, gid: u32) -> Option<Self> {
        let mut folder = Self {
            name_seconds: NAME_SECONDS,
            ..Self::empty(uid, gid)
        };
        for (index, file) in files.into_iter().enumerate() {
            let (parent, name) = match file.path.split_once('/') {
                Some((dir, name)) => (folder.dir(dir)?, name.to_owned()),
                None => (ROOT, file.path.clone()),
            };
            let node = folder.nodes.len() as u64 + 2;
            folder.insert(node, parent, &name, index, &file)?;
        }
        Some(folder)
    }

    /// Puts a file into an [`empty`](Self::empty) folder, under a number that decides its node: a
    /// file that has the number already is replaced. False if its path is not one plain name, or
    /// another file has it.
    pub fn put(&mut self, index: usize, file: &File) -> bool {
        let node = node(index);
        let before = self.nodes.remove(&node);
        let done = self.insert(node, ROOT, &file.path, index, file).is_some();
        if let (false, Some(before)) = (done, before) {
            self.nodes.insert(node, before);
        }
        done
    }

    /// Takes the file with that number out.
    pub fn take(&mut self, index: usize) {
        self.nodes.remove(&node(index));
    }

    fn insert(
        &mut self,
        node: u64,
        parent: u64,
        name: &str,
        index: usize,
        file: &File,
    ) -> Option<()> {
        if !plain(name) || find(&self.nodes, parent, name.as_bytes()).is_some() {
            return None;
        }
        let entry = Node::File {
            name: name.to_owned(),
            parent,
            index,
            size: file.size,
            read_only: file.read_only,
        };
        self.nodes.insert(node, entry);
        Some(())
    }

    /// The node of a folder in the folder, made if it is not there. `None` if that is no plain name
    /// or a file's.
    fn dir(&mut self, name: &str) -> Option<u64> {
        match find(&self.nodes, ROOT, name.as_bytes()) {
            Some(node) => matches!(self.nodes.get(&node)?, Node::Dir { .. }).then_some(node),
            None if plain(name) => {
                let node = self.nodes.len() as u64 + 2;
                let dir = Node::Dir {
                    name: name.to_owned(),
                    parent: ROOT,
                };
                self.nodes.insert(node, dir);
                Some(node)
            }
            None => None,
        }
    }

    /// Decides what a request wants. `body` is what stands behind the header.
    pub fn handle(&self, header: &InHeader, body: &[u8]) -> Action {
        let unique = header.unique;
        match self.decide(header, body) {
            Ok(action) => action,
            Err(errno) => Action::Reply(Reply::error(unique, errno).finish(0)),
        }
    }

    fn decide(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let unique = header.unique;
        let empty = || Ok(Action::Reply(Reply::ok(unique).finish(0)));
        match header.opcode {
            op::INIT => init_reply(unique, body),
            op::DESTROY => Ok(Action::Gone),
            op::FORGET | op::BATCH_FORGET | op::INTERRUPT => Ok(Action::Silent),
            op::LOOKUP => self.lookup(header, body),
            op::GETATTR => Ok(Action::Reply(self.attr(header.node)?.reply(unique))),
            op::SETATTR => self.setattr(header, body),
            op::OPEN => self.open(header, body),
            op::OPENDIR => self.attr(header.node).and_then(|a| match a.mode & S_IFDIR {
                0 => Err(libc::ENOTDIR),
                _ => Ok(Action::Reply(
                    Reply::ok(unique).u64(header.node).u64(0).finish(0),
                )),
            }),
            op::READDIR => self.readdir(header, body),
            op::READ => self.read(header, body),
            op::WRITE => self.write(header, body),
            op::FSYNC => Ok(Action::Flush {
                file: self.file(header.node)?.index,
            }),
            op::FALLOCATE => self.fallocate(header, body),
            op::LSEEK => self.lseek(header, body),
            op::STATFS => Ok(Action::Reply(statfs(unique))),
            op::FLUSH | op::RELEASE | op::RELEASEDIR | op::FSYNCDIR | op::ACCESS => empty(),
            _ => Err(libc::ENOSYS),
        }
    }

    fn file(&self, node: u64) -> Result<Seen, i32> {
        match self.nodes.get(&node) {
            Some(Node::File {
                index,
                size,
                read_only,
                ..
            }) => Ok(Seen {
                index: *index,
                size: *size,
                read_only: *read_only,
            }),
            Some(Node::Dir { .. }) => Err(libc::EISDIR),
            None if node == ROOT => Err(libc::EISDIR),
            None => Err(libc::ENOENT),
        }
    }

    fn attr(&self, node: u64) -> Result<Attr, i32> {
        let (size, mode, nlink, blksize) = match self.file(node) {
            Ok(file) => {
                let mode = if file.read_only { 0o400 } else { 0o600 };
                (file.size, S_IFREG | mode, 1, MAX_IO)
            }
            Err(libc::EISDIR) => (0, S_IFDIR | 0o500, 2, 4096),
            Err(errno) => return Err(errno),
        };
        Ok(Attr {
            ino: node,
            size,
            mode,
            nlink,
            uid: self.uid,
            gid: self.gid,
            blksize,
        })
    }

    fn lookup(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let name = body.split(|b| *b == 0).next().unwrap_or_default();
        let node = find(&self.nodes, header.node, name).ok_or(libc::ENOENT)?;
        Ok(Action::Reply(
            self.attr(node)?.entry(header.unique, self.name_seconds),
        ))
    }

    /// Sizes are the devices' own: a truncation to anything else is refused; times and modes are
    /// accepted and forgotten.
    fn setattr(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let mut f = Fields(body);
        let valid = f.u32().ok_or(libc::EINVAL)?;
        let (_pad, _fh) = (f.u32(), f.u64());
        let size = f.u64().ok_or(libc::EINVAL)?;
        let attr = self.attr(header.node)?;
        if valid & SETATTR_SIZE != 0 && size != attr.size {
            return Err(libc::EPERM);
        }
        Ok(Action::Reply(attr.reply(header.unique)))
    }

    fn open(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let file = self.file(header.node)?;
        let flags = Fields(body).u32().ok_or(libc::EINVAL)?;
        if file.read_only && flags & O_ACCMODE != 0 {
            return Err(libc::EROFS);
        }
        let open = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
        // The handle is what later requests tell of how the file was opened.
        let handle = u64::from(flags & libc::O_DSYNC as u32);
        Ok(Action::Reply(
            Reply::ok(header.unique)
                .u64(handle)
                .u32(open)
                .u32(0)
                .finish(0),
        ))
    }

    fn readdir(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let mut f = Fields(body);
        let (_fh, offset) = (f.u64(), f.u64().ok_or(libc::EINVAL)?);
        let room = f.u32().ok_or(libc::EINVAL)?.min(MAX_LISTING) as usize;
        let parent = match header.node {
            ROOT => ROOT,
            node => match self.nodes.get(&node) {
                Some(Node::Dir { parent, .. }) => *parent,
                Some(Node::File { .. }) => return Err(libc::ENOTDIR),
                None => return Err(libc::ENOENT),
            },
        };
        // Offsets: 1 and 2 for the dots, then a node's own number + 1.
        let dots = [(1, header.node, ".", S_IFDIR), (2, parent, "..", S_IFDIR)];
        let nodes = self.nodes.iter().filter_map(|(&ino, n)| match n {
            Node::Dir { name, parent } if *parent == header.node => {
                Some((ino + 1, ino, name.as_str(), S_IFDIR))
            }
            Node::File { name, parent, .. } if *parent == header.node => {
                Some((ino + 1, ino, name.as_str(), S_IFREG))
            }
            _ => None,
        });
        let mut out = Vec::new();
        for (next, ino, name, kind) in dots.into_iter().chain(nodes) {
            let len = (24 + name.len()).next_multiple_of(8);
            if next <= offset {
                continue;
            }
            if out.len() + len > room {
                break;
            }
            out.extend_from_slice(&ino.to_ne_bytes());
            out.extend_from_slice(&next.to_ne_bytes());
            out.extend_from_slice(&(name.len() as u32).to_ne_bytes());
            out.extend_from_slice(&(kind >> 12).to_ne_bytes());
            out.extend_from_slice(name.as_bytes());
            out.resize(out.len().next_multiple_of(8), 0);
        }
        Ok(Action::Reply(
            Reply::ok(header.unique).bytes(&out).finish(0),
        ))
    }

    fn read(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let file = self.file(header.node)?;
        let mut f = Fields(body);
        let (_fh, offset) = (f.u64(), f.u64().ok_or(libc::EINVAL)?);
        let len = f.u32().ok_or(libc::EINVAL)?.min(MAX_IO);
        let left = file.size.saturating_sub(offset);
        let len = u32::try_from(left.min(u64::from(len))).unwrap_or(MAX_IO);
        if len == 0 {
            return Ok(Action::Reply(Reply::ok(header.unique).finish(0)));
        }
        Ok(Action::Read {
            file: file.index,
            offset,
            len,
        })
    }

    fn write(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let file = self.file(header.node)?;
        let mut f = Fields(body);
        let (_fh, offset) = (f.u64(), f.u64().ok_or(libc::EINVAL)?);
        let len = f.u32().ok_or(libc::EINVAL)?;
        let (_write_flags, _lock_owner) = (f.u32(), f.u64());
        let open_flags = f.u32().ok_or(libc::EINVAL)?;
        if body.len().saturating_sub(40) < len as usize || len > MAX_IO {
            return Err(libc::EINVAL);
        }
        // The kernel sends no FSYNC after a write that has to be durable (O_DSYNC, O_SYNC, RWF_DSYNC).
        let fua = open_flags & libc::O_DSYNC as u32 != 0;
        if file.read_only {
            return Err(libc::EROFS);
        }
        // A device does not grow: a write beyond its end is cut, one that starts there fails.
        let left = file.size.saturating_sub(offset);
        match u32::try_from(left.min(u64::from(len))).unwrap_or(len) {
            0 if len > 0 => Err(libc::ENOSPC),
            0 => Ok(Action::Reply(written(header.unique, 0))),
            len => Ok(Action::Write {
                file: file.index,
                offset,
                len,
                fua,
            }),
        }
    }

    fn fallocate(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let file = self.file(header.node)?;
        let mut f = Fields(body);
        // Through a file that was opened with O_DSYNC or O_SYNC, zeroes are as durable as writes.
        let fua = f.u64().ok_or(libc::EINVAL)? & libc::O_DSYNC as u64 != 0;
        let offset = f.u64().ok_or(libc::EINVAL)?;
        let len = f.u64().ok_or(libc::EINVAL)?;
        let mode = f.u32().ok_or(libc::EINVAL)?;
        if file.read_only {
            return Err(libc::EROFS);
        }
        let left = file.size.saturating_sub(offset);
        match mode & !FALLOC_KEEP_SIZE {
            FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE if left == 0 || len == 0 => {
                Ok(Action::Reply(Reply::ok(header.unique).finish(0)))
            }
            FALLOC_PUNCH_HOLE => Ok(Action::Zero {
                file: file.index,
                offset,
                len: len.min(left),
                unmap: true,
                fua,
            }),
            FALLOC_ZERO_RANGE => Ok(Action::Zero {
                file: file.index,
                offset,
                len: len.min(left),
                unmap: false,
                fua,
            }),
            0 if len <= left => Ok(Action::Reply(Reply::ok(header.unique).finish(0))),
            0 => Err(libc::ENOSPC),
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    /// Every byte counts as data; the end is the only hole.
    fn lseek(&self, header: &InHeader, body: &[u8]) -> Result<Action, i32> {
        let size = self.file(header.node)?.size;
        let mut f = Fields(body);
        let _fh = f.u64();
        let offset = f.u64().ok_or(libc::EINVAL)?;
        let whence = f.u32().ok_or(libc::EINVAL)?;
        if offset >= size {
            return Err(libc::ENXIO);
        }
        let to = match whence {
            3 => offset,
            4 => size,
            _ => return Err(libc::EINVAL),
        };
        Ok(Action::Reply(Reply::ok(header.unique).u64(to).finish(0)))
    }
}

/// Reply to a WRITE of which `len` bytes were taken.
pub fn written(unique: u64, len: u32) -> Vec<u8> {
    Reply::ok(unique).u32(len).u32(0).finish(0)
}

fn plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn find(nodes: &BTreeMap<u64, Node>, parent: u64, name: &[u8]) -> Option<u64> {
    let mut nodes = nodes.iter();
    let found = nodes.find(|(_, n)| match n {
        Node::Dir { name: n, parent: p }
        | Node::File {
            name: n, parent: p, ..
        } => *p == parent && n.as_bytes() == name,
    });
    found.map(|(node, _)| *node)
}

/// What was agreed on with the kernel for the life of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Minor version of the protocol.
    pub minor: u32,
    /// Flags that both sides know ([`init`]).
    pub flags: u64,
}

impl Negotiated {
    /// The kernel can be asked to send unanswered requests again.
    pub fn resends(&self) -> bool {
        self.flags & init::HAS_RESEND != 0
    }
}

fn init_reply(unique: u64, body: &[u8]) -> Result<Action, i32> {
    negotiate(unique, body).map(|(_, reply)| Action::Reply(reply))
}

/// Answers INIT: what is agreed on, and the bytes of the reply.
pub fn negotiate(unique: u64, body: &[u8]) -> Result<(Negotiated, Vec<u8>), i32> {
    let mut f = Fields(body);
    let major = f.u32().ok_or(libc::EINVAL)?;
    let minor = f.u32().ok_or(libc::EINVAL)?;
    let readahead = f.u32().unwrap_or(0);
    let low = f.u32().unwrap_or(0);
    let high = f.u32().unwrap_or(0);
    if major < 7 || (major == 7 && minor < 23) {
        return Err(libc::EPROTO);
    }
    let offered = u64::from(low)
        | if u64::from(low) & init::INIT_EXT != 0 {
            u64::from(high) << 32
        } else {
            0
        };
    let wanted = init::ASYNC_READ
        | init::BIG_WRITES
        | init::ASYNC_DIO
        | init::PARALLEL_DIROPS
        | init::MAX_PAGES
        | init::INIT_EXT
        | init::DIRECT_IO_ALLOW_MMAP
        | init::HAS_RESEND;
    let flags = offered & wanted;
    let max_pages = (MAX_IO / 4096) as u16;
    let minor = minor.min(PROTOCOL_MINOR);
    let reply = Reply::ok(unique)
        .u32(7)
        .u32(minor)
        .u32(readahead.min(MAX_IO))
        .u32(flags as u32)
        .bytes(&MAX_BACKGROUND.to_ne_bytes())
        .bytes(&(MAX_BACKGROUND / 4 * 3).to_ne_bytes())
        .u32(MAX_IO)
        .u32(1) // time granularity
        .bytes(&max_pages.to_ne_bytes())
        .bytes(&[0; 2]) // map alignment
        .u32((flags >> 32) as u32)
        .bytes(&[0; 28]); // stacking depth, time-out, unused
    Ok((Negotiated { minor, flags }, reply.finish(0)))
}

fn statfs(unique: u64) -> Vec<u8> {
    let mut reply = Reply::ok(unique);
    for _ in 0..5 {
        reply = reply.u64(0); // blocks, free, available, files, free files
    }
    reply.u32(512).u32(255).u32(512).bytes(&[0; 28]).finish(0)
}

#[cfg(test)]
mod tests {
    use super::super::wire::OUT_HEADER;
    use super::*;

    fn folder() -> Folder {
        let file = |path: &str, size, read_only| File {
            path: path.into(),
            size,
            read_only,
        };
        Folder::new(
            vec![
                file("vg/a", 8192, false),
                file("vg/b", 4096, true),
                file("c", 512, false),
            ],
            7,
            8,
        )
        .expect("paths are plain")
    }

    fn ask(opcode: u32, node: u64, words: &[u64]) -> Action {
        let body: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        folder().handle(
            &InHeader {
                len: 0,
                opcode,
                unique: 9,
                node,
            },
            &body,
        )
    }

    fn errno(action: &Action) -> i32 {
        match action {
            Action::Reply(r) => -i32::from_ne_bytes(r[4..8].try_into().unwrap()),
            _ => 0,
        }
    }

    fn lookup(parent: u64, name: &str) -> Result<u64, i32> {
        let mut body = name.as_bytes().to_vec();
        body.push(0);
        let header = InHeader {
            len: 0,
            opcode: op::LOOKUP,
            unique: 9,
            node: parent,
        };
        match folder().handle(&header, &body) {
            Action::Reply(r) if r.len() > OUT_HEADER => Ok(u64::from_ne_bytes(
                r[OUT_HEADER..OUT_HEADER + 8].try_into().unwrap(),
            )),
            other => Err(errno(&other)),
        }
    }

    #[test]
    fn names_lead_to_fixed_nodes() {
        assert_eq!(lookup(1, "vg"), Ok(2));
        assert_eq!(lookup(2, "a"), Ok(3));
        assert_eq!(lookup(2, "b"), Ok(4));
        assert_eq!(lookup(1, "c"), Ok(5));
        assert_eq!(lookup(1, "a"), Err(libc::ENOENT));
        assert_eq!(lookup(3, "a"), Err(libc::ENOENT));
    }

    #[test]
    fn io_is_cut_to_the_file_and_refused_where_it_may_not_be() {
        let read = |node, offset, len| ask(op::READ, node, &[0, offset, len, 0, 0]);
        assert_eq!(
            read(3, 4096, 8192),
            Action::Read {
                file: 0,
                offset: 4096,
                len: 4096
            }
        );
        assert!(matches!(read(3, 8192, 1), Action::Reply(r) if r.len() == OUT_HEADER));
        assert_eq!(errno(&read(2, 0, 1)), libc::EISDIR);
        assert_eq!(errno(&read(1, 0, 1)), libc::EISDIR);
        assert_eq!(errno(&read(99, 0, 1)), libc::ENOENT);
        let write = |node, offset| ask(op::WRITE, node, &[0, offset, 16, 0, 0, 1, 2]);
        assert_eq!(
            write(3, 8184),
            Action::Write {
                file: 0,
                offset: 8184,
                len: 8,
                fua: false,
            }
        );
        assert_eq!(errno(&write(3, 8192)), libc::ENOSPC);
        assert_eq!(errno(&write(4, 0)), libc::EROFS);
        // A body shorter than it says.
        assert_eq!(
            errno(&ask(op::WRITE, 3, &[0, 0, 17, 0, 0, 1, 2])),
            libc::EINVAL
        );
        assert_eq!(errno(&ask(op::OPEN, 4, &[1])), libc::EROFS);
        assert_eq!(errno(&ask(op::OPEN, 4, &[0])), 0);
    }

    #[test]
    fn holes_and_zero_ranges_become_zeroes() {
        let fallocate = |mode| ask(op::FALLOCATE, 3, &[0, 4096, 8192, mode]);
        let zero = |unmap, fua| Action::Zero {
            file: 0,
            offset: 4096,
            len: 4096,
            unmap,
            fua,
        };
        assert_eq!(fallocate(3), zero(true, false));
        assert_eq!(fallocate(0x11), zero(false, false));
        assert_eq!(errno(&fallocate(0)), libc::ENOSPC);
        assert_eq!(errno(&fallocate(8)), libc::EOPNOTSUPP);
    }

    #[test]
    fn zeroes_are_durable_through_a_file_that_was_opened_so() {
        for (flags, durable) in [
            (libc::O_RDWR, false),
            (libc::O_RDWR | libc::O_DSYNC, true),
            (libc::O_RDWR | libc::O_SYNC, true),
        ] {
            let Action::Reply(reply) = ask(op::OPEN, 3, &[flags as u64]) else {
                panic!("an answer at once");
            };
            let handle = reply[OUT_HEADER..].first_chunk().expect("a handle");
            let handle = u64::from_ne_bytes(*handle);
            let zero = ask(op::FALLOCATE, 3, &[handle, 0, 4096, 0x11]);
            assert!(
                matches!(zero, Action::Zero { fua, .. } if fua == durable),
                "{zero:?}"
            );
        }
    }

    #[test]
    fn writes_are_durable_through_a_file_that_was_opened_so() {
        for (flags, durable) in [(0, false), (libc::O_DSYNC, true), (libc::O_SYNC, true)] {
            // Handle, offset, length, lock owner, how it was opened; the data.
            let write = ask(op::WRITE, 3, &[0, 512, 8, 0, flags as u64, 7]);
            assert!(
                matches!(write, Action::Write { fua, .. } if fua == durable),
                "{write:?}"
            );
        }
    }

    #[test]
    fn a_device_keeps_its_size() {
        // valid = SIZE, fh, size
        assert_eq!(errno(&ask(op::SETATTR, 3, &[8, 0, 8192])), 0);
        assert_eq!(errno(&ask(op::SETATTR, 3, &[8, 0, 0])), libc::EPERM);
    }

    #[test]
    fn a_listing_continues_where_it_stopped() {
        let names = |offset, room| match ask(op::READDIR, 1, &[0, offset, room]) {
            Action::Reply(r) => {
                let mut rest = &r[OUT_HEADER..];
                let mut names = Vec::new();
                while !rest.is_empty() {
                    let len = u32::from_ne_bytes(rest[16..20].try_into().unwrap()) as usize;
                    let next = u64::from_ne_bytes(rest[8..16].try_into().unwrap());
                    names.push((
                        next,
                        String::from_utf8_lossy(&rest[24..24 + len]).into_owned(),
                    ));
                    rest = &rest[(24 + len).next_multiple_of(8)..];
                }
                names
            }
            other => panic!("{other:?}"),
        };
        let all = names(0, 4096);
        let plain: Vec<&str> = all.iter().map(|n| n.1.as_str()).collect();
        assert_eq!(plain, [".", "..", "vg", "c"]);
        for (i, (next, _)) in all.iter().enumerate() {
            assert_eq!(names(*next, 4096), all[i + 1..]);
        }
        assert_eq!(names(0, 70).len(), 2, "cut to the room given");
    }

    #[test]
    fn init_takes_only_what_the_kernel_offers() {
        let offered = init::ASYNC_DIO | init::INIT_EXT | init::HAS_RESEND;
        let body = [
            7 | 40 << 32,
            131_072 | (offered & 0xffff_ffff) << 32,
            offered >> 32,
        ];
        match ask(op::INIT, 0, &body) {
            Action::Reply(r) => {
                assert_eq!(r.len(), OUT_HEADER + 64);
                let word = |n: usize| u32::from_ne_bytes(r[16 + n..20 + n].try_into().unwrap());
                assert_eq!((word(0), word(4)), (7, 39));
                assert_eq!(u64::from(word(12)) | u64::from(word(32)) << 32, offered);
                assert_eq!(word(20), MAX_IO);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(errno(&ask(op::INIT, 0, &[7 | 22 << 32])), libc::EPROTO);
    }

    #[test]
    fn files_come_and_go_under_their_numbers() {
        let file = |path: &str, size| File {
            path: path.into(),
            size,
            read_only: false,
        };
        let mut folder = Folder::empty(0, 0);
        assert!(folder.put(4, &file("a", 512)) && folder.put(0, &file("b", 512)));
        assert!(!folder.put(1, &file("a", 512)), "the name is taken");
        assert!(!folder.put(1, &file("x/y", 512)));
        assert!(folder.put(4, &file("a", 1024)), "a new size");
        assert_eq!(find(&folder.nodes, ROOT, b"a"), Some(6));
        assert_eq!(folder.file(6).map(|f| (f.index, f.size)), Ok((4, 1024)));
        folder.take(4);
        assert!(folder.file(6).is_err_and(|e| e == libc::ENOENT));
        assert_eq!(find(&folder.nodes, ROOT, b"b"), Some(2));
    }

    #[test]
    fn paths_must_be_plain_and_distinct() {
        let make = |paths: &[&str]| {
            let files = paths.iter().map(|p| File {
                path: (*p).into(),
                size: 1,
                read_only: false,
            });
            Folder::new(files.collect(), 0, 0).is_some()
        };
        assert!(make(&["a/b", "a/c"]));
        for bad in [
            &["a", "a"][..],
            &["a", "a/b"],
            &["a/b/c"],
            &["../a"],
            &[""],
            &["a/"],
        ] {
            assert!(!make(bad), "{bad:?}");
        }
    }
}
