//! lvmdevices: the devices file.

use std::path::PathBuf;

use ulvm::devices_file::{DevicesFile, Entry};
use ulvm::discover;
use ulvm::error::{Error, Result};
use ulvm::inventory::{DevKey, Inventory};
use ulvm::lock::StayingLock;
use ulvm::session::{LockMode, Session, Settings};
use ulvm_metadata::convert::ctime_text;
use ulvm_metadata::model::DeviceId;
use ulvm_metadata::uuid::LvmUuid;

use crate::args::{Args, Opt};
use crate::context::Context;

/// Shows, checks and changes the devices file.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if let Some(first) = args.operands().first() {
        return Err(Error::usage(format!(
            "Command does not accept argument: {first}."
        )));
    }
    one_of(args)?;
    let mut work = Work::open(ctx)?;
    if args.has(Opt::Check) {
        return work.check(false);
    }
    if args.has(Opt::Update) {
        return work.check(true);
    }
    if let Some(name) = args.text(Opt::Adddev) {
        return work.add_device(name, args.text(Opt::Deviceidtype));
    }
    if let Some(name) = args.text(Opt::Deldev) {
        return work.delete(
            |e| e.device.as_deref() == Some(name),
            || format!("No devices file entry for {name}."),
        );
    }
    if let Some(text) = args.text(Opt::Addpvid) {
        return work.add_pv(pv_id(text)?);
    }
    if let Some(text) = args.text(Opt::Delpvid) {
        let id = pv_id(text)?;
        return work.delete(
            |e| e.pv == Some(id),
            || "PVID not found in devices file.".to_owned(),
        );
    }
    work.list()
}

/// Only one thing is done at a time; the options are looked at in LVM2's order.
fn one_of(args: &Args) -> Result<()> {
    let given = [
        Opt::Check,
        Opt::Update,
        Opt::Adddev,
        Opt::Deldev,
        Opt::Addpvid,
        Opt::Delpvid,
    ];
    match given.iter().filter(|o| args.has(**o)).nth(1) {
        None => Ok(()),
        Some(second) => {
            let value = args.text(*second).unwrap_or_default();
            let text = format!(
                "Command does not accept option: --{} {value}",
                second.spec().long
            );
            Err(Error::usage(format!("{}.", text.trim_end())))
        }
    }
}

fn pv_id(text: &str) -> Result<LvmUuid> {
    LvmUuid::parse(text).ok_or_else(|| Error::refused("Invalid PVID."))
}

struct Work<'a> {
    ctx: &'a Context,
    /// Sees every device, listed or not.
    session: Session,
    path: PathBuf,
    file: Option<DevicesFile>,
    /// Nobody else changes the file meanwhile.
    _lock: Option<StayingLock>,
}

impl<'a> Work<'a> {
    fn open(ctx: &'a Context) -> Result<Self> {
        let own = ctx.settings();
        let name = match own.devices_file.as_deref() {
            Some("") => return Err(Error::refused("Devices file not enabled.")),
            Some(name) => name.to_owned(),
            None if ctx.config().bool("devices/use_devicesfile") => {
                ctx.config().str("devices/devicesfile")
            }
            None => return Err(Error::refused("Devices file not enabled.")),
        };
        let mut session = ctx.session_with(Settings {
            devices: None,
            devices_file: Some(String::new()),
            ..own.clone()
        })?;
        session.lock_global(LockMode::Exclusive)?;
        session.scan()?;
        let path = session.devices_file_path(&name);
        let lock = session.lock_devices_file(&path)?;
        let file = DevicesFile::read(&path)?;
        Ok(Self {
            ctx,
            session,
            path,
            file,
            _lock: lock,
        })
    }

    fn existing(&mut self) -> Result<&mut DevicesFile> {
        self.file
            .as_mut()
            .ok_or_else(|| Error::not_found("Devices file does not exist."))
    }

    fn write(&mut self) -> Result<()> {
        if self.ctx.settings().test {
            return Ok(());
        }
        let by = format!(
            "lvmdevices pid {} at {}",
            std::process::id(),
            ctime_text(ulvm::host::now(), ulvm::host::zone())
        );
        self.existing()?.write(&by)
    }

    /// The device an entry stands for.
    fn device_of(&self, entry: &Entry) -> Option<DevKey> {
        let inventory = self.session.inventory();
        let by_identity = inventory.devices().find(|(_, d)| {
            discover::identify(d).as_ref() == Some(&entry.id)
                && discover::kernel_partition(d) == entry.part
        });
        match by_identity {
            Some((key, _)) => Some(key),
            None if entry.id.kind == "devname" => inventory.find_device(&entry.id.name),
            None => None,
        }
    }

    fn list(&mut self) -> Result<()> {
        self.existing()?;
        for entry in self.file.iter().flat_map(|f| &f.entries) {
            let name = self
                .device_of(entry)
                .map_or("none", |d| &self.session.device(d).name);
            self.ctx.terminal().line(&format!(
                "Device {name} IDTYPE={} IDNAME={} DEVNAME={} PVID={}{}",
                entry.id.kind,
                entry.id.name,
                entry.device.as_deref().unwrap_or("none"),
                entry.pv.map_or("none".to_owned(), |id| id.compact()),
                entry.part.map_or(String::new(), |n| format!(" PART={n}"))
            ));
        }
        Ok(())
    }

