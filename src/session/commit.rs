//! One text onto every metadata area of one VG, and labels that go with it.

use std::collections::HashMap;
use std::rc::Rc;

use ulvm_metadata::commit::{
    CommitError, CommitPlan, LabelChange, MdaTarget, Plan, Wanted, plan_commit, plan_labels,
    plan_remove,
};
use ulvm_metadata::convert::{Style, export};
use ulvm_metadata::model::{Vg, check};
use ulvm_metadata::ondisk::{HeaderFault, Label, MdaHeader};
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::LvmUuid;

use super::Session;
use super::read::not_utf8;
use super::write::area;
use crate::commit::{OnFailure, run};
use crate::discover;
use crate::disk::Access;
use crate::error::{Error, Kind, Result, io_text};
use crate::host;
use crate::inventory::{DevKey, DeviceKind, FoundPv, MdaState, VgRead};
use crate::lock::lock_device;
use crate::scan::{self, Content, ScannedMda};
use crate::sound::check_clear;

/// Bytes of the header of a metadata area.
const MDA_HEADER: Bytes = Bytes(512);

/// How the areas of the PVs are treated.
#[derive(Clone, Copy)]
pub(super) enum Mode<'a> {
    /// Areas that are bad are left alone, stale ones are mended.
    Change(&'a VgRead),
    /// As `Change` of the first VG; the other one's PVs become its.
    Merge(&'a VgRead, &'a VgRead),
    /// As `Change`, and bad areas are written too.
    Repair(&'a VgRead),
    /// The VG, or its hold on some PVs, is new: they were this VG's.
    New(Option<LvmUuid>),
    /// Whatever stands in the areas is overwritten.
    Overwrite,
}

impl<'a> Mode<'a> {
    /// The VG as it was.
    fn old(self) -> Option<&'a VgRead> {
        match self {
            Mode::Change(old) | Mode::Merge(old, _) | Mode::Repair(old) => Some(old),
            Mode::New(_) | Mode::Overwrite => None,
        }
    }

    /// The VGs whose texts may be replaced when one with identity `id` is written; `None` = all.
    fn replaces(self, id: LvmUuid) -> Option<Vec<LvmUuid>> {
        let other = match self {
            Mode::Change(old) | Mode::Repair(old) => vec![old.vg.id],
            Mode::Merge(old, from) => vec![old.vg.id, from.vg.id],
            Mode::New(from) => from.into_iter().collect(),
            Mode::Overwrite => return None,
        };
        Some(std::iter::once(id).chain(other).collect())
    }
}

/// A metadata area to write to.
struct Slot {
    device: DevKey,
    index: usize,
    target: MdaTarget,
}

/// Everything that is known before the first write.
struct Job {
    vg: Vg,
    text: String,
    slots: Vec<Slot>,
    plan: CommitPlan,
    /// All labels that change.
    labels: Vec<(DevKey, Label)>,
    /// What is mended on the way.
    mended: Vec<String>,
}

impl Session {
    /// Device of each PV that was found.
    pub(super) fn places(&self) -> HashMap<LvmUuid, DevKey> {
        let inventory = &self.inventory;
        // Those that a VG has removed while they were away are there to be restored.
        let outdated = inventory.vgs.iter().flat_map(|v| &v.outdated);
        let found = outdated
            .chain(inventory.vgs.iter().flat_map(VgRead::found))
            .chain(&inventory.hidden)
            .chain(&inventory.orphans);
        let mut out: HashMap<LvmUuid, DevKey> = found.map(|f| (f.label.id, f.device)).collect();
        out.extend(self.new_ids.iter().map(|(device, id)| (*id, *device)));
        out
    }

