//! Layouts of new PVs against those that LVM2 2.03.16's pvcreate made, over several hundred
//! combinations of its options.

use ulvm_metadata::ondisk::Area;
use ulvm_metadata::ondisk::layout::{DEFAULT_ALIGNMENT, LayoutRequest, layout};
use ulvm_metadata::units::Bytes;

/// `size alignment offset copies mda_size bootloader => data mda0 mda1 ba` in bytes, `-` for "not
/// given" and "none"; `=> refused` where pvcreate refused it.
const OBSERVED: &str = include_str!("data/pv-layouts.txt");

fn number(word: &str) -> Option<u64> {
    (word != "-").then(|| word.parse().expect("a number"))
}

fn area(word: &str) -> Option<Area> {
    let (start, size) = word.split_once('+')?;
    Some(Area::new(number(start)?, number(size)?))
}

#[test]
fn layouts_are_those_lvm2_makes() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for line in OBSERVED.lines().filter(|l| !l.starts_with('#')) {
        let (asked, got) = line.split_once(" => ").expect("=>");
        let a: Vec<_> = asked.split(' ').map(number).collect();
        let size = a[0].expect("a size");
        let request = LayoutRequest {
            alignment: a[1].map_or(DEFAULT_ALIGNMENT, Bytes),
            alignment_offset: Bytes(a[2].unwrap_or(0)),
            mda_copies: a[3].map_or(1, |n| u32::try_from(n).expect("few")),
            mda_size: a[4].map(Bytes),
            bootloader: Bytes(a[5].unwrap_or(0)),
            ..LayoutRequest::new(Bytes(size))
        };
        let made = layout(&request);
        seen += 1;
        if got == "refused" {
            if made.is_ok() {
                wrong.push(format!("{line}: {made:?}"));
            }
            continue;
        }
        let g: Vec<_> = got.split(' ').collect();
        let made = match made {
            Ok(made) => made,
            Err(e) => {
                wrong.push(format!("{line}: {e}"));
                continue;
            }
        };
        let data = number(g[0]).expect("a start");
        if data < 2048 || area(g[3]).is_some_and(|a| a.start.0 < 2048) {
            // LVM2 puts data or a boot loader among the label sectors here; ulvm does not.
            assert!(made.pe_start.0 >= 2048, "{line}: {made:?}");
            continue;
        }
        let mdas: Vec<_> = [g[1], g[2]].into_iter().filter_map(area).collect();
        let expected = (Bytes(data), mdas, area(g[3]));
        let got = (made.pe_start, made.mdas, made.bootloader);
        if got != expected {
            wrong.push(format!("{line}: {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 450, "only {seen} observations");
}
