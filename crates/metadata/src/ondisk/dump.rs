//! What `pvck --dump` shows: headers field by field whether they are right or not, and texts that
//! are still in a metadata area, current or not.
//!
//! Nothing here needs valid input; everything is bounded.

use std::fmt;
use std::io;

use super::Area;
use super::mda::{MDA_HEADER_SIZE, RAW_LOCN_IGNORED, RawLocn};
use super::ring::Ring;
use crate::crc::{CRC_INITIAL, crc, crc_more};
use crate::disk::Disk;
use crate::units::Bytes;
use crate::wire::{u32_at, u64_at};

const SECTOR: usize = 512;
/// Most bytes of one metadata area that are searched for texts.
pub const TEXT_SEARCH_LIMIT: u64 = 256 << 20;
/// Where the first metadata area of a PV begins, in bytes.
const FIRST_MDA: u64 = 4096;
/// Most entries shown of a list of areas.
const MOST_ENTRIES: usize = 16;
/// Most metadata areas shown.
const MOST_MDAS: usize = 8;

/// A line of a dump, without indentation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DumpLine {
    /// What kind of line.
    pub kind: LineKind,
    /// The line.
    pub text: String,
}

/// Kinds of lines: `--dump metadata` and the like show some only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// A field of a header.
    Field,
    /// Something is not as it must be.
    Check,
    /// Where a text lies.
    Text,
}

impl fmt::Display for DumpLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Headers of a device as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderDump {
    /// Lines in order.
    pub lines: Vec<DumpLine>,
    /// Metadata areas that the PV header names.
    pub mdas: Vec<DumpedMda>,
    /// Does the sector say that it is a label of LVM2 (its id and its type are right)?
    pub is_label: bool,
    /// Is anything wrong that says more than that a commit was cut off?
    pub is_damaged: bool,
}

/// A metadata area of a [`HeaderDump`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DumpedMda {
    /// As the PV header names it.
    pub area: Area,
    /// Does it begin as a metadata area does?
    pub has_magic: bool,
    /// Committed slot as stored.
    pub committed: RawLocn,
    /// Precommitted slot as stored.
    pub precommitted: RawLocn,
    /// The committed text, if its slot lies in the area and the area is not ignored.
    pub text: Option<Vec<u8>>,
}

impl HeaderDump {
    /// Is anything not as it must be?
    pub fn is_bad(&self) -> bool {
        self.lines.iter().any(|l| l.kind == LineKind::Check)
    }
    fn field(&mut self, text: String) {
        self.push(LineKind::Field, text);
    }
    fn check(&mut self, text: String) {
        self.is_damaged = true;
        self.push(LineKind::Check, format!("CHECK: {text}"));
    }
    fn push(&mut self, kind: LineKind, text: String) {
        self.lines.push(DumpLine { kind, text });
    }
}

/// Dumps label, PV header and metadata area headers of a device whose label is taken to be in
/// sector `label_sector`.
pub fn dump_headers(disk: &dyn Disk, label_sector: u64) -> io::Result<HeaderDump> {
    let mut out = HeaderDump::default();
    let base = label_sector.saturating_mul(SECTOR as u64);
    let mut s = [0; SECTOR];
    disk.read_at(Bytes(base), &mut s)?;
    dump_label(&mut out, &s, base, label_sector);
    let areas = dump_pv_header(&mut out, &s, base);
    for area in areas.into_iter().take(MOST_MDAS) {
        dump_mda(&mut out, disk, area)?;
    }
    Ok(out)
}

fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| {
            if b.is_ascii_graphic() || *b == b' ' {
                char::from(*b)
            } else {
                '?'
            }
        })
        .collect()
}

fn dump_label(out: &mut HeaderDump, s: &[u8; SECTOR], base: u64, sector: u64) {
    let (stored, computed) = (u32_at(s, 16), crc(&s[20..]));
    out.field(format!("label_header at {base}"));
    out.field(format!("label_header.id {}", printable(&s[..8])));
    out.field(format!("label_header.sector {}", u64_at(s, 8)));
    out.field(format!("label_header.crc 0x{stored:x}"));
    out.field(format!("label_header.offset {}", u32_at(s, 20)));
    out.field(format!("label_header.type {}", printable(&s[24..32])));
    out.is_label = &s[..8] == b"LABELONE" && &s[24..32] == b"LVM2 001";
    if &s[..8] != b"LABELONE" {
        out.check("label_header.id expected LABELONE".into());
    }
    if u64_at(s, 8) != sector {
        out.check(format!("label_header.sector expected {sector}"));
    }
    if stored != computed {
        out.check(format!("label_header.crc expected 0x{computed:x}"));
    }
    if u32_at(s, 20) != 32 {
        out.check("label_header.offset expected 32".into());
    }
    if &s[24..32] != b"LVM2 001" {
        out.check("label_header.type expected LVM2 001".into());
    }
}

