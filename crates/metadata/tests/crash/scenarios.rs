//! The operations that are crashed, on one to three devices.

use ulvm_metadata::commit::{
    CommitPlan, LabelChange, MdaTarget, Plan, Wanted, plan_commit, plan_create, plan_remove,
    plan_wipe_labels,
};
use ulvm_metadata::convert::{Style, TextHeader, export};
use ulvm_metadata::disk::{Disk, MemDisk};
use ulvm_metadata::model::{Pv, Vg};
use ulvm_metadata::ondisk::layout::{Layout, LayoutRequest, layout};
use ulvm_metadata::ondisk::{Area, Label, encode_label, find_label, read_mda};
use ulvm_metadata::units::{Bytes, Extents, Sectors};
use ulvm_metadata::uuid::LvmUuid;

use super::judge::{Scenario, found, look};
use super::record::record;

const SIZE: usize = 80 << 10;

fn id(n: usize) -> LvmUuid {
    LvmUuid::from_entropy(&[n as u8; 32])
}

/// A small PV with so many metadata areas.
fn small(mdas: u32) -> Layout {
    layout(&LayoutRequest {
        mda_copies: mdas,
        mda_size: Some(Bytes(32 << 10)),
        alignment: Bytes(4096),
        ..LayoutRequest::new(Bytes(SIZE as u64))
    })
    .expect("fits")
}

/// A VG of the PVs with these numbers; `bulk` makes its text so many bytes longer.
fn vg(pvs: &[usize], seqno: u32, bulk: usize) -> Vg {
    let mut vg = Vg::new("vg", id(99), Sectors(8));
    vg.seqno = seqno;
    for n in pvs {
        vg.pvs.push(Pv::new(id(*n), Sectors(100), Extents(1)));
    }
    let tag = format!("t{seqno}");
    vg.tags = std::iter::repeat_n(tag, bulk / 8 + 1).collect();
    vg
}

fn text(vg: &Vg) -> String {
    export(vg, &TextHeader::default(), Style::Raw)
}

fn new_pv(disk: &mut MemDisk, n: usize, mdas: u32, used: bool) -> Label {
    let label = small(mdas).label(id(n), used);
    plan_create(0, &label, &[], false)
        .unwrap()
        .execute(&mut [disk])
        .unwrap();
    label
}

/// Devices with one PV each, not in use; `mdas[n]` metadata areas on PV `n`.
fn free_pvs(mdas: &[u32]) -> Vec<MemDisk> {
    let mut disks = Vec::new();
    for (n, count) in mdas.iter().enumerate() {
        let mut disk = MemDisk::new(SIZE);
        new_pv(&mut disk, n, *count, false);
        disks.push(disk);
    }
    disks
}

fn label_of(disk: &dyn Disk) -> Label {
    find_label(disk).unwrap().expect("has a label").label
}

/// Labels that say that their PVs are in use.
fn used_labels(disks: &[MemDisk]) -> Vec<LabelChange> {
    let change = |(disk, new): (usize, Label)| LabelChange {
        disk,
        old: label_of(&disks[disk]),
        new,
    };
    labels(disks, true).into_iter().map(change).collect()
}

fn labels(disks: &[MemDisk], used: bool) -> Vec<(usize, Label)> {
    disks
        .iter()
        .enumerate()
        .map(|(n, disk)| {
            let mut label = label_of(disk);
            label.header = label.header.with_used(used);
            (n, label)
        })
        .collect()
}

fn areas(disks: &[MemDisk]) -> Vec<(usize, Area)> {
    disks
        .iter()
        .enumerate()
        .flat_map(|(n, disk)| label_of(disk).header.mdas.into_iter().map(move |a| (n, a)))
        .collect()
}

fn in_use(areas: &[(usize, Area)]) -> Vec<(usize, Area, bool)> {
    areas.iter().map(|(n, area)| (*n, *area, false)).collect()
}

fn targets(disks: &[MemDisk], wanted: impl Fn(usize) -> Wanted) -> Vec<MdaTarget> {
    areas(disks)
        .into_iter()
        .map(|(n, area)| MdaTarget::new(n, &read_mda(&disks[n], area), wanted(n)))
        .collect()
}

fn commit(disks: &[MemDisk], vg: &Vg) -> CommitPlan {
    plan_commit(&targets(disks, |_| Wanted::Use), &text(vg)).expect("fits")
}

