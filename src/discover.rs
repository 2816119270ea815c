//! Which devices a command looks at, and under which names.
//!
//! `--devices` or `ULVM_DEVICES` name them all; else the devices file does, if there is one; else
//! every block device under devices/scan that the filters accept. Devices that the command line
//! names are added to that: this is how a regular file becomes a device.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ulvm_metadata::units::Bytes;

use crate::config::Config;
use crate::devices_file::{self, DevicesFile};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::inventory::{Device, DeviceKind};
use crate::mounts::Mounts;
use crate::sys::loops;

/// Where the list of devices comes from.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// These, filters aside.
    Listed(Vec<String>),
    /// Those with an entry in the devices file.
    File(DevicesFile),
    /// All block devices.
    All,
}

/// A device that was found, or why it may not be used.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// The device; size and block size are filled in when it is opened.
    pub device: Device,
    /// Named by the user: not being able to open it is worth a message.
    pub named: bool,
    /// Why it is not used (`device is a multipath component`).
    pub excluded: Option<String>,
}

/// Names of /proc/devices that LVM2 takes for disks.
const TYPES: [&str; 37] = [
    "VxDMP",
    "aoe",
    "ataraid",
    "bcache",
    "blkext",
    "cciss",
    "dac960",
    "dasd",
    "device-mapper",
    "drbd",
    "emcpower",
    "fio",
    "gnbd",
    "i2o_block",
    "ida",
    "ide",
    "iseries/vd",
    "loop",
    "md",
    "mdp",
    "mmc",
    "mtip32xx",
    "nbd",
    "nvme",
    "power2",
    "ps3disk",
    "ramdisk",
    "rbd",
    "scm",
    "sd",
    "skd",
    "ubd",
    "vdisk",
    "virtblk",
    "vtms",
    "xvd",
    "zvol",
];

/// Directories of /dev without disks.
const SKIPPED: [&str; 9] = [
    "shm",
    "pts",
    "mqueue",
    "hugepages",
    "char",
    "input",
    "snd",
    "net",
    "cpu",
];

/// Finds the devices of a command, in no order that means anything: see [`sort`].
pub fn candidates(config: &Config, source: &Source) -> Result<Vec<Candidate>> {
    match source {
        Source::Listed(names) => names.iter().map(|n| named(n)).collect(),
        Source::All => Ok(Finder::new(config)?.all()),
        Source::File(file) => {
            let mut found = Finder::new(config)?.all();
            found.retain(|c| !is_empty(&c.device.kind));
            for c in &mut found {
                c.device.device_id = identify(&c.device);
            }
            found.retain(|c| listed_in(file, c));
            Ok(found)
        }
    }
}

/// Puts devices into the order in which a command goes through them: block devices as LVM2 does,
/// then files as they were.
pub fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|c| place(&c.device.kind));
}

/// Where LVM2 comes across a device: by its number, least significant byte first (seen of loop
/// devices 4096, 4353, 4093, 8191, which it lists in this order).
fn place(kind: &DeviceKind) -> (bool, u32) {
    match *kind {
        DeviceKind::Block { major, minor } => {
            let number = rustix::fs::makedev(major, minor);
            // The number's lower half holds all bits of the numbers that devices have.
            let [a, b, c, d, ..] = number.to_le_bytes();
            (false, u32::from_be_bytes([a, b, c, d]))
        }
        DeviceKind::File => (true, 0),
    }
}

/// The identity of a block device for a devices file; none for files and partitions in images.
pub fn identify(device: &Device) -> Option<ulvm_metadata::model::DeviceId> {
    let sys = sys_dir(&device.kind).filter(|_| device.partition.is_none())?;
    Some(devices_file::best_id(
        &sys,
        major(&device.kind),
        &device.name,
    ))
}

