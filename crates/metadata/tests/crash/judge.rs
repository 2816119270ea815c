//! The rules that hold after a crash.
//!
//! 1. The VG that a scan finds (the readable text with the highest seqno) is the old or the new
//!    one, byte for byte; after the operation has returned it is the new one.
//! 2. Each PV has its old label, its new one, or (where the operation makes or removes PVs) none.
//!    After the operation has returned it has the new one.
//! 3. Each metadata area of a PV holds its old text or the new one, whole, unless it was damaged
//!    before. A precommitted slot points to a whole text, too.
//! 4. If any area has committed the new text, every other one has committed or precommitted it.
//!    After the operation has returned each has committed it.
//! 5. A PV that the found VG names says that it is in use; a PV that says it is not holds no text.

use ulvm_metadata::convert::import;
use ulvm_metadata::disk::MemDisk;
use ulvm_metadata::ondisk::{Area, MdaState, PvHeader, find_label, read_mda, read_text};
use ulvm_metadata::uuid::LvmUuid;

use super::record::{CrashPoint, Event};

/// An operation to crash.
pub struct Scenario {
    pub name: String,
    pub before: Vec<MemDisk>,
    /// What a look at the devices shows before and after.
    pub seen_before: Vec<Seen>,
    pub seen_after: Vec<Seen>,
    pub events: Vec<Event>,
    /// Areas the new text goes to.
    pub targets: Vec<(usize, Area)>,
    /// Devices that may have no label in between.
    pub may_be_bare: Vec<usize>,
    /// What a scan finds before and after.
    pub old: Option<String>,
    pub new: Option<String>,
}

/// One device as a scan sees it.
pub struct Seen {
    header: Option<PvHeader>,
    areas: Vec<SeenArea>,
}

struct SeenArea {
    area: Area,
    state: MdaState,
    /// The text of the precommitted slot, if there is one: whole, or `Err`.
    precommitted: Option<Result<Vec<u8>, String>>,
}

pub fn look(disk: &MemDisk) -> Seen {
    let header = find_label(disk)
        .expect("memory can be read")
        .map(|f| f.label.header);
    let mdas = header.iter().flat_map(|h| &h.mdas);
    let areas = mdas
        .map(|area| {
            let read = read_mda(disk, *area);
            let precommitted = read
                .precommitted()
                .map(|locn| read_text(disk, *area, locn).map_err(|e| e.to_string()));
            SeenArea {
                area: *area,
                state: read.state,
                precommitted,
            }
        })
        .collect();
    Seen { header, areas }
}

/// The VG that rules: name, seqno and text; identifiers of its PVs.
fn scan(disks: &[Seen]) -> Option<(String, Vec<LvmUuid>)> {
    let mut best: Option<(u32, String, Vec<LvmUuid>)> = None;
    for area in disks.iter().flat_map(|d| &d.areas) {
        let MdaState::Text(text) = &area.state else {
            continue;
        };
        let vg = import(text).expect("a verified text is a VG").vg;
        if best.as_ref().is_none_or(|b| vg.seqno > b.0) {
            let text = String::from_utf8(text.clone()).unwrap();
            best = Some((vg.seqno, text, vg.pvs.values().map(|p| p.id).collect()));
        }
    }
    best.map(|(_, text, pvs)| (text, pvs))
}

/// The VG that a scan of these devices finds.
pub fn found(disks: &[MemDisk]) -> Option<String> {
    scan(&disks.iter().map(look).collect::<Vec<_>>()).map(|(text, _)| text)
}

pub fn judge(scenario: &Scenario, point: &CrashPoint) -> Result<(), String> {
    let seen: Vec<Seen> = point.disks.iter().map(look).collect();
    let vg = scan(&seen);
    rule_1_vg(scenario, point, vg.as_ref().map(|(text, _)| text))?;
    for (n, now) in seen.iter().enumerate() {
        let (before, after) = (&scenario.seen_before[n], &scenario.seen_after[n]);
        rule_2_label(scenario, point, n, now, before, after)?;
        rule_3_areas(n, now, before, after)?;
        rule_5_used(n, now, vg.as_ref().map_or(&[], |(_, pvs)| pvs))?;
    }
    rule_4_together(scenario, point, &seen)
}

