//! What the LV commands share: names of LVs as users write them, sizes, PV arguments, and going
//! over the LVs that a command line picks.

use std::rc::Rc;

use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::VgRead;
use ulvm::session::{Allow, Scope, Session};
use ulvm_metadata::alloc::AllocConfig;
use ulvm_metadata::model::{LvKey, PvKey, ReadAhead, Vg};
use ulvm_metadata::ops::lv_tree::is_visible;
use ulvm_metadata::ops::pv_args::PvArg;
use ulvm_metadata::ops::size::{Size, SizeError, parse_sectors};

use super::selected::Selection;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::exit::Worst;
use crate::report::fields::Group;

/// A usage error with the hint that LVM2 puts behind it.
pub fn usage(command: &str, text: impl std::fmt::Display) -> Error {
    Error::usage(format!(
        "{text}\nRun `{command} --help' for more information."
    ))
}

/// An argument that the option does not take.
pub fn invalid(opt: Opt, value: &str, why: Option<&str>) -> Error {
    let why = why.map(|w| format!("{w}\n")).unwrap_or_default();
    Error::usage(format!(
        "{why}Invalid argument for --{}: {value}\nError during parsing of command line.",
        opt.spec().long
    ))
}

/// What an operand names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// A VG, or an LV in the VG of the environment.
    Plain(String),
    /// `VG/LV` in any of its spellings.
    Path {
        /// The VG.
        vg: String,
        /// The LV.
        lv: String,
    },
}

/// Reads `VG`, `VG/LV`, `/dev/VG`, `/dev/VG/LV` and `/dev/mapper/VG-LV`.
pub fn parse_name(text: &str) -> Result<Name> {
    let bad = || Error::refused(format!("\"{text}\": Invalid path for Logical Volume."));
    if let Some(dm) = text.strip_prefix("/dev/mapper/") {
        let (vg, lv) = split_dm_name(dm).ok_or_else(bad)?;
        return Ok(Name::Path { vg, lv });
    }
    let rest = match text.strip_prefix("/dev/") {
        Some(rest) => rest,
        None if text.starts_with('/') => return Err(bad()),
        None => text,
    };
    match rest.split_once('/') {
        None => Ok(Name::Plain(rest.to_owned())),
        Some((_, lv)) if lv.contains('/') => Err(bad()),
        Some((vg, lv)) => Ok(Name::Path {
            vg: vg.to_owned(),
            lv: lv.to_owned(),
        }),
    }
}

/// `VG-LV`, where a hyphen within a name is doubled.
fn split_dm_name(dm: &str) -> Option<(String, String)> {
    let bytes = dm.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'-' {
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'-') {
            at += 2;
        } else {
            let plain = |s: &str| s.replace("--", "-");
            let (vg, lv) = (plain(&dm[..at]), plain(&dm[at + 1..]));
            return (!vg.is_empty() && !lv.is_empty()).then_some((vg, lv));
        }
    }
    None
}

/// An LV that a command needs, with its VG.
pub fn lv_path(ctx: &Context, command: &str, text: &str) -> Result<(String, String)> {
    let named = parse_name(text).map_err(|e| usage(command, e))?;
    let (vg, lv) = match (named, &ctx.settings().env.vg_name) {
        (Name::Path { vg, lv }, _) => (vg, lv),
        (Name::Plain(lv), _) if lv.starts_with('@') => (String::new(), lv),
        (Name::Plain(_), _) if text.starts_with("/dev/") => {
            let text = format!("\"{text}\": Invalid path for Logical Volume.");
            return Err(usage(command, text));
        }
        (Name::Plain(lv), Some(vg)) => (vg.clone(), lv),
        (Name::Plain(_), None) => {
            return Err(usage(command, "Please specify a logical volume path."));
        }
    };
    if ulvm_metadata::name::check_name(&lv).is_err() {
        let text = format!("Logical volume name \"{lv}\" is invalid.");
        return Err(usage(command, text));
    }
    Ok((vg, lv))
}

