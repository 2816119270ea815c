//! The main job on plain image files, without root: what the README promises, and what only ulvm
//! does (`read`, `write`, `demo`, zeroing without a kernel driver, calling by other names).

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ulvm_test_support::images::Images;
use ulvm_test_support::needs::{Need, is_root};
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

const MIB: u64 = 1 << 20;

fn ulvm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ulvm"))
}

fn main() -> ExitCode {
    let mut suite = Suite::new(16);
    suite
        .case(
            "images::make_write_extend_read",
            &[],
            make_write_extend_read,
        )
        .case(
            "images::new_volumes_are_zeroed",
            &[],
            new_volumes_are_zeroed,
        )
        .case(
            "images::signatures_are_named_and_wiped_on_yes",
            &[],
            signatures,
        )
        .case("images::mirrors_are_written", &[], mirrors_are_written)
        .case("images::write_beyond_the_end", &[], write_beyond_the_end)
        .case("images::full_metadata_area", &[], full_metadata_area)
        .case(
            "images::a_held_lock_names_its_holder",
            &[Need::Program("flock")],
            held_lock,
        )
        .case("images::pvck_respects_locks", &[], pvck_respects_locks)
        .case(
            "images::lvmdevices_waits_for_the_files_lock",
            &[Need::Program("flock")],
            devices_file_lock,
        )
        .case(
            "images::vgcfgrestore_asks_for_force_before_it_takes_pvs",
            &[],
            restore_onto_others,
        )
        .case("images::called_by_other_names", &[], other_names)
        .case("images::exit_codes", &[], exit_codes)
        .case("images::json_is_alone_on_standard_output", &[], json_alone)
        .case("images::yaml_report", &[], yaml_report)
        .case("images::demo", &[], demo)
        .case("images::as_an_ordinary_user", &[], ordinary_user);
    suite.run()
}

fn images(count: usize, size: u64) -> Result<Images, String> {
    let mut images = Images::new(ulvm())?;
    for index in 0..count {
        images.add_empty(&format!("pv{index}"), size)?;
    }
    Ok(images)
}

fn make_vg(images: &Images, names: &[&str]) -> Outcome {
    let paths: Vec<String> = names
        .iter()
        .map(|name| images.path(name).display().to_string())
        .collect();
    images
        .ok(&format!("vgcreate -s 1M vg {}", paths.join(" ")))
        .map(drop)
}

fn pattern(length: usize, salt: u64) -> Vec<u8> {
    let mut rng = ulvm_test_support::rng::Rng::new(salt);
    (0..length.div_ceil(8))
        .flat_map(|_| rng.next_u64().to_le_bytes())
        .take(length)
        .collect()
}

fn make_write_extend_read() -> Outcome {
    let images = images(3, 32 * MIB)?;
    make_vg(&images, &["pv0", "pv1", "pv2"])?;
    images.ok("lvcreate -an -n lin -L 20M vg")?;
    images.ok("lvcreate -an -i 3 -I 16k -n str -L 9M vg")?;
    let (lin, str) = (pattern(20 << 20, 1), pattern(9 << 20, 2));
    images
        .run(&["write", "vg/lin"], &lin)?
        .success("write vg/lin")?;
    images
        .run(&["write", "vg/str"], &str)?
        .success("write vg/str")?;
    images.ok("lvextend -L 40M vg/lin")?;
    let back = images.ok("read vg/lin")?.stdout;
    ensure!(
        back.len() == 40 << 20,
        "{} bytes read from 40 MiB",
        back.len()
    );
    ensure!(
        back[..20 << 20] == lin[..],
        "what was written to vg/lin is not what is read"
    );
    ensure!(
        images.ok("read vg/str")?.stdout == str,
        "what was written to vg/str is not what is read"
    );
    let part = pattern(5000, 3);
    images
        .run(&["write", "vg/lin", "--offset", "20971000"], &part)?
        .success("write at an offset")?;
    let back = images
        .ok("read vg/lin --offset 20971000 --length 5000")?
        .stdout;
    ensure!(
        back == part,
        "an unaligned write over the seam of two segments does not read back"
    );
    images.ok("lvreduce -y -L 8M vg/lin")?;
    ensure!(
        images.ok("read vg/lin")?.stdout == lin[..8 << 20],
        "reducing changed what is left"
    );
    images.ok("vgck vg").map(drop)
}

