//! Volumes that the daemon exports to NBD clients, and what those see of a kill.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::host::Host;

const QEMU: [Need; 2] = [Need::Program("qemu-img"), Need::Program("qemu-io")];

pub fn cases(suite: &mut Suite) {
    suite.case("activation::nbd::data_and_use", &QEMU, data);
    suite.case(
        "activation::nbd::clients_that_reconnect_see_a_pause",
        &QEMU,
        pause,
    );
    suite.case(
        "activation::nbd::new_supervisor_listens_on",
        &QEMU,
        supervisor,
    );
}

/// QEMU's words for an export of the daemon.
fn image(host: &Host, more: &str) -> Result<String, String> {
    let status = host.status()?;
    let uri = status["devices"][0]["uri"].as_str().unwrap_or_default();
    ensure!(uri.starts_with("nbd+unix:///vg/linear?socket="), "{status}");
    let socket = host.run_dir().join("nbd.sock");
    let socket = socket.display();
    Ok(format!(
        "driver=nbd,server.type=unix,server.path={socket},export=vg/linear{more}"
    ))
}

/// A client that has the export open, and does as it is told.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn new(image: &str) -> Result<Client, String> {
        let mut child = Command::new("qemu-io")
            .args(["--image-opts", image])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("qemu-io: {e}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Client {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Gives a command; its answer is the first line that says what became of it.
    fn ask(&mut self, command: &str) -> Result<String, String> {
        let input = self.input.as_mut().ok_or("ended")?;
        writeln!(input, "{command}").map_err(|e| e.to_string())?;
        loop {
            let mut line = String::new();
            let len = self.output.read_line(&mut line);
            ensure!(len.map_err(|e| e.to_string())? > 0, "{command}: no answer");
            let word = |w: &&str| line.contains(*w);
            if ["wrote ", "read ", "failed", "error"].iter().any(word) {
                return Ok(line.trim_start_matches("qemu-io> ").to_owned());
            }
        }
    }

    fn end(mut self) -> Outcome {
        drop(self.input.take());
        self.child.wait().map(drop).map_err(|e| e.to_string())
    }
}

fn data() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export nbd vg/linear")?;
    let mut client = Client::new(&image(&host, "")?)?;
    let done = client.ask("write -P 7 1M 64k")?;
    ensure!(done.starts_with("wrote 65536/65536"), "{done}");
    let status = host.status()?;
    ensure!(status["devices"][0]["open"] == true, "{status}");
    let refused = host.run("lvchange -an vg/linear")?;
    ensure!(refused.code == 5, "ended with {}", refused.code);
    ensure!(refused.err().contains("in use"), "{}", refused.err());
    client.end()?;
    host.ok("lvchange -an vg/linear")?;
    let seen = host.ok("read vg/linear --offset 1m --length 65536")?.stdout;
    ensure!(seen.len() == 65536 && seen.iter().all(|b| *b == 7), "lost");
    Ok(())
}

/// Writes all of the volume again and again.
fn load(image: &str) -> Result<Child, String> {
    Command::new("qemu-img")
        .args(["bench", "-w", "-t", "none", "-d", "16", "-c", "120000"])
        .args(["-s", "4096", "--pattern=90", "--image-opts", image])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("qemu-img: {e}"))
}

/// A client that connects again and sends again sees a pause; another one the end.
fn pause() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export nbd vg/linear")?;
    let patient = load(&image(&host, ",reconnect-delay=60")?)?;
    let mut other = Client::new(&image(&host, "")?)?;
    other.ask("read 0 4096")?;
    for n in 1..=5 {
        std::thread::sleep(Duration::from_millis(150));
        host.kill("worker_pid")?;
        let began = Instant::now();
        while host.status()?["restarts"].as_u64() < Some(n) {
            ensure!(
                began.elapsed() < Duration::from_secs(30),
                "kill {n}: no new worker"
            );
        }
        // Not one of the kills was in vain: somebody was connected.
        let began = Instant::now();
        while host.status()?["devices"][0]["open"] != true {
            ensure!(
                began.elapsed() < Duration::from_secs(30),
                "kill {n}: nobody came back"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let out = patient.wait_with_output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(out.status.success(), "{}: {said}", out.status);
    let seen = other.ask("read 0 4096")?;
    ensure!(seen.contains("failed"), "not cut off: {seen}");
    other.end()?;
    host.ok("lvchange -an vg/linear")?;
    let seen = host.ok("read vg/linear")?.stdout;
    ensure!(
        seen.len() == 32 << 20 && seen.iter().all(|b| *b == 90),
        "a write was lost"
    );
    Ok(())
}

/// The supervisor dies: connections go on, and the one after it holds the socket.
fn supervisor() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export nbd vg/linear")?;
    let mut client = Client::new(&image(&host, ",reconnect-delay=60")?)?;
    client.ask("write -P 3 0 4096")?;
    host.kill("supervisor_pid")?;
    let done = client.ask("write -P 4 4096 4096")?;
    ensure!(done.starts_with("wrote"), "{done}");
    host.ok("lvchange -ay --export nbd vg/striped")?;
    host.kill("worker_pid")?;
    let done = client.ask("read -P 4 4096 4096")?;
    ensure!(done.starts_with("read 4096/4096"), "{done}");
    client.end()?;
    let uri = host.status()?["devices"][1]["uri"].clone();
    let uri = uri.as_str().unwrap_or_default().to_owned();
    process::output("qemu-img", &["info", &uri])?.success("qemu-img info")?;
    host.ok("vgchange -an vg").map(drop)
}
