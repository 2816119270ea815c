//! What a mirror's table line says, whichever of the three forms it has.
//!
//! Must hold of a [`Config`]: one to 256 legs; the region size is a power of two of at least one
//! sector; the number of regions fits memory ([`Config::MAX_REGIONS`]). The parsers of table lines
//! see to it; [`Config::check`] says so for the others.

use super::format::{DiskLogForm, RaidForm};
use super::{Form, Unlogged};
use crate::io::{SECTOR, Sectors};
use crate::target::DevIndex;

/// A mirror.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Its length.
    pub len: Sectors,
    /// The copies, in the order of the table.
    pub legs: Vec<Leg>,
    /// Sectors in a region, the unit of marks. A power of two.
    pub region: Sectors,
    /// Where marks are kept.
    pub log: LogKind,
    /// What is taken for equal at the start.
    pub start: Start,
    /// Background copying goes at least at this rate, in KiB a second, whatever the load. None:
    /// the default.
    pub min_rate: Option<u64>,
    /// Background copying goes at most at this rate, in KiB a second. None: as fast as it can.
    pub max_rate: Option<u64>,
}

/// A copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leg {
    /// Where it is; none if the table says that it is not there (`-`).
    pub devices: Option<LegDevices>,
    /// Read only when no other leg can be (`write_mostly`).
    pub write_mostly: bool,
    /// To be filled anew from the others (`rebuild`).
    pub rebuild: bool,
}

/// Where a leg is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LegDevices {
    /// The device with the data.
    pub data: DevIndex,
    /// Where on it the data begin.
    pub offset: Sectors,
    /// The device with superblock and bitmap; none where the form has none, or the table says `-`.
    pub meta: Option<DevIndex>,
}

/// Where marks are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// Nowhere: the historical `raid1`.
    None,
    /// In memory: `mirror core`.
    Core(MirrorArgs),
    /// On a device of their own: `mirror disk`.
    Disk {
        /// The device, from its first sector on.
        device: DevIndex,
        /// What else the line says.
        args: MirrorArgs,
    },
    /// On a metadata device of each leg: `raid raid1`.
    Raid(RaidArgs),
}

/// Words of a `mirror` line that only change what happens on errors, and how it is printed back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MirrorArgs {
    /// After an error writes wait for a new table (`handle_errors`).
    pub handle_errors: bool,
    /// The log stays in use while errors are handled (`keep_log`).
    pub keep_log: bool,
    /// `block_on_error`, the log's older word for the same.
    pub block_on_error: bool,
}

/// Words of a `raid` line that the machine does not use, kept to be printed back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RaidArgs {
    /// Seconds between two looks at marks to be cleared (`daemon_sleep`).
    pub daemon_sleep: Option<u64>,
    /// `max_write_behind`.
    pub write_behind: Option<u64>,
    /// `data_offset`, in sectors.
    pub data_offset: Option<u64>,
    /// The line gives `region_size`.
    pub region_given: bool,
}

/// What is taken for equal at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// What the marks say; without any, nothing is.
    #[default]
    Marks,
    /// Nothing: everything is copied from the first leg (`sync`).
    Sync,
    /// Everything (`nosync`).
    NoSync,
}

/// A device of a mirror, by its role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A leg's data. Bytes are counted from the leg's first.
    Data(usize),
    /// A leg's metadata device.
    Meta(usize),
    /// The log device.
    Log,
}

impl Config {
    /// More regions than this are not kept in memory.
    pub const MAX_REGIONS: u64 = 1 << 24;
    /// More legs than this have no place in a superblock.
    pub const MAX_LEGS: usize = 256;

    /// The form that its marks have on disk.
    pub fn form(&self) -> &'static dyn Form {
        match self.log {
            LogKind::None | LogKind::Core(_) => &Unlogged,
            LogKind::Disk { .. } => &DiskLogForm,
            LogKind::Raid(_) => &RaidForm,
        }
    }

    /// The device of a place.
    pub fn device(&self, place: Place) -> Option<DevIndex> {
        let leg = |n: usize| self.legs.get(n).and_then(|leg| leg.devices);
        match (place, &self.log) {
            (Place::Data(n), _) => leg(n).map(|d| d.data),
            (Place::Meta(n), _) => leg(n).and_then(|d| d.meta),
            (Place::Log, LogKind::Disk { device, .. }) => Some(*device),
            (Place::Log, _) => None,
        }
    }

    /// Bytes in a region.
    pub const fn region_bytes(&self) -> u64 {
        self.region.0 * SECTOR
    }

    /// Number of regions; the last may be short.
    pub const fn regions(&self) -> u64 {
        self.len.0.div_ceil(self.region.0)
    }

    /// The region of a byte.
    pub const fn region_of(&self, offset: u64) -> u64 {
        offset / self.region_bytes()
    }

    /// First byte of a region and the byte behind its last.
    pub fn region_range(&self, region: u64) -> (u64, u64) {
        let (len, size) = (self.len.0 * SECTOR, self.region_bytes());
        (region * size, (region + 1).saturating_mul(size).min(len))
    }

    /// What makes it unusable, if anything does.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.legs.is_empty() || self.legs.len() > Self::MAX_LEGS {
            return Err("the number of legs is out of range");
        }
        if !self.region.0.is_power_of_two() {
            return Err("region size is not a power of two");
        }
        if self.len.checked_bytes().is_none() || self.len.0 == 0 {
            return Err("the length is out of range");
        }
        if self.region.checked_bytes().is_none() || self.regions() > Self::MAX_REGIONS {
            return Err("there are too many regions");
        }
        Ok(())
    }
}
