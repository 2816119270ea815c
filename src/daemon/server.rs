//! The daemon as a whole: its run directory, its socket, its clients, its end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::channel::Channel;
use super::events::{Class, Commands, Events};
use super::hub::{Before, Hub, State};
use super::marks::Marks;
use super::nbd::{self, NbdHeld};
use super::nodes;
use super::order::{Order, Stage};
use super::process::{self, Program};
use super::proto::{Answer, Ask};
use super::replace;
use super::service::{self, HandedIn, Manager, Notify, Restored, Store};
use super::supervisor::Supervisor;
use super::takeover;
use super::ublk;
use super::watch;
use crate::error::{Error, Kind, Result};
use crate::mounts::Mounts;
use crate::sys::EndSignals;

/// Name of the socket in the run directory.
pub const SOCKET: &str = "daemon.sock";
/// Name of the socket at which a worker waits that has lost its supervisor.
pub(super) const WORKER_SOCKET: &str = "worker.sock";
/// Clients at a time.
const CLIENTS_MAX: usize = 64;
/// A daemon without devices and clients ends after this time.
const IDLE: Duration = Duration::from_secs(3);
/// How often the main thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(250);
/// How long another daemon of the same run directory may take to die.
const DYING: Duration = Duration::from_secs(1);
/// How often the service manager is given again what it has not taken.
const BEHIND: Duration = Duration::from_secs(5);
/// A client that says nothing for so long is sent away.
const CLIENT_PATIENCE: Duration = Duration::from_secs(600);
/// Stacks of the supervisor's threads: small, since they are locked in memory.
const STACK: usize = 512 << 10;
/// Of the one that reads metadata.
const WATCH_STACK: usize = 2 << 20;

/// What the daemon is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where socket, folder and links are.
    pub run_dir: PathBuf,
    /// Leave the terminal and its session, and end when nothing is active.
    pub detach: bool,
    /// What is run when something happens.
    pub commands: Commands,
    /// What the environment says of a service manager.
    pub manager: Manager,
    /// How often the metadata of live volumes are looked at; never, if none.
    pub watch: Option<Duration>,
}

/// Runs a daemon until it is told to end, or has had nothing to do for a while. `ready` is called
/// when clients can connect.
pub fn run(settings: &Settings, ready: impl FnOnce()) -> Result<()> {
    // Before any thread starts, so that none of them is ended by a signal.
    let signals = EndSignals::hold().map_err(|e| Error::io("cannot hold signals back", e))?;
    if settings.detach {
        // Fails only for the leader of a group, which has no terminal to leave.
        let _ = rustix::process::setsid();
    }
    let handed_in = HandedIn::take(&settings.manager);
    let mut handed_in = handed_in.map_err(|e| Error::io("descriptors that were handed in", e))?;
    let notify = notify(&settings.manager)?;
    let run_dir = make_run_dir(&settings.run_dir)?;
    let only = lock(&run_dir, handed_in.one(service::LOCK))?;
    let folder = run_dir.join("volumes");
    let program = Program::copy().map_err(|e| Error::io("copying the program to memory", e))?;
    let program = Arc::new(program);
    let locked = rustix::process::geteuid().is_root() && process::lock_memory();
    process::spare();
    let events = Events::start(Arc::clone(&program), &run_dir, settings.commands.clone())
        .map_err(|e| Error::io("starting the writer of the log", e))?;
    let store = notify.as_ref().map(|notify| {
        let names = [settings.manager.stored.clone(), handed_in.stored()].concat();
        Arc::new(Store::new(Arc::clone(notify), names))
    });
    let socket = handed_in.one(service::SOCKET);
    let (hub, before) = hub(&run_dir, (&folder, locked), events, store, &mut handed_in)?;
    let keeper = keep(&hub, program, before)?;
    let nbd = handed_in
        .nbd()
        .map_err(|e| Error::io("sockets that were handed in", e))?;
    take_nbd(&hub, nbd)?;
    drop(handed_in);
    let server = Arc::new(Server {
        settings: Settings {
            run_dir: run_dir.clone(),
            ..settings.clone()
        },
        supervisor: Supervisor::new(Arc::clone(&hub), folder.clone(), locked),
        notify,
        only,
        handed_socket: socket
            .as_ref()
            .map(OwnedFd::try_clone)
            .transpose()
            .map_err(copied)?,
        ending: AtomicBool::new(false),
        clients: AtomicUsize::new(0),
    });
    let managed = socket.is_some();
    let listener = match socket {
        Some(socket) => UnixListener::from(socket),
        None => listen(&run_dir.join(SOCKET))?,
    };
    listener
        .set_nonblocking(true)
        .map_err(|e| Error::io(SOCKET, e))?;
    watch_signals(signals, &server)?;
    if let Some(pause) = settings.watch {
        watch_metadata(pause, &server)?;
    }
    server.supervisor.save();
    server.say("READY=1");
    ready();
    // Whoever listens for us starts us again.
    server.serve(&listener, !settings.detach && !managed);
    server.say("STOPPING=1");
    for name in [SOCKET, WORKER_SOCKET, nbd::SOCKET] {
        if name != SOCKET || !managed {
            let _ = std::fs::remove_file(run_dir.join(name));
        }
    }
    if let Some(store) = hub.store() {
        store.clear();
    }
    // Unmounts the folder.
    hub.note(|state| state.folder = None);
    hub.stop();
    // A keeper that panicked has printed why; there is nothing left for it to do.
    let _ = keeper.join();
    clean(&folder);
    Ok(())
}

