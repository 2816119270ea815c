//! File systems follow their volumes: grown and reduced by their own tools, refused where they
//! cannot be.

use std::path::{Path, PathBuf};

use ulvm_test_support::needs::Need;
use ulvm_test_support::process::{self, Finished};
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{content, ensure};

use crate::host::{Host, LOOP};

const MIB: u64 = 1 << 20;

pub fn cases(suite: &mut Suite) {
    let needs = |tools: &[&'static str]| {
        let tools = tools.iter().map(|t| Need::Program(t));
        LOOP.into_iter().chain(tools).collect::<Vec<Need>>()
    };
    let ext = needs(&["mkfs.ext4", "resize2fs", "e2fsck", "dumpe2fs"]);
    let xfs = needs(&["mkfs.xfs", "xfs_growfs", "xfs_db"]);
    let btrfs = needs(&["mkfs.btrfs", "btrfs"]);
    let swap = needs(&["mkswap", "swaplabel"]);
    suite.case("activation::filesystems::ext4_mounted", &ext, ext4_mounted);
    suite.case(
        "activation::filesystems::ext4_unmounted",
        &ext,
        ext4_unmounted,
    );
    suite.case(
        "activation::filesystems::what_would_be_lost_is_named",
        &ext,
        at_stake,
    );
    suite.case("activation::filesystems::xfs", &xfs, follows_xfs);
    suite.case("activation::filesystems::btrfs", &btrfs, follows_btrfs);
    suite.case(
        "activation::filesystems::swap_keeps_its_names",
        &swap,
        follows_swap,
    );
    suite.case(
        "activation::filesystems::encrypted_is_refused",
        &needs(&[]),
        encrypted,
    );
}

fn sh(program: &str, words: &[&str]) -> Result<Finished, String> {
    process::output(program, words)?.success(&format!("{program} {}", words.join(" ")))
}

/// A volume `vg/fs` of some size on a large image, active; its node.
fn volume(host: &mut Host, size: u64) -> Result<String, String> {
    let c = host.add("c", 1 << 30)?;
    host.ok(&format!("vgextend vg {c}"))?;
    host.ok(&format!("lvcreate -ay -Wn -n fs -L {size}b vg {c}"))?;
    Ok(host.node("vg/fs")?.display().to_string())
}

/// A mounted file system, unmounted at the end.
struct Mount(PathBuf);

impl Mount {
    fn new(node: &str, folder: PathBuf) -> Result<Mount, String> {
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        sh("mount", &[node, &folder.display().to_string()])?;
        Ok(Mount(folder))
    }
    fn file(&self) -> PathBuf {
        self.0.join("data")
    }
    /// Is it mounted, in the very same place?
    fn is_there(&self) -> bool {
        process::output("mountpoint", &["-q".as_ref(), self.0.as_os_str()])
            .is_ok_and(|d| d.code == 0)
    }
    fn unmount(self) -> Outcome {
        sh("umount", &[&self.0.display().to_string()])?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(process::output(
            "umount",
            &["-l".as_ref(), self.0.as_os_str()],
        ));
    }
}

fn put(file: &Path, seed: u64, len: usize) -> Outcome {
    std::fs::write(file, content::sectors(seed, 0, len as u64 / 512))
        .map_err(|e| format!("{}: {e}", file.display()))
}

fn same(file: &Path, seed: u64, len: usize) -> Outcome {
    let found = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    ensure!(
        found == content::sectors(seed, 0, len as u64 / 512),
        "{} has changed",
        file.display()
    );
    Ok(())
}

