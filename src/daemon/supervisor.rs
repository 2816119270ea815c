//! What is done for clients: making and removing devices, and telling what there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ulvm_engine::backend::Backing;
use ulvm_engine::device::Device;
use ulvm_engine::export::fuse::{Mounted, Volumes};
use ulvm_engine::table::Table;
use ulvm_engine::table_text::{Resolve, parse};

use super::dm::{self, Sweeper};
use super::events::{Class, Events};
use super::guard::{GuardPv, Readings};
use super::holdings::{self, Holding, path_of};
use super::hub::{Entry, FolderHeld, Hub, State};
use super::nbd::{self, NbdHeld};
use super::news::News;
use super::nodes::{self, LoopNode, Node};
use super::order::{DeviceOrder, DmNote, Figures, Order, Report, TableOrder, Word};
use super::process;
use super::proto::{Answer, Ask, DeviceStatus, Export, NewBacking, NewDevice, Status};
use super::service::Store;
use super::standing;
use super::ublk;

/// Longest name of a device, as device-mapper has it.
const NAME_MAX: usize = 127;
/// Most devices of a daemon.
const DEVICES_MAX: usize = 65_536;
/// How long a device must be seen open to count as open: a process that is being started has the
/// files of the one that starts it open until it runs.
const MOMENT: Duration = Duration::from_millis(500);
/// How long the kernel may take to begin a conversation over a folder that was just mounted.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves clients' requests, one that changes something at a time.
pub struct Supervisor {
    pub(super) hub: Arc<Hub>,
    /// Where the files of devices are.
    pub(super) folder: PathBuf,
    locked: bool,
    /// Held over a change.
    pub(super) changing: Mutex<()>,
    /// Metadata of live volumes.
    pub(super) readings: Readings,
    /// Removes devices that are to go when nobody uses them any more.
    pub(super) sweeper: Sweeper,
}

impl Supervisor {
    /// `folder` is where devices are shown as files.
    pub fn new(hub: Arc<Hub>, folder: PathBuf, locked: bool) -> Arc<Self> {
        let new = Arc::new_cyclic(|me| Self {
            sweeper: Sweeper::new(Weak::clone(me)),
            hub,
            folder,
            locked,
            changing: Mutex::new(()),
            readings: Readings::default(),
        });
        new.sweep_later();
        new
    }

    /// Where events are told.
    pub fn events(&self) -> &Events {
        self.hub.events()
    }

    /// Gives the service manager what it is to keep, if there is one.
    pub fn save(&self) {
        self.hub.save();
    }

    /// Gives the service manager again what it has not taken.
    pub fn catch_up(&self) {
        if self.hub.store().is_some_and(Store::behind) {
            self.save();
        }
    }

    /// Names of what the service manager keeps.
    pub fn stored(&self) -> Vec<String> {
        self.hub.store().map_or_else(Vec::new, Store::names)
    }

    /// Are there devices?
    pub fn idle(&self) -> bool {
        self.hub.look(|state| state.devices.is_empty())
    }

    /// Answers a request. [`Ask::Stop`] and [`Ask::Replace`] are not for this.
    pub fn answer(&self, ask: Ask) -> Answer {
        let news = News::of(&ask, &self.hub);
        let looks = matches!(
            ask,
            Ask::Hello
                | Ask::Status { .. }
                | Ask::Dm {
                    ask: super::dm::DmAsk::Look { .. }
                }
        );
        let done = match ask {
            Ask::Hello => Ok(Answer::Done),
            Ask::Status { open } => self.status(open).map(|s| Answer::Status(Box::new(s))),
            Ask::Activate { devices } => self
                .activate(&devices)
                .map(|devices| Answer::Made { devices }),
            Ask::Deactivate { devices } => self.deactivate(&devices).map(|()| Answer::Done),
            Ask::Load {
                device,
                table,
                backings,
            } => self.load(&device, table, backings).map(|()| Answer::Done),
            Ask::Clear { device } => self.clear(&device).map(|()| Answer::Done),
            Ask::Suspend { device } => self.suspend(&device).map(|()| Answer::Done),
            Ask::Resume { device } => self.resume(&device).map(|()| Answer::Done),
            Ask::Rename { devices } => self.rename(&devices).map(|()| Answer::Done),
            Ask::Permission { device, read_only } => self
                .set_read_only(&device, read_only)
                .map(|()| Answer::Done),
            Ask::Links { devices } => self.make_links(&devices).map(|_| Answer::Done),
            Ask::Renew => self.renew().map(|()| Answer::Done),
            Ask::Enter { root } => self.enter(&root).map(|()| Answer::Done),
            Ask::Dm { ask } => Ok(Answer::Dm {
                answer: self.answer_dm(ask),
            }),
            Ask::Stop | Ask::Replace => Err("not now".into()),
        };
        let failed = matches!(
            &done,
            Ok(Answer::Dm {
                answer: super::dm::DmAnswer::Refused(_)
            })
        );
        news.tell(&self.hub, done.is_ok() && !failed);
        if !looks {
            self.save();
        }
        done.unwrap_or_else(|text| Answer::Refused { text })
    }

