//! A plain NBD client for tests. It panics on what a server must never send.
//! Each test binary uses a part of it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const OPTION: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY: [u8; 8] = 0x0003_e889_0455_65a9_u64.to_be_bytes();
const REQUEST: u32 = 0x2560_9513;
const SIMPLE: u32 = 0x6744_6698;
const CHUNK: u32 = 0x668e_33ef;

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    Data(Vec<u8>),
    Extents(Vec<(u32, u32)>),
    /// Number, and the place if it was told.
    Error(u32, Option<u64>),
}

pub struct Client {
    pub stream: UnixStream,
    pub size: u64,
    pub flags: u16,
    structured: bool,
    cookie: u64,
}

impl Client {
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        stream.set_write_timeout(limit).unwrap();
        Self {
            stream,
            size: 0,
            flags: 0,
            structured: false,
            cookie: 0,
        }
    }

    /// The same connection once more, to send on while this one receives.
    pub fn half(&self) -> Self {
        Self {
            stream: self.stream.try_clone().unwrap(),
            ..*self
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn begin(&mut self, name: &str, structured: bool) {
        self.try_begin(name, structured).unwrap();
    }

    /// The greeting is read before the first option only.
    pub fn try_begin(&mut self, name: &str, structured: bool) -> Result<(), u32> {
        if self.cookie == 0 {
            assert_eq!(&self.take(), b"NBDMAGICIHAVEOPT\0\x03");
            self.stream.write_all(&3_u32.to_be_bytes()).unwrap();
            self.cookie = 1;
        }
        let mut named = (name.len() as u32).to_be_bytes().to_vec();
        named.extend_from_slice(name.as_bytes());
        if structured {
            self.option(8, &[]).unwrap();
            let mut data = named.clone();
            data.extend(1_u32.to_be_bytes());
            data.extend(15_u32.to_be_bytes());
            data.extend_from_slice(b"base:allocation");
            self.option(10, &data).map(drop)?;
        }
        named.extend([0, 0]);
        for info in self.option(7, &named)? {
            if info[..2] == [0, 0] {
                self.size = u64::from_be_bytes(info[2..10].try_into().unwrap());
                self.flags = u16::from_be_bytes(info[10..12].try_into().unwrap());
            }
        }
        self.structured = structured;
        Ok(())
    }

    /// The replies before the last one, or the number of the error.
    fn option(&mut self, number: u32, data: &[u8]) -> Result<Vec<Vec<u8>>, u32> {
        let mut bytes = OPTION.to_vec();
        bytes.extend(number.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend_from_slice(data);
        self.stream.write_all(&bytes).unwrap();
        let mut replies = Vec::new();
        loop {
            assert_eq!(self.take(), OPTION_REPLY);
            assert_eq!(self.u32(), number);
            let (kind, length) = (self.u32(), self.u32());
            let data = self.bytes(length as usize);
            match kind {
                1 => return Ok(replies),
                kind if kind >> 31 == 1 => return Err(kind),
                _ => replies.push(data),
            }
        }
    }

    pub fn send_header(&mut self, command: u16, flags: u16, cookie: u64, offset: u64, len: u32) {
        self.send(command, flags, cookie, offset, len, &[]);
    }

    pub fn send(
        &mut self,
        command: u16,
        flags: u16,
        cookie: u64,
        offset: u64,
        len: u32,
        data: &[u8],
    ) {
        let bytes = message(command, flags, cookie, offset, len, data);
        self.stream.write_all(&bytes).unwrap();
    }

    /// Sends if there is room, and does not mind if the server has hung up.
    pub fn try_send(
        &mut self,
        command: u16,
        flags: u16,
        cookie: u64,
        offset: u64,
        len: u32,
        data: &[u8],
    ) {
        self.stream.set_nonblocking(true).unwrap();
        let _ = self
            .stream
            .write(&message(command, flags, cookie, offset, len, data));
        self.stream.set_nonblocking(false).unwrap();
    }

    /// The next reply, to whichever request; `len` tells what a simple reply to it carries.
    pub fn receive_any(&mut self, len: impl Fn(u64) -> u32) -> (u64, Reply) {
        match self.u32() {
            SIMPLE => {
                let (error, cookie) = (self.u32(), self.u64());
                let reply = match (error, len(cookie)) {
                    (0, 0) => Reply::Done,
                    (0, n) => Reply::Data(self.bytes(n as usize)),
                    (error, _) => Reply::Error(error, None),
                };
                (cookie, reply)
            }
            CHUNK => {
                assert!(self.structured, "structured replies were not agreed on");
                assert_eq!(self.take(), [0, 1], "one chunk, the last");
                let kind = u16::from_be_bytes(self.take());
                let (cookie, length) = (self.u64(), self.u32());
                let data = self.bytes(length as usize);
                (cookie, chunk(kind, &data))
            }
            other => panic!("no reply: {other:#x}"),
        }
    }

    pub fn call(&mut self, command: u16, flags: u16, offset: u64, len: u32) -> Reply {
        self.cookie += 1;
        let cookie = self.cookie;
        self.send(command, flags, cookie, offset, len, &[]);
        let carried = if command == 0 { len } else { 0 };
        let (seen, reply) = self.receive_any(|_| carried);
        assert_eq!(seen, cookie);
        reply
    }

    pub fn read(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, Reply> {
        match self.call(0, 0, offset, len) {
            Reply::Data(data) => Ok(data),
            Reply::Done if len == 0 => Ok(Vec::new()),
            other => Err(other),
        }
    }

    pub fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        flags: u16,
    ) -> Result<(), (u32, Option<u64>)> {
        self.cookie += 1;
        let cookie = self.cookie;
        self.send(1, flags, cookie, offset, data.len() as u32, data);
        match self.receive_any(|_| 0) {
            (seen, Reply::Done) if seen == cookie => Ok(()),
            (seen, Reply::Error(number, at)) if seen == cookie => Err((number, at)),
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&mut self, offset: u64, len: u32) -> Vec<(u32, u32)> {
        match self.call(7, 0, offset, len) {
            Reply::Extents(extents) => extents,
            other => panic!("{other:?}"),
        }
    }

    pub fn disconnect(&mut self) {
        self.send(2, 0, 0, 0, 0, &[]);
    }

    /// Has the server hung up? Replies on the way are passed over.
    pub fn is_closed(&mut self) -> bool {
        let limit = Some(Duration::from_millis(500));
        self.stream.set_read_timeout(limit).unwrap();
        let mut bytes = vec![0; 1 << 20];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

fn message(command: u16, flags: u16, cookie: u64, offset: u64, len: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = REQUEST.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn chunk(kind: u16, data: &[u8]) -> Reply {
    let u32_at = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
    match kind {
        0 => Reply::Done,
        1 => Reply::Data(data[8..].to_vec()),
        5 => {
            assert_eq!(u32_at(0), 1, "the number of the context");
            let pairs = data[4..].chunks_exact(8);
            Reply::Extents(
                pairs
                    .map(|p| {
                        let half =
                            |at: usize| u32::from_be_bytes(p[at..at + 4].try_into().unwrap());
                        (half(0), half(4))
                    })
                    .collect(),
            )
        }
        0x8001 | 0x8002 => {
            let text = usize::from(u16::from_be_bytes(data[4..6].try_into().unwrap()));
            let at = (kind == 0x8002)
                .then(|| u64::from_be_bytes(data[6 + text..14 + text].try_into().unwrap()));
            assert!(text > 0, "an error has a text");
            Reply::Error(u32_at(0), at)
        }
        other => panic!("chunk of kind {other:#x}"),
    }
}
