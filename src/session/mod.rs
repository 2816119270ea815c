//! The one path every command goes through: lock -> scan -> read -> edit -> commit.
//!
//! ```text
//! let mut session = Session::new(settings, ui)?;
//! let old = session.vg_for_write("vg", Allow::default())?;   // locks V_vg, scans, checks
//! let done = ops::lv_rename(&old.vg, ...)?;                  // pure
//! let new = session.commit(&old, done.vg)?;                  // archive, staged writes, backup
//! ```
//! Locks are held until the session is dropped or [`Session::unlock_all`] is called.

pub mod appear;
mod commit;
#[cfg(test)]
mod crash;
mod find;
mod identity;
mod label;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ulvm_engine::backend::ImageLock;
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::{IdSource, LvmUuid};

use crate::config::Config;
use crate::devices_file::DevicesFile;
use crate::disk::FileDisk;
use crate::env::Env;
use crate::error::{Error, Kind, Result};
use crate::host;
use crate::in_use;
use crate::inventory::{DevKey, Device, Inventory};
pub use crate::lock::LockMode;
use crate::lock::{DEFAULT_WAIT, LockPolicy, Locks, StayingLock, lock_device};
use crate::scan::{Rules, Scan};
use crate::ui::Ui;

/// Global options and configuration of one command.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// lvm.conf and `--config`.
    pub config: Config,
    /// The environment.
    pub env: Env,
    /// The command line as typed, for descriptions of backup and archive.
    pub command_line: String,
    /// `--devices`: these and no others (`ULVM_DEVICES` is taken from `env`).
    pub devices: Option<Vec<String>>,
    /// `--devicesfile`; an empty string = none.
    pub devices_file: Option<String>,
    /// `--nolocking`
    pub nolocking: bool,
    /// `--readonly`: no locks, no writes.
    pub readonly: bool,
    /// `--test`: nothing is written.
    pub test: bool,
    /// `--foreign`: show VGs of other hosts.
    pub foreign: bool,
    /// `--shared`: show VGs with a lock_type.
    pub shared: bool,
    /// `-y`: every question is answered yes.
    pub yes: bool,
    /// `-A n`: no archive, no backup, whatever the configuration says.
    pub no_autobackup: bool,
}

/// What a command can cope with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allow {
    /// Exported VGs.
    pub exported: bool,
    /// VGs with missing PVs, for writing.
    pub missing: bool,
    /// VGs of other hosts, for writing.
    pub foreign: bool,
    /// VGs with duplicate PVs, for writing.
    pub duplicates: bool,
    /// VGs whose metadata have the status "not writable" (`vgchange -p r` has no LVM2 option, but
    /// the word WRITE may be absent).
    pub read_only: bool,
    /// For writing: PVs that can be read and fail when they are written. They are left behind with
    /// what they hold, which is old then.
    pub unwritable: bool,
}

/// Which VGs a command wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope<'a> {
    /// All: takes the global lock shared, then each VG's.
    All,
    /// These only.
    Names(&'a [String]),
}

/// A PV to be written by [`Session::create_pv`]. Everything in bytes from the start of the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPv {
    /// Identity.
    pub id: LvmUuid,
    /// 0..=3, normally 1.
    pub label_sector: u64,
    /// What the header says about the size of the device.
    pub device_size: Bytes,
    /// Where extents may start.
    pub data_start: Bytes,
    /// Metadata areas: start, size, ignored.
    pub mdas: Vec<(Bytes, Bytes, bool)>,
    /// Bootloader area: start, size.
    pub bootloader: Option<(Bytes, Bytes)>,
    /// Zero the first four sectors (`-Z y`).
    pub zero: bool,
}

/// One command at work.
pub struct Session {
    settings: Settings,
    ui: Box<dyn Ui>,
    locks: Locks,
    system_id: Option<String>,
    extra_ids: Vec<String>,
    /// Everything read from devices.
    scan: Scan,
    /// What follows from it.
    inventory: Inventory,
    /// VGs asked for; `None` = all.
    names: Option<Vec<String>>,
    /// Regular files and partitions named by the command line, beside the devices found.
    named: Vec<String>,
    /// The scan was made under the locks held now.
    fresh: bool,
    /// Warnings already said; a second scan does not repeat them.
    said: HashSet<String>,
    /// Devices open for writing and locked as long as they are, by number of their [`DevKey`].
    disks: BTreeMap<usize, FileDisk>,
    /// [`Allow::unwritable`] of the VG at work.
    leave_behind: bool,
    /// Image files that are kept from being opened by others.
    images: Vec<Arc<ImageLock>>,
    /// `pvchange --metadataignore`, to take effect in the next commit.
    ignore: HashMap<DevKey, bool>,
    /// `pvchange --uuid` of a PV in a VG, likewise.
    new_ids: HashMap<DevKey, LvmUuid>,
    /// Memory of the last archive or backup, for the next.
    room: Cell<String>,
}

/// Name of the lock that all VGs share.
const GLOBAL_LOCK: &str = "P_global";

