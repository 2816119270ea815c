//! Options of `serve` that bound what it may cost, and whether they do.

use std::io::Write;
use std::path::Path;

use serde_json::Value;
use ulvm_test_support::ensure;
use ulvm_test_support::images::Images;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};

use crate::clients::images;
use crate::raw;
use crate::served::{Served, client};

pub fn cases(suite: &mut Suite) {
    suite.case("nbd::limits::values_out_of_range", &[], refused);
    suite.case(
        "nbd::limits::told_and_kept",
        &[Need::Program("nbdinfo")],
        kept,
    );
    suite.case("nbd::limits::threads", &[], threads);
    suite.case("nbd::limits::memory_under_100_clients", &[], memory);
}

fn refused() -> Outcome {
    let images = images()?;
    for (words, says) in [
        (["--queues", "0"], "--queues: 0 (from 1 to 1024)"),
        (["--queues", "many"], "--queues"),
        (["--iodepth", "3"], "--iodepth: 3 (from 4 to 4096)"),
        (["--iodepth", "4097"], "--iodepth: 4097"),
        (["--driver", "aio"], "--driver"),
        (["--maxclients", "0"], "--maxclients: 0 (from 1 to 65536)"),
        (["--maxrequests", "99999999999999999999"], "--maxrequests"),
        (["--maxpayload", "100k"], "multiple of 64 KiB"),
        (
            ["--maxpayload", "1g"],
            "--maxpayload: 1073741824 bytes (from 64 KiB to 64 MiB)",
        ),
        (["--maxbuffer", "1"], "--maxbuffer: 1 bytes"),
        (["--maxbuffer", "-1m"], "--maxbuffer"),
        (
            ["--maxmemory", "1m"],
            "--maxmemory has to be at least --maxpayload (32768 KiB)",
        ),
        (["--minrate", "2g"], "--minrate: 2147483648 bytes"),
        (["--nbd", "udp:1"], "--nbd"),
    ] {
        let place = format!("unix:{}", images.path("s").display());
        let all = [&["serve", "vg/linear", "--nbd", &place], &words[..]].concat();
        let done = images.run(&all, &[])?;
        ensure!(
            done.code == 3,
            "{words:?}: ended with {}: {}",
            done.code,
            done.err()
        );
        ensure!(done.err().contains(says), "{words:?}: {}", done.err());
        ensure!(
            !images.path("s").exists(),
            "{words:?}: it has begun to serve"
        );
    }
    for command in ["serve", "ccd"] {
        let help = images.ok(&format!("{command} --help"))?.out();
        for option in [
            "--queues",
            "--iodepth",
            "--pin",
            "--maxclients",
            "--maxpayload",
            "--maxmemory",
            "--minrate",
            "--nbd",
        ] {
            ensure!(
                help.contains(option),
                "{command} --help without {option}: {help}"
            );
        }
    }
    Ok(())
}

fn connect(served: &Served) -> raw::Client {
    let mut client = raw::Client::connect(served.socket());
    client.begin("", true);
    client
}

fn kept() -> Outcome {
    let images = images()?;
    let words = ["vg/linear", "--maxpayload", "1m", "--maxclients", "3"];
    let served = Served::start(&images, &words)?;
    let info = client("nbdinfo", &["--json", &served.uri("")])?;
    let info: Value = serde_json::from_slice(&info.stdout).map_err(|e| e.to_string())?;
    let told = &info["exports"][0]["block_size_maximum"];
    ensure!(*told == 1 << 20, "the largest block told is {told}");
    let mut three = [connect(&served), connect(&served), connect(&served)];
    ensure!(
        three[0].read(0, 1 << 20).is_ok(),
        "a read of the largest block"
    );
    ensure!(three[0].read(0, (1 << 20) + 1).is_err(), "a read beyond it");
    let mut fourth = raw::Client::connect(served.socket());
    ensure!(fourth.is_closed(), "a fourth client was let in");
    ensure!(
        three[2].read(0, 512).is_ok(),
        "the third client is not served"
    );
    let (code, err) = served.end()?;
    ensure!(code == 0, "ended with {code}: {err}");
    Ok(())
}

/// A line of a file below `/proc/PID`.
fn status(path: &Path, name: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path.join("status")).map_err(|e| e.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line
        .ok_or(format!("no {name}"))?
        .trim_matches([':', '\t', ' '])
        .to_owned())
}

/// CPUs that each thread of a server may use.
fn cpus_of_threads(images: &Images, words: &[&str]) -> Result<Vec<String>, String> {
    let served = Served::start(images, words)?;
    let mut client = connect(&served);
    ensure!(client.read(0, 512).is_ok(), "not served with {words:?}");
    let tasks = format!("/proc/{}/task", served.pid());
    let tasks = std::fs::read_dir(tasks).map_err(|e| e.to_string())?;
    let cpus: Result<Vec<_>, String> = tasks
        .map(|task| {
            status(
                &task.map_err(|e| e.to_string())?.path(),
                "Cpus_allowed_list",
            )
        })
        .collect();
    drop(client);
    served.end()?;
    cpus
}