/// A device or file that the user names. `PATH#N` is a partition; its place is found when the
/// image is opened.
pub fn named(name: &str) -> Result<Candidate> {
    let (path, partition) = match name.rsplit_once('#') {
        Some((image, number)) if !Path::new(name).exists() => match number.parse() {
            Ok(n) => (image, Some(n)),
            Err(_) => (name, None),
        },
        _ => (name, None),
    };
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("No device found for {name}.")),
        _ => Error::io(format!("{name}: stat failed"), e),
    })?;
    let kind = if meta.file_type().is_block_device() {
        block_kind(meta.rdev())
    } else if meta.is_file() {
        DeviceKind::File
    } else {
        return Err(Error::not_found(format!(
            "Cannot use {name}: it is neither a block device nor a regular file."
        )));
    };
    let sys = sys_dir(&kind);
    let aliases = match &kind {
        DeviceKind::File => full_name(path, partition).filter(|n| n != name),
        DeviceKind::Block { .. } => None,
    };
    Ok(Candidate {
        excluded: sys.as_deref().and_then(stacked_on),
        device: Device {
            name: name.to_owned(),
            aliases: aliases.into_iter().collect(),
            path: PathBuf::from(path),
            kind,
            start: Bytes(0),
            size: Bytes(0),
            logical_block_size: 512,
            partition,
            device_id: None,
        },
        named: true,
    })
}

/// Name of a file, or of a partition in it, that is the same wherever the user stands: what the
/// metadata say about where it is.
pub fn full_name(path: impl AsRef<Path>, partition: Option<u32>) -> Option<String> {
    let full = fs::canonicalize(path).ok()?;
    let full = full.to_str()?;
    Some(match partition {
        Some(n) => format!("{full}#{n}"),
        None => full.to_owned(),
    })
}

fn block_kind(rdev: u64) -> DeviceKind {
    DeviceKind::Block {
        major: rustix::fs::major(rdev),
        minor: rustix::fs::minor(rdev),
    }
}

/// Number of the block device at a path; none if something else is there.
pub fn block_number(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let meta = fs::metadata(path)?;
    Ok(match block_kind(meta.rdev()) {
        DeviceKind::Block { major, minor } if meta.file_type().is_block_device() => {
            Some((major, minor))
        }
        _ => None,
    })
}

fn major(kind: &DeviceKind) -> u32 {
    match kind {
        DeviceKind::Block { major, .. } => *major,
        DeviceKind::File => 0,
    }
}

fn sys_dir(kind: &DeviceKind) -> Option<PathBuf> {
    match kind {
        DeviceKind::Block { major, minor } => {
            Some(PathBuf::from(format!("/sys/dev/block/{major}:{minor}")))
        }
        DeviceKind::File => None,
    }
}

/// Does the kernel show partitions of this device?
pub fn kernel_partitions(kind: &DeviceKind) -> bool {
    let Some(entries) = sys_dir(kind).and_then(|dir| fs::read_dir(dir).ok()) else {
        return false;
    };
    entries
        .flatten()
        .any(|e| e.path().join("partition").exists())
}

/// Does the kernel say that a device has no sectors (a loop device without a file)?
fn is_empty(kind: &DeviceKind) -> bool {
    let size = sys_dir(kind).and_then(|dir| fs::read_to_string(dir.join("size")).ok());
    size.is_some_and(|size| size.trim() == "0")
}

/// Why a device must not be used on its own: it is part of an array or a multipath device.
pub(crate) fn component_of(kind: &DeviceKind) -> Option<String> {
    sys_dir(kind).as_deref().and_then(stacked_on)
}

/// A device that is part of an array or a multipath device must not be used on its own.
fn stacked_on(sys: &Path) -> Option<String> {
    let holders = fs::read_dir(sys.join("holders")).ok()?;
    for holder in holders.flatten() {
        let path = holder.path();
        if path.join("md").exists() {
            return Some("device is an md component".into());
        }
        let uuid = fs::read_to_string(path.join("dm/uuid")).unwrap_or_default();
        if uuid.starts_with("mpath-") {
            return Some("device is a multipath component".into());
        }
    }
    None
}

/// Number of a partition that the kernel shows as a device of its own.
pub fn kernel_partition(device: &Device) -> Option<u32> {
    let dir = sys_dir(&device.kind)?;
    let text = fs::read_to_string(dir.join("partition")).ok()?;
    text.trim().parse().ok()
}

