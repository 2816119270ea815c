use super::super::wire::{info, option, reply};
use super::*;

struct One;

impl Catalog for One {
    fn list(&self, limit: usize) -> Vec<(String, String)> {
        vec![("vg/lv".to_owned(), "a volume".to_owned()); limit.min(1)]
    }
    fn find(&self, name: &str) -> Result<ExportInfo, Refusal> {
        match name {
            "vg/lv" | "" => Ok(ExportInfo {
                description: "a volume".into(),
                size: 0x1234_0000,
                read_only: false,
                min_block: 512,
                preferred_block: 4096,
                max_block: 32 << 20,
            }),
            "ending" => Err(Refusal::Shutdown),
            _ => Err(Refusal::Unknown),
        }
    }
}

fn opt(number: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = wire::OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn go(number: u32, name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut data = len32(name).to_vec();
    data.extend_from_slice(name.as_bytes());
    data.extend_from_slice(&(wanted.len() as u16).to_be_bytes());
    for w in wanted {
        data.extend_from_slice(&w.to_be_bytes());
    }
    opt(number, &data)
}

fn contexts(number: u32, name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = len32(name).to_vec();
    data.extend_from_slice(name.as_bytes());
    data.extend_from_slice(&(queries.len() as u32).to_be_bytes());
    for q in queries {
        data.extend_from_slice(&len32(q));
        data.extend_from_slice(q.as_bytes());
    }
    opt(number, &data)
}

/// Option, type and data of a reply.
type Reply = (u32, u32, Vec<u8>);

/// Plays `input` piece by piece; the answers and the end.
fn play(input: &[u8], piece: usize) -> (Vec<Reply>, Next, Vec<u8>) {
    let mut handshake = Handshake::new(64, 100);
    let (mut held, mut out, mut next) = (Vec::new(), Vec::new(), Next::More);
    'all: for bytes in input.chunks(piece) {
        held.extend_from_slice(bytes);
        loop {
            let (used, then) = handshake.step(&held, &One, &mut out);
            held.drain(..used);
            next = then;
            if next != Next::More {
                break 'all;
            }
            if used == 0 {
                break;
            }
        }
    }
    let raw = out.clone();
    let mut replies = Vec::new();
    let mut fields = Fields(&out);
    while let Some(magic) = fields.u64() {
        if magic != wire::OPTION_REPLY_MAGIC {
            break;
        }
        let (option, kind) = (fields.u32().unwrap(), fields.u32().unwrap());
        let data = fields.string().unwrap().to_vec();
        replies.push((option, kind, data));
    }
    (replies, next, raw)
}

fn with_flags(flags: u32, options: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = flags.to_be_bytes().to_vec();
    bytes.extend(options.iter().flatten());
    bytes
}

fn kinds(replies: &[Reply]) -> Vec<(u32, u32)> {
    replies.iter().map(|(o, k, _)| (*o, *k)).collect()
}

#[test]
fn the_greeting_is_fixed_newstyle() {
    assert_eq!(&Handshake::greeting(), b"NBDMAGICIHAVEOPT\0\x03");
}

#[test]
fn a_whole_handshake_in_pieces_of_every_size() {
    let input = with_flags(
        3,
        &[
            opt(option::STRUCTURED_REPLY, &[]),
            opt(option::LIST, &[]),
            contexts(
                option::SET_META_CONTEXT,
                "vg/lv",
                &["base:allocation", "x:y"],
            ),
            go(option::GO, "vg/lv", &[info::NAME, info::BLOCK_SIZE]),
        ],
    );
    for piece in 1..=input.len() {
        let (replies, next, _) = play(&input, piece);
        assert_eq!(
            kinds(&replies),
            [
                (option::STRUCTURED_REPLY, reply::ACK),
                (option::LIST, reply::SERVER),
                (option::LIST, reply::ACK),
                (option::SET_META_CONTEXT, reply::META_CONTEXT),
                (option::SET_META_CONTEXT, reply::ACK),
                (option::GO, reply::INFO),
                (option::GO, reply::INFO),
                (option::GO, reply::INFO),
                (option::GO, reply::ACK),
            ],
            "pieces of {piece}"
        );
        assert_eq!(replies[1].2, b"\0\0\0\x05vg/lva volume");
        assert_eq!(replies[3].2, b"\0\0\0\x01base:allocation");
        // Size; flags: all but rotational (bit 4) and resize (bit 9).
        assert_eq!(
            replies[5].2,
            [0, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0x0d, 0xed]
        );
        let Next::Begin(chosen) = next else {
            panic!("{next:?}")
        };
        assert!(chosen.structured && chosen.allocation);
        assert_eq!(chosen.name, "vg/lv");
    }
}

#[test]
fn export_name_is_answered_without_a_reply_header() {
    for (flags, zeroes) in [(1, 124), (3, 0)] {
        let input = with_flags(flags, &[opt(option::EXPORT_NAME, b"vg/lv")]);
        let (_, next, raw) = play(&input, 7);
        assert!(matches!(next, Next::Begin(_)));
        assert_eq!(raw.len(), 10 + zeroes);
        assert_eq!(raw[..8], 0x1234_0000_u64.to_be_bytes());
    }
    let (_, next, raw) = play(&with_flags(3, &[opt(option::EXPORT_NAME, b"no")]), 99);
    assert_eq!((next, raw.len()), (Next::Close, 0));
}

