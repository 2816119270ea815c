//! Tables of every historical form, and ccd configurations, served and compared with where their
//! rules put each chunk; tables that are refused.

use std::path::{Path, PathBuf};

use ulvm_test_support::images::Images;
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;
use ulvm_test_support::process;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure};

use crate::served::{Served, client};
use crate::ulvm;

pub fn cases(suite: &mut Suite) {
    let copy = [Need::Program("nbdcopy")];
    suite.case("nbd::tables::linear_from_an_offset", &copy, linear);
    suite.case("nbd::tables::striped_as_written", &copy, striped);
    suite.case("nbd::tables::ranges_of_several_devices", &copy, gathered);
    suite.case("nbd::tables::ccd_of_unequal_components", &copy, ccd);
    suite.case("nbd::tables::ccd_one_after_another", &copy, ccd_serial);
    suite.case("nbd::tables::ccd_conf_of_two", &copy, ccd_conf);
    let devices = [Need::Program("nbdcopy"), Need::Loop];
    suite.case("nbd::tables::major_and_minor", &devices, major_minor);
    suite.case("nbd::tables::malformed", &[], malformed);
    let fifo = [Need::Program("mkfifo")];
    suite.case("nbd::tables::what_is_no_disk", &fifo, no_disk);
}

/// Files of so many sectors, each filled with content of its own.
fn parts(images: &Images, sectors: &[(&str, u64)]) -> Result<Vec<Part>, String> {
    (1..)
        .zip(sectors)
        .map(|(seed, (name, sectors))| {
            let (path, data) = (images.path(name), content::sectors(seed, 0, *sectors));
            std::fs::write(&path, &data).map_err(|e| e.to_string())?;
            Ok(Part { path, data })
        })
        .collect()
}

struct Part {
    path: PathBuf,
    data: Vec<u8>,
}

impl Part {
    fn word(&self) -> String {
        self.path.display().to_string()
    }
    fn sectors(&self, first: usize, count: usize) -> &[u8] {
        &self.data[first * 512..(first + count) * 512]
    }
}

/// What is read through NBD with these words is `wanted`; what is written arrives there, too.
fn serves(images: &Images, words: &[&str], name: &str, wanted: &[u8]) -> Outcome {
    let served = Served::start(images, words)?;
    let seen = client("nbdcopy", &[&served.uri(name), "-"])?.stdout;
    ensure!(
        seen.len() == wanted.len(),
        "{} bytes instead of {}",
        seen.len(),
        wanted.len()
    );
    let first = seen
        .chunks(512)
        .zip(wanted.chunks(512))
        .position(|(a, b)| a != b);
    ensure!(
        first.is_none(),
        "sector {first:?} is not the one that the rule says"
    );
    let (code, err) = served.end()?;
    ensure!(code == 0, "ended with {code}: {err}");
    Ok(())
}

fn serves_table(images: &Images, text: &str, wanted: &[u8]) -> Outcome {
    let table = images.path("table");
    std::fs::write(&table, text).map_err(|e| e.to_string())?;
    let words = [
        "--table",
        &table.display().to_string(),
        "--name",
        "x",
        "--readonly",
    ];
    serves(images, &words, "x", wanted)
}

fn linear() -> Outcome {
    let images = Images::new(ulvm())?;
    let parts = parts(&images, &[("wd0d", 30_000)])?;
    let text = format!("0 9008 linear {} 20352\n", parts[0].word());
    serves_table(&images, &text, parts[0].sectors(20_352, 9008))
}

/// Chunks of 32 sectors, by turns.
fn striped() -> Outcome {
    let images = Images::new(ulvm())?;
    let parts = parts(&images, &[("wd0m", 4096), ("wd0n", 4096)])?;
    let (m, n) = (parts[0].word(), parts[1].word());
    let mut wanted = Vec::new();
    for row in 0..128 {
        wanted.extend(parts[0].sectors(row * 32, 32));
        wanted.extend(parts[1].sectors(row * 32, 32));
    }
    serves_table(
        &images,
        &format!("0 8192 striped 2 32 {m} 0 {n} 0"),
        &wanted,
    )
}

