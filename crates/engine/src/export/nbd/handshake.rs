//! The handshake: from the greeting to the choice of an export. Pure: bytes in, bytes out.
//!
//! Invariants: what a client can make the server keep is bounded by [`MAX_OPTION`]; a handshake ends
//! after [`Limits::options`] options at the latest; the export's facts are those of the moment it
//! was asked for, so a resize is seen by connections made later.
//!
//! [`Limits::options`]: super::Limits

use super::wire::{self, info, option, reply, transmission};

/// Longest data of an option that is looked at; of a longer one the data are passed over.
pub const MAX_OPTION: usize = 16 << 10;
/// Data of an option longer than this end the session.
const MAX_PASSED_OVER: u32 = 1 << 20;
/// Number of `base:allocation` in block status replies.
pub const ALLOCATION_ID: u32 = 1;
const ALLOCATION: &[u8] = b"base:allocation";
const CLIENT_FIXED_NEWSTYLE: u32 = 1;
const CLIENT_NO_ZEROES: u32 = 2;

/// What a client is told of an export before it uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportInfo {
    /// Text for people; empty for none.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// No writes.
    pub read_only: bool,
    /// Least block in bytes that is served without a detour; a power of two.
    pub min_block: u32,
    /// Block in bytes that is served best; a power of two, at least `min_block`.
    pub preferred_block: u32,
    /// Largest payload of a request in bytes.
    pub max_block: u32,
}

impl ExportInfo {
    /// The transmission flags. All of our exports can do all there is, unless they are read-only.
    fn flags(&self) -> u16 {
        let always = transmission::HAS_FLAGS
            | transmission::SEND_FLUSH
            | transmission::SEND_DF
            | transmission::SEND_CACHE
            | transmission::CAN_MULTI_CONN;
        if self.read_only {
            always | transmission::READ_ONLY
        } else {
            always
                | transmission::SEND_FUA
                | transmission::SEND_TRIM
                | transmission::SEND_WRITE_ZEROES
                | transmission::SEND_FAST_ZERO
        }
    }
}

/// Why an export is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is none of that name.
    Unknown,
    /// The server is ending.
    Shutdown,
    /// It is there, but not for this client now.
    Policy,
}

/// The exports of a server, as far as a handshake needs them.
pub trait Catalog {
    /// The names, with texts for people, in the order they are shown; no more than `limit`.
    fn list(&self, limit: usize) -> Vec<(String, String)>;
    /// The facts of one. An empty name asks for the default export.
    fn find(&self, name: &str) -> Result<ExportInfo, Refusal>;
}

/// What a client has chosen when the handshake ends well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Name of the export, as it was asked for.
    pub name: String,
    /// Its facts, as they were told.
    pub info: ExportInfo,
    /// Structured replies were agreed on.
    pub structured: bool,
    /// `base:allocation` was chosen for this export.
    pub allocation: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// More input is needed.
    More,
    /// The session ends once the output is sent.
    Close,
    /// The transmission phase begins.
    Begin(Box<Chosen>),
}

#[derive(Debug)]
enum State {
    ClientFlags,
    Option,
    /// The data of an option that was too long are passed over, then it is answered.
    PassOver {
        option: u32,
        left: u32,
    },
}

/// One client's handshake.
#[derive(Debug)]
pub struct Handshake {
    state: State,
    no_zeroes: bool,
    structured: bool,
    /// The export for which `base:allocation` was chosen.
    allocation: Option<String>,
    options_left: u32,
    list: usize,
}

impl Handshake {
    /// At most `options` options, and `list` exports in an answer.
    pub fn new(options: u32, list: usize) -> Self {
        Self {
            state: State::ClientFlags,
            no_zeroes: false,
            structured: false,
            allocation: None,
            options_left: options,
            list,
        }
    }

