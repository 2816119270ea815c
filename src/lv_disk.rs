//! The content of an LV that is not active, as one disk: for zeroing and for looking at signatures.
//!
//! Holds the exclusive lock of its VG by being made from a [`VgRead`] of a session that has it.
//! Linear and striped segments on PVs, `zero` and `error` segments; anything else cannot be mapped.
//! A mirror is read from its first copy and written to all of them, which is right for a new one
//! only: nothing is marked in its log or bitmap.

use std::collections::HashMap;
use std::io;

use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::{Area, Lv, PvKey, Segment, SegmentKind, Vg};
use ulvm_metadata::units::{Bytes, SECTOR_SIZE, Sectors};

/// A run of bytes of an LV that lie together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On a PV, from this byte of the device on.
    Pv(PvKey, Bytes),
    /// Reads give zeros, writes vanish.
    Zero,
    /// Every access fails.
    Error,
}

/// Where byte `offset` of an LV is, and how many bytes from there on lie together; `None` behind
/// its end or in a segment that cannot be mapped.
pub fn place(vg: &Vg, lv: &Lv, offset: u64) -> Option<(Place, u64)> {
    let extent = vg.extent_size.0.checked_mul(SECTOR_SIZE)?;
    let le = u32::try_from(offset.checked_div(extent)?).ok()?;
    let at = lv.segments.partition_point(|s| s.end().0 <= le);
    let segment = lv.segments.get(at)?;
    let start = segment.start.get() * extent;
    let len = segment.len.get() * extent;
    let inside = offset.checked_sub(start)?;
    match &segment.kind {
        SegmentKind::Zero => Some((Place::Zero, len - inside)),
        SegmentKind::Error => Some((Place::Error, len - inside)),
        SegmentKind::Striped {
            stripe_size,
            stripes,
        } => striped(vg, segment, *stripe_size, stripes, inside),
        _ => None,
    }
}

fn striped(
    vg: &Vg,
    segment: &Segment,
    stripe_size: Sectors,
    stripes: &[Area],
    inside: u64,
) -> Option<(Place, u64)> {
    let extent = vg.extent_size.0.checked_mul(SECTOR_SIZE)?;
    let count = stripes.len() as u64;
    let (area, at, run) = if count == 1 {
        (
            stripes.first()?,
            inside,
            segment.len.get() * extent - inside,
        )
    } else {
        let chunk = stripe_size.0.checked_mul(SECTOR_SIZE).filter(|n| *n > 0)?;
        let (number, within) = (inside / chunk, inside % chunk);
        let area = stripes.get(usize::try_from(number.checked_rem(count)?).ok()?)?;
        (area, number / count * chunk + within, chunk - within)
    };
    let Area::Pv { pv, extent: pe } = area else {
        return None;
    };
    let base = vg.pvs.get(*pv)?.pe_start.to_bytes()?.0;
    let byte = base
        .checked_add(pe.get().checked_mul(extent)?)?
        .checked_add(at)?;
    Some((Place::Pv(*pv, Bytes(byte)), run))
}

/// An LV over the opened devices of its PVs.
pub struct LvDisk<'a> {
    vg: &'a Vg,
    /// The LV, or its copies; never empty.
    copies: Vec<&'a Lv>,
    size: Bytes,
    pvs: HashMap<PvKey, Box<dyn Disk>>,
}

impl<'a> LvDisk<'a> {
    /// Over `pvs`, which must hold every PV the LV lies on.
    pub fn new(vg: &'a Vg, lv: &'a Lv, pvs: HashMap<PvKey, Box<dyn Disk>>) -> Self {
        let size = lv.extents().to_sectors(vg.extent_size).to_bytes();
        Self {
            vg,
            copies: copies(vg, lv),
            size: size.unwrap_or(Bytes(u64::MAX)),
            pvs,
        }
    }

    /// The PVs an LV or its copies lie on, each once.
    pub fn pvs_of(vg: &Vg, lv: &Lv) -> Vec<PvKey> {
        let mut out = Vec::new();
        let copies = copies(vg, lv);
        let segments = copies.iter().flat_map(|copy| &copy.segments);
        for (area, _) in segments.flat_map(Segment::areas) {
            if let Area::Pv { pv, .. } = area
                && !out.contains(&pv)
            {
                out.push(pv);
            }
        }
        out
    }

    /// Goes over a range run by run.
    fn runs(
        &self,
        lv: &Lv,
        offset: Bytes,
        len: usize,
    ) -> io::Result<Vec<(Place, std::ops::Range<usize>)>> {
        let end = offset.0.checked_add(len as u64);
        if end.is_none_or(|e| e > self.size.0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = Vec::new();
        let mut done = 0usize;
        while done < len {
            let at = offset.0 + done as u64;
            let (place, run) = place(self.vg, lv, at)
                .filter(|(_, run)| *run > 0)
                .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
            let run = usize::try_from(run).unwrap_or(usize::MAX).min(len - done);
            out.push((place, done..done + run));
            done += run;
        }
        Ok(out)
    }
}

/// The copies of a mirror whose one segment covers it all, else the LV itself.
fn copies<'a>(vg: &'a Vg, lv: &'a Lv) -> Vec<&'a Lv> {
    let [segment] = lv.segments.as_slice() else {
        return vec![lv];
    };
    let mirrored = match &segment.kind {
        SegmentKind::Mirror(_) => true,
        SegmentKind::Raid(raid) => raid.level == "raid1",
        _ => false,
    };
    let areas = segment.areas().into_iter();
    let legs = areas.filter_map(|(area, _)| match area {
        Area::Lv { lv, extent } if extent.is_zero() => vg.lvs.get(lv),
        _ => None,
    });
    match mirrored {
        true => legs.collect(),
        false => vec![lv],
    }
}

impl Disk for LvDisk<'_> {
    fn size(&self) -> Bytes {
        self.size
    }

