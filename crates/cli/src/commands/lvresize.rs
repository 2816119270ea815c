//! lvextend, lvreduce and lvresize

use std::cmp::Ordering;

use ulvm::activate::live::Live;
use ulvm::activate::plan::{Filler, Missing};
use ulvm::error::{Error, Result};
use ulvm::filesystem::Change;
use ulvm::inventory::VgRead;
use ulvm::session::{Allow, Session};
use ulvm_metadata::model::{AllocPolicy, LvKey, SegmentKind, Vg};
use ulvm_metadata::ops::lv_create::STRIPES_MAX;
use ulvm_metadata::ops::lv_resize::{Direction, LvResize, lv_resize};
use ulvm_metadata::ops::lv_tree::{full_name, is_visible};
use ulvm_metadata::ops::size::{Amount, PercentOf, Sign, Size, show};
use ulvm_metadata::units::Extents;

use super::content::missing;
use super::lv_activation::{Reduction, before_reduction, live};
use super::lv_args::{alloc_config, invalid, lv_path, pv_args, size, usage};
use super::lv_filesystem::Follower;
use super::lv_mirror_args::copies;
use super::vg_args::{done, sectors};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Makes a logical volume larger.
pub fn extend(ctx: &Context, args: &Args) -> Result<()> {
    run(ctx, args, "lvextend", Direction::Extend)
}

/// Makes a logical volume smaller.
pub fn reduce(ctx: &Context, args: &Args) -> Result<()> {
    run(ctx, args, "lvreduce", Direction::Reduce)
}

/// Changes the size of a logical volume.
pub fn resize(ctx: &Context, args: &Args) -> Result<()> {
    run(ctx, args, "lvresize", Direction::Either)
}

fn run(ctx: &Context, args: &Args, command: &str, direction: Direction) -> Result<()> {
    let [lv, pvs @ ..] = args.operands() else {
        return Err(wrong_syntax(command));
    };
    let size = match size(args, command)? {
        Some(size) => size,
        // All there is on the PVs named.
        None if direction != Direction::Reduce && !pvs.is_empty() => Size {
            sign: Sign::Plus,
            amount: Amount::Percent(100, PercentOf::Pvs),
        },
        None => return Err(wrong_syntax(command)),
    };
    check_sign(args, size, direction)?;
    let stripes = stripes(args, command)?;
    let (vg, lv) = lv_path(ctx, command, lv)?;
    let config = alloc_config(ctx);
    let mut session = ctx.session()?;
    let read = session.vg_for_write(&vg, Allow::default())?;
    let key = read.vg.find_lv(&lv).ok_or_else(|| {
        Error::not_found(format!(
            "Logical volume {lv} not found in volume group {vg}."
        ))
    })?;
    if !is_visible(&read.vg, key) {
        let text = format!("Operation not permitted on hidden LV {vg}/{lv}.");
        return Err(Error::refused(text));
    }
    refuse_unsupported(args, &vg, &lv)?;
    check_copies(args, &read.vg, key)?;
    let mut live = live(ctx, false)?;
    let named = pv_args(&session, &read, pvs)?;
    let outcome = lv_resize(
        &read.vg,
        &LvResize {
            lv: key,
            direction,
            size,
            stripes,
            stripe_size: sectors(args, Opt::StripeSize)?,
            pvs: (!pvs.is_empty()).then_some(named.as_slice()),
            copies_given: args.has(Opt::Mirrors),
            alloc: args.text(Opt::Alloc).and_then(AllocPolicy::from_word),
            config: &config,
        },
    );
    let resized = done(&session, outcome)?;
    let filler = missing(ctx, args, Filler::Error);
    let bytes = |extents: Extents| {
        let size = extents.to_sectors(read.vg.extent_size).to_bytes();
        size.ok_or_else(|| Error::refused(format!("{vg}/{lv} would be too large.")))
    };
    let change = Change {
        old: bytes(resized.value.old)?,
        new: bytes(resized.value.new)?,
    };
    let mut follower = Follower::new(&session, args, &live, (&read, key), change)?;
    match change.new.cmp(&change.old) {
        Ordering::Less => {
            confirm(
                &session,
                &mut live,
                args,
                (&read.vg, key),
                change,
                &follower,
            )?;
            follower.before(&session)?;
            shrink(&mut session, &mut live, (&read, key), resized.vg, filler)
                .map_err(|e| follower.undo(&session, e))?;
        }
        Ordering::Greater => {
            follower.before(&session)?;
            let now = session
                .commit(&read, resized.vg)
                .map_err(|e| follower.undo(&session, e))?;
            live.reload(&session, &now, key, filler)
                .map_err(|e| follower.undo(&session, e))?;
        }
        Ordering::Equal => {}
    }
    follower.after(&session)?;
    session
        .ui()
        .print(format!("Logical volume {vg}/{lv} successfully resized."));
    Ok(())
}

