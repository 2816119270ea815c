//! What is told of devices and of the daemon, and that nobody waits for who listens.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::host::{FUSE, Host};

pub fn cases(suite: &mut Suite) {
    suite.case("activation::events::devices", &FUSE, devices);
    suite.case("activation::events::commands", &FUSE, commands);
    suite.case("activation::events::processes", &FUSE, processes);
    suite.case("activation::events::nobody_waits", &FUSE, nobody_waits);
    suite.case("activation::events::follow", &FUSE, follow);
}

pub fn events(host: &Host) -> Result<Vec<Value>, String> {
    let done = host.ok("events --json")?;
    let lines = done.out();
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    lines.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// Waits until enough has been told.
pub fn until(host: &Host, enough: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, String> {
    let began = Instant::now();
    loop {
        let events = events(host)?;
        if enough(&events) {
            return Ok(events);
        }
        ensure!(
            began.elapsed() < Duration::from_secs(20),
            "not told: {}",
            Value::from(events)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn classes(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|e| e["class"].as_str()).collect()
}

/// A device whose sectors from 8 to 15 fail.
fn broken(host: &Host) -> Outcome {
    let image = host.images().path("plain");
    std::fs::write(&image, vec![0; 1 << 20]).map_err(|e| e.to_string())?;
    let image = image.display();
    let table = format!("0 8 linear {image} 0\n8 8 error\n16 8 linear {image} 16\n");
    let mut command = host.command("dmsetup create broken --export fuse");
    process::run(&mut command, table.as_bytes(), Duration::from_secs(60))?
        .success("dmsetup create")
        .map(drop)
}

fn read(host: &Host, sector: u64) -> Result<i32, String> {
    let file = host.run_dir().join("volumes/broken");
    let done = process::output(
        "dd",
        &[
            format!("if={}", file.display()),
            "of=/dev/null".into(),
            "bs=512".into(),
            format!("skip={sector}"),
            "count=1".into(),
            "iflag=direct".into(),
            "status=none".into(),
        ],
    )?;
    Ok(done.code)
}

fn devices() -> Outcome {
    let host = Host::new()?;
    broken(&host)?;
    ensure!(read(&host, 0)? == 0, "the first part fails");
    ensure!(read(&host, 9)? != 0, "the second part does not fail");
    host.ok("dmsetup suspend broken")?;
    host.ok("dmsetup resume broken")?;
    host.ok("dmsetup remove broken")?;
    let told = until(&host, |e| classes(e).contains(&"deactivated"))?;
    let wanted = ["activated", "error", "suspended", "resumed", "deactivated"];
    let mut seen = classes(&told);
    // The kernel may ask for failing sectors more than once.
    seen.dedup();
    ensure!(seen == wanted, "{seen:?}");
    let error = told.iter().find(|e| e["class"] == "error");
    let error = error.ok_or("no error")?;
    ensure!(error["device"] == "broken", "{error}");
    ensure!(error["sector"] == 9, "{error}");
    ensure!(
        error["time"].as_str().is_some_and(|t| t.ends_with('Z')),
        "{error}"
    );
    ensure!(told.iter().all(|e| e["device"] == "broken"), "another");
    let numbers = told.iter().filter_map(|e| e["number"].as_u64());
    ensure!(numbers.eq(1..=told.len() as u64), "{}", Value::from(told));
    // The log needs no daemon.
    host.ok("daemon --stop")?;
    host.wait_ended(Duration::from_secs(10))?;
    ensure!(host.ok("events")?.out().contains(" broken sector 9: "), "");
    Ok(())
}

/// Commands of a class and of all classes; one that hangs holds up nothing but those after it.
fn commands() -> Outcome {
    let host = Host::new()?;
    let out = host.images().path("told").display().to_string();
    let text = format!(
        "ulvm {{\n on_error = \"echo $ULVM_EVENT $ULVM_DEVICE $ULVM_SECTOR >> {out}\"\n \
         on_any = \"echo any $ULVM_EVENT >> {out}\"\n on_suspended = \"sleep 1000\"\n}}\n"
    );
    let file = host.images().system_dir().join("ulvm.conf");
    std::fs::write(file, text).map_err(|e| e.to_string())?;
    broken(&host)?;
    ensure!(read(&host, 9)? != 0, "no error");
    let began = Instant::now();
    let wanted = ["any activated\n", "error broken 9\n", "any error\n"];
    loop {
        let said = std::fs::read_to_string(&out).unwrap_or_default();
        if wanted.iter().all(|w| said.contains(w)) {
            break;
        }
        ensure!(began.elapsed() < Duration::from_secs(20), "ran: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
    host.ok("dmsetup suspend broken")?;
    host.ok("dmsetup resume broken")?;
    ensure!(read(&host, 0)? == 0, "the device waits for a command");
    until(&host, |e| classes(e).contains(&"resumed"))?;
    host.ok("dmsetup remove broken").map(drop)
}

/// Deaths of each process are told, and cost no event.
fn processes() -> Outcome {
    let host = Host::new()?;
    broken(&host)?;
    host.kill("worker_pid")?;
    until(&host, |e| classes(e).contains(&"restarted"))?;
    let scribe = host.kill("scribe_pid")?;
    ensure!(read(&host, 9)? != 0, "no error");
    until(&host, |e| classes(e).contains(&"error"))?;
    ensure!(host.pid("scribe_pid")? != scribe, "the same process");
    host.kill("supervisor_pid")?;
    ensure!(read(&host, 10)? != 0, "no error");
    host.ok("dmsetup suspend broken")?;
    host.ok("dmsetup resume broken")?;
    ensure!(read(&host, 11)? != 0, "no error");
    host.ok("dmsetup remove broken")?;
    let told = until(&host, |e| classes(e).contains(&"deactivated"))?;
    let all = classes(&told);
    for class in ["taken_over", "suspended", "resumed"] {
        ensure!(all.contains(&class), "{class} is missing: {all:?}");
    }
    for sector in [9, 10, 11] {
        let found = told.iter().any(|e| e["sector"] == sector);
        ensure!(found, "the error at {sector} is missing: {all:?}");
    }
    ensure!(!all.contains(&"dropped"), "{all:?}");
    let numbers = told.iter().filter_map(|e| e["number"].as_u64());
    ensure!(numbers.eq(1..=told.len() as u64), "{}", Value::from(told));
    Ok(())
}

/// While the one that writes stands still, errors are answered as ever. What was dropped is told.
fn nobody_waits() -> Outcome {
    let host = Host::new()?;
    broken(&host)?;
    let scribe = host.pid("scribe_pid")?.to_string();
    process::output("kill", &["-STOP", &scribe])?.success("kill")?;
    let sectors = 3000;
    let file = host.run_dir().join("volumes/broken");
    let script = format!(
        "i=0; while [ $i -lt {sectors} ]; do \
         dd if={} of=/dev/null bs=512 skip=9 count=1 iflag=direct status=none 2>/dev/null && exit 1; \
         i=$((i+1)); done",
        file.display()
    );
    let done = process::output("sh", &["-c", &script]);
    let healthy = read(&host, 0);
    process::output("kill", &["-CONT", &scribe])?.success("kill")?;
    done?.success("reads that fail")?;
    ensure!(healthy? == 0, "the device waits for the log");
    let told = until(&host, |e| classes(e).contains(&"dropped"))?;
    let dropped = told.iter().filter(|e| e["class"] == "dropped");
    let dropped: u64 = dropped
        .filter_map(|e| e["text"].as_str()?.split(' ').next()?.parse::<u64>().ok())
        .sum();
    let errors = told.iter().filter(|e| e["class"] == "error").count() as u64;
    ensure!(
        errors + dropped >= sectors,
        "{errors} told, {dropped} dropped"
    );
    host.ok("dmsetup remove broken").map(drop)
}

fn follow() -> Outcome {
    let host = Host::new()?;
    let mut follower = host
        .command("events --follow --json")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let out = follower.stdout.take().ok_or("no output")?;
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            drop(tell.send(line));
        }
    });
    broken(&host)?;
    let first = told.recv_timeout(Duration::from_secs(20));
    host.ok("dmsetup remove broken")?;
    let second = told.recv_timeout(Duration::from_secs(20));
    drop(follower.kill());
    drop(follower.wait());
    drop(reader.join());
    let (first, second) = (
        first.map_err(|e| e.to_string())?,
        second.map_err(|e| e.to_string())?,
    );
    ensure!(first.contains("\"class\":\"activated\""), "{first}");
    ensure!(second.contains("\"class\":\"deactivated\""), "{second}");
    Ok(())
}
