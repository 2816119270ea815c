//! What clients' requests change, as events. Removals, which may come later, are told where they are
//! done.

use super::dm::DmAsk;
use super::events::Class;
use super::hub::{Hub, State};
use super::proto::{Ask, NewDevice};

/// What will be told of a request when it has been carried out.
#[derive(Debug, Default)]
pub struct News(Vec<Change>);

#[derive(Debug)]
struct Change {
    class: Class,
    name: String,
    text: &'static str,
}

impl News {
    /// Of a request that is about to be carried out.
    pub fn of(ask: &Ask, hub: &Hub) -> Self {
        let of = |class, device: &str| hub.look(|state| known(state, class, device));
        Self(match ask {
            Ask::Activate { devices } => devices.iter().map(made).collect(),
            Ask::Dm {
                ask: DmAsk::Create { device },
            } => vec![made(device)],
            Ask::Suspend { device }
            | Ask::Dm {
                ask: DmAsk::Suspend { device, .. },
            } => of(Class::Suspended, device).into_iter().collect(),
            Ask::Resume { device }
            | Ask::Dm {
                ask: DmAsk::Resume { device },
            } => of(Class::Resumed, device).into_iter().collect(),
            _ => Vec::new(),
        })
    }

    /// Tells it, if it has been.
    pub fn tell(self, hub: &Hub, done: bool) {
        for Change { class, name, text } in self.0.into_iter().filter(|_| done) {
            hub.events().tell(class, Some(&name), text);
        }
    }
}

fn made(new: &NewDevice) -> Change {
    Change {
        class: Class::Activated,
        name: new.name.clone(),
        text: "",
    }
}

fn known(state: &State, class: Class, device: &str) -> Option<Change> {
    let number = state.find(device)?;
    let entry = state.devices.get(&number)?;
    // The first resume of a device without a table is a part of making it.
    if class == Class::Resumed && entry.order.live.is_none() {
        return None;
    }
    let swaps = class == Class::Resumed && entry.loaded.is_some();
    Some(Change {
        class,
        name: entry.order.name.clone(),
        text: if swaps { "with a new table" } else { "" },
    })
}