/// Mirrors are written by name: both copies hold it. A copy that was away is brought up to date where it was written meanwhile, and read only then.
fn mirrors_are_written() -> Outcome {
    let images = images(3, 16 * MIB)?;
    make_vg(&images, &["pv0", "pv1", "pv2"])?;
    images.ok("lvcreate -an -Zn -Wn --type raid1 -m 1 -n r -L 4M vg")?;
    images.ok("lvcreate -an -Zn -Wn --type mirror -m 1 -n m -L 4M vg")?;
    let leg = |pv: &str, extent: usize| -> Result<Vec<u8>, String> {
        let bytes = std::fs::read(images.path(pv)).map_err(|e| e.to_string())?;
        let start = (1 + extent) << 20;
        Ok(bytes[start..start + (4 << 20)].to_vec())
    };
    let write = |lv: &str, offset: &str, data: &[u8]| {
        let words = ["write", lv, "--offset", offset];
        images.run(&words, data)?.success("write").map(drop)
    };
    let mut wanted = pattern(4 << 20, 7);
    // Extents of a raid1: metadata, then data; of what came after it: data.
    for (lv, extent) in [("vg/r", 1), ("vg/m", 5)] {
        write(lv, "0", &wanted)?;
        ensure!(images.ok(&format!("read {lv}"))?.stdout == wanted, "{lv}");
        for pv in ["pv0", "pv1"] {
            ensure!(leg(pv, extent)? == wanted, "{lv} on {pv}");
        }
    }
    // Without the first leg.
    let hidden = images.path("away");
    let away = |from, to| std::fs::rename(from, to).map_err(|e: std::io::Error| e.to_string());
    away(images.path("pv0"), hidden.clone())?;
    let later = pattern(5000, 8);
    wanted[3_000_000..3_005_000].copy_from_slice(&later);
    write("vg/r", "3000000", &later)?;
    let held = images.run(&["write", "vg/m"], &later)?;
    ensure!(held.code == 5, "a mirror without a leg: {}", held.err());
    away(hidden, images.path("pv0"))?;
    ensure!(leg("pv0", 1)? != wanted, "nothing was missed: no proof");
    ensure!(
        images.ok("read vg/r")?.stdout == wanted,
        "a stale leg is read"
    );
    write("vg/r", "0", &wanted[..512])?;
    ensure!(
        images.ok("read vg/r")?.stdout == wanted,
        "a stale leg is read after its return"
    );
    Ok(())
}

fn new_volumes_are_zeroed() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    images.ok("lvcreate -an -n old -L 8M vg")?;
    images
        .run(&["write", "vg/old"], &vec![0xA5; 8 << 20])?
        .success("write")?;
    images.ok("lvremove -y vg/old")?;
    images.ok("lvcreate -an -Zn -Wn -n raw -L 4M vg")?;
    let raw = images.ok("read vg/raw --length 4096")?.stdout;
    ensure!(
        raw.iter().all(|&byte| byte == 0xA5),
        "-Zn wrote to the volume"
    );
    images.ok("lvremove -y vg/raw")?;
    images.ok("lvcreate -an -n new -L 4M vg")?;
    let start = images.ok("read vg/new --length 4096")?.stdout;
    ensure!(
        start.iter().all(|&byte| byte == 0),
        "the start of a new volume is not zeroed"
    );
    Ok(())
}

