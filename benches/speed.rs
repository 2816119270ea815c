//! Speed of whole commands against Debian's lvm2, in one run on the same volume groups: CPU and wall
//! time, and the ratio. Both tools run with their defaults: locking, archive and backup are on.
//!
//! `cargo bench -p ulvm-cli --bench speed [-- ROUNDS]`; root, loop devices and lvm2 are needed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ulvm_test_support::field::Field;
use ulvm_test_support::lvm::Tool;
use ulvm_test_support::needs::Need;
use ulvm_test_support::process;

const MIB: u64 = 1 << 20;
/// LVs of the large VG.
const MANY: usize = 10_000;
/// PVs of the wide VG.
const WIDE: usize = 500;
/// What ulvm aims at: this many times less CPU than LVM2.
const AIM: f64 = 10.0;

/// Seconds of one command.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// The medians of both tools in one scenario.
struct Row {
    name: String,
    theirs: Cost,
    ours: Cost,
}

fn main() -> ExitCode {
    for need in [Need::Loop, Need::Lvm2, Need::Program("bash")] {
        if let Some(why) = need.missing() {
            println!("speed: not run: {why}");
            let required = std::env::var("ULVM_REQUIRE_ALL").is_ok_and(|value| value == "1");
            return if required {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    }
    let rounds = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(9);
    let measured = measure_all(rounds);
    match measured {
        Ok(rows) => {
            print!("{}", table(&rows));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("speed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(rounds: usize) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let small = Field::new(ulvm(), &[64 * MIB; 2])?;
    small.ok(Tool::Debian, "vgcreate -s 1M vg $pv0 $pv1")?;
    for name in ["a", "b", "c"] {
        small.ok(
            Tool::Debian,
            &format!("lvcreate -an -Zn -Wn -n {name} -l 4 vg"),
        )?;
    }
    rows.push(scenario(&small, "lvs, small VG", rounds * 3, |_, _| {
        "lvs".into()
    })?);
    drop(small);

    let large = large_vg()?;
    rows.push(scenario(&large, "lvs, 10,000 LVs", rounds, |_, _| {
        "lvs".into()
    })?);
    rows.push(scenario(
        &large,
        "lvs, JSON, all segment fields",
        rounds,
        |_, _| "lvs -a -o lv_all,seg_all --reportformat json".into(),
    )?);
    rows.push(scenario(
        &large,
        "lvcreate, 10,000 LVs",
        rounds,
        |tool, round| format!("lvcreate -an -Zn -Wn -l 1 -n new_{tool}_{round} vg"),
    )?);
    rows.push(scenario(&large, "vgs, 10,000 LVs", rounds, |_, _| {
        "vgs".into()
    })?);
    drop(large);

    let wide = Field::new(ulvm(), &[4 * MIB; WIDE])?;
    let all: Vec<String> = (0..WIDE).map(|index| format!("$pv{index}")).collect();
    wide.ok(
        Tool::Debian,
        &format!("pvcreate --pvmetadatacopies 0 {}", all[2..].join(" ")),
    )?;
    wide.ok(
        Tool::Debian,
        &format!("vgcreate -s 64k vg {}", all.join(" ")),
    )?;
    rows.push(scenario(&wide, "pvs, 500 PVs", rounds, |_, _| {
        "pvs".into()
    })?);
    Ok(rows)
}

fn ulvm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ulvm"))
}

/// 10,000 LVs on two PVs, restored from a text, since creating them one by one would take LVM2 an
/// hour.
fn large_vg() -> Result<Field, String> {
    let field = Field::new(ulvm(), &[512 * MIB; 2])?;
    let ids = [
        "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAA0",
        "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAA1",
    ];
    for (index, id) in ids.iter().enumerate() {
        field.ok(
            Tool::Debian,
            &format!("pvcreate --metadatasize 64m --norestorefile --uuid {id} $pv{index}"),
        )?;
    }
    field.ok(Tool::Debian, "vgcreate -s 32k vg $pv0 $pv1")?;
    let file = field.site.files().join("large");
    field.ok(
        Tool::Debian,
        &format!("vgcfgbackup -f {} vg", file.display()),
    )?;
    let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let end = text
        .trim_end()
        .rfind('}')
        .ok_or("no end of the VG in the backup")?;
    let mut volumes = String::from("\n\tlogical_volumes {\n");
    for index in 0..MANY {
        volume(&mut volumes, index);
    }
    volumes.push_str("\t}\n");
    let text = format!("{}{volumes}{}", &text[..end], &text[end..]);
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    field.ok(
        Tool::Debian,
        &format!("vgcfgrestore -f {} vg", file.display()),
    )?;
    let found = field.volumes("vg")?.len();
    if found != MANY {
        return Err(format!("the large VG has {found} LVs"));
    }
    Ok(field)
}

fn volume(out: &mut String, index: usize) {
    let (pv, extent) = (index % 2, index / 2);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "\t\tlv{index:05} {{\n\t\t\tid = \"BBBBBB-BBBB-BBBB-BBBB-BBBB-BBBB-B{index:05}\"\n\
         \t\t\tstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\n\t\t\tflags = []\n\
         \t\t\tcreation_time = 1700000000\n\t\t\tcreation_host = \"bench\"\n\
         \t\t\tsegment_count = 1\n\n\t\t\tsegment1 {{\n\t\t\t\tstart_extent = 0\n\
         \t\t\t\textent_count = 1\n\n\t\t\t\ttype = \"striped\"\n\t\t\t\tstripe_count = 1\n\n\
         \t\t\t\tstripes = [\n\t\t\t\t\t\"pv{pv}\", {extent}\n\t\t\t\t]\n\t\t\t}}\n\t\t}}\n\n"
    );
}

fn scenario(
    field: &Field,
    name: &str,
    rounds: usize,
    line: impl Fn(Tool, usize) -> String,
) -> Result<Row, String> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        theirs.push(cost(field, Tool::Debian, &line(Tool::Debian, round))?);
        ours.push(cost(field, Tool::Ulvm, &line(Tool::Ulvm, round))?);
    }
    Ok(Row {
        name: name.into(),
        theirs: median(&theirs),
        ours: median(&ours),
    })
}

/// One command under bash's `time`, which counts the CPU of the command alone.
fn cost(field: &Field, tool: Tool, line: &str) -> Result<Cost, String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let direct = field.site.command(tool, &words);
    let mut timed = Command::new("bash");
    timed
        .args([
            "-c",
            "TIMEFORMAT='%3R %3U %3S'; time \"$@\" >/dev/null 2>/dev/null",
            "time",
        ])
        .arg(direct.get_program())
        .args(direct.get_args())
        .env_clear();
    for (key, value) in direct.get_envs() {
        if let Some(value) = value {
            timed.env(key, value);
        }
    }
    let done = process::run(&mut timed, &[], Duration::from_secs(120))?
        .success(&format!("{tool}: {line}"))?;
    let text = done.err();
    let seconds: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match seconds.as_slice() {
        [wall, user, system] => Ok(Cost {
            wall: *wall,
            cpu: user + system,
        }),
        _ => Err(format!("`time` printed {text}")),
    }
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        cpu: middle(|cost| cost.cpu),
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:32} {:>22} {:>8} {:>24} {:>8}\n",
        "", "CPU lvm2 / ulvm", "ratio", "wall lvm2 / ulvm", "ratio"
    );
    for Row { name, theirs, ours } in rows {
        let (cpu, wall) = (
            theirs.cpu / ours.cpu.max(0.0005),
            theirs.wall / ours.wall.max(0.0005),
        );
        let note = if cpu >= AIM { "" } else { "  below the aim" };
        let _ = writeln!(
            out,
            "{name:32} {:>8.0} / {:>5.0} ms {cpu:>9.1} {:>10.0} / {:>5.0} ms {wall:>9.1}{note}",
            theirs.cpu * 1e3,
            ours.cpu * 1e3,
            theirs.wall * 1e3,
            ours.wall * 1e3
        );
    }
    out
}
