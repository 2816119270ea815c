//! The process that does the I/O. It knows nothing but what the supervisor orders, holds nothing
//! that the supervisor does not hold too, and may be killed at any moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ulvm_engine::backend::Backing;
use ulvm_engine::device::Device;
use ulvm_engine::event::EventLog;
use ulvm_engine::export::fuse::{Budget, Prepared, Volumes};
use ulvm_engine::export::nbd;
use ulvm_engine::export::ublk::Servers;
use ulvm_engine::io::Sectors;
use ulvm_engine::limits::Settings;
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::SyncDevice;
use ulvm_engine::table::{Slot, Table};
use ulvm_engine::table_text::{Resolve, parse};
use ulvm_engine::target::MessageError;

use super::channel::{Channel, MAX_FDS};
use super::events::{self, Sender};
use super::holdings::Holding;
use super::nbd::NbdHeld;
use super::order::{
    DeviceNote, DeviceOrder, Figures, FolderOrder, Order, Report, Stage, TableOrder, UblkOrder,
    Word,
};
use super::process;

/// How long a device's requests may take to end before a table is swapped or the device goes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stacks of threads beside the engine's: small, since they are locked in memory.
const STACK: usize = 256 << 10;

struct Above {
    order: DeviceOrder,
    note: DeviceNote,
    device: Arc<Device>,
}

/// What a supervisor that takes over needs beside devices.
struct Kept {
    fence: OwnedFd,
    resent: OwnedFd,
    listener: UnixListener,
    /// The folder, and its descriptors.
    folder: Option<(FolderOrder, Vec<Arc<OwnedFd>>)>,
    /// The NBD server's sockets.
    nbd: Option<NbdHeld>,
    /// Where requests in flight of ublk devices are counted.
    in_flight: Option<OwnedFd>,
    /// Of workers before this one, until their consumers go on.
    fences: Vec<OwnedFd>,
}

/// What has been made by order.
struct Worker {
    engine: Arc<Engine>,
    locked: bool,
    volumes: Arc<Volumes>,
    kept: Kept,
    backings: HashMap<u64, Holding>,
    devices: BTreeMap<u32, Above>,
    log: Arc<EventLog>,
    /// Where what the engine tells is sent to.
    sender: Option<Arc<Mutex<Arc<Sender>>>>,
    /// Servers that wait for the order to serve.
    prepared: Option<Prepared>,
    /// What NBD clients find.
    exports: Arc<nbd::Exports>,
    /// Of ublk devices, from the first of them on.
    ublk: Option<Servers>,
    pinned: bool,
    serving: bool,
    stage: Stage,
}

/// Carries out orders from `socket`. Without a supervisor it goes on serving what it has until
/// another comes to take over, and ends if it has nothing, or less than all there is.
pub fn run(socket: UnixStream) -> io::Result<()> {
    let mut channel = Channel::new(socket);
    let Some(mut worker) = begin(&mut channel)? else {
        return Ok(());
    };
    loop {
        let (order, fds) = match channel.receive::<Order>() {
            Ok(Some(received)) => received,
            Ok(None) | Err(_) if worker.is_useless() => return Ok(()),
            Ok(None) | Err(_) => {
                channel = worker.next_supervisor()?;
                continue;
            }
        };
        if order == Order::HandOver {
            // A supervisor that breaks off may come again, or another.
            let _ = worker.hand_over(&mut channel);
            continue;
        }
        let report = worker.carry_out(order, fds);
        let report = report.unwrap_or_else(|text| Report::Failed { text });
        // Without anybody to tell, the next receive says so too.
        let _ = channel.send(&report, &[]);
    }
}

