//! Making, changing and removing PVs.

use ulvm_metadata::commit::{DiskWrite, Plan, Stage, Staged, plan_create, plan_wipe_labels};
use ulvm_metadata::ondisk::{Area, Extension, Label, MdaHeader, PV_EXT_VERSION, PvHeader};
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::LvmUuid;

use super::{NewPv, Session};
use crate::devices_file::{DevicesFile, Entry as DevicesEntry};
use crate::discover::{self, Source};
use crate::disk::{self, Access};
use crate::error::{Error, Kind, Result};
use crate::host;
use crate::in_use;
use crate::inventory::{DevKey, DeviceKind, FoundPv, VgRead};
use crate::lock::StayingLock;
use crate::scan::{self, Content, Found, ScannedMda, ScannedPv};
use crate::signatures::{self, Wiped};

impl Session {
    /// Writes label, header and empty metadata areas. The device is an orphan afterwards. What it
    /// held before must have been dealt with ([`Session::wipe_signatures`]).
    pub fn create_pv(&mut self, device: DevKey, pv: &NewPv) -> Result<FoundPv> {
        self.check_may_write()?;
        self.check_not_in_use(device)?;
        let label = new_label(pv);
        let old: Vec<u64> = self.scan.pv(device).map_or(Vec::new(), |old| {
            let first = std::iter::once(old.label.sector);
            first.chain(old.additional.iter().copied()).collect()
        });
        let mut plan = plan_create(device.0, &label, &old, !pv.zero)
            .ok_or_else(|| Error::refused("A PV header has more areas than fit."))?;
        let headers = pv.mdas.iter().map(|(start, size, ignored)| {
            let (start, size) = (*start, *size);
            MdaHeader::unused(Area { start, size }, *ignored)
        });
        let headers: Vec<MdaHeader> = headers.collect();
        mark_ignored(&mut plan, &headers);
        self.hold_anew(device)?;
        self.run_plan(&plan)?;
        self.forget_hints();
        let mdas = headers.iter().map(|h| ScannedMda {
            area: h.area,
            header: Some(*h),
            content: if h.is_ignored() {
                Content::Ignored
            } else {
                Content::Empty
            },
            precommitted: None,
        });
        self.scan.entries[device.0].found = Found::Pv(ScannedPv {
            label,
            additional: Vec::new(),
            mdas: mdas.collect(),
        });
        self.list_device(device, Some(pv.id))?;
        self.rebuild_quietly();
        let inventory = &self.inventory;
        // A PV made again under the identity of a missing one belongs to that one's VG at once.
        let member = || inventory.vgs.iter().flat_map(VgRead::found);
        inventory
            .orphan_on(device)
            .or_else(|| member().find(|f| f.device == device))
            .cloned()
            .ok_or_else(|| Error::new(Kind::Internal, "A PV just made is not in the inventory."))
    }

    /// pvremove: destroys the label; the metadata areas stay as they are.
    pub fn remove_pv(&mut self, device: DevKey) -> Result<()> {
        self.check_may_write()?;
        self.check_not_in_use(device)?;
        let pv = self.scanned(device)?;
        let plan = plan_wipe_labels(device.0, pv.label.sector, &pv.additional);
        self.hold_anew(device)?;
        self.run_plan(&plan)?;
        self.forget_hints();
        self.scan.entries[device.0].found = Found::Nothing;
        self.list_device(device, None)?;
        self.rebuild_quietly();
        Ok(())
    }

    /// pvresize: the size in the PV header.
    pub fn set_header_size(&mut self, device: DevKey, size: Bytes) -> Result<()> {
        let mut label = self.scanned(device)?.label.clone();
        label.header.device_size = size;
        self.rewrite_label(device, label)
    }

    /// pvchange --uuid: the identity in the PV header. An orphan's is written at once; that of a PV
    /// in a VG by the next commit of the VG, whose PV must have the new identity by then.
    pub fn set_header_id(&mut self, device: DevKey, id: LvmUuid) -> Result<()> {
        if self.inventory.orphan_on(device).is_none() {
            self.new_ids.insert(device, id);
            return Ok(());
        }
        let mut label = self.scanned(device)?.label.clone();
        label.header.id = id;
        self.rewrite_label(device, label)
    }

