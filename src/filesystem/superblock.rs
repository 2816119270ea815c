//! What a device carries, and how much of the device it claims. Offsets are facts of the formats;
//! the tests compare the sizes with what the file systems' own tools make.

use std::fmt;
use std::io;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::units::Bytes;

use crate::signatures;

/// Kinds that ulvm knows how to resize, or knows not to be able to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// ext2, ext3, ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// Swap space.
    Swap,
    /// An encrypted layer (LUKS); what is inside cannot be seen.
    Crypt,
    /// Anything else with a signature.
    Other,
}

/// What was found on a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filesystem {
    /// What it is.
    pub kind: Kind,
    /// As blkid calls it: `ext4`, `xfs`...
    pub name: &'static str,
    /// Bytes of the device that it uses; none if it does not say.
    pub size: Option<Bytes>,
    /// Of btrfs: the number of this device in the file system.
    pub member: Option<u64>,
    /// Of swap space: uuid and label, which making it anew must keep.
    pub swap: Option<SwapNames>,
}

/// What identifies swap space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwapNames {
    /// In the usual form with hyphens.
    pub uuid: String,
    /// Empty if there is none.
    pub label: String,
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The file system (or swap, or encryption) on a device; none if there is no signature of one. Of
/// several the first on the device counts, as for blkid.
pub fn identify(disk: &dyn Disk) -> io::Result<Option<Filesystem>> {
    let found = signatures::find(disk)?;
    let Some(first) = found.first() else {
        return Ok(None);
    };
    let kind = match first.name {
        "ext2" | "ext3" | "ext4" => Kind::Ext,
        "xfs" => Kind::Xfs,
        "btrfs" => Kind::Btrfs,
        "f2fs" => Kind::F2fs,
        "swap" => Kind::Swap,
        "crypto_LUKS" | "BitLocker" => Kind::Crypt,
        _ => Kind::Other,
    };
    let fields = Fields(disk);
    let size = match kind {
        Kind::Ext => fields.ext()?,
        Kind::Xfs => fields.product(fields.be64(8)?, u64::from(fields.be32(4)?)),
        // The superblock's copy of this device's entry; the total is that of all devices.
        Kind::Btrfs => Some(fields.le64(BTRFS + 0xc9 + 8)?),
        Kind::F2fs => fields.shifted(fields.le64(1024 + 36)?, fields.le32(1024 + 16)?),
        // The magic ends the first page; the last page's number counts from 0.
        Kind::Swap => {
            let page = first.offset.0 + first.len as u64;
            fields.product(u64::from(fields.le32(1024 + 4)?) + 1, page)
        }
        Kind::Crypt | Kind::Other => None,
    };
    Ok(Some(Filesystem {
        kind,
        name: first.name,
        size: size.map(Bytes),
        member: match kind {
            Kind::Btrfs => Some(fields.le64(BTRFS + 0xc9)?),
            _ => None,
        },
        swap: match kind {
            Kind::Swap => Some(fields.swap_names()?),
            _ => None,
        },
    }))
}

/// Where btrfs's first superblock stands.
const BTRFS: u64 = 64 * 1024;

struct Fields<'d>(&'d dyn Disk);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, offset: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_at(Bytes(offset), &mut bytes)?;
        Ok(bytes)
    }
    fn le32(&self, offset: u64) -> io::Result<u32> {
        self.bytes(offset).map(u32::from_le_bytes)
    }
    fn le64(&self, offset: u64) -> io::Result<u64> {
        self.bytes(offset).map(u64::from_le_bytes)
    }
    fn be32(&self, offset: u64) -> io::Result<u32> {
        self.bytes(offset).map(u32::from_be_bytes)
    }
    fn be64(&self, offset: u64) -> io::Result<u64> {
        self.bytes(offset).map(u64::from_be_bytes)
    }
    fn product(&self, count: u64, size: u64) -> Option<u64> {
        count.checked_mul(size)
    }
    fn shifted(&self, count: u64, log: u32) -> Option<u64> {
        self.product(count, 1_u64.checked_shl(log)?)
    }
    fn ext(&self) -> io::Result<Option<u64>> {
        /// `INCOMPAT_64BIT`: the upper half of the count is valid.
        const WIDE: u32 = 0x80;
        let mut blocks = u64::from(self.le32(1024 + 0x4)?);
        if self.le32(1024 + 0x60)? & WIDE != 0 {
            blocks |= u64::from(self.le32(1024 + 0x150)?) << 32;
        }
        let log = self.le32(1024 + 0x18)?;
        Ok(log
            .checked_add(10)
            .and_then(|log| self.shifted(blocks, log)))
    }
    fn swap_names(&self) -> io::Result<SwapNames> {
        let uuid: [u8; 16] = self.bytes(1024 + 12)?;
        let label: [u8; 16] = self.bytes(1024 + 28)?;
        let label = label.split(|b| *b == 0).next().unwrap_or_default();
        let hex: String = uuid.iter().map(|b| format!("{b:02x}")).collect();
        Ok(SwapNames {
            uuid: [
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..],
            ]
            .join("-"),
            label: String::from_utf8_lossy(label).into_owned(),
        })
    }
}
