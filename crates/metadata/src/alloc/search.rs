//! The search itself: policies from strict to lax, each in rounds; each round looks at every PV,
//! collects one candidate area per PV (more with `anywhere`), takes the largest and hands out one
//! piece. The order of every choice is observable in the metadata, so it follows LVM2's.

use super::free::FreeMap;
use super::{AllocError, Allocation, End, Piece, Request, pv_areas};
use crate::model::{AllocPolicy, PvKey, Vg};
use crate::units::Extents;

/// An area chosen for a stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Candidate {
    /// Index of the PV in the map.
    map: usize,
    /// Which area of it.
    area: u32,
    /// Extents reserved of it.
    used: u32,
}

/// To what new extents are drawn in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Draw {
    /// Nothing.
    No,
    /// Directly behind the last segment.
    BehindSegment,
    /// The PVs of the LV.
    SegmentPvs,
    /// The PVs of the pieces this request was given so far.
    AllocatedPvs,
}

/// Preferences of a round.
#[derive(Clone, Copy, Debug)]
struct Rules {
    policy: AllocPolicy,
    draw: Draw,
    /// The candidates stand for a certain stripe each, in order.
    positional: bool,
    by_tags: bool,
    /// More than one piece may be made.
    can_split: bool,
    /// The second look of a round: only areas that were not chosen yet, and no preference.
    again: bool,
    /// The last look of a round: for a log that finds no PV of its own; no preference.
    for_log: bool,
}

/// What a round has chosen so far.
struct Chosen {
    /// By stripe; empty unless the rules are positional.
    preferred: Vec<Option<Candidate>>,
    /// In the order found.
    found: Vec<Candidate>,
}

impl Chosen {
    fn filled(&self) -> usize {
        self.preferred.iter().flatten().count()
    }

    fn total(&self) -> usize {
        self.filled() + self.found.len()
    }

    fn has(&self, map: usize, area: u32) -> bool {
        let all = self.preferred.iter().flatten().chain(&self.found);
        all.into_iter().any(|c| c.map == map && c.area == area)
    }

    /// Is the stripe still to be filled?
    fn open(&self, slot: usize) -> bool {
        self.preferred.is_empty() || self.preferred.get(slot).is_some_and(Option::is_none)
    }
}

/// What a look at a free area says.
enum Verdict {
    NextArea,
    NextPv,
    /// Taken in full for a stripe.
    Preferred,
    Use,
}