/// A list of areas from `at` on; returns them and where the list ends.
fn dump_areas(
    out: &mut HeaderDump,
    s: &[u8; SECTOR],
    base: u64,
    at: &mut usize,
    n: &mut usize,
    names: (&str, &str),
) -> Vec<Area> {
    let (prefix, what) = names;
    let mut areas = Vec::new();
    while *at + 16 <= SECTOR && areas.len() < MOST_ENTRIES {
        let area = Area::new(u64_at(s, *at), u64_at(s, *at + 8));
        let is_end = area.start.is_zero();
        let note = if is_end { "location list end" } else { what };
        out.field(format!(
            "{prefix}.disk_locn[{n}] at {} # {note}",
            base + *at as u64
        ));
        out.field(format!("{prefix}.disk_locn[{n}].offset {}", area.start));
        out.field(format!("{prefix}.disk_locn[{n}].size {}", area.size));
        *at += 16;
        *n += 1;
        if is_end {
            return areas;
        }
        areas.push(area);
    }
    out.check(format!("{prefix}.disk_locn list does not end"));
    areas
}

fn dump_pv_header(out: &mut HeaderDump, s: &[u8; SECTOR], base: u64) -> Vec<Area> {
    let mut at = 32;
    out.field(format!("pv_header at {}", base + at as u64));
    out.field(format!("pv_header.pv_uuid {}", printable(&s[32..64])));
    out.field(format!("pv_header.device_size {}", u64_at(s, 64)));
    if crate::uuid::LvmUuid::from_raw(&s[32..64]).is_none() {
        out.check("pv_header.pv_uuid invalid format".into());
    }
    at += 40;
    let mut n = 0;
    let data = ("pv_header", "location of data area");
    dump_areas(out, s, base, &mut at, &mut n, data);
    let metadata = ("pv_header", "location of metadata area");
    let mdas = dump_areas(out, s, base, &mut at, &mut n, metadata);
    if at + 8 <= SECTOR {
        let name = "pv_header_extension";
        out.field(format!("{name} at {}", base + at as u64));
        let version = u32_at(s, at);
        out.field(format!("{name}.version {version}"));
        out.field(format!("{name}.flags {}", u32_at(s, at + 4)));
        at += 8;
        let bootloader = (name, "bootloader area");
        dump_areas(out, s, base, &mut at, &mut 0, bootloader);
    }
    mdas
}

fn dump_mda(out: &mut HeaderDump, disk: &dyn Disk, area: Area) -> io::Result<()> {
    let base = area.start.0;
    // LVM2 numbers an area by its place, not by its rank.
    let name = format!("mda_header_{}", if base == FIRST_MDA { 1 } else { 2 });
    let mut s = [0; SECTOR];
    if disk.size().0.saturating_sub(base) < SECTOR as u64 {
        out.check(format!("failed to read mda_header at {base}"));
        return Ok(());
    }
    disk.read_at(area.start, &mut s)?;
    out.field(format!("{name} at {base} # metadata area"));
    out.field(format!("{name}.checksum 0x{:x}", u32_at(&s, 0)));
    out.field(format!("{name}.magic 0x{}", hex(&s[4..20])));
    out.field(format!("{name}.version {}", u32_at(&s, 20)));
    out.field(format!("{name}.start {}", u64_at(&s, 24)));
    out.field(format!("{name}.size {}", u64_at(&s, 32)));
    let computed = crc(&s[4..]);
    if u32_at(&s, 0) != computed {
        out.check(format!("{name}.checksum expected 0x{computed:x}"));
    }
    const MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
    if &s[4..20] != MAGIC {
        out.check(format!("{name}.magic expected 0x{}", hex(MAGIC)));
    }
    if u32_at(&s, 20) != 1 {
        out.check(format!("{name}.version expected 1"));
    }
    if u64_at(&s, 24) != base {
        out.check(format!(
            "{name}.start does not match pv_header.disk_locn.offset {base}"
        ));
    }
    if u64_at(&s, 32) != area.size.0 {
        let size = area.size;
        out.check(format!(
            "{name}.size does not match pv_header.disk_locn.size {}",
            size.0
        ));
    }
    let committed = dump_slot(out, &s, &name, area, 0, "commit");
    let precommitted = dump_slot(out, &s, &name, area, 1, "precommit");
    let mut readable = committed;
    let most = area.size.0.saturating_sub(MDA_HEADER_SIZE);
    if committed.size > most {
        out.check(format!(
            "{name}.raw_locn[0].size larger than metadata area size"
        ));
        readable.size = most;
    }
    if !precommitted.is_empty() {
        let text = format!("CHECK: {name}.raw_locn[1] for precommit not empty");
        out.push(LineKind::Check, text);
    }
    let text = dump_text(out, disk, &name, area, &readable)?;
    out.mdas.push(DumpedMda {
        area,
        has_magic: &s[4..20] == MAGIC,
        committed,
        precommitted,
        text,
    });
    Ok(())
}

