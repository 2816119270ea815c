//! Under a service manager: the test speaks systemd's side of its protocols.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::fence::SLOW;
use crate::host::{FUSE, Host, LOOP};
use crate::kill::{end_load, load, writes_go_on};
use crate::slow::Slow;
use crate::watch::{Lvm2, device, write};

pub fn cases(suite: &mut Suite) {
    let mut bash = FUSE.to_vec();
    bash.push(Need::Program("bash"));
    suite.case("activation::service::socket_and_notes", &bash, socket);
    let mut both = LOOP.to_vec();
    both.extend([Need::Program("bash"), Need::Program("fio")]);
    suite.case("activation::service::both_may_die", &both, both_die);
    suite.case("activation::service::replaced", &both, replaced);
    suite.case(
        "activation::service::fences_outlive_the_state",
        &LOOP,
        fences,
    );
    suite.case("activation::service::a_deaf_manager", &both, deaf);
    let mut lvm2 = LOOP.to_vec();
    lvm2.push(Need::Program("lvm"));
    suite.case("activation::service::lost_meanwhile", &lvm2, lost);
}

/// What the manager has been told, and keeps.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
    kept: BTreeMap<String, Vec<OwnedFd>>,
}

struct Manager {
    path: std::path::PathBuf,
    told: Arc<Mutex<Told>>,
    /// The socket that clients come to.
    socket: UnixListener,
    ending: Arc<AtomicBool>,
    /// Takes the notes.
    listener: Option<std::thread::JoinHandle<()>>,
    daemon: Option<Child>,
}

impl Manager {
    fn new(host: &Host) -> Result<Manager, String> {
        let path = host.run_dir().join("notify");
        let socket = UnixListener::bind(host.run_dir().join("daemon.sock"));
        let told: Arc<Mutex<Told>> = Arc::default();
        let mut manager = Manager {
            path,
            told,
            socket: socket.map_err(|e| e.to_string())?,
            ending: Arc::default(),
            listener: None,
            daemon: None,
        };
        manager.listen()?;
        Ok(manager)
    }

    /// Takes notes from now on.
    fn listen(&mut self) -> Outcome {
        let notes = UnixDatagram::bind(&self.path).map_err(|e| e.to_string())?;
        let patience = Some(Duration::from_millis(100));
        notes
            .set_read_timeout(patience)
            .map_err(|e| e.to_string())?;
        self.ending.store(false, Ordering::Release);
        let (to, end) = (Arc::clone(&self.told), Arc::clone(&self.ending));
        self.listener = Some(std::thread::spawn(move || {
            while !end.load(Ordering::Acquire) {
                take(&notes, &to);
            }
        }));
        Ok(())
    }

    /// Takes no notes any more.
    fn be_deaf(&mut self) -> Outcome {
        self.ending.store(true, Ordering::Release);
        if let Some(listener) = self.listener.take() {
            listener.join().map_err(|_| "the listener panicked")?;
        }
        std::fs::remove_file(&self.path).map_err(|e| e.to_string())
    }

