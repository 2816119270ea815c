//! Logs, superblocks and bitmaps that the kernel wrote: read, written back byte for byte, and
//! assembled as they must be.

use ulvm_engine::io::Sectors;
use ulvm_engine::target::DevIndex;
use ulvm_engine::target::replica::format::{BitmapHead, DiskLogForm, Header, RaidForm, Superblock};
use ulvm_engine::target::replica::{
    Assembly, Config, Form, Leg, LegDevices, LegFound, LogKind, LogRead, MirrorArgs, Place,
    RaidArgs, Record, Start,
};
use ulvm_test_support::vectors::Vector;

const BITMAP: usize = 4096;

/// Bytes of a device of a vector that lies on one PV, or on nothing that is there.
fn device(vector: &Vector, name: &str) -> Option<Vec<u8>> {
    let line = vector.expected["dm_devices"][name]["table"][0].as_str()?;
    let words: Vec<&str> = line.split(' ').collect();
    if words[2] != "linear" || !words[3].starts_with("pv") {
        return None;
    }
    let number = |n: usize| words[n].parse::<usize>().expect("a number") * 512;
    let image = vector.image(words[3]).expect("an image");
    Some(image[number(4)..number(4) + number(1)].to_vec())
}

/// Names of the devices of a vector that contain a word and were decoded.
fn decoded(vector: &Vector, word: &str) -> Vec<String> {
    let all = vector.expected["in_images_before_activation"].as_object();
    let names = all.into_iter().flatten().map(|(name, _)| name.clone());
    names.filter(|name| name.contains(word)).collect()
}

fn numbers(value: &serde_json::Value) -> Vec<u64> {
    let list = value.as_array().expect("a list");
    list.iter().map(|n| n.as_u64().expect("a number")).collect()
}

/// The config of a `mirror` or `raid raid1` line of a vector, device names beside it.
fn config(line: &str) -> (Config, Vec<String>) {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |n: usize| words[n].parse::<u64>().expect("a number");
    let (raid, region) = match words[2] {
        "raid" => {
            let at = words.iter().position(|w| *w == "region_size");
            (true, at.expect("a region size") + 1)
        }
        _ => (false, if words[3] == "disk" { 6 } else { 5 }),
    };
    let first = region + 2;
    let legs = number(region + 1) as usize;
    let names = words[first..first + 2 * legs].iter();
    let mut names: Vec<String> = names.map(|w| (*w).to_owned()).collect();
    let leg = |n: usize| Leg {
        devices: Some(LegDevices {
            data: DevIndex(2 * n as u32 + u32::from(raid)),
            offset: Sectors(0),
            meta: raid.then_some(DevIndex(2 * n as u32)),
        }),
        write_mostly: false,
        rebuild: false,
    };
    let log = match raid {
        true => LogKind::Raid(RaidArgs::default()),
        false => LogKind::Disk {
            device: DevIndex(2 * legs as u32),
            args: MirrorArgs::default(),
        },
    };
    if !raid {
        names.push(words[5].to_owned());
    }
    let config = Config {
        len: Sectors(number(1)),
        legs: (0..legs).map(leg).collect(),
        region: Sectors(number(region)),
        log,
        start: Start::Marks,
        min_rate: None,
        max_rate: None,
    };
    assert_eq!(config.check(), Ok(()));
    (config, names)
}

/// What was to be read, and what there was.
type Read = (LogRead, Option<Vec<u8>>);

/// A mirror of a vector, assembled from its images; with what was read.
fn assembled(case: &str, lv: &str) -> (Assembly, Vec<Read>) {
    let vector = Vector::load(case).expect("a vector");
    let line = vector.expected["dm_devices"][lv]["table"][0].as_str();
    let (config, names) = config(line.expect("a table"));
    let form: &dyn Form = match config.log {
        LogKind::Raid(_) => &RaidForm,
        _ => &DiskLogForm,
    };
    let reads = form.reads(&config).into_iter().map(|read| {
        let name = match read.place {
            Place::Meta(leg) => &names[2 * leg],
            _ => names.last().expect("a log"),
        };
        let bytes = device(&vector, name);
        let end = (read.offset + read.len) as usize;
        let part = |all: Vec<u8>| all[read.offset as usize..end.min(all.len())].to_vec();
        (read, bytes.map(part))
    });
    let reads: Vec<_> = reads.collect();
    let found: Vec<_> = reads.iter().map(|(_, bytes)| bytes.clone()).collect();
    let assembly = form.assemble(&config, &found).expect("a mirror");
    (assembly, reads)
}