    /// Starts the worker anew.
    fn renew(&self) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_renew()?;
        self.hub.renew()
    }

    /// Goes on with another root folder, in all processes: from an initramfs into the system that it has
    /// mounted. The worker goes first: it may refuse.
    fn enter(&self, root: &Path) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let order = Order::Enter {
            root: root.to_owned(),
        };
        self.hub.order(&order, &[], |_, _| ())?;
        let entered = process::enter(root);
        entered.map_err(|e| format!("{}: {e}", root.display()))?;
        self.events().renew_scribe();
        Ok(())
    }

    /// May the worker be taken away without harm?
    fn may_renew(&self) -> Result<(), String> {
        let resends = |state: &State| state.folder.as_ref().map(|f| f.negotiated.resends());
        match self.hub.look(|s| s.devices.is_empty() || resends(s) != Some(false)) {
            true => Ok(()),
            false => Err(
                "this kernel cannot send requests again (Linux 6.9 and later can); deactivate all volumes first"
                    .into(),
            ),
        }
    }

    /// Does something while nothing changes and a worker serves, unless a new worker would do harm.
    pub fn at_rest<T>(&self, what: impl FnOnce() -> T) -> Result<T, String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_renew()?;
        // While it answers no other is being started, which would have nobody any more that makes it.
        self.hub.order(&Order::Figures, &[], |_, _| what())
    }

    pub(super) fn activate(&self, devices: &[NewDevice]) -> Result<Vec<DeviceStatus>, String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = Vec::with_capacity(devices.len());
        for new in devices {
            match self.make(new) {
                Ok(number) => made.push(number),
                Err(error) => {
                    let text = format!("{}: {error}", new.name);
                    return Err(self.undo(&made, text));
                }
            }
        }
        let status = |state: &State| {
            let entries = made.iter().filter_map(|n| state.devices.get(n));
            entries.map(|entry| device_status(state, entry)).collect()
        };
        Ok(self.hub.look(status))
    }

    /// Removes what was made before a step failed; adds to its message what cannot be removed.
    fn undo(&self, made: &[u32], mut text: String) -> String {
        for number in made.iter().rev() {
            if let Err(error) = self.remove(*number) {
                text.push_str(&format!("; cannot be undone: {error}"));
            }
        }
        self.drop_unused();
        text
    }

    fn make(&self, new: &NewDevice) -> Result<u32, String> {
        check_name(&new.name)?;
        let number = self.hub.look(|state| free_number(state, new))?;
        let (live, model) = match new.table.trim().is_empty() {
            true => {
                let model = Device::new(&new.name, &new.uuid, Arc::default());
                model.resume(Duration::ZERO).map_err(|e| e.to_string())?;
                (None, model)
            }
            false => {
                let (live, table) = self.parse(&new.table, &new.backings, new.read_only)?;
                (Some(live), Device::with_table(&new.name, table))
            }
        };
        let order = DeviceOrder {
            number,
            name: new.name.clone(),
            uuid: new.uuid.clone(),
            read_only: new.read_only,
            live,
            suspended: false,
            noflush: false,
            shown: false,
            nbd: None,
        };
        let entry = Entry {
            order: order.clone(),
            loaded: None,
            model,
            export: None,
            loop_node: None,
            ublk: None,
            node: None,
            links: Vec::new(),
            guard: GuardPv::all(&new.guard),
            withdrawn: None,
            dm: DmNote::default(),
        };
        self.check(&entry, entry.order.live.as_ref())
            .map_err(|lost| lost.to_string())?;
        let made = self.hub.order(&Order::Device(order), &[], |state, _| {
            state.devices.insert(number, entry);
        });
        let shown = made.and_then(|()| self.show(number, new));
        if let Err(error) = shown {
            return Err(self.undo(&[number], error));
        }
        Ok(number)
    }

    /// Reads a table. What had to be opened for it is handed to the worker.
    fn parse(
        &self,
        text: &str,
        backings: &[NewBacking],
        read_only: bool,
    ) -> Result<(TableOrder, Table), String> {
        let mut opener = Opener {
            hub: &self.hub,
            backings,
            read_only,
            words: BTreeMap::new(),
            opened: Vec::new(),
        };
        let table = parse(text, &mut opener).map_err(|e| e.to_string())?;
        for holding in opener.opened {
            let order = Order::Backing(holding.order.clone());
            let fds = holding.clone();
            self.hub.order(&order, &fds.descriptors(), |state, _| {
                state.holdings.insert(holding.order.id, holding);
            })?;
        }
        let order = TableOrder {
            text: text.to_owned(),
            words: opener.words,
        };
        self.claim(&order)?;
        Ok((order, table))
    }

    pub(super) fn find(&self, name: &str) -> Result<(u32, Entry), String> {
        let found = self.hub.look(|state| {
            let number = state.find(name)?;
            Some((number, state.devices.get(&number)?.clone()))
        });
        found.ok_or_else(|| format!("{name}: no such device"))
    }

    pub(super) fn load(
        &self,
        name: &str,
        text: String,
        backings: Vec<NewBacking>,
    ) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, entry) = self.find(name)?;
        let failed = |e: String| format!("{}: {e}", entry.order.name);
        let loaded = self.parse(&text, &backings, entry.order.read_only);
        let loaded = loaded.and_then(|(order, table)| {
            self.check(&entry, Some(&order))
                .map_err(|lost| lost.to_string())?;
            entry.model.load(table).map_err(|e| e.to_string())?;
            Ok(order)
        });
        let done = loaded.map_err(failed).map(|order| {
            self.hub.edit(number, |entry| {
                entry.loaded = Some(order);
            });
        });
        self.drop_unused();
        done.and_then(|()| self.keep(number))
    }

    pub(super) fn clear(&self, name: &str) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, entry) = self.find(name)?;
        entry.model.clear();
        self.hub.edit(number, |entry| {
            entry.loaded = None;
        });
        self.drop_unused();
        self.keep(number)
    }

    fn suspend(&self, name: &str) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, entry) = self.find(name)?;
        let order = DeviceOrder {
            suspended: true,
            noflush: false,
            ..entry.order
        };
        let failed = |e: String| format!("{name}: {e}");
        let done = self.hub.change(order, |_| ());
        done.map_err(failed)?;
        // Nothing is ever under way in the model.
        let shut = entry.model.suspend(false, Duration::ZERO);
        shut.map_err(|e| e.to_string())
    }

    pub(super) fn resume(&self, name: &str) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, entry) = self.find(name)?;
        let next = entry.loaded.as_ref().or(entry.order.live.as_ref());
        self.check(&entry, next)
            .map_err(|lost| format!("{} is not resumed: {lost}", entry.order.name))?;
        let order = DeviceOrder {
            suspended: false,
            live: entry.loaded.or(entry.order.live),
            ..entry.order
        };
        let failed = |e: String| format!("{name}: {e}");
        let before = entry.model.size();
        let after = entry.model.inactive_table();
        let after = after.and_then(|table| table.len().checked_bytes());
        if let (Some(_), Some(size)) = (&entry.ublk, after)
            && size != before
        {
            ublk::may_resize().map_err(failed)?;
        }
        let mut swapped = Ok(());
        let done = self.hub.change(order, |entry| {
            entry.loaded = None;
            entry.withdrawn = None;
            // The model has no worker to wait for: an open gate is shut for the swap at once.
            let shut = entry.model.suspend(false, Duration::ZERO);
            swapped = shut.and_then(|()| entry.model.resume(Duration::ZERO));
        });
        done.map_err(failed)?;
        swapped.map_err(|e| e.to_string())?;
        self.drop_unused();
        self.keep(number)?;
        self.fit(number)
    }

    /// Brings a block device to its device's size. Safe to repeat: what did not come about before does
    /// now.
    pub(super) fn fit(&self, number: u32) -> Result<(), String> {
        let entry = self.entry(number)?;
        let Some(block) = entry.block() else {
            return Ok(());
        };
        let (name, size) = (&entry.order.name, entry.model.size());
        if nodes::size(block).is_ok_and(|now| now == size) {
            return Ok(());
        }
        let done = match &entry.ublk {
            Some(node) => ublk::resize(node, size),
            None => {
                let done = nodes::resized(block, &self.folder.join(name));
                done.map_err(|e| format!("{}: {e}", block.path.display()))
            }
        };
        done.map_err(|e| format!("{name}: {e}"))
    }

    /// Shows a device: as a file, over that as a loop device, and with links to it.
    fn show(&self, number: u32, new: &NewDevice) -> Result<(), String> {
        let Some(export) = new.export else {
            return Ok(());
        };
        match export {
            Export::Nbd => return self.export(number),
            Export::Ublk => return self.show_block(number, new),
            Export::Fuse | Export::Loop => {}
        }
        self.mount()?;
        let entry = self.entry(number)?;
        let order = DeviceOrder {
            shown: true,
            ..entry.order
        };
        let file = self.folder.join(&order.name);
        let node = file.clone();
        self.hub.change(order, |entry| {
            entry.export = Some(export);
            entry.node = Some(node);
        })?;
        self.appear(number, new, &file)
    }

    /// Shows a device to NBD clients.
    fn export(&self, number: u32) -> Result<(), String> {
        self.listen()?;
        let entry = self.entry(number)?;
        let name = nbd::export_name(&entry.order);
        let order = DeviceOrder {
            nbd: Some(name),
            ..entry.order
        };
        self.hub.change(order, |entry| {
            entry.export = Some(Export::Nbd);
        })?;
        self.keep(number)
    }

    /// Makes the place where NBD clients come to, if there is none.
    fn listen(&self) -> Result<(), String> {
        if self.hub.look(|state| state.nbd.is_some()) {
            return Ok(());
        }
        let held = NbdHeld::bind(&self.folder.with_file_name(nbd::SOCKET))?;
        let held = Arc::new(held);
        let order = Order::Nbd(held.order());
        self.hub.order(&order, &held.descriptors(), |state, _| {
            state.nbd = Some(Arc::clone(&held));
        })
    }

    fn appear(&self, number: u32, new: &NewDevice, file: &Path) -> Result<(), String> {
        let entry = self.entry(number)?;
        let mut node = file.to_owned();
        if new.export == Some(Export::Loop) {
            let made = self.attach(&entry, file, new.minor)?;
            node.clone_from(&made.path);
            self.hub.edit(number, |entry| {
                entry.node = Some(made.path.clone());
                entry.loop_node = Some(made);
            });
            self.keep(number)?;
        }
        self.appear_links(number, new, &node)
    }

    /// Makes the links to a node.
    pub(super) fn appear_links(
        &self,
        number: u32,
        new: &NewDevice,
        node: &Path,
    ) -> Result<(), String> {
        for path in &new.links {
            nodes::link(path, node)
                .map_err(|e| format!("making the link {}: {e}", path.display()))?;
            self.hub.edit(number, |entry| {
                entry.links.push(path.clone());
            });
        }
        if new.export == Some(Export::Loop) {
            self.marks().tell(node, &new.links)?;
        }
        self.keep(number)
    }

    /// Attaches a loop device. It is attached for writing whatever the device's permission is, so that
    /// this can be changed; and refuses writes itself before anybody can know of it.
    fn attach(&self, entry: &Entry, file: &Path, minor: Option<u32>) -> Result<LoopNode, String> {
        let permit = |read_only| {
            let order = DeviceOrder {
                read_only,
                ..entry.order.clone()
            };
            self.hub.change(order, |_| ())
        };
        let read_only = entry.order.read_only;
        if read_only {
            permit(false)?;
        }
        let attached = nodes::attach(file, read_only, entry.model.logical_block(), minor);
        if read_only {
            permit(true)?;
        }
        attached.map_err(|e| format!("attaching a loop device: {e}"))
    }

    /// Lets the worker keep what is known of a device, for a supervisor that takes over.
    pub(super) fn keep(&self, number: u32) -> Result<(), String> {
        let note = self.entry(number)?.note();
        self.hub
            .order(&Order::Note { number, note }, &[], |_, _| ())
    }

    pub(super) fn entry(&self, number: u32) -> Result<Entry, String> {
        let entry = self.hub.look(|state| state.devices.get(&number).cloned());
        entry.ok_or_else(|| "no such device".to_owned())
    }

    /// Mounts the folder if it is not.
    fn mount(&self) -> Result<(), String> {
        if self.hub.look(|state| state.folder.is_some()) {
            return Ok(());
        }
        let failed = |e: &dyn std::fmt::Display| {
            let folder = self.folder.display();
            format!("mounting the folder of volumes {folder}: {e}")
        };
        std::fs::create_dir_all(&self.folder).map_err(|e| failed(&e))?;
        let mounted = Mounted::new(&self.folder, false).map_err(|e| failed(&e))?;
        let negotiated = mounted.handshake(HANDSHAKE).map_err(|e| e.to_string())?;
        let clones = (0..self.hub.queues()).map(|_| mounted.clone_fd().map(Arc::new));
        let clones: Vec<_> = clones
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?;
        let folder = Arc::new(FolderHeld {
            mounted,
            clones,
            negotiated,
        });
        let order = Order::Folder(folder.order());
        self.hub.order(&order, &folder.descriptors(), |state, _| {
            state.folder = Some(Arc::clone(&folder));
        })
    }

    pub(super) fn deactivate(&self, devices: &[String]) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = Vec::with_capacity(devices.len());
        for name in devices {
            let found = self.hub.look(|state| state.find(name));
            numbers.push(found.ok_or_else(|| format!("{name}: no such device"))?);
        }
        let began = Instant::now();
        while let Some(n) = self.open(&numbers)?.iter().position(|open| *open) {
            if began.elapsed() > MOMENT {
                return Err(format!("{}: in use", devices[n]));
            }
            std::thread::sleep(MOMENT / 10);
        }
        let removed = numbers.iter().try_for_each(|number| {
            let name = self.entry(*number)?.order.name;
            self.remove(*number)?;
            self.events().tell(Class::Deactivated, Some(&name), "");
            Ok(())
        });
        self.drop_unused();
        removed
    }

    /// Which of these devices somebody has open.
    fn open(&self, numbers: &[u32]) -> Result<Vec<bool>, String> {
        let nodes: Vec<_> = self.hub.look(|state| {
            let entries = numbers.iter().filter_map(|n| state.devices.get(n));
            entries.map(|e| self.node_of(e)).collect()
        });
        let clients = self.figures()?.nbd_users;
        let open = nodes::in_use(&self.folder, &nodes).into_iter().zip(numbers);
        Ok(open.map(|(open, n)| open || clients.contains(n)).collect())
    }

    fn figures(&self) -> Result<Figures, String> {
        self.hub
            .order(&Order::Figures, &[], |_, report| match report {
                Report::Figures(figures) => figures,
                _ => Figures::default(),
            })
    }

    /// Removes a device that nobody has open.
    fn remove(&self, number: u32) -> Result<(), String> {
        let entry = self.entry(number)?;
        let name = &entry.order.name;
        if let Some(above) = self.hub.look(|s| s.above(number).map(str::to_owned)) {
            return Err(format!("{name}: used by {above}"));
        }
        if let Some(node) = &entry.loop_node {
            // The node stays, and udev looks at it when it is detached.
            self.marks().forget(&node.path);
            nodes::detach(node).map_err(|e| {
                let _ = self.marks().tell(&node.path, &entry.links);
                match e.kind() {
                    std::io::ErrorKind::ResourceBusy => format!("{name}: in use"),
                    _ => format!("{name}: {}: {e}", node.path.display()),
                }
            })?;
        }
        self.hide_block(number, name)?;
        if let Some(node) = &entry.node {
            entry
                .links
                .iter()
                .for_each(|path| nodes::unlink(path, node));
        }
        self.hub.edit(number, |entry| {
            entry.loop_node = None;
            entry.links.clear();
        });
        self.hub.order(&Order::Remove { number }, &[], |state, _| {
            state.devices.remove(&number);
        })
    }

    /// Where a device can be seen open.
    fn node_of(&self, entry: &Entry) -> Node {
        Node {
            path: entry.node.clone().unwrap_or_default(),
            block: entry.block().map(|l| l.number),
            file: entry
                .order
                .shown
                .then(|| Volumes::inode(entry.order.number as usize)),
        }
    }

    /// Gives back what no table lies on any more, and closes backing devices that none lies on at all.
    fn drop_unused(&self) {
        self.unclaim();
        let backings = self
            .hub
            .look(|state| holdings::unused(&state.holdings, &state.used_holdings()));
        if backings.is_empty() {
            return;
        }
        let gone = backings.clone();
        // What the worker does not close now, it is not given again when it is started anew.
        let _ = self.hub.order(&Order::Drop { backings }, &[], |state, _| {
            gone.iter().for_each(|id| drop(state.holdings.remove(id)));
        });
    }

    /// Names of the devices that somebody has open.
    pub(super) fn open_devices(&self) -> Vec<String> {
        let status = self.status(true).map(|s| s.devices).unwrap_or_default();
        let open = status.into_iter().filter(|d| d.open == Some(true));
        open.map(|d| d.name).collect()
    }

    fn status(&self, open: bool) -> Result<Status, String> {
        let figures = self.figures()?;
        let (mut devices, nodes, resends, blocks) = self.hub.look(|state| {
            let status = |entry| device_status(state, entry);
            let devices: Vec<DeviceStatus> = state.devices.values().map(status).collect();
            let nodes: Vec<_> = state.devices.values().map(|e| self.node_of(e)).collect();
            let resends = state.folder.as_ref().map(|f| f.negotiated.resends());
            let blocks = state.devices.values().filter_map(|e| e.ublk.as_ref());
            let blocks = blocks.map(|node| node.recovers).reduce(|a, b| a && b);
            (devices, nodes, resends, blocks)
        });
        if open {
            let used = nodes::in_use(&self.folder, &nodes);
            for (device, used) in devices.iter_mut().zip(used) {
                device.open = Some(used || figures.nbd_users.contains(&device.number));
            }
        }
        let health = self.hub.health();
        let own = process::standing(self.locked);
        let stored = self.hub.store().is_some_and(|store| !store.behind());
        let nbd = devices.iter().any(|d| d.export == Some(Export::Nbd));
        let kill = standing::kill(resends, blocks, nbd, stored);
        let both = [
            (health.worker_pid, figures.standing),
            (Some(std::process::id()), own),
        ];
        let processes = standing::processes(both, self.events().scribe(), &kill);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            supervisor_pid: std::process::id(),
            worker_pid: health.worker_pid,
            scribe_pid: self.events().scribe(),
            restarts: health.restarts,
            pause_us: health.last_pause.map(|p| p.as_micros() as u64),
            resent: health.resent,
            driver: figures.driver,
            kill,
            memory_pinned: figures.pinned,
            memory: standing::memory(own, figures.standing, process::lock_limit()),
            processes,
            devices,
        })
    }
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    match plain && name.len() <= NAME_MAX {
        true => Ok(()),
        false => Err("no name for a device".into()),
    }
}

