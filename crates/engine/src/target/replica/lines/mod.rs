//! Table lines of mirrors, read into a [`Config`](super::Config) and printed from it.
//!
//! What is read and printed again is the same line, in the order of words that device-mapper prints.

mod mirror;
mod raid;
mod raid1;
mod status;

use super::{Config, LogKind};
use crate::target::DevIndex;

/// Reads the words after `raid1`, `mirror` and `raid`.
pub use {mirror::parse as parse_mirror, raid::parse as parse_raid, raid1::parse as parse_raid1};

impl Config {
    /// The word of its table line.
    pub fn kind(&self) -> &'static str {
        match self.log {
            LogKind::None => "raid1",
            LogKind::Core(_) | LogKind::Disk { .. } => "mirror",
            LogKind::Raid(_) => "raid",
        }
    }

    /// The words after [`Self::kind`]; `name` gives a device's.
    pub fn args(&self, name: &dyn Fn(DevIndex) -> String) -> String {
        match &self.log {
            LogKind::None => raid1::args(self, name),
            LogKind::Core(args) => mirror::args(self, None, *args, name),
            LogKind::Disk { device, args } => mirror::args(self, Some(*device), *args, name),
            LogKind::Raid(args) => raid::args(self, *args, name),
        }
    }
}

/// Legs and where each begins, as the historical `raid1` and `mirror` have them.
fn pairs(config: &Config, name: &dyn Fn(DevIndex) -> String) -> String {
    let mut text = config.legs.len().to_string();
    for devices in config.legs.iter().filter_map(|leg| leg.devices) {
        text.push_str(&format!(" {} {}", name(devices.data), devices.offset));
    }
    text
}
