//! Which volumes are activated and how, what a failed activation leaves, and very many volumes.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::vectors::Vector;
use ulvm_test_support::{ensure, process};

use crate::host::{FUSE, Host, LOOP};

pub fn cases(suite: &mut Suite) {
    suite.case("activation::choices::volume_lists", &FUSE, lists);
    suite.case("activation::choices::failed_steps", &LOOP, failed_steps);
    suite.case("activation::choices::origins", &FUSE, origins);
    suite.case("activation::choices::partial", &FUSE, partial);
    suite.case("activation::choices::many", &LOOP, many);
}

fn configure(host: &Host, text: &str) -> Outcome {
    let path = host.images().system_dir().join("lvm.conf");
    std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn active(host: &Host) -> Result<Vec<String>, String> {
    let seen = host
        .ok("lvs --noheadings -o lv_name -S lv_active=active vg")?
        .out();
    Ok(seen.split_whitespace().map(str::to_owned).collect())
}

fn lists() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange --addtag boot vg/striped")?;
    let both = ["linear", "striped"];
    let cases: [(&str, &str, &[&str]); 9] = [
        ("", "-aay", &both),
        ("auto_activation_volume_list = []", "-aay", &[]),
        ("auto_activation_volume_list = []", "-ay", &both),
        (
            "auto_activation_volume_list = [ \"vg/linear\" ]",
            "-aay",
            &["linear"],
        ),
        (
            "auto_activation_volume_list = [ \"@boot\", \"other\" ]",
            "-aay",
            &["striped"],
        ),
        (
            "auto_activation_volume_list = [ \"vg\" ]",
            "-aay --sysinit",
            &both,
        ),
        ("volume_list = [ \"vg/striped\" ]", "-ay", &["striped"]),
        (
            "volume_list = [ \"@*\" ]\n} tags { boot {}",
            "-ay",
            &["striped"],
        ),
        (
            "} tags { here { host_list = [ \"elsewhere\" ] }",
            "-ay",
            &both,
        ),
    ];
    for (config, how, expected) in cases {
        configure(&host, &format!("activation {{ {config} }}\n"))?;
        host.ok(&format!("vgchange {how} --export fuse vg"))?;
        let seen = active(&host)?;
        host.ok("vgchange -an vg")?;
        ensure!(seen == *expected, "{config}: {how} activated {seen:?}");
    }
    configure(
        &host,
        "activation { read_only_volume_list = [ \"vg/linear\" ] }\n",
    )?;
    host.ok("vgchange -ay --export fuse vg")?;
    for (name, writable) in [("linear", false), ("striped", true)] {
        let node = host.node(&format!("vg/{name}"))?;
        let written = OpenOptions::new().write(true).open(node);
        let written = written.and_then(|f| f.write_all_at(&[1; 4096], 0));
        ensure!(written.is_ok() == writable, "{name}: {written:?}");
    }
    host.ok("vgchange -an vg")?;
    // Marks in the metadata.
    configure(&host, "")?;
    host.ok("lvchange --setautoactivation n vg/linear")?;
    host.ok("lvchange -ky vg/striped")?;
    host.ok("vgchange -aay --export fuse vg")?;
    ensure!(active(&host)?.is_empty(), "{:?}", active(&host)?);
    host.ok("vgchange -aay -K --export fuse vg")?;
    ensure!(active(&host)? == ["striped"], "{:?}", active(&host)?);
    host.ok("lvchange -ay --export fuse vg/linear")?;
    ensure!(active(&host)? == both, "{:?}", active(&host)?);
    Ok(())
}

/// Each step that can be made to fail fails once: the message names it, and nothing stays.
fn failed_steps() -> Outcome {
    let host = Host::new()?;
    let dev = host.images().path("dev");
    let run = host.images().lock_dir().with_file_name("run");
    let in_the_way = [
        (dev.join("mapper/vg-striped"), "making the link"),
        (dev.join("vg/striped"), "making the link"),
        (run.join("volumes"), "mounting the folder of volumes"),
    ];
    for (n, (path, step)) in in_the_way.iter().enumerate() {
        let parent = path.parent().ok_or("no folder")?;
        std::fs::create_dir_all(parent).map_err(|e| e.to_string())?;
        std::fs::write(path, "here").map_err(|e| format!("{}: {e}", path.display()))?;
        let refused = host.run("lvchange -ay --export loop vg/striped")?;
        let said = refused.err();
        ensure!(
            refused.code == 5
                && said.contains("Logical volume vg/striped is not activated")
                && said.contains(step)
                && said.contains(&path.display().to_string()),
            "{step}: ended with {}: {said}",
            refused.code
        );
        let devices = host.status()?["devices"].clone();
        ensure!(
            devices.as_array().is_some_and(Vec::is_empty),
            "{step}: {devices}"
        );
        let loops = process::output("losetup", &["-l", "-n", "-O", "BACK-FILE"])?.out();
        ensure!(
            !loops.contains(&run.display().to_string()),
            "{step}: {loops}"
        );
        for link in ["mapper/vg-striped", "vg/striped"] {
            ensure!(host.node(link).is_err(), "{step}: the link {link} stays");
        }
        std::fs::remove_file(path).map_err(|e| e.to_string())?;
        if n + 1 < in_the_way.len() {
            host.ok("daemon --stop")?;
            host.wait_ended(Duration::from_secs(10))?;
        }
        // The folder of volumes can be made only where nothing is.
        drop(std::fs::remove_dir(run.join("volumes")));
    }
    host.ok("lvchange -ay --export loop vg/striped").map(drop)
}

