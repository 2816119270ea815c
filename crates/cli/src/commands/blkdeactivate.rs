//! `blkdeactivate`: unmounts what lies on live volumes and deactivates them, those above first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ulvm::activate::plan::lv_of_dm_name;
use ulvm::daemon::client::Client;
use ulvm::daemon::proto::DeviceStatus;
use ulvm::error::{Error, Result};
use ulvm::filesystem::{Situation, partitions};

use crate::args::{Args, Opt};
use crate::context::Context;

/// Folders of the running system: they are unmounted by whoever ends it.
const KEPT: [&str; 12] = [
    "/",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/var",
    "/var/log",
    "/usr",
    "/usr/lib",
    "/usr/lib64",
    "/usr/sbin",
    "/usr/bin",
];
/// How long `retry` goes on with a device that is in use.
const RETRY: Duration = Duration::from_secs(5);
/// What characters 0 to 68 of a device's uuid are: `LVM-`, the VG's and the LV's.
const LV_UUID: usize = 4 + 32 + 32;

/// What the options ask for.
struct How {
    umount: bool,
    retry: bool,
    whole_vg: bool,
    errors: bool,
}

/// A volume: the device that its users see, and what lies below.
struct Volume {
    /// `VG/LV`, or the name of a device that is no LV.
    name: String,
    /// VG, for an LV.
    vg: Option<String>,
    /// Name of the node below /dev.
    kname: String,
    node: Option<PathBuf>,
    /// uuids or names, the order in which they can be removed.
    devices: Vec<String>,
}

/// Deactivates the devices that are named and what is on them, or all.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let how = how(ctx, args);
    let out = ctx.terminal();
    out.put("Deactivating block devices:\n");
    let Some(mut client) = Client::connect(&ctx.settings().env.run_dir())? else {
        return match args.operands().first() {
            Some(operand) => Err(not_found(operand)),
            None => Ok(()),
        };
    };
    let volumes = volumes(&client.status(false)?.devices);
    let chosen = chosen(volumes, args.operands(), how.whole_vg)?;
    let mut kept = BTreeSet::new();
    for (volume, folder) in mounts(&chosen) {
        if !unmount(ctx, &how, &chosen[volume], &folder) {
            kept.insert(volume);
        }
    }
    for (n, volume) in chosen.iter().enumerate() {
        if !swap_off(ctx, &how, volume) {
            kept.insert(n);
        }
    }
    remove(ctx, &how, &mut client, &chosen, &kept);
    Ok(())
}

