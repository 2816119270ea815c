//! Beginning and end of the daemon.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use std::io::{Read, Write};

use ulvm_test_support::ensure;
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
