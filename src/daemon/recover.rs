//! Giving ublk devices a new worker.
//!
//! What must hold: nothing here is begun before the fence has shown that all I/O of dead workers has
//! ended. The kernel gives the requests that they had again as soon as a device is taken over.

use std::io;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulvm_engine::export::ublk::Control;

use super::channel::Channel;
use super::events::Class;
use super::hub::{Entry, Hub, must};
use super::order::Order;
use super::ublk::{self, InFlight, Next, Phase, UblkNode};

/// How long the kernel may wait for the new worker before it is asked whether it is alive.
const LOOK: Duration = Duration::from_secs(2);
/// How long a worker may take to take over a device.
const PATIENCE: Duration = Duration::from_secs(60);

impl Hub {
    /// Lets a new worker take over all ublk devices of those before it. A device that cannot be saved
    /// is given up; an error means that the worker is dead.
    pub(super) fn recover_ublk(&self, channel: &mut Channel, child: &mut Child) -> io::Result<()> {
        let nodes: Vec<_> = self.look(|state| {
            let nodes = state.devices.iter();
            let nodes = nodes.filter_map(|(n, e)| Some((*n, e.ublk.clone()?)));
            nodes.collect()
        });
        if nodes.is_empty() {
            return Ok(());
        }
        let in_flight = self.in_flight()?;
        self.count_resent(in_flight.take());
        let Ok(control) = ublk::control() else {
            return Ok(());
        };
        let half_begun = ublk::half_begun(control.features());
        let all: Vec<u32> = nodes.iter().map(|(number, _)| *number).collect();
        let mut taken = Vec::new();
        for (number, node) in nodes {
            match node.after_death(half_begun) {
                Next::Leave => {}
                Next::Recover => taken.push((number, node)),
                Next::GiveUp => self.give_up(&control, number, &node),
            }
        }
        self.announce(channel, &taken)?;
        taken.retain(|(number, node)| {
            let there = ublk::is_there(&control, node).unwrap_or(false);
            let begun = there && control.start_recovery(node.id).is_ok();
            if !begun {
                self.give_up(&control, *number, node);
            }
            begun
        });
        for (number, node) in &taken {
            let order = Order::Ublk(node.order(*number));
            must(channel, &order, &[in_flight.descriptor()])?;
        }
        for (number, node) in taken {
            match complete(&control, &node, child)? {
                true => self.set_phase(number, Phase::Serving),
                false => self.give_up(&control, number, &node),
            }
        }
        // How each has ended.
        all.into_iter()
            .try_for_each(|number| self.tell_note(channel, number))
    }

    /// Where requests in flight are counted.
    pub(super) fn in_flight(&self) -> io::Result<Arc<InFlight>> {
        let made = Arc::new(InFlight::new()?);
        // One that is there already outlives its worker, and is kept.
        Ok(self.note(|state| Arc::clone(state.in_flight.get_or_insert(made))))
    }

    /// From here on a death of the new worker leaves devices half taken over. Whoever goes on after a
    /// death of this process is told before.
    fn announce(&self, channel: &mut Channel, taken: &[(u32, UblkNode)]) -> io::Result<()> {
        for (number, _) in taken {
            self.set_phase(*number, Phase::Taking);
            self.tell_note(channel, *number)?;
        }
        // What the manager has not taken before is void already, and not waited for.
        if self.store().is_some_and(|store| !store.behind()) {
            self.save();
        }
        Ok(())
    }

    /// Lets the new worker keep what is known of a device.
    fn tell_note(&self, channel: &mut Channel, number: u32) -> io::Result<()> {
        match self.look(|state| state.devices.get(&number).map(Entry::note)) {
            Some(note) => must(channel, &Order::Note { number, note }, &[]),
            None => Ok(()),
        }
    }

    /// Its requests fail, which is better than that they wait for ever. Its block device goes; links to
    /// that lead nowhere, since it keeps its number until it is deactivated.
    fn give_up(&self, control: &Control, number: u32, node: &UblkNode) {
        self.set_phase(number, Phase::Ending);
        if let Err(error) = ublk::end(control, node) {
            let text = format!("a ublk device is past saving and does not end: {error}");
            return self.events().tell(Class::Error, None, text);
        }
        self.note(|state| {
            let entry = state.devices.get_mut(&number);
            if let Some(node) = entry.and_then(|e| e.ublk.as_mut()) {
                node.node = None;
            }
        });
    }

    fn set_phase(&self, number: u32, phase: Phase) {
        self.note(|state| {
            let entry = state.devices.get_mut(&number);
            if let Some(node) = entry.and_then(|e| e.ublk.as_mut()) {
                // Whoever removes a device has the last word.
                if node.phase != Phase::Ending {
                    node.phase = phase;
                }
            }
        });
    }
}

/// Lets the kernel go on with a device once the worker serves it. False if it does not.
fn complete(control: &Control, node: &UblkNode, child: &mut Child) -> io::Result<bool> {
    let began = Instant::now();
    loop {
        match control.end_recovery_within(node.id, child.id(), LOOK) {
            Ok(true) => return Ok(true),
            Err(_) => return Ok(false),
            Ok(false) if began.elapsed() > PATIENCE => return Ok(false),
            Ok(false) if child.try_wait()?.is_some() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(false) => {}
        }
    }
}
