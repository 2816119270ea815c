//! Copying a segment in this process: one thread reads while another writes.

use std::io;
use std::sync::mpsc;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::PvKey;
use ulvm_metadata::ops::pvmove::Run;
use ulvm_metadata::units::{Bytes, Extents};

use crate::disk::{Access, FileDisk, is_busy};
use crate::error::{Error, Kind, Result};
use crate::in_use::{self, Alone, Range};
use crate::inventory::{Device, DeviceKind, VgRead};
use crate::session::Session;

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;
/// Pieces that may be read ahead of what is written.
const AHEAD: usize = 3;

/// A run of bytes.
struct Stretch {
    from: FileDisk,
    from_at: u64,
    to: FileDisk,
    to_at: u64,
    len: u64,
    /// Names, for messages.
    names: (String, String),
}

/// A segment to be copied. As long as it lives, nobody else can open an LV on its bytes, old or new.
pub(super) struct Task {
    stretches: Vec<Stretch>,
    _alone: Alone,
}

impl Task {
    /// Opens the devices and takes the bytes for this process.
    pub(super) fn prepare(session: &Session, read: &VgRead, runs: &[Run]) -> Result<Self> {
        let mut alone = Alone::default();
        let mut stretches = Vec::with_capacity(runs.len());
        for run in runs {
            let (from, from_at) = place(session, read, run.from)?;
            let (to, to_at) = place(session, read, run.to)?;
            let len = bytes(read, run.len)?;
            for (device, start) in [(from, from_at), (to, to_at)] {
                refuse_mapped(device)?;
                let held = alone.add(device, Range { start, len });
                match held {
                    Ok(true) => {}
                    Ok(false) => return Err(in_use_by(device, Range { start, len })),
                    Err(e) => return Err(Error::io(format!("lock extents on {}", device.name), e)),
                }
            }
            stretches.push(Stretch {
                from: open(from, Access::Read)?,
                from_at,
                to: open(to, Access::Write)?,
                to_at,
                len,
                names: (from.name.clone(), to.name.clone()),
            });
        }
        Ok(Self {
            stretches,
            _alone: alone,
        })
    }

    /// Copies all of it, durably; gives the number of bytes. `told` is called with the number of
    /// bytes so far.
    pub(super) fn run(&mut self, told: &mut dyn FnMut(u64)) -> Result<u64> {
        let mut done = 0;
        for stretch in &mut self.stretches {
            stretch.copy(&mut |bytes| told(done + bytes))?;
            done += stretch.len;
        }
        for stretch in &mut self.stretches {
            let flushed = stretch.to.flush();
            flushed.map_err(|e| Error::io(format!("{}: flush failed", stretch.names.1), e))?;
        }
        Ok(done)
    }
}

impl Stretch {
    fn copy(&mut self, told: &mut dyn FnMut(u64)) -> Result<()> {
        let (from, from_at, len) = (&mut self.from, self.from_at, self.len);
        let (to, to_at, names) = (&mut self.to, self.to_at, &self.names);
        let (send, receive) = mpsc::sync_channel::<io::Result<Vec<u8>>>(AHEAD);
        let (back, spare) = mpsc::channel::<Vec<u8>>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut at = 0;
                while at < len {
                    let now = PIECE.min(len - at);
                    let mut piece = spare.try_recv().unwrap_or_default();
                    piece.resize(usize::try_from(now).unwrap_or(0), 0);
                    let read = from
                        .read_at(Bytes(from_at + at), &mut piece)
                        .map(|()| piece);
                    let failed = read.is_err();
                    // The writer is gone after an error of its own, which it tells.
                    if send.send(read).is_err() || failed {
                        return;
                    }
                    at += now;
                }
            });
            let mut at = 0;
            for piece in receive {
                let piece = piece.map_err(|e| Error::io(format!("{}: read failed", names.0), e))?;
                to.write_at(Bytes(to_at + at), &piece)
                    .map_err(|e| Error::io(format!("{}: write failed", names.1), e))?;
                at += piece.len() as u64;
                told(at);
                // The reader may have read all there is.
                let _ = back.send(piece);
            }
            match at == len {
                true => Ok(()),
                false => Err(Error::new(
                    Kind::Internal,
                    format!("{}: only {at} of {len} bytes were copied.", names.0),
                )),
            }
        })
    }
}

/// The device of a PV, and the byte of it at which an extent begins.
fn place<'s>(
    session: &'s Session,
    read: &VgRead,
    (pv, extent): (PvKey, Extents),
) -> Result<(&'s Device, u64)> {
    let entry = &read.vg.pvs[pv];
    let device = read
        .pv(pv)
        .device()
        .ok_or_else(|| Error::refused(format!("Physical volume {} is missing.", entry.id)))?;
    let start = entry.pe_start.to_bytes().map(|b| b.0);
    let inside = bytes(read, extent)?;
    let at = start.and_then(|s| s.checked_add(inside));
    let at = at.ok_or_else(|| beyond(read))?;
    Ok((session.device(device), at))
}

fn bytes(read: &VgRead, extents: Extents) -> Result<u64> {
    let sectors = extents.to_sectors(read.vg.extent_size);
    sectors.to_bytes().map(|b| b.0).ok_or_else(|| beyond(read))
}

fn beyond(read: &VgRead) -> Error {
    Error::refused(format!(
        "Volume group {}: metadata place extents beyond what a device can hold.",
        read.vg.name
    ))
}

fn open(device: &Device, access: Access) -> Result<FileDisk> {
    let failed = |e| Error::io(format!("{}: open failed", device.name), e);
    let disk = FileDisk::open(&device.path, access).map_err(failed)?;
    match device.partition {
        None => Ok(disk),
        Some(_) => disk
            .part(device.start, device.size)
            .ok_or_else(|| Error::refused(format!("{}: the partition is not there.", device.name))),
    }
}

/// A device that the kernel holds may carry LVs that its device-mapper runs. Servers of ulvm hold
/// devices, too, but say which bytes they use.
fn refuse_mapped(device: &Device) -> Result<()> {
    if device.kind == DeviceKind::File || !is_busy(&device.path) {
        return Ok(());
    }
    match in_use::holder(device, in_use::whole(device)) {
        Some(_) => Ok(()),
        None => Err(Error::new(
            Kind::Locked,
            format!(
                "{} is in use: logical volumes on it may be active in the kernel's device-mapper.",
                device.name
            ),
        )
        .and("Use LVM2's pvmove for those, or deactivate them.")),
    }
}

fn in_use_by(device: &Device, range: Range) -> Error {
    let by = match in_use::holder(device, range).as_deref() {
        None | Some("") => String::new(),
        Some(holder) => format!(" by {holder}"),
    };
    Error::new(
        Kind::Locked,
        format!(
            "Extents on {} that are to be moved are in use{by}.",
            device.name
        ),
    )
    .and("Deactivate the logical volumes on them, and run pvmove again to go on.")
}
