//! Activation by events, and its end: `pvscan --cache` and `vgchange -aay --autoactivation event`, beside LVM2's own, and
//! `blkdeactivate`.
//!
//! Each tool runs a script in a mount namespace of its own, with an empty /run/lvm. Volume groups are made
//! by LVM2 in both; `tool` is the one under test.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ulvm");

/// What scripts begin with. `$A`, `$B` and `$C` are devices, `$full` are the options of the udev rule.
const BEGIN: &str = r#"
mount -t tmpfs events /run/lvm || { mkdir -p /run/lvm && mount -t tmpfs events /run/lvm; } || exit 99
full="--cache --listvg --checkcomplete --vgonline --autoactivation event --udevoutput --journal=output"
export LVM_SYSTEM_DIR=$dir/system LVM_SUPPRESS_FD_WARNINGS=1 ULVM_RUN_DIR=$dir/run LC_ALL=C
settings="devices{scan_lvs=0 use_devicesfile=0 global_filter=[\"a|^$A\$|\",\"a|^$B\$|\",\"a|^$C\$|\",\"r|.*|\"]} global{locking_dir=\"$dir/lock\"}"
more=
made() { command lvm "$@" --driverloaded n --config "$settings" >$dir/made 2>&1 || { cat $dir/made; exit 98; }; }
tool() {
  echo "+ $*"
  $tool "$@" --driverloaded n --config "$settings $more" >$dir/said 2>&1; code=$?
  grep -v 'Activation disabled' $dir/said | sed 's/pvscan\[[0-9]*\]/pvscan[N]/'
  echo "= $code"
}
clean() { rm -rf /run/lvm/* $dir/run; for d in $A $B $C; do dd if=/dev/zero of=$d bs=1M count=2 status=none; done; }
again() { rm -rf /run/lvm/* $dir/run; }
"#;

/// Runs a script with one of the tools; gives what it printed.
fn run(tool: &str, script: &str) -> Result<String, String> {
    let dir = loopdev::scratch()?;
    let mut devices = Vec::new();
    for name in ["a", "b", "c"] {
        devices.push(LoopDevice::attach(&dir.path().join(name), 64 << 20, 512)?);
    }
    // All at once are gone through in the order of their numbers.
    devices.sort_by_key(|device| (device.node().as_os_str().len(), device.node().to_owned()));
    for folder in ["system", "lock"] {
        std::fs::create_dir(dir.path().join(folder)).map_err(|e| e.to_string())?;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "bash", "-c", &format!("{BEGIN}\n{script}")]);
    command.env("tool", tool).env("dir", dir.path());
    for (name, device) in ["A", "B", "C"].into_iter().zip(&devices) {
        command.env(name, device.node());
    }
    let done = process::run(&mut command, &[], Duration::from_secs(240))?.success(tool)?;
    Ok(hide(&done.out(), &devices, dir.path()))
}

/// Names that differ from run to run.
fn hide(text: &str, devices: &[LoopDevice], dir: &Path) -> String {
    let mut names: Vec<(String, String)> = devices
        .iter()
        .zip(["$A", "$B", "$C"])
        .map(|(device, name)| (device.node().display().to_string(), name.to_owned()))
        .collect();
    // `/dev/loop1` is the beginning of `/dev/loop10`.
    names.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    names.push((dir.display().to_string(), "$dir".to_owned()));
    let hide = |text: String, (from, to): &(String, String)| text.replace(from, to);
    names.iter().fold(text.to_owned(), hide)
}

fn same(script: &str) -> Outcome {
    let reference = run("lvm", script)?;
    ensure!(reference.contains("= 0"), "LVM2 did nothing:\n{reference}");
    let ours = run(PROGRAM, script)?;
    ensure!(ours == reference, "LVM2:\n{reference}\nulvm:\n{ours}");
    Ok(())
}

/// A VG over both devices, with an LV on both.
const VG: &str =
    "clean; made vgcreate vg $A $B; made lvcreate -an -Zn -Wn -i2 -l4 -n a vg; made pvcreate $C\n";

fn as_lvm2() -> Outcome {
    same(&format!(
        r#"{VG}
        for d in $A $A $B $B $C; do tool pvscan $full $d; done
        tool vgchange -aay --autoactivation event vg
        tool vgchange -aay --autoactivation other vg
        again; tool pvscan --cache $A; tool pvscan --cache; tool pvscan --cache -aay
        again; tool pvscan --cache -aay $A; tool pvscan --cache -aay $B; tool pvscan --cache -aay $A $B
        again; for d in $A $C $B; do tool pvscan --cache --listvg $d; done
        again; tool pvscan --cache --listvg --checkcomplete $A; tool pvscan --cache --listlvs --checkcomplete $B
        tool pvscan --cache --listvg --checkcomplete --udevoutput $B
        tool pvscan --cache --listvg --checkcomplete --vgonline $B
        tool pvscan --cache --listvg --checkcomplete --vgonline $A
        more="global/event_activation=0"
        tool pvscan $full $A; tool pvscan --cache -aay; tool vgchange -aay --autoactivation event vg"#
    ))
}

fn options_as_lvm2() -> Outcome {
    same(&format!(
        r#"{VG}
        tool pvscan --cache --listvg; tool pvscan --listvg $A; tool pvscan --checkcomplete $A
        tool pvscan --cache --vgonline $A; tool pvscan --cache --udevoutput $A
        tool pvscan --cache --listlvs --udevoutput $A; tool pvscan --listvg --udevoutput $A
        tool pvscan --cache --listvg $A $B; tool pvscan --cache -ay $A; tool pvscan -aay
        tool pvscan --cache --major 7; tool pvscan --cache 4000:77; tool pvscan --cache /dev/none
        tool pvscan --cache --listvg --checkcomplete --vgonline --autoactivation other $A"#
    ))
}

fn odd_vgs_as_lvm2() -> Outcome {
    same(
        r#"clean; tool pvscan --cache $A; tool pvscan $full $A; tool pvscan --cache
        made pvcreate --metadatacopies 0 $B; made vgcreate vg $A $B
        made lvcreate -an -Zn -Wn -i2 -l4 -n a vg
        tool pvscan $full $B; tool pvscan --cache --listlvs $B; tool pvscan $full $A
        again; tool pvscan --cache -aay $A; tool pvscan --cache -aay $B
        tool pvscan --cache --listvg --checkcomplete $B
        made vgchange --setautoactivation n vg
        again; tool pvscan $full $A; tool pvscan $full $B; tool vgchange -aay --autoactivation event vg
        made vgchange --setautoactivation y vg; made vgexport vg
        again; tool pvscan $full $A; tool pvscan --cache -aay; tool pvscan --cache --listvg $A"#,
    )
}

fn on_purpose() -> Outcome {
    let said = run(
        PROGRAM,
        r#"clean; made vgcreate vg $A $B $C; made lvcreate -an -Zn -Wn -l4 -n a vg $A
        made lvcreate -an -Zn -Wn -l4 -n b vg $B; made lvcreate -an -Zn -Wn -l4 -n c vg $C
        made lvchange --setautoactivation n vg/c
        tool pvscan $full $A; tool pvscan --cache --listvg --checkcomplete $B
        more='activation/auto_activation_volume_list=["vg/a"]'
        again; tool pvscan $full $B; tool pvscan $full $A
        more='devices/global_filter=["r|.*|"]'
        again; tool pvscan --cache $A
        more=
        made vgchange -y --systemid other vg
        again; tool pvscan $full $A; tool pvscan --cache --listvg $A
        ls /run/lvm | wc -l"#,
    )?;
    let expected = "\
+ pvscan FULL $A
LVM_VG_NAME_INCOMPLETE='vg'
= 0
+ pvscan --cache --listvg --checkcomplete $B
  pvscan[N] PV $B online, VG vg has what its LVs need (1 other PVs absent).
  VG vg complete
= 0
+ pvscan FULL $B
LVM_VG_NAME_INCOMPLETE='vg'
= 0
+ pvscan FULL $A
LVM_VG_NAME_COMPLETE='vg'
= 0
+ pvscan --cache $A
  pvscan[N] $A excluded: device is rejected by filter config.
= 0
+ pvscan FULL $A
= 0
+ pvscan --cache --listvg $A
  pvscan[N] PV $A ignore foreign VG.
= 0
0
";
    let full = "--cache --listvg --checkcomplete --vgonline --autoactivation event --udevoutput --journal=output";
    let said = said.replace(full, "FULL");
    ensure!(said == expected, "said:\n{said}\nexpected:\n{expected}");
    Ok(())
}

/// What is mounted, swapped to and nested on live volumes goes in order, and what is to stay stays.
fn blkdeactivate() -> Outcome {
    let dir = loopdev::scratch()?;
    let script = r#"
        cd "$dir" || exit 99
        export ULVM_RUN_DIR=$dir/run LVM_SYSTEM_DIR=$dir/system ULVM_LOCK_DIR=$dir/lock DM_DEV_DIR=$dir/dev
        export ULVM_DEVICES=$dir/a
        ulvm() { $tool "$@" 2>$dir/said; }
        quiet() { ulvm "$@" >/dev/null || { cat $dir/said; exit 98; }; }
        off() { echo "+ $*"; ulvm blkdeactivate "$@" | sed 's/(loop[0-9]*)/(loop)/'; }
        trap '$tool blkdeactivate -u >/dev/null 2>&1' EXIT
        truncate -s 256M a; quiet vgcreate v-g a
        for lv in one two three; do quiet lvcreate -y -an -Zn -Wn -L 64M -n $lv v-g; done
        quiet vgchange -ay --export loop v-g
        mkfs.ext4 -q dev/v-g/one; mkfs.ext4 -q dev/v-g/two
        mkdir m; mount dev/v-g/one m; mkdir -p m/in; mount dev/v-g/two m/in
        off; off -u; grep -c "$dir/m" /proc/mounts
        quiet vgchange -ay --export loop v-g
        mkswap -q dev/v-g/one >/dev/null 2>&1; swapon dev/v-g/one
        node=$(readlink -f dev/v-g/three)
        for words in "vgcreate inner $node" "lvcreate -y -an -Zn -Wn -L 16M -n x inner" "vgchange -ay --export loop inner"; do
            ULVM_DEVICES=$node quiet $words
        done
        off; off --umount dev/v-g/one; off -l wholevg,other -u; $tool blkdeactivate dev/none 2>&1; echo "= $?"
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "bash", "-c", script]);
    command.env("tool", PROGRAM).env("dir", dir.path());
    let done = process::run(&mut command, &[], Duration::from_secs(240))?.success("the script")?;
    let said = hide(&done.out(), &[], dir.path());
    let expected = "\
+ 
Deactivating block devices:
  [SKIP]: unmount of v-g/two (loop) mounted on $dir/m/in
  [SKIP]: unmount of v-g/one (loop) mounted on $dir/m
  [LVM]: deactivating Logical Volume v-g/three... done
+ -u
Deactivating block devices:
  [UMOUNT]: unmounting v-g/two (loop) mounted on $dir/m/in... done
  [UMOUNT]: unmounting v-g/one (loop) mounted on $dir/m... done
  [LVM]: deactivating Logical Volume v-g/one... done
  [LVM]: deactivating Logical Volume v-g/two... done
0
+ 
Deactivating block devices:
  [SKIP]: unmount of v-g/one (loop) mounted on [SWAP]
  [LVM]: deactivating Logical Volume v-g/two... done
  [LVM]: deactivating Logical Volume inner/x... done
  [LVM]: deactivating Logical Volume v-g/three... done
+ --umount dev/v-g/one
Deactivating block devices:
  [SWAP]: turning off v-g/one (loop)... done
  [LVM]: deactivating Logical Volume v-g/one... done
+ -l wholevg,other -u
other: unknown LVM option
Deactivating block devices:
Deactivating block devices:
  dev/none: device not found
= 5
";
    ensure!(said == expected, "said:\n{said}\nexpected:\n{expected}");
    Ok(())
}

fn main() -> ExitCode {
    let needs = &[Need::Loop, Need::Lvm2, Need::Program("unshare")];
    let mut suite = Suite::new(5);
    suite.case("online/as_lvm2", needs, as_lvm2);
    suite.case("online/options_as_lvm2", needs, options_as_lvm2);
    suite.case("online/odd_vgs_as_lvm2", needs, odd_vgs_as_lvm2);
    suite.case("online/on_purpose", needs, on_purpose);
    let needs = &[
        Need::Loop,
        Need::Path("/dev/fuse"),
        Need::Program("unshare"),
        Need::Program("mkfs.ext4"),
        Need::Program("swapon"),
    ];
    suite.case("blkdeactivate/order", needs, blkdeactivate);
    suite.run()
}
