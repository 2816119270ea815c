//! Mapping as a property: what a target plans is what the plain rule of the reference says, byte
//! for byte, at every boundary of chunk, stripe and segment. And tables that are refused.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ulvm_engine::backend::Backing;
use ulvm_engine::error::Error;
use ulvm_engine::io::{Op, Sectors};
use ulvm_engine::table::{Segment, Table};
use ulvm_engine::table_text::{Resolve, parse};
use ulvm_engine::target::{DevIndex, MessageError, Piece, Plan, Target, Use};

/// Devices `d0`, `d1`... of as many MiB as the number after a colon says (16 by default).
struct Memory;

impl Resolve for Memory {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let (name, mib) = word.split_once(':').unwrap_or((word, "16"));
        match (name.strip_prefix('d'), mib.parse::<usize>()) {
            (Some(n), Ok(mib)) if n.parse::<u8>().is_ok() => {
                Ok(Arc::new(Backing::memory(word, mib << 20, 512)))
            }
            _ => Err(format!("{word}: no such device")),
        }
    }
}

fn table(text: &str) -> Result<Table, Error> {
    parse(text, &mut Memory)
}

/// Where each byte of a piece goes, by what the target planned.
fn planned(table: &Table, segment: usize, piece: &Piece) -> Vec<(String, u64)> {
    let mut plan = Plan::default();
    let segment = &table.segments()[segment];
    segment.target.map(piece, Duration::ZERO, &mut plan);
    let mut bytes = Vec::new();
    let mut at = 0;
    for child in &plan.children {
        assert_eq!(child.op, piece.op);
        assert_eq!(
            child.at, at,
            "children in the order of the data, without gaps"
        );
        let word = &table.slot(child.device).word;
        bytes.extend((0..child.len).map(|n| (word.clone(), child.offset + n)));
        at += child.len;
    }
    bytes
}

/// The rule: chunk = s / CHUNK, stripe = chunk mod N, row = chunk / N.
fn striped_rule(chunk: u64, offsets: &[u64], byte: u64) -> (String, u64) {
    let (sector, rest) = (byte / 512, byte % 512);
    let (nth, within) = (sector / chunk, sector % chunk);
    let n = offsets.len() as u64;
    let stripe = (nth % n) as usize;
    let target = offsets[stripe] + nth / n * chunk + within;
    (format!("d{stripe}"), target * 512 + rest)
}

