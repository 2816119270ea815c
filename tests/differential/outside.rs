//! What a script can do to its devices and files behind the tools' backs (`do` lines).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ulvm_test_support::loopdev::LoopDevice;
use ulvm_test_support::vectors::{Vector, write_blocks};
use ulvm_test_support::{needs, process};

use crate::case::size_in_bytes;

/// Carries out one `do` line whose variables are already replaced. `hide` and `show` are returned
/// to the caller, who knows what is visible.
pub fn act(words: &[String], devices: &mut [LoopDevice]) -> Result<(), String> {
    let all: Vec<&str> = words.iter().map(String::as_str).collect();
    match all.as_slice() {
        ["zero", path, offset, length] => {
            let length = size_in_bytes(length)?;
            write(path, size_in_bytes(offset)?, &vec![0; length as usize])
        }
        ["write", path, offset, text] => write(path, size_in_bytes(offset)?, text.as_bytes()),
        ["flip", path, offset] => flip(path, size_in_bytes(offset)?),
        ["copy", from, to] => copy(from, to),
        ["save", from, to] | ["load", to, from] => copy(from, to),
        ["resize", path, size] => {
            let size = size_in_bytes(size)?;
            let device = devices
                .iter_mut()
                .find(|device| device.node() == Path::new(path));
            device.ok_or(format!("no device {path}"))?.resize(size)
        }
        ["image", vector, name, path] => image(vector, name, path),
        ["mkfs", path, kind] => make_signature(path, kind),
        ["replace", file, old, new] => replace(file, old, new),
        ["make", file, text] => make(file, text),
        ["remove", file] => std::fs::remove_file(file).map_err(|error| format!("{file}: {error}")),
        _ => Err(format!("unknown action `{}`", words.join(" "))),
    }
}

fn open(path: &str) -> Result<File, String> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| format!("{path}: {error}"))
}

fn write(path: &str, offset: u64, bytes: &[u8]) -> Result<(), String> {
    let file = open(path)?;
    file.write_all_at(bytes, offset)
        .and_then(|()| file.sync_all())
        .map_err(|error| format!("{path}: {error}"))
}

/// Inverts the lowest bit of one byte.
fn flip(path: &str, offset: u64) -> Result<(), String> {
    let file = open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .map_err(|error| format!("{path}: {error}"))?;
    write(path, offset, &[byte[0] ^ 1])
}

fn copy(from: &str, to: &str) -> Result<(), String> {
    let bytes = std::fs::read(from).map_err(|error| format!("{from}: {error}"))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(to);
    let file = file.map_err(|error| format!("{to}: {error}"))?;
    file.write_all_at(&bytes, 0)
        .and_then(|()| file.sync_all())
        .map_err(|error| format!("{to}: {error}"))
}

/// Writes a text file, in a directory that need not be there.
fn make(file: &str, text: &str) -> Result<(), String> {
    let directory = Path::new(file).parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(file, text))
        .map_err(|error| format!("{file}: {error}"))
}

fn replace(file: &str, old: &str, new: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    if !text.contains(old) {
        return Err(format!("{file} does not hold `{old}`"));
    }
    std::fs::write(file, text.replace(old, new)).map_err(|error| format!("{file}: {error}"))
}

/// Puts a PV image of `tests/vectors` on a device that is empty and large enough.
fn image(vector: &str, name: &str, path: &str) -> Result<(), String> {
    let bytes = Vector::load(vector)?.image(name)?;
    let file = open(path)?;
    write_blocks(&file, &bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| format!("{path}: {error}"))
}

fn make_signature(path: &str, kind: &str) -> Result<(), String> {
    let (program, arguments): (&str, &[&str]) = match kind {
        "ext4" => ("mkfs.ext4", &["-q", "-F", path]),
        "xfs" => ("mkfs.xfs", &["-q", "-f", path]),
        "swap" => ("mkswap", &[path]),
        _ => return Err(format!("unknown signature {kind}")),
    };
    let found = needs::program(program).ok_or(format!("program `{program}` is not installed"))?;
    process::output(found, arguments)?
        .success(program)
        .map(drop)
}
