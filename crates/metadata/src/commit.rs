//! Which bytes go where, and in which order, when metadata change. Pure: the host writes them.
//!
//! A [`Plan`] is a list of stages. All writes of a stage are done, then every device written to is
//! flushed, then the next stage begins. What must hold:
//!
//! 1. A text is durable in all areas before any header points to it, and lies clear of the text
//!    that rules.
//! 2. Every header knows the new text as precommitted before the first one commits it. Readers
//!    look at the committed slot only, therefore nothing has changed up to here.
//! 3. Areas that go out of use switch before those that stay, so that nothing has changed for
//!    readers until one of those that stay switches.
//!
//! A crash at any point leaves areas that each hold the old text or the new one, whole; the higher
//! seqno rules.

use std::fmt;
use std::io;

use crate::crc::{crc, crc_more};
use crate::disk::Disk;
use crate::ondisk::{
    Area, LABEL_SCAN_SECTORS, Label, MdaHeader, MdaRead, MdaState, RAW_LOCN_IGNORED, RawLocn, Ring,
    RingError, encode_label,
};
use crate::units::Bytes;

const SECTOR: u64 = 512;
/// Percentage of the limit from which on a metadata area counts as nearly full.
pub const NEARLY_FULL_PERCENT: u64 = 80;

/// What a stage is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Old labels are wiped.
    Wipe,
    /// Headers of new metadata areas.
    Headers,
    /// Labels.
    Label,
    /// The new text into every area.
    Text,
    /// Headers: the new text in the precommitted slot.
    Precommit,
    /// Labels that get another identity, which the precommitted text names and the committed one
    /// does not. Readers find out from both which PV it is ([`crate::ops::pv_alias`]).
    Identity,
    /// Headers of areas that go out of use: the new text committed, and the area ignored. Readers
    /// do not look at them any more, so this can still be undone.
    Leave,
    /// Headers: the new text in the committed slot.
    Commit,
}

/// Bytes for one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskWrite {
    /// Which device, as the caller numbered them.
    pub disk: usize,
    /// Byte offset on it.
    pub offset: Bytes,
    /// The bytes: whole 512-byte sectors.
    pub bytes: Vec<u8>,
}

/// Writes that need no order among them, with a flush behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Staged {
    /// What for.
    pub stage: Stage,
    /// To be done in this order.
    pub writes: Vec<DiskWrite>,
}

impl Staged {
    /// Devices that must be flushed behind it, each once, in order of their first write.
    pub fn disks(&self) -> Vec<usize> {
        let mut out = Vec::new();
        for write in &self.writes {
            if !out.contains(&write.disk) {
                out.push(write.disk);
            }
        }
        out
    }
}

/// Stages in order. Empty ones are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// In order.
    pub stages: Vec<Staged>,
}

impl Plan {
    fn add(&mut self, stage: Stage, writes: Vec<DiskWrite>) {
        if !writes.is_empty() {
            self.stages.push(Staged { stage, writes });
        }
    }
    /// This plan, then that one.
    pub fn then(mut self, next: Plan) -> Self {
        self.stages.extend(next.stages);
        self
    }
    /// The same stage of several plans as one stage: plans for different devices that may go
    /// along side by side. Their stages must be the same.
    pub fn side_by_side(plans: impl IntoIterator<Item = Plan>) -> Self {
        let mut out = Plan::default();
        for plan in plans {
            for (n, staged) in plan.stages.into_iter().enumerate() {
                match out.stages.get_mut(n) {
                    Some(s) if s.stage == staged.stage => s.writes.extend(staged.writes),
                    _ => out.stages.push(staged),
                }
            }
        }
        out
    }
    /// Does it all on devices that are given by their numbers. The first error ends it.
    pub fn execute(&self, disks: &mut [&mut dyn Disk]) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the plan names no such device");
        for staged in &self.stages {
            for write in &staged.writes {
                let disk = disks.get_mut(write.disk).ok_or_else(missing)?;
                disk.write_at(write.offset, &write.bytes)?;
            }
            for disk in staged.disks() {
                disks.get_mut(disk).ok_or_else(missing)?.flush()?;
            }
        }
        Ok(())
    }
}

/// Is a metadata area to be used by its VG?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Yes.
    Use,
    /// No: it is, or will be, marked as ignored.
    Ignore,
}