fn copied(e: io::Error) -> Error {
    Error::io("copying a descriptor", e)
}

/// The way to the service manager, if there is one.
fn notify(manager: &Manager) -> Result<Option<Arc<Notify>>> {
    let notify = manager.notify.as_deref().map(|path| {
        let notify = Notify::new(path).map_err(|e| Error::io(path.display(), e))?;
        Ok(Arc::new(notify))
    });
    notify.transpose()
}

/// Has NBD clients come to sockets that were handed in, unless there are others already.
fn take_nbd(hub: &Hub, held: Option<NbdHeld>) -> Result<()> {
    let Some(held) = held.filter(|_| hub.look(|state| state.nbd.is_none())) else {
        return Ok(());
    };
    let held = Arc::new(held);
    let order = Order::Nbd(held.order());
    let done = hub.order(&order, &held.descriptors(), |state, _| {
        state.nbd = Some(Arc::clone(&held));
    });
    done.map_err(|e| Error::io("sockets that were handed in", io::Error::other(e)))
}

/// The state to begin with: that of a worker which has lost its supervisor, else what a service
/// manager has kept, else none.
fn hub(
    run_dir: &Path,
    (folder, locked): (&Path, bool),
    events: Events,
    store: Option<Arc<Store>>,
    handed_in: &mut HandedIn,
) -> Result<(Arc<Hub>, Before)> {
    let socket = run_dir.join(WORKER_SOCKET);
    let failed = |e| Error::io("taking over from a daemon that has died", e);
    let pid = std::process::id();
    if let Some(mut orphan) = takeover::orphan(&socket).map_err(failed)? {
        if orphan.stage < Stage::Settled {
            check_again(&mut orphan.state, &events);
        }
        let (hub, before) = Hub::of_orphan(orphan, locked, events, store).map_err(failed)?;
        // Any other is told when it is made.
        if matches!(before, Before::Alive(_)) {
            let told = hub.order(&Order::Events, &[hub.events().as_fd()], |_, _| ());
            told.map_err(|e| failed(io::Error::other(e)))?;
        }
        let text = format!("supervisor {pid} has taken over from a worker");
        hub.events().tell(Class::TakenOver, None, text);
        return Ok((Arc::new(hub), before));
    }
    let restored = Restored::take(handed_in);
    if let Some(why) = restored.trouble {
        let text = format!("what the service manager has kept is of no use: {why}");
        events.tell(Class::Lost, None, text);
    }
    let listener = listen(&socket)?;
    // Without anything to go on from, too: what is made next may lie where old writes go.
    let before = match restored.fences.is_empty() {
        true => Before::Nothing,
        false => Before::Dead(restored.fences),
    };
    if let Some(mut state) = restored.state {
        check_again(&mut state, &events);
        let text = format!("supervisor {pid} goes on from what the service manager has kept");
        events.tell(Class::TakenOver, None, text);
        let how = (listener.into(), locked);
        let hub = Hub::of_restored(state, how, events, store).map_err(failed)?;
        return Ok((Arc::new(hub), before));
    }
    clean(folder);
    let queues = ulvm_engine::limits::Settings::default().clamped().queues;
    let hub = Hub::new(listener.into(), queues, locked, events, store);
    let hub = hub.map_err(|e| Error::io("an event descriptor", e))?;
    Ok((Arc::new(hub), before))
}