    fn rewrite_label(&mut self, device: DevKey, label: Label) -> Result<()> {
        self.check_may_write()?;
        self.hold_or_refuse(device)?;
        self.write_labels(&[(device, label.clone())])?;
        self.forget_hints();
        if let Some(pv) = self.scan.pv_mut(device) {
            pv.label = label;
        }
        self.rebuild_quietly();
        Ok(())
    }

    /// pvchange --metadataignore: marks all areas of a PV; takes effect in the next commit of the
    /// VG, at once for an orphan.
    pub fn set_mda_ignored(&mut self, device: DevKey, ignored: bool) -> Result<()> {
        if self.inventory.orphan_on(device).is_none() {
            self.ignore.insert(device, ignored);
            return Ok(());
        }
        self.check_may_write()?;
        self.hold_or_refuse(device)?;
        let mut headers: Vec<MdaHeader> = Vec::new();
        for mda in &self.scanned(device)?.mdas {
            headers.push(MdaHeader::unused(mda.area, ignored));
        }
        let write = |h: &MdaHeader| DiskWrite {
            disk: device.0,
            offset: h.area.start,
            bytes: h.encode().to_vec(),
        };
        self.run_plan(&Plan {
            stages: vec![Staged {
                stage: Stage::Headers,
                writes: headers.iter().map(write).collect(),
            }],
        })?;
        if let Some(pv) = self.scan.pv_mut(device) {
            for (mda, header) in pv.mdas.iter_mut().zip(headers) {
                mda.header = Some(header);
                mda.precommitted = None;
                mda.content = if ignored {
                    Content::Ignored
                } else {
                    Content::Empty
                };
            }
        }
        self.rebuild_quietly();
        Ok(())
    }

    /// Forgets what [`Session::set_mda_ignored`] and [`Session::set_header_id`] left for the next
    /// commit of the device's VG.
    pub fn forget_marks(&mut self, device: DevKey) {
        self.ignore.remove(&device);
        self.new_ids.remove(&device);
    }

    /// Looks for signatures of other things on a device (an LVM2 label aside), asks about each and
    /// wipes those the user agrees to (all with `-y`). An error of kind [`Kind::Declined`] if one
    /// is to stay. With `--test` nothing is wiped.
    pub fn wipe_signatures(&mut self, device: DevKey) -> Result<()> {
        self.check_not_in_use(device)?;
        let dry = self.settings.test;
        let name = self.scan.entries[device.0].device.name.clone();
        self.hold_anew(device)?;
        let mut disk = match dry {
            true => scan::open(&self.scan.entries[device.0].device, Access::Read)
                .map_err(|e| Error::io(format!("{name}: open failed"), e))?,
            false => self.held(device)?,
        };
        let yes = self.settings.yes;
        let ui = &self.ui;
        let mut left = 0;
        let wiped = signatures::wipe_all(&mut disk, &["LVM2_member"], dry, |s| {
            let question = format!(
                "WARNING: {} signature detected on {name} at offset {}. Wipe it?",
                s.name, s.offset
            );
            let agreed = yes || ui.ask(&question);
            if agreed {
                ui.print(format!("Wiping {} signature on {name}.", s.name));
            } else {
                left += 1;
            }
            agreed
        });
        match wiped.map_err(|e| Error::io(format!("wipe signatures on {name}"), e))? {
            Wiped::Nothing | Wiped::All(_) => Ok(()),
            Wiped::Kept(s) => Err(Error::new(
                Kind::Declined,
                format!("Aborted wiping of {}.", s.name),
            )
            .and(format!("{left} existing signature left on the device."))),
        }
    }

    /// Refuses a block device that is mounted or otherwise open exclusively, a device or image on
    /// which somebody has logical volumes open, and an image that a virtual machine or a server has
    /// open. An image is kept from them until the session lets go of its locks.
    pub fn check_not_in_use(&mut self, device: DevKey) -> Result<()> {
        let device = &self.scan.entries[device.0].device;
        if matches!(device.kind, DeviceKind::Block { .. }) && disk::is_busy(&device.path) {
            return Err(Error::refused(format!(
                "Can't open {} exclusively.  Mounted filesystem?",
                device.name
            )));
        }
        if let Some(holder) = in_use::holder(device, in_use::whole(device)) {
            let by = match holder.as_str() {
                "" => "somebody".to_owned(),
                holder => holder.to_owned(),
            };
            return Err(Error::new(
                Kind::Locked,
                format!(
                    "Can't open {} exclusively.  Logical volumes on it are open by {by}.",
                    device.name
                ),
            ));
        }
        self.images
            .extend(in_use::lock_image(&device.path, &device.name)?);
        Ok(())
    }

