//! lvchange

use ulvm::activate::lists;
use ulvm::activate::plan::Filler;
use ulvm::error::{Error, Result};
use ulvm::session::{Allow, Session};
use ulvm_metadata::model::{AllocPolicy, LvKey};
use ulvm_metadata::ops::lv_change::{LvChange, check_minor, lv_change};
use ulvm_metadata::ops::lv_tree::full_name;

use super::content::missing;
use super::lv_activation::{self, Wanted};
use super::lv_args::{Draft, each_lv, read_ahead};
use super::lvchange_mirror;
use super::vg_args::{done, tag_edit};
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};
use crate::exit::Worst;

/// Options that only matter for LVs that are active, or of a type that is not created yet.
const UNSUPPORTED: &[Opt] = &[
    Opt::Cachemode,
    Opt::Cachepolicy,
    Opt::Cachesettings,
    Opt::Compression,
    Opt::Deduplication,
    Opt::Discards,
    Opt::Errorwhenfull,
    Opt::Zero,
];

/// Changes the properties of logical volumes.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let changes = changes(ctx, args)?;
    let activation = args.has(Opt::Activate) || args.has(Opt::Refresh);
    let passive = [Opt::Monitor, Opt::Poll].iter().any(|o| args.has(*o));
    if let Some(opt) = UNSUPPORTED.iter().find(|o| args.has(**o)) {
        let long = opt.spec().long;
        return Err(Error::refused(format!(
            "--{long} applies to a type of logical volume that is not supported yet."
        )));
    }
    let mirrors = lvchange_mirror::any(args);
    if changes.is_empty() && !activation && !passive && !mirrors {
        return Err(wrong_syntax("lvchange"));
    }
    if args.operands().is_empty() && !args.has(Opt::Select) {
        return Err(wrong_syntax("lvchange"));
    }
    if activation && !changes.is_empty() {
        ctx.ui()
            .warn("Combining activation change with other commands is not advised.");
    }
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let wanted = lv_activation::wanted(args);
    let mut live = lv_activation::live(ctx, false)?;
    each_lv(ctx, args, allow, |session, draft, lv| {
        change(session, draft, lv, &changes)?;
        if mirrors {
            if live.find(draft.vg(), lv).is_some() {
                return Err(Error::refused(format!(
                    "{} is active; ulvm changes this of logical volumes that are not.",
                    full_name(draft.vg(), lv)
                )));
            }
            lvchange_mirror::change(session, draft, lv, args)?;
        }
        if changes.iter().any(|c| matches!(c, LvChange::Writable(_))) {
            let listed = lists::read_only(ctx.config(), draft.vg(), &draft.vg().lvs[lv]);
            live.permit(draft.vg(), lv, listed)?;
        }
        match wanted {
            None if args.has(Opt::Refresh) => {
                let missing = missing(ctx, args, Filler::Error);
                live.reload(session, draft.read(), lv, missing)?;
            }
            None => {}
            Some(Wanted::Off) => live.deactivate(draft.vg(), lv)?,
            Some(on) => {
                let read = draft.read();
                lv_activation::activate(ctx, args, &mut live, session, read, (lv, on))?;
            }
        }
        Ok(Vec::new())
    })
}

/// The changes asked for, in the order LVM2 makes them.
fn changes(ctx: &Context, args: &Args) -> Result<Vec<LvChange>> {
    let mut out = Vec::new();
    if let Some(word) = args.text(Opt::Permission) {
        out.push(LvChange::Writable(word == "rw"));
    }
    let contiguous = args.yes_no(Opt::Contiguous).map(|yes| {
        if yes {
            AllocPolicy::Contiguous
        } else {
            AllocPolicy::Inherit
        }
    });
    let alloc = args.text(Opt::Alloc).and_then(AllocPolicy::from_word);
    let alloc = match alloc.or(contiguous) {
        Some(AllocPolicy::ClingByTags) => Some(AllocPolicy::Cling),
        other => other,
    };
    out.extend(alloc.map(LvChange::Alloc));
    out.extend(read_ahead(args)?.map(LvChange::ReadAhead));
    match args.text(Opt::Persistent) {
        None => {}
        Some("y") => match args.number(Opt::Minor) {
            Some(minor) => {
                let minor = check_minor(minor).map_err(|e| Error::refused(e.message))?;
                super::lv_activation::warn_major(ctx, args);
                out.push(LvChange::Minor(Some(minor)));
            }
            None => return Err(wrong_syntax("lvchange")),
        },
        Some(_) => out.push(LvChange::Minor(None)),
    }
    let tags = tag_edit(args)?;
    if !tags.is_empty() {
        out.push(LvChange::Tags(tags));
    }
    out.extend(
        args.yes_no(Opt::SetActivationSkip)
            .map(LvChange::ActivationSkip),
    );
    out.extend(
        args.yes_no(Opt::SetAutoActivation)
            .map(LvChange::AutoActivation),
    );
    if args.has(Opt::DetachProfile) {
        out.push(LvChange::Profile(None));
    } else if let Some(name) = args.metadata_profile() {
        out.push(LvChange::Profile(Some(name.to_owned())));
    }
    Ok(out)
}

/// Makes each change on its own, as far as it can be made, and commits what was made.
fn change(session: &mut Session, draft: &mut Draft, lv: LvKey, changes: &[LvChange]) -> Result<()> {
    let name = full_name(draft.vg(), lv);
    let mut worst = Worst::default();
    let mut vg = draft.vg().clone();
    let mut changed = false;
    let mut written = false;
    let mut quiet = true;
    for change in changes {
        let outcome = done(session, lv_change(&vg, lv, change));
        if let Some(new) = worst.add(session.ui(), outcome) {
            // Written even if nothing is different, except for this property.
            written |= !matches!(change, LvChange::AutoActivation(_)) || new.vg != vg;
            vg = new.vg;
            changed = true;
            quiet &= matches!(change, LvChange::Minor(Some(_)));
        }
    }
    if changed {
        if written {
            draft.change(vg);
            draft.commit(session)?;
        }
        if !quiet {
            session
                .ui()
                .print(format!("Logical volume {name} changed."));
        }
    }
    worst.finish()
}