    /// What the server says first.
    pub fn greeting() -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&wire::MAGIC.to_be_bytes());
        bytes[8..16].copy_from_slice(&wire::OPTION_MAGIC.to_be_bytes());
        let flags = wire::HANDSHAKE_FIXED_NEWSTYLE | wire::HANDSHAKE_NO_ZEROES;
        bytes[16..].copy_from_slice(&flags.to_be_bytes());
        bytes
    }

    /// Takes the next message from `input`, if it is there whole, and appends the answer to `out`.
    /// Returns the number of bytes used. With [`Next::More`] and nothing used, more input has to
    /// come; a buffer of [`MAX_OPTION`] and a header always holds a message.
    pub fn step(
        &mut self,
        input: &[u8],
        catalog: &dyn Catalog,
        out: &mut Vec<u8>,
    ) -> (usize, Next) {
        match self.state {
            State::ClientFlags => match input.first_chunk() {
                None => (0, Next::More),
                Some(flags) => (4, self.client_flags(u32::from_be_bytes(*flags))),
            },
            State::Option => self.option(input, catalog, out),
            State::PassOver { option, left } => {
                let used = left.min(u32::try_from(input.len()).unwrap_or(u32::MAX));
                if used < left {
                    self.state = State::PassOver {
                        option,
                        left: left - used,
                    };
                } else {
                    self.state = State::Option;
                    error(out, option, reply::ERR_TOO_BIG, "the option is too long");
                }
                (used as usize, Next::More)
            }
        }
    }

    fn client_flags(&mut self, flags: u32) -> Next {
        self.no_zeroes = flags & CLIENT_NO_ZEROES != 0;
        self.state = State::Option;
        // A client of the unfixed newstyle cannot read the answer to an option, but it sends none
        // except the export's name.
        if flags & !(CLIENT_FIXED_NEWSTYLE | CLIENT_NO_ZEROES) != 0 {
            return Next::Close;
        }
        Next::More
    }

    fn option(&mut self, input: &[u8], catalog: &dyn Catalog, out: &mut Vec<u8>) -> (usize, Next) {
        let mut fields = Fields(input);
        let (Some(magic), Some(number), Some(length)) = (fields.u64(), fields.u32(), fields.u32())
        else {
            return (0, Next::More);
        };
        if magic != wire::OPTION_MAGIC || length > MAX_PASSED_OVER {
            return (input.len(), Next::Close);
        }
        if length as usize > MAX_OPTION {
            if number == option::EXPORT_NAME {
                return (input.len(), Next::Close);
            }
            self.state = State::PassOver {
                option: number,
                left: length,
            };
            return (wire::OPTION_LEN, Next::More);
        }
        let Some(data) = fields.take(length as usize) else {
            return (0, Next::More);
        };
        let used = wire::OPTION_LEN + length as usize;
        if self.options_left == 0 {
            return (used, Next::Close);
        }
        self.options_left -= 1;
        let next = match number {
            option::EXPORT_NAME => self.export_name(data, catalog, out),
            option::ABORT => {
                option_reply(out, number, reply::ACK, &[]);
                Next::Close
            }
            option::LIST => self.tell_list(data, catalog, out),
            option::INFO | option::GO => self.info_or_go(number, data, catalog, out),
            option::STRUCTURED_REPLY => self.structured_reply(data, out),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.meta_context(number, data, catalog, out);
                Next::More
            }
            _ => {
                error(out, number, reply::ERR_UNSUP, "the option is not known");
                Next::More
            }
        };
        (used, next)
    }

    fn export_name(&mut self, data: &[u8], catalog: &dyn Catalog, out: &mut Vec<u8>) -> Next {
        // There is no way to answer an error here.
        let Some((name, info)) = name_of(data).and_then(|n| Some((n, catalog.find(n).ok()?)))
        else {
            return Next::Close;
        };
        out.extend_from_slice(&info.size.to_be_bytes());
        out.extend_from_slice(&info.flags().to_be_bytes());
        if !self.no_zeroes {
            out.resize(out.len() + 124, 0);
        }
        self.begin(name, info)
    }

    fn begin(&mut self, name: &str, info: ExportInfo) -> Next {
        Next::Begin(Box::new(Chosen {
            allocation: self.allocation.as_deref() == Some(name),
            structured: self.structured,
            name: name.to_owned(),
            info,
        }))
    }

    fn tell_list(&self, data: &[u8], catalog: &dyn Catalog, out: &mut Vec<u8>) -> Next {
        if !data.is_empty() {
            error(
                out,
                option::LIST,
                reply::ERR_INVALID,
                "the option has no data",
            );
            return Next::More;
        }
        for (name, text) in catalog.list(self.list) {
            let mut body = Vec::with_capacity(4 + name.len() + text.len());
            body.extend_from_slice(&len32(&name));
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(text.as_bytes());
            option_reply(out, option::LIST, reply::SERVER, &body);
        }
        option_reply(out, option::LIST, reply::ACK, &[]);
        Next::More
    }

    fn structured_reply(&mut self, data: &[u8], out: &mut Vec<u8>) -> Next {
        if data.is_empty() {
            self.structured = true;
            option_reply(out, option::STRUCTURED_REPLY, reply::ACK, &[]);
        } else {
            error(
                out,
                option::STRUCTURED_REPLY,
                reply::ERR_INVALID,
                "the option has no data",
            );
        }
        Next::More
    }

    fn info_or_go(
        &mut self,
        number: u32,
        data: &[u8],
        catalog: &dyn Catalog,
        out: &mut Vec<u8>,
    ) -> Next {
        let Some((name, wanted)) = parse_info(data) else {
            error(
                out,
                number,
                reply::ERR_INVALID,
                "the option's data are not of its form",
            );
            return Next::More;
        };
        let facts = match catalog.find(name) {
            Ok(facts) => facts,
            Err(why) => {
                refuse(out, number, why);
                return Next::More;
            }
        };
        let mut body = Vec::with_capacity(64);
        body.extend_from_slice(&info::EXPORT.to_be_bytes());
        body.extend_from_slice(&facts.size.to_be_bytes());
        body.extend_from_slice(&facts.flags().to_be_bytes());
        option_reply(out, number, reply::INFO, &body);
        // Block sizes are told to all: a client that did not ask may pass over the fact.
        body.clear();
        body.extend_from_slice(&info::BLOCK_SIZE.to_be_bytes());
        for size in [facts.min_block, facts.preferred_block, facts.max_block] {
            body.extend_from_slice(&size.to_be_bytes());
        }
        option_reply(out, number, reply::INFO, &body);
        for (kind, text) in [(info::NAME, name), (info::DESCRIPTION, &facts.description)] {
            if wanted.contains(&kind) && !text.is_empty() {
                body.clear();
                body.extend_from_slice(&kind.to_be_bytes());
                body.extend_from_slice(text.as_bytes());
                option_reply(out, number, reply::INFO, &body);
            }
        }
        option_reply(out, number, reply::ACK, &[]);
        if number == option::GO {
            self.begin(name, facts)
        } else {
            Next::More
        }
    }

    fn meta_context(&mut self, number: u32, data: &[u8], catalog: &dyn Catalog, out: &mut Vec<u8>) {
        let set = number == option::SET_META_CONTEXT;
        // The choice made last is the one that counts, also when it failed.
        if set {
            self.allocation = None;
            if !self.structured {
                error(
                    out,
                    number,
                    reply::ERR_INVALID,
                    "structured replies come first",
                );
                return;
            }
        }
        let Some((name, queries)) = parse_contexts(data) else {
            error(
                out,
                number,
                reply::ERR_INVALID,
                "the option's data are not of its form",
            );
            return;
        };
        if let Err(why) = catalog.find(name) {
            refuse(out, number, why);
            return;
        }
        let mut hit = queries.exact;
        if !set {
            // A list shows all for no query, and for a namespace with nothing after it.
            hit |= queries.none || queries.namespace;
        }
        if hit {
            let mut body = Vec::with_capacity(4 + ALLOCATION.len());
            let id = if set { ALLOCATION_ID } else { 0 };
            body.extend_from_slice(&id.to_be_bytes());
            body.extend_from_slice(ALLOCATION);
            option_reply(out, number, reply::META_CONTEXT, &body);
            if set {
                self.allocation = Some(name.to_owned());
            }
        }
        option_reply(out, number, reply::ACK, &[]);
    }
}

