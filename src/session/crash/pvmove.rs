//! Power fails at any point of a `pvmove`: the VG is whole, the data of its LVs are where the metadata
//! say, and `pvmove` or `pvmove --abort` ends it from there.

use std::os::unix::fs::FileExt;

use ulvm_metadata::alloc::AllocConfig;
use ulvm_metadata::model::{Area, Creation, LvKey, PvKey, SegmentKind, Vg};
use ulvm_metadata::ops::pv_args::PvArg;
use ulvm_metadata::ops::pvmove::{Move, begin, leftovers, movers, settled};
use ulvm_metadata::units::Sectors;

use super::super::tests::Place;
use super::points::Points;
use super::scenarios::{World, with_lv};
use crate::activate::live::Live;
use crate::disk::tape::{Event, record};
use crate::inventory::{Inventory, VgRead};
use crate::pvmove::{Mover, abort as give_up, carry_out, tidy};
use crate::session::{Allow, RandomIds, Scope, Session};

/// What an LV without movers holds, read past all of ulvm's own ways to read it.
fn content(vg: &Vg, lv: LvKey, path: &dyn Fn(PvKey) -> std::path::PathBuf) -> Vec<u8> {
    let extent = usize::try_from(vg.extent_size.0).unwrap() * 512;
    let mut out = Vec::new();
    for segment in &vg.lvs[lv].segments {
        assert!(matches!(segment.kind, SegmentKind::Striped { .. }));
        let [(Area::Pv { pv, extent: first }, len)] = segment.areas()[..] else {
            panic!("{} lies on a mover", vg.lvs[lv].name);
        };
        let mut bytes = vec![0; len.0 as usize * extent];
        let at = vg.pvs[pv].pe_start.0 * 512 + u64::from(first.0) * extent as u64;
        let file = std::fs::File::open(path(pv)).unwrap();
        file.read_exact_at(&mut bytes, at).unwrap();
        out.extend(bytes);
    }
    out
}

/// Contents of all LVs that a user sees, by name, while nobody copies.
fn contents(inventory: &Inventory) -> Vec<(String, Vec<u8>)> {
    let [read] = inventory.vgs.as_slice() else {
        panic!("{} VGs", inventory.vgs.len());
    };
    assert!(read.missing().is_empty());
    let vg = settled(&read.vg);
    let path = |pv| inventory.device(read.pv(pv).device().unwrap()).path.clone();
    let seen = vg.lvs.iter().filter(|(_, lv)| lv.status.visible);
    seen.map(|(key, lv)| (lv.name.clone(), content(&vg, key, &path)))
        .collect()
}

fn start(session: &mut Session, from: usize, atomic: bool) -> Mover {
    let read = session.vg_for_write("vg", Allow::default()).unwrap();
    let what = Move {
        from: &PvArg {
            pv: read.vg.pvs.keys().nth(from).unwrap(),
            name: "it".into(),
            ranges: String::new(),
        },
        lv: None,
        to: None,
        alloc: None,
        atomic,
        region: Sectors(4096),
        creation: Creation {
            time: 1,
            host: "h".into(),
        },
        config: &AllocConfig::default(),
    };
    let begun = begin(&read.vg, &what, &mut RandomIds).unwrap();
    let now = session.commit(&read, begun.vg).unwrap();
    let mover = Mover::of(session, &now, begun.value);
    session.unlock_all();
    mover
}

/// Ends what is under way, as the next command does.
fn go_on(session: &mut Session, how: fn(&mut Session, &Mover) -> crate::error::Result<()>) {
    let read = session.vg_for_write("vg", Allow::default()).unwrap();
    let keys = movers(&read.vg);
    let all: Vec<Mover> = keys.iter().map(|k| Mover::of(session, &read, *k)).collect();
    session.unlock_all();
    for mover in &all {
        how(session, mover).unwrap();
    }
    tidy(session, "vg").unwrap();
}

fn finish(session: &mut Session, mover: &Mover) -> crate::error::Result<()> {
    carry_out(session, &mut Live::off(), mover, None)
}

fn abort(session: &mut Session, mover: &Mover) -> crate::error::Result<()> {
    give_up(session, &mut Live::off(), mover)
}

/// Two LVs on the first of three PVs, full of different sectors. The second PV, to which they go, has
/// no metadata area, so that no commit flushes it.
fn world() -> World {
    let world = World::new(3);
    let made = world.make_vg("vg", &[(0, 1), (1, 0), (2, 1)]);
    let mut session = world.session(0);
    let read = session.vg_for_write("vg", Allow::default()).unwrap();
    session.commit(&read, with_lv(&made.vg, "b")).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(&world.paths()[0])
        .unwrap();
    let bytes: Vec<u8> = (0..6 * 4096u32)
        .map(|n| (n / 512 + n % 251 + 1) as u8)
        .collect();
    file.write_all_at(
        &bytes,
        read.vg.pvs.values().next().unwrap().pe_start.0 * 512,
    )
    .unwrap();
    world
}

/// Bytes of the images before all data.
const METADATA: u64 = 64 << 10;

fn copies(event: &Event) -> bool {
    matches!(event, Event::Write { offset, .. } if *offset >= METADATA)
}