/// Bytes that ext4 says it has.
fn ext_size(node: &str) -> Result<u64, String> {
    let shown = sh("dumpe2fs", &["-h", node])?.out();
    let field = |name: &str| -> Option<u64> {
        let line = shown.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let both = field("Block count:").zip(field("Block size:"));
    both.map(|(count, size)| count * size).ok_or(shown)
}

fn lv_size(host: &Host) -> Result<u64, String> {
    let shown = host
        .ok("lvs --noheadings --units b --nosuffix -o lv_size vg/fs")?
        .out();
    shown.trim().parse().map_err(|e| format!("{e}: {shown}"))
}

/// A command that must fail, leave the volume's size alone and say these words.
fn refused(host: &Host, line: &str, says: &[&str]) -> Outcome {
    let before = lv_size(host)?;
    let done = host.run(line)?;
    ensure!(done.code == 5, "{line}: {} {}", done.code, done.err());
    for word in says {
        ensure!(done.err().contains(word), "{line} says {}", done.err());
    }
    ensure!(lv_size(host)? == before, "{line} changed the volume");
    Ok(())
}

fn ext4_mounted() -> Outcome {
    let mut host = Host::new()?;
    let node = volume(&mut host, 32 * MIB)?;
    sh("mkfs.ext4", &["-q", &node])?;
    let mount = Mount::new(&node, host.images().path("mnt"))?;
    put(&mount.file(), 1, 5 << 20)?;
    // Growing it in place takes a privilege that not every root has; the guest shows that.
    host.ok("lvextend -r --fsmode offline -L 64M vg/fs")?;
    ensure!(mount.is_there(), "it is not mounted again");
    ensure!(
        ext_size(&node)? == 64 * MIB,
        "grown to {}",
        ext_size(&node)?
    );
    refused(
        &host,
        "lvreduce -y --fs resize --fsmode nochange -L 24M vg/fs",
        &["--fsmode manage"],
    )?;
    refused(
        &host,
        "lvreduce -y --fs checksize -L 24M vg/fs",
        &["ext4", "--resizefs"],
    )?;
    ensure!(mount.is_there(), "a refused command unmounted it");
    host.ok("lvreduce -r -L 24M vg/fs")?;
    ensure!(mount.is_there(), "it is not mounted again");
    same(&mount.file(), 1, 5 << 20)?;
    ensure!(
        lv_size(&host)? == 24 * MIB && ext_size(&node)? == 24 * MIB,
        "reduced to {}",
        ext_size(&node)?
    );
    put(&mount.0.join("more"), 2, 5 << 20)?;
    // More files than fit: the tool refuses, and it is mounted again.
    refused(&host, "lvreduce -r -L 8M vg/fs", &["resize2fs"])?;
    ensure!(mount.is_there(), "not mounted again after a failure");
    same(&mount.0.join("more"), 2, 5 << 20)?;
    mount.unmount()?;
    sh("e2fsck", &["-f", "-n", &node])?;
    Ok(())
}

fn ext4_unmounted() -> Outcome {
    let mut host = Host::new()?;
    let node = volume(&mut host, 32 * MIB)?;
    sh("mkfs.ext4", &["-q", &node])?;
    host.ok("lvextend --fs resize --fsmode offline -L 48M vg/fs")?;
    ensure!(
        ext_size(&node)? == 48 * MIB,
        "grown to {}",
        ext_size(&node)?
    );
    host.ok("lvreduce -r -L 20M vg/fs")?;
    ensure!(
        ext_size(&node)? == 20 * MIB,
        "reduced to {}",
        ext_size(&node)?
    );
    sh("e2fsck", &["-f", "-n", &node])?;
    // Its end lies before the new one: nothing to reduce, and nothing to ask.
    host.ok("lvextend -L 40M vg/fs")?;
    host.ok("lvreduce --fs checksize -y -L 24M vg/fs")?;
    ensure!(
        ext_size(&node)? == 20 * MIB,
        "changed to {}",
        ext_size(&node)?
    );
    // More files than fit: the tool refuses, and the volume stays.
    let mount = Mount::new(&node, host.images().path("mnt"))?;
    put(&mount.file(), 3, 8 << 20)?;
    mount.unmount()?;
    refused(&host, "lvreduce -r -L 4M vg/fs", &["resize2fs"])?;
    let mount = Mount::new(&node, host.images().path("mnt"))?;
    same(&mount.file(), 3, 8 << 20)?;
    mount.unmount()?;
    host.ok("lvchange -an vg/fs")?;
    refused(&host, "lvextend -r -L 64M vg/fs", &["must be activated"])
}

fn at_stake() -> Outcome {
    let mut host = Host::new()?;
    let node = volume(&mut host, 32 * MIB)?;
    sh("mkfs.ext4", &["-q", &node])?;
    refused(
        &host,
        "lvreduce -L 16M vg/fs",
        &["ext4", "--resizefs", "NOT reduced"],
    )?;
    host.ok("lvchange -an vg/fs")?;
    refused(
        &host,
        "lvreduce -L 16M vg/fs",
        &["ext4", "--resizefs", "NOT reduced"],
    )?;
    // Asked not to care, it does not look.
    let done = host.ok("lvreduce -y --fs ignore -L 16M vg/fs")?;
    ensure!(!done.err().contains("ext4"), "{}", done.err());
    ensure!(lv_size(&host)? == 16 * MIB, "{}", lv_size(&host)?);
    Ok(())
}

/// Bytes that XFS says it has.
fn xfs_size(node: &str) -> Result<u64, String> {
    let shown = sh(
        "xfs_db",
        &["-r", "-c", "sb 0", "-c", "p dblocks blocksize", node],
    )?
    .out();
    let numbers: Vec<u64> = shown
        .lines()
        .filter_map(|l| l.split_whitespace().last()?.parse().ok())
        .collect();
    match numbers[..] {
        [count, size] => Ok(count * size),
        _ => Err(shown),
    }
}

fn follows_xfs() -> Outcome {
    let mut host = Host::new()?;
    let node = volume(&mut host, 320 * MIB)?;
    sh("mkfs.xfs", &["-q", &node])?;
    // Not mounted: it is, for a while.
    refused(
        &host,
        "lvextend --fs resize --fsmode nochange -L 340M vg/fs",
        &["mount it"],
    )?;
    host.ok("lvextend -r -L 360M vg/fs")?;
    ensure!(
        xfs_size(&node)? == 360 * MIB,
        "grown to {}",
        xfs_size(&node)?
    );
    let mount = Mount::new(&node, host.images().path("mnt"))?;
    put(&mount.file(), 4, 5 << 20)?;
    host.ok("lvextend -r -L 400M vg/fs")?;
    refused(
        &host,
        "lvreduce -y -r -L 320M vg/fs",
        &["xfs", "cannot be made smaller"],
    )?;
    ensure!(mount.is_there(), "unmounted");
    same(&mount.file(), 4, 5 << 20)?;
    mount.unmount()?;
    ensure!(
        xfs_size(&node)? == 400 * MIB,
        "grown to {}",
        xfs_size(&node)?
    );
    sh("xfs_repair", &["-n", &node])?;
    Ok(())
}

/// Bytes that btrfs says its one device has.
fn btrfs_size(node: &str) -> Result<u64, String> {
    let shown = sh("btrfs", &["inspect-internal", "dump-super", node])?.out();
    let line = shown
        .lines()
        .find_map(|l| l.strip_prefix("dev_item.total_bytes"));
    line.and_then(|l| l.trim().parse().ok()).ok_or(shown)
}

fn follows_btrfs() -> Outcome {
    let mut host = Host::new()?;
    let node = volume(&mut host, 260 * MIB)?;
    sh("mkfs.btrfs", &["-q", &node])?;
    host.ok("lvextend -r -L 300M vg/fs")?;
    ensure!(
        btrfs_size(&node)? == 300 * MIB,
        "grown to {}",
        btrfs_size(&node)?
    );
    let mount = Mount::new(&node, host.images().path("mnt"))?;
    put(&mount.file(), 5, 5 << 20)?;
    host.ok("lvextend -r -L 400M vg/fs")?;
    host.ok("lvreduce -r -L 320M vg/fs")?;
    ensure!(mount.is_there(), "unmounted");
    same(&mount.file(), 5, 5 << 20)?;
    mount.unmount()?;
    ensure!(
        btrfs_size(&node)? == 320 * MIB,
        "reduced to {}",
        btrfs_size(&node)?
    );
    refused(&host, "lvreduce -y -r -L 200M vg/fs", &["256 MiB"])?;
    host.ok("lvreduce -r -L 280M vg/fs")?;
    ensure!(
        btrfs_size(&node)? == 280 * MIB,
        "reduced to {}",
        btrfs_size(&node)?
    );
    sh("btrfs", &["check", &node])?;
    Ok(())
}

fn follows_swap() -> Outcome {
    let mut host = Host::new()?;
    let node = volume(&mut host, 32 * MIB)?;
    sh("mkswap", &["-L", "spare", &node])?;
    let names = sh("swaplabel", &[&node])?.out();
    ensure!(names.contains("spare") && names.contains("UUID"), "{names}");
    for line in ["lvextend -r -L 64M vg/fs", "lvreduce -r -L 16M vg/fs"] {
        host.ok(line)?;
        ensure!(sh("swaplabel", &[&node])?.out() == names, "after {line}");
    }
    refused(
        &host,
        "lvreduce -y --fs checksize -L 8M vg/fs",
        &["swap", "--resizefs"],
    )
}

fn encrypted() -> Outcome {
    let mut host = Host::new()?;
    let node = volume(&mut host, 32 * MIB)?;
    std::fs::write(host.images().path("head"), b"LUKS\xba\xbe\0\x02").map_err(|e| e.to_string())?;
    let head = host.images().path("head").display().to_string();
    sh(
        "dd",
        &[
            &format!("if={head}"),
            &format!("of={node}"),
            "conv=notrunc,fsync",
            "status=none",
        ],
    )?;
    for line in ["lvextend -r -L 64M vg/fs", "lvreduce -y -r -L 16M vg/fs"] {
        refused(&host, line, &["crypto_LUKS", "cryptsetup"])?;
    }
    refused(
        &host,
        "lvreduce -L 16M vg/fs",
        &["crypto_LUKS", "NOT reduced"],
    )
}