fn signatures() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    images.ok("lvcreate -an -n old -L 8M vg")?;
    // An ext superblock's magic, and swap space on a page of 4 KiB.
    images
        .run(&["write", "vg/old", "--offset", "1080"], &[0x53, 0xEF])?
        .success("write")?;
    let swap = b"SWAPSPACE2";
    images
        .run(&["write", "vg/old", "--offset", "4086"], swap)?
        .success("write")?;
    images.ok("lvremove -y vg/old")?;
    let done = images.run(
        &[
            "lvcreate", "-an", "-Zn", "-Wy", "-n", "new", "-L", "8M", "vg",
        ],
        b"n\n",
    )?;
    ensure!(
        done.err().contains("signature detected on /dev/vg/new"),
        "the signature is not named: {}",
        done.err()
    );
    images.run(&["lvremove", "-y", "vg/new"], &[])?;
    images.ok("lvcreate -y -an -Wy -n new -L 8M vg")?;
    let page = images.ok("read vg/new --length 8192")?.stdout;
    ensure!(&page[4086..4096] != swap, "the signature was not wiped");
    Ok(())
}

fn write_beyond_the_end() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    images.ok("lvcreate -an -n a -L 1M vg")?;
    let done = images.run(&["write", "vg/a"], &vec![1; (1 << 20) + 512])?;
    ensure!(
        done.code == 5,
        "writing more than fits ended with {}",
        done.code
    );
    ensure!(
        done.err().contains("vg/a"),
        "the message does not name the volume: {}",
        done.err()
    );
    let done = images.run(&["read", "vg/a", "--offset", "2097152"], &[])?;
    ensure!(
        done.code == 5,
        "reading behind the end ended with {}",
        done.code
    );
    let done = images.run(&["read", "vg/nothing"], &[])?;
    ensure!(
        done.code == 5 && done.err().contains("nothing"),
        "{}: {}",
        done.code,
        done.err()
    );
    Ok(())
}

fn full_metadata_area() -> Outcome {
    let images = images(1, 64 * MIB)?;
    let path = images.path("pv0");
    images.ok(&format!(
        "pvcreate --metadatasize 16k --dataalignment 64k {}",
        path.display()
    ))?;
    images.ok(&format!("vgcreate -s 64k vg {}", path.display()))?;
    let mut warned = false;
    for index in 0..2000 {
        let name = format!("volume_{index}");
        let before = std::fs::read(&path).map_err(|error| error.to_string())?;
        let done = images.run(
            &[
                "lvcreate", "-an", "-Zn", "-Wn", "-n", &name, "-l", "1", "vg",
            ],
            &[],
        )?;
        if done.code == 0 {
            warned |= done.err().contains("Metadata of VG vg takes");
            continue;
        }
        ensure!(done.code == 5, "exit code {}", done.code);
        ensure!(warned, "no warning came before the area was full");
        ensure!(
            done.err().contains("metadata"),
            "the message does not say what is full: {}",
            done.err()
        );
        let after = std::fs::read(&path).map_err(|error| error.to_string())?;
        ensure!(
            before == after,
            "something was written although the text does not fit"
        );
        // Nor are the extents wiped that it would have had.
        let line = [
            "lvcreate", "-an", "-Zy", "-Wn", "-n", &name, "-l", "1", "vg",
        ];
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        let file = file.map_err(|error| error.to_string())?;
        // From the first extent that nobody has on.
        let free = 64 * 1024 * (index as u64 + 1);
        let rest = pattern(MIB as usize, 13);
        std::os::unix::fs::FileExt::write_all_at(&file, &rest, free)
            .map_err(|error| error.to_string())?;
        let before = std::fs::read(&path).map_err(|error| error.to_string())?;
        let done = images.run(&line, &[])?;
        ensure!(done.code == 5, "exit code {}", done.code);
        let after = std::fs::read(&path).map_err(|error| error.to_string())?;
        ensure!(
            before == after,
            "extents were zeroed for an LV that was not made"
        );
        return images.ok("vgck vg").map(drop);
    }
    Err("the metadata area never became full".into())
}

