//! Devices that are to be removed when nobody has them open any more.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::daemon::supervisor::Supervisor;

/// How often it is looked whether they can go.
const LOOK: Duration = Duration::from_millis(250);
/// The thread's stack: small, since it is locked in memory.
const STACK: usize = 512 << 10;

/// The thread that removes them. It runs only while there are any.
pub struct Sweeper {
    owner: Weak<Supervisor>,
    running: Mutex<bool>,
}

impl Sweeper {
    /// Not running yet.
    pub fn new(owner: Weak<Supervisor>) -> Self {
        Self {
            owner,
            running: Mutex::new(false),
        }
    }
}

impl Supervisor {
    /// Starts the sweeper if there is something for it to do.
    pub(in crate::daemon) fn sweep_later(&self) {
        let mut running = self
            .sweeper
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *running || self.leaving().is_empty() {
            return;
        }
        let owner = Weak::clone(&self.sweeper.owner);
        let thread = std::thread::Builder::new()
            .name("ulvm-sweeper".into())
            .stack_size(STACK);
        // Without a thread they stay until somebody removes them.
        *running = thread.spawn(move || sweep(&owner)).is_ok();
    }

    /// Names of the devices that are to go.
    fn leaving(&self) -> Vec<String> {
        self.hub.look(|state| {
            let devices = state.devices.values().filter(|e| e.dm.deferred);
            devices.map(|e| e.order.name.clone()).collect()
        })
    }

    /// Removes what can go. Says whether something is left.
    fn sweep(&self) -> bool {
        let open = self.open_devices();
        for name in self.leaving() {
            if !open.contains(&name) {
                // What cannot be removed now is tried again.
                let _ = self.deactivate(&[name]);
                self.save();
            }
        }
        let mut running = self
            .sweeper
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *running = !self.leaving().is_empty();
        *running
    }
}

fn sweep(owner: &Weak<Supervisor>) {
    loop {
        std::thread::sleep(LOOK);
        match owner.upgrade() {
            Some(owner) if owner.sweep() => {}
            _ => return,
        }
    }
}
