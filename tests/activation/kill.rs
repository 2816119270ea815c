//! Kills of the worker in the middle of the work, and of everything.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::disk;
use crate::host::{FUSE, Host, LOOP};
use crate::kernel_log::KernelLog;

/// Kills in the sample that every run takes; `ULVM_KILLS` gives another number.
const KILLS: u64 = 20;

pub fn cases(suite: &mut Suite) {
    let mut fio = LOOP.to_vec();
    fio.extend([Need::Program("fio"), Need::Program("dmesg")]);
    suite.case(
        "activation::kill::loop_device_sees_a_pause",
        &fio,
        loop_device,
    );
    let mut fio = FUSE.to_vec();
    fio.extend([Need::Program("fio"), Need::Program("dmesg")]);
    suite.case("activation::kill::file_sees_a_pause", &fio, file);
    let mut fio = LOOP.to_vec();
    fio.push(Need::Program("fio"));
    suite.case(
        "activation::kill::supervisor_is_replaced_under_load",
        &fio,
        supervisor,
    );
    suite.case("activation::kill::both_are_cleaned_up_after", &LOOP, both);
}

fn loop_device() -> Outcome {
    bare("loop")
}

fn file() -> Outcome {
    bare("fuse")
}

fn kills() -> u64 {
    let number = std::env::var("ULVM_KILLS");
    number.ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS)
}

/// Random writes, read back and checked, until it is told to end.
pub fn load(node: &str, dir: &std::path::Path) -> Result<Child, String> {
    Command::new("fio")
        .args(["--name=kill", "--rw=randwrite", "--bs=4k", "--size=24m"])
        .args(["--ioengine=libaio", "--iodepth=32", "--direct=1"])
        .args([
            "--verify=crc32c",
            "--verify_backlog=512",
            "--verify_fatal=1",
        ])
        .args([
            "--loops=100000",
            "--time_based",
            "--runtime=600",
            "--allow_file_create=0",
        ])
        .arg(format!("--filename={node}"))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("fio: {e}"))
}

/// Ends the load, which must have gone well until now.
pub fn end_load(mut fio: Child) -> Outcome {
    let running = fio.try_wait().map_err(|e| e.to_string())?.is_none();
    process::output("kill", &["-INT", &fio.id().to_string()])?;
    let out = fio.wait_with_output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&out.stderr);
    ensure!(running && said.contains("err= 0"), "{said}");
    ensure!(!said.contains("verify:"), "{said}");
    Ok(())
}

/// What kills came to.
pub struct Kills {
    number: u64,
    landed: u64,
    resent: u64,
    pause_us: u64,
}

impl std::fmt::Display for Kills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} kills, {} of them with requests in flight, {} requests sent again, the longest pause {} us",
            self.number, self.landed, self.resent, self.pause_us
        )
    }
}

/// Kills the worker until that many kills have met requests that it had taken and not answered.
/// The load must go on all the time.
pub fn under_load(host: &Host, fio: &mut Child, wanted: u64) -> Result<Kills, String> {
    let mut kills = Kills {
        number: 0,
        landed: 0,
        resent: 0,
        pause_us: 0,
    };
    while kills.landed < wanted {
        kills.number += 1;
        let n = kills.number;
        ensure!(n <= 5 * wanted, "too few meet requests in flight: {kills}");
        host.kill("worker_pid")?;
        let began = Instant::now();
        // Until the next one serves, and has answered what was sent again.
        while host.status()?["restarts"].as_u64() < Some(n) {
            ensure!(
                began.elapsed() < Duration::from_secs(30),
                "kill {n}: no new worker"
            );
        }
        std::thread::sleep(Duration::from_millis(60));
        let status = host.status()?;
        let resent = status["resent"].as_u64().unwrap_or(0);
        kills.landed += u64::from(resent > kills.resent);
        kills.resent = resent;
        let pause = status["pause_us"].as_u64().unwrap_or(0);
        kills.pause_us = kills.pause_us.max(pause);
        let ended = fio.try_wait().map_err(|e| e.to_string())?;
        ensure!(ended.is_none(), "kill {n}: the load ended ({ended:?})");
    }
    Ok(kills)
}