    /// Writes `vg` (with its new seqno) to the areas of its PVs and brings the scan up to date.
    /// The inventory is to be rebuilt afterwards.
    pub(super) fn write_vg(&mut self, vg: Vg, mode: Mode<'_>) -> Result<()> {
        self.check_may_write()?;
        check::check(&vg).map_err(|broken| {
            Error::new(
                Kind::Internal,
                format!("Refusing to write VG {}: {broken}", vg.name),
            )
        })?;
        if let Some(line) = &vg.not_utf8 {
            return Err(Error::refused(not_utf8(&vg.name, line)));
        }
        if let Some(names) = &mut self.names
            && !names.contains(&vg.name)
        {
            names.push(vg.name.clone());
        }
        let job = self.plan_job(vg, mode)?;
        job.mended.iter().for_each(|line| self.ui.warn(line));
        self.warn_if_nearly_full(&job);
        let mut failed = Vec::new();
        if !self.settings.test {
            let mut devices: Vec<DevKey> = job.slots.iter().map(|s| s.device).collect();
            devices.extend(job.labels.iter().map(|(d, _)| *d));
            if !self.hold(&devices)? {
                return Err(changed_under_us(&job.vg.name));
            }
            failed = self.run_commit(&job, mode)?;
        }
        self.record(job, &failed);
        Ok(())
    }

    /// Would the metadata of a VG that is to be committed fit? For what has to be done before the
    /// commit and cannot be undone.
    pub fn check_fits(&self, old: &VgRead, new: &Vg) -> Result<()> {
        let mut new = new.clone();
        // As the commit will do; a number that cannot grow is its business.
        new.seqno = old.vg.seqno.saturating_add(1);
        self.plan_job(new, Mode::Change(old)).map(drop)
    }

    fn plan_job(&self, mut vg: Vg, mode: Mode<'_>) -> Result<Job> {
        let places = self.places();
        let own = mode.replaces(vg.id);
        let copies = vg.metadata_copies;
        if copies == u32::MAX {
            // "all": every area is taken into use once, then they are unmanaged.
            vg.metadata_copies = 0;
        }
        let mut slots = Vec::new();
        let mut labels = Vec::new();
        let mut mended = Vec::new();
        for (_, pv) in vg.pvs.iter_mut() {
            let elsewhere = |d: &DevKey| {
                let own = own.as_ref();
                own.is_some_and(|own| self.inventory.is_held_by_others(*d, own))
            };
            let place = places.get(&pv.id).copied().filter(|d| !elsewhere(d));
            let Some(device) = place else {
                pv.missing = true;
                pv.device_hint = Some("[unknown]".to_owned());
                continue;
            };
            pv.device_hint = Some(self.hint(device));
            if let Some(id) = &self.scan.entries[device.0].device.device_id
                && pv.device_id.is_some()
            {
                pv.device_id = Some(id.clone());
            }
            slots.extend(self.slots(device, mode, own.as_deref(), &mut mended));
            labels.extend(self.label_update(device).map(|l| (device, l)));
        }
        balance(&mut slots, copies);
        self.check_slots(&vg, &places, &slots)?;
        let description = format!("Write from {}.", self.settings.command_line);
        let header = host::header(description, self.system_id());
        let text = export(&vg, &header, Style::Raw);
        let targets: Vec<MdaTarget> = slots.iter().map(|s| s.target.clone()).collect();
        let plan =
            plan_commit(&targets, &text).map_err(|e| self.unplannable(&vg, &slots, &text, &e))?;
        let (identities, early): (Vec<_>, Vec<_>) = labels
            .iter()
            .cloned()
            .partition(|(device, _)| self.new_ids.contains_key(device));
        let change = |(device, new): (DevKey, Label)| {
            let old = self.scan.pv(device)?.label.clone();
            let disk = device.0;
            Some(LabelChange { disk, old, new })
        };
        let changes = |labels: Vec<_>| labels.into_iter().filter_map(change).collect::<Vec<_>>();
        let plan = plan
            .with_labels(&changes(early))
            .and_then(|plan| plan.with_identities(&changes(identities)))
            .ok_or_else(too_many_areas)?;
        Ok(Job {
            vg,
            text,
            slots,
            plan,
            labels,
            mended,
        })
    }