    /// Says what is not as in the file; with `update` the file is brought up to date.
    fn check(&mut self, update: bool) -> Result<()> {
        let mut entries = self.existing()?.entries.clone();
        let mut differs = false;
        for entry in &mut entries {
            let out = self.ctx.terminal();
            let Some(key) = self.device_of(entry) else {
                out.line(&format!(
                    "Device not found for devices file entry IDTYPE={} IDNAME={}",
                    entry.id.kind, entry.id.name
                ));
                continue;
            };
            let name = self.session.device(key).name.clone();
            if entry.device.as_deref() != Some(&name) {
                // A name that is the identity itself is put right in silence.
                if entry.id.kind != "devname" {
                    out.line(&format!(
                        "Device {name} has updated name (devices file {})",
                        entry.device.as_deref().unwrap_or("none")
                    ));
                }
                entry.device = Some(name.clone());
                differs = true;
            }
            let pv = pv_on(self.session.inventory(), key);
            if entry.pv != pv {
                out.line(&format!(
                    "Device {name} has PVID {} (devices file {})",
                    pv.map_or("none".to_owned(), |id| id.compact()),
                    entry.pv.map_or("none".to_owned(), |id| id.compact())
                ));
                entry.pv = pv;
                differs = true;
            }
        }
        if !update {
            return match differs {
                true => Err(Error::refused("Updates needed for devices file.")),
                false => Ok(()),
            };
        }
        if !differs {
            self.ctx.ui().print("No update for devices file is needed.");
            return Ok(());
        }
        self.existing()?.entries = entries;
        self.write()?;
        let counter = self.existing()?.counter;
        self.ctx
            .ui()
            .print(format!("Updated devices file to version 1.1.{counter}"));
        Ok(())
    }

    fn add_device(&mut self, name: &str, kind: Option<&str>) -> Result<()> {
        let key = self
            .session
            .name_device(name)
            .map_err(|_| Error::not_found(format!("No device found for {name}.")))?;
        self.add(key, kind)
    }

    fn add_pv(&mut self, id: LvmUuid) -> Result<()> {
        let known = self.file.iter().flat_map(|f| &f.entries);
        if let Some(entry) = known.clone().find(|e| e.pv == Some(id)) {
            return Err(Error::refused(format!(
                "PVID already exists in devices file for {}.",
                entry.device.as_deref().unwrap_or("none")
            )));
        }
        let inventory = self.session.inventory();
        let key = inventory
            .devices()
            .map(|(key, _)| key)
            .find(|key| pv_on(inventory, *key) == Some(id))
            .ok_or_else(|| {
                Error::not_found(format!("PVID {} not found on any devices.", id.compact()))
            })?;
        self.ctx.ui().print(format!(
            "Found PVID {} on {}.",
            id.compact(),
            self.session.device(key).name
        ));
        self.add(key, None)
    }

    fn add(&mut self, key: DevKey, kind: Option<&str>) -> Result<()> {
        let device = self.session.device(key);
        let name = device.name.clone();
        let by_name = || DeviceId {
            kind: "devname".to_owned(),
            name: name.clone(),
        };
        let id = match kind {
            Some("devname") => by_name(),
            _ => discover::identify(device).ok_or_else(|| {
                Error::refused(format!(
                    "{name} is not a block device; image files are named with --devices."
                ))
            })?,
        };
        if let Some(kind) = kind.filter(|k| *k != id.kind) {
            return Err(Error::refused(format!(
                "The device ID type {kind} is not available for {name}."
            )));
        }
        let entry = Entry {
            id,
            device: Some(name),
            pv: pv_on(self.session.inventory(), key),
            part: discover::kernel_partition(device),
        };
        let path = self.path.clone();
        let file = self.file.get_or_insert_with(|| DevicesFile {
            path,
            ..DevicesFile::default()
        });
        let same =
            |e: &Entry| (e.id == entry.id && e.part == entry.part) || e.device == entry.device;
        match file.entries.iter_mut().find(|e| same(e)) {
            Some(old) => *old = entry,
            None => file.entries.push(entry),
        }
        self.write()
    }

    fn delete(&mut self, gone: impl Fn(&Entry) -> bool, absent: impl Fn() -> String) -> Result<()> {
        let file = self.existing()?;
        let before = file.entries.len();
        file.entries.retain(|e| !gone(e));
        if file.entries.len() == before {
            return Err(Error::not_found(absent()));
        }
        self.write()
    }
}

/// The PV on a device.
fn pv_on(inventory: &Inventory, device: DevKey) -> Option<LvmUuid> {
    let member = inventory.pv_on(device).map(|(vg, key)| vg.vg.pvs[key].id);
    let others = inventory.orphans.iter().chain(&inventory.hidden);
    member.or_else(|| {
        others
            .chain(inventory.duplicates.iter().map(|d| &d.pv))
            .find(|f| f.device == device)
            .map(|f| f.label.id)
    })
}
