//! lvcreate

use ulvm::error::{Error, Result};
use ulvm::host;
use ulvm::inventory::{DeviceKind, VgRead};
use ulvm::lv_wipe::{self, Start};
use ulvm::session::{Allow, RandomIds, Session};
use ulvm_metadata::model::{AllocPolicy, Creation, ReadAhead};
use ulvm_metadata::notice::Notice;
use ulvm_metadata::ops::lv_change::{check_minor, whole_pages};
use ulvm_metadata::ops::lv_create::{
    Layout, LvCreate, STRIPE_SIZE_DEFAULT, STRIPE_SIZE_MIN, STRIPES_MAX, lv_create,
};
use ulvm_metadata::ops::lv_name::check_chosen;
use ulvm_metadata::ops::lv_remove::lv_remove;
use ulvm_metadata::ops::size::{Sign, show};
use ulvm_metadata::units::Sectors;

use super::lv_activation::{self, Wanted};
use super::lv_args::{
    Name, alloc_config, invalid, parse_name, pv_args, read_ahead, size, usage, vg_operand,
};
use super::lv_mirror_args::{self as mirrors, Kind};
use super::segtypes::SEGTYPES;
use super::vg_args::{done, sectors, tags};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

const COMMAND: &str = "lvcreate";

/// Options that ask for a type that is not created yet, with that type.
const OTHER_TYPES: &[(Opt, &str)] = &[
    (Opt::Snapshot, "snapshot"),
    (Opt::Thin, "thin"),
    (Opt::Thinpool, "thin"),
    (Opt::Cache, "cache"),
    (Opt::Cachepool, "cache"),
    (Opt::Cachevol, "cache"),
    (Opt::Cachedevice, "cache"),
    (Opt::Vdo, "vdo"),
    (Opt::Vdopool, "vdo"),
    (Opt::VirtualSize, "thin"),
    (Opt::Virtualoriginsize, "snapshot"),
];

/// Creates a logical volume.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    refuse_other_types(ctx, args)?;
    let (vg, name, pvs) = operands(ctx, args)?;
    let layout = layout(ctx, args)?;
    let Some(size) = size(args, COMMAND)? else {
        return Err(wrong_syntax(COMMAND));
    };
    if size.sign == Sign::Minus {
        let (opt, what) = match args.text(Opt::Size) {
            Some(_) => (Opt::Size, "Size"),
            None => (Opt::Extents, "Extents"),
        };
        let why = format!("{what} may not be negative.");
        return Err(invalid(opt, args.text(opt).unwrap_or_default(), Some(&why)));
    }
    if let Some(name) = &name {
        check_chosen(name).map_err(|e| usage(COMMAND, e))?;
    }
    let config = alloc_config(ctx);
    let tags = tags(args, Opt::AddTag)?;
    let fixed_minor = fixed_minor(ctx, args)?;
    let mut notices = Vec::new();
    let read_ahead = whole_pages(read_ahead(args)?.unwrap_or(ReadAhead::Auto), &mut notices);
    notices.iter().for_each(|n| ctx.ui().say(n));
    let writable = args.text(Opt::Permission) != Some("r");

    let mut session = ctx.session()?;
    let read = session.vg_for_write(&vg, Allow::default())?;
    let named = pv_args(&session, &read, pvs)?;
    let request = LvCreate {
        name: name.as_deref(),
        size,
        layout,
        pvs: (!pvs.is_empty()).then_some(named.as_slice()),
        alloc: policy(args),
        tags: &tags,
        writable,
        fixed_minor,
        read_ahead,
        activation_skip: args.yes_no(Opt::SetActivationSkip) == Some(true),
        no_autoactivate: args.yes_no(Opt::SetAutoActivation) == Some(false),
        profile: args.metadata_profile(),
        creation: Creation {
            time: host::now(),
            host: host::name(),
        },
        config: &config,
    };
    let outcome = lv_create(&read.vg, &request, &mut RandomIds);
    let created = done(&session, outcome)?;
    let start = start(ctx, args, writable, layout);
    // Nothing may be wiped for an LV that cannot be written.
    session.check_fits(&read, &created.vg)?;
    lv_wipe::prepare(&session, &read, &created.vg, created.value, start)?;
    let lv = created.vg.lvs[created.value].name.clone();
    if !start.zero && !matches!(layout, Layout::Error | Layout::Zero) {
        let text = format!("Logical volume {vg}/{lv} not zeroed.");
        session.ui().say(&Notice::warn(text));
    }
    let now = session.commit(&read, created.vg)?;
    if let Some(wanted) = activation_wanted(args, &session, &read) {
        let activated = lv_activation::live(ctx, false).and_then(|mut live| {
            let lv = (created.value, wanted);
            lv_activation::activate(ctx, args, &mut live, &session, &now, lv)
        });
        if let Err(error) = activated {
            let undone = done(&session, lv_remove(&now.vg, created.value));
            undone.and_then(|undone| session.commit(&now, undone.vg))?;
            return Err(error.and(format!("Failed to activate new LV {vg}/{lv}.")));
        }
    }
    session
        .ui()
        .print(format!("Logical volume \"{lv}\" created."));
    session.leave();
    Ok(())
}

