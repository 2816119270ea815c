//! `pvck --repair`: label, PV header and metadata written anew from a metadata file.

use std::path::Path;

use ulvm::disk::{Access, FileDisk};
use ulvm::error::{Error, Kind, Result};
use ulvm::session::LockMode;
use ulvm_metadata::commit::{MdaTarget, plan_commit, plan_labels};
use ulvm_metadata::convert::{Imported, Style, export};
use ulvm_metadata::crc::{crc, crc_more};
use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::{Pv, Vg};
use ulvm_metadata::ondisk::Area;
use ulvm_metadata::ondisk::dump_headers;
use ulvm_metadata::ondisk::{Extension, Label, PV_EXT_VERSION, PvHeader};
use ulvm_metadata::units::{Bytes, Sectors};
use ulvm_metadata::uuid::{ID_LEN, LvmUuid};

use super::pvck::{DumpSettings, open_at};
use super::vg_file;
use crate::args::{Args, Opt};
use crate::context::Context;

const SECTOR: usize = 512;
/// Where the first metadata area begins unless something says otherwise.
const MDA_START: u64 = 4096;

/// Repairs one device.
pub fn run(ctx: &Context, args: &Args, device: &str) -> Result<()> {
    let settings = DumpSettings::from_args(args)?;
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    let access = match ctx.settings().test {
        true => Access::Read,
        false => Access::Write,
    };
    let (disk, path) = open_at(ctx, device, access)?;
    if access == Access::Write {
        // Who changes the VG on this PV holds this lock too, whatever its lock directory is.
        session.lock_disk(&path, &disk, device)?;
    }
    let sector = args.number(Opt::LabelSector).unwrap_or(1).unsigned_abs();
    if sector > 3 {
        return Err(Error::usage("labelsector must be less than 4."));
    }
    let kind = args.text(Opt::RepairType);
    let mut repair = Repair {
        ctx,
        device,
        disk,
        sector,
        settings,
    };
    if kind == Some("label_header") {
        return repair.label_header();
    }
    let Some(file) = args.text(Opt::File).map(Path::new) else {
        let option = if kind.is_some() {
            "repairtype"
        } else {
            "repair"
        };
        return Err(Error::usage(format!(
            "Command does not accept option: --{option}."
        )));
    };
    let (read, text) = vg_file::read_with_text(file)?;
    let text = raw_text(file, &read, text)?;
    let vg = read.vg;
    match kind {
        None => {
            let label = repair.pv_header(&vg)?;
            repair.metadata(&label.header.mdas, &text)
        }
        Some("pv_header") => repair.pv_header(&vg).map(|_| ()),
        Some("metadata") => {
            let areas = repair.areas_now();
            repair.metadata(&areas, &text)
        }
        Some(word) => Err(Error::usage(format!(
            "Invalid argument for --repairtype: {word}"
        ))),
    }
}

/// The text as metadata areas hold it: what was copied from one stays as it is to the byte, a
/// backup or archive file has the VG behind other things, where no reader of areas expects it.
fn raw_text(file: &Path, read: &Imported, text: Vec<u8>) -> Result<String> {
    let bad = |what: &str| {
        Err(Error::new(
            Kind::Corrupt,
            format!("{}: {what}", file.display()),
        ))
    };
    let Ok(text) = String::from_utf8(text) else {
        return bad("strings that are not UTF-8 cannot be written to a metadata area.");
    };
    let text = text.trim_end_matches('\0').to_owned();
    let begins = text.strip_prefix(&read.vg.name);
    if begins.is_some_and(|rest| rest.trim_start().starts_with('{')) {
        return Ok(text);
    }
    Ok(export(&read.vg, &read.header, Style::Raw))
}

struct Repair<'a> {
    ctx: &'a Context,
    device: &'a str,
    disk: FileDisk,
    sector: u64,
    settings: DumpSettings,
}

