//! Table lines of mirrors: printed as they were read, refused at the right word.

use std::collections::BTreeSet;

use ulvm_engine::io::Sectors;
use ulvm_engine::target::replica::lines::{parse_mirror, parse_raid, parse_raid1};
use ulvm_engine::target::replica::{Activity, Config, LegState, LogKind, Start, Status};
use ulvm_engine::target::{ArgError, Args, DevIndex, Devices};
use ulvm_test_support::vectors::Vector;

#[derive(Default)]
struct Names(Vec<String>);

impl Devices for Names {
    fn device(&mut self, word: &str) -> Result<DevIndex, String> {
        if word == "bad" {
            return Err("bad: no such device".into());
        }
        let known = self.0.iter().position(|w| w == word);
        Ok(DevIndex(known.unwrap_or_else(|| {
            self.0.push(word.to_owned());
            self.0.len() - 1
        }) as u32))
    }
}

/// Reads a whole line; gives the config and what it prints.
fn read(line: &str) -> Result<(Config, String), ArgError> {
    let at = |w: &str| w.as_ptr() as usize - line.as_ptr() as usize + 1;
    let words: Vec<_> = line.split(' ').map(|w| (at(w), w)).collect();
    let len: u64 = words[1].1.parse().expect("a length");
    let mut args = Args::new(words[3..].to_vec(), line.len() + 1);
    let mut names = Names::default();
    let config = match words[2].1 {
        "raid1" => parse_raid1(&mut args, Sectors(len), &mut names),
        "mirror" => parse_mirror(&mut args, Sectors(len), &mut names),
        _ => parse_raid(&mut args, Sectors(len), &mut names),
    }?;
    assert_eq!(config.check(), Ok(()), "{line}");
    let name = |d: DevIndex| names.0[d.0 as usize].clone();
    let text = format!("0 {len} {} {}", config.kind(), config.args(&name));
    Ok((config, text))
}

