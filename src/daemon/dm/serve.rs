//! Carrying out what `dmsetup` asks.

use std::sync::PoisonError;
use std::time::Duration;

use super::{DmAnswer, DmAsk, DmDevice, Refusal, Which, look};
use crate::daemon::order::{DeviceOrder, Order, Report};
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
            DmAsk::Suspend { device, noflush } => {
                self.suspend_dm(&device, noflush).map(|()| DmAnswer::Done)
            }
        };
        done.unwrap_or_else(DmAnswer::Refused)
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
            let seen = self.hub.order(&Order::Look { number, names }, &[], seen)?;
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
            .order(&Order::Device(order.clone()), &[], |state, _| {
                if let Some(entry) = state.devices.get_mut(&number) {
                    entry.order = order;
                }
            })
            .map_err(|e| format!("{name}: {e}"))?;
        // Nothing is ever under way in the model.
        let shut = entry.model.suspend(false, Duration::ZERO);
        Ok(shut.map_err(|e| e.to_string())?)
    }
}

/// Status lines and number of events, as the worker tells them.
fn seen(_: &mut crate::daemon::hub::State, report: Report) -> (String, u64) {
    match report {
        Report::Look { status, events } => (status, events),
        _ => (String::new(), 0),
    }
}
