//! Loop devices over sparse files in memory (or in the temporary directory).

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{needs, process};

/// A loop device, detached when dropped.
#[derive(Debug)]
pub struct LoopDevice {
    node: PathBuf,
    file: PathBuf,
    size: u64,
}

/// A scratch directory: in memory where there is a memory file system, so that flushes cost nothing.
pub fn scratch() -> Result<TempDir, String> {
    let base = Path::new("/dev/shm");
    let base = if base.is_dir() {
        base.to_path_buf()
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("ulvm-test.")
        .tempdir_in(&base)
        .or_else(|_| tempfile::Builder::new().prefix("ulvm-test.").tempdir())
        .map_err(|error| {
            format!(
                "cannot make a scratch directory in {}: {error}",
                base.display()
            )
        })
}

/// Why loop devices cannot be used here, or `None`.
pub fn unusable() -> Option<String> {
    if !needs::is_root() {
        return Some("needs root (loop devices)".into());
    }
    if needs::program("losetup").is_none() {
        return Some("program `losetup` is not installed".into());
    }
    let attempt = || -> Result<(), String> {
        let directory = scratch()?;
        LoopDevice::attach(&directory.path().join("probe"), 1 << 20, 512).map(drop)
    };
    attempt()
        .err()
        .map(|error| format!("loop devices cannot be attached: {}", error.trim()))
}

impl LoopDevice {
    /// Makes a sparse file of `size` bytes and attaches it with the given logical sector size.
    pub fn attach(file: &Path, size: u64, sector: u32) -> Result<LoopDevice, String> {
        File::create(file)
            .and_then(|handle| handle.set_len(size))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Self::over(file, sector)
    }

    /// Attaches a file that is there.
    pub fn over(file: &Path, sector: u32) -> Result<LoopDevice, String> {
        let size = std::fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let size = size.len();
        let mut last = String::new();
        // Two processes may be offered the same free device; the loser simply asks again.
        for _ in 0..50 {
            match Self::try_attach(file, sector) {
                Ok(node) => {
                    return Ok(LoopDevice {
                        node,
                        file: file.to_path_buf(),
                        size,
                    });
                }
                Err(error) => last = error,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(last)
    }

    fn try_attach(file: &Path, sector: u32) -> Result<PathBuf, String> {
        let free = losetup(&["-f".into()])?;
        make_node(&free);
        let mut arguments: Vec<String> = Vec::new();
        if sector != 512 {
            arguments.extend(["--sector-size".into(), sector.to_string()]);
        }
        arguments.extend([free.clone(), file.display().to_string()]);
        losetup(&arguments)?;
        Ok(PathBuf::from(free))
    }

    /// `/dev/loopN`.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// The file behind it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes every byte zero again, keeping the device.
    pub fn clear(&self) -> Result<(), String> {
        let node = self.node.display().to_string();
        let program =
            needs::program("blkdiscard").ok_or("program `blkdiscard` is not installed")?;
        // Discarding punches a hole into the file behind, and drops what the kernel had cached. A
        // device number that was used for another kind of file before may not discard; it zeroes.
        if process::output(&program, &["-f", &node])?.code == 0 {
            return Ok(());
        }
        process::output(&program, &["-f", "-z", &node])?
            .success("blkdiscard -z")
            .map(drop)
    }

    /// Changes the size of the device, keeping its content.
    pub fn resize(&mut self, size: u64) -> Result<(), String> {
        let node = self.node.display().to_string();
        OpenOptions::new()
            .write(true)
            .open(&self.file)
            .and_then(|handle| handle.set_len(size))
            .map_err(|error| format!("{}: {error}", self.file.display()))?;
        self.size = size;
        losetup(&["-c".into(), node]).map(drop)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(losetup(&["-d".into(), self.node.display().to_string()]));
        drop(std::fs::remove_file(&self.file));
    }
}

/// Containers without a device manager lack the nodes of devices that the kernel just made.
fn make_node(node: &str) {
    if Path::new(node).exists() {
        return;
    }
    if let Some(minor) = node.strip_prefix("/dev/loop") {
        drop(process::output(
            "mknod",
            &["-m", "0660", node, "b", "7", minor],
        ));
    }
}

fn losetup(arguments: &[String]) -> Result<String, String> {
    let program = needs::program("losetup").ok_or("program `losetup` is not installed")?;
    let done = process::run(
        Command::new(program).args(arguments),
        &[],
        Duration::from_secs(30),
    )?;
    Ok(done
        .success(&format!("losetup {}", arguments.join(" ")))?
        .out()
        .trim()
        .to_owned())
}
