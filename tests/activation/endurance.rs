//! File systems on volumes under load: whole, and while the worker is killed again and again.
//!
//! `ULVM_PROVE=1` takes the full counts, otherwise a sample is taken.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::disk;
use crate::host::{Host, LOOP};
use crate::kernel_log::KernelLog;
use crate::kill;

const MIB: u64 = 1 << 20;

pub fn cases(suite: &mut Suite) {
    for (kind, mkfs, check) in [
        ("ext4", "mkfs.ext4", "e2fsck"),
        ("xfs", "mkfs.xfs", "xfs_repair"),
    ] {
        let mut needs = LOOP.to_vec();
        needs.extend(["fio", "dmesg", mkfs, check].map(Need::Program));
        let name = format!("activation::endurance::{kind}");
        suite.case(name, &needs, move || whole(kind));
        let name = format!("activation::endurance::{kind}_under_kills");
        suite.case(name, &needs, move || under_kills(kind));
    }
}

fn prove() -> bool {
    std::env::var("ULVM_PROVE").is_ok_and(|value| value == "1")
}

fn sh(program: &str, words: &[&str]) -> Outcome {
    let done = process::output(program, words)?;
    done.success(&format!("{program} {}", words.join(" ")))
        .map(drop)
}

/// A file system on a volume that `lvcreate` has made, mounted.
struct Site {
    /// Before the host, which could not let go of a mounted volume.
    mount: Mount,
    kind: &'static str,
    node: String,
    log: KernelLog,
    host: Host,
}

struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        drop(process::output(
            "umount",
            &["-l".as_ref(), self.0.as_os_str()],
        ));
    }
}

impl Site {
    fn new(kind: &'static str) -> Result<Site, String> {
        let mut host = Host::new()?;
        let image = host.add("c", 1 << 30)?;
        let log = KernelLog::begin()?;
        host.ok(&format!("vgextend vg {image}"))?;
        // The least that mkfs.xfs takes, and a stripe over two more images for ext4.
        let line = match kind {
            "xfs" => format!("lvcreate -ay -n fs -L {}b vg {image}", 320 * MIB),
            _ => "lvcreate -ay -n fs -i 2 -I 64k -L 40M vg".to_owned(),
        };
        host.ok(&line)?;
        let node = host.node("vg/fs")?.display().to_string();
        sh(&format!("mkfs.{kind}"), &["-q", &node])?;
        let mount = Mount(host.images().path("mnt"));
        std::fs::create_dir(&mount.0).map_err(|e| e.to_string())?;
        sh("mount", &[&node, &mount.0.display().to_string()])?;
        Ok(Site {
            mount,
            kind,
            node,
            log,
            host,
        })
    }

    /// Random writes of several lengths to files, read back and checked, for so long.
    fn fio(&self, time: Duration) -> Result<Child, String> {
        Command::new("fio")
            .args(["--name=files", "--rw=randwrite", "--bsrange=4k-64k"])
            .args(["--size=16m", "--nrfiles=4", "--fallocate=none"])
            .args(["--ioengine=libaio", "--iodepth=16", "--direct=1"])
            .args(["--verify=crc32c", "--verify_backlog=128"])
            .args(["--verify_fatal=1", "--loops=100000", "--time_based"])
            .arg(format!("--runtime={}", time.as_secs()))
            .arg(format!("--directory={}", self.mount.0.display()))
            .current_dir(self.host.images().path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("fio: {e}"))
    }

    /// Not a word of errors from the kernel, and a clean file system.
    fn end(self) -> Outcome {
        let folder = self.mount.0.display().to_string();
        sh("umount", &[&folder])?;
        match self.kind {
            "xfs" => sh("xfs_repair", &["-n", &self.node])?,
            _ => sh("e2fsck", &["-f", "-n", &self.node])?,
        }
        let errors = self.log.errors(&disk::name(Path::new(&self.node)))?;
        ensure!(errors.is_empty(), "the kernel's log: {errors:?}");
        self.host.ok("lvchange -an vg/fs").map(drop)
    }
}

fn whole(kind: &'static str) -> Outcome {
    let site = Site::new(kind)?;
    let time = Duration::from_secs(if prove() { 30 } else { 3 });
    let fio = site.fio(time)?;
    let out = fio.wait_with_output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success() && said.contains("err= 0"), "{said}");
    ensure!(!said.contains("verify:"), "{said}");
    site.end()
}

fn under_kills(kind: &'static str) -> Outcome {
    let site = Site::new(kind)?;
    let mut fio = site.fio(Duration::from_secs(600))?;
    std::thread::sleep(Duration::from_millis(500));
    let kills = kill::under_load(&site.host, &mut fio, if prove() { 20 } else { 5 })?;
    kill::end_load(fio)?;
    println!("{kind}: {kills}");
    site.end()
}
