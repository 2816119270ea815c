//! Imports go one way: cli -> host -> {metadata, engine}; inside a crate the pure parts do not
//! reach for the impure ones. Checked on the text of the sources and of the manifests.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ulvm_test_support::{ensure, suite::Suite};

/// No file below `folder` may contain any of `words` outside of comments.
struct Rule {
    folder: &'static str,
    words: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        folder: "crates/metadata",
        words: &["ulvm_engine", "ulvm_cli", "ulvm::"],
    },
    Rule {
        folder: "crates/engine",
        words: &["ulvm_metadata", "ulvm_cli", "ulvm::"],
    },
    Rule {
        folder: "src",
        words: &["ulvm_cli", "clap::"],
    },
    Rule {
        folder: "crates/metadata/src/model",
        words: &[
            "crate::ondisk",
            "crate::text",
            "super::ondisk",
            "super::text",
        ],
    },
    Rule {
        folder: "crates/engine/src/target",
        words: &[
            "crate::backend",
            "crate::export",
            "crate::sys",
            "super::backend",
            "super::export",
        ],
    },
    Rule {
        folder: "src/activate/plan.rs",
        words: &["std::fs", "std::process", "rustix::", "libc::"],
    },
];

/// A crate's manifest may not name these packages.
const MANIFESTS: &[(&str, &[&str])] = &[
    (
        "crates/metadata/Cargo.toml",
        &["ulvm", "ulvm-engine", "ulvm-cli", "libc", "rustix"],
    ),
    (
        "crates/engine/Cargo.toml",
        &["ulvm", "ulvm-metadata", "ulvm-cli"],
    ),
    ("Cargo.toml", &["ulvm-cli", "clap"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(at: &Path, found: &mut Vec<PathBuf>) {
    if at.is_file() {
        found.push(at.to_path_buf());
        return;
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(at)
        .map(|list| {
            list.filter_map(Result::ok)
                .map(|entry| entry.path())
                .collect()
        })
        .unwrap_or_default();
    entries.sort();
    for path in entries {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
            sources(&path, found);
        }
    }
}

fn check_rule(rule: &Rule) -> Result<(), String> {
    let mut files = Vec::new();
    sources(&root().join(rule.folder), &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in rule.words.iter().filter(|word| names(code, word)) {
                wrong.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} must not use:\n{}",
        rule.folder,
        wrong.join("\n")
    );
    Ok(())
}

/// Whether `code` holds `word` as a path of its own, not as the end of a longer name.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn check_manifest(file: &str, forbidden: &[&str]) -> Result<(), String> {
    let text =
        std::fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
    let mut in_dependencies = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_dependencies = line.trim_matches(['[', ']']).split('.').next_back()
                == Some("dependencies")
                && !line.contains("workspace.");
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or("");
        ensure!(
            !(in_dependencies && forbidden.contains(&name)),
            "{file} must not depend on {name}"
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut suite = Suite::new(RULES.len() + MANIFESTS.len() + 1);
    for rule in RULES {
        suite.case(format!("arrows::{}", rule.folder), &[], || check_rule(rule));
    }
    for (file, forbidden) in MANIFESTS {
        suite.case(format!("arrows::{file}"), &[], || {
            check_manifest(file, forbidden)
        });
    }
    suite.case("arrows::the_check_sees_a_violation", &[], || {
        ensure!(
            names("use ulvm_engine::io;", "ulvm_engine"),
            "an import was not seen"
        );
        ensure!(
            names("let x = ulvm::scan();", "ulvm::"),
            "a path was not seen"
        );
        ensure!(
            !names("use crate::ulvm::x;", "ulvm::"),
            "a module of the same name was taken for the crate"
        );
        Ok(())
    });
    suite.run()
}
