//! Creating LVs of the types linear, striped, raid1, mirror, error and zero.

use super::lv_segments::{append_pieces, append_virtual};
use super::mirror::build::Maker;
use super::mirror::{self, NewMirror, NewRaid1, Room};
use super::pv_args::{PvArg, pv_ranges};
use super::size::{Amount, PercentOf, Size, show};
use super::tags::TagEdit;
use super::{Done, OpError, lv_name, lv_tree};
use crate::alloc::{self, AllocConfig, FreeMap, PvRange};
use crate::model::usage::Usage;
use crate::model::{
    AllocPolicy, Creation, Lv, LvFlags, LvKey, LvStatus, ReadAhead, SegmentKind, Vg,
};
use crate::notice::Notice;
use crate::units::{Extents, Sectors};
use crate::uuid::IdSource;

/// Most stripes an LV may have.
pub const STRIPES_MAX: u32 = 128;
/// Stripe size when none is given: 64 KiB.
pub const STRIPE_SIZE_DEFAULT: Sectors = Sectors(128);
/// Smallest stripe size: a page of 4 KiB.
pub const STRIPE_SIZE_MIN: Sectors = Sectors(8);

/// How a new LV is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One area after the other.
    Linear,
    /// Over several areas in turn.
    Striped {
        /// Number of areas, 2 to [`STRIPES_MAX`].
        stripes: u32,
        /// Sectors in one area before the next one's turn; a power of two.
        stripe_size: Sectors,
    },
    /// Copies with superblocks and a bitmap: dm-raid's.
    Raid1(NewRaid1),
    /// Copies with a log or none: dm-mirror's.
    Mirror(NewMirror),
    /// Every access fails.
    Error,
    /// Reads give zeros, writes vanish.
    Zero,
}

impl Layout {
    /// Number of areas whose length adds up to the LV's.
    pub fn stripes(self) -> u32 {
        match self {
            Self::Striped { stripes, .. } => stripes,
            Self::Mirror(new) => new.stripes,
            _ => 1,
        }
    }

    /// Number of copies of the data.
    pub fn copies(self) -> u32 {
        match self {
            Self::Raid1(new) => new.legs,
            Self::Mirror(new) => new.legs,
            _ => 1,
        }
    }
}

/// What is to be created.
#[derive(Clone, Debug)]
pub struct LvCreate<'a> {
    /// Its name; `None` = `lvolN`.
    pub name: Option<&'a str>,
    /// Its size; the sign is ignored.
    pub size: Size,
    /// Its layout.
    pub layout: Layout,
    /// Where it may lie; `None` = anywhere in the VG.
    pub pvs: Option<&'a [PvArg]>,
    /// Policy, kept with the LV.
    pub alloc: AllocPolicy,
    /// Tags.
    pub tags: &'a [String],
    /// Writable.
    pub writable: bool,
    /// Minor number, kept as a fixed one.
    pub fixed_minor: Option<u32>,
    /// Read ahead.
    pub read_ahead: ReadAhead,
    /// To be skipped on activation.
    pub activation_skip: bool,
    /// Not to be activated automatically.
    pub no_autoactivate: bool,
    /// Metadata profile.
    pub profile: Option<&'a str>,
    /// When and where.
    pub creation: Creation,
    /// Settings.
    pub config: &'a AllocConfig,
}

/// Creates an LV; its key is the value.
pub fn lv_create(
    vg: &Vg,
    request: &LvCreate<'_>,
    ids: &mut dyn IdSource,
) -> Result<Done<LvKey>, OpError> {
    let mut notices = Vec::new();
    match create(vg, request, ids, &mut notices) {
        Ok((vg, key)) => Done::checked(vg, notices, key),
        Err(e) => Err(e.after(notices)),
    }
}

