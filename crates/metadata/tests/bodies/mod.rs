//! What must hold for any input at all: bodies that the property tests, the replayed corpus and the
//! fuzz targets share. None may panic, loop, or take memory that the input alone makes large.
//!
//! The input is bytes; each body reads them its own way.
#![allow(dead_code)]

mod ops;
mod ring;

use ulvm_metadata::commit::{MdaTarget, Wanted, plan_commit, plan_labels};
use ulvm_metadata::convert::{Style, export, import};
use ulvm_metadata::disk::{Disk, MemDisk};
use ulvm_metadata::model::check::check;
use ulvm_metadata::model::usage::Usage;
use ulvm_metadata::model::{PvKey, Vg};
use ulvm_metadata::ondisk::{Area, MdaState, dump_headers, find_label, read_mda, search_texts};
use ulvm_metadata::text::{self, NodeRef};

pub use ops::ops;
pub use ring::ring;

/// A device with that content: everything that is read from devices is read, and a VG found on it
/// is committed to it again.
pub fn device(data: &[u8]) {
    let mut disk = MemDisk {
        data: data.to_vec(),
        log: Vec::new(),
    };
    for sector in 0..5 {
        let _ = dump_headers(&disk, sector);
    }
    let Ok(Some(found)) = find_label(&disk) else {
        return;
    };
    let header = &found.label.header;
    assert!(
        plan_labels(&[(0, found.label.clone())]).is_some(),
        "what was read can be written"
    );
    assert!(!header.with_used(true).needs_update());
    for area in header.mdas.iter().take(4) {
        let _ = search_texts(&disk, *area);
        let read = read_mda(&disk, *area);
        if let MdaState::Text(bytes) = &read.state {
            text(bytes);
        }
        commit_again(&mut disk, *area);
    }
}

/// A commit to an area in any state is refused, or it is read back and the label still stands.
fn commit_again(disk: &mut MemDisk, area: Area) {
    let before = read_mda(disk, area);
    // The area must lie on the device and behind the label, which the host checks when it scans.
    if area.start.0 < 4096 || area.end().is_none_or(|end| end > disk.size()) {
        return;
    }
    let target = MdaTarget::new(0, &before, Wanted::Use);
    let new = "vg {\n}\n".repeat(30);
    let Ok(plan) = plan_commit(&[target], &new) else {
        return;
    };
    for (n, staged) in plan.plan.stages.iter().enumerate() {
        for write in &staged.writes {
            disk.write_at(write.offset, &write.bytes)
                .expect("writes stay on the device");
        }
        let now = read_mda(disk, area);
        if n + 1 == plan.plan.stages.len() {
            assert_eq!(now.text(), Some(new.as_bytes()), "the new text rules");
        } else if before.text().is_some() {
            assert_eq!(
                now.text(),
                before.text(),
                "the old text rules until the end"
            );
        }
    }
}

/// A metadata text: parsed, imported, exported in both renderings, imported again.
pub fn text(data: &[u8]) {
    if let Ok(doc) = text::parse(data) {
        let tree = doc.root().to_tree();
        let again = text::write::plain(&tree);
        let doc = text::parse_str(&again).expect("what is written can be read");
        assert_eq!(doc.root().to_tree(), tree, "a tree comes back");
        walk(doc.root().items().map(|i| i.node).collect());
    }
    let Ok(mut imported) = import(data) else {
        return;
    };
    let is_writable = imported.vg.unknown_status.is_empty() && imported.vg.not_utf8.is_none();
    // What replaces the bytes that are no text is text.
    imported.vg.not_utf8 = None;
    for style in [Style::Raw, Style::Backup] {
        let written = export(&imported.vg, &imported.header, style);
        let again = import(written.as_bytes()).expect("what is written can be read");
        assert_eq!(same(&again.vg), same(&imported.vg), "a VG comes back");
        let twice = export(&again.vg, &again.header, style);
        assert_eq!(twice, written, "writing is stable");
    }
    let vg = imported.vg;
    let usage = Usage::of(&vg);
    for (key, pv) in vg.pvs.iter() {
        usage.free_runs(key, pv.pe_count);
    }
    if check(&vg).is_ok() && is_writable {
        ops::on(vg, data);
    }
}

