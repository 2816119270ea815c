//! A guest: a real Debian kernel in QEMU with given disks, which runs a job and says what it saw.
//! The work is done by the script `tests/guest/run`, whose head tells what there is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process;

/// Which kernel a guest boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Of Debian's backports (6.12): has ublk.
    Backports,
    /// Of the Debian release (6.1).
    Stock,
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The job's exit code.
    Code(i32),
    /// By the power cut that was asked for.
    Cut,
    /// By the time limit.
    Timeout,
}

/// What a guest gave back.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// All that was printed.
    pub console: String,
    out: TempDir,
}

impl Report {
    /// The contents of a file that the job left in `/out`.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.out.path().join("out/files").join(name);
        std::fs::read(&path).map_err(|error| format!("the guest left no {name}: {error}"))
    }

    /// The same, as text without white space around it.
    pub fn text(&self, name: &str) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.file(name)?).trim().to_owned())
    }

    /// This report if the job ended with 0, otherwise a message with the console.
    pub fn success(self) -> Result<Report, String> {
        if self.end == End::Code(0) {
            return Ok(self);
        }
        Err(format!(
            "the guest ended with {:?}\n{}",
            self.end, self.console
        ))
    }
}

/// A guest to be run.
#[derive(Debug)]
pub struct Guest {
    command: Command,
    limit: Duration,
    out: TempDir,
}

impl Guest {
    /// Without disks, with the backports' kernel and a limit of five minutes.
    pub fn new() -> Result<Guest, String> {
        let out = tempfile::Builder::new()
            .prefix("ulvm-guest-")
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        Ok(Guest {
            command: Command::new(script()),
            limit: Duration::from_secs(300),
            out,
        })
    }

    fn with<const N: usize>(mut self, words: [&OsStr; N]) -> Guest {
        self.command.args(words);
        self
    }

    /// A raw disk: `$disk0` in the job, the next one `$disk1` and so on.
    pub fn disk(self, file: &Path) -> Guest {
        self.with(["--disk".as_ref(), file.as_os_str()])
    }

    /// The same, with all writes and flushes logged; see [`crate::log_writes`].
    pub fn logged_disk(self, file: &Path, log: &Path) -> Guest {
        self.with(["--logged".as_ref(), file.as_os_str(), log.as_os_str()])
    }

    /// A program of the host, put into the guest's `PATH` with its libraries.
    pub fn program(self, file: &Path) -> Guest {
        self.with(["--bin".as_ref(), file.as_os_str()])
    }

    /// A program of the host's `PATH`.
    pub fn tool(self, name: &str) -> Guest {
        self.with(["--tool".as_ref(), name.as_ref()])
    }

    /// A program of a Debian package that is unpacked for this and not installed.
    pub fn package(self, package: &str, path: &str) -> Guest {
        self.with(["--package".as_ref(), package.as_ref(), path.as_ref()])
    }

    /// A file of the host, put at a path in the guest.
    pub fn copy(self, file: &Path, path: &str) -> Guest {
        self.with(["--copy".as_ref(), file.as_os_str(), path.as_ref()])
    }

    /// A kernel module that is loaded before the job begins.
    pub fn module(self, name: &str) -> Guest {
        self.with(["--module".as_ref(), name.as_ref()])
    }

    /// A variable of the job.
    pub fn set(self, name: &str, value: &str) -> Guest {
        let word = format!("{name}={value}");
        self.with(["--set".as_ref(), word.as_ref()])
    }

    /// Which kernel boots.
    pub fn kernel(self, kernel: Kernel) -> Guest {
        let name = match kernel {
            Kernel::Backports => "backports",
            Kernel::Stock => "stock",
        };
        self.with(["--kernel".as_ref(), name.as_ref()])
    }

    /// A network, in which the host's loopback is 10.0.2.2.
    pub fn network(self) -> Guest {
        self.with(["--network".as_ref()])
    }

    /// The time limit.
    pub fn limit(mut self, limit: Duration) -> Guest {
        self.limit = limit;
        self
    }

    /// Power is cut when the console shows a line with this text.
    pub fn cut_on(self, text: &str) -> Guest {
        self.with(["--cut-on".as_ref(), text.as_ref()])
    }

    /// Power is cut so long after the job began.
    pub fn cut_after(self, time: Duration) -> Guest {
        let seconds = format!("{:.3}", time.as_secs_f64());
        self.with(["--cut-after".as_ref(), seconds.as_ref()])
    }

    /// Boots, runs the job (a script for busybox's `sh`) and waits for the end.
    pub fn run(mut self, job: &str) -> Result<Report, String> {
        let dir = self.out.path().join("out");
        let script = self.out.path().join("job");
        std::fs::write(&script, job).map_err(|error| format!("the job: {error}"))?;
        self.command
            .args(["--time", &self.limit.as_secs().to_string()])
            .args([&dir, &script]);
        // The script keeps the limit itself; this one is for a script that hangs.
        let patience = self.limit + Duration::from_secs(120);
        let finished = process::run(&mut self.command, &[], patience)?;
        let console =
            String::from_utf8_lossy(&std::fs::read(dir.join("console")).unwrap_or_default())
                .into_owned();
        let end = match std::fs::read_to_string(dir.join("exit"))
            .unwrap_or_default()
            .trim()
        {
            "cut" => End::Cut,
            "timeout" => End::Timeout,
            code => End::Code(code.parse().map_err(|_| {
                let err = finished.err();
                format!(
                    "tests/guest/run ended with {}: {err}\n{console}",
                    finished.code
                )
            })?),
        };
        Ok(Report {
            end,
            console,
            out: self.out,
        })
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/run")
}

/// Why no guest can run here, if so. The kernel is fetched by this where it is not in the cache.
pub fn unusable() -> Option<String> {
    let check = process::run(
        Command::new(script()).arg("--check"),
        &[],
        Duration::from_secs(300),
    );
    match check {
        Ok(finished) if finished.code == 0 => None,
        Ok(finished) => {
            let err = finished.err();
            let why = err.trim().strip_prefix("not run: ").unwrap_or(err.trim());
            Some(why.to_owned())
        }
        Err(error) => Some(error),
    }
}