/// Is the new LV to be active? On plain files alone only if the user says so: there is no kernel
/// that would want a device node of it.
fn activation_wanted(args: &Args, session: &Session, read: &VgRead) -> Option<Wanted> {
    match lv_activation::wanted(args) {
        Some(Wanted::Off) => None,
        Some(wanted) => Some(wanted),
        None => {
            let inventory = session.inventory();
            let mut devices = read.vg.pvs.keys().filter_map(|pv| read.pv(pv).device());
            let block = devices.any(|d| inventory.device(d).kind != DeviceKind::File);
            block.then_some(Wanted::On)
        }
    }
}

/// VG, LV name if one was given, and PV operands.
fn operands<'a>(ctx: &Context, args: &'a Args) -> Result<(String, Option<String>, &'a [String])> {
    let named = match args.text(Opt::Name) {
        Some(text) => Some(parse_name(text).map_err(|e| usage(COMMAND, e))?),
        None => None,
    };
    let (by_name, name) = match named {
        Some(Name::Path { vg, lv }) => (Some(vg), Some(lv)),
        Some(Name::Plain(lv)) => (None, Some(lv)),
        None => (None, None),
    };
    let (vg, pvs) = match (args.operands(), by_name) {
        ([], Some(vg)) => (vg, &[][..]),
        ([], None) => match &ctx.settings().env.vg_name {
            Some(vg) => (vg.clone(), &[][..]),
            None => return Err(wrong_syntax(COMMAND)),
        },
        ([first, pvs @ ..], by_name) => {
            let vg = vg_operand(COMMAND, first)?;
            if let Some(other) = by_name.filter(|o| *o != vg) {
                let text =
                    format!("Inconsistent volume group names given: \"{other}\" and \"{vg}\"");
                return Err(usage(COMMAND, text));
            }
            (vg, pvs)
        }
    };
    Ok((vg, name, pvs))
}

/// Before anything else is looked at: those types take operands of their own.
fn refuse_other_types(ctx: &Context, args: &Args) -> Result<()> {
    let by_name = match args.text(Opt::Type) {
        Some(word) if !SEGTYPES.contains(&word) => {
            ctx.ui().warn(format!("Unrecognised segment type {word}"));
            return Err(invalid(Opt::Type, word, None));
        }
        Some("linear" | "striped" | "raid1" | "mirror" | "error" | "zero") | None => None,
        Some(other) => Some(other),
    };
    let by_option = || OTHER_TYPES.iter().find(|(o, _)| args.has(*o));
    match by_name.or_else(|| by_option().map(|(_, word)| *word)) {
        Some(word) => Err(Error::refused(format!(
            "Creating logical volumes of type {word} is not supported yet."
        ))),
        None => Ok(()),
    }
}

