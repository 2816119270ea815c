//! Changes to devices that are there: other names, another permission, links that are gone.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::hub::{Entry, State};
use super::order::DeviceOrder;
use super::proto::{Export, Rename};
use super::supervisor::{Supervisor, check_name};
use super::{nbd, nodes};

/// A rename that can be done, and undone.
struct Step {
    number: u32,
    before: Identity,
    after: Identity,
}

/// What a device is called, and where it is seen.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Identity {
    name: String,
    uuid: String,
    links: Vec<PathBuf>,
}

impl Supervisor {
    /// Gives devices other names: all, or none.
    pub(super) fn rename(&self, wanted: &[Rename]) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = self.hub.look(|state| plan(state, wanted))?;
        for (n, step) in steps.iter().enumerate() {
            let done = self.identify(step.number, &step.before, &step.after);
            let Err(mut error) = done else { continue };
            for step in steps[..=n].iter().rev() {
                if let Err(e) = self.identify(step.number, &step.after, &step.before) {
                    error.push_str(&format!("; cannot be undone: {e}"));
                }
            }
            return Err(format!("{}: {error}", step.before.name));
        }
        Ok(())
    }

    /// Gives a device another identity. It may have been given a part of it already.
    fn identify(&self, number: u32, from: &Identity, to: &Identity) -> Result<(), String> {
        let entry = self.entry(number)?;
        let old_node = entry.node.clone();
        let mut order = DeviceOrder {
            name: to.name.clone(),
            uuid: to.uuid.clone(),
            ..entry.order
        };
        if order.nbd.is_some() {
            order.nbd = Some(nbd::export_name(&order));
        }
        // A loop device stays what it is; a file has the device's name.
        let node = match (&entry.loop_node, entry.export) {
            (None, Some(Export::Fuse)) => Some(self.folder.join(&to.name)),
            _ => old_node.clone(),
        };
        self.hub.change(order, |entry| {
            entry.model.rename(&entry.order.name, &entry.order.uuid);
            entry.node.clone_from(&node);
        })?;
        let linked = match &node {
            Some(node) => self.link_all(number, &to.links, node),
            None => Ok(()),
        };
        let gone = from.links.iter().filter(|l| !to.links.contains(l));
        for node in old_node.iter().chain(&node) {
            gone.clone().for_each(|link| nodes::unlink(link, node));
        }
        self.keep(number)?;
        linked
    }

    fn link_all(&self, number: u32, links: &[PathBuf], node: &Path) -> Result<(), String> {
        self.hub.edit(number, |entry| {
            entry.links = links.to_vec();
        });
        links.iter().try_for_each(|link| {
            nodes::link(link, node).map_err(|e| format!("{}: {e}", link.display()))
        })?;
        self.marks().tell(node, links)
    }

    /// Lets a device be written to, or not any more. What was let in before is carried out.
    pub(super) fn set_read_only(&self, name: &str, read_only: bool) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, entry) = self.find(name)?;
        if entry.order.read_only == read_only {
            return Ok(());
        }
        if let Some(path) = self.hub.look(|state| read_only_below(state, &entry))
            && !read_only
        {
            return Err(format!(
                "{name}: {} is open for reading only: deactivate the volume and activate it again",
                path.display()
            ));
        }
        let failed = |e: String| format!("{name}: {e}");
        // The loop device refuses first, and allows last.
        if read_only {
            permit(&entry, read_only).map_err(failed)?;
        }
        let order = DeviceOrder {
            read_only,
            ..entry.order.clone()
        };
        let done = self.hub.change(order, |_| ());
        let done = done.and_then(|()| match read_only {
            true => Ok(()),
            false => permit(&entry, read_only),
        });
        done.map_err(failed)
    }

    /// Makes links that are gone again; gives how many.
    pub(super) fn make_links(&self, names: &[String]) -> Result<u32, String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = 0;
        for name in names {
            let (_, entry) = self.find(name)?;
            let Some(node) = &entry.node else { continue };
            for link in entry.links.iter().filter(|l| !nodes::leads(l, node)) {
                nodes::link(link, node).map_err(|e| format!("{}: {e}", link.display()))?;
                made += 1;
            }
        }
        Ok(made)
    }
}

/// Checks renames against each other and against the devices that are there.
fn plan(state: &State, wanted: &[Rename]) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::with_capacity(wanted.len());
    for rename in wanted {
        let old = &rename.device;
        let number = state.find(old);
        let number = number.ok_or_else(|| format!("{old}: no such device"))?;
        let entry = &state.devices[&number];
        check_name(&rename.name).map_err(|e| format!("{}: {e}", rename.name))?;
        let before = Identity {
            name: entry.order.name.clone(),
            uuid: entry.order.uuid.clone(),
            links: entry.links.clone(),
        };
        let after = Identity {
            name: rename.name.clone(),
            uuid: rename.uuid.clone().unwrap_or_else(|| before.uuid.clone()),
            links: rename.links.clone().unwrap_or_else(|| before.links.clone()),
        };
        let others = state.devices.iter().filter(|(n, _)| **n != number);
        let mut others = others.map(|(_, e)| (&e.order.name, &e.order.uuid));
        let mut planned = steps.iter().map(|s| (&s.after.name, &s.after.uuid));
        let clash = |(name, uuid): (&String, &String)| {
            *name == after.name || !uuid.is_empty() && *uuid == after.uuid
        };
        if others.any(clash) || planned.any(clash) || steps.iter().any(|s| s.number == number) {
            return Err(format!(
                "{old}: a device with the name {} or this uuid exists",
                after.name
            ));
        }
        steps.push(Step {
            number,
            before,
            after,
        });
    }
    Ok(steps)
}

/// A backing device below this that can only be read.
fn read_only_below(state: &State, entry: &Entry) -> Option<PathBuf> {
    use super::order::Word;
    let words = entry.order.live.iter().flat_map(|t| t.words.values());
    let mut held = words.filter_map(|word| match word {
        Word::Backing(id) => state.holdings.get(id).map(|h| &h.order),
        Word::Device(_) => None,
    });
    held.find(|order| order.read_only)
        .map(|order| order.path.clone())
}

fn permit(entry: &Entry, read_only: bool) -> Result<(), String> {
    match entry.block() {
        Some(node) => nodes::set_read_only(node, read_only)
            .map_err(|e| format!("{}: {e}", node.path.display())),
        None => Ok(()),
    }
}
