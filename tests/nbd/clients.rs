//! What clients of NBD do with a served volume: libnbd's tools, QEMU's, and fio.

use std::path::Path;

use serde_json::Value;
use ulvm_test_support::images::Images;
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure};

use crate::served::{Served, client};
use crate::ulvm;

const MIB: usize = 1 << 20;

pub fn cases(suite: &mut Suite) {
    let program = |name| [Need::Program(name)];
    suite.case("nbd::clients::nbdinfo", &program("nbdinfo"), nbdinfo);
    suite.case("nbd::clients::nbdcopy", &program("nbdcopy"), nbdcopy);
    suite.case("nbd::clients::nbdsh", &program("nbdsh"), nbdsh);
    suite.case("nbd::clients::qemu_img", &program("qemu-img"), qemu_img);
    suite.case("nbd::clients::qemu_io", &program("qemu-io"), qemu_io);
    suite.case("nbd::clients::fio_verify", &program("fio"), fio);
    suite.case("nbd::clients::table_over_tcp", &program("nbdcopy"), table);
}

/// A VG on two images with a linear LV of 12 MiB and a striped one of 16 MiB.
pub fn images() -> Result<Images, String> {
    let mut images = Images::new(ulvm())?;
    for name in ["pv0", "pv1"] {
        images.add_empty(name, 64 << 20)?;
    }
    let (a, b) = (images.path("pv0"), images.path("pv1"));
    images.ok(&format!("vgcreate vg {} {}", a.display(), b.display()))?;
    images.ok("lvcreate -an -n linear -l 3 vg")?;
    images.ok("lvcreate -an -n striped -i 2 -l 4 vg")?;
    Ok(images)
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn nbdinfo() -> Outcome {
    let images = images()?;
    let served = Served::start(&images, &["vg/linear", "vg/striped"])?;
    let list = client("nbdinfo", &["--list", "--json", &served.uri("")])?;
    let list: Value = serde_json::from_slice(&list.stdout).map_err(|e| e.to_string())?;
    let exports = list["exports"].as_array().ok_or("no exports")?;
    let names: Vec<_> = exports.iter().map(|e| &e["export-name"]).collect();
    ensure!(names == ["vg/linear", "vg/striped"], "{names:?}");
    ensure!(list["structured"] == true, "no structured replies");
    let linear = &exports[0];
    ensure!(linear["export-size"] == 12 * MIB, "{linear}");
    for can in [
        "flush",
        "fua",
        "trim",
        "zero",
        "fast_zero",
        "df",
        "cache",
        "multi_conn",
    ] {
        ensure!(linear[format!("can_{can}")] == true, "can_{can}: {linear}");
    }
    ensure!(linear["is_read_only"] == false, "{linear}");
    ensure!(linear["block_size_maximum"] == 32 * MIB, "{linear}");
    // A new volume is wiped at its start; the rest of the image is a hole.
    let map = client("nbdinfo", &["--map", "--json", &served.uri("vg/linear")])?;
    let map: Value = serde_json::from_slice(&map.stdout).map_err(|e| e.to_string())?;
    let last = map.as_array().and_then(|runs| runs.last());
    ensure!(last.is_some_and(|run| run["type"] == 3), "no hole: {map}");
    let nothing = ulvm_test_support::process::output("nbdinfo", &[served.uri("vg/none")])?;
    ensure!(nothing.code != 0, "an export that is not there was found");
    Ok(())
}

fn nbdcopy() -> Outcome {
    let images = images()?;
    let (source, target) = (images.path("source"), images.path("target"));
    let mut data = content::sectors(3, 0, (12 * MIB / 512) as u64);
    data[5 * MIB..7 * MIB].fill(0);
    write(&source, &data)?;
    let served = Served::start(&images, &["vg/linear", "vg/striped"])?;
    let [a, b, from, to] = [
        &served.uri("vg/linear"),
        &served.uri("vg/striped"),
        &source.display().to_string(),
        &target.display().to_string(),
    ];
    // In by many requests over several connections, from one volume to the other, and out.
    client("nbdcopy", &["--connections=4", "--flush", from, a])?;
    client("nbdcopy", &[a, b])?;
    client("nbdcopy", &["--connections=4", b, to])?;
    let copied = std::fs::read(&target).map_err(|error| error.to_string())?;
    ensure!(copied[..data.len()] == data, "what came out differs");
    let (code, err) = served.end()?;
    ensure!(code == 0, "the server ended with {code}: {err}");
    let read = images.ok("read vg/striped --length 12m")?;
    ensure!(read.stdout == data, "ulvm read differs");
    Ok(())
}

fn nbdsh() -> Outcome {
    let images = images()?;
    let served = Served::start(&images, &["vg/striped"])?;
    let script = r#"
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri("URI")
assert h.get_structured_replies_negotiated() and h.can_multi_conn()
size = h.get_size()
assert size == 16 << 20, size
data = bytes(range(256)) * 1024
h.pwrite(data, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), 12345) == data
h.zero(1000, 13000)
assert h.pread(1000, 13000) == bytes(1000)
h.zero(4096, 65536, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO)
h.trim(1 << 20, 8 << 20)
h.cache(1 << 20, 0)
h.flush()
assert h.pread(1 << 20, 8 << 20) == bytes(1 << 20)
extents = []
h.block_status(1 << 20, 8 << 20, lambda ctx, at, e, err: extents.extend(e))
assert extents[1::2] == [3] and sum(extents[0::2]) == 1 << 20, extents
def fails(number, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum == number, (error, number)
    else:
        assert False, "no error"
fails(errno.EINVAL, lambda: h.pread(512, size))
fails(errno.ENOSPC, lambda: h.pwrite(bytes(512), size - 511))
fails(errno.ENOSPC, lambda: h.zero(512, size))
fails(errno.EINVAL, lambda: h.trim(512, size))
# Many at a time, answered in any order.
buffers = [nbd.Buffer(4096) for _ in range(200)]
cookies = [h.aio_pread(b, 4096 * n) for n, b in enumerate(buffers)]
while cookies:
    cookies = [c for c in cookies if not h.aio_command_completed(c)]
    if cookies:
        h.poll(-1)
other = nbd.NBD()
other.connect_uri("URI")
for n, b in enumerate(buffers):
    assert b.to_bytearray() == other.pread(4096, 4096 * n), n
other.pwrite(b"x", 77)
h.flush()
assert h.pread(1, 77) == b"x"
other.shutdown()
h.shutdown()
"#
    .replace("URI", &served.uri("vg/striped"));
    client("nbdsh", &["-c", "import errno", "-c", &script])?;
    Ok(())
}

fn qemu_img() -> Outcome {
    let images = images()?;
    let source = images.path("source");
    let data = content::sectors(8, 0, (12 * MIB / 512) as u64);
    write(&source, &data)?;
    let served = Served::start(&images, &["vg/linear", "vg/striped"])?;
    let (uri, from) = (served.uri("vg/linear"), source.display().to_string());
    let info = client("qemu-img", &["info", "--output=json", &uri])?;
    let info: Value = serde_json::from_slice(&info.stdout).map_err(|e| e.to_string())?;
    ensure!(info["virtual-size"] == 12 * MIB, "{info}");
    let raw = ["-f", "raw", "-O", "raw", "-n"];
    client(
        "qemu-img",
        &[&["convert"], &raw[..], &[&from, &uri]].concat(),
    )?;
    client(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "raw", &from, &uri],
    )?;
    let striped = served.uri("vg/striped");
    client(
        "qemu-img",
        &[&["convert"], &raw[..], &[&uri, &striped]].concat(),
    )?;
    client("qemu-img", &["map", "--output=json", "-f", "raw", &striped])?;
    let bench = [
        "bench", "-f", "raw", "-c", "2000", "-d", "32", "-w", &striped,
    ];
    client("qemu-img", &bench)?;
    Ok(())
}