    /// The states that are kept: how long each is.
    fn states(&self) -> Result<Vec<u64>, String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = told.kept.iter();
        let states = kept.filter(|(name, _)| name.starts_with("ulvm-state-"));
        let len = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|s| s.st_size as u64);
        let lens = states.flat_map(|(_, fds)| fds.iter().map(len));
        lens.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    /// Makes the states that are kept unreadable.
    fn spoil(&self) -> Outcome {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = told.kept.iter();
        for (_, fds) in kept.filter(|(name, _)| name.starts_with("ulvm-state-")) {
            for fd in fds {
                rustix::fs::ftruncate(fd, 5).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    /// Kills both processes, and waits for their end.
    fn kill_both(&mut self, host: &Host) -> Outcome {
        let (supervisor, worker) = (host.pid("supervisor_pid")?, host.pid("worker_pid")?);
        let pids = [supervisor.to_string(), worker.to_string()];
        process::output("kill", &["-KILL", &pids[0], &pids[1]])?.success("kill")?;
        self.ended()?;
        dead(worker)
    }

    /// Starts the service with the socket and all that is kept.
    fn start(&mut self, host: &Host) -> Outcome {
        let mut handed = Vec::new();
        let mut add = |name: &str, fd: &dyn std::os::fd::AsFd| -> Outcome {
            let fd = rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 300);
            let fd = fd.map_err(|e| e.to_string())?;
            handed.push((name.to_owned(), fd));
            Ok(())
        };
        add("daemon", &self.socket)?;
        {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, fds) in &told.kept {
                for fd in fds {
                    add(name, fd)?;
                }
            }
        }
        let names: Vec<&str> = handed.iter().map(|(name, _)| name.as_str()).collect();
        let mut script = format!(
            "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}\n",
            handed.len(),
            names.join(":")
        );
        for (n, (_, fd)) in handed.iter().enumerate() {
            let (from, to) = (fd.as_raw_fd(), 3 + n);
            script += &format!("exec {to}<&{from} {from}<&-\n");
        }
        let plain = host.command("daemon");
        script += &format!("exec {} daemon\n", plain.get_program().display());
        let mut command = std::process::Command::new("bash");
        command.env_clear();
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
            .args(["-c", &script])
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", "3000000")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // Only while this one is started, nobody else is to get them.
        for (_, fd) in &handed {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).map_err(|e| e.to_string())?;
        }
        let before = self.count("READY=1");
        let spawned = command.spawn();
        drop(handed);
        self.daemon = Some(spawned.map_err(|e| e.to_string())?);
        self.until("ready", |told| count(told, "READY=1") > before)
    }

    fn count(&self, line: &str) -> usize {
        count(
            &self.told.lock().unwrap_or_else(PoisonError::into_inner),
            line,
        )
    }

    fn until(&self, what: &str, done: impl Fn(&Told) -> bool) -> Outcome {
        let began = Instant::now();
        loop {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if done(&told) {
                return Ok(());
            }
            let lines = told.lines.join("|");
            drop(told);
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                "not {what}; told: {lines}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the service has ended by itself.
    fn ended(&mut self) -> Outcome {
        let mut daemon = self.daemon.take().ok_or("not started")?;
        let began = Instant::now();
        while daemon.try_wait().map_err(|e| e.to_string())?.is_none() {
            if began.elapsed() > Duration::from_secs(20) {
                drop(daemon.kill());
                drop(daemon.wait());
                return Err("it did not end".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }
}

fn count(told: &Told, line: &str) -> usize {
    told.lines.iter().filter(|l| *l == line).count()
}

/// Takes one datagram in.
fn take(notes: &UnixDatagram, told: &Mutex<Told>) {
    let mut bytes = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let Ok(got) = rustix::net::recvmsg(notes, &mut parts, &mut ancillary, flags) else {
        return;
    };
    let fds = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let fds: Vec<OwnedFd> = fds.collect();
    let text = String::from_utf8_lossy(&bytes[..got.bytes]).into_owned();
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name));
    let name = value("FDNAME=").unwrap_or("stored").to_owned();
    if value("FDSTORE=1").is_some() {
        told.kept.entry(name).or_default().extend(fds);
    } else if value("FDSTOREREMOVE=1").is_some() {
        told.kept.remove(&name);
    } else {
        told.lines.extend(text.lines().map(str::to_owned));
    }
}

/// Clients' first request finds the daemon by its socket; it ends when it has nothing to do, and leaves
/// the socket.
fn socket() -> Outcome {
    let host = Host::new()?;
    let mut manager = Manager::new(&host)?;
    manager.start(&host)?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    manager.until("alive", |told| count(told, "WATCHDOG=1") >= 2)?;
    host.ok("lvchange -an vg/linear")?;
    manager.ended()?;
    manager.until("ending", |told| count(told, "STOPPING=1") == 1)?;
    manager.until("empty", |told| told.kept.is_empty())?;
    ensure!(host.run_dir().join("daemon.sock").exists(), "no socket");
    manager.start(&host)?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    host.ok("lvchange -an vg/linear")?;
    manager.ended()
}

fn dead(pid: u64) -> Outcome {
    let began = Instant::now();
    while std::fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
        ensure!(began.elapsed() < Duration::from_secs(10), "{pid} lives");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Supervisor and worker die under load, several times. Consumers see a pause.
fn both_die() -> Outcome {
    let host = Host::new()?;
    let mut manager = Manager::new(&host)?;
    manager.start(&host)?;
    host.ok("lvchange -ay --export loop vg/linear")?;
    if host.status()?["kill"]["worker_survived"] == false {
        return Err("this kernel does not send requests again (before 6.9)".into());
    }
    let node = host.node("vg/linear")?;
    let fio = load(&node.display().to_string(), &host.images().path(""))?;
    for round in 0..3 {
        writes_go_on(&node)?;
        let worker = host.pid("worker_pid")?;
        manager.kill_both(&host)?;
        manager.start(&host)?;
        ensure!(
            host.node("vg/linear")? == node,
            "round {round}: another node"
        );
        ensure!(host.pid("worker_pid")? != worker, "the same worker");
    }
    writes_go_on(&node)?;
    // It can do all that the first could.
    host.ok("lvchange -ay --export loop vg/striped")?;
    host.kill("worker_pid")?;
    writes_go_on(&node)?;
    end_load(fio)?;
    host.ok("vgchange -an vg")?;
    manager.ended()?;
    manager.until("empty", |told| told.kept.is_empty())
}

/// Another program takes the place: what is kept stays of use, and the socket with it.
fn replaced() -> Outcome {
    let host = Host::new()?;
    let mut manager = Manager::new(&host)?;
    manager.start(&host)?;
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    let fio = load(&node.display().to_string(), &host.images().path(""))?;
    writes_go_on(&node)?;
    host.ok("daemon --replace")?;
    manager.until("ready again", |told| count(told, "READY=1") == 2)?;
    writes_go_on(&node)?;
    let states = |told: &Told| {
        let states = told.kept.keys().filter(|n| n.starts_with("ulvm-state-"));
        states.count()
    };
    manager.until("one state", |told| states(told) == 1)?;
    manager.kill_both(&host)?;
    manager.start(&host)?;
    writes_go_on(&node)?;
    end_load(fio)?;
    host.ok("lvchange -an vg/linear")?;
    manager.ended()?;
    ensure!(host.run_dir().join("daemon.sock").exists(), "no socket");
    Ok(())
}

/// Both die over a slow write, and what is kept cannot be read: the write has ended before anything is
/// served again.
fn fences() -> Outcome {
    let host = Host::new()?;
    let slow = Slow::new(&host.images().path("a"), SLOW)?;
    let devices = format!("{},{}", slow.node(), host.images().path("b").display());
    let host = host.through(std::path::Path::new(&devices));
    let mut manager = Manager::new(&host)?;
    manager.start(&host)?;
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    slow.slow(true)?;
    let began = Instant::now();
    let client = std::thread::spawn(move || crate::fence::write(node, b'1'));
    slow.caught()?;
    slow.slow(false)?;
    manager.kill_both(&host)?;
    manager.spoil()?;
    manager.start(&host)?;
    let ready = began.elapsed();
    ensure!(
        ready + Duration::from_millis(50) >= SLOW,
        "ready after {ready:?}, before the old write ended"
    );
    let ended = client.join().map_err(|_| "the client panicked")?;
    ensure!(ended.is_err(), "a write to a dead device was answered");
    host.ok("lvchange -ay --export loop vg/linear")?;
    crate::fence::write(host.node("vg/linear")?, b'2')?;
    host.ok("lvchange -an vg/linear")?;
    let seen = host.ok("read vg/linear --length 4096")?.stdout;
    ensure!(seen.iter().all(|b| *b == b'2'), "other data");
    manager.ended()
}

/// The manager takes nothing any more, and workers die: they are replaced, since consumers wait. What it
/// has is of no use meanwhile, and of use again when it listens.
fn deaf() -> Outcome {
    let host = Host::new()?;
    let mut manager = Manager::new(&host)?;
    manager.start(&host)?;
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    let fio = load(&node.display().to_string(), &host.images().path(""))?;
    writes_go_on(&node)?;
    let survived = |host: &Host| -> Result<bool, String> {
        let both = host.status()?["kill"]["both"].to_string();
        Ok(both.contains("pause"))
    };
    ensure!(survived(&host)?, "a death of both is not survived");
    manager.be_deaf()?;
    for _ in 0..2 {
        let worker = host.kill("worker_pid")?;
        ensure!(host.pid("worker_pid")? != worker, "the same worker");
        writes_go_on(&node)?;
    }
    let states = manager.states()?;
    ensure!(
        !states.is_empty() && states.iter().all(|len| *len == 0),
        "what is kept knows nothing of the workers since: {states:?}"
    );
    ensure!(!survived(&host)?, "it is said to be survived");
    manager.listen()?;
    let began = Instant::now();
    while !survived(&host)? {
        ensure!(began.elapsed() < Duration::from_secs(20), "never caught up");
        std::thread::sleep(Duration::from_millis(50));
    }
    manager.kill_both(&host)?;
    manager.start(&host)?;
    writes_go_on(&node)?;
    end_load(fio)?;
    host.ok("lvchange -an vg/linear")?;
    manager.ended()
}

/// While neither process is there LVM2 removes a volume: it is not served again.
fn lost() -> Outcome {
    let host = Host::new()?;
    let lvm2 = Lvm2::on(&host)?;
    let config = host.images().system_dir().join("lvm.conf");
    let text = std::fs::read_to_string(&config).map_err(|e| e.to_string())?;
    // Not what this is about.
    let text = text.replace("watch_interval = 1", "watch_interval = 0");
    std::fs::write(&config, text).map_err(|e| e.to_string())?;
    let mut manager = Manager::new(&host)?;
    manager.start(&host)?;
    host.ok("vgchange -ay --export fuse vg")?;
    let node = host.node("vg/linear")?;
    write(&node, b'1').map_err(|e| e.to_string())?;
    manager.kill_both(&host)?;
    lvm2.ok("lvremove -y vg/linear")?;
    manager.start(&host)?;
    let linear = device(&host, "vg-linear")?;
    ensure!(
        linear["suspended"] == true && linear["withdrawn"].is_string(),
        "served: {linear}"
    );
    let striped = device(&host, "vg-striped")?;
    ensure!(striped["suspended"] == false, "{striped}");
    let events = host.ok("events --json")?.out();
    ensure!(
        events
            .lines()
            .any(|l| l.contains("\"lost\"") && l.contains("vg-linear")),
        "no event: {events}"
    );
    host.ok("dmsetup remove --force vg-linear")?;
    host.ok("lvchange -an vg/striped")?;
    manager.ended()
}
