//! Renaming LVs.

use super::lv_name::{check_chosen, check_free, check_length, check_not_historical};
use super::lv_tree::{all_parts, check_editable};
use super::{Done, OpError};
use crate::model::{LvKey, Vg};

/// Renames an LV. Sub-LVs whose names begin with its name and `_` follow.
pub fn lv_rename(old: &Vg, lv: LvKey, name: &str) -> Result<Done, OpError> {
    let Some(was) = old.lvs.get(lv).map(|l| l.name.clone()) else {
        return Err(OpError::not_found("The logical volume is gone."));
    };
    check_chosen(name)?;
    if name == was {
        return Err(OpError::usage(
            "Old and new logical volume names must differ",
        ));
    }
    check_free(old, name)?;
    check_not_historical(old, name, "Historical")?;
    check_editable(old, lv, "rename")?;
    check_length(&old.name, name)?;
    let mut vg = old.clone();
    for part in all_parts(old, lv) {
        let rest = old.lvs[part].name.strip_prefix(was.as_str());
        let Some(rest) = rest.filter(|r| r.starts_with('_')) else {
            continue;
        };
        let new = format!("{name}{rest}");
        check_free(old, &new)?;
        check_length(&old.name, &new)?;
        vg.lvs[part].name = new;
    }
    name.clone_into(&mut vg.lvs[lv].name);
    Done::checked(vg, Vec::new(), ())
}
