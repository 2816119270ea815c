//! What the VG and PV commands share: sizes, tags, operands, and the way from an operation's
//! result to a commit.

use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::VgRead;
use ulvm::session::{Scope, Session};
use ulvm_metadata::model::AllocPolicy;
use ulvm_metadata::ops::size::parse_sectors;
use ulvm_metadata::ops::tags::TagEdit;
use ulvm_metadata::ops::{Done, OpError, OpErrorKind};
use ulvm_metadata::units::Sectors;

use super::selected::Selection;
use crate::args::value::ValueKind;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::exit::Worst;
use crate::report::fields::Group;

/// A size option in sectors.
pub fn sectors(args: &Args, opt: Opt) -> Result<Option<Sectors>> {
    let Some(text) = args.text(opt) else {
        return Ok(None);
    };
    let (ValueKind::Size(unit) | ValueKind::SignedSize(unit)) = opt.spec().value else {
        return Err(Error::new(Kind::Internal, "Not a size option."));
    };
    parse_sectors(text, unit).map(Some).map_err(|_| {
        Error::usage(format!(
            "Invalid argument for --{}: {text}",
            opt.spec().long
        ))
        .and("Error during parsing of command line.")
    })
}

/// `--addtag`, `--deltag`.
pub fn tag_edit(args: &Args) -> Result<TagEdit> {
    Ok(TagEdit {
        add: tags(args, Opt::AddTag)?,
        del: tags(args, Opt::DelTag)?,
    })
}

/// The tags given with an option, checked, without `@`.
pub fn tags(args: &Args, opt: Opt) -> Result<Vec<String>> {
    args.texts(opt)
        .map(|text| {
            let tag = text.strip_prefix('@').unwrap_or(text);
            match ulvm_metadata::name::check_tag(tag) {
                Ok(()) => Ok(tag.to_owned()),
                Err(_) => Err(Error::usage(format!(
                    "Invalid argument for --{}: {text}",
                    opt.spec().long
                ))
                .and("Error during parsing of command line.")),
            }
        })
        .collect()
}

/// `--alloc`
pub fn alloc(args: &Args) -> Option<AllocPolicy> {
    args.text(Opt::Alloc).and_then(AllocPolicy::from_word)
}

/// A limit on LVs or PVs.
pub fn limit(args: &Args, opt: Opt) -> Result<Option<u32>> {
    args.number(opt)
        .map(|n| {
            u32::try_from(n).map_err(|_| {
                Error::usage(format!("Invalid argument for --{}: {n}", opt.spec().long))
            })
        })
        .transpose()
}

/// `--vgmetadatacopies all|unmanaged|N`: the number kept in the metadata, and whether every area
/// that is ignored is to be used again.
pub fn metadata_copies(args: &Args) -> Result<Option<(u32, bool)>> {
    let Some((opt, text)) = [
        Opt::VgMetadataCopies,
        Opt::Metadatacopies,
        Opt::PvMetadataCopies,
    ]
    .into_iter()
    .find_map(|o| args.text(o).map(|t| (o, t))) else {
        return Ok(None);
    };
    match text {
        "all" => Ok(Some((0, true))),
        "unmanaged" => Ok(Some((0, false))),
        n => n.parse().map(|n| Some((n, false))).map_err(|_| {
            Error::usage(format!(
                "Invalid argument for --{}: {text}",
                opt.spec().long
            ))
            .and("Error during parsing of command line.")
        }),
    }
}

/// A VG name as typed: `/dev/` in front is dropped.
pub fn vg_name(text: &str) -> &str {
    text.strip_prefix("/dev/").unwrap_or(text)
}

/// Names of the VGs that a command is to work on: those named, those with a tag named, those that
/// `--select` picks; all where `all` is set and none is named.
pub fn vg_operands(ctx: &Context, args: &Args, all: bool) -> Result<Vec<String>> {
    let operands = args.operands();
    let everything = operands.is_empty() && (all || args.has(Opt::Select));
    let tagged = operands.iter().any(|o| o.starts_with('@'));
    let selection = Selection::new(ctx.settings(), args, Group::Vg)?.seeing(ctx)?;
    if !everything && !tagged && !args.has(Opt::Select) {
        return Ok(distinct(
            operands.iter().map(|o| vg_name(o).to_owned()).collect(),
        ));
    }
    let mut session = ctx.session()?;
    let inventory = session.read(Scope::All)?;
    let mut names = Vec::new();
    let mut left_out = Vec::new();
    for vg in &inventory.vgs {
        let picked = everything
            || operands.iter().any(|o| match o.strip_prefix('@') {
                Some(tag) => vg.vg.tags.iter().any(|t| t == tag),
                None => vg_name(o) == vg.vg.name,
            });
        if picked && selection.takes_vg(inventory, vg) {
            names.push(vg.vg.name.clone());
        } else {
            left_out.push(vg.vg.name.as_str());
        }
    }
    for operand in operands.iter().filter(|o| !o.starts_with('@')) {
        let name = vg_name(operand);
        if !left_out.contains(&name) {
            names.push(name.to_owned());
        }
    }
    Ok(distinct(names))
}

fn distinct(names: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Does something to each VG, each in a session of its own; failures do not stop the others.
pub fn each_vg(
    ctx: &Context,
    names: &[String],
    mut work: impl FnMut(&mut Session, &str) -> Result<()>,
) -> Result<()> {
    let mut worst = Worst::default();
    for name in names {
        let outcome = ctx.session().and_then(|mut s| work(&mut s, name));
        worst.add(ctx.ui(), outcome);
    }
    worst.finish()
}

/// Shows what an operation had to say before it failed, and makes an error of it.
pub fn op_error(session: &Session, e: OpError) -> Error {
    for notice in &e.notices {
        session.ui().say(notice);
    }
    let kind = match e.kind {
        OpErrorKind::Usage => Kind::Usage,
        OpErrorKind::NotFound => Kind::NotFound,
        OpErrorKind::Exists | OpErrorKind::Limit | OpErrorKind::Refused => Kind::Refused,
        OpErrorKind::NoSpace => Kind::NoSpace,
        OpErrorKind::Broken => Kind::Internal,
    };
    Error::new(kind, e.message)
}

/// Takes the result of an operation: shows its notices.
pub fn done<T>(
    session: &Session,
    outcome: std::result::Result<Done<T>, OpError>,
) -> Result<Done<T>> {
    let done = outcome.map_err(|e| op_error(session, e))?;
    for notice in &done.notices {
        session.ui().say(notice);
    }
    Ok(done)
}

/// An operation and its commit in one step.
pub fn apply<T>(
    session: &mut Session,
    old: &VgRead,
    outcome: std::result::Result<Done<T>, OpError>,
) -> Result<(VgRead, T)> {
    let done = done(session, outcome)?;
    let new = session.commit(old, done.vg)?;
    Ok((new, done.value))
}
