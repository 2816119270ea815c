//! Sizes and places of LVs: what ulvm's pure operations choose, against what LVM2 chooses.
//!
//! Each seed makes a volume group of its own (number, sizes, tags and allocatability of PVs, cling
//! settings). Then, step by step, LVM2 runs a random lvcreate, lvextend, lvreduce or lvremove, and
//! the operation of the same meaning is applied to the metadata as they were before. Both must
//! refuse, or both must make the same LVs of the same extents.
//!
//! `ULVM_PROVE=1` runs the full count; otherwise a fixed sample.

use std::path::Path;
use std::process::ExitCode;

use ulvm_metadata::alloc::AllocConfig;
use ulvm_metadata::convert::import;
use ulvm_metadata::model::{AllocPolicy, Area, Creation, LvKey, ReadAhead, SegmentKind, Vg};
use ulvm_metadata::ops::lv_create::{Layout, LvCreate, STRIPE_SIZE_DEFAULT, lv_create};
use ulvm_metadata::ops::lv_remove::lv_remove;
use ulvm_metadata::ops::lv_resize::{Direction, LvResize, lv_resize};
use ulvm_metadata::ops::pv_args::PvArg;
use ulvm_metadata::ops::size::Size;
use ulvm_metadata::uuid::{IdSource, LvmUuid};
use ulvm_test_support::disk_text;
use ulvm_test_support::ensure;
use ulvm_test_support::field::Field;
use ulvm_test_support::lvm::Tool;
use ulvm_test_support::needs::Need;
use ulvm_test_support::process::Finished;
use ulvm_test_support::rng::Rng;
use ulvm_test_support::suite::{Outcome, Suite};

const MIB: u64 = 1 << 20;
/// Steps of one seed.
const STEPS: u64 = 30;
/// Seeds in full, and the sample taken otherwise.
const SEEDS: (u64, u64) = (120, 12);
/// Steps that must have succeeded in each seed, or it proves nothing.
const LEAST: u64 = 5;
/// Stands for a blank within a word of a command line.
const BLANK: &str = "~";
const TAGS: &[&str] = &["t1", "t2", "t3"];
const TAG_LISTS: &[&str] = &["", "", "@t1", "@t1,@t2", "@*"];
const POLICIES: &[&str] = &[
    "normal",
    "normal",
    "normal",
    "contiguous",
    "cling",
    "cling",
    "anywhere",
    "anywhere",
];

fn main() -> ExitCode {
    let full = std::env::var("ULVM_PROVE").is_ok_and(|value| value == "1");
    let seeds = if full { SEEDS.0 } else { SEEDS.1 };
    let mut suite = Suite::new(seeds as usize);
    suite.threads(2);
    for seed in 0..seeds {
        suite.case(
            format!("allocator::seed_{seed}"),
            &[Need::Loop, Need::Lvm2],
            move || check(seed),
        );
    }
    suite.run()
}

/// Identifiers that only need to differ.
struct Ids(u64);

impl IdSource for Ids {
    fn new_id(&mut self) -> LvmUuid {
        self.0 += 1;
        LvmUuid::parse(&format!("{:0>32}", self.0)).expect("32 digits")
    }
}

/// A volume group under test.
struct World {
    field: Field,
    rng: Rng,
    /// Numbers of the devices in the VG, in the order they were given.
    members: Vec<usize>,
    history: String,
}

fn check(seed: u64) -> Outcome {
    let mut rng = Rng::new(seed ^ 0xA110_C000);
    let devices = 1 + rng.below(6);
    let sizes: Vec<u64> = (0..devices)
        .map(|_| {
            MIB * (if rng.chance(40) {
                64
            } else {
                8 + rng.below(52)
            })
        })
        .collect();
    let ulvm = Path::new(env!("CARGO_BIN_EXE_ulvm"));
    let mut world = World {
        field: Field::new(ulvm, &sizes)?,
        rng,
        members: (0..devices as usize).collect(),
        history: String::new(),
    };
    let result = world.run();
    result.map_err(|error| format!("seed {seed}\n{}{error}", world.history))
}