    /// What is written to areas must not meet extents. Of areas that are out of use, only the header
    /// is written.
    fn check_slots(
        &self,
        vg: &Vg,
        places: &HashMap<LvmUuid, DevKey>,
        slots: &[Slot],
    ) -> Result<()> {
        for pv in vg.pvs.values() {
            let device = places.get(&pv.id).copied();
            for slot in slots.iter().filter(|s| Some(s.device) == device) {
                let area = slot.target.area();
                let len = match slot.target.wanted {
                    Wanted::Use => area.size,
                    Wanted::Ignore => MDA_HEADER,
                };
                let name = &self.scan.entries[slot.device.0].device.name;
                check_clear(vg, pv, name, area.start, len)?;
            }
        }
        Ok(())
    }

    /// The areas of a PV that the VG's text goes to: not those with a text of a VG other than
    /// `own` that lists the PV too. What is mended there is added to `mended`.
    fn slots(
        &self,
        device: DevKey,
        mode: Mode<'_>,
        own: Option<&[LvmUuid]>,
        mended: &mut Vec<String>,
    ) -> Vec<Slot> {
        let Some(pv) = self.scan.pv(device) else {
            return Vec::new();
        };
        let name = &self.scan.entries[device.0].device.name;
        let ignore = self.ignore.get(&device).copied();
        let mut out = Vec::new();
        for (index, mda) in pv.mdas.iter().enumerate() {
            if own.is_some_and(|own| self.holds_others(device, mda, own)) {
                continue;
            }
            let ignored = matches!(mda.content, Content::Ignored);
            let wanted = if ignore.unwrap_or(ignored) {
                Wanted::Ignore
            } else {
                Wanted::Use
            };
            let trusted = self.is_trusted(mda, mode);
            let target = match (trusted, mda.header) {
                (true, Some(header)) => MdaTarget::verified(device.0, header, wanted),
                _ if matches!(mode, Mode::Change(_) | Mode::Merge(..)) => continue,
                _ => {
                    if matches!(mode, Mode::Repair(_)) {
                        mended.push(format!(
                            "repairing bad metadata in mda{} at {} on {name}.",
                            index + 1,
                            mda.area.start
                        ));
                    }
                    MdaTarget::empty(device.0, mda.area)
                }
            };
            if let (Some(old), Content::Text(id)) = (mode.old(), &mda.content)
                && let Ok(summary) = &self.scan.texts.get(*id).summary
                && summary.id == old.vg.id
                && summary.seqno < old.vg.seqno
            {
                mended.push(format!(
                    "updating old metadata to {} on {name} for VG {}.",
                    old.vg.seqno.saturating_add(1),
                    old.vg.name
                ));
            }
            out.push(Slot {
                device,
                index,
                target,
            });
        }
        out
    }

    /// Is what stands in an area whole, so that it must be kept until the new text rules?
    fn is_trusted(&self, mda: &ScannedMda, mode: Mode<'_>) -> bool {
        match (&mda.content, mode.old()) {
            (Content::BadHeader(_) | Content::BadText(_), _) => false,
            (Content::Empty | Content::Ignored, _) => true,
            (Content::Text(id), Some(old)) => {
                let text = self.scan.texts.get(*id);
                match &text.summary {
                    Err(_) => false,
                    // Another text of the same VG and seqno, or a newer one that was not usable.
                    Ok(s) if s.id == old.vg.id => {
                        s.seqno < old.vg.seqno
                            || *id == old.text
                            || self.inventory.is_unfinished(&s.id)
                    }
                    Ok(_) => true,
                }
            }
            (Content::Text(id), None) => self.scan.texts.get(*id).summary.is_ok(),
        }
    }

