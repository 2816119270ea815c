//! Beginning and end of a server: locks on images, signals, a read-only server.

use std::time::{Duration, Instant};

use ulvm_test_support::needs::Need;
use ulvm_test_support::process;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure};

use crate::clients::images;
use crate::served::{Served, client, command};

pub fn cases(suite: &mut Suite) {
    let qemu = [Need::Program("qemu-io")];
    suite.case("nbd::lifetime::second_server_is_refused", &[], second);
    suite.case(
        "nbd::lifetime::qemu_and_server_exclude_each_other",
        &qemu,
        locks,
    );
    let copy = [Need::Program("nbdcopy")];
    suite.case(
        "nbd::lifetime::sigterm_under_load_keeps_what_was_answered",
        &copy,
        end,
    );
    let sh = [Need::Program("nbdsh")];
    suite.case("nbd::lifetime::read_only", &sh, read_only);
    suite.case("nbd::lifetime::ordinary_user", &copy, ordinary_user);
    let full = [Need::Program("nbdsh"), Need::Root];
    suite.case("nbd::lifetime::no_space_below", &full, no_space);
}

fn second() -> Outcome {
    let images = images()?;
    let served = Served::start(&images, &["vg/linear"])?;
    // Another volume of the same image is refused too: the image is what is locked.
    for volume in ["vg/linear", "vg/striped"] {
        let other = format!("unix:{}", images.path("other").display());
        let done = images.run(&["serve", volume, "--nbd", &other], &[])?;
        ensure!(done.code == 5, "{volume}: ended with {}", done.code);
        ensure!(done.err().contains("in use"), "{volume}: {}", done.err());
    }
    // Readers of the same image are let in beside each other.
    served.end()?;
    let first = Served::start(&images, &["--readonly", "vg/linear"])?;
    images.ok("read vg/linear --length 512")?;
    let (code, err) = first.end()?;
    ensure!(code == 0, "ended with {code}: {err}");
    Ok(())
}

fn locks() -> Outcome {
    let images = images()?;
    let image = images.path("pv0").display().to_string();
    let write = ["-f", "raw", "-c", "write 1m 512", &image];
    let served = Served::start(&images, &["vg/linear"])?;
    let refused = process::output("qemu-io", &write)?;
    ensure!(refused.code != 0, "QEMU wrote to an image that is served");
    ensure!(refused.err().contains("lock"), "{}", refused.err());
    served.end()?;
    client("qemu-io", &write)?;
    let hold = || {
        command("qemu-io", &["-f", "raw", "-c", "sleep 20000", &image])
            .spawn()
            .map_err(|error| error.to_string())
    };
    let mut holder = hold()?;
    // It says nothing when it has begun, so this is tried until then. An attempt that comes first
    // shuts QEMU out, which then has to begin again.
    let began = Instant::now();
    let refused = loop {
        let attempt = Served::start(&images, &["vg/linear"]);
        if attempt.is_err() || began.elapsed() > Duration::from_secs(30) {
            break attempt.map(drop);
        }
        drop(attempt);
        if matches!(holder.try_wait(), Ok(Some(_))) {
            holder = hold()?;
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    drop(holder.kill());
    drop(holder.wait());
    match refused {
        Ok(_) => Err("an image that QEMU has open was served".into()),
        Err(why) if why.contains("in use") => Ok(()),
        Err(why) => Err(why),
    }
}

fn end() -> Outcome {
    let images = images()?;
    let source = images.path("source");
    let data = content::sectors(4, 0, 16 << 11);
    std::fs::write(&source, &data).map_err(|error| error.to_string())?;
    let served = Served::start(&images, &["vg/striped"])?;
    client(
        "nbdcopy",
        &[&source.display().to_string(), &served.uri("vg/striped")],
    )?;
    // Reads and rewrites of the same data go on while the server is told to end.
    let script = format!(
        "h.connect_uri('{}')\n\
         import itertools\n\
         try:\n\
         \x20   for n in itertools.count():\n\
         \x20       at = n * 65536 % (16 << 20)\n\
         \x20       h.pwrite(h.pread(65536, at), at)\n\
         except nbd.Error as error:\n\
         \x20   print('ended', n)\n",
        served.uri("vg/striped")
    );
    let load = std::thread::spawn(move || {
        process::run(
            &mut command("nbdsh", &["-c", &script]),
            &[],
            Duration::from_secs(30),
        )
    });
    std::thread::sleep(Duration::from_millis(600));
    let socket = served.socket().to_owned();
    let (code, err) = served.end()?;
    ensure!(code == 0, "ended with {code}: {err}");
    ensure!(!socket.exists(), "the socket's name is still there");
    let load = load.join().map_err(|_| "the load panicked")??;
    let said = load.out();
    ensure!(
        said.contains("ended") && !said.contains("ended 0\n"),
        "the load did not run: {said}{}",
        load.err()
    );
    let seen = images.ok("read vg/striped")?.stdout;
    ensure!(seen == data, "the data are not what was written");
    Ok(())
}

fn read_only() -> Outcome {
    let images = images()?;
    images.ok("lvchange -pr vg/linear")?;
    let served = Served::start(&images, &["vg/linear", "vg/striped"])?;
    let script = format!(
        "h.set_strict_mode(0)\n\
         h.connect_uri('{}')\n\
         assert h.is_read_only()\n\
         try:\n\
         \x20   h.pwrite(bytes(512), 0)\n\
         \x20   assert False\n\
         except nbd.Error as error:\n\
         \x20   assert error.errnum == 1, error\n\
         o = nbd.NBD()\n\
         o.connect_uri('{}')\n\
         assert not o.is_read_only()\n\
         o.pwrite(bytes(512), 0)\n",
        served.uri("vg/linear"),
        served.uri("vg/striped")
    );
    client("nbdsh", &["-c", &script])?;
    served.end()?;
    // A server told so reads only, whatever the volume permits.
    let served = Served::start(&images, &["--readonly", "vg/striped"])?;
    let script = format!(
        "h.connect_uri('{}')\nassert h.is_read_only()",
        served.uri("vg/striped")
    );
    client("nbdsh", &["-c", &script])?;
    Ok(())
}

/// As root the server runs as `nobody`; anyone else is an ordinary user already.
fn ordinary_user() -> Outcome {
    use std::os::unix::fs::{PermissionsExt, chown};
    let io = |error: std::io::Error| error.to_string();
    let home = tempfile::tempdir().map_err(io)?;
    let at = home.path();
    std::fs::create_dir(at.join("bin")).map_err(io)?;
    std::fs::copy(crate::ulvm(), at.join("bin/ulvm")).map_err(io)?;
    let script = format!(
        "set -e; cd {0}; export HOME={0} XDG_RUNTIME_DIR={0} ULVM_DEVICES=a.img,b.img\n\
         truncate -s 32M a.img b.img\n\
         bin/ulvm vgcreate -s 1M vg a.img b.img\n\
         bin/ulvm lvcreate -n data -i 2 -L 10M vg\n\
         head -c 10M /dev/urandom >in\n\
         bin/ulvm serve vg/data --nbd unix:s >served & server=$!\n\
         for n in $(seq 200); do grep -q Serving served && break; sleep 0.05; done\n\
         nbdcopy in 'nbd+unix:///vg/data?socket=s'\n\
         nbdcopy 'nbd+unix:///vg/data?socket=s' out\n\
         kill $server; wait $server\n\
         cmp in out; bin/ulvm read vg/data | cmp - in\n",
        at.display()
    );
    let mut command = if ulvm_test_support::needs::is_root() {
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o755)).map_err(io)?;
        chown(at, Some(65534), Some(65534)).map_err(io)?;
        command(
            "setpriv",
            &[
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "bash",
                "-c",
                &script,
            ],
        )
    } else {
        command("bash", &["-c", &script])
    };
    process::run(&mut command, &[], Duration::from_secs(60))?
        .success("the session")
        .map(drop)
}

