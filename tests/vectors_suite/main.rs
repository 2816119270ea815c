//! Images made by real LVM2 and a real kernel (`tests/vectors/`), read through the binary: the same
//! reports, the same content of every logical volume, damage named or healed. No root needed.

mod content;
mod forged;
mod live;
mod reports;
mod storm;

use std::path::Path;
use std::process::ExitCode;

use ulvm_test_support::images::Images;
use ulvm_test_support::suite::Suite;
use ulvm_test_support::vectors::{MIRRORS, Vector};

/// The images that this suite was written for.
const VECTORS: usize = 49;

/// The binary under test.
fn ulvm() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ulvm"))
}

/// The images of a vector, unpacked, and nothing else in sight.
fn unpack(vector: &Vector) -> Result<Images, String> {
    let mut images = Images::new(ulvm())?;
    for name in vector.images() {
        images.add(&name, &vector.image(&name)?)?;
    }
    Ok(images)
}

fn main() -> ExitCode {
    let vectors = match Vector::all() {
        Ok(vectors) => vectors,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(101);
        }
    };
    let mut suite =
        Suite::new(VECTORS + content::PLAIN.len() + forged::CASES.len() + MIRRORS.len() + 1);
    for vector in vectors.iter().cloned() {
        suite.case(
            format!("vectors::{}::reports", vector.name),
            &[],
            move || reports::check(&vector),
        );
    }
    for name in content::PLAIN {
        suite.case(format!("vectors::{name}::content"), &[], move || {
            content::check(&Vector::load(name)?)
        });
    }
    for name in MIRRORS {
        suite.case(format!("vectors::{name}::live"), &[], move || {
            live::check(&Vector::load(name)?)
        });
    }
    suite.case("vectors::mirrors_at_work::live", &[], live::at_work);
    for &(name, body) in forged::CASES {
        suite.case(format!("vectors::forged::{name}"), &[], body);
    }
    suite.run()
}