/// Bytes in hexadecimal, no zeros before small ones.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:x}")).collect()
}

fn dump_slot(
    out: &mut HeaderDump,
    s: &[u8; SECTOR],
    name: &str,
    area: Area,
    n: usize,
    what: &str,
) -> RawLocn {
    let at = 40 + 24 * n;
    let locn = RawLocn {
        offset: u64_at(s, at),
        size: u64_at(s, at + 8),
        checksum: u32_at(s, at + 16),
        flags: u32_at(s, at + 20),
    };
    let wrapped = match locn.offset.checked_add(locn.size) {
        Some(end) if end <= area.size.0 => "",
        _ => " wrapped",
    };
    let ignored = if locn.flags & RAW_LOCN_IGNORED != 0 {
        " # RAW_LOCN_IGNORED"
    } else {
        ""
    };
    let slot = format!("{name}.raw_locn[{n}]");
    out.field(format!(
        "{slot} at {} # {what}{wrapped}",
        area.start.0.saturating_add(at as u64)
    ));
    out.field(format!("{slot}.offset {}", locn.offset));
    out.field(format!("{slot}.size {}", locn.size));
    out.field(format!("{slot}.checksum 0x{:x}", locn.checksum));
    out.field(format!("{slot}.flags 0x{:x}{ignored}", locn.flags));
    locn
}

fn dump_text(
    out: &mut HeaderDump,
    disk: &dyn Disk,
    name: &str,
    area: Area,
    locn: &RawLocn,
) -> io::Result<Option<Vec<u8>>> {
    if locn.is_empty() || locn.is_ignored() {
        return Ok(None);
    }
    let fits = |offset: u64, len: u64| {
        let end = area.start.0.checked_add(offset)?.checked_add(len)?;
        (end <= disk.size().0).then_some(())
    };
    let spans = Ring::new(area.size.0).spans(locn);
    let spans = spans.filter(|s| s.iter().all(|s| fits(s.offset, s.len).is_some()));
    let (Some(spans), true) = (spans, locn.size <= TEXT_SEARCH_LIMIT) else {
        // The length that is left of the area, in the 32 bits LVM2 counts it in.
        let left = area.size.0.wrapping_sub(locn.offset) & u64::from(u32::MAX);
        let at = area.start.0.wrapping_add(locn.offset);
        out.check(format!(
            "failed to read metadata text at {name}.raw_locn[0].offset {} size {} part_a {at} {left}",
            locn.offset, locn.size
        ));
        return Ok(None);
    };
    let mut text = Vec::new();
    for span in spans {
        read_pieces(disk, area.start.0 + span.offset, span.len, &mut text)?;
    }
    let at = area.start.0 + locn.offset;
    let sum = crc(&text);
    if sum != locn.checksum {
        out.check(format!(
            "metadata text at {at} crc does not match {name}.raw_locn[0].checksum"
        ));
    }
    let about = About::of(&text);
    out.push(
        LineKind::Text,
        format!(
            "metadata text at {at} crc 0x{sum:x} # vgname {} seqno {}",
            about.vg.as_deref().unwrap_or("-"),
            about.seqno.as_deref().unwrap_or("-")
        ),
    );
    while text.last() == Some(&0) {
        text.pop();
    }
    Ok(Some(text))
}

