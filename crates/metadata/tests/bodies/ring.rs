//! The ring of texts against a model that thinks in sectors.

use ulvm_metadata::commit::{MdaTarget, Wanted, plan_commit};
use ulvm_metadata::disk::{Disk, MemDisk};
use ulvm_metadata::ondisk::{Area, read_mda};

const SECTOR: usize = 512;
const START: usize = 4096;

/// First byte: sectors of the area; then two bytes a commit: bytes of the text.
pub fn ring(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let sectors = 4 + usize::from(*first) % 60;
    let size = sectors * SECTOR;
    let area = Area::new(START as u64, size as u64);
    let mut disk = MemDisk::new(START + size + SECTOR);
    disk.data[START + size..].fill(0xaa);
    let mut ruling: Option<Vec<usize>> = None;
    let mut old_text = None;
    for (n, pair) in rest.chunks_exact(2).take(200).enumerate() {
        let len = usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (size + 100);
        let text: String = format!("{n} ")
            .chars()
            .chain(std::iter::repeat('x'))
            .take(len.max(1))
            .collect();
        let expected = place(sectors, ruling.as_deref(), text.len() + 1);
        let read = read_mda(&disk, area);
        let target = match read.header {
            Some(_) => MdaTarget::new(0, &read, Wanted::Use),
            None => MdaTarget::empty(0, area),
        };
        let plan = plan_commit(&[target], &text);
        let Some(places) = expected else {
            assert!(
                plan.is_err(),
                "text {n} of {} bytes does not fit {size}",
                text.len()
            );
            continue;
        };
        let plan = plan.unwrap_or_else(|e| panic!("text {n} of {} bytes: {e}", text.len()));
        assert_eq!(
            plan.headers[0].committed.offset as usize,
            places[0] * SECTOR,
            "text {n}"
        );
        for staged in &plan.plan.stages {
            for write in &staged.writes {
                disk.write_at(write.offset, &write.bytes)
                    .expect("within the device");
            }
            let now = read_mda(&disk, area);
            let rules = now.text().map(<[u8]>::to_vec);
            assert!(rules == old_text || rules.as_deref() == Some(text.as_bytes()));
        }
        old_text = Some(text.into_bytes());
        assert_eq!(read_mda(&disk, area).text(), old_text.as_deref());
        ruling = Some(places);
    }
    assert!(
        disk.data[..START].iter().all(|b| *b == 0),
        "nothing before the area is written"
    );
    assert!(
        disk.data[START + size..].iter().all(|b| *b == 0xaa),
        "nothing behind it"
    );
}

/// Sectors of the area that a text of `len` bytes takes, in order; `None` if it does not fit.
/// Sector 0 is the header.
fn place(sectors: usize, ruling: Option<&[usize]>, len: usize) -> Option<Vec<usize>> {
    let ring = sectors - 1;
    if 2 * (len + SECTOR) > ring * SECTOR {
        return None;
    }
    let first = match ruling.and_then(<[usize]>::last) {
        Some(last) if last + 1 < sectors => last + 1,
        _ => 1,
    };
    let places: Vec<usize> = (0..len.div_ceil(SECTOR))
        .map(|i| (first - 1 + i) % ring + 1)
        .collect();
    let clear = ruling.is_none_or(|old| places.iter().all(|p| !old.contains(p)));
    clear.then_some(places)
}
