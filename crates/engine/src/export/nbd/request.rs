//! A request of the transmission phase, judged: what passes here lies within the export and its limits.

use super::handshake::Chosen;
use super::wire::{Errno, Header, command, flag};

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read `length` bytes.
    Read,
    /// Write the payload.
    Write {
        /// Durable before the answer.
        fua: bool,
    },
    /// Make durable what was answered.
    Flush,
    /// Discard.
    Trim {
        /// Durable before the answer.
        fua: bool,
    },
    /// Make the range read as zeroes.
    Zeroes {
        /// Durable before the answer.
        fua: bool,
        /// The space may be given back.
        unmap: bool,
        /// Refuse unless it is faster than writing zeroes.
        fast: bool,
    },
    /// Read ahead. A hint.
    Cache,
    /// Tell the extents.
    Status {
        /// Only the first.
        one: bool,
    },
}

/// A request within its export's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub action: Action,
    /// The client's name for it.
    pub cookie: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes. Zero only for a flush, and for reads, writes, trims, zeroes and caches of nothing.
    pub length: u32,
}

/// The judgement of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// To be carried out. Of a write, the payload follows in the stream.
    Do(Request),
    /// To be answered with this error, once `payload` bytes of the stream are passed over.
    Refuse {
        /// The answer.
        error: Errno,
        /// The client's name for the request.
        cookie: u64,
        /// Bytes of data that follow the header.
        payload: u32,
    },
    /// The client goes.
    Disconnect,
    /// The client is not to be followed: its payload is beyond all bounds, so the session ends.
    Lost,
}

/// Judges a header against the export the client has chosen.
pub fn judge(header: &Header, chosen: &Chosen) -> Judged {
    let payload = match header.command {
        command::WRITE => header.length,
        _ => 0,
    };
    if payload > chosen.info.max_block {
        return Judged::Lost;
    }
    if header.command == command::DISCONNECT {
        return Judged::Disconnect;
    }
    match action(header, chosen).and_then(|action| check_range(action, header, chosen)) {
        Ok(request) => Judged::Do(request),
        Err(error) => Judged::Refuse {
            error,
            cookie: header.cookie,
            payload,
        },
    }
}

/// The action, if its flags are among those it may have.
fn action(header: &Header, chosen: &Chosen) -> Result<Action, Errno> {
    let has = |bit| header.flags & bit != 0;
    let fua = has(flag::FUA);
    let writable = !chosen.info.read_only;
    let (allowed, action) = match header.command {
        command::READ => (if chosen.structured { flag::DF } else { 0 }, Action::Read),
        command::WRITE => (flag::FUA, Action::Write { fua }),
        command::FLUSH => (0, Action::Flush),
        command::TRIM => (flag::FUA, Action::Trim { fua }),
        command::CACHE => (0, Action::Cache),
        command::WRITE_ZEROES => (
            flag::FUA | flag::NO_HOLE | flag::FAST_ZERO,
            Action::Zeroes {
                fua,
                unmap: !has(flag::NO_HOLE),
                fast: has(flag::FAST_ZERO),
            },
        ),
        command::BLOCK_STATUS if chosen.allocation => (
            flag::REQ_ONE,
            Action::Status {
                one: has(flag::REQ_ONE),
            },
        ),
        _ => return Err(Errno::Invalid),
    };
    // Some clients set FUA on every request of theirs; on one that changes nothing it means nothing.
    if header.flags & !(allowed | flag::FUA) != 0 {
        return Err(Errno::Invalid);
    }
    let modifies = matches!(
        action,
        Action::Write { .. } | Action::Trim { .. } | Action::Zeroes { .. }
    );
    if modifies && !writable {
        return Err(Errno::Perm);
    }
    Ok(action)
}