fn gathered() -> Outcome {
    let images = Images::new(ulvm())?;
    let parts = parts(&images, &[("a", 1000), ("b", 2000), ("c", 500)])?;
    let [a, b, c] = [0, 1, 2].map(|n| parts[n].word());
    // Blank lines and comments between; a device twice; a chunk that is no power of two.
    let text = format!(
        "# ranges\n0 100 linear {a} 63\n\n100  500 linear {b} 1500\n600 1 linear {a} 999\n\
         601 36 striped 3 6 {a} 100 {b} 3 {c} 7\n637 8 zero\n"
    );
    let mut wanted = parts[0].sectors(63, 100).to_vec();
    wanted.extend(parts[1].sectors(1500, 500));
    wanted.extend(parts[0].sectors(999, 1));
    for row in 0..2 {
        for (part, offset) in parts.iter().zip([100, 3, 7]) {
            wanted.extend(part.sectors(offset + row * 6, 6));
        }
    }
    wanted.extend([0; 8 * 512]);
    serves_table(&images, &text, &wanted)
}

/// Blocks of an interleaved ccd by the rule's definition, component by component: in each round
/// those that are long enough, from where the round before ended.
fn interleaved(parts: &[Part], interleave: usize) -> Vec<u8> {
    let cut = |part: &Part| part.data.len() / 512 / interleave * interleave;
    let longest = parts.iter().map(cut).max().unwrap_or(0);
    let mut blocks = Vec::new();
    // One chunk of each component after another: those at an end are passed over.
    for at in (0..longest).step_by(interleave) {
        for part in parts.iter().filter(|part| cut(part) > at) {
            blocks.extend(part.sectors(at, interleave));
        }
    }
    blocks
}

fn ccd() -> Outcome {
    let images = Images::new(ulvm())?;
    let parts = parts(
        &images,
        &[("m", 1000), ("n", 3010), ("o", 3000), ("p", 5555)],
    )?;
    let words: Vec<String> = parts.iter().map(Part::word).collect();
    let line = format!("ccd0 32 none {}", words.join(" "));
    let wanted = interleaved(&parts, 32);
    // The printed table and what is served without it are the same.
    let table = images.run(&["ccd", &line], &[])?.success("ccd")?.out();
    ensure!(
        table.lines().count() == 4,
        "four lengths make four rounds: {table}"
    );
    serves_table(&images, &table, &wanted)?;
    serves_ccd(&images, &[&line], "ccd0", &wanted)
}

fn ccd_serial() -> Outcome {
    let images = Images::new(ulvm())?;
    let parts = parts(&images, &[("m", 999), ("n", 33)])?;
    let line = format!("ccd1\t0 none {} {}", parts[0].word(), parts[1].word());
    let wanted = [&parts[0].data[..], &parts[1].data].concat();
    serves_ccd(&images, &[&line], "ccd1", &wanted)
}

fn ccd_conf() -> Outcome {
    let images = Images::new(ulvm())?;
    let parts = parts(&images, &[("m", 640), ("n", 640), ("o", 100)])?;
    let [m, n, o] = [0, 1, 2].map(|n| parts[n].word());
    let conf = images.path("ccd.conf");
    let text = format!("# ccd ileave flags devices\nccd0 16 none {m} {n}\nccd1 0 none {o}\n");
    std::fs::write(&conf, text).map_err(|e| e.to_string())?;
    let conf = conf.display().to_string();
    serves_ccd(&images, &[&conf], "ccd0", &interleaved(&parts[..2], 16))?;
    serves_ccd(&images, &[&conf], "ccd1", &parts[2].data)
}

/// The same with `ulvm ccd` as the server.
fn serves_ccd(images: &Images, operands: &[&str], name: &str, wanted: &[u8]) -> Outcome {
    let served = Served::of("ccd", images, &[operands, &["--readonly"]].concat(), 1)?;
    let seen = client("nbdcopy", &[&served.uri(name), "-"])?.stdout;
    ensure!(seen == wanted, "ulvm ccd does not serve {name} by its rule");
    served.end().map(drop)
}

fn major_minor() -> Outcome {
    let images = Images::new(ulvm())?;
    let dir = loopdev::scratch()?;
    let device = LoopDevice::attach(&dir.path().join("d"), 1 << 20, 512)?;
    let data = content::sectors(9, 0, 2048);
    std::fs::write(device.file(), &data).map_err(|e| e.to_string())?;
    let name = device.node().file_name().unwrap_or_default();
    let number = Path::new("/sys/class/block").join(name).join("dev");
    let number = std::fs::read_to_string(number).map_err(|e| e.to_string())?;
    let text = format!("0 1000 linear {} 24", number.trim());
    serves_table(&images, &text, &data[24 * 512..1024 * 512])
}