fn run(disks: &mut [MemDisk], plan: &Plan) {
    let mut refs: Vec<&mut dyn Disk> = disks.iter_mut().map(|d| d as &mut dyn Disk).collect();
    plan.execute(&mut refs).unwrap();
}

/// Devices with a VG over all of them, after so many commits, each with so much bulk.
fn with_vg(mdas: &[u32], commits: u32, bulk: usize) -> Vec<MemDisk> {
    let mut disks = free_pvs(mdas);
    let pvs: Vec<usize> = (0..mdas.len()).collect();
    for seqno in 1..=commits {
        let plan = commit(&disks, &vg(&pvs, seqno, bulk))
            .with_labels(&used_labels(&disks))
            .unwrap();
        run(&mut disks, &plan.plan);
    }
    disks
}

fn scenario(
    name: &str,
    before: Vec<MemDisk>,
    plan: &Plan,
    targets: Vec<(usize, Area)>,
    may_be_bare: &[usize],
) -> Scenario {
    let (events, after) = record(&before, plan);
    Scenario {
        name: name.to_owned(),
        old: found(&before),
        new: found(&after),
        seen_before: before.iter().map(look).collect(),
        seen_after: after.iter().map(look).collect(),
        before,
        events,
        targets,
        may_be_bare: may_be_bare.to_vec(),
    }
}

pub fn all() -> Vec<Scenario> {
    let mut out = vec![
        create("pvcreate", 1),
        create("pvcreate with two areas", 2),
        create_over_a_pv(),
        remove_pv(),
        commit_with_wrap(1),
        commit_with_wrap(2),
        mend_stale(),
        mend_header(),
        mend_text(),
        ignore(),
        use_again(),
        extend(),
        reduce(),
    ];
    for mdas in [&[1][..], &[2], &[1, 1], &[1, 0], &[1, 1, 1], &[2, 1, 0]] {
        out.push(create_vg(mdas));
        out.push(plain_commit(mdas));
        out.push(remove_vg(mdas));
    }
    out
}

fn create(name: &str, mdas: u32) -> Scenario {
    let mut disk = MemDisk::new(SIZE);
    disk.data.fill(0xee);
    let label = small(mdas).label(id(0), false);
    let plan = plan_create(0, &label, &[], false).unwrap();
    scenario(name, vec![disk], &plan, vec![], &[0])
}

/// Made new by force, over a PV that a VG uses.
fn create_over_a_pv() -> Scenario {
    let mut disks = with_vg(&[1], 3, 1300);
    disks.push(MemDisk::new(SIZE));
    let label = small(1).label(id(7), false);
    let plan = plan_create(0, &label, &[1], false).unwrap();
    let mut s = scenario("pvcreate over a PV", disks, &plan, vec![], &[0]);
    // The VG was on this PV alone.
    assert!(s.old.is_some() && s.new.is_none());
    s.name += " in use";
    s
}

/// With an older label further on, which must not come to rule.
fn remove_pv() -> Scenario {
    let mut disks = free_pvs(&[1]);
    let mut other = small(0).label(id(8), false);
    other.sector = 3;
    let bytes = encode_label(&other).unwrap();
    disks[0].write_at(Bytes(3 * 512), &bytes).unwrap();
    let plan = plan_wipe_labels(0, 1, &[3]);
    scenario("pvremove with two labels", disks, &plan, vec![], &[0])
}

fn create_vg(mdas: &[u32]) -> Scenario {
    let disks = free_pvs(mdas);
    let pvs: Vec<usize> = (0..mdas.len()).collect();
    let plan = commit(&disks, &vg(&pvs, 1, 1300))
        .with_labels(&used_labels(&disks))
        .unwrap();
    let targets = areas(&disks);
    let name = format!("vgcreate on areas {mdas:?}");
    scenario(&name, disks, &plan.plan, targets, &[])
}

fn plain_commit(mdas: &[u32]) -> Scenario {
    let disks = with_vg(mdas, 2, 1300);
    let pvs: Vec<usize> = (0..mdas.len()).collect();
    let plan = commit(&disks, &vg(&pvs, 3, 1300));
    let targets = areas(&disks);
    let name = format!("commit to areas {mdas:?}");
    scenario(&name, disks, &plan.plan, targets, &[])
}

