//! LVM2's configuration: `--config`, profiles, lvmlocal.conf, lvm.conf, built-in values, in that
//! order of precedence.

pub mod defaults;
mod profile;

use std::io;
use std::path::{Path, PathBuf};

use ulvm_metadata::text::parse_config;
use ulvm_metadata::tree::{Node, Section, Value};

pub use profile::ProfileKind;

use crate::env::Env;
use crate::error::{Error, Kind, Result};

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

/// A file for ulvm's own settings, the section `ulvm`, which LVM2 calls unknown in its own files.
const OWN_FILE: &str = "ulvm.conf";
/// Largest configuration file read.
const FILE_MAX: u64 = 16 << 20;

impl Config {
    /// Reads the files of `env`'s system directory and puts `--config` and profiles above them.
    /// `profiles` are names of files in config/profile_dir, strongest first.
    pub fn load(env: &Env, command_line: Option<&str>, profiles: &[&str]) -> Result<Self> {
        let mut config = Self {
            layers: Vec::new(),
            system_dir: env.system_dir(),
            state_dir: env.state_dir(),
        };
        if let Some(text) = command_line {
            let section = parse_config(text).map_err(|e| {
                Error::usage(format!("Parse error in --config: {e}"))
                    .and("Failed to set overridden configuration entries.")
            })?;
            config.layers.push((Origin::CommandLine, section));
        }
        for name in ["lvmlocal.conf", "lvm.conf", OWN_FILE] {
            config.add_file(&env.system_dir().join(name))?;
        }
        for (n, name) in profiles.iter().enumerate() {
            config.add_profile(usize::from(command_line.is_some()) + n, name)?;
        }
        Ok(config)
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        if let Some(section) = read_file(path)? {
            self.layers.push((Origin::File(path.to_owned()), section));
        }
        Ok(())
    }

    fn add_profile(&mut self, at: usize, name: &str) -> Result<()> {
        let section = self.profile(ProfileKind::Command, name)?;
        self.layers
            .insert(at, (Origin::Profile(name.to_owned()), section));
        Ok(())
    }

    /// Reads a profile of config/profile_dir; it must exist and set only what its kind is for.
    pub fn profile(&self, kind: ProfileKind, name: &str) -> Result<Section> {
        let word = kind.word();
        if name.is_empty() || name.contains('/') {
            return Err(Error::refused(format!(
                "{name}: bad profile name, it contains '/'.\nFailed to add {word} profile {name}."
            )));
        }
        let failed = |e: Error| e.and(format!("Failed to apply {word} profile {name}."));
        let path = self
            .path("config/profile_dir")
            .join(format!("{name}.profile"));
        let section = read_file(&path)?.ok_or_else(|| {
            failed(Error::not_found(format!(
                "{}: stat failed: No such file or directory",
                path.display()
            )))
        })?;
        profile::check(kind, name, &section).map_err(failed)?;
        Ok(section)
    }

    /// The layers, strongest first.
    pub fn layers(&self) -> &[(Origin, Section)] {
        &self.layers
    }

    /// A value that is set somewhere (not the built-in one), by `section/key`.
    pub fn lookup(&self, path: &str) -> Option<(&Value, &Origin)> {
        self.layers
            .iter()
            .find_map(|(origin, section)| Some((value_at(section, path)?, origin)))
    }

    /// The value in force: set somewhere, else built in.
    fn value(&self, path: &str) -> Option<Value> {
        match self.lookup(path) {
            Some((value, _)) => Some(value.clone()),
            None => self.default_value(path),
        }
    }

    /// The built-in value, with the directories of this system. An unprivileged user's backup and
    /// archive go to a directory of his own.
    pub fn default_value(&self, path: &str) -> Option<Value> {
        let setting = defaults::find(path)?;
        if setting.default.is_empty() {
            return None;
        }
        let value = parse_config(&format!("value={}", setting.default))
            .ok()
            .and_then(|s| s.value("value").cloned())?;
        let Value::Str(text) = &value else {
            return Some(value);
        };
        let dir = match path {
            "backup/backup_dir" | "backup/archive_dir" => &self.state_dir,
            _ => &self.system_dir,
        };
        Some(match text.strip_prefix(defaults::SYSTEM_DIR) {
            Some(rest) => Value::Str(format!("{}{rest}", dir.display())),
            None => value,
        })
    }

    /// A boolean or integer as boolean; built-in value if it is not set.
    pub fn bool(&self, path: &str) -> bool {
        self.int(path) != 0
    }

