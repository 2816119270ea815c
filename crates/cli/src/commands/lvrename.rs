//! lvrename

use ulvm::error::{Error, Result};
use ulvm::session::Allow;
use ulvm_metadata::name::check_name;
use ulvm_metadata::ops::lv_rename::lv_rename;

use super::lv_activation;
use super::lv_args::{Name, parse_name, usage};
use super::vg_args::done;
use crate::args::Args;
use crate::context::{Context, wrong_syntax};

/// Renames a logical volume.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let (vg, old, new) = names(ctx, args)?;
    check_new(&vg, &old, &new)?;
    let mut session = ctx.session()?;
    let read = session.vg_for_write(&vg, Allow::default())?;
    let key = read.vg.find_lv(&old).ok_or_else(|| {
        Error::not_found(format!(
            "Existing logical volume \"{old}\" not found in volume group \"{vg}\""
        ))
    })?;
    let renamed = done(&session, lv_rename(&read.vg, key, &new))?;
    let mut live = lv_activation::live(ctx, false)?;
    lv_activation::commit_renamed(&mut session, &mut live, &read, renamed.vg)?;
    session.ui().print(format!(
        "Renamed \"{old}\" to \"{new}\" in volume group \"{vg}\""
    ));
    Ok(())
}

/// VG, old and new name out of `VG OLD NEW` or `VG/OLD NEW`, where NEW may repeat the VG.
fn names(ctx: &Context, args: &Args) -> Result<(String, String, String)> {
    let path = |text: &str| parse_name(text).map_err(|e| usage("lvrename", e));
    let (vg, old, new) = match args.operands() {
        [vg, old, new] => match (path(vg)?, path(old)?) {
            (Name::Plain(vg), Name::Plain(old)) => (vg, old, new),
            (Name::Plain(vg), Name::Path { vg: other, lv }) if vg == other => (vg, lv, new),
            _ => {
                let text = "Logical volume names must have the same volume group";
                return Err(usage("lvrename", text));
            }
        },
        [old, new] => match (path(old)?, &ctx.settings().env.vg_name) {
            (Name::Path { vg, lv }, _) => (vg, lv, new),
            (Name::Plain(lv), Some(vg)) => (vg.clone(), lv, new),
            (Name::Plain(lv), None) => {
                return Err(usage(
                    "lvrename",
                    format!(
                        "Path required for Logical Volume \"{lv}\".\nPlease provide a valid volume group name"
                    ),
                ));
            }
        },
        _ => return Err(wrong_syntax("lvrename")),
    };
    let new = match path(new)? {
        Name::Plain(new) => new,
        Name::Path { vg: other, lv } if other == vg => lv,
        Name::Path { vg: other, .. } => {
            let text = format!(
                "Logical volume names must have the same volume group (\"{vg}\" or \"{other}\")"
            );
            return Err(usage("lvrename", text));
        }
    };
    Ok((vg, old, new))
}

/// Room that LVM2 sees for a VG name, an LV name and what joins them.
const PATH_MAX: usize = 128;

fn check_new(vg: &str, old: &str, new: &str) -> Result<()> {
    let most = PATH_MAX.saturating_sub(vg.len() + 3);
    if new.len() > most {
        let text = format!("New logical volume path exceeds maximum length of {most}!");
        return Err(usage("lvrename", text));
    }
    if check_name(new).is_err() {
        let text = format!("New logical volume name \"{new}\" is invalid");
        return Err(usage("lvrename", text));
    }
    ulvm_metadata::ops::lv_name::check_chosen(new).map_err(|e| usage("lvrename", e))?;
    if old == new {
        let text = "Old and new logical volume names must differ";
        return Err(usage("lvrename", text));
    }
    Ok(())
}