/// Who changes the VG elsewhere holds the lock on the PV, whatever his lock directory is.
fn pvck_respects_locks() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    let path = images.path("pv0");
    let backup = images.path("backup").display().to_string();
    images.ok(&format!("vgcfgbackup -f {backup} vg"))?;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path);
    let file = file.map_err(|error| error.to_string())?;
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(&file, exclusive).map_err(|error| error.to_string())?;
    let image = path.display().to_string();
    let line = [
        "pvck",
        "-y",
        "--config",
        "global/wait_for_locks=0",
        "--repair",
        "-f",
        &backup,
        &image,
    ];
    let done = images.run(&line, &[])?;
    ensure!(done.code == 5, "exit code {}: {}", done.code, done.err());
    ensure!(done.err().contains("is locked"), "{}", done.err());
    // Every lock of this process goes when it closes any descriptor of the file.
    drop(file);
    images.ok(&format!("pvck -y --repair -f {backup} {image}"))?;
    images.ok("vgck vg").map(drop)
}

/// LVM2's lock on the devices file, so that neither tool loses what the other wrote.
fn devices_file_lock() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    let lock = images.lock_dir().join("D_system.devices");
    std::fs::create_dir_all(images.lock_dir()).map_err(|error| error.to_string())?;
    let mut holder = Command::new("flock")
        .arg("-x")
        .arg(&lock)
        .args(["sleep", "20"])
        .spawn()
        .map_err(|error| error.to_string())?;
    std::thread::sleep(Duration::from_millis(400));
    let config = "global/wait_for_locks=0 devices/use_devicesfile=1";
    let done = images.run(&["lvmdevices", "--config", config], &[]);
    drop(holder.kill());
    drop(holder.wait());
    let done = done?;
    ensure!(
        done.code == 5 && done.err().contains("D_system.devices"),
        "exit code {}: {}",
        done.code,
        done.err()
    );
    Ok(())
}

/// What stands on PVs that joined another VG since the backup is lost by its restore.
fn restore_onto_others() -> Outcome {
    let images = images(2, 32 * MIB)?;
    make_vg(&images, &["pv0", "pv1"])?;
    let backup = images.path("backup").display().to_string();
    let other = images.path("pv1").display().to_string();
    images.ok(&format!("vgcfgbackup -f {backup} vg"))?;
    images.ok(&format!("vgreduce vg {other}"))?;
    images.ok(&format!("vgcreate other {other}"))?;
    images.ok("lvcreate -an -Zn -Wn -n a -l 1 other")?;
    let done = images.run(&["vgcfgrestore", "-f", &backup, "vg"], &[])?;
    ensure!(done.code == 5, "exit code {}", done.code);
    ensure!(
        done.err().contains("of volume group other"),
        "{}",
        done.err()
    );
    images.ok("lvs other/a")?;
    images.ok(&format!("vgcfgrestore --force -f {backup} vg"))?;
    images.ok("vgck vg").map(drop)
}

fn held_lock() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    let mut holder = Command::new("flock")
        .args([
            "-x",
            &images.path("pv0").display().to_string(),
            "sleep",
            "20",
        ])
        .spawn()
        .map_err(|error| error.to_string())?;
    let file = images.lock_dir().join("V_vg");
    let mut second = Command::new("flock")
        .arg("-x")
        .arg(&file)
        .args(["sleep", "20"])
        .spawn()
        .map_err(|error| error.to_string())?;
    std::thread::sleep(Duration::from_millis(400));
    let line = [
        "lvcreate",
        "--config",
        "global/wait_for_locks=0",
        "-an",
        "-n",
        "a",
        "-l",
        "1",
        "vg",
    ];
    let done = images.run(&line, &[]);
    for child in [&mut holder, &mut second] {
        drop(child.kill());
        drop(child.wait());
    }
    let done = done?;
    ensure!(
        done.code == 5,
        "a command went on over a held lock (exit code {})",
        done.code
    );
    ensure!(
        done.err().contains("lock"),
        "the message does not speak of a lock: {}",
        done.err()
    );
    Ok(())
}