fn create(
    old: &Vg,
    request: &LvCreate<'_>,
    ids: &mut dyn IdSource,
    notices: &mut Vec<Notice>,
) -> Result<(Vg, LvKey), OpError> {
    let layout = check_layout(old, request.layout, notices)?;
    let usage = Usage::of(old);
    if let Some(name) = request.name {
        lv_name::check_chosen(name)?;
    }
    // A percentage of the PVs named needs them first; else rounding is told first.
    let (offered, pe_wanted) = if matches!(request.size.amount, Amount::Percent(..)) {
        let offered = offer(old, &usage, request, layout, notices)?;
        let n = extents(old, &usage, request, offered.as_deref(), notices)?;
        (offered, n)
    } else {
        let n = extents(old, &usage, request, None, notices)?;
        (offer(old, &usage, request, layout, notices)?, n)
    };
    let name = match request.name {
        Some(name) => name.to_owned(),
        None => lv_name::generate(old)?,
    };
    lv_name::check_free(old, &name)?;
    lv_name::check_not_historical(old, &name, "historical")?;
    if old.max_lv != 0 && lv_tree::visible_count(old) >= old.max_lv as usize {
        return Err(OpError::limit(format!(
            "Maximum number of logical volumes ({}) reached in volume group {}",
            old.max_lv, old.name
        )));
    }
    let free = vg_free(old, &usage);
    let at_most = matches!(request.size.amount, Amount::Percent(..)).then_some(free);
    let wanted = stripe_boundary(old, pe_wanted, layout.stripes(), at_most, notices)?;
    lv_name::check_length(&old.name, &name)?;

    let mut vg = old.clone();
    let mut lv = new_lv(request, name, ids)?;
    match layout {
        Layout::Raid1(_) | Layout::Mirror(_) => {
            let offered = offered.as_deref();
            check_room(old, &usage, request, layout, offered, wanted)?;
            let room = Room {
                usage: &usage,
                offered,
                policy: policy(old, request),
                config: request.config,
                at_most: matches!(request.size.amount, Amount::Percent(..)),
            };
            let mut maker = Maker {
                ids,
                creation: request.creation.clone(),
                alloc: request.alloc,
            };
            let key = match layout {
                Layout::Raid1(new) => {
                    mirror::new_raid1(&mut vg, &mut maker, lv, new, wanted, &room, notices)?
                }
                Layout::Mirror(new) => {
                    mirror::new_mirror(&mut vg, &mut maker, lv, new, wanted, &room, notices)?
                }
                _ => return Err(OpError::usage("No mirror.")),
            };
            return Ok((vg, key));
        }
        Layout::Error => append_virtual(&mut lv, wanted, SegmentKind::Error),
        Layout::Zero => append_virtual(&mut lv, wanted, SegmentKind::Zero),
        Layout::Linear | Layout::Striped { .. } => {
            place(old, &usage, request, layout, offered, wanted, &mut lv)?;
        }
    }
    let key = vg.lvs.push(lv);
    Ok((vg, key))
}

/// Checks stripes and stripe size; a stripe size larger than an extent is reduced to it.
fn check_layout(vg: &Vg, layout: Layout, notices: &mut Vec<Notice>) -> Result<Layout, OpError> {
    let (stripes, stripe_size) = match layout {
        Layout::Striped {
            stripes,
            stripe_size,
        } => (stripes, stripe_size),
        Layout::Mirror(new) if new.stripes > 1 => (new.stripes, new.stripe_size),
        _ => return Ok(layout),
    };
    if !(1..=STRIPES_MAX).contains(&stripes) {
        return Err(OpError::usage(format!(
            "Number of stripes ({stripes}) must be between 1 and {STRIPES_MAX}."
        )));
    }
    if stripes == 1 {
        return Ok(Layout::Linear);
    }
    if stripe_size < STRIPE_SIZE_MIN || !stripe_size.0.is_power_of_two() {
        return Err(OpError::usage(format!(
            "Invalid stripe size {}.",
            show(stripe_size)
        )));
    }
    let mut stripe_size = stripe_size;
    if stripe_size > vg.extent_size {
        notices.push(Notice::print(format!(
            "Reducing requested stripe size {} to maximum, physical extent size {}.",
            show(stripe_size),
            show(vg.extent_size)
        )));
        stripe_size = vg.extent_size;
    }
    Ok(match layout {
        Layout::Mirror(new) => Layout::Mirror(NewMirror { stripe_size, ..new }),
        _ => Layout::Striped {
            stripes,
            stripe_size,
        },
    })
}

