//! Running Debian's `lvm` and `ulvm` side by side, each kept to its own devices.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Finished};
use crate::{loopdev, needs};

/// The version whose characters and exit codes are the reference.
pub const REFERENCE_VERSION: &str = "2.03.16";
/// No single command of either tool may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// One of the two programs under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Debian's LVM2.
    Debian,
    /// Ours.
    Ulvm,
}

impl fmt::Display for Tool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Tool::Debian => "lvm2",
            Tool::Ulvm => "ulvm",
        })
    }
}

/// Why the reference cannot be run here, or `None`.
pub fn reference_unusable() -> Option<String> {
    let Some(program) = needs::program("lvm") else {
        return Some("lvm2 is not installed".into());
    };
    match process::output(program, &["version", "--driverloaded", "n"]) {
        Ok(done) if done.out().contains(REFERENCE_VERSION) => None,
        Ok(_) => Some(format!("the lvm2 installed is not {REFERENCE_VERSION}")),
        Err(error) => Some(format!("lvm2 cannot be run: {error}")),
    }
}

/// A private `LVM_SYSTEM_DIR`, lock directory and set of visible devices.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    reference: PathBuf,
    ulvm: PathBuf,
    visible: Vec<PathBuf>,
    extra: Vec<String>,
}

impl Site {
    /// A site that sees no device yet. `ulvm` is the binary under test.
    pub fn new(ulvm: &Path) -> Result<Site, String> {
        let site = Site {
            directory: loopdev::scratch()?,
            reference: needs::program("lvm").unwrap_or_else(|| "lvm".into()),
            ulvm: ulvm.to_path_buf(),
            visible: Vec::new(),
            extra: Vec::new(),
        };
        site.reset()?;
        Ok(site)
    }

    /// The directory that holds everything of the site.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where both tools look for `lvm.conf`, `archive` and `backup`.
    pub fn system_dir(&self) -> PathBuf {
        self.path().join("system")
    }

    /// A directory for files that a script makes.
    pub fn files(&self) -> PathBuf {
        self.path().join("files")
    }

    /// Sets which devices both tools may see.
    pub fn show(&mut self, devices: &[PathBuf]) -> Result<(), String> {
        self.visible = devices.to_vec();
        self.write_config()
    }

    /// Adds a line (`section/key=value`) to the configuration.
    pub fn configure(&mut self, line: &str) -> Result<(), String> {
        self.extra.push(line.to_owned());
        self.write_config()
    }

    /// Forgets archives, backups, files and added configuration.
    pub fn reset(&self) -> Result<(), String> {
        for directory in [
            self.system_dir(),
            self.files(),
            self.path().join("lock"),
            self.path().join("run"),
        ] {
            drop(std::fs::remove_dir_all(&directory));
            std::fs::create_dir_all(&directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        self.write_config()
    }

    /// Forgets the configuration that a script added.
    pub fn unconfigure(&mut self) {
        self.extra.clear();
    }

    fn write_config(&self) -> Result<(), String> {
        let accept: String = self
            .visible
            .iter()
            .map(|device| format!("\"a|^{}$|\", ", device.display()))
            .collect();
        let filter = format!("[ {accept}\"r|.*|\" ]");
        let locks = format!("\"{}\"", self.path().join("lock").display());
        let base: [(&str, &str); 14] = [
            ("devices/scan", "[ \"/dev\" ]"),
            ("devices/filter", &filter),
            ("devices/global_filter", &filter),
            ("devices/use_devicesfile", "0"),
            ("devices/obtain_device_list_from_udev", "0"),
            ("devices/external_device_info_source", "\"none\""),
            ("devices/scan_lvs", "0"),
            ("devices/hints", "\"none\""),
            ("devices/multipath_component_detection", "0"),
            ("devices/md_component_detection", "0"),
            ("global/locking_dir", &locks),
            ("global/event_activation", "0"),
            ("activation/udev_sync", "0"),
            ("activation/monitoring", "0"),
        ];
        // LVM2 takes the first of two values for a key, so what a script sets must stand alone.
        let is_set = |key: &str| {
            self.extra
                .iter()
                .any(|line| line.split('=').next().map(str::trim) == Some(key))
        };
        let mut text = String::new();
        for (key, value) in base.iter().filter(|(key, _)| !is_set(key)) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        let mut last: Vec<&str> = Vec::new();
        for line in self.extra.iter().rev() {
            let key = line.split('=').next().map(str::trim);
            if !last
                .iter()
                .any(|kept| kept.split('=').next().map(str::trim) == key)
            {
                last.push(line);
            }
        }
        for line in last.iter().rev() {
            text.push_str(line);
            text.push('\n');
        }
        let file = self.system_dir().join("lvm.conf");
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// A command of one of the tools, with the environment of this site. `--driverloaded n` is
    /// added for both.
    pub fn command(&self, tool: Tool, words: &[String]) -> Command {
        let mut command = Command::new(match tool {
            Tool::Debian => &self.reference,
            Tool::Ulvm => &self.ulvm,
        });
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("LVM_SYSTEM_DIR", self.system_dir())
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .env("LVM_RUN_DIR", self.path().join("run"))
            .env("ULVM_RUN_DIR", self.path().join("run"))
            .current_dir(self.files());
        if let Some((first, rest)) = words.split_first() {
            command.arg(first);
            if takes_driver_option(first) {
                command.args(["--driverloaded", "n"]);
            }
            command.args(rest);
        }
        command
    }

    /// Runs a command of one of the tools to its end.
    pub fn run(&self, tool: Tool, words: &[String], stdin: &[u8]) -> Result<Finished, String> {
        let done = process::run(&mut self.command(tool, words), stdin, LIMIT)?;
        if done.timed_out {
            return Err(format!(
                "{tool}: `{}` did not end within {LIMIT:?}",
                words.join(" ")
            ));
        }
        Ok(done)
    }

    /// Runs a command line given as one string, split at blanks, and expects success.
    pub fn ok(&self, tool: Tool, line: &str) -> Result<Finished, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        self.run(tool, &words, &[])?
            .success(&format!("{tool}: {line}"))
    }
}

/// Unknown commands must be seen as they were typed.
fn takes_driver_option(command: &str) -> bool {
    command.starts_with("pv")
        || command.starts_with("vg")
        || command.starts_with("lv")
        || matches!(
            command,
            "fullreport" | "formats" | "segtypes" | "tags" | "devtypes" | "systemid" | "version"
        )
}