/// Cases of each property; many with `ULVM_PROVE`. Said past the test harness, which would keep it
/// to itself.
fn cases() -> u32 {
    static SAID: std::sync::Once = std::sync::Once::new();
    let cases = match std::env::var_os("ULVM_PROVE") {
        Some(_) => 20_000,
        None => 200,
    };
    SAID.call_once(|| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "mapping: {cases} cases of each property");
    });
    cases
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn striped_maps_by_the_rule(
        n in 1usize..7,
        chunk in 1u64..40,
        rows in 1u64..9,
        offsets in proptest::collection::vec(0u64..500, 7),
        place in 0.0f64..1.0,
        size in 0.0f64..1.0,
    ) {
        let offsets = &offsets[..n];
        let len = n as u64 * chunk * rows;
        let devices: String = offsets.iter().enumerate().map(|(i, o)| format!(" d{i} {o}")).collect();
        let table = table(&format!("0 {len} striped {n} {chunk}{devices}")).expect("valid");
        let bytes = len * 512;
        let offset = (place * bytes as f64) as u64;
        let piece = Piece {
            op: Op::Read,
            offset,
            len: 1 + (size * (bytes - offset - 1) as f64) as u64,
        };
        let wanted: Vec<_> = (piece.offset..piece.offset + piece.len)
            .map(|b| striped_rule(chunk, offsets, b))
            .collect();
        prop_assert_eq!(planned(&table, 0, &piece), wanted);
    }

    #[test]
    fn a_discard_covers_the_same_bytes_once(
        n in 1usize..6,
        chunk in 1u64..20,
        rows in 1u64..8,
        place in 0.0f64..1.0,
        size in 0.0f64..1.0,
    ) {
        let len = n as u64 * chunk * rows;
        let devices: String = (0..n).map(|i| format!(" d{i} {}", 10 * i)).collect();
        let table = table(&format!("0 {len} striped {n} {chunk}{devices}")).expect("valid");
        let offset = (place * len as f64) as u64 * 512;
        let left = len * 512 - offset;
        let piece = Piece { op: Op::Discard, offset, len: 1 + (size * (left - 1) as f64) as u64 };
        let mut plan = Plan::default();
        table.segments()[0].target.map(&piece, Duration::ZERO, &mut plan);
        prop_assert!(plan.children.len() <= n, "one child per stripe at most");
        let mut got: Vec<_> = plan.children.iter().flat_map(|c| {
            let word = table.slot(c.device).word.clone();
            (0..c.len).map(move |b| (word.clone(), c.offset + b))
        }).collect();
        let offsets: Vec<u64> = (0..n as u64).map(|i| 10 * i).collect();
        let mut wanted: Vec<_> = (piece.offset..piece.offset + piece.len)
            .map(|b| striped_rule(chunk, &offsets, b))
            .collect();
        got.sort();
        wanted.sort();
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn a_table_reads_back_as_it_was_given(
        chunk in 1u64..100, rows in 1u64..50, a in 0u64..1000, b in 0u64..1000, tail in 1u64..1000,
    ) {
        let len = 2 * chunk * rows;
        let text = format!(
            "0 {len} striped 2 {chunk} d0 {a} d1 {b}\n{len} {tail} linear d0 {b}\n{} {tail} error\n",
            len + tail
        );
        prop_assert_eq!(table(&text).expect("valid").text(), text);
    }

    #[test]
    fn no_text_makes_the_parser_fail_otherwise_than_by_an_error(text in "[ -~\n]{0,200}") {
        let _ = table(&text);
    }

    #[test]
    fn nor_does_a_text_of_the_right_words(
        words in proptest::collection::vec(
            prop_oneof![
                Just("0"), Just("8"), Just("16"), Just("linear"), Just("striped"), Just("d0"),
                Just("d1"), Just("error"), Just("zero"), Just("delay"), Just("flakey"), Just("\n"),
                Just("18446744073709551615"), Just("18014398509481983"), Just("1"), Just("2"),
                Just("corrupt_bio_byte"), Just("r"), Just("drop_writes"),
            ],
            0..40,
        )
    ) {
        let _ = table(&words.join(" "));
    }
}

#[test]
fn every_boundary_of_segment_chunk_and_stripe() {
    let text = "0 8 linear d0 100\n8 24 striped 3 4 d0 0 d1 8 d2 16\n32 8 linear d1 50\n";
    let table = table(text).expect("valid");
    assert_eq!(table.len(), Sectors(40));
    for byte in (0..40 * 512).step_by(512) {
        for byte in [byte, byte + 1, byte + 511] {
            let n = table.find(byte).expect("inside");
            let start = table.segments()[n].start.0 * 512;
            let piece = Piece {
                op: Op::Write { fua: false },
                offset: byte - start,
                len: 1,
            };
            let wanted = match byte / 512 {
                0..8 => ("d0".to_owned(), 100 * 512 + byte),
                8..32 => striped_rule(4, &[0, 8, 16], byte - 8 * 512),
                _ => ("d1".to_owned(), (50 - 32) * 512 + byte),
            };
            assert_eq!(planned(&table, n, &piece), [wanted], "byte {byte}");
        }
    }
    assert_eq!(table.find(40 * 512), None);
}

