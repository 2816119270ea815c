//! Running ulvm on plain image files, without root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{self, Finished};
use crate::vectors;

/// A directory of image files that ulvm sees as its devices.
#[derive(Debug)]
pub struct Images {
    directory: TempDir,
    ulvm: PathBuf,
    names: Vec<String>,
}

impl Images {
    /// An empty directory; `ulvm` is the binary under test.
    pub fn new(ulvm: &Path) -> Result<Images, String> {
        let directory = tempfile::Builder::new().prefix("ulvm-images.").tempdir();
        let directory = directory.map_err(|error| format!("scratch directory: {error}"))?;
        for name in ["pvs", "system", "lock", "run"] {
            std::fs::create_dir(directory.path().join(name))
                .map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(Images {
            directory,
            ulvm: ulvm.to_path_buf(),
            names: Vec::new(),
        })
    }

    /// Adds an image of the given content.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.path(name);
        vectors::write_sparse(&path, bytes)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        self.names.push(name.to_owned());
        Ok(path)
    }

    /// Adds an empty image.
    pub fn add_empty(&mut self, name: &str, size: u64) -> Result<PathBuf, String> {
        let path = self.path(name);
        std::fs::File::create(&path)
            .and_then(|file| file.set_len(size))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        self.names.push(name.to_owned());
        Ok(path)
    }

    /// Where an image of that name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("pvs").join(name)
    }

    /// The directory with the images in it, as it stands before their names.
    pub fn prefix(&self) -> String {
        format!("{}/", self.directory.path().join("pvs").display())
    }

    /// The private `LVM_SYSTEM_DIR`.
    pub fn system_dir(&self) -> PathBuf {
        self.directory.path().join("system")
    }

    /// The private `ULVM_LOCK_DIR`.
    pub fn lock_dir(&self) -> PathBuf {
        self.directory.path().join("lock")
    }

    /// ulvm on the images, not yet begun.
    pub fn command(&self, words: &[&str]) -> Command {
        let devices: Vec<String> = self
            .names
            .iter()
            .map(|name| self.path(name).display().to_string())
            .collect();
        let mut command = Command::new(&self.ulvm);
        command
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("LVM_SYSTEM_DIR", self.system_dir())
            .env("ULVM_LOCK_DIR", self.directory.path().join("lock"))
            .env("ULVM_RUN_DIR", self.directory.path().join("run"))
            .env("ULVM_DEVICES", devices.join(","))
            .current_dir(self.directory.path());
        command
    }

    /// Runs ulvm on the images.
    pub fn run(&self, words: &[&str], stdin: &[u8]) -> Result<Finished, String> {
        let done = process::run(&mut self.command(words), stdin, Duration::from_secs(60))?;
        if done.timed_out || done.err().contains("panicked at") {
            return Err(format!(
                "ulvm {}: timed out or panicked\n{}",
                words.join(" "),
                done.err()
            ));
        }
        Ok(done)
    }

    /// [`Images::run`] of one line split at blanks, which must succeed.
    pub fn ok(&self, line: &str) -> Result<Finished, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run(&words, &[])?.success(&format!("ulvm {line}"))
    }

    /// [`Images::ok`] of a command that prints JSON.
    pub fn json(&self, line: &str) -> Result<Value, String> {
        let done = self.ok(line)?;
        serde_json::from_slice(&done.stdout)
            .map_err(|error| format!("ulvm {line}: not JSON alone: {error}\n{}", done.out()))
    }
}
