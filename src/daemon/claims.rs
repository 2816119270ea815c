//! What live devices lie on, told to every other program by locks on the bytes of it (`in_use`): no
//! command takes extents away from a volume that is served here.
//!
//! The locks belong to the open backing device, which supervisor and worker share: they outlive
//! either of them.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use super::guard;
use super::hub::State;
use super::order::{TableOrder, Word};
use super::supervisor::Supervisor;
use crate::in_use;

/// Bytes of backing devices, by the numbers of those.
type Claims = BTreeMap<u64, Vec<in_use::Range>>;

impl Supervisor {
    /// Locks what a table lies on. Refused if somebody else has it for himself.
    pub(super) fn claim(&self, table: &TableOrder) -> Result<(), String> {
        self.hub.look(|state| {
            let mut claims = Claims::new();
            add(state, table, &mut claims);
            for (id, ranges) in claims {
                let Some(holding) = state.holdings.get(&id) else {
                    continue;
                };
                let path = holding.order.path.display();
                let fd = holding.descriptors().first().copied();
                match fd.map_or(Ok(true), |fd| in_use::claim(fd, ranges)) {
                    Ok(true) => {}
                    Ok(false) => return Err(format!("{path}: another program uses a part of it")),
                    Err(e) => return Err(format!("{path}: {e}")),
                }
            }
            Ok(())
        })
    }

    /// Gives back what no table lies on any more.
    pub(super) fn unclaim(&self) {
        self.hub.look(|state| {
            let mut claims = Claims::new();
            for entry in state.devices.values() {
                for table in entry.order.live.iter().chain(&entry.loaded) {
                    add(state, table, &mut claims);
                }
            }
            for (id, holding) in &state.holdings {
                let ranges = claims.remove(id).unwrap_or_default();
                let fd: Option<BorrowedFd<'_>> = holding.descriptors().first().copied();
                if let Some(fd) = fd {
                    // What stays locked is given back when the device is closed.
                    let _ = in_use::release_but(fd, ranges);
                }
            }
        });
    }
}

fn add(state: &State, table: &TableOrder, claims: &mut Claims) {
    let id = |word: &str| match table.words.get(word) {
        Some(Word::Backing(id)) => Some(id.to_string()),
        Some(Word::Device(_)) | None => None,
    };
    for area in guard::ranges(&table.text, &id) {
        let Some(id) = area.pv.parse::<u64>().ok() else {
            continue;
        };
        let start = state.holdings.get(&id).map_or(0, |h| h.order.start);
        claims.entry(id).or_default().push(in_use::Range {
            start: start.saturating_add(area.start.saturating_mul(512)),
            len: area.len.saturating_mul(512),
        });
    }
}
