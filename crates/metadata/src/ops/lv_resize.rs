//! Growing and shrinking LVs.

use super::lv_create::{STRIPE_SIZE_DEFAULT, offered_free, vg_extents, vg_free};
use super::lv_segments::{append_pieces, append_virtual, boundary, cut};
use super::lv_tree::{check_editable, full_name, snapshots};
use super::mirror::{self, Shape};
use super::pv_args::{PvArg, pv_ranges};
use super::size::{Amount, PercentOf, Sign, Size, show};
use super::{Done, OpError};
use crate::alloc::{self, AllocConfig, AllocError, FreeMap, Piece, PvRange};
use crate::model::usage::Usage;
use crate::model::{AllocPolicy, Lv, LvKey, SegmentKind, Vg};
use crate::notice::Notice;
use crate::units::{Extents, Sectors};

/// In which direction the size may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// `lvextend`
    Extend,
    /// `lvreduce`
    Reduce,
    /// `lvresize`
    Either,
}

/// What is to be resized, and how.
#[derive(Clone, Debug)]
pub struct LvResize<'a> {
    /// The LV.
    pub lv: LvKey,
    /// Allowed direction.
    pub direction: Direction,
    /// New size, or by how much.
    pub size: Size,
    /// Stripes of new segments; `None` = as the last segment.
    pub stripes: Option<u32>,
    /// Stripe size of new segments; `None` = as the last segment.
    pub stripe_size: Option<Sectors>,
    /// Where new extents may lie; `None` = anywhere in the VG.
    pub pvs: Option<&'a [PvArg]>,
    /// `-m` was given: the number of copies is not told then.
    pub copies_given: bool,
    /// Policy for this time; `None` = the LV's.
    pub alloc: Option<AllocPolicy>,
    /// Settings.
    pub config: &'a AllocConfig,
}

/// Sizes before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resized {
    /// Extents before.
    pub old: Extents,
    /// Extents now.
    pub new: Extents,
}

/// Resizes an LV of linear, striped, error or zero segments, or a mirror.
pub fn lv_resize(vg: &Vg, request: &LvResize<'_>) -> Result<Done<Resized>, OpError> {
    let mut notices = Vec::new();
    match resize(vg, request, &mut notices) {
        Ok((vg, value)) => Done::checked(vg, notices, value),
        Err(e) => Err(e.after(notices)),
    }
}

/// What a size argument comes to.
struct Target {
    /// New number of extents.
    extents: u64,
    /// Less will do.
    at_most: bool,
}

fn resize(
    old: &Vg,
    request: &LvResize<'_>,
    notices: &mut Vec<Notice>,
) -> Result<(Vg, Resized), OpError> {
    let Some(lv) = old.lvs.get(request.lv) else {
        return Err(OpError::not_found("The logical volume is gone."));
    };
    check_editable(old, request.lv, "resize")?;
    check_kinds(old, request.lv)?;
    let usage = Usage::of(old);
    let offered: Option<Vec<PvRange>> = match request.pvs {
        Some(args) => Some(pv_ranges(old, &usage, args, notices)?),
        None => None,
    };
    let target = target(old, &usage, request, offered.as_deref(), notices)?;
    let existing = lv.extents();
    let mut vg = old.clone();
    let new = if target.extents < u64::from(existing.0) {
        shrink(&mut vg, request, target.extents, notices)?
    } else {
        let grow = Grow {
            old,
            usage: &usage,
            request,
            offered: offered.as_deref(),
        };
        grow.run(&mut vg, &target, notices)?
    };
    let size = |n: Extents| show(n.to_sectors(old.extent_size));
    let (name, was) = (full_name(old, request.lv), size(existing));
    notices.push(Notice::print(if new == existing {
        format!("Size of logical volume {name} unchanged from {was} ({existing} extents).")
    } else {
        format!(
            "Size of logical volume {name} changed from {was} ({existing} extents) to {} ({new} extents).",
            size(new)
        )
    }));
    Ok((vg, Resized { old: existing, new }))
}

/// Only LVs that are made of areas on PVs, or of nothing, and mirrors of such can be resized so far.
fn check_kinds(vg: &Vg, lv: LvKey) -> Result<(), OpError> {
    if mirror::shape(vg, lv).is_some() {
        return Ok(());
    }
    let bad = vg.lvs[lv].segments.iter().find(|s| {
        !matches!(
            s.kind,
            SegmentKind::Striped { .. } | SegmentKind::Error | SegmentKind::Zero
        )
    });
    match bad {
        None => Ok(()),
        Some(s) => Err(OpError::refused(format!(
            "Can't resize logical volume {}: type {} is not supported yet.",
            full_name(vg, lv),
            s.kind.type_word()
        ))),
    }
}

