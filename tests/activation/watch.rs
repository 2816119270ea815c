//! LVM2 takes a volume that ulvm serves for inactive: what it takes from it, ulvm must not write to any more.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use ulvm_test_support::loopdev::LoopDevice;
use ulvm_test_support::needs::Need;
use ulvm_test_support::process::Finished;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, lvm, process};

use crate::host::{Host, LOOP};

pub fn cases(suite: &mut Suite) {
    let mut needs = LOOP.to_vec();
    needs.push(Need::Program("lvm"));
    suite.case("activation::watch::lvremove", &needs, lvremove);
    suite.case("activation::watch::lvreduce", &needs, lvreduce);
    suite.case("activation::watch::unrelated_changes", &needs, unrelated);
}

/// Longer than the daemon takes to notice.
const NOTICED: Duration = Duration::from_secs(15);

/// LVM2 on the images of a host, which it sees through loop devices.
pub struct Lvm2 {
    loops: Vec<LoopDevice>,
    dir: tempfile::TempDir,
}

impl Lvm2 {
    pub fn on(host: &Host) -> Result<Self, String> {
        if let Some(why) = lvm::reference_unusable() {
            return Err(why);
        }
        let config = host.images().system_dir().join("lvm.conf");
        let before = std::fs::read_to_string(&config).unwrap_or_default();
        let text = format!("{before}\nulvm {{ watch_interval = 1 }}\n");
        std::fs::write(&config, text).map_err(|e| e.to_string())?;
        let attach = |name: &str| LoopDevice::over(&host.images().path(name), 512);
        Ok(Self {
            loops: vec![attach("a")?, attach("b")?],
            dir: ulvm_test_support::loopdev::scratch()?,
        })
    }

    pub fn ok(&self, line: &str) -> Result<Finished, String> {
        let nodes: Vec<_> = self
            .loops
            .iter()
            .map(|l| l.node().display().to_string())
            .collect();
        let config = format!(
            "global{{locking_dir=\"{}\" event_activation=0}} devices{{scan_lvs=0 use_devicesfile=0 hints=\"none\"}} \
             activation{{udev_sync=0 udev_rules=0 monitoring=0}}",
            self.dir.path().display()
        );
        let mut command = std::process::Command::new("lvm");
        command
            .args(line.split_whitespace())
            .args(["--driverloaded", "n", "--devices"]);
        command.arg(nodes.join(",")).args(["--config", &config]);
        command.env("LVM_SYSTEM_DIR", self.dir.path());
        process::run(&mut command, &[], Duration::from_secs(60))?.success(&format!("lvm {line}"))
    }
}

pub fn device(host: &Host, name: &str) -> Result<Value, String> {
    let status = host.status()?;
    let devices = status["devices"].as_array().cloned().unwrap_or_default();
    let found = devices.into_iter().find(|d| d["name"] == name);
    found.ok_or_else(|| format!("{name} is not there: {status}"))
}

