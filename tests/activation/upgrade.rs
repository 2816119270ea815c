//! Another program in the place of a running daemon's, under load.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::host::{Host, LOOP};
use crate::kill::{end_load, load, writes_go_on};
use crate::ulvm;

pub fn cases(suite: &mut Suite) {
    let mut fio = LOOP.to_vec();
    fio.push(Need::Program("fio"));
    suite.case("activation::upgrade::under_load", &fio, under_load);
    suite.case("activation::upgrade::without_a_daemon", &[], without);
}

/// A program that is not the one under test, but does the same.
fn another(host: &Host) -> Result<PathBuf, String> {
    let path = host.images().path("another-ulvm");
    std::fs::copy(ulvm(), &path).map_err(|e| e.to_string())?;
    let file = std::fs::OpenOptions::new().append(true).open(&path);
    let mut file = file.map_err(|e| e.to_string())?;
    std::io::Write::write_all(&mut file, b"another").map_err(|e| e.to_string())?;
    Ok(path)
}

fn replace(host: &Host, program: &PathBuf) -> Result<process::Finished, String> {
    let mut command = Command::new(program);
    let plain = host.command("daemon --replace");
    command.env_clear();
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.args(plain.get_args());
    process::run(&mut command, &[], Duration::from_secs(60))
}

fn program_of(pid: u64) -> Result<Vec<u8>, String> {
    std::fs::read(format!("/proc/{pid}/exe")).map_err(|e| e.to_string())
}

fn under_load() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    let fio = load(&node.display().to_string(), &host.images().path(""))?;
    writes_go_on(&node)?;
    let program = another(&host)?;
    let new = std::fs::read(&program).map_err(|e| e.to_string())?;
    let (supervisor, worker) = (host.pid("supervisor_pid")?, host.pid("worker_pid")?);
    ensure!(program_of(worker)? != new, "the new program runs already");
    replace(&host, &program)?.success("daemon --replace")?;
    writes_go_on(&node)?;
    // The same process, so that whoever started it still knows it.
    ensure!(host.pid("supervisor_pid")? == supervisor, "another process");
    ensure!(
        program_of(supervisor)? == new,
        "the supervisor is the old one"
    );
    ensure!(host.pid("worker_pid")? != worker, "the same worker");
    ensure!(program_of(host.pid("worker_pid")?)? == new, "an old worker");
    let old = format!("/proc/{worker}");
    ensure!(!std::path::Path::new(&old).exists(), "the old worker stays");
    // It can do all that the old one could.
    host.ok("lvchange -ay --export loop vg/striped")?;
    host.kill("worker_pid")?;
    writes_go_on(&node)?;
    end_load(fio)?;
    host.ok("vgchange -an vg").map(drop)
}

fn without() -> Outcome {
    let host = Host::new()?;
    let done = host.run("daemon --replace")?;
    ensure!(done.code == 5, "ended with {}", done.code);
    ensure!(
        done.err().contains("No daemon is running"),
        "{}",
        done.err()
    );
    let both = host.run("daemon --replace --stop")?;
    ensure!(both.code == 3, "ended with {}", both.code);
    Ok(())
}
