//! The engine (`ulvm bench`) against fio's io_uring and psync on the same files, in one run: ratios
//! of I/Os per second to the better of the two, and of CPU time per I/O. Medians of interleaved
//! runs.
//!
//! `cargo bench -p ulvm-cli --bench engine [-- ROUNDS [DIRECTORY]]`; fio is needed. DIRECTORY (by
//! default the target directory) should be on a disk; tmpfs is tried under /dev/shm.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 256 * MIB;
const SECONDS: &str = "1";
/// What the engine aims at, of the better fio figure.
const AIM: f64 = 0.95;

/// I/Os per second, and microseconds of CPU per I/O.
#[derive(Clone, Copy, Default)]
struct Figure {
    iops: f64,
    cpu: f64,
}

/// What is measured.
struct Case {
    place: &'static str,
    files: Vec<PathBuf>,
    direct: bool,
    rw: &'static str,
    block: &'static str,
    depth: &'static str,
}

fn run(command: &mut Command) -> Result<Value, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.find('{').map_or("", |at| &text[at..]);
    serde_json::from_str(json).map_err(|e| {
        let err = String::from_utf8_lossy(&output.stderr);
        format!("{command:?}: {e}: {err}")
    })
}

/// fio counts the CPU of its own thread only, so what the kernel's worker threads do for io_uring
/// on page-cached files is missing from its figure.
fn fio(case: &Case, engine: &str) -> Result<Figure, String> {
    let names: Vec<_> = case.files.iter().map(|f| f.display().to_string()).collect();
    let depth = if engine == "psync" { "1" } else { case.depth };
    let value = run(Command::new("fio")
        .args(["--name=x", "--thread", "--time_based", "--invalidate=0"])
        .args(["--norandommap", "--output-format=json"])
        .arg(format!("--filename={}", names.join(":")))
        .arg(format!("--size={}", SIZE * names.len() as u64))
        .arg(format!("--rw={}", case.rw))
        .arg(format!("--bs={}", case.block))
        .arg(format!("--iodepth={depth}"))
        .arg(format!("--ioengine={engine}"))
        .arg(format!("--direct={}", u8::from(case.direct)))
        .arg(format!("--runtime={SECONDS}")))?;
    let job = &value["jobs"][0];
    let side = if case.rw.contains("read") {
        "read"
    } else {
        "write"
    };
    let number = |v: &Value| v.as_f64().unwrap_or(0.0);
    let busy = (number(&job["usr_cpu"]) + number(&job["sys_cpu"])) / 100.0;
    let ios = number(&job[side]["total_ios"]).max(1.0);
    Ok(Figure {
        iops: number(&job[side]["iops"]),
        cpu: busy * number(&job["job_runtime"]) * 1000.0 / ios,
    })
}

fn ulvm(case: &Case, table: &Path) -> Result<Figure, String> {
    let sectors = SIZE / 512;
    let names: Vec<_> = case.files.iter().map(|f| f.display()).collect();
    let text = match names.as_slice() {
        [one] => format!("0 {sectors} linear {one} 0\n"),
        [a, b] => format!("0 {} striped 2 128 {a} 0 {b} 0\n", 2 * sectors),
        _ => return Err("one file or two".into()),
    };
    std::fs::write(table, text).map_err(|e| e.to_string())?;
    let value = run(Command::new(env!("CARGO_BIN_EXE_ulvm"))
        .args(["bench", "-y", "--json", "--runtime", SECONDS, "--table"])
        .arg(table)
        .args(["--rw", case.rw, "--bs", case.block, "--iodepth", case.depth])
        .args(["--direct", if case.direct { "y" } else { "n" }]))?;
    Ok(Figure {
        iops: value["iops"].as_f64().unwrap_or(0.0),
        cpu: value["cpu_us_per_io"].as_f64().unwrap_or(0.0),
    })
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.iops.total_cmp(&b.iops));
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn measure(case: &Case, table: &Path, rounds: usize) -> Result<(), String> {
    let (mut psync, mut uring, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        psync.push(fio(case, "psync")?);
        uring.push(fio(case, "io_uring")?);
        ours.push(ulvm(case, table)?);
    }
    let (psync, uring, ours) = (median(psync), median(uring), median(ours));
    let best = if psync.iops > uring.iops {
        psync
    } else {
        uring
    };
    let ratio = ours.iops / best.iops.max(1.0);
    println!(
        "{:9} {:8} {:9} {:>4} x{:2} | {:>7.0} {:>7.0} {:>7.0} | {ratio:>5.2} {} | {:>6.2} {:>6.2} {:>6.2}",
        case.place,
        if case.files.len() == 1 {
            "linear"
        } else {
            "striped"
        },
        case.rw,
        case.block,
        case.depth,
        psync.iops,
        uring.iops,
        ours.iops,
        if ratio >= AIM { "ok  " } else { "MISS" },
        psync.cpu,
        uring.cpu,
        ours.cpu,
    );
    Ok(())
}

fn make(path: &Path) -> std::io::Result<()> {
    let mut state = 1u64;
    let mut block = vec![0u8; MIB as usize];
    for word in block.chunks_exact_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        word.copy_from_slice(&state.to_le_bytes());
    }
    let mut file = std::fs::File::create(path)?;
    for _ in 0..SIZE / MIB {
        std::io::Write::write_all(&mut file, &block)?;
    }
    file.sync_all()
}

fn all(rounds: usize, dir: &Path) -> Result<(), String> {
    let work = |parent: &Path| {
        let made = tempfile::tempdir_in(parent).map_err(|e| e.to_string())?;
        let files = ["a", "b"].map(|name| made.path().join(name));
        files
            .iter()
            .try_for_each(|f| make(f))
            .map_err(|e| e.to_string())?;
        Ok::<_, String>((made, files))
    };
    let (disk, on_disk) = work(dir)?;
    let (_memory, in_memory) = work(Path::new("/dev/shm"))?;
    let table = disk.path().join("table");
    println!(
        "I/Os per second: fio psync, fio io_uring, ulvm | ratio to the better, aim {AIM} | us of CPU per I/O: the same three"
    );
    for (place, files, direct) in [
        ("cached", &on_disk, false),
        ("tmpfs", &in_memory, false),
        ("O_DIRECT", &on_disk, true),
    ] {
        for files in [&files[..1], &files[..]] {
            for (rw, block) in [
                ("randread", "4k"),
                ("randwrite", "4k"),
                ("read", "256k"),
                ("write", "256k"),
            ] {
                for depth in ["1", "32"] {
                    let case = Case {
                        place,
                        files: files.to_vec(),
                        direct,
                        rw,
                        block,
                        depth,
                    };
                    measure(&case, &table, rounds)?;
                }
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let rounds = words.next().and_then(|word| word.parse().ok()).unwrap_or(5);
    let dir = words.next().map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    if Command::new("fio").arg("--version").output().is_err() {
        eprintln!("not run: fio is not installed");
        return ExitCode::from(if std::env::var_os("ULVM_REQUIRE_ALL").is_some() {
            1
        } else {
            0
        });
    }
    match all(rounds, &dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