fn how(ctx: &Context, args: &Args) -> How {
    let words = |opt: Opt, kind: &str, known: &[&str]| {
        let given = args.texts(opt).flat_map(|text| text.split(','));
        let given = given.filter(|w| !w.is_empty());
        let (good, bad): (Vec<_>, Vec<_>) = given.partition(|w| known.contains(w));
        for word in bad {
            ctx.terminal()
                .put(&format!("{word}: unknown {kind} option\n"));
        }
        good.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let dm = words(Opt::DmOptions, "DM", &["retry", "force"]);
    let lvm = words(Opt::LvmOptions, "LVM", &["retry", "wholevg"]);
    words(Opt::MpathOptions, "DM-multipath", &["disablequeueing"]);
    words(Opt::MdraidOptions, "MD RAID", &["wait"]);
    let has = |words: &[String], word: &str| words.iter().any(|w| w == word);
    How {
        umount: args.has(Opt::Umount),
        retry: has(&dm, "retry") || has(&lvm, "retry"),
        whole_vg: has(&lvm, "wholevg"),
        errors: args.has(Opt::ShowErrors) || args.has(Opt::Verbose),
    }
}

fn not_found(operand: &str) -> Error {
    Error::not_found(format!("{operand}: device not found"))
}

/// The volumes of the daemon's devices, in no order that means anything.
fn volumes(devices: &[DeviceStatus]) -> Vec<Volume> {
    let of_lv = |d: &&DeviceStatus| d.uuid.starts_with("LVM-") && d.uuid.len() >= LV_UUID;
    let mut found: Vec<Volume> = Vec::new();
    for device in devices {
        let lv = of_lv(&device)
            .then(|| lv_of_dm_name(&device.name))
            .flatten();
        if of_lv(&device) && device.uuid.len() > LV_UUID {
            continue;
        }
        let mut own: Vec<&DeviceStatus> = devices
            .iter()
            .filter(|d| match of_lv(&device) {
                true => d.uuid.starts_with(&device.uuid),
                false => d.number == device.number,
            })
            .collect();
        // The LV itself goes first, then its layers, the last one made first.
        own.sort_by_key(|d| (d.uuid != device.uuid, std::cmp::Reverse(d.number)));
        let id = |d: &&DeviceStatus| match d.uuid.is_empty() {
            true => d.name.clone(),
            false => d.uuid.clone(),
        };
        let kname = device.node.as_deref().and_then(Path::file_name);
        found.push(Volume {
            name: match &lv {
                Some((vg, lv)) => format!("{vg}/{lv}"),
                None => device.name.clone(),
            },
            vg: lv.map(|(vg, _)| vg),
            kname: kname.map_or(String::new(), |n| n.to_string_lossy().into_owned()),
            node: device.node.clone(),
            devices: own.iter().map(id).collect(),
        });
    }
    found
}

/// The volumes that are named, by node, link or name, with the rest of their VGs if that is asked for.
fn chosen(volumes: Vec<Volume>, operands: &[String], whole_vg: bool) -> Result<Vec<Volume>> {
    if operands.is_empty() {
        return Ok(volumes);
    }
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut vgs: BTreeSet<String> = BTreeSet::new();
    for operand in operands {
        let path = real(Path::new(operand));
        let meant = volumes.iter().find(|v| {
            let node = v.node.as_deref().and_then(real);
            v.name == *operand || (node.is_some() && node == path)
        });
        let meant = meant.ok_or_else(|| not_found(operand))?;
        names.insert(meant.name.clone());
        vgs.extend(meant.vg.clone());
    }
    let wanted = |v: &Volume| {
        names.contains(&v.name) || whole_vg && v.vg.as_ref().is_some_and(|vg| vgs.contains(vg))
    };
    Ok(volumes.into_iter().filter(wanted).collect())
}

/// Every mount from the volumes and their partitions, inner folders before outer ones.
fn mounts(volumes: &[Volume]) -> Vec<(usize, PathBuf)> {
    let mut found = Vec::new();
    for (n, volume) in volumes.iter().enumerate() {
        for node in nodes(volume) {
            let mounts = Situation::of(&node).unwrap_or_default().mounts;
            found.extend(mounts.into_iter().map(|m| (n, m.folder)));
        }
    }
    found.sort_by(|a, b| b.1.cmp(&a.1));
    found
}

/// The node and those of its partitions.
fn nodes(volume: &Volume) -> Vec<PathBuf> {
    let Some(node) = &volume.node else {
        return Vec::new();
    };
    let mut nodes = vec![node.clone()];
    nodes.extend(partitions(node));
    nodes
}

/// Runs a program; says what it said if that is wanted.
fn tool(ctx: &Context, how: &How, program: &str, operand: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg(operand).stdin(Stdio::null());
    let done = command.output();
    if let (Ok(done), true) = (&done, how.errors) {
        for line in String::from_utf8_lossy(&done.stderr).lines() {
            ctx.terminal().error_line(line);
        }
    }
    done.is_ok_and(|done| done.status.success())
}

/// False if something stays mounted.
fn unmount(ctx: &Context, how: &How, volume: &Volume, folder: &Path) -> bool {
    let out = ctx.terminal();
    let shown = format!("{} ({})", volume.name, volume.kname);
    let kept = KEPT.iter().any(|k| Path::new(k) == folder);
    if kept || !how.umount {
        let folder = folder.display();
        out.put(&format!(
            "  [SKIP]: unmount of {shown} mounted on {folder}\n"
        ));
        return false;
    }
    let place = folder.display();
    out.put(&format!(
        "  [UMOUNT]: unmounting {shown} mounted on {place}... "
    ));
    out.flush();
    let done = tool(ctx, how, "umount", folder);
    out.put(if done { "done\n" } else { "skipping\n" });
    done
}

/// False if the system goes on swapping to the volume.
fn swap_off(ctx: &Context, how: &How, volume: &Volume) -> bool {
    let out = ctx.terminal();
    let mut off = true;
    for node in nodes(volume) {
        if !Situation::of(&node).is_ok_and(|s| s.swapping) {
            continue;
        }
        let shown = format!("{} ({})", volume.name, volume.kname);
        if !how.umount {
            out.put(&format!("  [SKIP]: unmount of {shown} mounted on [SWAP]\n"));
            off = false;
            continue;
        }
        out.put(&format!("  [SWAP]: turning off {shown}... "));
        out.flush();
        let done = tool(ctx, how, "swapoff", &node);
        out.put(if done { "done\n" } else { "skipping\n" });
        off &= done;
    }
    off
}

/// Removes what is not in use, again and again as long as that frees something: a volume below others
/// can go when they are gone.
fn remove(
    ctx: &Context,
    how: &How,
    client: &mut Client,
    volumes: &[Volume],
    kept: &BTreeSet<usize>,
) {
    let mut left: Vec<&Volume> = Vec::new();
    let blocked: BTreeSet<&str> = match how.whole_vg {
        true => kept
            .iter()
            .filter_map(|n| volumes[*n].vg.as_deref())
            .collect(),
        false => BTreeSet::new(),
    };
    for (n, volume) in volumes.iter().enumerate() {
        let of_blocked = volume.vg.as_deref().is_some_and(|vg| blocked.contains(vg));
        if !kept.contains(&n) && !of_blocked {
            left.push(volume);
        }
    }
    let began = Instant::now();
    let mut why: Vec<Error> = Vec::new();
    loop {
        let before = left.len();
        why.clear();
        left.retain(|volume| match client.deactivate(volume.devices.clone()) {
            Ok(()) => {
                said(ctx, volume, "done");
                false
            }
            Err(error) => {
                why.push(error);
                true
            }
        });
        let again = how.retry && began.elapsed() < RETRY;
        match left.len() {
            0 => break,
            now if now < before => {}
            _ if again => std::thread::sleep(RETRY / 20),
            _ => break,
        }
    }
    for (volume, error) in left.iter().zip(&why) {
        said(ctx, volume, "skipping");
        if how.errors {
            ctx.terminal().error_line(&format!("  {error}"));
        }
    }
}

fn said(ctx: &Context, volume: &Volume, end: &str) {
    let text = match &volume.vg {
        Some(_) => format!("  [LVM]: deactivating Logical Volume {}", volume.name),
        None => format!(
            "  [DM]: deactivating dm device {} ({})",
            volume.name, volume.kname
        ),
    };
    ctx.terminal().put(&format!("{text}... {end}\n"));
}
