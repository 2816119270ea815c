//! Reading volume groups under their locks.

use ulvm_metadata::uuid::LvmUuid;

use super::{Allow, LockMode, Scope, Session};
use crate::assemble::foreign_message;
use crate::error::{Error, Result};
use crate::inventory::{Inventory, VgRead};

impl Session {
    /// Locks, scans and says what is wrong, for commands that report. A VG that is named and does
    /// not exist is simply not in the inventory: [`Session::vg_not_found`] is the error for it.
    pub fn read(&mut self, scope: Scope<'_>) -> Result<&Inventory> {
        match scope {
            Scope::All => {
                self.lock_global(LockMode::Shared)?;
                self.read_all()?;
            }
            Scope::Names(names) => {
                for name in names {
                    self.lock_vg(name, LockMode::Shared)?;
                }
                self.add_names(names);
                self.scan()?;
            }
        }
        Ok(&self.inventory)
    }

    /// Scans, then takes each VG's lock for a moment: a copy that differs from another may be a
    /// writer's half-done work, so it is looked at again under the lock before it is called wrong.
    fn read_all(&mut self) -> Result<()> {
        let mut assembled = self.scan_settled()?;
        let names: Vec<String> = {
            let vgs = &assembled.inventory.vgs;
            vgs.iter().map(|v| v.vg.name.clone()).collect()
        };
        for name in names {
            let held = self.locks.mode(&super::vg_lock(&name)).is_some();
            self.lock_vg(&name, LockMode::Shared)?;
            if assembled.inconsistent.contains(&name) {
                assembled = self.scan_settled()?;
            }
            if !held {
                self.unlock_vg(&name);
            }
        }
        self.fresh = true;
        self.accept(assembled);
        Ok(())
    }

    pub(super) fn add_names(&mut self, names: &[String]) {
        if let Some(known) = &mut self.names {
            for name in names {
                if !known.contains(name) {
                    known.push(name.clone());
                    self.fresh = false;
                }
            }
        }
    }

    /// A VG to look at: locked shared, checked for exported, foreign and so on.
    pub fn vg_for_read(&mut self, name: &str, allow: Allow) -> Result<VgRead> {
        self.lock_vg(name, LockMode::Shared)?;
        self.add_names(std::slice::from_ref(&name.to_owned()));
        self.scan_if_stale()?;
        let read = self.find_vg(name, None)?;
        self.check_readable(&read, allow)?;
        Ok(read)
    }

    /// The VG of that name (and identity) in the inventory; an error if there is none or more
    /// than one.
    pub(super) fn find_vg(&self, name: &str, id: Option<&LvmUuid>) -> Result<VgRead> {
        let fits = |v: &&VgRead| v.vg.name == name && id.is_none_or(|id| v.vg.id == *id);
        let mut of_name = self.inventory.vgs.iter().filter(fits);
        match (of_name.next(), of_name.next()) {
            (Some(one), None) => Ok(one.clone()),
            (None, _) => Err(Self::vg_not_found(name)),
            _ => Err(Error::refused(format!(
                "Multiple VGs found with the same name: skipping {name}"
            ))
            .and("Use --select vg_uuid=<uuid> in place of the VG name.")),
        }
    }

    /// The error for a VG that does not exist (or may not be seen by this command).
    pub fn vg_not_found(name: &str) -> Error {
        Error::not_found(format!("Volume group \"{name}\" not found"))
            .and(format!("Cannot process volume group {name}"))
    }

    /// What stands against looking at a VG.
    pub(super) fn check_readable(&self, read: &VgRead, allow: Allow) -> Result<()> {
        if read.vg.status.exported && !allow.exported {
            return Err(Error::refused(format!(
                "Volume group {} is exported",
                read.vg.name
            )));
        }
        Ok(())
    }

    /// What stands against changing a VG, beside [`Session::check_readable`].
    pub(super) fn check_writable(&self, read: &VgRead, allow: Allow) -> Result<()> {
        let vg = &read.vg;
        let name = &vg.name;
        let refuse = |text: String| {
            Err(Error::refused(text).and(format!("Cannot process volume group {name}")))
        };
        if read.foreign && !allow.foreign {
            return refuse(foreign_message(vg, self.system_id()));
        }
        if let Some(word) = vg.unknown_status.first() {
            return refuse(format!(
                "Cannot change VG {name}: status {word} is unknown to this version."
            ));
        }
        if let Some(line) = &vg.not_utf8 {
            return refuse(not_utf8(name, line));
        }
        if !vg.status.write && !allow.read_only {
            return refuse(format!("Volume group {name} is read-only"));
        }
        if read.has_duplicates()
            && !allow.duplicates
            && !self
                .config()
                .bool("devices/allow_changes_with_duplicate_pvs")
        {
            return refuse(format!(
                "Cannot update volume group {name} with duplicate PV devices."
            ));
        }
        if read.partial() && !allow.missing {
            return Err(
                Error::refused(format!("Cannot change VG {name} while PVs are missing."))
                    .and("See vgreduce --removemissing and vgextend --restoremissing.")
                    .and(format!("Cannot process volume group {name}")),
            );
        }
        Ok(())
    }
}

/// Why a VG cannot be written again as it is.
pub(super) fn not_utf8(name: &str, line: &str) -> String {
    format!(
        "Cannot change VG {name}: its metadata hold a string that is not UTF-8 and would be lost: {line}. Change the string with LVM2, or correct it in the file of a vgcfgbackup made by LVM2 and restore that."
    )
}
