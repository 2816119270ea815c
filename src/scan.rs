//! Reading devices: what label, metadata areas and texts each of them carries.
//!
//! Devices are opened read-only one after another and closed again, so neither their number nor
//! udev's watch on writers matters.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::ondisk::{
    Area, HeaderFault, Label, MdaHeader, MdaState as AreaState, TextFault, find_label, read_mda,
    read_mda_header, read_text,
};
use ulvm_metadata::units::Bytes;

use crate::discover::{self, Candidate};
use crate::disk::{Access, FileDisk};
use crate::inventory::{DevKey, Device, DeviceKind};
use crate::partition::{self, Table};
use crate::signatures;
use crate::texts::{TextId, Texts};

/// A device and what was found on it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The device.
    pub device: Device,
    /// The user named it.
    pub named: bool,
    /// What it carries.
    pub found: Found,
}

/// What a device carries.
#[derive(Debug)]
pub(crate) enum Found {
    /// No label.
    Nothing,
    /// A label.
    Pv(ScannedPv),
    /// It must not be used; why.
    Excluded(String),
    /// A former scan of the session found it, the last one did not.
    Gone,
    /// It could not be read.
    Unreadable(io::Error),
}

/// A labelled device.
#[derive(Clone, Debug)]
pub(crate) struct ScannedPv {
    /// The label that rules.
    pub label: Label,
    /// Sectors of further labels, ignored.
    pub additional: Vec<u64>,
    /// Metadata areas in the order of the PV header.
    pub mdas: Vec<ScannedMda>,
}

/// A metadata area.
#[derive(Clone, Debug)]
pub(crate) struct ScannedMda {
    /// Where.
    pub area: Area,
    /// Its header, unless that is bad.
    pub header: Option<MdaHeader>,
    /// What it holds.
    pub content: Content,
    /// A text that was about to rule when somebody stopped; whole.
    pub precommitted: Option<TextId>,
}

/// What a metadata area holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// No text.
    Empty,
    /// Not in use.
    Ignored,
    /// A text.
    Text(TextId),
    /// The header is bad.
    BadHeader(HeaderFault),
    /// The text is bad.
    BadText(TextFault),
}

/// What the scan shall look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rules {
    /// Smaller devices are not looked at.
    pub min_size: Bytes,
    /// Members of md arrays are not used.
    pub md_components: bool,
    /// Nor is what the kernel says is part of an array or a multipath device.
    pub components: bool,
}

/// All devices of a session. Only grows, so that [`DevKey`]s stay valid.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// By [`DevKey`].
    pub entries: Vec<Entry>,
    /// The texts found.
    pub texts: Texts,
    /// Where a device of a path and partition number stands in `entries`.
    index: HashMap<(PathBuf, Option<u32>), usize>,
}

impl Scan {
    /// Reads all candidates anew; what a former scan found on other devices is forgotten.
    pub fn read_all(&mut self, candidates: Vec<Candidate>, rules: Rules) {
        for entry in &mut self.entries {
            entry.found = Found::Gone;
        }
        let mut seen = HashSet::new();
        for candidate in candidates {
            if seen.insert(identity(&candidate.device)) {
                self.read_one(candidate, rules);
            }
        }
    }

    /// Reads one candidate, and the partitions in it.
    pub fn read_one(&mut self, candidate: Candidate, rules: Rules) -> Vec<DevKey> {
        let entries = read_candidate(candidate, rules, &mut self.texts);
        entries.into_iter().map(|e| self.put(e)).collect()
    }

    fn put(&mut self, entry: Entry) -> DevKey {
        let place = (entry.device.path.clone(), entry.device.partition);
        let n = *self.index.entry(place).or_insert(self.entries.len());
        match self.entries.get_mut(n) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
        DevKey(n)
    }

    /// Reads one known device again.
    pub fn refresh(&mut self, key: DevKey, rules: Rules) {
        let entry = &mut self.entries[key.0];
        let device = entry.device.clone();
        entry.found = match open(&device, Access::Read) {
            Ok(mut disk) => read_disk(&mut disk, &device, rules, &mut self.texts),
            Err(e) => Found::Unreadable(e),
        };
    }