/// The first order. None if there is none.
fn begin(channel: &mut Channel) -> io::Result<Option<Worker>> {
    let Some((order, mut fds)) = channel.receive::<Order>()? else {
        return Ok(None);
    };
    let (
        Order::Begin {
            queues,
            lock_memory,
        },
        4,
    ) = (order, fds.len())
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut fd = || fds.pop().ok_or(io::ErrorKind::InvalidData);
    let (listener, resent, read_end, fence) = (fd()?, fd()?, fd()?, fd()?);
    let locked = lock_memory && process::lock_memory();
    process::spare();
    let settings = Settings {
        queues,
        ..Settings::default()
    };
    let engine =
        Engine::start_fenced(&settings, Some(Arc::new(fence))).map_err(io::Error::other)?;
    channel.send(&Report::Done, &[])?;
    let kept = Kept {
        fence: read_end,
        resent: resent.try_clone()?,
        listener: listener.into(),
        folder: None,
        nbd: None,
        in_flight: None,
        fences: Vec::new(),
    };
    Ok(Some(Worker {
        kept,
        engine: Arc::new(engine),
        locked,
        volumes: Volumes::empty(Some(resent)),
        backings: HashMap::new(),
        devices: BTreeMap::new(),
        log: Arc::default(),
        sender: None,
        prepared: None,
        exports: Arc::default(),
        ublk: None,
        pinned: false,
        serving: false,
        stage: Stage::Making,
    }))
}

impl Worker {
    /// Is there nothing that a supervisor which takes over could go on from?
    fn is_useless(&self) -> bool {
        self.devices.is_empty() || self.stage == Stage::Making
    }

