//! LVs that are active while a pvmove moves their extents.
//!
//! The mover becomes a device of its own under them. What it does changes in steps, each of which leaves
//! every write where the metadata say that data are, so that the command which takes them can be
//! killed between any two:
//!
//! 1. [`Live::route`]: the mover maps what the metadata say, and copies nothing; then the LVs are
//!    given tables on it, one after the other.
//! 2. [`Live::copy`] on: once all LVs lie on it, the segment that is next becomes a mirror. Every write
//!    goes to both places from here on.
//! 3. The segment is in sync and flushed; the metadata say that it is moved. 2. again for the next.
//! 4. [`Live::copy`] off: nothing is written to old places any more, and they may be given up.
//! 5. [`Live::leave`]: the LVs are given tables of their own places, and the mover goes. Then the
//!    metadata may say so.

use ulvm_metadata::model::{LvKey, Vg};
use ulvm_metadata::ops::pvmove;

use super::live::{Activation, Live, devices, uuid};
use super::plan::{self, Missing, Planned, dm_name, mover_rows};
use super::sync::SyncStatus;
use crate::daemon::client::Client;
use crate::daemon::proto::{DeviceStatus, Export, NewDevice};
use crate::error::{Error, Kind, Result};
use crate::inventory::VgRead;
use crate::session::Session;

/// How a mover under LVs is planned: nothing may be missing.
const WHOLE: Activation = Activation {
    export: Export::Fuse,
    missing: Missing::Refuse,
    read_only: false,
};

impl Live {
    /// Is an LV that lies on a mover active, or the mover itself?
    pub fn moves(&self, vg: &Vg, mover: LvKey) -> bool {
        let mut above = pvmove::all_above(vg, mover);
        above.push(mover);
        above.into_iter().any(|key| self.find(vg, key).is_some())
    }

    /// Is a device that of a mover, which has been made before the LVs that lie on it?
    pub(super) fn is_mover(&self, vg: &Vg, device: &str) -> bool {
        let movers = pvmove::movers(vg);
        movers.into_iter().any(|key| uuid(vg, key) == device)
    }

    /// Is a device that of a mover on which another active LV than `lv` lies?
    pub(super) fn is_shared(&self, vg: &Vg, lv: LvKey, device: &str) -> bool {
        let movers = pvmove::movers(vg).into_iter();
        let mut own = movers.filter(|key| uuid(vg, *key) == device);
        let under = plan::under(vg, lv);
        own.any(|mover| {
            let above = pvmove::all_above(vg, mover);
            let mut others = above.into_iter().filter(|key| !under.contains(key));
            others.any(|key| self.find(vg, key).is_some())
        })
    }

    /// Makes the device of a mover, and lets the active LVs concerned lie on it.
    pub fn route(&mut self, session: &Session, read: &VgRead, mover: LvKey) -> Result<()> {
        if self.find(&read.vg, mover).is_none() {
            let new = self.mover(session, read, mover, false)?;
            let made = self.daemon()?.activate(vec![new]).map_err(|e| {
                let text = format!("The pvmove is not active: {e}");
                Error::new(Kind::Io, text).with_source(e)
            })?;
            self.devices.extend(made);
        }
        self.load_users(session, read, mover, true)
    }

    /// Lets a mover copy the segment that is next, or none. One that does so already goes on.
    pub fn copy(&mut self, session: &Session, read: &VgRead, mover: LvKey, on: bool) -> Result<()> {
        let new = self.mover(session, read, mover, on)?;
        let device = self.find(&read.vg, mover);
        if on && device.is_some_and(|d| same_rows(&d.table, &new.table)) {
            return Ok(());
        }
        let client = self.daemon()?;
        let loaded = client.load(new.uuid.clone(), new.table, new.backings);
        let done = loaded.and_then(|()| client.resume(new.uuid));
        done.map_err(|e| {
            let text = format!("The pvmove still has its old table: {e}");
            Error::new(Kind::Io, text).with_source(e)
        })?;
        self.look()
    }

    /// Lets the LVs lie where their data are, and removes the mover that they lay on, which must not
    /// copy any more.
    pub fn leave(&mut self, session: &Session, read: &VgRead, mover: LvKey) -> Result<()> {
        if self.find(&read.vg, mover).is_none() {
            return Ok(());
        }
        self.load_users(session, read, mover, false)?;
        let own = uuid(&read.vg, mover);
        self.daemon()?.deactivate(vec![own.clone()])?;
        self.devices.retain(|device| device.uuid != own);
        Ok(())
    }

