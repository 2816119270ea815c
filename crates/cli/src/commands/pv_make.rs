//! Making PVs: shared by pvcreate, vgcreate and vgextend.

use ulvm::discover::Source;
use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::{DevKey, FoundPv};
use ulvm::session::{NewPv, RandomIds, Session};
use ulvm_metadata::model::BootloaderArea;
use ulvm_metadata::ondisk::layout::{FixedData, Layout, LayoutRequest, MOST_MDAS, layout};
use ulvm_metadata::ops::pv_change::PV_MIN_SIZE;
use ulvm_metadata::ops::size::show;
use ulvm_metadata::ops::vg_pvs::NewMember;
use ulvm_metadata::units::{Bytes, Sectors};
use ulvm_metadata::uuid::{IdSource, LvmUuid};

use super::vg_args;
use crate::args::{Args, Opt};
use crate::exit::Worst;

/// How PVs are to be made.
pub struct Making {
    layout: LayoutRequest,
    fake_size: Option<Sectors>,
    ignore_mdas: bool,
    zero: bool,
    id: Option<LvmUuid>,
    force: usize,
}

impl Making {
    /// From the options that pvcreate, vgcreate and vgextend share; `copies` are those that give
    /// the number of metadata areas (--metadatacopies of vgcreate means those of the VG).
    pub fn from_args(args: &Args, copies: &[Opt]) -> Result<Self> {
        let label_sector = args.number(Opt::LabelSector).unwrap_or(1);
        if !(0..4).contains(&label_sector) {
            return Err(Error::usage("labelsector must be less than 4."));
        }
        let copies = copies
            .iter()
            .find_map(|o| args.text(*o))
            .map_or(Ok(1), str::parse::<u32>)
            .ok()
            .filter(|copies| *copies <= MOST_MDAS)
            .ok_or_else(|| bad_argument(args, Opt::Metadatacopies))?;
        if args
            .text(Opt::Metadatatype)
            .is_some_and(|t| t != "lvm2" && t != "2")
        {
            return Err(bad_argument(args, Opt::Metadatatype));
        }
        let bytes = |opt| -> Result<Option<Bytes>> {
            Ok(vg_args::sectors(args, opt)?.and_then(Sectors::to_bytes))
        };
        let mut layout = LayoutRequest::new(Bytes::ZERO);
        layout.label_sector = label_sector.unsigned_abs();
        layout.mda_copies = copies;
        if let Some(alignment) = bytes(Opt::DataAlignment)?.filter(|a| !a.is_zero()) {
            layout.alignment = alignment;
        }
        layout.alignment_offset = bytes(Opt::DataAlignmentOffset)?.unwrap_or(Bytes::ZERO);
        layout.mda_size = bytes(Opt::MetadataSize)?.filter(|s| !s.is_zero());
        layout.bootloader = bytes(Opt::BootloaderAreaSize)?.unwrap_or(Bytes::ZERO);
        Ok(Self {
            layout,
            fake_size: vg_args::sectors(args, Opt::SetPhysicalVolumeSize)?,
            ignore_mdas: args.yes_no(Opt::MetadataIgnore).unwrap_or(false),
            zero: args.yes_no(Opt::Zero).unwrap_or(true),
            id: None,
            force: args.count(Opt::Force),
        })
    }

    /// `--uuid`, and where the data were by `--restorefile`.
    pub fn restore(mut self, id: LvmUuid, fixed: Option<FixedData>) -> Self {
        self.id = Some(id);
        self.layout.fixed = fixed;
        self.zero = self.zero && fixed.is_none();
        self
    }

    /// Checks a device and asks what there is to ask; nothing is written.
    pub fn check(&self, session: &mut Session, device: DevKey) -> Result<()> {
        let name = session.device(device).name.clone();
        if session.device(device).sectors() < PV_MIN_SIZE {
            return Err(Error::refused(format!(
                "Cannot use {name}: device is too small (pv_min_size)"
            )));
        }
        if let Some(id) = self.id {
            self.check_id(session, device, id)?;
        }
        self.check_use(session, device, &name)?;
        self.check_fake_size(session, device, &name)
    }

    fn check_id(&self, session: &Session, device: DevKey, id: LvmUuid) -> Result<()> {
        let inventory = session.inventory();
        let in_vg = inventory
            .vgs
            .iter()
            .find_map(|v| v.vg.find_pv(&id).and_then(|k| v.pv(k).device()));
        let orphan = inventory
            .orphans
            .iter()
            .find(|o| o.label.id == id)
            .map(|o| o.device);
        match in_vg.or(orphan).filter(|d| *d != device) {
            Some(other) => Err(Error::refused(format!(
                "UUID {id} already in use on \"{}\".",
                session.device(other).name
            ))),
            None => Ok(()),
        }
    }

