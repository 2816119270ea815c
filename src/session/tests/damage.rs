//! What sessions do with metadata that are whole and yet must not be believed, and with devices
//! that do not do as they are told.

use ulvm_metadata::commit::{MdaTarget, plan_commit};
use ulvm_metadata::model::{Area, Lv, LvKey, SegmentKind};

use super::*;
use crate::activate::open::{How, open};
use crate::disk::Access;
use crate::error::Kind;
use crate::sound::check_sound;

/// Puts a VG on an image, whatever it says.
fn inject(place: &Place, image: &str, vg: &Vg) {
    let area = ulvm_metadata::ondisk::Area::new(4096, MIB - 4096);
    let text = export(vg, &TextHeader::default(), Style::Raw);
    let plan = plan_commit(&[MdaTarget::empty(0, area)], &text).unwrap();
    let mut disk = FileDisk::open(&place.path(image), Access::Write).unwrap();
    plan.plan.execute(&mut [&mut disk]).unwrap();
}

/// An LV of one extent on the first PV.
fn add_lv(vg: &mut Vg, name: &str, extent: u32) -> LvKey {
    let pv = vg.pvs.keys().next().unwrap();
    let stripes = vec![Area::Pv {
        pv,
        extent: Extents(extent),
    }];
    let kind = SegmentKind::Striped {
        stripe_size: Sectors(0),
        stripes,
    };
    let segment = ulvm_metadata::model::Segment::new(Extents(0), Extents(1), kind);
    vg.lvs.push(Lv {
        id: RandomIds.new_id(),
        name: name.into(),
        status: ulvm_metadata::model::LvStatus {
            read: true,
            write: true,
            visible: true,
            ..Default::default()
        },
        flags: ulvm_metadata::model::LvFlags::default(),
        unknown_flags: vec![],
        tags: vec![],
        creation: None,
        lock_args: None,
        alloc: ulvm_metadata::model::AllocPolicy::Inherit,
        profile: None,
        read_ahead: ulvm_metadata::model::ReadAhead::Auto,
        major: None,
        minor: None,
        segments: vec![segment],
        extra: vec![],
    })
}

/// Metadata with good checksums that contradict themselves are shown, and nothing is written by
/// them: two LVs on one extent would destroy each other.
#[test]
fn metadata_that_contradict_themselves_are_not_written_by() {
    let place = Place::new();
    let names = place.images(1);
    let made = place.make_vg(&names, MIB - 4096);
    let mut twice = Vg::clone(&made.vg);
    twice.seqno += 1;
    add_lv(&mut twice, "a", 0);
    add_lv(&mut twice, "b", 0);
    inject(&place, &names[0], &twice);
    let (mut session, _) = place.session(&names, "a=1");
    let read = session.vg_for_read("vg", Allow::default()).unwrap();
    assert_eq!(read.vg.lvs.len(), 2);
    let corrupt = |outcome: crate::error::Result<()>| {
        let e = outcome.unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{e}");
    };
    corrupt(check_sound(&session, &read));
    let lv = read.vg.lvs.keys().next().unwrap();
    corrupt(open(&session, &read, lv, How::WRITE).map(drop));
    open(&session, &read, lv, How::READ).unwrap();
    corrupt(session.vg_for_write("vg", Allow::default()).map(drop));
}

/// A label may say that a metadata area reaches into the extents. The texts that follow each other
/// round such a ring would be written over data.
#[test]
fn metadata_are_not_written_to_areas_that_lie_in_extents() {
    let place = Place::new();
    let names = place.images(1);
    let made = place.make_vg(&names, MIB - 4096);
    let mut label = made.found().next().unwrap().raw.clone();
    label.header.mdas[0].size = Bytes(4 * MIB);
    let plan = ulvm_metadata::commit::plan_labels(&[(0, label)]).unwrap();
    let mut disk = FileDisk::open(&place.path(&names[0]), Access::Write).unwrap();
    plan.execute(&mut [&mut disk]).unwrap();
    let area = ulvm_metadata::ondisk::Area::new(4096, 4 * MIB);
    let text = export(&made.vg, &TextHeader::default(), Style::Raw);
    let plan = plan_commit(&[MdaTarget::empty(0, area)], &text).unwrap();
    plan.plan.execute(&mut [&mut disk]).unwrap();
    let (mut session, _) = place.session(&names, "a=1");
    let e = session.vg_for_write("vg", Allow::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt, "{e}");
    drop(session);
    // vgcfgrestore, where nothing on disk is believed.
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    session.scan().unwrap();
    let e = session.restore(Vg::clone(&made.vg)).unwrap_err();
    assert!(
        e.to_string().contains("lies in the extents of VG vg"),
        "{e}"
    );
}