    /// Does an area hold a text of a VG that has a claim on the device and is none of these?
    fn holds_others(&self, device: DevKey, mda: &ScannedMda, own: &[LvmUuid]) -> bool {
        let Content::Text(text) = mda.content else {
            return false;
        };
        let summary = self.scan.texts.get(text).summary.as_ref();
        summary
            .is_ok_and(|s| !own.contains(&s.id) && self.inventory.claims.contains(&(device, s.id)))
    }

    /// The label a PV of a VG must get, if it differs from the one it has.
    fn label_update(&self, device: DevKey) -> Option<Label> {
        let label = &self.scan.pv(device)?.label;
        let id = self.new_ids.get(&device).copied();
        let id = id.unwrap_or(label.header.id);
        if !label.header.needs_update() && id == label.header.id {
            return None;
        }
        let mut new = label.clone();
        new.header = new.header.with_used(true);
        new.header.id = id;
        Some(new)
    }

    /// What metadata say about where a PV is: files by their full path.
    fn hint(&self, device: DevKey) -> String {
        let device = &self.scan.entries[device.0].device;
        match device.kind {
            DeviceKind::File => discover::full_name(&device.path, device.partition),
            DeviceKind::Block { .. } => None,
        }
        .unwrap_or_else(|| device.name.clone())
    }

    fn unplannable(&self, vg: &Vg, slots: &[Slot], text: &str, e: &CommitError) -> Error {
        let failed = format!("Failed to write VG {}.", vg.name);
        match e {
            CommitError::NoMda => Error::refused(format!(
                "Volume group {} has no usable metadata area on the PVs that are there.",
                vg.name
            ))
            .and(failed),
            CommitError::Nul => Error::new(Kind::Internal, e.to_string()).and(failed),
            CommitError::Ring { target, error } => {
                let device = slots.get(*target).map(|s| s.device);
                let name = device.map_or("", |d| &self.scan.entries[d.0].device.name);
                Error::new(
                    Kind::NoSpace,
                    format!(
                        "VG {} {} metadata on {name} ({} bytes): {error}",
                        vg.name,
                        vg.seqno,
                        text.len() + 1
                    ),
                )
                .and("Add a PV with a larger metadata area (pvcreate --metadatasize), or ignore the small one (pvchange --metadataignore y).")
                .and(failed)
            }
        }
    }

    fn warn_if_nearly_full(&self, job: &Job) {
        for u in job.plan.uses.iter().filter(|u| u.is_nearly_full()) {
            let name = &self.scan.entries[job.slots[u.target].device.0].device.name;
            self.ui.warn(format!(
                "Metadata of VG {} takes {} of at most {} bytes ({}%) in a metadata area of {name}.",
                job.vg.name,
                u.size,
                u.limit,
                u.percent()
            ));
        }
    }

    /// The devices that failed while others have the new text.
    fn run_commit(&mut self, job: &Job, mode: Mode<'_>) -> Result<Vec<DevKey>> {
        let plan = &job.plan;
        let name = |n: usize| self.scan.entries[n].device.name.clone();
        let on_failure = match self.leave_behind {
            true => OnFailure::LeaveBehind,
            false => OnFailure::Undo,
        };
        match run(&plan.plan, &plan.revert, &mut self.disks, on_failure) {
            Ok(failures) => {
                for f in &failures {
                    if matches!(mode, Mode::Overwrite) && self.outranks(DevKey(f.disk), &job.vg) {
                        return Err(Error::refused(format!(
                            "Failed to write metadata of VG {} to {}: {}.",
                            job.vg.name,
                            name(f.disk),
                            io_text(&f.error)
                        ))
                        .and("What it holds is newer, and rules over what was restored to the others. Take it away, or make it writable, and restore again."));
                    }
                    self.ui.warn(format!(
                        "Failed to write metadata of VG {} to {}: {}. Repair it with vgck --updatemetadata.",
                        job.vg.name,
                        name(f.disk),
                        io_text(&f.error)
                    ));
                }
                Ok(failures.iter().map(|f| DevKey(f.disk)).collect())
            }
            Err(f) => Err(Error::io(
                format!("Failed to write VG {} to {}", job.vg.name, name(f.disk)),
                f.error,
            )),
        }
    }

