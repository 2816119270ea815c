//! Backup and archive files read back: vgcfgrestore, `pvcreate --restorefile`.

use std::io::Read;
use std::path::Path;

use ulvm::error::{Error, Kind, Result};
use ulvm_metadata::convert::{ImportError, Imported, import};

/// Largest file read. A VG of 100,000 LVs takes some 40 MiB.
const MAX: u64 = 1 << 30;

/// Reads a file written by vgcfgbackup or as an archive, by ulvm or by LVM2.
pub fn read(path: &Path) -> Result<Imported> {
    read_with_text(path).map(|(imported, _)| imported)
}

/// The same, and the bytes of the file that it was made of.
pub fn read_with_text(path: &Path) -> Result<(Imported, Vec<u8>)> {
    let shown = path.display();
    let unread = format!("Failed to read VG from {shown}");
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|f| f.take(MAX).read_to_end(&mut text))
        .map_err(|e| {
            Error::io(format!("{shown}: open failed"), e)
                .and("WARNING: couldn't read volume group metadata from file.")
                .and(unread.clone())
        })?;
    let imported = import(&text).map_err(|e: ImportError| {
        Error::new(Kind::Corrupt, format!("{shown}: {e}"))
            .and("WARNING: couldn't read volume group metadata from file.")
            .and(unread)
    })?;
    Ok((imported, text))
}