/// A metadata area to commit to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MdaTarget {
    /// Number of the device it is on.
    pub disk: usize,
    /// The header as it is now; an empty one if that cannot be trusted.
    header: MdaHeader,
    /// The committed text is whole and rules: it must not be touched.
    protect: bool,
    /// To be used or not.
    pub wanted: Wanted,
}

impl MdaTarget {
    /// The area as it was just read, under the lock. A header or text that cannot be trusted is
    /// treated as none: the new text goes to the start of the ring.
    pub fn new(disk: usize, read: &MdaRead, wanted: Wanted) -> Self {
        Self {
            disk,
            header: read.header.unwrap_or(MdaHeader::empty(read.area)),
            protect: matches!(read.state, MdaState::Text(_)),
            wanted,
        }
    }
    /// An area that holds nothing yet.
    pub fn empty(disk: usize, area: Area) -> Self {
        Self {
            disk,
            header: MdaHeader::empty(area),
            protect: false,
            wanted: Wanted::Use,
        }
    }
    /// Like [`MdaTarget::new`], from a header whose text the caller has verified itself (a text
    /// with the same size and checksum was read from another area).
    pub fn verified(disk: usize, header: MdaHeader, wanted: Wanted) -> Self {
        Self {
            disk,
            protect: !header.is_ignored() && !header.committed.is_empty(),
            header,
            wanted,
        }
    }
    /// The area.
    pub fn area(&self) -> Area {
        self.header.area
    }
    /// Is it marked as ignored already, and stays so? Nothing is written to it then.
    fn is_left_alone(&self) -> bool {
        self.wanted == Wanted::Ignore && self.header.is_ignored()
    }
}

/// How much of an area a text takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MdaUse {
    /// Index of the target.
    pub target: usize,
    /// Bytes of the text, NUL included.
    pub size: u64,
    /// Most bytes a text may have there.
    pub limit: u64,
}

impl MdaUse {
    /// Percentage of the limit, rounded down.
    pub fn percent(&self) -> u64 {
        self.size.saturating_mul(100) / self.limit.max(1)
    }
    /// Is it time for a warning?
    pub fn is_nearly_full(&self) -> bool {
        self.percent() >= NEARLY_FULL_PERCENT
    }
}

/// A commit of one text to several areas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitPlan {
    /// Stages text, precommit, leave (if any area goes out of use) and commit.
    pub plan: Plan,
    /// The headers as they will be, one for each target.
    pub headers: Vec<MdaHeader>,
    /// How full the areas will be, one for each target that is written to.
    pub uses: Vec<MdaUse>,
    /// What undoes the stages before the commit: the headers as they were, without a precommitted
    /// text.
    pub revert: Plan,
}

/// A label that changes along with a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelChange {
    /// Number of the device.
    pub disk: usize,
    /// As it is now.
    pub old: Label,
    /// As it shall be, in the same sector.
    pub new: Label,
}

impl CommitPlan {
    /// The same, with labels written along with the texts: those that do not say yet that their PV
    /// belongs to a VG. They are durable before the first header commits, so no PV that a VG names
    /// looks free. `None` if a label has more areas than fit.
    pub fn with_labels(mut self, labels: &[LabelChange]) -> Option<Self> {
        let write = |of: fn(&LabelChange) -> &Label| {
            let writes = labels.iter().map(move |l| label_write(l.disk, of(l)));
            writes.collect::<Option<Vec<_>>>()
        };
        let mut first = write(|l| &l.new)?;
        match self.plan.stages.first_mut() {
            Some(staged) if staged.stage == Stage::Text => {
                first.append(&mut staged.writes);
                staged.writes = first;
            }
            _ => self.plan.stages.insert(
                0,
                Staged {
                    stage: Stage::Label,
                    writes: first,
                },
            ),
        }
        self.revert.add(Stage::Label, write(|l| &l.old)?);
        Some(self)
    }

    /// The same, with labels that get another identity. They are written when all areas know the
    /// new text as precommitted and none has committed it; undone, they are the first to be.
    /// `None` if a label has more areas than fit.
    pub fn with_identities(mut self, labels: &[LabelChange]) -> Option<Self> {
        if labels.is_empty() {
            return Some(self);
        }
        let staged = |of: fn(&LabelChange) -> &Label| {
            let writes = labels.iter().map(move |l| label_write(l.disk, of(l)));
            Some(Staged {
                stage: Stage::Identity,
                writes: writes.collect::<Option<Vec<_>>>()?,
            })
        };
        let switched = |s: &Staged| matches!(s.stage, Stage::Leave | Stage::Commit);
        let stages = &mut self.plan.stages;
        let at = stages.iter().position(switched).unwrap_or(stages.len());
        stages.insert(at, staged(|l| &l.new)?);
        self.revert.stages.insert(0, staged(|l| &l.old)?);
        Some(self)
    }
}

