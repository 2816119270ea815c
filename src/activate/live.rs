//! LVs that the daemon serves: which they are, activating and deactivating them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ulvm_metadata::model::{LvKey, PvKey, Vg};
use ulvm_metadata::ops::pvmove::settled_but;

use super::plan::{self, Missing, Planned, Under, dm_name};
use crate::daemon::client::Client;
use crate::daemon::proto::{DeviceStatus, Export, NewBacking, NewDevice, Rename};
use crate::error::{Error, Kind, Result};
use crate::inventory::{Device, VgRead};
use crate::session::Session;

/// How long a device must be seen open to count as open.
const MOMENT: Duration = Duration::from_millis(500);

/// Where the daemon is, and where links to its devices are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The daemon's run directory.
    pub run_dir: PathBuf,
    /// `/dev`, or what is used in its place.
    pub dev_dir: PathBuf,
}

/// How an LV is activated.
#[derive(Clone, Copy, Debug)]
pub struct Activation {
    /// How it is shown.
    pub export: Export,
    /// What to do about missing PVs.
    pub missing: Missing,
    /// Refuse writes, whatever the metadata say.
    pub read_only: bool,
}

/// The devices that were live when this was read, and the way to the daemon.
#[derive(Debug, Default)]
pub struct Live {
    pub(super) place: Option<Place>,
    pub(super) client: Option<Client>,
    pub(super) devices: Vec<DeviceStatus>,
}

impl Live {
    /// Nothing is live, and nothing may be made so.
    pub fn off() -> Self {
        Self::default()
    }

    /// What is live now. No daemon is started. `open`: find out what is open, too.
    pub fn read(place: Place, open: bool) -> Result<Self> {
        let mut client = Client::connect(&place.run_dir)?;
        let devices = match &mut client {
            Some(client) => client.status(open)?.devices,
            None => Vec::new(),
        };
        Ok(Self {
            place: Some(place),
            client,
            devices,
        })
    }

    /// May anything be activated?
    pub fn possible(&self) -> bool {
        self.place.is_some()
    }

    /// The device of an LV.
    pub fn find(&self, vg: &Vg, lv: LvKey) -> Option<&DeviceStatus> {
        let uuid = uuid(vg, lv);
        self.devices.iter().find(|d| d.uuid == uuid)
    }

    /// Are devices of the VG live?
    pub fn any_of(&self, vg: &Vg) -> bool {
        let prefix = format!("LVM-{}", vg.id.compact());
        self.devices.iter().any(|d| d.uuid.starts_with(&prefix))
    }

    /// Is the LV open, and stays so for a moment? A process that is being started has the files of
    /// the one that starts it open until it runs.
    pub fn open(&mut self, vg: &Vg, lv: LvKey) -> Result<bool> {
        let began = Instant::now();
        loop {
            match self.find(vg, lv).and_then(|d| d.open) {
                Some(false) => return Ok(false),
                Some(true) if began.elapsed() > MOMENT => return Ok(true),
                Some(true) => std::thread::sleep(MOMENT / 10),
                None if self.find(vg, lv).is_none() => return Ok(false),
                None => {}
            }
            if let Some(client) = &mut self.client {
                self.devices = client.status(true)?.devices;
            }
        }
    }

