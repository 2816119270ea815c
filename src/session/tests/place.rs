//! A directory for sessions over image files, and the steps that many tests take.

use super::*;

/// A directory with images, a system directory and a lock directory of its own.
pub(in crate::session) struct Place {
    pub(in crate::session) dir: tempfile::TempDir,
}

impl Place {
    pub(in crate::session) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(in crate::session) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Unpacks the images of a vector; their names.
    pub(in crate::session) fn vector(&self, case: &str) -> Vec<String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/vectors")
            .join(case);
        let mut names: Vec<String> = std::fs::read_dir(&dir)
            .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
            .filter_map(|e| {
                let name = e.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".img.zst").map(str::to_owned)
            })
            .collect();
        names.sort();
        for name in &names {
            let packed = std::fs::File::open(dir.join(format!("{name}.img.zst"))).unwrap();
            let mut packed = ruzstd::decoding::StreamingDecoder::new(packed).unwrap();
            let mut image = std::fs::File::create(self.path(name)).unwrap();
            std::io::copy(&mut packed, &mut image).unwrap();
        }
        names
    }

    pub(in crate::session) fn session(
        &self,
        devices: &[String],
        config: &str,
    ) -> (Session, Rc<Recorder>) {
        self.session_with(devices, config, |_| {})
    }

    pub(in crate::session) fn session_with(
        &self,
        devices: &[String],
        config: &str,
        change: impl FnOnce(&mut Settings),
    ) -> (Session, Rc<Recorder>) {
        let env = Env {
            system_dir: Some(self.path("lvm")),
            lock_dir: Some(self.path("lock")),
            ..Env::default()
        };
        let names = devices
            .iter()
            .map(|d| self.path(d).to_str().unwrap().to_owned());
        let mut settings = Settings {
            config: Config::load(&env, Some(config), &[]).unwrap(),
            env,
            command_line: "test".into(),
            devices: Some(names.collect()),
            ..Settings::default()
        };
        change(&mut settings);
        let ui = Rc::new(Recorder::default());
        let session = Session::new(settings, Box::new(Rc::clone(&ui))).unwrap();
        (session, ui)
    }
}

pub(in crate::session) const MIB: u64 = 1 << 20;

impl Place {
    pub(in crate::session) fn images(&self, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|n| format!("d{n}.img")).collect();
        for name in &names {
            let file = std::fs::File::create(self.path(name)).unwrap();
            file.set_len(16 * MIB).unwrap();
        }
        names
    }

    pub(in crate::session) fn devices(
        &self,
        session: &mut Session,
        names: &[String],
    ) -> Vec<DevKey> {
        let paths = names.iter().map(|n| self.path(n));
        paths
            .map(|p| session.name_device(p.to_str().unwrap()).unwrap())
            .collect()
    }

    /// What another session finds.
    pub(in crate::session) fn look(&self, devices: &[String]) -> (Inventory, Vec<String>) {
        let (mut session, ui) = self.session(devices, "a=1");
        let inventory = session.read(Scope::All).unwrap().clone();
        (inventory, ui.warnings())
    }

    /// Labels and a VG `vg` over all of them.
    pub(in crate::session) fn make_vg(&self, names: &[String], mda_size: u64) -> VgRead {
        let (mut session, _) = self.session(names, "a=1");
        session.lock_global(LockMode::Exclusive).unwrap();
        let devices = self.devices(&mut session, names);
        let mut vg = Vg::new("vg", RandomIds.new_id(), Sectors(2048));
        for device in devices {
            let found = session.create_pv(device, &new_pv(mda_size)).unwrap();
            assert_eq!(found.label.data_start, Bytes(MIB));
            vg.pvs
                .push(Pv::new(found.label.id, Sectors(2048), Extents(15)));
        }
        session.commit_new(vg).unwrap()
    }
}

pub(in crate::session) fn new_pv(mda_size: u64) -> NewPv {
    NewPv {
        id: RandomIds.new_id(),
        label_sector: 1,
        device_size: Bytes(16 * MIB),
        data_start: Bytes(MIB),
        mdas: vec![(Bytes(4096), Bytes(mda_size), false)],
        bootloader: None,
        zero: true,
    }
}

