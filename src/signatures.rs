//! Signatures of filesystems, RAID members, encryption, swap and partition tables, so that nobody's
//! data is overwritten without a question. Offsets and magic bytes are facts of those formats; the
//! names are those that blkid prints.

use std::io;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::units::Bytes;

use crate::partition;

/// A signature found on a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// `ext4`, `linux_raid_member`, `gpt`...
    pub name: &'static str,
    /// Where its magic bytes stand.
    pub offset: Bytes,
    /// Number of magic bytes: what wiping overwrites.
    pub len: usize,
}

/// Bytes at the start of a device that hold every signature of [`AT_START`].
const START: u64 = 132 * 1024;
/// Bytes at the end that hold every signature looked for there.
const END: u64 = 132 * 1024;
/// Most rounds of looking again after a wipe.
const ROUNDS_MAX: usize = 32;

struct Magic {
    name: &'static str,
    offset: u64,
    bytes: &'static [u8],
}

const fn magic(name: &'static str, offset: u64, bytes: &'static [u8]) -> Magic {
    Magic {
        name,
        offset,
        bytes,
    }
}

/// Signatures whose place is counted from the start and that need no other check.
#[rustfmt::skip]
const AT_START: &[Magic] = &[
    magic("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    magic("crypto_LUKS", 0x4000, b"SKUL\xba\xbe"),
    magic("BitLocker", 3, b"-FVE-FS-"),
    magic("DM_snapshot_cow", 0, b"SnAp"),
    magic("DM_verity_hash", 0, b"verity\0\0"),
    magic("DM_integrity", 0, b"integrt\0"),
    magic("vdo", 0, b"dmvdo001"),
    magic("LVM1_member", 0, b"HM\x01\0"),
    magic("linux_raid_member", 0, b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    magic("linux_raid_member", 4096, b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    magic("bcache", 4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    magic("bcachefs", 4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    magic("ceph_bluestore", 0, b"bluestore block device"),
    magic("xfs", 0, b"XFSB"),
    magic("xfs_external_log", 0, b"\xfe\xed\xba\xbe"),
    magic("btrfs", 65536 + 64, b"_BHRfS_M"),
    magic("reiserfs", 8192 + 52, b"ReIsErFs"),
    magic("reiserfs", 65536 + 52, b"ReIsErFs"),
    magic("reiserfs", 65536 + 52, b"ReIsEr2Fs"),
    magic("reiserfs", 65536 + 52, b"ReIsEr3Fs"),
    magic("reiser4", 65536, b"ReIsEr4"),
    magic("jfs", 32768, b"JFS1"),
    magic("nilfs2", 1024 + 6, b"\x34\x34"),
    magic("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    magic("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    magic("squashfs", 0, b"hsqs"),
    magic("squashfs3", 0, b"sqsh"),
    magic("cramfs", 0, b"\x45\x3d\xcd\x28"),
    magic("romfs", 0, b"-rom1fs-"),
    magic("gfs2", 65536, b"\x01\x16\x19\x70\0\0\0\x01"),
    magic("ocfs2", 1024, b"OCFSV2"),
    magic("ocfs2", 2048, b"OCFSV2"),
    magic("ocfs2", 4096, b"OCFSV2"),
    magic("ocfs2", 8192, b"OCFSV2"),
    magic("apfs", 32, b"NXSB"),
    magic("hfsplus", 1024, b"H+\0\x04"),
    magic("hfsplus", 1024, b"HX\0\x05"),
    magic("exfat", 3, b"EXFAT   "),
    magic("ntfs", 3, b"NTFS    "),
    magic("iso9660", 32768 + 1, b"CD001"),
    magic("udf", 32768 + 1, b"BEA01"),
    magic("udf", 32768 + 1, b"NSR02"),
    magic("ufs", 8192 + 1372, b"\x54\x19\x01\0"),
    magic("ufs", 65536 + 1372, b"\x19\x01\x54\x19"),
    magic("swap", 4086, b"SWAPSPACE2"),
    magic("swap", 4086, b"SWAP-SPACE"),
    magic("swap", 8182, b"SWAPSPACE2"),
    magic("swap", 16374, b"SWAPSPACE2"),
    magic("swap", 32758, b"SWAPSPACE2"),
    magic("swap", 65526, b"SWAPSPACE2"),
    magic("swsuspend", 4086, b"S1SUSPEND"),
    magic("swsuspend", 4086, b"ULSUSPEND"),
    magic("sgi", 0, b"\x0b\xe5\xa9\x41"),
    magic("sun", 508, b"\xda\xbe"),
    magic("bsd", 512, b"\x57\x45\x56\x82"),
];

/// Start and end of a device, read once.
struct Window {
    start: Vec<u8>,
    end: Vec<u8>,
    end_at: u64,
    size: u64,
}

impl Window {
    fn read(disk: &dyn Disk) -> io::Result<Self> {
        let size = disk.size().0;
        let mut start = vec![0; START.min(size) as usize];
        disk.read_at(Bytes(0), &mut start)?;
        let mut end = vec![0; END.min(size) as usize];
        let end_at = size - end.len() as u64;
        disk.read_at(Bytes(end_at), &mut end)?;
        Ok(Self {
            start,
            end,
            end_at,
            size,
        })
    }
    fn at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let slice = |buf: &'_ [u8], from: u64| {
            let from = usize::try_from(from).ok()?;
            let range = from..from.checked_add(len)?;
            (range.end <= buf.len()).then_some(range)
        };
        if let Some(r) = slice(&self.start, offset) {
            return Some(&self.start[r]);
        }
        slice(&self.end, offset.checked_sub(self.end_at)?).map(|r| &self.end[r])
    }
    fn is(&self, offset: u64, bytes: &[u8]) -> bool {
        self.at(offset, bytes.len()) == Some(bytes)
    }
    fn le16(&self, offset: u64) -> u16 {
        self.at(offset, 2)
            .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
    }
    fn le32(&self, offset: u64) -> u32 {
        self.at(offset, 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    }
}

/// Everything found, by offset.
pub fn find(disk: &dyn Disk) -> io::Result<Vec<Signature>> {
    let w = Window::read(disk)?;
    let mut found = Vec::new();
    for m in AT_START {
        if w.is(m.offset, m.bytes) {
            push(&mut found, m.name, m.offset, m.bytes.len());
        }
    }
    ext(&w, &mut found);
    fat(&w, &mut found);
    minix_and_hfs(&w, &mut found);
    lvm(&w, &mut found);
    raid_at_end(&w, &mut found);
    zfs(&w, &mut found);
    partition_table(disk, &w, &mut found);
    found.sort_by_key(|s| s.offset);
    Ok(found)
}

fn push(found: &mut Vec<Signature>, name: &'static str, offset: u64, len: usize) {
    let new = Signature {
        name,
        offset: Bytes(offset),
        len,
    };
    if !found.contains(&new) {
        found.push(new);
    }
}

/// The second superblock field groups tell the generation: journal, then anything of ext4.
fn ext(w: &Window, found: &mut Vec<Signature>) {
    const MAGIC: u64 = 1080;
    if !w.is(MAGIC, b"\x53\xef") {
        return;
    }
    let (compat, incompat, ro) = (w.le32(1116), w.le32(1120), w.le32(1124));
    let name = if incompat & 0x8 != 0 {
        "jbd"
    } else if incompat & !0x16 != 0 || ro & !0x7 != 0 {
        "ext4"
    } else if compat & 0x4 != 0 {
        "ext3"
    } else {
        "ext2"
    };
    push(found, name, MAGIC, 2);
}

fn fat(w: &Window, found: &mut Vec<Signature>) {
    if !w.is(510, b"\x55\xaa") {
        return;
    }
    for (offset, bytes) in [
        (0x52, b"FAT32   ".as_slice()),
        (0x36, b"FAT16   "),
        (0x36, b"FAT12   "),
        (0x36, b"FAT     "),
    ] {
        if w.is(offset, bytes) {
            push(found, "vfat", offset, bytes.len());
            return;
        }
    }
}

/// Magics of two bytes count only with a second plausible field.
fn minix_and_hfs(w: &Window, found: &mut Vec<Signature>) {
    for bytes in [b"\x7f\x13", b"\x8f\x13", b"\x68\x24", b"\x78\x24"] {
        let zone_shift = w.le16(1024 + 10);
        if w.is(1040, bytes) && zone_shift == 0 && w.le16(1024) != 0 {
            push(found, "minix", 1040, 2);
        }
    }
    // "BD" with the volume bitmap at block 3, as every HFS volume has it.
    if w.is(1024, b"BD") && w.is(1024 + 14, b"\0\x03") {
        push(found, "hfs", 1024, 2);
    }
}

fn lvm(w: &Window, found: &mut Vec<Signature>) {
    for sector in 0..4 {
        let at = sector * 512;
        if w.is(at, b"LABELONE") && w.is(at + 24, b"LVM2 001") {
            push(found, "LVM2_member", at + 24, 8);
        }
    }
}

fn raid_at_end(w: &Window, found: &mut Vec<Signature>) {
    const MD: &[u8] = b"\xfc\x4e\x2b\xa9";
    const CHUNK: u64 = 64 * 1024;
    // md 0.90: last 64 KiB-aligned 64 KiB. Either byte order, as its host had it.
    if let Some(at) = (w.size & !(CHUNK - 1)).checked_sub(CHUNK)
        && (w.is(at, MD) || w.is(at, b"\xa9\x2b\x4e\xfc"))
    {
        push(found, "linux_raid_member", at, 4);
    }
    // md 1.0: 8 KiB before the end, rounded down to 4 KiB.
    if let Some(at) = w.size.checked_sub(8192).map(|at| at & !4095)
        && w.is(at, MD)
        && w.is(at + 4, b"\x01\0\0\0")
    {
        push(found, "linux_raid_member", at, 4);
    }
    if let Some(at) = w.size.checked_sub(1024)
        && w.is(at, b"Intel Raid ISM Cfg Sig. ")
    {
        push(found, "isw_raid_member", at, 24);
    }
    if let Some(at) = w.size.checked_sub(512)
        && w.is(at, b"\xde\x11\xde\x11")
    {
        push(found, "ddf_raid_member", at, 4);
    }
}

/// The uberblock array of the first label: 128 slots of 1 KiB from 128 KiB on; the first ones lie
/// in the window.
fn zfs(w: &Window, found: &mut Vec<Signature>) {
    const UBERBLOCK: &[u8] = b"\x0c\xb1\xba\0\0\0\0\0";
    let slots = (0..4).map(|n| 128 * 1024 + n * 1024);
    for at in slots.filter(|at| w.is(*at, UBERBLOCK)) {
        push(found, "zfs_member", at, UBERBLOCK.len());
    }
}

fn partition_table(disk: &dyn Disk, w: &Window, found: &mut Vec<Signature>) {
    match partition::read(disk) {
        partition::Table::Mbr(_) => push(found, "dos", 510, 2),
        partition::Table::Gpt(_) => push(found, "PMBR", 510, 2),
        partition::Table::None => {}
    }
    for block in [512, 4096] {
        let last = (w.size / block).saturating_sub(1) * block;
        for at in [block, last] {
            // The header's own number tells it from a stray copy.
            if w.is(at, b"EFI PART") && w.at(at + 24, 8) == Some(&(at / block).to_le_bytes()) {
                push(found, "gpt", at, 8);
            }
        }
    }
}

/// Overwrites the magic bytes; durable when this returns.
pub fn wipe(disk: &mut dyn Disk, signature: &Signature) -> io::Result<()> {
    disk.write_at(signature.offset, &vec![0; signature.len])?;
    disk.flush()
}

/// What became of the signatures of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wiped {
    /// None was found.
    Nothing,
    /// All were wiped; their names.
    All(Vec<&'static str>),
    /// The user keeps this one; nothing after it was touched.
    Kept(Signature),
}

/// Finds signatures and wipes those that `agree` says yes to, until none is left or one is kept.
/// Those named in `leave` are not looked at. With `dry` nothing is written.
pub fn wipe_all(
    disk: &mut dyn Disk,
    leave: &[&str],
    dry: bool,
    mut agree: impl FnMut(&Signature) -> bool,
) -> io::Result<Wiped> {
    let mut names = Vec::new();
    // Wiping one thing may uncover another (a filesystem behind an old partition table).
    for _ in 0..ROUNDS_MAX {
        let mut found = find(disk)?;
        found.retain(|s| !leave.contains(&s.name));
        if found.is_empty() {
            break;
        }
        for s in found {
            if !agree(&s) {
                return Ok(Wiped::Kept(s));
            }
            names.push(s.name);
            if !dry {
                wipe(disk, &s)?;
            }
        }
        if dry {
            break;
        }
    }
    Ok(if names.is_empty() {
        Wiped::Nothing
    } else {
        Wiped::All(names)
    })
}

/// Is the device a member of an md array, whose superblock may stand at its end?
pub fn is_md_component(disk: &dyn Disk) -> io::Result<bool> {
    let w = Window::read(disk)?;
    let mut found = Vec::new();
    raid_at_end(&w, &mut found);
    let at_start = AT_START
        .iter()
        .any(|m| m.name == "linux_raid_member" && w.is(m.offset, m.bytes));
    Ok(at_start || found.iter().any(|s| s.name == "linux_raid_member"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulvm_metadata::disk::MemDisk;

    fn disk_with(parts: &[(usize, &[u8])]) -> MemDisk {
        let mut disk = MemDisk::new(4 << 20);
        for (at, bytes) in parts {
            disk.data[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        disk
    }

    fn names(disk: &MemDisk) -> Vec<&'static str> {
        find(disk).unwrap().into_iter().map(|s| s.name).collect()
    }

    #[test]
    fn every_simple_magic_is_found_where_it_stands() {
        for m in AT_START {
            let disk = disk_with(&[(m.offset as usize, m.bytes)]);
            let found = find(&disk).unwrap();
            assert!(
                found
                    .iter()
                    .any(|s| s.name == m.name && s.offset.0 == m.offset),
                "{} at {}",
                m.name,
                m.offset
            );
        }
        assert!(names(&MemDisk::new(4 << 20)).is_empty());
        assert!(names(&MemDisk::new(0)).is_empty());
        assert!(names(&MemDisk::new(700)).is_empty());
    }

    #[test]
    fn generations_of_ext() {
        let magic = (1080, b"\x53\xef".as_slice());
        assert_eq!(names(&disk_with(&[magic])), ["ext2"]);
        assert_eq!(names(&disk_with(&[magic, (1116, &[4])])), ["ext3"]);
        assert_eq!(
            names(&disk_with(&[magic, (1116, &[4]), (1120, &[0x42])])),
            ["ext4"]
        );
        assert_eq!(names(&disk_with(&[magic, (1120, &[8])])), ["jbd"]);
    }

    #[test]
    fn things_at_the_end() {
        let size = 4usize << 20;
        let md = b"\xfc\x4e\x2b\xa9\x01\0\0\0".as_slice();
        for at in [size - 65536, size - 8192] {
            let disk = disk_with(&[(at, md)]);
            assert_eq!(names(&disk), ["linux_raid_member"]);
            assert!(is_md_component(&disk).unwrap());
        }
        assert!(!is_md_component(&disk_with(&[])).unwrap());
        assert_eq!(
            names(&disk_with(&[(size - 1024, b"Intel Raid ISM Cfg Sig. ")])),
            ["isw_raid_member"]
        );
    }

    #[test]
    fn wiping_asks_for_each_and_stops_at_a_no() {
        let parts = [
            (0usize, b"XFSB".as_slice()),
            (4086, b"SWAPSPACE2"),
            (536, b"LVM2 001"),
            (512, b"LABELONE"),
        ];
        let mut disk = disk_with(&parts);
        assert_eq!(names(&disk), ["xfs", "LVM2_member", "swap"]);
        let before = disk.data.clone();
        let kept = wipe_all(&mut disk, &["LVM2_member"], false, |s| s.name != "xfs").unwrap();
        assert!(matches!(kept, Wiped::Kept(s) if s.name == "xfs"));
        assert!(disk.data == before);
        let dry = wipe_all(&mut disk, &[], true, |_| true).unwrap();
        assert_eq!(dry, Wiped::All(vec!["xfs", "LVM2_member", "swap"]));
        assert!(disk.data == before && disk.log.is_empty());
        let all = wipe_all(&mut disk, &["LVM2_member"], false, |_| true).unwrap();
        assert_eq!(all, Wiped::All(vec!["xfs", "swap"]));
        assert_eq!(names(&disk), ["LVM2_member"]);
    }
}