fn qemu_io() -> Outcome {
    let images = images()?;
    let served = Served::start(&images, &["vg/striped"])?;
    let mut words = vec!["-f", "raw"];
    let commands = [
        "write -P 0x5a 0 1m",
        "write -f -P 0x11 100k 3k",
        "write -z 64k 32k",
        "write -z -u 512k 64k",
        "discard 768k 64k",
        "flush",
        "read -P 0x5a 0 64k",
        "read -P 0 64k 32k",
        "read -P 0x11 100k 3k",
        "read -P 0 512k 64k",
        "read -P 0x5a 900k 100k",
        "aio_write -P 0x77 2m 1m",
        "aio_flush",
        "read -P 0x77 2m 1m",
    ];
    for command in &commands {
        words.extend(["-c", command]);
    }
    let uri = served.uri("vg/striped");
    words.push(&uri);
    let done = client("qemu-io", &words)?;
    // qemu-io ends with 0 also when a pattern is not what was asked for.
    let said = done.out() + &done.err();
    ensure!(!said.contains("failed"), "{said}");
    Ok(())
}

fn fio() -> Outcome {
    let images = images()?;
    let served = Served::start(&images, &["vg/striped"])?;
    let uri = format!("--uri={}", served.uri("vg/striped"));
    let common = [
        "--name=x",
        "--ioengine=nbd",
        &uri,
        "--size=16m",
        "--iodepth=32",
    ];
    for (rw, bsrange) in [("randrw", "512-64k"), ("write", "256k-256k")] {
        let (rw, range) = (format!("--rw={rw}"), format!("--bsrange={bsrange}"));
        let verify = [
            &rw,
            &range,
            "--verify=crc32c",
            "--do_verify=1",
            "--verify_fatal=1",
        ];
        client(
            "fio",
            &[&common[..], &verify.map(|w| w as &str)[..]].concat(),
        )?;
    }
    Ok(())
}

fn table() -> Outcome {
    let images = images()?;
    let table = images.path("two.table");
    let (a, b) = (images.path("x"), images.path("y"));
    let data = content::sectors(6, 0, 4096);
    write(&a, &vec![0; 2 * MIB])?;
    write(&b, &vec![0; 2 * MIB])?;
    let text = format!(
        "0 4096 striped 2 32 {} 0 {} 16\n4096 8 zero\n",
        a.display(),
        b.display()
    );
    write(&table, text.as_bytes())?;
    let file = table.display().to_string();
    let words = ["--table", &file, "--name", "ccd0", "--nbd", "tcp:0"];
    let served = Served::with_places(&images, &words, 2)?;
    let source = images.path("source");
    write(&source, &data)?;
    let [unix, tcp] = &served.uris[..] else {
        return Err(format!("places: {:?}", served.uris));
    };
    ensure!(*unix == served.uri("ccd0"), "printed {unix}");
    ensure!(tcp.starts_with("nbd://127.0.0.1:"), "printed {tcp}");
    client("nbdcopy", &[&source.display().to_string(), tcp])?;
    let out = client("nbdcopy", &[tcp, "-"])?.stdout;
    ensure!(out[..data.len()] == data, "what came out differs");
    ensure!(out[data.len()..] == [0; 4096], "the zero target");
    // Chunks of 32 sectors, the second device from sector 16 on.
    let second = std::fs::read(&b).map_err(|error| error.to_string())?;
    ensure!(
        second[16 * 512..48 * 512] == data[32 * 512..64 * 512],
        "the mapping of the second stripe"
    );
    Ok(())
}
