//! Sequences of operations: each result keeps every invariant and survives writing and reading.

use ulvm_metadata::alloc::AllocConfig;
use ulvm_metadata::convert::{Style, TextHeader, export, import};
use ulvm_metadata::model::check::check;
use ulvm_metadata::model::{AllocPolicy, Creation, LvKey, Pv, PvKey, ReadAhead, Vg};
use ulvm_metadata::ops::lv_change::{LvChange, lv_change};
use ulvm_metadata::ops::lv_create::{Layout, LvCreate, lv_create};
use ulvm_metadata::ops::lv_remove::lv_remove;
use ulvm_metadata::ops::lv_rename::lv_rename;
use ulvm_metadata::ops::lv_resize::{Direction, LvResize, lv_resize};
use ulvm_metadata::ops::pv_args::PvArg;
use ulvm_metadata::ops::pv_change::{PvChange, pv_change};
use ulvm_metadata::ops::size::Size;
use ulvm_metadata::ops::tags::TagEdit;
use ulvm_metadata::ops::vg_change::{VgChange, vg_change};
use ulvm_metadata::ops::vg_pvs::vg_reduce;
use ulvm_metadata::units::{Extents, Sectors};
use ulvm_metadata::uuid::{IdSource, LvmUuid};

struct Ids(u32);

impl IdSource for Ids {
    fn new_id(&mut self) -> LvmUuid {
        self.0 += 1;
        LvmUuid::parse(&format!("{:0>32}", self.0)).expect("32 digits")
    }
}

/// Bytes as choices; zeros when they are used up.
struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((b, rest)) => {
                self.0 = rest;
                *b
            }
            None => 0,
        }
    }
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }
    fn of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let n = self.below(all.len());
        all.get(n).cloned()
    }
}

/// A VG of one to five PVs, then a sequence of operations.
pub fn ops(data: &[u8]) {
    let mut choices = Choices(data);
    let mut ids = Ids(0);
    let mut vg = Vg::new("vg", ids.new_id(), Sectors(8192));
    vg.seqno = 1;
    for n in 0..=choices.below(5) {
        let mut pv = Pv::new(
            ids.new_id(),
            Sectors(2048),
            Extents(u32::from(choices.byte())),
        );
        pv.device_hint = Some(format!("/dev/{n}"));
        vg.pvs.push(pv);
    }
    run(vg, choices, ids);
}

/// Operations on a VG that was read.
pub(super) fn on(vg: Vg, data: &[u8]) {
    let tail = &data[data.len().saturating_sub(64)..];
    run(vg, Choices(tail), Ids(1000));
}

fn run(mut vg: Vg, mut choices: Choices, mut ids: Ids) {
    for _ in 0..60 {
        if choices.0.is_empty() {
            return;
        }
        let before = vg.clone();
        if let Some(after) = step(&vg, &mut choices, &mut ids) {
            check(&after).unwrap_or_else(|e| panic!("{e}\nbefore: {before:?}\nafter: {after:?}"));
            let text = export(&after, &TextHeader::default(), Style::Raw);
            let again = import(text.as_bytes())
                .expect("what is written can be read")
                .vg;
            check(&again).expect("and holds");
            let twice = export(&again, &TextHeader::default(), Style::Raw);
            assert_eq!(text, twice, "writing is stable");
            vg = after;
        } else {
            assert_eq!(vg, before, "what is refused changes nothing");
        }
    }
}

const POLICIES: [AllocPolicy; 5] = [
    AllocPolicy::Inherit,
    AllocPolicy::Contiguous,
    AllocPolicy::Cling,
    AllocPolicy::Normal,
    AllocPolicy::Anywhere,
];

fn step(vg: &Vg, c: &mut Choices, ids: &mut Ids) -> Option<Vg> {
    let config = AllocConfig::default();
    let lvs: Vec<LvKey> = vg.lvs.keys().collect();
    let pvs: Vec<PvKey> = vg.pvs.keys().collect();
    match c.below(9) {
        0..=2 => create(vg, c, ids, &config, &pvs),
        3..=4 => resize(vg, c, &config, &lvs, &pvs),
        5 => Some(lv_remove(vg, c.of(&lvs)?).ok()?.vg),
        6 => {
            let name = c.of(&[
                "a",
                "b",
                "lvol3",
                "pvmove0",
                "x_mlog",
                "",
                "-",
                "way-too-odd/",
            ])?;
            Some(lv_rename(vg, c.of(&lvs)?, name).ok()?.vg)
        }
        7 => {
            let change = c.of(&[
                LvChange::Writable(false),
                LvChange::Tags(tags()),
                LvChange::Alloc(AllocPolicy::Cling),
                LvChange::ReadAhead(ReadAhead::Sectors(u32::MAX)),
                LvChange::Minor(Some(5)),
                LvChange::ActivationSkip(true),
            ])?;
            Some(lv_change(vg, c.of(&lvs)?, &change).ok()?.vg)
        }
        _ => group(vg, c, ids, &pvs),
    }
}

