//! What a command has to work with: the terminal, the settings, and sessions made from them.

use std::rc::Rc;

use ulvm::config::{Config, ProfileKind};
use ulvm::env::Env;
use ulvm::error::{Error, Result};
use ulvm::session::{Session, Settings};
use ulvm::ui::Ui;

use crate::args::{Args, Opt};
use crate::ui::{Manner, Terminal};

/// One run of one command.
pub struct Context {
    terminal: Rc<Terminal>,
    settings: Settings,
    /// False with `--driverloaded n`.
    driver_loaded: bool,
}

impl Context {
    /// From the options every command takes. Reads the configuration; opens no device.
    pub fn new(terminal: Rc<Terminal>, args: &Args, command_line: String) -> Result<Self> {
        terminal.set_manner(Manner {
            quiet: args.count(Opt::Quiet),
            verbose: args.count(Opt::Verbose),
            debug: args.count(Opt::Debug),
            yes: args.has(Opt::Yes),
            document: is_document(args.text(Opt::ReportFormat)),
        });
        let env = Env::read();
        // Where a profile could be kept in the metadata, --profile means such a one.
        let of_metadata = args.takes(Opt::MetadataProfile);
        let profiles: Vec<&str> = [Opt::CommandProfile, Opt::Profile]
            .iter()
            .filter(|o| **o != Opt::Profile || !of_metadata)
            .filter_map(|o| args.text(*o))
            .chain(env.command_profile.as_deref())
            .take(1)
            .collect();
        let config = Config::load(&env, args.text(Opt::Config), &profiles)?;
        if let Some(name) = args.metadata_profile() {
            config.profile(ProfileKind::Metadata, name)?;
        }
        if is_document(Some(&config.str("report/output_format"))) && !args.has(Opt::ReportFormat) {
            terminal.set_document();
        }
        if args.has(Opt::Devices) && args.text(Opt::DevicesFile).is_some_and(|f| !f.is_empty()) {
            let command = command_line.split(' ').next().unwrap_or_default();
            return Err(Error::usage(format!(
                "A --devices list cannot be used with --devicesfile.\nRun `{command} --help' for more information."
            )));
        }
        let readonly = args.has(Opt::ReadOnly);
        let settings = Settings {
            command_line,
            devices: device_list(args),
            devices_file: args.text(Opt::DevicesFile).map(str::to_owned),
            nolocking: args.has(Opt::NoLocking) || readonly,
            readonly,
            test: args.has(Opt::Test),
            foreign: args.has(Opt::Foreign),
            shared: args.has(Opt::Shared),
            yes: args.has(Opt::Yes),
            no_autobackup: args.yes_no(Opt::AutoBackup) == Some(false),
            config,
            env,
        };
        let context = Self {
            terminal,
            driver_loaded: args.yes_no(Opt::DriverLoaded).unwrap_or(true),
            settings,
        };
        if context.settings.test {
            context.ui().error(
                "TEST MODE: Metadata will NOT be updated and volumes will not be (de)activated.",
            );
        }
        Ok(context)
    }
    /// A session; each command makes one.
    pub fn session(&self) -> Result<Session> {
        Session::new(self.settings.clone(), Box::new(Rc::clone(&self.terminal)))
    }
    /// A session with settings of its own: a command that must see only some of the devices.
    pub fn session_with(&self, settings: Settings) -> Result<Session> {
        Session::new(settings, Box::new(Rc::clone(&self.terminal)))
    }
    /// Messages and questions.
    pub fn ui(&self) -> &dyn Ui {
        &*self.terminal
    }
    /// Results and reports.
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }
    /// The terminal, for a command that makes contexts of its own.
    pub fn shared_terminal(&self) -> Rc<Terminal> {
        Rc::clone(&self.terminal)
    }
    /// Settings of sessions.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.settings.config
    }
    /// False with `--driverloaded n`: activation is not to be attempted.
    pub fn driver_loaded(&self) -> bool {
        self.driver_loaded
    }
}

fn is_document(format: Option<&str>) -> bool {
    matches!(format, Some("json" | "json_std" | "yaml"))
}

/// `--devices A,B --devices C` as one list.
fn device_list(args: &Args) -> Option<Vec<String>> {
    args.has(Opt::Devices).then(|| {
        args.texts(Opt::Devices)
            .flat_map(|t| t.split(','))
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect()
    })
}

/// An operand count that a command cannot work with.
pub fn wrong_syntax(command: &str) -> Error {
    Error::usage(format!(
        "No command with matching syntax recognised.  Run '{command} --help' for more information."
    ))
}