/// The lowest number that no device has; an error if the name or uuid is taken.
fn free_number(state: &State, new: &NewDevice) -> Result<u32, String> {
    if state.devices.values().any(|e| e.order.name == new.name) {
        return Err("a device of this name exists".into());
    }
    if !new.uuid.is_empty() && state.devices.values().any(|e| e.order.uuid == new.uuid) {
        return Err(format!("a device with uuid {} exists", new.uuid));
    }
    if state.devices.len() >= DEVICES_MAX {
        return Err("too many devices".into());
    }
    let free = (0..).find(|n| !state.devices.contains_key(n));
    free.ok_or_else(|| "too many devices".into())
}

fn device_status(state: &State, entry: &Entry) -> DeviceStatus {
    let order = &entry.order;
    let exported = state.nbd.as_ref().zip(order.nbd.as_ref());
    DeviceStatus {
        number: order.number,
        name: order.name.clone(),
        uuid: order.uuid.clone(),
        size: entry.model.size(),
        read_only: order.read_only,
        suspended: order.suspended,
        live_table: order.live.is_some(),
        loaded_table: entry.model.inactive_table().is_some(),
        table: entry.model.table().map_or(String::new(), |t| t.text()),
        loaded: entry.model.inactive_table().map(|t| t.text()),
        target_status: entry.model.table().map_or(String::new(), |t| t.status()),
        export: entry.export,
        node: entry.node.clone(),
        uri: exported.and_then(|(held, name)| held.uri(name)),
        major_minor: entry.block().map(|l| l.number),
        links: entry.links.clone(),
        open: None,
        withdrawn: entry.withdrawn.clone(),
    }
}

