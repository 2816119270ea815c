//! The environment of the process, read once. No other module reads it.

use std::path::PathBuf;

/// What ulvm takes from the environment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Env {
    /// `LVM_SYSTEM_DIR`: where lvm.conf, backup and archive are.
    pub system_dir: Option<PathBuf>,
    /// `ULVM_DEVICES`: comma-separated devices, as with `--devices`.
    pub devices: Option<String>,
    /// `ULVM_LOCK_DIR`: in place of global/locking_dir.
    pub lock_dir: Option<PathBuf>,
    /// `ULVM_RUN_DIR`: in place of /run/ulvm.
    pub run_dir: Option<PathBuf>,
    /// `LVM_COMMAND_PROFILE`
    pub command_profile: Option<String>,
    /// `DM_DEV_DIR`: in place of /dev.
    pub dev_dir: Option<PathBuf>,
    /// `LVM_VG_NAME`: the VG of LVs that are named alone.
    pub vg_name: Option<String>,
    /// `LVM_SUPPRESS_FD_WARNINGS` is set.
    pub suppress_fd_warnings: bool,
    /// `XDG_STATE_HOME`, else `$HOME/.local/state`.
    pub state_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`
    pub xdg_runtime_dir: Option<PathBuf>,
    /// The process runs as root.
    pub root: bool,
}

impl Env {
    /// Of this process.
    pub fn read() -> Self {
        let path = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let text = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self {
            system_dir: path("LVM_SYSTEM_DIR"),
            devices: text("ULVM_DEVICES"),
            lock_dir: path("ULVM_LOCK_DIR"),
            run_dir: path("ULVM_RUN_DIR"),
            command_profile: text("LVM_COMMAND_PROFILE"),
            dev_dir: path("DM_DEV_DIR"),
            vg_name: text("LVM_VG_NAME"),
            suppress_fd_warnings: std::env::var_os("LVM_SUPPRESS_FD_WARNINGS").is_some(),
            state_home: path("XDG_STATE_HOME")
                .or_else(|| path("HOME").map(|h| h.join(".local/state"))),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            root: rustix::process::geteuid().is_root(),
        }
    }

    /// LVM2's directory: `LVM_SYSTEM_DIR`, else `/etc/lvm`.
    pub fn system_dir(&self) -> PathBuf {
        self.system_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("/etc/lvm"))
    }
    /// Where backup and archive go when lvm.conf says nothing: the system directory, or a
    /// directory of the user's own when an unprivileged user has not set `LVM_SYSTEM_DIR`.
    pub fn state_dir(&self) -> PathBuf {
        match (&self.system_dir, &self.state_home) {
            (None, Some(home)) if !self.root => home.join("ulvm"),
            _ => self.system_dir(),
        }
    }
    /// Lock directory when lvm.conf says nothing.
    pub fn default_lock_dir(&self) -> PathBuf {
        if self.root {
            return PathBuf::from("/run/lock/lvm");
        }
        match &self.xdg_runtime_dir {
            Some(dir) => dir.join("ulvm/lock"),
            None => self.state_dir().join("lock"),
        }
    }
    /// Run directory: `ULVM_RUN_DIR`, `/run/ulvm` for root, `$XDG_RUNTIME_DIR/ulvm` else.
    pub fn run_dir(&self) -> PathBuf {
        match (&self.run_dir, &self.xdg_runtime_dir) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) if !self.root => dir.join("ulvm"),
            (None, None) if !self.root => self.state_dir().join("run"),
            _ => PathBuf::from("/run/ulvm"),
        }
    }
}
