//! The images made by real LVM2 and a real kernel, with what must be read from them.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The vectors with mirrors that the kernel had active.
pub const MIRRORS: &[&str] = &[
    "mirror-core",
    "mirror-disk",
    "mirror-disk-dirty",
    "mirror-mirrored-log",
    "mirror-nosync",
    "mirror-partial",
    "raid1-2leg",
    "raid1-3leg",
    "raid1-dirty",
    "raid1-missing-leg",
    "raid1-nosync",
    "raid1-resync-interrupted",
    "raid1-scrub-mismatch",
    "raid1-stale-leg",
];

/// The directory of the vectors in this repository.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

/// One case: images and expectations.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Name of the case and of its directory.
    pub name: String,
    /// `expected.json`.
    pub expected: Value,
    directory: PathBuf,
}

impl Vector {
    /// Every case, by name.
    pub fn all() -> Result<Vec<Vector>, String> {
        let root = directory();
        let entries =
            std::fs::read_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("expected.json").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.iter().map(|name| Vector::load(name)).collect()
    }

    /// The case of that name.
    pub fn load(name: &str) -> Result<Vector, String> {
        let directory = directory().join(name);
        let file = directory.join("expected.json");
        let text = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let expected = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Vector {
            name: name.to_owned(),
            expected,
            directory,
        })
    }

    /// Names of the images (`pv0`, ...), in order.
    pub fn images(&self) -> Vec<String> {
        self.expected["images"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|image| image["pv"].as_str().map(str::to_owned))
            .collect()
    }

    /// Unpacks every image into `into`, under the name of its PV, and checks its recorded digest.
    pub fn unpack(&self, into: &Path) -> Result<Vec<PathBuf>, String> {
        self.images()
            .iter()
            .map(|name| {
                let target = into.join(name);
                write_sparse(&target, &self.image(name)?)
                    .map_err(|error| format!("{}: {error}", target.display()))?;
                Ok(target)
            })
            .collect()
    }

    /// The bytes of one image, checked against its recorded digest.
    pub fn image(&self, name: &str) -> Result<Vec<u8>, String> {
        let images = self.expected["images"]
            .as_array()
            .ok_or("no images in expected.json")?;
        let image = images.iter().find(|image| image["pv"] == name);
        let image = image.ok_or(format!("{} has no image {name}", self.name))?;
        let text = |key: &str| {
            image[key]
                .as_str()
                .ok_or(format!("{}: image without {key}", self.name))
        };
        let packed = self.directory.join(text("file")?);
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", packed.display());
        let bytes = std::fs::read(&packed).map_err(|error| problem(&error))?;
        let mut unpacked = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(bytes.as_slice())
            .map_err(|error| problem(&error))?
            .read_to_end(&mut unpacked)
            .map_err(|error| problem(&error))?;
        if digest(&unpacked) != text("sha256")? {
            return Err(problem(&"the unpacked image is not the recorded one"));
        }
        Ok(unpacked)
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes a file, leaving blocks of zeroes as holes.
pub fn write_sparse(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = std::fs::File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    write_blocks(&file, bytes)
}

/// Writes the blocks that are not all zeroes to a file or device that reads as zeroes.
pub fn write_blocks(file: &std::fs::File, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    const BLOCK: usize = 4096;
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, (index * BLOCK) as u64)?;
        }
    }
    Ok(())
}