    fn carry_out(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<Report, String> {
        match order {
            Order::Begin { .. } => return Err("begun already".into()),
            Order::Backing(order) => {
                self.backings.insert(order.id, Holding::adopt(order, fds)?);
            }
            Order::Drop { backings } => {
                for id in backings {
                    self.backings.remove(&id);
                }
            }
            Order::Folder(order) => self.folder(order, fds)?,
            Order::Events => self.events(fds)?,
            Order::Nbd(order) => {
                self.kept.nbd = Some(NbdHeld::taken_over(order, fds)?);
                if self.serving {
                    self.listen()?;
                }
            }
            Order::Ublk(order) => self.serve_ublk(&order, fds)?,
            Order::Note { number, note } => {
                if let Some(above) = self.devices.get_mut(&number) {
                    above.note = note;
                }
            }
            Order::HandOver => return Err("not now".into()),
            Order::Device(order) => self.device(order)?,
            Order::Remove { number } => self.remove(number)?,
            Order::Serve => {
                self.serving = true;
                self.listen()?;
                if let Some(prepared) = self.prepared.take() {
                    prepared.begin(&self.engine);
                }
            }
            Order::Fences => self.kept.fences.extend(fds),
            Order::Whole => self.stage = Stage::Whole,
            Order::Settled => {
                self.stage = Stage::Settled;
                self.kept.fences.clear();
            }
            Order::Enter { root } => {
                let entered = process::enter(&root);
                entered.map_err(|e| format!("{}: {e}", root.display()))?;
            }
            Order::Figures => return Ok(Report::Figures(self.figures())),
            Order::Message {
                number,
                sector,
                words,
            } => {
                let device = self.existing(number)?;
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let outcome = device.message(Sectors(sector), &words);
                let outcome = outcome.map_err(MessageError::errno);
                return Ok(Report::Message { outcome });
            }
            Order::Look { number, names } => return self.look(number, &names),
        }
        Ok(Report::Done)
    }

    fn existing(&self, number: u32) -> Result<&Arc<Device>, String> {
        let above = self.devices.get(&number);
        above.map(|a| &a.device).ok_or("no such device".into())
    }

    fn look(&self, number: u32, names: &BTreeMap<String, String>) -> Result<Report, String> {
        let device = self.existing(number)?;
        let name = |slot: &Slot| names.get(&slot.word).unwrap_or(&slot.word).clone();
        let table = device.table();
        Ok(Report::Look {
            status: table.map_or(String::new(), |t| t.status_named(&name)),
            events: device.event_count(),
        })
    }

    fn figures(&self) -> Figures {
        Figures {
            resent: self.volumes.resent(),
            driver: self.engine.driver().to_owned(),
            pinned: self.pinned,
            standing: process::standing(self.locked),
            nbd_users: self.nbd_users(),
        }
    }

    /// Has events sent to another place from now on.
    fn events(&mut self, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        let sender = Arc::new(Sender::new(fds.pop().ok_or("a descriptor is missing")?));
        if let Some(place) = &self.sender {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = sender;
            return Ok(());
        }
        let place = Arc::new(Mutex::new(sender));
        self.sender = Some(Arc::clone(&place));
        let log = Arc::clone(&self.log);
        let now = move || Arc::clone(&place.lock().unwrap_or_else(PoisonError::into_inner));
        std::thread::Builder::new()
            .name("ulvm-events".into())
            .stack_size(STACK)
            .spawn(move || events::forward(&log, now))
            .map(drop)
            .map_err(|e| e.to_string())
    }

    fn serve_ublk(&mut self, order: &UblkOrder, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        let Some(above) = self.devices.get(&order.number) else {
            return Err("no such device".into());
        };
        let servers = match &mut self.ublk {
            Some(servers) => servers,
            none => {
                let fd = fds.pop();
                let budget = Budget::of_this_user();
                let servers = Servers::start(&self.engine, budget, fd.as_ref());
                self.kept.in_flight = fd;
                none.insert(servers.map_err(|e| e.to_string())?)
            }
        };
        servers
            .serve(order.place(), &above.device)
            .map_err(|e| e.to_string())
    }

    /// Begins to take NBD clients, if there is a place for them to come to.
    fn listen(&self) -> Result<(), String> {
        let Some(held) = &self.kept.nbd else {
            return Ok(());
        };
        let limits = nbd::Limits::default();
        crate::host::allow_open_files(limits.clients);
        let listeners = held.listeners()?;
        let exports = Arc::clone(&self.exports);
        // It ends with the engine.
        nbd::Server::start(&self.engine, listeners, exports, limits);
        Ok(())
    }

    fn nbd_users(&self) -> BTreeSet<u32> {
        let used = |name: &str| self.exports.users(name) > 0;
        let devices = self.devices.iter();
        devices
            .filter(|(_, above)| above.order.nbd.as_deref().is_some_and(used))
            .map(|(number, _)| *number)
            .collect()
    }

    fn folder(&mut self, order: FolderOrder, fds: Vec<OwnedFd>) -> Result<(), String> {
        let fds: Vec<Arc<OwnedFd>> = fds.into_iter().map(Arc::new).collect();
        let clones = fds.iter().skip(1).map(|fd| fd.try_clone());
        let clones: Vec<OwnedFd> = clones
            .collect::<io::Result<_>>()
            .map_err(|e| e.to_string())?;
        self.kept.folder = Some((order, fds));
        let budget = Budget::of_this_user();
        let prepared = Prepared::new(clones, &self.volumes, budget).ok_or("no memory")?;
        self.pinned = prepared.pinned();
        if self.serving {
            prepared.begin(&self.engine);
        } else {
            self.prepared = Some(prepared);
        }
        Ok(())
    }

    fn device(&mut self, order: DeviceOrder) -> Result<(), String> {
        let number = order.number;
        let before = self.devices.get(&number);
        let new = before.is_none();
        let same_table = before.is_some_and(|b| b.order.live == order.live);
        let device = match before {
            Some(before) => {
                before.device.rename(&order.name, &order.uuid);
                Arc::clone(&before.device)
            }
            None => Device::new(&order.name, &order.uuid, Arc::clone(&self.log)),
        };
        if let Some(live) = order.live.as_ref().filter(|_| !same_table) {
            let table = self.table(live)?;
            device.load(table).map_err(|e| e.to_string())?;
            if let Err(e) = device.resume(PATIENCE) {
                // A later resume must not bring it.
                device.clear();
                return Err(e.to_string());
            }
        }
        device.set_read_only(order.read_only);
        let gate = match order.suspended {
            // One that is only just made again has nothing to flush, and its disk may hang.
            true => device.suspend(!order.noflush && !new, PATIENCE),
            false => device.resume(PATIENCE),
        };
        gate.map_err(|e| e.to_string())?;
        if !order.shown {
            self.volumes.take(number as usize);
        } else if !self.volumes.put(number as usize, &order.name, &device) {
            return Err(format!("{}: no file can have this name", order.name));
        }
        self.export(before.and_then(|b| b.order.nbd.clone()), &order, &device)?;
        let note = self.devices.remove(&number).map(|above| above.note);
        let above = Above {
            order,
            note: note.unwrap_or_default(),
            device,
        };
        self.devices.insert(number, above);
        Ok(())
    }

    /// Exports a device as `order` says; `before` is its name for NBD clients until now.
    fn export(
        &self,
        before: Option<String>,
        order: &DeviceOrder,
        device: &Arc<Device>,
    ) -> Result<(), String> {
        // An export that stays is left alone: its clients are counted.
        if before == order.nbd {
            return Ok(());
        }
        let Some(name) = &order.nbd else {
            if let Some(name) = before {
                self.exports.remove(&name);
            }
            return Ok(());
        };
        if before.is_some_and(|before| self.exports.rename(&before, name)) {
            return Ok(());
        }
        let export = nbd::Export {
            device: Arc::clone(device),
            description: String::new(),
            read_only: false,
        };
        match self.exports.add(name, export) {
            true => Ok(()),
            false => Err(format!("{name}: the name is too long for NBD")),
        }
    }

    /// Waits for a supervisor that takes over. There is no limit: the devices are served meanwhile.
    fn next_supervisor(&self) -> io::Result<Channel> {
        loop {
            let (socket, _) = self.kept.listener.accept()?;
            if super::server::may_command(&socket) {
                socket.set_nonblocking(false)?;
                return Ok(Channel::new(socket));
            }
        }
    }

    /// Tells a new supervisor all there is.
    fn hand_over(&self, channel: &mut Channel) -> io::Result<()> {
        for holding in self.backings.values() {
            let report = Report::Backing(holding.order.clone());
            channel.send(&report, &holding.descriptors())?;
        }
        if let Some((order, fds)) = &self.kept.folder {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
            channel.send(&Report::Folder(order.clone()), &fds)?;
        }
        if let Some(nbd) = &self.kept.nbd {
            channel.send(&Report::Nbd(nbd.order()), &nbd.descriptors())?;
        }
        if let Some(in_flight) = &self.kept.in_flight {
            channel.send(&Report::InFlight, &[in_flight.as_fd()])?;
        }
        for above in self.devices.values() {
            let report = Report::Device {
                order: above.order.clone(),
                note: Box::new(above.note.clone()),
            };
            channel.send(&report, &[])?;
        }
        let kept = &self.kept;
        for fences in kept.fences.chunks(MAX_FDS) {
            let fds: Vec<BorrowedFd<'_>> = fences.iter().map(|fd| fd.as_fd()).collect();
            channel.send(&Report::Fences, &fds)?;
        }
        let fds = [
            kept.fence.as_fd(),
            kept.resent.as_fd(),
            kept.listener.as_fd(),
        ];
        let held = Report::Held {
            pid: std::process::id(),
            queues: self.engine.queues(),
            stage: self.stage,
        };
        channel.send(&held, &fds)
    }

    fn table(&self, order: &TableOrder) -> Result<Table, String> {
        let mut words = Words {
            worker: self,
            words: &order.words,
        };
        parse(&order.text, &mut words).map_err(|e| e.to_string())
    }

    fn remove(&mut self, number: u32) -> Result<(), String> {
        let Some(above) = self.devices.get(&number) else {
            return Ok(());
        };
        if let Some(name) = &above.order.nbd
            && self.exports.users(name) > 0
        {
            return Err(format!("{}: in use", above.order.name));
        }
        self.volumes.take(number as usize);
        if let Err(error) = flush(&above.device) {
            if above.order.shown {
                self.volumes
                    .put(number as usize, &above.order.name, &above.device);
            }
            return Err(format!(
                "{}: the last flush failed: {error}",
                above.order.name
            ));
        }
        if let Some(name) = &above.order.nbd {
            self.exports.remove(name);
        }
        self.devices.remove(&number);
        Ok(())
    }
}

fn flush(device: &Arc<Device>) -> Result<(), ulvm_engine::error::Error> {
    if device.read_only() || device.suspended() || device.table().is_none() {
        return Ok(());
    }
    let mut device = SyncDevice::new(Arc::clone(device))?;
    Ok(device.flush()?)
}

struct Words<'a> {
    worker: &'a Worker,
    words: &'a BTreeMap<String, Word>,
}

impl Resolve for Words<'_> {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let found = match self.words.get(word) {
            Some(Word::Backing(id)) => {
                let holding = self.worker.backings.get(id);
                holding.map(|holding| Arc::clone(&holding.backing))
            }
            Some(Word::Device(number)) => {
                let above = self.worker.devices.get(number);
                above.map(|above| Arc::new(Backing::device(Arc::clone(&above.device))))
            }
            None => None,
        };
        found.ok_or_else(|| format!("{word}: not handed over"))
    }
}