fn tags() -> TagEdit {
    TagEdit {
        add: vec!["t1".into(), "t2".into()],
        del: vec!["t2".into()],
    }
}

fn group(vg: &Vg, c: &mut Choices, ids: &mut Ids, pvs: &[PvKey]) -> Option<Vg> {
    let pv = c.of(pvs)?;
    match c.below(4) {
        0 => Some(vg_reduce(vg, pv, "dev").ok()?.vg),
        1 => {
            let change = PvChange::Allocatable(c.below(2) == 1);
            Some(pv_change(vg, pv, "dev", &[change]).ok()?.vg)
        }
        2 => Some(pv_change(vg, pv, "dev", &[PvChange::Tags(tags())]).ok()?.vg),
        _ => {
            let size = Sectors(1 << c.below(24));
            let shown = size.to_string();
            let change = c.of(&[
                VgChange::MaxLv(4),
                VgChange::MaxLv(0),
                VgChange::Alloc(AllocPolicy::Anywhere),
                VgChange::ExtentSize { size, shown },
                VgChange::Id(ids.new_id()),
            ])?;
            Some(vg_change(vg, &[change]).ok()?.vg)
        }
    }
}

fn size(c: &mut Choices) -> Option<Size> {
    let n = c.byte();
    let text = match c.below(8) {
        0 => "100%FREE".to_owned(),
        1 => format!("{n}%VG"),
        2 => format!("+{n}%FREE"),
        3 => format!("-{n}"),
        4 => format!("{n}%PVS"),
        5 => format!("{n}%ORIGIN"),
        6 => format!("{}", u64::MAX - u64::from(n)),
        _ => format!("{n}"),
    };
    Size::parse_extents(&text).ok()
}

fn pv_args(c: &mut Choices, pvs: &[PvKey]) -> Vec<PvArg> {
    let ranges = [
        "",
        ":0-5",
        ":3+4:8",
        ":7-2",
        ":0+0",
        ":999999999999",
        ":-",
        ":1-",
    ];
    (0..c.below(4))
        .filter_map(|n| {
            Some(PvArg {
                pv: c.of(pvs)?,
                name: format!("/dev/{n}"),
                ranges: c.of(&ranges)?.to_owned(),
            })
        })
        .collect()
}

fn create(
    vg: &Vg,
    c: &mut Choices,
    ids: &mut Ids,
    config: &AllocConfig,
    pvs: &[PvKey],
) -> Option<Vg> {
    let layout = match c.below(6) {
        0..=2 => Layout::Linear,
        3..=4 => Layout::Striped {
            stripes: u32::from(c.byte() % 9),
            stripe_size: Sectors(1 << c.below(20)),
        },
        _ => c.of(&[Layout::Error, Layout::Zero])?,
    };
    let args = pv_args(c, pvs);
    let request = LvCreate {
        name: None,
        size: size(c)?,
        layout,
        pvs: (!args.is_empty()).then_some(&args),
        alloc: c.of(&POLICIES)?,
        tags: &[],
        writable: true,
        fixed_minor: None,
        read_ahead: ReadAhead::Auto,
        activation_skip: false,
        no_autoactivate: false,
        profile: None,
        creation: Creation {
            time: 1,
            host: "h".into(),
        },
        config,
    };
    Some(lv_create(vg, &request, ids).ok()?.vg)
}

fn resize(
    vg: &Vg,
    c: &mut Choices,
    config: &AllocConfig,
    lvs: &[LvKey],
    pvs: &[PvKey],
) -> Option<Vg> {
    let args = pv_args(c, pvs);
    let request = LvResize {
        lv: c.of(lvs)?,
        direction: c.of(&[Direction::Extend, Direction::Reduce, Direction::Either])?,
        size: size(c)?,
        stripes: c.of(&[None, None, Some(1), Some(2), Some(0)])?,
        stripe_size: c.of(&[None, None, Some(Sectors(64)), Some(Sectors(0))])?,
        pvs: (!args.is_empty()).then_some(&args),
        copies_given: false,
        alloc: c.of(&[
            None,
            Some(AllocPolicy::Anywhere),
            Some(AllocPolicy::Contiguous),
        ])?,
        config,
    };
    Some(lv_resize(vg, &request).ok()?.vg)
}