    /// Activates an LV: all of its devices, or none. One that is active stays as it is.
    pub fn activate(
        &mut self,
        session: &Session,
        read: &VgRead,
        lv: LvKey,
        how: Activation,
    ) -> Result<()> {
        self.look_for_movers(&read.vg)?;
        let Some(place) = &self.place else {
            return Ok(());
        };
        if self.find(&read.vg, lv).is_some() {
            return Ok(());
        }
        check_origin(&read.vg, lv, how.read_only)?;
        let mut devices = devices(session, read, lv, how, (place, &self.devices))?;
        // A mover is there already if another LV on it is active.
        devices.retain(|new| self.devices.iter().all(|d| d.uuid != new.uuid));
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect_or_start(&place.run_dir)?),
        };
        let made = client.activate(devices).map_err(|e| {
            let name = &read.vg.lvs[lv].name;
            let text = format!(
                "Logical volume {}/{name} is not activated: {e}",
                read.vg.name
            );
            Error::new(Kind::Io, text).with_source(e)
        })?;
        self.devices.extend(made);
        Ok(())
    }

    /// Gives an active LV the tables of its metadata as they are now.
    pub fn reload(
        &mut self,
        session: &Session,
        read: &VgRead,
        lv: LvKey,
        missing: Missing,
    ) -> Result<()> {
        self.look_for_movers(&read.vg)?;
        let name = format!("{}/{}", read.vg.name, read.vg.lvs[lv].name);
        let (Some(place), Some(device)) = (&self.place, self.find(&read.vg, lv)) else {
            return Ok(());
        };
        let how = Activation {
            export: device.export.unwrap_or(Export::Fuse),
            missing,
            read_only: device.read_only,
        };
        let mut devices = devices(session, read, lv, how, (place, &self.devices))?;
        devices.retain(|new| !self.is_mover(&read.vg, &new.uuid));
        let (Some(top), Some(client)) = (devices.pop(), &mut self.client) else {
            return Ok(());
        };
        if !devices.is_empty() {
            return Err(Error::refused(format!(
                "Logical volume {name} lies on other volumes: deactivate it and activate it again."
            )));
        }
        let failed = |e: Error| {
            let text = format!("Logical volume {name} still has its old table: {e}");
            Error::new(Kind::Io, text).with_source(e)
        };
        client
            .load(top.uuid.clone(), top.table, top.backings)
            .map_err(failed)?;
        client.resume(top.uuid).map_err(failed)
    }

    /// Gives live devices the names they have in `new`: all, or none.
    pub fn rename(&mut self, old: &Vg, new: &Vg) -> Result<()> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        let renames = renames(&self.devices, old, new, &place.dev_dir);
        let (Some(client), false) = (&mut self.client, renames.is_empty()) else {
            return Ok(());
        };
        client.rename(renames).map_err(|e| {
            let text = format!("Volume group {}: not renamed: {e}", old.name);
            Error::refused(text).with_source(e)
        })?;
        self.devices = client.status(false)?.devices;
        Ok(())
    }

    /// Lets an active LV be written to, or not, as its metadata say; not if it is `listed` to be
    /// read-only. What was let in is carried out.
    pub fn permit(&mut self, vg: &Vg, lv: LvKey, listed: bool) -> Result<()> {
        let read_only = listed || plan::read_only(&vg.lvs[lv]);
        check_origin(vg, lv, read_only)?;
        let (Some(device), Some(client)) = (
            self.devices.iter_mut().find(|d| d.uuid == uuid(vg, lv)),
            &mut self.client,
        ) else {
            return Ok(());
        };
        client
            .set_read_only(device.uuid.clone(), read_only)
            .map_err(|e| {
                let name = format!("{}/{}", vg.name, vg.lvs[lv].name);
                let text = format!("Logical volume {name} still has its old permission: {e}");
                Error::new(Kind::Io, text).with_source(e)
            })?;
        device.read_only = read_only;
        Ok(())
    }

    /// Makes the links of a VG's active LVs again, as far as they are gone.
    pub fn make_links(&mut self, vg: &Vg) -> Result<()> {
        let prefix = format!("LVM-{}", vg.id.compact());
        let devices = self.devices.iter().map(|d| &d.uuid);
        let of_vg: Vec<String> = devices
            .filter(|u| u.starts_with(&prefix))
            .cloned()
            .collect();
        match (&mut self.client, of_vg.is_empty()) {
            (Some(client), false) => client.make_links(of_vg),
            _ => Ok(()),
        }
    }

    /// Deactivates an LV, which must not be open. One that is not active stays as it is.
    pub fn deactivate(&mut self, vg: &Vg, lv: LvKey) -> Result<()> {
        let name = format!("{}/{}", vg.name, vg.lvs[lv].name);
        let names = self.devices_of(vg, lv);
        let (Some(client), false) = (&mut self.client, names.is_empty()) else {
            return Ok(());
        };
        client.deactivate(names.clone()).map_err(|e| {
            let text = match e.to_string().ends_with("in use") {
                true => format!("Logical volume {name} in use."),
                false => format!("Logical volume {name} is not deactivated: {e}"),
            };
            Error::refused(text).with_source(e)
        })?;
        self.devices.retain(|d| !names.contains(&d.uuid));
        Ok(())
    }

    /// Deactivates LVs in one request, as many as there are: who has what open is found out once. If
    /// that fails, those that are left are still to be deactivated one by one, and say why.
    pub fn deactivate_together(&mut self, vg: &Vg, lvs: &[LvKey]) -> Result<()> {
        let mut names: Vec<String> = Vec::new();
        for lv in lvs {
            names.extend(self.devices_of(vg, *lv));
        }
        if let (Some(client), true) = (&mut self.client, names.len() > 1) {
            // Said by the requests that follow.
            let _ = client.deactivate(names);
            self.devices = client.status(false)?.devices;
        }
        Ok(())
    }

    /// Names of an LV's devices, in the order in which they can be removed.
    fn devices_of(&self, vg: &Vg, lv: LvKey) -> Vec<String> {
        let own = uuid(vg, lv);
        // With the sub-LVs that it lies on, and their layers.
        let under = plan::under(vg, lv).into_iter().map(|lv| uuid(vg, lv));
        let under: Vec<String> = under.collect();
        let mut gone: Vec<&DeviceStatus> = self.devices.iter().collect();
        gone.retain(|d| under.iter().any(|own| d.uuid.starts_with(own)));
        gone.retain(|d| !self.is_shared(vg, lv, &d.uuid));
        // The LV itself was made last.
        gone.sort_by_key(|d| std::cmp::Reverse(d.number));
        gone.sort_by_key(|d| d.uuid != own);
        gone.iter().map(|d| d.uuid.clone()).collect()
    }
}