#[test]
fn a_wrong_name_is_refused_and_the_handshake_goes_on() {
    let input = with_flags(
        3,
        &[
            go(option::GO, "none", &[]),
            go(option::INFO, "ending", &[]),
            go(option::INFO, "", &[info::DESCRIPTION]),
            opt(77, b"what"),
            opt(option::ABORT, &[]),
        ],
    );
    let (replies, next, _) = play(&input, 5);
    assert_eq!(
        kinds(&replies),
        [
            (option::GO, reply::ERR_UNKNOWN),
            (option::INFO, reply::ERR_SHUTDOWN),
            (option::INFO, reply::INFO),
            (option::INFO, reply::INFO),
            (option::INFO, reply::INFO),
            (option::INFO, reply::ACK),
            (77, reply::ERR_UNSUP),
            (option::ABORT, reply::ACK),
        ]
    );
    assert_eq!(replies[4].2, b"\0\x02a volume");
    assert_eq!(next, Next::Close);
}

#[test]
fn contexts_are_told_and_chosen_by_the_rules() {
    let input = with_flags(
        3,
        &[
            // Before structured replies: refused.
            contexts(option::SET_META_CONTEXT, "vg/lv", &["base:allocation"]),
            contexts(option::LIST_META_CONTEXT, "vg/lv", &[]),
            contexts(option::LIST_META_CONTEXT, "vg/lv", &["base:"]),
            contexts(option::LIST_META_CONTEXT, "vg/lv", &["qemu:dirty-bitmap:x"]),
            opt(option::STRUCTURED_REPLY, &[]),
            // A namespace is no context.
            contexts(option::SET_META_CONTEXT, "vg/lv", &["base:"]),
            contexts(option::SET_META_CONTEXT, "vg/lv", &["base:allocation"]),
            contexts(option::SET_META_CONTEXT, "none", &["base:allocation"]),
            go(option::GO, "vg/lv", &[]),
        ],
    );
    let (replies, next, _) = play(&input, 1000);
    let list = option::LIST_META_CONTEXT;
    let set = option::SET_META_CONTEXT;
    assert_eq!(
        kinds(&replies)[..10],
        [
            (set, reply::ERR_INVALID),
            (list, reply::META_CONTEXT),
            (list, reply::ACK),
            (list, reply::META_CONTEXT),
            (list, reply::ACK),
            (list, reply::ACK),
            (option::STRUCTURED_REPLY, reply::ACK),
            (set, reply::ACK),
            (set, reply::META_CONTEXT),
            (set, reply::ACK),
        ]
    );
    let Next::Begin(chosen) = next else {
        panic!("{next:?}")
    };
    assert!(
        !chosen.allocation,
        "the choice that failed took the earlier one away"
    );
}

#[test]
fn malformed_options_are_refused_each_on_its_own() {
    for data in [
        &b""[..],
        b"\0\0\0\x09vg/lv\0\0",
        b"\0\0\0\x05vg/lv\0\x02\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x02\xff\xfe\0\0",
    ] {
        let (replies, next, _) = play(&with_flags(1, &[opt(option::GO, data)]), 3);
        assert_eq!(
            kinds(&replies),
            [(option::GO, reply::ERR_INVALID)],
            "{data:?}"
        );
        assert_eq!(next, Next::More);
    }
    let (replies, ..) = play(&with_flags(1, &[opt(option::LIST, b"x")]), 3);
    assert_eq!(kinds(&replies), [(option::LIST, reply::ERR_INVALID)]);
}

#[test]
fn too_long_is_passed_over_and_far_too_long_ends() {
    let long = opt(option::LIST, &vec![0; MAX_OPTION + 1]);
    let input = with_flags(3, &[long, opt(option::ABORT, &[])]);
    for piece in [1, 1000, input.len()] {
        let (replies, next, _) = play(&input, piece);
        assert_eq!(
            kinds(&replies),
            [
                (option::LIST, reply::ERR_TOO_BIG),
                (option::ABORT, reply::ACK)
            ]
        );
        assert_eq!(next, Next::Close);
    }
    let mut far = opt(option::LIST, &[]);
    far[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(play(&with_flags(3, &[far]), 4).1, Next::Close);
}

#[test]
fn a_handshake_ends() {
    assert_eq!(
        play(&with_flags(4, &[]), 4).1,
        Next::Close,
        "unknown client flag"
    );
    assert_eq!(
        play(&with_flags(3, &[vec![0; 16]]), 4).1,
        Next::Close,
        "no magic"
    );
    let many: Vec<_> = (0..65).map(|_| opt(option::LIST, &[])).collect();
    assert_eq!(
        play(&with_flags(3, &many), 64).1,
        Next::Close,
        "too many options"
    );
}
