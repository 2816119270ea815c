//! Extents that somebody has open.

use super::*;

#[test]
fn extents_that_somebody_has_open_are_not_taken_away() {
    use crate::activate::open::{How, open};
    let place = Place::new();
    let names = place.images(1);
    vg_with_lv(&place, &names);
    let (mut server, _) = place.session(&names, "a=1");
    let read = server.vg_for_read("vg", Allow::default()).unwrap();
    let lv = read.vg.find_lv("lv").unwrap();
    let how = How {
        exclusive: true,
        ..How::WRITE
    };
    let opened = open(&server, &read, lv, how).unwrap();
    server.unlock_all();

    let (mut session, _) = place.session(&names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let with = |change: &dyn Fn(&mut Vg)| {
        let mut vg = Vg::clone(&old.vg);
        change(&mut vg);
        vg
    };
    let gone = with(&|vg| {
        vg.lvs.remove(lv);
    });
    let reduced = with(&|vg| vg.lvs[lv].segments[0].len = Extents(3));
    for new in [&gone, &reduced] {
        let error = session.commit(&old, new.clone()).unwrap_err().to_string();
        assert!(error.starts_with("Logical volume vg/lv in use."), "{error}");
    }
    assert!(session.remove_vg(&old).is_err());
    assert!(session.restore(gone.clone()).is_err());
    let device = old.found().next().unwrap().device;
    assert!(session.create_pv(device, &new_pv(MIB - 4096)).is_err());
    assert!(session.remove_pv(device).is_err());
    // It may grow, and be called otherwise.
    let grown = with(&|vg| {
        vg.lvs[lv].segments[0].len = Extents(5);
        vg.lvs[lv].name = "other".into();
    });
    let old = session.commit(&old, grown).unwrap();
    drop(opened);
    session.remove_vg(&old).unwrap();
}

#[test]
fn of_duplicates_the_one_whose_lvs_are_open_is_used() {
    use crate::activate::open::{How, open};
    let place = Place::new();
    let names = place.images(2);
    vg_with_lv(&place, &names[..1]);
    std::fs::copy(place.path(&names[0]), place.path(&names[1])).unwrap();
    let chosen = || {
        let (inventory, warnings) = place.look(&names);
        let device = inventory.vgs[0].found().next().unwrap().device;
        let path = inventory.device(device).path.clone();
        (path, warnings)
    };
    // The copy is as good as the original but for its name.
    assert_eq!(chosen().0, place.path(&names[0]));
    let (mut server, _) = place.session(&names[1..], "a=1");
    let read = server.vg_for_read("vg", Allow::default()).unwrap();
    let how = How {
        exclusive: true,
        ..How::READ
    };
    let _opened = open(&server, &read, read.vg.find_lv("lv").unwrap(), how).unwrap();
    server.unlock_all();
    let (path, warnings) = chosen();
    assert_eq!(path, place.path(&names[1]));
    let because = |w: &String| w.ends_with("because device is used by LV.");
    assert!(warnings.iter().any(because), "{warnings:?}");
}
