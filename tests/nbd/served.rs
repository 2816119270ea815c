//! A running `ulvm serve`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ulvm_test_support::images::Images;
use ulvm_test_support::process::{self, Finished};

/// A server; killed when dropped.
pub struct Served {
    child: Child,
    socket: PathBuf,
    /// The URIs it printed, as many as were waited for.
    pub uris: Vec<String>,
}

impl Served {
    /// Serves with these words, at a socket of its own, and waits until it is ready.
    pub fn start(images: &Images, words: &[&str]) -> Result<Served, String> {
        Self::with_places(images, words, 1)
    }

    /// The same, and waits for so many URIs.
    pub fn with_places(images: &Images, words: &[&str], places: usize) -> Result<Served, String> {
        Self::of("serve", images, words, places)
    }

    /// The same by another command that serves.
    pub fn of(
        name: &str,
        images: &Images,
        words: &[&str],
        places: usize,
    ) -> Result<Served, String> {
        let socket = images.system_dir().join("socket");
        let address = format!("unix:{}", socket.display());
        let mut all = vec![name, "--nbd", &address];
        all.extend(words);
        let mut child = images
            .command(&all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("ulvm serve: {error}"))?;
        let out = child.stdout.take().ok_or("no output")?;
        let uris: Vec<String> = BufReader::new(out)
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.trim().strip_prefix("Serving ").map(str::to_owned))
            .take(places)
            .collect();
        if uris.len() < places {
            let mut why = String::new();
            if let Some(mut err) = child.stderr.take() {
                drop(err.read_to_string(&mut why));
            }
            drop(child.wait());
            return Err(format!("ulvm {name} {words:?} did not begin: {why}"));
        }
        Ok(Served {
            child,
            socket,
            uris,
        })
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The URI of an export.
    pub fn uri(&self, name: &str) -> String {
        format!("nbd+unix:///{name}?socket={}", self.socket.display())
    }

    /// Asks it to end, and gives its exit code and what it complained of.
    pub fn end(mut self) -> Result<(i32, String), String> {
        process::output("kill", &["-TERM", &self.child.id().to_string()])?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                let mut err = String::new();
                if let Some(mut pipe) = self.child.stderr.take() {
                    drop(pipe.read_to_string(&mut err));
                }
                return Ok((status.code().unwrap_or(-1), err));
            }
            if began.elapsed() > Duration::from_secs(20) {
                return Err("the server did not end on SIGTERM".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A client of the system, which must find what belongs to the system (nbdsh its Python).
pub fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(words)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs a client, which must succeed within half a minute.
pub fn client(program: &str, words: &[&str]) -> Result<Finished, String> {
    process::run(&mut command(program, words), &[], Duration::from_secs(30))?
        .success(&format!("{program} {}", words.join(" ")))
}