fn target(
    vg: &Vg,
    usage: &Usage,
    request: &LvResize<'_>,
    offered: Option<&[PvRange]>,
    notices: &mut Vec<Notice>,
) -> Result<Target, OpError> {
    let existing = u64::from(vg.lvs[request.lv].extents().0);
    let sign = request.size.sign;
    let mut at_most = false;
    let n = match request.size.amount {
        Amount::Extents(n) => u64::from(n),
        Amount::Sectors(size) => whole_extents(vg, size, sign, notices),
        Amount::Percent(percent, of) => {
            at_most = match of {
                PercentOf::Free => sign != Sign::Minus,
                PercentOf::Vg | PercentOf::Pvs => sign == Sign::None,
                PercentOf::Lv | PercentOf::Origin => false,
            };
            let base = percent_base(vg, usage, request.lv, of, offered)?;
            // Of physical extents each copy takes its share.
            let copies = match of {
                PercentOf::Lv | PercentOf::Origin => 1,
                _ => mirror::shape(vg, request.lv).map_or(1, |shape| shape.legs.len() as u64),
            };
            let product = base.saturating_mul(u64::from(percent));
            match (sign, of) {
                (Sign::Minus, _) => product / 100 / copies,
                // At most what the LV has and what is free.
                (Sign::None, PercentOf::Vg) => {
                    let most = existing.saturating_add(vg_free(vg, usage));
                    (product.div_ceil(100) / copies).min(most)
                }
                _ => product.div_ceil(100) / copies,
            }
        }
    };
    let extents = match sign {
        Sign::None => n,
        Sign::Plus => existing.saturating_add(n),
        Sign::Minus if n >= existing => {
            return Err(OpError::refused(format!(
                "Unable to reduce {} below 1 extent.",
                full_name(vg, request.lv)
            )));
        }
        Sign::Minus => existing - n,
    };
    if extents == 0 {
        return Err(OpError::refused("New size of 0 not permitted"));
    }
    if extents > u64::from(u32::MAX) {
        return Err(OpError::limit(format!(
            "Unable to extend {} to {extents} extents, exceeds limit ({}).",
            full_name(vg, request.lv),
            u32::MAX
        )));
    }
    Ok(Target { extents, at_most })
}

/// Sectors as whole extents: never more is taken away than was asked for, never less given.
fn whole_extents(vg: &Vg, size: Sectors, sign: Sign, notices: &mut Vec<Notice>) -> u64 {
    let n = if sign == Sign::Minus {
        size.0 / vg.extent_size.0
    } else {
        size.0.div_ceil(vg.extent_size.0)
    };
    if size.0 % vg.extent_size.0 != 0 {
        let rounded = Sectors(n.saturating_mul(vg.extent_size.0));
        notices.push(Notice::print(format!(
            "Rounding size to boundary between physical extents: {}.",
            show(rounded)
        )));
    }
    n
}

fn percent_base(
    vg: &Vg,
    usage: &Usage,
    lv: LvKey,
    of: PercentOf,
    offered: Option<&[PvRange]>,
) -> Result<u64, OpError> {
    Ok(match of {
        PercentOf::Vg => vg_extents(vg),
        PercentOf::Free => vg_free(vg, usage),
        PercentOf::Pvs => match offered {
            Some(list) => offered_free(vg, usage, list),
            None => vg_extents(vg),
        },
        PercentOf::Lv => u64::from(vg.lvs[lv].extents().0),
        PercentOf::Origin => {
            let all = snapshots(vg);
            let Some(snapshot) = all.iter().find(|s| s.cow == lv) else {
                return Err(OpError::refused("Specified LV does not have an origin LV."));
            };
            u64::from(vg.lvs[snapshot.origin].extents().0)
        }
    })
}

fn matches_existing(n: Extents, end: &str) -> OpError {
    OpError::refused(format!(
        "New size ({n} extents) matches existing size ({n} extents){end}"
    ))
}

/// A request that goes the wrong way.
fn check_direction(direction: Direction, new: Extents, existing: Extents) -> Result<(), OpError> {
    let wrong = match direction {
        Direction::Extend if new < existing => "larger",
        Direction::Reduce if new > existing => "less",
        _ => return Ok(()),
    };
    Err(OpError::refused(format!(
        "New size given ({new} extents) not {wrong} than existing size ({existing} extents)"
    )))
}