impl Session {
    /// Prepares a command; nothing is opened or locked yet.
    pub fn new(settings: Settings, ui: Box<dyn Ui>) -> Result<Self> {
        let config = &settings.config;
        let no_locks = settings.nolocking || settings.readonly;
        let dir = match &settings.env.lock_dir {
            Some(dir) => dir.clone(),
            None if config.is_set("global/locking_dir") => config.path("global/locking_dir"),
            None => settings.env.default_lock_dir(),
        };
        let policy = LockPolicy {
            dir: (!no_locks).then_some(dir),
            wait: if config.bool("global/wait_for_locks") {
                DEFAULT_WAIT
            } else {
                Duration::ZERO
            },
            prioritise_writers: config.bool("global/prioritise_write_locks"),
        };
        let system_id = host::system_id(config).unwrap_or_else(|why| {
            ui.warn(format!("No system ID found: {why}."));
            None
        });
        Ok(Self {
            extra_ids: host::extra_system_ids(config),
            locks: Locks::new(policy),
            system_id,
            scan: Scan::default(),
            inventory: Inventory::default(),
            names: Some(Vec::new()),
            named: Vec::new(),
            fresh: false,
            said: HashSet::new(),
            room: Cell::default(),
            disks: BTreeMap::new(),
            leave_behind: false,
            images: Vec::new(),
            ignore: HashMap::new(),
            new_ids: HashMap::new(),
            settings,
            ui,
        })
    }
    /// The user.
    pub fn ui(&self) -> &dyn Ui {
        &*self.ui
    }
    /// Options and environment.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// Configuration.
    pub fn config(&self) -> &Config {
        &self.settings.config
    }
    /// This host's system id, if it has one.
    pub fn system_id(&self) -> Option<&str> {
        self.system_id.as_deref()
    }
    /// Takes `P_global`: shared to see all VGs, exclusively to make or remove PVs, VGs or names.
    /// A second call with the same or a weaker mode does nothing.
    pub fn lock_global(&mut self, mode: LockMode) -> Result<()> {
        self.names = None;
        self.lock(GLOBAL_LOCK, mode)
    }
    /// Takes `V_<name>`. Several are to be taken in the order of their names.
    pub fn lock_vg(&mut self, name: &str, mode: LockMode) -> Result<()> {
        self.lock(&vg_lock(name), mode)
    }
    /// Releases `V_<name>`, for commands that go over many VGs.
    pub fn unlock_vg(&mut self, name: &str) {
        self.locks.release(&vg_lock(name));
    }
    /// Takes the lock on a devices file, to be held from before it is read until it is written.
    pub fn lock_devices_file(&self, path: &Path) -> Result<Option<StayingLock>> {
        StayingLock::take(&DevicesFile::lock_name(path), self.locks.policy())
    }
    /// A device that the session holds, to be written to under the same lock.
    pub(crate) fn held(&self, device: DevKey) -> Result<FileDisk> {
        let name = &self.inventory.device(device).name;
        let held = self.disks.get(&device.0).ok_or_else(|| {
            Error::new(
                Kind::Internal,
                format!("Device {name} is to be written and not held."),
            )
        })?;
        held.again()
            .map_err(|e| Error::io(format!("{name}: open failed"), e))
    }
    /// Locks a PV that was opened outside of the session, as every command that writes to one does:
    /// for as long as the disk is open. An image file that a virtual machine or a server has open is
    /// refused. `path` is that of the whole device, `name` for messages.
    pub fn lock_disk(&mut self, path: &Path, disk: &FileDisk, name: &str) -> Result<()> {
        let wait = self.locks.policy().wait;
        lock_device(disk.file(), name, disk.start().0, wait)?;
        self.images.extend(in_use::lock_image(path, name)?);
        Ok(())
    }
    /// Releases every lock; what was read may change from now on.
    pub fn unlock_all(&mut self) {
        self.locks.release_all();
        self.disks.clear();
        self.images.clear();
        self.fresh = false;
    }
    /// Ends the session of a command that is about to end the process: releases the locks, and
    /// leaves the memory to the kernel, which takes it back at once instead of LV by LV. Not for a
    /// process that goes on.
    pub fn leave(mut self) {
        self.unlock_all();
        std::mem::forget(self);
    }
    /// A device.
    pub fn device(&self, key: DevKey) -> &Device {
        self.inventory.device(key)
    }

    fn lock(&mut self, resource: &str, mode: LockMode) -> Result<()> {
        if self.locks.take(resource, mode)? {
            self.fresh = false;
        }
        Ok(())
    }

    fn rules(&self) -> Rules {
        let config = self.config();
        let kib = u64::try_from(config.int("devices/pv_min_size")).unwrap_or(0);
        let md_components = config.bool("devices/md_component_detection");
        Rules {
            min_size: Bytes(kib.saturating_mul(1024)),
            md_components,
            components: md_components || config.bool("devices/multipath_component_detection"),
        }
    }
}

fn vg_lock(name: &str) -> String {
    format!("V_{name}")
}

/// Random identifiers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn new_id(&mut self) -> LvmUuid {
        let mut raw = [0u8; 32];
        raw[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        raw[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        LvmUuid::from_entropy(&raw)
    }
}