/// Reads `len` bytes piece by piece, so that a short device fails before memory is taken.
fn read_pieces(disk: &dyn Disk, mut at: u64, mut len: u64, out: &mut Vec<u8>) -> io::Result<()> {
    const PIECE: u64 = 1 << 20;
    while len > 0 {
        let n = len.min(PIECE);
        let before = out.len();
        out.resize(before + n as usize, 0);
        disk.read_at(Bytes(at), &mut out[before..])?;
        at += n;
        len -= n;
    }
    Ok(())
}

/// What the first lines of a text tell, parsed or not.
#[derive(Default)]
struct About {
    vg: Option<String>,
    id: Option<String>,
    seqno: Option<String>,
}

impl About {
    fn of(text: &[u8]) -> Self {
        /// The fields stand within the first lines.
        const HEAD: usize = 1024;
        let mut about = Self::default();
        let head = &text[..text.len().min(HEAD)];
        for line in head.split(|b| *b == b'\n').take(16) {
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if let Some(name) = line.strip_suffix(" {") {
                about.vg.get_or_insert(name.to_owned());
            } else if let Some(id) = line.strip_prefix("id = ") {
                about.id.get_or_insert(id.trim_matches('"').to_owned());
            } else if let Some(n) = line.strip_prefix("seqno = ") {
                about.seqno.get_or_insert(n.to_owned());
            }
        }
        about
    }
}

/// A text found in a metadata area.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundText {
    /// Byte offset on the device.
    pub at: u64,
    /// The text, without the NUL at its end.
    pub text: Vec<u8>,
    /// Checksum of the text with its NUL.
    pub crc: u32,
    /// Name of the VG.
    pub vg: String,
    /// Identifier of the VG.
    pub id: String,
    /// Its seqno.
    pub seqno: String,
}

impl fmt::Display for FoundText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "metadata at {} length {} crc {:08x} vg {} seqno {} id {}",
            self.at,
            self.text.len() + 1,
            self.crc,
            self.vg,
            self.seqno,
            self.id
        )
    }
}

/// Searches an area for texts, current or not, in the order they lie there; the last one may wrap.
/// At most [`TEXT_SEARCH_LIMIT`] bytes of the area are looked at, texts of twice that in all.
pub fn search_texts(disk: &dyn Disk, area: Area) -> io::Result<Vec<FoundText>> {
    let room = disk.size().saturating_sub(area.start).min(area.size);
    let whole = room.0 <= TEXT_SEARCH_LIMIT;
    let mut bytes = Vec::new();
    read_pieces(
        disk,
        area.start.0,
        room.0.min(TEXT_SEARCH_LIMIT),
        &mut bytes,
    )?;
    let first = MDA_HEADER_SIZE as usize;
    let mut budget = bytes.len().saturating_mul(2);
    let mut out = Vec::new();
    // Position of the first NUL at or behind the start that is looked at.
    let mut nul = first;
    for start in (first..bytes.len()).step_by(SECTOR) {
        if !looks_like_text(&bytes[start..]) {
            continue;
        }
        nul = nul.max(start);
        while bytes.get(nul).is_some_and(|b| *b != 0) {
            nul += 1;
        }
        let mut text = bytes[start..nul].to_vec();
        if nul == bytes.len() {
            let limit = start.min(first + (TEXT_SEARCH_LIMIT as usize));
            let rest = bytes.get(first..limit).unwrap_or_default();
            match rest.iter().position(|b| *b == 0).filter(|_| whole) {
                Some(len) => text.extend_from_slice(&rest[..len]),
                None => continue,
            }
        }
        budget = match budget.checked_sub(text.len()) {
            Some(left) => left,
            None => break,
        };
        let about = About::of(&text);
        if let (Some(vg), Some(id), Some(seqno)) = (about.vg, about.id, about.seqno) {
            out.push(FoundText {
                at: area.start.0 + start as u64,
                crc: crc_more(crc_more(CRC_INITIAL, &text), &[0]),
                text,
                vg,
                id,
                seqno,
            });
        }
    }
    Ok(out)
}