/// A VG operand: no LV in it.
pub fn vg_operand(command: &str, text: &str) -> Result<String> {
    match parse_name(text) {
        Ok(Name::Plain(vg)) => Ok(vg),
        _ => Err(usage(command, "Volume group name expected (no slash)")),
    }
}

/// `-L` or `-l`, whichever was given.
pub fn size(args: &Args, command: &str) -> Result<Option<Size>> {
    let (opt, text) = match (args.text(Opt::Size), args.text(Opt::Extents)) {
        (Some(_), Some(_)) => {
            return Err(usage(
                command,
                "Please specify either size or extents (not both).",
            ));
        }
        (Some(size), None) => (Opt::Size, size),
        (None, Some(extents)) => (Opt::Extents, extents),
        (None, None) => return Ok(None),
    };
    let parsed = match opt {
        Opt::Size => Size::parse_size(text),
        _ => Size::parse_extents(text),
    };
    let size = parsed.map_err(|e: SizeError| invalid(opt, text, Some(&e.to_string())))?;
    if size.amount.is_zero() {
        let text = format!("--{} may not be zero.", opt.spec().long);
        return Err(usage(command, text));
    }
    Ok(Some(size))
}

/// `--readahead`
pub fn read_ahead(args: &Args) -> Result<Option<ReadAhead>> {
    let Some(text) = args.text(Opt::ReadAhead) else {
        return Ok(None);
    };
    match text {
        "auto" => Ok(Some(ReadAhead::Auto)),
        "none" => Ok(Some(ReadAhead::None)),
        _ => {
            let sectors = parse_sectors(text, 's')
                .map_err(|e| invalid(Opt::ReadAhead, text, Some(&e.to_string())))?;
            let n = u32::try_from(sectors.0).map_err(|_| invalid(Opt::ReadAhead, text, None))?;
            Ok(Some(ReadAhead::Sectors(n)))
        }
    }
}

/// `allocation/` settings.
pub fn alloc_config(ctx: &Context) -> AllocConfig {
    AllocConfig {
        maximise_cling: ctx.config().bool("allocation/maximise_cling"),
        cling_tag_list: ctx.config().list("allocation/cling_tag_list"),
        separate_logs: ctx
            .config()
            .bool("allocation/mirror_logs_require_separate_pvs"),
    }
}

/// `PV[:RANGES]` and `@TAG` operands of a command that allocates.
pub fn pv_args(session: &Session, read: &VgRead, operands: &[String]) -> Result<Vec<PvArg>> {
    let mut out = Vec::new();
    for operand in operands {
        if let Some(tag) = operand.strip_prefix('@') {
            let (tag, ranges) = tag.split_at(tag.find(':').unwrap_or(tag.len()));
            for (pv, entry) in read.vg.pvs.iter() {
                if entry.tags.iter().any(|t| t == tag) {
                    out.push(PvArg {
                        pv,
                        name: pv_name(session, read, pv),
                        ranges: ranges.to_owned(),
                    });
                }
            }
            continue;
        }
        out.push(pv_arg(session, read, operand)?);
    }
    Ok(out)
}

/// A device name may contain colons itself: the longest beginning that names a PV counts.
fn pv_arg(session: &Session, read: &VgRead, operand: &str) -> Result<PvArg> {
    let colons = operand.match_indices(':').map(|(at, _)| at);
    let mut ends: Vec<usize> = colons.collect();
    ends.push(operand.len());
    for end in ends.iter().rev() {
        let name = &operand[..*end];
        let Some(device) = session.inventory().find_device(name) else {
            continue;
        };
        let mut pvs = read.vg.pvs.keys();
        if let Some(pv) = pvs.find(|k| read.pv(*k).device() == Some(device)) {
            return Ok(PvArg {
                pv,
                name: name.to_owned(),
                ranges: operand[*end..].to_owned(),
            });
        }
    }
    let name = operand.split(':').next().unwrap_or(operand);
    Err(Error::not_found(format!(
        "Physical Volume \"{name}\" not found in Volume Group \"{}\".",
        read.vg.name
    )))
}

