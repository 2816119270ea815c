//! Volumes as files and loop devices: data, links, reports, and what is refused.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure, process};

use crate::disk::Disk;
use crate::host::{FUSE, Host, LOOP};

pub fn cases(suite: &mut Suite) {
    suite.case("activation::volumes::file", &FUSE, file);
    suite.case("activation::volumes::loop_device", &LOOP, loop_device);
    suite.case("activation::volumes::reports", &FUSE, reports);
    suite.case("activation::volumes::open_ones_stay", &LOOP, open_ones);
    suite.case("activation::volumes::all_or_nothing", &FUSE, all_or_nothing);
    suite.case("activation::volumes::guards", &FUSE, guards);
    suite.case("activation::volumes::grows_while_open", &LOOP, grows);
    suite.case("activation::volumes::dmsetup", &FUSE, dmsetup);
    suite.case("activation::volumes::durable_writes", &LOOP, durable);
    let mut mkfs = LOOP.to_vec();
    mkfs.extend([Need::Program("mkfs.ext4"), Need::Program("fsck.ext4")]);
    suite.case("activation::volumes::file_system", &mkfs, file_system);
}

fn write_and_read(host: &Host, node: &Path, name: &str) -> Outcome {
    let data = content::sectors(7, 0, 4 << 11);
    let file = OpenOptions::new().read(true).write(true).open(node);
    let file = file.map_err(|e| format!("{}: {e}", node.display()))?;
    file.write_all_at(&data, 1 << 20)
        .map_err(|e| e.to_string())?;
    file.sync_all().map_err(|e| e.to_string())?;
    let mut back = vec![0; data.len()];
    file.read_exact_at(&mut back, 1 << 20)
        .map_err(|e| e.to_string())?;
    ensure!(back == data, "{}: not what was written", node.display());
    drop(file);
    host.ok(&format!("lvchange -an {name}"))?;
    let seen = host.ok(&format!("read {name} --offset 1m --length 4m"))?;
    ensure!(seen.stdout == data, "{name}: not what was written");
    Ok(())
}

fn file() -> Outcome {
    let host = Host::new()?;
    for name in ["linear", "striped"] {
        host.ok(&format!("lvchange -ay --export fuse vg/{name}"))?;
        let node = host.node(&format!("vg/{name}"))?;
        ensure!(
            node.ends_with(format!("volumes/vg-{name}")),
            "{}",
            node.display()
        );
        ensure!(host.node(&format!("mapper/vg-{name}"))? == node, "{name}");
        write_and_read(&host, &node, &format!("vg/{name}"))?;
        ensure!(
            host.node(&format!("vg/{name}")).is_err(),
            "the link is still there"
        );
    }
    Ok(())
}

fn loop_device() -> Outcome {
    let host = Host::new()?;
    host.ok("vgchange -ay --export loop vg")?;
    for name in ["linear", "striped"] {
        let node = host.node(&format!("vg/{name}"))?;
        ensure!(node.starts_with("/dev/"), "{}", node.display());
        let sysfs = Path::new("/sys/block").join(node.file_name().unwrap_or_default());
        let direct = std::fs::read_to_string(sysfs.join("loop/dio")).unwrap_or_default();
        ensure!(
            direct.trim() == "1",
            "{}: the page cache is used",
            node.display()
        );
        write_and_read(&host, &node, &format!("vg/{name}"))?;
        ensure!(
            !sysfs.join("loop/backing_file").exists(),
            "{} is attached",
            node.display()
        );
    }
    Ok(())
}

fn reports() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    let line = "lvs --noheadings --separator , -o lv_attr,lv_active,lv_suspended,lv_live_table,lv_device_open -S lv_active=active";
    let seen = host.ok(line)?.out();
    ensure!(
        seen.trim() == "-wi-a-----,active,,live table present,",
        "{seen}"
    );
    let node = host.node("vg/linear")?;
    let open = File::open(&node).map_err(|e| e.to_string())?;
    let seen = host.ok(line)?.out();
    ensure!(
        seen.trim() == "-wi-ao----,active,,live table present,open",
        "{seen}"
    );
    drop(open);
    let scan = host.ok("lvscan")?.out();
    let active = scan
        .lines()
        .filter(|l| l.trim_start().starts_with("ACTIVE"));
    ensure!(active.count() == 1, "{scan}");
    let said = host.ok("vgchange -ay --export fuse vg")?.out();
    ensure!(
        said.contains("2 logical volume(s) in volume group \"vg\" now active"),
        "{said}"
    );
    let said = host.ok("vgchange -an vg")?.out();
    ensure!(
        said.contains("0 logical volume(s) in volume group \"vg\" now active"),
        "{said}"
    );
    Ok(())
}

