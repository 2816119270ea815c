//! What every command of `dmsetup` works with: the daemon, the options, the names of devices.

use std::cell::RefCell;
use std::path::PathBuf;

use ulvm::daemon::client::Client;
use ulvm::daemon::dm::{DmAnswer, DmAsk, DmDevice, Refusal, Which};
use ulvm::error::{Error, Kind, Result, io_text};

use super::names::Mangling;
use super::{failed, wrong};
use crate::args::{Args, Opt};
use crate::commands::vgcreate::dev_dir;
use crate::context::Context;

/// The command line and the daemon.
pub struct Session<'a> {
    /// Terminal and settings.
    pub ctx: &'a Context,
    /// Options.
    pub args: &'a Args,
    /// How names are written.
    pub mangling: Mangling,
    client: RefCell<Option<Client>>,
}

/// A device as the command line names it.
pub struct Target {
    /// For the daemon.
    pub which: Which,
    /// Name and uuid, as messages have them.
    pub said: String,
}

impl<'a> Session<'a> {
    /// Connects to the daemon if there is one.
    pub fn new(ctx: &'a Context, args: &'a Args) -> Result<Self> {
        let mangling = match args.text(Opt::ManglingMode) {
            None => Mangling::Auto,
            Some(word) => Mangling::of(word).ok_or_else(|| wrong("Unknown name mangling mode."))?,
        };
        Ok(Self {
            ctx,
            args,
            mangling,
            client: RefCell::new(Client::connect(&ctx.settings().env.run_dir())?),
        })
    }

    /// Was the option given?
    pub fn has(&self, opt: Opt) -> bool {
        self.args.has(opt)
    }

    /// Puts text to standard output.
    pub fn put(&self, text: &str) {
        self.ctx.terminal().put(text);
    }

    /// The folder of links by name.
    pub fn mapper_dir(&self) -> PathBuf {
        let env = &self.ctx.settings().env;
        let dir = match (env.root, &env.dev_dir) {
            (true, _) => dev_dir(self.ctx),
            (false, Some(dir)) => dir.clone(),
            (false, None) => env.run_dir().join("dev"),
        };
        dir.join("mapper")
    }

    /// Starts the daemon if there is none.
    pub fn start(&self) -> Result<()> {
        let mut client = self.client.borrow_mut();
        if client.is_none() {
            let run_dir = self.ctx.settings().env.run_dir();
            *client = Some(Client::connect_or_start(&run_dir)?);
        }
        Ok(())
    }

    /// Asks the daemon. Without one there is no device.
    pub fn ask(&self, ask: DmAsk) -> Result<std::result::Result<DmAnswer, Refusal>> {
        let mut client = self.client.borrow_mut();
        let Some(client) = client.as_mut() else {
            return Ok(Err(Refusal::absent()));
        };
        Ok(match client.dm(ask)? {
            DmAnswer::Refused(refusal) => Err(refusal),
            other => Ok(other),
        })
    }

    /// Has the daemon do something; a failure is told as one of the ioctl called `what` on `said`.
    pub fn order(&self, what: &str, said: &str, ask: DmAsk) -> Result<()> {
        match self.ask(ask)? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(ioctl(what, said, &refusal)),
        }
    }

    /// Makes links of devices again that are gone.
    pub fn make_links(&self, names: Vec<String>) -> Result<()> {
        match self.client.borrow_mut().as_mut() {
            Some(client) => client.make_links(names),
            None => Ok(()),
        }
    }

    /// All devices by name.
    pub fn all(&self) -> Result<Vec<DmDevice>> {
        match self.ask(DmAsk::Look {
            device: None,
            open: !self.has(Opt::Noopencount),
        })? {
            Ok(DmAnswer::Devices { devices }) => Ok(devices),
            Ok(_) | Err(_) => Ok(Vec::new()),
        }
    }

    /// The device; none if there is none.
    pub fn find(&self, target: &Target) -> Result<Option<DmDevice>> {
        let ask = DmAsk::Look {
            device: Some(target.which.clone()),
            open: !self.has(Opt::Noopencount),
        };
        Ok(match self.ask(ask)? {
            Ok(DmAnswer::Devices { devices }) => devices.into_iter().next(),
            Ok(_) | Err(_) => None,
        })
    }

    /// The device, which must be there: else the ioctl called `what` fails.
    pub fn need(&self, what: &str, target: &Target) -> Result<DmDevice> {
        self.find(target)?
            .ok_or_else(|| ioctl(what, &target.said, &Refusal::absent()))
    }

    /// The devices that are meant: those named, or that of `--uuid` or `--major` and `--minor`.
    pub fn targets(&self, names: &[&str]) -> Result<Vec<Target>> {
        match self.by_option()? {
            Some(target) => Ok(vec![target]),
            None => names.iter().map(|name| self.target(name)).collect(),
        }
    }

    /// The one device that is meant, and the operands that are left.
    pub fn one<'o>(&self, operands: &'o [&'o str]) -> Result<(Target, &'o [&'o str])> {
        if let Some(target) = self.by_option()? {
            return Ok((target, operands));
        }
        match operands.split_first() {
            Some((name, rest)) => Ok((self.target(name)?, rest)),
            None => Err(failed("No device specified.")),
        }
    }

    /// The device of `--uuid`, or of `--major` and `--minor`.
    fn by_option(&self) -> Result<Option<Target>> {
        if let Some(uuid) = self.args.text(Opt::DmUuid) {
            let uuid = self.mangling.mangle(uuid);
            return Ok(Some(Target {
                said: format!(" {uuid}"),
                which: Which::Uuid(uuid),
            }));
        }
        let number = |opt| self.args.number(opt).map(u32::try_from);
        match (number(Opt::Major), number(Opt::DmMinor)) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Some(Target {
                said: format!(" ({major}:{minor})"),
                which: Which::Number(major, minor),
            })),
            (None, None) => Ok(None),
            _ => Err(wrong("Please specify both major number and minor number.")),
        }
    }

    /// The device of a name, or of a path to its node.
    pub fn target(&self, name: &str) -> Result<Target> {
        let plain = match name.contains('/') {
            true => self.of_path(name)?,
            false => self.mangling.mangle(name),
        };
        Ok(Target {
            said: format!("{plain} "),
            which: Which::Name(plain),
        })
    }

    fn of_path(&self, path: &str) -> Result<String> {
        let real = std::fs::canonicalize(path).ok();
        let named = self
            .all()?
            .into_iter()
            .find(|d| d.node.is_some() && d.node == real);
        named
            .map(|d| d.name)
            .ok_or_else(|| failed(format!("Device {path} not found")))
    }

    /// A name as it is shown.
    pub fn shown(&self, name: &str) -> String {
        self.mangling.shown(name)
    }
}

/// What device-mapper does not do, in the words of the real one, and why.
pub fn ioctl(what: &str, said: &str, refusal: &Refusal) -> Error {
    let errno = io_text(&std::io::Error::from_raw_os_error(refusal.errno));
    let first = format!("device-mapper: {what} ioctl on {said} failed: {errno}");
    let error = Error::new(Kind::Refused, first);
    match refusal.text.is_empty() || refusal.is_absent() {
        true => error,
        false => error.and(format!("  {}", refusal.text)),
    }
}