/// Refuses to let an origin be written to: its snapshots would see the writes, since nothing copies what
/// they replace.
fn check_origin(vg: &Vg, lv: LvKey, read_only: bool) -> Result<()> {
    if read_only || plan::read_only(&vg.lvs[lv]) {
        return Ok(());
    }
    match plan::snapshot_of(vg, lv) {
        None => Ok(()),
        Some(snapshot) => {
            let (name, snapshot) = (&vg.lvs[lv].name, &vg.lvs[snapshot].name);
            let vg = &vg.name;
            let text = format!(
                "Logical volume {vg}/{name} is the origin of {vg}/{snapshot}: snapshots are not run yet, and writes to it would damage them."
            );
            let way = format!("Make it read-only first: lvchange -pr {vg}/{name}");
            Err(Error::refused(text).and(way))
        }
    }
}

/// The live devices whose names are others in `new`.
fn renames(devices: &[DeviceStatus], old: &Vg, new: &Vg, dev_dir: &Path) -> Vec<Rename> {
    let mut out = Vec::new();
    for (key, lv) in new.lvs.iter() {
        let Some((_, before)) = old.lvs.iter().find(|(_, l)| l.id == lv.id) else {
            continue;
        };
        if (&before.name, &old.name) == (&lv.name, &new.name) {
            continue;
        }
        let own = uuid(new, key);
        let was = dm_name(&old.name, &before.name, None);
        let is = dm_name(&new.name, &lv.name, None);
        for device in devices.iter().filter(|d| d.uuid.starts_with(&own)) {
            let Some(layer) = device.name.strip_prefix(&was) else {
                continue;
            };
            let name = format!("{is}{layer}");
            let links = match device.links.is_empty() {
                true => Vec::new(),
                false => links(dev_dir, &name, &new.name, &lv.name),
            };
            out.push(Rename {
                device: device.uuid.clone(),
                name,
                uuid: None,
                links: Some(links),
            });
        }
    }
    out
}

/// Where links to an LV's node are.
fn links(dev_dir: &Path, dm_name: &str, vg: &str, lv: &str) -> Vec<PathBuf> {
    vec![
        dev_dir.join("mapper").join(dm_name),
        dev_dir.join(vg).join(lv),
    ]
}

/// device-mapper's uuid of an LV.
pub(super) fn uuid(vg: &Vg, lv: LvKey) -> String {
    format!("LVM-{}{}", vg.id.compact(), vg.lvs[lv].id.compact())
}

fn backing(device: &Device, word: String) -> Result<NewBacking> {
    let path = std::path::absolute(&device.path).map_err(|e| Error::io(&device.name, e))?;
    Ok(NewBacking {
        word,
        path,
        start: device.start.0,
        len: device.partition.map(|_| device.size.0),
        logical: Some(device.logical_block_size),
    })
}

/// The PVs of a VG that are there, by their identifiers.
fn guard(session: &Session, read: &VgRead) -> Result<Vec<NewBacking>> {
    let pvs = read.vg.pvs.iter();
    let there = pvs.filter_map(|(key, pv)| Some((read.pv(key).device()?, pv.id.to_string())));
    there
        .map(|(device, id)| backing(session.device(device), id))
        .collect()
}

/// What PVs are called in tables.
type Words = Vec<(PvKey, String)>;