/// Reads fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
    fn string(&mut self) -> Option<&'a [u8]> {
        let n = self.u32()? as usize;
        self.take(n).filter(|s| s.len() <= wire::MAX_STRING)
    }
}

fn name_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|n| n.len() <= wire::MAX_STRING && !n.contains('\0'))
}

/// Name and wanted facts of `NBD_OPT_INFO` and `NBD_OPT_GO`.
fn parse_info(data: &[u8]) -> Option<(&str, Vec<u16>)> {
    let mut fields = Fields(data);
    let name = name_of(fields.string()?)?;
    let count = fields.u16()?;
    if fields.0.len() != usize::from(count) * 2 {
        return None;
    }
    let wanted = (0..count).map_while(|_| fields.u16()).collect();
    Some((name, wanted))
}

#[derive(Default)]
struct Queries {
    none: bool,
    namespace: bool,
    exact: bool,
}

/// Name and queries of the two options about metadata contexts.
fn parse_contexts(data: &[u8]) -> Option<(&str, Queries)> {
    let mut fields = Fields(data);
    let name = name_of(fields.string()?)?;
    let count = fields.u32()?;
    let mut queries = Queries {
        none: count == 0,
        ..Queries::default()
    };
    // Each query takes at least the four bytes of its length, so the data bound this loop.
    for _ in 0..count {
        match fields.string()? {
            ALLOCATION => queries.exact = true,
            b"base:" => queries.namespace = true,
            _ => {}
        }
    }
    fields.0.is_empty().then_some((name, queries))
}

fn len32(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn option_reply(out: &mut Vec<u8>, option: u32, kind: u32, data: &[u8]) {
    out.extend_from_slice(&wire::OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(data);
}

fn error(out: &mut Vec<u8>, option: u32, kind: u32, text: &str) {
    option_reply(out, option, kind, text.as_bytes());
}

fn refuse(out: &mut Vec<u8>, option: u32, why: Refusal) {
    let (kind, text) = match why {
        Refusal::Unknown => (reply::ERR_UNKNOWN, "no export of that name"),
        Refusal::Shutdown => (reply::ERR_SHUTDOWN, "the server is ending"),
        Refusal::Policy => (reply::ERR_POLICY, "the export is not to be had now"),
    };
    error(out, option, kind, text);
}

#[cfg(test)]
mod tests;
