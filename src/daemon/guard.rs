//! Whether the extents that a device lies on are still its own. LVM2 knows nothing of ulvm's devices,
//! takes their volumes for inactive, and may remove them or make them smaller.
//!
//! What must hold: nothing is taken from a device on a mere suspicion. Metadata that cannot be read, or
//! are just being written, say nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use ulvm_metadata::convert;
use ulvm_metadata::model::Vg;
use ulvm_metadata::ondisk::{MdaHeader, find_label, read_mda_header, read_text};
use ulvm_metadata::ops::pvmove::own_extents;
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::{ID_LEN, LvmUuid};

use super::holdings::{self, Holding, Key};
use super::order::{TableOrder, Word};
use super::proto::NewBacking;
use crate::disk::{Access, FileDisk};

/// A PV of the VG that a device's volume is in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GuardPv {
    /// What it was when the device was made.
    key: Key,
    /// Where it is; the word is its identifier.
    place: NewBacking,
}

impl GuardPv {
    /// Those that can be reached.
    pub fn all(places: &[NewBacking]) -> Vec<Self> {
        let found = places.iter().map(|place| {
            let key = holdings::key(place).ok()?;
            let place = place.clone();
            Some(Self { key, place })
        });
        found.flatten().collect()
    }
}

/// The volume that a device is a part of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Volume {
    /// Its VG.
    pub vg: LvmUuid,
    /// The LV.
    pub lv: LvmUuid,
}

impl Volume {
    /// By a device-mapper uuid as LVM2 makes them.
    pub fn of(uuid: &str) -> Option<Self> {
        let ids = uuid.strip_prefix("LVM-")?.as_bytes();
        Some(Self {
            vg: LvmUuid::from_raw(ids.get(..ID_LEN)?)?,
            lv: LvmUuid::from_raw(ids.get(ID_LEN..2 * ID_LEN)?)?,
        })
    }
}

/// Sectors of a PV.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Range {
    /// The PV's identifier.
    pub pv: String,
    /// First sector, from the start of the PV.
    pub start: u64,
    /// Sectors.
    pub len: u64,
}

/// What a table lies on, as far as it is a PV of the guard's.
pub fn under(
    table: &TableOrder,
    guard: &[GuardPv],
    holdings: &BTreeMap<u64, Holding>,
) -> Vec<Range> {
    let pv = |word: &str| {
        let Some(Word::Backing(id)) = table.words.get(word) else {
            return None;
        };
        let key = &holdings.get(id)?.order.key;
        Some(guard.iter().find(|g| g.key == *key)?.place.word.clone())
    };
    ranges(&table.text, &pv)
}

/// Areas of the lines of a table: each word for a PV, and the number behind it. All of a line's length,
/// except for stripes.
pub fn ranges(text: &str, pv: &dyn Fn(&str) -> Option<String>) -> Vec<Range> {
    let mut out = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, len, target, rest @ ..] = words.as_slice() else {
            continue;
        };
        let Ok(len) = len.parse::<u64>() else {
            continue;
        };
        let stripes = match (*target, rest.first().map(|n| n.parse::<u64>())) {
            ("striped", Some(Ok(n))) => n.max(1),
            _ => 1,
        };
        for pair in rest.windows(2) {
            if let (Some(pv), Ok(start)) = (pv(pair[0]), pair[1].parse()) {
                let len = len / stripes;
                out.push(Range { pv, start, len });
            }
        }
    }
    out
}

/// What the metadata of a VG say now.
#[derive(Clone, Debug)]
pub enum Seen {
    /// These, which are the newest that can be read.
    Vg(Arc<Vg>),
    /// Its PVs carry no metadata of it any more.
    Gone,
    /// They cannot be read as a whole now.
    Unknown,
}

/// Why a device may not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// There is no such VG.
    Vg,
    /// The VG has no such volume.
    Lv {
        /// Name of the VG.
        vg: String,
        /// Of its metadata.
        seqno: u32,
    },
    /// Not all of it belongs to the volume.
    Extents {
        /// `VG/LV`.
        name: String,
        /// Of the metadata.
        seqno: u32,
        /// The PV.
        pv: String,
        /// The first sector of it that is not the volume's.
        sector: u64,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vg => write!(f, "its volume group is not there any more")?,
            Self::Lv { vg, seqno } => {
                write!(f, "volume group {vg} (seqno {seqno}) has it no more")?;
            }
            Self::Extents {
                name,
                seqno,
                pv,
                sector,
            } => {
                return write!(
                    f,
                    "sector {sector} of physical volume {pv} does not belong to it any more (seqno {seqno}); lvchange --refresh {name} gives it what is its own"
                );
            }
        }
        write!(f, "; dmsetup remove --force takes it away")
    }
}

