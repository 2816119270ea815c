//! A site together with its loop devices.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::loopdev::{self, LoopDevice};
use crate::lvm::{Site, Tool};
use crate::normal::Normaliser;
use crate::process::Finished;
use crate::state::State;

/// Loop devices and the site that sees exactly them.
#[derive(Debug)]
pub struct Field {
    /// The devices, in order. They must go before the directory that holds their files.
    pub devices: Vec<LoopDevice>,
    /// Where commands run.
    pub site: Site,
    _files: TempDir,
}

impl Field {
    /// Devices of the given sizes in bytes.
    pub fn new(ulvm: &Path, sizes: &[u64]) -> Result<Field, String> {
        let files = loopdev::scratch()?;
        let mut devices = Vec::new();
        for (index, &size) in sizes.iter().enumerate() {
            devices.push(LoopDevice::attach(
                &files.path().join(format!("pv{index}.img")),
                size,
                512,
            )?);
        }
        let mut field = Field {
            devices,
            site: Site::new(ulvm)?,
            _files: files,
        };
        field.site.show(&field.nodes())?;
        Ok(field)
    }

    /// Device paths.
    pub fn nodes(&self) -> Vec<PathBuf> {
        self.devices
            .iter()
            .map(|device| device.node().to_path_buf())
            .collect()
    }

    /// Replaces `$pv0`, ... in a line, runs it, and returns whatever happened.
    pub fn run(&self, tool: Tool, line: &str) -> Result<Finished, String> {
        let mut line = line.to_owned();
        for (index, device) in self.devices.iter().enumerate().rev() {
            line = line.replace(&format!("$pv{index}"), &device.node().display().to_string());
        }
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        self.site.run(tool, &words, &[])
    }

    /// [`Field::run`], which must succeed.
    pub fn ok(&self, tool: Tool, line: &str) -> Result<Finished, String> {
        self.run(tool, line)?.success(&format!("{tool}: {line}"))
    }

    /// Both tools' reports of the same disks must be the same.
    pub fn agree(&self, differences: impl Fn(&mut State, &mut State)) -> Result<(), String> {
        let places: Vec<(String, String)> = Vec::new();
        let mut normal = Normaliser::new(&places);
        let nodes = self.nodes();
        let mut ours = State::capture(&self.site, Tool::Ulvm, &nodes, &mut normal, None)?;
        let mut theirs = State::capture(&self.site, Tool::Debian, &nodes, &mut normal, None)?;
        differences(&mut theirs, &mut ours);
        let found = theirs.difference(&ours);
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("reports of the same disks (lvm2 / ulvm):\n{found}"))
        }
    }

    /// The seqno of a VG, as LVM2 reads it.
    pub fn seqno(&self, vg: &str) -> Result<u64, String> {
        let done = self.ok(Tool::Debian, &format!("vgs --noheadings -o vg_seqno {vg}"))?;
        done.out()
            .trim()
            .parse()
            .map_err(|_| format!("no seqno in {}", done.out()))
    }

    /// The names of the LVs of a VG, as LVM2 reads them, sorted.
    pub fn volumes(&self, vg: &str) -> Result<Vec<String>, String> {
        let done = self.ok(Tool::Debian, &format!("lvs --noheadings -o lv_name {vg}"))?;
        let mut names: Vec<String> = done.out().split_whitespace().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }
}
