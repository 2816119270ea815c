//! Commands on mirrors under Debian's LVM2 with its kernel driver, in a guest, and under ulvm on
//! image files here: compared after every step by exit code, report and metadata. One guest is
//! booted for all cases. `docs/testing.md` describes the script language.
//!
//! `ULVM_MIRROR_RECORDS=DIR` keeps what the guest said, to be used again as long as the cases stay
//! the same; `ULVM_PROVE=1` runs every case, otherwise a fixed sample is taken.

#[path = "../differential/case.rs"]
#[allow(dead_code, reason = "the differential suite uses more of it")]
mod case;
mod guest_side;
mod ours;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::Suite;

use case::Case;
use guest_side::Recorded;

/// Fewer sequences than this means that some were lost.
const SEQUENCES: usize = 46;
/// One case in so many is the sample.
const SAMPLE: usize = 3;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cases = match case::load(&root.join("tests/mirror_commands/cases")) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(101);
        }
    };
    let full = std::env::var("ULVM_PROVE").is_ok_and(|value| value == "1")
        || std::env::var_os("ULVM_MIRROR_RECORDS").is_some();
    let cases: Vec<Case> = cases
        .into_iter()
        .enumerate()
        .filter(|(number, _)| full || number % SAMPLE == 0)
        .map(|(_, case)| case)
        .collect();
    // One guest for all; one for each file where records are kept, so that a change of one file
    // leaves those of the others valid.
    let kept = std::env::var_os("ULVM_MIRROR_RECORDS").map(PathBuf::from);
    let groups: Vec<Vec<Case>> = match &kept {
        Some(_) => cases
            .chunk_by(|a, b| a.file == b.file)
            .map(<[Case]>::to_vec)
            .collect(),
        None => vec![cases],
    };
    let mut suite = Suite::new(if full { SEQUENCES } else { SEQUENCES / SAMPLE });
    suite.threads(2);
    for group in groups {
        add(&mut suite, Arc::new(group), kept.clone());
    }
    suite.run()
}

/// Adds the cases that share a guest, which boots when the first of them runs.
fn add(suite: &mut Suite, cases: Arc<Vec<Case>>, kept: Option<PathBuf>) {
    let recorded: Arc<OnceLock<Result<Recorded, String>>> = Arc::default();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("mirror_commands::{}", case.name);
        let (cases, recorded) = (Arc::clone(&cases), Arc::clone(&recorded));
        let kept = kept.clone();
        let body = move || {
            let all = recorded.get_or_init(|| guest_side::record(&cases, kept.as_deref()));
            let theirs = all.as_ref().map_err(Clone::clone)?;
            ours::compare(
                &cases[number],
                theirs,
                Path::new(env!("CARGO_BIN_EXE_ulvm")),
            )
        };
        match case.open.clone() {
            Some(why) => suite.open_case(name, &[Need::Guest], &why, body),
            None => suite.case(name, &[Need::Guest], body),
        };
    }
}
