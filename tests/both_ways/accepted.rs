//! What ulvm writes passes LVM2's own checks, is edited by LVM2, and is edited again by ulvm.

use ulvm_test_support::ensure;
use ulvm_test_support::field::Field;
use ulvm_test_support::lvm::Tool::{Debian, Ulvm};
use ulvm_test_support::suite::Outcome;

use crate::ulvm;

/// A case.
pub type Body = fn() -> Outcome;

/// Name and body of each.
pub const CASES: &[(&str, Body)] = &[
    ("lvm2_accepts_what_ulvm_made", made_by_ulvm),
    ("ulvm_accepts_what_lvm2_made", made_by_lvm2),
    ("lvm2_restores_from_ulvms_files", restored_by_lvm2),
    ("ulvm_restores_from_lvm2s_files", restored_by_ulvm),
    ("odd_metadata_areas", odd_areas),
    ("many_volumes", many_volumes),
];

const MIB: u64 = 1 << 20;

fn lvm2_checks(field: &Field, vg: &str) -> Outcome {
    field.ok(Debian, &format!("vgck {vg}"))?;
    for index in 0..field.devices.len() {
        field.ok(Debian, &format!("pvck $pv{index}"))?;
        field.ok(Debian, &format!("pvck --dump headers $pv{index}"))?;
    }
    let list = field.ok(Debian, &format!("vgcfgrestore --list {vg}"))?;
    ensure!(
        list.out().contains("File:"),
        "vgcfgrestore --list shows no file:\n{}",
        list.out()
    );
    Ok(())
}

fn made_by_ulvm() -> Outcome {
    let field = Field::new(ulvm(), &[64 * MIB; 3])?;
    field.ok(Ulvm, "pvcreate $pv0 $pv1 $pv2")?;
    field.ok(Ulvm, "vgcreate -s 1M vg $pv0 $pv1 $pv2")?;
    field.ok(Ulvm, "lvcreate -an -Zn -Wn -n lin -L 30M --addtag t vg")?;
    field.ok(Ulvm, "lvcreate -an -Zn -Wn -i 3 -I 64k -n str -L 30M vg")?;
    lvm2_checks(&field, "vg")?;
    field.ok(Debian, "lvextend -l +10 vg/lin")?;
    field.ok(Debian, "lvrename vg str str2")?;
    field.ok(Debian, "lvcreate -an -Zn -Wn -n more -l 5 vg")?;
    field.ok(Ulvm, "vgck vg")?;
    field.ok(Ulvm, "lvextend -l +3 vg/str2")?;
    field.ok(Ulvm, "lvremove -y vg/more")?;
    lvm2_checks(&field, "vg")?;
    let names = field.volumes("vg")?;
    ensure!(names == ["lin", "str2"], "left: {names:?}");
    field.ok(Debian, "vgremove -y vg")?;
    field.ok(Ulvm, "pvremove $pv0 $pv1 $pv2").map(drop)
}

fn made_by_lvm2() -> Outcome {
    let field = Field::new(ulvm(), &[64 * MIB; 3])?;
    field.ok(Debian, "vgcreate -s 1M vg $pv0 $pv1 $pv2")?;
    field.ok(Debian, "lvcreate -an -Zn -Wn -n a -L 30M vg")?;
    field.ok(Ulvm, "lvextend -l +40 vg/a")?;
    field.ok(Ulvm, "vgsplit vg other $pv2")?;
    field.ok(Debian, "vgck vg")?;
    field.ok(Debian, "vgmerge vg other")?;
    field.ok(Ulvm, "vgrename vg new")?;
    field.ok(Ulvm, "vgexport new")?;
    field.ok(Debian, "vgimport new")?;
    field.ok(Ulvm, "vgreduce new $pv2")?;
    lvm2_checks(&field, "new")
}

fn restored_by_lvm2() -> Outcome {
    let field = Field::new(ulvm(), &[64 * MIB; 2])?;
    field.ok(Ulvm, "vgcreate vg $pv0 $pv1")?;
    field.ok(Ulvm, "lvcreate -an -Zn -Wn -n a -l 20 vg")?;
    field.ok(Ulvm, "lvremove -y vg/a")?;
    let file = archive_with(&field, "\ta {")?;
    field.ok(Debian, &format!("vgcfgrestore -f {file} vg"))?;
    ensure!(
        field.volumes("vg")? == ["a"],
        "LVM2 did not get the LV back from {file}"
    );
    field.ok(Ulvm, "lvrename vg a b").map(drop)
}

fn restored_by_ulvm() -> Outcome {
    let field = Field::new(ulvm(), &[64 * MIB; 2])?;
    field.ok(Debian, "vgcreate vg $pv0 $pv1")?;
    field.ok(Debian, "lvcreate -an -Zn -Wn -n a -l 20 vg")?;
    field.ok(Debian, "lvremove -y vg/a")?;
    let file = archive_with(&field, "\ta {")?;
    field.ok(Ulvm, &format!("vgcfgrestore -f {file} vg"))?;
    ensure!(
        field.volumes("vg")? == ["a"],
        "ulvm did not get the LV back from {file}"
    );
    lvm2_checks(&field, "vg")
}

fn archive_with(field: &Field, what: &str) -> Result<String, String> {
    let directory = field.site.system_dir().join("archive");
    let entries = std::fs::read_dir(&directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(what)) {
            return Ok(path.display().to_string());
        }
    }
    Err(format!(
        "no archive in {} holds `{what}`",
        directory.display()
    ))
}

fn odd_areas() -> Outcome {
    let field = Field::new(ulvm(), &[64 * MIB; 4])?;
    field.ok(Ulvm, "pvcreate --pvmetadatacopies 2 $pv0")?;
    field.ok(Ulvm, "pvcreate --pvmetadatacopies 0 $pv1")?;
    field.ok(
        Ulvm,
        "pvcreate --bootloaderareasize 1M --dataalignment 2M $pv2",
    )?;
    field.ok(Ulvm, "pvcreate --metadatasize 100k $pv3")?;
    field.ok(Debian, "vgcreate vg $pv0 $pv1 $pv2 $pv3")?;
    for step in 0..60 {
        let tool = if step % 2 == 0 { Ulvm } else { Debian };
        field.ok(tool, &format!("vgchange --addtag tag{step} vg"))?;
    }
    field.ok(Ulvm, "pvchange --metadataignore y $pv0")?;
    field.ok(Debian, "lvcreate -an -Zn -Wn -n a -l 3 vg")?;
    field.ok(Ulvm, "pvchange --metadataignore n $pv0")?;
    ensure!(
        field.seqno("vg")? >= 62,
        "commits are lost: seqno {}",
        field.seqno("vg")?
    );
    field.ok(Debian, "vgck vg").map(drop)
}

fn many_volumes() -> Outcome {
    let field = Field::new(ulvm(), &[128 * MIB; 2])?;
    field.ok(Ulvm, "vgcreate -s 64k vg $pv0 $pv1")?;
    for index in 0..60 {
        let tool = if index % 3 == 0 { Debian } else { Ulvm };
        field.ok(
            tool,
            &format!("lvcreate -an -Zn -Wn -n lv{index} -l {} vg", index % 7 + 1),
        )?;
    }
    ensure!(field.volumes("vg")?.len() == 60, "LVs are lost");
    ensure!(
        field.seqno("vg")? == 61,
        "seqno is {} after 61 commits",
        field.seqno("vg")?
    );
    lvm2_checks(&field, "vg")
}