fn check_range(action: Action, header: &Header, chosen: &Chosen) -> Result<Request, Errno> {
    let (offset, length) = match action {
        Action::Flush => (0, 0),
        _ => (header.offset, header.length),
    };
    let within = offset
        .checked_add(u64::from(length))
        .is_some_and(|end| end <= chosen.info.size);
    if !within {
        return Err(match action {
            Action::Write { .. } | Action::Zeroes { .. } => Errno::NoSpace,
            _ => Errno::Invalid,
        });
    }
    match action {
        Action::Read if length > chosen.info.max_block => Err(Errno::Invalid),
        Action::Status { .. } if length == 0 => Err(Errno::Invalid),
        _ => Ok(Request {
            action,
            cookie: header.cookie,
            offset,
            length,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::handshake::ExportInfo;
    use super::*;

    fn chosen(read_only: bool) -> Chosen {
        Chosen {
            name: "vg/lv".into(),
            info: ExportInfo {
                description: String::new(),
                size: 1 << 20,
                read_only,
                min_block: 512,
                preferred_block: 4096,
                max_block: 64 << 10,
            },
            structured: true,
            allocation: true,
        }
    }

    fn header(command: u16, flags: u16, offset: u64, length: u32) -> Header {
        Header {
            flags,
            command,
            cookie: 7,
            offset,
            length,
        }
    }

    fn refusal(header: Header, chosen: &Chosen) -> Option<(Errno, u32)> {
        match judge(&header, chosen) {
            Judged::Refuse { error, payload, .. } => Some((error, payload)),
            _ => None,
        }
    }

    #[test]
    fn the_last_byte_is_served_and_the_next_is_not() {
        let rw = chosen(false);
        assert!(matches!(
            judge(&header(command::READ, 0, (1 << 20) - 4096, 4096), &rw),
            Judged::Do(Request {
                action: Action::Read,
                length: 4096,
                ..
            })
        ));
        let beyond = |c| refusal(header(c, 0, (1 << 20) - 4096, 4097), &rw);
        assert_eq!(beyond(command::READ), Some((Errno::Invalid, 0)));
        assert_eq!(beyond(command::WRITE), Some((Errno::NoSpace, 4097)));
        assert_eq!(beyond(command::TRIM), Some((Errno::Invalid, 0)));
        assert_eq!(beyond(command::WRITE_ZEROES), Some((Errno::NoSpace, 0)));
        let wraps = header(command::READ, 0, u64::MAX, 2);
        assert_eq!(refusal(wraps, &rw), Some((Errno::Invalid, 0)));
    }

    #[test]
    fn a_payload_beyond_the_limit_loses_the_stream() {
        let rw = chosen(false);
        assert_eq!(
            judge(&header(command::WRITE, 0, 0, (64 << 10) + 1), &rw),
            Judged::Lost
        );
        // A read's answer is ours to refuse.
        assert_eq!(
            refusal(header(command::READ, 0, 0, (64 << 10) + 1), &rw),
            Some((Errno::Invalid, 0))
        );
        // Zeroes and trims have no payload, so the limit is not theirs.
        assert!(matches!(
            judge(&header(command::WRITE_ZEROES, 0, 0, 1 << 20), &rw),
            Judged::Do(_)
        ));
    }

    #[test]
    fn a_read_only_export_permits_no_change() {
        let ro = chosen(true);
        for c in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
            assert_eq!(refusal(header(c, 0, 0, 512), &ro).unwrap().0, Errno::Perm);
        }
        for c in [command::READ, command::FLUSH, command::CACHE] {
            assert!(matches!(judge(&header(c, 0, 0, 512), &ro), Judged::Do(_)));
        }
    }

    #[test]
    fn flags_are_judged_by_command() {
        let rw = chosen(false);
        let simple = Chosen {
            structured: false,
            allocation: false,
            ..chosen(false)
        };
        assert_eq!(
            refusal(header(command::READ, flag::DF, 0, 512), &simple),
            Some((Errno::Invalid, 0))
        );
        assert!(matches!(
            judge(&header(command::READ, flag::DF, 0, 512), &rw),
            Judged::Do(_)
        ));
        assert_eq!(
            refusal(header(command::WRITE, flag::NO_HOLE, 0, 512), &rw),
            Some((Errno::Invalid, 512))
        );
        let no_hole = flag::NO_HOLE | flag::FAST_ZERO | flag::FUA;
        assert_eq!(
            judge(&header(command::WRITE_ZEROES, no_hole, 0, 512), &rw),
            Judged::Do(Request {
                action: Action::Zeroes {
                    fua: true,
                    unmap: false,
                    fast: true
                },
                cookie: 7,
                offset: 0,
                length: 512
            })
        );
        let status = header(command::BLOCK_STATUS, flag::REQ_ONE, 0, 512);
        assert!(matches!(judge(&status, &rw), Judged::Do(_)));
        assert_eq!(refusal(status, &simple), Some((Errno::Invalid, 0)));
        assert_eq!(refusal(header(99, 0, 0, 0), &rw), Some((Errno::Invalid, 0)));
    }
}
