//! Status lines of mirrors, as device-mapper writes them.

use super::super::{Activity, Config, LegState, LogKind, Status};
use crate::target::DevIndex;

/// dm-raid's word for what runs in the background.
fn action(activity: Activity) -> &'static str {
    match activity {
        Activity::Idle => "idle",
        Activity::Frozen => "frozen",
        Activity::Resync => "resync",
        Activity::Recover => "recover",
        Activity::Check => "check",
        Activity::Repair => "repair",
    }
}

impl Config {
    /// The words behind [`Config::kind`] in a status line. The historical `raid1` shows what
    /// `mirror` does, without a log.
    pub fn status(&self, now: &Status, name: &dyn Fn(DevIndex) -> String) -> String {
        match &self.log {
            LogKind::Raid(args) => self.raid_status(now, args.data_offset.unwrap_or(0)),
            LogKind::None => self.mirror_status(now, name),
            LogKind::Core(_) => self.mirror_status(now, name) + " 1 core",
            LogKind::Disk { device, .. } => {
                let state = if now.log_failed { 'D' } else { 'A' };
                let legs = self.mirror_status(now, name);
                format!("{legs} 3 disk {} {state}", name(*device))
            }
        }
    }

    /// `TYPE N HEALTH DONE/TOTAL ACTION MISMATCHES DATA_OFFSET JOURNAL`, in sectors.
    fn raid_status(&self, now: &Status, data_offset: u64) -> String {
        let letter = |leg: &LegState| match leg {
            // While whole legs are made equal none counts as in sync.
            LegState::InSync if now.activity == Activity::Resync => 'a',
            LegState::InSync => 'A',
            LegState::Behind => 'a',
            LegState::Dead => 'D',
            LegState::Nowhere => '-',
        };
        let health: String = now.legs.iter().map(letter).collect();
        let done = now.synced.saturating_mul(self.region.0).min(self.len.0);
        format!(
            "raid1 {} {health} {done}/{} {} {} {data_offset} -",
            now.legs.len(),
            self.len,
            action(now.activity),
            now.mismatches
        )
    }

    /// `N DEV... SYNCED/REGIONS 1 HEALTH`, in regions.
    fn mirror_status(&self, now: &Status, name: &dyn Fn(DevIndex) -> String) -> String {
        let mut text = self.legs.len().to_string();
        for leg in &self.legs {
            let word = leg.devices.map_or("-".to_owned(), |d| name(d.data));
            text.push_str(&format!(" {word}"));
        }
        let letter = |leg: &LegState| match leg {
            LegState::InSync | LegState::Behind => 'A',
            LegState::Dead | LegState::Nowhere => 'D',
        };
        let health: String = now.legs.iter().map(letter).collect();
        format!("{text} {}/{} 1 {health}", now.synced, self.regions())
    }
}