fn listed_in(file: &DevicesFile, c: &Candidate) -> bool {
    let part = kernel_partition(&c.device);
    let own = c.device.device_id.as_ref();
    file.entries.iter().any(|e| {
        let by_name = e.id.kind == "devname"
            && (e.id.name == c.device.name || c.device.aliases.contains(&e.id.name));
        by_name || (own == Some(&e.id) && e.part == part)
    })
}

/// What is needed to judge block devices.
struct Finder {
    dirs: Vec<PathBuf>,
    filters: [Filter; 2],
    preferred: Vec<regex_lite::Regex>,
    majors: Majors,
    scan_lvs: bool,
    /// Folders in which LVs are shown as files: loop devices over those are LVs.
    shown: Vec<PathBuf>,
    /// Numbers of ublk devices that are LVs.
    shown_blocks: Vec<u32>,
}

impl Finder {
    fn new(config: &Config) -> Result<Self> {
        let filter = |name: &str| Filter::parse(name, &config.list(name));
        let extra = config.list("devices/types");
        let known = |name: &str| TYPES.contains(&name) || extra.iter().any(|t| t == name);
        Ok(Self {
            dirs: config
                .list("devices/scan")
                .iter()
                .map(PathBuf::from)
                .collect(),
            filters: [filter("devices/global_filter")?, filter("devices/filter")?],
            preferred: config
                .list("devices/preferred_names")
                .iter()
                .filter_map(|p| regex_lite::Regex::new(p).ok())
                .collect(),
            majors: Majors::read(known),
            scan_lvs: config.bool("devices/scan_lvs"),
            shown: Mounts::read().folders_of("fuse.ulvm"),
            shown_blocks: crate::daemon::ublk::shown(),
        })
    }

    fn all(&self) -> Vec<Candidate> {
        let mut names: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for dir in &self.dirs {
            walk(dir, 0, &mut names);
        }
        names
            .into_iter()
            .filter_map(|(rdev, names)| self.judge(rdev, names))
            .collect()
    }

    /// `None` = of no interest at all. Asks /sys only about what the filters let through, and only
    /// where no open can tell: this runs for every device node there is.
    fn judge(&self, rdev: u64, mut names: Vec<String>) -> Option<Candidate> {
        let kind = block_kind(rdev);
        if !self.majors.is_disk(major(&kind)) {
            return None;
        }
        names.sort_by_cached_key(|n| self.rank(n));
        let mut excluded = None;
        for filter in &self.filters {
            match filter.accept(names.iter().map(String::as_str)) {
                Some(n) => names[..=n].rotate_right(1),
                None => excluded = Some("device is rejected by filter config".into()),
            }
        }
        if self.majors.is_mapper(major(&kind)) {
            excluded = excluded.or_else(|| self.internal(&sys_dir(&kind)?));
        }
        if major(&kind) == loops::MAJOR && !self.shown.is_empty() {
            excluded = excluded.or_else(|| self.shown_lv(&sys_dir(&kind)?));
        }
        if !self.shown_blocks.is_empty() && !self.scan_lvs {
            excluded = excluded.or_else(|| self.shown_block(&sys_dir(&kind)?));
        }
        let name = names.first()?.clone();
        Some(Candidate {
            device: Device {
                device_id: None,
                path: PathBuf::from(&name),
                name,
                aliases: names.split_off(1),
                kind,
                start: Bytes(0),
                size: Bytes(0),
                logical_block_size: 512,
                partition: None,
            },
            named: false,
            excluded,
        })
    }

    /// dm devices that are LVs, or parts of them.
    fn internal(&self, sys: &Path) -> Option<String> {
        let uuid = fs::read_to_string(sys.join("dm/uuid")).ok()?;
        if fs::read_to_string(sys.join("dm/suspended")).is_ok_and(|s| s.trim() == "1") {
            return Some("device is suspended".into());
        }
        (uuid.starts_with("LVM-") && !self.scan_lvs).then(|| "device is an LV".into())
    }

    /// Loop devices over files that are LVs: what is in them is their owner's business.
    fn shown_lv(&self, sys: &Path) -> Option<String> {
        let file = fs::read_to_string(sys.join("loop/backing_file")).ok()?;
        let shown = self
            .shown
            .iter()
            .any(|dir| Path::new(&file).starts_with(dir));
        (shown && !self.scan_lvs).then(|| "device is an LV".into())
    }