/// Why a commit cannot be planned. Nothing has been written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommitError {
    /// No area is in use: nobody would find the text.
    NoMda,
    /// The text does not fit an area.
    Ring {
        /// Index of the target.
        target: usize,
        /// Why.
        error: RingError,
    },
    /// The text holds a NUL, which would end it.
    Nul,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMda => write!(f, "no metadata area is in use"),
            Self::Ring { error, .. } => error.fmt(f),
            Self::Nul => write!(f, "metadata text contains a NUL"),
        }
    }
}

impl std::error::Error for CommitError {}

/// Plans the commit of `text` (without the NUL at its end) to all targets.
pub fn plan_commit(targets: &[MdaTarget], text: &str) -> Result<CommitPlan, CommitError> {
    if !targets.iter().any(|t| t.wanted == Wanted::Use) {
        return Err(CommitError::NoMda);
    }
    if text.contains('\0') {
        return Err(CommitError::Nul);
    }
    let size = text.len() as u64 + 1;
    let checksum = crc_more(crc(text.as_bytes()), &[0]);
    let mut out = CommitPlan {
        plan: Plan::default(),
        headers: targets.iter().map(|t| t.header).collect(),
        uses: Vec::new(),
        revert: Plan::default(),
    };
    let (mut texts, mut precommits, mut reverts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut leaving, mut staying): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for (n, target) in targets.iter().enumerate() {
        if target.is_left_alone() {
            continue;
        }
        let ring = Ring::new(target.area().size.0);
        let old = target.protect.then_some(&target.header.committed);
        let offset = ring
            .place(old, size)
            .map_err(|error| CommitError::Ring { target: n, error })?;
        let ignored = target.wanted == Wanted::Ignore;
        let locn = RawLocn {
            offset,
            size,
            checksum,
            flags: if ignored { RAW_LOCN_IGNORED } else { 0 },
        };
        texts.extend(text_writes(target, &ring, &locn, text));
        let before = MdaHeader {
            precommitted: RawLocn::default(),
            ..target.header
        };
        let header = |header: &MdaHeader| header_write(target.disk, header);
        precommits.push(header(&MdaHeader {
            precommitted: locn,
            ..before
        }));
        reverts.push(header(&before));
        let after = MdaHeader {
            committed: locn,
            ..before
        };
        if ignored {
            leaving.push(header(&after));
        } else {
            staying.push(header(&after));
        }
        out.headers[n] = after;
        out.uses.push(MdaUse {
            target: n,
            size,
            limit: ring.limit(),
        });
    }
    out.plan.add(Stage::Text, texts);
    out.plan.add(Stage::Precommit, precommits);
    out.plan.add(Stage::Leave, leaving);
    out.plan.add(Stage::Commit, staying);
    out.revert.add(Stage::Commit, reverts);
    Ok(out)
}

/// The sectors of a text: two pieces if it wraps. The last sector is filled up with zeros.
fn text_writes(target: &MdaTarget, ring: &Ring, locn: &RawLocn, text: &str) -> Vec<DiskWrite> {
    let area = target.area();
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(2);
    for span in ring.spans(locn).into_iter().flatten() {
        if span.len == 0 {
            continue;
        }
        let len = (span.len as usize).min(rest.len());
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        let room = area.size.0 - span.offset;
        let padded = span.len.next_multiple_of(SECTOR).min(room);
        let mut bytes = Vec::with_capacity(padded as usize);
        bytes.extend_from_slice(piece);
        bytes.resize(padded as usize, 0);
        out.push(DiskWrite {
            disk: target.disk,
            offset: Bytes(area.start.0 + span.offset),
            bytes,
        });
    }
    out
}

fn header_write(disk: usize, header: &MdaHeader) -> DiskWrite {
    DiskWrite {
        disk,
        offset: header.area.start,
        bytes: header.encode().to_vec(),
    }
}