/// One step, as a command and as an operation.
struct Step {
    command: String,
    config: AllocConfig,
    pvs: Vec<(usize, String)>,
    action: Action,
}

enum Action {
    Create {
        name: String,
        size: String,
        stripes: u32,
        policy: AllocPolicy,
    },
    Resize {
        name: String,
        direction: Direction,
        size: String,
        stripes: Option<u32>,
        policy: Option<AllocPolicy>,
    },
    Remove {
        name: String,
    },
}

impl World {
    fn run(&mut self) -> Outcome {
        self.prepare()?;
        let nodes: Vec<String> = self
            .field
            .nodes()
            .iter()
            .map(|n| n.display().to_string())
            .collect();
        let mut done = 0;
        for number in 0..STEPS {
            let before = self.vg()?;
            let step = self.step(number, &before);
            let expected = apply(&before, &nodes, &step);
            let ran = self.lvm2(&step.command, &nodes)?;
            self.history
                .push_str(&format!("  [{}] {}\n", ran.code, step.command));
            match (ran.code, &expected) {
                (0, Ok(vg)) => {
                    let after = shape(&self.vg()?);
                    let ours = shape(vg);
                    ensure!(after == ours, "lvm2: {after:#?}\nulvm: {ours:#?}");
                    done += 1;
                }
                (5, Err(_)) => {}
                (code, Ok(_)) => return Err(format!("lvm2 refuses ({code}): {}", ran.err())),
                (code, Err(e)) => return Err(format!("lvm2 ends with {code}, ulvm: {e}")),
            }
        }
        ensure!(done >= LEAST, "only {done} steps succeeded");
        Ok(())
    }

    /// Runs a command line; words may contain [`BLANK`].
    fn lvm2(&self, line: &str, nodes: &[String]) -> Result<Finished, String> {
        let word = |word: &str| {
            let mut word = word.replace(BLANK, " ");
            for (index, node) in nodes.iter().enumerate() {
                word = word.replace(&format!("$pv{index}"), node);
            }
            word
        };
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        self.field.site.run(Tool::Debian, &words, &[])
    }

    /// The VG with PVs in random order, some tagged, some not allocatable.
    fn prepare(&mut self) -> Outcome {
        for at in (1..self.members.len()).rev() {
            let other = self.rng.below(at as u64 + 1) as usize;
            self.members.swap(at, other);
        }
        let list: Vec<String> = self.members.iter().map(|n| format!("$pv{n}")).collect();
        let line = format!("vgcreate -s 1m vg {}", list.join(" "));
        self.field.ok(Tool::Debian, &line)?;
        for pv in list {
            if self.rng.chance(15) && self.members.len() > 1 {
                self.field
                    .ok(Tool::Debian, &format!("pvchange -x n {pv}"))?;
            }
            if self.rng.chance(40) {
                let tag = self.rng.pick(TAGS);
                let line = format!("pvchange --addtag {tag} {pv}");
                self.field.ok(Tool::Debian, &line)?;
            }
        }
        Ok(())
    }

    fn vg(&self) -> Result<Vg, String> {
        let node = self.field.nodes()[self.members[0]].clone();
        let disk = disk_text::read(&node)?.ok_or("no label")?;
        let text = disk.areas.iter().find_map(|a| a.text.as_deref());
        let imported = import(text.ok_or("no metadata text")?.as_bytes());
        imported.map(|i| i.vg).map_err(|e| e.to_string())
    }

    fn step(&mut self, number: u64, vg: &Vg) -> Step {
        let names: Vec<String> = vg.lvs.values().map(|lv| lv.name.clone()).collect();
        let kind = self.rng.below(100);
        if names.is_empty() || kind < 40 {
            return self.create(number);
        }
        let name = self.rng.pick(&names).clone();
        match kind {
            40..75 => self.extend(name),
            75..85 => {
                let size = self.size(true);
                let (size, sign) = (size.trim_start_matches('+').to_owned(), "-");
                Step {
                    command: format!("lvreduce -fy {} vg/{name}", option(&size, sign)),
                    config: AllocConfig::default(),
                    pvs: Vec::new(),
                    action: Action::Resize {
                        name,
                        direction: Direction::Reduce,
                        size: format!("-{size}"),
                        stripes: None,
                        policy: None,
                    },
                }
            }
            _ => Step {
                command: format!("lvremove -y vg/{name}"),
                config: AllocConfig::default(),
                pvs: Vec::new(),
                action: Action::Remove { name },
            },
        }
    }

