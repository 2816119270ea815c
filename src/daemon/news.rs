//! What clients' requests change, as events.

use super::dm::DmAsk;
use super::events::Class;
use super::hub::{Hub, State};
use super::proto::Ask;

/// What will be told of a request when it has been carried out.
#[derive(Debug, Default)]
pub struct News(Vec<Change>);

#[derive(Debug)]
struct Change {
    class: Class,
    number: Option<u32>,
    name: String,
    text: &'static str,
}

impl News {
    /// Of a request that is about to be carried out.
    pub fn of(ask: &Ask, hub: &Hub) -> Self {
        let of = |class, device: &str| hub.look(|state| known(state, class, device));
        Self(match ask {
            Ask::Activate { devices } => devices
                .iter()
                .map(|new| Change {
                    class: Class::Activated,
                    number: None,
                    name: new.name.clone(),
                    text: "",
                })
                .collect(),
            Ask::Deactivate { devices } => devices
                .iter()
                .filter_map(|device| of(Class::Deactivated, device))
                .collect(),
            Ask::Suspend { device } => of(Class::Suspended, device).into_iter().collect(),
            Ask::Dm {
                ask: DmAsk::Suspend { device, .. },
            } => of(Class::Suspended, device).into_iter().collect(),
            Ask::Resume { device } => of(Class::Resumed, device).into_iter().collect(),
            _ => Vec::new(),
        })
    }

    /// Tells what has become of it. Of several devices some may be gone although the request failed.
    pub fn tell(self, hub: &Hub, done: bool) {
        for change in self.0 {
            let gone = |n| hub.look(|state| !state.devices.contains_key(&n));
            let removed = change.class == Class::Deactivated && change.number.is_some_and(gone);
            if done || removed {
                let Change {
                    class, name, text, ..
                } = change;
                hub.events().tell(class, Some(&name), text);
            }
        }
    }
}

fn known(state: &State, class: Class, device: &str) -> Option<Change> {
    let number = state.find(device)?;
    let entry = state.devices.get(&number)?;
    let swaps = class == Class::Resumed && entry.loaded.is_some();
    Some(Change {
        class,
        number: Some(number),
        name: entry.order.name.clone(),
        text: if swaps { "with a new table" } else { "" },
    })
}