impl Repair<'_> {
    fn asked(&self, question: &str) -> Result<()> {
        if self.ctx.ui().ask(question) {
            Ok(())
        } else {
            Err(Error::new(Kind::Declined, "Nothing was written."))
        }
    }

    fn failed(&self, e: std::io::Error) -> Error {
        Error::io(format!("Error writing device {}", self.device), e)
    }

    fn read_sector(&self) -> Result<[u8; SECTOR]> {
        let mut bytes = [0; SECTOR];
        self.disk
            .read_at(Bytes(self.sector * SECTOR as u64), &mut bytes)
            .map_err(|e| Error::io(format!("Error reading device {}", self.device), e))?;
        Ok(bytes)
    }

    /// The fixed fields of the label and its checksum; the PV header stays as it is.
    fn label_header(&mut self) -> Result<()> {
        let mut bytes = self.read_sector()?;
        if &bytes[..8] != b"LABELONE" {
            self.ctx.ui().warn(format!(
                "No LVM label found on {}.  It may not be an LVM device.",
                self.device
            ));
        }
        bytes[..8].copy_from_slice(b"LABELONE");
        bytes[8..16].copy_from_slice(&self.sector.to_le_bytes());
        bytes[20..24].copy_from_slice(&32u32.to_le_bytes());
        bytes[24..32].copy_from_slice(b"LVM2 001");
        let sum = crc(&bytes[20..]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        self.ctx
            .terminal()
            .line(&format!("Writing label_header.crc 0x{sum:08x}"));
        self.asked(&format!("Write new LVM header to {}?", self.device))?;
        if self.ctx.settings().test {
            return Ok(());
        }
        let at = Bytes(self.sector * SECTOR as u64);
        self.disk
            .write_at(at, &bytes)
            .and_then(|()| self.disk.flush())
            .map_err(|e| self.failed(e))
    }

    /// A whole label from what the metadata say of this PV.
    fn pv_header(&mut self, vg: &Vg) -> Result<Label> {
        let pv = self.which_pv(vg)?;
        let label = Label {
            sector: self.sector,
            header: self.header_for(pv),
        };
        let encoded = ulvm_metadata::ondisk::encode_label(&label)
            .ok_or_else(|| Error::refused("The areas given do not fit into a PV header."))?;
        let sum = u32::from_le_bytes([encoded[16], encoded[17], encoded[18], encoded[19]]);
        let mda = |n: usize| {
            let area = label.header.mdas.get(n);
            (area.map_or(0, |a| a.start.0), area.map_or(0, |a| a.size.0))
        };
        let ((mda1, size1), (mda2, size2)) = (mda(0), mda(1));
        let out = self.ctx.terminal();
        out.line(&format!(
            "Writing label_header.crc 0x{sum:08x} pv_header uuid {} device_size {}",
            pv.id.compact(),
            label.header.device_size
        ));
        out.line(&format!(
            "Writing data_offset {} mda1_offset {mda1} mda1_size {size1} mda2_offset {mda2} mda2_size {size2}",
            label.header.data_areas.first().map_or(0, |a| a.start.0)
        ));
        self.asked(&format!("Write new LVM header to {}?", self.device))?;
        if !self.ctx.settings().test {
            let plan = plan_labels(&[(0, label.clone())])
                .ok_or_else(|| Error::refused("The areas given do not fit into a PV header."))?;
            let done = plan.execute(&mut [&mut self.disk]);
            done.map_err(|e| self.failed(e))?;
        }
        Ok(label)
    }

    /// The identity in the header if the metadata know it, else the one that was given, else that
    /// of the PV which was last seen under this name.
    fn which_pv<'v>(&self, vg: &'v Vg) -> Result<&'v Pv> {
        let raw = self.read_sector()?;
        let now = LvmUuid::from_raw(&raw[32..32 + ID_LEN]);
        let known = |id: LvmUuid| vg.find_pv(&id).map(|k| &vg.pvs[k]);
        if let Some(given) = &self.settings.pv_uuid {
            let id = LvmUuid::parse(given)
                .ok_or_else(|| Error::usage(format!("Invalid setting: pv_uuid={given}")))?;
            if let Some(now) = now.filter(|n| *n != id) {
                self.ctx.ui().warn(format!(
                    "existing PV UUID {} does not match pv_uuid setting {}.",
                    now.compact(),
                    id.compact()
                ));
            }
            return known(id).ok_or_else(|| {
                Error::not_found(format!(
                    "PV UUID {} not found in metadata file.",
                    id.compact()
                ))
                .and("No valid PV UUID, specify a PV UUID from metadata in --settings.")
            });
        }
        if let Some(pv) = now.and_then(known) {
            return Ok(pv);
        }
        let mut named = vg
            .pvs
            .values()
            .filter(|pv| pv.device_hint.as_deref() == Some(self.device));
        match (named.next(), named.next()) {
            (Some(pv), None) => Ok(pv),
            _ => Err(Error::not_found(
                "No valid PV UUID, specify a PV UUID from metadata in --settings.",
            )),
        }
    }

    fn header_for(&self, pv: &Pv) -> PvHeader {
        let bytes = |s: Sectors| s.to_bytes().map_or(u64::MAX, |b| b.0);
        let data = self.settings.data_offset.unwrap_or(bytes(pv.pe_start));
        let start = self.settings.mda_offset.unwrap_or(MDA_START);
        let end = pv.bootloader.map_or(data, |b| bytes(b.start));
        let size = self
            .settings
            .mda_size
            .unwrap_or_else(|| end.saturating_sub(start));
        let mut mdas = Vec::new();
        if size > 0 {
            mdas.push(Area::new(start, size));
        }
        if let (Some(start), Some(size)) = (self.settings.mda2_offset, self.settings.mda2_size) {
            mdas.push(Area::new(start, size));
        }
        let header = PvHeader {
            id: pv.id,
            device_size: Bytes(self.settings.device_size.unwrap_or(self.disk.size().0)),
            data_areas: vec![Area::new(data, 0)],
            mdas,
            extension: Some(Extension {
                version: PV_EXT_VERSION,
                flags: 0,
                bootloader_areas: pv
                    .bootloader
                    .map(|b| Area::new(bytes(b.start), bytes(b.size)))
                    .into_iter()
                    .collect(),
            }),
        };
        header.with_used(true)
    }

    /// Metadata areas by the header on the device or by the settings.
    fn areas_now(&self) -> Vec<Area> {
        let s = &self.settings;
        if let (Some(offset), Some(size)) = (s.mda_offset, s.mda_size) {
            return vec![Area::new(offset, size)];
        }
        let mut areas: Vec<Area> = dump_headers(&self.disk, self.sector)
            .map(|d| d.mdas.into_iter().map(|m| m.area).collect())
            .unwrap_or_default();
        if areas.is_empty() {
            areas.push(Area::new(MDA_START, (1 << 20) - MDA_START));
        }
        areas
    }

    /// The text at the start of each area, with a new header in front of it.
    fn metadata(&mut self, areas: &[Area], text: &str) -> Result<()> {
        let wanted: Vec<Area> = match self.settings.mda_num {
            Some(n) => areas
                .get(usize::try_from(n.saturating_sub(1)).unwrap_or(0))
                .copied()
                .into_iter()
                .collect(),
            None => areas.to_vec(),
        };
        if wanted.is_empty() {
            return Err(Error::refused("There is no metadata area to write to."));
        }
        let mut sum = crc(text.as_bytes());
        sum = crc_more(sum, &[0]);
        let targets: Vec<MdaTarget> = wanted.iter().map(|a| MdaTarget::empty(0, *a)).collect();
        let plan = plan_commit(&targets, text)
            .map_err(|e| Error::new(Kind::NoSpace, e.to_string()).with_source(e))?
            .plan;
        for (n, area) in wanted.iter().enumerate() {
            let out = self.ctx.terminal();
            out.line(&format!(
                "Writing metadata at {} length {} crc 0x{sum:08x} mda{}",
                area.start.0.saturating_add(SECTOR as u64),
                text.len() + 1,
                n + 1
            ));
            out.line(&format!(
                "Writing mda_header at {} mda{}",
                area.start,
                n + 1
            ));
        }
        self.asked(&format!("Write new LVM metadata to {}?", self.device))?;
        if self.ctx.settings().test {
            return Ok(());
        }
        let done = plan.execute(&mut [&mut self.disk]);
        done.map_err(|e| self.failed(e))
    }
}