/// Nobody has looked at the metadata since the last supervisor died: what does not own its extents any
/// more must not be served again.
fn check_again(state: &mut State, events: &Events) {
    for (name, why) in watch::withdraw_lost(state) {
        events.tell(Class::Lost, Some(&name), why);
    }
}

fn make_run_dir(dir: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io(dir.display(), e);
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(failed)?;
    dir.canonicalize().map_err(failed)
}

/// One daemon per run directory.
fn lock(run_dir: &Path, handed_on: Option<OwnedFd>) -> Result<File> {
    let path = run_dir.join("daemon.lock");
    let failed = |e| Error::io(path.display(), e);
    let mut options = OpenOptions::new();
    let open = || options.write(true).create(true).truncate(false).open(&path);
    // One that was handed on is locked already.
    let file = handed_on.map_or_else(open, |fd| Ok(fd.into()));
    let file = file.map_err(failed)?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    // One that is dying lets go in a moment.
    let began = Instant::now();
    let locked = loop {
        match rustix::fs::flock(&file, operation) {
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < DYING => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => break other,
        }
    };
    match locked {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(
            Kind::Locked,
            format!("A daemon is running in {} already.", run_dir.display()),
        )),
        Err(e) => Err(failed(e.into())),
    }
}

/// Takes away what a daemon that died with its worker has left.
fn clean(folder: &Path) {
    nodes::detach_dead(folder);
    let run_dir = folder.parent().unwrap_or(folder);
    ublk::clean(ublk::mark(run_dir));
    Marks::of(run_dir).prune();
    for _ in 0..8 {
        if !Mounts::read().has_folder(folder) {
            break;
        }
        let flags = rustix::mount::UnmountFlags::DETACH;
        if rustix::mount::unmount(folder, flags).is_err() {
            let helper = std::process::Command::new("fusermount3")
                .args(["-u", "-z", "-q", "--"])
                .arg(folder)
                .status();
            if helper.is_err() {
                break;
            }
        }
    }
}

fn keep(
    hub: &Arc<Hub>,
    program: Arc<Program>,
    before: Before,
) -> Result<std::thread::JoinHandle<()>> {
    let (tell, told) = mpsc::channel();
    let hub = Arc::clone(hub);
    let keeper = std::thread::Builder::new()
        .name("ulvm-keeper".into())
        .stack_size(STACK)
        .spawn(move || hub.keep(&program, before, |outcome| drop(tell.send(outcome))))
        .map_err(|e| Error::io("starting a thread", e))?;
    match told.recv() {
        Ok(Ok(())) => Ok(keeper),
        Ok(Err(e)) => Err(Error::io("starting the worker", e)),
        Err(_) => Err(Error::new(Kind::Internal, "The worker cannot be started.")),
    }
}

fn listen(path: &Path) -> Result<UnixListener> {
    let failed = |e| Error::io(path.display(), e);
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(failed)?;
    Ok(listener)
}

fn watch_signals(signals: EndSignals, server: &Arc<Server>) -> Result<()> {
    let server = Arc::clone(server);
    std::thread::Builder::new()
        .name("ulvm-signals".into())
        .stack_size(STACK)
        .spawn(move || {
            while signals.wait().is_ok() {
                // While devices are active nothing happens: who wants the end deactivates them.
                server.try_end();
            }
        })
        .map(drop)
        .map_err(|e| Error::io("starting a thread", e))
}

/// Looks at the metadata of live volumes now and then, on a thread that nobody waits for.
fn watch_metadata(pause: Duration, server: &Arc<Server>) -> Result<()> {
    let server = Arc::clone(server);
    std::thread::Builder::new()
        .name("ulvm-watch".into())
        .stack_size(WATCH_STACK)
        .spawn(move || {
            // A worker may have served without a supervisor that looks.
            server.supervisor.watch();
            let mut last = Instant::now();
            while !server.ending.load(Ordering::Acquire) {
                std::thread::sleep(LOOK.min(pause));
                if last.elapsed() >= pause {
                    server.supervisor.watch();
                    last = Instant::now();
                }
            }
        })
        .map(drop)
        .map_err(|e| Error::io("starting a thread", e))
}