    fn scanned(&self, device: DevKey) -> Result<&ScannedPv> {
        self.scan.pv(device).ok_or_else(|| {
            Error::not_found(format!(
                "No PV found on device {}.",
                self.scan.entries[device.0].device.name
            ))
        })
    }

    fn hold_or_refuse(&mut self, device: DevKey) -> Result<()> {
        if self.hold(&[device])? {
            return Ok(());
        }
        Err(Error::new(
            Kind::Locked,
            format!(
                "PV {} was changed by others in the meantime.",
                self.scan.entries[device.0].device.name
            ),
        ))
    }

    /// Holds a device for being overwritten. If it carries a label it must be the one that was
    /// read: else somebody else has just made it a PV.
    fn hold_anew(&mut self, device: DevKey) -> Result<()> {
        let was_pv = self.scan.pv(device).is_some();
        let unchanged = self.hold(&[device])?;
        if unchanged || (!was_pv && self.scan.pv(device).is_none()) {
            return Ok(());
        }
        self.hold_or_refuse(device).and(Err(Error::new(
            Kind::Locked,
            format!(
                "Device {} was changed by others in the meantime.",
                self.scan.entries[device.0].device.name
            ),
        )))
    }

    /// Keeps the devices file, if there is one, in step with PVs made and removed.
    fn list_device(&mut self, device: DevKey, pv: Option<LvmUuid>) -> Result<()> {
        let Source::File(file) = self.source()? else {
            return Ok(());
        };
        let device = &self.scan.entries[device.0].device;
        let Some(id) = discover::identify(device) else {
            return Ok(());
        };
        if self.settings.test {
            return Ok(());
        }
        let policy = self.locks.policy();
        let _lock = StayingLock::take(&DevicesFile::lock_name(&file.path), policy)?;
        // As it is under the lock.
        let mut file = DevicesFile::read(&file.path)?.unwrap_or(file);
        match file.entries.iter_mut().find(|e| e.id == id) {
            Some(entry) => {
                entry.pv = pv;
                entry.device = Some(device.name.clone());
            }
            None => file.entries.push(DevicesEntry {
                id,
                device: Some(device.name.clone()),
                pv,
                part: discover::kernel_partition(device),
            }),
        }
        write_devices_file(&mut file, &self.settings.command_line)
    }

    /// LVM2 keeps hints about which device holds which VG; they are wrong once PVs or names change.
    pub(super) fn forget_hints(&self) {
        const HINTS: &str = "/run/lvm/hints";
        if !self.settings.test && self.settings.env.root {
            // A file that is not there is what we want.
            let _ = std::fs::remove_file(HINTS);
        }
    }
}

pub(super) fn write_devices_file(file: &mut DevicesFile, command_line: &str) -> Result<()> {
    let command = command_line.split_whitespace().next().unwrap_or("ulvm");
    let time = ulvm_metadata::convert::ctime_text(host::now(), host::zone());
    file.write(&format!("{command} pid {} at {time}", std::process::id()))
}

fn new_label(pv: &NewPv) -> Label {
    Label {
        sector: pv.label_sector,
        header: PvHeader {
            id: pv.id,
            device_size: pv.device_size,
            data_areas: vec![Area {
                start: pv.data_start,
                size: Bytes(0),
            }],
            mdas: pv
                .mdas
                .iter()
                .map(|(start, size, _)| Area {
                    start: *start,
                    size: *size,
                })
                .collect(),
            extension: Some(Extension {
                version: PV_EXT_VERSION,
                flags: 0,
                bootloader_areas: pv
                    .bootloader
                    .iter()
                    .map(|(start, size)| Area {
                        start: *start,
                        size: *size,
                    })
                    .collect(),
            }),
        },
    }
}

/// Puts headers with the ignored flag in place of the empty ones of a plan.
fn mark_ignored(plan: &mut Plan, headers: &[MdaHeader]) {
    for header in headers.iter().filter(|h| h.is_ignored()) {
        let encoded = header.encode();
        let writes = plan
            .stages
            .iter_mut()
            .filter(|s| s.stage == Stage::Headers)
            .flat_map(|s| &mut s.writes)
            .filter(|w| w.offset == header.area.start);
        for write in writes {
            if let Some(start) = write.bytes.get_mut(..encoded.len()) {
                start.copy_from_slice(&encoded);
            }
        }
    }
}
