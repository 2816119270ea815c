//! Keeps an eye on the metadata of live volumes: a device whose extents do not belong to its volume any
//! more is suspended, and may not be resumed as it is.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::events::Class;
use super::guard::{self, GuardPv, Lost, Range, Readings, Volume};
use super::hub::{Entry, State};
use super::order::{DeviceOrder, TableOrder};
use super::supervisor::Supervisor;

/// A device to be looked after.
struct Guarded {
    number: u32,
    volume: Volume,
    /// What its live table lies on.
    ranges: Vec<Range>,
    withdrawn: bool,
}

impl Supervisor {
    /// Looks at the metadata of all live volumes. Reads from devices, and waits for requests in flight
    /// of a device that has to be suspended.
    pub(super) fn watch(&self) {
        let mut by_vg: BTreeMap<_, (Vec<GuardPv>, Vec<Guarded>)> = BTreeMap::new();
        self.hub.look(|state| {
            for (number, entry) in &state.devices {
                let Some((volume, ranges)) = lies_on(state, entry, entry.order.live.as_ref())
                else {
                    continue;
                };
                let (pvs, devices) = by_vg.entry(volume.vg).or_default();
                let new = entry.guard.iter().filter(|g| !pvs.contains(g));
                let new: Vec<GuardPv> = new.cloned().collect();
                pvs.extend(new);
                devices.push(Guarded {
                    number: *number,
                    volume,
                    ranges,
                    withdrawn: entry.withdrawn.is_some() && entry.order.suspended,
                });
            }
        });
        let vgs: Vec<_> = by_vg.keys().copied().collect();
        self.readings.keep(&vgs);
        for (vg, (pvs, devices)) in by_vg {
            let seen = self.readings.read(vg, &pvs);
            for device in devices {
                let lost = guard::check(&seen, &device.volume, &device.ranges).is_err();
                // One that is suspended already has been told of.
                if lost && !device.withdrawn {
                    self.withdraw(device.number);
                }
            }
        }
    }

    /// Suspends a device whose extents are lost. It is looked at again under the lock of changes: what
    /// it lies on may have become another.
    fn withdraw(&self, number: u32) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(entry) = self.entry(number) else {
            return;
        };
        let Err(lost) = self.check(&entry, entry.order.live.as_ref()) else {
            return;
        };
        let order = DeviceOrder {
            suspended: true,
            ..entry.order.clone()
        };
        let done = self.hub.change(order, |_| ());
        let mut why = lost.to_string();
        match done {
            // Nothing is ever under way in the model.
            Ok(()) => drop(entry.model.suspend(false, Duration::ZERO)),
            Err(e) => why = format!("{why} (it could not be suspended: {e})"),
        }
        let known = self.hub.note(|state| {
            let entry = state.devices.get_mut(&number)?;
            entry.withdrawn.replace(why.clone())
        });
        if known.as_ref() != Some(&why) {
            let name = entry.model.name();
            self.events().tell(Class::Lost, Some(&name), why);
        }
        // A worker that dies over this is given it again.
        let _ = self.keep(number);
        // Both processes may die next: what is kept for that must not let the device go on.
        self.save();
    }

    /// May this table of a device be its live one?
    pub(super) fn check(&self, entry: &Entry, table: Option<&TableOrder>) -> Result<(), Lost> {
        let on = self.hub.look(|state| lies_on(state, entry, table));
        match on {
            Some((volume, ranges)) => {
                let seen = self.readings.read(volume.vg, &entry.guard);
                guard::check(&seen, &volume, &ranges)
            }
            None => Ok(()),
        }
    }
}

/// Suspends what has lost its extents while nobody looked, before a worker is made that would serve it;
/// gives names and reasons.
pub(super) fn withdraw_lost(state: &mut State) -> Vec<(String, String)> {
    let readings = Readings::default();
    let mut lost: Vec<(u32, String)> = Vec::new();
    for (number, entry) in state.devices.iter().filter(|(_, e)| e.withdrawn.is_none()) {
        let Some((volume, ranges)) = lies_on(state, entry, entry.order.live.as_ref()) else {
            continue;
        };
        let seen = readings.read(volume.vg, &entry.guard);
        if let Err(why) = guard::check(&seen, &volume, &ranges) {
            lost.push((*number, why.to_string()));
        }
    }
    let mut told = Vec::with_capacity(lost.len());
    for (number, why) in lost {
        let Some(entry) = state.devices.get_mut(&number) else {
            continue;
        };
        entry.order.suspended = true;
        // Nothing is ever under way in the model.
        let _ = entry.model.suspend(false, Duration::ZERO);
        entry.withdrawn = Some(why.clone());
        told.push((entry.order.name.clone(), why));
    }
    told
}

/// What a table of a volume's device lies on; none if it is not of a volume, or on nothing.
fn lies_on(
    state: &State,
    entry: &Entry,
    table: Option<&TableOrder>,
) -> Option<(Volume, Vec<Range>)> {
    let volume = Volume::of(&entry.order.uuid)?;
    let ranges = guard::under(table?, &entry.guard, &state.holdings);
    (!ranges.is_empty()).then_some((volume, ranges))
}
