//! What the bytes lie on: memory, files by the page cache and past it, block devices.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use ulvm_engine::backend::{Backing, Direct, OpenHow};
use ulvm_engine::device::Device;
use ulvm_engine::table_text::{Resolve, parse};
use ulvm_test_support::loopdev::{self, LoopDevice};
use ulvm_test_support::needs::Need;

const DEV_BYTES: u64 = 4096 * 512;
/// Bytes of the device that [`TABLE`] makes.
pub const SIZE: u64 = 3200 * 512;
/// Segments, chunks and offsets that are multiples of 4096 bytes, and some that are not.
const TABLE: &str = "0 1000 linear a 24\n1000 1536 striped 3 8 a 1032 b 0 c 40\n\
    2536 600 striped 2 12 c 2000 b 1000\n3136 64 linear c 1000\n";

/// Where the bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Memory,
    File(Direct),
    /// A loop device with sectors of its own size.
    Loop(u32, Direct),
}

/// A place, and the logical block size that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub place: Place,
    pub logical: u32,
}

/// Every kind of store.
pub const KINDS: [Kind; 11] = {
    use Direct::{Always, Never};
    const fn kind(place: Place, logical: u32) -> Kind {
        Kind { place, logical }
    }
    [
        kind(Place::Memory, 512),
        kind(Place::Memory, 4096),
        kind(Place::File(Never), 512),
        kind(Place::File(Never), 4096),
        kind(Place::File(Always), 512),
        kind(Place::File(Always), 4096),
        kind(Place::Loop(512, Always), 512),
        kind(Place::Loop(512, Always), 4096),
        kind(Place::Loop(4096, Always), 4096),
        kind(Place::Loop(512, Never), 512),
        kind(Place::Loop(4096, Never), 4096),
    ]
};

impl Kind {
    pub fn name(&self) -> String {
        let how = |direct| match direct {
            Direct::Always => "direct",
            _ => "cached",
        };
        let place = match self.place {
            Place::Memory => "memory".into(),
            Place::File(direct) => format!("{}_file", how(direct)),
            Place::Loop(own, direct) => format!("{}_loop_of_{own}", how(direct)),
        };
        format!("{place}::blocks_of_{}", self.logical)
    }

    pub fn needs(&self) -> &'static [Need] {
        match self.place {
            Place::Loop(..) => &[Need::Loop],
            _ => &[],
        }
    }

    /// Blocks that a change may have to be read, changed and written back in?
    pub fn has_blocks(&self) -> bool {
        matches!(
            self.place,
            Place::File(Direct::Always) | Place::Loop(_, Direct::Always)
        ) && self.logical > 512
    }
}

/// A device over three stores of a kind.
pub struct Store {
    pub device: Arc<Device>,
    _loops: Vec<LoopDevice>,
    _dir: TempDir,
}

/// Backing devices by name.
struct Named(Vec<(&'static str, Arc<Backing>)>);

impl Resolve for Named {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let found = self.0.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, b)| Arc::clone(b))
            .ok_or_else(|| format!("no device {word}"))
    }
}

impl Store {
    pub fn new(kind: Kind) -> Result<Store, String> {
        let dir = match kind.place {
            Place::Loop(..) => loopdev::scratch()?,
            // Not in memory: O_DIRECT and the page cache of a real file system are meant.
            _ => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|e| e.to_string())?,
        };
        let (mut loops, mut named) = (Vec::new(), Vec::new());
        for name in ["a", "b", "c"] {
            let path = dir.path().join(name);
            let backing = match kind.place {
                Place::Memory => Backing::memory(name, DEV_BYTES as usize, kind.logical),
                Place::File(direct) => {
                    std::fs::File::create(&path)
                        .and_then(|file| file.set_len(DEV_BYTES))
                        .map_err(|e| e.to_string())?;
                    open(&path, direct, kind.logical)?
                }
                Place::Loop(own, direct) => {
                    let device = LoopDevice::attach(&path, DEV_BYTES, own)?;
                    let backing = open(device.node(), direct, kind.logical)?;
                    loops.push(device);
                    backing
                }
            };
            named.push((name, Arc::new(backing)));
        }
        let table = parse(TABLE, &mut Named(named)).map_err(|e| e.to_string())?;
        let device = Device::with_table("t", table);
        assert_eq!(device.logical_block(), kind.logical);
        assert_eq!(device.size(), SIZE);
        Ok(Store {
            device,
            _loops: loops,
            _dir: dir,
        })
    }
}

fn open(path: &Path, direct: Direct, logical: u32) -> Result<Backing, String> {
    let how = OpenHow {
        direct,
        logical: Some(logical),
        ..OpenHow::default()
    };
    Backing::open(path, &how).map_err(|e| e.to_string())
}
