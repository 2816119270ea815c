//! `lvmconfig`, `config`, `dumpconfig`

mod check;
mod text;

use ulvm::config::ProfileKind;
use ulvm::config::defaults::{self, SETTINGS, Setting};
use ulvm::error::{Error, Kind, Result};
use ulvm_metadata::tree::{Item, Node, Section, Value};

use crate::args::{Args, Opt};
use crate::context::Context;
use crate::exit::Worst;

/// Shows or checks the configuration.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.has(Opt::Validate) {
        return check::run(ctx);
    }
    let kind = args.text(Opt::TypeConfig).unwrap_or("current");
    let refused = |text: &str| {
        let help = "Run `lvmconfig --help' for more information.";
        Err(Error::usage(format!("{text}\n{help}")))
    };
    if kind == "current" && args.has(Opt::AtVersion) {
        return refused("--atversion has no effect with --type current");
    }
    if kind != "new" && args.has(Opt::SinceVersion) {
        return refused("--sinceversion requires --type new");
    }
    let wanted = match kind {
        "current" => current(ctx, args),
        kind => settings(ctx, args, kind)?,
    };
    let shape = text::Shape {
        spaces: args.has(Opt::WithSpaces),
        versions: args.has(Opt::WithVersions),
        comments: args.has(Opt::WithComments) || args.has(Opt::WithSummary),
    };
    let mut out = String::new();
    let mut worst = Worst::default();
    if args.text(Opt::TypeConfig) == Some("list") {
        list(args, &mut out);
    } else {
        write(ctx, args, &wanted, &shape, &mut out, &mut worst);
    }
    match args.text(Opt::File) {
        Some(path) => {
            std::fs::write(path, out).map_err(|e| Error::io(format!("write {path}"), e))?
        }
        None => ctx.terminal().put(&out),
    }
    worst.finish()
}

/// A setting to be shown: its value, and whether as a comment.
struct Shown {
    /// `section/key`
    path: String,
    value: Option<Value>,
    comment: bool,
}

/// Everything that is set: `--config` alone if it is given, unless all is to be merged.
fn current(ctx: &Context, args: &Args) -> Vec<Shown> {
    let layers = ctx.config().layers();
    let merged = args.has(Opt::MergedConfig);
    let mut out: Vec<Shown> = Vec::new();
    // Weakest first, so that stronger layers replace values in place.
    let layers: Vec<&Section> = if merged {
        layers.iter().rev().map(|l| &l.1).collect()
    } else {
        layers.iter().take(1).map(|l| &l.1).collect()
    };
    for layer in layers {
        flatten(
            layer,
            "",
            &mut |path, value| match out.iter_mut().find(|s| s.path == path) {
                Some(shown) => shown.value = Some(value.clone()),
                None => out.push(Shown {
                    path,
                    value: Some(value.clone()),
                    comment: false,
                }),
            },
        );
    }
    out
}

/// Calls `each` with every value and its path.
fn flatten(section: &Section, prefix: &str, each: &mut dyn FnMut(String, &Value)) {
    for Item { key, node } in &section.items {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}/{key}")
        };
        match node {
            Node::Value(value) => each(path, value),
            Node::Section(inner) => flatten(inner, &path, each),
        }
    }
}

/// Settings ulvm knows, by `--typeconfig`.
fn settings(ctx: &Context, args: &Args, kind: &str) -> Result<Vec<Shown>> {
    let since = version(args.text(Opt::SinceVersion))?;
    let until = version(args.text(Opt::AtVersion))?;
    // New are those of one version, unless it is told since when.
    let (since, until) = match (kind, since) {
        ("new", None) => (until.or(Some(THIS)), until.or(Some(THIS))),
        _ => (since, until),
    };
    let config = ctx.config();
    // LVM2 leaves out what a profile may set that has no built-in value.
    let may = |kind: ProfileKind, s: &Setting| kind.may_set(s.path) && !s.default.is_empty();
    use ProfileKind::{Command, Metadata};
    let of = |s: &Setting| {
        let set = config.lookup(s.path).map(|v| v.0.clone());
        let default = config.default_value(s.path);
        let (value, comment) = match kind {
            "default" | "new" => (default, true),
            "profilable" if may(Command, s) || may(Metadata, s) => (default, true),
            "profilable-command" if may(Command, s) => (default, true),
            "profilable-metadata" if may(Metadata, s) => (default, true),
            "missing" if set.is_none() => (default, true),
            "diff" if set.is_some() && set != default => (set, false),
            "full" => (set.or(default), false),
            _ => return None,
        };
        let comment_only = comment || value.is_none();
        Some(Shown {
            path: s.path.to_owned(),
            value,
            comment: comment_only,
        })
    };
    const KINDS: [&str; 9] = [
        "default",
        "missing",
        "new",
        "diff",
        "full",
        "list",
        "profilable",
        "profilable-command",
        "profilable-metadata",
    ];
    if !KINDS.contains(&kind) {
        return Err(Error::refused(format!(
            "Settings of kind {kind} are not recorded; see lvmconfig --typeconfig list."
        )));
    }
    Ok(SETTINGS
        .iter()
        .filter(|s| since.is_none_or(|v| s.since >= v) && until.is_none_or(|v| s.since <= v))
        .filter(|s| !(s.advanced && args.has(Opt::IgnoreAdvanced)))
        .filter(|s| !(s.path.starts_with("local/") && args.has(Opt::IgnoreLocal)))
        .filter_map(of)
        .collect())
}

/// The version of LVM2 whose settings are known.
const THIS: [u16; 3] = [2, 3, 16];

/// `2.3.15` or `2.03.15`.
fn version(text: Option<&str>) -> Result<Option<[u16; 3]>> {
    let Some(text) = text else {
        return Ok(None);
    };
    let parts: Vec<u16> = text.split('.').filter_map(|p| p.parse().ok()).collect();
    match parts.as_slice() {
        [a, b, c] => Ok(Some([*a, *b, *c])),
        _ => Err(Error::usage(format!("Incorrect version format: {text}"))),
    }
}

fn list(args: &Args, out: &mut String) {
    for setting in SETTINGS.iter().filter(|s| wanted(args, s.path)) {
        out.push_str(setting.path);
        if args.has(Opt::WithVersions) {
            let [a, b, c] = setting.since;
            out.push_str(&format!(" - [{a}.{b}.{c}]"));
        }
        out.push('\n');
    }
}

fn wanted(args: &Args, path: &str) -> bool {
    args.operands().is_empty()
        || args.operands().iter().any(|o| {
            path == o
                || path
                    .strip_prefix(o.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        })
}

/// Everything, or what the operands name: a section as a block, a setting as a line.
fn write(
    ctx: &Context,
    args: &Args,
    all: &[Shown],
    shape: &text::Shape,
    out: &mut String,
    worst: &mut Worst,
) {
    if args.operands().is_empty() {
        text::tree(all.iter(), shape, out);
        return;
    }
    for operand in args.operands() {
        let inside = |s: &&Shown| {
            s.path
                .strip_prefix(operand.as_str())
                .is_some_and(|r| r.starts_with('/'))
        };
        if let Some(one) = all.iter().find(|s| s.path == *operand) {
            text::setting(one, 0, shape, out);
        } else if all.iter().any(|s| inside(&s)) {
            text::tree(all.iter().filter(inside), shape, out);
        } else if defaults::find(operand).is_none() || args.text(Opt::TypeConfig).is_none() {
            let text = format!("Configuration node {operand} not found");
            worst.add::<()>(ctx.ui(), Err(Error::new(Kind::NotFound, text)));
        }
    }
}