#[test]
fn every_line_that_the_kernel_showed_is_printed_as_it_was_read() {
    let mut kinds = BTreeSet::new();
    let mut seen = 0;
    for vector in Vector::all().expect("vectors") {
        let devices = vector.expected["dm_devices"].as_object();
        for (_, device) in devices.into_iter().flatten() {
            let lines = device["table"].as_array().into_iter().flatten();
            for line in lines.filter_map(|l| l.as_str()) {
                let mut words = line.split(' ').skip(1);
                let len = words.next().expect("a length");
                match (words.next(), words.next()) {
                    (Some("mirror"), _) | (Some("raid"), Some("raid1")) => {}
                    _ => continue,
                }
                // A segment does not know where it begins.
                let line = line.split_once(' ').expect("words").1;
                let line = format!("0 {line}");
                let (config, text) = read(&line).unwrap_or_else(|e| panic!("{line}: {e:?}"));
                assert_eq!(text, line);
                assert_eq!(config.len.to_string(), len);
                kinds.insert(config.kind());
                seen += 1;
            }
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["mirror", "raid"]);
    assert!(seen >= 12, "only {seen} lines");
}

#[test]
fn all_words_are_read_and_printed_in_one_order() {
    for line in [
        "0 163840 raid1 2 a 0 b 16",
        "0 163840 raid1 3 a 0 b 16 c 0 nosync",
        "0 4096 mirror core 1 1024 2 a 0 b 8",
        "0 4096 mirror core 3 1024 nosync block_on_error 2 a 0 b 8 1 handle_errors",
        "0 4096 mirror disk 3 log 1024 sync 3 a 0 b 8 c 0 2 handle_errors keep_log",
        "0 4096 mirror disk 4 log 1024 nosync block_on_error 2 a 0 b 0",
        "0 4096 raid raid1 1 0 2 m0 d0 m1 d1",
        "0 4096 raid raid1 2 0 nosync 2 m0 d0 - -",
        "0 4096 raid raid1 18 0 sync rebuild 1 daemon_sleep 5000 min_recovery_rate 10 \
         max_recovery_rate 20 write_mostly 0 write_mostly 2 max_write_behind 64 region_size 1024 \
         3 m0 d0 m1 d1 m2 d2",
        "0 4096 raid raid1 5 0 region_size 1024 data_offset 8 2 m0 d0 m1 d1",
    ] {
        let read = read(line).map(|(_, text)| text);
        assert_eq!(read.as_deref(), Ok(line));
    }
    let (config, text) =
        read("0 4096 raid raid1 6 64 region_size 1024 nosync rebuild 1 2 m0 d0 m1 d1")
            .expect("a line");
    assert_eq!(
        text,
        "0 4096 raid raid1 6 0 nosync rebuild 1 region_size 1024 2 m0 d0 m1 d1"
    );
    assert_eq!(config.start, Start::NoSync);
    assert!(config.legs[1].rebuild && !config.legs[0].rebuild);
}

#[test]
fn regions_have_a_size_that_fits() {
    let region = |line: &str| read(line).expect("a line").0.region.0;
    assert_eq!(region("0 100 raid1 2 a 0 b 0"), 1024);
    assert_eq!(region("0 34359738368 raid1 2 a 0 b 0"), 2048, "16 TiB");
    assert_eq!(region("0 4096 raid raid1 1 0 2 m0 d0 m1 d1"), 8192);
    let large = "0 34359738369 raid raid1 1 0 2 m0 d0 m1 d1";
    assert_eq!(region(large), 32768, "16 TiB in 2^21 regions, and a sector");
    let (config, _) = read(large).expect("a line");
    assert!(matches!(config.log, LogKind::Raid(it) if !it.region_given));
}

/// Lines, the word that is wrong, and what is said.
const REFUSED: &[(&str, &str, &str)] = &[
    ("0 8 raid1 0", "0", "number of copies is 0"),
    (
        "0 8 raid1 257 a 0",
        "257",
        "number of copies is too large: 257",
    ),
    ("0 8 raid1 2 a 0 b", "", "offset is missing"),
    ("0 8 raid1 2 a 0 bad 0", "bad", "bad: no such device"),
    (
        "0 8 raid1 2 a 0 b 0 sync",
        "sync",
        "only \"nosync\" may follow the copies, not \"sync\"",
    ),
    (
        "0 8 raid1 1 a 0 nosync x",
        "x",
        "nothing should follow, but \"x\" does",
    ),
    (
        "0 4096 mirror clustered 1 2 2 a 0 b 0",
        "clustered",
        "unknown type of log \"clustered\" (core and disk are known)",
    ),
    (
        "0 4096 mirror core 0 2 a 0 b 0",
        "0",
        "a core log has at least 1 arguments",
    ),
    (
        "0 4096 mirror disk 1 log",
        "1",
        "a disk log has at least 2 arguments",
    ),
    (
        "0 4096 mirror core 1 1000 2 a 0 b 0",
        "1000",
        "region size 1000 is not a power of two of at least 2",
    ),
    (
        "0 4096 mirror core 1 8192 2 a 0 b 0",
        "8192",
        "region size 8192 is larger than the length, 4096",
    ),
    (
        "0 4096 mirror core 3 1024 sync nosync 2 a 0 b 0",
        "nosync",
        "unexpected log argument \"nosync\"",
    ),
    (
        "0 4096 mirror core 1 1024 1 a 0",
        "1",
        "a mirror has at least 2 legs",
    ),
    (
        "0 4096 mirror core 1 1024 10 a 0",
        "10",
        "number of legs is too large: 10",
    ),
    (
        "0 4096 mirror core 1 1024 2 a 0 b 0 1 keep_log",
        "keep_log",
        "keep_log needs handle_errors",
    ),
    (
        "0 4096 mirror core 1 1024 2 a 0 b 0 1 fast",
        "fast",
        "unexpected feature \"fast\"",
    ),
    (
        "0 4096 raid raid5_ls 3 128 region_size 1024 3 - a - b - c",
        "raid5_ls",
        "level raid5_ls is not supported, raid1 alone is",
    ),
    (
        "0 4096 raid raid7 1 0 2 m d n e",
        "raid7",
        "unknown level \"raid7\"",
    ),
    (
        "0 4096 raid raid1 0 2 m d n e",
        "0",
        "the chunk size has to be counted as a parameter",
    ),
    (
        "0 4096 raid raid1 2 0 nosink 2 m d n e",
        "nosink",
        "unknown parameter \"nosink\"",
    ),
    (
        "0 4096 raid raid1 3 0 stripe_cache 8 2 m d n e",
        "stripe_cache",
        "stripe_cache does not go with raid1",
    ),
    (
        "0 4096 raid raid1 2 0 region_size 1024 2 m d n e",
        "region_size",
        "the number of parameters ends before the value of region_size",
    ),
    (
        "0 4096 raid raid1 3 0 region_size 8192 2 m d n e",
        "8192",
        "region_size 8192 is larger than the length, 4096",
    ),
    (
        "0 4194304 raid raid1 3 0 region_size 1 2 m d n e",
        "1",
        "region_size 1 gives more than 2097152 regions",
    ),
    (
        "0 4096 raid raid1 3 0 write_mostly 2 2 m d n e",
        "2",
        "write_mostly 2: there is no such leg",
    ),
    (
        "0 4096 raid raid1 3 0 max_write_behind 32767 2 m d n e",
        "32767",
        "max_write_behind is too large: 32767",
    ),
    (
        "0 4096 raid raid1 3 0 sync nosync 2 m d n e",
        "nosync",
        "sync and nosync are given twice, or both",
    ),
    (
        "0 4096 raid raid1 1 0 1 m d",
        "1",
        "a raid1 has at least 2 legs",
    ),
    (
        "0 4096 raid raid1 1 0 2 m d - e",
        "e",
        "leg 1 has no metadata device",
    ),
    (
        "0 4096 raid raid1 1 0 2 - - - -",
        "-",
        "no leg is there that data could come from",
    ),
    (
        "0 4096 raid raid1 1 0 2 m d n e f",
        "f",
        "nothing should follow, but \"f\" does",
    ),
];

#[test]
fn what_is_wrong_is_said_at_its_word() {
    for (line, word, what) in REFUSED {
        let error = read(line).expect_err(line);
        assert_eq!(error.what, *what, "{line}");
        let at = match word.is_empty() {
            true => line.len() + 1,
            false => error.column,
        };
        assert_eq!(error.column, at, "{line}");
        let rest = &line[error.column - 1..];
        assert!(rest.split(' ').next() == Some(*word), "{line}: {rest}");
    }
}

/// The words of a status line of a mirror whose legs are as these letters say.
fn status(line: &str, letters: &str, synced: u64, action: Activity, mismatches: u64) -> String {
    let (config, text) = read(line).expect("a line");
    let legs: Vec<LegState> = letters
        .chars()
        .map(|letter| match letter {
            'A' => LegState::InSync,
            'a' => LegState::Behind,
            'D' => LegState::Dead,
            _ => LegState::Nowhere,
        })
        .collect();
    let now = Status {
        running: true,
        legs,
        synced,
        regions: config.regions(),
        marked: 0,
        activity: action,
        mismatches,
        corrected: 0,
        log_failed: false,
        held: false,
    };
    let words: Vec<&str> = text.split(' ').collect();
    // The devices in the order they are numbered: a disk log's first.
    let mut names = Names::default();
    let args = words[3..].iter().map(|w| (1, *w)).collect();
    let mut args = Args::new(args, 1);
    let again = match config.kind() {
        "raid1" => parse_raid1(&mut args, config.len, &mut names),
        "mirror" => parse_mirror(&mut args, config.len, &mut names),
        _ => parse_raid(&mut args, config.len, &mut names),
    };
    assert_eq!(again.as_ref(), Ok(&config));
    let name = |d: DevIndex| names.0[d.0 as usize].clone();
    format!(
        "0 {} {} {}",
        config.len,
        config.kind(),
        config.status(&now, &name)
    )
}

/// Mirrors at rest: as the kernel showed them.
#[test]
fn status_lines_are_those_that_the_kernel_showed() {
    let mut seen = 0;
    for vector in Vector::all().expect("vectors") {
        let devices = vector.expected["dm_devices"].as_object();
        for (name, device) in devices.into_iter().flatten() {
            let (Some(line), Some(shown)) = (
                device["table"][0].as_str(),
                device["status_after_activation"][0].as_str(),
            ) else {
                continue;
            };
            let words: Vec<&str> = shown.split(' ').collect();
            let (letters, done) = match words[2..] {
                ["raid", "raid1", ..] => (words[5], words[6]),
                ["mirror", count, ..] => {
                    let count: usize = count.parse().expect("a number");
                    (words[6 + count], words[4 + count])
                }
                _ => continue,
            };
            // Only those at rest: how far others have got is not in the images.
            let (done, total) = done.split_once('/').expect("a ratio");
            if done != total || line.split(' ').next() != Some("0") {
                continue;
            }
            let regions = read(line).expect("a line").0.regions();
            let text = status(line, letters, regions, Activity::Idle, 0);
            assert_eq!(text, shown, "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 15, "only {seen} lines");
}

#[test]
fn status_lines_of_mirrors_at_work() {
    let raid = "0 2500 raid raid1 3 0 region_size 1024 2 m0 d0 m1 d1";
    for (letters, synced, action, mismatches, shown) in [
        ("AA", 3, Activity::Idle, 0, "AA 2500/2500 idle 0 0 -"),
        ("AA", 1, Activity::Resync, 0, "aa 1024/2500 resync 0 0 -"),
        ("Aa", 2, Activity::Recover, 0, "Aa 2048/2500 recover 0 0 -"),
        ("DA", 3, Activity::Check, 256, "DA 2500/2500 check 256 0 -"),
        ("A-", 3, Activity::Frozen, 0, "A- 2500/2500 frozen 0 0 -"),
        ("AA", 3, Activity::Repair, 0, "AA 2500/2500 repair 0 0 -"),
    ] {
        let text = status(raid, letters, synced, action, mismatches);
        assert_eq!(text, format!("0 2500 raid raid1 2 {shown}"));
    }
    let mirror = "0 2500 mirror disk 2 log 1024 2 a 0 b 0 1 handle_errors";
    let text = status(mirror, "aD", 1, Activity::Resync, 0);
    assert_eq!(text, "0 2500 mirror 2 a b 1/3 1 AD 3 disk log A");
    let text = status("0 2500 raid1 2 a 0 b 0", "AA", 3, Activity::Idle, 0);
    assert_eq!(text, "0 2500 raid1 2 a b 3/3 1 AA");
}