/// A FIFO (whose opening would wait for a writer), a folder, a character device.
fn no_disk() -> Outcome {
    let images = Images::new(ulvm())?;
    let (fifo, folder) = (images.path("fifo"), images.path("folder"));
    process::output("mkfifo", &[&fifo])?.success("mkfifo")?;
    std::fs::create_dir(&folder).map_err(|e| e.to_string())?;
    let table = images.path("table");
    for path in [fifo, folder, PathBuf::from("/dev/zero")] {
        let path = path.display().to_string();
        std::fs::write(&table, format!("0 8 linear {path} 0\n")).map_err(|e| e.to_string())?;
        let table = table.display().to_string();
        let mut command = images.command(&["serve", "--table", &table, "--nbd", "unix:s"]);
        let done = process::run(&mut command, &[], std::time::Duration::from_secs(20))?;
        ensure!(!done.timed_out, "serving {path} does not end");
        ensure!(
            done.code == 5 && done.err().contains(&path),
            "{path}: {} {}",
            done.code,
            done.err()
        );
    }
    Ok(())
}

fn malformed() -> Outcome {
    let images = Images::new(ulvm())?;
    let parts = parts(&images, &[("a", 100), ("b", 100)])?;
    let (a, b) = (parts[0].word(), parts[1].word());
    let table = images.path("table");
    let word = 14 + a.len();
    for (text, place, says) in [
        (String::new(), String::new(), "empty"),
        (
            "0 8 linear".into(),
            "line 1, column 11".into(),
            "device is missing",
        ),
        (
            format!("0 8 linear {a} 0\n8 8 linaer {a} 8"),
            "line 2, column 5".into(),
            "unknown target",
        ),
        (
            format!("0 8 linear {a} x"),
            format!("line 1, column {}", 13 + a.len()),
            "offset",
        ),
        (
            format!("0 8 linear {a} 0\n9 8 linear {a} 8"),
            "line 2, column 1".into(),
            "sector 8",
        ),
        (
            format!("0 24 striped 2 8 {a} 0 {b} 0"),
            "line 1, column 16".into(),
            "chunk",
        ),
        (
            format!("0 16 striped 2 8 {a} 0"),
            format!("line 1, column {}", 20 + a.len()),
            "device",
        ),
        (
            format!("0 8 linear {a} 93"),
            "line 1, column 12".into(),
            "too small",
        ),
        (
            format!("0 8 linear {a} 0 {b} 0"),
            format!("line 1, column {}", word + 1),
            "nothing",
        ),
        (
            "0 8 linear /nothing/here 0".into(),
            "line 1, column 12".into(),
            "No such file",
        ),
        (
            "0 8 linear 259:99999 0".into(),
            "line 1, column 12".into(),
            "259:99999",
        ),
    ] {
        std::fs::write(&table, &text).map_err(|e| e.to_string())?;
        let (file, at) = (table.display().to_string(), images.path("s"));
        let place_of = format!("unix:{}", at.display());
        let done = images.run(&["serve", "--table", &file, "--nbd", &place_of], &[])?;
        ensure!(done.code == 5, "{text:?}: ended with {}", done.code);
        let err = done.err();
        ensure!(
            err.contains(&place) && err.contains(says),
            "{text:?}: {err}"
        );
        ensure!(!at.exists(), "{text:?}: it has begun to serve");
    }
    for part in &parts {
        let now = std::fs::read(&part.path).map_err(|e| e.to_string())?;
        ensure!(now == part.data, "{} was changed", part.word());
    }
    for (line, says) in [
        (format!("ccd0 32 none {a} {a}"), "twice"),
        (format!("ccd0 128 none {a}"), "too small"),
        (format!("ccd0 32 mirror {a} {b}"), "mirror"),
        (format!("ccd0 thirty-two none {a}"), "not a number"),
    ] {
        let done = process::run(
            &mut images.command(&["ccd", &line]),
            &[],
            std::time::Duration::from_secs(30),
        )?;
        ensure!(
            done.code == 5 && done.err().contains(says),
            "{line}: {} {}",
            done.code,
            done.err()
        );
    }
    Ok(())
}
