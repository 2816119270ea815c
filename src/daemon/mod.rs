//! The long-lived owner of live devices: a supervisor that holds descriptors and state, and a
//! worker that does the I/O. See `docs/daemon.md`.
//!
//! From the outside in:
//!
//! * [`client`], [`proto`]: what commands use, and what they say;
//! * [`server`]: socket, clients, beginning and end; [`service`]: under a service manager;
//! * `supervisor`: making and removing devices; `change`: other names and permissions; `block`: ublk
//!   devices;
//! * [`dm`]: what is beyond that for `dmsetup`;
//! * `hub`: the state, and a worker kept running over it; `recover`: ublk devices of a dead one;
//! * `order`, `worker`: what the worker is told, and does;
//! * [`events`]: what has happened, for whoever wants to know;
//! * `standing`: what a kill means, and what keeps the system from stopping processes;
//! * `claims`: what live devices lie on, told to other programs;
//! * `watch`, `guard`: whether live volumes still own what they lie on;
//! * [`marks`]: which block devices are volumes, told to udev;
//! * `takeover`: from a supervisor that has died; [`replace`]: by another program;
//! * `holdings`, `nodes`, `nbd`, [`ublk`], `process`, `channel`: backing devices, loop devices and
//!   links, the NBD server's sockets, ublk devices, processes, messages.

mod block;
mod change;
mod channel;
mod claims;
pub mod client;
pub mod dm;
pub mod events;
mod guard;
mod holdings;
mod hub;
pub mod marks;
mod nbd;
mod news;
mod nodes;
mod order;
mod process;
pub mod proto;
mod recover;
pub mod replace;
pub mod server;
pub mod service;
mod standing;
mod supervisor;
mod takeover;
pub mod ublk;
mod watch;
mod worker;

pub use process::{WORKER_NAME, unmarked};

/// The whole of a worker process: its orders come through standard input.
pub fn worker_main() -> std::io::Result<()> {
    use std::os::fd::{AsFd, OwnedFd};
    let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    worker::run(socket.into())
}
