//! Mirrors in this process: run as an active one's are, or only read, from a leg that holds what is
//! to be read.

use ulvm_engine::error::Error as EngineError;
use ulvm_engine::io::Sectors;
use ulvm_engine::sync::SyncDevice;
use ulvm_engine::target::replica::lines::{parse_mirror, parse_raid};
use ulvm_engine::target::replica::{Config, LogRead, ReadOnly, Replica};
use ulvm_engine::target::{Args, DevIndex, Devices, Target};

use super::super::plan::{Copies, CopiesLog, Row, Under};
use super::Slots;

type Result<T> = std::result::Result<T, EngineError>;

/// Finds devices by the words that [`word`] gives them.
struct Words<'s, 'a>(&'s mut Slots<'a>);

fn word(under: Under) -> String {
    match under {
        Under::Device(n) => n.to_string(),
        // Legs are devices of the plan.
        Under::Pv(_) => "-".into(),
    }
}

impl Devices for Words<'_, '_> {
    fn device(&mut self, word: &str) -> std::result::Result<DevIndex, String> {
        let number = word.parse().map_err(|_| format!("no device {word}"))?;
        self.0
            .index(Under::Device(number))
            .map_err(|e| e.to_string())
    }
}

impl Slots<'_> {
    /// The target of a mirror's row. One that is only read is assembled from what is on its metadata
    /// or log devices here and now.
    pub(super) fn copies(&mut self, copies: &Copies, row: &Row) -> Result<Box<dyn Target>> {
        let refused = |what: String| EngineError::Mirror { what };
        let mut config = self.config(copies, row)?;
        if self.write {
            let target = Replica::new(config).map_err(|what| refused(what.into()))?;
            return Ok(Box::new(target));
        }
        // dm-mirror's log does not know of legs that are not there.
        let any = copies.legs.iter().any(|leg| leg.whole);
        if !matches!(copies.log, CopiesLog::Raid { .. }) && any {
            for (leg, planned) in config.legs.iter_mut().zip(&copies.legs) {
                if !planned.whole {
                    leg.devices = None;
                }
            }
        }
        let form = config.form();
        let reads = form.reads(&config);
        let found: Vec<_> = reads.iter().map(|read| self.read(&config, read)).collect();
        let assembly = form
            .assemble(&config, &found)
            .map_err(|e| refused(e.what))?;
        let target = ReadOnly::new(config, &assembly).map_err(|e| refused(e.what))?;
        Ok(Box::new(target))
    }

    fn config(&mut self, copies: &Copies, row: &Row) -> Result<Config> {
        let line = copies.line(&word);
        let mut words = line.split(' ').map(|w| (1, w));
        let kind = words.next().map(|(_, kind)| kind);
        let mut args = Args::new(words.collect(), 1);
        let len = Sectors(row.len.0);
        let config = match kind {
            Some("mirror") => parse_mirror(&mut args, len, &mut Words(self)),
            _ => parse_raid(&mut args, len, &mut Words(self)),
        };
        config.map_err(|e| EngineError::Mirror { what: e.what })
    }

    /// Bytes of a metadata or log device; none if they cannot be read.
    fn read(&self, config: &Config, read: &LogRead) -> Option<Vec<u8>> {
        let index = config.device(read.place)?;
        let (under, _) = self.slots.get(index.0 as usize)?;
        let Under::Device(n) = under else {
            return None;
        };
        let device = self.made.get(*n)?;
        let end = (read.offset.checked_add(read.len)?).min(device.size());
        let len = usize::try_from(end.saturating_sub(read.offset)).ok()?;
        let mut bytes = vec![0; len];
        let mut device = SyncDevice::new(std::sync::Arc::clone(device)).ok()?;
        device.read_at(read.offset, &mut bytes).ok()?;
        Some(bytes)
    }
}