#[test]
fn what_is_refused_and_where() {
    for (text, line, column, why) in [
        ("", 0, 0, "empty"),
        ("# nothing\n\n", 0, 0, "empty"),
        ("0", 1, 2, "length is missing"),
        ("x 8 linear d0 0", 1, 1, "start is not a number"),
        ("0 0 linear d0 0", 1, 3, "length is 0"),
        ("0 8 linea d0 0", 1, 5, "unknown target"),
        ("0 8 linear", 1, 11, "device is missing"),
        ("0 8 linear nothing 0", 1, 12, "no such device"),
        ("0 8 linear d0", 1, 14, "offset is missing"),
        ("0 8 linear d0 -1", 1, 15, "not a number"),
        ("0 8 linear d0 0 1", 1, 17, "nothing should follow"),
        ("0 8 error d0", 1, 11, "nothing should follow"),
        ("8 8 linear d0 0", 1, 1, "should start at sector 0"),
        ("0 8 zero\n9 8 zero", 2, 1, "should start at sector 8"),
        ("0 8 zero\n# x\n4 8 zero", 3, 1, "should start at sector 8"),
        (
            "0 30 striped 4 4 d0 0 d1 0 d2 0 d3 0",
            1,
            14,
            "number of stripes",
        ),
        ("0 24 striped 2 8 d0 0 d1 0", 1, 16, "chunk size"),
        ("0 24 striped 0 8", 1, 14, "number of stripes is 0"),
        ("0 24 striped 2 0 d0 0 d1 0", 1, 16, "chunk size is 0"),
        ("0 16 striped 2 8 d0 0", 1, 22, "device is missing"),
        ("0 18446744073709551615 zero", 1, 3, "too large"),
        ("0 8 flakey d0 0 0 0", 1, 19, "both 0"),
        (
            "0 8 flakey d0 0 1 1 2 drop_writes error_writes",
            1,
            35,
            "exclude",
        ),
        ("0 8 flakey d0 0 1 1 1 nonsense", 1, 23, "unknown feature"),
        ("0 8 delay d0 0 x", 1, 16, "delay is not a number"),
    ] {
        match table(text) {
            Err(Error::Table(e)) => {
                assert_eq!((e.line, e.column), (line, column), "{text}: {e}");
                assert!(e.what.contains(why), "{text}: {e}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let short = table("0 32 linear d0:1 2040").expect_err("beyond the device");
    assert_eq!(
        short.to_string(),
        "table line 1, column 13: d0:1: device is too small: 2048 sectors, 2072 are mapped"
    );
    let text = "0 8 zero\n\n8 16 striped 2 8 d0 0  d1:1 2041\n";
    match table(text).expect_err("beyond the device") {
        Error::Table(e) => assert_eq!((e.line, e.column), (3, 24), "{e}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_historical_forms_work_as_written() {
    let dir = tempfile::tempdir().expect("tempdir");
    let device = |name: &str| {
        let path = dir.path().join(name);
        let file = std::fs::File::create(&path).expect("create");
        file.set_len(4 << 30).expect("a sparse file");
        path.display().to_string()
    };
    let (d, m, n) = (device("wd0d"), device("wd0m"), device("wd0n"));
    let mut paths = ulvm_engine::table_text::OpenPaths::default();
    let one = parse(&format!("0 1639008 linear {d} 5210352"), &mut paths).expect("linear");
    assert_eq!(one.len(), Sectors(1_639_008));
    let two = format!("0 327680 striped 2 32 {m} 0 {n} 0\n327680 64 linear {d} 0\n");
    let two = parse(&two, &mut paths).expect("striped");
    let status = two.status();
    assert_eq!(
        status.lines().next(),
        Some(format!("0 327680 striped 2 {m} {n} 1 AA").as_str())
    );
}

/// Answers a message with its own name and the words.
#[derive(Debug)]
struct Echo(&'static str);

impl Target for Echo {
    fn kind(&self) -> &'static str {
        self.0
    }
    fn args(&self, _name: &dyn Fn(DevIndex) -> String) -> String {
        String::new()
    }
    fn message(&self, words: &[&str]) -> Result<String, MessageError> {
        Ok(format!("{} {}", self.0, words.join(" ")))
    }
    fn uses(&self, _len: Sectors) -> Vec<Use> {
        Vec::new()
    }
    fn map(&self, _piece: &Piece, _now: Duration, _plan: &mut Plan) {}
}

#[test]
fn a_message_goes_to_the_target_of_its_sector() {
    let echo = |start, kind| Segment {
        start: Sectors(start),
        len: Sectors(8),
        target: Box::new(Echo(kind)),
    };
    let table = Table::new(vec![echo(0, "low"), echo(8, "high")], Vec::new()).expect("table");
    let say = |sector, words: &[&str]| table.message(Sectors(sector), words);
    assert_eq!(say(7, &["a", "b"]), Ok("low a b".to_owned()));
    assert_eq!(say(8, &["a"]), Ok("high a".to_owned()));
    // Beyond the end there is nobody to ask, and nothing is asked without a word.
    for sector in [16, u64::MAX] {
        assert_eq!(say(sector, &["a"]), Err(MessageError::Unknown));
    }
    assert_eq!(say(0, &[]), Err(MessageError::Unknown));
}