/// Is the other side root, or the user that this runs as? By the kernel's word.
pub(super) fn may_command(socket: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(socket.as_fd())
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

struct Server {
    settings: Settings,
    supervisor: Arc<Supervisor>,
    notify: Option<Arc<Notify>>,
    /// The lock of the run directory.
    only: File,
    /// The listening socket, if it was handed in.
    handed_socket: Option<OwnedFd>,
    ending: AtomicBool,
    clients: AtomicUsize,
}

impl Server {
    fn serve(self: &Arc<Self>, listener: &UnixListener, stay: bool) {
        let mut busy = Instant::now();
        let (mut said, mut behind) = (Instant::now(), Instant::now());
        let often = self.settings.manager.watchdog.map(|w| w / 3);
        let wait = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.subsec_nanos().into(),
        };
        while !self.ending.load(Ordering::Acquire) {
            let mut fds = [PollFd::new(listener, PollFlags::IN)];
            // Interrupted or timed out: the reasons to go on are looked at again.
            let _ = rustix::event::poll(&mut fds, Some(&wait));
            self.supervisor.events().tell_dropped();
            if behind.elapsed() >= BEHIND {
                behind = Instant::now();
                self.supervisor.catch_up();
            }
            if often.is_some_and(|often| said.elapsed() >= often) {
                said = Instant::now();
                self.say("WATCHDOG=1");
            }
            while let Ok((socket, _)) = listener.accept() {
                self.welcome(socket);
            }
            if self.clients.load(Ordering::Acquire) > 0 || !self.supervisor.idle() {
                busy = Instant::now();
            } else if !stay && busy.elapsed() > IDLE {
                self.try_end();
            }
        }
    }

    /// Tells the service manager, if there is one that listens.
    fn say(&self, line: &str) {
        if let Some(notify) = &self.notify {
            let _ = notify.tell(line);
        }
    }

    /// Ends unless devices are there.
    fn try_end(&self) -> bool {
        let idle = self.supervisor.idle();
        if idle {
            self.ending.store(true, Ordering::Release);
        }
        idle
    }

    fn welcome(self: &Arc<Self>, socket: UnixStream) {
        let allowed = may_command(&socket);
        if !allowed || self.clients.fetch_add(1, Ordering::AcqRel) >= CLIENTS_MAX {
            if allowed {
                self.clients.fetch_sub(1, Ordering::AcqRel);
            }
            return;
        }
        let server = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("ulvm-client".into())
            .stack_size(STACK)
            .spawn(move || {
                // A client that breaks off, or sends what is no request, is left alone.
                let _ = server.talk(socket);
                server.clients.fetch_sub(1, Ordering::AcqRel);
            });
        if spawned.is_err() {
            self.clients.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn talk(&self, socket: UnixStream) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        let mut channel = Channel::new(socket);
        channel.set_patience(Some(CLIENT_PATIENCE))?;
        loop {
            let (ask, fds) = match channel.receive::<Ask>() {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    let text = e.to_string();
                    return channel.send(&Answer::Refused { text }, &[]);
                }
                Err(e) => return Err(e),
            };
            let answer = match ask {
                Ask::Stop => self.stop(),
                Ask::Replace => self.replace(&fds),
                other => self.supervisor.answer(other),
            };
            channel.send(&answer, &[])?;
        }
    }

    fn become_program(&self, program: &OwnedFd) -> io::Error {
        let socket = self.handed_socket.as_ref();
        let socket = socket.map(|fd| (service::SOCKET, fd.as_fd()));
        let lock = std::iter::once((service::LOCK, self.only.as_fd()));
        let fds: Vec<_> = lock.chain(socket).collect();
        let stored = self.supervisor.stored();
        replace::become_program(program, &self.settings, &fds, &stored)
    }

    /// Comes back only with a refusal.
    fn replace(&self, fds: &[OwnedFd]) -> Answer {
        let outcome = match fds {
            [program] => self
                .supervisor
                .at_rest(|| self.become_program(program).to_string()),
            _ => Err("no program".into()),
        };
        let (Ok(text) | Err(text)) = outcome;
        Answer::Refused { text }
    }

    fn stop(&self) -> Answer {
        match self.try_end() {
            true => Answer::Done,
            false => Answer::Refused {
                text: "devices are active; deactivate them first".into(),
            },
        }
    }
}
