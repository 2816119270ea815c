//! LVM2's configuration: `--config`, profiles, lvmlocal.conf, lvm.conf, built-in values, in that
//! order of precedence.

use std::path::{Path, PathBuf};

use ulvm_metadata::tree::{Section, Value};

use crate::env::Env;
use crate::error::Result;

/// Where a value comes from, strongest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `--config`
    CommandLine,
    /// A profile (`--commandprofile`, `--metadataprofile`, `--profile`) of that name.
    Profile(String),
    /// A file.
    File(PathBuf),
    /// Built in.
    Default,
}

/// The settings in force.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Config {
    layers: Vec<(Origin, Section)>,
    /// The system directory the files were read from.
    pub system_dir: PathBuf,
    /// Directory for backup, archive and the like when the settings name none.
    pub state_dir: PathBuf,
}

impl Config {
    /// Reads the files of `env`'s system directory and puts `--config` and profiles above them.
    pub fn load(env: &Env, command_line: Option<&str>, profiles: &[&str]) -> Result<Self> {
        let _ = (command_line, profiles);
        Ok(Self {
            layers: Vec::new(),
            system_dir: env.system_dir(),
            state_dir: env.state_dir(),
        })
    }
    /// The layers, strongest first.
    pub fn layers(&self) -> &[(Origin, Section)] {
        &self.layers
    }
    /// A value that is set somewhere (not the built-in one), by `section/key`.
    pub fn lookup(&self, path: &str) -> Option<(&Value, &Origin)> {
        let _ = path;
        None
    }
    /// A boolean or integer as boolean; built-in value if it is not set.
    pub fn bool(&self, path: &str) -> bool {
        self.int(path) != 0
    }
    /// An integer; built-in value if it is not set, 0 if there is none.
    pub fn int(&self, path: &str) -> i64 {
        let _ = path;
        0
    }
    /// A string; built-in value if it is not set, empty if there is none.
    pub fn str(&self, path: &str) -> String {
        let _ = path;
        String::new()
    }
    /// Strings of an array (or a single string).
    pub fn list(&self, path: &str) -> Vec<String> {
        let _ = path;
        Vec::new()
    }
    /// A directory setting.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&self.str(path)).to_owned()
    }
}