/// Does all of it belong to the volume?
pub fn check(seen: &Seen, volume: &Volume, ranges: &[Range]) -> Result<(), Lost> {
    let vg = match seen {
        Seen::Unknown => return Ok(()),
        _ if ranges.is_empty() => return Ok(()),
        Seen::Gone => return Err(Lost::Vg),
        Seen::Vg(vg) => vg,
    };
    let seqno = vg.seqno;
    let Some((key, lv)) = vg.lvs.iter().find(|(_, lv)| lv.id == volume.lv) else {
        let vg = vg.name.clone();
        return Err(Lost::Lv { vg, seqno });
    };
    let mut owned: Vec<Range> = Vec::new();
    for ((pv, extent), extents) in own_extents(vg, key) {
        let pv = &vg.pvs[pv];
        let sectors = |n: u32| u64::from(n).saturating_mul(vg.extent_size.0);
        owned.push(Range {
            pv: pv.id.to_string(),
            start: pv.pe_start.0.saturating_add(sectors(extent.0)),
            len: sectors(extents.0),
        });
    }
    owned.sort_unstable();
    for range in ranges {
        if let Some(sector) = first_outside(range, &owned) {
            return Err(Lost::Extents {
                name: format!("{}/{}", vg.name, lv.name),
                seqno,
                pv: range.pv.clone(),
                sector,
            });
        }
    }
    Ok(())
}

/// The first sector that lies in none of `owned`, which are sorted.
fn first_outside(range: &Range, owned: &[Range]) -> Option<u64> {
    let mut at = range.start;
    for own in owned.iter().filter(|o| o.pv == range.pv) {
        if (own.start..own.start.saturating_add(own.len)).contains(&at) {
            at = own.start.saturating_add(own.len);
        }
    }
    (at < range.start.saturating_add(range.len)).then_some(at)
}

/// What the headers of a PV's metadata areas say; none if it cannot be read. No areas: it is a PV no
/// more, or another one.
type Headers = Option<Vec<Option<MdaHeader>>>;

/// What VGs' metadata say. Texts are read only when a header has changed.
#[derive(Debug, Default)]
pub struct Readings(Mutex<HashMap<LvmUuid, Reading>>);

/// The last reading of a VG.
#[derive(Debug)]
struct Reading {
    headers: Vec<Headers>,
    seen: Seen,
    /// The highest seqno seen so far.
    seqno: u32,
}

impl Readings {
    /// What the metadata of a VG say now. Reads from devices: not for threads that I/O waits for.
    pub fn read(&self, vg: LvmUuid, pvs: &[GuardPv]) -> Seen {
        let disks: Vec<(Option<FileDisk>, Headers)> = pvs.iter().map(look).collect();
        let headers: Vec<Headers> = disks.iter().map(|(_, headers)| headers.clone()).collect();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(&vg);
        if let Some(before) = before.filter(|b| b.headers == headers) {
            return before.seen.clone();
        }
        let highest = before.map_or(0, |b| b.seqno);
        let seen = newest(vg, &disks, highest);
        let seqno = match &seen {
            Seen::Vg(vg) => vg.seqno,
            Seen::Gone | Seen::Unknown => highest,
        };
        let reading = Reading {
            headers,
            seen: seen.clone(),
            seqno,
        };
        known.insert(vg, reading);
        seen
    }

    /// Forgets VGs that nobody asks for.
    pub fn keep(&self, vgs: &[LvmUuid]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|vg, _| vgs.contains(vg));
    }
}

fn look(pv: &GuardPv) -> (Option<FileDisk>, Headers) {
    let place = &pv.place;
    // The name may lead elsewhere by now.
    if holdings::key(place).ok().as_ref() != Some(&pv.key) {
        return (None, None);
    }
    let disk = FileDisk::open(&place.path, Access::Read).ok();
    let disk = disk.and_then(|disk| match place.len {
        Some(len) => disk.part(Bytes(place.start), Bytes(len)),
        None => Some(disk),
    });
    let Some(mut disk) = disk else {
        return (None, None);
    };
    if disk.prefetch().is_err() {
        return (None, None);
    }
    let Ok(label) = find_label(&disk) else {
        return (None, None);
    };
    let own = label.filter(|l| l.label.header.id.to_string() == place.word);
    let mdas = own.map_or_else(Vec::new, |l| l.label.header.mdas);
    let headers = mdas.iter().map(|m| read_mda_header(&disk, *m).ok());
    let headers = headers.collect();
    (Some(disk), Some(headers))
}

