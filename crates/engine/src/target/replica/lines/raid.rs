//! `raid raid1 #PARAMS CHUNK PARAM... N META DATA ...`: dm-raid's line, of which raid1 alone is run.
//! Parameters may come in any order and are printed in dm-raid's.

use super::super::{Config, Leg, LegDevices, LogKind, RaidArgs, Start};
use crate::io::Sectors;
use crate::target::{ArgError, Args, DevIndex, Devices};

/// dm-raid's bounds.
const MAX_LEGS: u64 = 253;
const MAX_WRITE_BEHIND: u64 = 2 * 16383;
/// A bitmap has at most this many regions.
const MAX_REGIONS: u64 = 1 << 21;
/// dm-raid's default region: 4 MiB.
const REGION: u64 = 8192;

/// Levels that dm-raid has and this does not run.
const OTHERS: &[&str] = &["raid0", "raid4", "raid5", "raid6", "raid10"];

/// Reads the words after `raid`.
pub fn parse(
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Config, ArgError> {
    let level = args.word("level")?;
    if level != "raid1" {
        let known = OTHERS.iter().any(|other| level.starts_with(other));
        return Err(args.at_last(match known {
            true => format!("level {level} is not supported, raid1 alone is"),
            false => format!("unknown level \"{level}\""),
        }));
    }
    let count = args.number("number of parameters", 4096)?;
    if count == 0 {
        return Err(args.at_last("the chunk size has to be counted as a parameter"));
    }
    // Without meaning for raid1: dm-raid takes any number for 0.
    args.number("chunk size", u64::from(u32::MAX))?;
    let mut params = Params::default();
    let mut left = count - 1;
    while left > 0 {
        left -= params.take(args, left, len)?;
    }
    let raid_devices = args.number("number of legs", MAX_LEGS)?;
    if raid_devices < 2 {
        return Err(args.at_last("a raid1 has at least 2 legs"));
    }
    params.check_legs(raid_devices)?;
    let legs = legs(args, raid_devices, &params, len, devices)?;
    args.end()?;
    Ok(Config {
        len,
        legs,
        region: Sectors(params.region.unwrap_or_else(|| default_region(len))),
        log: LogKind::Raid(RaidArgs {
            daemon_sleep: params.daemon_sleep,
            write_behind: params.write_behind,
            data_offset: params.data_offset,
            region_given: params.region.is_some(),
        }),
        start: params.start,
        min_rate: params.min_rate,
        max_rate: params.max_rate,
    })
}

fn default_region(len: Sectors) -> u64 {
    len.0.div_ceil(MAX_REGIONS).next_power_of_two().max(REGION)
}

/// What the parameters say.
#[derive(Debug, Default)]
struct Params {
    start: Start,
    /// Legs, with the words' places for errors.
    rebuild: Vec<(u64, ArgError)>,
    write_mostly: Vec<(u64, ArgError)>,
    daemon_sleep: Option<u64>,
    min_rate: Option<u64>,
    max_rate: Option<u64>,
    write_behind: Option<u64>,
    region: Option<u64>,
    data_offset: Option<u64>,
}

/// Puts a value where there is none yet.
fn once(args: &Args<'_>, slot: &mut Option<u64>, word: &str, value: u64) -> Result<(), ArgError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(args.at_last(format!("{word} is given twice"))),
    }
}

impl Params {
    /// Takes the next parameter, of at most `left` words; gives how many it had.
    fn take(&mut self, args: &mut Args<'_>, left: u64, len: Sectors) -> Result<u64, ArgError> {
        let word = args.word("parameter")?;
        if matches!(word, "sync" | "nosync") {
            if self.start != Start::Marks {
                return Err(args.at_last("sync and nosync are given twice, or both"));
            }
            self.start = match word {
                "sync" => Start::Sync,
                _ => Start::NoSync,
            };
            return Ok(1);
        }
        let max = match word {
            "rebuild" | "write_mostly" => MAX_LEGS - 1,
            "daemon_sleep" | "min_recovery_rate" | "max_recovery_rate" => i32::MAX as u64,
            "max_write_behind" => MAX_WRITE_BEHIND,
            "region_size" => u64::from(u32::MAX),
            "data_offset" => i64::MAX as u64 / 512,
            "stripe_cache"
            | "raid10_copies"
            | "raid10_format"
            | "delta_disks"
            | "raid10_use_near_sets"
            | "journal_dev"
            | "journal_mode" => {
                return Err(args.at_last(format!("{word} does not go with raid1")));
            }
            other => return Err(args.at_last(format!("unknown parameter \"{other}\""))),
        };
        if left < 2 {
            let what = format!("the number of parameters ends before the value of {word}");
            return Err(args.at_last(what));
        }
        let value = args.number(word, max)?;
        let beyond = || args.at_last(format!("{word} {value}: there is no such leg"));
        match word {
            "rebuild" => self.rebuild.push((value, beyond())),
            "write_mostly" => self.write_mostly.push((value, beyond())),
            "daemon_sleep" => once(args, &mut self.daemon_sleep, word, value)?,
            "min_recovery_rate" => once(args, &mut self.min_rate, word, value)?,
            "max_recovery_rate" => once(args, &mut self.max_rate, word, value)?,
            "max_write_behind" => once(args, &mut self.write_behind, word, value)?,
            "data_offset" => once(args, &mut self.data_offset, word, value)?,
            _ => {
                check_region(args, value, len)?;
                once(args, &mut self.region, word, value)?;
            }
        }
        Ok(2)
    }

