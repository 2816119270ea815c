//! Carrying out what `dmsetup` asks.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use super::{DmAnswer, DmAsk, DmDevice, Refusal, Which, look};
use crate::daemon::hub::State;
use crate::daemon::order::{DeviceOrder, Order, Report};
use crate::daemon::proto::Rename;
use crate::daemon::supervisor::Supervisor;

impl Supervisor {
    /// Answers `dmsetup`.
    pub(in crate::daemon) fn answer_dm(&self, ask: DmAsk) -> DmAnswer {
        let done = match ask {
            DmAsk::Look { device, open } => self
                .look(device.as_ref(), open)
                .map(|devices| DmAnswer::Devices { devices }),
            DmAsk::Message {
                device,
                sector,
                words,
            } => self
                .message(&device, sector, words)
                .map(|text| DmAnswer::Text { text }),
            change => self.change_dm(change).map(|()| DmAnswer::Done),
        };
        done.unwrap_or_else(DmAnswer::Refused)
    }

    /// What is answered with no more than that it is done.
    fn change_dm(&self, ask: DmAsk) -> Result<(), Refusal> {
        match ask {
            DmAsk::Create { device } => {
                let made = self.activate(std::slice::from_ref(&device));
                made.map(drop).map_err(|e| self.refused(&device.table, e))
            }
            DmAsk::Load { device, table } => {
                self.number_of(&device)?;
                let loaded = self.load(&device, table.clone(), Vec::new());
                loaded.map_err(|e| self.refused(&table, e))
            }
            DmAsk::Clear { device } => {
                self.number_of(&device)?;
                Ok(self.clear(&device)?)
            }
            DmAsk::Resume { device } => {
                self.number_of(&device)?;
                Ok(self.resume(&device)?)
            }
            DmAsk::Rename {
                device,
                name,
                uuid,
                links,
            } => self.rename_dm(&device, name, uuid, &links),
            DmAsk::Remove { device, deferred } => self.remove_dm(&device, deferred),
            DmAsk::Stay { device } => self.defer(&device, false),
            DmAsk::Suspend { device, noflush } => self.suspend_dm(&device, noflush),
            DmAsk::Look { .. } | DmAsk::Message { .. } => Ok(()),
        }
    }

    /// A table that is refused: the kernel tells apart devices that are not there, devices that
    /// somebody else has, and all the rest.
    fn refused(&self, table: &str, text: String) -> Refusal {
        let own: Vec<(u32, u32)> = self.hub.look(|state| {
            let holdings = state.holdings.values();
            holdings.filter_map(|h| h.device_number()).collect()
        });
        let words = table
            .lines()
            .flat_map(|line| line.split_whitespace().skip(3));
        let mut paths = words.filter(|word| word.starts_with('/')).map(Path::new);
        let errno = paths.find_map(|path| trouble(path, &own));
        Refusal {
            errno: errno.unwrap_or(libc::EINVAL),
            text,
        }
    }

    fn rename_dm(
        &self,
        device: &str,
        name: Option<String>,
        uuid: Option<String>,
        links: &Path,
    ) -> Result<(), Refusal> {
        let number = self.number_of(device)?;
        let entry = self.entry(number)?;
        let order = entry.order;
        if uuid.is_some() && !order.uuid.is_empty() {
            return Err(Refusal::from(format!("{device}: it has a uuid already")));
        }
        let taken = self.hub.look(|state| {
            let mut others = state.devices.values().map(|e| &e.order);
            others.any(|o| {
                let uuid = uuid.as_ref().is_some_and(|u| !u.is_empty() && o.uuid == *u);
                name.as_ref() == Some(&o.name) || uuid
            })
        });
        if taken {
            return Err(Refusal {
                errno: libc::EBUSY,
                text: format!("{device}: another device is called so"),
            });
        }
        let own = links.join(&order.name);
        let renamed = |link: &PathBuf| match (&name, *link == own) {
            (Some(name), true) => links.join(name),
            _ => link.clone(),
        };
        self.rename(&[Rename {
            device: order.name.clone(),
            name: name.clone().unwrap_or_else(|| order.name.clone()),
            uuid,
            links: Some(entry.links.iter().map(renamed).collect()),
        }])?;
        // Whoever waits for an event is to look at the name it waits under.
        if order.live.is_some() {
            self.hub.edit(number, |entry| {
                entry.dm.events += 1;
            });
            self.keep(number)?;
        }
        Ok(())
    }