pub(in crate::session) fn tagged(read: &VgRead, tag: &str) -> Vg {
    let mut vg = Vg::clone(&read.vg);
    vg.tags.push(tag.into());
    vg
}

/// The same VG, whatever slots its parts stand in.
pub(in crate::session) fn assert_same(a: &VgRead, b: &VgRead) {
    let text = |v: &VgRead| export(&v.vg, &TextHeader::default(), Style::Raw);
    assert_eq!(text(a), text(b));
    let mdas = |v: &VgRead| v.mdas().cloned().collect::<Vec<_>>();
    assert_eq!(mdas(a), mdas(b));
}

pub(in crate::session) fn edit(session: &mut Session, tag: &str) -> VgRead {
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    session.commit(&old, tagged(&old, tag)).unwrap()
}

pub(in crate::session) fn list(place: &Place, dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("lvm").join(dir))
        .into_iter()
        .flatten();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

pub(in crate::session) fn sizes(inventory: &Inventory) -> Vec<(&str, usize, bool)> {
    let vgs = inventory.vgs.iter();
    vgs.map(|v| (v.vg.name.as_str(), v.vg.pvs.len(), v.vg.status.exported))
        .collect()
}

pub(in crate::session) fn edit_one(session: &mut Session, name: &str) {
    let read = session.vg_for_write(name, Allow::default()).unwrap();
    let new = tagged(&read, "edited");
    session.commit(&read, new).unwrap();
}

/// The header as the commit stage finds it: the text of `before` rules, the one to come is known.
pub(in crate::session) fn not_reached(path: &Path, before: &[u8]) {
    use std::os::unix::fs::FileExt;
    use ulvm_metadata::ondisk::MdaHeader;
    let now = std::fs::read(path).unwrap();
    let header = |bytes: &[u8]| {
        let size = Bytes(bytes.len() as u64);
        MdaHeader::decode(bytes[4096..4608].try_into().unwrap(), Bytes(4096), size).unwrap()
    };
    let header = MdaHeader {
        committed: header(before).committed,
        precommitted: header(&now).committed,
        ..header(&now)
    };
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&header.encode(), 4096).unwrap();
}

/// A change by somebody who sees these devices only.
pub(in crate::session) fn edit_without(place: &Place, name: &str, devices: &[String]) {
    let (mut session, _) = place.session(devices, "a=1");
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let read = session.vg_for_write(name, allow).unwrap();
    let new = tagged(&read, "elsewhere");
    session.commit(&read, new).unwrap();
}

/// Which of a VG's PVs are missing, by their place in the list.
pub(in crate::session) fn missing(inventory: &Inventory, name: &str) -> Vec<bool> {
    let read = inventory.find_vg(name).unwrap();
    read.vg.pvs.keys().map(|k| read.pv(k).missing).collect()
}

/// A VG of one PV with a linear LV `lv` of 4 extents.
pub(in crate::session) fn vg_with_lv(place: &Place, names: &[String]) -> VgRead {
    use ulvm_metadata::convert::import;
    let made = place.make_vg(names, MIB - 4096);
    let text = export(&made.vg, &TextHeader::default(), Style::Raw);
    let lvs = format!(
        "logical_volumes {{\nlv {{\nid = \"{}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\n\
         flags = []\nsegment_count = 1\nsegment1 {{\nstart_extent = 0\nextent_count = 4\n\
         type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 2]\n}}\n}}\n}}\n",
        RandomIds.new_id()
    );
    let at = text.find("physical_volumes").unwrap();
    let text = format!("{}{lvs}{}", &text[..at], &text[at..]);
    let (mut session, _) = place.session(names, "a=1");
    let old = session.vg_for_write("vg", Allow::default()).unwrap();
    let vg = import(text.as_bytes()).unwrap().vg;
    session.commit(&old, vg).unwrap()
}
