//! Commands that are run when something happens.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Class, Event};

/// Events that may wait for their commands.
const WAITING: usize = 64;
/// How long a command may take before it is killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What is run, by class; and for all classes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Commands {
    /// Shell commands by class.
    pub of: BTreeMap<Class, String>,
    /// A shell command for every event.
    pub any: Option<String>,
}

impl Commands {
    /// Reads the settings `ulvm/on_CLASS` and `ulvm/on_any`; `setting` gives an empty text for what
    /// is not set.
    pub fn configured(setting: impl Fn(&str) -> String) -> Self {
        let set = |name: &str| {
            let text = setting(&format!("ulvm/on_{name}"));
            (!text.is_empty()).then_some(text)
        };
        let of = Class::ALL.into_iter();
        Self {
            of: of.filter_map(|c| Some((c, set(c.name())?))).collect(),
            any: set("any"),
        }
    }

    fn for_event(&self, event: &Event) -> VecDeque<String> {
        let own = self.of.get(&event.class);
        own.into_iter().chain(&self.any).cloned().collect()
    }
}

/// A thread that runs commands, one at a time.
#[derive(Debug)]
pub struct Runner {
    commands: Commands,
    queue: SyncSender<(Event, String)>,
    skipped: u64,
}

impl Runner {
    /// Starts it.
    pub fn start(commands: Commands) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (queue, waiting) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("ulvm-commands".into())
            .spawn(move || run_all(&waiting))?;
        let runner = Self {
            commands,
            queue,
            skipped: 0,
        };
        Ok((runner, thread))
    }

    /// Has the commands of an event run, some time. Gives the number of those that were not before
    /// it, once there is place again.
    pub fn run(&mut self, event: &Event) -> Option<u64> {
        let mut told = None;
        for command in self.commands.for_event(event) {
            match self.queue.try_send((event.clone(), command)) {
                Ok(()) if self.skipped > 0 => told = Some(std::mem::take(&mut self.skipped)),
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.skipped += 1,
            }
        }
        told
    }
}

fn run_all(waiting: &Receiver<(Event, String)>) {
    loop {
        match waiting.recv_timeout(Duration::from_secs(3600)) {
            Ok((event, command)) => run(&event, &command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Runs a command to its end. What becomes of it is its own affair.
fn run(event: &Event, command: &str) {
    let number = |n: Option<u64>| n.map_or(String::new(), |n| n.to_string());
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("ULVM_EVENT", event.class.name())
        .env("ULVM_NUMBER", event.number.to_string())
        .env("ULVM_TIME", &event.time)
        .env("ULVM_DEVICE", event.device.as_deref().unwrap_or_default())
        .env("ULVM_SECTOR", number(event.sector))
        .env("ULVM_BELOW", event.below.as_deref().unwrap_or_default())
        .env("ULVM_BELOW_SECTOR", number(event.below_sector))
        .env("ULVM_TEXT", &event.text)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    if let Ok(mut child) = child {
        wait(&mut child, PATIENCE);
    }
}

fn wait(child: &mut Child, patience: Duration) {
    let began = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if began.elapsed() > patience {
            let group = rustix::process::Pid::from_child(child);
            // Fails only if all of it has ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = child.wait();
            return;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_by_class() {
        let commands = Commands::configured(|path| match path {
            "ulvm/on_error" => "a".into(),
            "ulvm/on_any" => "b".into(),
            _ => String::new(),
        });
        let of = |class| commands.for_event(&Event::new(class, None, ""));
        assert_eq!(of(Class::Error), ["a", "b"]);
        assert_eq!(of(Class::Resumed), ["b"]);
    }

    #[test]
    fn a_command_that_hangs_holds_up_nobody() {
        let commands = Commands {
            of: BTreeMap::new(),
            any: Some("sleep 1000".into()),
        };
        let (mut runner, _thread) = Runner::start(commands).expect("a thread");
        let event = Event::new(Class::Error, None, "");
        for _ in 0..1000 {
            assert_eq!(runner.run(&event), None);
        }
        assert!(runner.skipped >= 1000 - WAITING as u64 - 1);
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & wait"])
            .process_group(0)
            .spawn()
            .expect("a child");
        wait(&mut child, Duration::from_millis(50));
        assert!(child.try_wait().expect("reaped").is_some());
    }
}
