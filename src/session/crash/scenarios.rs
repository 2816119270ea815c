//! The operations that are crashed, each as its command carries it out.

use std::path::PathBuf;

use ulvm_metadata::alloc::AllocConfig;
use ulvm_metadata::model::{AllocPolicy, Creation, Pv, PvKey, ReadAhead, Vg};
use ulvm_metadata::ops::lv_create::{Layout, LvCreate, lv_create};
use ulvm_metadata::ops::pv_change::{PvChange, pv_change};
use ulvm_metadata::ops::size::Size;
use ulvm_metadata::ops::vg_export::{CloneIdentity, vg_import_clone, vg_rename};
use ulvm_metadata::ops::vg_merge::vg_merge;
use ulvm_metadata::ops::vg_pvs::vg_reduce;
use ulvm_metadata::ops::vg_split::{SplitInto, VgSplit, vg_split};
use ulvm_metadata::units::{Bytes, Extents, Sectors};
use ulvm_metadata::uuid::IdSource;

use super::super::tests::Place;
use super::judge::{Rules, Scenario, areas, found, identities, images};
use crate::disk::tape::record;
use crate::inventory::{DevKey, VgRead};
use crate::session::{Allow, LockMode, NewPv, RandomIds, Scope, Session};

const KIB: u64 = 1 << 10;
const SIZE: u64 = 512 * KIB;
const MDA: (Bytes, Bytes) = (Bytes(4 * KIB), Bytes(28 * KIB));
const DATA: u64 = 64 * KIB;
/// The images are small.
pub(super) const CONFIG: &str = "devices/pv_min_size=512";

/// Images in a directory, and what is done to them before the operation.
pub(super) struct World {
    place: Place,
    names: Vec<String>,
}

impl World {
    pub fn new(count: usize) -> Self {
        let place = Place::new();
        let names: Vec<String> = (0..count).map(|n| format!("d{n}")).collect();
        for name in &names {
            let file = std::fs::File::create(place.path(name)).unwrap();
            file.set_len(SIZE).unwrap();
        }
        Self { place, names }
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.names.iter().map(|n| self.place.path(n)).collect()
    }

    /// A session that sees the devices from `first` on.
    pub fn session(&self, first: usize) -> Session {
        let mut session = self.place.session(&self.names[first..], CONFIG).0;
        session.lock_global(LockMode::Exclusive).unwrap();
        session
    }

    /// What a session without locks finds.
    pub fn look(&self, first: usize) -> crate::inventory::Inventory {
        let names = &self.names[first..];
        let quiet = |s: &mut super::super::Settings| s.nolocking = true;
        let (mut session, _) = self.place.session_with(names, CONFIG, quiet);
        session.read(Scope::All).unwrap().clone()
    }

    /// What a command that locks finds, and what it warns of.
    pub fn look_closely(&self, first: usize) -> (crate::inventory::Inventory, Vec<String>) {
        let (mut session, ui) = self.place.session(&self.names[first..], CONFIG);
        let inventory = session.read(Scope::All).unwrap().clone();
        (inventory, ui.warnings())
    }

    fn device(&self, session: &mut Session, n: usize) -> DevKey {
        let path = self.place.path(&self.names[n]);
        session.name_device(path.to_str().unwrap()).unwrap()
    }

    fn create_pv(&self, session: &mut Session, n: usize, mdas: usize) -> Pv {
        let at_end = (Bytes(SIZE - 28 * KIB), MDA.1, false);
        let mdas = [(MDA.0, MDA.1, false), at_end][..mdas].to_vec();
        self.create_pv_with(session, n, mdas)
    }

    fn create_pv_with(
        &self,
        session: &mut Session,
        n: usize,
        mdas: Vec<(Bytes, Bytes, bool)>,
    ) -> Pv {
        let device = self.device(session, n);
        let pv = NewPv {
            id: RandomIds.new_id(),
            label_sector: 1,
            device_size: Bytes(SIZE),
            data_start: Bytes(DATA),
            mdas,
            bootloader: None,
            zero: true,
        };
        let found = session.create_pv(device, &pv).unwrap();
        Pv::new(found.label.id, Sectors(DATA / 512), Extents(100))
    }

