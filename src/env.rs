//! The environment of the process, read once. No other module reads it.

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::service::Manager;

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
    /// What a service manager says, for the daemon.
    pub manager: Manager,
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
            manager: manager(|name| text(name)),
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

/// Reads systemd's variables, as far as they are for this process, and those of a daemon whose place
/// is taken (`ULVM_FDS`, `ULVM_STORED`).
fn manager(text: impl Fn(&str) -> Option<String>) -> Manager {
    let own = u64::from(std::process::id());
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let count = match number("LISTEN_PID") == Some(own) {
        true => number("LISTEN_FDS").unwrap_or(0).min(1 << 20),
        false => 0,
    };
    let names = text("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned);
    let names = names.chain(std::iter::repeat("unknown".into()));
    let handed_on = text("ULVM_FDS").unwrap_or_default();
    let handed_on = handed_on.split(':').filter_map(|word| {
        let (number, name) = word.split_once('=')?;
        Some((number.parse().ok()?, name.to_owned()))
    });
    let watchdog = number("WATCHDOG_USEC").map(Duration::from_micros);
    let stored = text("ULVM_STORED").unwrap_or_default();
    Manager {
        notify: text("NOTIFY_SOCKET").map(PathBuf::from),
        fds: (3..)
            .take(count as usize)
            .zip(names)
            .chain(handed_on)
            .collect(),
        watchdog: watchdog.filter(|_| number("WATCHDOG_PID").is_none_or(|pid| pid == own)),
        stored: stored
            .split(':')
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_this_process_counts() {
        let own = std::process::id().to_string();
        let of = |pid: &str| {
            manager(|name| {
                Some(match name {
                    "LISTEN_PID" | "WATCHDOG_PID" => pid.to_owned(),
                    "LISTEN_FDS" => "2".to_owned(),
                    "LISTEN_FDNAMES" => "a".to_owned(),
                    "WATCHDOG_USEC" => "1000".to_owned(),
                    "ULVM_FDS" => "7=b:x".to_owned(),
                    _ => return None,
                })
            })
        };
        let ours = of(&own);
        let all = [(3, "a".into()), (4, "unknown".into()), (7, "b".into())];
        assert_eq!(ours.fds, all);
        assert_eq!(ours.watchdog, Some(Duration::from_millis(1)));
        let others = of("1");
        assert_eq!(others.fds, [(7, "b".into())]);
        assert_eq!(others.watchdog, None);
    }
}