fn pv_name(session: &Session, read: &VgRead, pv: PvKey) -> String {
    match read.pv(pv).device() {
        Some(device) => session.device(device).name.clone(),
        None => "[unknown]".to_owned(),
    }
}

/// What is wanted of one VG.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wanted {
    vg: String,
    /// Every LV.
    all: bool,
    /// LVs by name.
    lvs: Vec<String>,
}

/// A VG that a command works on: as it is on disk, and as it shall be.
pub struct Draft {
    /// As it was read, but with the metadata that shall be.
    read: VgRead,
    on_disk: Rc<Vg>,
}

impl Draft {
    /// Nothing is changed yet.
    fn new(read: VgRead) -> Self {
        let on_disk = Rc::clone(&read.vg);
        Self { read, on_disk }
    }
    /// The VG with its devices, and with the metadata that shall be.
    pub fn read(&self) -> &VgRead {
        &self.read
    }
    /// The VG as it shall be.
    pub fn vg(&self) -> &Vg {
        &self.read.vg
    }
    /// Changes it in memory only.
    pub fn change(&mut self, vg: Vg) {
        self.read.vg = Rc::new(vg);
    }
    /// Is there a change that is not on disk?
    fn pending(&self) -> bool {
        !Rc::ptr_eq(&self.read.vg, &self.on_disk)
    }
    /// Writes it, also if nothing was changed.
    pub fn commit(&mut self, session: &mut Session) -> Result<()> {
        let next = std::mem::replace(&mut self.read.vg, Rc::clone(&self.on_disk));
        *self = Self::new(session.commit(&self.read, Rc::unwrap_or_clone(next))?);
        Ok(())
    }
}

/// Goes over the LVs that the operands (`VG`, `VG/LV`, `@TAG`) and `--select` pick, VG by VG and
/// in list order; `work` changes the draft of the VG, and returns what is to be said once that is
/// on disk. What the work on the last LV leaves in memory is committed at the end. Failures do not
/// stop the others.
pub fn each_lv(
    ctx: &Context,
    args: &Args,
    allow: Allow,
    mut work: impl FnMut(&mut Session, &mut Draft, LvKey) -> Result<Vec<String>>,
) -> Result<()> {
    let mut worst = Worst::default();
    let selection = Selection::new(ctx.settings(), args, Group::Lv)?.seeing(ctx)?;
    let (wanted, tags) = wanted(ctx, args, &mut worst)?;
    let mut walk = Walk {
        tags: &tags,
        allow,
        selection: &selection,
        worst: &mut worst,
    };
    for want in wanted {
        let outcome = ctx
            .session()
            .and_then(|mut session| walk.one_vg(&mut session, &want, &mut work));
        walk.worst.add(ctx.ui(), outcome);
    }
    worst.finish()
}

/// The VGs named and what of them; all VGs if tags are named or nothing is.
fn wanted(ctx: &Context, args: &Args, worst: &mut Worst) -> Result<(Vec<Wanted>, Vec<String>)> {
    let mut out: Vec<Wanted> = Vec::new();
    let mut tags = Vec::new();
    for operand in args.operands() {
        if let Some(tag) = operand.strip_prefix('@') {
            tags.push(tag.to_owned());
            continue;
        }
        let Some(named) = worst.add(ctx.ui(), parse_name(operand)) else {
            continue;
        };
        let (vg, lv) = match (named, &ctx.settings().env.vg_name) {
            (Name::Path { vg, lv }, _) => (vg, Some(lv)),
            (Name::Plain(lv), Some(vg)) if !operand.starts_with("/dev/") => (vg.clone(), Some(lv)),
            (Name::Plain(vg), _) => (vg, None),
        };
        let at = entry(&mut out, &vg);
        match lv {
            Some(lv) => out[at].lvs.push(lv),
            None => out[at].all = true,
        }
    }
    if !tags.is_empty() || args.operands().is_empty() {
        let all = args.operands().is_empty();
        let mut session = ctx.session()?;
        let inventory = session.read(Scope::All)?;
        for read in &inventory.vgs {
            if read.vg.status.exported {
                continue;
            }
            let at = entry(&mut out, &read.vg.name);
            out[at].all |= all;
        }
    }
    Ok((out, tags))
}