    /// A VG with one LV on these devices, which become PVs with so many areas each.
    pub fn make_vg(&self, name: &str, devices: &[(usize, usize)]) -> VgRead {
        let mut session = self.session(0);
        let mut vg = Vg::new(name, RandomIds.new_id(), Sectors(8));
        for (n, mdas) in devices {
            let pv = self.create_pv(&mut session, *n, *mdas);
            vg.pvs.push(pv);
        }
        let made = session.commit_new(vg).unwrap();
        session
            .commit(&made, with_lv(&made.vg, &format!("on_{name}")))
            .unwrap()
    }
}

pub(super) fn with_lv(vg: &Vg, name: &str) -> Vg {
    let config = AllocConfig::default();
    let request = LvCreate {
        name: Some(name),
        size: Size::parse_extents("3").unwrap(),
        layout: Layout::Linear,
        pvs: None,
        alloc: AllocPolicy::Inherit,
        tags: &[],
        writable: true,
        fixed_minor: None,
        read_ahead: ReadAhead::Auto,
        activation_skip: false,
        no_autoactivate: false,
        profile: None,
        creation: Creation {
            time: 1,
            host: "h".into(),
        },
        config: &config,
    };
    lv_create(vg, &request, &mut RandomIds).unwrap().vg
}

fn open(session: &mut Session, name: &str) -> VgRead {
    session.vg_for_write(name, Allow::default()).unwrap()
}

fn key(read: &VgRead, n: usize) -> PvKey {
    read.vg.pvs.keys().nth(n).unwrap()
}

/// Records an operation in a session that sees the devices from `first` on.
fn run(
    name: &'static str,
    world: World,
    rules: Rules,
    work: impl FnOnce(&World, &mut Session),
) -> (World, Scenario) {
    let paths = world.paths();
    let mut scenario = Scenario::new(name, paths.clone(), rules);
    let views = |world: &World| -> Vec<_> {
        let look = |first: usize| found(&world.look(first), rules.any_seqno);
        view_starts(&paths, rules).into_iter().map(look).collect()
    };
    scenario.old = views(&world);
    scenario.ids[0] = identities(&paths);
    let mut places = areas(&paths);
    let first = paths.len()
        - if rules.alone > 0 {
            rules.alone
        } else {
            paths.len()
        };
    let ((), events) = record(|| {
        let mut session = world.session(first);
        work(&world, &mut session);
    });
    scenario.events = events;
    scenario.new = views(&world);
    scenario.ids[1] = identities(&paths);
    for place in areas(&paths) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    scenario.learn_targets(&places);
    let changed = images(&paths) != scenario.before;
    assert!(changed, "{name} writes something");
    (world, scenario)
}

/// The first device of each view.
pub(super) fn view_starts(paths: &[PathBuf], rules: Rules) -> Vec<usize> {
    match rules.alone {
        0 => vec![0],
        n => vec![0, paths.len() - n],
    }
}

const ONE_VG: Rules = Rules {
    any_seqno: false,
    may_be_bare: false,
    alone: 0,
};
const TWO_VGS: Rules = Rules {
    any_seqno: true,
    ..ONE_VG
};

pub(super) fn all() -> Vec<(World, Scenario)> {
    let mut out = vec![
        pvcreate(),
        vgcreate(),
        vgextend(),
        vgreduce(),
        new_pv_id("pvchange -u", &[1, 1], 1),
        new_pv_id("pvchange -u of a PV without areas", &[1, 0], 1),
        new_pv_id("pvchange -u of the only PV, two areas", &[2], 0),
        pvresize(),
        metadataignore(),
        vgcfgrestore(),
        vgimportclone("vgimportclone", &[1, 1]),
        vgimportclone("vgimportclone with a PV without areas", &[1, 0]),
        vgsplit(),
        vgsplit_into(),
        vgmerge(),
        vgremove(),
    ];
    out.push(change("lvcreate", |vg| with_lv(vg, "more")));
    out.push(change("vgrename", |vg| vg_rename(vg, "other").unwrap().vg));
    out.push(change("vgchange -u", |vg| {
        let id = RandomIds.new_id();
        Vg { id, ..vg.clone() }
    }));
    out
}

