//! Finding devices and reading what they carry.

use ulvm_metadata::notice::Notice;

use std::time::Duration;

use super::Session;
use crate::assemble::{Assembled, View, assemble};
use crate::devices_file::{DevicesFile, Entry as DevicesEntry};
use crate::discover::{self, Source};
use crate::error::{Error, Result, io_text};
use crate::inventory::{DevKey, DeviceKind, Inventory};
use crate::lock::{LockPolicy, StayingLock};
use crate::scan::Found;

impl Session {
    /// Where the devices come from.
    pub fn source(&self) -> Result<Source> {
        let settings = &self.settings;
        if let Some(list) = &settings.devices {
            return Ok(Source::Listed(list.clone()));
        }
        let by_option = settings.devices_file.as_deref();
        if by_option.is_none()
            && let Some(list) = &settings.env.devices
        {
            let names = list.split(',').map(str::trim).filter(|n| !n.is_empty());
            return Ok(Source::Listed(names.map(str::to_owned).collect()));
        }
        let name = match by_option {
            Some("") => return Ok(Source::All),
            Some(name) => name.to_owned(),
            None if self.config().bool("devices/use_devicesfile") => {
                self.config().str("devices/devicesfile")
            }
            None => return Ok(Source::All),
        };
        let path = self.devices_file_path(&name);
        // Without the file all devices may be used, as with LVM2.
        Ok(DevicesFile::read(&path)?.map_or(Source::All, Source::File))
    }

    /// Path of a devices file by its name.
    pub fn devices_file_path(&self, name: &str) -> std::path::PathBuf {
        self.config().system_dir.join("devices").join(name)
    }

    /// Finds and reads devices; a later call reads them again. Says what is wrong with what was
    /// found, once.
    pub fn scan(&mut self) -> Result<()> {
        if self.names.as_ref().is_some_and(Vec::is_empty) {
            self.names = None;
        }
        let assembled = self.scan_settled()?;
        self.accept(assembled);
        Ok(())
    }

    /// Scans until what looks damaged or unequal looks so twice: areas that are just being written
    /// look like that for a moment, and no lock of ours keeps every writer away.
    pub(super) fn scan_settled(&mut self) -> Result<Assembled> {
        const TRIES_MAX: usize = 5;
        let mut doubts = None;
        for _ in 1..TRIES_MAX {
            self.scan_quietly()?;
            let assembled = self.assembled();
            let now = self.scan.doubts(!assembled.inconsistent.is_empty());
            if now.is_empty() || doubts.as_ref() == Some(&now) {
                return Ok(assembled);
            }
            doubts = Some(now);
        }
        self.scan_quietly()?;
        Ok(self.assembled())
    }

    /// Reads the devices; nothing follows from it yet.
    fn scan_quietly(&mut self) -> Result<()> {
        let source = self.source()?;
        let mut candidates = match &source {
            Source::Listed(names) => self.listed(names),
            other => discover::candidates(self.config(), other)?,
        };
        for name in &self.named {
            let mut named = discover::named(name).ok();
            if let (Some(c), Source::File(_)) = (&mut named, &source) {
                c.device.device_id = discover::identify(&c.device);
            }
            candidates.extend(named);
        }
        discover::sort(&mut candidates);
        let rules = self.rules();
        self.scan.read_all(candidates, rules);
        if let Source::File(file) = source {
            self.correct_devices_file(file);
        }
        self.fresh = true;
        Ok(())
    }

    /// Names and PV identities in the devices file follow what was found. Only a convenience: a
    /// file that cannot be written stays as it is.
    fn correct_devices_file(&self, file: DevicesFile) {
        let (read_only, test) = (self.settings.readonly, self.settings.test);
        if read_only || test || self.corrected(&file) == file.entries {
            return;
        }
        // Whoever has the file now will leave it right, or the next command will.
        let policy = LockPolicy {
            wait: Duration::ZERO,
            ..self.locks.policy().clone()
        };
        let lock = StayingLock::take(&DevicesFile::lock_name(&file.path), &policy);
        let written = lock.and_then(|_lock| {
            let Some(mut now) = DevicesFile::read(&file.path)? else {
                return Ok(());
            };
            if now.entries != file.entries {
                return Ok(());
            }
            now.entries = self.corrected(&now);
            super::label::write_devices_file(&mut now, &self.settings.command_line)
        });
        if let Err(e) = written {
            self.ui.verbose(e.to_string());
        }
    }

    /// The entries of a devices file as what was found says.
    fn corrected(&self, file: &DevicesFile) -> Vec<DevicesEntry> {
        let mut entries = file.entries.clone();
        for entry in &mut entries {
            let of_entry = |e: &&crate::scan::Entry| {
                e.device.device_id.as_ref() == Some(&entry.id) && e.device.partition.is_none()
            };
            let Some(found) = self.scan.entries.iter().find(of_entry) else {
                continue;
            };
            let name = &found.device.name;
            let id = match &found.found {
                Found::Pv(pv) => Some(pv.label.header.id),
                Found::Nothing => None,
                Found::Excluded(_) | Found::Unreadable(_) | Found::Gone => continue,
            };
            if id.is_some() && id != entry.pv {
                entry.pv = id;
            }
            if entry.device.as_ref() != Some(name) {
                entry.device = Some(name.clone());
            }
        }
        entries
    }

