//! Names of new LVs.

use super::OpError;
use super::history::is_historical;
use crate::model::Vg;
use crate::name::{NameError, check_name, check_user_lv_name};

/// Longest `VG-LV` name LVM2 takes, counted as it counts: both names and three characters.
const FULL_NAME_MAX: usize = 127;

/// Checks a name a user chose: characters and reserved forms. The errors are usage errors.
pub fn check_chosen(name: &str) -> Result<(), OpError> {
    match check_user_lv_name(name) {
        Ok(()) => Ok(()),
        Err(NameError::Reserved(part)) => {
            let how = if part.starts_with('_') {
                "including"
            } else {
                "starting"
            };
            Err(OpError::usage(format!(
                "Names {how} \"{part}\" are reserved. Please choose a different LV name."
            )))
        }
        Err(_) => Err(OpError::usage(format!(
            "Logical volume name \"{name}\" is invalid."
        ))),
    }
}

/// Checks that VG and LV name together are not too long.
pub fn check_length(vg_name: &str, name: &str) -> Result<(), OpError> {
    let length = vg_name.len() + name.len() + 3;
    if length > FULL_NAME_MAX {
        return Err(OpError::limit(format!(
            "LV name \"{vg_name}/{name}\" length {length} is not supported."
        )));
    }
    Ok(())
}

/// The name is free.
pub fn check_free(vg: &Vg, name: &str) -> Result<(), OpError> {
    if vg.find_lv(name).is_some() {
        return Err(OpError::exists(format!(
            "Logical Volume \"{name}\" already exists in volume group \"{}\"",
            vg.name
        )));
    }
    Ok(())
}

/// No LV that is gone had the name, as far as LVM2 keeps their history; `historical` is that word as
/// the command spells it.
pub(super) fn check_not_historical(vg: &Vg, name: &str, historical: &str) -> Result<(), OpError> {
    if is_historical(vg, name) {
        return Err(OpError::exists(format!(
            "{historical} Logical Volume \"{name}\" already exists in volume group \"{}\"",
            vg.name
        )));
    }
    Ok(())
}

/// `lvolN`, N one more than the highest number any LV's name has behind `lvol`.
pub fn generate(vg: &Vg) -> Result<String, OpError> {
    let number = |name: &str| {
        let digits = name.strip_prefix("lvol")?;
        let end = digits.bytes().take_while(u8::is_ascii_digit).count();
        digits[..end].parse::<u32>().ok()
    };
    let live = vg.lvs.values().map(|lv| lv.name.as_str());
    let gone = vg.historical.iter().flat_map(|h| &h.items);
    let names = live.chain(gone.map(|item| item.key.as_str()));
    let highest = names.filter_map(number).max();
    let next = highest.map_or(Some(0), |n| n.checked_add(1));
    let name = next.map(|n| format!("lvol{n}"));
    name.filter(|n| check_name(n).is_ok())
        .ok_or_else(|| OpError::limit("Failed to generate a name for the logical volume."))
}