/// A change of the VG alone, on two PVs, one of them with two areas.
fn change(name: &'static str, edit: impl FnOnce(&Vg) -> Vg) -> (World, Scenario) {
    let world = World::new(2);
    world.make_vg("vg", &[(0, 2), (1, 1)]);
    run(name, world, ONE_VG, |_, session| {
        let old = open(session, "vg");
        session.commit(&old, edit(&old.vg)).unwrap();
    })
}

fn pvcreate() -> (World, Scenario) {
    let rules = Rules {
        may_be_bare: true,
        ..ONE_VG
    };
    let world = World::new(2);
    // The area of the old PV is smaller: its label must not be seen with the new header.
    world.create_pv_with(
        &mut world.session(0),
        1,
        vec![(MDA.0, Bytes(20 * KIB), false)],
    );
    run("pvcreate over a PV", world, rules, |world, session| {
        world.create_pv(session, 1, 2);
    })
}

fn vgcreate() -> (World, Scenario) {
    let world = World::new(2);
    let mut session = world.session(0);
    let pvs = [0, 1].map(|n| world.create_pv(&mut session, n, 1));
    drop(session);
    run("vgcreate", world, ONE_VG, |_, session| {
        session.scan().unwrap();
        let mut vg = Vg::new("vg", RandomIds.new_id(), Sectors(8));
        pvs.into_iter().for_each(|pv| {
            vg.pvs.push(pv);
        });
        session.commit_new(vg).unwrap();
    })
}

fn vgextend() -> (World, Scenario) {
    let world = World::new(2);
    world.make_vg("vg", &[(0, 1)]);
    let pv = world.create_pv(&mut world.session(0), 1, 1);
    run("vgextend", world, ONE_VG, |_, session| {
        let old = open(session, "vg");
        let mut vg = (*old.vg).clone();
        vg.pvs.push(pv);
        session.commit(&old, vg).unwrap();
    })
}

fn vgreduce() -> (World, Scenario) {
    let world = World::new(3);
    world.make_vg("vg", &[(0, 1), (1, 1), (2, 2)]);
    run("vgreduce", world, ONE_VG, |_, session| {
        let old = open(session, "vg");
        let vg = vg_reduce(&old.vg, key(&old, 2), "d2").unwrap().vg;
        session.commit(&old, vg).unwrap();
    })
}

fn new_pv_id(name: &'static str, mdas: &[usize], changed: usize) -> (World, Scenario) {
    let world = World::new(mdas.len());
    let devices: Vec<_> = mdas.iter().copied().enumerate().collect();
    world.make_vg("vg", &devices);
    run(name, world, ONE_VG, |_, session| {
        let old = open(session, "vg");
        let id = RandomIds.new_id();
        let key = key(&old, changed);
        let vg = pv_change(&old.vg, key, "d", &[PvChange::Id(id)])
            .unwrap()
            .vg;
        let device = old.pv(key).device().unwrap();
        session.set_header_id(device, id).unwrap();
        session.commit(&old, vg).unwrap();
    })
}

fn pvresize() -> (World, Scenario) {
    let world = World::new(2);
    world.make_vg("vg", &[(0, 1), (1, 1)]);
    run("pvresize", world, ONE_VG, |_, session| {
        let old = open(session, "vg");
        let mut vg = (*old.vg).clone();
        let key = key(&old, 1);
        vg.pvs[key].pe_count = Extents(90);
        session.commit(&old, vg).unwrap();
        let device = old.pv(key).device().unwrap();
        session.set_header_size(device, Bytes(SIZE - 4096)).unwrap();
    })
}

fn metadataignore() -> (World, Scenario) {
    let world = World::new(2);
    world.make_vg("vg", &[(0, 1), (1, 1)]);
    run(
        "pvchange --metadataignore y",
        world,
        ONE_VG,
        |_, session| {
            let old = open(session, "vg");
            let device = old.pv(key(&old, 1)).device().unwrap();
            session.set_mda_ignored(device, true).unwrap();
            session.commit(&old, (*old.vg).clone()).unwrap();
        },
    )
}

