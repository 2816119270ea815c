//! Volumes that are changed while they are active, and while somebody has them open.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ulvm_test_support::ensure;
use ulvm_test_support::suite::{Outcome, Suite};

use crate::host::{FUSE, Host, LOOP};

pub fn cases(suite: &mut Suite) {
    suite.case("activation::changes::lvrename", &LOOP, lvrename);
    suite.case("activation::changes::vgrename", &LOOP, vgrename);
    suite.case("activation::changes::permission", &LOOP, permission);
    suite.case("activation::changes::lvreduce", &LOOP, lvreduce);
    suite.case("activation::changes::vgmknodes", &FUSE, vgmknodes);
}

const EXPORTS: [&str; 2] = ["loop", "fuse"];

fn opened(node: &Path) -> Result<File, String> {
    let file = OpenOptions::new().read(true).write(true).open(node);
    file.map_err(|e| format!("{}: {e}", node.display()))
}

fn size(node: &Path) -> Result<u64, String> {
    let seek = File::open(node).and_then(|mut f| f.seek(SeekFrom::End(0)));
    seek.map_err(|e| format!("{}: {e}", node.display()))
}

fn put(file: &File, byte: u8, at: u64) -> Result<(), String> {
    let written = file.write_all_at(&[byte; 4096], at);
    let written = written.and_then(|()| file.sync_all());
    written.map_err(|e| format!("writing at {at}: {e}"))
}

fn byte(host: &Host, lv: &str, at: u64) -> Result<u8, String> {
    let line = format!("read {lv} --offset {at} --length 4096");
    host.ok(&line)?
        .stdout
        .first()
        .copied()
        .ok_or("no data".into())
}

fn lvrename() -> Outcome {
    let host = Host::new()?;
    for (export, old, new) in [
        ("loop", "linear", "other-one"),
        ("fuse", "other-one", "linear"),
    ] {
        host.ok(&format!("lvchange -ay --export {export} vg/{old}"))?;
        let file = opened(&host.node(&format!("vg/{old}"))?)?;
        put(&file, 1, 0)?;
        host.ok(&format!("lvrename vg {old} {new}"))?;
        // Who has it open goes on.
        put(&file, 2, 4096)?;
        let mapper = new.replace('-', "--");
        let node = host.node(&format!("vg/{new}"))?;
        ensure!(
            host.node(&format!("mapper/vg-{mapper}"))? == node,
            "links differ"
        );
        for gone in [
            format!("vg/{old}"),
            format!("mapper/vg-{}", old.replace('-', "--")),
        ] {
            ensure!(host.node(&gone).is_err(), "{gone} is still there");
        }
        put(&opened(&node)?, 3, 8192)?;
        let refused = host.run(&format!("lvchange -an vg/{new}"))?;
        ensure!(
            refused.code == 5 && refused.err().contains("in use"),
            "{export}: an open volume was deactivated after it was renamed: {}",
            refused.err()
        );
        // A new worker knows the new name.
        let before = host.kill("worker_pid")?;
        while host.pid("worker_pid")? == before {}
        put(&file, 4, 12288)?;
        drop(file);
        host.ok(&format!("lvchange -an vg/{new}"))?;
        for (n, at) in [(1, 0), (2, 4096), (3, 8192), (4, 12288)] {
            let seen = byte(&host, &format!("vg/{new}"), at)?;
            ensure!(seen == n, "{export}: {seen} at {at}");
        }
    }
    Ok(())
}

fn vgrename() -> Outcome {
    let host = Host::new()?;
    host.ok("vgchange -ay --export loop vg")?;
    let file = opened(&host.node("vg/linear")?)?;
    let nodes = [host.node("vg/linear")?, host.node("vg/striped")?];
    host.ok("vgrename vg group")?;
    put(&file, 1, 0)?;
    drop(file);
    let now = [
        host.node("group/linear")?,
        host.node("mapper/group-striped")?,
    ];
    ensure!(now == nodes, "{now:?}, {nodes:?} before");
    ensure!(
        !host.images().path("dev/vg").exists(),
        "dev/vg is still there"
    );
    let seen = host.ok("lvs --noheadings -o lv_active group")?.out();
    ensure!(seen.matches("active").count() == 2, "{seen}");
    // A name that something else has in the way: everything keeps its name.
    std::fs::create_dir_all(host.images().path("dev/mapper/taken-striped"))
        .map_err(|e| e.to_string())?;
    let refused = host.run("vgrename group taken")?;
    ensure!(refused.code == 5, "ended with {}", refused.code);
    ensure!(host.node("group/linear")? == nodes[0], "renamed by half");
    ensure!(
        host.node("mapper/group-striped")? == nodes[1],
        "renamed by half"
    );
    ensure!(host.node("taken/linear").is_err(), "renamed by half");
    host.ok("vgs group")?;
    host.ok("vgchange -an group")?;
    host.ok("vgrename group vg").map(drop)
}