    /// How far the segment that is copied is in sync, as parts of a whole; none if nothing is copied.
    pub fn copied(&mut self, vg: &Vg, mover: LvKey) -> Result<Option<(u64, u64)>> {
        self.look()?;
        let Some(device) = self.find(vg, mover) else {
            return Ok(None);
        };
        let mirrors = device.target_status.lines().filter_map(SyncStatus::parse);
        Ok(mirrors.fold(None, |sum: Option<(u64, u64)>, mirror| {
            let (done, total) = sum.unwrap_or_default();
            let next = (
                done.saturating_add(mirror.done),
                total.saturating_add(mirror.total),
            );
            Some(next)
        }))
    }

    /// Has a place of what is copied failed?
    pub fn copy_failed(&self, vg: &Vg, mover: LvKey) -> bool {
        self.find(vg, mover).is_some_and(|device| {
            let mut mirrors = device.target_status.lines().filter_map(SyncStatus::parse);
            mirrors.any(|mirror| mirror.any_dead())
        })
    }

    fn daemon(&mut self) -> Result<&mut Client> {
        let gone = || Error::new(Kind::Io, "The daemon that serves the volumes is gone.");
        self.client.as_mut().ok_or_else(gone)
    }

    /// What is live now, for a VG in which something moves: what was read before the VG was locked may
    /// have changed since. LVs must lie on a mover that copies.
    pub fn look_for_movers(&mut self, vg: &Vg) -> Result<()> {
        let Some(place) = self
            .place
            .as_ref()
            .filter(|_| !pvmove::movers(vg).is_empty())
        else {
            return Ok(());
        };
        if self.client.is_none() {
            self.client = Client::connect(&place.run_dir)?;
        }
        match self.client {
            Some(_) => self.look(),
            None => Ok(()),
        }
    }

    fn look(&mut self) -> Result<()> {
        self.devices = self.daemon()?.status(false)?.devices;
        Ok(())
    }

    /// Gives the active LVs on a mover tables on its device, or past it.
    fn load_users(
        &mut self,
        session: &Session,
        read: &VgRead,
        mover: LvKey,
        on_mover: bool,
    ) -> Result<()> {
        let place = self.place()?;
        let past = uuid(&read.vg, mover);
        let there: Vec<DeviceStatus> = self
            .devices
            .iter()
            .filter(|device| on_mover || device.uuid != past)
            .cloned()
            .collect();
        for key in pvmove::users(&read.vg, mover) {
            let Some(device) = self.find(&read.vg, key) else {
                continue;
            };
            let own = device.uuid.clone();
            let new = devices(session, read, key, WHOLE, (&place, &there))?;
            let Some(new) = new.into_iter().find(|new| new.uuid == own) else {
                continue;
            };
            let client = self.daemon()?;
            let loaded = client.load(own.clone(), new.table, new.backings);
            loaded.and_then(|()| client.resume(own)).map_err(|e| {
                let name = format!("{}/{}", read.vg.name, read.vg.lvs[key].name);
                let text = format!("Logical volume {name} still has its old table: {e}");
                Error::new(Kind::Io, text).with_source(e)
            })?;
        }
        self.look()
    }

    fn place(&self) -> Result<super::live::Place> {
        let off = || Error::refused("Nothing is to be activated.");
        self.place.clone().ok_or_else(off)
    }

    /// The device of a mover.
    fn mover(
        &self,
        session: &Session,
        read: &VgRead,
        mover: LvKey,
        copying: bool,
    ) -> Result<NewDevice> {
        let vg = &read.vg;
        let missing = |pv| read.pv(pv).missing || read.pv(pv).device().is_none();
        let rows = mover_rows(vg, mover, &missing, copying)
            .map_err(|e| Error::refused(e.to_string()).with_source(e))?;
        let planned = Planned {
            name: dm_name(&vg.name, &vg.lvs[mover].name, None),
            uuid: uuid(vg, mover),
            read_only: false,
            rows,
        };
        super::live::hidden(session, read, &planned)
    }
}

/// Do two tables map the same ranges in the same ways? Devices have other names in a live one.
fn same_rows(live: &str, new: &str) -> bool {
    let rows = |text: &str| -> Vec<[String; 3]> {
        let words = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            std::array::from_fn(|_| words.next().unwrap_or_default())
        };
        text.lines().map(words).collect()
    };
    rows(live) == rows(new)
}