    fn logical_block_size(&self) -> u32 {
        let sizes = self.pvs.values().map(|d| d.logical_block_size());
        sizes.max().unwrap_or(512)
    }

    fn read_at(&self, offset: Bytes, buf: &mut [u8]) -> io::Result<()> {
        let first = self.copies.first().ok_or(io::ErrorKind::Unsupported)?;
        for (place, range) in self.runs(first, offset, buf.len())? {
            match place {
                Place::Pv(pv, at) => {
                    let disk = self.pvs.get(&pv).ok_or(io::ErrorKind::NotFound)?;
                    disk.read_at(at, &mut buf[range])?;
                }
                Place::Zero => buf[range].fill(0),
                Place::Error => return Err(io::Error::other("error segment")),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, offset: Bytes, data: &[u8]) -> io::Result<()> {
        let mut runs = Vec::new();
        for copy in &self.copies {
            runs.extend(self.runs(copy, offset, data.len())?);
        }
        for (place, range) in runs {
            match place {
                Place::Pv(pv, at) => {
                    let disk = self.pvs.get_mut(&pv).ok_or(io::ErrorKind::NotFound)?;
                    disk.write_at(at, &data[range])?;
                }
                Place::Zero => {}
                Place::Error => return Err(io::Error::other("error segment")),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pvs.values_mut().try_for_each(|d| d.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulvm_metadata::disk::MemDisk;
    use ulvm_metadata::model::{LvFlags, LvStatus, Pv, ReadAhead};
    use ulvm_metadata::units::Extents;
    use ulvm_metadata::uuid::LvmUuid;

    fn id(n: u32) -> LvmUuid {
        LvmUuid::parse(&format!("{n:0>32}")).unwrap()
    }

    /// Two PVs of 4 extents of 8 KiB, data from sector 8 on; linear on pv1 extent 1, then striped
    /// by 4 KiB over pv0 extent 2 and pv1 extent 3.
    fn vg() -> (Vg, Lv) {
        let mut vg = Vg::new("v", id(0), Sectors(16));
        let pvs: Vec<PvKey> = (1..3)
            .map(|n| vg.pvs.push(Pv::new(id(n), Sectors(8), Extents(4))))
            .collect();
        let area = |pv: usize, extent| Area::Pv {
            pv: pvs[pv],
            extent: Extents(extent),
        };
        let striped = |stripe_size, stripes| SegmentKind::Striped {
            stripe_size: Sectors(stripe_size),
            stripes,
        };
        let lv = Lv {
            id: id(9),
            name: "l".into(),
            status: LvStatus::default(),
            flags: LvFlags::default(),
            unknown_flags: vec![],
            tags: vec![],
            creation: None,
            lock_args: None,
            alloc: ulvm_metadata::model::AllocPolicy::Inherit,
            profile: None,
            read_ahead: ReadAhead::Auto,
            major: None,
            minor: None,
            segments: vec![
                Segment::new(Extents(0), Extents(1), striped(0, vec![area(1, 1)])),
                Segment::new(
                    Extents(1),
                    Extents(2),
                    striped(8, vec![area(0, 2), area(1, 3)]),
                ),
            ],
            extra: vec![],
        };
        (vg, lv)
    }

    #[test]
    fn bytes_are_where_the_segments_say() {
        let (vg, lv) = vg();
        let pvs: Vec<PvKey> = vg.pvs.keys().collect();
        let at = |offset| place(&vg, &lv, offset);
        let pv = |n: usize, byte: u64, run| Some((Place::Pv(pvs[n], Bytes(byte)), run));
        assert_eq!(at(0), pv(1, 4096 + 8192, 8192));
        assert_eq!(at(8192), pv(0, 4096 + 2 * 8192, 4096));
        assert_eq!(at(8192 + 4096 + 1), pv(1, 4096 + 3 * 8192 + 1, 4095));
        assert_eq!(at(8192 + 8192), pv(0, 4096 + 2 * 8192 + 4096, 4096));
        assert_eq!(at(3 * 8192), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (vg, lv) = vg();
        let disks = vg.pvs.keys().map(|k| {
            let disk: Box<dyn Disk> = Box::new(MemDisk::new(4096 + 4 * 8192));
            (k, disk)
        });
        let mut disk = LvDisk::new(&vg, &lv, disks.collect());
        let data: Vec<u8> = (0..3 * 8192u32).map(|n| (n / 7) as u8).collect();
        disk.write_at(Bytes(0), &data).unwrap();
        let mut back = vec![0; data.len() - 100];
        disk.read_at(Bytes(100), &mut back).unwrap();
        assert_eq!(back, data[100..]);
        assert!(disk.write_at(Bytes(1), &data).is_err());
    }
}