/// The PVs and ranges named.
fn offer(
    vg: &Vg,
    usage: &Usage,
    request: &LvCreate<'_>,
    layout: Layout,
    notices: &mut Vec<Notice>,
) -> Result<Option<Vec<PvRange>>, OpError> {
    match request.pvs {
        Some(args) if !matches!(layout, Layout::Error | Layout::Zero) => {
            pv_ranges(vg, usage, args, notices).map(Some)
        }
        _ => Ok(None),
    }
}

/// Free extents of a VG, not allocatable PVs included.
pub(super) fn vg_free(vg: &Vg, usage: &Usage) -> u64 {
    vg.pvs
        .iter()
        .map(|(k, pv)| u64::from(pv.pe_count.0.saturating_sub(usage.used(k).0)))
        .sum()
}

/// All extents of a VG.
pub(super) fn vg_extents(vg: &Vg) -> u64 {
    vg.pvs.values().map(|pv| u64::from(pv.pe_count.0)).sum()
}

/// Free extents in the PVs and ranges offered.
pub(super) fn offered_free(vg: &Vg, usage: &Usage, offered: &[PvRange]) -> u64 {
    FreeMap::new(vg, usage, offered).total()
}

/// The size asked for in extents.
fn extents(
    vg: &Vg,
    usage: &Usage,
    request: &LvCreate<'_>,
    offered: Option<&[PvRange]>,
    notices: &mut Vec<Notice>,
) -> Result<u64, OpError> {
    let n = match request.size.amount {
        Amount::Extents(n) => u64::from(n),
        Amount::Sectors(size) => {
            let n = size.0.div_ceil(vg.extent_size.0);
            if size.0 % vg.extent_size.0 != 0 {
                let size = Sectors(n.saturating_mul(vg.extent_size.0));
                notices.push(Notice::print(format!(
                    "Rounding up size to full physical extent {}",
                    show(size)
                )));
            }
            n
        }
        Amount::Percent(percent, of) => {
            let base = match of {
                PercentOf::Vg => vg_extents(vg),
                PercentOf::Free => vg_free(vg, usage),
                PercentOf::Pvs => match offered {
                    Some(list) => offered_free(vg, usage, list),
                    None => vg_extents(vg),
                },
                PercentOf::Lv | PercentOf::Origin => {
                    return Err(OpError::refused(
                        "Please express size as %FREE, %PVS or %VG.",
                    ));
                }
            };
            let mut n = base.saturating_mul(u64::from(percent)) / 100;
            let free = vg_free(vg, usage);
            if of == PercentOf::Vg && n > free {
                n = free;
                let size = Sectors(n.saturating_mul(vg.extent_size.0));
                notices.push(Notice::print(format!(
                    "Reducing {percent}%VG to remaining free space {} in VG.",
                    show(size)
                )));
            }
            // Percentages count physical extents: those of every copy.
            n /= u64::from(request.layout.copies());
            if n == 0 {
                return Err(none_left());
            }
            n
        }
    };
    if n == 0 {
        return Err(OpError::usage("Size may not be zero."));
    }
    Ok(n)
}

/// Rounds to a multiple of the stripes: up, or down when "at most" would exceed what is free.
fn stripe_boundary(
    vg: &Vg,
    extents: u64,
    stripes: u32,
    at_most: Option<u64>,
    notices: &mut Vec<Notice>,
) -> Result<Extents, OpError> {
    let stripes = u64::from(stripes.max(1));
    let too_large = || {
        OpError::limit(format!(
            "Unable to create logical volume in {} with {extents} extents: the limit is {}.",
            vg.name,
            u32::MAX
        ))
    };
    let rest = extents % stripes;
    let up = extents + stripes - rest;
    let new = match at_most {
        _ if rest == 0 => extents,
        Some(free) if up > free => {
            let down = extents - rest;
            notices.push(Notice::print(format!(
                "Rounding size ({extents} extents) down to stripe boundary size ({down} extents)"
            )));
            down
        }
        _ => {
            let size = |n: u64| show(Sectors(n.saturating_mul(vg.extent_size.0)));
            notices.push(Notice::print(format!(
                "Rounding size {} ({extents} extents) up to stripe boundary size {} ({up} extents).",
                size(extents),
                size(up),
            )));
            up
        }
    };
    if new == 0 {
        return Err(none_left());
    }
    u32::try_from(new).map(Extents).map_err(|_| too_large())
}

