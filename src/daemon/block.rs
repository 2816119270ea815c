//! What the supervisor does for volumes that are shown as ublk devices.

use std::io;
use std::path::PathBuf;

use ulvm_engine::export::ublk::{Control, Shape};

use super::hub::Entry;
use super::marks::Marks;
use super::nodes;
use super::order::Order;
use super::proto::{Export, NewDevice};
use super::supervisor::Supervisor;
use super::ublk::{self, InFlight, Phase, UblkNode};

/// How often a device is made again whose worker died before it was shown.
const TRIES: usize = 3;

impl Supervisor {
    /// Shows a device as a ublk device, with links to it.
    pub(super) fn show_block(&self, number: u32, new: &NewDevice) -> Result<(), String> {
        let control = ublk::control()?;
        let in_flight = self.hub.in_flight().map_err(|e| e.to_string())?;
        let mut error = String::new();
        for _ in 0..TRIES {
            let before = self.hub.health();
            match self.try_block(&control, &in_flight, number, &new.links) {
                Ok(()) => return self.appear_block(number, new),
                // A new worker cannot go on with what another has begun before the device is there.
                Err(e) if self.hub.health().restarts != before.restarts => error = e,
                Err(e) => return Err(e),
            }
        }
        Err(error)
    }

    fn try_block(
        &self,
        control: &Control,
        in_flight: &InFlight,
        number: u32,
        links: &[PathBuf],
    ) -> Result<(), String> {
        let entry = self.entry(number)?;
        // Its permission can be changed later; until it is told here the engine refuses writes.
        let shape = Shape {
            read_only: false,
            ..Shape::of(&entry.model)
        };
        let node = ublk::make(control, self.hub.queues(), shape, self.mark())?;
        self.set_block(number, Some(node.clone()));
        let marked = self.marks().set(node.id, links);
        let started =
            marked.and_then(|()| self.start_block(control, in_flight, number, &entry, &node));
        if started.is_err() {
            self.set_block(number, None);
            // What does not go now is removed by the next start of a daemon.
            let _ = ublk::end(control, &node);
            let _ = ublk::remove(control, &node);
            self.unmark(&node);
        }
        started
    }

    fn start_block(
        &self,
        control: &Control,
        in_flight: &InFlight,
        number: u32,
        entry: &Entry,
        node: &UblkNode,
    ) -> Result<(), String> {
        let order = Order::Ublk(node.order(number));
        self.hub
            .order(&order, &[in_flight.descriptor()], |_, _| ())?;
        let Some(pid) = self.hub.health().worker_pid else {
            return Err("the worker has died".into());
        };
        let block = ublk::start(control, node, pid)?;
        if entry.order.read_only {
            nodes::set_read_only(&block, true)
                .map_err(|e| format!("{}: {e}", block.path.display()))?;
        }
        self.hub.edit(number, |entry| {
            entry.export = Some(Export::Ublk);
            entry.node = Some(block.path.clone());
            entry.ublk = Some(UblkNode {
                node: Some(block.clone()),
                phase: Phase::Serving,
                ..node.clone()
            });
        });
        Ok(())
    }

    fn appear_block(&self, number: u32, new: &NewDevice) -> Result<(), String> {
        self.keep(number)?;
        match self.entry(number)?.node {
            Some(node) => self.appear_links(number, new, &node),
            None => Ok(()),
        }
    }

    /// Ends a ublk device that nobody has open. Its requests have been answered then.
    pub(super) fn hide_block(&self, number: u32, name: &str) -> Result<(), String> {
        let Some(node) = self.entry(number)?.ublk else {
            return Ok(());
        };
        let control = ublk::control()?;
        let failed = |e: String| format!("{name}: {e}");
        if !ublk::is_there(&control, &node).map_err(failed)? {
            self.set_block(number, None);
            self.marks().prune();
            return Ok(());
        }
        let claimed = ublk::claim(&node).map_err(|e| match e.kind() {
            io::ErrorKind::ResourceBusy => format!("{name}: in use"),
            _ => format!("{name}: {e}"),
        })?;
        let note = {
            let mut note = self.entry(number)?.note();
            note.ublk = Some(UblkNode {
                phase: Phase::Ending,
                ..node.clone()
            });
            note
        };
        // With a worker there, so that nobody is taking the device over at this moment.
        let ublk = note.ublk.clone();
        self.hub
            .order(&Order::Note { number, note }, &[], |state, _| {
                if let Some(entry) = state.devices.get_mut(&number) {
                    entry.ublk = ublk;
                }
            })?;
        let ended = ublk::end(&control, &node);
        drop(claimed);
        ended.map_err(failed)?;
        ublk::remove(&control, &node).map_err(failed)?;
        self.unmark(&node);
        self.set_block(number, None);
        Ok(())
    }

    fn set_block(&self, number: u32, node: Option<UblkNode>) {
        self.hub.edit(number, |entry| {
            entry.ublk = node;
        });
    }

    fn mark(&self) -> u64 {
        ublk::mark(self.folder.parent().unwrap_or(&self.folder))
    }

    pub(super) fn marks(&self) -> Marks {
        Marks::of(self.folder.parent().unwrap_or(&self.folder))
    }

    fn unmark(&self, node: &UblkNode) {
        // One that stays tells of a device that is not there; the next start takes it away.
        let _ = self.marks().clear(node.id);
    }
}
