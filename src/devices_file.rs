//! The devices file (system.devices): which devices LVM2 and ulvm may use, by identities that
//! outlive names.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ulvm_metadata::model::DeviceId;
use ulvm_metadata::uuid::LvmUuid;

use crate::error::{Error, Kind, Result};

/// One line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// `IDTYPE` and `IDNAME`.
    pub id: DeviceId,
    /// `DEVNAME`: where the device was last seen, `None` for `.`.
    pub device: Option<String>,
    /// `PVID`, `None` for `.`.
    pub pv: Option<LvmUuid>,
    /// `PART`
    pub part: Option<u32>,
}

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DevicesFile {
    /// Where it was read from or is to be written to.
    pub path: PathBuf,
    /// Third number of `VERSION`; grows by one per write.
    pub counter: u64,
    /// The entries in order.
    pub entries: Vec<Entry>,
    /// Lines ulvm does not know (of later versions), kept.
    pub other: Vec<String>,
}

/// Longest file read.
const FILE_MAX: u64 = 8 << 20;

impl DevicesFile {
    /// Reads a file; `None` if it does not exist.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let failed = |e| Error::io(format!("read devices file {}", path.display()), e);
        match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
            Ok(m) if m.len() > FILE_MAX => {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!("Devices file {} is too large.", path.display()),
                ));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut file = Self::parse(&text);
        path.clone_into(&mut file.path);
        Ok(Some(file))
    }

    /// Name of the lock that who changes the file at `path` holds, as LVM2 does.
    pub fn lock_name(path: &Path) -> String {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("D_{name}")
    }

    /// Parses the text of a file. Lines without an identity are ignored, as LVM2 does.
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(version) = line.strip_prefix("VERSION=") {
                let last = version.split('.').nth(2);
                file.counter = last.and_then(|c| c.parse().ok()).unwrap_or(0);
            } else if line.starts_with("HASH=") {
                // A checksum of the other lines that later versions write; optional to them, and
                // wrong after a change.
            } else if line.contains("IDTYPE=") {
                file.entries.extend(parse_entry(line));
            } else {
                file.other.push(line.to_owned());
            }
        }
        file
    }

    /// The text, with the counter one higher than it was read.
    fn text(&self, created_by: &str) -> String {
        let mut out = String::from("# LVM uses devices listed in this file.\n");
        // Formatting into a String cannot fail.
        let _ = writeln!(out, "# Created by LVM command {created_by}");
        for line in &self.other {
            let _ = writeln!(out, "{line}");
        }
        let _ = writeln!(out, "VERSION=1.1.{}", self.counter);
        for e in &self.entries {
            let _ = write!(
                out,
                "IDTYPE={} IDNAME={} DEVNAME={} PVID={}",
                e.id.kind,
                e.id.name,
                e.device.as_deref().unwrap_or("."),
                e.pv.map_or_else(|| ".".to_owned(), |p| p.compact()),
            );
            if let Some(part) = e.part {
                let _ = write!(out, " PART={part}");
            }
            out.push('\n');
        }
        out
    }

    /// Writes the file (counter + 1): a temporary file, flushed, renamed over the old one.
    /// `created_by` is `NAME pid N at DATE`.
    pub fn write(&mut self, created_by: &str) -> Result<()> {
        self.counter += 1;
        let failed = |e| Error::io(format!("write devices file {}", self.path.display()), e);
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut temp = tempfile::Builder::new()
            .prefix(".devices")
            .tempfile_in(dir)
            .map_err(failed)?;
        temp.write_all(self.text(created_by).as_bytes())
            .map_err(failed)?;
        temp.as_file().sync_all().map_err(failed)?;
        temp.persist(&self.path).map_err(|e| failed(e.error))?;
        Ok(())
    }
}