    fn remove_dm(&self, name: &str, deferred: bool) -> Result<(), Refusal> {
        let number = self.number_of(name)?;
        if self.hub.look(|state| look::above(state, number)) == 0 {
            let Err(text) = self.deactivate(&[name.to_owned()]) else {
                return Ok(());
            };
            if !self.open_devices().iter().any(|open| open == name) {
                return Err(text.into());
            }
        }
        match deferred {
            true => self.defer(name, true),
            false => Err(Refusal {
                errno: libc::EBUSY,
                text: format!("{name}: in use"),
            }),
        }
    }

    fn defer(&self, name: &str, deferred: bool) -> Result<(), Refusal> {
        let number = self.number_of(name)?;
        self.hub.edit(number, |entry| {
            entry.dm.deferred = deferred;
        });
        self.keep(number)?;
        self.sweep_later();
        Ok(())
    }

    fn number_of(&self, name: &str) -> Result<u32, Refusal> {
        let which = Which::Name(name.to_owned());
        let found = self.hub.look(|state| look::find(state, &which));
        found.ok_or_else(|| Refusal::no_device(name))
    }

    fn look(&self, which: Option<&Which>, open: bool) -> Result<Vec<DmDevice>, Refusal> {
        let wanted: Vec<_> = self.hub.look(|state| {
            let one = which.map(|which| look::find(state, which));
            let devices = state.devices.iter();
            let devices = devices.filter(|(n, _)| one.is_none_or(|one| one == Some(**n)));
            devices
                .map(|(n, e)| {
                    let above = look::above(state, *n);
                    (*n, look::device(state, e), look::names(state, e), above)
                })
                .collect()
        });
        if let (Some(which), true) = (which, wanted.is_empty()) {
            return Err(Refusal::no_device(&format!("{which:?}")));
        }
        let in_use = match open {
            true => self.open_devices(),
            false => Vec::new(),
        };
        let mut devices = Vec::with_capacity(wanted.len());
        for (number, mut device, names, above) in wanted {
            let life = self.hub.health().restarts;
            let order = Order::Look { number, names };
            let seen = self.hub.order(&order, &[], |state, report| {
                seen(state, number, life, report)
            });
            // One that has been removed meanwhile is left out.
            let Ok(seen) = seen else { continue };
            (device.status, device.events) = seen;
            device.open = open.then(|| above + u32::from(in_use.contains(&device.name)));
            devices.push(device);
        }
        devices.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(devices)
    }

    fn message(&self, name: &str, sector: u64, words: Vec<String>) -> Result<String, Refusal> {
        let number = self.number_of(name)?;
        let order = Order::Message {
            number,
            sector,
            words,
        };
        let outcome = self.hub.order(&order, &[], |_, report| match report {
            Report::Message { outcome } => outcome,
            _ => Err(libc::EIO),
        })?;
        outcome.map_err(|errno| Refusal {
            errno,
            text: format!("{name}: the target does not do this"),
        })
    }

    fn suspend_dm(&self, name: &str, noflush: bool) -> Result<(), Refusal> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.number_of(name)?;
        let entry = self.entry(number)?;
        let order = DeviceOrder {
            suspended: true,
            noflush,
            ..entry.order
        };
        self.hub
            .change(order, |_| ())
            .map_err(|e| format!("{name}: {e}"))?;
        // Nothing is ever under way in the model.
        let shut = entry.model.suspend(false, Duration::ZERO);
        Ok(shut.map_err(|e| e.to_string())?)
    }
}

/// Status lines and number of events: those the worker tells of, and those from before it.
fn seen(state: &mut State, number: u32, life: u64, report: Report) -> (String, u64) {
    let Report::Look { status, events } = report else {
        return (String::new(), 0);
    };
    let Some(entry) = state.devices.get_mut(&number) else {
        return (status, events);
    };
    let note = &mut entry.dm;
    if note.life != life {
        note.events += note.counted;
        note.life = life;
    }
    note.counted = events;
    (status, note.events + events)
}

/// Why a device cannot be had, if it is for itself and not for what a table wants of it. Those of
/// `own` are ours.
fn trouble(path: &Path, own: &[(u32, u32)]) -> Option<i32> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) => return e.raw_os_error(),
    };
    let rdev = meta.rdev();
    let number = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    if !meta.file_type().is_block_device() || own.contains(&number) {
        return None;
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_EXCL);
    let error = options.open(path).err()?;
    error.raw_os_error().filter(|errno| *errno == libc::EBUSY)
}