/// Every raid vector's metadata devices, whatever the level.
#[test]
fn superblocks_and_bitmaps_are_read_and_written_as_the_kernel_does() {
    let mut seen = 0;
    for vector in Vector::all().expect("vectors") {
        for name in decoded(&vector, "_rmeta_") {
            let bytes = device(&vector, &name).expect("a device");
            let told = &vector.expected["in_images_before_activation"][&name];
            let sb = Superblock::decode(&bytes).expect("a superblock");
            assert_eq!(sb.encode()[..], bytes[..512], "{name}");
            check_superblock(&sb, told, &name);
            if told["bitmap"].is_object() {
                let head = BitmapHead::decode(&bytes[BITMAP..]).expect("a bitmap");
                assert_eq!(head.encode()[..], bytes[BITMAP..][..256], "{name}");
                check_bitmap(&head, &bytes[BITMAP..], &told["bitmap"], &name);
            }
            seen += 1;
        }
    }
    assert!(seen >= 30, "only {seen} devices");
}

fn check_superblock(sb: &Superblock, told: &serde_json::Value, name: &str) {
    let offset = |o: Option<Sectors>| o.map_or("none".into(), |s| s.0.into());
    let number = |key: &str| told[key].as_i64().expect("a number");
    let eight = |key: &str| told[key].as_u64().expect("a number");
    for (key, value) in [
        ("num_devices", i64::from(sb.num_devices)),
        ("array_position", i64::from(sb.array_position)),
        ("level", i64::from(sb.level)),
        ("layout", i64::from(sb.layout)),
        ("stripe_sectors", i64::from(sb.stripe_sectors)),
        ("flags", i64::from(sb.flags)),
        ("new_level", i64::from(sb.new_level)),
        ("new_layout", i64::from(sb.new_layout)),
        ("new_stripe_sectors", i64::from(sb.new_stripe_sectors)),
        ("delta_disks", i64::from(sb.delta_disks)),
    ] {
        assert_eq!(value, number(key), "{name}: {key}");
    }
    for (key, value) in [
        ("events", sb.events),
        ("array_sectors", sb.array_sectors),
        ("data_offset", sb.data_offset),
        ("new_data_offset", sb.new_data_offset),
        ("sectors", sb.sectors),
    ] {
        assert_eq!(value, eight(key), "{name}: {key}");
    }
    let failed = eight("failed_devices");
    for leg in 0..64 {
        assert_eq!(sb.failed.has(leg), failed >> leg & 1 != 0, "{name}: {leg}");
    }
    for (key, value) in [
        ("disk_recovery_offset", sb.disk_recovery_offset),
        ("array_resync_offset", sb.array_resync_offset),
        ("reshape_position", sb.reshape_position),
    ] {
        let value: serde_json::Value = offset(value);
        assert_eq!(value, told[key], "{name}: {key}");
    }
}

fn check_bitmap(head: &BitmapHead, bytes: &[u8], told: &serde_json::Value, name: &str) {
    let number = |key: &str| told[key].as_u64().expect("a number");
    for (key, value) in [
        ("events", head.events),
        ("events_cleared", head.events_cleared),
        ("sync_size", head.sync_size.0),
        ("state", head.state.into()),
        ("chunksize", head.chunk_bytes.into()),
        ("daemon_sleep", head.daemon_sleep.into()),
        ("write_behind", head.write_behind.into()),
        ("sectors_reserved", head.sectors_reserved.into()),
        ("nodes", head.nodes.into()),
        ("chunks", head.chunks()),
    ] {
        assert_eq!(value, number(key), "{name}: {key}");
    }
    let line = format!(
        "0 {} raid raid1 3 0 region_size {} 1 - -",
        head.sync_size,
        head.chunk_bytes / 512
    );
    let dirty = head.dirty(bytes, &config(&line).0).expect("bits");
    let dirty: Vec<_> = dirty.iter().collect();
    assert_eq!(dirty, numbers(&told["set_chunks"]), "{name}");
}

