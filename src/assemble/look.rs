//! What single devices carry: labels by identity, and what is wrong with their areas.

use ulvm_metadata::notice::Notice;
use ulvm_metadata::ondisk::{HeaderFault, TextFault};

use super::Assembler;
use crate::error::io_text;
use crate::inventory::DevKey;
use crate::scan::{Content, Found, ScannedMda, ScannedPv};

impl Assembler<'_> {
    /// Indexes labels by identity and says what is wrong with single devices.
    pub(super) fn look_at_devices(&mut self) {
        for (n, entry) in self.scan.entries.iter().enumerate() {
            let name = &entry.device.name;
            match &entry.found {
                Found::Unreadable(e) if entry.named => {
                    self.plain(format!("{name}: open failed: {}", io_text(e)))
                }
                Found::Excluded(why) => {
                    let text = format!("{name}: Skipping: {why}");
                    self.out.notices.push(Notice::verbose(text));
                    let reason = (name.clone(), why.clone());
                    self.out.inventory.excluded.push(reason);
                }
                Found::Pv(pv) => {
                    let id = self.pending.pv_id(pv.label.header.id);
                    self.by_pv.entry(id).or_default().push(DevKey(n));
                    self.look_at_pv(name, pv);
                }
                Found::Gone => {
                    self.out.inventory.gone.insert(DevKey(n));
                }
                Found::Unreadable(_) | Found::Nothing => {}
            }
        }
    }

    pub(super) fn look_at_pv(&mut self, name: &str, pv: &ScannedPv) {
        for sector in &pv.additional {
            self.warn(format!(
                "Ignoring additional label on {name} at sector {sector}"
            ));
        }
        for (n, mda) in pv.mdas.iter().enumerate() {
            let before = self.out.notices.len();
            match &mda.content {
                Content::BadHeader(fault) => self.bad_header(name, mda, fault),
                Content::BadText(fault) => self.bad_text(name, mda, n + 1, Err(fault)),
                Content::Text(id) => {
                    if let Err(what) = &self.scan.texts.get(*id).summary {
                        self.bad_text(name, mda, n + 1, Ok(what));
                    }
                }
                Content::Empty | Content::Ignored => {}
            }
            if self.out.notices.len() > before {
                let number = n + 1;
                self.warn(format!(
                    "scanning {name} mda{number} failed to read metadata summary."
                ));
                self.warn(format!(
                    "repair VG metadata on {name} with vgck --updatemetadata."
                ));
                self.warn(format!(
                    "scan failed to get metadata summary from {name} PVID {}",
                    pv.label.header.id.compact()
                ));
            }
        }
    }

    pub(super) fn bad_header(&mut self, name: &str, mda: &ScannedMda, fault: &HeaderFault) {
        let at = mda.area.start;
        match fault {
            HeaderFault::Checksum { stored, .. } => self.warn(format!(
                "wrong checksum {stored:x} in mda header on {name} at {at}"
            )),
            other => self.warn(format!("{other} on {name} at {at}")),
        }
        self.warn(format!("bad metadata header on {name} at {at}."));
    }

    pub(super) fn bad_text(
        &mut self,
        name: &str,
        mda: &ScannedMda,
        number: usize,
        what: Result<&String, &TextFault>,
    ) {
        let offset = mda.header.map_or(0, |h| h.committed.offset);
        let at = mda.area.start.0.saturating_add(offset);
        match what {
            Err(TextFault::Checksum { .. }) => {
                self.warn(format!("Checksum error on {name} at offset {at}."));
            }
            Err(fault) => self.warn(format!("{fault} on {name} at offset {at}.")),
            Ok(what) => self.warn(format!("{what} on {name} at offset {at}.")),
        }
        self.warn(format!("invalid metadata text from {name} at {at}."));
        self.warn(format!(
            "metadata on {name} at {at} has invalid summary for VG."
        ));
        self.warn(format!("bad metadata text on {name} in mda{number}"));
    }
}
