//! What a command line says of copies: `-m`, `--type raid1|mirror`, `--mirrorlog`, `-R`, `--nosync`
//! and recovery rates.

use ulvm::error::{Error, Result};
use ulvm_metadata::ops::mirror::{
    MIRROR_LEGS_MAX, NewMirror, NewRaid1, RAID1_LEGS_MAX, check_region_size,
};
use ulvm_metadata::units::Sectors;

use super::lv_args::{invalid, usage};
use super::vg_args::sectors;
use crate::args::{Args, Opt};
use crate::context::Context;

/// The sort of a mirror.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// dm-raid's.
    Raid1,
    /// dm-mirror's.
    Mirror,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Raid1 => "raid1",
            Self::Mirror => "mirror",
        }
    }
}

/// An option that goes with another type than the one asked for.
pub fn refuse(args: &Args, opt: Opt) -> Error {
    let long = opt.spec().long;
    Error::usage(match args.text(opt) {
        Some(value) => format!("Command does not accept option: --{long} {value}."),
        None => format!("Command does not accept option: --{long}."),
    })
}

/// Number of copies beside the first that `-m` names, without a sign.
pub fn copies(args: &Args) -> Result<Option<u32>> {
    let Some(text) = args.text(Opt::Mirrors) else {
        return Ok(None);
    };
    if text.starts_with('-') {
        let why = "Number may not be negative.";
        return Err(invalid(Opt::Mirrors, text, Some(why)));
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let number = digits.parse();
    number
        .map(Some)
        .map_err(|_| invalid(Opt::Mirrors, text, None))
}

/// Region size: `-R`, or the configured one.
pub fn region(ctx: &Context, args: &Args) -> Result<Sectors> {
    if let Some(region) = sectors(args, Opt::RegionSize)? {
        check_region_size(region).map_err(|e| {
            let text = args.text(Opt::RegionSize).unwrap_or_default();
            invalid(Opt::RegionSize, text, Some(&e.message))
        })?;
        return Ok(region);
    }
    configured_region(ctx)
}

/// The region size of mirrors for which none is given.
pub fn configured_region(ctx: &Context) -> Result<Sectors> {
    let kib = ctx.config().int("activation/raid_region_size");
    let region = Sectors(u64::try_from(kib).unwrap_or(0).saturating_mul(2));
    check_region_size(region).map_err(|e| Error::refused(e.message))?;
    Ok(region)
}

/// A recovery rate in KiB per second and device.
pub fn rate(args: &Args, names: [Opt; 2]) -> Result<Option<u32>> {
    let Some(opt) = names.into_iter().find(|opt| args.has(*opt)) else {
        return Ok(None);
    };
    let kib = sectors(args, opt)?.map(|size| size.0 / 2);
    kib.map(|n| {
        let text = args.text(opt).unwrap_or_default();
        u32::try_from(n).map_err(|_| invalid(opt, text, None))
    })
    .transpose()
}

/// `--minrecoveryrate` and its old name.
pub const MIN_RATE: [Opt; 2] = [Opt::Minrecoveryrate, Opt::Raidminrecoveryrate];
/// `--maxrecoveryrate` and its old name.
pub const MAX_RATE: [Opt; 2] = [Opt::Maxrecoveryrate, Opt::Raidmaxrecoveryrate];

/// The sort of mirror a new LV shall be, and its copies; `None` if it is none.
pub fn wanted(ctx: &Context, args: &Args, command: &str) -> Result<Option<(Kind, u32)>> {
    let beside = copies(args)?;
    let word = args.text(Opt::Type);
    let kind = match (word, beside) {
        (Some("raid1"), _) => Kind::Raid1,
        (Some("mirror"), _) => Kind::Mirror,
        (None, Some(0)) => {
            ctx.ui().print("Redundant mirrors argument: default is 0");
            check_unused(args, command, word)?;
            return Ok(None);
        }
        (None, Some(_)) if args.number(Opt::Stripes).unwrap_or(1) > 1 => {
            return Err(Error::refused(
                "Creating logical volumes of type raid10 is not supported yet.",
            ));
        }
        (None, Some(_)) => match ctx.config().str("global/mirror_segtype_default").as_str() {
            "mirror" => Kind::Mirror,
            _ => Kind::Raid1,
        },
        (_, Some(_)) => return Err(refuse(args, Opt::Mirrors)),
        (_, None) => {
            check_unused(args, command, word)?;
            return Ok(None);
        }
    };
    let beside = beside.unwrap_or(1);
    if beside == 0 {
        let text = format!(
            "--mirrors must be at least 1 with segment type {}.",
            kind.word()
        );
        return Err(usage(command, text));
    }
    check_kind(args, command, kind)?;
    let most = match kind {
        Kind::Raid1 => RAID1_LEGS_MAX,
        Kind::Mirror => MIRROR_LEGS_MAX,
    };
    match beside.checked_add(1).filter(|legs| *legs <= most) {
        Some(legs) => Ok(Some((kind, legs))),
        None => {
            let text = format!(
                "Only up to {most} mirrors in {} supported currently.",
                kind.word()
            );
            Err(usage(command, text))
        }
    }
}

/// Options that say something about copies where there are none.
fn check_unused(args: &Args, command: &str, word: Option<&str>) -> Result<()> {
    for opt in [Opt::Mirrorlog, Opt::Corelog] {
        if args.has(opt) {
            return Err(match word {
                Some(_) => refuse(args, opt),
                None => only_with_mirrors(command, opt),
            });
        }
    }
    if args.has(Opt::Nosync) {
        let text = "--nosync is supported only with mirrors or raids.";
        return Err(usage(command, text));
    }
    let rest = MIN_RATE.into_iter().chain(MAX_RATE);
    match rest.chain([Opt::RegionSize]).find(|opt| args.has(*opt)) {
        Some(opt) => Err(refuse(args, opt)),
        None => Ok(()),
    }
}

fn only_with_mirrors(command: &str, opt: Opt) -> Error {
    let text = format!("--{} is supported only with mirrors.", opt.spec().long);
    usage(command, text)
}

/// Options that go with the other sort.
fn check_kind(args: &Args, command: &str, kind: Kind) -> Result<()> {
    match kind {
        Kind::Raid1 => {
            if args.has(Opt::SetAutoActivation) {
                let text = "Option --setautoactivation is unsupported with raids.";
                return Err(usage(command, text));
            }
            for opt in [Opt::Mirrorlog, Opt::Corelog] {
                if args.has(opt) {
                    return Err(match args.has(Opt::Type) {
                        true => refuse(args, opt),
                        false => only_with_mirrors(command, opt),
                    });
                }
            }
            if args.number(Opt::Stripes).unwrap_or(1) > 1 {
                let text = "Stripes argument cannot be used with segment type, raid1";
                return Err(usage(command, text));
            }
        }
        Kind::Mirror => {
            let mut rates = MIN_RATE.into_iter().chain(MAX_RATE);
            if let Some(opt) = rates.find(|opt| args.has(*opt)) {
                return Err(refuse(args, opt));
            }
        }
    }
    Ok(())
}

/// A new raid1 LV.
pub fn raid1(ctx: &Context, args: &Args, legs: u32) -> Result<NewRaid1> {
    Ok(NewRaid1 {
        legs,
        region: region(ctx, args)?,
        nosync: args.has(Opt::Nosync),
        min_recovery_rate: rate(args, MIN_RATE)?,
        max_recovery_rate: rate(args, MAX_RATE)?,
    })
}

/// A new mirror LV with so many stripes.
pub fn mirror(
    ctx: &Context,
    args: &Args,
    legs: u32,
    (stripes, stripe_size): (u32, Sectors),
) -> Result<NewMirror> {
    Ok(NewMirror {
        legs,
        stripes,
        stripe_size,
        region: region(ctx, args)?,
        nosync: args.has(Opt::Nosync),
        disk_log: disk_log(args)?.unwrap_or(true),
    })
}

/// Is the log to be on disk? `None` if nothing is said of it.
pub fn disk_log(args: &Args) -> Result<Option<bool>> {
    match args.text(Opt::Mirrorlog) {
        Some("core") => Ok(Some(false)),
        Some("mirrored") => Err(Error::refused(
            "Log type \"mirrored\" is DEPRECATED. Use RAID1 LV or disk log instead.",
        )),
        Some(_) if args.has(Opt::Corelog) => Err(Error::refused(
            "Please use only one of --corelog or --mirrorlog",
        )),
        Some(_) => Ok(Some(true)),
        None if args.has(Opt::Corelog) => Ok(Some(false)),
        None => Ok(None),
    }
}