/// Finds what the words of a table stand for; opens what is not open yet.
struct Opener<'a> {
    hub: &'a Hub,
    backings: &'a [NewBacking],
    read_only: bool,
    words: BTreeMap<String, Word>,
    opened: Vec<Holding>,
}

impl Opener<'_> {
    fn device(&self, word: &str) -> Option<(u32, Arc<Device>)> {
        let name = word.strip_prefix("/dev/mapper/").unwrap_or(word);
        let real = word
            .starts_with('/')
            .then(|| Path::new(word).canonicalize());
        let real = real.and_then(Result::ok);
        self.hub.look(|state| {
            let number = state.find(name);
            let number = number.or_else(|| dm::of_word(state, word, real.as_deref()))?;
            let entry = state.devices.get(&number)?;
            Some((number, Arc::clone(&entry.model)))
        })
    }

    fn open(&mut self, wanted: &NewBacking) -> Result<(u64, Arc<Backing>), String> {
        let failed = |e: std::io::Error| format!("{}: {e}", wanted.path.display());
        let key = holdings::key(wanted).map_err(failed)?;
        let same = |h: &&Holding| h.order.key == key;
        let known = self.opened.iter().find(same).cloned();
        let known = known.or_else(|| self.hub.look(|s| s.holdings.values().find(same).cloned()));
        if let Some(holding) = known {
            if holding.order.read_only && !self.read_only {
                let path = wanted.path.display();
                return Err(format!("{path}: open for reading only, for another device"));
            }
            return Ok((holding.order.id, holding.backing));
        }
        let id = self.hub.note(|state| {
            state.next_holding += 1;
            state.next_holding
        });
        let holding = Holding::open(id, key, wanted, self.read_only)?;
        let backing = Arc::clone(&holding.backing);
        self.opened.push(holding);
        Ok((id, backing))
    }
}

impl Resolve for Opener<'_> {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let given = self.backings.iter().find(|b| b.word == word);
        if given.is_none()
            && let Some((number, device)) = self.device(word)
        {
            self.words.insert(word.to_owned(), Word::Device(number));
            return Ok(Arc::new(Backing::device(device)));
        }
        let wanted = given.cloned().unwrap_or_else(|| NewBacking {
            word: word.to_owned(),
            path: path_of(word),
            start: 0,
            len: None,
            logical: None,
        });
        let (id, backing) = self.open(&wanted)?;
        self.words.insert(word.to_owned(), Word::Backing(id));
        Ok(backing)
    }
}
