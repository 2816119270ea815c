//! Image files with a daemon of their own, which is ended with them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use ulvm_test_support::images::Images;
use ulvm_test_support::needs::Need;
use ulvm_test_support::process::{self, Finished};
use ulvm_test_support::vectors::Vector;

use crate::ulvm;

/// What cases need that show volumes as files.
pub const FUSE: [Need; 2] = [Need::Path("/dev/fuse"), Need::Program("fusermount3")];
/// What cases need that show volumes as loop devices.
pub const LOOP: [Need; 3] = [
    Need::Root,
    Need::Path("/dev/fuse"),
    Need::Path("/dev/loop-control"),
];

/// Images, a volume group `vg` on them, and a daemon.
pub struct Host {
    images: Images,
    devices: Option<String>,
}

impl Host {
    /// With `vg` on two images of 64 MiB, and in it `linear` (32 MiB) and `striped` (16 MiB).
    pub fn new() -> Result<Host, String> {
        let mut images = Images::new(ulvm())?;
        let a = images.add_empty("a", 64 << 20)?.display().to_string();
        let b = images.add_empty("b", 64 << 20)?.display().to_string();
        images.ok(&format!("vgcreate vg {a} {b}"))?;
        images.ok("lvcreate -n linear -L 32M vg")?;
        images.ok("lvcreate -n striped -i 2 -I 64k -L 16M vg")?;
        std::fs::create_dir(images.path("dev")).map_err(|e| e.to_string())?;
        Ok(Host {
            images,
            devices: None,
        })
    }

    /// With the images of a vector.
    pub fn of(vector: &Vector) -> Result<Host, String> {
        let mut images = Images::new(ulvm())?;
        for name in vector.images() {
            images.add(&name, &vector.image(&name)?)?;
        }
        std::fs::create_dir(images.path("dev")).map_err(|e| e.to_string())?;
        Ok(Host {
            images,
            devices: None,
        })
    }

    /// The same, seen through other devices.
    pub fn through(mut self, devices: &Path) -> Host {
        self.devices = Some(devices.display().to_string());
        self
    }

    /// One more image, of so many bytes; its name.
    pub fn add(&mut self, name: &str, size: u64) -> Result<String, String> {
        Ok(self.images.add_empty(name, size)?.display().to_string())
    }

    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Where the daemon keeps its sockets.
    pub fn run_dir(&self) -> PathBuf {
        self.images.lock_dir().with_file_name("run")
    }

    /// ulvm with the daemon and device folder of this host.
    pub fn command(&self, line: &str) -> Command {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = self.images.command(&words);
        command.env("DM_DEV_DIR", self.images.path("dev"));
        if let Some(devices) = &self.devices {
            command.env("ULVM_DEVICES", devices);
        }
        command
    }

    pub fn run(&self, line: &str) -> Result<Finished, String> {
        process::run(&mut self.command(line), &[], Duration::from_secs(120))
    }

    pub fn ok(&self, line: &str) -> Result<Finished, String> {
        self.run(line)?.success(&format!("ulvm {line}"))
    }

    /// The daemon's state; an error if there is none.
    pub fn status(&self) -> Result<Value, String> {
        let done = self.ok("daemon --status --json")?;
        serde_json::from_slice(&done.stdout).map_err(|e| format!("{e}: {}", done.out()))
    }

    /// The process with that role, by the daemon's state.
    pub fn pid(&self, role: &str) -> Result<u64, String> {
        let began = Instant::now();
        loop {
            let status = self.status()?;
            match status[role].as_u64() {
                Some(pid) => return Ok(pid),
                None if began.elapsed() > Duration::from_secs(20) => {
                    return Err(format!("{role} is not there: {status}"));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Kills a process of the daemon.
    pub fn kill(&self, role: &str) -> Result<u64, String> {
        let pid = self.pid(role)?;
        process::output("kill", &["-KILL", &pid.to_string()])?.success("kill")?;
        Ok(pid)
    }

    /// A link below the device folder, and where it leads.
    pub fn node(&self, link: &str) -> Result<PathBuf, String> {
        let path = self.images.path("dev").join(link);
        std::fs::read_link(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Waits until the daemon has ended.
    pub fn wait_ended(&self, limit: Duration) -> Result<(), String> {
        let began = Instant::now();
        // A question would keep it from ending.
        let socket = self.images.lock_dir().with_file_name("run");
        let socket = socket.join("daemon.sock");
        while socket.exists() {
            if began.elapsed() > limit {
                return Err("the daemon did not end".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.run("vgchange -an vg"));
        let Ok(status) = self.status() else {
            return;
        };
        if self.run("daemon --stop").is_ok_and(|d| d.code == 0) {
            drop(self.wait_ended(Duration::from_secs(10)));
            return;
        }
        // A case has failed half-way: nothing of it may stay behind.
        for role in ["supervisor_pid", "worker_pid"] {
            if let Some(pid) = status[role].as_u64() {
                drop(process::output("kill", &["-KILL", &pid.to_string()]));
            }
        }
        for device in status["devices"].as_array().into_iter().flatten() {
            if let Some(node) = device["node"]
                .as_str()
                .filter(|n| n.starts_with("/dev/loop"))
            {
                drop(process::output("losetup", &["-d", node]));
            }
        }
        let folder = self.images.lock_dir().with_file_name("run").join("volumes");
        drop(process::output(
            "umount",
            &["-l".as_ref(), folder.as_os_str()],
        ));
    }
}
