//! Running a program with a time limit and all of its output kept.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; 128 + signal if it was killed.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Whether the time limit ended it.
    pub timed_out: bool,
}

impl Finished {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Output if the program ended with 0, otherwise a message with its standard error.
    pub fn success(self, what: &str) -> Result<Finished, String> {
        if self.code == 0 && !self.timed_out {
            return Ok(self);
        }
        let how = if self.timed_out {
            "ran into the time limit".into()
        } else {
            format!("ended with {}", self.code)
        };
        Err(format!(
            "{what} {how}\nstdout: {}\nstderr: {}",
            self.out(),
            self.err()
        ))
    }
}

/// Runs a command to its end, feeding it `stdin`, and kills it after `limit`.
pub fn run(command: &mut Command, stdin: &[u8], limit: Duration) -> Result<Finished, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let feed = if stdin.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = command
        .stdin(feed)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let input = child.stdin.take().map(|mut pipe| {
        let bytes = stdin.to_vec();
        // A program that does not read its input closes the pipe early; that is its right.
        std::thread::spawn(move || drop(pipe.write_all(&bytes)))
    });
    let (code, timed_out) = wait(&mut child, limit).map_err(|error| format!("{name}: {error}"))?;
    if let Some(writer) = input {
        drop(writer.join());
    }
    let join = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader
            .and_then(|handle| handle.join().ok())
            .unwrap_or_default()
    };
    Ok(Finished {
        code,
        stdout: join(out),
        stderr: join(err),
        timed_out,
    })
}

/// [`run`] for a program and arguments, without input, for at most a minute.
pub fn output<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: &[A],
) -> Result<Finished, String> {
    run(
        Command::new(program).args(arguments),
        &[],
        Duration::from_secs(60),
    )
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What arrived before an error is still worth showing.
        drop(pipe.read_to_end(&mut bytes));
        bytes
    })
}

fn wait(child: &mut Child, limit: Duration) -> std::io::Result<(i32, bool)> {
    use std::os::unix::process::ExitStatusExt;
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            let code = status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            return Ok((code, false));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok((-1, true));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