/// Plans the end of a VG: its texts are forgotten on every area, then the labels are written,
/// which say that the PVs belong to no VG any more. Areas that are not in use (the flag says which)
/// stay so, as with LVM2.
///
/// `None` if a label has more areas than fit.
pub fn plan_remove(areas: &[(usize, Area, bool)], labels: &[(usize, Label)]) -> Option<Plan> {
    let mut plan = Plan::default();
    let headers = areas
        .iter()
        .map(|(disk, area, ignored)| header_write(*disk, &MdaHeader::unused(*area, *ignored)))
        .collect();
    plan.add(Stage::Commit, headers);
    Some(plan.then(plan_labels(labels)?))
}

/// Plans writing labels, one sector each. `None` if a label has more areas than fit.
pub fn plan_labels(labels: &[(usize, Label)]) -> Option<Plan> {
    let writes = labels
        .iter()
        .map(|(disk, label)| label_write(*disk, label))
        .collect::<Option<Vec<_>>>()?;
    let mut plan = Plan::default();
    plan.add(Stage::Label, writes);
    Some(plan)
}

fn label_write(disk: usize, label: &Label) -> Option<DiskWrite> {
    Some(DiskWrite {
        disk,
        offset: Bytes(label.sector * SECTOR),
        bytes: encode_label(label)?.to_vec(),
    })
}

/// Bytes zeroed at the start of a new metadata area, header included.
const NEW_MDA_ZEROED: u64 = 4096;

/// Plans a new PV: the first sectors are wiped (unless `keep_start`: then only `old_labels`, the
/// sectors that hold a label now, except the one that is written), empty metadata areas are
/// written, the label comes last. Until then the device is no PV. Where there is no label to wipe
/// first, that is one stage (and one flush) less.
///
/// `None` if the label has more areas than fit.
pub fn plan_create(
    disk: usize,
    label: &Label,
    old_labels: &[u64],
    keep_start: bool,
) -> Option<Plan> {
    let mut plan = Plan::default();
    let zero_sectors = |sector: u64, count: u64| DiskWrite {
        disk,
        offset: Bytes(sector * SECTOR),
        bytes: vec![0; (count * SECTOR) as usize],
    };
    let wipes = if keep_start {
        old_labels.iter().map(|s| zero_sectors(*s, 1)).collect()
    } else {
        vec![zero_sectors(0, LABEL_SCAN_SECTORS)]
    };
    let headers = label
        .header
        .mdas
        .iter()
        .map(|area| {
            let mut bytes = MdaHeader::empty(*area).encode().to_vec();
            let zeroed = NEW_MDA_ZEROED.min(area.size.0) as usize;
            bytes.resize(zeroed.max(bytes.len()), 0);
            DiskWrite {
                disk,
                offset: area.start,
                bytes,
            }
        })
        .collect::<Vec<_>>();
    if old_labels.is_empty() {
        plan.add(Stage::Headers, [wipes, headers].concat());
    } else {
        plan.add(Stage::Wipe, wipes);
        plan.add(Stage::Headers, headers);
    }
    plan.add(Stage::Label, vec![label_write(disk, label)?]);
    Some(plan)
}