/// While a virtual machine has an image open it is made no PV and its label is not taken away.
#[test]
fn images_that_others_have_open_get_and_lose_no_label() {
    use std::os::fd::AsFd;
    let place = Place::new();
    let names = place.images(1);
    let (mut session, _) = place.session(&names, "a=1");
    session.lock_global(LockMode::Exclusive).unwrap();
    let device = place.devices(&mut session, &names)[0];
    // What QEMU holds on the image of a running machine.
    let machine = std::fs::File::open(place.path(&names[0])).unwrap();
    for byte in [100, 101, 201, 203] {
        assert!(crate::sys::ofd_try_lock(machine.as_fd(), false, byte, 1).unwrap());
    }
    let e = session.create_pv(device, &new_pv(MIB - 4096)).unwrap_err();
    assert_eq!(e.kind(), Kind::Locked, "{e}");
    assert!(session.wipe_signatures(device).is_err());
    drop(machine);
    session.create_pv(device, &new_pv(MIB - 4096)).unwrap();
    // And now nobody starts a machine with it.
    let machine = std::fs::File::open(place.path(&names[0])).unwrap();
    assert!(crate::sys::ofd_is_locked(machine.as_fd(), 201, 1).unwrap());
    session.remove_pv(device).unwrap();
}

/// A device that can be read and not written must not keep a VG from getting along without it.
#[test]
fn commands_that_may_leave_a_device_behind_do() {
    let place = Place::new();
    let names = place.images(2);
    place.make_vg(&names, MIB - 4096);
    for unwritable in [false, true] {
        let (mut session, ui) = place.session(&names, "a=1");
        let allow = Allow {
            unwritable,
            ..Allow::default()
        };
        let old = session.vg_for_write("vg", allow).unwrap();
        let broken = place.devices(&mut session, &names)[1];
        let reader = FileDisk::open(&place.path(&names[1]), Access::Read).unwrap();
        session.disks.insert(broken.0, reader);
        let outcome = session.commit(&old, tagged(&old, "x"));
        assert_eq!(outcome.is_ok(), unwritable);
        drop(session);
        let said = ui.warnings();
        let named = |w: &String| w.contains("Failed to write metadata of VG vg to");
        assert_eq!(said.iter().any(named), unwritable, "{said:?}");
        let now = place.look(&names).0.vgs[0].vg.seqno;
        assert_eq!(now, 1 + u32::from(unwritable));
    }
}

/// The start of a new LV is zeroed on the device that is locked, not on what has its name by then.
#[test]
fn what_is_wiped_is_what_is_held() {
    let place = Place::new();
    let names = place.images(1);
    place.make_vg(&names, MIB - 4096);
    let image = place.path(&names[0]);
    let fill = |byte: u8| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(&image).unwrap();
        file.write_all_at(&[byte; 8192], MIB).unwrap();
    };
    let start = |path: &Path| std::fs::read(path).unwrap()[MIB as usize..][..4096].to_vec();
    fill(7);
    let (mut session, _) = place.session(&names, "a=1");
    let read = session.vg_for_write("vg", Allow::default()).unwrap();
    let mut new = Vg::clone(&read.vg);
    let lv = add_lv(&mut new, "a", 0);
    let moved = place.path("moved");
    std::fs::copy(&image, place.path("other")).unwrap();
    std::fs::rename(&image, &moved).unwrap();
    std::fs::rename(place.path("other"), &image).unwrap();
    let what = crate::lv_wipe::Start {
        zero: true,
        wipe: true,
    };
    crate::lv_wipe::prepare(&session, &read, &new, lv, what).unwrap();
    assert!(start(&moved).iter().all(|b| *b == 0));
    assert!(start(&image).iter().all(|b| *b == 7));
}
