//! Puts right what a change of identities left that was interrupted, before the VG is changed: the
//! precommitted texts that tell what belongs to what would be overwritten by the next commit.

use ulvm_metadata::commit::{DiskWrite, Stage, Staged, plan_labels};
use ulvm_metadata::ondisk::{Label, MdaHeader, RawLocn};
use ulvm_metadata::uuid::LvmUuid;

use super::Session;
use crate::error::{Error, Result};
use crate::inventory::{DevKey, Leftover};

impl Session {
    /// Puts labels and areas of a VG right; says whether there was anything to do, and the VG is to
    /// be looked at again.
    pub(super) fn finish_identities(&mut self, vg: &LvmUuid) -> Result<bool> {
        let leftovers = self.inventory.leftovers.iter();
        let left: Vec<Leftover> = leftovers
            .filter(|(id, _)| id == vg)
            .map(|(_, l)| *l)
            .collect();
        if left.is_empty() || self.settings.test {
            return Ok(false);
        }
        let devices: Vec<DevKey> = left
            .iter()
            .map(|l| match l {
                Leftover::Label(device, _) | Leftover::Area(device, _) => *device,
            })
            .collect();
        if !self.hold(&devices)? {
            return Ok(true);
        }
        let mut labels: Vec<(usize, Label)> = Vec::new();
        let mut headers: Vec<DiskWrite> = Vec::new();
        for leftover in left {
            match leftover {
                Leftover::Label(device, id) => {
                    if let Some(pv) = self.scan.pv(device) {
                        let mut label = pv.label.clone();
                        label.header.id = id;
                        labels.push((device.0, label));
                    }
                }
                Leftover::Area(device, number) => {
                    let mda = self.scan.pv(device).and_then(|pv| pv.mdas.get(number));
                    if let Some(header) = mda.and_then(|m| m.header) {
                        headers.push(switched(device, header));
                    }
                }
            }
        }
        let mut plan = plan_labels(&labels)
            .ok_or_else(|| Error::refused("A PV header has more areas than fit."))?;
        if !headers.is_empty() {
            plan.stages.push(Staged {
                stage: Stage::Commit,
                writes: headers,
            });
        }
        self.run_plan(&plan)?;
        let rules = self.rules();
        for device in devices {
            self.scan.refresh(device, rules);
        }
        self.rebuild();
        Ok(true)
    }
}

/// The header with the text that it knows as precommitted committed.
fn switched(device: DevKey, header: MdaHeader) -> DiskWrite {
    let header = MdaHeader {
        committed: header.precommitted,
        precommitted: RawLocn::default(),
        ..header
    };
    DiskWrite {
        disk: device.0,
        offset: header.area.start,
        bytes: header.encode().to_vec(),
    }
}