fn rule_1_vg(s: &Scenario, point: &CrashPoint, vg: Option<&String>) -> Result<(), String> {
    let is_new = vg == s.new.as_ref();
    if is_new || (!point.acknowledged && vg == s.old.as_ref()) {
        Ok(())
    } else {
        Err(format!("a scan finds {vg:?}"))
    }
}

fn rule_2_label(
    s: &Scenario,
    point: &CrashPoint,
    n: usize,
    now: &Seen,
    before: &Seen,
    after: &Seen,
) -> Result<(), String> {
    let ok = now.header == after.header
        || !point.acknowledged
            && (now.header == before.header || now.header.is_none() && s.may_be_bare.contains(&n));
    if ok {
        Ok(())
    } else {
        Err(format!("device {n} has the label {:?}", now.header))
    }
}

fn rule_3_areas(n: usize, now: &Seen, before: &Seen, after: &Seen) -> Result<(), String> {
    for area in &now.areas {
        let state = |of: &Seen| {
            of.areas
                .iter()
                .find(|a| a.area == area.area && of.header == now.header)
                .map(|a| a.state.clone())
        };
        // A label that is new to the device is judged by what it will find in the end; one whose
        // flag changes finds the same areas before and after.
        let same_id =
            |of: &Seen| of.header.as_ref().map(|h| h.id) == now.header.as_ref().map(|h| h.id);
        let by_id = |of: &Seen| {
            of.areas
                .iter()
                .find(|a| a.area == area.area && same_id(of))
                .map(|a| a.state.clone())
        };
        let allowed = [state(before), state(after), by_id(before), by_id(after)];
        // A damaged area that is being mended has no text while its header is new.
        let mended = allowed
            .iter()
            .flatten()
            .any(|s| matches!(s, MdaState::BadHeader(_) | MdaState::BadText(_)))
            && matches!(
                area.state,
                MdaState::Empty | MdaState::BadText(_) | MdaState::BadHeader(_)
            );
        if !mended && !allowed.iter().flatten().any(|s| *s == area.state) {
            return Err(format!(
                "{} of device {n} holds {:?}",
                area.area, area.state
            ));
        }
        if let Some(Err(e)) = &area.precommitted {
            return Err(format!("{} of device {n}: precommitted: {e}", area.area));
        }
    }
    Ok(())
}

fn rule_4_together(s: &Scenario, point: &CrashPoint, seen: &[Seen]) -> Result<(), String> {
    let Some(new) = &s.new else { return Ok(()) };
    let mut committed = 0;
    let mut knowing = 0;
    for (disk, area) in &s.targets {
        let Some(area) = seen[*disk].areas.iter().find(|a| a.area == *area) else {
            continue;
        };
        let is_new = |text: &[u8]| text == new.as_bytes();
        // An area that goes out of use has switched when it is marked so.
        let goes_out_of_use = s.seen_after[*disk]
            .areas
            .iter()
            .any(|a| a.area == area.area && a.state == MdaState::Ignored);
        let has_switched = match &area.state {
            MdaState::Text(text) => is_new(text),
            MdaState::Ignored => goes_out_of_use,
            _ => false,
        };
        let precommitted = matches!(&area.precommitted, Some(Ok(text)) if is_new(text));
        committed += usize::from(has_switched);
        knowing += usize::from(has_switched || precommitted);
    }
    if committed > 0 && knowing < s.targets.len() {
        return Err(format!(
            "{committed} areas have committed, {knowing} know the text"
        ));
    }
    if point.acknowledged && committed < s.targets.len() {
        return Err(format!("only {committed} areas have committed in the end"));
    }
    Ok(())
}

fn rule_5_used(n: usize, now: &Seen, named: &[LvmUuid]) -> Result<(), String> {
    let Some(header) = &now.header else {
        return Ok(());
    };
    if header.is_used() {
        return Ok(());
    }
    if named.contains(&header.id) {
        return Err(format!("device {n} looks free and is a PV of the VG"));
    }
    match now
        .areas
        .iter()
        .find(|a| matches!(a.state, MdaState::Text(_)))
    {
        Some(a) => Err(format!("device {n} looks free, {} holds a text", a.area)),
        None => Ok(()),
    }
}