    fn create(&mut self, number: u64) -> Step {
        let (flag, config) = self.config();
        let (operands, pvs) = self.pvs();
        let policy = *self.rng.pick(POLICIES);
        let stripes = match self.rng.below(6) {
            0..3 => 1,
            3 => 2,
            4 => 3,
            _ => 1 + self.rng.below(7) as u32,
        };
        let size = self.size(false);
        let name = format!("n{number}");
        Step {
            command: format!(
                "lvcreate {flag} -an -Zn -Wn --alloc {policy} -n {name} -i {stripes} {} vg {operands}",
                option(&size, "")
            ),
            config,
            pvs,
            action: Action::Create {
                name,
                size,
                stripes,
                policy: AllocPolicy::from_word(policy).unwrap_or_default(),
            },
        }
    }

    fn extend(&mut self, name: String) -> Step {
        let (flag, config) = self.config();
        let (operands, pvs) = self.pvs();
        let policy = self.rng.chance(70).then(|| *self.rng.pick(POLICIES));
        let stripes = self.rng.chance(25).then(|| 1 + self.rng.below(4) as u32);
        let size = self.size(true);
        let alloc = policy.map_or(String::new(), |p| format!("--alloc {p}"));
        let count = stripes.map_or(String::new(), |n| format!("-i {n}"));
        Step {
            command: format!(
                "lvextend {flag} {alloc} {count} {} vg/{name} {operands}",
                option(&size, "")
            ),
            config,
            pvs,
            action: Action::Resize {
                name,
                direction: Direction::Extend,
                size,
                stripes,
                policy: policy.and_then(AllocPolicy::from_word),
            },
        }
    }

    /// A size: extents, MiB, a percentage.
    fn size(&mut self, relative: bool) -> String {
        let sign = if relative { "+" } else { "" };
        let n = 1 + self.rng.below(60);
        match self.rng.below(12) {
            0..7 => format!("{sign}{n}"),
            7 => format!("{sign}{n}.5m"),
            8 if !relative => format!("{}%PVS", 2 * n),
            8 => format!("{}%{}", 2 * n, self.rng.pick(&["VG", "FREE", "PVS", "LV"])),
            9 => format!("{sign}{n}%{}", self.rng.pick(&["PVS", "VG"])),
            10 => format!("{sign}{}%FREE", 10 * (1 + self.rng.below(10))),
            _ => format!("{sign}{n}%VG"),
        }
    }

    fn config(&mut self) -> (String, AllocConfig) {
        let maximise_cling = self.rng.chance(75);
        let list = *self.rng.pick(TAG_LISTS);
        let tags: Vec<String> = list
            .split(',')
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect();
        let mut text = format!("allocation/maximise_cling={}", u8::from(maximise_cling));
        if !tags.is_empty() {
            let quoted: Vec<String> = tags.iter().map(|t| format!("\"{t}\"")).collect();
            text.push_str(&format!(
                "{BLANK}allocation/cling_tag_list=[{}]",
                quoted.join(",")
            ));
        }
        let config = AllocConfig {
            maximise_cling,
            cling_tag_list: tags,
            ..AllocConfig::default()
        };
        (format!("--config={text}"), config)
    }

