//! Changing the properties of an LV, one at a time.

use super::lv_tree::{check_editable, full_name};
use super::tags::TagEdit;
use super::{Done, OpError};
use crate::model::{AllocPolicy, Lv, LvKey, ReadAhead, Vg};
use crate::notice::Notice;

/// Sectors in a page: read ahead is a multiple of it.
const PAGE_SECTORS: u32 = 8;
/// Highest minor number the kernel takes.
const MINOR_MAX: u32 = (1 << 20) - 1;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LvChange {
    /// Writable or not.
    Writable(bool),
    /// Tags.
    Tags(TagEdit),
    /// Allocation policy.
    Alloc(AllocPolicy),
    /// Read ahead.
    ReadAhead(ReadAhead),
    /// Fixed minor number, or none.
    Minor(Option<u32>),
    /// To be skipped on activation.
    ActivationSkip(bool),
    /// To be activated automatically.
    AutoActivation(bool),
    /// Metadata profile, or none.
    Profile(Option<String>),
}

/// Read ahead as LVM2 stores it: a multiple of the page size, rounded down, at least one page.
pub fn whole_pages(read_ahead: ReadAhead, notices: &mut Vec<Notice>) -> ReadAhead {
    match read_ahead {
        ReadAhead::Sectors(0) => ReadAhead::None,
        ReadAhead::Sectors(n) if n % PAGE_SECTORS != 0 => {
            let n = (n - n % PAGE_SECTORS).max(PAGE_SECTORS);
            notices.push(Notice::warn(format!(
                "Overriding readahead to {n} sectors, a multiple of 4K page size."
            )));
            ReadAhead::Sectors(n)
        }
        other => other,
    }
}

/// Checks a minor number.
pub fn check_minor(minor: i64) -> Result<u32, OpError> {
    let checked = u32::try_from(minor).ok().filter(|n| *n <= MINOR_MAX);
    checked.ok_or_else(|| {
        OpError::refused(format!("Minor number {minor} outside range 0-{MINOR_MAX}."))
    })
}

/// Applies one change. What is already so is refused where LVM2 refuses it.
pub fn lv_change(old: &Vg, lv: LvKey, change: &LvChange) -> Result<Done, OpError> {
    if old.lvs.get(lv).is_none() {
        return Err(OpError::not_found("The logical volume is gone."));
    }
    check_editable(old, lv, "change")?;
    let mut vg = old.clone();
    let mut notices = Vec::new();
    let name = full_name(old, lv);
    match apply(&mut vg.lvs[lv], &name, change, &mut notices) {
        Ok(()) => Done::checked(vg, notices, ()),
        Err(e) => Err(e.after(notices)),
    }
}

fn apply(
    lv: &mut Lv,
    name: &str,
    change: &LvChange,
    notices: &mut Vec<Notice>,
) -> Result<(), OpError> {
    match change {
        LvChange::Writable(to) => {
            if lv.status.write == *to {
                return Err(OpError::refused(if *to {
                    format!("Logical volume {name} is already writable.")
                } else {
                    format!("Logical volume \"{name}\" is already read only.")
                }));
            }
            lv.status.write = *to;
            lv.flags.write_locked &= *to;
        }
        LvChange::Tags(edit) => edit.apply(&mut lv.tags)?,
        LvChange::Alloc(policy) => {
            if lv.alloc == *policy {
                return Err(OpError::refused(format!(
                    "Allocation policy of logical volume {name} is already {}.",
                    policy.word()
                )));
            }
            lv.alloc = *policy;
        }
        LvChange::ReadAhead(to) => {
            let to = whole_pages(*to, notices);
            if lv.read_ahead == to {
                let what = match to {
                    ReadAhead::Auto => "auto".to_owned(),
                    ReadAhead::None => "0".to_owned(),
                    ReadAhead::Sectors(n) => n.to_string(),
                };
                let text = format!("Read ahead is already {what} for {name}.");
                return Err(OpError::refused(text));
            }
            lv.read_ahead = to;
        }
        LvChange::Minor(Some(minor)) => {
            check_minor(i64::from(*minor))?;
            lv.status.fixed_minor = true;
            lv.major = Some(0);
            lv.minor = Some(i64::from(*minor));
        }
        LvChange::Minor(None) => {
            if !lv.status.fixed_minor {
                let text = format!("Minor number is already not persistent for {name}.");
                return Err(OpError::refused(text));
            }
            lv.status.fixed_minor = false;
            (lv.major, lv.minor) = (None, None);
        }
        LvChange::ActivationSkip(skip) => lv.flags.activation_skip = *skip,
        LvChange::AutoActivation(on) => lv.flags.no_autoactivate = !*on,
        LvChange::Profile(profile) => lv.profile.clone_from(profile),
    }
    Ok(())
}