    /// Do the headers of a device's metadata areas still say what the scan saw?
    pub fn unchanged(&self, key: DevKey, disk: &dyn Disk) -> bool {
        let Found::Pv(pv) = &self.entries[key.0].found else {
            return false;
        };
        let label = find_label(disk).ok().flatten();
        label.is_some_and(|l| l.label == pv.label)
            && pv
                .mdas
                .iter()
                .all(|m| read_mda_header(disk, m.area).ok() == m.header)
    }

    /// Areas that are bad, with `all` every area, each with its header: equal after two scans,
    /// they are not in the middle of being written.
    pub fn doubts(&self, all: bool) -> Vec<(DevKey, usize, Option<MdaHeader>)> {
        let mut out = Vec::new();
        for (n, entry) in self.entries.iter().enumerate() {
            let Found::Pv(pv) = &entry.found else {
                continue;
            };
            for (m, mda) in pv.mdas.iter().enumerate() {
                let bad = match &mda.content {
                    Content::BadHeader(_) | Content::BadText(_) => true,
                    Content::Text(id) => self.texts.get(*id).summary.is_err(),
                    Content::Empty | Content::Ignored => false,
                };
                if all || bad {
                    out.push((DevKey(n), m, mda.header));
                }
            }
        }
        out
    }

    /// The label and areas of a device.
    pub fn pv(&self, key: DevKey) -> Option<&ScannedPv> {
        match &self.entries.get(key.0)?.found {
            Found::Pv(pv) => Some(pv),
            _ => None,
        }
    }

    /// The same, to record what was written.
    pub fn pv_mut(&mut self, key: DevKey) -> Option<&mut ScannedPv> {
        match &mut self.entries.get_mut(key.0)?.found {
            Found::Pv(pv) => Some(pv),
            _ => None,
        }
    }
}

/// Opens a device, or the part of it that a partition is.
pub(crate) fn open(device: &Device, access: Access) -> io::Result<FileDisk> {
    let disk = FileDisk::open(&device.path, access)?;
    if device.partition.is_none() {
        return Ok(disk);
    }
    disk.part(device.start, device.size)
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the partition is gone"))
}

/// Two names of one device lead to the same identity.
fn identity(device: &Device) -> (u64, u64, Option<u32>) {
    let (a, b) = match device.kind {
        DeviceKind::Block { major, minor } => (u64::MAX, u64::from(major) << 32 | u64::from(minor)),
        DeviceKind::File => std::fs::metadata(&device.path).map_or((0, 0), |m| (m.dev(), m.ino())),
    };
    (a, b, device.partition)
}

fn read_candidate(c: Candidate, rules: Rules, texts: &mut Texts) -> Vec<Entry> {
    let Candidate {
        mut device,
        named,
        excluded,
    } = c;
    let entry = |device: Device, found: Found| Entry {
        device,
        named,
        found,
    };
    if let Some(why) = excluded {
        return vec![entry(device, Found::Excluded(why))];
    }
    let mut disk = match FileDisk::open(&device.path, Access::Read) {
        Ok(disk) if disk.size().0 == 0 && !named => return Vec::new(),
        Ok(disk) => disk,
        Err(e) if is_absent(&e) && !named => return Vec::new(),
        Err(e) => return vec![entry(device, Found::Unreadable(e))],
    };
    if rules.components
        && !named
        && let Some(why) = discover::component_of(&device.kind)
    {
        return vec![entry(device, Found::Excluded(why))];
    }
    device.logical_block_size = disk.logical_block_size();
    if let Some(number) = device.partition {
        let found = match place_partition(&mut device, disk, number) {
            Ok(mut part) => read_disk(&mut part, &device, rules, texts),
            Err(why) => Found::Excluded(why),
        };
        return vec![entry(device, found)];
    }
    device.size = disk.size();
    let found = read_disk(&mut disk, &device, rules, texts);
    if !matches!(found, Found::Nothing) {
        return vec![entry(device, found)];
    }
    let table = partition::read(&disk);
    drop(disk);
    if matches!(table, Table::None) {
        return vec![entry(device, found)];
    }
    let inside = if discover::kernel_partitions(&device.kind) {
        Vec::new()
    } else {
        inner(&device, &table, rules, texts)
    };
    let whole = Found::Excluded("device is partitioned".into());
    let mut out = vec![entry(device, whole)];
    out.extend(inside.into_iter().map(|(d, f)| entry(d, f)));
    out
}

