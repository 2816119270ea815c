//! What has come online since boot: files in ulvm's own run directory, one for each PV that was seen and
//! one for each VG that was told to be activated. LVM2 keeps the like in /run/lvm, which is left alone.
//!
//! | file | holds |
//! |---|---|
//! | `pvs_online/PVID` | `MAJOR:MINOR`, `vg:NAME` if it is known, `dev:PATH`, a line each |
//! | `pvs_lookup/VG` | the PVs of the newest metadata seen, for PVs without metadata of their own |
//! | `vgs_online/VG` | nothing: that it exists tells that the VG was told to be activated |
//!
//! What must hold: whoever records a PV does so before looking whether its VG is ready. So of several
//! that come at once at least one sees them all, and the file that only one can make lets only one of
//! them have the VG activated.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ulvm_metadata::model::arena::Key;
use ulvm_metadata::model::{PvKey, Vg};
use ulvm_metadata::uuid::LvmUuid;

use crate::error::{Error, Result};

/// No file of ours is longer: a VG has a few thousand PVs at most.
const FILE_MAX: u64 = 1 << 20;

/// Begins names of files that are being written; no VG or PV identifier begins so.
const UNFINISHED: &str = "~";

/// The files of a run directory.
#[derive(Clone, Debug)]
pub struct Online {
    dir: PathBuf,
}

/// A PV that is online.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvOnline {
    /// Number of the device.
    pub number: (u32, u32),
    /// The VG, if the device itself told.
    pub vg: Option<String>,
    /// The device's name when it was seen.
    pub device: String,
}

/// The PVs of a VG.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// Of the metadata that tell.
    pub seqno: u32,
    /// Each PV, and whether an LV that is to be activated lies on it.
    pub pvs: Vec<(LvmUuid, bool)>,
}

impl Members {
    /// Of a VG of whose PVs only some are `needed`; all, if no LV asks for any.
    pub fn of(vg: &Vg, needed: &[PvKey]) -> Self {
        let pvs = vg.pvs.keys();
        let pvs = pvs.map(|key| {
            let wanted = needed.is_empty() || needed.iter().any(|n| n.slot() == key.slot());
            (vg.pvs[key].id, wanted)
        });
        Self {
            seqno: vg.seqno,
            pvs: pvs.collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("seqno {}\n", self.seqno);
        for (id, needed) in &self.pvs {
            let mark = if *needed { "" } else { " spare" };
            text.push_str(&format!("{}{mark}\n", id.compact()));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let seqno = lines.next()?.strip_prefix("seqno ")?.parse().ok()?;
        let pvs = lines.map(|line| match line.strip_suffix(" spare") {
            Some(id) => Some((LvmUuid::from_raw(id.as_bytes())?, false)),
            None => Some((LvmUuid::from_raw(line.as_bytes())?, true)),
        });
        Some(Self {
            seqno,
            pvs: pvs.collect::<Option<Vec<_>>>()?,
        })
    }
}

/// How far a VG is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// PVs that are not online.
    pub absent: usize,
    /// Those of them that an LV to be activated lies on.
    pub needed: usize,
}

impl Online {
    /// Of a run directory. Nothing is made yet.
    pub fn new(run_dir: &Path) -> Self {
        Self {
            dir: run_dir.to_owned(),
        }
    }

    /// Records a PV.
    pub fn record(&self, id: &LvmUuid, pv: &PvOnline) -> Result<()> {
        let (major, minor) = pv.number;
        let vg = pv.vg.as_ref().map(|vg| format!("vg:{vg}\n"));
        let vg = vg.unwrap_or_default();
        let text = format!("{major}:{minor}\n{vg}dev:{}\n", pv.device);
        self.write("pvs_online", &id.compact(), &text)
    }

    /// A PV that was recorded and whose device is still there.
    pub fn pv(&self, id: &LvmUuid) -> Option<PvOnline> {
        let pv = parse_pv(&self.read("pvs_online", &id.compact())?)?;
        let (major, minor) = pv.number;
        let there = Path::new(&format!("/sys/dev/block/{major}:{minor}")).exists();
        there.then_some(pv)
    }

    /// Forgets the PV on a device that is gone, and what was told of its VG if none of the VG's PVs is left.
    pub fn forget(&self, number: (u32, u32)) -> Result<()> {
        for name in self.names("pvs_online") {
            let pv = self.read("pvs_online", &name).and_then(|t| parse_pv(&t));
            if pv.is_some_and(|pv| pv.number == number) {
                self.remove("pvs_online", &name)?;
            }
        }
        for vg in self.names("pvs_lookup") {
            let members = self.members(&vg).unwrap_or_default();
            if members.pvs.iter().all(|(id, _)| self.pv(id).is_none()) {
                self.remove("vgs_online", &vg)?;
                self.remove("pvs_lookup", &vg)?;
            }
        }
        Ok(())
    }

    /// Forgets all PVs; VGs that were told to be activated stay so.
    pub fn forget_pvs(&self) -> Result<()> {
        for name in self.names("pvs_online") {
            self.remove("pvs_online", &name)?;
        }
        Ok(())
    }

    /// Notes the PVs of a VG, unless newer metadata have been noted; gives what counts.
    pub fn note(&self, vg: &str, members: Members) -> Result<Members> {
        if let Some(known) = self.members(vg)
            && known.seqno > members.seqno
        {
            return Ok(known);
        }
        self.write("pvs_lookup", vg, &members.text())?;
        Ok(members)
    }