fn wait_withdrawn(host: &Host, name: &str) -> Result<String, String> {
    let began = Instant::now();
    loop {
        let device = device(host, name)?;
        if let Some(why) = device["withdrawn"].as_str() {
            ensure!(device["suspended"] == true, "not suspended: {device}");
            return Ok(why.to_owned());
        }
        ensure!(began.elapsed() < NOTICED, "{name} goes on: {device}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn write(node: &Path, byte: u8) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(node)?;
    file.write_all_at(&[byte; 4096], 0)?;
    file.sync_all()
}

fn lvremove() -> Outcome {
    let host = Host::new()?;
    let lvm2 = Lvm2::on(&host)?;
    host.ok("vgchange -ay --export fuse vg")?;
    let node = host.node("vg/linear")?;
    write(&node, b'1').map_err(|e| e.to_string())?;
    lvm2.ok("lvremove -y vg/linear")?;
    let why = wait_withdrawn(&host, "vg-linear")?;
    ensure!(why.contains("volume group vg (seqno"), "{why}");
    // Somebody else's now; what was written before may be there.
    lvm2.ok("lvcreate -an -Zn -Wn -n next -L 32M vg")?;
    let client = std::thread::spawn({
        let node = node.clone();
        move || write(&node, b'2')
    });
    std::thread::sleep(Duration::from_secs(1));
    ensure!(!client.is_finished(), "a write was answered");
    let refused = host.run("dmsetup resume vg-linear")?;
    ensure!(
        refused.code != 0
            && refused.err().contains("is not resumed")
            && refused.err().contains("dmsetup remove --force"),
        "{}",
        refused.err()
    );
    // Nor does a new worker let anything through.
    let before = host.kill("worker_pid")?;
    while host.pid("worker_pid")? == before {}
    std::thread::sleep(Duration::from_millis(500));
    ensure!(!client.is_finished(), "a write was answered after a kill");
    ensure!(
        device(&host, "vg-striped")?["suspended"] == false,
        "the other one is suspended"
    );
    // The way out.
    let table = host.images().path("table");
    std::fs::write(&table, "0 65536 error\n").map_err(|e| e.to_string())?;
    host.ok(&format!("dmsetup load vg-linear {}", table.display()))?;
    host.ok("dmsetup resume vg-linear")?;
    let ended = client.join().map_err(|_| "the client panicked")?;
    ensure!(ended.is_err(), "a write to nowhere succeeded");
    host.ok("dmsetup remove vg-linear")?;
    let seen = host.ok("read vg/next --length 4096")?.stdout;
    ensure!(
        seen.iter().all(|b| *b == b'1'),
        "the new volume was written to"
    );
    Ok(())
}

fn lvreduce() -> Outcome {
    let host = Host::new()?;
    let lvm2 = Lvm2::on(&host)?;
    host.ok("lvchange -ay --export loop vg/striped")?;
    let node = host.node("vg/striped")?;
    lvm2.ok("lvreduce -f -L 8M vg/striped")?;
    let why = wait_withdrawn(&host, "vg-striped")?;
    ensure!(why.contains("lvchange --refresh vg/striped"), "{why}");
    let attr = host
        .ok("lvs --noheadings -o lv_attr,lv_suspended vg/striped")?
        .out();
    ensure!(
        attr.contains("-wi-s") && attr.contains("suspended"),
        "{attr}"
    );
    let refused = host.run("dmsetup resume vg-striped")?;
    ensure!(
        refused.err().contains("is not resumed"),
        "{}",
        refused.err()
    );
    host.ok("lvchange --refresh vg/striped")?;
    let device = device(&host, "vg-striped")?;
    ensure!(
        device["suspended"] == false && device["withdrawn"].is_null() && device["size"] == 8 << 20,
        "{device}"
    );
    write(&node, b'3').map_err(|e| e.to_string())?;
    host.ok("lvchange -an vg/striped")?;
    let seen = host.ok("read vg/striped --length 4096")?.stdout;
    ensure!(seen.iter().all(|b| *b == b'3'), "other data");
    Ok(())
}

fn unrelated() -> Outcome {
    let host = Host::new()?;
    let lvm2 = Lvm2::on(&host)?;
    host.ok("vgchange -ay --export loop vg")?;
    for line in [
        "lvcreate -an -Zn -Wn -n other -L 8M vg",
        "lvextend -L +8M vg/linear",
        "lvrename vg striped strips",
        "lvremove -y vg/other",
        "vgchange --addtag tag vg",
    ] {
        lvm2.ok(line)?;
    }
    std::thread::sleep(Duration::from_secs(3));
    for name in ["vg-linear", "vg-striped"] {
        let device = device(&host, name)?;
        ensure!(
            device["suspended"] == false && device["withdrawn"].is_null(),
            "{device}"
        );
    }
    write(&host.node("vg/linear")?, b'4').map_err(|e| e.to_string())?;
    host.ok("lvchange --refresh vg/linear")?;
    ensure!(
        device(&host, "vg-linear")?["size"] == 40 << 20,
        "not as large as its metadata say"
    );
    Ok(())
}
