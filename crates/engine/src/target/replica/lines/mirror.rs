//! `mirror LOG #ARGS ARG... N DEV OFFSET ... [#FEATURES FEATURE...]`: device-mapper's mirror. LOG is
//! `core` (REGION [sync|nosync]) or `disk` (DEV REGION [sync|nosync]).

use super::super::{Config, LogKind, MirrorArgs, Start};
use super::raid1::leg;
use crate::io::Sectors;
use crate::target::{ArgError, Args, DevIndex, Devices};

/// As many as the kernel copies to at once, and one.
const MAX_LEGS: u64 = 9;

/// Reads the words after `mirror`.
pub fn parse(
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Config, ArgError> {
    let word = args.word("type of log")?;
    let disk = match word {
        "core" => false,
        "disk" => true,
        other => {
            let what = format!("unknown type of log \"{other}\" (core and disk are known)");
            return Err(args.at_last(what));
        }
    };
    let least = 1 + u64::from(disk);
    let count = args.number("number of log arguments", least + 2)?;
    if count < least {
        return Err(args.at_last(format!("a {word} log has at least {least} arguments")));
    }
    let device = match disk {
        true => Some(device(args, devices)?),
        false => None,
    };
    let region = region(args, len)?;
    let mut it = MirrorArgs::default();
    let start = log_words(args, count - least, &mut it)?;
    let count = args.number("number of legs", MAX_LEGS)?;
    if count < 2 {
        return Err(args.at_last("a mirror has at least 2 legs"));
    }
    let mut legs = Vec::new();
    for _ in 0..count {
        legs.push(leg(args.device_and_offset(devices, len)?));
    }
    features(args, &mut it)?;
    args.end()?;
    let log = match device {
        None => LogKind::Core(it),
        Some(device) => LogKind::Disk { device, args: it },
    };
    Ok(Config {
        len,
        legs,
        region,
        log,
        start,
        min_rate: None,
        max_rate: None,
    })
}

fn device(args: &mut Args<'_>, devices: &mut dyn Devices) -> Result<DevIndex, ArgError> {
    let word = args.word("log device")?;
    devices.device(word).map_err(|what| args.at_last(what))
}

fn region(args: &mut Args<'_>, len: Sectors) -> Result<Sectors, ArgError> {
    let region = args.number("region size", u64::from(u32::MAX))?;
    if region < 2 || !region.is_power_of_two() {
        return Err(args.at_last(format!(
            "region size {region} is not a power of two of at least 2"
        )));
    }
    if region > len.0 {
        return Err(args.at_last(format!(
            "region size {region} is larger than the length, {len}"
        )));
    }
    if len.0.div_ceil(region) > Config::MAX_REGIONS {
        return Err(args.at_last(format!("region size {region} gives too many regions")));
    }
    Ok(Sectors(region))
}

/// Words of a log behind its region size: each at most once, in any order.
fn log_words(args: &mut Args<'_>, count: u64, it: &mut MirrorArgs) -> Result<Start, ArgError> {
    let mut start = Start::Marks;
    for _ in 0..count {
        match args.word("log argument")? {
            "sync" if start == Start::Marks => start = Start::Sync,
            "nosync" if start == Start::Marks => start = Start::NoSync,
            "block_on_error" if !it.block_on_error => it.block_on_error = true,
            other => {
                let what = format!("unexpected log argument \"{other}\"");
                return Err(args.at_last(what));
            }
        }
    }
    Ok(start)
}

fn features(args: &mut Args<'_>, it: &mut MirrorArgs) -> Result<(), ArgError> {
    if args.left() == 0 {
        return Ok(());
    }
    for _ in 0..args.number("number of features", 2)? {
        match args.word("feature")? {
            "handle_errors" if !it.handle_errors => it.handle_errors = true,
            "keep_log" if !it.keep_log => it.keep_log = true,
            other => return Err(args.at_last(format!("unexpected feature \"{other}\""))),
        }
    }
    match it.keep_log && !it.handle_errors {
        true => Err(args.at_last("keep_log needs handle_errors")),
        false => Ok(()),
    }
}

/// The words after `mirror`.
pub(super) fn args(
    config: &Config,
    log: Option<DevIndex>,
    it: MirrorArgs,
    name: &dyn Fn(DevIndex) -> String,
) -> String {
    let mut words: Vec<String> = log.map(name).into_iter().collect();
    words.push(config.region.to_string());
    match config.start {
        Start::Marks => {}
        Start::Sync => words.push("sync".into()),
        Start::NoSync => words.push("nosync".into()),
    }
    if it.block_on_error {
        words.push("block_on_error".into());
    }
    let kind = if log.is_some() { "disk" } else { "core" };
    let mut text = format!("{kind} {} {} ", words.len(), words.join(" "));
    text.push_str(&super::pairs(config, name));
    let features = [
        (it.handle_errors, "handle_errors"),
        (it.keep_log, "keep_log"),
    ];
    let on: Vec<_> = features.iter().filter(|(on, _)| *on).collect();
    if !on.is_empty() {
        text.push_str(&format!(" {}", on.len()));
        on.iter()
            .for_each(|(_, word)| text.push_str(&format!(" {word}")));
    }
    text
}