    fn check_legs(&self, count: u64) -> Result<(), ArgError> {
        let named = self.rebuild.iter().chain(&self.write_mostly);
        let beyond = named.filter(|(leg, _)| *leg >= count);
        beyond
            .map(|(_, error)| Err(error.clone()))
            .next()
            .unwrap_or(Ok(()))
    }
}

fn check_region(args: &Args<'_>, region: u64, len: Sectors) -> Result<(), ArgError> {
    let what = if !region.is_power_of_two() {
        "is not a power of two".to_owned()
    } else if region > len.0 {
        format!("is larger than the length, {len}")
    } else if len.0.div_ceil(region) > MAX_REGIONS {
        format!("gives more than {MAX_REGIONS} regions")
    } else {
        return Ok(());
    };
    Err(args.at_last(format!("region_size {region} {what}")))
}

fn legs(
    args: &mut Args<'_>,
    count: u64,
    params: &Params,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Vec<Leg>, ArgError> {
    let offset = Sectors(params.data_offset.unwrap_or(0));
    if offset
        .0
        .checked_add(len.0)
        .is_none_or(|end| end > i64::MAX as u64 / 512)
    {
        return Err(args.at_last("data_offset is too large"));
    }
    let mut legs = Vec::new();
    for n in 0..count {
        let meta = args.word("metadata device")?;
        let meta = match meta {
            "-" => None,
            word => Some(devices.device(word).map_err(|what| args.at_last(what))?),
        };
        let data = match args.word("data device")? {
            "-" => None,
            word => Some(devices.device(word).map_err(|what| args.at_last(what))?),
        };
        let devices = match (meta, data) {
            (None, None) => None,
            (Some(_), Some(data)) => Some(LegDevices { data, offset, meta }),
            (None, Some(_)) => {
                return Err(args.at_last(format!("leg {n} has no metadata device")));
            }
            (Some(_), None) => return Err(args.at_last(format!("leg {n} has no data device"))),
        };
        let among = |list: &[(u64, ArgError)]| list.iter().any(|(leg, _)| *leg == n);
        legs.push(Leg {
            devices,
            write_mostly: among(&params.write_mostly),
            rebuild: among(&params.rebuild),
        });
    }
    match legs.iter().any(|leg| leg.devices.is_some() && !leg.rebuild) {
        true => Ok(legs),
        false => Err(args.at_last("no leg is there that data could come from")),
    }
}

/// The words after `raid`.
pub(super) fn args(config: &Config, it: RaidArgs, name: &dyn Fn(DevIndex) -> String) -> String {
    let mut words = vec!["0".to_owned()];
    match config.start {
        Start::Marks => {}
        Start::Sync => words.push("sync".into()),
        Start::NoSync => words.push("nosync".into()),
    }
    let mut put = |word: &str, value: Option<u64>| {
        if let Some(value) = value {
            words.extend([word.to_owned(), value.to_string()]);
        }
    };
    for (n, leg) in config.legs.iter().enumerate() {
        put("rebuild", leg.rebuild.then_some(n as u64));
    }
    put("daemon_sleep", it.daemon_sleep);
    put("min_recovery_rate", config.min_rate);
    put("max_recovery_rate", config.max_rate);
    for (n, leg) in config.legs.iter().enumerate() {
        put("write_mostly", leg.write_mostly.then_some(n as u64));
    }
    put("max_write_behind", it.write_behind);
    put("region_size", it.region_given.then_some(config.region.0));
    put("data_offset", it.data_offset);
    let mut text = format!(
        "raid1 {} {} {}",
        words.len(),
        words.join(" "),
        config.legs.len()
    );
    for leg in &config.legs {
        let or_dash = |device: Option<DevIndex>| device.map_or("-".to_owned(), name);
        let meta = leg.devices.and_then(|d| d.meta);
        let data = leg.devices.map(|d| d.data);
        text.push_str(&format!(" {} {}", or_dash(meta), or_dash(data)));
    }
    text
}
