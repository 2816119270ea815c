//! Seeded random sequences: each step is done by one of the two at random; after it the other must
//! accept the VG, and at intervals both must report the same.

use ulvm_test_support::ensure;
use ulvm_test_support::field::Field;
use ulvm_test_support::lvm::Tool;
use ulvm_test_support::rng::Rng;
use ulvm_test_support::suite::Outcome;

use crate::ulvm;

const STEPS: u64 = 14;
const MIB: u64 = 1 << 20;
const LVS: &[&str] = &["a", "b", "c"];
const VGS: &[&str] = &["vg", "wg"];
const DEVICES: u64 = 5;

/// One sequence; its seed is in the name of the case and in every message.
pub fn check(seed: u64) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x5EED_0000);
    let field = Field::new(ulvm(), &[48 * MIB; DEVICES as usize])?;
    let mut history = String::new();
    let result = sequence(&field, &mut rng, &mut history);
    result.map_err(|error| format!("seed {seed}\n{history}{error}"))
}

fn sequence(field: &Field, rng: &mut Rng, history: &mut String) -> Outcome {
    let first = tool(rng);
    step(field, first, "vgcreate -s 1M vg $pv0 $pv1 $pv2", history)?;
    let second = tool(rng);
    step(field, second, "lvcreate -an -Zn -Wn -n a -l 12 vg", history)?;
    step(
        field,
        first,
        "lvcreate -an -Zn -Wn -i 2 -n b -l 8 vg",
        history,
    )?;
    let mut changes = 0;
    for number in 0..STEPS {
        let who = tool(rng);
        let line = command(rng);
        if step(field, who, &line, history)? {
            changes += 1;
        }
        let other = if who == Tool::Debian {
            Tool::Ulvm
        } else {
            Tool::Debian
        };
        field.ok(other, "vgck")?;
        if number % 5 == 4 {
            field.agree(crate::exactly)?;
        }
    }
    ensure!(changes > 0, "nothing succeeded");
    field.agree(crate::exactly)
}

fn tool(rng: &mut Rng) -> Tool {
    if rng.chance(50) {
        Tool::Debian
    } else {
        Tool::Ulvm
    }
}

/// Runs a step. It may fail, since steps are random, but only as a command
/// fails: refused (5), or nonsense from the start (3).
fn step(field: &Field, who: Tool, line: &str, history: &mut String) -> Result<bool, String> {
    let done = field.run(who, line)?;
    history.push_str(&format!("  {who} [{}] {line}\n", done.code));
    ensure!(
        matches!(done.code, 0 | 3 | 5),
        "{who}: `{line}` ended with {}\n{}",
        done.code,
        done.err()
    );
    ensure!(
        !done.err().contains("panicked"),
        "{who}: `{line}`\n{}",
        done.err()
    );
    Ok(done.code == 0)
}

/// A random command over few names, so that commands meet each other's results.
fn command(rng: &mut Rng) -> String {
    let vg = if rng.chance(80) { VGS[0] } else { VGS[1] };
    let lv = *rng.pick(LVS);
    let pv = format!("$pv{}", rng.below(DEVICES));
    let extents = rng.below(30) + 1;
    match rng.below(24) {
        0..=4 => format!("lvcreate -an -Zn -Wn -n {lv} -l {extents} {vg}"),
        5 => format!(
            "lvcreate -an -Zn -Wn -i {} -I 16k -n {lv} -l {extents} {vg}",
            rng.below(3) + 2
        ),
        6..=8 => format!("lvextend -l +{extents} {vg}/{lv}"),
        9 => format!("lvreduce -y -l -{extents} {vg}/{lv}"),
        10 => format!("lvresize -y -l {extents} {vg}/{lv}"),
        11 => format!("lvremove -y {vg}/{lv}"),
        12 => format!("lvrename {vg} {lv} {}", rng.pick(LVS)),
        13 => format!("lvchange --addtag t{} {vg}/{lv}", rng.below(5)),
        14 => format!("lvchange -p {} {vg}/{lv}", rng.pick(&["r", "rw"])),
        15 => format!("vgextend {vg} {pv}"),
        16 => format!("vgreduce {vg} {pv}"),
        17 => format!("vgsplit vg wg {pv}"),
        18 => "vgmerge vg wg".to_owned(),
        19 => format!("vgchange --addtag v{} {vg}", rng.below(5)),
        20 => format!("pvchange -x {} {pv}", rng.pick(&["y", "n"])),
        21 => format!("pvchange --addtag p{} {pv}", rng.below(3)),
        22 => format!(
            "vgchange --alloc {} {vg}",
            rng.pick(&["normal", "contiguous", "anywhere", "cling"])
        ),
        _ => format!("pvchange --metadataignore {} {pv}", rng.pick(&["y", "n"])),
    }
}