#[test]
fn logs_are_read_and_written_as_the_kernel_does() {
    let mut seen = 0;
    for vector in Vector::all().expect("vectors") {
        for name in decoded(&vector, "_mlog") {
            let told = &vector.expected["in_images_before_activation"][&name];
            let regions = told["nr_regions"].as_u64();
            // Only what the log is a mirror of was not decoded.
            let Some(regions) = regions else { continue };
            let bytes = device(&vector, &name).expect("a device");
            let header = Header::decode(&bytes).expect("a version");
            let header = header.expect("a header");
            assert_eq!(header.regions, regions, "{name}");
            assert_eq!(header.encode()[..], bytes[..16], "{name}");
            let lv = name.strip_suffix("_mlog").expect("a log's name");
            let (mut it, _) = assembled(&vector.name, lv);
            let dirty: Vec<_> = it.dirty.iter().collect();
            assert_eq!(dirty, numbers(&told["not_clean_regions"]), "{name}");
            let mut writes = Vec::new();
            it.log.next(&mut writes);
            assert!(writes.is_empty(), "{name}: nothing is to be changed");
            let some = dirty.first().copied().unwrap_or(0);
            it.log.mark(some);
            it.log.clear(some);
            it.log.next(&mut writes);
            let mut expected = bytes.clone();
            expected[1024 + some as usize / 8] |= 1 << (some % 8);
            for write in writes {
                let at = write.offset as usize;
                assert_eq!(
                    write.data[..],
                    expected[at..at + write.data.len()],
                    "{name}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} logs");
}

/// `W` whole, `A` absent, or the regions that a leg missed.
fn legs(it: &Assembly) -> Vec<String> {
    let leg = |leg: &LegFound| match leg {
        LegFound::Whole => "W".to_owned(),
        LegFound::Absent => "A".to_owned(),
        LegFound::Stale(set) => format!("{:?}", set.iter().collect::<Vec<_>>()),
    };
    it.legs.iter().map(leg).collect()
}

#[test]
fn mirrors_of_the_vectors_are_assembled() {
    for (case, lv, found, dirty) in [
        ("raid1-2leg", "v--raid1--2leg-r", &["W", "W"][..], &[][..]),
        ("raid1-3leg", "v--raid1--3leg-r", &["W", "W", "W"], &[]),
        ("raid1-nosync", "v--raid1--nosync-r", &["W", "W"], &[]),
        (
            "raid1-missing-leg",
            "v--raid1--missing--leg-r",
            &["W", "A"],
            &[],
        ),
        // Three chunks were written while the second leg was away. They count as dirty among
        // whole legs too, of which there is one.
        (
            "raid1-stale-leg",
            "v--raid1--stale--leg-r",
            &["W", "[1, 2, 3]"],
            &[1, 2, 3],
        ),
        ("mirror-disk", "v--mirror--disk-m3", &["W", "W", "W"], &[]),
        ("mirror-nosync", "v--mirror--nosync-m", &["W", "W"], &[]),
        ("mirror-partial", "v--mirror--partial-m", &["W", "W"], &[]),
    ] {
        let (it, _) = assembled(case, lv);
        assert_eq!(legs(&it), found, "{case}");
        assert_eq!(it.dirty.iter().collect::<Vec<_>>(), dirty, "{case}");
    }
}

/// After a crash of the kernel: all chunks that either leg has marked.
#[test]
fn marks_of_all_legs_are_dirty() {
    for (case, lv) in [
        ("raid1-dirty", "v--raid1--dirty-r"),
        (
            "raid1-resync-interrupted",
            "v--raid1--resync--interrupted-a",
        ),
    ] {
        let vector = Vector::load(case).expect("a vector");
        let (it, _) = assembled(case, lv);
        assert_eq!(legs(&it), ["W", "W"], "{case}");
        let told = &vector.expected["in_images_before_activation"];
        let marks = |leg: u8| numbers(&told[format!("{lv}_rmeta_{leg}")]["bitmap"]["set_chunks"]);
        let mut all = [marks(0), marks(1)].concat();
        all.sort_unstable();
        all.dedup();
        assert!(!all.is_empty());
        assert_eq!(it.dirty.iter().collect::<Vec<_>>(), all, "{case}");
    }
}

/// Started and stopped without a write, a clean mirror's metadata differ from the kernel's in the
/// event counts alone.
#[test]
fn a_clean_run_changes_event_counts_alone() {
    for (case, lv) in [
        ("raid1-2leg", "v--raid1--2leg-r"),
        ("raid1-3leg", "v--raid1--3leg-r"),
    ] {
        let (mut it, before) = assembled(case, lv);
        let mut disks: Vec<Vec<u8>> = before.iter().filter_map(|(_, b)| b.clone()).collect();
        for record in [Record::Started, Record::Stopped] {
            it.log.record(record);
            loop {
                let mut writes = Vec::new();
                it.log.next(&mut writes);
                if writes.is_empty() {
                    break;
                }
                for w in writes {
                    let Place::Meta(leg) = w.place else {
                        panic!("{:?}", w.place)
                    };
                    disks[leg][w.offset as usize..][..w.data.len()].copy_from_slice(&w.data);
                }
            }
        }
        for (after, (_, before)) in disks.iter().zip(&before) {
            let before = before.as_ref().expect("bytes");
            let changed = |n: &usize| after[*n] != before[*n];
            let changed: Vec<_> = (0..before.len()).filter(changed).collect();
            assert_eq!(changed, [16, BITMAP + 24], "{case}");
        }
    }
}
