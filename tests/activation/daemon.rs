//! Beginning and end of the daemon.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use std::io::{Read, Write};

use ulvm_test_support::ensure;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};

use crate::host::{FUSE, Host};

pub fn cases(suite: &mut Suite) {
    suite.case(
        "activation::daemon::starts_and_ends_by_itself",
        &FUSE,
        by_itself,
    );
    suite.case(
        "activation::daemon::stop_is_refused_while_active",
        &FUSE,
        stop,
    );
    suite.case("activation::daemon::one_per_run_directory", &FUSE, only_one);
    let mut root = FUSE.to_vec();
    root.push(Need::Root);
    suite.case("activation::daemon::standing_of_processes", &root, standing);
    suite.case("activation::daemon::nonsense_is_refused", &FUSE, nonsense);
    suite.case("activation::daemon::image_files_start_none", &[], none);
}

fn by_itself() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    let status = host.status()?;
    for field in ["supervisor_pid", "worker_pid"] {
        ensure!(status[field].as_u64().is_some(), "{field}: {status}");
    }
    ensure!(status["devices"][0]["name"] == "vg-linear", "{status}");
    let version = status["version"].as_str().unwrap_or_default();
    ensure!(!version.is_empty(), "{status}");
    host.ok("lvchange -an vg/linear")?;
    host.wait_ended(Duration::from_secs(20))
}

fn stop() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    let refused = host.run("daemon --stop")?;
    ensure!(refused.code == 5, "ended with {}", refused.code);
    ensure!(refused.err().contains("active"), "{}", refused.err());
    host.ok("lvchange -an vg/linear")?;
    host.ok("daemon --stop")?;
    host.wait_ended(Duration::from_secs(10))
}

fn only_one() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    let second = host.run("daemon")?;
    ensure!(second.code == 5, "ended with {}", second.code);
    ensure!(second.err().contains("already"), "{}", second.err());
    ensure!(host.status()?["devices"][0]["name"] == "vg-linear", "gone");
    Ok(())
}

/// The kernel says the same of both processes as the daemon, which says what a kill of each means.
fn standing() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    let status = host.status()?;
    let processes = status["processes"].as_array().ok_or("no processes")?;
    let roles: Vec<_> = processes.iter().map(|p| p["role"].as_str()).collect();
    let wanted = [Some("supervisor"), Some("worker"), Some("scribe")];
    ensure!(roles == wanted, "{status}");
    for process in processes {
        let kill = process["kill"].as_str().unwrap_or_default();
        ensure!(!kill.is_empty(), "{process}");
    }
    // Root in a container may lack the capability for both of these (CAP_SYS_RESOURCE).
    let try_it = "echo -900 > /proc/self/oom_score_adj";
    let may = ulvm_test_support::process::output("sh", &["-c", try_it])?.code == 0;
    let wanted = if may { -900 } else { 0 };
    for process in &processes[..2] {
        let pid = &process["pid"];
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let kernel = read("status").map_err(|e| e.to_string())?;
        let locked = kernel.lines().find_map(|l| l.strip_prefix("VmLck:"));
        let locked = locked.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        ensure!(
            locked.is_some_and(|kib| kib > 1024),
            "{pid}: {locked:?} KiB"
        );
        let score = read("oom_score_adj").map_err(|e| e.to_string())?;
        ensure!(score.trim() == wanted.to_string(), "{pid}: {score}");
        let standing = &process["standing"];
        ensure!(standing["memory_locked"] == true, "{process}");
        ensure!(standing["io_flusher"] == may, "{process}");
        ensure!(standing["oom_score_adj"] == wanted, "{process}");
    }
    // Who does no I/O is not spared at the cost of others.
    let scribe = &processes[2]["pid"];
    let score = std::fs::read_to_string(format!("/proc/{scribe}/oom_score_adj"));
    ensure!(score.is_ok_and(|s| s.trim() == "0"), "the scribe is spared");
    let plain = host.ok("daemon --status")?;
    let flusher = if may { "an" } else { "no" };
    let said = format!(
        "A kill of the worker (memory locked, {flusher} I/O flusher, OOM score {wanted}): "
    );
    ensure!(plain.out().contains(&said), "{}", plain.out());
    Ok(())
}

/// What is no request ends the conversation, and nothing else.
fn nonsense() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    let socket = host.images().lock_dir().with_file_name("run");
    let socket = socket.join("daemon.sock");
    for line in [
        "nonsense\n",
        "{\"v\":99,\"body\":{\"do\":\"stop\"}}\n",
        "{\"v\":1,\"fds\":60,\"body\":{\"do\":\"stop\"}}\n",
    ] {
        let mut client = UnixStream::connect(&socket).map_err(|e| e.to_string())?;
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .map_err(|e| e.to_string())?;
        client
            .write_all(line.as_bytes())
            .map_err(|e| e.to_string())?;
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .map_err(|e| e.to_string())?;
        ensure!(!answer.contains("done"), "{line}: {answer}");
    }
    ensure!(host.status()?["devices"][0]["name"] == "vg-linear", "gone");
    Ok(())
}

/// A volume group of plain files is activated only when that is asked for.
fn none() -> Outcome {
    let host = Host::new()?;
    let status = host.run("daemon --status")?;
    ensure!(status.code == 5, "a daemon runs: {}", status.out());
    host.ok("--version")?;
    let off = host.ok("lvchange -ay --driverloaded n vg/linear")?;
    ensure!(
        host.run("daemon --status")?.code == 5,
        "started: {}",
        off.err()
    );
    let attr = host.ok("lvs --noheadings -o lv_attr vg/linear")?;
    ensure!(attr.out().trim() == "-wi-------", "{}", attr.out());
    Ok(())
}