/// A file system; unmounted when dropped.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        drop(process::output(
            "umount",
            &["-l".as_ref(), self.0.as_os_str()],
        ));
    }
}

/// A sparse image on a file system that is full before the volume is: the write that found no room
/// says so, and everything else goes on.
fn no_space() -> Outcome {
    let images = images()?;
    let dir = images.path("small");
    std::fs::create_dir(&dir).map_err(|error| error.to_string())?;
    let at = dir.display().to_string();
    process::output("mount", &["-t", "tmpfs", "-o", "size=2m", "none", &at])?.success("mount")?;
    let _mount = Mount(dir.clone());
    let image = dir.join("image");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(8 << 20))
        .map_err(|error| error.to_string())?;
    let table = images.path("table");
    let text = format!("0 16384 linear {} 0\n", image.display());
    std::fs::write(&table, text).map_err(|error| error.to_string())?;
    let file = table.display().to_string();
    let served = Served::start(&images, &["--table", &file, "--name", "x"])?;
    let script = format!(
        "h.connect_uri('{}')\n\
         block = bytes(range(256)) * 256\n\
         full = None\n\
         for at in range(0, 8 << 20, 65536):\n\
         \x20   try:\n\
         \x20       h.pwrite(block, at)\n\
         \x20   except nbd.Error as error:\n\
         \x20       assert error.errnum == 28, error\n\
         \x20       full = at if full is None else full\n\
         assert full is not None and full >= 1 << 20, full\n\
         for at in range(0, full, 65536):\n\
         \x20   assert h.pread(65536, at) == block, at\n\
         h.pwrite(block, 0)\n\
         h.flush()\n\
         h.trim(1 << 20, 0)\n\
         h.pwrite(block, 7 << 20)\n\
         assert h.pread(65536, 7 << 20) == block\n",
        served.uri("x")
    );
    client("nbdsh", &["-c", &script])?;
    let (code, err) = served.end()?;
    ensure!(code == 0, "ended with {code}: {err}");
    Ok(())
}