fn other_names() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    for (name, arguments) in [
        ("vgs", vec!["--noheadings", "-o", "vg_name"]),
        ("lvm", vec!["vgs", "--noheadings", "-o", "vg_name"]),
    ] {
        let link = directory.path().join(name);
        symlink(ulvm(), &link).map_err(|error| error.to_string())?;
        let mut command = Command::new(&link);
        command
            .args(arguments)
            .env("ULVM_DEVICES", images.path("pv0"))
            .env("LVM_SYSTEM_DIR", images.system_dir());
        command.env("ULVM_LOCK_DIR", images.lock_dir());
        let done = process::run(&mut command, &[], Duration::from_secs(20))?.success(name)?;
        ensure!(
            done.out().trim() == "vg",
            "called as {name}: {}",
            done.out()
        );
    }
    Ok(())
}

fn exit_codes() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    for (code, line) in [
        (0, "vgs"),
        (2, "frobnicate"),
        (3, "vgs --frobnicate"),
        (3, "lvcreate"),
        (3, "lvcreate -L nonsense vg"),
        (5, "vgs nothing"),
        (5, "lvremove -y vg/nothing"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let done = images.run(&words, &[])?;
        ensure!(
            done.code == code,
            "`{line}` ended with {} instead of {code}\n{}",
            done.code,
            done.err()
        );
        ensure!(
            code == 0 || !done.err().trim().is_empty(),
            "`{line}` failed without a word"
        );
    }
    Ok(())
}

fn json_alone() -> Outcome {
    let images = images(2, 32 * MIB)?;
    make_vg(&images, &["pv0", "pv1"])?;
    images.ok("lvcreate -an -n a -l 40 vg")?;
    std::fs::remove_file(images.path("pv1")).map_err(|error| error.to_string())?;
    for command in ["pvs", "vgs", "lvs", "fullreport"] {
        for extra in ["", " -v", " -vvv", " --test"] {
            let line = format!("{command} --reportformat json{extra}");
            let words: Vec<&str> = line.split(' ').collect();
            let done = images.run(&words, &[])?;
            if done.code != 3 {
                serde_json::from_slice::<serde_json::Value>(&done.stdout).map_err(|error| {
                    format!("`{line}` prints more than JSON: {error}\n{}", done.out())
                })?;
            }
        }
    }
    Ok(())
}

fn yaml_report() -> Outcome {
    let images = images(1, 32 * MIB)?;
    make_vg(&images, &["pv0"])?;
    let done = images.ok("vgs --reportformat yaml -o vg_name,pv_count")?;
    ensure!(done.out().contains("vg_name: vg"), "{}", done.out());
    Ok(())
}

fn demo() -> Outcome {
    let images = images(0, 0)?;
    let done = images.ok("demo")?;
    ensure!(
        done.out().lines().count() > 5,
        "the demo shows nothing:\n{}",
        done.out()
    );
    Ok(())
}

/// As root the session is run again as `nobody`; anyone else is an ordinary user already.
fn ordinary_user() -> Outcome {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let script = format!(
        "set -e; cd {0}; export HOME={0} XDG_RUNTIME_DIR={0} ULVM_DEVICES=a.img,b.img\n\
         truncate -s 32M a.img b.img\n\
         {1} vgcreate -s 1M vg a.img b.img\n\
         {1} lvcreate -n data -L 10M vg\n\
         echo hello | {1} write vg/data\n\
         {1} lvextend -L 20M vg/data\n\
         test \"$({1} read vg/data --length 5)\" = hello\n\
         {1} vgcfgrestore --list vg\n\
         {1} vgremove -y vg\n",
        directory.path().display(),
        directory.path().join("bin/ulvm").display()
    );
    std::fs::create_dir(directory.path().join("bin")).map_err(|error| error.to_string())?;
    std::fs::copy(ulvm(), directory.path().join("bin/ulvm")).map_err(|error| error.to_string())?;
    let mut command = if is_root() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).map_err(|error| error.to_string())?;
        chown(directory.path(), Some(65534), Some(65534)).map_err(|error| error.to_string())?;
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "bash",
            "-c",
            &script,
        ]);
        command
    } else {
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        command
    };
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    process::run(&mut command, &[], Duration::from_secs(60))?
        .success("the session")
        .map(drop)
}