/// The new text runs over the end of the ring.
fn commit_with_wrap(devices: usize) -> Scenario {
    let mdas = vec![1; devices];
    let pvs: Vec<usize> = (0..devices).collect();
    for commits in 2..40 {
        let disks = with_vg(&mdas, commits, 5000);
        let plan = commit(&disks, &vg(&pvs, commits + 1, 9000));
        let header = plan.headers[0];
        if header.committed.offset + header.committed.size > header.area.size.0 {
            let targets = areas(&disks);
            let name = format!("commit with wrap on {devices} devices");
            return scenario(&name, disks, &plan.plan, targets, &[]);
        }
    }
    panic!("no text wraps");
}

/// Device 1 missed the last two commits.
fn mend_stale() -> Scenario {
    let mut disks = with_vg(&[1, 1], 4, 1300);
    disks[1] = with_vg(&[1, 1], 2, 1300).remove(1);
    let plan = commit(&disks, &vg(&[0, 1], 5, 1300));
    let targets = areas(&disks);
    scenario(
        "commit that mends an old copy",
        disks,
        &plan.plan,
        targets,
        &[],
    )
}

fn mend_header() -> Scenario {
    let mut disks = with_vg(&[1, 1], 4, 1300);
    disks[1].data[4096 + 60] ^= 0x40;
    let plan = commit(&disks, &vg(&[0, 1], 5, 1300));
    let targets = areas(&disks);
    scenario(
        "commit that mends a header",
        disks,
        &plan.plan,
        targets,
        &[],
    )
}

fn mend_text() -> Scenario {
    let mut disks = with_vg(&[1, 1], 1, 1300);
    disks[1].data[4096 + 512 + 60] ^= 0x40;
    let plan = commit(&disks, &vg(&[0, 1], 2, 1300));
    let targets = areas(&disks);
    scenario("commit that mends a text", disks, &plan.plan, targets, &[])
}

fn ignore() -> Scenario {
    let disks = with_vg(&[1, 1], 2, 1300);
    let wanted = |n| if n == 1 { Wanted::Ignore } else { Wanted::Use };
    let plan = plan_commit(&targets(&disks, wanted), &text(&vg(&[0, 1], 3, 1300))).unwrap();
    let targets = areas(&disks);
    scenario("area goes out of use", disks, &plan.plan, targets, &[])
}

fn use_again() -> Scenario {
    let mut disks = with_vg(&[1, 1], 2, 1300);
    let wanted = |n| if n == 1 { Wanted::Ignore } else { Wanted::Use };
    for seqno in 3..5 {
        let text = text(&vg(&[0, 1], seqno, 1300));
        let plan = plan_commit(&targets(&disks, wanted), &text).unwrap();
        run(&mut disks, &plan.plan);
    }
    let plan = commit(&disks, &vg(&[0, 1], 5, 1300));
    let targets = areas(&disks);
    scenario("area comes into use again", disks, &plan.plan, targets, &[])
}

/// PV 1 joins the VG of PV 0.
fn extend() -> Scenario {
    let mut disks = with_vg(&[1], 2, 1300);
    let mut joining = MemDisk::new(SIZE);
    new_pv(&mut joining, 1, 1, false);
    disks.push(joining);
    let plan = commit(&disks, &vg(&[0, 1], 3, 1300))
        .with_labels(&used_labels(&disks)[1..])
        .unwrap();
    let targets = areas(&disks);
    scenario("vgextend", disks, &plan.plan, targets, &[])
}

/// PV 1 leaves the VG.
fn reduce() -> Scenario {
    let disks = with_vg(&[1, 1], 2, 1300);
    let staying = targets(&disks[..1], |_| Wanted::Use);
    let commit = plan_commit(&staying, &text(&vg(&[0], 3, 1300))).unwrap();
    let leaving = plan_remove(&in_use(&areas(&disks)[1..]), &labels(&disks, false)[1..]).unwrap();
    let plan = commit.plan.then(leaving);
    let targets = areas(&disks[..1]);
    scenario("vgreduce", disks, &plan, targets, &[])
}

fn remove_vg(mdas: &[u32]) -> Scenario {
    let disks = with_vg(mdas, 2, 1300);
    let plan = plan_remove(&in_use(&areas(&disks)), &labels(&disks, false)).unwrap();
    let name = format!("vgremove on areas {mdas:?}");
    scenario(&name, disks, &plan, vec![], &[])
}