/// Type, stripes and stripe size.
fn layout(ctx: &Context, args: &Args) -> Result<Layout> {
    let copies = mirrors::wanted(ctx, args, COMMAND)?;
    match copies {
        Some((Kind::Raid1, legs)) => return Ok(Layout::Raid1(mirrors::raid1(ctx, args, legs)?)),
        Some((Kind::Mirror, legs)) => {
            let stripes = match striped(ctx, args)? {
                Layout::Striped {
                    stripes,
                    stripe_size,
                } => (stripes, stripe_size),
                _ => (1, Sectors::ZERO),
            };
            let new = mirrors::mirror(ctx, args, legs, stripes)?;
            return Ok(Layout::Mirror(new));
        }
        None => {}
    }
    let word = args.text(Opt::Type);
    let refuse = |opt: Opt| {
        let value = args.text(opt).unwrap_or_default();
        Err(Error::usage(format!(
            "Command does not accept option: --{} {value}.",
            opt.spec().long
        )))
    };
    match word {
        Some("error") => return Ok(Layout::Error),
        Some("zero") => return Ok(Layout::Zero),
        Some("linear") if args.has(Opt::Stripes) => return refuse(Opt::Stripes),
        _ => {}
    }
    if args.has(Opt::StripeSize) && !args.has(Opt::Stripes) && word != Some("striped") {
        return refuse(Opt::StripeSize);
    }
    striped(ctx, args)
}

/// Stripes and stripe size, or linear.
fn striped(ctx: &Context, args: &Args) -> Result<Layout> {
    let stripes = args.number(Opt::Stripes).unwrap_or(1);
    let stripe_size = sectors(args, Opt::StripeSize)?;
    match u32::try_from(stripes) {
        Ok(0) => Err(usage(COMMAND, "--stripes may not be zero.")),
        Ok(1) => {
            if stripe_size.is_some() {
                ctx.ui()
                    .print("Ignoring stripesize argument with single stripe.");
            }
            Ok(Layout::Linear)
        }
        Ok(stripes) if stripes <= STRIPES_MAX => {
            let stripe_size = stripe_size.unwrap_or_else(|| {
                let text = format!("Using default stripesize {}.", show(STRIPE_SIZE_DEFAULT));
                ctx.ui().print(text);
                STRIPE_SIZE_DEFAULT
            });
            if stripe_size < STRIPE_SIZE_MIN || !stripe_size.0.is_power_of_two() {
                let text = format!("Invalid stripe size {}.", show(stripe_size));
                return Err(usage(COMMAND, text));
            }
            Ok(Layout::Striped {
                stripes,
                stripe_size,
            })
        }
        _ => {
            let text =
                format!("Number of stripes ({stripes}) must be between 1 and {STRIPES_MAX}.");
            Err(usage(COMMAND, text))
        }
    }
}

/// `--alloc` and `--contiguous`.
fn policy(args: &Args) -> AllocPolicy {
    match args.text(Opt::Alloc).and_then(AllocPolicy::from_word) {
        Some(AllocPolicy::ClingByTags) => AllocPolicy::Cling,
        Some(policy) => policy,
        None if args.yes_no(Opt::Contiguous) == Some(true) => AllocPolicy::Contiguous,
        None => AllocPolicy::Inherit,
    }
}

/// `--persistent y --minor N`
fn fixed_minor(ctx: &Context, args: &Args) -> Result<Option<u32>> {
    if args.text(Opt::Persistent) != Some("y") {
        return Ok(None);
    }
    let Some(minor) = args.number(Opt::Minor) else {
        return Err(Error::refused(
            "Please specify minor number with --minor when using -My.",
        ));
    };
    let minor = check_minor(minor).map_err(|e| Error::refused(e.message))?;
    lv_activation::warn_major(ctx, args);
    Ok(Some(minor))
}

/// `--zero` and `--wipesignatures` with their defaults: a read-only LV is left as it is.
fn start(ctx: &Context, args: &Args, writable: bool, layout: Layout) -> Start {
    if matches!(layout, Layout::Error | Layout::Zero) {
        return Start {
            zero: false,
            wipe: false,
        };
    }
    let zero = args.yes_no(Opt::Zero).unwrap_or(writable);
    let with_zero = ctx
        .config()
        .bool("allocation/wipe_signatures_when_zeroing_new_lvs");
    let wipe = args
        .yes_no(Opt::WipeSignatures)
        .unwrap_or(zero && with_zero);
    Start { zero, wipe }
}