    fn check_use(&self, session: &Session, device: DevKey, name: &str) -> Result<()> {
        let not_made = format!("{name}: physical volume not initialized.");
        let owner = session
            .inventory()
            .owner(device)
            .map(|vg| format!(" of volume group \"{vg}\""));
        let used = session
            .inventory()
            .orphan_on(device)
            .is_some_and(|o| o.label.used);
        let what = match owner {
            Some(of) => of,
            None if used => " that is marked as belonging to a volume group".to_owned(),
            None => return Ok(()),
        };
        if self.force < 2 {
            return Err(Error::refused(format!(
                "Can't initialize physical volume \"{name}\"{what} without -ff"
            ))
            .and(not_made));
        }
        let question = format!("Really INITIALIZE physical volume \"{name}\"{what} [y/n]?");
        if session.ui().ask(&question) {
            session
                .ui()
                .warn(format!("Forcing physical volume creation on {name}{what}"));
            Ok(())
        } else {
            Err(Error::new(Kind::Declined, not_made))
        }
    }

    fn check_fake_size(&self, session: &Session, device: DevKey, name: &str) -> Result<()> {
        let Some(size) = self.fake_size else {
            return Ok(());
        };
        let real = session.device(device).sectors();
        let question = format!(
            "WARNING: {name}: device size {} does not match requested size {}. Proceed?",
            show(real),
            show(size)
        );
        if size != real && !session.ui().ask(&question) {
            return Err(Error::new(
                Kind::Declined,
                format!("{name}: physical volume not initialized."),
            ));
        }
        Ok(())
    }

    /// Makes the PV. Signatures of other things are wiped after a yes.
    pub fn make(&self, session: &mut Session, device: DevKey) -> Result<FoundPv> {
        session.wipe_signatures(device)?;
        let name = session.device(device).name.clone();
        let real = session.device(device).sectors();
        let size = self.fake_size.unwrap_or(real);
        if self.fake_size.is_some() {
            session.ui().warn(format!(
                "Faking size of PV {name}. Don't write outside real device."
            ));
            if size > real {
                session.ui().warn(format!(
                    "{name}: Overriding real size. You could lose data."
                ));
            }
            if size < PV_MIN_SIZE {
                return Err(Error::refused(format!(
                    "{name}: Size must exceed minimum of {PV_MIN_SIZE} sectors."
                ))
                .and(setup_failed(&name)));
            }
        }
        let request = LayoutRequest {
            size: size.to_bytes().unwrap_or(Bytes(u64::MAX)),
            ..self.layout.clone()
        };
        if self.layout.fixed.is_some_and(|f| f.pe_end > request.size) {
            return Err(Error::refused(format!(
                "Physical extents end beyond end of device {name}."
            ))
            .and(setup_failed(&name)));
        }
        let layout = layout(&request)
            .map_err(|e| Error::refused(format!("{name}: {e}")).and(setup_failed(&name)))?;
        let real_bytes = session.device(device).size;
        if let Some(area) = layout.mdas.last()
            && area.end().is_none_or(|end| end > real_bytes)
        {
            let start = area.start;
            return Err(Error::refused(format!(
                "{name}: the metadata area at {start} does not fit on the device of {real_bytes} bytes."
            ))
            .and(setup_failed(&name)));
        }
        let pv = self.header(layout);
        let found = session.create_pv(device, &pv)?;
        session
            .ui()
            .print(format!("Physical volume \"{name}\" successfully created."));
        Ok(found)
    }

    fn header(&self, layout: Layout) -> NewPv {
        NewPv {
            id: self.id.unwrap_or_else(|| RandomIds.new_id()),
            label_sector: layout.label_sector,
            device_size: layout.size,
            data_start: layout.pe_start,
            mdas: layout
                .mdas
                .into_iter()
                .map(|area| (area.start, area.size, self.ignore_mdas))
                .collect(),
            bootloader: layout.bootloader.map(|area| (area.start, area.size)),
            zero: self.zero,
        }
    }
}

fn bad_argument(args: &Args, opt: Opt) -> Error {
    Error::usage(format!(
        "Invalid argument for --{}: {}",
        opt.spec().long,
        args.text(opt).unwrap_or_default()
    ))
    .and("Error during parsing of command line.")
}

fn setup_failed(name: &str) -> String {
    format!("Failed to setup physical volume \"{name}\".")
}

/// What to do with a device that is an unused PV already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Existing<'a> {
    /// Make it anew (pvcreate).
    Remake,
    /// Take it as it is (vgcreate, vgextend), and only if all devices can be taken by the VG of this
    /// name.
    Take(&'a str),
}