pub(super) struct Search<'a> {
    vg: &'a Vg,
    request: &'a Request<'a>,
    free: FreeMap,
    out: Allocation,
    /// Logical extents wanted; those that hold metadata are counted like data.
    wanted: u32,
    allocated: u32,
    /// Areas of the LV's first segment with their PVs; those of its last, and where they end.
    first: Vec<PvKey>,
    last: Vec<(PvKey, u64)>,
    /// The last segment has as many areas as are wanted.
    counts_match: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(vg: &'a Vg, free: FreeMap, request: &'a Request<'a>) -> Self {
        let ends = |end| {
            let lv = request.extends;
            lv.map_or_else(Vec::new, |lv| pv_areas(vg, lv, end, 0))
        };
        let first = ends(End::First).into_iter().map(|(pv, ..)| pv).collect();
        let last = ends(End::Last).into_iter();
        let last: Vec<_> = last.map(|(pv, _, end)| (pv, end)).collect();
        Self {
            vg,
            request,
            free,
            out: Allocation::default(),
            wanted: match request.parallel {
                0 => 0,
                _ => {
                    let meta = request.beside.meta().saturating_mul(request.per_area);
                    request.extents.0.saturating_add(meta)
                }
            },
            allocated: 0,
            counts_match: !last.is_empty() && last.len() == request.parallel as usize,
            first,
            last,
        }
    }

    pub(super) fn run(mut self) -> Result<Allocation, AllocError> {
        let wanted = self.wanted;
        let nothing = self.request.parallel == 0 && !self.request.beside.is_log();
        if nothing || self.request.per_area == 0 {
            return Ok(self.out);
        }
        let can_split = self.request.policy != AllocPolicy::Contiguous;
        let by_tags = !self.request.config.cling_tag_list.is_empty();
        // Cling goes on to PVs with a tag in common, if there is a list of tags.
        let last_policy = match self.request.policy {
            AllocPolicy::Cling if by_tags => AllocPolicy::ClingByTags,
            AllocPolicy::ClingByTags if !by_tags => AllocPolicy::Cling,
            other => other,
        };
        for policy in [
            AllocPolicy::Contiguous,
            AllocPolicy::Cling,
            AllocPolicy::ClingByTags,
            AllocPolicy::Normal,
            AllocPolicy::Anywhere,
        ] {
            if policy == AllocPolicy::ClingByTags && !by_tags {
                continue;
            }
            self.check_free()?;
            let before = self.allocated;
            self.one_policy(policy, can_split);
            let all = self.allocated >= wanted && self.logs_needed() == 0;
            let done = all || (!can_split && self.allocated != before);
            if done || policy == last_policy {
                break;
            }
        }
        let contiguous = !can_split;
        if self.request.at_most && self.allocated == 0 {
            return Err(AllocError::NoneSuitable { contiguous });
        }
        if self.logs_needed() > 0 {
            return Err(AllocError::NoLog);
        }
        if self.allocated < wanted && !self.request.at_most {
            let missing = self.physical(wanted - self.allocated);
            return Err(AllocError::NotSuitable {
                missing,
                contiguous,
            });
        }
        Ok(self.out)
    }

    /// Areas that are still to be chosen beside the parallel ones: the log, once.
    fn logs_needed(&self) -> usize {
        usize::from(self.request.beside.is_log() && self.out.log.is_none())
    }

    /// Physical extents that so many logical ones take.
    fn physical(&self, logical: u32) -> u64 {
        u64::from(logical) * u64::from(self.request.parallel) / u64::from(self.request.per_area)
    }

    fn check_free(&self) -> Result<(), AllocError> {
        let log = self.request.beside.is_log();
        let needed = self.physical(self.wanted - self.allocated) + u64::from(log);
        let free = self.free.total();
        if needed > free && !self.request.at_most {
            return Err(AllocError::TooFewFree { needed, free });
        }
        Ok(())
    }

    fn rules(&self, policy: AllocPolicy, can_split: bool) -> Rules {
        let cling = matches!(policy, AllocPolicy::Cling | AllocPolicy::ClingByTags);
        let (draw, positional) = match policy {
            AllocPolicy::Contiguous if self.counts_match => (Draw::BehindSegment, true),
            _ if cling && self.counts_match => (Draw::SegmentPvs, true),
            _ if cling => (Draw::AllocatedPvs, true),
            AllocPolicy::Normal if self.request.config.maximise_cling => {
                (Draw::AllocatedPvs, false)
            }
            _ => (Draw::No, false),
        };
        Rules {
            policy,
            draw,
            positional,
            by_tags: policy == AllocPolicy::ClingByTags,
            can_split,
            again: false,
            for_log: false,
        }
    }

    /// Rounds of one policy until all is allocated or nothing more is found.
    fn one_policy(&mut self, policy: AllocPolicy, can_split: bool) {
        let mut rules = self.rules(policy, can_split);
        loop {
            let before = (self.allocated, self.logs_needed());
            self.round(rules);
            if (self.allocated, self.logs_needed()) == before {
                match rules.draw {
                    Draw::SegmentPvs if rules.positional => rules.positional = false,
                    Draw::AllocatedPvs if policy == AllocPolicy::Normal => rules.draw = Draw::No,
                    _ => return,
                }
            } else if self.request.config.maximise_cling && policy == AllocPolicy::Normal {
                rules.draw = Draw::AllocatedPvs;
            }
            if policy == AllocPolicy::Contiguous || self.allocated >= self.wanted || !can_split {
                return;
            }
        }
    }

    /// Looks for one piece and hands it out.
    fn round(&mut self, mut rules: Rules) {
        self.free.reset();
        let wanted = self.request.parallel as usize;
        let logs = self.logs_needed();
        let positional = if rules.positional { wanted } else { 0 };
        let mut chosen = Chosen {
            preferred: vec![None; positional],
            found: Vec::new(),
        };
        loop {
            let before = chosen.found.len();
            self.look(rules, &mut chosen);
            let (filled, total) = (chosen.filled(), chosen.total());
            let normal = rules.policy == AllocPolicy::Normal;
            if rules.policy == AllocPolicy::Anywhere {
                if chosen.found.len() == before || total >= wanted + logs {
                    break;
                }
            } else if normal
                && !rules.again
                && filled > 0
                && (filled < positional || logs > 0)
                && rules.draw == Draw::AllocatedPvs
            {
                rules.again = true;
            } else if normal
                && !rules.for_log
                && !self.request.config.separate_logs
                && filled == positional
                && (wanted..wanted + logs).contains(&total)
            {
                rules.for_log = true;
            } else {
                break;
            }
        }
        if chosen.total() < wanted + logs {
            return;
        }
        // Largest first; equal ones stay in PV order. They fill the gaps among the preferred. What
        // a look for the log has found comes behind those that were there before.
        let from = if rules.for_log { wanted } else { 0 };
        if let Some(sorted) = chosen.found.get_mut(from..) {
            sorted.sort_by_key(|c| std::cmp::Reverse(c.used));
        }
        let Some(log) = self.take_log(logs, &mut chosen) else {
            return;
        };
        if rules.policy == AllocPolicy::Contiguous && rules.draw == Draw::No {
            self.one_per_tag(&mut chosen.found);
            if chosen.total() < wanted {
                return;
            }
        }
        let mut rest = chosen.found.into_iter();
        let taken: Vec<_> = if positional > 0 {
            let slots = chosen.preferred.into_iter();
            slots.map_while(|s| s.or_else(|| rest.next())).collect()
        } else {
            rest.take(wanted).collect()
        };
        if taken.len() == wanted {
            self.hand_out(&taken, log);
        }
    }

    /// The log goes to the smallest area that is large enough. `None` if there is none that the
    /// parallel areas do not need; `Some(None)` if no log is wanted.
    fn take_log(&self, logs: usize, chosen: &mut Chosen) -> Option<Option<Candidate>> {
        if logs == 0 {
            return Some(None);
        }
        let len = self.request.beside.len();
        let small = chosen.found.iter().rev().take_while(|c| c.used < len);
        let small = small.count();
        if chosen.total() < self.request.parallel as usize + logs + small {
            return None;
        }
        let at = (chosen.found.len() - small).checked_sub(1)?;
        Some(chosen.found.get(at).copied())
    }

    /// Drops candidates on PVs that share a tag of the list with the PV of an earlier one: stripes
    /// go to PVs that have nothing in common.
    fn one_per_tag(&self, found: &mut Vec<Candidate>) {
        if self.request.config.cling_tag_list.is_empty() {
            return;
        }
        let mut kept: Vec<Candidate> = Vec::with_capacity(found.len());
        for c in found.drain(..) {
            let pv = self.free.pv(c.map).pv;
            let clash = |k: &Candidate| self.same(pv, self.free.pv(k.map).pv, true);
            if !kept.iter().any(clash) {
                kept.push(c);
            }
        }
        *found = kept;
    }

    /// One look over all PVs and areas.
    fn look(&mut self, rules: Rules, chosen: &mut Chosen) {
        let anywhere = rules.policy == AllocPolicy::Anywhere;
        let wanted = self.most() / self.request.per_area;
        let beside = self.request.beside.len();
        let parallel = self.request.parallel as usize;
        let avoid = self.avoided();
        for map in 0..self.free.len() {
            if !anywhere && !rules.for_log && avoid.contains(&self.free.pv(map).pv) {
                continue;
            }
            let mut have_one = false;
            let mut at = 0;
            while at < self.free.pv(map).areas().len() {
                match self.judge(rules, have_one, (map, at), chosen) {
                    Verdict::NextArea => {}
                    Verdict::NextPv | Verdict::Preferred => break,
                    Verdict::Use => {
                        let area = self.free.pv(map).areas()[at].id;
                        // A partly reserved area moves down the list, and the walk goes on from
                        // where it stands then.
                        // What is found beyond the stripes that are wanted serves no purpose,
                        // but is looked at as long as the PV is.
                        let enough = anywhere && chosen.found.len() >= parallel;
                        let reserve = match (enough, anywhere) {
                            (true, _) => beside,
                            (false, true) => wanted,
                            (false, false) => wanted.max(beside),
                        };
                        let (used, now_at) = self.free.pv_mut(map).reserve(at, reserve);
                        at = now_at;
                        if have_one && !anywhere {
                            chosen.found.pop();
                        }
                        have_one = true;
                        chosen.found.push(Candidate { map, area, used });
                    }
                }
                at += 1;
            }
            if anywhere && chosen.total() >= parallel + self.logs_needed() {
                break;
            }
        }
    }

    /// PVs of what the next extents shall be parallel to.
    fn avoided(&self) -> &'a [PvKey] {
        let next = self.data_allocated();
        let mut runs = self.request.avoid.iter();
        runs.find(|run| next < run.end.0)
            .map_or(&[], |run| run.pvs.as_slice())
    }

    /// Logical extents allocated, metadata left out.
    fn data_allocated(&self) -> u32 {
        if self.out.meta.is_empty() {
            self.allocated
        } else {
            let meta = self.request.beside.meta();
            self.allocated - meta.saturating_mul(self.request.per_area)
        }
    }

    /// Logical extents that may be handed out in one piece: up to the end of the run that it is
    /// parallel to.
    fn most(&self) -> u32 {
        let left = self.wanted - self.allocated;
        let next = self.data_allocated();
        let mut runs = self.request.avoid.iter();
        let meta = if self.out.meta.is_empty() {
            self.request.beside.meta()
        } else {
            0
        };
        match runs.find(|run| next < run.end.0) {
            Some(run) => left.min((run.end.0 - next).saturating_add(meta)),
            None => left,
        }
    }

    /// Whether an area is a candidate.
    fn judge(
        &mut self,
        rules: Rules,
        have_one: bool,
        (map, at): (usize, usize),
        chosen: &mut Chosen,
    ) -> Verdict {
        let area = self.free.pv(map).areas()[at];
        if area.unreserved == 0 {
            return Verdict::NextArea;
        }
        if rules.for_log {
            // Any area, those of the legs included as far as they are not reserved.
        } else if rules.again {
            if chosen.has(map, area.id) {
                return Verdict::NextArea;
            }
        } else if rules.draw != Draw::No {
            return self.judge_drawn(rules, (map, at), chosen);
        }
        let enough =
            u64::from(area.unreserved) * u64::from(self.request.per_area) >= u64::from(self.most());
        let whole = !rules.can_split && !self.request.beside.is_log();
        if !enough && (whole || (have_one && rules.policy != AllocPolicy::Anywhere)) {
            return Verdict::NextPv;
        }
        Verdict::Use
    }

    /// The same for rounds that are drawn to something.
    fn judge_drawn(
        &mut self,
        rules: Rules,
        (map, at): (usize, usize),
        chosen: &mut Chosen,
    ) -> Verdict {
        let free = self.free.pv(map);
        let (pv, area) = (free.pv, free.areas()[at]);
        let maximise = self.request.config.maximise_cling && self.counts_match;
        let mut slot = None;
        if rules.draw == Draw::BehindSegment || maximise {
            slot = self.slot_behind(pv, area.start, chosen);
        }
        if slot.is_none() && rules.draw == Draw::BehindSegment {
            return Verdict::NextArea;
        }
        if slot.is_none() && (rules.draw == Draw::SegmentPvs || maximise) {
            slot = self.slot_of_segment(pv, false, chosen);
        }
        if slot.is_none() && rules.draw == Draw::AllocatedPvs {
            slot = self.slot_of_pieces(pv, false, chosen);
        }
        if slot.is_none() && rules.by_tags {
            slot = if self.counts_match {
                self.slot_of_segment(pv, true, chosen)
            } else {
                self.slot_of_pieces(pv, true, chosen)
            };
        }
        match slot {
            None => Verdict::NextPv,
            Some(_) if !rules.positional => Verdict::Use,
            Some(slot) => {
                // No other area of the PV is looked at, so nothing needs to be marked reserved.
                let (area, used) = (area.id, area.count);
                chosen.preferred[slot] = Some(Candidate { map, area, used });
                Verdict::Preferred
            }
        }
    }

    /// The stripe whose last extent lies directly before `start`.
    fn slot_behind(&self, pv: PvKey, start: u32, chosen: &Chosen) -> Option<usize> {
        let here = (pv, u64::from(start));
        (0..self.last.len()).find(|s| chosen.open(*s) && self.last[*s] == here)
    }

    /// The stripe of the LV that lies on the PV.
    fn slot_of_segment(&self, pv: PvKey, by_tags: bool, chosen: &Chosen) -> Option<usize> {
        // With maximise_cling LVM2 looks at the LV from its first extent on, and so only at the
        // PVs of the first segment; without, at those of the last.
        let others: Vec<PvKey> = if self.request.config.maximise_cling {
            self.first.clone()
        } else {
            self.last.iter().map(|(pv, _)| *pv).collect()
        };
        (0..others.len().min(self.request.parallel as usize))
            .find(|s| chosen.open(*s) && self.same(pv, others[*s], by_tags))
    }

    /// The stripe of which this request has already put a piece on the PV.
    fn slot_of_pieces(&self, pv: PvKey, by_tags: bool, chosen: &Chosen) -> Option<usize> {
        let on = |s: usize| {
            let mut pieces = self.out.pieces.iter();
            pieces.any(|piece| self.same(pv, piece.areas[s].0, by_tags))
        };
        (0..self.request.parallel as usize).find(|s| chosen.open(*s) && on(*s))
    }

    /// The same PV, or with a tag of the list in common?
    fn same(&self, a: PvKey, b: PvKey, by_tags: bool) -> bool {
        if !by_tags {
            return a == b;
        }
        let (Some(a), Some(b)) = (self.vg.pvs.get(a), self.vg.pvs.get(b)) else {
            return false;
        };
        self.request.config.cling_tag_list.iter().any(|entry| {
            let tag = entry.strip_prefix('@').unwrap_or(entry);
            if tag == "*" {
                a.tags.iter().any(|t| b.tags.contains(t))
            } else {
                a.tags.iter().any(|t| t == tag) && b.tags.iter().any(|t| t == tag)
            }
        })
    }

    /// Takes as much of each chosen area as the smallest allows, metadata first, and the log.
    fn hand_out(&mut self, chosen: &[Candidate], log: Option<Candidate>) {
        let wanted = self.most() / self.request.per_area;
        let len = chosen.iter().fold(wanted, |n, c| n.min(c.used));
        let meta = match self.request.beside.meta() {
            n if self.out.meta.is_empty() => n,
            _ => 0,
        };
        if (len == 0 && log.is_none()) || len < meta {
            return;
        }
        let data = len - meta;
        let mut areas = Vec::with_capacity(chosen.len());
        for c in chosen {
            let pv = self.free.pv_mut(c.map);
            if meta > 0
                && let Some(start) = pv.consume(c.area, meta)
            {
                self.out.meta.push((pv.pv, Extents(start)));
            }
            if data > 0
                && let Some(start) = pv.consume(c.area, data)
            {
                areas.push((pv.pv, Extents(start)));
            }
        }
        if let Some(c) = log {
            let pv = self.free.pv_mut(c.map);
            let start = pv.consume(c.area, self.request.beside.len());
            self.out.log = start.map(|start| (pv.pv, Extents(start)));
        }
        debug_assert!(data == 0 || areas.len() == chosen.len());
        if data > 0 && !areas.is_empty() {
            self.out.pieces.push(Piece {
                areas,
                len: Extents(data),
            });
        }
        self.allocated += len * self.request.per_area;
    }
}
