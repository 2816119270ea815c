//! The receiving side of the transmission phase. Pure: bytes in, requests and payloads out.
//!
//! Invariant: between two calls at most one request is half received, and it holds its buffer.

use super::handshake::Chosen;
use super::request::{Action, Judged, Request, judge};
use super::wire::{Errno, Header, REQUEST_LEN};
use crate::buf::{Buf, BufPool};

/// What came in.
#[derive(Debug)]
pub enum Got {
    /// More bytes are needed.
    Nothing,
    /// The header at hand waits until the pool has room for its payload.
    NoRoom,
    /// A request, and of a write its payload.
    Request(Request, Option<Buf>),
    /// A request that is answered with an error; its payload, if any, was passed over.
    Refused(Errno, u64),
    /// The client goes.
    Disconnect,
    /// The stream cannot be followed any more.
    Lost,
}

#[derive(Debug)]
enum State {
    Header,
    Payload {
        request: Request,
        buf: Buf,
        filled: usize,
    },
    PassOver {
        error: Errno,
        cookie: u64,
        left: usize,
    },
}

/// The receiving side of one session.
#[derive(Debug)]
pub struct Intake {
    state: State,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            state: State::Header,
        }
    }
}

impl Intake {
    /// Takes from `input` up to the end of one request. Returns the number of bytes used.
    pub fn step(&mut self, input: &[u8], chosen: &Chosen, pool: &mut BufPool) -> (usize, Got) {
        match &mut self.state {
            State::Header => self.header(input, chosen, pool),
            State::Payload { buf, filled, .. } => {
                let used = input.len().min(buf.len() - *filled);
                buf[*filled..*filled + used].copy_from_slice(&input[..used]);
                *filled += used;
                (used, self.complete())
            }
            State::PassOver { left, .. } => {
                let used = input.len().min(*left);
                *left -= used;
                (used, self.complete())
            }
        }
    }

    fn header(&mut self, input: &[u8], chosen: &Chosen, pool: &mut BufPool) -> (usize, Got) {
        let Some(bytes) = input.first_chunk::<REQUEST_LEN>() else {
            return (0, Got::Nothing);
        };
        let Some(header) = Header::parse(bytes) else {
            return (0, Got::Lost);
        };
        let got = match judge(&header, chosen) {
            Judged::Lost => return (0, Got::Lost),
            Judged::Disconnect => Got::Disconnect,
            Judged::Refuse {
                error,
                cookie,
                payload,
            } => {
                self.state = State::PassOver {
                    error,
                    cookie,
                    left: payload as usize,
                };
                self.complete()
            }
            Judged::Do(request) => match request.action {
                Action::Write { .. } if request.length > 0 => {
                    let Some(buf) = pool.take(request.length as usize) else {
                        return (0, Got::NoRoom);
                    };
                    self.state = State::Payload {
                        request,
                        buf,
                        filled: 0,
                    };
                    Got::Nothing
                }
                _ => Got::Request(request, None),
            },
        };
        (REQUEST_LEN, got)
    }

    /// Gives out what is half received, if it is whole by now.
    fn complete(&mut self) -> Got {
        let whole = match &self.state {
            State::Header => false,
            State::Payload { buf, filled, .. } => *filled == buf.len(),
            State::PassOver { left, .. } => *left == 0,
        };
        if !whole {
            return Got::Nothing;
        }
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header => Got::Nothing,
            State::Payload { request, buf, .. } => Got::Request(request, Some(buf)),
            State::PassOver { error, cookie, .. } => Got::Refused(error, cookie),
        }
    }

    /// The part of a payload that is still to come, for receiving straight into it when no input
    /// is left over; [`Self::received`] tells how much came.
    pub fn direct(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Payload { buf, filled, .. } => Some(&mut buf[*filled..]),
            State::Header | State::PassOver { .. } => None,
        }
    }

    /// `n` bytes were received into [`Self::direct`].
    pub fn received(&mut self, n: usize) -> Got {
        if let State::Payload { buf, filled, .. } = &mut self.state {
            *filled = (*filled + n).min(buf.len());
        }
        self.complete()
    }

    /// In the middle of a request?
    pub fn partial(&self) -> bool {
        !matches!(self.state, State::Header)
    }
}

#[cfg(test)]
mod tests {
    use super::super::handshake::ExportInfo;
    use super::super::wire::{REQUEST_MAGIC, command};
    use super::*;

    fn chosen() -> Chosen {
        Chosen {
            name: "x".into(),
            info: ExportInfo {
                description: String::new(),
                size: 1 << 20,
                read_only: false,
                min_block: 1,
                preferred_block: 4096,
                max_block: 64 << 10,
            },
            structured: true,
            allocation: true,
        }
    }

    fn message(command: u16, cookie: u64, offset: u64, length: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(command.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// What comes of `input` when it arrives in pieces.
    fn play(input: &[u8], piece: usize, direct: bool) -> Vec<String> {
        let (mut intake, mut pool) = (Intake::default(), BufPool::new(1 << 20));
        let (mut told, mut held) = (Vec::new(), Vec::new());
        let mut tell = |got| match got {
            Got::Nothing => false,
            Got::Request(r, buf) => {
                told.push(format!("{} {:?}", r.cookie, buf.map(|b| b.to_vec())));
                true
            }
            Got::Refused(e, cookie) => {
                told.push(format!("{cookie} {e:?}"));
                true
            }
            other => {
                told.push(format!("{other:?}"));
                false
            }
        };
        for bytes in input.chunks(piece) {
            let mut rest = bytes;
            if direct
                && held.is_empty()
                && let Some(room) = intake.direct()
            {
                let n = room.len().min(rest.len());
                room[..n].copy_from_slice(&rest[..n]);
                rest = &rest[n..];
                tell(intake.received(n));
            }
            held.extend_from_slice(rest);
            loop {
                let (used, got) = intake.step(&held, &chosen(), &mut pool);
                held.drain(..used);
                if !tell(got) && used == 0 {
                    break;
                }
            }
        }
        told
    }

    #[test]
    fn requests_come_whole_however_they_arrive() {
        let mut input = message(command::WRITE, 1, 0, 5, b"hello");
        input.extend(message(command::READ, 2, 0, 512, b""));
        // Beyond the end: refused, and its payload passed over.
        input.extend(message(command::WRITE, 3, 1 << 20, 7, b"payload"));
        input.extend(message(command::WRITE, 4, 9, 3, b"abc"));
        input.extend(message(command::WRITE, 5, 9, 0, b""));
        let wanted = [
            "1 Some([104, 101, 108, 108, 111])",
            "2 None",
            "3 NoSpace",
            "4 Some([97, 98, 99])",
            "5 None",
        ];
        for piece in 1..=input.len() {
            for direct in [false, true] {
                assert_eq!(play(&input, piece, direct), wanted, "pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_wrong_magic_number_and_a_huge_payload_are_lost() {
        assert_eq!(play(&[0; 28], 28, false)[0], "Lost");
        let huge = message(command::WRITE, 1, 0, (64 << 10) + 1, b"");
        assert_eq!(play(&huge, 28, false)[0], "Lost");
    }

    #[test]
    fn without_room_the_header_stays() {
        let (mut intake, mut pool) = (Intake::default(), BufPool::new(4096));
        let input = message(command::WRITE, 1, 0, 5000, b"");
        let (used, got) = intake.step(&input, &chosen(), &mut pool);
        assert!(matches!((used, got), (0, Got::NoRoom)));
    }
}