/// Refuses devices of different logical block sizes for one VG: a file system made on LVs of the one
/// may not be mountable once they lie on the other. `members` are those of the VG that they are to
/// join; one whose PVs differ already may go on.
fn check_block_sizes(session: &Session, new: &[DevKey], members: &[DevKey]) -> Result<()> {
    if session.config().bool("devices/allow_mixed_block_sizes") {
        return Ok(());
    }
    let size = |key: &DevKey| session.device(*key).logical_block_size;
    let one = |keys: &[DevKey]| {
        let first = keys.first().map(size)?;
        match keys.iter().map(size).find(|s| *s != first) {
            None => Some(Ok(first)),
            Some(other) => Some(Err((first, other))),
        }
    };
    let differ = match (one(members), one(new)) {
        (_, Some(Err(two))) => Some(two),
        (Some(Ok(old)), Some(Ok(new))) if old != new => Some((old, new)),
        _ => None,
    };
    match differ {
        None => Ok(()),
        Some((a, b)) => Err(Error::refused(format!(
            "Devices have inconsistent logical block sizes ({a} and {b})."
        ))
        .and("See lvm.conf allow_mixed_block_sizes.")),
    }
}

/// Makes PVs of the devices named. With [`Existing::Take`] the first device that cannot be used
/// stops all before anything is written; with [`Existing::Remake`] the others are made.
pub fn make_all(
    session: &mut Session,
    making: &Making,
    names: &[String],
    existing: Existing<'_>,
) -> Result<Vec<FoundPv>> {
    let mut worst = Worst::default();
    let mut devices: Vec<DevKey> = Vec::new();
    for name in names {
        let device = session
            .name_device_to_list(name)
            .map_err(|_| Error::not_found(format!("No device found for {name}.")));
        if let Some(device) = worst.add(session.ui(), device)
            && !devices.contains(&device)
        {
            devices.push(device);
        }
    }
    let takes = matches!(existing, Existing::Take(_));
    if takes && worst.failed() {
        return Err(Error::reported());
    }
    session.scan()?;
    if let Existing::Take(vg) = existing {
        let vg = session.inventory().find_vg(vg);
        let members: Vec<DevKey> = vg
            .iter()
            .flat_map(|v| v.found())
            .map(|f| f.device)
            .collect();
        check_block_sizes(session, &devices, &members)?;
    }
    let mut todo = Vec::new();
    for device in devices {
        let taken = session.inventory().orphan_on(device).cloned();
        let ready = match (existing, taken) {
            _ if session.inventory().has_duplicates(device) => {
                let name = &session.device(device).name;
                Err(Error::refused(format!(
                    "Cannot use device {name} with duplicates."
                )))
            }
            (Existing::Take(_), Some(pv)) if !pv.label.used => Ok(Some(pv)),
            (Existing::Take(_), _) => check_member(session, making, device).map(|()| None),
            (Existing::Remake, _) => making.check(session, device).map(|()| None),
        };
        if let Some(found) = worst.add(session.ui(), ready) {
            todo.push((device, found));
        }
    }
    if takes && worst.failed() {
        return Err(Error::reported());
    }
    let mut out = Vec::new();
    for (device, found) in todo {
        let made = match found {
            Some(pv) => Ok(pv),
            None => making.make(session, device),
        };
        out.extend(worst.add(session.ui(), made));
    }
    worst.finish()?;
    Ok(out)
}

fn check_member(session: &mut Session, making: &Making, device: DevKey) -> Result<()> {
    let name = session.device(device).name.clone();
    if let Some(vg) = session.inventory().owner(device) {
        return Err(Error::refused(format!(
            "Physical volume '{name}' is already in volume group '{vg}'"
        ))
        .and(format!(
            "Unable to add physical volume '{name}' to volume group '{vg}'"
        ))
        .and(format!("{name}: physical volume not initialized.")));
    }
    making.check(session, device)
}

/// What a VG needs to know of a PV that is to join it.
pub fn member_of(session: &Session, pv: &FoundPv) -> NewMember {
    let device = session.device(pv.device);
    let end = pv
        .mdas
        .iter()
        .filter(|m| m.start >= pv.label.data_start)
        .map(|m| m.start)
        .min()
        .unwrap_or(pv.label.device_size);
    NewMember {
        id: pv.label.id,
        device: device.name.clone(),
        // Metadata name a device by its identity only where a devices file is in use.
        device_id: match session.source() {
            Ok(Source::File(_)) => device.device_id.clone(),
            _ => None,
        },
        size: pv.label.device_size.sectors_floor(),
        pe_start: pv.label.data_start.sectors_floor(),
        pe_limit: end.min(pv.label.device_size).sectors_floor(),
        bootloader: pv.label.bootloader.map(|(start, size)| BootloaderArea {
            start: start.sectors_floor(),
            size: size.sectors_floor(),
        }),
    }
}