fn rounding(from: u64, to: Extents) -> Notice {
    Notice::print(format!(
        "Rounding size ({from} extents) up to stripe boundary size for segment ({to} extents)."
    ))
}

fn shrink(
    vg: &mut Vg,
    request: &LvResize<'_>,
    wanted: u64,
    notices: &mut Vec<Notice>,
) -> Result<Extents, OpError> {
    let shape = mirror::shape(vg, request.lv);
    let lv = &vg.lvs[request.lv];
    let existing = lv.extents();
    // `wanted` is below the present size, which is 32 bits.
    let wanted = Extents(u32::try_from(wanted).unwrap_or(existing.0));
    let cut_at = match &shape {
        Some(shape) => &vg.lvs[shape.legs[0]],
        None => lv,
    };
    let new = boundary(cut_at, wanted);
    if new != wanted {
        notices.push(rounding(wanted.get(), new));
    }
    if new == existing {
        return Err(matches_existing(new, ""));
    }
    check_direction(request.direction, new, existing)?;
    if snapshots(vg).iter().any(|s| s.cow == request.lv) {
        return Err(OpError::refused(format!(
            "Can't reduce snapshot logical volume {}.",
            full_name(vg, request.lv)
        )));
    }
    match &shape {
        Some(shape) => mirror::shorten(vg, request.lv, shape, new)?,
        None => cut(&mut vg.lvs[request.lv], new),
    }
    Ok(new)
}

/// Growing: the old VG and what is asked of it.
struct Grow<'a> {
    old: &'a Vg,
    usage: &'a Usage,
    request: &'a LvResize<'a>,
    offered: Option<&'a [PvRange]>,
}