    /// ublk devices that are LVs, and partitions of such.
    fn shown_block(&self, sys: &Path) -> Option<String> {
        let mut path = sys.canonicalize().ok()?;
        if path.join("partition").exists() {
            path.pop();
        }
        let name = path.file_name()?.to_str()?;
        let number = name.strip_prefix("ublkb")?.parse().ok()?;
        let ours = self.shown_blocks.contains(&number);
        ours.then(|| "device is an LV".into())
    }

    /// Smaller is preferred: names the configuration prefers, then those that say what the device
    /// is rather than where it is attached.
    fn rank(&self, name: &str) -> (usize, bool, usize, String) {
        let preferred = self.preferred.iter().position(|re| re.is_match(name));
        let dull = ["/dev/block/", "/dev/disk/", "/dev/dm-"]
            .iter()
            .any(|p| name.starts_with(p));
        (
            preferred.unwrap_or(usize::MAX),
            dull,
            name.matches('/').count(),
            name.to_owned(),
        )
    }
}

/// Major numbers, as /proc/devices names them.
struct Majors {
    /// Of the kinds of disks known; none if /proc does not tell.
    disks: Vec<u32>,
    /// Of the kernel's device-mapper.
    mapper: Option<u32>,
}

impl Majors {
    fn read(known: impl Fn(&str) -> bool) -> Self {
        let mut majors = Self {
            disks: Vec::new(),
            mapper: None,
        };
        let text = fs::read_to_string("/proc/devices").unwrap_or_default();
        let block = text.split("Block devices:").nth(1).unwrap_or_default();
        for line in block.lines() {
            let Some((number, name)) = line.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse() else {
                continue;
            };
            if known(name.trim()) {
                majors.disks.push(number);
            }
            if name.trim() == "device-mapper" {
                majors.mapper = Some(number);
            }
        }
        majors
    }

    fn is_disk(&self, major: u32) -> bool {
        self.disks.is_empty() || self.disks.contains(&major)
    }

    /// Without /proc every device may be one.
    fn is_mapper(&self, major: u32) -> bool {
        self.disks.is_empty() || self.mapper == Some(major)
    }
}

/// Collects block devices and links to them by device number. Links to directories are not
/// followed.
fn walk(dir: &Path, depth: u32, names: &mut BTreeMap<u64, Vec<String>>) {
    const DEPTH_MAX: u32 = 8;
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let path = entry.path();
        if kind.is_dir() {
            let skipped = entry
                .file_name()
                .to_str()
                .is_some_and(|n| SKIPPED.contains(&n));
            if depth < DEPTH_MAX && !skipped {
                walk(&path, depth + 1, names);
            }
        } else if (kind.is_block_device() || kind.is_symlink())
            && let Ok(meta) = fs::metadata(&path)
            && meta.file_type().is_block_device()
            && let Some(name) = path.to_str()
        {
            names.entry(meta.rdev()).or_default().push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_in_the_order_of_their_numbers_read_backwards() {
        let device = |minor| DeviceKind::Block { major: 7, minor };
        let mut kinds: Vec<_> = [4093, 8191, 4353, 4096, 1].map(device).into();
        kinds.push(DeviceKind::File);
        kinds.sort_by_key(place);
        let expected = [4096, 1, 4353, 4093, 8191].map(device);
        assert_eq!(&kinds[..5], expected);
        assert_eq!(kinds[5], DeviceKind::File);
    }

    #[test]
    fn files_are_named_as_given_and_partitions_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("a.img");
        fs::write(&image, "").unwrap();
        let name = image.to_str().unwrap();
        let c = named(name).unwrap();
        assert_eq!((c.device.name.as_str(), c.device.partition), (name, None));
        let part = format!("{name}#3");
        let c = named(&part).unwrap();
        assert_eq!(
            (c.device.path.as_path(), c.device.partition),
            (&*image, Some(3))
        );
        assert_eq!(c.device.name, part);
        fs::write(&part, "").unwrap();
        assert_eq!(named(&part).unwrap().device.partition, None);
        assert!(named(&format!("{name}x")).is_err());
        assert!(named(dir.path().to_str().unwrap()).is_err());
    }
}
