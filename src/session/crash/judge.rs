//! What must hold on devices after a crash.
//!
//! 1. A scan by a session finds the volume groups as they were before or as they are afterwards,
//!    each with all of its PVs; after the operation has returned, as they are afterwards.
//! 2. Each device has its old identity or its new one (or none, where PVs are made or removed).
//! 3. A PV of a VG says that it is in use; one that says it is not holds no text.
//! 4. A text that a header points to, committed or not, is whole.
//! 5. When one area has committed a text, each area that the text goes to knows it.
//! 6. When the operation has returned, nothing that it wrote is unflushed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ulvm_metadata::convert::{Style, TextHeader, export};
use ulvm_metadata::ondisk::{Area, MdaHeader, MdaState, RawLocn, find_label, read_mda, read_text};
use ulvm_metadata::uuid::LvmUuid;

use super::points::Point;
use crate::disk::tape::Event;
use crate::disk::{Access, FileDisk};
use crate::inventory::Inventory;

/// An operation to crash.
pub(super) struct Scenario {
    pub name: &'static str,
    /// All images, in the order in which sessions are given them.
    pub paths: Vec<PathBuf>,
    pub before: BTreeMap<PathBuf, Vec<u8>>,
    pub events: Vec<Event>,
    /// What a session finds, in each view.
    pub old: Vec<Found>,
    pub new: Vec<Found>,
    /// Identities of the devices before and after.
    pub ids: [Vec<Option<LvmUuid>>; 2],
    pub rules: Rules,
    /// Areas that each text goes to, by the checksum and size of the text; the texts in order.
    targets: Vec<(Text, Vec<(PathBuf, Area)>)>,
    /// Areas whose texts are forgotten.
    emptied: Vec<(PathBuf, Area)>,
}

/// What is particular to an operation.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules {
    /// It writes more than one VG: seqnos of states in between are its own affair.
    pub any_seqno: bool,
    /// Devices may have no label in between.
    pub may_be_bare: bool,
    /// Beside all devices together, the last so many are looked at alone.
    pub alone: usize,
}

/// A VG as text, and what is wrong with its PVs.
pub(super) type Found = Vec<(String, Vec<String>)>;

/// Size and checksum.
type Text = (u64, u32);
/// What each area has committed and precommitted.
type Knows = BTreeMap<(PathBuf, u64), (Option<Text>, Option<Text>)>;

fn text_of(locn: &RawLocn) -> Option<Text> {
    (!locn.is_empty()).then_some((locn.size, locn.checksum))
}

/// The VGs of an inventory.
pub(super) fn found(inventory: &Inventory, any_seqno: bool) -> Found {
    let mut out: Found = Vec::new();
    for read in &inventory.vgs {
        let mut vg = (*read.vg).clone();
        if any_seqno {
            vg.seqno = 0;
        }
        let mut faults = Vec::new();
        for (key, pv) in vg.pvs.iter() {
            if read.pv(key).missing {
                faults.push(format!("{} is missing", pv.id));
            }
            let mut others: Vec<_> = read.pv(key).duplicates.clone();
            others.sort_unstable();
            faults.extend(others.iter().map(|d| format!("{} is on {d:?}, too", pv.id)));
            if read.pv(key).found.as_ref().is_some_and(|f| !f.label.used) {
                faults.push(format!("{} looks free", pv.id));
            }
        }
        out.push((export(&vg, &TextHeader::default(), Style::Raw), faults));
    }
    out.sort();
    out
}

pub(super) fn identities(paths: &[PathBuf]) -> Vec<Option<LvmUuid>> {
    let id = |path: &PathBuf| {
        let disk = FileDisk::open(path, Access::Read).unwrap();
        find_label(&disk).unwrap().map(|f| f.label.header.id)
    };
    paths.iter().map(id).collect()
}

impl Scenario {
    /// Finds out which areas each text goes to: the headers that precommit it.
    pub fn learn_targets(&mut self, areas: &[(PathBuf, Area)]) {
        let mut images = self.before.clone();
        for event in &self.events {
            let Event::Write { path, offset, data } = event else {
                continue;
            };
            let image = images.get_mut(path).unwrap();
            image[*offset as usize..][..data.len()].copy_from_slice(data);
            let of_header = |(p, a): &&(PathBuf, Area)| p == path && a.start.0 == *offset;
            let Some((_, area)) = areas.iter().find(of_header) else {
                continue;
            };
            let disk = ulvm_metadata::disk::MemDisk {
                data: image.clone(),
                log: Vec::new(),
            };
            let read = read_mda(&disk, *area);
            let place = (path.clone(), *area);
            let empty = |h: &MdaHeader| h.committed.is_empty() && h.precommitted.is_empty();
            if read.header.as_ref().is_some_and(empty) {
                self.emptied.push(place.clone());
            }
            let Some(text) = read.precommitted().and_then(text_of) else {
                continue;
            };
            match self.targets.iter_mut().find(|(t, _)| *t == text) {
                Some((_, places)) if places.contains(&place) => {}
                Some((_, places)) => places.push(place),
                None => self.targets.push((text, vec![place])),
            }
        }
    }