/// Goes through all nodes, without recursion.
fn walk(mut todo: Vec<NodeRef>) {
    while let Some(node) = todo.pop() {
        match node {
            NodeRef::Section(s) => todo.extend(s.items().map(|i| i.node)),
            NodeRef::Array(elements) => todo.extend(elements),
            NodeRef::Int(_) | NodeRef::Float(_) | NodeRef::Str(_) => {}
        }
    }
}

/// The VG without what a rewrite may change: PV keys of the text, the order of LVs (visible ones
/// are written first) and words that make it read-only and are not written.
fn same(vg: &Vg) -> (Vec<String>, Vec<String>, Vg) {
    let mut rest = vg.clone();
    rest.unknown_status.clear();
    // Written as the system id and the lock manager have it.
    rest.flags.write_locked = false;
    for (_, pv) in rest.pvs.iter_mut() {
        pv.text_key = None;
        // A path that is not known is written as such.
        pv.device_hint.get_or_insert("[unknown]".to_owned());
    }
    let pvs = rest.pvs.values().map(|pv| format!("{pv:?}")).collect();
    let mut lvs: Vec<String> = rest.lvs.values().map(|lv| show(vg, lv)).collect();
    lvs.sort();
    rest.lvs = Default::default();
    (pvs, lvs, rest)
}

/// An LV with names in place of keys, since keys follow the order.
fn show(vg: &Vg, lv: &ulvm_metadata::model::Lv) -> String {
    use ulvm_metadata::model::{Area, SegmentKind};
    let pv = |key: PvKey| vg.pvs.get(key).map(|p| p.id);
    let area = |a: &Area| match a {
        Area::Pv { pv: key, extent } => format!("{:?}:{extent}", pv(*key)),
        Area::Lv { lv, extent } => format!("{:?}:{extent}", vg.lvs.get(*lv).map(|l| &l.name)),
    };
    let name = |key| vg.lvs.get(key).map(|l| l.name.clone());
    let mut out = String::new();
    for s in &lv.segments {
        let kind = match &s.kind {
            SegmentKind::Striped {
                stripe_size,
                stripes,
            } => format!(
                "striped {stripe_size} {:?}",
                stripes.iter().map(area).collect::<Vec<_>>()
            ),
            SegmentKind::Mirror(m) => format!(
                "mirror {:?} {:?} {} {:?}",
                m.legs.iter().map(area).collect::<Vec<_>>(),
                m.log.map(name),
                m.region_size,
                m.extents_moved
            ),
            SegmentKind::Raid(r) => {
                let mut bare = r.clone();
                let images: Vec<_> = r
                    .images
                    .iter()
                    .map(|i| (i.meta.map(name), area(&i.image)))
                    .collect();
                bare.images.clear();
                format!("{bare:?} {images:?}")
            }
            SegmentKind::Snapshot(x) => format!(
                "snapshot {} {:?} {:?} {}",
                x.chunk_size,
                name(x.origin),
                name(x.cow),
                x.merging
            ),
            SegmentKind::Foreign(f) => format!("{} {:?}", f.type_word, f.fields),
            plain => format!("{plain:?}"),
        };
        out += &format!(
            "{} {} {:?} {:?} {:?} {kind}; ",
            s.start, s.len, s.reshape_count, s.tags, s.extra
        );
    }
    let mut bare = lv.clone();
    bare.segments.clear();
    bare.flags.write_locked = false;
    format!("{bare:?} {out}")
}

/// A configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(tree) = text::parse_config(text) {
        let written = text::write::plain(&tree);
        let again = text::parse_str(&written).expect("what is written can be read");
        assert_eq!(again.root().to_tree(), tree, "a tree comes back");
    }
}
