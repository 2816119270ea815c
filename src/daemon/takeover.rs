//! Taking over from a supervisor that has died: its worker, which serves on, has kept a copy of
//! every descriptor, and is asked for all there is.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ulvm_engine::backend::Backing;
use ulvm_engine::device::Device;
use ulvm_engine::table_text::{Resolve, parse};

use super::channel::Channel;
use super::holdings::Holding;
use super::hub::{Entry, FolderHeld, Orphan, State, lower_first};
use super::nbd::NbdHeld;
use super::order::{DeviceNote, DeviceOrder, Order, Report, TableOrder, Word};
use super::ublk::InFlight;

/// How long the worker may take for each of its answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// The worker that waits at a socket; none if none does.
pub fn orphan(socket: &Path) -> io::Result<Option<Orphan>> {
    let socket = match UnixStream::connect(socket) {
        Ok(socket) => socket,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let mut channel = Channel::new(socket);
    channel.set_patience(Some(PATIENCE))?;
    match channel.send(&Order::HandOver, &[]) {
        Err(e) if ended(&e) => return Ok(None),
        other => other?,
    }
    let mut state = State::default();
    let mut devices: Vec<(DeviceOrder, DeviceNote)> = Vec::new();
    let mut fences: Vec<OwnedFd> = Vec::new();
    loop {
        let (report, mut fds) = match channel.receive::<Report>() {
            Ok(Some(received)) => received,
            // It has ended: it was not told all there is, or was killed.
            Ok(None) => return Ok(None),
            Err(e) if ended(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        match report {
            Report::Backing(order) => {
                let id = order.id;
                let holding = Holding::adopt(order, fds).map_err(io::Error::other)?;
                state.holdings.insert(id, holding);
                state.next_holding = state.next_holding.max(id);
            }
            Report::Folder(order) => {
                let folder = FolderHeld::taken_over(order, fds).map_err(io::Error::other)?;
                state.folder = Some(Arc::new(folder));
            }
            Report::Nbd(order) => {
                let nbd = NbdHeld::taken_over(order, fds).map_err(io::Error::other)?;
                state.nbd = Some(Arc::new(nbd));
            }
            Report::InFlight => {
                let file = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
                state.in_flight = Some(Arc::new(InFlight::taken_over(file)));
            }
            Report::Device { order, note } => devices.push((order, *note)),
            Report::Fences => fences.extend(fds),
            Report::Held { pid, queues, stage } => {
                let mut fd = || fds.pop().ok_or(io::ErrorKind::InvalidData);
                let (listener, resent, fence) = (fd()?, fd()?, fd()?);
                enter(&mut state, devices).map_err(io::Error::other)?;
                return Ok(Some(Orphan {
                    channel,
                    state,
                    pid,
                    queues,
                    stage,
                    fences,
                    fence,
                    resent,
                    listener,
                }));
            }
            Report::Done
            | Report::Figures(_)
            | Report::Message { .. }
            | Report::Look { .. }
            | Report::Failed { .. } => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// Is the other side gone?
fn ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Makes the devices without a worker again, lower ones first.
pub fn enter(state: &mut State, devices: Vec<(DeviceOrder, DeviceNote)>) -> Result<(), String> {
    let order = lower_first(devices.iter().map(|(order, _)| order).collect());
    let mut notes: BTreeMap<u32, DeviceNote> = devices
        .into_iter()
        .map(|(order, note)| (order.number, note))
        .collect();
    for order in order {
        let note = notes.remove(&order.number).unwrap_or_default();
        let model = Device::new(&order.name, &order.uuid, Arc::default());
        let tables = [order.live.as_ref(), note.loaded.as_ref()];
        for (n, table) in tables.into_iter().enumerate() {
            let Some(table) = table else { continue };
            let table = read(state, table)?;
            model.load(table).map_err(|e| e.to_string())?;
            if n == 0 {
                model.resume(Duration::ZERO).map_err(|e| e.to_string())?;
            }
        }
        if order.suspended {
            let shut = model.suspend(false, Duration::ZERO);
            shut.map_err(|e| e.to_string())?;
        }
        let entry = Entry {
            model,
            loaded: note.loaded,
            export: note.export,
            loop_node: note.loop_node,
            ublk: note.ublk,
            node: note.node,
            links: note.links,
            guard: note.guard,
            withdrawn: note.withdrawn,
            dm: note.dm,
            order,
        };
        state.devices.insert(entry.order.number, entry);
    }
    Ok(())
}

fn read(state: &State, table: &TableOrder) -> Result<ulvm_engine::table::Table, String> {
    let mut words = Words {
        state,
        words: &table.words,
    };
    parse(&table.text, &mut words).map_err(|e| e.to_string())
}

struct Words<'a> {
    state: &'a State,
    words: &'a BTreeMap<String, Word>,
}

impl Resolve for Words<'_> {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let found = match self.words.get(word) {
            Some(Word::Backing(id)) => {
                let holding = self.state.holdings.get(id);
                holding.map(|holding| Arc::clone(&holding.backing))
            }
            Some(Word::Device(number)) => {
                let entry = self.state.devices.get(number);
                entry.map(|entry| Arc::new(Backing::device(Arc::clone(&entry.model))))
            }
            None => None,
        };
        found.ok_or_else(|| format!("{word}: not handed over"))
    }
}