fn open_ones() -> Outcome {
    let host = Host::new()?;
    host.ok("vgchange -ay --export loop vg")?;
    let open = File::open(host.node("vg/linear")?).map_err(|e| e.to_string())?;
    let refused = host.run("lvchange -an vg/linear")?;
    ensure!(refused.code == 5, "ended with {}", refused.code);
    ensure!(
        refused.err().contains("Logical volume vg/linear in use."),
        "{}",
        refused.err()
    );
    let refused = host.run("vgchange -an vg")?;
    ensure!(
        refused.err().contains("with 1 open logical volume(s)"),
        "{}",
        refused.err()
    );
    let refused = host.run("lvremove -f vg/linear")?;
    ensure!(
        refused.code == 5 && refused.err().contains("in use"),
        "{}",
        refused.err()
    );
    host.ok("lvchange -an vg/striped")?;
    drop(open);
    host.ok("lvremove -f vg/linear")?;
    ensure!(host.node("vg/linear").is_err(), "the link is still there");
    Ok(())
}

/// One of two images is in use by somebody else: nothing of the volume stays.
fn all_or_nothing() -> Outcome {
    let host = Host::new()?;
    let image = host.images().path("b").display().to_string();
    let table = host.images().path("table");
    std::fs::write(&table, format!("0 2048 linear {image} 0\n")).map_err(|e| e.to_string())?;
    let socket = host.images().path("socket");
    let mut other = host
        .command(&format!(
            "serve --table {} --nbd unix:{}",
            table.display(),
            socket.display()
        ))
        .stdout(std::process::Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let refused = host.run("lvchange -ay --export fuse vg/striped");
    drop(other.kill());
    drop(other.wait());
    let refused = refused?;
    ensure!(refused.code == 5, "ended with {}", refused.code);
    ensure!(refused.err().contains("in use"), "{}", refused.err());
    ensure!(host.node("vg/striped").is_err(), "a link stayed");
    let status = host.status()?;
    ensure!(
        status["devices"].as_array().is_some_and(Vec::is_empty),
        "{status}"
    );
    host.ok("lvchange -ay --export fuse vg/striped").map(drop)
}

fn guards() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    let refused = host.run("vgexport vg")?;
    ensure!(refused.code == 5, "ended with {}", refused.code);
    ensure!(refused.err().contains("active"), "{}", refused.err());
    host.ok("lvextend -L +4M vg/striped")?;
    let declined = host.run("lvremove vg/linear")?;
    ensure!(declined.code == 5, "removed without being asked");
    host.ok("lvremove -y vg/linear")?;
    ensure!(host.node("vg/linear").is_err(), "the link is still there");
    Ok(())
}

/// A volume is extended while somebody has it open and writes to it.
fn grows() -> Outcome {
    let host = Host::new()?;
    for export in ["loop", "fuse"] {
        host.ok(&format!("lvchange -ay --export {export} vg/linear"))?;
        let node = host.node("vg/linear")?;
        let file = OpenOptions::new().read(true).write(true).open(&node);
        let mut file = file.map_err(|e| e.to_string())?;
        let before = file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
        file.write_all_at(&[1; 4096], before - 4096)
            .map_err(|e| e.to_string())?;
        host.ok("lvextend -L +8M vg/linear")?;
        let after = std::fs::File::open(&node).and_then(|mut f| f.seek(SeekFrom::End(0)));
        let after = after.map_err(|e| e.to_string())?;
        ensure!(
            after == before + (8 << 20),
            "{export}: {before} bytes became {after}"
        );
        file.write_all_at(&[2; 4096], before)
            .map_err(|e| e.to_string())?;
        file.sync_all().map_err(|e| e.to_string())?;
        host.ok("lvchange --refresh vg/linear")?;
        drop(file);
        host.ok("lvchange -an vg/linear")?;
        let at = before - 4096;
        let seen = host
            .ok(&format!("read vg/linear --offset {at} --length 8192"))?
            .stdout;
        ensure!(
            seen == [[1; 4096], [2; 4096]].concat(),
            "{export}: other data"
        );
    }
    Ok(())
}