/// A device node without a device, or a drive without a medium.
fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::ENXIO | libc::ENODEV | libc::ENOMEDIUM)
    )
}

/// The partitions inside an image or a device whose partitions the kernel does not show.
fn inner(whole: &Device, table: &Table, rules: Rules, texts: &mut Texts) -> Vec<(Device, Found)> {
    let list = table.partitions().iter();
    list.map(|p| {
        let device = Device {
            name: format!("{}#{}", whole.name, p.number),
            aliases: (whole.aliases.iter())
                .map(|a| format!("{a}#{}", p.number))
                .collect(),
            start: p.start,
            size: p.size,
            partition: Some(p.number),
            device_id: None,
            ..whole.clone()
        };
        let found = match open(&device, Access::Read) {
            Ok(mut disk) => read_disk(&mut disk, &device, rules, texts),
            Err(e) => Found::Unreadable(e),
        };
        (device, found)
    })
    .collect()
}

fn place_partition(device: &mut Device, disk: FileDisk, number: u32) -> Result<FileDisk, String> {
    let table = partition::read(&disk);
    let part = table.partitions().iter().find(|p| p.number == number);
    let part = part.ok_or(format!("it has no partition {number}"))?;
    device.start = part.start;
    device.size = part.size;
    disk.part(part.start, part.size)
        .ok_or(format!("partition {number} does not lie on it"))
}

fn read_disk(disk: &mut FileDisk, device: &Device, rules: Rules, texts: &mut Texts) -> Found {
    if disk.size() < rules.min_size {
        return Found::Excluded("device is too small (pv_min_size)".into());
    }
    let label = match disk.prefetch().and_then(|()| find_label(disk)) {
        Ok(Some(label)) => label,
        Ok(None) => return Found::Nothing,
        Err(e) => return Found::Unreadable(e),
    };
    // The superblock of some md versions stands at the end, where the array does not reach.
    let suspect = rules.md_components
        && matches!(device.kind, DeviceKind::Block { .. })
        && label.label.header.device_size != disk.size();
    if suspect && signatures::is_md_component(disk).unwrap_or(false) {
        return Found::Excluded("device is an md component".into());
    }
    let areas = &label.label.header.mdas;
    let mdas = areas.iter().map(|a| scan_mda(disk, *a, texts)).collect();
    Found::Pv(ScannedPv {
        label: label.label,
        additional: label.additional,
        mdas,
    })
}

fn scan_mda(disk: &dyn Disk, area: Area, texts: &mut Texts) -> ScannedMda {
    if let Ok(header) = read_mda_header(disk, area)
        && !header.is_ignored()
        && let Some(id) = texts.find(disk, area, &header.committed)
    {
        return ScannedMda {
            area,
            header: Some(header),
            content: Content::Text(id),
            precommitted: scan_precommitted(disk, area, &header, texts),
        };
    }
    let read = read_mda(disk, area);
    let header = read.header;
    let content = match read.state {
        AreaState::Empty => Content::Empty,
        AreaState::Ignored => Content::Ignored,
        AreaState::BadHeader(fault) => Content::BadHeader(fault),
        AreaState::BadText(fault) => Content::BadText(fault),
        AreaState::Text(bytes) => {
            let (size, sum) = header.map_or((0, 0), |h| (h.committed.size, h.committed.checksum));
            Content::Text(texts.add(bytes, size, sum))
        }
    };
    ScannedMda {
        area: read.area,
        header,
        content,
        precommitted: header.and_then(|h| scan_precommitted(disk, area, &h, texts)),
    }
}

/// The text of the precommitted slot, which is empty unless a writer is at work or was stopped.
fn scan_precommitted(
    disk: &dyn Disk,
    area: Area,
    header: &MdaHeader,
    texts: &mut Texts,
) -> Option<TextId> {
    let locn = &header.precommitted;
    if locn.is_empty() || locn == &header.committed {
        return None;
    }
    if let Some(id) = texts.find(disk, area, locn) {
        return Some(id);
    }
    let bytes = read_text(disk, area, locn).ok()?;
    Some(texts.add(bytes, locn.size, locn.checksum))
}
