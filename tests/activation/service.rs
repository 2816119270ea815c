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

use crate::host::{FUSE, Host, LOOP};
use crate::kill::{end_load, load, writes_go_on};

pub fn cases(suite: &mut Suite) {
    let mut bash = FUSE.to_vec();
    bash.push(Need::Program("bash"));
    suite.case("activation::service::socket_and_notes", &bash, socket);
    let mut both = LOOP.to_vec();
    both.extend([Need::Program("bash"), Need::Program("fio")]);
    suite.case("activation::service::both_may_die", &both, both_die);
    suite.case("activation::service::replaced", &both, replaced);
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
    daemon: Option<Child>,
}

impl Manager {
    fn new(host: &Host) -> Result<Manager, String> {
        let path = host.run_dir().join("notify");
        let notes = UnixDatagram::bind(&path).map_err(|e| e.to_string())?;
        let patience = Some(Duration::from_millis(100));
        notes
            .set_read_timeout(patience)
            .map_err(|e| e.to_string())?;
        let socket = UnixListener::bind(host.run_dir().join("daemon.sock"));
        let told: Arc<Mutex<Told>> = Arc::default();
        let ending: Arc<AtomicBool> = Arc::default();
        let (to, end) = (Arc::clone(&told), Arc::clone(&ending));
        std::thread::spawn(move || {
            while !end.load(Ordering::Acquire) {
                take(&notes, &to);
            }
        });
        Ok(Manager {
            path,
            told,
            socket: socket.map_err(|e| e.to_string())?,
            ending,
            daemon: None,
        })
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
        let (supervisor, worker) = (host.pid("supervisor_pid")?, host.pid("worker_pid")?);
        let pids = [supervisor.to_string(), worker.to_string()];
        process::output("kill", &["-KILL", &pids[0], &pids[1]])?.success("kill")?;
        manager.ended()?;
        dead(worker)?;
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
    let worker = host.pid("worker_pid")?;
    let pids = [host.pid("supervisor_pid")?.to_string(), worker.to_string()];
    process::output("kill", &["-KILL", &pids[0], &pids[1]])?.success("kill")?;
    manager.ended()?;
    dead(worker)?;
    manager.start(&host)?;
    writes_go_on(&node)?;
    end_load(fio)?;
    host.ok("lvchange -an vg/linear")?;
    manager.ended()?;
    ensure!(host.run_dir().join("daemon.sock").exists(), "no socket");
    Ok(())
}