/// Plans the end of a PV: its labels are wiped, additional ones first, so that none of them comes
/// to rule.
pub fn plan_wipe_labels(disk: usize, label: u64, additional: &[u64]) -> Plan {
    let zero = |sector: &u64| DiskWrite {
        disk,
        offset: Bytes(sector * SECTOR),
        bytes: vec![0; SECTOR as usize],
    };
    let mut plan = Plan::default();
    plan.add(Stage::Wipe, additional.iter().map(zero).collect());
    plan.add(Stage::Wipe, vec![zero(&label)]);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use crate::ondisk::read_mda;

    const AREA: Area = Area::new(4096, 16384);

    fn commit(disk: &mut MemDisk, text: &str) -> CommitPlan {
        let target = match read_mda(disk, AREA) {
            MdaRead { header: None, .. } => MdaTarget::empty(0, AREA),
            read => MdaTarget::new(0, &read, Wanted::Use),
        };
        let plan = plan_commit(&[target], text).unwrap();
        plan.plan.execute(&mut [disk]).unwrap();
        plan
    }

    #[test]
    fn texts_follow_one_another_round_the_ring() {
        let mut disk = MemDisk::new(32768);
        let mut wrapped = 0;
        for n in 0..200usize {
            let text = format!("{n} {}", "x".repeat(n * 37 % 7000));
            let plan = commit(&mut disk, &text);
            let read = read_mda(&disk, AREA);
            assert_eq!(read.text(), Some(text.as_bytes()), "text {n}");
            assert_eq!(read.precommitted(), None);
            assert_eq!(read.header, Some(plan.headers[0]));
            let locn = plan.headers[0].committed;
            wrapped += usize::from(locn.offset + locn.size > AREA.size.0);
        }
        assert!(wrapped > 3, "{wrapped} texts wrapped");
    }

    #[test]
    fn stages_and_flushes() {
        let mut disk = MemDisk::new(32768);
        commit(&mut disk, "old");
        disk.log.clear();
        let plan = commit(&mut disk, "new");
        let stages: Vec<_> = plan.plan.stages.iter().map(|s| s.stage).collect();
        assert_eq!(stages, [Stage::Text, Stage::Precommit, Stage::Commit]);
        let kinds: Vec<_> = disk
            .log
            .iter()
            .map(|op| matches!(op, crate::disk::DiskOp::Flush))
            .collect();
        assert_eq!(kinds, [false, true, false, true, false, true]);
        for op in &disk.log {
            if let crate::disk::DiskOp::Write { data, .. } = op {
                assert_eq!(data.len(), 512, "only the needed sectors");
            }
        }
    }

    #[test]
    fn a_text_that_is_not_trusted_is_not_protected() {
        let mut disk = MemDisk::new(32768);
        commit(&mut disk, "old");
        disk.write_at(Bytes(4096 + 512), b"damage").unwrap();
        let plan = commit(&mut disk, "new");
        assert_eq!(plan.headers[0].committed.offset, 512);
    }

    #[test]
    fn ignored_areas_switch_first_and_are_then_left_alone() {
        let mut disks = [MemDisk::new(32768), MemDisk::new(32768)];
        let targets = [MdaTarget::empty(0, AREA), MdaTarget::empty(1, AREA)];
        let run = |disks: &mut [MemDisk; 2], targets: &[MdaTarget], text: &str| {
            let plan = plan_commit(targets, text).unwrap();
            let [a, b] = disks;
            plan.plan.execute(&mut [a, b]).unwrap();
            plan
        };
        run(&mut disks, &targets, "one");
        let read = |disks: &[MemDisk; 2], wanted: [Wanted; 2]| {
            [0, 1].map(|n| MdaTarget::new(n, &read_mda(&disks[n], AREA), wanted[n]))
        };
        let targets = read(&disks, [Wanted::Use, Wanted::Ignore]);
        let plan = run(&mut disks, &targets, "two");
        let stages: Vec<_> = plan
            .plan
            .stages
            .iter()
            .map(|s| (s.stage, s.disks()))
            .collect();
        assert_eq!(
            stages[2..],
            [(Stage::Leave, vec![1]), (Stage::Commit, vec![0])]
        );
        assert_eq!(read_mda(&disks[1], AREA).state, MdaState::Ignored);
        disks[1].log.clear();
        let targets = read(&disks, [Wanted::Use, Wanted::Ignore]);
        run(&mut disks, &targets, "three");
        assert!(disks[1].log.is_empty());
        let targets = read(&disks, [Wanted::Use, Wanted::Use]);
        let plan = run(&mut disks, &targets, "four");
        assert_eq!(plan.headers[1].committed.offset, 512);
        assert_eq!(read_mda(&disks[1], AREA).text(), Some(&b"four"[..]));
        let none = read(&disks, [Wanted::Ignore, Wanted::Ignore]);
        assert_eq!(plan_commit(&none, "x"), Err(CommitError::NoMda));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let targets = [MdaTarget::empty(0, AREA)];
        let long = "x".repeat(7424);
        assert!(matches!(
            plan_commit(&targets, &long),
            Err(CommitError::Ring {
                target: 0,
                error: RingError::TooLong {
                    size: 7425,
                    limit: 7424
                }
            })
        ));
        let fits = plan_commit(&targets, &long[1..]).unwrap();
        assert!(fits.uses[0].is_nearly_full());
        assert!(!plan_commit(&targets, &long[..5937]).unwrap().uses[0].is_nearly_full());
        assert!(plan_commit(&targets, &long[..5939]).unwrap().uses[0].is_nearly_full());
        assert_eq!(plan_commit(&targets, "a\0b"), Err(CommitError::Nul));
    }
}