/// Nothing copies what writes to an origin replace.
fn origins() -> Outcome {
    let host = Host::of(&Vector::load("snapshot-thick")?)?;
    let lv = "v-snapshot-thick/o";
    let refused = host.run(&format!("lvchange -ay --export fuse {lv}"))?;
    ensure!(
        refused.code == 5 && refused.err().contains("is the origin of"),
        "ended with {}: {}",
        refused.code,
        refused.err()
    );
    host.ok(&format!("lvchange -pr {lv}"))?;
    host.ok(&format!("lvchange -ay --export fuse {lv}"))?;
    let refused = host.run(&format!("lvchange -prw {lv}"))?;
    ensure!(
        refused.err().contains("is the origin of"),
        "{}",
        refused.err()
    );
    let node = host.node(lv)?;
    let written = OpenOptions::new().write(true).open(node);
    let written = written.and_then(|f| f.write_all_at(&[1; 4096], 0));
    ensure!(written.is_err(), "an origin was written to");
    host.ok(&format!("lvchange -an {lv}")).map(drop)
}

/// With a PV missing: refused, and by halves if that is wanted.
fn partial() -> Outcome {
    let host = Host::new()?;
    let node = || host.node("vg/striped");
    let gone = host.images().path("b");
    std::fs::rename(&gone, gone.with_extension("away")).map_err(|e| e.to_string())?;
    for mode in ["complete", "degraded"] {
        let line = format!("lvchange -ay --export fuse --activationmode {mode} vg/striped");
        let refused = host.run(&line)?;
        ensure!(
            refused.code == 5 && node().is_err(),
            "{mode}: {}",
            refused.err()
        );
    }
    host.ok("lvchange -ay --export fuse --activationmode partial vg/striped")?;
    let file = OpenOptions::new().read(true).write(true).open(node()?);
    let file = file.map_err(|e| e.to_string())?;
    // Chunks of 64 KiB go to the image that is there and to the one that is not, in turn.
    for (chunk, there) in [(0, true), (1, false), (2, true), (3, false)] {
        let done = file.write_all_at(&[7; 4096], chunk << 16);
        ensure!(done.is_ok() == there, "chunk {chunk}: {done:?}");
    }
    drop(file);
    host.ok("lvchange -an vg/striped")?;
    std::fs::rename(gone.with_extension("away"), &gone).map_err(|e| e.to_string())
}

/// As many as are activated together; all of [`MANY`] with `ULVM_PROVE=1`.
const SAMPLE: usize = 150;
const MANY: usize = 1000;

fn many() -> Outcome {
    let number = match std::env::var_os("ULVM_PROVE") {
        Some(_) => MANY,
        None => SAMPLE,
    };
    let mut host = Host::new()?;
    let image = host.add("c", 1 << 30)?;
    host.ok(&format!("vgcreate -s 512k many {image}"))?;
    for n in 0..number {
        host.ok(&format!("lvcreate -A n -an -Zn -Wn -n lv{n} -l 1 many"))?;
    }
    let began = Instant::now();
    host.ok("vgchange -ay --export loop many")?;
    let activated = began.elapsed();
    let listed = host.ok("lvs --noheadings -o lv_attr many")?.out();
    let listed = listed.lines().filter(|l| l.contains("-wi-a")).count();
    ensure!(
        listed == number,
        "{listed} of {number} are listed as active"
    );
    for n in [0, number / 2, number - 1] {
        let node = host.node(&format!("many/lv{n}"))?;
        let file = OpenOptions::new().write(true).open(&node);
        let written = file.and_then(|f| {
            f.write_all_at(&[n as u8; 4096], 0)?;
            f.sync_all()
        });
        written.map_err(|e| format!("{}: {e}", node.display()))?;
    }
    // A worker that dies is replaced with all of them.
    let before = host.kill("worker_pid")?;
    while host.pid("worker_pid")? == before {}
    let open = OpenOptions::new().read(true).open(host.node("many/lv0")?);
    let open = open.map_err(|e| e.to_string())?;
    let refused = host.run("vgchange -an many")?;
    ensure!(
        refused.err().contains("with 1 open logical volume(s)"),
        "{}",
        refused.err()
    );
    drop(open);
    let began = Instant::now();
    host.ok("vgchange -an many")?;
    println!(
        "{number} volumes: activated in {activated:?}, deactivated in {:?}",
        began.elapsed()
    );
    let devices = host.status()?["devices"].as_array().map(Vec::len);
    ensure!(devices == Some(0), "{devices:?} devices stay");
    for n in [0, number / 2, number - 1] {
        let seen = host.ok(&format!("read many/lv{n} --length 4096"))?.stdout;
        ensure!(seen.iter().all(|b| *b == n as u8), "lv{n}: other data");
    }
    Ok(())
}