/// On the bare volume.
fn bare(export: &str) -> Outcome {
    let host = Host::new()?;
    host.ok(&format!("lvchange -ay --export {export} vg/linear"))?;
    if host.status()?["kill"]["worker_survived"] == false {
        return Err("this kernel does not send requests again (before 6.9)".into());
    }
    let log = KernelLog::begin()?;
    let node = host.node("vg/linear")?;
    let mut fio = load(&node.display().to_string(), &host.images().path(""))?;
    std::thread::sleep(Duration::from_millis(500));
    let kills = under_load(&host, &mut fio, kills());
    end_load(fio)?;
    println!("{export}: {}", kills?);
    if export == "loop" {
        let errors = log.errors(&disk::name(&node))?;
        ensure!(errors.is_empty(), "the kernel's log: {errors:?}");
    }
    host.ok("lvchange -an vg/linear").map(drop)
}

/// Waits until a thousand more writes to a loop device have been answered.
pub fn writes_go_on(node: &Path) -> Outcome {
    let stat = Path::new("/sys/block").join(node.file_name().unwrap_or_default());
    let writes = || -> Result<u64, String> {
        let text = std::fs::read_to_string(stat.join("stat")).map_err(|e| e.to_string())?;
        let word = text.split_whitespace().nth(4).unwrap_or_default();
        word.parse().map_err(|e| format!("{word}: {e}"))
    };
    let (before, began) = (writes()?, Instant::now());
    while writes()? < before + 1000 {
        ensure!(began.elapsed() < Duration::from_secs(30), "no writes");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The supervisor dies under load. The next start takes over from its worker, and can do all that
/// the first could: make devices, remove them, and start a worker in the place of one that dies.
fn supervisor() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    let fio = load(&node.display().to_string(), &host.images().path(""))?;
    writes_go_on(&node)?;
    let worker = host.pid("worker_pid")?;
    for round in 0..3 {
        let before = host.kill("supervisor_pid")?;
        host.ok("lvchange -ay --export loop vg/striped")?;
        let status = host.status()?;
        ensure!(
            status["supervisor_pid"] != before,
            "round {round}: {status}"
        );
        ensure!(
            status["worker_pid"] == worker,
            "round {round}: another worker"
        );
        ensure!(
            host.node("vg/linear")? == node,
            "round {round}: another node"
        );
        let names = host.ok("lvs --noheadings -o lv_name -S lv_active=active")?;
        ensure!(
            names.out().split_whitespace().count() == 2,
            "{}",
            names.out()
        );
        host.ok("lvchange -an vg/striped")?;
    }
    host.kill("worker_pid")?;
    ensure!(host.pid("worker_pid")? != worker, "the same worker");
    writes_go_on(&node)?;
    end_load(fio)?;
    host.ok("lvchange -an vg/linear")?;
    ensure!(host.node("vg/linear").is_err(), "the link is still there");
    Ok(())
}

/// Supervisor and worker die: consumers get errors, and the next start is as if nothing had been.
fn both() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    let worker = host.pid("worker_pid")?;
    host.kill("supervisor_pid")?;
    process::output("kill", &["-KILL", &worker.to_string()])?.success("kill")?;
    let began = Instant::now();
    while std::path::Path::new(&format!("/proc/{worker}/exe")).exists() {
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "the worker lives"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let read = process::output(
        "dd",
        &[
            "if=".to_owned() + &node.display().to_string(),
            "of=/dev/null".into(),
            "bs=4k".into(),
            "count=1".into(),
            "iflag=direct".into(),
            "status=none".into(),
        ],
    )?;
    ensure!(read.code != 0, "a dead device was read");
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?.display().to_string();
    process::output(
        "dd",
        &[
            "if=/dev/zero",
            &format!("of={node}"),
            "bs=4k",
            "count=1",
            "oflag=direct",
            "status=none",
        ],
    )?
    .success("dd")?;
    host.ok("lvchange -an vg/linear").map(drop)
}