/// Does a text begin here: `name {`, a line end, `id = "`?
fn looks_like_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(crate::name::NAME_MAX + 16)];
    let Some(end) = head.iter().position(|b| *b == b'\n') else {
        return false;
    };
    let Some(name) = head[..end].strip_suffix(b" {") else {
        return false;
    };
    let name_ok = std::str::from_utf8(name).is_ok_and(|n| crate::name::check_name(n).is_ok());
    name_ok && head[end + 1..].starts_with(b"id = \"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::{MdaTarget, Wanted, plan_commit, plan_create};
    use crate::disk::MemDisk;
    use crate::ondisk::layout::{LayoutRequest, layout};
    use crate::ondisk::read_mda;
    use crate::uuid::LvmUuid;

    fn text(n: usize) -> String {
        format!(
            "vg {{\nid = \"abc\"\nseqno = {n}\n{}}}\n",
            "x = 1\n".repeat(1500)
        )
    }

    fn disk_with_texts(n: usize) -> (MemDisk, Area) {
        let mut request = LayoutRequest::new(Bytes(4 << 20));
        request.alignment = Bytes(4096);
        request.mda_size = Some(Bytes(60 << 10));
        let l = layout(&request).unwrap();
        let label = l.label(LvmUuid::from_entropy(&[5; 32]), true);
        let mut disk = MemDisk::new(4 << 20);
        plan_create(0, &label, &[], false)
            .unwrap()
            .execute(&mut [&mut disk])
            .unwrap();
        let area = l.mdas[0];
        for i in 0..n {
            let target = MdaTarget::new(0, &read_mda(&disk, area), Wanted::Use);
            plan_commit(&[target], &text(i))
                .unwrap()
                .plan
                .execute(&mut [&mut disk])
                .unwrap();
        }
        (disk, area)
    }

    #[test]
    fn a_good_device_has_no_checks() {
        let (disk, _) = disk_with_texts(3);
        let dump = dump_headers(&disk, 1).unwrap();
        assert!(!dump.is_bad(), "{:?}", dump.lines);
        let lines: Vec<_> = dump.lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(lines[0], "label_header at 512");
        assert!(lines.contains(&"pv_header.disk_locn[2] at 616 # location of metadata area"));
        assert!(lines.contains(&"mda_header_1.magic 0x204c564d3220785b35412572304e2a3e"));
        assert!(lines.last().unwrap().ends_with("# vgname vg seqno 2"));
        assert_eq!(dump.mdas[0].text.as_deref(), Some(text(2).as_bytes()));
    }

    #[test]
    fn damage_is_named_and_the_rest_is_shown() {
        let (mut disk, _) = disk_with_texts(1);
        disk.data[4110] ^= 1;
        disk.data[560] = 0;
        disk.data[4608 + 20] ^= 1;
        let dump = dump_headers(&disk, 1).unwrap();
        let checks: Vec<_> = dump
            .lines
            .iter()
            .filter(|l| l.kind == LineKind::Check)
            .map(|l| l.text.split(" expected").next().unwrap())
            .collect();
        assert_eq!(
            checks,
            [
                "CHECK: label_header.crc",
                "CHECK: pv_header.pv_uuid invalid format",
                "CHECK: mda_header_1.checksum",
                "CHECK: mda_header_1.magic",
                "CHECK: metadata text at 4608 crc does not match mda_header_1.raw_locn[0].checksum",
            ]
        );
        assert!(dump.mdas[0].text.is_some());
    }

    #[test]
    fn old_texts_are_found_wrapped_ones_too() {
        // 61,440 bytes hold six texts of about 9 KiB; the seventh wraps over the first.
        let (disk, area) = disk_with_texts(7);
        let found = search_texts(&disk, area).unwrap();
        let seqnos: Vec<_> = found.iter().map(|t| t.seqno.as_str()).collect();
        assert_eq!(seqnos, ["1", "2", "3", "4", "5", "6"]);
        let last = found.last().unwrap();
        assert_eq!(last.text, text(6).as_bytes());
        let header = read_mda(&disk, area).header.unwrap();
        assert_eq!(last.crc, header.committed.checksum);
        assert_eq!(last.at, area.start.0 + header.committed.offset);
    }

    #[test]
    fn an_area_full_of_beginnings_is_not_searched_for_ever() {
        let mut disk = MemDisk::new(1 << 20);
        for at in (0..disk.data.len()).step_by(512) {
            disk.data[at..at + 512].fill(b' ');
            disk.data[at..at + 40]
                .copy_from_slice(b"vg {\nid = \"a\"\nseqno = 1\n                ");
        }
        let found = search_texts(&disk, Area::new(0, 1 << 20)).unwrap();
        assert!(found.len() < 8);
        assert!(search_texts(&disk, Area::new(1 << 19, u64::MAX >> 1)).is_ok());
        assert!(
            search_texts(&disk, Area::new(1 << 40, 1 << 40))
                .unwrap()
                .is_empty()
        );
    }
}