    /// An integer; the built-in value if it is not set or not a number, 0 if there is none. The
    /// words LVM2 takes for booleans (y, yes, on, true...) count as 1 and 0.
    pub fn int(&self, path: &str) -> i64 {
        let number = |v: Value| match v {
            Value::Int(n) => Some(n),
            Value::Str(s) => match s.as_str() {
                "y" | "yes" | "on" | "true" => Some(1),
                "n" | "no" | "off" | "false" => Some(0),
                s => s.parse().ok(),
            },
            Value::Float(_) | Value::Array(_) => None,
        };
        self.value(path)
            .and_then(number)
            .or_else(|| self.default_value(path).and_then(number))
            .unwrap_or(0)
    }

    /// A string; built-in value if it is not set, empty if there is none.
    pub fn str(&self, path: &str) -> String {
        match self.value(path) {
            Some(Value::Str(s)) => s,
            Some(Value::Int(n)) => n.to_string(),
            Some(Value::Float(s)) => s,
            Some(Value::Array(_)) | None => String::new(),
        }
    }

    /// Strings of an array (or a single string).
    pub fn list(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::Array(items)) => items
                .into_iter()
                .filter_map(|v| match v {
                    Value::Str(s) => Some(s),
                    Value::Int(n) => Some(n.to_string()),
                    _ => None,
                })
                .collect(),
            Some(Value::Str(s)) => vec![s],
            _ => Vec::new(),
        }
    }

    /// A directory setting.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(self.str(path))
    }

    /// Is it set anywhere?
    pub fn is_set(&self, path: &str) -> bool {
        self.lookup(path).is_some()
    }
}

/// `None` if there is no such file.
fn read_file(path: &Path) -> Result<Option<Section>> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::new(
            Kind::Init,
            format!("Failed to load config file {}: {e}", path.display()),
        )
    };
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&e)),
        Ok(m) if m.len() > FILE_MAX => return Err(failed(&"it is too large")),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
    parse_config(&text).map(Some).map_err(|e| failed(&e))
}

fn value_at<'s>(section: &'s Section, path: &str) -> Option<&'s Value> {
    let mut section = section;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        match (section.get(part)?, parts.peek()) {
            (Node::Section(s), Some(_)) => section = s,
            (Node::Value(v), None) => return Some(v),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        files: &[(&str, &str)],
        command_line: Option<&str>,
        profiles: &[&str],
    ) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("profile")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let env = Env {
            system_dir: Some(dir.path().to_owned()),
            ..Env::default()
        };
        Config::load(&env, command_line, profiles)
    }

    #[test]
    fn stronger_layers_win_and_the_rest_shines_through() {
        let files = [
            (
                "lvm.conf",
                "backup { retain_min = 1 retain_days = 2 archive = 0 }",
            ),
            (
                "lvmlocal.conf",
                "backup/retain_days = 3\nlocal { system_id = \"x\" }",
            ),
            (
                "profile/p.profile",
                "report { headings = 0 separator = \"|\" }",
            ),
        ];
        let c = load(
            &files,
            Some("backup/retain_min=9 report/separator=\"+\" global{umask=18}"),
            &["p"],
        )
        .unwrap();
        assert_eq!(c.int("backup/retain_min"), 9);
        assert_eq!(c.int("backup/retain_days"), 3);
        assert_eq!(c.int("report/headings"), 0);
        assert_eq!(c.str("report/separator"), "+");
        assert_eq!(c.str("local/system_id"), "x");
        assert_eq!(c.int("global/umask"), 18);
        assert_eq!(c.str("global/units"), "r");
        assert!(matches!(c.lookup("report/headings"), Some((_, Origin::Profile(p))) if p == "p"));
    }

    #[test]
    fn built_in_values_have_their_types_and_all_parse() {
        let c = load(&[], None, &[]).unwrap();
        for s in defaults::SETTINGS.iter().filter(|s| !s.default.is_empty()) {
            let value = c
                .default_value(s.path)
                .unwrap_or_else(|| panic!("{}", s.path));
            let fits = match s.ty {
                defaults::Type::Bool => matches!(value, Value::Int(0 | 1)),
                defaults::Type::Int => matches!(value, Value::Int(_)),
                defaults::Type::Str => matches!(value, Value::Str(_)),
                defaults::Type::List => matches!(value, Value::Array(_)),
            };
            assert!(fits, "{}: {value:?}", s.path);
        }
        assert_eq!(defaults::SETTINGS.len(), 242);
        assert_eq!(c.list("devices/scan"), ["/dev"]);
        assert_eq!(c.path("backup/backup_dir"), c.state_dir.join("backup"));
    }

    #[test]
    fn bad_input_is_named() {
        let e = load(&[("lvm.conf", "backup { retain_min = ")], None, &[]).unwrap_err();
        assert_eq!(e.kind(), Kind::Init);
        assert!(e.to_string().contains("lvm.conf"), "{e}");
        assert_eq!(load(&[], Some("a={"), &[]).unwrap_err().kind(), Kind::Usage);
        assert!(load(&[], None, &["../x"]).is_err());
        assert!(load(&[], None, &["absent"]).is_err());
    }
}