/// Where a VG stands in the list; added if it is not there.
fn entry(out: &mut Vec<Wanted>, vg: &str) -> usize {
    out.iter().position(|w| w.vg == vg).unwrap_or_else(|| {
        out.push(Wanted {
            vg: vg.to_owned(),
            all: false,
            lvs: Vec::new(),
        });
        out.len() - 1
    })
}

/// Going over LVs.
struct Walk<'a> {
    tags: &'a [String],
    allow: Allow,
    selection: &'a Selection,
    worst: &'a mut Worst,
}

impl Walk<'_> {
    fn one_vg(
        &mut self,
        session: &mut Session,
        want: &Wanted,
        work: &mut impl FnMut(&mut Session, &mut Draft, LvKey) -> Result<Vec<String>>,
    ) -> Result<()> {
        check_vg_name(&want.vg)?;
        let mut draft = Draft::new(session.vg_for_write(&want.vg, self.allow)?);
        let mut said = Vec::new();
        let absent = |lv: &&String| draft.vg().find_lv(lv).is_none();
        let missing: Vec<&String> = want.lvs.iter().filter(absent).collect();
        for name in self.picked(draft.vg(), want) {
            // It may have gone with another one.
            let Some(key) = draft.vg().find_lv(&name) else {
                continue;
            };
            let inventory = session.inventory();
            if !self.selection.takes_lv(inventory, &draft.read, key) {
                continue;
            }
            let outcome = if is_visible(draft.vg(), key) {
                work(session, &mut draft, key)
            } else {
                Err(Error::refused(format!(
                    "Operation not permitted on hidden LV {}/{name}.",
                    want.vg
                )))
            };
            said.extend(self.worst.add(session.ui(), outcome).unwrap_or_default());
            if !draft.pending() {
                said.drain(..).for_each(|text| session.ui().print(text));
            }
        }
        if draft.pending() {
            draft.commit(session)?;
        }
        said.into_iter().for_each(|text| session.ui().print(text));
        for lv in missing {
            let text = format!("Failed to find logical volume \"{}/{lv}\"", want.vg);
            self.worst
                .add::<()>(session.ui(), Err(Error::not_found(text)));
        }
        Ok(())
    }

    /// Names of the LVs picked, in list order.
    fn picked(&self, vg: &Vg, want: &Wanted) -> Vec<String> {
        let tagged = |tags: &[String]| self.tags.iter().any(|t| tags.contains(t));
        let whole = want.all || tagged(&vg.tags);
        let all = vg.lvs.iter().filter(|(key, lv)| {
            want.lvs.contains(&lv.name) || ((whole || tagged(&lv.tags)) && is_visible(vg, *key))
        });
        all.map(|(_, lv)| lv.name.clone()).collect()
    }
}

/// A VG name that cannot exist.
fn check_vg_name(name: &str) -> Result<()> {
    match ulvm_metadata::name::check_name(name) {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::new(
            Kind::NotFound,
            format!(
                "Volume group name \"{name}\" has invalid characters.\nCannot process volume group {name}"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_all_their_spellings() {
        let path = |vg: &str, lv: &str| {
            Some(Name::Path {
                vg: vg.into(),
                lv: lv.into(),
            })
        };
        for (text, expected) in [
            ("vg", Some(Name::Plain("vg".into()))),
            ("/dev/vg", Some(Name::Plain("vg".into()))),
            ("vg/lv", path("vg", "lv")),
            ("/dev/vg/lv", path("vg", "lv")),
            ("/dev/mapper/v--g-l--v", path("v-g", "l-v")),
            ("/dev/mapper/vg", None),
            ("vg/lv/x", None),
            ("/vg/lv", None),
        ] {
            assert_eq!(parse_name(text).ok(), expected, "{text}");
        }
    }
}