impl Grow<'_> {
    fn run(
        &self,
        vg: &mut Vg,
        target: &Target,
        notices: &mut Vec<Notice>,
    ) -> Result<Extents, OpError> {
        let lv = &self.old.lvs[self.request.lv];
        let existing = lv.extents();
        let shape = mirror::shape(self.old, self.request.lv);
        let (stripes, stripe_size) = match &shape {
            Some(shape) => (self.mirror_stripes(shape, notices)?, shape.stripe_size),
            None => self.stripes(lv, notices)?,
        };
        let free = vg_free(self.old, self.usage);
        let more = round_to_stripes(existing, target, stripes, free, notices)?;
        let new = Extents(existing.0 + more.0);
        if more.is_zero() {
            return Err(matches_existing(new, "."));
        }
        check_direction(self.request.direction, new, existing)?;
        if let Some(shape) = &shape {
            if lv.status.not_synced {
                // What is added would have to be assumed equal, too, or be copied: that is told to
                // whoever has the LV active.
                return Err(OpError::refused(format!(
                    "Unable to read sync percent while LV {} is not locally active.",
                    full_name(self.old, self.request.lv)
                )));
            }
            let found = self.space(lv, more, shape.legs.len(), stripes, target.at_most)?;
            if !found.is_empty() {
                mirror::lengthen(vg, self.request.lv, shape, &found)?;
            }
            return Ok(vg.lvs[self.request.lv].extents());
        }
        let lv = &mut vg.lvs[self.request.lv];
        match lv.segments.last().map(|s| &s.kind) {
            Some(SegmentKind::Error) => append_virtual(lv, more, SegmentKind::Error),
            Some(SegmentKind::Zero) => append_virtual(lv, more, SegmentKind::Zero),
            _ => self.place(lv, more, stripes, stripe_size, target.at_most)?,
        }
        Ok(lv.extents())
    }

    /// Stripes of each leg, which cannot be changed.
    fn mirror_stripes(&self, shape: &Shape, notices: &mut Vec<Notice>) -> Result<u32, OpError> {
        if !self.request.copies_given {
            let count = shape.legs.len();
            notices.push(Notice::print(format!("Extending {count} mirror images.")));
        }
        let word = self.old.lvs[self.request.lv].segments[0].kind.type_word();
        match self.request.stripes {
            Some(n) if n != shape.stripes => Err(OpError::refused(format!(
                "Unable to extend \"{word}\" segment type with different number of stripes."
            ))),
            _ => Ok(shape.stripes),
        }
    }

    /// Stripes and stripe size of the new segments.
    fn stripes(&self, lv: &Lv, notices: &mut Vec<Notice>) -> Result<(u32, Sectors), OpError> {
        let asked = self.request.stripes;
        let (mut last_count, mut last_size) = (1u32, Sectors::ZERO);
        let mut first = true;
        for segment in &lv.segments {
            let SegmentKind::Striped {
                stripe_size,
                stripes,
            } = &segment.kind
            else {
                continue;
            };
            let count = u32::try_from(stripes.len()).unwrap_or(u32::MAX);
            let sizes = self.request.stripe_size.is_none()
                && !last_size.is_zero()
                && !stripe_size.is_zero()
                && *stripe_size != last_size;
            let counts = asked.is_none() && !first && count != last_count;
            if (sizes && asked != Some(1)) || counts {
                return Err(OpError::refused(
                    "Please specify number of stripes (-i) and stripesize (-I)",
                ));
            }
            (last_count, last_size, first) = (count, *stripe_size, false);
        }
        let count = asked.unwrap_or(last_count).max(1);
        if count == 1 {
            return Ok((1, Sectors::ZERO));
        }
        let size = match self.request.stripe_size {
            Some(size) => self.check_stripe_size(size, notices)?,
            None if last_size.is_zero() => {
                let size = STRIPE_SIZE_DEFAULT.min(self.old.extent_size);
                let text = format!("Using default stripesize {}", show(size));
                notices.push(Notice::print(text));
                size
            }
            None => {
                let text = format!("Using stripesize of last segment {}", show(last_size));
                notices.push(Notice::print(text));
                last_size
            }
        };
        Ok((count, size))
    }

    fn check_stripe_size(
        &self,
        size: Sectors,
        notices: &mut Vec<Notice>,
    ) -> Result<Sectors, OpError> {
        let max = self.old.extent_size;
        if size > max {
            notices.push(Notice::print(format!(
                "Reducing stripe size {} to maximum, physical extent size {}.",
                show(size),
                show(max)
            )));
            return Ok(max);
        }
        if !size.0.is_power_of_two() {
            return Err(OpError::refused("Stripe size must be power of 2."));
        }
        Ok(size)
    }

    /// Extents for so many copies of so many stripes; none if there are none and none will do.
    fn space(
        &self,
        lv: &Lv,
        more: Extents,
        copies: usize,
        stripes: u32,
        at_most: bool,
    ) -> Result<Vec<Piece>, OpError> {
        let policy = match self.request.alloc.unwrap_or(lv.alloc) {
            AllocPolicy::Inherit => self.old.alloc,
            other => other,
        };
        let map = match self.offered {
            Some(list) => FreeMap::new(self.old, self.usage, list),
            None => FreeMap::whole(self.old, self.usage),
        };
        let copies = u32::try_from(copies).unwrap_or(u32::MAX);
        let request = alloc::Request {
            lv_name: &lv.name,
            extends: Some(lv),
            extents: more,
            parallel: stripes.saturating_mul(copies),
            per_area: stripes,
            policy,
            at_most,
            beside: alloc::Beside::Nothing,
            avoid: &[],
            config: self.request.config,
        };
        match alloc::allocate(self.old, map, &request) {
            Ok(found) => Ok(found.pieces),
            // "At most" is kept by nothing, too.
            Err(AllocError::NoneSuitable { .. }) => Ok(Vec::new()),
            Err(e) => Err(OpError::no_space(e.message(&lv.name))),
        }
    }

    fn place(
        &self,
        lv: &mut Lv,
        more: Extents,
        stripes: u32,
        stripe_size: Sectors,
        at_most: bool,
    ) -> Result<(), OpError> {
        let pieces = self.space(lv, more, 1, stripes, at_most)?;
        append_pieces(lv, &pieces, stripe_size);
        Ok(())
    }
}

/// By how much the LV grows, as a multiple of the stripes: up, or down when "at most" would exceed
/// what is free.
fn round_to_stripes(
    existing: Extents,
    target: &Target,
    stripes: u32,
    free: u64,
    notices: &mut Vec<Notice>,
) -> Result<Extents, OpError> {
    let more = target.extents - existing.get();
    let stripes = u64::from(stripes);
    let rest = more % stripes;
    let down = target.at_most && more + stripes - rest > free;
    let rounded = match rest {
        0 => more,
        _ if down => more - rest,
        _ => more + stripes - rest,
    };
    let new = u32::try_from(existing.get() + rounded)
        .map(Extents)
        .map_err(|_| OpError::limit(format!("The LV would exceed {} extents.", u32::MAX)))?;
    if rest != 0 && down {
        notices.push(Notice::print(format!(
            "Rounding size ({} extents) down to stripe boundary size for segment ({new} extents)",
            target.extents
        )));
    } else if rest != 0 {
        notices.push(rounding(target.extents, new));
    }
    Ok(Extents(new.0 - existing.0))
}
