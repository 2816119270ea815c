//! `raid1 N DEV OFFSET ... [nosync]`: the historical driver's line. It has no log; everything is
//! copied from the first leg at each start, unless `nosync` follows.

use super::super::{Config, Leg, LegDevices, LogKind, Start};
use crate::io::Sectors;
use crate::target::{ArgError, Args, DevIndex, Devices};

/// Regions are as large as LVM2's: half a MiB. Large mirrors have larger ones.
const REGION: u64 = 1024;

/// Reads the words after `raid1`.
pub fn parse(
    args: &mut Args<'_>,
    len: Sectors,
    devices: &mut dyn Devices,
) -> Result<Config, ArgError> {
    let count = args.number("number of copies", Config::MAX_LEGS as u64)?;
    if count == 0 {
        return Err(args.at_last("number of copies is 0"));
    }
    let mut legs = Vec::new();
    for _ in 0..count {
        legs.push(leg(args.device_and_offset(devices, len)?));
    }
    let start = match args.left() {
        0 => Start::Marks,
        _ => match args.word("nosync")? {
            "nosync" => Start::NoSync,
            other => {
                let what = format!("only \"nosync\" may follow the copies, not \"{other}\"");
                return Err(args.at_last(what));
            }
        },
    };
    args.end()?;
    let least = len.0.div_ceil(Config::MAX_REGIONS).next_power_of_two();
    Ok(Config {
        len,
        legs,
        region: Sectors(least.max(REGION)),
        log: LogKind::None,
        start,
        min_rate: None,
        max_rate: None,
    })
}

/// A copy that the line has in its plainest form.
pub(super) fn leg((data, offset): (DevIndex, Sectors)) -> Leg {
    Leg {
        devices: Some(LegDevices {
            data,
            offset,
            meta: None,
        }),
        write_mostly: false,
        rebuild: false,
    }
}

/// The words after `raid1`.
pub(super) fn args(config: &Config, name: &dyn Fn(DevIndex) -> String) -> String {
    let nosync = match config.start {
        Start::NoSync => " nosync",
        Start::Marks | Start::Sync => "",
    };
    super::pairs(config, name) + nosync
}
