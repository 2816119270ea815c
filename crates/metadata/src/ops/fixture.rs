//! Small volume groups for the tests of operations.

use super::vg_pvs::NewMember;
use crate::model::AllocPolicy;
use crate::model::{
    Area, Lv, LvFlags, LvKey, LvStatus, Pv, PvKey, ReadAhead, Segment, SegmentKind, Vg,
};
use crate::units::{Extents, Sectors};
use crate::uuid::{IdSource, LvmUuid};

/// Counts.
#[derive(Default)]
pub struct Ids(u32);

impl IdSource for Ids {
    fn new_id(&mut self) -> LvmUuid {
        self.0 += 1;
        LvmUuid::parse(&format!("{:0>32}", self.0)).expect("32 digits")
    }
}

/// A PV of `sectors`, data from 1 MiB on.
pub fn member(ids: &mut Ids, device: &str, sectors: u64) -> NewMember {
    NewMember {
        id: ids.new_id(),
        device: device.to_owned(),
        device_id: None,
        size: Sectors(sectors),
        pe_start: Sectors(2048),
        pe_limit: Sectors(sectors),
        bootloader: None,
    }
}

/// `vg` with so many PVs `/dev/N` of 15 extents of 4 MiB.
pub fn vg_of(ids: &mut Ids, pvs: usize) -> Vg {
    let mut vg = Vg::new("vg", ids.new_id(), Sectors(8192));
    for n in 0..pvs {
        let mut pv = Pv::new(ids.new_id(), Sectors(2048), Extents(15));
        pv.device_hint = Some(format!("/dev/{n}"));
        pv.dev_size = Some(Sectors(131_072));
        vg.pvs.push(pv);
    }
    vg
}

/// An LV with one segment.
pub fn lv(vg: &mut Vg, ids: &mut Ids, name: &str, len: u32, kind: SegmentKind) -> LvKey {
    vg.lvs.push(Lv {
        id: ids.new_id(),
        name: name.to_owned(),
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
        segments: vec![Segment::new(Extents(0), Extents(len), kind)],
        extra: Vec::new(),
    })
}

/// A linear LV.
pub fn linear(vg: &mut Vg, ids: &mut Ids, name: &str, pv: PvKey, start: u32, len: u32) -> LvKey {
    let stripes = vec![Area::Pv {
        pv,
        extent: Extents(start),
    }];
    let kind = SegmentKind::Striped {
        stripe_size: Sectors::ZERO,
        stripes,
    };
    lv(vg, ids, name, len, kind)
}

/// A striped LV, `each` extents from `start` on, on each PV.
pub fn striped(
    vg: &mut Vg,
    ids: &mut Ids,
    name: &str,
    pvs: &[PvKey],
    start: u32,
    each: u32,
) -> LvKey {
    let stripes: Vec<_> = pvs
        .iter()
        .map(|pv| Area::Pv {
            pv: *pv,
            extent: Extents(start),
        })
        .collect();
    let len = each * u32::try_from(stripes.len()).expect("few");
    let kind = SegmentKind::Striped {
        stripe_size: Sectors(128),
        stripes,
    };
    lv(vg, ids, name, len, kind)
}