fn none_left() -> OpError {
    OpError::no_space("Calculated size of logical volume is 0 extents. Needs to be larger.")
}

fn new_lv(request: &LvCreate<'_>, name: String, ids: &mut dyn IdSource) -> Result<Lv, OpError> {
    let mut tags = Vec::new();
    let edit = TagEdit {
        add: request.tags.to_vec(),
        del: Vec::new(),
    };
    edit.apply(&mut tags)?;
    Ok(Lv {
        id: ids.new_id(),
        name,
        status: LvStatus {
            read: true,
            write: request.writable,
            visible: true,
            fixed_minor: request.fixed_minor.is_some(),
            ..LvStatus::default()
        },
        flags: LvFlags {
            activation_skip: request.activation_skip,
            no_autoactivate: request.no_autoactivate,
            ..LvFlags::default()
        },
        unknown_flags: Vec::new(),
        tags,
        creation: Some(request.creation.clone()),
        lock_args: None,
        alloc: request.alloc,
        profile: request.profile.map(str::to_owned),
        read_ahead: request.read_ahead,
        major: request.fixed_minor.map(|_| 0),
        minor: request.fixed_minor.map(i64::from),
        segments: Vec::new(),
        extra: Vec::new(),
    })
}

/// The policy that rules where a new LV lies.
fn policy(vg: &Vg, request: &LvCreate<'_>) -> AllocPolicy {
    match request.alloc {
        AllocPolicy::Inherit => vg.alloc,
        other => other,
    }
}

/// What can be told before the places are looked for: PVs for each stripe, extents at all.
fn check_room(
    vg: &Vg,
    usage: &Usage,
    request: &LvCreate<'_>,
    layout: Layout,
    offered: Option<&[PvRange]>,
    wanted: Extents,
) -> Result<(), OpError> {
    let stripes = layout.stripes();
    let pv_count = offered.map_or(vg.pvs.len(), <[PvRange]>::len);
    if policy(vg, request) != AllocPolicy::Anywhere && stripes as usize > pv_count {
        return Err(OpError::no_space(format!(
            "Number of stripes ({stripes}) must not exceed number of physical volumes ({pv_count})"
        )));
    }
    let at_most = matches!(request.size.amount, Amount::Percent(..));
    let free = vg_free(vg, usage);
    if !at_most && u64::from(wanted.0) > free {
        return Err(OpError::no_space(format!(
            "Volume group \"{}\" has insufficient free space ({free} extents): {wanted} required.",
            vg.name
        )));
    }
    Ok(())
}

/// Allocates the extents of a linear or striped LV.
fn place(
    vg: &Vg,
    usage: &Usage,
    request: &LvCreate<'_>,
    layout: Layout,
    offered: Option<Vec<PvRange>>,
    wanted: Extents,
    lv: &mut Lv,
) -> Result<(), OpError> {
    check_room(vg, usage, request, layout, offered.as_deref(), wanted)?;
    let map = match &offered {
        Some(list) => FreeMap::new(vg, usage, list),
        None => FreeMap::whole(vg, usage),
    };
    let found = alloc::allocate(
        vg,
        map,
        &alloc::Request {
            lv_name: &lv.name,
            extends: None,
            extents: wanted,
            parallel: layout.stripes(),
            per_area: layout.stripes(),
            policy: policy(vg, request),
            at_most: matches!(request.size.amount, Amount::Percent(..)),
            beside: alloc::Beside::Nothing,
            avoid: &[],
            config: request.config,
        },
    )
    .map_err(|e| OpError::no_space(e.message(&lv.name)))?;
    let stripe_size = match layout {
        Layout::Striped { stripe_size, .. } => stripe_size,
        _ => Sectors::ZERO,
    };
    append_pieces(lv, &found.pieces, stripe_size);
    Ok(())
}
