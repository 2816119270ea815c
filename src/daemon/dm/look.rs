//! Devices as device-mapper shows them: numbers in place of the words that tables were given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ulvm_engine::table::{Slot, Table};

use super::{Dep, DmDevice, DmTable, Which};
use crate::daemon::hub::{Entry, State};
use crate::daemon::order::{TableOrder, Word};

/// That of its block device; (0, n) of one that is no block device.
pub fn number(entry: &Entry) -> (u32, u32) {
    let block = entry.block().map(|b| b.number);
    block.unwrap_or((0, entry.order.number))
}

/// The device that is meant.
pub fn find(state: &State, which: &Which) -> Option<u32> {
    let mut devices = state.devices.iter();
    let found = devices.find(|(_, e)| match which {
        Which::Name(name) => e.order.name == *name,
        Which::Uuid(uuid) => !uuid.is_empty() && e.order.uuid == *uuid,
        Which::Number(major, minor) => number(e) == (*major, *minor),
    });
    found.map(|(n, _)| *n)
}

/// The device of ours that a table's word stands for, if that is a device number or a path: `real`
/// is where that leads. It is found out before, since a file of ours tells it only while the worker
/// lives, and nobody may wait for that with the state in hand.
pub fn of_word(state: &State, word: &str, real: Option<&Path>) -> Option<u32> {
    let numbered = word.split_once(':').and_then(|(major, minor)| {
        let which = Which::Number(major.parse().ok()?, minor.parse().ok()?);
        find(state, &which)
    });
    numbered.or_else(|| {
        let mut devices = state.devices.iter();
        let found = devices.find(|(_, e)| real.is_some() && e.node.as_deref() == real);
        found.map(|(n, _)| *n)
    })
}

/// A device, without what only the worker knows.
pub fn device(state: &State, entry: &Entry) -> DmDevice {
    let order = &entry.order;
    let (live, loaded) = (entry.model.table(), entry.model.inactive_table());
    let table = |order: Option<&TableOrder>, table: Option<&Table>| {
        order.zip(table).map(|(o, t)| shown(state, o, t))
    };
    DmDevice {
        name: order.name.clone(),
        uuid: order.uuid.clone(),
        number: number(entry),
        node: entry.node.clone(),
        read_only: order.read_only,
        suspended: order.suspended,
        open: None,
        events: 0,
        live: table(order.live.as_ref(), live.as_deref()),
        loaded: table(entry.loaded.as_ref(), loaded.as_deref()),
        status: String::new(),
        deferred: entry.dm.deferred,
    }
}

/// How the words of a device's live table are shown.
pub fn names(state: &State, entry: &Entry) -> BTreeMap<String, String> {
    let (Some(order), Some(table)) = (&entry.order.live, entry.model.table()) else {
        return BTreeMap::new();
    };
    let slots = table.slots().iter();
    slots
        .map(|slot| (slot.word.clone(), named(state, order, slot)))
        .collect()
}

fn shown(state: &State, order: &TableOrder, table: &Table) -> DmTable {
    let mut seen = BTreeSet::new();
    let slots = table.slots().iter().rev();
    let once = slots.filter(|slot| seen.insert(named(state, order, slot)));
    DmTable {
        deps: once.map(|slot| dep(state, order, slot)).collect(),
        text: table.text_named(&|slot| named(state, order, slot)),
    }
}

fn named(state: &State, order: &TableOrder, slot: &Slot) -> String {
    match dep(state, order, slot) {
        Dep {
            number: Some((major, minor)),
            ..
        } => format!("{major}:{minor}"),
        Dep {
            path: Some(path), ..
        } => path.display().to_string(),
        _ => slot.word.clone(),
    }
}

fn dep(state: &State, order: &TableOrder, slot: &Slot) -> Dep {
    match order.words.get(&slot.word) {
        Some(Word::Device(n)) => {
            let lower = state.devices.get(n);
            Dep {
                number: lower.map(number),
                name: lower.map(|e| e.order.name.clone()),
                path: lower.and_then(|e| e.node.clone()),
            }
        }
        Some(Word::Backing(id)) => {
            let holding = state.holdings.get(id);
            Dep {
                number: holding.and_then(|h| h.device_number()),
                name: None,
                path: holding.map(|h| h.order.path.clone()),
            }
        }
        None => Dep {
            number: None,
            name: None,
            path: None,
        },
    }
}

/// How many devices lie on this one.
pub fn above(state: &State, number: u32) -> u32 {
    let on = |table: &TableOrder| table.words.values().any(|w| *w == Word::Device(number));
    let uses =
        |e: &&Entry| e.order.live.as_ref().is_some_and(on) || e.loaded.as_ref().is_some_and(on);
    let count = state.devices.values().filter(uses).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