/// PVs for tables to lie on, and what they are called in them.
fn words(
    session: &Session,
    read: &VgRead,
    lv: &str,
    pvs: &[PvKey],
) -> Result<(Vec<NewBacking>, Words)> {
    let mut backings = Vec::new();
    let mut words = Vec::new();
    for pv in pvs {
        let Some(key) = read.pv(*pv).device() else {
            continue;
        };
        if !read.pv(*pv).duplicates.is_empty() {
            return Err(Error::refused(format!(
                "Logical volume {lv}: physical volume {} has duplicates; use a filter or --devices to choose one.",
                read.vg.pvs[*pv].id
            )));
        }
        let device = session.device(key);
        // A table's words are divided by blanks.
        let word = match device.name.contains(char::is_whitespace) {
            true => format!("pv-{}", read.vg.pvs[*pv].id),
            false => device.name.clone(),
        };
        backings.push(backing(device, word.clone())?);
        words.push((*pv, word));
    }
    Ok((backings, words))
}

/// A device that lies on PVs alone, and that nobody sees.
pub(super) fn hidden(session: &Session, read: &VgRead, planned: &Planned) -> Result<NewDevice> {
    let pvs: Vec<PvKey> = read.vg.pvs.keys().collect();
    let used = planned.rows.iter().flat_map(|row| row.map.legs());
    let used: Vec<Under> = used.map(|on| on.under).collect();
    let pvs: Vec<PvKey> = pvs
        .into_iter()
        .filter(|pv| used.contains(&Under::Pv(*pv)))
        .collect();
    let (backings, words) = words(session, read, &planned.name, &pvs)?;
    let word = |under: Under| {
        let word = words.iter().find(|(key, _)| Under::Pv(*key) == under);
        word.map_or(String::new(), |(_, word)| word.clone())
    };
    Ok(NewDevice {
        name: planned.name.clone(),
        uuid: planned.uuid.clone(),
        read_only: planned.read_only,
        table: planned.text(&word),
        backings,
        export: None,
        links: Vec::new(),
        guard: guard(session, read)?,
        minor: None,
    })
}

/// The devices that make up an LV, lower ones first, with links for the LV itself.
pub(super) fn devices(
    session: &Session,
    read: &VgRead,
    lv: LvKey,
    how: Activation,
    (place, there): (&Place, &[DeviceStatus]),
) -> Result<Vec<NewDevice>> {
    // What a pvmove that nobody carries out has under way lies where its data are.
    let carried = |mover| {
        let own = uuid(&read.vg, mover);
        there.iter().any(|device| device.uuid == own)
    };
    let settled = settled_but(&read.vg, &carried);
    let vg: &Vg = &settled;
    let missing = |pv| read.pv(pv).missing || read.pv(pv).device().is_none();
    let plan = plan::plan(vg, lv, &missing, how.missing)
        .map_err(|e| Error::refused(e.to_string()).with_source(e))?;
    // The engine has the targets, but its simulator still finds sequences of crashes and failed
    // flushes after which an older value is read.
    if plan.has_copies() {
        return Err(Error::refused(format!(
            "Logical volume {0}/{1} is a mirror, which ulvm reads (ulvm read, ulvm serve --readonly) but does not run yet.",
            vg.name, vg.lvs[lv].name
        )));
    }
    let name = format!("{}/{}", vg.name, vg.lvs[lv].name);
    let (backings, words) = words(session, read, &name, &plan.pvs())?;
    let guard = guard(session, read)?;
    let names: Vec<&str> = plan.devices.iter().map(|d| d.name.as_str()).collect();
    let word = |under: Under| match under {
        Under::Device(n) => names.get(n).copied().unwrap_or_default().to_owned(),
        Under::Pv(pv) => {
            let word = words.iter().find(|(key, _)| *key == pv);
            word.map_or(String::new(), |(_, word)| word.clone())
        }
    };
    let last = plan.devices.len().saturating_sub(1);
    let lv_name = &vg.lvs[lv].name;
    let make = |(n, planned): (usize, &Planned)| NewDevice {
        name: planned.name.clone(),
        uuid: planned.uuid.clone(),
        read_only: planned.read_only || (how.read_only && n == last),
        table: planned.text(&word),
        backings: backings.clone(),
        export: (n == last).then_some(how.export),
        links: match n == last {
            true => links(&place.dev_dir, &planned.name, &vg.name, lv_name),
            false => Vec::new(),
        },
        guard: guard.clone(),
        minor: None,
    };
    Ok(plan.devices.iter().enumerate().map(make).collect())
}