/// The life of a device made of a table.
fn dmsetup() -> Outcome {
    let host = Host::new()?;
    let (a, b) = (host.images().path("c"), host.images().path("d"));
    for (path, byte) in [(&a, 1), (&b, 2)] {
        std::fs::write(path, vec![byte; 1 << 20]).map_err(|e| e.to_string())?;
    }
    let write = |file: &str, text: String| {
        let path = host.images().path(file);
        std::fs::write(&path, text).map_err(|e| e.to_string())?;
        Ok::<_, String>(path.display().to_string())
    };
    let one = write(
        "one",
        format!("0 1024 linear {} 0\n1024 512 zero\n", a.display()),
    )?;
    let two = write("two", format!("0 2048 linear {} 0\n", b.display()))?;
    host.ok(&format!(
        "dmsetup create dev --export fuse --uuid U-1 {one}"
    ))?;
    let node = host.node("mapper/dev")?;
    let first = || -> Result<u8, String> {
        let mut byte = [0];
        let file = File::open(&node).map_err(|e| e.to_string())?;
        file.read_exact_at(&mut byte, 0)
            .map_err(|e| e.to_string())?;
        Ok(byte[0])
    };
    ensure!(first()? == 1, "other data");
    let table = host.ok("dmsetup table dev")?.out();
    ensure!(
        table == format!("0 1024 linear {} 0\n1024 512 zero \n", a.display()),
        "{table}"
    );
    let wrong = write("wrong", "0 8 nonsense\n".into())?;
    let refused = host.run(&format!("dmsetup load dev {wrong}"))?;
    ensure!(
        refused.code == 1 && refused.err().contains("nonsense"),
        "{}",
        refused.err()
    );
    host.ok(&format!("dmsetup load dev {two}"))?;
    ensure!(first()? == 1, "the loaded table is live");
    let loaded = host.ok("dmsetup table --inactive dev")?.out();
    ensure!(
        loaded == format!("0 2048 linear {} 0\n", b.display()),
        "{loaded}"
    );
    host.ok("dmsetup suspend dev")?;
    let info = host.ok("dmsetup info dev")?.out();
    ensure!(
        info.contains("SUSPENDED") && info.contains("LIVE & INACTIVE"),
        "{info}"
    );
    // A worker that dies now leaves the device as it is.
    let before = host.kill("worker_pid")?;
    while host.pid("worker_pid")? == before {}
    host.ok("dmsetup resume dev")?;
    ensure!(first()? == 2, "the loaded table is not live");
    ensure!(
        host.ok("dmsetup ls")?.out().starts_with("dev\t("),
        "not listed"
    );
    ensure!(
        host.run("dmsetup remove other")?.code == 1,
        "removed what is not there"
    );
    host.ok("dmsetup remove dev")?;
    ensure!(
        host.ok("dmsetup ls")?.out() == "No devices found\n",
        "still listed"
    );
    Ok(())
}

/// Flushes that a loop device has had.
fn flushes(device: &LoopDevice) -> Result<u64, String> {
    let name = crate::disk::name(device.node());
    let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat"));
    let stat = stat.map_err(|e| e.to_string())?;
    let word = stat.split_whitespace().nth(15).unwrap_or_default();
    word.parse().map_err(|e| format!("{stat}: {e}"))
}

/// A write through a file that was opened with O_DSYNC or O_SYNC is on the disk when it is
/// answered, one through another file after a flush.
fn durable() -> Outcome {
    const O_DSYNC: i32 = 0o10000;
    const O_SYNC: i32 = 0o4_010_000;
    let host = Host::new()?;
    let dir = loopdev::scratch()?;
    let device = LoopDevice::attach(&dir.path().join("pv"), 64 << 20, 512)?;
    let node = device.node().display().to_string();
    let host = host.through(device.node());
    host.ok(&format!("vgcreate sync {node}"))?;
    host.ok("lvcreate -an -Zn -Wn -n lv -L 16M sync")?;
    for export in ["fuse", "loop"] {
        host.ok(&format!("lvchange -ay --export {export} sync/lv"))?;
        let file = host.node("sync/lv")?;
        for (flags, durable) in [(0, false), (O_DSYNC, true), (O_SYNC, true)] {
            let disk = Disk::open_with(&file, flags)?;
            for n in 0..3 {
                let before = flushes(&device)?;
                disk.writes(n << 16, &[n as u8; 4096])?;
                let after = flushes(&device)?;
                ensure!(
                    (after > before) == durable,
                    "{export}, flags {flags:o}: {before} flushes, then {after}"
                );
            }
            let before = flushes(&device)?;
            disk.writes(1 << 20, &[7; 4096])?;
            disk.file().sync_all().map_err(|e| e.to_string())?;
            ensure!(
                flushes(&device)? > before,
                "{export}, flags {flags:o}: fsync"
            );
        }
        host.ok("lvchange -an sync/lv")?;
    }
    Ok(())
}

fn file_system() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export loop vg/striped")?;
    let node = host.node("vg/striped")?.display().to_string();
    process::output("mkfs.ext4", &["-q", &node])?.success("mkfs.ext4")?;
    let dir = host.images().path("mnt");
    std::fs::create_dir(&dir).map_err(|e| e.to_string())?;
    let at = dir.display().to_string();
    process::output("mount", &[&node, &at])?.success("mount")?;
    let written = std::fs::write(dir.join("file"), vec![5; 3 << 20]);
    let refused = host.run("lvchange -an vg/striped");
    process::output("umount", &[&at])?.success("umount")?;
    written.map_err(|e| e.to_string())?;
    ensure!(refused?.code == 5, "a mounted volume was deactivated");
    host.ok("lvchange -an vg/striped")?;
    host.ok("lvchange -ay --export loop vg/striped")?;
    let node = host.node("vg/striped")?.display().to_string();
    process::output("fsck.ext4", &["-f", "-n", &node])?.success("fsck.ext4")?;
    Ok(())
}
