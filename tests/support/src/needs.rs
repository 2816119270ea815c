//! What a case may need of the machine, and how to find out whether it is there.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{guest, loopdev, lvm};

/// Something that not every machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Effective user id 0.
    Root,
    /// Loop devices can be attached (implies root).
    Loop,
    /// Debian 12's `lvm` (2.03.16), whose characters and exit codes are the reference.
    Lvm2,
    /// A program in `PATH` (or in `/usr/sbin`, `/sbin`).
    Program(&'static str),
    /// A directory or file that must exist.
    Path(&'static str),
    /// A guest with a kernel of its own: QEMU, and the kernel's package in reach or in the cache.
    Guest,
}

impl Need {
    /// Why the need is not met here, or `None` if it is.
    pub fn missing(&self) -> Option<String> {
        match self {
            Need::Root => (!is_root()).then(|| "needs root".to_owned()),
            Need::Loop => {
                static STATE: OnceLock<Option<String>> = OnceLock::new();
                STATE.get_or_init(loopdev::unusable).clone()
            }
            Need::Lvm2 => {
                static STATE: OnceLock<Option<String>> = OnceLock::new();
                STATE.get_or_init(lvm::reference_unusable).clone()
            }
            Need::Program(name) => program(name)
                .is_none()
                .then(|| format!("program `{name}` is not installed")),
            Need::Guest => {
                static STATE: OnceLock<Option<String>> = OnceLock::new();
                STATE.get_or_init(guest::unusable).clone()
            }
            Need::Path(path) => (!Path::new(path).exists()).then(|| format!("{path} is not there")),
        }
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            == Some("0")
    })
}

/// Where a program is, looked for in `PATH` and in the administrator's directories.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}