/// Judges a crash point: all data are there, and sometimes, that the next command ends the move.
fn judge(world: &World, before: &[(String, Vec<u8>)], next: Option<bool>) -> Result<(), String> {
    let inventory = world.look(0);
    if inventory.vgs.len() != 1 || !inventory.vgs[0].missing().is_empty() {
        return Err("the VG is not whole".into());
    }
    if contents(&inventory) != before {
        return Err("data are lost".into());
    }
    if let Some(giving) = next {
        go_on(&mut world.session(0), if giving { abort } else { finish });
        let inventory = world.look(0);
        let vg = &inventory.vgs[0].vg;
        if !movers(vg).is_empty() || !leftovers(vg).is_empty() || vg.lvs.len() != before.len() {
            return Err("the move is not ended".into());
        }
        if contents(&inventory) != before {
            return Err("the next command loses data".into());
        }
    }
    Ok(())
}

fn crash(atomic: bool, give_up: bool) {
    let world = world();
    let before = contents(&world.look(0));
    let images = super::judge::images(&world.paths());
    let ((), events) = record(|| {
        let mut session = world.session(0);
        session.unlock_all();
        let mover = start(&mut session, 0, atomic);
        let how = if give_up { abort } else { finish };
        how(&mut session, &mover).unwrap();
    });
    assert_eq!(events.iter().any(copies), !give_up);
    let mut points = Points::new(&images, &events, 0);
    let mut tried = 0u64;
    while let Some(point) = points.next_point() {
        tried += 1;
        let next = (tried % 23 == 0).then_some(tried % 2 == 0);
        if let Err(broken) = judge(&world, &before, next) {
            panic!("{broken}\nat {}", point.describe());
        }
        if next.is_some() {
            points.restore();
        }
    }
    assert!(tried > 300, "only {tried} crash points were tried");
    if give_up {
        return;
    }
    // What is copied is durable before the metadata say so: without a flush some crash loses data.
    let flushes = events.iter().enumerate().filter(|(n, event)| {
        let last = events[..*n]
            .iter()
            .rev()
            .find(|e| matches!(e, Event::Write { .. }));
        matches!(event, Event::Flush { .. }) && last.is_some_and(copies)
    });
    let flushes: Vec<usize> = flushes.map(|(n, _)| n).collect();
    assert!(!flushes.is_empty());
    let mut without = events.clone();
    for n in flushes.iter().rev() {
        without.remove(*n);
    }
    let mut points = Points::new(&images, &without, flushes[0]);
    let mut lost = false;
    while let (false, Some(_)) = (lost, points.next_point()) {
        lost = judge(&world, &before, None).is_err();
    }
    assert!(lost, "the flush of what was copied is there for nothing");
}

#[test]
fn a_move_that_is_cut_short_loses_nothing_and_can_be_ended() {
    crash(false, false);
}

#[test]
fn an_atomic_move_that_is_cut_short_loses_nothing() {
    crash(true, false);
}

#[test]
fn giving_a_move_up_can_be_cut_short() {
    crash(false, true);
}

#[test]
fn others_keep_out_of_what_is_moved() {
    let world = world();
    let mut session = world.session(0);
    session.unlock_all();
    let mover = start(&mut session, 0, false);
    let image = &world.paths()[0];
    let file = std::fs::File::open(image).unwrap();
    use std::os::fd::AsFd;
    // Somebody reads the last extent: its segment is not copied, and the message says what to do.
    assert!(crate::sys::ofd_try_lock(file.as_fd(), false, METADATA + 5 * 4096, 4096).unwrap());
    let refused = finish(&mut session, &mover).unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    assert!(
        refused.to_string().contains("run pvmove again"),
        "{refused}"
    );
    drop(file);
    session.unlock_all();
    finish(&mut session, &mover).unwrap();
    assert!(movers(&world.look(0).vgs[0].vg).is_empty());
}

#[test]
fn a_move_begun_by_lvm2_is_finished_or_given_up() {
    for give_up in [false, true] {
        let place = Place::new();
        let names = place.vector("pvmove-interrupted");
        let look = |place: &Place| -> (Inventory, VgRead) {
            let (mut session, _) = place.session(&names, "a=1");
            let inventory = session.read(Scope::All).unwrap().clone();
            let read = inventory.vgs[0].clone();
            (inventory, read)
        };
        let (inventory, read) = look(&place);
        let before = contents(&inventory);
        let [key] = movers(&read.vg)[..] else {
            panic!("one mover");
        };
        let (mut session, ui) = place.session(&names, "a=1");
        let read = session
            .vg_for_write(&read.vg.name, Allow::default())
            .unwrap();
        let mut mover = Mover::of(&session, &read, key);
        mover.pv = "it".into();
        session.unlock_all();
        if give_up {
            abort(&mut session, &mover).unwrap();
        } else {
            carry_out(
                &mut session,
                &mut Live::off(),
                &mover,
                Some(std::time::Duration::from_secs(60)),
            )
            .unwrap();
            let said = ui.said.borrow();
            let last = said.last().map(|notice| notice.text.as_str());
            assert_eq!(last, Some("it: Moved: 100.00%"));
        }
        let (inventory, now) = look(&place);
        assert_eq!(contents(&inventory), before);
        assert_eq!((now.vg.lvs.len(), movers(&now.vg).len()), (2, 0));
        assert!(now.vg.lvs.values().all(|lv| !lv.status.locked));
        let a = &now.vg.lvs[now.vg.find_lv("a").unwrap()];
        let on = |n| matches!(a.segments[0].areas()[0].0, Area::Pv { pv, .. } if Some(pv) == now.vg.pvs.keys().nth(n));
        assert!(on(usize::from(!give_up)));
    }
}