    /// The VG that a PV belongs to by what other PVs' metadata say, and its PVs.
    pub fn vg_of(&self, pv: &LvmUuid) -> Option<(String, Members)> {
        self.names("pvs_lookup").into_iter().find_map(|vg| {
            let members = self.members(&vg)?;
            let of_vg = members.pvs.iter().any(|(id, _)| id == pv);
            of_vg.then_some((vg, members))
        })
    }

    /// What of a VG is not online yet.
    pub fn progress(&self, members: &Members) -> Progress {
        let absent = members.pvs.iter().filter(|(id, _)| self.pv(id).is_none());
        let absent: Vec<bool> = absent.map(|(_, needed)| *needed).collect();
        Progress {
            absent: absent.len(),
            needed: absent.iter().filter(|needed| **needed).count(),
        }
    }

    /// Marks a VG as told to be activated; true for the one who did it first.
    pub fn mark(&self, vg: &str) -> Result<bool> {
        let path = self.place("vgs_online", vg)?;
        match fs::File::create_new(&path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(Error::io(path.display(), e)),
        }
    }

    /// Takes the mark away: what comes next has the VG activated again.
    pub fn unmark(&self, vg: &str) -> Result<()> {
        self.remove("vgs_online", vg)
    }

    fn members(&self, vg: &str) -> Option<Members> {
        Members::parse(&self.read("pvs_lookup", vg)?)
    }

    /// Where a file is; its folder is made.
    fn place(&self, kind: &str, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(kind);
        // PV identifiers may hold characters that names of VGs may not.
        if name.contains('/') || matches!(name, "" | "." | "..") {
            return Err(Error::refused(format!("{name} is no name of a VG")));
        }
        let make = || {
            use std::os::unix::fs::DirBuilderExt;
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
        };
        make().map_err(|e| Error::io(folder.display(), e))?;
        Ok(folder.join(name))
    }

    /// Whoever reads sees all of a text or the one before it.
    fn write(&self, kind: &str, name: &str, text: &str) -> Result<()> {
        let path = self.place(kind, name)?;
        let put = || {
            let folder = path.parent().unwrap_or(&self.dir);
            let mut file = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempfile_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.persist(&path).map_err(|e| e.error)
        };
        put().map(drop).map_err(|e| Error::io(path.display(), e))
    }

    /// A file that cannot be read is one that is not there: its PV will be waited for.
    fn read(&self, kind: &str, name: &str) -> Option<String> {
        use std::io::Read;
        let file = fs::File::open(self.dir.join(kind).join(name)).ok()?;
        let mut text = String::new();
        file.take(FILE_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn remove(&self, kind: &str, name: &str) -> Result<()> {
        let path = self.dir.join(kind).join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path.display(), e)),
            _ => Ok(()),
        }
    }

    fn names(&self, kind: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join(kind)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| !name.starts_with(UNFINISHED)).collect()
    }
}

fn parse_pv(text: &str) -> Option<PvOnline> {
    let mut lines = text.lines();
    let (major, minor) = lines.next()?.split_once(':')?;
    let mut pv = PvOnline {
        number: (major.parse().ok()?, minor.parse().ok()?),
        vg: None,
        device: String::new(),
    };
    for line in lines {
        match line.split_once(':') {
            Some(("vg", name)) => pv.vg = Some(name.to_owned()),
            Some(("dev", name)) => pv.device = name.to_owned(),
            _ => {}
        }
    }
    Some(pv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: char) -> LvmUuid {
        LvmUuid::from_raw(&[letter as u8; 32]).unwrap()
    }

    /// A device that every Linux has.
    fn device() -> (u32, u32) {
        let entry = fs::read_dir("/sys/dev/block").unwrap().next().unwrap();
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (major, minor) = name.split_once(':').unwrap();
        (major.parse().unwrap(), minor.parse().unwrap())
    }

    fn online(number: (u32, u32)) -> PvOnline {
        PvOnline {
            number,
            vg: Some("vg".into()),
            device: "/dev/a".into(),
        }
    }

    #[test]
    fn a_vg_is_told_of_once_when_what_it_needs_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let files = Online::new(dir.path());
        let members = Members {
            seqno: 2,
            pvs: vec![(id('a'), true), (id('b'), false), (id('c'), true)],
        };
        files.record(&id('a'), &online(device())).unwrap();
        assert_eq!(files.pv(&id('a')), Some(online(device())));
        let members = files.note("vg", members).unwrap();
        let left = |absent, needed| Progress { absent, needed };
        assert_eq!(files.progress(&members), left(2, 1));
        // Found by a PV that has no metadata, and written back as it was.
        assert_eq!(
            files.vg_of(&id('c')),
            Some(("vg".to_owned(), members.clone()))
        );
        files.record(&id('c'), &online(device())).unwrap();
        assert_eq!(files.progress(&members), left(1, 0));
        assert!(files.mark("vg").unwrap());
        assert!(!files.mark("vg").unwrap());
        // Older metadata do not rule.
        let older = Members {
            seqno: 1,
            pvs: vec![(id('z'), true)],
        };
        assert_eq!(files.note("vg", older).unwrap(), members);
        files.forget(device()).unwrap();
        assert_eq!(files.progress(&members), left(3, 2));
        assert!(files.mark("vg").unwrap(), "nothing is left of the VG");
    }

    #[test]
    fn a_device_that_is_gone_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let files = Online::new(dir.path());
        files.record(&id('a'), &online((4095, 77))).unwrap();
        assert_eq!(files.pv(&id('a')), None);
        assert!(files.mark("../vg").is_err());
        fs::write(dir.path().join("pvs_online").join(id('a').compact()), "7").unwrap();
        assert_eq!(files.pv(&id('a')), None);
    }
}