    /// Devices of `--devices`: one that does not exist is said and left out.
    fn listed(&self, names: &[String]) -> Vec<discover::Candidate> {
        names
            .iter()
            .filter_map(|n| match discover::named(n) {
                Ok(c) => Some(c),
                Err(e) => {
                    for line in e.lines() {
                        self.ui.warn(line);
                    }
                    None
                }
            })
            .collect()
    }

    /// Scans unless the last scan was made under the locks held now.
    pub(super) fn scan_if_stale(&mut self) -> Result<()> {
        if self.fresh { Ok(()) } else { self.scan() }
    }

    pub(super) fn assembled(&self) -> Assembled {
        let view = View {
            system_id: self.system_id.as_deref(),
            extra_ids: &self.extra_ids,
            foreign: self.settings.foreign,
            shared: self.settings.shared,
            names: self.names.as_deref(),
            use_of: Some(crate::in_use::use_of),
        };
        assemble(&self.scan, &view)
    }

    /// Takes over an inventory and says what has not been said yet.
    pub(super) fn accept(&mut self, assembled: Assembled) {
        self.inventory = assembled.inventory;
        self.tell(&assembled.notices);
    }

    fn tell(&mut self, notices: &[Notice]) {
        for notice in notices {
            // Lines that are not warnings belong to the warning before them.
            if self.said.insert(notice.text.clone()) {
                self.ui.say(notice);
            }
        }
    }

    /// Builds the inventory anew from what is known, without reading devices.
    pub(super) fn rebuild(&mut self) {
        let assembled = self.assembled();
        self.accept(assembled);
    }

    /// The same after a write of our own: what is wrong still has been said before.
    pub(super) fn rebuild_quietly(&mut self) {
        let assembled = self.assembled();
        self.said
            .extend(assembled.notices.into_iter().map(|n| n.text));
        self.inventory = assembled.inventory;
    }

    /// What the last scan found.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The device a path leads to, by name, alias or identity.
    pub fn find_device(&self, name: &str) -> Option<DevKey> {
        if let Some(key) = self.inventory.find_device(name) {
            return Some(key);
        }
        let wanted = discover::named(name).ok()?.device;
        let same_file = |a: &std::path::Path| {
            let real = |p: &std::path::Path| std::fs::canonicalize(p).ok();
            a == wanted.path || (real(a).is_some() && real(a) == real(&wanted.path))
        };
        self.inventory
            .devices()
            .find(|(_, d)| {
                d.partition == wanted.partition
                    && match (&d.kind, &wanted.kind) {
                        (DeviceKind::File, DeviceKind::File) => same_file(&d.path),
                        (a, b) => a == b,
                    }
            })
            .map(|(k, _)| k)
    }

    /// Makes a device that the command line names (`pvcreate disk.img`) part of the session; a
    /// regular file counts as a device once it is named. `PATH#N` is partition N of an image. Take
    /// the locks first: this scans.
    pub fn name_device(&mut self, name: &str) -> Result<DevKey> {
        self.scan_if_stale()?;
        let key = match self.find_device(name) {
            Some(key) => key,
            None => self.add_named(name)?,
        };
        match &self.scan.entries[key.0].found {
            Found::Gone => Err(Error::not_found(format!("No device found for {name}."))),
            Found::Excluded(why) => Err(Error::refused(format!("Cannot use {name}: {why}"))),
            Found::Unreadable(e) => Err(Error::refused(format!(
                "{name}: open failed: {}",
                io_text(e)
            ))),
            Found::Nothing | Found::Pv(_) => Ok(key),
        }
    }

    /// The same for a device that a PV is to be made of: with a devices file, it need not be listed
    /// yet. Making the PV lists it.
    pub fn name_device_to_list(&mut self, name: &str) -> Result<DevKey> {
        let listed = self.name_device(name);
        let Source::File(_) = self.source()? else {
            return listed;
        };
        if listed.is_ok() || self.find_device(name).is_some() {
            return listed;
        }
        discover::named(name)?;
        self.named.push(name.to_owned());
        self.scan()?;
        self.name_device(name)
    }

    fn add_named(&mut self, name: &str) -> Result<DevKey> {
        let candidate = discover::named(name)?;
        match self.source()? {
            Source::Listed(_) => {
                return Err(Error::refused(format!(
                    "Cannot use {name}: device is not in devices list"
                )));
            }
            // Block devices are found by the scan or not at all.
            _ if candidate.device.kind != DeviceKind::File => {
                return Err(Error::not_found(format!("No device found for {name}.")));
            }
            _ => {}
        }
        self.named.push(name.to_owned());
        let rules = self.rules();
        let keys = self.scan.read_one(candidate, rules);
        self.rebuild();
        keys.first()
            .copied()
            .ok_or_else(|| Error::not_found(format!("No device found for {name}.")))
    }
}