fn permission() -> Outcome {
    let host = Host::new()?;
    for export in EXPORTS {
        host.ok(&format!("lvchange -ay --export {export} vg/linear"))?;
        let node = host.node("vg/linear")?;
        let file = opened(&node)?;
        put(&file, 1, 0)?;
        host.ok("lvchange -pr vg/linear")?;
        ensure!(
            file.write_all_at(&[9; 4096], 0)
                .and_then(|()| file.sync_all())
                .is_err(),
            "{export}: written although it is read-only"
        );
        drop(file);
        ensure!(
            opened(&node).and_then(|f| put(&f, 9, 4096)).is_err(),
            "{export}: opened and written although it is read-only"
        );
        let attr = host
            .ok("lvs --noheadings -o lv_attr,lv_permissions vg/linear")?
            .out();
        ensure!(
            attr.contains("-ri-a") && attr.contains("read-only"),
            "{attr}"
        );
        let reader = File::open(&node).map_err(|e| e.to_string())?;
        host.ok("lvchange -prw vg/linear")?;
        put(&opened(&node)?, 2, 0)?;
        drop(reader);
        host.ok("lvchange -an vg/linear")?;
        ensure!(byte(&host, "vg/linear", 0)? == 2, "{export}: other data");
        // One that is activated as read-only may be written to later.
        host.ok("lvchange -pr vg/linear")?;
        host.ok(&format!("lvchange -ay --export {export} vg/linear"))?;
        let node = host.node("vg/linear")?;
        ensure!(
            opened(&node).and_then(|f| put(&f, 9, 4096)).is_err(),
            "{export}: written although it was activated read-only"
        );
        host.ok("lvchange -prw vg/linear")?;
        put(&opened(&node)?, 3, 0)?;
        host.ok("lvchange -an vg/linear")?;
        ensure!(byte(&host, "vg/linear", 0)? == 3, "{export}: other data");
    }
    Ok(())
}

fn lvreduce() -> Outcome {
    let host = Host::new()?;
    for (export, lv) in [("loop", "linear"), ("fuse", "striped")] {
        host.ok(&format!("lvchange -ay --export {export} vg/{lv}"))?;
        let node = host.node(&format!("vg/{lv}"))?;
        let before = size(&node)?;
        let file = opened(&node)?;
        put(&file, 1, before - 4096)?;
        put(&file, 2, 0)?;
        let declined = host.run(&format!("lvreduce -L -8M vg/{lv}"))?;
        ensure!(
            declined.code == 5
                && declined
                    .err()
                    .contains("Reducing active and open logical volume to")
                && declined.err().contains("NOT reduced"),
            "{}",
            declined.err()
        );
        ensure!(size(&node)? == before, "made smaller without being asked");
        host.ok(&format!("lvreduce -f -L -8M vg/{lv}"))?;
        let after = size(&node)?;
        ensure!(
            after == before - (8 << 20),
            "{export}: {after}, {before} before"
        );
        put(&file, 3, after - 4096)?;
        ensure!(
            file.write_all_at(&[9; 4096], after)
                .and_then(|()| file.sync_all())
                .is_err(),
            "{export}: written behind the end"
        );
        host.ok(&format!("lvresize -L +8M vg/{lv}"))?;
        ensure!(
            size(&node)? == after + (8 << 20),
            "{export}: {}",
            size(&node)?
        );
        put(&file, 4, after)?;
        drop(file);
        host.ok(&format!("lvchange -an vg/{lv}"))?;
        for (n, at) in [(2, 0), (3, after - 4096), (4, after)] {
            let seen = byte(&host, &format!("vg/{lv}"), at)?;
            ensure!(seen == n, "{export}: {seen} at {at}");
        }
    }
    Ok(())
}

fn vgmknodes() -> Outcome {
    let host = Host::new()?;
    host.ok("vgchange -ay --export fuse vg")?;
    let node = host.node("vg/linear")?;
    let link = host.images().path("dev/vg/linear");
    std::fs::remove_file(&link).map_err(|e| e.to_string())?;
    let wrong = host.images().path("dev/mapper/vg-linear");
    std::fs::remove_file(&wrong).map_err(|e| e.to_string())?;
    std::os::unix::fs::symlink("/nowhere", &wrong).map_err(|e| e.to_string())?;
    host.ok("vgmknodes vg")?;
    ensure!(host.node("vg/linear")? == node, "the link was not made");
    ensure!(
        host.node("mapper/vg-linear")? == node,
        "the link leads elsewhere"
    );
    host.ok("vgchange -an vg")?;
    ensure!(!link.exists() && !wrong.exists(), "links stay");
    host.ok("vgmknodes vg")?;
    ensure!(
        std::fs::symlink_metadata(&link).is_err(),
        "a link to nothing"
    );
    Ok(())
}
