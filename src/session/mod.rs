//! The one path every command goes through: lock -> scan -> read -> edit -> commit.
//!
//! ```text
//! let mut session = Session::new(settings, ui)?;
//! let old = session.vg_for_write("vg", Allow::default())?;   // locks V_vg, scans, checks
//! let done = ops::lv_rename(&old.vg, ...)?;                  // pure
//! let new = session.commit(&old, done.vg)?;                  // archive, staged writes, backup
//! ```
//! Locks are held until the session is dropped or [`Session::unlock_all`] is called.

use std::path::PathBuf;

use ulvm_metadata::model::Vg;
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::{IdSource, LvmUuid};

use crate::config::Config;
use crate::env::Env;
use crate::error::{Error, Kind, Result};
use crate::inventory::{DevKey, Device, FoundPv, Inventory, VgRead};
pub use crate::lock::LockMode;
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
    inventory: Inventory,
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

fn unfinished<T>() -> Result<T> {
    Err(Error::new(Kind::Internal, "not there yet"))
}

#[allow(unused_variables)]
impl Session {
    /// Prepares a command; nothing is opened or locked yet.
    pub fn new(settings: Settings, ui: Box<dyn Ui>) -> Result<Self> {
        Ok(Self {
            settings,
            ui,
            inventory: Inventory::default(),
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
        None
    }
    /// Takes `P_global`. A second call with the same or a weaker mode does nothing.
    pub fn lock_global(&mut self, mode: LockMode) -> Result<()> {
        unfinished()
    }
    /// Takes `V_<name>`.
    pub fn lock_vg(&mut self, name: &str, mode: LockMode) -> Result<()> {
        unfinished()
    }
    /// Releases `V_<name>`, for commands that go over many VGs.
    pub fn unlock_vg(&mut self, name: &str) {}
    /// Releases every lock.
    pub fn unlock_all(&mut self) {}

    /// Makes a device that the command line names (`pvcreate disk.img`) part of the session; a
    /// regular file counts as a device once it is named. `PATH#N` is partition N of an image.
    pub fn name_device(&mut self, name: &str) -> Result<DevKey> {
        unfinished()
    }
    /// Finds and reads devices; a later call reads them again.
    pub fn scan(&mut self) -> Result<()> {
        unfinished()
    }
    /// Locks, scans and says what is wrong, for commands that report. Named VGs that do not exist
    /// are an error after the others were read.
    pub fn read(&mut self, scope: Scope<'_>) -> Result<&Inventory> {
        unfinished()
    }
    /// What the last scan found.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }
    /// A VG to look at: locked shared, checked for exported, foreign and so on.
    pub fn vg_for_read(&mut self, name: &str, allow: Allow) -> Result<VgRead> {
        unfinished()
    }
    /// A VG to change: locked exclusively, read again under the lock, refused if it is exported,
    /// foreign, has missing or duplicate PVs, unknown status words and the like.
    pub fn vg_for_write(&mut self, name: &str, allow: Allow) -> Result<VgRead> {
        unfinished()
    }

    /// Writes a changed VG: seqno + 1, archive of `old`, the staged writes on every metadata area,
    /// backup. PVs new in `new` must be orphans or PVs made in this session; PVs gone from it
    /// become orphans. A changed name is a rename. Returns the VG as it is now.
    pub fn commit(&mut self, old: &VgRead, new: Vg) -> Result<VgRead> {
        unfinished()
    }
    /// Writes a VG that did not exist.
    pub fn commit_new(&mut self, new: Vg) -> Result<VgRead> {
        unfinished()
    }
    /// vgsplit: `rest` is what remains of `old`; `split` is the new VG, or `into` enlarged.
    pub fn commit_split(
        &mut self,
        old: &VgRead,
        rest: Option<Vg>,
        split: Vg,
        into: Option<&VgRead>,
    ) -> Result<VgRead> {
        unfinished()
    }
    /// vgmerge: `merged` is `into` with everything of `from`, which vanishes.
    pub fn commit_merge(&mut self, into: &VgRead, from: &VgRead, merged: Vg) -> Result<VgRead> {
        unfinished()
    }
    /// vgremove: empties the metadata areas, clears the used flag; the PVs become orphans.
    pub fn remove_vg(&mut self, old: &VgRead) -> Result<()> {
        unfinished()
    }
    /// vgcfgrestore: writes `vg` with seqno + 1 to all its PVs, whatever they hold now.
    pub fn restore(&mut self, vg: Vg) -> Result<VgRead> {
        unfinished()
    }

    /// Writes label, header and empty metadata areas. The device is an orphan afterwards.
    pub fn create_pv(&mut self, device: DevKey, pv: &NewPv) -> Result<FoundPv> {
        unfinished()
    }
    /// pvremove: destroys the label.
    pub fn remove_pv(&mut self, device: DevKey) -> Result<()> {
        unfinished()
    }
    /// pvresize: the size in the PV header.
    pub fn set_header_size(&mut self, device: DevKey, size: Bytes) -> Result<()> {
        unfinished()
    }
    /// pvchange --uuid and vgimportclone of orphans: the identity in the PV header.
    pub fn set_header_id(&mut self, device: DevKey, id: LvmUuid) -> Result<()> {
        unfinished()
    }
    /// pvchange --metadataignore: marks all areas of a PV; takes effect in the next commit of the
    /// VG, at once for an orphan.
    pub fn set_mda_ignored(&mut self, device: DevKey, ignored: bool) -> Result<()> {
        unfinished()
    }
    /// Looks for signatures of other things on a device, asks about each and wipes those the user
    /// agrees to (all with `-y`). An error of kind [`Kind::Declined`] if one is to stay.
    pub fn wipe_signatures(&mut self, device: DevKey) -> Result<()> {
        unfinished()
    }
    /// Opens a device for the engine or for dumps.
    pub fn device(&self, key: DevKey) -> &Device {
        self.inventory.device(key)
    }

    /// vgcfgbackup: writes the VG's text to a file (the default one if `None`).
    pub fn backup(&mut self, vg: &VgRead, file: Option<&std::path::Path>) -> Result<PathBuf> {
        unfinished()
    }
}
