//! What a server serves: names and the devices behind them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::handshake::{Catalog, ExportInfo, Refusal};
use super::wire::MAX_STRING;
use crate::device::Device;

/// A device that clients can use.
#[derive(Debug, Clone)]
pub struct Export {
    /// The device. Its size is asked for by each new client, so that a resize is seen by those that
    /// come later.
    pub device: Arc<Device>,
    /// Text for people; may be empty.
    pub description: String,
    /// No writes, whatever the device permits.
    pub read_only: bool,
}

/// The exports of a server, by name. They can come and go while it runs; a client keeps the device
/// it has begun with.
#[derive(Debug, Default)]
pub struct Exports {
    by_name: RwLock<BTreeMap<String, Arc<Export>>>,
    ending: AtomicBool,
}

impl Exports {
    /// Adds an export, or replaces the one of that name. False if the name is too long for NBD
    /// (4096 bytes) and so was not added.
    pub fn add(&self, name: &str, export: Export) -> bool {
        let fits = name.len() <= MAX_STRING;
        if fits {
            let mut map = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
            map.insert(name.to_owned(), Arc::new(export));
        }
        fits
    }

    /// Takes an export away. Clients that use it keep it.
    pub fn remove(&self, name: &str) -> bool {
        let mut map = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        map.remove(name).is_some()
    }

    /// Gives an export another name; its clients keep it. False if there is none of the old name, or
    /// the new one is too long for NBD.
    pub fn rename(&self, from: &str, to: &str) -> bool {
        let mut map = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        match map.remove(from) {
            Some(export) if to.len() <= MAX_STRING => map.insert(to.to_owned(), export).is_none(),
            _ => false,
        }
    }

    /// Clients that use an export.
    pub fn users(&self, name: &str) -> usize {
        let map = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        // Each client keeps the export it has begun with; one is kept here.
        map.get(name).map_or(0, |e| Arc::strong_count(e) - 1)
    }

    /// From now on new clients are told that the server is ending.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// The export of a name. The empty name is that of the only export, if there is but one.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Export>> {
        let map = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(export) = map.get(name) {
            return Some(Arc::clone(export));
        }
        match (name, map.len()) {
            ("", 1) => map.values().next().map(Arc::clone),
            _ => None,
        }
    }
}

/// The exports as a handshake sees them, with the largest payload a request may have.
pub(super) struct View<'a>(pub &'a Exports, pub u32);

impl Catalog for View<'_> {
    fn list(&self, limit: usize) -> Vec<(String, String)> {
        let map = self.0.by_name.read();
        let map = map.unwrap_or_else(PoisonError::into_inner);
        map.iter()
            .take(limit)
            .map(|(name, export)| (name.clone(), export.description.clone()))
            .collect()
    }

    fn find(&self, name: &str) -> Result<ExportInfo, Refusal> {
        if self.0.ending.load(Ordering::Acquire) {
            return Err(Refusal::Shutdown);
        }
        let export = self.0.get(name).ok_or(Refusal::Unknown)?;
        let device = &export.device;
        let (logical, size) = (device.logical_block(), device.size());
        Ok(ExportInfo {
            description: export.description.clone(),
            size,
            read_only: export.read_only || device.read_only(),
            min_block: min_block(logical, size),
            preferred_block: logical.max(4096),
            max_block: self.1,
        })
    }
}

/// The least block that clients are told of. Any byte range is served; on blocks larger than a sector
/// they do well to know. Clients refuse an export whose size is not whole blocks.
fn min_block(logical: u32, size: u64) -> u32 {
    let told = match size {
        0 => logical,
        size => logical.min(1u32.checked_shl(size.trailing_zeros()).unwrap_or(logical)),
    };
    if told > 512 { told } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_blocks_of_what_clients_are_told() {
        for (logical, size, told) in [
            (512, 1 << 20, 1),
            (512, 512, 1),
            (4096, 1 << 20, 4096),
            (4096, (1 << 20) + 2048, 2048),
            (4096, (1 << 20) + 1024, 1024),
            (4096, (1 << 20) + 512, 1),
            (4096, 3 * 4096, 4096),
            (4096, 1 << 40, 4096),
            (4096, 0, 4096),
        ] {
            assert_eq!(min_block(logical, size), told, "{size} in {logical}");
            assert_eq!(size % u64::from(min_block(logical, size)), 0);
        }
    }
}