fn vgcfgrestore() -> (World, Scenario) {
    let world = World::new(2);
    let first = world.make_vg("vg", &[(0, 1), (1, 1)]);
    let mut session = world.session(0);
    for name in ["a", "b"] {
        let old = open(&mut session, "vg");
        session.commit(&old, with_lv(&old.vg, name)).unwrap();
    }
    drop(session);
    run("vgcfgrestore", world, ONE_VG, |_, session| {
        session.scan().unwrap();
        session.restore((*first.vg).clone()).unwrap();
    })
}

/// The originals come first; the copies are given new identities.
fn vgimportclone(name: &'static str, mdas: &[usize]) -> (World, Scenario) {
    let count = mdas.len();
    let world = World::new(2 * count);
    let devices: Vec<_> = mdas.iter().copied().enumerate().collect();
    world.make_vg("vg", &devices);
    let paths = world.paths();
    for n in 0..count {
        std::fs::copy(&paths[n], &paths[n + count]).unwrap();
    }
    let rules = Rules {
        alone: count,
        ..ONE_VG
    };
    run(name, world, rules, |_, session| {
        let allow = Allow {
            duplicates: true,
            ..Allow::default()
        };
        let old = session.vg_for_write("vg", allow).unwrap();
        let identity = CloneIdentity {
            name: "clone".into(),
            id: RandomIds.new_id(),
            pv_ids: (old.vg.pvs.values().map(|pv| (pv.id, RandomIds.new_id()))).collect(),
            import: false,
            system_id: None,
        };
        let vg = vg_import_clone(&old.vg, &identity).unwrap().vg;
        for (key, pv) in vg.pvs.iter() {
            let device = old.pv(key).device().unwrap();
            session.set_header_id(device, pv.id).unwrap();
        }
        session.commit(&old, vg).unwrap();
    })
}

fn split(session: &mut Session, into: Option<&VgRead>, moved: &[usize]) {
    let old = open(session, "vg");
    let request = VgSplit {
        pvs: moved.iter().map(|n| key(&old, *n)).collect(),
        into: match into {
            Some(read) => SplitInto::Existing(Box::new((*read.vg).clone())),
            None => SplitInto::New {
                name: "split".into(),
                id: RandomIds.new_id(),
                max_lv: None,
                max_pv: None,
                alloc: None,
                metadata_copies: 0,
                system_id: None,
            },
        },
    };
    let done = vg_split(&old.vg, &request).unwrap();
    session
        .commit_split(&old, done.value.rest, done.vg, into)
        .unwrap();
}

fn vgsplit() -> (World, Scenario) {
    let world = World::new(3);
    world.make_vg("vg", &[(0, 1), (1, 1), (2, 1)]);
    run("vgsplit", world, TWO_VGS, |_, session| {
        split(session, None, &[1, 2])
    })
}

fn vgsplit_into() -> (World, Scenario) {
    let world = World::new(3);
    world.make_vg("vg", &[(0, 1), (1, 1)]);
    world.make_vg("into", &[(2, 1)]);
    run("vgsplit into a VG", world, TWO_VGS, |_, session| {
        let into = open(session, "into");
        split(session, Some(&into), &[1]);
    })
}

fn vgmerge() -> (World, Scenario) {
    let world = World::new(3);
    world.make_vg("a", &[(0, 1), (1, 1)]);
    world.make_vg("b", &[(2, 1)]);
    run("vgmerge", world, TWO_VGS, |_, session| {
        let into = open(session, "a");
        let from = open(session, "b");
        let merged = vg_merge(&into.vg, &from.vg).unwrap().vg;
        session.commit_merge(&into, &from, merged).unwrap();
    })
}

fn vgremove() -> (World, Scenario) {
    let world = World::new(2);
    let made = world.make_vg("vg", &[(0, 2), (1, 1)]);
    let mut session = world.session(0);
    let old = open(&mut session, "vg");
    let mut vg = (*made.vg).clone();
    vg.lvs = ulvm_metadata::model::Vg::new("x", vg.id, Sectors(8)).lvs;
    session.commit(&old, vg).unwrap();
    drop(session);
    run("vgremove", world, ONE_VG, |_, session| {
        let old = open(session, "vg");
        session.remove_vg(&old).unwrap();
    })
}