fn parse_entry(line: &str) -> Option<Entry> {
    // IDNAME may hold blanks; the next key ends it.
    let field = |key: &str| -> Option<&str> {
        let start = line.find(&format!("{key}="))? + key.len() + 1;
        let rest = &line[start..];
        let end = ["IDTYPE=", "IDNAME=", "DEVNAME=", "PVID=", "PART="]
            .iter()
            .filter_map(|k| rest.find(&format!(" {k}")))
            .min()
            .unwrap_or(rest.len());
        Some(rest[..end].trim()).filter(|v| !v.is_empty() && *v != ".")
    };
    Some(Entry {
        id: DeviceId {
            kind: field("IDTYPE")?.to_owned(),
            name: field("IDNAME").unwrap_or(".").to_owned(),
        },
        device: field("DEVNAME").map(str::to_owned),
        pv: field("PVID").and_then(LvmUuid::parse),
        part: field("PART").and_then(|p| p.parse().ok()),
    })
}

/// The best identity of a block device, as LVM2 2.03.16 chooses it: what stacked drivers say, then
/// the wwid or serial of sysfs, then a loop device's file, then the name. `sys` is the device's
/// directory in /sys/dev/block.
pub fn best_id(sys: &Path, major: u32, name: &str) -> DeviceId {
    let read = |file: &str| -> Option<String> {
        let text = std::fs::read_to_string(sys.join(file)).ok()?;
        let word: String = text
            .trim()
            .chars()
            .map(|c| if c.is_whitespace() { '_' } else { c })
            .collect();
        (!word.is_empty()).then_some(word)
    };
    let id = |kind: &str, name: String| DeviceId {
        kind: kind.to_owned(),
        name,
    };
    if let Some(uuid) = read("dm/uuid") {
        for (prefix, kind) in [
            ("mpath-", "mpath_uuid"),
            ("CRYPT-", "crypt_uuid"),
            ("LVM-", "lvmlv_uuid"),
        ] {
            if uuid.starts_with(prefix) {
                return id(kind, uuid);
            }
        }
    }
    if let Some(uuid) = read("md/uuid") {
        return id("md_uuid", uuid);
    }
    if major == 7
        && let Some(file) = read("loop/backing_file")
    {
        return id("loop_file", file);
    }
    let parent = if sys.join("partition").exists() {
        "../"
    } else {
        ""
    };
    for file in ["device/wwid", "wwid"] {
        if let Some(wwid) = read(&format!("{parent}{file}")) {
            return id("sys_wwid", wwid);
        }
    }
    for file in ["device/serial", "serial"] {
        if let Some(serial) = read(&format!("{parent}{file}")) {
            return id("sys_serial", serial);
        }
    }
    id("devname", name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# LVM uses devices listed in this file.\n\
        # Created by LVM command pvcreate pid 77 at Mon Nov 23 16:00:00 2026\n\
        VERSION=1.1.4\n\
        HASH=2340962\n\
        IDTYPE=loop_file IDNAME=/tmp/a b.img DEVNAME=/dev/loop3 PVID=9OuWHL8ZI2w7qaEeWsRUnx8BVlFnjzwG PART=2\n\
        IDTYPE=sys_wwid IDNAME=naa.5000 DEVNAME=. PVID=.\n\
        IDTYPE= IDNAME=x\n";

    #[test]
    fn lines_are_read_and_written_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d/system.devices");
        let mut file = DevicesFile::parse(TEXT);
        assert_eq!((file.counter, file.entries.len()), (4, 2));
        assert_eq!(file.entries[0].id.name, "/tmp/a b.img");
        assert_eq!(file.entries[0].part, Some(2));
        assert_eq!(file.entries[1].device, None);
        file.path.clone_from(&path);
        file.write("pvcreate pid 1 at now").unwrap();
        let again = DevicesFile::read(&path).unwrap().unwrap();
        assert_eq!(again, file);
        assert_eq!(again.counter, 5);
        assert_eq!(DevicesFile::read(&dir.path().join("none")).unwrap(), None);
    }
}