/// The newest metadata of the VG, of which those with the seqno `highest` have been seen before.
fn newest(vg: LvmUuid, disks: &[(Option<FileDisk>, Headers)], highest: u32) -> Seen {
    let mut best: Option<Vg> = None;
    let mut whole = !disks.is_empty();
    let mut said = false;
    for (disk, headers) in disks {
        let (Some(disk), Some(headers)) = (disk, headers) else {
            whole = false;
            continue;
        };
        // A PV that is none any more says that much.
        said |= headers.is_empty();
        for header in headers {
            let Some(header) = header else {
                whole = false;
                continue;
            };
            let locn = &header.committed;
            if header.is_ignored() {
                continue;
            }
            said = true;
            if locn.is_empty() {
                continue;
            }
            let text = read_text(disk, header.area, locn).ok();
            match text.and_then(|text| convert::import(&text).ok()) {
                Some(found) if found.vg.id != vg => {}
                Some(found) => {
                    if best.as_ref().is_none_or(|b| b.seqno < found.vg.seqno) {
                        best = Some(found.vg);
                    }
                }
                None => whole = false,
            }
        }
    }
    judge(best, whole, said, highest)
}

/// What the newest text says of the VG. `whole`: every area was read; `said`: there was one to read.
/// Old metadata count only if nothing newer can hide behind what was not read: a disk that was away
/// keeps them, and one that fails takes the newer ones along.
fn judge(best: Option<Vg>, whole: bool, said: bool, highest: u32) -> Seen {
    match best {
        Some(vg) if whole || vg.seqno >= highest => Seen::Vg(Arc::new(vg)),
        None if whole && said => Seen::Gone,
        Some(_) | None => Seen::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(pv: &str, start: u64, len: u64) -> Range {
        let pv = pv.to_owned();
        Range { pv, start, len }
    }

    #[test]
    fn tables_tell_what_they_lie_on() {
        let pv = |word: &str| word.strip_prefix("/dev/").map(str::to_owned);
        let text =
            "0 100 linear /dev/a 2048\n100 60 striped 2 8 /dev/a 4096 /dev/b 10\n160 8 error\n";
        let expected = [
            range("a", 2048, 100),
            range("a", 4096, 30),
            range("b", 10, 30),
        ];
        assert_eq!(ranges(text, &pv), expected);
        assert!(ranges("nonsense\n0 x linear /dev/a 0", &pv).is_empty());
    }

    #[test]
    fn the_first_sector_that_is_lost_is_found() {
        let owned = [range("a", 10, 10), range("a", 20, 5), range("b", 0, 100)];
        let outside = |r| first_outside(&r, &owned);
        assert_eq!(outside(range("a", 10, 15)), None);
        assert_eq!(outside(range("a", 12, 8)), None);
        assert_eq!(outside(range("a", 10, 16)), Some(25));
        assert_eq!(outside(range("a", 9, 2)), Some(9));
        assert_eq!(outside(range("c", 0, 1)), Some(0));
        assert_eq!(outside(range("b", u64::MAX, 1)), None);
    }

    #[test]
    fn what_cannot_be_read_takes_nothing_away() {
        let id = || LvmUuid::from_raw(&[b'a'; ID_LEN]).expect("an identifier");
        let volume = Volume { vg: id(), lv: id() };
        let ranges = [range("a", 0, 1)];
        assert_eq!(check(&Seen::Unknown, &volume, &ranges), Ok(()));
        assert_eq!(check(&Seen::Gone, &volume, &ranges), Err(Lost::Vg));
        assert_eq!(check(&Seen::Gone, &volume, &[]), Ok(()));
    }

    #[test]
    fn old_metadata_beside_what_cannot_be_read_say_nothing() {
        let id = LvmUuid::from_raw(&[b'a'; ID_LEN]).expect("an identifier");
        let vg = |seqno| {
            let mut vg = Vg::new("vg", id, ulvm_metadata::units::Sectors(8192));
            vg.seqno = seqno;
            Some(vg)
        };
        let is_vg = |seen| matches!(seen, Seen::Vg(_));
        assert!(!is_vg(judge(vg(6), false, true, 7)));
        assert!(is_vg(judge(vg(7), false, true, 7)));
        assert!(is_vg(judge(vg(6), true, true, 7)), "restored from a backup");
        assert!(matches!(judge(None, false, true, 7), Seen::Unknown));
        assert!(matches!(judge(None, true, true, 7), Seen::Gone));
    }

    #[test]
    fn volumes_are_known_by_their_uuids() {
        let (vg, lv) = ("a".repeat(32), "b".repeat(32));
        let volume = Volume::of(&format!("LVM-{vg}{lv}-real")).expect("a volume");
        assert_eq!((volume.vg.compact(), volume.lv.compact()), (vg, lv));
        assert_eq!(Volume::of("LVM-abc"), None);
        assert_eq!(Volume::of("CRYPT-abc"), None);
    }
}