    /// PV arguments, often none; as operands and as (device, ranges).
    fn pvs(&mut self) -> (String, Vec<(usize, String)>) {
        if self.rng.chance(55) {
            return (String::new(), Vec::new());
        }
        let mut out: Vec<(usize, String)> = Vec::new();
        for at in 0..self.members.len() {
            let member = self.members[at];
            if self.rng.chance(60) {
                let mut ranges = String::new();
                let mut first = self.rng.below(4);
                while self.rng.chance(40) && first < 6 {
                    let last = first + self.rng.below(2);
                    ranges.push_str(&format!(":{first}-{last}"));
                    first = last + 1 + self.rng.below(2);
                }
                if !ranges.is_empty() && self.rng.chance(50) {
                    ranges.push_str(&format!(":{first}-"));
                }
                let place = self.rng.below(out.len() as u64 + 1) as usize;
                out.insert(place, (member, ranges));
            }
        }
        let list: Vec<String> = out.iter().map(|(n, r)| format!("$pv{n}{r}")).collect();
        (list.join(" "), out)
    }
}

/// `-l` or `-L`, as the size needs.
fn option(size: &str, sign: &str) -> String {
    let letter = if size.ends_with('m') { 'L' } else { 'l' };
    format!("-{letter} {sign}{size}")
}

fn parse(size: &str) -> Result<Size, String> {
    let parsed = if size.ends_with('m') {
        Size::parse_size(size)
    } else {
        Size::parse_extents(size)
    };
    parsed.map_err(|e| format!("{size}: {e}"))
}

/// The operation of the same meaning.
fn apply(vg: &Vg, nodes: &[String], step: &Step) -> Result<Vg, String> {
    let find = |name: &str| -> Result<LvKey, String> { vg.find_lv(name).ok_or(name.to_owned()) };
    let args: Vec<PvArg> = step
        .pvs
        .iter()
        .filter_map(|(device, ranges)| {
            let (pv, _) = vg
                .pvs
                .iter()
                .find(|(_, pv)| pv.device_hint.as_deref() == Some(nodes[*device].as_str()))?;
            Some(PvArg {
                pv,
                name: format!("$pv{device}"),
                ranges: ranges.clone(),
            })
        })
        .collect();
    let pvs = (!step.pvs.is_empty()).then_some(args.as_slice());
    match &step.action {
        Action::Create {
            name,
            size,
            stripes,
            policy,
        } => {
            let request = LvCreate {
                name: Some(name),
                size: parse(size)?,
                layout: if *stripes > 1 {
                    Layout::Striped {
                        stripes: *stripes,
                        stripe_size: STRIPE_SIZE_DEFAULT,
                    }
                } else {
                    Layout::Linear
                },
                pvs,
                alloc: *policy,
                tags: &[],
                writable: true,
                fixed_minor: None,
                read_ahead: ReadAhead::Auto,
                activation_skip: false,
                no_autoactivate: false,
                profile: None,
                creation: Creation {
                    time: 0,
                    host: String::new(),
                },
                config: &step.config,
            };
            let mut ids = Ids(u64::from(vg.seqno) << 32);
            lv_create(vg, &request, &mut ids)
                .map(|d| d.vg)
                .map_err(|e| e.message)
        }
        Action::Resize {
            name,
            direction,
            size,
            stripes,
            policy,
        } => {
            let request = LvResize {
                lv: find(name)?,
                direction: *direction,
                size: parse(size)?,
                stripes: *stripes,
                stripe_size: None,
                pvs,
                copies_given: false,
                alloc: *policy,
                config: &step.config,
            };
            lv_resize(vg, &request).map(|d| d.vg).map_err(|e| e.message)
        }
        Action::Remove { name } => lv_remove(vg, find(name)?)
            .map(|d| d.vg)
            .map_err(|e| e.message),
    }
}

/// Every LV with its segments: length, stripe size, PV and extent of each stripe.
fn shape(vg: &Vg) -> Vec<String> {
    let mut out = Vec::new();
    for lv in vg.lvs.values() {
        for segment in &lv.segments {
            let SegmentKind::Striped {
                stripe_size,
                stripes,
            } = &segment.kind
            else {
                continue;
            };
            let mut line = format!("{} {} {stripe_size}:", lv.name, segment.len);
            for area in stripes {
                if let Area::Pv { pv, extent } = area {
                    let device = vg.pvs[*pv].device_hint.as_deref().unwrap_or("?");
                    line.push_str(&format!(" {device}({extent})"));
                }
            }
            out.push(line);
        }
    }
    out
}
