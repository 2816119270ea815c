//! Power fails in the middle of operations that write two VGs, or give one a new identity: vgsplit,
//! vgmerge, `vgchange -u`. What a scan finds, after claims are settled as every reader settles them,
//! is the VGs as they were before or as they are afterwards, never extents in two VGs.

mod crash {
    #[allow(dead_code)]
    pub mod record;
}

use std::collections::BTreeMap;

use crash::record::{CrashPoints, Event, record};
use ulvm_metadata::commit::{MdaTarget, Wanted, plan_commit, plan_create};
use ulvm_metadata::convert::{Style, TextHeader, export, import};
use ulvm_metadata::disk::MemDisk;
use ulvm_metadata::model::{
    AllocPolicy, Area, Lv, LvFlags, LvStatus, Pv, ReadAhead, Segment, SegmentKind, Vg,
};
use ulvm_metadata::ondisk::layout::{LayoutRequest, layout};
use ulvm_metadata::ondisk::{MdaState, find_label, read_mda, read_text};
use ulvm_metadata::ops::vg_merge::vg_merge;
use ulvm_metadata::ops::vg_settle::{Settled, mark_split, settle};
use ulvm_metadata::ops::vg_split::{SplitInto, VgSplit, vg_split};
use ulvm_metadata::units::{Bytes, Extents, Sectors};
use ulvm_metadata::uuid::LvmUuid;

const SIZE: usize = 48 << 10;

fn id(n: usize) -> LvmUuid {
    LvmUuid::from_entropy(&[n as u8; 32])
}

/// A VG on the PVs of these numbers, with one LV on each.
fn vg(name: &str, number: usize, pvs: &[usize]) -> Vg {
    let mut vg = Vg::new(name, id(number), Sectors(8));
    vg.seqno = 5;
    for n in pvs {
        let pv = vg.pvs.push(Pv::new(id(*n), Sectors(72), Extents(2)));
        vg.lvs.push(Lv {
            id: id(50 + n),
            name: format!("lv{n}"),
            status: LvStatus {
                read: true,
                write: true,
                visible: true,
                ..LvStatus::default()
            },
            flags: LvFlags::default(),
            unknown_flags: Vec::new(),
            tags: Vec::new(),
            creation: None,
            lock_args: None,
            alloc: AllocPolicy::Inherit,
            profile: None,
            read_ahead: ReadAhead::Auto,
            major: None,
            minor: None,
            segments: vec![Segment::new(
                Extents(0),
                Extents(2),
                SegmentKind::Striped {
                    stripe_size: Sectors(0),
                    stripes: vec![Area::Pv {
                        pv,
                        extent: Extents(0),
                    }],
                },
            )],
            extra: Vec::new(),
        });
    }
    vg
}

/// Devices, and what is done to them.
struct Run {
    disks: Vec<MemDisk>,
    events: Vec<Event>,
}

impl Run {
    /// Device `n` holds PV `n`, in use.
    fn new(pvs: usize) -> Self {
        let disks = (0..pvs).map(|n| {
            let l = layout(&LayoutRequest {
                mda_size: Some(Bytes(32 << 10)),
                alignment: Bytes(4096),
                ..LayoutRequest::new(Bytes(SIZE as u64))
            })
            .unwrap();
            let mut disk = MemDisk::new(SIZE);
            let plan = plan_create(0, &l.label(id(n), true), &[], false).unwrap();
            plan.execute(&mut [&mut disk]).unwrap();
            disk
        });
        Self {
            disks: disks.collect(),
            events: Vec::new(),
        }
    }

    /// Commits a VG to the areas of its PVs.
    fn commit(&mut self, vg: &Vg) {
        let mut targets = Vec::new();
        for (n, disk) in self.disks.iter().enumerate() {
            if vg.find_pv(&id(n)).is_some() {
                let area = find_label(disk).unwrap().unwrap().label.header.mdas[0];
                targets.push(MdaTarget::new(n, &read_mda(disk, area), Wanted::Use));
            }
        }
        let plan = plan_commit(&targets, &text(vg)).unwrap();
        let (events, disks) = record(&self.disks, &plan.plan);
        self.events.extend(events);
        self.disks = disks;
    }
}

fn text(vg: &Vg) -> String {
    export(vg, &TextHeader::default(), Style::Raw)
}