    /// Does a device hold a text of the VG that a reader would go by, rather than by this one?
    fn outranks(&self, device: DevKey, vg: &Vg) -> bool {
        let mdas = self.scan.pv(device).map(|pv| pv.mdas.as_slice());
        mdas.unwrap_or_default().iter().any(|mda| {
            let Content::Text(text) = mda.content else {
                return false;
            };
            let summary = self.scan.texts.get(text).summary.as_ref();
            summary.is_ok_and(|s| s.id == vg.id && s.seqno >= vg.seqno)
        })
    }

    /// Labels, flushed.
    pub(super) fn write_labels(&mut self, labels: &[(DevKey, Label)]) -> Result<()> {
        let numbered: Vec<(usize, Label)> = labels.iter().map(|(d, l)| (d.0, l.clone())).collect();
        let plan = plan_labels(&numbered).ok_or_else(too_many_areas)?;
        self.run_plan(&plan)
    }

    /// A plan that cannot be undone, on devices that are held.
    pub(super) fn run_plan(&mut self, plan: &Plan) -> Result<()> {
        if self.settings.test {
            return Ok(());
        }
        let failed = match run(plan, &Plan::default(), &mut self.disks, OnFailure::Undo) {
            Ok(mut failures) => failures.pop(),
            Err(f) => Some(f),
        };
        match failed {
            None => Ok(()),
            Some(f) => {
                let name = &self.scan.entries[f.disk].device.name;
                Err(Error::io(format!("Failed to write to {name}"), f.error))
            }
        }
    }

    /// Puts into the scan what was written, so that it need not be read again. Which text rules on a
    /// device that failed is not known: its areas are left alone from here on.
    fn record(&mut self, job: Job, failed: &[DevKey]) {
        let checksum = job
            .plan
            .headers
            .iter()
            .zip(&job.slots)
            .find(|(_, s)| s.target.wanted == Wanted::Use)
            .map_or(0, |(h, _)| h.committed.checksum);
        let text = self
            .scan
            .texts
            .add_written(job.text, checksum, Rc::new(job.vg));
        for (slot, header) in job.slots.iter().zip(&job.plan.headers) {
            let Some(mda) = self
                .scan
                .pv_mut(slot.device)
                .and_then(|pv| pv.mdas.get_mut(slot.index))
            else {
                continue;
            };
            if failed.contains(&slot.device) {
                let fault = HeaderFault::Io("it could not be written".to_owned());
                mda.header = None;
                mda.precommitted = None;
                mda.content = Content::BadHeader(fault);
                continue;
            }
            mda.header = Some(*header);
            mda.precommitted = None;
            mda.content = match slot.target.wanted {
                Wanted::Use => Content::Text(text),
                Wanted::Ignore => Content::Ignored,
            };
            self.ignore.remove(&slot.device);
        }
        for (device, label) in job.labels {
            self.new_ids.remove(&device);
            if let Some(pv) = self.scan.pv_mut(device) {
                pv.label = label;
            }
        }
    }