    pub fn new(name: &'static str, paths: Vec<PathBuf>, rules: Rules) -> Self {
        Self {
            name,
            before: images(&paths),
            paths,
            events: Vec::new(),
            old: Vec::new(),
            new: Vec::new(),
            ids: [Vec::new(), Vec::new()],
            rules,
            targets: Vec::new(),
            emptied: Vec::new(),
        }
    }

    /// Judges the devices as they are; `seen` is what sessions find on them, in each view.
    pub fn judge(&self, point: &Point, seen: &[Inventory]) -> Result<(), String> {
        if point.acknowledged && point.unflushed > 0 {
            return Err(format!("{} sectors are not flushed", point.unflushed));
        }
        let now: Vec<Found> = seen
            .iter()
            .map(|i| found(i, self.rules.any_seqno))
            .collect();
        if now != self.new && (point.acknowledged || now != self.old) {
            return Err(format!("sessions find {now:#?}"));
        }
        for (n, id) in identities(&self.paths).iter().enumerate() {
            let is_new = *id == self.ids[1][n];
            let is_old = *id == self.ids[0][n] || id.is_none() && self.rules.may_be_bare;
            if !is_new && (point.acknowledged || !is_old) {
                return Err(format!("device {n} has the identity {id:?}"));
            }
        }
        self.areas()
    }

    fn areas(&self) -> Result<(), String> {
        let mut knows = Knows::new();
        for path in &self.paths {
            let disk = FileDisk::open(path, Access::Read).unwrap();
            let Some(label) = find_label(&disk).unwrap().map(|f| f.label) else {
                continue;
            };
            for area in &label.header.mdas {
                let read = read_mda(&disk, *area);
                let name = path.file_name().unwrap().to_string_lossy();
                match &read.state {
                    MdaState::Text(_) if !label.header.is_used() => {
                        return Err(format!("{name} looks free and holds a text"));
                    }
                    MdaState::Text(_) | MdaState::Empty | MdaState::Ignored => {}
                    bad => return Err(format!("{area} of {name} holds {bad:?}")),
                }
                if let Some(locn) = read.precommitted() {
                    read_text(&disk, *area, locn)
                        .map_err(|e| format!("{area} of {name}: precommitted: {e}"))?;
                }
                let committed = read.header.and_then(|h| text_of(&h.committed));
                let precommitted = read.precommitted().and_then(text_of);
                let place = (path.clone(), area.start.0);
                knows.insert(place, (committed, precommitted));
            }
        }
        self.together(&knows)
    }

    /// Rule 5. An area may know a later text instead.
    fn together(&self, knows: &Knows) -> Result<(), String> {
        let known = |(path, area): &(PathBuf, Area)| {
            let place = (path.clone(), area.start.0);
            knows.get(&place).copied().unwrap_or_default()
        };
        for (n, (text, places)) in self.targets.iter().enumerate() {
            if !places.iter().any(|p| known(p).0 == Some(*text)) {
                continue;
            }
            let since: Vec<Text> = self.targets[n..].iter().map(|(t, _)| *t).collect();
            for place in places {
                let (committed, precommitted) = known(place);
                // An area that was emptied afterwards knows nothing.
                let empty = committed.is_none() && precommitted.is_none();
                let emptied = empty && self.emptied.contains(place);
                let fine = [committed, precommitted]
                    .iter()
                    .flatten()
                    .any(|t| since.contains(t));
                if !fine && !emptied {
                    return Err(format!("{:?} does not know the text", place.0));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn images(paths: &[PathBuf]) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |p: &PathBuf| (p.clone(), std::fs::read(p).unwrap());
    paths.iter().map(read).collect()
}

/// All areas that the labels name.
pub(super) fn areas(paths: &[PathBuf]) -> Vec<(PathBuf, Area)> {
    let mut out = Vec::new();
    for path in paths {
        let disk = FileDisk::open(Path::new(path), Access::Read).unwrap();
        let label = find_label(&disk).unwrap();
        let mdas = label.into_iter().flat_map(|f| f.label.header.mdas);
        out.extend(mdas.map(|a| (path.clone(), a)));
    }
    out
}