/// The VGs on these devices, settled, each as text without its seqno.
fn found(disks: &[MemDisk]) -> Result<Vec<String>, String> {
    let mut newest: BTreeMap<LvmUuid, Vg> = BTreeMap::new();
    let mut known = Vec::new();
    for disk in disks {
        let label = find_label(disk).unwrap().ok_or("a label is gone")?.label;
        let mda = read_mda(disk, label.header.mdas[0]);
        let next = mda.header.map(|h| h.precommitted).filter(|l| !l.is_empty());
        let next = next.and_then(|l| read_text(disk, mda.area, &l).ok());
        let next = next.map(|text| import(&text).unwrap().vg.id);
        let vg = match mda.state {
            MdaState::Text(text) => import(&text).map_err(|e| e.to_string())?.vg,
            MdaState::Empty => continue,
            other => return Err(format!("an area holds {other:?}")),
        };
        known.extend(next.map(|next| (vg.id, next)));
        if newest.get(&vg.id).is_none_or(|k| k.seqno < vg.seqno) {
            newest.insert(vg.id, vg);
        }
    }
    let vgs: Vec<&Vg> = newest.values().collect();
    let mut out: Vec<String> = settle(&vgs, |a, b| known.contains(&(vgs[a].id, vgs[b].id)))
        .into_iter()
        .zip(&vgs)
        .filter_map(|(settled, vg)| match settled {
            Settled::Unchanged => Some((*vg).clone()),
            Settled::Shrunk(vg) | Settled::Unmarked(vg) => Some(vg),
            Settled::Swallowed { .. } => None,
        })
        .map(|mut vg| {
            vg.seqno = 0;
            text(&vg)
        })
        .collect();
    out.sort();
    Ok(out)
}

/// All crash points of what was recorded since `before`: how many there were.
fn check(name: &str, before: &[MemDisk], run: &Run) -> u64 {
    let old = found(before).unwrap();
    let new = found(&run.disks).unwrap();
    assert_ne!(old, new, "{name} changes something");
    let mut points = CrashPoints::new(before, &run.events);
    let mut tried = 0;
    while let Some(point) = points.next_point() {
        tried += 1;
        let vgs =
            found(&point.disks).unwrap_or_else(|e| panic!("{name}: {e}: {}", point.describe()));
        let ok = vgs == new || !point.acknowledged && vgs == old;
        assert!(ok, "{name}, {}:\n{}", point.describe(), vgs.join("\n--\n"));
    }
    println!("{tried:>8} crash points: {name}");
    tried
}

/// vgsplit in its three steps: the receiving VG marked, the other one without what moved, the
/// receiving VG as it shall be.
fn split(name: &str, pvs: usize, old: &Vg, into: Option<&Vg>, moved: &[usize]) -> u64 {
    let mut run = Run::new(pvs);
    run.commit(old);
    if let Some(into) = into {
        run.commit(into);
    }
    let before = run.disks.clone();
    run.events.clear();
    let into = match into {
        Some(vg) => SplitInto::Existing(Box::new(vg.clone())),
        None => SplitInto::New {
            name: "new".into(),
            id: id(91),
            max_lv: None,
            max_pv: None,
            alloc: None,
            metadata_copies: 0,
            system_id: None,
        },
    };
    let request = VgSplit {
        pvs: moved
            .iter()
            .map(|n| old.find_pv(&id(*n)).unwrap())
            .collect(),
        into,
    };
    let done = vg_split(old, &request).unwrap();
    let mut receiving = done.vg;
    receiving.seqno += 1;
    let mut marked = receiving.clone();
    mark_split(&mut marked, &old.id);
    run.commit(&marked);
    if let Some(mut rest) = done.value.rest {
        rest.seqno = old.seqno + 1;
        run.commit(&rest);
    }
    receiving.seqno += 1;
    run.commit(&receiving);
    check(name, &before, &run)
}

fn merge(name: &str, pvs: usize, into: &Vg, from: &Vg) -> u64 {
    let mut run = Run::new(pvs);
    run.commit(into);
    run.commit(from);
    let before = run.disks.clone();
    run.events.clear();
    let mut merged = vg_merge(into, from).unwrap().vg;
    merged.seqno = into.seqno + 1;
    run.commit(&merged);
    check(name, &before, &run)
}

#[test]
fn a_split_is_done_or_not() {
    let old = vg("vg", 90, &[0, 1]);
    let mut tried = split("vgsplit of one PV of two", 2, &old, None, &[1]);
    tried += split("vgsplit of the first PV", 2, &old, None, &[0]);
    let three = vg("vg", 90, &[0, 1, 2]);
    tried += split("vgsplit of two PVs of three", 3, &three, None, &[1, 2]);
    let into = vg("into", 92, &[2]);
    tried += split("vgsplit into a VG that exists", 3, &old, Some(&into), &[1]);
    println!("{tried} crash points");
    assert!(tried > 400);
}

#[test]
fn a_merge_is_done_or_not() {
    let mut tried = 0;
    let (a, b) = (vg("a", 90, &[0]), vg("b", 92, &[1]));
    tried += merge("vgmerge of one PV into one", 2, &a, &b);
    let (a, b) = (vg("a", 90, &[0, 2]), vg("b", 92, &[1]));
    tried += merge("vgmerge of one PV into two", 3, &a, &b);
    let (a, b) = (vg("a", 90, &[0]), vg("b", 92, &[1, 2]));
    tried += merge("vgmerge of two PVs into one", 3, &a, &b);
    println!("{tried} crash points");
    assert!(tried > 300);
}

#[test]
fn a_new_identity_is_there_or_not() {
    let mut run = Run::new(3);
    let mut vg = vg("vg", 90, &[0, 1, 2]);
    run.commit(&vg);
    let before = run.disks.clone();
    run.events.clear();
    vg.id = id(93);
    vg.seqno += 1;
    run.commit(&vg);
    assert!(check("vgchange -u", &before, &run) > 100);
}