    /// Makes PVs of a VG orphans: their texts are forgotten, then the labels say so. Refused if one
    /// holds a text of another VG that lists it.
    pub(super) fn release(&mut self, vg: &LvmUuid, pvs: &[FoundPv]) -> Result<()> {
        if pvs.is_empty() {
            return Ok(());
        }
        for device in pvs.iter().map(|p| p.device) {
            let mdas = self.scan.pv(device).map(|pv| pv.mdas.as_slice());
            let mut mdas = mdas.unwrap_or_default().iter();
            if mdas.any(|mda| self.holds_others(device, mda, std::slice::from_ref(vg))) {
                let name = &self.scan.entries[device.0].device.name;
                return Err(Error::refused(format!(
                    "{name} holds metadata of another volume group that lists it: they are not wiped."
                )));
            }
        }
        let devices: Vec<DevKey> = pvs.iter().map(|p| p.device).collect();
        if !self.settings.test && !self.hold(&devices)? {
            return Err(changed_under_us("of the PVs"));
        }
        let mut areas = Vec::new();
        let mut labels = Vec::new();
        for pv in pvs {
            let mdas = pv.mdas.iter();
            areas.extend(mdas.map(|m| (pv.device.0, area(m), m.state == MdaState::Ignored)));
            let mut label = pv.raw.clone();
            label.header = label.header.with_used(false);
            labels.push((pv.device.0, label));
        }
        let plan = plan_remove(&areas, &labels).ok_or_else(too_many_areas)?;
        self.run_plan(&plan)?;
        for (pv, (_, label)) in pvs.iter().zip(labels) {
            if let Some(scanned) = self.scan.pv_mut(pv.device) {
                scanned.label = label;
                for mda in &mut scanned.mdas {
                    let ignored = matches!(mda.content, Content::Ignored);
                    mda.header = Some(MdaHeader::unused(mda.area, ignored));
                    mda.precommitted = None;
                    if !ignored {
                        mda.content = Content::Empty;
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens devices for writing and locks them. False if one of them turned out to have changed
    /// since it was read: it has been read again, and so has the inventory.
    pub(super) fn hold(&mut self, devices: &[DevKey]) -> Result<bool> {
        if self.settings.test {
            return Ok(true);
        }
        let mut fresh: Vec<DevKey> = devices.to_vec();
        fresh.retain(|d| !self.disks.contains_key(&d.0));
        // One order for all, so that two commands never wait for each other.
        fresh.sort_by_cached_key(|d| {
            let device = &self.scan.entries[d.0].device;
            (device.path.clone(), device.partition)
        });
        fresh.dedup();
        host::allow_open_files(fresh.len());
        let wait = self.locks.policy().wait;
        let mut changed = Vec::new();
        for key in fresh {
            let device = &self.scan.entries[key.0].device;
            let mut disk = scan::open(device, Access::Write)
                .map_err(|e| Error::io(format!("{}: open failed", device.name), e))?;
            lock_device(disk.file(), &device.name, device.start.0, wait)?;
            // Label and headers in one read; nobody else changes them from here on.
            if disk.prefetch().is_err() || !self.scan.unchanged(key, &disk) {
                changed.push(key);
            }
            self.disks.insert(key.0, disk);
        }
        let rules = self.rules();
        for key in &changed {
            self.scan.refresh(*key, rules);
        }
        if !changed.is_empty() {
            self.rebuild();
        }
        Ok(changed.is_empty())
    }
}

fn too_many_areas() -> Error {
    Error::refused("A PV header has more areas than fit.")
}

fn changed_under_us(what: &str) -> Error {
    Error::new(
        Kind::Locked,
        format!("The metadata {what} changed while they were edited; nothing was written."),
    )
}

/// Keeps as many areas in use as the VG's metadata_copies says (0 = unmanaged), at least one.
fn balance(slots: &mut [Slot], copies: u32) {
    let in_use = |slots: &[Slot]| {
        slots
            .iter()
            .filter(|s| s.target.wanted == Wanted::Use)
            .count()
    };
    let wanted = match copies {
        0 => in_use(slots).max(1),
        n => usize::try_from(n).unwrap_or(usize::MAX),
    };
    let mut surplus = in_use(slots).saturating_sub(wanted);
    let mut lack = wanted.saturating_sub(in_use(slots));
    for slot in slots.iter_mut().rev() {
        let use_ = slot.target.wanted == Wanted::Use;
        if use_ && surplus > 0 {
            slot.target.wanted = Wanted::Ignore;
            surplus -= 1;
        }
    }
    for slot in slots.iter_mut() {
        if slot.target.wanted == Wanted::Ignore && lack > 0 {
            slot.target.wanted = Wanted::Use;
            lack -= 1;
        }
    }
}
