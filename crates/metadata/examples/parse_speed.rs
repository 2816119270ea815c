//! How fast metadata text is parsed, imported and exported on one core.
//!
//! `cargo run --release -p ulvm-metadata --example parse_speed [LVS] [SECONDS] [WHAT]` prints MB/s
//! and milliseconds of CPU time of parse, import and export (or only WHAT) for the text of a VG of
//! so many linear LVs (10,000) on two PVs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use ulvm_metadata::convert::{Style, TextHeader, export, import};
use ulvm_metadata::model::{
    AllocPolicy, Area, Creation, Lv, LvFlags, LvStatus, Pv, ReadAhead, Segment, SegmentKind, Vg,
};
use ulvm_metadata::text::parse;
use ulvm_metadata::units::{Extents, Sectors};
use ulvm_metadata::uuid::LvmUuid;

fn id(n: u32) -> LvmUuid {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    LvmUuid::from_entropy(&bytes)
}

fn vg(lvs: u32) -> Vg {
    let mut vg = Vg::new("vg0", id(u32::MAX), Sectors(8192));
    vg.seqno = lvs + 1;
    let pvs = [0, 1].map(|n| {
        let mut pv = Pv::new(id(u32::MAX - 1 - n), Sectors(133_120), Extents(lvs));
        pv.device_hint = Some(format!("/dev/sd{n}"));
        pv.dev_size = Some(Sectors(1 << 30));
        vg.pvs.push(pv)
    });
    for n in 0..lvs {
        vg.lvs.push(Lv {
            id: id(n),
            name: format!("lvol{n}"),
            status: LvStatus {
                read: true,
                write: true,
                visible: true,
                ..LvStatus::default()
            },
            flags: LvFlags::default(),
            unknown_flags: Vec::new(),
            tags: Vec::new(),
            creation: Some(Creation {
                time: 1_795_450_104,
                host: "localhost".into(),
            }),
            lock_args: None,
            alloc: AllocPolicy::Inherit,
            profile: None,
            read_ahead: ReadAhead::Auto,
            major: None,
            minor: None,
            segments: vec![Segment::new(
                Extents(0),
                Extents(1),
                SegmentKind::Striped {
                    stripe_size: Sectors(0),
                    stripes: vec![Area::Pv {
                        pv: pvs[(n % 2) as usize],
                        extent: Extents(n / 2),
                    }],
                },
            )],
            extra: Vec::new(),
        });
    }
    vg
}

/// Time this process has used, in user mode and in the kernel.
fn cpu_time() -> Duration {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// The best round counts: others were disturbed by what else the machine does.
fn measure(what: &str, bytes: usize, length: Duration, mut work: impl FnMut()) {
    if std::env::args().nth(3).is_some_and(|only| only != what) {
        return;
    }
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < length || best == Duration::MAX {
        let begin = cpu_time();
        work();
        best = best.min(cpu_time() - begin);
    }
    let rate = bytes as f64 / best.as_secs_f64() / 1e6;
    println!(
        "{what:<8} {rate:>8.0} MB/s {:>9.2} ms",
        best.as_secs_f64() * 1e3
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let lvs = args.next().and_then(|a| a.parse().ok()).unwrap_or(10_000);
    let seconds = args.next().and_then(|a| a.parse().ok()).unwrap_or(2.0);
    let length = Duration::from_secs_f64(seconds);
    let vg = vg(lvs);
    let header = TextHeader::default();
    let text = export(&vg, &header, Style::Raw);
    println!("{lvs} LVs, {} bytes of text", text.len());
    let bytes = text.as_bytes();
    measure("parse", bytes.len(), length, || {
        black_box(parse(black_box(bytes)).expect("is well-formed"));
    });
    measure("import", bytes.len(), length, || {
        black_box(import(black_box(bytes)).expect("is a VG"));
    });
    measure("export", bytes.len(), length, || {
        black_box(export(black_box(&vg), &header, Style::Raw));
    });
}