/// Asks before anything that somebody may want is cut off.
fn confirm(
    session: &Session,
    live: &mut Live,
    args: &Args,
    (vg, lv): (&Vg, LvKey),
    change: Change,
    follower: &Follower,
) -> Result<()> {
    if follower.kept {
        return Ok(());
    }
    if let Some(stake) = &follower.at_stake {
        session.ui().warn(format!(
            "{stake} on {} reaches beyond the new size: its end would be lost. --resizefs reduces it first.",
            full_name(vg, lv)
        ));
    }
    let reduction = Reduction {
        size: show(change.new.sectors_floor()),
        stake: follower.at_stake.is_some(),
        force: args.force(),
    };
    before_reduction(session, live, (vg, lv), &reduction)
}

/// The device is smaller before its extents are anybody else's.
fn shrink(
    session: &mut Session,
    live: &mut Live,
    (read, lv): (&VgRead, LvKey),
    vg: Vg,
    filler: Missing,
) -> Result<()> {
    let smaller = read.with(vg.clone());
    live.reload(session, &smaller, lv, filler)?;
    let committed = session.commit(read, vg);
    committed.map_err(|e| match live.reload(session, read, lv, filler) {
        Ok(()) => e,
        Err(back) => e.and(back.to_string()),
    })?;
    Ok(())
}

/// lvextend takes nothing away, lvreduce adds nothing.
fn check_sign(args: &Args, size: Size, direction: Direction) -> Result<()> {
    let wrong = match (direction, size.sign) {
        (Direction::Extend, Sign::Minus) => "negative",
        (Direction::Reduce, Sign::Plus) => "positive",
        _ => return Ok(()),
    };
    let (opt, what) = match size.amount {
        Amount::Sectors(_) => (Opt::Size, "Size"),
        _ => (Opt::Extents, "Extents"),
    };
    let value = args.text(opt).unwrap_or_default();
    let why = format!("{what} may not be {wrong}.");
    Err(invalid(opt, value, Some(&why)))
}

/// `-m` with another number of copies than the LV has: that is for `lvconvert`.
fn check_copies(args: &Args, vg: &Vg, lv: LvKey) -> Result<()> {
    let Some(beside) = copies(args)? else {
        return Ok(());
    };
    let count = match vg.lvs[lv].segments.first().map(|s| &s.kind) {
        Some(SegmentKind::Mirror(mirror)) => mirror.legs.len(),
        Some(SegmentKind::Raid(raid)) => raid.images.len(),
        _ => 1,
    };
    if count != beside as usize + 1 {
        return Err(Error::refused("Cannot vary number of mirrors in LV yet."));
    }
    Ok(())
}

fn stripes(args: &Args, command: &str) -> Result<Option<u32>> {
    let Some(n) = args.number(Opt::Stripes) else {
        return Ok(None);
    };
    match u32::try_from(n) {
        Ok(0) => Err(usage(command, "--stripes may not be zero.")),
        Ok(n) if n <= STRIPES_MAX => Ok(Some(n)),
        _ => {
            let text = format!("Number of stripes ({n}) must be between 1 and {STRIPES_MAX}.");
            Err(usage(command, text))
        }
    }
}

/// What would need a mirror or a pool.
fn refuse_unsupported(args: &Args, vg: &str, lv: &str) -> Result<()> {
    if args.has(Opt::Poolmetadatasize) || args.has(Opt::Usepolicies) {
        return Err(Error::refused(format!(
            "Logical volume {vg}/{lv} is not a pool or snapshot that can be resized this way."
        )));
    }
    Ok(())
}