fn threads() -> Outcome {
    let images = images()?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let words = ["vg/linear", "--driver", "uring", "--queues", "1"];
    let one = cpus_of_threads(&images, &words)?;
    let words = ["vg/linear", "--driver", "uring", "--queues", "1024"];
    let most = cpus_of_threads(&images, &words)?;
    ensure!(
        most.len() == one.len() + cpus - 1,
        "{} threads with one queue, {} with one for each of {cpus} CPUs",
        one.len(),
        most.len()
    );
    let pinned = cpus_of_threads(
        &images,
        &[&words[..], &["--pin", "--iodepth", "16"]].concat(),
    )?;
    let single: Vec<_> = pinned
        .iter()
        .filter(|list| list.parse::<u32>().is_ok())
        .collect();
    ensure!(
        cpus == 1 || single.len() == cpus,
        "CPUs of pinned threads: {pinned:?}"
    );
    let pool = cpus_of_threads(&images, &["vg/linear", "--driver", "pool", "--queues", "1"])?;
    ensure!(pool.len() > one.len(), "{} threads with a pool", pool.len());
    hundreds(&images, one.len())
}

/// Five hundred devices cost no thread.
fn hundreds(images: &Images, threads: usize) -> Outcome {
    let (file, conf) = (images.path("component"), images.path("ccd.conf"));
    std::fs::write(&file, [7; 8192]).map_err(|e| e.to_string())?;
    let line = |n| format!("ccd{n} 0 none {}\n", file.display());
    let text: String = (0..500).map(line).collect();
    std::fs::write(&conf, text).map_err(|e| e.to_string())?;
    let words = [
        &conf.display().to_string(),
        "--driver",
        "uring",
        "--queues",
        "1",
    ];
    let served = Served::of("ccd", images, &words, 500)?;
    let mut last = raw::Client::connect(served.socket());
    last.begin("ccd499", true);
    ensure!(
        last.read(0, 8192) == Ok(vec![7; 8192]),
        "the last of 500 devices"
    );
    let tasks = format!("/proc/{}/task", served.pid());
    let now = std::fs::read_dir(tasks).map_err(|e| e.to_string())?.count();
    ensure!(
        now == threads,
        "{now} threads with 500 devices, {threads} with one"
    );
    served.end()?;
    Ok(())
}

/// The formula of `docs/nbd.md`, for a hundred clients that make the server hold all they can.
fn memory() -> Outcome {
    const CLIENTS: u64 = 100;
    const KIB: u64 = 256;
    let images = images()?;
    let limit = format!("{KIB}k");
    let words = ["vg/striped", "--maxpayload", &limit, "--maxbuffer", &limit];
    let served = Served::start(&images, &words)?;
    let proc = format!("/proc/{}", served.pid());
    let kib = |name| -> Result<u64, String> {
        let text = status(Path::new(&proc), name)?;
        text.trim_end_matches(" kB")
            .parse()
            .map_err(|_| format!("{name}: {text}"))
    };
    let before = kib("VmRSS")?;
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(&served)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        // Replies that are not taken, more than fit into the socket; then a payload that never ends.
        for cookie in 0..200 {
            let at = (cookie % 60) << 18;
            client.try_send(0, 0, cookie, at, (KIB << 10) as u32, &[]);
        }
        if n % 2 == 0 {
            client
                .stream
                .set_nonblocking(true)
                .map_err(|e| e.to_string())?;
            client.try_send(1, 0, 999, 0, (KIB << 10) as u32, &vec![1; 200 << 10]);
        }
        drop(client.stream.flush());
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    // Beside all of them one works on.
    let mut good = connect(&served);
    for n in 0..100 {
        ensure!(
            good.read(n * 4096, 4096).is_ok(),
            "the good client's read {n}"
        );
    }
    let (after, most) = (kib("VmRSS")?, kib("VmHWM")?);
    let allowed = (CLIENTS + 1) * (2 * KIB + 160 + 64);
    println!(
        "memory of 100 clients: {before} KiB before, {most} KiB at most, {allowed} KiB allowed"
    );
    ensure!(
        most <= before + allowed,
        "{most} KiB, {before} before, allowed are {allowed} more"
    );
    ensure!(
        after > before + CLIENTS * KIB / 2,
        "the clients did not do their worst: {after} KiB"
    );
    drop(clients);
    let (code, err) = served.end()?;
    ensure!(code == 0, "ended with {code}: {err}");
    Ok(())
}
